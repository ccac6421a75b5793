//! Commands for the sandbox's shell.
//!
//! A command may hold the credential: its text is a secret, and goes into the body of a request and nowhere else.

use std::hash::{DefaultHasher, Hasher as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_wire::{
    EventSequence, Generation, MessageId, NulInWord, Secret, SessionId, ShellWord, StoreId,
    Submission,
};

use super::scripts::{DELETE, EVENTS, GUARD, INTERRUPT, PUSH, SESSION, START, STORE, UPLOAD};

/// Bytes of a file that one command brings: systems limit the length of an argument to 128 KiB.
const PIECE_BYTES: usize = 66_000;
/// Most of the agent's output that one command reads in bytes: more than its longest line.
pub const OUTPUT_BYTES_MAX: usize = 384 * 1024;

/// A command runs in a shell of its own, since the one that it is sent to may be there for the next one as well.
const OPEN: &str = "(\n";
const CLOSE: &str = ")\n";

/// A script, as it is put together: what varies comes first, as quoted words.
#[derive(Default)]
pub struct Script(String);

impl Script {
    /// Sets variables of the script to texts.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn set(&mut self, variables: &[(&str, &str)]) -> Result<&mut Self, NulInWord> {
        for (name, text) in variables {
            let word = ShellWord::new(text)?;
            for part in [name, "=", word.as_str(), "\n"] {
                self.0.push_str(part);
            }
        }
        Ok(self)
    }

    /// Goes on with a text of the program itself, or of quoted words.
    pub fn then(&mut self, program: &str) -> &mut Self {
        self.0.push_str(program);
        self
    }

    /// What there is of it.
    fn text(&self) -> &str {
        &self.0
    }

    /// The whole.
    #[must_use]
    pub fn finish(self) -> Secret {
        Secret::new(self.0)
    }
}

/// The files of a session in a sandbox.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The folder of all workspaces.
    pub root: &'a str,
    /// The session.
    pub session_id: &'a SessionId,
}

impl Place<'_> {
    /// A script that knows where the session's files are.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn script(&self) -> Result<Script, NulInWord> {
        let mut script = Script::default();
        let session = self.session_id.as_str();
        script.set(&[("root", self.root), ("session", session)])?;
        script.then(SESSION);
        Ok(script)
    }

    /// A command for a disk that is to be this one.
    fn command(
        &self,
        store_id: &StoreId,
        variables: &[(&str, &str)],
        program: &str,
    ) -> Result<Secret, NulInWord> {
        let mut script = Script::default();
        script.then(OPEN).then(self.script()?.text());
        script.set(&[("store", store_id.as_str())])?;
        script.set(variables)?;
        script.then(GUARD).then(program).then(CLOSE);
        Ok(script.finish())
    }

    /// Commands that bring a file, piece by piece. A repeat begins anew, whatever another try still does.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn upload(
        &self,
        store_id: &StoreId,
        file: &str,
        content: &[u8],
    ) -> Result<Vec<Secret>, NulInWord> {
        let target = [self.root, self.session_id.as_str(), file].join("/");
        let mut hasher = DefaultHasher::new();
        hasher.write(target.as_bytes());
        hasher.write(content);
        let (name, total) = (hasher.finish().to_string(), content.len().to_string());
        let mut commands = Vec::new();
        for piece in content.chunks(PIECE_BYTES) {
            let offset = (commands.len() * PIECE_BYTES).to_string();
            let piece = STANDARD.encode(piece);
            let variables = [
                ("target", &*target),
                ("name", &name),
                ("offset", &offset),
                ("total", &total),
                ("piece", &piece),
            ];
            commands.push(self.command(store_id, &variables, UPLOAD)?);
        }
        Ok(commands)
    }

    /// Starts the driver that was uploaded, once for each submission, with the repository's URL and its credential.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn start(
        &self,
        store_id: &StoreId,
        message_id: &MessageId,
        (submission, generation): (Submission, Generation),
        authenticated: &Secret,
    ) -> Result<Secret, NulInWord> {
        let variables = [
            ("message", message_id.as_str()),
            ("submission", &submission.to_string()),
            ("generation", &generation.to_string()),
            ("authenticated", authenticated.expose()),
        ];
        self.command(store_id, &variables, START)
    }

    /// Has a newer credential tried beside a running turn, by the script that was uploaded.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn push(
        &self,
        store_id: &StoreId,
        generation: Generation,
        authenticated: &Secret,
    ) -> Result<Secret, NulInWord> {
        let variables = [
            ("generation", &*generation.to_string()),
            ("authenticated", authenticated.expose()),
        ];
        self.command(store_id, &variables, PUSH)
    }

    /// Reads what happened after a position.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn read_events(
        &self,
        store_id: &StoreId,
        after: EventSequence,
    ) -> Result<Secret, NulInWord> {
        let variables = [
            ("after", &*after.to_string()),
            ("most", &OUTPUT_BYTES_MAX.to_string()),
        ];
        self.command(store_id, &variables, EVENTS)
    }

    /// Stops a message's turn, also one that has not begun.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn interrupt(
        &self,
        store_id: &StoreId,
        message_id: &MessageId,
    ) -> Result<Secret, NulInWord> {
        let variables = [("message", message_id.as_str())];
        self.command(store_id, &variables, INTERRUPT)
    }

    /// Ends and removes everything of the session. A repeat goes on with it.
    ///
    /// # Errors
    /// [`NulInWord`].
    pub fn delete(&self, store_id: &StoreId) -> Result<Secret, NulInWord> {
        self.command(store_id, &[("deletes", "1")], DELETE)
    }
}

/// Asks which disk the sandbox has. One that has no name yet is given `fresh`.
///
/// # Errors
/// [`NulInWord`].
pub fn name_store(root: &str, fresh: &StoreId) -> Result<Secret, NulInWord> {
    let mut script = Script::default();
    script.then(OPEN);
    script.set(&[("root", root), ("fresh", fresh.as_str())])?;
    script.then(STORE).then(CLOSE);
    Ok(script.finish())
}
