//! Encrypted secrets: values that the caller encrypted for this service's private key.
//!
//! Each value has an AES-256 key of its own, which is encrypted with RSA-OAEP (SHA-256) under the public half of
//! `AGENT_ENV_VARS_PRIVATE_KEY`. The value itself is AES-256-GCM: base64 of a nonce of 16 bytes, the ciphertext and a
//! tag of 16 bytes. They stay as they came until a delivery needs them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloud_agent_wire::Secret;
use serde::Deserialize;

/// Bytes of a value's nonce.
const NONCE_BYTES: usize = 16;
/// Bytes of a value's tag.
const TAG_BYTES: usize = 16;

/// An encrypted value as it came, base64.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptedSecret {
    encrypted_data: String,
    #[serde(rename = "encryptedDEK")]
    encrypted_key: String,
}

/// The parts of an encrypted value, for whoever has the private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// The encrypted AES key.
    pub wrapped_key: Vec<u8>,
    /// The nonce.
    pub nonce: Vec<u8>,
    /// Ciphertext and tag.
    pub ciphertext: Vec<u8>,
}

impl EncryptedSecret {
    /// The value's parts; `None` when it is malformed.
    #[must_use]
    pub fn parts(&self) -> Option<Parts> {
        let wrapped_key = STANDARD.decode(&self.encrypted_key).ok()?;
        let data = STANDARD.decode(&self.encrypted_data).ok()?;
        let (nonce, ciphertext) = data.split_at_checked(NONCE_BYTES)?;
        (ciphertext.len() >= TAG_BYTES && !wrapped_key.is_empty()).then(|| Parts {
            wrapped_key,
            nonce: nonce.to_vec(),
            ciphertext: ciphertext.to_vec(),
        })
    }
}

/// Why encrypted secrets could not be decrypted. Says nothing about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecryptionFault {
    /// `AGENT_ENV_VARS_PRIVATE_KEY` is not set.
    NoKey,
    /// The platform does not take the key.
    BadKey,
    /// A value is malformed, or was encrypted for another key.
    DoesNotOpen,
}

impl DecryptionFault {
    /// The fact for the failure of a delivery.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::NoKey => {
                "encryptedSecrets cannot be decrypted: AGENT_ENV_VARS_PRIVATE_KEY is not set"
            }
            Self::BadKey => {
                "encryptedSecrets cannot be decrypted: AGENT_ENV_VARS_PRIVATE_KEY is not usable"
            }
            Self::DoesNotOpen => {
                "an entry of encryptedSecrets is malformed or was encrypted for another key"
            }
        }
    }
}

/// An RSA private key as PKCS#8, which is what platforms take.
#[derive(Clone)]
pub struct PrivateKey(Secret);

/// What PKCS#8 puts before an RSA key: version 0, and that it is an RSA key.
const RSA_ALGORITHM: [u8; 18] = [
    0x02, 0x01, 0x00, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
    0x05, 0x00,
];

impl PrivateKey {
    /// Reads a PEM text of either kind, `PRIVATE KEY` (PKCS#8) or `RSA PRIVATE KEY` (PKCS#1). Line ends may be written
    /// as `\n`, as they are where a variable must be one line.
    ///
    /// # Errors
    /// What is expected, never a part of the key.
    pub fn parse(pem: &Secret) -> Result<Self, &'static str> {
        let body = |label: &str| {
            let text = pem.expose();
            let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
            let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
            let body = body.replace("\\r", "").replace("\\n", "");
            let body: String = body.split_ascii_whitespace().collect();
            STANDARD.decode(body).ok().filter(|bytes| !bytes.is_empty())
        };
        body("PRIVATE KEY")
            .or_else(|| body("RSA PRIVATE KEY").map(|key| to_pkcs8(&key)))
            .map(|key| Self(Secret::new(STANDARD.encode(key))))
            .ok_or("AGENT_ENV_VARS_PRIVATE_KEY must be an RSA private key in PEM")
    }

    /// The key's bytes, for the platform.
    #[must_use]
    pub fn to_pkcs8(&self) -> Vec<u8> {
        STANDARD.decode(self.0.expose()).unwrap_or_default()
    }
}

fn to_pkcs8(key: &[u8]) -> Vec<u8> {
    let mut content = RSA_ALGORITHM.to_vec();
    content.extend(element(0x04, key));
    element(0x30, &content)
}

/// An ASN.1 element: its tag, its length, its content.
fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len().to_be_bytes();
    let significant: Vec<u8> = length.into_iter().skip_while(|byte| *byte == 0).collect();
    match significant.as_slice() {
        [short] if *short < 0x80 => bytes.push(*short),
        [] => bytes.push(0),
        long => {
            bytes.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            bytes.extend(long);
        }
    }
    bytes.extend(content);
    bytes
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use cloud_agent_wire::Secret;

    use super::{EncryptedSecret, PrivateKey, element};

    fn pem(label: &str, bytes: &[u8], line_end: &str) -> Secret {
        let body = STANDARD.encode(bytes);
        let (first, second) = body.split_at(body.len() / 2);
        Secret::new(format!(
            "-----BEGIN {label}-----{line_end}{first}{line_end}{second}{line_end}-----END {label}-----{line_end}"
        ))
    }

    #[test]
    fn both_kinds_of_private_keys_are_read() {
        let key: Vec<u8> = (0..=255).cycle().take(1_190).collect();
        for line_end in ["\n", "\r\n", "\\n"] {
            let read = PrivateKey::parse(&pem("PRIVATE KEY", &key, line_end)).ok();
            assert!(read.is_some_and(|read| read.to_pkcs8() == key));
            let read = PrivateKey::parse(&pem("RSA PRIVATE KEY", &key, line_end)).ok();
            let wrapped = read.unwrap().to_pkcs8();
            assert!(wrapped.ends_with(&key));
            // SEQUENCE, version, algorithm, OCTET STRING: lengths in two bytes.
            assert_eq!(wrapped[..4], [0x30, 0x82, 0x04, 0xbc]);
            assert_eq!(wrapped[22..26], [0x04, 0x82, 0x04, 0xa6]);
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused_without_showing_it() {
        for text in ["", "canary", "-----BEGIN PRIVATE KEY-----canary"] {
            let error = PrivateKey::parse(&Secret::new(text.to_owned()))
                .err()
                .unwrap();
            assert!(error.starts_with("AGENT_ENV_VARS_PRIVATE_KEY"));
            assert!(!error.contains("canary"));
        }
        let public = pem("PUBLIC KEY", b"canary", "\n");
        assert!(PrivateKey::parse(&public).is_err());
    }

    #[test]
    fn lengths_are_as_asn1_writes_them() {
        assert_eq!(element(4, &[]), [4, 0]);
        assert_eq!(element(4, &[7; 127])[..2], [4, 127]);
        assert_eq!(element(4, &[7; 128])[..3], [4, 0x81, 128]);
        assert_eq!(element(4, &[7; 256])[..4], [4, 0x82, 1, 0]);
    }

    #[test]
    fn a_value_is_taken_apart_only_when_it_can_be_one() {
        let secret = |data: &[u8], key: &str| EncryptedSecret {
            encrypted_data: STANDARD.encode(data),
            encrypted_key: key.to_owned(),
        };
        let parts = secret(&[1; 40], "AAAA").parts().unwrap();
        assert_eq!((parts.nonce.len(), parts.ciphertext.len()), (16, 24));
        assert!(secret(&[1; 32], "AAAA").parts().is_some());
        assert!(secret(&[1; 31], "AAAA").parts().is_none());
        assert!(secret(&[1; 40], "").parts().is_none());
        assert!(secret(&[1; 40], "not base64").parts().is_none());
    }
}
