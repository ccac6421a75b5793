//! What the object of a container holds, and its alarm.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use cloud_agent_wire::Timestamp;
use js_sys::Promise;
use worker::{Container, State, Storage};

use crate::config::Config;
use crate::container::image::{Image, RUNTIME, SANDBOX};
use crate::container::lifecycle::{AlarmStep, Lifecycle, Stop};
use crate::telemetry::LogEvent;

use super::super::platform::now;
use super::stored_stop;

/// The signal that asks a container to end.
const SIGTERM: i32 = 15;

/// The container, and what is known of it.
pub struct Owner {
    pub(super) container: Container,
    pub(super) config: Rc<Config>,
    pub(super) image: Image,
    pub(super) lifecycle: RefCell<Lifecycle>,
    /// The start that is under way, for all who wait for it.
    pub(super) boot: RefCell<Option<Promise>>,
    /// The exit of the container, as far as it is listened for.
    pub(super) exit: RefCell<Option<Promise>>,
    /// Breaks the calls that are under way: a connection to a container that has ended may hang.
    pub(super) calls: RefCell<web_sys::AbortController>,
    storage: Storage,
    saved: Cell<Option<Stop>>,
}

impl Owner {
    /// The owner of the object's container.
    ///
    /// # Errors
    /// Why it owns none.
    pub fn new(state: &State, config: Rc<Config>) -> Result<Rc<Self>, &'static str> {
        let container = state.container().ok_or("the platform runs no containers")?;
        let storage = state.storage();
        let stop = stored_stop::load(&storage.sql()).map_err(|_| "the storage cannot be read")?;
        let image = if config.direct.is_some() {
            SANDBOX
        } else {
            RUNTIME
        };
        let lifecycle = Lifecycle::new(image, config.sleep_after_millis, stop);
        let calls = web_sys::AbortController::new().map_err(|_| "calls cannot be broken")?;
        Ok(Rc::new(Self {
            container,
            config,
            image,
            lifecycle: RefCell::new(lifecycle),
            boot: RefCell::new(None),
            exit: RefCell::new(None),
            calls: RefCell::new(calls),
            storage,
            saved: Cell::new(stop),
        }))
    }

    /// Tells the state machine something, or asks it.
    pub(super) fn with<R>(&self, look: impl FnOnce(&mut Lifecycle) -> R) -> R {
        look(&mut self.lifecycle.borrow_mut())
    }

    /// Stores the next stop if it has changed.
    ///
    /// # Errors
    /// The platform's.
    pub(super) async fn save(&self) -> worker::Result<()> {
        let stop = self.with(|life| life.stop());
        if self.saved.replace(stop) == stop {
            return Ok(());
        }
        stored_stop::save(&self.storage, stop, now()).await
    }

    /// The alarm: stops a container that nobody uses.
    ///
    /// # Errors
    /// The platform's, after which it rings again.
    pub async fn ring(self: &Rc<Self>, now: Timestamp) -> worker::Result<()> {
        let is_running = self.container.running();
        let (step, next) = self.with(|life| (life.on_alarm(is_running, now), life.stop()));
        // An alarm that rang is gone, whether or not the moment has changed.
        self.saved.set(next);
        stored_stop::save(&self.storage, next, now).await?;
        match step {
            AlarmStep::Rest => Ok(()),
            AlarmStep::Terminate => {
                log("idle");
                // Where it has ended meanwhile there is nobody to be asked; the alarm at the next stop sees to the rest.
                let _ = self.container.signal(SIGTERM);
                Ok(())
            }
            AlarmStep::Remove => {
                self.remove().await;
                self.save().await
            }
        }
    }
}

/// Logs a change of a container.
pub fn log(change: &'static str) {
    let line = LogEvent::ContainerChanged { change }.to_line(None, now());
    worker::console_log!("{line}");
}
