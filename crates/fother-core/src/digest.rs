//! SHA-256 digests, the names of everything that does not change.

use serde::{Deserialize, Serialize, de};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// A SHA-256 digest, written `sha256:<64 lower-case hex digits>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The text is not `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("not a digest: expected sha256: and 64 hexadecimal digits")]
pub struct ParseError;

impl Digest {
    /// Plain SHA-256 of a file's or package's bytes.
    #[must_use]
    pub fn of_file(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Digest of a typed value: SHA-256 over `fother/<kind>/v1\n` and the canonical bytes, so that a value of one kind never passes for another.
    #[must_use]
    pub fn of_kind(kind: &str, bytes: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"fother/");
        hash.update(kind.as_bytes());
        hash.update(b"/v1\n");
        hash.update(bytes);
        Self(hash.finalize().into())
    }

    /// From 64 bare hexadecimal digits, as Debian's `SHA256` fields write them.
    ///
    /// # Errors
    /// Where the text is anything else.
    pub fn from_hex(text: &str) -> Result<Self, ParseError> {
        let mut out = [0_u8; 32];
        if text.len() != 64 || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParseError);
        }
        hex::decode_to_slice(text, &mut out).map_err(|_| ParseError)?;
        Ok(Self(out))
    }

    /// The 64 hexadecimal digits without the prefix.
    #[must_use]
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The first twelve hexadecimal digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..6])
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

impl FromStr for Digest {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::from_hex(text.strip_prefix("sha256:").ok_or(ParseError)?)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_is_part_of_the_digest() {
        assert_ne!(Digest::of_kind("plan", b"{}"), Digest::of_kind("cohort", b"{}"));
        assert_eq!(Digest::of_file(b"").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        let digest = Digest::of_file(b"x");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        for bad in ["", "sha256:", "md5:00", &digest.hex(), &digest.to_string().to_uppercase()] {
            assert_eq!(bad.parse::<Digest>(), Err(ParseError));
        }
    }
}
