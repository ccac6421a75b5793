//! Whatever git asks: the helper answers with its credential for its own origin, or says nothing at all.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use workspace_runtime::untrusted::{credential_answer, write_credential};

const ORIGIN: &str = "https://git.example:8443";
const ANSWER: &[u8] = b"username=x-access-token\npassword=secret=1\n";

/// The file with the credential, made once a process.
fn file() -> &'static str {
    static FILE: OnceLock<String> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::temp_dir().join(format!("fuzz-credential-{}", std::process::id()));
        write_credential(&path, "x-access-token", "secret=1").expect("the file is written");
        path.to_string_lossy().into_owned()
    })
}

fuzz_target!(|question: &[u8]| {
    for action in ["get", "store", "erase", ""] {
        let answer = credential_answer(ORIGIN, file(), action, question);
        if answer.is_empty() {
            continue;
        }
        assert_eq!((action, &*answer), ("get", ANSWER));
        // The last of each key counts, and it must name exactly the origin.
        let last = |key: &[u8]| {
            let lines = question.split(|byte| *byte == b'\n');
            let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            lines.filter_map(|line| line.strip_prefix(key)).last()
        };
        assert_eq!(last(b"protocol="), Some(&b"https"[..]));
        assert_eq!(last(b"host="), Some(&b"git.example:8443"[..]));
    }
});
