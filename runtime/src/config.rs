//! The process's configuration, read once from the environment.

use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use cloud_agent_wire::{AllowedHosts, Secret, agent_command, is_runtime_token};

use crate::limits::Deadlines;

/// Everything that the environment decides.
pub struct Config {
    /// `HOST`: the address to listen on; 127.0.0.1 when absent.
    pub host: IpAddr,
    /// `PORT`: the port to listen on; 0 takes a free one.
    pub port: u16,
    /// `RUNTIME_TOKEN`: the bearer token; without it the first claim brings one.
    pub token: Option<Secret>,
    /// `WORKSPACE_ROOT`: the folder that holds every session, absolute.
    pub root: PathBuf,
    /// `AGENT_COMMAND`: program and arguments; the built-in agent when absent.
    pub agent_command: Option<Vec<String>>,
    /// `AGENT_UID`: the user that the agent and everything of the workspace runs as. It is the runtime's alone: a
    /// start ends whatever else runs as this user. It also is the number of the group. All sessions of a runtime share
    /// the user and so can reach each other's files and processes: one runtime serves one domain of trust.
    pub agent_uid: Option<u32>,
    /// `ORIGIN_CREDENTIALS`.
    pub origin_mode: OriginMode,
    /// `DEV_ALLOWED_HOSTS`; refused when `ENVIRONMENT` is `production`.
    pub allowed_hosts: AllowedHosts,
    /// `GIT_CA_FILE`: certificates that git trusts instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// `PATH`, handed on to the agent.
    pub path: OsString,
    /// Deadlines, shortened in tests.
    pub deadlines: Deadlines,
}

/// How the agent's own git commands get the credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OriginMode {
    /// `origin` is clean; a credential helper answers from a private file.
    Helper,
    /// `origin` is the authenticated URL.
    Url,
}

/// A variable that is missing or malformed. Never holds the value.
#[derive(Debug, PartialEq, Eq)]
pub struct ConfigError {
    variable: &'static str,
    expected: &'static str,
}

impl ConfigError {
    /// No git program is on the `PATH`.
    pub const fn no_git() -> Self {
        Self {
            variable: "PATH",
            expected: "must lead to the git program",
        }
    }

    /// The git program cannot be told to which addresses a name leads.
    pub const fn old_git() -> Self {
        Self {
            variable: "PATH",
            expected: "must lead to git 2.37 or newer",
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.variable, self.expected)
    }
}

impl std::error::Error for ConfigError {}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Config {
    /// Reads the configuration through `lookup`, which finds a variable's value. An empty value is an absent one.
    ///
    /// # Errors
    /// The first variable that is missing or malformed.
    pub fn read(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let get = |variable| lookup(variable).filter(|value| !value.is_empty());
        let text = |variable: &'static str, expected| match get(variable) {
            None => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|_| ConfigError { variable, expected }),
        };
        Ok(Self {
            host: parsed(text("HOST", IP_ADDRESS)?, "HOST", IP_ADDRESS)?
                .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            port: parsed(text("PORT", PORT)?, "PORT", PORT)?.ok_or(ConfigError {
                variable: "PORT",
                expected: PORT,
            })?,
            token: text("RUNTIME_TOKEN", TOKEN)?.map(token).transpose()?,
            root: absolute(get("WORKSPACE_ROOT"), "WORKSPACE_ROOT")?.ok_or(ConfigError {
                variable: "WORKSPACE_ROOT",
                expected: ABSOLUTE_PATH,
            })?,
            agent_command: text("AGENT_COMMAND", COMMAND)?
                .as_deref()
                .map(command)
                .transpose()?,
            agent_uid: agent_uid(parsed(text("AGENT_UID", UID)?, "AGENT_UID", UID)?)?,
            origin_mode: origin_mode(text("ORIGIN_CREDENTIALS", ORIGIN_MODE)?.as_deref())?,
            allowed_hosts: allowed_hosts(
                text("DEV_ALLOWED_HOSTS", HOSTS)?.as_deref(),
                is_production(text("ENVIRONMENT", ENVIRONMENT)?.as_deref())?,
            )?,
            ca_file: ca_file(absolute(get("GIT_CA_FILE"), "GIT_CA_FILE")?)?,
            path: get("PATH").unwrap_or_else(|| DEFAULT_PATH.into()),
            deadlines: deadlines(text("RUNTIME_TEST_DEADLINES", DEADLINES)?.as_deref())?,
        })
    }
}

const PORT: &str = "must be a port number; 0 takes a free port";
const IP_ADDRESS: &str = "must be an IP address";
const TOKEN: &str = "must be at least 16 printable ASCII characters without spaces";
const ABSOLUTE_PATH: &str = "must be an absolute path";
const COMMAND: &str = r#"must be a JSON array of strings such as ["/usr/bin/agent","--flag"]"#;
const UID: &str = "must be a user id above 0, and needs a runtime that runs as root";
const ORIGIN_MODE: &str = "must be helper or url";
const HOSTS: &str = "must be a comma list of host:port";
const NO_HOSTS: &str = "must be absent in production";
const ENVIRONMENT: &str = "must be development or production";
const CA_FILE: &str = "must be an absolute path of a readable file";
const DEADLINES: &str = "must be a JSON object of milliseconds";

fn parsed<T: std::str::FromStr>(
    text: Option<String>,
    variable: &'static str,
    expected: &'static str,
) -> Result<Option<T>, ConfigError> {
    text.map(|text| text.parse().map_err(|_| ConfigError { variable, expected }))
        .transpose()
}

fn token(text: String) -> Result<Secret, ConfigError> {
    if is_runtime_token(&text) {
        Ok(Secret::new(text))
    } else {
        Err(ConfigError {
            variable: "RUNTIME_TOKEN",
            expected: TOKEN,
        })
    }
}

fn absolute(
    value: Option<OsString>,
    variable: &'static str,
) -> Result<Option<PathBuf>, ConfigError> {
    match value.map(PathBuf::from) {
        Some(path) if !path.is_absolute() => Err(ConfigError {
            variable,
            expected: ABSOLUTE_PATH,
        }),
        path => Ok(path),
    }
}

fn command(text: &str) -> Result<Vec<String>, ConfigError> {
    agent_command(text).ok_or(ConfigError {
        variable: "AGENT_COMMAND",
        expected: COMMAND,
    })
}

fn agent_uid(uid: Option<u32>) -> Result<Option<u32>, ConfigError> {
    match uid {
        Some(uid) if uid == 0 || uid == u32::MAX || !rustix::process::geteuid().is_root() => {
            Err(ConfigError {
                variable: "AGENT_UID",
                expected: UID,
            })
        }
        uid => Ok(uid),
    }
}

fn origin_mode(text: Option<&str>) -> Result<OriginMode, ConfigError> {
    match text {
        None | Some("helper") => Ok(OriginMode::Helper),
        Some("url") => Ok(OriginMode::Url),
        Some(_) => Err(ConfigError {
            variable: "ORIGIN_CREDENTIALS",
            expected: ORIGIN_MODE,
        }),
    }
}

fn is_production(text: Option<&str>) -> Result<bool, ConfigError> {
    match text {
        Some("production") => Ok(true),
        None | Some("development") => Ok(false),
        Some(_) => Err(ConfigError {
            variable: "ENVIRONMENT",
            expected: ENVIRONMENT,
        }),
    }
}

fn allowed_hosts(text: Option<&str>, is_production: bool) -> Result<AllowedHosts, ConfigError> {
    let error = |expected| ConfigError {
        variable: "DEV_ALLOWED_HOSTS",
        expected,
    };
    let hosts = AllowedHosts::parse(text.unwrap_or_default()).map_err(|_| error(HOSTS))?;
    if is_production && !hosts.is_empty() {
        return Err(error(NO_HOSTS));
    }
    Ok(hosts)
}

fn ca_file(path: Option<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
    match path {
        Some(path) if std::fs::File::open(&path).is_err() => Err(ConfigError {
            variable: "GIT_CA_FILE",
            expected: CA_FILE,
        }),
        path => Ok(path),
    }
}

fn deadlines(text: Option<&str>) -> Result<Deadlines, ConfigError> {
    text.map_or_else(
        || Ok(Deadlines::default()),
        |text| {
            serde_json::from_str(text).map_err(|_| ConfigError {
                variable: "RUNTIME_TEST_DEADLINES",
                expected: DEADLINES,
            })
        },
    )
}

#[cfg(test)]
mod tests {
    use super::{Config, OriginMode};

    fn read(overrides: &[(&str, &str)]) -> Result<Config, String> {
        let values = [("PORT", "0"), ("WORKSPACE_ROOT", "/tmp/workspaces")];
        Config::read(|name| {
            overrides
                .iter()
                .chain(&values)
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).into())
        })
        .map_err(|error| error.to_string())
    }

    #[test]
    fn absent_variables_have_defaults() {
        let config = read(&[]).expect("the minimum is enough");
        assert_eq!(config.host.to_string(), "127.0.0.1");
        assert_eq!(config.origin_mode, OriginMode::Helper);
        assert!(config.agent_command.is_none() && config.token.is_none());
        assert_eq!(config.deadlines.hard.as_secs(), 300);
    }

    #[test]
    fn a_bad_variable_is_named_and_its_value_is_not_repeated() {
        for (variable, value) in [
            ("PORT", ""),
            ("PORT", "http"),
            ("PORT", "65536"),
            ("HOST", "localhost"),
            ("RUNTIME_TOKEN", "too-short"),
            ("RUNTIME_TOKEN", "has white space in it"),
            ("WORKSPACE_ROOT", ""),
            ("WORKSPACE_ROOT", "relative/path"),
            ("AGENT_COMMAND", "agent --flag"),
            ("AGENT_COMMAND", "[]"),
            ("AGENT_COMMAND", r#"[""]"#),
            ("AGENT_COMMAND", r#"{"a":1}"#),
            ("AGENT_UID", "root"),
            ("AGENT_UID", "0"),
            ("ORIGIN_CREDENTIALS", "HELPER"),
            ("DEV_ALLOWED_HOSTS", "localhost"),
            ("ENVIRONMENT", "Production"),
            ("GIT_CA_FILE", "/nonexistent/certificates.pem"),
            ("RUNTIME_TEST_DEADLINES", r#"{"unknown":1}"#),
        ] {
            let error = read(&[(variable, value)])
                .err()
                .expect("the row is invalid");
            assert!(
                error.starts_with(&format!("{variable} must be ")),
                "{error}"
            );
            assert!(value.len() < 6 || !error.contains(value), "{error}");
        }
    }

    #[test]
    fn private_hosts_are_refused_in_production() {
        let hosts = ("DEV_ALLOWED_HOSTS", "127.0.0.1:8811");
        for (environment, expected) in [
            (
                "production",
                Err("DEV_ALLOWED_HOSTS must be absent in production".to_owned()),
            ),
            ("development", Ok(false)),
            ("", Ok(false)),
        ] {
            let config = read(&[hosts, ("ENVIRONMENT", environment)]);
            assert_eq!(
                config.map(|config| config.allowed_hosts.is_empty()),
                expected
            );
        }
        let config = read(&[("ENVIRONMENT", "production")]).expect("it is valid");
        assert!(config.allowed_hosts.is_empty());
    }

    #[test]
    fn an_agent_command_is_a_json_array() {
        let config = read(&[("AGENT_COMMAND", r#"["/bin/agent","a b"]"#)]).expect("it is valid");
        assert_eq!(
            config.agent_command.as_deref(),
            Some(["/bin/agent".to_owned(), "a b".to_owned()].as_slice())
        );
    }
}
