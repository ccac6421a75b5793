//! Reads the configuration once per isolate: bindings never change while one lives.

use std::cell::OnceCell;
use std::rc::Rc;

use worker::Env;

use crate::config::{Config, ConfigError};

thread_local! {
    static CONFIG: OnceCell<Result<Rc<Config>, ConfigError>> = const { OnceCell::new() };
}

/// The configuration, or the sentence that says what is wrong with it.
///
/// # Errors
/// [`ConfigError`].
pub fn config(env: &Env) -> Result<Rc<Config>, ConfigError> {
    CONFIG.with(|cell| {
        cell.get_or_init(|| {
            let read = Config::read(
                |name| env.var(name).ok().map(|text| text.to_string()),
                |name| js_sys::Reflect::has(env, &name.into()).unwrap_or(false),
            );
            if let Err(error) = &read {
                worker::console_error!("{}", error_line(error));
            }
            read.map(Rc::new)
        })
        .clone()
    })
}

fn error_line(error: &ConfigError) -> String {
    crate::telemetry::LogEvent::Fault {
        place: "configuration",
        reason: error.to_string(),
    }
    .to_line(None, super::platform::now())
}
