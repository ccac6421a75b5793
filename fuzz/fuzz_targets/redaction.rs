//! Output with and without a secret: objects stay objects, and the secret does not stay.
#![no_main]

use libfuzzer_sys::fuzz_target;
use workspace_runtime::untrusted::redacted;

const TOKEN: &str = r#"t0ken/"\%41+x"#;

fuzz_target!(|line: &str| {
    let (text, json) = redacted(&[TOKEN], &[], line);
    assert!(!text.contains(TOKEN));
    assert!(!text.contains('\u{1b}'));
    let is_object = line.trim_start().starts_with('{')
        && serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert_eq!(json.is_some(), is_object);
    if let Some(json) = json {
        let read: serde_json::Value = serde_json::from_str(&json).expect("it stays JSON");
        assert!(read.is_object());
        assert!(!strings(&read).iter().any(|text| text.contains(TOKEN)));
    }
});

fn strings(value: &serde_json::Value) -> Vec<&str> {
    match value {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(items) => items.iter().flat_map(strings).collect(),
        serde_json::Value::Object(fields) => {
            let inside = fields.values().flat_map(strings);
            fields.keys().map(String::as_str).chain(inside).collect()
        }
        _ => Vec::new(),
    }
}
