//! What a workspace's git configuration says about `origin` and the credential, as an edit of its text.

use cloud_agent_wire::redact::REDACTED_BYTES_MIN;
use cloud_agent_wire::url_encoding::{authenticated_url, encode_userinfo};
use cloud_agent_wire::{Author, Credential, GitUrl};

use crate::git::config_file::{Change, ConfigFile, InvalidConfig, Key};

/// What the configuration says afterwards.
pub struct Origin<'a> {
    /// The repository.
    pub url: &'a GitUrl,
    /// The credential to put into the URL; absent when the URL stays clean.
    pub in_url: Option<&'a Credential>,
    /// The command of the credential helper; absent when there is none.
    pub helper: Option<&'a str>,
    /// Who commits; absent leaves the settings alone.
    pub author: Option<&'a Author>,
    /// The token in force, wherever it stands.
    pub token: Option<&'a str>,
    /// Tokens that must be gone.
    pub old_tokens: &'a [&'a str],
}

impl Origin<'_> {
    /// The configuration of the workspace itself: one clean `origin`, one helper, and no old token.
    ///
    /// # Errors
    /// [`InvalidConfig`] when the text is no configuration.
    pub fn rewrite(&self, text: &str) -> Result<String, InvalidConfig> {
        let mut config = ConfigFile::parse(text)?;
        config.drop_sections(|subsection| self.holds_old_token(subsection));
        let scope = self.url.origin();
        config.edit(|key, value| {
            let is_ours = match (key.section.as_str(), key.name.as_str()) {
                ("remote", "url" | "pushurl") => key.subsection == "origin",
                ("credential", "helper") => key.subsection.is_empty() || key.subsection == scope,
                ("user", "name" | "email") => self.author.is_some(),
                _ => false,
            };
            if is_ours {
                Change::Drop
            } else {
                self.refresh(value)
            }
        });
        config.drop_texts(|text| self.holds_old_token(text));
        config.drop_empty("credential");
        config.drop_empty("user");
        let mut config = Self::with_fetch(config)?;
        let url = self.in_url.map_or_else(
            || self.url.as_str().to_owned(),
            |credential| authenticated_url(self.url, credential).expose().to_owned(),
        );
        config.add(&key("remote", "origin", "url"), &url);
        if let Some(author) = self.author {
            config.append(&key("user", "", "name"), &author.name);
            config.add(&key("user", "", "email"), &author.email);
        }
        // At the end, where a repeat puts it again, so that nothing changes then.
        // An empty helper resets the list, so that no helper of the system gets to store the credential.
        config.append(&key("credential", "", "helper"), "");
        if let Some(helper) = self.helper {
            config.append(&key("credential", &scope, "helper"), helper);
        }
        Ok(config.to_string())
    }

    /// The configuration of the agent's home: one helper for the remote, or none. Everything else is the agent's.
    ///
    /// # Errors
    /// [`InvalidConfig`] when the text is no configuration.
    pub fn rewrite_home(&self, text: &str) -> Result<String, InvalidConfig> {
        let mut config = ConfigFile::parse(text)?;
        let helper = key("credential", &self.url.origin(), "helper");
        config.edit(|key, _| {
            if *key == helper {
                Change::Drop
            } else {
                Change::Keep
            }
        });
        config.drop_empty("credential");
        if let Some(command) = self.helper {
            // An empty helper resets the list, so that no helper of the system gets to store the credential.
            config.append(&helper, "");
            config.append(&helper, command);
        }
        Ok(config.to_string())
    }

    /// The configuration of a submodule or worktree: only what holds a credential of the remote changes.
    ///
    /// # Errors
    /// [`InvalidConfig`] when the text is no configuration.
    pub fn refresh_nested(&self, text: &str) -> Result<String, InvalidConfig> {
        let mut config = ConfigFile::parse(text)?;
        config.drop_sections(|subsection| self.holds_old_token(subsection));
        config.edit(|_, value| self.refresh(value));
        config.drop_texts(|text| self.holds_old_token(text));
        Ok(config.to_string())
    }

    /// With a refspec, so that there is a section of `origin`.
    fn with_fetch(mut config: ConfigFile) -> Result<ConfigFile, InvalidConfig> {
        let fetch = key("remote", "origin", "fetch");
        if config.entries().any(|(key, _)| *key == fetch) {
            return Ok(config);
        }
        config.add(&fetch, "+refs/heads/*:refs/remotes/origin/*");
        // What is added next finds the section.
        ConfigFile::parse(&config.to_string())
    }

    /// A URL of the remote's host with a credential of the session gets that of today or none; any other old token
    /// goes with its entry. Credentials of other people are left alone.
    fn refresh(&self, value: &str) -> Change {
        let prefix = format!("{}://", self.url.scheme());
        if let Some(rest) = value.strip_prefix(&prefix) {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, tail) = rest.split_at(end);
            if let Some((userinfo, host)) = authority.rsplit_once('@')
                && host == self.url.authority()
                && self.is_of_session(userinfo)
            {
                let userinfo = self.in_url.map_or_else(String::new, |credential| {
                    let username = encode_userinfo(&credential.username);
                    let token = encode_userinfo(credential.token.expose());
                    format!("{username}:{token}@")
                });
                return Change::Set(format!("{prefix}{userinfo}{host}{tail}"));
            }
        }
        if self.holds_old_token(value) {
            Change::Drop
        } else {
            Change::Keep
        }
    }

    /// Whether the user name or the password of a URL is a token of the session, however it is written.
    fn is_of_session(&self, userinfo: &str) -> bool {
        let parts = [Some(userinfo)]
            .into_iter()
            .chain([userinfo.split_once(':').map(|(user, _)| user)])
            .chain([userinfo.split_once(':').map(|(_, password)| password)]);
        parts.flatten().any(|part| {
            let decoded = percent_encoding::percent_decode_str(part).decode_utf8_lossy();
            let mut tokens = self.old_tokens.iter().copied().chain(self.token);
            tokens.any(|token| token == part || token == decoded)
        })
    }

    /// Whether an old token stands in a text, also percent-encoded. Very short tokens could be any word, and a token that short guards nothing.
    pub fn holds_old_token(&self, text: &str) -> bool {
        let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
        self.old_tokens
            .iter()
            .filter(|token| token.len() >= REDACTED_BYTES_MIN)
            .any(|token| text.contains(token) || decoded.contains(token))
    }
}

/// Names of settings that send the agent's own git elsewhere or run programs, for the log. Subsections may hold
/// secrets and are left out.
pub fn suspicious_keys(text: &str) -> Vec<String> {
    let Ok(config) = ConfigFile::parse(text) else {
        return Vec::new();
    };
    let mut names: Vec<String> = config
        .entries()
        .filter(|(key, _)| {
            matches!(
                (key.section.as_str(), key.name.as_str()),
                ("include" | "includeif", "path")
                    | ("url", "insteadof" | "pushinsteadof")
                    | ("http", "proxy" | "sslverify" | "followredirects")
                    | (
                        "core",
                        "fsmonitor" | "askpass" | "hookspath" | "sshcommand" | "gitproxy"
                    )
            )
        })
        .map(|(key, _)| format!("{}.{}", key.section, key.name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn key(section: &str, subsection: &str, name: &str) -> Key {
    Key {
        section: section.to_owned(),
        subsection: subsection.to_owned(),
        name: name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{AllowedHosts, Credential, GitUrl, Secret};

    use super::{Origin, suspicious_keys};

    const CLONED: &str = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://h/r.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n";

    fn url() -> GitUrl {
        GitUrl::parse("https://h/r.git", &AllowedHosts::default()).expect("it is valid")
    }

    fn in_helper_mode(url: &GitUrl) -> Origin<'_> {
        Origin {
            url,
            in_url: None,
            helper: Some("/bin/runtime git-credential"),
            author: None,
            token: None,
            old_tokens: &[],
        }
    }

    fn credential(token: &str) -> Credential {
        Credential {
            username: "x-access-token".to_owned(),
            token: Secret::new(token.to_owned()),
        }
    }

    #[test]
    fn helper_mode_keeps_origin_clean_and_is_stable() {
        let url = url();
        let origin = in_helper_mode(&url);
        let expected = "[core]\n\tbare = false\n[remote \"origin\"]\n\turl = \"https://h/r.git\"\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"main\"]\n\tremote = origin\n[credential]\n\thelper = \"\"\n[credential \"https://h\"]\n\thelper = \"/bin/runtime git-credential\"\n";
        let once = origin.rewrite(CLONED).expect("it is valid");
        assert_eq!(once, expected);
        assert_eq!(origin.rewrite(&once).expect("it is valid"), expected);
    }

    #[test]
    fn url_mode_shows_the_encoded_credential_and_forgets_the_old_one_everywhere() {
        let url = url();
        let (old, new) = (credential("old/token1"), credential("new@token2"));
        let first = Origin {
            url: &url,
            in_url: Some(&old),
            helper: None,
            author: None,
            token: None,
            old_tokens: &[],
        };
        let hostile = "[remote \"origin\"]\n\tpushurl = https://x-access-token:old%2Ftoken1@h/p.git\n[submodule \"s\"]\n\turl = https://x-access-token:old%2Ftoken1@h/s.git\n[url \"https://x:old%2Ftoken1@h/\"]\n\tinsteadOf = h:\n[x]\n\ty = old/token1\n";
        let text = first.rewrite(CLONED).expect("it is valid") + hostile;
        assert!(text.contains("url = \"https://x-access-token:old%2Ftoken1@h/r.git\""));
        let second = Origin {
            in_url: Some(&new),
            old_tokens: &["old/token1"],
            ..first
        };
        let text = second.rewrite(&text).expect("it is valid");
        assert!(!text.contains("token1"), "{text}");
        assert!(!text.contains("pushurl"));
        assert!(text.contains("\turl = \"https://x-access-token:new%40token2@h/r.git\"\n"));
        assert!(text.contains("\turl = \"https://x-access-token:new%40token2@h/s.git\"\n"));
        let helper = Origin {
            in_url: None,
            old_tokens: &["new@token2"],
            ..second
        };
        let text = helper.rewrite(&text).expect("it is valid");
        assert!(!text.contains("token2"), "{text}");
        assert!(text.contains("\turl = \"https://h/s.git\"\n"));
    }

    #[test]
    fn nested_files_change_only_where_a_credential_is() {
        let url = url();
        let new = credential("token2");
        let origin = Origin {
            url: &url,
            in_url: Some(&new),
            helper: None,
            author: None,
            token: Some("token2"),
            old_tokens: &["token1"],
        };
        let others = "[remote \"other\"]\n\turl = https://u:p@other/s.git\n[remote \"fork\"]\n\turl = https://me:mine@h/s.git\n\tpushurl = https://me@h/s.git\n";
        let text = format!(
            "[remote \"origin\"]\n\turl = https://u:%74oken1@h/s.git\n[submodule \"s\"]\n\turl = https://token1@h/s.git\n{others}"
        );
        let today = "\turl = \"https://x-access-token:token2@h/s.git\"\n";
        let expected = format!("[remote \"origin\"]\n{today}[submodule \"s\"]\n{today}{others}");
        assert_eq!(origin.refresh_nested(&text).expect("it is valid"), expected);
    }

    #[test]
    fn a_repeat_changes_nothing_whatever_was_missing() {
        let url = url();
        let origin = in_helper_mode(&url);
        for text in [
            "",
            "[remote \"origin\"]\n",
            "[core]\n\tx = a\\\n",
            "[core]\n\tx = a\\\r\n",
            "[core]\n\tx = a ; \\",
            "[remote \"origin\"] # \\\n[core]\n\tx = 1\n",
            "[core]\n\tx = a\\\\\n",
            "[Remote \"origin\"] URL = x\n[core]\n\tx = 1\n",
        ] {
            let once = origin.rewrite(text).expect("it is valid");
            assert_eq!(
                origin.rewrite(&once).expect("it is valid"),
                once,
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_home_gets_one_helper_and_keeps_the_rest() {
        let url = url();
        let origin = in_helper_mode(&url);
        let ours = "[credential \"https://h\"]\n\thelper = \"\"\n[credential \"https://h\"]\n\thelper = \"/bin/runtime git-credential\"\n";
        let own = "[credential]\n\thelper = store\n[alias]\n\tx = y\n";
        for before in ["", own] {
            let once = origin.rewrite_home(before).expect("it is valid");
            assert_eq!(once, format!("{before}{ours}"));
            assert_eq!(origin.rewrite_home(&once).expect("it is valid"), once);
            let none = Origin {
                helper: None,
                ..origin
            };
            assert_eq!(none.rewrite_home(&once).expect("it is valid"), before);
            assert_eq!(none.rewrite_home(before).expect("it is valid"), before);
        }
    }

    #[test]
    fn suspicious_settings_are_named_without_values() {
        let text = "[url \"https://x:T@h/\"]\n\tinsteadOf = a\n[http \"https://h/\"]\n\tproxy = p\n[core]\n\tfsmonitor = evil\n\tbare = false\n";
        assert_eq!(
            suspicious_keys(text),
            ["core.fsmonitor", "http.proxy", "url.insteadof"]
        );
    }
}
