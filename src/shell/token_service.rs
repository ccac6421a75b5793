//! The service that resolves the tokens of managed repositories: `GIT_TOKEN_SERVICE`, called over RPC.
//!
//! The alarm's handler waits for an answer only so long; a call that takes longer stays under way, and the next alarm
//! takes up the same one. It lives in memory only: after a restart the service is asked again.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use cloud_agent_wire::{AllowedHosts, Timestamp};
use futures_util::future::{Either, select};
use js_sys::futures::JsFuture;
use js_sys::{JSON, Promise};
use wasm_bindgen::prelude::*;
use worker::{Delay, Env};

use crate::session::managed::{
    ManagedFault, ManagedToken, Provider, TokenRequest, read_reply, token_request,
};
use crate::session::record::SessionRecord;
use crate::session::timing::MANAGED_ANSWER_MILLIS_MAX;

use super::platform::now;
use super::runtime::CALL_TIMEOUT_MILLIS;

/// The binding's name.
const BINDING: &str = "GIT_TOKEN_SERVICE";
/// What the platform says of a method that the service does not have.
const NO_SUCH_METHOD: &str = "does not implement";

#[wasm_bindgen]
extern "C" {
    /// The service.
    type Stub;

    #[wasm_bindgen(method, catch, js_name = getCloudAgentAuthForRepo)]
    fn cloud_agent_auth_for_repo(this: &Stub, request: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = getTokenForRepo)]
    fn token_for_repo(this: &Stub, request: &JsValue) -> Result<Promise, JsValue>;

    #[wasm_bindgen(method, catch, js_name = getGitLabToken)]
    fn gitlab_token(this: &Stub, request: &JsValue) -> Result<Promise, JsValue>;
}

/// A method of the service.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    CloudAgentAuthForRepo,
    /// What older services have instead.
    TokenForRepo,
    GitLabToken,
}

/// A call that is under way.
#[derive(Clone)]
struct Pending {
    method: Method,
    promise: Promise,
    since: Timestamp,
}

/// What became of a resolution within the time that the alarm's handler has.
pub enum Resolution {
    /// There is a token, or there is none.
    Done(Result<ManagedToken, ManagedFault>),
    /// The service has not answered yet; ask again.
    Pending,
}

/// The service, and the call to it that is under way. One for each object.
#[derive(Default)]
pub struct TokenService {
    pending: RefCell<Option<Pending>>,
}

impl TokenService {
    /// Resolves the token of a session's repository.
    pub async fn resolve(
        self: &Rc<Self>,
        env: &Env,
        record: &SessionRecord,
        development_hosts: &AllowedHosts,
    ) -> Resolution {
        let Some((provider, request)) = token_request(record) else {
            return Resolution::Done(Err(ManagedFault::Refused));
        };
        let Ok(service) = env.service(BINDING) else {
            return Resolution::Done(Err(ManagedFault::NotConfigured));
        };
        let service: Stub = service.into_rpc();
        let first = match provider {
            Provider::Github => Method::CloudAgentAuthForRepo,
            Provider::Gitlab => Method::GitLabToken,
        };
        // One that nobody came back for may hold a token that is dead by now.
        let is_recent = |call: &Pending| !is_overdue(call);
        let taken = self.pending.borrow_mut().take().filter(is_recent);
        let mut call = taken.map_or_else(|| begin(&service, first, &request), Ok);
        loop {
            let answer = match call {
                Ok(pending) => match within_bound(&pending).await {
                    Some(answer) => answer.map_err(|error| (pending.method, error)),
                    None => return self.keep(pending),
                },
                Err(refused) => Err(refused),
            };
            let text = match answer {
                Ok(reply) => JSON::stringify(&reply).ok().map(String::from),
                Err((Method::CloudAgentAuthForRepo, error)) if is_no_such_method(&error) => {
                    call = begin(&service, Method::TokenForRepo, &request);
                    continue;
                }
                Err(_) => None,
            };
            let reply = text.and_then(|text| serde_json::from_str(&text).ok());
            return Resolution::Done(read_reply(record, reply, development_hosts));
        }
    }

    /// Keeps a call that has not been answered, unless it has been waited for long enough.
    fn keep(&self, pending: Pending) -> Resolution {
        if is_overdue(&pending) {
            return Resolution::Done(Err(ManagedFault::Unavailable));
        }
        *self.pending.borrow_mut() = Some(pending);
        Resolution::Pending
    }
}

fn is_overdue(call: &Pending) -> bool {
    now().millis_since(call.since) >= MANAGED_ANSWER_MILLIS_MAX
}

fn begin(
    service: &Stub,
    method: Method,
    request: &TokenRequest<'_>,
) -> Result<Pending, (Method, JsValue)> {
    let request = serde_json::to_string(request)
        .map_err(|error| JsValue::from_str(&error.to_string()))
        .and_then(|text| JSON::parse(&text));
    let promise = request.and_then(|request| match method {
        Method::CloudAgentAuthForRepo => service.cloud_agent_auth_for_repo(&request),
        Method::TokenForRepo => service.token_for_repo(&request),
        Method::GitLabToken => service.gitlab_token(&request),
    });
    promise
        .map(|promise| Pending {
            method,
            promise,
            since: now(),
        })
        .map_err(|error| (method, error))
}

/// The answer, or `None` when the alarm's handler must go on without it.
async fn within_bound(pending: &Pending) -> Option<Result<JsValue, JsValue>> {
    let bound = Delay::from(Duration::from_millis(u64::from(CALL_TIMEOUT_MILLIS)));
    match select(JsFuture::from(pending.promise.clone()), bound).await {
        Either::Left((answer, _)) => Some(answer),
        Either::Right(_) => None,
    }
}

fn is_no_such_method(error: &JsValue) -> bool {
    js_sys::Reflect::get(error, &JsValue::from_str("message"))
        .ok()
        .and_then(|message| message.as_string())
        .is_some_and(|message| message.contains(NO_SUCH_METHOD))
}
