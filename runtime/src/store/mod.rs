//! What the runtime keeps on disk.
//!
//! ```text
//! WORKSPACE_ROOT/
//!   .store-id            names the disk
//!   .lock                held while a process uses the store
//!   .tombstones/         a file for every deleted session
//!   agent_…/             a session
//!     repo/              its workspace; belongs to the agent's user
//!     home/              the agent's home; belongs to the agent's user
//!     attachments/       uploaded files; belongs to the agent's user
//!     credential/        the agent's copy of the credential, a file that belongs to the agent's user
//!     runtime/           everything else; belongs to the runtime alone
//! ```

pub mod files;
pub mod paths;
pub mod records;
pub mod removal;
pub mod root;
