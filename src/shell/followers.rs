//! Those who follow a session: its sockets, and what each of them was sent.
//!
//! Sockets hibernate: the object may leave memory while they stay open. So a socket's state is its attachment, and
//! nothing that matters to it is held here. What is stored is sent by cursor: after every commit each socket is sent
//! what lies between its cursor and the newest event, so that it makes no difference who stored it, or whether the
//! object was made anew in between.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;

use cloud_agent_wire::Timestamp;
use wasm_bindgen::{JsCast, JsValue};
use worker::worker_sys::DurableObjectState;
use worker::{Delay, State, WebSocket, WebSocketPair};

use crate::limits::SOCKETS_MAX;
use crate::session::engine::Store;
use crate::session::error::StoreError;
use crate::session::event::EventDraft;
use crate::session::timing::REPLAY_BACKSTOP_MILLIS;
use crate::session::volatile;
use crate::stream::connection::{Budget, Connection, OutputMeter, Phase, Round};
use crate::stream::error::StreamError;
use crate::stream::frame::Event;
use crate::telemetry::LogEvent;

use super::platform::now;
use super::store::SqlStore;

/// The client is to connect again: it fell behind, and goes on after the last event that it got.
const CLOSE_TRY_AGAIN: u16 = 1013;
/// The session is gone.
const CLOSE_SESSION_GONE: u16 = 1000;
/// A fault of this service.
const CLOSE_FAULT: u16 = 1011;

/// The sockets of a session.
pub struct Followers {
    state: State,
    /// The store that these are the followers of, for the task that sends on.
    store: RefCell<Weak<SqlStore>>,
    /// How many such tasks have begun; the newest is the one that counts.
    tasks: Cell<u64>,
    /// Whether it runs.
    is_sending: Cell<bool>,
    /// When the alarm takes it for dead: the deadline as it is stored.
    pub owed_at: Cell<Option<Timestamp>>,
    output: RefCell<OutputMeter>,
}

/// A socket and what is remembered about it.
struct Follower {
    socket: WebSocket,
    connection: Connection,
}

impl Followers {
    /// The sockets that the object has, from earlier incarnations too.
    pub fn new(state: &State) -> Self {
        let raw: &JsValue = state.as_raw().as_ref();
        Self {
            // The same object of the platform: it has no copies.
            state: State::from(raw.clone().unchecked_into::<DurableObjectState>()),
            store: RefCell::default(),
            tasks: Cell::default(),
            is_sending: Cell::default(),
            owed_at: Cell::default(),
            output: RefCell::default(),
        }
    }

    /// Tells which store these are the followers of, and sends what was left to be sent.
    pub fn attach(&self, store: &Rc<SqlStore>) {
        *self.store.borrow_mut() = Rc::downgrade(store);
        self.deliver(store);
    }

    /// Whether another socket may be opened. When there is no room, those whose time is over are told to make some.
    pub fn has_room(&self, now: Timestamp) -> bool {
        let has_room = self.state.get_websockets().len() < SOCKETS_MAX;
        if !has_room {
            self.current(now);
        }
        has_room
    }

    /// Takes a new socket on, sends it its first round, and returns the client's end.
    ///
    /// # Errors
    /// The platform's.
    pub fn accept(&self, store: &SqlStore, connection: Connection) -> worker::Result<WebSocket> {
        let pair = WebSocketPair::new()?;
        self.state.accept_web_socket(&pair.server);
        let follower = Follower {
            socket: pair.server,
            connection,
        };
        follower.remember();
        self.deliver(store);
        Ok(pair.client)
    }

    /// Sends each socket a round of what is stored behind its cursor, and has a task send the rest.
    pub fn deliver(&self, store: &SqlStore) {
        if self.deliver_round(store) && !self.is_sending.get() {
            self.send_on(store);
        }
    }

    /// The same when the task has shown no sign of life for too long: should it live, it finds that its place is taken.
    pub fn resume(&self, store: &SqlStore) {
        self.tasks.set(self.tasks.get() + 1);
        self.is_sending.set(false);
        store.owe_replay(None);
        self.deliver(store);
    }

    /// Starts a task that sends what is left. Should the object die before it has, the alarm brings it back.
    fn send_on(&self, store: &SqlStore) {
        let Some(own) = self.store.borrow().upgrade() else {
            return;
        };
        let task = self.tasks.get() + 1;
        self.tasks.set(task);
        self.is_sending.set(true);
        store.owe_replay(Some(now().plus_millis(REPLAY_BACKSTOP_MILLIS)));
        self.state.wait_until(async move {
            let followers = &own.followers;
            loop {
                // The sockets' own writing, and everybody else, gets its turn.
                Delay::from(Duration::ZERO).await;
                #[cfg(feature = "test-faults")]
                super::faults::before_round();
                if followers.tasks.get() != task {
                    return;
                }
                if !followers.deliver_round(&own) {
                    break;
                }
            }
            followers.is_sending.set(false);
            own.owe_replay(None);
        });
    }

    /// True when a socket has more to get.
    fn deliver_round(&self, store: &SqlStore) -> bool {
        let mut followers = self.current(now());
        let mut budget = budget(&followers);
        let mut is_more = false;
        for follower in followers.iter_mut().filter(|follower| follower.is_open()) {
            match follower.send_stored(store, &mut budget) {
                Ok(more) => is_more |= more,
                Err(error) => {
                    store.log(&LogEvent::Fault {
                        place: "stream",
                        reason: error.to_string(),
                    });
                    follower.send_error(StreamError::Internal);
                    follower.close(CLOSE_FAULT, StreamError::Internal.message());
                }
            }
            follower.remember();
        }
        is_more
    }

    /// Sends volatile events to the sockets that have had everything that is stored.
    pub fn tell(&self, events: &[EventDraft]) {
        let mut followers = self.current(now());
        if followers.is_empty() {
            return;
        }
        let capped: Vec<_> = events
            .iter()
            .filter_map(|event| self.cap_output(event))
            .collect();
        let mut budget = budget(&followers);
        let live = followers
            .iter_mut()
            .filter(|follower| follower.connection.phase == Phase::Live);
        for follower in live {
            for event in &capped {
                if follower.is_open() {
                    follower.send_event(&Event::volatile(event), &mut budget);
                }
            }
            follower.remember();
        }
    }

    /// The event, unless it is output that is too much for this second.
    fn cap_output(&self, event: &EventDraft) -> Option<EventDraft> {
        let mut event = event.clone();
        if event.kind == volatile::OUTPUT {
            let at = event.at.as_millis();
            let skipped = self.output.borrow_mut().admit(at, event.payload.len())?;
            if skipped > 0 {
                volatile::tell_skipped(&mut event, skipped);
            }
        }
        Some(event)
    }

    /// Closes every socket, since the session is gone.
    pub fn dismiss(&self) {
        self.owed_at.set(None);
        for mut follower in self.all() {
            if follower.is_open() {
                follower.send_error(StreamError::SessionNotFound);
                follower.close(CLOSE_SESSION_GONE, "The session was deleted");
                follower.remember();
            }
        }
    }

    /// The sockets, after those whose time is over were told to connect again.
    fn current(&self, now: Timestamp) -> Vec<Follower> {
        let mut followers = self.all();
        for follower in &mut followers {
            if follower.is_open() && follower.connection.is_over(now) {
                follower.end();
                follower.remember();
            }
        }
        followers
    }

    fn all(&self) -> Vec<Follower> {
        let sockets = self.state.get_websockets().into_iter();
        sockets
            .filter_map(|socket| {
                let text = socket.deserialize_attachment::<String>().ok().flatten();
                let connection = text.and_then(|text| serde_json::from_str(&text).ok());
                let Some(connection) = connection else {
                    // It was accepted by a version that remembered something else.
                    let _ = socket.close(Some(CLOSE_FAULT), Some("Connect again"));
                    return None;
                };
                Some(Follower { socket, connection })
            })
            .collect()
    }
}

fn budget(followers: &[Follower]) -> Budget {
    Budget::of(
        followers
            .iter()
            .map(|follower| follower.connection.sent_bytes),
    )
}

impl Follower {
    fn is_open(&self) -> bool {
        self.connection.phase != Phase::Closed
    }

    /// One round of stored events; after the last one the snapshot that every connection begins with. True when there
    /// is more.
    fn send_stored(&mut self, store: &SqlStore, budget: &mut Budget) -> Result<bool, StoreError> {
        let mut round = Round::default();
        for event in store.events_after(self.connection.cursor)? {
            if round.is_full() {
                return Ok(true);
            }
            let event = event?;
            let frame_bytes = self.send_event(&event.as_event(), budget);
            if !self.is_open() {
                return Ok(false);
            }
            self.connection.cursor = event.id;
            round.count(frame_bytes);
        }
        if self.connection.phase == Phase::Replaying {
            self.send_snapshot(store, budget)?;
        }
        Ok(false)
    }

    fn send_snapshot(&mut self, store: &SqlStore, budget: &mut Budget) -> Result<(), StoreError> {
        let now = now();
        let Some(sources) = store.snapshot_sources(now)? else {
            return Ok(());
        };
        self.connection.phase = Phase::Live;
        for event in sources.events(now) {
            if self.is_open() {
                self.send_event(&Event::volatile(&event), budget);
            }
        }
        Ok(())
    }

    /// Sends an event that passes the filter, and closes the socket when it has no room for it. Returns the bytes that
    /// were sent.
    fn send_event(&mut self, event: &Event<'_>, budget: &mut Budget) -> usize {
        // The event that says that a connection stands is for every client.
        let is_wanted = event.kind == volatile::CONNECTED
            || self
                .connection
                .filter
                .allows(event.kind, event.message_id, event.at);
        if !is_wanted {
            return 0;
        }
        let frame = event.to_frame(&self.connection.session_id);
        if !budget.take(&mut self.connection, frame.len()) {
            self.end();
            return 0;
        }
        if self.socket.send_with_str(&frame).is_err() {
            // The other end is gone; the platform tells so by itself.
            self.connection.phase = Phase::Closed;
        }
        frame.len()
    }

    fn send_error(&self, error: StreamError) {
        // A socket that takes nothing any more is one that its client has left.
        let _ = self.socket.send_with_str(error.to_frame());
    }

    /// Asks the client to connect again.
    fn end(&mut self) {
        // Many clients learn of a close only when the platform ends the connection, which it may do seconds later.
        self.send_error(StreamError::BudgetSpent);
        self.close(CLOSE_TRY_AGAIN, StreamError::BudgetSpent.message());
    }

    fn close(&mut self, code: u16, reason: &str) {
        self.connection.phase = Phase::Closed;
        let _ = self.socket.close(Some(code), Some(reason));
    }

    fn remember(&self) {
        let text = serde_json::to_string(&self.connection).unwrap_or_default();
        if self.socket.serialize_attachment(text).is_err() {
            // Without an attachment nobody knows what the socket has had.
            let _ = self.socket.close(Some(CLOSE_FAULT), Some("Connect again"));
        }
    }
}
