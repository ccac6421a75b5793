//! Tickets: what opens a socket in place of a bearer token, which a browser cannot send with an upgrade.
//!
//! A ticket is a JWT under the same secret as bearer tokens, and of another type: its user stands in a claim that no
//! bearer token has, and [`crate::auth::authenticate`] refuses the type. It lives a minute and names one session; that
//! it opens one socket only is for the session's object to remember.

use cloud_agent_wire::{Secret, SessionId, Timestamp};
use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, Claims, Header, UntrustedToken};
use serde::{Deserialize, Serialize};

use crate::auth::UserId;
use crate::limits::{TICKET_BYTES_MAX, TICKET_SECONDS};

use super::error::StreamError;

/// The claim `type` of a ticket.
pub const TICKET_TYPE: &str = "stream_ticket";
const AUDIENCE: &str = "cloud-agent-stream";
const PURPOSE: &str = "stream";
/// Longest nonce, which is what a used ticket is remembered by.
const NONCE_CHARS_MAX: usize = 64;

/// A ticket that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Whose it is.
    pub user_id: UserId,
    /// The session that it opens.
    pub session_id: SessionId,
    /// What tells it from every other ticket.
    pub nonce: String,
    /// From this moment on it is worth nothing.
    pub expires_at: Timestamp,
}

/// What a ticket is made of.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// Whose it is.
    pub user_id: &'a UserId,
    /// The session that it opens.
    pub session_id: &'a SessionId,
    /// The id under which the agent's side knows the session.
    pub kilo_session_id: &'a str,
    /// The organization that the user named.
    pub organization_id: Option<&'a str>,
    /// Fresh randomness.
    pub nonce: [u8; 16],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NewClaims<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    aud: &'static str,
    purpose: &'static str,
    user_id: &'a str,
    kilo_session_id: &'a str,
    cloud_agent_session_id: &'a SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization_id: Option<&'a str>,
    nonce: String,
    iat: u64,
    exp: u64,
}

/// The answer of `POST /stream-ticket`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(test, derive(ts_rs::TS))]
pub struct IssuedTicket {
    /// The ticket.
    pub ticket: String,
    /// The first second, since 1970, at which it is worth nothing.
    pub expires_at: u64,
}

/// Signs a ticket. `None` when the library refuses, which it does for no input.
#[must_use]
pub fn issue(grant: &Grant<'_>, secret: &Secret, now: Timestamp) -> Option<IssuedTicket> {
    let issued_at = now.as_millis() / 1000;
    let expires_at = issued_at + TICKET_SECONDS;
    let claims = Claims::new(NewClaims {
        kind: TICKET_TYPE,
        aud: AUDIENCE,
        purpose: PURPOSE,
        user_id: grant.user_id.as_str(),
        kilo_session_id: grant.kilo_session_id,
        cloud_agent_session_id: grant.session_id,
        organization_id: grant.organization_id,
        nonce: crate::mint::uuid(grant.nonce),
        iat: issued_at,
        exp: expires_at,
    });
    let key = Hs256Key::new(secret.expose().as_bytes());
    let header = Header::empty().with_token_type("JWT");
    let ticket = Hs256.token(&header, &claims, &key).ok()?;
    Some(IssuedTicket { ticket, expires_at })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredClaims {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    aud: Option<String>,
    #[serde(default)]
    purpose: Option<String>,
    user_id: UserId,
    cloud_agent_session_id: SessionId,
    nonce: String,
}

/// Verifies a ticket for a session. That it was not used before is not checked here.
///
/// # Errors
/// Why the ticket opens nothing.
pub fn verify(
    ticket: Option<&str>,
    session_id: &SessionId,
    secret: &Secret,
    now: Timestamp,
) -> Result<Ticket, StreamError> {
    let ticket = ticket.ok_or(StreamError::MissingTicket)?;
    if ticket.len() > TICKET_BYTES_MAX || secret.is_empty() {
        return Err(StreamError::InvalidTicket);
    }
    let key = Hs256Key::new(secret.expose().as_bytes());
    let untrusted = UntrustedToken::new(ticket).map_err(|_| StreamError::InvalidTicket)?;
    let trusted = Hs256
        .validator::<StoredClaims>(&key)
        .validate(&untrusted)
        .map_err(|_| StreamError::InvalidTicket)?;
    let Claims {
        expiration, custom, ..
    } = trusted.into_parts().1;
    let expires_at = expiration
        .and_then(|at| u64::try_from(at.timestamp()).ok())
        .ok_or(StreamError::InvalidTicket)?;
    let now_seconds = now.as_millis() / 1000;
    // A used ticket is remembered until it expires, so one that lives longer than tickets do is none.
    let is_long_lived = expires_at > now_seconds + 2 * TICKET_SECONDS;
    let has_nonce = (1..=NONCE_CHARS_MAX).contains(&custom.nonce.len())
        && custom.nonce.bytes().all(|byte| byte.is_ascii_graphic());
    if custom.kind != TICKET_TYPE || is_long_lived || !has_nonce {
        return Err(StreamError::InvalidTicket);
    }
    if expires_at <= now_seconds {
        return Err(StreamError::ExpiredTicket);
    }
    let is_ours = |value: Option<&str>, expected| value.is_none_or(|value| value == expected);
    if !is_ours(custom.purpose.as_deref(), PURPOSE) || !is_ours(custom.aud.as_deref(), AUDIENCE) {
        return Err(StreamError::WrongPurpose);
    }
    if custom.cloud_agent_session_id != *session_id {
        return Err(StreamError::WrongSession);
    }
    Ok(Ticket {
        user_id: custom.user_id,
        session_id: custom.cloud_agent_session_id,
        nonce: custom.nonce,
        expires_at: Timestamp::from_millis(expires_at * 1000),
    })
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::{Secret, SessionId, Timestamp};
    use jwt_compact::alg::{Hs256, Hs256Key};
    use jwt_compact::{AlgorithmExt, Claims, Header};
    use serde_json::{Value, json};

    use super::{Grant, issue, verify};
    use crate::auth::{AuthError, UserId, authenticate};
    use crate::stream::error::StreamError;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);

    fn session(last: char) -> SessionId {
        format!("agent_0f8fad5b-d9cb-469f-a165-70867728950{last}")
            .parse()
            .unwrap()
    }

    /// A key that differs in every run.
    fn secret() -> Secret {
        use std::hash::{BuildHasher, RandomState};
        Secret::new(format!("{:016x}", RandomState::new().hash_one(0)))
    }

    fn issued(secret: &Secret) -> super::IssuedTicket {
        let user_id = UserId::try_from("oauth/google:1".to_owned()).unwrap();
        let grant = Grant {
            user_id: &user_id,
            session_id: &session('e'),
            kilo_session_id: "ses_1",
            organization_id: None,
            nonce: [7; 16],
        };
        issue(&grant, secret, NOW).unwrap()
    }

    #[test]
    fn a_ticket_opens_its_session_for_a_minute() {
        let secret = secret();
        let issued = issued(&secret);
        assert_eq!(issued.expires_at, 1_800_000_060);
        let verified = |at: u64, of: char| {
            let at = Timestamp::from_millis(at);
            verify(Some(&issued.ticket), &session(of), &secret, at)
        };
        let ticket = verified(1_800_000_059_999, 'e').unwrap();
        assert_eq!(ticket.user_id.as_str(), "oauth/google:1");
        assert_eq!(ticket.expires_at.as_millis(), 1_800_000_060_000);
        assert_eq!(
            verified(1_800_000_060_000, 'e'),
            Err(StreamError::ExpiredTicket)
        );
        assert_eq!(
            verified(NOW.as_millis(), 'f'),
            Err(StreamError::WrongSession)
        );
    }

    #[test]
    fn a_ticket_is_no_bearer_token() {
        let secret = secret();
        let issued = issued(&secret);
        assert_eq!(
            authenticate(&issued.ticket, &secret, NOW),
            Err(AuthError::InvalidToken)
        );
    }

    #[test]
    fn what_is_no_ticket_of_ours_opens_nothing() {
        let secret = secret();
        let key = Hs256Key::new(secret.expose().as_bytes());
        let good = json!({
            "type": "stream_ticket",
            "userId": "u",
            "kiloSessionId": "ses_1",
            "cloudAgentSessionId": session('e'),
            "nonce": "n",
            "exp": 1_800_000_060,
        });
        let outcome = |change: (&str, Value)| {
            let mut claims = good.clone();
            claims[change.0] = change.1;
            let header = Header::empty();
            let token = Hs256.token(&header, &Claims::new(claims), &key).unwrap();
            verify(Some(&token), &session('e'), &secret, NOW).err()
        };
        // Tickets that the existing web application signs have no audience or purpose.
        assert_eq!(outcome(("nonce", json!("other"))), None);
        assert_eq!(outcome(("purpose", json!("stream"))), None);
        assert_eq!(outcome(("aud", json!("cloud-agent-stream"))), None);
        for (change, expected) in [
            (("type", json!("other")), StreamError::InvalidTicket),
            (("type", Value::Null), StreamError::InvalidTicket),
            (("nonce", json!("")), StreamError::InvalidTicket),
            (("nonce", json!("a".repeat(65))), StreamError::InvalidTicket),
            (("nonce", Value::Null), StreamError::InvalidTicket),
            (("userId", Value::Null), StreamError::InvalidTicket),
            (("exp", Value::Null), StreamError::InvalidTicket),
            (("exp", json!(1_800_003_600)), StreamError::InvalidTicket),
            (("exp", json!(1_799_999_999)), StreamError::ExpiredTicket),
            (("purpose", json!("terminal")), StreamError::WrongPurpose),
            (
                ("aud", json!("cloud-agent-terminal")),
                StreamError::WrongPurpose,
            ),
        ] {
            assert_eq!(outcome(change.clone()), Some(expected), "{change:?}");
        }
        let bearer = json!({"kiloUserId": "u", "version": 3, "exp": 1_800_000_060});
        let bearer = Hs256
            .token(&Header::empty(), &Claims::new(bearer), &key)
            .unwrap();
        let tries = [None, Some("x"), Some("a.b.c"), Some(bearer.as_str())];
        for ticket in tries {
            let error = verify(ticket, &session('e'), &secret, NOW).unwrap_err();
            assert_eq!(error.status(), 401, "{ticket:?}");
        }
        let other = Secret::new("another key".to_owned());
        assert_eq!(
            verify(Some(&issued(&secret).ticket), &session('e'), &other, NOW),
            Err(StreamError::InvalidTicket)
        );
    }
}
