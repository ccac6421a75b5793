//! Properties of redaction: no spelling of a secret gets through, and nothing else is touched.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use workspace_runtime::untrusted::{redacted, redacted_lines};

/// What a token may consist of. In base64, one of less than 8 bytes leaves too little that is its own.
fn token() -> impl Strategy<Value = String> {
    "[!-~]{8,80}"
}

/// Text around a secret, which does not end in something that changes how the secret reads.
fn around() -> impl Strategy<Value = String> {
    "[ a-zé.,;(){}]{0,20}"
}

fn percent(text: &str, chosen: &[bool], is_upper: bool) -> String {
    let encoded = text.bytes().enumerate().map(|(index, byte)| {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match (is_plain && !chosen[index % chosen.len()], is_upper) {
            (true, _) => char::from(byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        }
    });
    encoded.collect()
}

fn quoted(text: &str) -> String {
    let quoted = serde_json::to_string(text).expect("text serializes");
    let inside = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    inside.expect("a text is quoted").to_owned()
}

fn every_byte(text: &str, spell: impl Fn(u8) -> String) -> String {
    text.bytes().map(spell).collect::<Vec<_>>().concat()
}

/// Every way in which a secret is spelled by the tools of an agent.
fn spellings(token: &str, prefix: &str, chosen: &[bool]) -> Vec<String> {
    let pair = format!("{prefix}:{token}");
    let mut spellings = vec![
        token.to_owned(),
        percent(token, chosen, true),
        percent(token, chosen, false),
        percent(&percent(token, &[false], true), &[false], true),
        quoted(token),
        quoted(&quoted(token)),
        quoted(&percent(token, &[false], false)),
        every_byte(token, |byte| format!("\\u{byte:04x}")),
        every_byte(token, |byte| format!("{byte:02x}")),
        every_byte(token, |byte| format!("{byte:02X}")),
    ];
    for engine in [STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD] {
        spellings.extend([engine.encode(token), engine.encode(&pair)]);
    }
    let (start, end) = token.split_at(token.len() / 2);
    spellings.push(format!("{start}\x1b[1;31m{end}"));
    spellings.push(format!("{start}\x1b]0;x\x07{end}"));
    spellings
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(64)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_spelling_gets_through(
        token in token(),
        prefix in "[a-z-]{1,12}",
        chosen in prop::collection::vec(any::<bool>(), 1..8),
        before in around(),
        after in around(),
    ) {
        for spelling in spellings(&token, &prefix, &chosen) {
            let line = format!("{before} {spelling} {after}");
            let (text, _) = redacted(&[&token], &[], &line);
            prop_assert!(text.contains("[redacted]"), "{spelling:?} stayed in {text:?}");
            prop_assert!(!text.contains(&spelling), "{spelling:?} stayed in {text:?}");
            let object = serde_json::json!({ "a": [line, { "b": 1.0 }], "type": "text" });
            let (_, json) = redacted(&[&token], &[], &object.to_string());
            let json = json.expect("an object stays one");
            let read: serde_json::Value = serde_json::from_str(&json).expect("it stays JSON");
            let field = read["a"][0].as_str().expect("the shape stays");
            prop_assert!(field.contains("[redacted]"), "{spelling:?} stayed in {field:?}");
            prop_assert!(!field.contains(&spelling), "{spelling:?} stayed in {field:?}");
            prop_assert_eq!(&read["a"][1]["b"], 1.0);
            prop_assert_eq!(&read["type"], "text");
        }
    }

    #[test]
    fn the_borders_of_pieces_do_not_matter(
        token in token(),
        before in "[ a-z\n]{0,40}",
        after in "[ a-z\n]{0,40}",
        cuts in prop::collection::vec(1usize..7, 1..40),
    ) {
        let printed = format!("{before} {token} {after}");
        let mut pieces = Vec::new();
        let mut rest = printed.as_bytes();
        let mut sizes = cuts.iter().cycle();
        while !rest.is_empty() {
            let size = rest.len().min(*sizes.next().expect("it goes round"));
            let (piece, others) = rest.split_at(size);
            pieces.push(piece);
            rest = others;
        }
        let lines = redacted_lines(&token, &pieces);
        prop_assert_eq!(lines, redacted_lines(&token, &[printed.as_bytes()]));
    }

    #[test]
    fn what_is_no_secret_stays(
        token in token(),
        line in "[ -~é\t]{0,200}",
    ) {
        prop_assume!(!line.contains("://"));
        let has_part = |spelling: &str| line.contains(spelling);
        prop_assume!(!spellings(&token, "x", &[true]).iter().any(|spelling| has_part(spelling)));
        let (text, _) = redacted(&[&token], &[], &line);
        prop_assert_eq!(&text, &line);
        let object = serde_json::json!({ "line": line, "type": "text", "n": 12 }).to_string();
        let (_, json) = redacted(&[&token], &[], &object);
        prop_assert_eq!(json.expect("an object stays one"), object);
    }

    #[test]
    fn short_and_common_tokens_corrupt_nothing(
        token in prop_oneof![Just("main".to_owned()), Just("type".to_owned()), Just("\"".to_owned()), "[!-~]{1,5}"],
        text in "[ -~]{0,80}",
    ) {
        prop_assume!(!text.contains("://"));
        let object = serde_json::json!({ "type": "text", "main": text, "a\"b": { "{": [1, null, true] } });
        let (_, json) = redacted(&[&token], &[&token], &object.to_string());
        prop_assert_eq!(json.expect("an object stays one"), object.to_string());
    }

    #[test]
    fn any_object_stays_one(token in token(), keys in prop::collection::vec("[!-~]{1,12}", 1..6), line in "[ -~]{0,60}") {
        let mut fields = serde_json::Map::new();
        for (index, key) in keys.iter().enumerate() {
            let value = if index % 2 == 0 { token.clone() } else { line.clone() };
            fields.insert(key.clone(), serde_json::json!({ (key): value, "n": index }));
        }
        let object = serde_json::Value::Object(fields.clone());
        let (_, json) = redacted(&[&token], &[], &object.to_string());
        let read: serde_json::Value = serde_json::from_str(&json.expect("an object stays one")).expect("it stays JSON");
        prop_assert_eq!(read.as_object().map(serde_json::Map::len), Some(fields.len()));
        prop_assert!(!read.to_string().contains(&quoted(&token)));
    }
}
