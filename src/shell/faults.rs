//! Faults that end-to-end tests ask for with a header. Compiled into test builds only.

use std::cell::Cell;

use cloud_agent_wire::Timestamp;

use crate::limits::SOCKET_MILLIS_MAX;
use crate::session::error::StoreError;
use crate::session::step::{Step, Write};

/// The header that names the fault of a request.
pub const HEADER: &str = "x-test-fault";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// Panic when the message is about to be persisted: after its token was applied.
    PanicBeforePersist,
    /// Persisting fails, for this request.
    FailPersist,
    /// Panic when the rest of what is stored is about to be sent to the socket that is opened.
    PanicInReplay,
    /// The socket that is opened has lasted almost as long as it may.
    OldConnection,
}

thread_local! {
    static ARMED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Arms the fault that a request asks for, or none.
pub fn arm(name: Option<&str>) {
    let fault = match name {
        Some("panic-before-persist") => Some(Fault::PanicBeforePersist),
        Some("fail-persist") => Some(Fault::FailPersist),
        Some("panic-in-replay") => Some(Fault::PanicInReplay),
        Some("old-connection") => Some(Fault::OldConnection),
        _ => None,
    };
    ARMED.set(fault);
}

/// Strikes when a step is about to persist a message.
pub fn before_commit(step: &Step) -> Result<(), StoreError> {
    let persists = step
        .iter()
        .any(|write| matches!(write, Write::AppendMessage { .. }));
    match ARMED.get() {
        Some(Fault::PanicBeforePersist) if persists => strike(),
        Some(Fault::FailPersist) if persists => Err(StoreError::Failed(
            "a test asked for this failure".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// Strikes when a task is about to send followers what is left.
pub fn before_round() {
    if ARMED.get() == Some(Fault::PanicInReplay) {
        strike();
    }
}

/// When a socket that is opened now was opened.
pub fn opened_at(now: Timestamp) -> Timestamp {
    if ARMED.get() == Some(Fault::OldConnection) {
        ARMED.set(None);
        Timestamp::from_millis(now.as_millis() - SOCKET_MILLIS_MAX + 2_000)
    } else {
        now
    }
}

fn strike() -> ! {
    ARMED.set(None);
    #[allow(clippy::panic, reason = "the fault that the test asked for")]
    {
        panic!("a test asked for a panic");
    }
}
