//! What a container is made of, as far as its owner must know.

use cloud_agent_wire::routes::HEALTH;

/// A kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// The port that takes calls.
    pub port: u16,
    /// A path that answers as soon as calls can be taken.
    pub probe_path: &'static str,
    /// Whether the program waits for its bearer token after each boot.
    pub is_claimed: bool,
    /// The longest that a call may take, its reply included. One that hangs must not keep the container for ever.
    pub call_millis_max: u32,
}

/// The image of `runtime/Dockerfile`.
pub const RUNTIME: Image = Image {
    port: 8080,
    probe_path: HEALTH,
    is_claimed: true,
    call_millis_max: 60_000,
};

/// A stock sandbox image, for direct mode: it takes commands from whoever reaches it, and only its owner does.
pub const SANDBOX: Image = Image {
    port: 3000,
    probe_path: "/",
    is_claimed: false,
    call_millis_max: 10_000,
};
