//! Whatever a sandbox answers, reading it ends, tells no secret, and goes on where it was.
#![no_main]

use cloud_agent_session::direct::{answer, events};
use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::{Credential, RuntimeEvent, Secret, Timestamp};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = r#"t0ken/"\%41+x"#;
/// A turn that is read from its beginning.
const HEADER: &str = "events msg_0123456789abABCDEFGHIJKLMN/1 0 0 0";

fuzz_target!(|answer: &str| {
    let _ = answer::done(answer);
    let _ = answer::turn(answer);
    let _ = answer::store(answer);
    read(answer);
    // What an honest sandbox would make of the same files: the rest of the first line, the records, the output.
    let mut parts = answer.splitn(3, '\u{0}');
    let (rest, records, output) = (parts.next(), parts.next(), parts.next());
    if let (Some(rest), Some(records), Some(output)) = (rest, records, output) {
        read(&format!("{HEADER} {rest}\n{}\n{}\n", base64(records), base64(output)));
    }
});

fn read(answer: &str) {
    let credential = Credential {
        username: "x-access-token".to_owned(),
        token: Secret::new(TOKEN.to_owned()),
    };
    let redactor = Redactor::new([&credential], []);
    let Ok(events) = events::read(answer, &redactor, Timestamp::from_millis(0)) else {
        return;
    };
    let mut last = None;
    for event in events {
        assert!(last.is_none_or(|last| last < event.seq));
        last = Some(event.seq);
        if let RuntimeEvent::Output { text, .. } = &event.event {
            assert!(!text.contains(TOKEN));
        }
    }
}

fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for group in text.as_bytes().chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*group.get(at).unwrap_or(&0)));
        for digit in 0..=group.len() {
            encoded.push(char::from(DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
        encoded.push_str(&"="[group.len() / 3..].repeat(3 - group.len()));
    }
    encoded
}
