//! Who calls: a user's bearer token, and the internal key of trusted services.
//!
//! Pure: the secrets and the time are arguments. No error repeats anything of a header.

use std::fmt;

use cloud_agent_wire::{Secret, SessionId, Timestamp};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, UntrustedToken, ValidationError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::limits;
use crate::stream::ticket::TICKET_TYPE;
use crate::trpc::{CallError, ErrorKey};

/// The version that tokens of the existing service carry. Tokens without a version are accepted as well.
const TOKEN_VERSION: u64 = 3;

/// A user.
///
/// 1 to 128 characters without control characters. Colons are allowed, as in `oauth/google:1`: a session id has none,
/// so in the name of an object the last colon is the one that separates.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(String);

impl UserId {
    /// The id as tokens carry it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the object that has this user's session. Two users never share one, so another user's session
    /// id leads to an empty object.
    #[must_use]
    pub fn object_name(&self, session_id: &SessionId) -> String {
        format!("{}:{session_id}", self.0)
    }
}

/// Why a text is not a user id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidUserId;

impl fmt::Display for InvalidUserId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "a user id has 1 to {} characters and no control characters",
            limits::USER_ID_CHARS_MAX
        )
    }
}

impl std::error::Error for InvalidUserId {}

impl TryFrom<String> for UserId {
    type Error = InvalidUserId;

    fn try_from(text: String) -> Result<Self, InvalidUserId> {
        let is_short = text.chars().nth(limits::USER_ID_CHARS_MAX).is_none();
        if is_short && !text.is_empty() && !text.chars().any(char::is_control) {
            Ok(Self(text))
        } else {
            Err(InvalidUserId)
        }
    }
}

impl From<UserId> for String {
    fn from(user_id: UserId) -> Self {
        user_id.0
    }
}

macro_rules! auth_errors {
    ($($(#[$doc:meta])* $variant:ident = $key:ident, $message:literal;)+) => {
        /// Why a caller is turned away.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum AuthError {
            $($(#[$doc])* $variant,)+
        }

        impl AuthError {
            /// The tRPC key that it is answered with.
            #[must_use]
            pub const fn key(self) -> ErrorKey {
                match self {
                    $(Self::$variant => ErrorKey::$key,)+
                }
            }

            /// The sentence that it is answered with.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$variant => $message,)+
                }
            }
        }
    };
}

auth_errors!(
    /// There is no `Authorization` header.
    MissingHeader = Unauthorized, "Missing Authorization header";
    /// The header is not `Bearer` and a token.
    InvalidFormat = Unauthorized, "Invalid Authorization header format";
    /// The token's version is one that is no longer honoured.
    InvalidTokenVersion = Unauthorized, "Invalid token version";
    /// The token's time is over.
    TokenExpired = Unauthorized, "Token expired";
    /// The token was signed with another key.
    InvalidSignature = Unauthorized, "Invalid token signature";
    /// Anything else is wrong with the token.
    InvalidToken = Unauthorized, "Token validation failed";
    /// The internal key is missing or wrong.
    InvalidInternalKey = Unauthorized, "Invalid or missing internal API key";
    /// `AUTH_JWT_SECRET` is missing.
    TokenSecretNotConfigured = InternalServerError, "AUTH_JWT_SECRET is not configured";
    /// `INTERNAL_API_SECRET` is missing.
    InternalKeyNotConfigured = InternalServerError, "INTERNAL_API_SECRET is not configured";
);

impl From<AuthError> for CallError {
    fn from(error: AuthError) -> Self {
        Self::new(error.key(), error.message())
    }
}

/// The token of an `Authorization` header. The scheme's case does not matter.
///
/// # Errors
/// When there is no header, or it is not `Bearer` and one token.
pub fn bearer_token(authorization: Option<&str>) -> Result<&str, AuthError> {
    let header = authorization.ok_or(AuthError::MissingHeader)?;
    let (scheme, token) = header
        .trim()
        .split_once(' ')
        .ok_or(AuthError::InvalidFormat)?;
    let token = token.trim_start();
    let is_token = !token.is_empty() && !token.contains(char::is_whitespace);
    if header.len() <= limits::AUTHORIZATION_BYTES_MAX
        && scheme.eq_ignore_ascii_case("bearer")
        && is_token
    {
        Ok(token)
    } else {
        Err(AuthError::InvalidFormat)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserClaims {
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    kilo_user_id: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    /// Tickets of the stream are signed with the same secret, and say so here.
    #[serde(rename = "type", default)]
    kind: Option<String>,
}

/// The user of a bearer token: an HS256 JWT whose `exp` is later than `now`. No leeway is given.
///
/// The user is the claim `kiloUserId`, or else `sub`. `nbf` counts if it is there.
///
/// # Errors
/// When the token is not to be trusted, or `secret` is empty.
pub fn authenticate(token: &str, secret: &Secret, now: Timestamp) -> Result<UserId, AuthError> {
    if secret.is_empty() {
        return Err(AuthError::TokenSecretNotConfigured);
    }
    let key = Hs256Key::new(secret.expose().as_bytes());
    let untrusted = UntrustedToken::new(token).map_err(|_| AuthError::InvalidToken)?;
    let trusted = Hs256
        .validator::<UserClaims>(&key)
        .validate(&untrusted)
        .map_err(|error| match error {
            ValidationError::InvalidSignature => AuthError::InvalidSignature,
            _ => AuthError::InvalidToken,
        })?;
    let Claims {
        expiration,
        not_before,
        custom: claims,
        ..
    } = trusted.into_parts().1;
    let seconds = i64::try_from(now.as_millis() / 1000).map_err(|_| AuthError::InvalidToken)?;
    // `exp` has whole seconds: a token with exp = 10 is good at 9.999 s and no longer at 10.000 s.
    if expiration.ok_or(AuthError::InvalidToken)?.timestamp() <= seconds {
        return Err(AuthError::TokenExpired);
    }
    if not_before.is_some_and(|not_before| not_before.timestamp() > seconds) {
        return Err(AuthError::InvalidToken);
    }
    if claims.kind.as_deref() == Some(TICKET_TYPE) {
        return Err(AuthError::InvalidToken);
    }
    if claims
        .version
        .is_some_and(|version| version != TOKEN_VERSION)
    {
        return Err(AuthError::InvalidTokenVersion);
    }
    claims
        .kilo_user_id
        .or(claims.sub)
        .and_then(|user| UserId::try_from(user).ok())
        .ok_or(AuthError::InvalidToken)
}

/// Checks the header `x-internal-api-key`. How long that takes says nothing about the key, not even its length.
///
/// # Errors
/// When the key is missing or wrong, or none is configured.
pub fn check_internal_key(header: Option<&str>, secret: Option<&Secret>) -> Result<(), AuthError> {
    let secret = secret
        .filter(|secret| !secret.is_empty())
        .ok_or(AuthError::InternalKeyNotConfigured)?;
    let header = header.ok_or(AuthError::InvalidInternalKey)?;
    let given = Sha256::digest(header.as_bytes());
    let expected = Sha256::digest(secret.expose().as_bytes());
    if given.ct_eq(&expected).into() {
        Ok(())
    } else {
        Err(AuthError::InvalidInternalKey)
    }
}

#[cfg(test)]
mod tests;
