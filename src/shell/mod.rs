//! The effects: everything that talks to the platform, and nothing that decides.

mod answering;
mod bucket;
mod callbacks;
mod caller;
mod config;
mod container;
mod decryption;
mod delivery;
mod event_log;
mod event_pull;
mod facts;
#[cfg(feature = "test-faults")]
mod faults;
mod followers;
mod hand_over;
mod host;
mod object;
mod owed;
mod platform;
mod records;
mod request;
mod rows;
mod runtime;
mod sandbox;
mod schema;
mod sockets;
mod store;
mod token_service;
mod transport;
mod worker;
mod write;
