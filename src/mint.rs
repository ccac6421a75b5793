//! New ids, made from randomness and time that the caller brings.

use std::fmt::Write as _;

use cloud_agent_wire::{MessageId, SessionId, Timestamp};

/// Random bytes that a message id needs.
pub const MESSAGE_ID_RANDOM_BYTES: usize = 14;

const BASE62: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A message id in the form that clients make them.
///
/// The hexadecimal part is the low 48 bits of the time in milliseconds times 4,096. It wraps every 2^36 ms, which is
/// why ids are never compared to decide age.
#[must_use]
pub fn message_id(now: Timestamp, random: [u8; MESSAGE_ID_RANDOM_BYTES]) -> Option<MessageId> {
    let prefix = now.as_millis().wrapping_mul(0x1000) & 0xFFFF_FFFF_FFFF;
    let mut text = format!("msg_{prefix:012x}");
    for byte in random {
        let index = usize::from(byte) % BASE62.len();
        text.push(BASE62.get(index).map_or('A', |letter| char::from(*letter)));
    }
    text.try_into().ok()
}

/// A session id: a version 4 UUID from 16 random bytes.
#[must_use]
pub fn session_id(random: [u8; 16]) -> Option<SessionId> {
    format!("agent_{}", uuid(random)).try_into().ok()
}

/// The id under which the agent's side knows a session.
#[must_use]
pub fn kilo_session_id(random: [u8; 16]) -> String {
    format!("ses_{}", uuid(random).replace('-', ""))
}

/// A version 4 UUID of RFC 9562.
#[must_use]
pub fn uuid(random: [u8; 16]) -> String {
    let bits = u128::from_be_bytes(random);
    let version = bits & !(0xF << 76) | (0x4 << 76);
    let variant = version & !(0x3 << 62) | (0x2 << 62);
    let mut text = String::with_capacity(36);
    for (index, digit) in format!("{variant:032x}").chars().enumerate() {
        if matches!(index, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        // Writing to a string cannot fail.
        let _ = text.write_char(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::{kilo_session_id, message_id, session_id};

    #[test]
    fn made_ids_are_canonical() {
        let now = Timestamp::from_millis(1_790_000_000_123);
        for byte in 0..=255 {
            assert!(message_id(now, [byte; 14]).is_some());
            let session = session_id([byte; 16]).unwrap();
            let bytes = session.as_str().as_bytes();
            assert_eq!(bytes[20], b'4', "{session}");
            assert!(matches!(bytes[25], b'8' | b'9' | b'a' | b'b'), "{session}");
            assert_eq!(kilo_session_id([byte; 16]).len(), 36);
        }
    }
}
