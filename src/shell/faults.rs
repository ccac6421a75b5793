//! Faults that end-to-end tests ask for with a header. Compiled into test builds only.

use std::cell::Cell;

use worker::Request;

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
}

thread_local! {
    static ARMED: Cell<Option<Fault>> = const { Cell::new(None) };
}

/// Arms the fault that the request asks for, or none.
pub fn arm(request: &Request) -> worker::Result<()> {
    let fault = match request.headers().get(HEADER)?.as_deref() {
        Some("panic-before-persist") => Some(Fault::PanicBeforePersist),
        Some("fail-persist") => Some(Fault::FailPersist),
        Some("panic-in-replay") => Some(Fault::PanicInReplay),
        _ => None,
    };
    ARMED.set(fault);
    Ok(())
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

fn strike() -> ! {
    ARMED.set(None);
    #[allow(clippy::panic, reason = "the fault that the test asked for")]
    {
        panic!("a test asked for a panic");
    }
}
