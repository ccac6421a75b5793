//! The agent that is built in: it notes the prompt and reports the state of the working tree.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use cloud_agent_wire::Intent;
use rustix::fs::OFlags;
use serde_json::json;

/// Reads the message from `input`, appends it to `NOTES.md` in the working directory, and prints JSON lines.
///
/// # Errors
/// Those of the file system and of running git; `InvalidData` when the input is no message.
pub fn main(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut line = String::new();
    input.read_line(&mut line)?;
    let intent: Intent = serde_json::from_str(&line)?;
    let prompt = intent.rendered();
    // A link could lead anywhere that this process may write to, and a pipe could take for ever.
    let flags =
        i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
    let mut notes = OpenOptions::new()
        .create(true)
        .append(true)
        .custom_flags(flags)
        .open("NOTES.md")?;
    writeln!(notes, "{prompt}")?;
    let mut say = |value: serde_json::Value| writeln!(output, "{value}");
    say(json!({
        "type": "text",
        "messageId": intent.message_id(),
        "text": format!("Noted {} characters in NOTES.md.", prompt.chars().count()),
    }))?;
    let status = Command::new("git")
        .args(["status", "--porcelain"])
        .output()?;
    if !status.status.success() {
        return Err(io::Error::other("git status failed"));
    }
    let files: Vec<_> = String::from_utf8_lossy(&status.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    say(json!({ "type": "status", "messageId": intent.message_id(), "files": files }))
}
