//! The credential helper that git runs: `workspace-runtime git-credential --origin URL --file PATH get`.
//!
//! It answers for one scheme, host and port only, whatever configuration made git ask, and it never stores or
//! erases: a server that stalls must not cost the session its credential.

use std::io::{BufRead, Write};
use std::path::Path;

use super::credential_file;

/// Longest question that is read, in bytes.
const QUESTION_BYTES_MAX: u64 = 64 * 1024;

/// Runs the helper. Anything unexpected ends in silence, which git takes for "no answer".
pub fn main(arguments: &[String], input: impl BufRead, mut output: impl Write) {
    let [origin_flag, origin, file_flag, file, action] = arguments else {
        return;
    };
    if origin_flag != "--origin" || file_flag != "--file" || action != "get" {
        return;
    }
    if !asks_for(origin, input) {
        return;
    }
    if let Ok(credential) = credential_file::read(Path::new(file)) {
        let (username, token) = (&credential.username, credential.token.expose());
        // Git closes the pipe when it no longer wants the answer.
        let _ = write!(output, "username={username}\npassword={token}\n");
    }
}

/// Whether git asks about exactly this origin.
fn asks_for(origin: &str, input: impl BufRead) -> bool {
    let (mut protocol, mut host) = (None, None);
    for line in input.take(QUESTION_BYTES_MAX).lines() {
        let Ok(line) = line else {
            return false;
        };
        match line.split_once('=') {
            Some(("protocol", value)) => protocol = Some(value.to_owned()),
            Some(("host", value)) => host = Some(value.to_owned()),
            _ => {}
        }
    }
    match (protocol, host) {
        (Some(protocol), Some(host)) => format!("{protocol}://{host}") == origin,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use cloud_agent_wire::{Credential, Secret};

    use super::main;
    use crate::git::credential_file;
    use crate::store::files::Durability;

    #[test]
    fn it_answers_get_for_its_origin_only() {
        let folder = std::env::temp_dir().join(format!("helper-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).expect("the folder is new");
        let path = folder.join("token");
        let credential = Credential {
            username: "x-access-token".to_owned(),
            token: Secret::new("secret=1".to_owned()),
        };
        credential_file::write(&path, &credential, None, Durability::Process)
            .expect("it is written");
        let answer = "username=x-access-token\npassword=secret=1\n";
        for (action, question, expected) in [
            ("get", "protocol=https\nhost=h:8443\n\n", answer),
            (
                "get",
                "capability[]=authtype\nprotocol=https\nhost=h:8443\nwwwauth[]=Basic\n\n",
                answer,
            ),
            ("get", "protocol=http\nhost=h:8443\n\n", ""),
            ("get", "protocol=https\nhost=h\n\n", ""),
            ("get", "protocol=https\nhost=evil\n\n", ""),
            ("get", "protocol=https\nhost=h:8443\nhost=evil\n\n", ""),
            ("get", "host=h:8443\n\n", ""),
            ("get", "", ""),
            ("store", "protocol=https\nhost=h:8443\n\n", ""),
            ("erase", "protocol=https\nhost=h:8443\n\n", ""),
        ] {
            let file = path.to_str().expect("the path is text");
            let arguments = ["--origin", "https://h:8443", "--file", file, action];
            let mut output = Vec::new();
            main(
                &arguments.map(str::to_owned),
                question.as_bytes(),
                &mut output,
            );
            assert_eq!(
                String::from_utf8_lossy(&output),
                expected,
                "{action} {question}"
            );
        }
        assert!(path.exists(), "erase erases nothing");
        fs::remove_dir_all(&folder).expect("the folder is there");
    }
}
