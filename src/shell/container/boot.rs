//! Starting a container, and removing one.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use cloud_agent_wire::{Claim, routes};
use futures_util::future::select;
use js_sys::futures::{JsFuture, future_to_promise};
use js_sys::{Object, Promise, Reflect};
use wasm_bindgen::prelude::*;
use worker::{Container, Delay, Fetcher, Method, Request, RequestInit, Response};

use crate::container::lifecycle::{BootStep, ClaimReply, Lifecycle, Probe};
use crate::container::timing::{
    CALL_WAIT_MILLIS, PROBE_INTERVAL_MILLIS, PROBE_MILLIS_MAX, REMOVAL_MILLIS_MAX,
};

use super::super::platform::now;
use super::super::runtime::CALL_TIMEOUT_MILLIS;
use super::owner::{Owner, log};

#[wasm_bindgen]
extern "C" {
    /// A container, as the platform shows it.
    type RawContainer;

    #[wasm_bindgen(method, catch)]
    fn start(this: &RawContainer, options: &Object) -> Result<(), JsValue>;
}

// The caller must still be there when it is told that the container is not ready.
const _: () = assert!(CALL_WAIT_MILLIS < CALL_TIMEOUT_MILLIS as u64);

/// Nothing resolves it, and nothing looks at it.
const ORIGIN: &str = "http://container";

impl Owner {
    /// Waits for the start that is under way, or for a new one, as long as a call may.
    pub(super) async fn wait_for_boot(self: &Rc<Self>) {
        let boot = self.boot_under_way();
        let bound = Delay::from(Duration::from_millis(CALL_WAIT_MILLIS));
        select(JsFuture::from(boot), bound).await;
    }

    fn boot_under_way(self: &Rc<Self>) -> Promise {
        let begins = self.with(|life| life.begin_boot(now()));
        if let Some(boot) = self.boot.borrow().as_ref().filter(|_| !begins) {
            return boot.clone();
        }
        let owner = Rc::clone(self);
        let boot = begin(Box::pin(async move { owner.start().await }));
        *self.boot.borrow_mut() = Some(boot.clone());
        boot
    }

    /// Starts a container, if none runs, until it takes calls or this try has failed.
    async fn start(self: &Rc<Self>) {
        loop {
            let is_running = self.container.running();
            match self.with(|life| life.next_step(is_running, now())) {
                BootStep::Remove => self.remove().await,
                BootStep::Start => {
                    let started = start(&self.container);
                    log(if started.is_ok() {
                        "started"
                    } else {
                        "not started"
                    });
                    self.with(|life| life.on_started(started.is_ok(), now()));
                }
                BootStep::Probe => {
                    let probe = self.probe().await;
                    self.with(|life| life.on_probe(probe, now()));
                    if probe != Probe::Answered {
                        pause(PROBE_INTERVAL_MILLIS).await;
                    }
                }
                BootStep::Claim => {
                    let reply = self.claim().await;
                    self.with(|life| life.on_claim(reply));
                    if reply == ClaimReply::Unanswered {
                        pause(PROBE_INTERVAL_MILLIS).await;
                    }
                }
                BootStep::End => break,
            }
            // What is stored is a bound, and the next call stores it again.
            let _ = self.save().await;
        }
        // From now on somebody listens. Before, the platform might not yet have what there is to listen to.
        let _ = self.exit();
    }

    /// The exit of the container that runs: nobody is told of it otherwise. It is listened for once, for all who wait,
    /// since the platform takes the end of each listening for the end of whatever it has started meanwhile.
    fn exit(self: &Rc<Self>) -> Option<Promise> {
        if !self.container.running() {
            return None;
        }
        let mut exit = self.exit.borrow_mut();
        let owner = Rc::clone(self);
        let listen = || {
            begin(Box::pin(async move {
                // An exit with a status other than 0 is one as well.
                let _ = owner.container.wait_for_exit().await;
                log("ended");
                owner.exit.borrow_mut().take();
                owner.break_calls();
                owner.with(Lifecycle::on_exit);
                let _ = owner.save().await;
            }))
        };
        Some(exit.get_or_insert_with(listen).clone())
    }

    async fn probe(&self) -> Probe {
        let begun = now();
        match self.send(Method::Get, self.image.probe_path, None).await {
            Ok(reply) if reply.status_code() < 500 => Probe::Answered,
            Err(_) if now().millis_since(begun) < u64::from(PROBE_MILLIS_MAX) => Probe::Refused,
            Ok(_) | Err(_) => Probe::Silent,
        }
    }

    async fn claim(&self) -> ClaimReply {
        let claim = Claim {
            token: self.config.runtime_token.clone(),
        };
        let Ok(body) = serde_json::to_string(&claim) else {
            return ClaimReply::Unanswered;
        };
        let sent = self.send(Method::Post, routes::CLAIM, Some(&body)).await;
        match sent.map(|reply| reply.status_code()) {
            Ok(200..300) => ClaimReply::Taken,
            Ok(401) => ClaimReply::Refused,
            Ok(_) | Err(_) => ClaimReply::Unanswered,
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&str>,
    ) -> worker::Result<Response> {
        let mut init = RequestInit::new();
        init.with_method(method)
            .with_body(body.map(JsValue::from_str));
        let init = web_sys::RequestInit::from(&init);
        let timeout = web_sys::AbortSignal::timeout_with_u32(PROBE_MILLIS_MAX);
        init.set_signal(Some(&timeout));
        let url = format!("{ORIGIN}{path}");
        let request: Request = web_sys::Request::new_with_str_and_init(&url, &init)?.into();
        self.port()?.fetch_request(request).await
    }

    /// The port that takes calls.
    pub(super) fn port(&self) -> worker::Result<Fetcher> {
        self.container.get_tcp_port(self.image.port)
    }

    /// Destroys the container. The platform says that one runs until somebody has listened for its exit.
    pub(super) async fn remove(self: &Rc<Self>) {
        let removal = async {
            let _ = self.container.destroy(None).await;
            if let Some(exit) = self.exit() {
                let _ = JsFuture::from(exit).await;
            }
        };
        select(Box::pin(removal), Box::pin(pause(REMOVAL_MILLIS_MAX))).await;
        let is_running = self.container.running();
        log(if is_running { "not removed" } else { "removed" });
        self.with(|life| life.on_removed(is_running));
    }
}

/// Begins work that goes on whoever waits for it. All of it has one type, which keeps the module small.
pub(super) fn begin(work: Pin<Box<dyn Future<Output = ()>>>) -> Promise {
    future_to_promise(async move {
        work.await;
        Ok(JsValue::UNDEFINED)
    })
}

/// Starts a container that reaches the internet, which git needs and which is not the platform's default. The `worker`
/// crate drops the options that are set, so it is asked for by hand.
fn start(container: &Container) -> Result<(), JsValue> {
    let options = Object::new();
    Reflect::set(&options, &"enableInternet".into(), &JsValue::TRUE)?;
    container
        .as_ref()
        .unchecked_ref::<RawContainer>()
        .start(&options)
}

async fn pause(millis: u64) {
    Delay::from(Duration::from_millis(millis)).await;
}
