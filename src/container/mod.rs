//! What the owner of a sandbox's container does next: start it, wait for it, claim it, hand calls on, stop it.
//!
//! The shell performs what is decided here and tells what came of it. Nothing here knows what the container is for:
//! [`image::Image`] says which port takes calls and whether the program behind it must be claimed.

pub mod image;
pub mod lifecycle;
pub mod timing;
