use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cloud_agent_wire::{Secret, SessionId, Timestamp};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{AuthError, UserId, authenticate, bearer_token, check_internal_key};
use crate::trpc::{CallError, ErrorKey};

const NOW_SECONDS: u64 = 1_800_000_000;

/// A key that differs in every run.
fn random_text() -> String {
    use std::hash::{BuildHasher, RandomState};
    format!("{:016x}", RandomState::new().hash_one(0))
}

fn sign(header: &str, claims: &str, secret: &str) -> String {
    let head = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(head.as_bytes());
    let signature = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    format!("{head}.{signature}")
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn user_of(claims: &str) -> Result<String, AuthError> {
    let secret = random_text();
    let token = sign(HS256, claims, &secret);
    let now = Timestamp::from_millis(NOW_SECONDS * 1000);
    authenticate(&token, &Secret::new(secret), now).map(String::from)
}

#[test]
fn the_scheme_is_read_in_any_case_and_the_token_is_one_word() {
    let long = format!("Bearer {}", "a".repeat(9000));
    for (header, expected) in [
        (Some("Bearer abc"), Ok("abc")),
        (Some("bearer abc"), Ok("abc")),
        (Some("BEARER   abc "), Ok("abc")),
        (None, Err(AuthError::MissingHeader)),
        (Some(""), Err(AuthError::InvalidFormat)),
        (Some("Bearer"), Err(AuthError::InvalidFormat)),
        (Some("Bearer "), Err(AuthError::InvalidFormat)),
        (Some("Basic abc"), Err(AuthError::InvalidFormat)),
        (Some("Bearer a b"), Err(AuthError::InvalidFormat)),
        (Some("abc"), Err(AuthError::InvalidFormat)),
        (Some(&*long), Err(AuthError::InvalidFormat)),
    ] {
        assert_eq!(bearer_token(header), expected, "{header:?}");
    }
}

#[test]
fn the_user_is_kilo_user_id_or_else_sub() {
    let exp = NOW_SECONDS + 60;
    for (claims, expected) in [
        (r#""kiloUserId":"u1""#, Ok("u1")),
        (r#""sub":"u2""#, Ok("u2")),
        (r#""kiloUserId":"u1","sub":"u2""#, Ok("u1")),
        (
            r#""kiloUserId":"oauth/google:1","version":3"#,
            Ok("oauth/google:1"),
        ),
        (r#""kiloUserId":"u1","botId":"b","env":"x""#, Ok("u1")),
        (
            r#""kiloUserId":"u1","version":2"#,
            Err(AuthError::InvalidTokenVersion),
        ),
        (
            r#""kiloUserId":"u1","version":"3""#,
            Err(AuthError::InvalidToken),
        ),
        (
            r#""kiloUserId":"","sub":"u2""#,
            Err(AuthError::InvalidToken),
        ),
        (r#""kiloUserId":7"#, Err(AuthError::InvalidToken)),
        (r#""kiloUserId":"a\u0000b""#, Err(AuthError::InvalidToken)),
        (r#""userId":"u1""#, Err(AuthError::InvalidToken)),
        (
            r#""kiloUserId":"u1","type":"stream_ticket""#,
            Err(AuthError::InvalidToken),
        ),
        (r#""kiloUserId":"u1","type":"access""#, Ok("u1")),
    ] {
        let user = user_of(&format!(r#"{{"exp":{exp},{claims}}}"#));
        assert_eq!(
            user.as_deref(),
            expected.as_ref().map(|user| *user),
            "{claims}"
        );
    }
}

#[test]
fn a_token_counts_from_nbf_until_exp() {
    for (times, expected) in [
        (format!(r#""exp":{}"#, NOW_SECONDS + 1), Ok(())),
        (format!(r#""exp":{}.5"#, NOW_SECONDS + 1), Ok(())),
        (
            format!(r#""exp":{NOW_SECONDS}"#),
            Err(AuthError::TokenExpired),
        ),
        (
            format!(r#""exp":{}"#, NOW_SECONDS - 1),
            Err(AuthError::TokenExpired),
        ),
        (r#""exp":-1"#.to_owned(), Err(AuthError::TokenExpired)),
        (r#""iat":1"#.to_owned(), Err(AuthError::InvalidToken)),
        (r#""exp":null"#.to_owned(), Err(AuthError::InvalidToken)),
        (
            r#""exp":"9999999999""#.to_owned(),
            Err(AuthError::InvalidToken),
        ),
        (
            r#""exp":18446744073709551615"#.to_owned(),
            Err(AuthError::InvalidToken),
        ),
        (format!(r#""exp":9999999999,"nbf":{NOW_SECONDS}"#), Ok(())),
        (
            format!(r#""exp":9999999999,"nbf":{}"#, NOW_SECONDS + 1),
            Err(AuthError::InvalidToken),
        ),
    ] {
        let user = user_of(&format!(r#"{{"sub":"u",{times}}}"#));
        assert_eq!(user.map(|_| ()), expected, "{times}");
    }
}

#[test]
fn only_hs256_with_the_right_key_is_trusted() {
    let secret = random_text();
    let claims = r#"{"exp":9999999999,"sub":"u"}"#;
    let now = Timestamp::from_millis(NOW_SECONDS * 1000);
    let refused = |token: &str| {
        authenticate(token, &Secret::new(secret.clone()), now).expect_err("must be refused")
    };
    let good = sign(HS256, claims, &secret);
    assert!(authenticate(&good, &Secret::new(secret.clone()), now).is_ok());
    assert_eq!(
        refused(&sign(HS256, claims, &random_text())),
        AuthError::InvalidSignature
    );
    for algorithm in ["none", "None", "HS384", "HS512", "RS256", "hs256", ""] {
        let header = format!(r#"{{"alg":"{algorithm}"}}"#);
        let token = sign(&header, claims, &secret);
        assert_eq!(refused(&token), AuthError::InvalidToken, "{algorithm}");
        let unsigned = token.rsplit_once('.').unwrap().0;
        assert_eq!(refused(&format!("{unsigned}.")), AuthError::InvalidToken);
    }
    let (signed, signature) = good.rsplit_once('.').unwrap();
    for token in [
        "",
        "a.b.c",
        signed,
        &format!("{signed}."),
        &format!("{signed}.{}", signature.split_at(20).0),
        &format!("{good}.{signature}"),
    ] {
        assert_eq!(refused(token), AuthError::InvalidToken, "{token}");
    }
    let head = signed.split_once('.').unwrap().0;
    let other = URL_SAFE_NO_PAD.encode(r#"{"exp":9999999999,"sub":"admin"}"#);
    assert_eq!(
        refused(&format!("{head}.{other}.{signature}")),
        AuthError::InvalidSignature
    );
}

#[test]
fn an_empty_secret_trusts_nobody() {
    let token = sign(HS256, r#"{"exp":9999999999,"sub":"u"}"#, "");
    let user = authenticate(&token, &Secret::new(String::new()), Timestamp::default());
    assert_eq!(user, Err(AuthError::TokenSecretNotConfigured));
}

#[test]
fn the_internal_key_must_be_equal() {
    let text = random_text();
    let secret = Secret::new(text.clone());
    let longer = format!("{text}0");
    let empty = Secret::new(String::new());
    for (header, secret, expected) in [
        (Some(&*text), Some(&secret), Ok(())),
        (
            Some(&*longer),
            Some(&secret),
            Err(AuthError::InvalidInternalKey),
        ),
        (
            Some(text.split_at(1).1),
            Some(&secret),
            Err(AuthError::InvalidInternalKey),
        ),
        (Some(""), Some(&secret), Err(AuthError::InvalidInternalKey)),
        (None, Some(&secret), Err(AuthError::InvalidInternalKey)),
        (
            Some(""),
            Some(&empty),
            Err(AuthError::InternalKeyNotConfigured),
        ),
        (None, None, Err(AuthError::InternalKeyNotConfigured)),
    ] {
        assert_eq!(check_internal_key(header, secret), expected);
    }
    assert_eq!(
        CallError::from(AuthError::InternalKeyNotConfigured).key,
        ErrorKey::InternalServerError
    );
}

#[test]
fn user_ids_have_up_to_128_characters() {
    for (text, valid) in [
        ("é".repeat(128), true),
        ("é".repeat(129), false),
        (String::new(), false),
        ("a\nb".to_owned(), false),
    ] {
        assert_eq!(UserId::try_from(text).is_ok(), valid);
    }
}

#[test]
fn the_last_colon_of_an_object_name_separates() {
    let session: SessionId = "agent_0f8fad5b-d9cb-469f-a165-70867728950e"
        .parse()
        .unwrap();
    let user = UserId::try_from("oauth/google:1".to_owned()).unwrap();
    let name = user.object_name(&session);
    assert_eq!(
        name.rsplit_once(':'),
        Some((user.as_str(), session.as_str()))
    );
}
