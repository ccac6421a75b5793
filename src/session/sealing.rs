//! Sealing: every secret that a session stores is AES-256-GCM ciphertext under a ring of keys.
//!
//! The additional authenticated data binds a sealed value to its kind, user, session and repository, so that a row
//! copied to another place does not open there. The nonce is an argument: the caller brings fresh randomness.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_wire::{Secret, SessionId};
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a key.
const KEY_BYTES: usize = 32;
/// Longest id of a key.
const KEY_ID_CHARS_MAX: usize = 32;
/// Hex digits of a fingerprint.
const FINGERPRINT_BYTES: usize = 4;

/// Twelve fresh random bytes, to be used for one sealing only.
pub type NonceBytes = [u8; NONCE_BYTES];

/// A sealed secret as it is stored: `<key id>.<base64 of nonce and ciphertext>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed(String);

impl Sealed {
    /// Wraps a stored text.
    #[must_use]
    pub const fn from_stored(text: String) -> Self {
        Self(text)
    }

    /// The text to store.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a sealed value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// The git token.
    GitToken,
    /// Environment variables, headers and other secrets that came with preparation, as one JSON object.
    Profile,
    /// Where messages are reported to, with the headers for it.
    CallbackTarget,
}

impl SecretKind {
    /// The word in the authenticated data and in the table of secrets.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitToken => "git_token",
            Self::Profile => "profile",
            Self::CallbackTarget => "callback_target",
        }
    }
}

/// What a sealed value belongs to.
#[derive(Debug, Clone, Copy)]
pub struct SealingContext<'a> {
    /// The session's owner.
    pub user_id: &'a str,
    /// The session.
    pub session_id: &'a SessionId,
    /// The repository's identity: its URL or `owner/name`.
    pub repository: &'a str,
}

impl SealingContext<'_> {
    /// Length-prefixed parts, so that no two different contexts give the same bytes.
    fn authenticated_data(self, kind: SecretKind) -> Vec<u8> {
        let mut data = Vec::with_capacity(256);
        for part in [
            kind.as_str(),
            self.user_id,
            self.session_id.as_str(),
            self.repository,
        ] {
            data.extend_from_slice(&(part.len() as u64).to_be_bytes());
            data.extend_from_slice(part.as_bytes());
        }
        data
    }
}

/// Why a secret could not be sealed or opened. Says nothing about the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealingError {
    /// The ring has no key of that id.
    UnknownKey,
    /// The stored text is damaged, or belongs to another place.
    Damaged,
}

impl std::fmt::Display for SealingError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::UnknownKey => {
                "CREDENTIAL_SEALING_KEYS lacks the key that a stored secret was sealed with"
            }
            Self::Damaged => "a stored secret is damaged",
        })
    }
}

impl std::error::Error for SealingError {}

/// The keys of `CREDENTIAL_SEALING_KEYS`: the first seals, all open.
pub struct KeyRing {
    first: RingKey,
    others: Vec<RingKey>,
}

struct RingKey {
    id: String,
    cipher: Aes256Gcm,
    fingerprinter: Hmac<Sha256>,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("KeyRing")
    }
}

impl KeyRing {
    /// Reads `id:base64,id:base64`, each key 32 bytes.
    ///
    /// # Errors
    /// A sentence that names the setting and what is wrong with it, never a part of a key.
    pub fn parse(setting: &Secret) -> Result<Self, &'static str> {
        let mut keys = setting
            .expose()
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let first = keys.next().ok_or("CREDENTIAL_SEALING_KEYS has no key")?;
        let first = RingKey::parse(first)?;
        let others = keys.map(RingKey::parse).collect::<Result<Vec<_>, _>>()?;
        let ids = others.iter().map(|key| &key.id);
        if ids.clone().any(|id| *id == first.id)
            || ids
                .clone()
                .enumerate()
                .any(|(index, id)| ids.clone().take(index).any(|other| other == id))
        {
            return Err("CREDENTIAL_SEALING_KEYS names a key id twice");
        }
        Ok(Self { first, others })
    }

    /// Seals a secret under the first key. Each call needs a nonce of its own.
    ///
    /// # Errors
    /// [`SealingError::Damaged`] when the cipher refuses the text, which is larger than any that is accepted.
    pub fn seal(
        &self,
        kind: SecretKind,
        context: SealingContext<'_>,
        secret: &Secret,
        nonce: &NonceBytes,
    ) -> Result<Sealed, SealingError> {
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: &context.authenticated_data(kind),
        };
        let ciphertext = self
            .first
            .cipher
            .encrypt(Nonce::from_slice(nonce), payload)
            .map_err(|_| SealingError::Damaged)?;
        let mut bytes = Vec::with_capacity(NONCE_BYTES + ciphertext.len());
        bytes.extend_from_slice(nonce);
        bytes.extend_from_slice(&ciphertext);
        Ok(Sealed(format!(
            "{}.{}",
            self.first.id,
            STANDARD.encode(bytes)
        )))
    }

    /// Opens a sealed secret with the key that it names.
    ///
    /// # Errors
    /// [`SealingError`], when the key is not in the ring or the text does not open in this context.
    pub fn open(
        &self,
        kind: SecretKind,
        context: SealingContext<'_>,
        sealed: &Sealed,
    ) -> Result<Secret, SealingError> {
        let (id, encoded) = sealed.0.split_once('.').ok_or(SealingError::Damaged)?;
        let key = std::iter::once(&self.first)
            .chain(&self.others)
            .find(|key| key.id == id)
            .ok_or(SealingError::UnknownKey)?;
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| SealingError::Damaged)?;
        let (nonce, ciphertext) = bytes
            .split_at_checked(NONCE_BYTES)
            .ok_or(SealingError::Damaged)?;
        let payload = Payload {
            msg: ciphertext,
            aad: &context.authenticated_data(kind),
        };
        let plain = key
            .cipher
            .decrypt(Nonce::from_slice(nonce), payload)
            .map_err(|_| SealingError::Damaged)?;
        String::from_utf8(plain)
            .map(Secret::new)
            .map_err(|_| SealingError::Damaged)
    }

    /// Whether a secret was sealed under the first key, as its fingerprint was then.
    #[must_use]
    pub fn is_under_first_key(&self, sealed: &Sealed) -> bool {
        let id = sealed.0.split_once('.').map(|(id, _)| id);
        id == Some(self.first.id.as_str())
    }

    /// The first eight hex digits of the token's HMAC-SHA-256 under the first key.
    #[must_use]
    pub fn fingerprint(&self, token: &Secret) -> String {
        use std::fmt::Write as _;
        let mut hmac = self.first.fingerprinter.clone();
        hmac.update(token.expose().as_bytes());
        let mut text = String::with_capacity(2 * FINGERPRINT_BYTES);
        for byte in hmac.finalize().into_bytes().iter().take(FINGERPRINT_BYTES) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }
}

impl RingKey {
    fn parse(entry: &str) -> Result<Self, &'static str> {
        let (id, encoded) = entry
            .split_once(':')
            .ok_or("CREDENTIAL_SEALING_KEYS must be id:base64, separated by commas")?;
        if id.is_empty()
            || id.len() > KEY_ID_CHARS_MAX
            || !id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return Err(
                "CREDENTIAL_SEALING_KEYS has a key id that is not 1 to 32 letters, digits, dashes or underscores",
            );
        }
        let bytes = STANDARD
            .decode(encoded)
            .map_err(|_| "CREDENTIAL_SEALING_KEYS has a key that is not base64")?;
        if bytes.len() != KEY_BYTES {
            return Err("CREDENTIAL_SEALING_KEYS has a key that is not 32 bytes long");
        }
        let fingerprinter = <Hmac<Sha256> as Mac>::new_from_slice(&bytes)
            .map_err(|_| "CREDENTIAL_SEALING_KEYS has a key that is not 32 bytes long")?;
        Ok(Self {
            id: id.to_owned(),
            cipher: Aes256Gcm::new(Key::<Aes256Gcm>::from_slice(&bytes)),
            fingerprinter,
        })
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use cloud_agent_wire::{Secret, SessionId};

    use super::{KeyRing, SealingContext, SealingError, SecretKind};

    fn key(byte: u8) -> String {
        STANDARD.encode([byte; 32])
    }

    fn ring(setting: &str) -> Result<KeyRing, &'static str> {
        KeyRing::parse(&Secret::new(setting.to_owned()))
    }

    fn session(last: char) -> SessionId {
        format!("agent_00000000-0000-4000-8000-00000000000{last}")
            .parse()
            .unwrap()
    }

    #[test]
    fn the_first_key_seals_and_every_key_opens() {
        let session_id = session('1');
        let context = SealingContext {
            user_id: "u",
            session_id: &session_id,
            repository: "r",
        };
        let old = ring(&format!("k1:{}", key(1))).unwrap();
        let new = ring(&format!("k2:{},k1:{}", key(2), key(1))).unwrap();
        let secret = Secret::new("a token".to_owned());
        let sealed = old
            .seal(SecretKind::GitToken, context, &secret, &[7; 12])
            .unwrap();
        assert!(!sealed.as_str().contains("a token"));
        let opened = new.open(SecretKind::GitToken, context, &sealed).unwrap();
        assert_eq!(opened.expose(), "a token");
        let resealed = new
            .seal(SecretKind::GitToken, context, &secret, &[8; 12])
            .unwrap();
        assert!(resealed.as_str().starts_with("k2."));
        assert_eq!(
            old.open(SecretKind::GitToken, context, &resealed)
                .unwrap_err(),
            SealingError::UnknownKey
        );
    }

    #[test]
    fn a_sealed_value_opens_only_where_it_belongs() {
        let (here, there) = (session('1'), session('2'));
        let context = SealingContext {
            user_id: "u",
            session_id: &here,
            repository: "r",
        };
        let ring = ring(&format!("k1:{}", key(1))).unwrap();
        let secret = Secret::new("a token".to_owned());
        let sealed = ring
            .seal(SecretKind::GitToken, context, &secret, &[7; 12])
            .unwrap();
        let others = [
            (SecretKind::Profile, context),
            (
                SecretKind::GitToken,
                SealingContext {
                    user_id: "ur",
                    ..context
                },
            ),
            (
                SecretKind::GitToken,
                SealingContext {
                    session_id: &there,
                    ..context
                },
            ),
            (
                SecretKind::GitToken,
                SealingContext {
                    repository: "",
                    ..context
                },
            ),
        ];
        for (kind, context) in others {
            assert_eq!(
                ring.open(kind, context, &sealed).unwrap_err(),
                SealingError::Damaged
            );
        }
    }

    #[test]
    fn a_malformed_ring_is_refused_without_showing_it() {
        let good = key(1);
        for setting in [
            String::new(),
            good.clone(),
            format!(":{good}"),
            format!("k.1:{good}"),
            format!("{}:{good}", "k".repeat(33)),
            "k1:not base64".to_owned(),
            format!("k1:{}", STANDARD.encode([1; 16])),
            format!("k1:{good},k1:{good}"),
            format!("k0:{good},k1:{good},k1:{good}"),
        ] {
            let error = ring(&setting).unwrap_err();
            assert!(error.starts_with("CREDENTIAL_SEALING_KEYS"), "{error}");
            assert!(!error.contains(&good));
        }
        let longest_id = format!("k-_{}", "1".repeat(29));
        assert!(ring(&format!("{longest_id}:{good}")).is_ok());
    }

    #[test]
    fn the_fingerprint_is_eight_hex_digits_that_depend_on_key_and_token() {
        let token = |text: &str| Secret::new(text.to_owned());
        let one = ring(&format!("k1:{}", key(1))).unwrap();
        let two = ring(&format!("k1:{}", key(2))).unwrap();
        let fingerprint = one.fingerprint(&token("a"));
        assert_eq!(fingerprint.len(), 8);
        assert!(fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(fingerprint, one.fingerprint(&token("a")));
        assert_ne!(fingerprint, one.fingerprint(&token("b")));
        assert_ne!(fingerprint, two.fingerprint(&token("a")));
    }
}
