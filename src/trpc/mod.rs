//! The tRPC edge: what clients send becomes typed calls, and what the session answers becomes envelopes.
//!
//! Everything here is pure. [`request`] splits a request into calls and leaves each call's input as text,
//! [`input`] decodes that text once into the types of one procedure, [`output`] has the types of the answers,
//! and [`envelope`] puts answers and errors into the shape that stock clients read.
//!
//! No error repeats the value of a field: see [`issue`].

pub mod codes;
pub mod envelope;
pub mod error;
pub mod input;
pub mod issue;
pub mod output;
pub mod procedure;
pub mod request;

pub use codes::{AdmissionCode, ErrorKey};
pub use envelope::{Answer, Data, Reply};
pub use error::CallError;
pub use issue::Issue;
pub use procedure::{Access, Kind, Procedure};
