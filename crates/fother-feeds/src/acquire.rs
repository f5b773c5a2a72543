//! The chain from a signed Release to a package: what is refused, and why; pure but for the reader it is given.

use crate::{
    release::{Release, ReleaseError},
    trust::{Keyring, SKEW, TrustError, verify_clearsigned},
};
use fother_core::{Digest, Timestamp};
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, Read},
    time::Duration,
};

/// How old a suite without `Valid-Until` may be where the policy names no age. Debian re-signs a stable suite only at point releases,
/// and the last one of a release comes up to two years before its long-term support ends, so nothing shorter would hold to the end.
pub const RELEASE_AGE_MAX: Duration = Duration::from_secs(730 * 86_400);

/// What is demanded of a Release beyond its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Suite or codename that the source names; one that ends in `/` (a flat archive) is not compared.
    pub suite: String,
    /// Greatest age since `Date`. `None`: no limit if the archive gives a `Valid-Until`, else [`RELEASE_AGE_MAX`].
    pub max_age: Option<Duration>,
    /// `Date` of the newest Release of this suite that was seen before.
    pub newest_seen: Option<Timestamp>,
}

/// Why something from an archive is not used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// No signature.
    #[error("refused: the archive's index is not signed")]
    NotSigned,
    /// Signed by keys that this source does not trust.
    #[error("refused: unknown key: {0}")]
    UnknownKey(TrustError),
    /// The text does not match its signature.
    #[error("refused: bad signature: {0}")]
    BadSignature(TrustError),
    /// MD5 or SHA-1.
    #[error("refused: weak digest: {0}")]
    WeakDigest(TrustError),
    /// Expired, revoked or unfit key, or an unreadable signature.
    #[error("refused: the signature does not count: {0}")]
    Signature(TrustError),
    /// Signed, but not a Release that can be used.
    #[error("refused: the signed Release cannot be used: {0}")]
    Release(ReleaseError),
    /// `Valid-Until` is past.
    #[error("refused: the index expired at {valid_until}; a mirror may be withholding updates: use another mirror, or check the clock")]
    Expired {
        /// The archive's limit.
        valid_until: Timestamp,
    },
    /// Older than the policy allows.
    #[error("refused: the index of {date} is older than the {max_age_days} days that are allowed for this suite")]
    TooOld {
        /// `Date`.
        date: Timestamp,
        /// The limit in days.
        max_age_days: u64,
    },
    /// `Date` is ahead of the clock by more than [`SKEW`].
    #[error("refused: the index is from the future ({date}): check this machine's clock")]
    FromTheFuture {
        /// `Date`.
        date: Timestamp,
    },
    /// Older than one that was seen before.
    #[error("refused: replayed: the index of {date} is older than the one of {newest_seen} that was seen before")]
    Replayed {
        /// `Date`.
        date: Timestamp,
        /// `Date` of the newer one.
        newest_seen: Timestamp,
    },
    /// Signed, but for another suite.
    #[error("refused: wrong suite: the source asks for `{wanted}`, the signed index is of `{got}`")]
    WrongSuite {
        /// What the source names.
        wanted: String,
        /// What the Release names.
        got: String,
    },
    /// The Release does not list the index.
    #[error("refused: the signed Release does not list {path}")]
    IndexMissing {
        /// Path below the suite.
        path: String,
    },
    /// Another size than the Release says.
    #[error("refused: the index {path} has {got} bytes, the signed Release says {wanted}: cut short or tampered with")]
    IndexSize {
        /// Path below the suite.
        path: String,
        /// Bytes listed.
        wanted: u64,
        /// Bytes there.
        got: u64,
    },
    /// Other bytes than the Release says.
    #[error("refused: the index {path} does not match the hash in the signed Release: tampered with, or from another update")]
    IndexHash {
        /// Path below the suite.
        path: String,
    },
    /// Other size than the index says.
    #[error("refused: the package {name} has {got} bytes, the index says {wanted}: cut short or tampered with")]
    PackageSize {
        /// File name.
        name: String,
        /// Bytes listed.
        wanted: u64,
        /// Bytes there (at most one more than listed is read).
        got: u64,
    },
    /// Other bytes than the index says.
    #[error("refused: the package {name} does not match the hash in the index: tampered with")]
    PackageHash {
        /// File name.
        name: String,
    },
}

impl Refused {
    /// A short constant name for logs and tests, for example `replayed`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotSigned => "not-signed",
            Self::UnknownKey(_) => "unknown-key",
            Self::BadSignature(_) => "bad-signature",
            Self::WeakDigest(_) => "weak-digest",
            Self::Signature(_) => "signature",
            Self::Release(_) => "release",
            Self::Expired { .. } => "expired",
            Self::TooOld { .. } => "too-old",
            Self::FromTheFuture { .. } => "from-the-future",
            Self::Replayed { .. } => "replayed",
            Self::WrongSuite { .. } => "wrong-suite",
            Self::IndexMissing { .. } => "index-missing",
            Self::IndexSize { .. } => "index-size",
            Self::IndexHash { .. } => "index-hash",
            Self::PackageSize { .. } => "package-size",
            Self::PackageHash { .. } => "package-hash",
        }
    }
}

impl From<TrustError> for Refused {
    fn from(error: TrustError) -> Self {
        match error {
            TrustError::NotSigned => Self::NotSigned,
            TrustError::UnknownKey { .. } => Self::UnknownKey(error),
            TrustError::BadSignature { .. } => Self::BadSignature(error),
            TrustError::WeakDigest { .. } => Self::WeakDigest(error),
            TrustError::TooLarge
            | TrustError::Malformed { .. }
            | TrustError::KeyExpired { .. }
            | TrustError::KeyRevoked { .. }
            | TrustError::KeyUnfit { .. }
            | TrustError::FromTheFuture { .. }
            | TrustError::SignatureExpired { .. } => Self::Signature(error),
        }
    }
}

/// Checks a signed Release: signature, suite, dates.
///
/// # Errors
/// The first reason not to use it.
pub fn check_release(policy: &Policy, inrelease: &[u8], keyring: &Keyring, now: Timestamp) -> Result<Release, Refused> {
    let text = verify_clearsigned(inrelease, keyring, now)?;
    let release = Release::parse(&text).map_err(Refused::Release)?;
    check_facts(policy, &release, now)?;
    Ok(release)
}

/// The checks of a Release that need no signature.
fn check_facts(policy: &Policy, release: &Release, now: Timestamp) -> Result<(), Refused> {
    if !policy.suite.ends_with('/') && policy.suite != release.suite && policy.suite != release.codename {
        let got = if release.codename.is_empty() { &release.suite } else { &release.codename };
        return Err(Refused::WrongSuite { wanted: policy.suite.clone(), got: fother_core::text::printable(got, 80) });
    }
    if release.date > now + SKEW {
        return Err(Refused::FromTheFuture { date: release.date });
    }
    if let Some(valid_until) = release.valid_until.filter(|until| *until < now) {
        return Err(Refused::Expired { valid_until });
    }
    let limit = policy.max_age.or(if release.valid_until.is_none() { Some(RELEASE_AGE_MAX) } else { None });
    if let Some(limit) = limit.filter(|limit| now.since(release.date) > *limit) {
        return Err(Refused::TooOld { date: release.date, max_age_days: limit.as_secs() / 86_400 });
    }
    match policy.newest_seen {
        Some(newest_seen) if release.date < newest_seen => Err(Refused::Replayed { date: release.date, newest_seen }),
        _ => Ok(()),
    }
}

/// Checks the bytes of an index against the Release that lists it under `path` (below the suite's directory).
///
/// # Errors
/// [`Refused::IndexMissing`], [`Refused::IndexSize`] or [`Refused::IndexHash`].
pub fn check_index(release: &Release, path: &str, bytes: &[u8]) -> Result<(), Refused> {
    let entry = release.files.get(path).ok_or_else(|| Refused::IndexMissing { path: path.to_owned() })?;
    let got = bytes.len() as u64;
    if got != entry.size {
        return Err(Refused::IndexSize { path: path.to_owned(), wanted: entry.size, got });
    }
    if Digest::of_file(bytes) != entry.sha256 {
        return Err(Refused::IndexHash { path: path.to_owned() });
    }
    Ok(())
}

/// Checks a package file against the size and hash that a verified index gives; `name` is for messages.
///
/// # Errors
/// The outer error where reading fails, the inner where the package is refused.
pub fn check_package(name: &str, size: u64, sha256: Digest, reader: impl Read) -> io::Result<Result<(), Refused>> {
    let mut hash = Sha256::new();
    let got = io::copy(&mut reader.take(size.saturating_add(1)), &mut hash)?;
    let name = || fother_core::text::printable(name, 200);
    if got != size {
        return Ok(Err(Refused::PackageSize { name: name(), wanted: size, got }));
    }
    if Digest(hash.finalize().into()) != sha256 {
        return Ok(Err(Refused::PackageHash { name: name() }));
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(date: &str, valid_until: Option<&str>) -> Release {
        let until = valid_until.map(|u| format!("Valid-Until: {u}\n")).unwrap_or_default();
        Release::parse(&format!("Suite: stable\nCodename: bookworm\nDate: {date}\n{until}SHA256:\n")).unwrap()
    }

    fn policy(suite: &str) -> Policy {
        Policy { suite: suite.to_owned(), max_age: None, newest_seen: None }
    }

    #[test]
    fn dates_and_suites_are_judged() {
        let now: Timestamp = "2026-07-12T00:00:00Z".parse().unwrap();
        let fresh = release("Sat, 11 Jul 2026 10:00:00 UTC", None);
        assert_eq!(check_facts(&policy("bookworm"), &fresh, now), Ok(()));
        assert_eq!(check_facts(&policy("stable"), &fresh, now), Ok(()));
        assert_eq!(check_facts(&policy("./"), &fresh, now), Ok(()));
        let code = |policy: &Policy, release: &Release| check_facts(policy, release, now).unwrap_err().code();
        assert_eq!(code(&policy("trixie"), &fresh), "wrong-suite");
        assert_eq!(code(&policy("bookworm"), &release("Sun, 12 Jul 2026 00:06:00 UTC", None)), "from-the-future");
        assert_eq!(code(&policy("bookworm"), &release("Fri, 10 Jul 2026 00:00:00 UTC", Some("Sat, 11 Jul 2026 23:59:59 UTC"))), "expired");
        assert_eq!(code(&policy("bookworm"), &release("Wed, 10 Jul 2024 00:00:00 UTC", None)), "too-old");
        assert_eq!(code(&Policy { max_age: Some(Duration::from_secs(3600)), ..policy("bookworm") }, &fresh), "too-old");
        let seen = Policy { newest_seen: Some(fresh.date + Duration::from_secs(1)), ..policy("bookworm") };
        assert_eq!(code(&seen, &fresh), "replayed");
        assert_eq!(check_facts(&Policy { newest_seen: Some(fresh.date), ..policy("bookworm") }, &fresh, now), Ok(()));
    }

    #[test]
    fn a_package_that_is_cut_or_changed_is_refused() {
        let digest = Digest::of_file(b"package");
        let check = |bytes: &[u8]| check_package("p", 7, digest, bytes).unwrap();
        assert_eq!(check(b"package"), Ok(()));
        assert_eq!(check(b"pack").unwrap_err().code(), "package-size");
        assert_eq!(check(b"packages").unwrap_err().code(), "package-size");
        assert_eq!(check(b"Package").unwrap_err().code(), "package-hash");
    }
}
