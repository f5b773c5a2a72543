//! Typed ids: `<type>_<UUIDv7 in Crockford base32>`, made at the edge and passed into decisions.

use serde::{Deserialize, Serialize, de};
use std::{fmt, str::FromStr};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const DIGITS: usize = 26;

/// The text is not an id of the wanted type.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not an id of this type: expected {expected}_ and 26 base32 digits")]
pub struct ParseError {
    expected: &'static str,
}

/// The 128 bits of a version 7 UUID (RFC 9562 section 5.7) from a time in milliseconds and ten random bytes.
#[must_use]
pub fn uuid_v7(time_ms: u64, random: [u8; 10]) -> u128 {
    let mut bytes = [0_u8; 16];
    bytes[..6].copy_from_slice(&time_ms.to_be_bytes()[2..]);
    bytes[6..].copy_from_slice(&random);
    bytes[6] = (bytes[6] & 0x0f) | 0x70;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    u128::from_be_bytes(bytes)
}

fn encode(value: u128) -> String {
    (0..DIGITS).rev().map(|place| ALPHABET[((value >> (place * 5)) & 31) as usize] as char).collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != DIGITS || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0_u128, |sum, byte| {
        let digit = ALPHABET.iter().position(|known| *known == byte)?;
        Some((sum << 5) | digit as u128)
    })
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u128);

        impl $name {
            /// The word before the underscore.
            pub const PREFIX: &'static str = $prefix;
            /// A new id from the clock and ten random bytes, both read at the edge.
            #[must_use]
            pub fn new(time_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid_v7(time_ms, random))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{}"), encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                text.strip_prefix(concat!($prefix, "_")).and_then(decode).map(Self).ok_or(ParseError { expected: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    )+};
}

ids! {
    /// One enrolled host.
    HostId = "host";
    /// One change request.
    ChangeId = "change";
    /// One rollout of an approved change.
    RolloutId = "rollout";
    /// One directive to one host.
    DirectiveId = "directive";
    /// One transaction on one host, the unit of undo.
    TransactionId = "txn";
    /// One enrolment token.
    TokenId = "token";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_survive_their_text_form() {
        let early = HostId::new(1, [255; 10]);
        let late = HostId::new(2, [0; 10]);
        assert!(early < late);
        assert!(early.to_string() < late.to_string());
        assert_eq!(late.to_string().parse(), Ok(late));
    }

    #[test]
    fn another_type_or_digit_is_refused() {
        let id = HostId::new(7, [9; 10]).to_string();
        assert!(id.parse::<ChangeId>().is_err());
        assert!(id.replace("host_", "host_z").parse::<HostId>().is_err());
        assert!("host_8zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<HostId>().is_err());
    }
}
