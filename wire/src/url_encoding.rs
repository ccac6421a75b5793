//! How a user name and a token are written into a URL.

use crate::git_url::GitUrl;
use crate::secret::Secret;
use crate::workspace::Credential;

/// Percent-encodes a user name or a token: everything but letters, digits and `-._~`, since `%41` in a token must not turn
/// into `A`.
#[must_use]
pub fn encode_userinfo(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            push_hexadecimal(&mut encoded, byte, b"0123456789ABCDEF");
        }
    }
    encoded
}

/// Writes a byte as two digits of an alphabet.
pub(crate) fn push_hexadecimal(text: &mut String, byte: u8, digits: &[u8; 16]) {
    for half in [byte >> 4, byte & 15] {
        let digit = digits.get(usize::from(half));
        text.extend(digit.copied().map(char::from));
    }
}

/// The URL with the credential in it.
#[must_use]
pub fn authenticated_url(url: &GitUrl, credential: &Credential) -> Secret {
    Secret::new(format!(
        "{}://{}:{}@{}{}",
        url.scheme(),
        encode_userinfo(&credential.username),
        encode_userinfo(credential.token.expose()),
        url.authority(),
        url.path(),
    ))
}

/// The credential that a URL of [`authenticated_url`] has in it; `None` for one without.
#[must_use]
pub fn credential_in(url: &str) -> Option<Credential> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let (username, token) = authority.rsplit_once('@')?.0.split_once(':')?;
    Some(Credential {
        username: decode_userinfo(username)?,
        token: Secret::new(decode_userinfo(token)?),
    })
}

/// Undoes [`encode_userinfo`].
fn decode_userinfo(encoded: &str) -> Option<String> {
    let mut parts = encoded.split('%');
    let mut text = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        text.push(u8::from_str_radix(digits, 16).ok()?);
        text.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    use super::{authenticated_url, credential_in};
    use crate::address::AllowedHosts;
    use crate::git_url::GitUrl;
    use crate::secret::Secret;
    use crate::workspace::Credential;

    #[test]
    fn every_byte_that_means_something_in_a_url_is_encoded() {
        let allowed = AllowedHosts::parse("127.0.0.1:8811").expect("the list is valid");
        for (url, token, expected) in [
            (
                "https://h/r.git",
                "abc-._~9",
                "https://x-access-token:abc-._~9@h/r.git",
            ),
            (
                "https://h/r.git",
                r"a@b:c/d#e?f%41+g",
                "https://x-access-token:a%40b%3Ac%2Fd%23e%3Ff%2541%2Bg@h/r.git",
            ),
            (
                "http://127.0.0.1:8811/r.git",
                r#""'\$;&!"#,
                "http://x-access-token:%22%27%5C%24%3B%26%21@127.0.0.1:8811/r.git",
            ),
        ] {
            let url = GitUrl::parse(url, &allowed).expect("the row is valid");
            let credential = Credential {
                username: "x-access-token".to_owned(),
                token: Secret::new(token.to_owned()),
            };
            assert_eq!(authenticated_url(&url, &credential).expose(), expected);
            let read = credential_in(expected).expect("it has one");
            assert_eq!(read.username, "x-access-token");
            assert_eq!(read.token.expose(), token);
        }
        for none in [
            "",
            "https://h/r.git",
            "https://h:1/a:b@c",
            "https://u:%4@h/",
            "https://u:%zz@h/",
        ] {
            assert!(credential_in(none).is_none(), "{none}");
        }
    }
}
