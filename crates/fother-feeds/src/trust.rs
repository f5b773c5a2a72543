//! Signatures of archives: OpenPGP certificates and clear-signed files; reads keyring files, nothing else.

mod certificate;
mod cleartext;

use certificate::Signer;
use cleartext::Cleartext;
use fother_core::Timestamp;
use pgp::{
    armor::Dearmor,
    composed::{Deserializable as _, SignedPublicKey},
    packet::{Packet, PacketParser, Signature, SignatureType},
    types::KeyDetails as _,
};
use std::{
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

/// Largest clear-signed file that is read, in bytes.
pub const CLEARSIGNED_BYTES_MAX: usize = 16 << 20;
/// Largest keyring file that is read, in bytes.
pub const KEYRING_BYTES_MAX: usize = 8 << 20;
/// Most certificates of one keyring.
pub const CERTIFICATES_MAX: usize = 512;
/// Most signatures of one file.
pub const SIGNATURES_MAX: usize = 16;
/// How far a signer's or archive's clock may be ahead of ours.
pub const SKEW: Duration = Duration::from_secs(300);

/// Why a signed file is not trusted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrustError {
    /// No signature at all.
    #[error("it is not signed: it does not begin with a PGP signed message")]
    NotSigned,
    /// Larger than [`CLEARSIGNED_BYTES_MAX`].
    #[error("it is larger than {CLEARSIGNED_BYTES_MAX} bytes")]
    TooLarge,
    /// Not a clean clear-signed message.
    #[error("its signature cannot be read: {why}")]
    Malformed {
        /// For people.
        why: &'static str,
    },
    /// None of the signers is in the keyring.
    #[error("none of its signers is trusted: signed by {keys}, which the source's keyring does not hold")]
    UnknownKey {
        /// Key ids or fingerprints, joined by commas.
        keys: String,
    },
    /// The text is not what was signed.
    #[error("the signature by {key} does not match the text: the file was changed after it was signed")]
    BadSignature {
        /// Fingerprint.
        key: String,
    },
    /// MD5, SHA-1 or another digest that is not accepted.
    #[error("the signature by {key} uses {digest}, which is too weak")]
    WeakDigest {
        /// Fingerprint.
        key: String,
        /// Name of the digest.
        digest: String,
    },
    /// The key's own expiry has passed.
    #[error("the signing key {key} has expired: update the keyring package of this source")]
    KeyExpired {
        /// Fingerprint.
        key: String,
    },
    /// The key's owner withdrew it.
    #[error("the signing key {key} is revoked")]
    KeyRevoked {
        /// Fingerprint.
        key: String,
    },
    /// The key may not make such signatures.
    #[error("the signing key {key} does not count: {why}")]
    KeyUnfit {
        /// Fingerprint.
        key: String,
        /// For people.
        why: &'static str,
    },
    /// Made later than now, by more than [`SKEW`].
    #[error("the signature by {key} was made in the future: check this machine's clock")]
    FromTheFuture {
        /// Fingerprint.
        key: String,
    },
    /// The signature's own expiry has passed.
    #[error("the signature by {key} has expired")]
    SignatureExpired {
        /// Fingerprint.
        key: String,
    },
}

impl TrustError {
    /// How telling the reason is: the greatest of several signatures is shown.
    fn rank(&self) -> u8 {
        match self {
            Self::BadSignature { .. } => 9,
            Self::KeyRevoked { .. } => 8,
            Self::WeakDigest { .. } => 7,
            Self::KeyExpired { .. } => 6,
            Self::KeyUnfit { .. } => 5,
            Self::FromTheFuture { .. } => 4,
            Self::SignatureExpired { .. } => 3,
            Self::UnknownKey { .. } => 2,
            Self::NotSigned | Self::TooLarge | Self::Malformed { .. } => 1,
        }
    }
}

/// Why a keyring cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be read.
    #[error("the keyring {} cannot be read: {error}", path.display())]
    Read {
        /// Path.
        path: PathBuf,
        /// Cause.
        error: std::io::Error,
    },
    /// No usable certificate.
    #[error("{what} holds no OpenPGP public key that can be read")]
    Empty {
        /// Path, or what else the bytes are.
        what: String,
    },
}

/// Certificates that one source's signatures are checked against.
#[derive(Clone, Debug, Default)]
pub struct Keyring {
    certificates: Vec<SignedPublicKey>,
}

impl Keyring {
    /// Reads binary or armored certificates; those of unknown kinds are passed over.
    ///
    /// # Errors
    /// Where there is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyringError> {
        let mut keyring = Self::default();
        keyring.add(bytes, "the key")?;
        Ok(keyring)
    }

    /// Reads several keyring files.
    ///
    /// # Errors
    /// Where one cannot be read or holds no certificate.
    pub fn from_files(paths: &[PathBuf]) -> Result<Self, KeyringError> {
        let mut keyring = Self::default();
        for path in paths {
            let bytes = read_bounded(path).map_err(|error| KeyringError::Read { path: path.clone(), error })?;
            keyring.add(&bytes, &path.display().to_string())?;
        }
        Ok(keyring)
    }

    fn add(&mut self, bytes: &[u8], what: &str) -> Result<(), KeyringError> {
        let before = self.certificates.len();
        let room = CERTIFICATES_MAX.saturating_sub(before);
        if bytes.first().is_some_and(|b| b & 0x80 != 0) {
            self.certificates.extend(certificates(bytes).take(room));
        } else {
            const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
            let text = String::from_utf8_lossy(bytes);
            for block in text.split(BEGIN).skip(1).take(CERTIFICATES_MAX) {
                let mut binary = Vec::new();
                let armor = format!("{BEGIN}{block}");
                if Dearmor::new(BufReader::new(armor.as_bytes())).take(KEYRING_BYTES_MAX as u64).read_to_end(&mut binary).is_ok() {
                    self.certificates.extend(certificates(&binary).take(room));
                }
            }
        }
        self.certificates.truncate(CERTIFICATES_MAX);
        if self.certificates.len() == before { Err(KeyringError::Empty { what: what.to_owned() }) } else { Ok(()) }
    }

    /// Adds the certificates of `other`.
    pub fn extend(&mut self, other: Self) {
        self.certificates.extend(other.certificates);
        self.certificates.truncate(CERTIFICATES_MAX);
    }

    /// Keeps only certificates one of whose keys has one of these fingerprints (hexadecimal digits; apt's trailing `!` is ignored).
    #[must_use]
    pub fn restricted_to(mut self, fingerprints: &[String]) -> Self {
        let wanted: Vec<String> = fingerprints.iter().map(|f| f.trim_end_matches('!').to_ascii_uppercase()).collect();
        let has = |fingerprint: String| wanted.contains(&fingerprint.to_uppercase());
        self.certificates.retain(|c| {
            has(c.primary_key.fingerprint().to_string()) || c.public_subkeys.iter().any(|s| has(s.key.fingerprint().to_string()))
        });
        self
    }

    /// Fingerprints of the primary keys, upper case.
    #[must_use]
    pub fn fingerprints(&self) -> Vec<String> {
        self.certificates.iter().map(|c| c.primary_key.fingerprint().to_string().to_uppercase()).collect()
    }

    /// Whether it holds no certificate: nothing verifies against it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }
}

fn certificates(bytes: &[u8]) -> impl Iterator<Item = SignedPublicKey> + use<'_> {
    SignedPublicKey::from_bytes_many(bytes).into_iter().flatten().take(CERTIFICATES_MAX).filter_map(Result::ok)
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(KEYRING_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > KEYRING_BYTES_MAX { Err(std::io::Error::other("it is too large")) } else { Ok(bytes) }
}

/// Checks a clear-signed file and returns exactly the text that was signed, and nothing else.
///
/// At least one signature must be good, by a key of `keyring` that may sign at `now`; a signature by such a key that does not match
/// the text refuses the file even beside a good one.
///
/// # Errors
/// The most telling reason.
pub fn verify_clearsigned(inrelease: &[u8], keyring: &Keyring, now: Timestamp) -> Result<String, TrustError> {
    if inrelease.len() > CLEARSIGNED_BYTES_MAX {
        return Err(TrustError::TooLarge);
    }
    let text = std::str::from_utf8(inrelease).map_err(|_| TrustError::Malformed { why: "it is not UTF-8" })?;
    let clear = Cleartext::parse(text)?;
    verdict(&signatures(clear.armor)?, clear.hashed().as_bytes(), keyring, now).map(|()| clear.text())
}

/// Checks a file against the armored signature that stands beside it; as strict as [`verify_clearsigned`].
///
/// # Errors
/// The most telling reason.
pub fn verify_detached(data: &[u8], armor: &[u8], keyring: &Keyring, now: Timestamp) -> Result<(), TrustError> {
    let text = std::str::from_utf8(armor).map_err(|_| TrustError::Malformed { why: "it is not armored" })?;
    verdict(&signatures(text)?, data, keyring, now)
}

/// Whether at least one signature is good and none by a known key contradicts it.
fn verdict(signatures: &[Signature], data: &[u8], keyring: &Keyring, now: Timestamp) -> Result<(), TrustError> {
    let mut good = false;
    let mut worst: Option<TrustError> = None;
    for signature in signatures {
        match judge(signature, data, keyring, now.ms() / 1000) {
            Ok(()) => good = true,
            Err(error @ TrustError::BadSignature { .. }) => return Err(error),
            Err(error) if worst.as_ref().is_none_or(|w| error.rank() > w.rank()) => worst = Some(error),
            Err(_) => {}
        }
    }
    match worst {
        _ if good => Ok(()),
        Some(error) => Err(error),
        None => Err(TrustError::NotSigned),
    }
}

/// One signature: known key, strong, in its time, matching, by a key that may sign.
fn judge(signature: &Signature, data: &[u8], keyring: &Keyring, now: u64) -> Result<(), TrustError> {
    let unknown = || TrustError::UnknownKey { keys: issuers(signature) };
    let mut result = Err(unknown());
    for signer in keyring.certificates.iter().flat_map(|c| Signer::candidates(c, signature)) {
        let key = signer.fingerprint();
        let one = if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) || !certificate::known(signature) {
            Err(TrustError::KeyUnfit { key, why: "its signature is of another kind, or demands what this program does not know" })
        } else if !certificate::strong_digest(signature) {
            let digest = signature.hash_alg().map_or_else(|| "an unknown digest".to_owned(), |h| h.to_string());
            Err(TrustError::WeakDigest { key, digest })
        } else if !signer.verifies(signature, data) {
            Err(TrustError::BadSignature { key })
        } else {
            match certificate::lifetime(signature, now) {
                Err(true) => Err(TrustError::FromTheFuture { key }),
                Err(false) => Err(TrustError::SignatureExpired { key }),
                Ok(()) => signer.fit(now),
            }
        };
        match one {
            Ok(()) => return Ok(()),
            Err(error) => result = Err(error),
        }
    }
    result
}

fn issuers(signature: &Signature) -> String {
    let mut names: Vec<String> = signature.issuer_fingerprint().iter().map(|f| f.to_string().to_uppercase()).collect();
    if names.is_empty() {
        names = signature.issuer_key_id().iter().map(|i| i.to_string().to_uppercase()).collect();
    }
    if names.is_empty() { "an unnamed key".to_owned() } else { names.join(", ") }
}

fn signatures(armor: &str) -> Result<Vec<Signature>, TrustError> {
    let malformed = |why| TrustError::Malformed { why };
    let mut binary = Vec::new();
    Dearmor::new(BufReader::new(armor.as_bytes()))
        .take(CLEARSIGNED_BYTES_MAX as u64)
        .read_to_end(&mut binary)
        .map_err(|_| malformed("its armor is damaged"))?;
    let mut found = Vec::new();
    for packet in PacketParser::new(binary.as_slice()) {
        if found.len() == SIGNATURES_MAX {
            return Err(malformed("it has more than 16 signatures"));
        }
        match packet {
            Ok(Packet::Signature(signature)) => found.push(signature),
            Ok(_) => return Err(malformed("it holds something that is no signature")),
            Err(pgp::errors::Error::Unsupported { .. }) => {}
            Err(_) => return Err(malformed("a signature is damaged")),
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_is_no_keyring() {
        for bad in [&b""[..], b"hello", b"\xff\xff\xff", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n"] {
            assert!(matches!(Keyring::from_bytes(bad), Err(KeyringError::Empty { .. })));
        }
    }

    #[test]
    fn unsigned_text_is_refused_with_its_own_error() {
        let keyring = Keyring::default();
        assert_eq!(verify_clearsigned(b"Origin: x\n", &keyring, Timestamp(0)), Err(TrustError::NotSigned));
        let empty = b"-----BEGIN PGP SIGNED MESSAGE-----\n\nx\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n";
        assert!(verify_clearsigned(empty, &keyring, Timestamp(0)).is_err());
    }
}
