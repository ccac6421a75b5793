//! Following a session over a WebSocket: who may, what is sent, and how much.
//!
//! Pure like everything outside `shell`: the shell owns the sockets, and asks here what a request may have, which
//! frame is next, and whether a socket still has room for it.
//!
//! Two kinds of events reach a socket. *Persisted* events are rows of the event table with an id above 0; each socket
//! has a cursor into that table and is sent everything behind it, in order, whoever woke the session up. *Volatile*
//! events have id 0: they tell what is going on now, and are neither stored nor repeated.

pub mod connection;
pub mod error;
pub mod filter;
pub mod frame;
pub mod origin;
pub mod request;
pub mod snapshot;
pub mod ticket;
