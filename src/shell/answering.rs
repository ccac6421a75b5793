//! A command to the object and its answer: decode, load, decide, commit, project.

use std::rc::Rc;

use cloud_agent_wire::MessageId;
use serde::Serialize;

use crate::commands::{self, NewSession};
use crate::config::Config;
use crate::envelope::Envelope;
use crate::projection;
use crate::session::admission::Acknowledgement;
use crate::session::command::Ingredients;
use crate::session::engine::{self, Store};
use crate::session::error::{CommandError, StoreError};
use crate::stream::ticket;
use crate::telemetry::LogEvent;
use crate::trpc::input::{self, CallbackChange, decode};
use crate::trpc::output::{
    DeleteSessionOutput, InterruptSessionOutput, PrepareSessionOutput, UpdateSessionOutput,
};
use crate::trpc::{CallError, ErrorKey, Procedure};

use super::platform::{self, nonce, now};
use super::store::SqlStore;

/// What a command is answered with.
pub struct Answering<'a> {
    pub store: &'a Rc<SqlStore>,
    pub config: &'a Config,
    pub envelope: &'a Envelope<'a>,
}

type Answer = std::result::Result<String, CallError>;

impl Answering<'_> {
    /// Everything between the decoded envelope and the answer, without an await: nothing can come between.
    ///
    /// # Errors
    /// What the caller is told.
    pub fn answer(&self, procedure: Option<Procedure>) -> Answer {
        match procedure {
            Some(Procedure::PrepareSession) => self.prepare(),
            Some(Procedure::UpdateSession) => self.update(),
            Some(Procedure::InitiateFromKilocodeSessionV2) => self.initiate(),
            Some(Procedure::SendMessageV2) => self.send_message(),
            Some(Procedure::GetSession) => self.get_session(),
            Some(Procedure::GetMessageResult) => self.get_message_result(),
            Some(Procedure::InterruptSession) => self.interrupt(),
            Some(Procedure::DeleteSession) => self.delete(),
            _ => Err(CallError::new(ErrorKey::NotFound, "Unknown command")),
        }
    }

    /// Issues a ticket for the session's stream.
    ///
    /// # Errors
    /// There is no such session of that user.
    pub fn issue_ticket(&self) -> Answer {
        let input: input::IssueTicket = self.input(&())?;
        let record = self.store.live_record();
        let record = record
            .map_err(|error| self.unreadable(&error))?
            .ok_or_else(|| CallError::new(ErrorKey::NotFound, "Session not found"))?;
        let grant = ticket::Grant {
            user_id: &record.user_id,
            session_id: &record.session_id,
            kilo_session_id: &record.kilo_session_id,
            organization_id: input
                .organization_id
                .as_ref()
                .map(input::text::Uuid::as_str),
            nonce: platform::random().map_err(|_| CallError::internal())?,
        };
        let issued = ticket::issue(&grant, &self.config.auth_secret, now());
        json(&issued.ok_or_else(CallError::internal)?)
    }

    fn input<T: input::Input>(&self, rules: &T::Rules) -> std::result::Result<T, CallError> {
        decode(
            self.envelope.input.map(serde_json::value::RawValue::get),
            rules,
        )
        .map_err(CallError::from)
    }

    fn ingredients(&self) -> std::result::Result<Ingredients<'_>, CallError> {
        Ok(Ingredients {
            ring: &self.config.sealing_keys,
            nonce: nonce().map_err(|_| CallError::internal())?,
            settings: self.config.settings,
        })
    }

    /// The message's id when the client gave none.
    fn fallback_id(&self) -> std::result::Result<MessageId, CallError> {
        match &self.envelope.message_id {
            Some(id) => Ok(id.clone()),
            None => platform::message_id().map_err(|_| CallError::internal()),
        }
    }

    fn prepare(&self) -> Answer {
        let input: input::PrepareSession = self.input(&self.config.allowed_hosts)?;
        let ids = self
            .envelope
            .new_session
            .clone()
            .ok_or_else(CallError::internal)?;
        let auto_initiate = input.auto_initiate;
        let output = PrepareSessionOutput {
            cloud_agent_session_id: ids.session_id.clone(),
            kilo_session_id: ids.kilo_session_id.clone(),
        };
        let ids = NewSession {
            session_id: ids.session_id,
            user_id: self.envelope.user_id.clone(),
            kilo_session_id: ids.kilo_session_id,
            kilocode_token: ids.kilocode_token,
            fallback_message_id: self.fallback_id()?,
        };
        // A repeat of a request whose answer was lost finds the session that it made.
        let is_repeat = self
            .store
            .initial_message()
            .map_err(|_| CallError::internal())?
            .is_some();
        if !is_repeat {
            if let Some(fault) = self.envelope.attachment_fault.clone() {
                return Err(commands::call_error(
                    &CommandError::Attachment(fault),
                    false,
                ));
            }
            let command = commands::prepare_session(input, ids, self.envelope.arrival(), now());
            // Each sealing has a nonce of its own.
            let (credential, secrets) = (self.ingredients()?, self.ingredients()?);
            let callback = self.ingredients()?;
            let ingredients = [&credential, &secrets, &callback];
            engine::prepare(&**self.store, command, now(), ingredients)
                .map_err(|error| commands::call_error(&error, false))?;
        }
        if auto_initiate {
            self.admit(engine::initiate(
                &**self.store,
                self.envelope.arrival(),
                now(),
                &self.ingredients()?,
            ))?;
        }
        json(&output)
    }

    fn update(&self) -> Answer {
        let input: input::UpdateSession = self.input(&self.config.allowed_hosts)?;
        let refused = |error: CommandError| commands::call_error(&error, false);
        // The token can be refused, so it comes before anything is changed.
        match input.git_token {
            Some(token) => engine::rotate(
                &**self.store,
                &token,
                self.envelope.arrival(),
                now(),
                &self.ingredients()?,
            )
            .map_err(refused)?,
            None => self.require_session()?,
        }
        match input.callback {
            CallbackChange::Keep => {}
            change => {
                let target = match change {
                    CallbackChange::Set(target) => commands::callback_target(&target),
                    CallbackChange::Keep | CallbackChange::Clear => None,
                };
                engine::replace_callback(&**self.store, target.as_ref(), &self.ingredients()?)
                    .map_err(refused)?;
            }
        }
        json(&UpdateSessionOutput { success: true })
    }

    fn require_session(&self) -> std::result::Result<(), CallError> {
        match self.store.initial_message() {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(commands::call_error(&CommandError::SessionNotFound, false)),
            Err(_) => Err(CallError::internal()),
        }
    }

    fn initiate(&self) -> Answer {
        self.input::<input::InitiateSession>(&())?;
        self.admit(engine::initiate(
            &**self.store,
            self.envelope.arrival(),
            now(),
            &self.ingredients()?,
        ))
    }

    fn send_message(&self) -> Answer {
        let input: input::SendMessage = self.input(&())?;
        let command = commands::send_message(
            input,
            self.fallback_id()?,
            self.envelope.attachment_fault.clone(),
            self.envelope.arrival(),
        );
        self.admit(engine::send_message(
            &**self.store,
            command,
            now(),
            &self.ingredients()?,
        ))
    }

    fn admit(&self, admitted: std::result::Result<Acknowledgement, CommandError>) -> Answer {
        let acknowledgement = admitted.map_err(|error| commands::call_error(&error, true))?;
        let session_id = self.store.session_id().ok().flatten();
        let session_id = session_id.ok_or_else(CallError::internal)?;
        json(&projection::acknowledgement(session_id, acknowledgement))
    }

    fn get_session(&self) -> Answer {
        self.input::<input::GetSession>(&())?;
        match self.store.session_sources() {
            Ok(Some(sources)) => json(&projection::session(sources)),
            Ok(None) => Err(commands::call_error(&CommandError::SessionNotFound, false)),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn get_message_result(&self) -> Answer {
        let input = self.input::<input::GetMessageResult>(&())?;
        match self.store.message(&input.message_id.0) {
            Ok(Some((session_id, Some(message)))) => {
                json(&projection::message_result(session_id, message))
            }
            Ok(Some((_, None))) => Err(commands::call_error(&CommandError::MessageNotFound, false)),
            Ok(None) => Err(commands::call_error(&CommandError::SessionNotFound, false)),
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    fn interrupt(&self) -> Answer {
        self.input::<input::InterruptSession>(&())?;
        let interrupted = engine::interrupt(&**self.store, now(), &self.config.settings);
        let (success, message) = match interrupted {
            Ok(()) => (true, "Queued session messages interrupted"),
            Err(CommandError::SessionNotFound) => (false, "Session not found"),
            Err(error) => return Err(commands::call_error(&error, false)),
        };
        json(&InterruptSessionOutput {
            success,
            message,
            processes_found: false,
        })
    }

    fn delete(&self) -> Answer {
        self.input::<input::DeleteSession>(&())?;
        let message = match engine::delete(&**self.store, now()) {
            Ok(()) => None,
            Err(CommandError::SessionNotFound) => Some("Session was already deleted"),
            Err(error) => return Err(commands::call_error(&error, false)),
        };
        json(&DeleteSessionOutput {
            success: true,
            message,
        })
    }

    fn unreadable(&self, error: &StoreError) -> CallError {
        self.store.log(&LogEvent::Fault {
            place: "load",
            reason: error.to_string(),
        });
        CallError::internal()
    }
}

fn json(output: &impl Serialize) -> Answer {
    serde_json::to_string(output).map_err(|_| CallError::internal())
}
