//! The Durable Object of a session: decode, load, decide, commit, perform.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cloud_agent_wire::Timestamp;
use js_sys::Promise;
use wasm_bindgen::prelude::*;
use worker::{
    DurableObject, Env, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    durable_object,
};

use crate::config::Config;
use crate::envelope::{Envelope, VERSION};
use crate::session::attachment::attachments;
use crate::session::claim::{Claim, Owed, Round, Work};
use crate::session::engine::{self, Store};
use crate::session::error::StoreError;
use crate::stream::error::StreamError;
use crate::telemetry::LogEvent;
use crate::trpc::{CallError, ErrorKey, Procedure};

use super::answering::Answering;
use super::callbacks::Sender;
use super::config::config;
use super::delivery::Delivery;
use super::host::Host;
use super::platform::{self, now};
use super::runtime::{RuntimeClient, Transport};
use super::sandbox::{GivenSecrets, SandboxClient};
use super::sockets;
use super::store::SqlStore;
use super::token_service::TokenService;
use super::transport::Adapter;

/// From an alarm that met a fault until the next one.
const FAULT_DELAY_MILLIS: u64 = 5_000;
/// Longer than any task hands a message over: five files of 5 MiB, each in pieces with a bound of their own.
const HAND_OVER_MILLIS_MAX: u64 = 900_000;
/// From an alarm that found no configuration until the next one.
const UNCONFIGURED_DELAY_MILLIS: u64 = 60_000;

/// The session object. Its storage is the only truth: the fields hold what a restart begins anew.
#[durable_object]
pub struct CloudAgentSession {
    state: State,
    env: Env,
    /// The opened storage; opening is tried again by the next event when it failed.
    store: RefCell<Option<Rc<SqlStore>>>,
    /// The task of this incarnation that reads the runtime's events.
    reader: Rc<Reader>,
    /// Since when a task hands a message over.
    handing_over: Rc<Cell<Option<Timestamp>>>,
    /// The resolution of a managed repository's token that is under way.
    tokens: Rc<TokenService>,
    /// What a sandbox was given, for redaction.
    given_secrets: Rc<GivenSecrets>,
}

impl DurableObject for CloudAgentSession {
    fn new(state: State, env: Env) -> Self {
        let object = Self {
            state,
            env,
            store: RefCell::new(None),
            reader: Rc::default(),
            handing_over: Rc::default(),
            tokens: Rc::default(),
            given_secrets: Rc::default(),
        };
        if let Err(error) = object.store() {
            worker::console_error!("{}", fault_line("open", &error));
        }
        object
    }

    /// Opens a socket. What else a Worker asks for comes to [`CloudAgentSession::answer`].
    async fn fetch(&self, request: Request) -> Result<Response> {
        #[cfg(feature = "test-faults")]
        super::faults::arm(request.headers().get(super::faults::HEADER)?.as_deref());
        self.open_socket(&request)
    }

    /// What clients send is not looked at.
    async fn websocket_message(
        &self,
        _socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> Result<()> {
        Ok(())
    }

    /// Answers a close, which is what lets the platform forget the socket.
    async fn websocket_close(
        &self,
        socket: WebSocket,
        code: usize,
        reason: String,
        _was_clean: bool,
    ) -> Result<()> {
        sockets::answer_close(&socket, code, &reason);
        Ok(())
    }

    /// The platform forgets a socket whose connection broke.
    async fn websocket_error(&self, _socket: WebSocket, _error: worker::Error) -> Result<()> {
        Ok(())
    }

    async fn alarm(&self) -> Result<Response> {
        // Without storage nothing can be armed, so this alarm is left to the platform, which rings it again.
        let store = self.store().map_err(|error| platform_error(&error))?;
        if let Ok(config) = config(&self.env) {
            self.work(&store, &config).await?;
        } else {
            // Nothing can be delivered without a configuration; look again when it may have come.
            store.arm_at(Some(now().plus_millis(UNCONFIGURED_DELAY_MILLIS)));
            store.settle_alarm().await?;
        }
        Response::empty()
    }
}

#[wasm_bindgen]
impl CloudAgentSession {
    /// Answers a command, whose name is the last part of the URL.
    ///
    /// Everything happens before this returns, so nothing can come between. What is returned is the response, once the
    /// platform has taken the alarm's write.
    pub fn answer(&self, url: &str, body: &str) -> Promise {
        let name = url.rsplit('/').next().unwrap_or_default();
        let store = self.store();
        let (text, status) = match self.answer_command(&store, name, body) {
            Ok(json) => (json, 200),
            Err(error) => {
                let status = error.key.http_status();
                // A key and texts always serialize.
                (serde_json::to_string(&error).unwrap_or_default(), status)
            }
        };
        let armed = store.ok().and_then(|store| store.take_armed());
        platform::answer_when_armed(&text, status, armed)
    }
}

impl CloudAgentSession {
    /// The storage, opened by the first who needs it. Opening repairs what the last incarnation left behind.
    fn store(&self) -> std::result::Result<Rc<SqlStore>, StoreError> {
        if let Some(store) = &*self.store.borrow() {
            return Ok(Rc::clone(store));
        }
        let store = Rc::new(SqlStore::open(&self.state)?);
        if let Err(error) = engine::wake(&*store, now()) {
            // A row that cannot be read must not keep the session from what does not need it, such as its deletion.
            worker::console_error!("{}", fault_line("wake", &error));
            store.arm_at(Some(now().plus_millis(FAULT_DELAY_MILLIS)));
        }
        *self.store.borrow_mut() = Some(Rc::clone(&store));
        store.followers.attach(&store);
        Ok(store)
    }

    /// Opens a socket, or says why not.
    fn open_socket(&self, request: &Request) -> Result<Response> {
        let config = config(&self.env).map_err(|_| StreamError::Internal);
        let store = self.store().map_err(|_| StreamError::Internal);
        match config.and_then(|config| sockets::open(&*store?, &config, request)) {
            Ok(socket) => Response::from_websocket(socket),
            Err(error) => sockets::refuse(error),
        }
    }

    fn answer_command(
        &self,
        store: &std::result::Result<Rc<SqlStore>, StoreError>,
        name: &str,
        body: &str,
    ) -> std::result::Result<String, CallError> {
        let config = config(&self.env)
            .map_err(|error| CallError::new(ErrorKey::InternalServerError, error.to_string()))?;
        let store = store.as_ref().map_err(|error| {
            worker::console_error!("{}", fault_line("open", error));
            CallError::internal()
        })?;
        let envelope = serde_json::from_str::<Envelope<'_>>(body)
            .ok()
            .filter(|envelope| envelope.v == VERSION)
            .ok_or_else(|| CallError::new(ErrorKey::BadRequest, "Unknown command version"))?;
        #[cfg(feature = "test-faults")]
        super::faults::arm(envelope.fault.as_deref());
        let answering = Answering {
            store,
            config: &config,
            envelope: &envelope,
        };
        match name {
            sockets::TICKET_COMMAND => answering.issue_ticket(),
            name => answering.answer(Procedure::from_name(name)),
        }
    }

    /// The alarm's work. Every fault is caught here: the platform's own retries end after six.
    async fn work(&self, store: &Rc<SqlStore>, config: &Rc<Config>) -> Result<()> {
        if let Err(error) = self.work_once(store, config).await {
            store.log(&LogEvent::Fault {
                place: "alarm",
                reason: error.to_string(),
            });
            store.arm_at(Some(now().plus_millis(FAULT_DELAY_MILLIS)));
        }
        store.settle_alarm().await
    }

    /// One round. What is left rings the alarm again at once.
    async fn work_once(&self, store: &Rc<SqlStore>, config: &Rc<Config>) -> Result<()> {
        let round = engine::next_work(&**store, now(), &config.settings)
            .map_err(|error| platform_error(&error))?;
        let chores = engine::next_chores(&**store, now());
        // What was decided is durable, and the alarm armed for the case that this handler dies.
        store.settle_alarm().await?;
        // Chores that fail must not keep the queue waiting.
        if let Ok(Some(attempt)) = &chores {
            let sender = Sender {
                store: Rc::clone(store),
                config: Rc::clone(config),
            };
            self.state.wait_until(sender.send(attempt.clone()));
        }
        if let Some(Round { work, owed }) = round {
            self.work_on_queue(store, config, work).await?;
            if let Some(owed) = owed {
                self.call_what_is_owed(store, config, owed).await?;
            }
        }
        chores.map(|_| ()).map_err(|error| platform_error(&error))
    }

    async fn work_on_queue(
        &self,
        store: &Rc<SqlStore>,
        config: &Rc<Config>,
        work: Work,
    ) -> Result<()> {
        match work {
            Work::Rest | Work::Again => Ok(()),
            Work::Erase => store.erase().await,
            Work::Pull { overdue } => {
                self.follow_events(self.delivery(store, config)?, overdue);
                Ok(())
            }
            // A sandbox is called several times, once for each piece of what it is brought.
            Work::Deliver(claim)
                if config.direct.is_some() || attachments(&claim.intent).is_some() =>
            {
                self.hand_over_in_task(self.delivery(store, config)?, claim);
                Ok(())
            }
            Work::Deliver(claim) => {
                let delivery = self.delivery(store, config)?;
                let taken = delivery.hand_over(&claim).await;
                if taken.map_err(|error| platform_error(&error))? {
                    self.follow_events(delivery, false);
                }
                Ok(())
            }
            Work::Delete => {
                let removed = self.delivery(store, config)?.delete_remote().await;
                if removed.map_err(|error| platform_error(&error))? {
                    return store.erase().await;
                }
                Ok(())
            }
        }
    }

    async fn call_what_is_owed(
        &self,
        store: &Rc<SqlStore>,
        config: &Rc<Config>,
        owed: Owed,
    ) -> Result<()> {
        let delivery = self.delivery(store, config)?;
        match owed {
            Owed::Push(generation) => delivery.push_credential(generation).await,
            Owed::Interrupt(message_id) => delivery.interrupt_turn(&message_id).await,
        }
        .map_err(|error| platform_error(&error))
    }

    /// The session's dealings with its runtime.
    fn delivery(&self, store: &Rc<SqlStore>, config: &Rc<Config>) -> Result<Delivery<Adapter>> {
        let session_id = store.session_id().map_err(|error| platform_error(&error))?;
        // There is work, so there is a session.
        let session_id =
            session_id.ok_or_else(|| platform_error(&StoreError::Unreadable("session")))?;
        let transport = Adapter::new(&self.env, config, &session_id)?;
        let host = match &config.direct {
            None => Host::Runtime(RuntimeClient::new(transport)),
            Some(settings) => Host::Sandbox(SandboxClient {
                transport,
                settings: settings.clone(),
                hosts: config.allowed_hosts.clone(),
                given: Rc::clone(&self.given_secrets),
            }),
        };
        Ok(Delivery {
            store: Rc::clone(store),
            host,
            config: Rc::clone(config),
            env: self.env.clone(),
            tokens: Rc::clone(&self.tokens),
        })
    }

    /// Hands a claim over in a task of its own: bringing files takes longer than the alarm's handler may. While one task
    /// hands over, no other begins; should it die, the object's next incarnation or the claim's lease takes over.
    fn hand_over_in_task(&self, delivery: Delivery<Adapter>, claim: Box<Claim>) {
        let started = now();
        let is_busy = |since: Timestamp| started.millis_since(since) < HAND_OVER_MILLIS_MAX;
        if self.handing_over.get().is_some_and(is_busy) {
            return;
        }
        self.handing_over.set(Some(started));
        let handing_over = Rc::clone(&self.handing_over);
        let reader = Rc::clone(&self.reader);
        self.state.wait_until(async move {
            let handed_over = delivery.hand_over(&claim).await;
            handing_over.set(None);
            match handed_over {
                Ok(true) if !reader.is_reading.get() => {
                    reader.follow(reader.take_place(), delivery).await;
                }
                Ok(_) => {}
                Err(error) => {
                    delivery.store.log(&LogEvent::Fault {
                        place: "hand_over",
                        reason: error.to_string(),
                    });
                    let at = now().plus_millis(FAULT_DELAY_MILLIS);
                    delivery.store.arm_at(Some(at));
                }
            }
        });
    }

    /// Starts a task that reads events, unless one does. One that is overdue is taken for dead: should it come back, it
    /// finds that another has taken its place.
    fn follow_events(&self, delivery: Delivery<Adapter>, overdue: bool) {
        if self.reader.is_reading.get() && !overdue {
            return;
        }
        let place = self.reader.take_place();
        let reader = Rc::clone(&self.reader);
        self.state
            .wait_until(async move { reader.follow(place, delivery).await });
    }
}

/// Who reads events: at most one task counts.
#[derive(Default)]
struct Reader {
    is_reading: Cell<bool>,
    newest: Cell<u64>,
}

impl Reader {
    /// Reads events as long as this place is the newest.
    async fn follow<T: Transport>(&self, place: u64, delivery: Delivery<T>) {
        delivery.follow(&|| self.has_place(place)).await;
        self.leave_place(place);
    }

    fn take_place(&self) -> u64 {
        self.newest.set(self.newest.get() + 1);
        self.is_reading.set(true);
        self.newest.get()
    }

    fn has_place(&self, place: u64) -> bool {
        self.newest.get() == place
    }

    fn leave_place(&self, place: u64) {
        if self.has_place(place) {
            self.is_reading.set(false);
        }
    }
}

/// A fault of the storage, as the platform's handlers tell it.
fn platform_error(error: &StoreError) -> worker::Error {
    worker::Error::RustError(error.to_string())
}

fn fault_line(place: &'static str, error: &StoreError) -> String {
    LogEvent::Fault {
        place,
        reason: error.to_string(),
    }
    .to_line(None, now())
}
