//! A caller of procedures: who it is, what it asks for, and the way to the session's object.

use std::cell::OnceCell;
use std::rc::Rc;

use cloud_agent_wire::{Attachments, MessageId, Secret};
use serde_json::value::RawValue;
use wasm_bindgen::JsValue;
use worker::{Env, Result};

use crate::auth::{UserId, authenticate, bearer_token, check_internal_key};
use crate::config::Config;
use crate::envelope::{Envelope, NewSessionIds, VERSION};
use crate::mint;
use crate::session::attachment::AttachmentFault;
use crate::telemetry::LogEvent;
use crate::trpc::input::{self, decode};
use crate::trpc::output::HealthOutput;
use crate::trpc::request::Invocation;
use crate::trpc::{Access, CallError, Data, ErrorKey, Procedure};

use super::bucket::{self, Bucket};
use super::config::config;
use super::platform::{self, now, random};
use super::request::{Head, Header};

/// How often an object is asked before the request fails.
const TRIES_MAX: u32 = 3;
/// The wait before the second try, at most; it doubles with each further one.
const RETRY_BASE_MILLIS: u64 = 100;

/// What a call comes to.
pub type CallResult<T> = std::result::Result<T, CallError>;

/// The answer of `health`, the same for everybody.
pub fn health() -> HealthOutput {
    let timestamp = String::from(js_sys::Date::new_0().to_iso_string());
    HealthOutput {
        status: "ok",
        timestamp,
    }
}

/// Who calls, and with what.
pub struct Caller<'a> {
    env: &'a Env,
    head: &'a Head,
    /// The user, once a call has needed one.
    user: OnceCell<std::result::Result<UserId, CallError>>,
}

impl<'a> Caller<'a> {
    pub fn new(env: &'a Env, head: &'a Head) -> Self {
        Self {
            env,
            head,
            user: OnceCell::new(),
        }
    }

    /// The configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn config(&self) -> CallResult<Rc<Config>> {
        config(self.env)
            .map_err(|error| CallError::new(ErrorKey::InternalServerError, error.to_string()))
    }
}

impl Caller<'_> {
    /// Answers one call.
    ///
    /// # Errors
    /// Why it failed.
    pub async fn call(&self, invocation: &Invocation<'_>) -> CallResult<Data> {
        let procedure = invocation.procedure;
        if procedure.access() == Access::Public {
            return Data::from_output(&health());
        }
        let config = self.config()?;
        let user = self.user(&config)?;
        if procedure.access() == Access::Internal {
            let key = self.head.header(Header::InternalApiKey);
            check_internal_key(key, Some(&config.internal_secret))?;
        }
        let mut command = self.command(procedure, invocation.input.as_deref(), user, &config)?;
        if let Some((files, in_images)) = command.files.take() {
            let user_id = &command.envelope.user_id;
            let fault = self.check_files(user_id, &files, in_images).await?;
            command.envelope.attachment_fault = fault;
        }
        let answer = self.ask(procedure.name(), command).await;
        if procedure.admits() {
            answer.map_err(CallError::of_admission)
        } else {
            answer
        }
    }

    /// What is wrong with the files that a message names. The object decides what follows from it: of a message that it
    /// has admitted before, the files may be gone.
    async fn check_files(
        &self,
        user_id: &UserId,
        files: &Attachments,
        in_images: bool,
    ) -> CallResult<Option<AttachmentFault>> {
        let missing = || {
            let sentence = format!("{} is missing", bucket::BINDING);
            CallError::new(ErrorKey::InternalServerError, sentence)
        };
        let bucket = Bucket::of(self.env).ok_or_else(missing)?;
        bucket
            .first_fault(user_id, files, in_images)
            .await
            .map_err(|_| CallError::internal())
    }

    /// The user.
    ///
    /// # Errors
    /// Why the bearer token is not accepted.
    pub fn user(&self, config: &Rc<Config>) -> CallResult<UserId> {
        let authenticated = || {
            let token = bearer_token(self.head.header(Header::Authorization))?;
            Ok(authenticate(
                token,
                &config.auth_secret,
                self.head.received_at,
            )?)
        };
        self.user.get_or_init(authenticated).clone()
    }

    /// Checks the input, and decides which object gets it under which ids.
    fn command<'a>(
        &self,
        procedure: Procedure,
        input: Option<&'a str>,
        user_id: UserId,
        config: &Config,
    ) -> CallResult<Command<'a>> {
        let (mut message_id, mut new_session) = (None, None);
        let (mut files, mut files_in_images) = (None, false);
        let session_id = match procedure {
            Procedure::PrepareSession => {
                let session = decode::<input::PrepareSession>(input, &config.allowed_hosts)?;
                files = session.turn.attachments().cloned();
                files_in_images = session.files_in_images;
                let bearer = bearer_token(self.head.header(Header::Authorization))?;
                let ids = new_session_ids(bearer)?;
                message_id = Some(new_message_id()?);
                let session_id = ids.session_id.clone();
                new_session = Some(ids);
                session_id
            }
            Procedure::SendMessageV2 => {
                let message = decode::<input::SendMessage>(input, &())?;
                files = message.turn.attachments().cloned();
                files_in_images = message.files_in_images;
                if message.message_id.is_none() {
                    message_id = Some(new_message_id()?);
                }
                message.session_id
            }
            Procedure::UpdateSession => {
                decode::<input::UpdateSession>(input, &config.allowed_hosts)?.session_id
            }
            Procedure::InitiateFromKilocodeSessionV2 => {
                decode::<input::InitiateSession>(input, &())?
                    .cloud_agent_session_id
                    .0
            }
            Procedure::GetSession => {
                decode::<input::GetSession>(input, &())?
                    .cloud_agent_session_id
                    .0
            }
            Procedure::GetMessageResult => {
                decode::<input::GetMessageResult>(input, &())?
                    .cloud_agent_session_id
                    .0
            }
            Procedure::InterruptSession => {
                decode::<input::InterruptSession>(input, &())?.session_id.0
            }
            Procedure::DeleteSession => decode::<input::DeleteSession>(input, &())?.session_id.0,
            Procedure::Health => return Err(CallError::internal()),
        };
        // The input was decoded, so it is JSON.
        let input = input.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        let object_name = user_id.object_name(&session_id);
        let envelope = Envelope {
            v: VERSION,
            input,
            user_id,
            received_at: self.head.received_at,
            attempt: 1,
            message_id,
            attachment_fault: None,
            new_session,
            #[cfg(feature = "test-faults")]
            fault: self.head.header(Header::TestFault).map(str::to_owned),
        };
        Ok(Command {
            object_name,
            envelope,
            files: files.map(|files| (files, files_in_images)),
        })
    }

    /// Asks the object, again when the platform says that asking again may help: with the same stamp and ids.
    ///
    /// # Errors
    /// What the object answers, or that it could not be asked.
    pub async fn ask(&self, name: &str, mut command: Command<'_>) -> CallResult<Data> {
        loop {
            let error = match self.ask_once(name, &command).await {
                Ok(answer) => return answer,
                Err(error) => error,
            };
            let attempt = command.envelope.attempt;
            let fault = LogEvent::Fault {
                place: "object",
                reason: error.to_string(),
            };
            worker::console_error!("{}", fault.to_line(None, now()));
            if attempt >= TRIES_MAX || !is_retryable(&error) {
                return Err(CallError::internal());
            }
            let bound = RETRY_BASE_MILLIS << (attempt - 1);
            let jitter = random::<1>().map_or(0, |[byte]| u64::from(byte) * bound / 256);
            worker::Delay::from(std::time::Duration::from_millis(jitter)).await;
            command.envelope.attempt = attempt + 1;
        }
    }

    async fn ask_once(&self, name: &str, command: &Command<'_>) -> Result<CallResult<Data>> {
        let body = serde_json::to_string(&command.envelope)?;
        let (status, text) = platform::ask(self.env, &command.object_name, name, &body).await?;
        if status == 200 {
            return Ok(Ok(Data::from_json_text(text)));
        }
        Ok(Err(
            serde_json::from_str(&text).unwrap_or_else(|_| CallError::internal())
        ))
    }
}

/// A command and where it goes.
pub struct Command<'a> {
    pub object_name: String,
    pub envelope: Envelope<'a>,
    /// The files that the input names, and whether its field `images` does.
    pub files: Option<(Attachments, bool)>,
}

/// Whether the platform says that the same request may succeed: it marks such errors `retryable`. To an overloaded
/// object more requests would be the wrong answer.
fn is_retryable(error: &worker::Error) -> bool {
    let worker::Error::UnknownJsError { original, .. } = error else {
        return false;
    };
    let is_set = |name| {
        js_sys::Reflect::get(original, &JsValue::from_str(name))
            .is_ok_and(|value| value.is_truthy())
    };
    is_set("retryable") && !is_set("overloaded")
}

fn new_session_ids(bearer: &str) -> CallResult<NewSessionIds> {
    let session_id = random()
        .ok()
        .and_then(mint::session_id)
        .ok_or_else(CallError::internal)?;
    let kilo = random().map_err(|_| CallError::internal())?;
    Ok(NewSessionIds {
        session_id,
        kilo_session_id: mint::kilo_session_id(kilo),
        kilocode_token: Secret::new(bearer.to_owned()),
    })
}

fn new_message_id() -> CallResult<MessageId> {
    platform::message_id().map_err(|_| CallError::internal())
}
