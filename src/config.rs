//! The configuration of the Worker and the object, read from the environment's bindings.
//!
//! A missing or malformed setting is one sentence that names it. No value is ever repeated.

use std::fmt;

use cloud_agent_wire::{AllowedHosts, Secret, agent_command, is_runtime_token};

use crate::direct::DEFAULT_ROOT;
use crate::session::command::Settings;
use crate::session::encrypted_secret::PrivateKey;
use crate::session::sealing::KeyRing;
use crate::stream::origin::AllowedOrigins;

/// Everything that can be configured.
pub struct Config {
    /// `AUTH_JWT_SECRET`: verifies bearer tokens.
    pub auth_secret: Secret,
    /// `INTERNAL_API_SECRET`: the key of trusted services.
    pub internal_secret: Secret,
    /// `CREDENTIAL_SEALING_KEYS`: seals what is stored.
    pub sealing_keys: KeyRing,
    /// `CALLBACK_SIGNING_SECRET`: proves to receivers of callbacks where those come from.
    pub callback_signing_secret: Option<Secret>,
    /// `RUNTIME_TOKEN`: opens the runtime.
    pub runtime_token: Secret,
    /// Where the runtime is.
    pub runtime: RuntimeBinding,
    /// `DEV_ALLOWED_HOSTS`: hosts that may be private or plain http, outside production only.
    pub allowed_hosts: AllowedHosts,
    /// `AGENT_ENV_VARS_PRIVATE_KEY`: decrypts encrypted secrets.
    pub env_private_key: Option<PrivateKey>,
    /// `WS_ALLOWED_ORIGINS`: the pages that may follow a session.
    pub allowed_origins: AllowedOrigins,
    /// Configurable times.
    pub settings: Settings,
    /// `SLEEP_AFTER_MS`: how long nobody uses a container until it is stopped.
    pub sleep_after_millis: u64,
    /// `WORKSPACE_MODE=direct`: the object prepares workspaces itself, in a sandbox.
    pub direct: Option<DirectSettings>,
}

/// What direct mode needs to know, which a runtime knows by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectSettings {
    /// `WORKSPACE_ROOT`: the folder of the workspaces in the sandbox, without a slash at the end.
    pub root: String,
    /// `AGENT_COMMAND`: the agent that runs there; the built-in one when it is absent.
    pub agent_command: Option<Vec<String>>,
}

/// Where the runtime is: the first of these that is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeBinding {
    /// `RUNTIME`: another Worker.
    Service,
    /// `RUNTIME_URL`: this URL, without a slash at the end.
    Url(String),
    /// `WORKSPACE`: a container for each session.
    Container,
}

/// One sentence that names the setting and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

/// The binding of a Worker that answers as a runtime does.
pub const RUNTIME_SERVICE: &str = "RUNTIME";
/// The binding of the objects that own containers.
pub const WORKSPACE_CONTAINER: &str = "WORKSPACE";
/// `SLEEP_AFTER_MS` when it is absent.
const SLEEP_AFTER_MILLIS: u64 = 10 * 60 * 1_000;

fn missing(name: &str) -> ConfigError {
    ConfigError(format!("{name} is missing"))
}

impl Config {
    /// Reads the configuration; `lookup` gives the text of a binding, `is_bound` says whether one is there at all.
    ///
    /// # Errors
    /// The first setting that is missing or malformed.
    pub fn read(
        lookup: impl Fn(&str) -> Option<String>,
        is_bound: impl Fn(&str) -> bool,
    ) -> Result<Self, ConfigError> {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let secret = |name: &str| text(name).map(Secret::new).ok_or_else(|| missing(name));
        let production = match text("ENVIRONMENT").as_deref() {
            Some("production") | None => true,
            Some("development") => false,
            Some(_) => {
                return Err(ConfigError(
                    "ENVIRONMENT must be development or production".into(),
                ));
            }
        };
        let direct = match text("WORKSPACE_MODE").as_deref() {
            Some("bootstrap") | None => None,
            Some("direct") => Some(direct(text)?),
            Some(_) => {
                return Err(ConfigError(
                    "WORKSPACE_MODE must be bootstrap or direct".into(),
                ));
            }
        };
        let runtime = runtime_binding(text("RUNTIME_URL"), is_bound, production)?;
        Ok(Self {
            auth_secret: secret("AUTH_JWT_SECRET")?,
            internal_secret: secret("INTERNAL_API_SECRET")?,
            sealing_keys: KeyRing::parse(&secret("CREDENTIAL_SEALING_KEYS")?)
                .map_err(|sentence| ConfigError(sentence.to_owned()))?,
            callback_signing_secret: text("CALLBACK_SIGNING_SECRET").map(Secret::new),
            runtime_token: runtime_token(text("RUNTIME_TOKEN"), &runtime)?,
            runtime,
            allowed_hosts: allowed_hosts(text("DEV_ALLOWED_HOSTS"), production)?,
            env_private_key: text("AGENT_ENV_VARS_PRIVATE_KEY")
                .map(|pem| PrivateKey::parse(&Secret::new(pem)))
                .transpose()
                .map_err(|sentence| ConfigError(sentence.to_owned()))?,
            allowed_origins: AllowedOrigins::parse(&text("WS_ALLOWED_ORIGINS").unwrap_or_default())
                .map_err(|sentence| ConfigError(format!("WS_ALLOWED_ORIGINS {sentence}")))?,
            settings: settings(&text)?,
            sleep_after_millis: millis(&text, "SLEEP_AFTER_MS", SLEEP_AFTER_MILLIS)?,
            direct,
        })
    }
}

/// The runtime's token. A container is claimed with it, and takes none that could be guessed.
fn runtime_token(value: Option<String>, runtime: &RuntimeBinding) -> Result<Secret, ConfigError> {
    let token = value.ok_or_else(|| missing("RUNTIME_TOKEN"))?;
    if *runtime == RuntimeBinding::Container && !is_runtime_token(&token) {
        return Err(ConfigError(
            "RUNTIME_TOKEN must be at least 16 printable ASCII characters without spaces".into(),
        ));
    }
    Ok(Secret::new(token))
}

fn runtime_binding(
    url: Option<String>,
    is_bound: impl Fn(&str) -> bool,
    production: bool,
) -> Result<RuntimeBinding, ConfigError> {
    if is_bound(RUNTIME_SERVICE) {
        return Ok(RuntimeBinding::Service);
    }
    match url {
        Some(url) => runtime_url(&url, production).map(RuntimeBinding::Url),
        None if is_bound(WORKSPACE_CONTAINER) => Ok(RuntimeBinding::Container),
        None => Err(ConfigError(
            "RUNTIME_URL is missing, and neither RUNTIME nor WORKSPACE is bound".into(),
        )),
    }
}

/// The runtime's URL. In production secrets must not travel to it in the clear.
fn runtime_url(value: &str, production: bool) -> Result<String, ConfigError> {
    let url = url::Url::parse(value).ok().filter(|url| {
        url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    match url.as_ref().map(url::Url::scheme) {
        Some("https") => {}
        Some("http") if !production => {}
        Some("http") => {
            return Err(ConfigError(
                "RUNTIME_URL must start with https:// in production".into(),
            ));
        }
        _ => {
            return Err(ConfigError(
                "RUNTIME_URL must be an http or https URL without userinfo, query or fragment"
                    .into(),
            ));
        }
    }
    Ok(value.trim_end_matches('/').to_owned())
}

fn allowed_hosts(value: Option<String>, production: bool) -> Result<AllowedHosts, ConfigError> {
    match value {
        None => Ok(AllowedHosts::default()),
        Some(_) if production => Err(ConfigError(
            "DEV_ALLOWED_HOSTS must not be set in production".into(),
        )),
        Some(value) => AllowedHosts::parse(&value)
            .map_err(|error| ConfigError(format!("DEV_ALLOWED_HOSTS {error}"))),
    }
}

fn direct(text: impl Fn(&str) -> Option<String>) -> Result<DirectSettings, ConfigError> {
    let root = text("WORKSPACE_ROOT").unwrap_or_else(|| DEFAULT_ROOT.to_owned());
    let root = root.trim_end_matches('/');
    if !root.starts_with('/') || root.contains('\0') {
        let sentence = "WORKSPACE_ROOT must be an absolute path of a folder";
        return Err(ConfigError(sentence.into()));
    }
    let agent_command = text("AGENT_COMMAND").map(|text| {
        let sentence = "AGENT_COMMAND must be a JSON array of texts, the program first";
        agent_command(&text).ok_or_else(|| ConfigError(sentence.into()))
    });
    Ok(DirectSettings {
        root: root.to_owned(),
        agent_command: agent_command.transpose()?,
    })
}

fn millis(
    text: &dyn Fn(&str) -> Option<String>,
    name: &str,
    default: u64,
) -> Result<u64, ConfigError> {
    match text(name) {
        None => Ok(default),
        Some(value) => value
            .parse()
            .map_err(|_| ConfigError(format!("{name} must be a whole number of milliseconds"))),
    }
}

fn settings(text: &dyn Fn(&str) -> Option<String>) -> Result<Settings, ConfigError> {
    let millis = |name: &str, default: u64| millis(text, name, default);
    let defaults = Settings::default();
    Ok(Settings {
        drain_delay_millis: millis("DRAIN_DELAY_MS", defaults.drain_delay_millis)?,
        marker_ttl_millis: millis("MARKER_TTL_MS", defaults.marker_ttl_millis)?,
        credential_wait_millis: millis("CREDENTIAL_WAIT_MS", defaults.credential_wait_millis)?,
        no_output_millis: millis("NO_OUTPUT_MS", defaults.no_output_millis)?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Config, RuntimeBinding};

    fn read(changes: &[(&str, Option<&str>)], bound: &[&str]) -> Result<Config, String> {
        let key = format!("k1:{}", STANDARD.encode([1; 32]));
        let mut settings = BTreeMap::from([
            ("AUTH_JWT_SECRET", "a"),
            ("INTERNAL_API_SECRET", "b"),
            ("CREDENTIAL_SEALING_KEYS", key.as_str()),
            ("RUNTIME_TOKEN", "a-token-of-a-runtime"),
            ("RUNTIME_URL", "https://runtime.example"),
        ]);
        for (name, value) in changes {
            match value {
                Some(value) => settings.insert(name, value),
                None => settings.remove(name),
            };
        }
        let lookup = |name: &str| settings.get(name).map(|value| (*value).to_owned());
        Config::read(lookup, |name| bound.contains(&name)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_way_to_a_runtime_that_is_configured_wins() {
        let runtime =
            |url, bound: &[&str]| read(&[("RUNTIME_URL", url)], bound).map(|config| config.runtime);
        let url = Some("https://runtime.example/");
        let at_url = RuntimeBinding::Url("https://runtime.example".to_owned());
        assert_eq!(runtime(url, &["RUNTIME"]), Ok(RuntimeBinding::Service));
        assert_eq!(runtime(None, &["RUNTIME"]), Ok(RuntimeBinding::Service));
        assert_eq!(runtime(url, &["WORKSPACE"]), Ok(at_url));
        assert_eq!(runtime(None, &["WORKSPACE"]), Ok(RuntimeBinding::Container));
    }

    #[test]
    fn a_container_is_claimed_with_a_token_that_nobody_guesses() {
        let short = ("RUNTIME_TOKEN", Some("short"));
        let sentence =
            "RUNTIME_TOKEN must be at least 16 printable ASCII characters without spaces";
        let error = read(&[short, ("RUNTIME_URL", None)], &["WORKSPACE"]).err();
        assert_eq!(error.as_deref(), Some(sentence));
        assert!(read(&[short], &["WORKSPACE"]).is_ok());
    }

    #[test]
    fn each_setting_that_is_missing_or_malformed_is_named() {
        const DEVELOPMENT: (&str, Option<&str>) = ("ENVIRONMENT", Some("development"));
        const DIRECT: (&str, Option<&str>) = ("WORKSPACE_MODE", Some("direct"));
        type Row<'a> = (&'a [(&'a str, Option<&'a str>)], Option<&'a str>);
        let rows: &[Row<'_>] = &[
            (&[], None),
            (
                &[("AUTH_JWT_SECRET", None)],
                Some("AUTH_JWT_SECRET is missing"),
            ),
            (
                &[("AUTH_JWT_SECRET", Some(""))],
                Some("AUTH_JWT_SECRET is missing"),
            ),
            (
                &[("INTERNAL_API_SECRET", None)],
                Some("INTERNAL_API_SECRET is missing"),
            ),
            (
                &[("CREDENTIAL_SEALING_KEYS", None)],
                Some("CREDENTIAL_SEALING_KEYS is missing"),
            ),
            (
                &[("CREDENTIAL_SEALING_KEYS", Some("k1:short"))],
                Some("CREDENTIAL_SEALING_KEYS has a key that is not base64"),
            ),
            (&[("RUNTIME_TOKEN", None)], Some("RUNTIME_TOKEN is missing")),
            (
                &[("RUNTIME_URL", None)],
                Some("RUNTIME_URL is missing, and neither RUNTIME nor WORKSPACE is bound"),
            ),
            (
                &[("RUNTIME_URL", Some("http://runtime.example"))],
                Some("RUNTIME_URL must start with https:// in production"),
            ),
            (
                &[DEVELOPMENT, ("RUNTIME_URL", Some("http://127.0.0.1:9"))],
                None,
            ),
            (
                &[("RUNTIME_URL", Some("https://u:p@runtime.example"))],
                Some(
                    "RUNTIME_URL must be an http or https URL without userinfo, query or fragment",
                ),
            ),
            (
                &[("ENVIRONMENT", Some("test"))],
                Some("ENVIRONMENT must be development or production"),
            ),
            (
                &[("WORKSPACE_MODE", Some("other"))],
                Some("WORKSPACE_MODE must be bootstrap or direct"),
            ),
            (&[DIRECT], None),
            (
                &[DIRECT, ("AGENT_COMMAND", Some(r#"["sh","-c","x"]"#))],
                None,
            ),
            (
                &[DIRECT, ("AGENT_COMMAND", Some("sh -c x"))],
                Some("AGENT_COMMAND must be a JSON array of texts, the program first"),
            ),
            (
                &[DIRECT, ("AGENT_COMMAND", Some("[]"))],
                Some("AGENT_COMMAND must be a JSON array of texts, the program first"),
            ),
            (
                &[DIRECT, ("WORKSPACE_ROOT", Some("workspace"))],
                Some("WORKSPACE_ROOT must be an absolute path of a folder"),
            ),
            (
                &[("DEV_ALLOWED_HOSTS", Some("127.0.0.1:1"))],
                Some("DEV_ALLOWED_HOSTS must not be set in production"),
            ),
            (
                &[DEVELOPMENT, ("DEV_ALLOWED_HOSTS", Some("127.0.0.1:1"))],
                None,
            ),
            (
                &[("AGENT_ENV_VARS_PRIVATE_KEY", Some("key"))],
                Some("AGENT_ENV_VARS_PRIVATE_KEY must be an RSA private key in PEM"),
            ),
            (
                &[("WS_ALLOWED_ORIGINS", Some("*"))],
                Some(
                    "WS_ALLOWED_ORIGINS must be a list of origins such as https://app.example, separated by commas",
                ),
            ),
            (
                &[("DRAIN_DELAY_MS", Some("soon"))],
                Some("DRAIN_DELAY_MS must be a whole number of milliseconds"),
            ),
            (
                &[("SLEEP_AFTER_MS", Some("-1"))],
                Some("SLEEP_AFTER_MS must be a whole number of milliseconds"),
            ),
        ];
        for (changes, expected) in rows {
            let error = read(changes, &[]).err();
            assert_eq!(error.as_deref(), *expected, "{changes:?}");
        }
    }
}
