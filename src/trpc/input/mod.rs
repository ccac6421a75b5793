//! Typed inputs: the text of a call becomes the type of its procedure, or a list of issues.
//!
//! Each input has a *fields* type, which is the JSON as clients write it and checks each field by itself while it
//! is read, and the input proper, which exists only when the fields go together. Both ends of a rule are in the
//! types: nothing behind this module has to check a length or a form again.

pub mod attachments;
pub mod callback;
pub mod prepare_session;
pub mod profile;
pub mod repository;
pub mod send_message;
pub mod session;
pub mod shape;
pub mod text;
pub mod turn;
pub mod update_session;

pub use callback::CallbackTarget;
pub use prepare_session::PrepareSession;
pub use profile::RuntimeAgent;
pub use repository::RepositoryInput;
pub use send_message::SendMessage;
pub use session::{
    DeleteSession, GetMessageResult, GetSession, InitiateSession, InterruptSession, IssueTicket,
};
pub use text::check_git_token;
pub use turn::AgentInput;
pub use update_session::{CallbackChange, UpdateSession};

use serde::Deserialize;
use serde_json::value::RawValue;

use self::shape::Object;
use super::issue::{self, Issue, IssueCode, Violation};

/// The input of a procedure.
pub trait Input: Sized {
    /// The JSON as clients write it.
    type Fields<'de>: Deserialize<'de>;
    /// What the rules depend on besides the input; `()` for most.
    type Rules: ?Sized;

    /// Checks the rules that span fields, and those that depend on configuration.
    ///
    /// # Errors
    /// Everything that is wrong.
    fn check(fields: Self::Fields<'_>, rules: &Self::Rules) -> Result<Self, Vec<Issue>>;
}

/// Decodes the input of a call.
///
/// # Errors
/// What is wrong with the input: the first field that cannot be read, or else every rule that is broken.
pub fn decode<T: Input>(input: Option<&str>, rules: &T::Rules) -> Result<T, Vec<Issue>> {
    let Some(text) = input else {
        let violation = Violation::new(IssueCode::InvalidType, "must be an object");
        return Err(vec![Issue::within(&[], violation)]);
    };
    let Object(fields) = read(text)?;
    T::check(fields, rules)
}

/// Reads JSON text and places what is wrong with it.
fn read<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, Issue> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| issue::from_serde(&error))?;
    deserializer
        .end()
        .map_err(|error| Issue::within(&[], issue::describe(&error).violation))?;
    Ok(value)
}

/// Reads a part of the input that was kept as text while the whole was read.
fn nested<'de, T: Deserialize<'de>>(raw: &'de RawValue, field: &'static str) -> Result<T, Issue> {
    read(raw.get()).map_err(|issue| issue.nested_in(field))
}

/// A field that must be there although its type is optional.
fn required<T>(value: Option<T>, path: &[&'static str]) -> Result<T, Issue> {
    value.ok_or_else(|| Issue::within(path, Violation::missing()))
}

#[cfg(test)]
mod tests;
