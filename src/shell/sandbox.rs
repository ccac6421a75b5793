//! A session's workspace in a sandbox that runs commands: what [`super::runtime::RuntimeClient`] is for a runtime.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::{
    AllowedHosts, Credential, EventSequence, JournalEvent, MessageId, PutCredential, PutTurn,
    PutWorkspace, RuntimeErrorCode, Secret, SessionId, StoreId, TurnReply, agent_input,
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use wasm_bindgen::{JsCast, JsValue};
use worker::{Method, Response, ResponseBuilder};

use crate::config::DirectSettings;
use crate::direct::answer::{self, Refusal};
use crate::direct::command::{Place, name_store};
use crate::direct::events;
use crate::direct::turn::{self, Unfit};
use crate::mint;

use super::platform::{now, random};
use super::runtime::{Body, CALL_TIMEOUT_MILLIS, Call, CallFault, Transport, checked};

/// Where a sandbox takes commands.
const EXECUTE: &str = "/api/execute";
/// What a command may take in the sandbox, so that its answer comes within the call's own time.
const COMMAND_TIMEOUT_MILLIS: u32 = CALL_TIMEOUT_MILLIS - 200;
/// The longest reply that is read: output and records in base64, quoted for JSON, with room.
const REPLY_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The largest file that is brought: admission lets no larger one pass.
const FILE_BYTES_MAX: usize = 5 * 1024 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Execute<'a> {
    command: &'a str,
    timeout_ms: u32,
}

#[derive(Deserialize)]
struct Executed {
    stdout: String,
}

/// The secrets that an object has given a sandbox: what comes back is searched for them.
#[derive(Default)]
pub struct GivenSecrets(RefCell<Given>);

#[derive(Default)]
struct Given {
    credentials: Vec<Credential>,
    values: Vec<Secret>,
    /// Whether the values are those of the session, and not yet to be recalled.
    is_complete: bool,
    redactor: Option<Rc<Redactor>>,
}

/// Credentials that are remembered: the newest ones.
const CREDENTIALS_MAX: usize = 32;

impl GivenSecrets {
    /// Remembers a credential before it is given away.
    fn learn_credential(&self, credential: Option<&Credential>) {
        let mut given = self.0.borrow_mut();
        let is_known = |new: &Credential| {
            let mut known = given.credentials.iter();
            known.any(|known| known.token.expose() == new.token.expose())
        };
        let Some(credential) = credential.filter(|new| !is_known(new)) else {
            return;
        };
        given.redactor = None;
        given.credentials.push(credential.clone());
        let surplus = given.credentials.len().saturating_sub(CREDENTIALS_MAX);
        given.credentials.drain(..surplus);
    }

    /// Remembers everything that a session's workspace is prepared with.
    pub fn learn(
        &self,
        credential: Option<&Credential>,
        env: &BTreeMap<String, Secret>,
        configuration: &BTreeMap<String, Secret>,
    ) {
        self.learn_credential(credential);
        let mut values = agent_input::secrets_of(configuration);
        values.extend(env.values().cloned());
        let mut given = self.0.borrow_mut();
        given.values = values;
        given.redactor = None;
        given.is_complete = true;
    }

    /// Whether nothing was learned since the object was constructed, although a sandbox may have been given secrets
    /// before.
    pub fn are_unknown(&self) -> bool {
        !self.0.borrow().is_complete
    }

    /// What removes them all.
    fn redactor(&self) -> Rc<Redactor> {
        let mut given = self.0.borrow_mut();
        let Given {
            credentials,
            values,
            redactor,
            ..
        } = &mut *given;
        let made = redactor.get_or_insert_with(|| Rc::new(Redactor::new(&*credentials, &*values)));
        Rc::clone(made)
    }
}

/// A sandbox, for one session at a time.
pub struct SandboxClient<T> {
    pub transport: T,
    pub settings: DirectSettings,
    pub hosts: AllowedHosts,
    pub given: Rc<GivenSecrets>,
}

impl<T: Transport> SandboxClient<T> {
    /// Asks which disk the sandbox has.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn store_id(&self) -> Result<StoreId, CallFault> {
        let fresh = random()
            .ok()
            .and_then(|bytes| mint::uuid(bytes).parse().ok());
        let fresh: StoreId = fresh.ok_or(CallFault::Unreachable)?;
        let answer = self
            .execute(None, &fit(name_store(&self.settings.root, &fresh))?)
            .await?;
        read(answer::store(&answer))
    }

    /// Starts a turn with its workspace.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_turn(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        turn: &PutTurn,
        workspace: &PutWorkspace,
    ) -> Result<TurnReply, CallFault> {
        let credential = workspace.credential.as_ref();
        self.given
            .learn(credential, &workspace.env, &workspace.configuration);
        let place = self.place(session_id);
        let agent = self.settings.agent_command.as_deref();
        let driver = fit(turn::driver(place, workspace, turn, agent, &self.hosts))?;
        let url = &workspace.repository.url;
        let authenticated = turn::authenticated(url, credential, &self.hosts);
        let numbers = (turn.submission, turn.generation);
        let message_id = turn.intent.message_id();
        let start = fit(place.start(store_id, message_id, numbers, &fit(authenticated)?))?;
        self.upload(
            place,
            store_id,
            "state/incoming",
            driver.expose().as_bytes(),
        )
        .await?;
        read(answer::turn(&self.execute(Some(store_id), &start).await?))
    }

    /// Has a newer credential tried beside a running turn.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_credential(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        url: &str,
        body: &PutCredential,
    ) -> Result<(), CallFault> {
        self.given.learn_credential(Some(&body.credential));
        let place = self.place(session_id);
        let trial = fit(turn::trial(place, url, body.generation, &self.hosts))?;
        let authenticated = fit(turn::authenticated(
            url,
            Some(&body.credential),
            &self.hosts,
        ))?;
        let push = fit(place.push(store_id, body.generation, &authenticated))?;
        self.upload(
            place,
            store_id,
            "state/trial.new",
            trial.expose().as_bytes(),
        )
        .await?;
        self.order(store_id, &push).await
    }

    /// Brings an attached file. Takes longer than an alarm's handler may wait.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn put_attachment(
        &self,
        session_id: &SessionId,
        name: &str,
        store_id: &StoreId,
        content: JsValue,
    ) -> Result<(), CallFault> {
        let content = ResponseBuilder::new().stream(content.unchecked_into());
        let content = read_all(content, FILE_BYTES_MAX).await?;
        let file = format!("attachments/{name}");
        self.upload(self.place(session_id), store_id, &file, &content)
            .await
    }

    /// Stops a turn.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn interrupt(
        &self,
        session_id: &SessionId,
        message_id: &MessageId,
        store_id: &StoreId,
    ) -> Result<(), CallFault> {
        let command = self.place(session_id).interrupt(store_id, message_id);
        self.order(store_id, &fit(command)?).await
    }

    /// Removes everything of a session.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn delete(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
    ) -> Result<(), CallFault> {
        let command = self.place(session_id).delete(store_id);
        self.order(store_id, &fit(command)?).await
    }

    /// The events after `after` that there are now.
    ///
    /// # Errors
    /// [`CallFault`].
    pub async fn events(
        &self,
        session_id: &SessionId,
        store_id: &StoreId,
        after: EventSequence,
    ) -> Result<Vec<JournalEvent>, CallFault> {
        let command = self.place(session_id).read_events(store_id, after);
        let answer = self.execute(Some(store_id), &fit(command)?).await?;
        for credential in events::credentials(&answer) {
            self.given.learn_credential(Some(&credential));
        }
        read(events::read(&answer, &self.given.redactor(), now()))
    }

    fn place<'a>(&'a self, session_id: &'a SessionId) -> Place<'a> {
        Place {
            root: &self.settings.root,
            session_id,
        }
    }

    async fn upload(
        &self,
        place: Place<'_>,
        store_id: &StoreId,
        file: &str,
        content: &[u8],
    ) -> Result<(), CallFault> {
        for command in fit(place.upload(store_id, file, content))? {
            self.order(store_id, &command).await?;
        }
        Ok(())
    }

    /// Runs a command whose answer says nothing but that it was done.
    async fn order(&self, store_id: &StoreId, command: &Secret) -> Result<(), CallFault> {
        read(answer::done(&self.execute(Some(store_id), command).await?))
    }

    /// Runs a command and returns what it printed. One that names a store starts no container without it.
    async fn execute(
        &self,
        store_id: Option<&StoreId>,
        command: &Secret,
    ) -> Result<String, CallFault> {
        let body = Execute {
            command: command.expose(),
            timeout_ms: COMMAND_TIMEOUT_MILLIS,
        };
        let call = Call {
            method: Method::Post,
            path: EXECUTE.to_owned(),
            store_id: store_id.cloned(),
            body: Body::Json(serde_json::to_string(&body).map_err(|_| CallFault::Unreachable)?),
            timeout_millis: CALL_TIMEOUT_MILLIS,
        };
        let response = checked(&self.transport, &call).await?;
        let reply = read_all(response, REPLY_BYTES_MAX).await?;
        let executed: Executed =
            serde_json::from_slice(&reply).map_err(|_| CallFault::Unreachable)?;
        Ok(executed.stdout)
    }
}

/// A command that could be put together. One that could not never will be.
fn fit<R>(command: Result<R, impl Into<Unfit>>) -> Result<R, CallFault> {
    command.map_err(|_| CallFault::Refused(RuntimeErrorCode::InvalidRequest))
}

fn read<R>(answer: Result<R, Refusal>) -> Result<R, CallFault> {
    answer.map_err(|refusal| match refusal {
        Refusal::Refused(code) => CallFault::Refused(code),
        Refusal::Senseless => CallFault::Unreachable,
    })
}

/// A body, unless it is longer than allowed.
async fn read_all(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, CallFault> {
    let mut stream = response.stream().map_err(|_| CallFault::Unreachable)?;
    let mut body = Vec::new();
    while let Some(chunk) = stream.next().await {
        body.extend(chunk.map_err(|_| CallFault::Unreachable)?);
        if body.len() > bytes_max {
            return Err(CallFault::Unreachable);
        }
    }
    Ok(body)
}
