//! The environment of a session, and what only its agent understands.

use std::fmt;

use cloud_agent_wire::Secret;
use serde::de::{Error, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::nested;
use super::shape::{Entries, Entry, List, Object, entry_value};
use super::text::{Mode, all_bytes, at_most, between_one_and, checked_text, unknown_word, words};
use crate::limits;
use crate::trpc::issue::{Issue, Violation};

/// Names that the runtime sets itself.
const RESERVED_ENV_NAMES: [&str; 3] = ["HOME", "SESSION_ID", "SESSION_HOME"];

/// An environment variable.
#[derive(Debug, Clone)]
pub struct EnvVar {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Secret,
}

impl Entry for EnvVar {
    const ENTRIES_MAX: usize = limits::ENV_ENTRIES_MAX;

    fn read(name: String, value: &RawValue) -> Result<Self, Violation> {
        check_env_name(&name)?;
        let value: Secret = entry_value(value)?;
        at_most(value.expose(), limits::ENV_VALUE_CHARS_MAX)?;
        all_bytes(value.expose(), |byte| byte != 0, "must not contain NUL")?;
        Ok(Self { name, value })
    }
}

fn check_env_name(name: &str) -> Result<(), Violation> {
    if RESERVED_ENV_NAMES.contains(&name) {
        return Err(Violation::custom(
            "its name must not be HOME, SESSION_ID or SESSION_HOME",
        ));
    }
    if name
        .bytes()
        .any(|byte| byte == b'=' || byte.is_ascii_control())
    {
        return Err(Violation::format(
            "its name must be the name of an environment variable",
        ));
    }
    check_name(name, limits::ENV_NAME_CHARS_MAX)
}

fn check_name(name: &str, max: usize) -> Result<(), Violation> {
    between_one_and(name, max).map_err(|violation| {
        Violation::new(violation.code, format!("its name {}", violation.message))
    })
}

words!(
    /// How a secret is encrypted.
    SecretAlgorithm {
        /// AES-256-GCM under a key that is encrypted with RSA-OAEP.
        RsaAes256Gcm = "rsa-aes-256-gcm",
    }
);

checked_text!(
    /// Base64 of a nonce, a ciphertext and a tag.
    EncryptedData,
    |text| between_one_and(text, limits::ENCRYPTED_DATA_BYTES_MAX)
);

checked_text!(
    /// Base64 of an encrypted key.
    EncryptedKey,
    |text| between_one_and(text, limits::ENCRYPTED_KEY_BYTES_MAX)
);

/// The only version of encrypted secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SecretVersion;

#[cfg(test)]
cloud_agent_wire::appears_as!(SecretVersion => "1");

impl Serialize for SecretVersion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(1)
    }
}

impl<'de> Deserialize<'de> for SecretVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VersionVisitor;

        impl Visitor<'_> for VersionVisitor {
            type Value = SecretVersion;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("1")
            }

            fn visit_u64<E: Error>(self, version: u64) -> Result<Self::Value, E> {
                if version == 1 {
                    Ok(SecretVersion)
                } else {
                    Err(E::custom(unknown_word(&["1"])))
                }
            }
        }

        deserializer.deserialize_u64(VersionVisitor)
    }
}

/// An environment variable whose value only the runtime's private key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptedSecret {
    /// Its name.
    pub name: String,
    /// The encrypted value.
    pub value: EncryptedValue,
}

/// The encrypted value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(
    test,
    derive(ts_rs::TS),
    ts(optional_fields, rename = "EncryptedSecret")
)]
pub struct EncryptedValue {
    /// The ciphertext.
    pub encrypted_data: EncryptedData,
    /// The key, encrypted itself.
    #[serde(rename = "encryptedDEK")]
    pub encrypted_key: EncryptedKey,
    /// How it is encrypted.
    pub algorithm: SecretAlgorithm,
    /// The version of this shape.
    pub version: SecretVersion,
}

impl Entry for EncryptedSecret {
    const ENTRIES_MAX: usize = limits::ENV_ENTRIES_MAX;

    fn read(name: String, value: &RawValue) -> Result<Self, Violation> {
        check_env_name(&name)?;
        let Object(value) = entry_value(value)?;
        Ok(Self { name, value })
    }
}

/// What only the agent understands: JSON text that is handed to it as it came. It may hold secrets.
#[derive(Debug, Clone, Default)]
pub struct AgentConfiguration {
    /// MCP servers by name.
    pub mcp_servers: Option<Secret>,
    /// Skills.
    pub runtime_skills: Option<Secret>,
    /// Agents besides the built-in ones; see [`RuntimeAgent`] for what is read of them.
    pub runtime_agents: Option<Secret>,
    /// Slash commands.
    pub kilo_commands: Option<Secret>,
}

/// What a session needs to know of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS), ts(optional_fields))]
pub struct RuntimeAgent {
    /// The mode that chooses it.
    pub slug: Mode,
    /// Its name for people.
    pub name: AgentText,
    /// Its model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<AgentText>,
    /// The model's variant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<AgentText>,
}

checked_text!(
    /// A text that only the agent interprets.
    AgentText,
    |text| at_most(text, limits::MODEL_CHARS_MAX)
);

/// An MCP server, of which only the name is looked at.
struct McpServer;

impl Entry for McpServer {
    const ENTRIES_MAX: usize = limits::MCP_SERVERS_MAX;

    fn read(name: String, value: &RawValue) -> Result<Self, Violation> {
        check_name(&name, limits::MCP_SERVER_NAME_CHARS_MAX)?;
        let Object(IgnoredAny) = entry_value(value)?;
        Ok(Self)
    }
}

type Agents = List<Object<RuntimeAgent>, { limits::RUNTIME_AGENTS_MAX }>;

/// The fields that make an [`AgentConfiguration`], as text.
pub(super) struct RawConfiguration<'a> {
    pub(super) mcp_servers: Option<&'a RawValue>,
    pub(super) runtime_skills: Option<&'a RawValue>,
    pub(super) runtime_agents: Option<&'a RawValue>,
    pub(super) kilo_commands: Option<&'a RawValue>,
}

impl RawConfiguration<'_> {
    /// Checks counts and the size of the whole, and reads what a session needs of the agents.
    pub(super) fn check(&self) -> Result<(AgentConfiguration, Vec<RuntimeAgent>), Issue> {
        let parts = [
            ("mcpServers", self.mcp_servers),
            ("runtimeSkills", self.runtime_skills),
            ("runtimeAgents", self.runtime_agents),
            ("kiloCommands", self.kilo_commands),
        ];
        let mut bytes = 0_usize;
        for (field, part) in parts {
            bytes = bytes.saturating_add(part.map_or(0, |part| part.get().len()));
            if bytes > limits::PASS_THROUGH_BYTES_MAX {
                return Err(Issue::at(
                    field,
                    Violation::too_big(
                        limits::PASS_THROUGH_BYTES_MAX,
                        "bytes together with mcpServers, runtimeSkills, runtimeAgents and kiloCommands",
                    ),
                ));
            }
        }
        if let Some(servers) = self.mcp_servers {
            nested::<Entries<McpServer>>(servers, "mcpServers")?;
        }
        let agents = match self.runtime_agents {
            Some(agents) => nested::<Agents>(agents, "runtimeAgents")?.0,
            None => Vec::new(),
        };
        let text = |part: Option<&RawValue>| part.map(|part| Secret::new(part.get().to_owned()));
        let configuration = AgentConfiguration {
            mcp_servers: text(self.mcp_servers),
            runtime_skills: text(self.runtime_skills),
            runtime_agents: text(self.runtime_agents),
            kilo_commands: text(self.kilo_commands),
        };
        let agents = agents.into_iter().map(|Object(agent)| agent).collect();
        Ok((configuration, agents))
    }
}
