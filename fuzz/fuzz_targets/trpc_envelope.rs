//! Any request, and any input of any procedure: an answer or a refusal, and no refusal repeats a value.
//!
//! The first line of the data is `METHOD path?query`, the rest is the body.
#![no_main]

use cloud_agent_session::trpc::input::{self, decode};
use cloud_agent_session::trpc::request::{Parsed, RawRequest, parse};
use cloud_agent_wire::AllowedHosts;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let end = data
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(data.len());
    let Ok(line) = std::str::from_utf8(&data[..end]) else {
        return;
    };
    let (method, target) = line.split_once(' ').unwrap_or((line, ""));
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let raw = RawRequest {
        method,
        path,
        query,
        content_type: Some("application/json"),
        accept: None,
        body: data.get(end + 1..).unwrap_or_default(),
    };
    let Ok(Parsed::Calls(request)) = parse(raw) else {
        return;
    };
    assert!(!request.calls.is_empty());
    assert!(request.batch || request.calls.len() == 1);
    for call in request.calls {
        if let Ok(invocation) = call.invocation {
            decode_as_everything(invocation.input.as_deref());
        }
    }
});

fn decode_as_everything(text: Option<&str>) {
    let hosts = AllowedHosts::default();
    let _ = decode::<input::SendMessage>(text, &());
    let _ = decode::<input::UpdateSession>(text, &hosts);
    let _ = decode::<input::GetSession>(text, &());
    let _ = decode::<input::GetMessageResult>(text, &());
    let _ = decode::<input::InitiateSession>(text, &());
    if let Ok(prepared) = decode::<input::PrepareSession>(text, &hosts) {
        // Nothing that is not public passes, whatever it looked like.
        assert!(!format!("{:?}", prepared.repository).contains("127.0.0.1"));
    }
}
