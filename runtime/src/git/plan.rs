//! What git is told: arguments and environment, as pure functions.
//!
//! Nothing here holds a token. A repository's own configuration is never trusted where a token is in reach; the
//! settings below only keep what little of git's behaviour remains predictable.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::Path;

use cloud_agent_wire::{GitUrl, NulInWord, ShellWord};

/// Environment of every git child. `protocol` is the only transport that it may use.
pub fn environment(home: &Path, protocol: &str) -> Vec<(OsString, OsString)> {
    let fixed = [
        ("PATH", "/usr/bin:/bin"),
        // Messages are parsed, so they must not be translated.
        ("LC_ALL", "C"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_ATTR_NOSYSTEM", "1"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_ASKPASS", "/bin/false"),
        ("GIT_LFS_SKIP_SMUDGE", "1"),
        ("GIT_ALLOW_PROTOCOL", protocol),
    ];
    let mut environment: Vec<(OsString, OsString)> = fixed
        .iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    environment.push(("HOME".into(), home.into()));
    environment
}

/// Settings that hold for every git child.
pub fn settings() -> Vec<String> {
    [
        "credential.helper=",
        "core.askPass=",
        // A hostile repository must not choose programs to run.
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "submodule.recurse=false",
        "protocol.allow=never",
        // No work in the background that outlives the command.
        "gc.auto=0",
        "maintenance.auto=false",
        "advice.detachedHead=false",
        "init.defaultBranch=main",
        "commit.gpgSign=false",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// How a remote is reached.
pub struct RemoteSettings<'a> {
    /// The remote.
    pub url: &'a GitUrl,
    /// The addresses that were checked; empty when the URL names an address itself.
    pub addresses: &'a [IpAddr],
    /// The credential helper's command; absent for anonymous access.
    pub helper: Option<&'a str>,
    /// Certificates to trust instead of the system's.
    pub ca_file: Option<&'a str>,
    /// After so many slow seconds git gives up.
    pub low_speed_seconds: u64,
}

impl RemoteSettings<'_> {
    /// Settings for a child that talks to the remote. Where a repository could set a value for the remote's URL,
    /// which beats a general one, it is set for the URL as well.
    pub fn settings(&self) -> Vec<String> {
        let origin = self.url.origin();
        let mut settings = settings();
        if let Some(helper) = self.helper {
            settings.push(format!("credential.{origin}.helper={helper}"));
            // A server that lets everybody read would never ask for the credential, and so prove nothing. A git that
            // is older than 2.46 does not know the setting.
            settings.push("http.proactiveAuth=basic".to_owned());
        }
        for (key, value) in [
            // A redirect could carry the credential to somebody else.
            ("followRedirects", "false"),
            ("proxy", ""),
            ("sslVerify", "true"),
        ] {
            settings.push(format!("http.{key}={value}"));
            settings.push(format!("http.{origin}/.{key}={value}"));
        }
        if let Some(file) = self.ca_file {
            settings.push(format!("http.sslCAInfo={file}"));
            settings.push(format!("http.{origin}/.sslCAInfo={file}"));
        }
        if !self.addresses.is_empty() {
            settings.push(format!("http.curloptResolve={}", self.pinned()));
        }
        settings.push(format!("protocol.{}.allow=always", self.url.scheme()));
        settings.push("http.lowSpeedLimit=1000".to_owned());
        settings.push(format!("http.lowSpeedTime={}", self.low_speed_seconds));
        settings
    }

    /// Connections go to the addresses that were checked, whatever the name resolves to by then.
    fn pinned(&self) -> String {
        let addresses: Vec<String> = self
            .addresses
            .iter()
            .map(|address| match address {
                IpAddr::V4(address) => address.to_string(),
                IpAddr::V6(address) => format!("[{address}]"),
            })
            .collect();
        let (host, port) = (self.url.host(), self.url.port());
        format!("{host}:{port}:{}", addresses.join(","))
    }
}

/// The whole argument list: settings first, then the command's own words.
pub fn arguments<W: Into<OsString>>(
    settings: impl IntoIterator<Item = String>,
    words: impl IntoIterator<Item = W>,
) -> Vec<OsString> {
    let mut arguments = Vec::new();
    for setting in settings {
        arguments.push("-c".into());
        arguments.push(setting.into());
    }
    arguments.extend(words.into_iter().map(Into::into));
    arguments
}

/// Words of the clone command. Nothing is checked out yet.
pub fn clone(url: &GitUrl, target: &Path, shallow: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "clone",
        "--progress",
        "--no-checkout",
        "--no-recurse-submodules",
        "--template=",
        "--origin=origin",
    ]
    .map(Into::into)
    .to_vec();
    if shallow {
        words.push("--depth=1".into());
    }
    words.push("--".into());
    words.push(url.as_str().into());
    words.push(target.into());
    words
}

/// Words of the command that asks the remote for its refs, which proves the credential.
pub fn list_remote(url: &GitUrl) -> Vec<OsString> {
    ["ls-remote", "--", url.as_str()].map(Into::into).to_vec()
}

/// Words that fetch one ref; `refspec` never starts with a dash.
pub fn fetch(refspec: &str, shallow: bool) -> Vec<OsString> {
    let mut words: Vec<OsString> = [
        "fetch",
        "--progress",
        "--no-tags",
        "--no-recurse-submodules",
    ]
    .map(Into::into)
    .to_vec();
    if shallow {
        words.push("--depth=1".into());
    }
    words.extend(["--", "origin", refspec].map(Into::into));
    words
}

/// Words that check a branch out at a commit, creating or moving it.
pub fn checkout(branch: &str, start: &str) -> Vec<OsString> {
    [
        "checkout",
        "--progress",
        "--force",
        "-B",
        branch,
        start,
        "--",
    ]
    .map(Into::into)
    .to_vec()
}

/// Words that print the commit which a name stands for; git ends with 1 when there is none.
pub fn rev_parse(name: &str) -> [&str; 5] {
    ["rev-parse", "--verify", "--quiet", "--end-of-options", name]
}

/// A credential helper's command for git's configuration.
///
/// Git runs an absolute path as it is and everything after `!` through a shell.
///
/// # Errors
/// [`NulInWord`].
pub fn helper_command(program: &str, origin: &str, token_file: &str) -> Result<String, NulInWord> {
    let command = ShellWord::line(&[
        program,
        "git-credential",
        "--origin",
        origin,
        "--file",
        token_file,
    ])?;
    Ok(if command.starts_with('/') {
        command
    } else {
        format!("!{command}")
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cloud_agent_wire::{AllowedHosts, GitUrl};

    use super::{RemoteSettings, arguments, clone, environment, helper_command};

    fn url(text: &str) -> GitUrl {
        let allowed = AllowedHosts::parse("127.0.0.1:8811").expect("the list is valid");
        GitUrl::parse(text, &allowed).expect("the row is valid")
    }

    #[test]
    fn a_clone_is_pinned_scoped_and_cannot_be_redirected() {
        let url = url("https://git.example/a/r.git");
        let addresses = ["192.0.2.7", "2001:db8::7"].map(|text| text.parse().expect("an address"));
        let remote = RemoteSettings {
            url: &url,
            addresses: &addresses,
            helper: Some("/bin/runtime git-credential"),
            ca_file: Some("/etc/ca.pem"),
            low_speed_seconds: 30,
        };
        let words = clone(&url, Path::new("/w/repo"), true);
        let arguments: Vec<String> = arguments(remote.settings(), words)
            .into_iter()
            .map(|word| word.into_string().expect("it is text"))
            .collect();
        let settings: Vec<&str> = arguments
            .chunks(2)
            .take_while(|pair| pair[0] == "-c")
            .map(|pair| pair[1].as_str())
            .collect();
        assert_eq!(
            settings,
            [
                "credential.helper=",
                "core.askPass=",
                "core.hooksPath=/dev/null",
                "core.fsmonitor=false",
                "submodule.recurse=false",
                "protocol.allow=never",
                "gc.auto=0",
                "maintenance.auto=false",
                "advice.detachedHead=false",
                "init.defaultBranch=main",
                "commit.gpgSign=false",
                "credential.https://git.example.helper=/bin/runtime git-credential",
                "http.proactiveAuth=basic",
                "http.followRedirects=false",
                "http.https://git.example/.followRedirects=false",
                "http.proxy=",
                "http.https://git.example/.proxy=",
                "http.sslVerify=true",
                "http.https://git.example/.sslVerify=true",
                "http.sslCAInfo=/etc/ca.pem",
                "http.https://git.example/.sslCAInfo=/etc/ca.pem",
                "http.curloptResolve=git.example:443:192.0.2.7,[2001:db8::7]",
                "protocol.https.allow=always",
                "http.lowSpeedLimit=1000",
                "http.lowSpeedTime=30",
            ]
        );
        assert_eq!(
            arguments[settings.len() * 2..],
            [
                "clone",
                "--progress",
                "--no-checkout",
                "--no-recurse-submodules",
                "--template=",
                "--origin=origin",
                "--depth=1",
                "--",
                "https://git.example/a/r.git",
                "/w/repo"
            ]
        );
    }

    #[test]
    fn the_environment_is_closed() {
        let environment = environment(Path::new("/empty"), "https");
        let get = |name: &str| {
            let pair = environment.iter().find(|(key, _)| key == name);
            pair.and_then(|(_, value)| value.to_str())
        };
        assert_eq!(environment.len(), 10);
        assert_eq!(get("HOME"), Some("/empty"));
        assert_eq!(get("GIT_ALLOW_PROTOCOL"), Some("https"));
        assert_eq!(get("GIT_CONFIG_GLOBAL"), Some("/dev/null"));
        assert_eq!(get("GIT_ASKPASS"), Some("/bin/false"));
    }

    #[test]
    fn helper_commands_survive_any_path() {
        for (program, expected) in [
            (
                "/opt/runtime",
                "/opt/runtime git-credential --origin https://h --file /w/token",
            ),
            (
                "/opt/[r]/runtime",
                "!'/opt/[r]/runtime' git-credential --origin https://h --file /w/token",
            ),
            (
                "/opt/it's here/runtime",
                r"!'/opt/it'\''s here/runtime' git-credential --origin https://h --file /w/token",
            ),
        ] {
            let command = helper_command(program, "https://h", "/w/token");
            assert_eq!(command.as_deref(), Ok(expected));
        }
    }
}
