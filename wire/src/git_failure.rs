//! What a failed git command or setup command means. Reads what git printed, and returns words of a table only.

use std::time::Duration;

use crate::failure::FailureSubtype;

/// What the command was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Talking to the remote.
    Transfer,
    /// Writing the working tree.
    Checkout,
    /// Anything else that needs no remote.
    Local,
    /// A setup command of the session.
    Setup,
}

const STORAGE: &[&str] = &["no space left on device", "disk quota exceeded"];
const RATE: &[&str] = &[
    "returned error: 429",
    "http 429",
    "rate limit",
    "too many requests",
];
/// Of a remote that refuses the credential, in lower case.
pub const AUTHENTICATION: &[&str] = &[
    "authentication failed",
    "could not read username",
    "could not read password",
    "terminal prompts disabled",
    "returned error: 401",
    "returned error: 403",
    "http 401",
    "http 403",
    "http basic: access denied",
];
/// Git gave up a transfer by itself.
const SLOW: &[&str] = &["operation too slow", "operation timed out"];
const NETWORK: &[&str] = &[
    "remote end hung up",
    "connection reset",
    "connection refused",
    "connection timed out",
    "timed out",
    "could not resolve host",
    "failed to connect",
    "couldn't connect",
    "early eof",
    "rpc failed",
    "unexpected disconnect",
    "empty reply from server",
    "ssl certificate",
    "ssl connection",
    "ssl_connect",
    "ssl_read",
    "ssl:",
    "gnutls",
    "tls connect error",
    "certificate verification failed",
    "certificate subject",
    "returned error: 5",
];
const BRANCH: &[&str] = &["couldn't find remote ref", "could not find remote branch"];
const PACK: &[&str] = &[
    "index-pack failed",
    "invalid index-pack output",
    "pack is corrupted",
    "pack has bad object",
    "inflate:",
    "inflate returned",
    "is corrupt",
    "bad pack header",
];
const CONFLICT: &[&str] = &[
    "would be overwritten by checkout",
    "would be overwritten by merge",
    "please commit your changes or stash them",
];

/// The remote's branch has commits that the pushed one lacks.
const BEHIND: &[&str] = &["(fetch first)", "(non-fast-forward)"];

/// What is known of a command that did not succeed.
#[derive(Debug, Clone, Copy)]
pub struct FailedCommand<'a> {
    /// Whether it was stopped at its deadline.
    pub timed_out: bool,
    /// How long it had been silent when it ended.
    pub silent: Duration,
    /// After so much time git itself gives up a stalled transfer. It then claims that the authentication failed when
    /// the server had asked for it before: silence decides, not that claim. Its clock started a little before the
    /// silence did.
    pub low_speed: Duration,
    /// What it printed. May hold secrets that a server echoed.
    pub printed: &'a [u8],
}

/// Names the failure of a command that did not succeed.
#[must_use]
pub fn classify(operation: Operation, failed: &FailedCommand<'_>) -> FailureSubtype {
    let timed_out = match operation {
        Operation::Transfer => FailureSubtype::GitCloneTimeout,
        Operation::Checkout => FailureSubtype::GitCheckoutTimeout,
        Operation::Local => FailureSubtype::WorkspaceSetupUnknown,
        Operation::Setup => FailureSubtype::SetupCommandTimeout,
    };
    if failed.timed_out {
        return timed_out;
    }
    let printed = own_words(&String::from_utf8_lossy(failed.printed));
    let says = |words: &[&str]| words.iter().any(|word| printed.contains(word));
    if says(STORAGE) {
        return FailureSubtype::SandboxStorageFull;
    }
    match operation {
        Operation::Setup => FailureSubtype::SetupCommandFailed,
        Operation::Checkout if says(CONFLICT) => FailureSubtype::GitCheckoutConflict,
        Operation::Transfer if says(SLOW) || failed.silent >= failed.low_speed.mul_f32(0.9) => {
            timed_out
        }
        Operation::Transfer if says(RATE) => FailureSubtype::GitRateLimited,
        Operation::Transfer if says(BEHIND) => FailureSubtype::GitCheckoutConflict,
        Operation::Transfer if says(AUTHENTICATION) => FailureSubtype::GitAuthenticationFailed,
        Operation::Transfer if says(BRANCH) => FailureSubtype::GitBranchMissing,
        Operation::Transfer if says(NETWORK) => FailureSubtype::GitNetworkFailed,
        _ if says(PACK) => FailureSubtype::GitPackCorrupt,
        _ => FailureSubtype::WorkspaceSetupUnknown,
    }
}

/// What git itself says, in small letters: without the lines in which the server says something, and without URLs,
/// both of which can hold any word.
fn own_words(printed: &str) -> String {
    let mut words = String::with_capacity(printed.len());
    let lines = printed.split(['\n', '\r']);
    for line in lines.filter(|line| !line.trim_start().starts_with("remote:")) {
        for word in line.split_whitespace().filter(|word| !word.contains("://")) {
            words.push_str(word);
            words.push(' ');
        }
        words.push('\n');
    }
    words.make_ascii_lowercase();
    words
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{FailedCommand, Operation, classify};
    use crate::failure::FailureSubtype as Subtype;

    fn failure(operation: Operation, timed_out: bool, silent: u64, printed: &str) -> Subtype {
        let failed = FailedCommand {
            timed_out,
            silent: Duration::from_secs(silent),
            low_speed: Duration::from_secs(30),
            printed: printed.as_bytes(),
        };
        classify(operation, &failed)
    }

    #[test]
    fn what_git_prints_becomes_a_word_of_the_table() {
        for (operation, stderr, expected) in [
            (
                Operation::Transfer,
                "fatal: Authentication failed for 'https://h/r/'",
                Subtype::GitAuthenticationFailed,
            ),
            (
                Operation::Transfer,
                "error: The requested URL returned error: 403",
                Subtype::GitAuthenticationFailed,
            ),
            (
                Operation::Transfer,
                "fatal: could not read Username for 'https://h': terminal prompts disabled",
                Subtype::GitAuthenticationFailed,
            ),
            (
                Operation::Transfer,
                "The requested URL returned error: 429",
                Subtype::GitRateLimited,
            ),
            (
                Operation::Transfer,
                "The requested URL returned error: 503",
                Subtype::GitNetworkFailed,
            ),
            (
                Operation::Transfer,
                "fatal: unable to access: Could not resolve host: h",
                Subtype::GitNetworkFailed,
            ),
            (
                Operation::Transfer,
                "fatal: the remote end hung up unexpectedly\nfatal: early EOF\nfatal: fetch-pack: invalid index-pack output",
                Subtype::GitNetworkFailed,
            ),
            (
                Operation::Transfer,
                "fatal: pack has bad object at offset 12: inflate returned -3\nfatal: index-pack failed",
                Subtype::GitPackCorrupt,
            ),
            (
                Operation::Transfer,
                "fatal: couldn't find remote ref refs/pull/9/head",
                Subtype::GitBranchMissing,
            ),
            (
                Operation::Transfer,
                "fatal: write error: No space left on device\nfatal: Authentication failed",
                Subtype::SandboxStorageFull,
            ),
            (
                Operation::Transfer,
                "fatal: repository 'https://h/r/' not found",
                Subtype::WorkspaceSetupUnknown,
            ),
            (
                Operation::Checkout,
                "error: Your local changes to the following files would be overwritten by checkout:",
                Subtype::GitCheckoutConflict,
            ),
            (
                Operation::Transfer,
                " ! [rejected]        abc -> main (fetch first)\nerror: failed to push some refs",
                Subtype::GitCheckoutConflict,
            ),
            (
                Operation::Checkout,
                "Authentication failed",
                Subtype::WorkspaceSetupUnknown,
            ),
            (
                Operation::Setup,
                "npm ERR! http 403",
                Subtype::SetupCommandFailed,
            ),
            (
                Operation::Setup,
                "cp: No space left on device",
                Subtype::SandboxStorageFull,
            ),
            (
                Operation::Local,
                "fatal: bad thing",
                Subtype::WorkspaceSetupUnknown,
            ),
        ] {
            assert_eq!(failure(operation, false, 0, stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn words_of_the_server_and_of_a_url_are_not_gits_own() {
        for (stderr, expected) in [
            (
                "fatal: unable to access 'https://h/r/': SSL certificate problem: self-signed certificate",
                Subtype::GitNetworkFailed,
            ),
            (
                "fatal: unable to access 'https://h/openssl/inflate:/': The requested URL returned error: 404",
                Subtype::WorkspaceSetupUnknown,
            ),
            (
                "remote: Authentication failed\rremote: HTTP 401\nremote: no space left on device\n ! [remote rejected] main -> main (pre-receive hook declined)",
                Subtype::WorkspaceSetupUnknown,
            ),
            (
                "remote: HTTP Basic: Access denied\nfatal: Authentication failed for 'https://h/r/'",
                Subtype::GitAuthenticationFailed,
            ),
        ] {
            let transfer = Operation::Transfer;
            assert_eq!(failure(transfer, false, 0, stderr), expected, "{stderr}");
        }
    }

    #[test]
    fn a_stalled_server_is_a_timeout_whatever_git_claims() {
        let claim = "fatal: Authentication failed for 'https://h/r/'";
        let transfer = Operation::Transfer;
        for (timed_out, silent) in [(true, 0), (false, 30)] {
            assert_eq!(
                failure(transfer, timed_out, silent, claim),
                Subtype::GitCloneTimeout
            );
        }
        assert_eq!(
            failure(Operation::Checkout, true, 0, ""),
            Subtype::GitCheckoutTimeout
        );
        assert_eq!(
            failure(Operation::Setup, true, 0, ""),
            Subtype::SetupCommandTimeout
        );
    }
}
