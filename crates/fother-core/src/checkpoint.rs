//! Signed checkpoints of the log: C2SP tlog-checkpoint in a C2SP signed note, with Ed25519 signatures and tlog-cosignatures. Pure.
//!
//! ```text
//! <origin>
//! <number of events>
//! <base64 of the tree's root>
//!
//! — <key name> <base64(key hash ‖ signature)>
//! ```
//!
//! The log's own signature (kind 1) covers the three lines. A cosignature (kind 4, C2SP tlog-cosignature) covers them and a time: an agent
//! puts its own below the log's to say "this is what I was shown". Stricter than C2SP in that extension lines are refused: we write none.

use crate::Digest;
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ed25519_dalek::{Signature as Ed25519, Signer, SigningKey, VerifyingKey};
use sha2::{Digest as _, Sha256};
use std::{fmt, str::FromStr};

/// Longest note that is read, in bytes.
pub const NOTE_BYTES_MAX: usize = 65_536;
/// Most signatures on one note.
pub const SIGNATURES_MAX: usize = 128;
/// Longest origin or key name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;

const SIGNATURE_BYTES: usize = 64;
/// What a signature line begins with.
pub const DASH: &str = "— ";

/// Why a note or a key was not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The note is longer than [`NOTE_BYTES_MAX`] or has more than [`SIGNATURES_MAX`] signatures.
    #[error("the checkpoint is too large: at most {NOTE_BYTES_MAX} bytes and {SIGNATURES_MAX} signatures")]
    TooLarge,
    /// The text is no signed note.
    #[error("not a signed note: {0}")]
    Note(&'static str),
    /// The signed text is no checkpoint.
    #[error("not a checkpoint: {0}")]
    Checkpoint(&'static str),
    /// The name cannot stand in a note.
    #[error("not a key name: 1 to {NAME_BYTES_MAX} bytes without white space, control characters or +")]
    Name,
    /// The text is no verifier key.
    #[error("not a verifier key: {0}; expected name+hash+base64, as `fother log key` prints it")]
    Key(&'static str),
    /// No signature by that key is on the note.
    #[error("the checkpoint carries no signature by {0}")]
    Unsigned(String),
    /// A signature by that key is on the note, and it is wrong.
    #[error("the checkpoint's signature by {0} is wrong: it was altered, or signed by another key")]
    Forged(String),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of the log {found}, not of {expected}")]
    Origin {
        /// The log that was asked for.
        expected: String,
        /// The log that the checkpoint names.
        found: String,
    },
}

/// What a log says about itself at one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log, and of its key.
    pub origin: String,
    /// Number of events.
    pub size: u64,
    /// Root of the Merkle tree over them.
    pub root: Digest,
}

impl Checkpoint {
    /// Signs with the log's key; the key's name is the origin.
    ///
    /// # Errors
    /// Where the origin cannot be a key name.
    pub fn sign(&self, key: &SigningKey) -> Result<Note, Error> {
        let verifier = VerifierKey::new(&self.origin, Kind::Log, key.verifying_key())?;
        let text = self.to_string();
        let bytes = key.sign(text.as_bytes()).to_bytes().to_vec();
        Ok(Note { text, signatures: vec![Signature { name: verifier.name, key_hash: verifier.hash, bytes }] })
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.0))
    }
}

impl FromStr for Checkpoint {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut lines = text.strip_suffix('\n').ok_or(Error::Checkpoint("the last line does not end"))?.split('\n');
        let (Some(origin), Some(size), Some(root), None) = (lines.next(), lines.next(), lines.next(), lines.next()) else {
            return Err(Error::Checkpoint("expected exactly three lines: origin, size, root"));
        };
        check_name(origin)?;
        let value: u64 = size.parse().map_err(|_| Error::Checkpoint("the size is not a number"))?;
        if value.to_string() != size {
            return Err(Error::Checkpoint("the size is not a plain decimal number"));
        }
        let root = BASE64.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let root = root.ok_or(Error::Checkpoint("the root is not the base64 of 32 bytes"))?;
        Ok(Self { origin: origin.to_owned(), size: value, root: Digest(root) })
    }
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Name of the key.
    pub name: String,
    /// First four bytes of the key's hash: tells keys of one name apart, proves nothing.
    pub key_hash: [u8; 4],
    /// The signature; before it, in a cosignature, eight bytes of time.
    bytes: Vec<u8>,
}

/// A text and its signatures, none of them checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// All signatures, unchecked.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Adds a cosignature made at `time_s` (seconds since 1970); one by the same key is replaced.
    ///
    /// # Errors
    /// Where the name cannot be a key name, the note is full, or the text is no checkpoint.
    pub fn cosign(&mut self, name: &str, key: &SigningKey, time_s: u64) -> Result<(), Error> {
        let verifier = VerifierKey::new(name, Kind::Cosigner, key.verifying_key())?;
        self.text.parse::<Checkpoint>()?;
        self.signatures.retain(|known| known.name != name || known.key_hash != verifier.hash);
        if self.signatures.len() == SIGNATURES_MAX {
            return Err(Error::TooLarge);
        }
        let mut bytes = time_s.to_be_bytes().to_vec();
        bytes.extend_from_slice(&key.sign(cosigned(time_s, &self.text).as_bytes()).to_bytes());
        self.signatures.push(Signature { name: name.to_owned(), key_hash: verifier.hash, bytes });
        Ok(())
    }

    /// Drops every signature but those of `key`.
    pub fn only(&mut self, key: &VerifierKey) {
        self.signatures.retain(|one| one.name == key.name && one.key_hash == key.hash);
    }

    /// Takes the signatures of `key` over from a note of the same text; false where there is none, it is here already, or this note is full.
    pub fn adopt(&mut self, other: &Self, key: &VerifierKey) -> bool {
        let mine = |one: &&Signature| one.name == key.name && one.key_hash == key.hash;
        let found = other.signatures.iter().find(mine).filter(|_| self.text == other.text && !self.signatures.iter().any(|one| mine(&one)));
        match found {
            Some(signature) if self.signatures.len() < SIGNATURES_MAX => {
                self.signatures.push(signature.clone());
                true
            }
            _ => false,
        }
    }

    /// The checkpoint, once a signature by `key` is on it and right; a cosigner may sign any log's.
    ///
    /// # Errors
    /// Where that signature is missing or wrong, the text is no checkpoint, or `key` is the key of another log.
    pub fn verify(&self, key: &VerifierKey) -> Result<Checkpoint, Error> {
        let mut found = false;
        for signature in self.signatures.iter().filter(|one| one.name == key.name && one.key_hash == key.hash) {
            found = true;
            if !key.accepts(&self.text, &signature.bytes) {
                return Err(Error::Forged(key.name.clone()));
            }
        }
        if !found {
            return Err(Error::Unsigned(key.name.clone()));
        }
        let checkpoint: Checkpoint = self.text.parse()?;
        if key.kind == Kind::Log && checkpoint.origin != key.name {
            return Err(Error::Origin { expected: key.name.clone(), found: checkpoint.origin });
        }
        Ok(checkpoint)
    }

    /// What the note says, whoever signed it.
    ///
    /// # Errors
    /// Where the text is no checkpoint.
    pub fn checkpoint(&self) -> Result<Checkpoint, Error> {
        self.text.parse()
    }

    /// When `key` cosigned, in seconds since 1970; nothing where it did not. Says nothing about the signature being right.
    #[must_use]
    pub fn cosigned_at(&self, key: &VerifierKey) -> Option<u64> {
        let signature = self.signatures.iter().find(|one| one.name == key.name && one.key_hash == key.hash)?;
        let (time, rest) = signature.bytes.split_first_chunk::<8>()?;
        (rest.len() == SIGNATURE_BYTES).then(|| u64::from_be_bytes(*time))
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for signature in &self.signatures {
            let blob = [&signature.key_hash[..], &signature.bytes].concat();
            writeln!(f, "{DASH}{} {}", signature.name, BASE64.encode(blob))?;
        }
        Ok(())
    }
}

impl FromStr for Note {
    type Err = Error;
    fn from_str(note: &str) -> Result<Self, Error> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        if note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(Error::Note("it holds control characters"));
        }
        let cut = note.rfind("\n\n").ok_or(Error::Note("no empty line before the signatures"))?;
        let (text, lines) = (&note[..=cut], &note[cut + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(Error::Note("no signatures, or the last line does not end"))?;
        let signatures = lines.split('\n').take(SIGNATURES_MAX + 1).map(parse_signature).collect::<Result<Vec<_>, _>>()?;
        if signatures.len() > SIGNATURES_MAX {
            return Err(Error::TooLarge);
        }
        Ok(Self { text: text.to_owned(), signatures })
    }
}

fn parse_signature(line: &str) -> Result<Signature, Error> {
    let line = line.strip_prefix(DASH).ok_or(Error::Note("a signature line does not begin with a dash"))?;
    let (name, blob) = line.split_once(' ').ok_or(Error::Note("a signature line has no signature"))?;
    check_name(name)?;
    let blob = BASE64.decode(blob).map_err(|_| Error::Note("a signature is not base64"))?;
    let (key_hash, bytes) = blob.split_first_chunk::<4>().ok_or(Error::Note("a signature is too short"))?;
    if bytes.is_empty() {
        return Err(Error::Note("a signature is too short"));
    }
    Ok(Signature { name: name.to_owned(), key_hash: *key_hash, bytes: bytes.to_vec() })
}

fn check_name(name: &str) -> Result<(), Error> {
    let bad = name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+');
    if bad { Err(Error::Name) } else { Ok(()) }
}

fn cosigned(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Checkpoints of the log that has the key's name (C2SP signature type 1).
    Log,
    /// What it was shown of any log, with the time (C2SP signature type 4).
    Cosigner,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Cosigner => 4,
        }
    }
}

/// A named public key, written `name+hash+base64(kind ‖ key)` as in C2SP signed-note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: Kind,
    hash: [u8; 4],
    key: VerifyingKey,
}

impl VerifierKey {
    /// Names a public key.
    ///
    /// # Errors
    /// Where the name cannot stand in a note, or the key is one of the few weak ones under which a signature proves nothing.
    pub fn new(name: &str, kind: Kind, key: VerifyingKey) -> Result<Self, Error> {
        check_name(name)?;
        if key.is_weak() {
            return Err(Error::Key("a weak public key"));
        }
        let mut hash = Sha256::new();
        hash.update(name.as_bytes());
        hash.update([b'\n', kind.byte()]);
        hash.update(key.as_bytes());
        let digest: [u8; 32] = hash.finalize().into();
        Ok(Self { name: name.to_owned(), kind, hash: [digest[0], digest[1], digest[2], digest[3]], key })
    }

    /// The key's name; a log's is its origin.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn accepts(&self, text: &str, bytes: &[u8]) -> bool {
        let (message, signature) = match (self.kind, bytes.split_first_chunk::<8>()) {
            (Kind::Log, _) => (text.to_owned(), bytes),
            (Kind::Cosigner, Some((time, rest))) => (cosigned(u64::from_be_bytes(*time), text), rest),
            (Kind::Cosigner, None) => return false,
        };
        Ed25519::from_slice(signature).is_ok_and(|signature| self.key.verify_strict(message.as_bytes(), &signature).is_ok())
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blob = [&[self.kind.byte()], &self.key.as_bytes()[..]].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.hash), BASE64.encode(blob))
    }
}

impl FromStr for VerifierKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(blob)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(Error::Key("two + are missing"));
        };
        let blob = BASE64.decode(blob).map_err(|_| Error::Key("not base64"))?;
        let (kind, key) = match blob.split_first() {
            Some((1, key)) => (Kind::Log, key),
            Some((4, key)) => (Kind::Cosigner, key),
            _ => return Err(Error::Key("not an Ed25519 key of kind 1 or 4")),
        };
        let key = key.try_into().map_err(|_| Error::Key("not 32 bytes"))?;
        let key = Self::new(name, kind, VerifyingKey::from_bytes(&key).map_err(|_| Error::Key("not a point of the curve"))?)?;
        if hex::encode(key.hash) != hash {
            return Err(Error::Key("name and hash do not belong together"));
        }
        Ok(key)
    }
}

/// The key that `host` cosigns with, from the 64 hexadecimal digits that it enrolled with.
///
/// # Errors
/// Where they are no key that a cosignature could prove anything under.
pub fn cosigner(host: crate::id::HostId, hex: &str) -> Result<VerifierKey, Error> {
    let bytes = Digest::from_hex(hex).map_err(|_| Error::Key("not 64 hexadecimal digits"))?;
    let key = VerifyingKey::from_bytes(&bytes.0).map_err(|_| Error::Key("not a point of the curve"))?;
    VerifierKey::new(&host.to_string(), Kind::Cosigner, key)
}

/// Reads a note and returns its checkpoint, once signed by `key`.
///
/// # Errors
/// As for [`Note::verify`], and where `note` is no signed note.
pub fn open(note: &str, key: &VerifierKey) -> Result<Checkpoint, Error> {
    note.parse::<Note>()?.verify(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn log_key() -> (SigningKey, VerifierKey) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let verifier = VerifierKey::new("fother.example/log", Kind::Log, key.verifying_key()).unwrap();
        (key, verifier)
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { origin: "fother.example/log".to_owned(), size: 42, root: Digest::of_file(b"root") }
    }

    #[test]
    fn a_published_note_by_others_is_accepted() {
        // The example of the package golang.org/x/mod/sumdb/note.
        let key: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
        let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
            — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        let note: Note = note.parse().unwrap();
        assert!(key.accepts(&note.text, &note.signatures[0].bytes));
        assert_eq!(note.verify(&key), Err(Error::Checkpoint("expected exactly three lines: origin, size, root")));
    }

    #[test]
    fn a_checkpoint_survives_signing_and_its_text_form() {
        let (key, verifier) = log_key();
        let text = checkpoint().sign(&key).unwrap().to_string();
        assert!(text.starts_with("fother.example/log\n42\n"));
        assert_eq!(open(&text, &verifier), Ok(checkpoint()));
        assert_eq!(verifier.to_string().parse(), Ok(verifier));
    }

    #[test]
    fn agents_cosign_below_the_log_and_each_is_checked_for_itself() {
        let (key, verifier) = log_key();
        let agent = SigningKey::from_bytes(&[9; 32]);
        let agent_verifier = VerifierKey::new("host_a", Kind::Cosigner, agent.verifying_key()).unwrap();
        let mut note = checkpoint().sign(&key).unwrap();
        assert_eq!(note.verify(&agent_verifier), Err(Error::Unsigned("host_a".to_owned())));
        note.cosign("host_a", &agent, 1_700_000_000).unwrap();
        note.cosign("host_a", &agent, 1_700_000_060).unwrap();
        let note: Note = note.to_string().parse().unwrap();
        assert_eq!(note.signatures().len(), 2);
        assert_eq!(note.verify(&agent_verifier), Ok(checkpoint()));
        assert_eq!(note.verify(&verifier), Ok(checkpoint()));
        assert_eq!(note.cosigned_at(&agent_verifier), Some(1_700_000_060));
        assert_eq!(note.cosigned_at(&verifier), None);
    }

    #[test]
    fn the_log_key_of_one_log_does_not_speak_for_another() {
        let (key, verifier) = log_key();
        let mut note = checkpoint().sign(&key).unwrap();
        note.text = Checkpoint { origin: "other".to_owned(), ..checkpoint() }.to_string();
        note.signatures[0].bytes = key.sign(note.text.as_bytes()).to_bytes().to_vec();
        assert_eq!(note.verify(&verifier), Err(Error::Origin { expected: "fother.example/log".to_owned(), found: "other".to_owned() }));
    }

    #[test]
    fn other_spellings_are_refused() {
        let (key, verifier) = log_key();
        let good = checkpoint().sign(&key).unwrap().to_string();
        for (from, to) in [
            ("\n42\n", "\n042\n"),
            ("\n42\n", "\n+42\n"),
            ("\n42\n", "\n42\nmore\n"),
            ("— ", "- "),
            ("\n42\n", "\n42\r\n"),
            ("=\n\n", "\n\n"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(open(&bad, &verifier).is_err(), "{bad}");
        }
        assert!(open(good.trim_end(), &verifier).is_err());
        assert!(open("", &verifier).is_err());
        let many = format!("{good}{}", "— a AAAAAAAA\n".repeat(SIGNATURES_MAX));
        assert_eq!(open(&many, &verifier), Err(Error::TooLarge));
    }

    proptest! {
        #[test]
        fn no_flipped_bit_of_text_or_signature_passes(at in any::<prop::sample::Index>(), bit in 0_u8..7) {
            let (key, verifier) = log_key();
            let mut bytes = checkpoint().sign(&key).unwrap().to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                prop_assert!(open(&text, &verifier).is_err());
            }
        }

        #[test]
        fn no_input_makes_the_parsers_panic(text in "[a\n— +=A0-9]{0,80}") {
            let _ = text.parse::<Note>();
            let _ = text.parse::<VerifierKey>();
            let _ = text.parse::<Checkpoint>();
        }
    }
}
