//! One archive's suite brought into the cache along its chain of signatures and hashes; drives [`crate::fetch`] and [`crate::cache`].

use crate::{
    acquire::{Policy, Refused, check_index, check_release},
    cache::{Cache, CacheError},
    compress::{Compression, UNPACKED_BYTES_MAX},
    fetch::{Fetch, FetchError},
    lists,
    release::Release,
    trust::{CLEARSIGNED_BYTES_MAX, Keyring},
};
use fother_core::{Digest, Timestamp, inventory::Source, package::Offer};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Why an archive was not brought in.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Something in the chain is not what was signed.
    #[error("{uri} {suite}: {refused}")]
    Refused {
        /// Archive.
        uri: String,
        /// Suite.
        suite: String,
        /// Why.
        refused: Refused,
    },
    /// It could not be reached.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The cache failed, or a package is refused.
    #[error(transparent)]
    Cache(#[from] CacheError),
    /// A verified index cannot be unpacked.
    #[error("{path} cannot be unpacked: {error}")]
    Unpack {
        /// Path below the suite.
        path: String,
        /// Cause.
        error: io::Error,
    },
    /// The lists directory cannot be written.
    #[error("{} cannot be written: {error}", path.display())]
    Write {
        /// Path.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
}

impl ArchiveError {
    /// The refusal, if it is one, from wherever in the chain.
    #[must_use]
    pub fn refused(&self) -> Option<&Refused> {
        match self {
            Self::Refused { refused, .. } | Self::Cache(CacheError::Refused(refused)) => Some(refused),
            _ => None,
        }
    }
}

/// One unpacked index in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotIndex {
    /// Component; empty for flat archives.
    pub component: String,
    /// Path below the suite, unpacked: `main/binary-amd64/Packages`.
    pub path: String,
    /// SHA-256 of the unpacked bytes; the cache holds them under it.
    pub sha256: Digest,
    /// Size of the unpacked bytes.
    pub size: u64,
}

/// One suite as it was at one moment, all of it in the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The source.
    pub source: Source,
    /// Architecture.
    pub arch: String,
    /// What the signed Release says; its table holds only the indexes in use.
    pub release: Release,
    /// SHA-256 of the InRelease; the cache holds it.
    pub inrelease: Digest,
    /// Its Packages indexes.
    pub indexes: Vec<SnapshotIndex>,
}

/// Fetches and verifies a suite: InRelease, then each Packages index that `source` and `arch` need.
///
/// # Errors
/// The first reason; nothing unverified is left in the cache.
pub fn update(
    source: &Source,
    arch: &str,
    fetch: &dyn Fetch,
    keyring: &Keyring,
    cache: &Cache,
    policy: &Policy,
    now: Timestamp,
) -> Result<Snapshot, ArchiveError> {
    let inrelease = fetch.get(&lists::inrelease_uri(source), CLEARSIGNED_BYTES_MAX as u64)?;
    let refuse = |refused| ArchiveError::Refused { uri: source.uri.clone(), suite: source.suite.clone(), refused };
    let mut release = check_release(policy, &inrelease, keyring, now).map_err(refuse)?;
    let digest = Digest::of_file(&inrelease);
    cache.put(inrelease.as_slice(), digest, inrelease.len() as u64)?;
    let mut indexes = Vec::new();
    let mut used = std::collections::BTreeSet::new();
    for (component, index_arch, path) in lists::index_paths(source, arch) {
        if index_arch == "all" && !release.separate_all {
            continue;
        }
        let index = bring(source, &release, component, path, fetch, cache)?;
        used.extend(Compression::ALL.iter().map(|c| format!("{}{}", index.path, c.ending())));
        indexes.push(index);
    }
    release.files.retain(|path, _| used.contains(path));
    Ok(Snapshot { source: source.clone(), arch: arch.to_owned(), release, inrelease: digest, indexes })
}

/// One index, unpacked into the cache, unless it is there already.
fn bring(
    source: &Source,
    release: &Release,
    component: String,
    path: String,
    fetch: &dyn Fetch,
    cache: &Cache,
) -> Result<SnapshotIndex, ArchiveError> {
    let refuse = |refused| ArchiveError::Refused { uri: source.uri.clone(), suite: source.suite.clone(), refused };
    let plain = release.files.get(&path).copied();
    if let Some(plain) = plain.filter(|p| cache.read(p.sha256).is_ok()) {
        return Ok(SnapshotIndex { component, path, sha256: plain.sha256, size: plain.size });
    }
    let listed = Compression::ALL.into_iter().find_map(|c| {
        let name = format!("{path}{}", c.ending());
        release.files.get(&name).map(|entry| (c, name, *entry))
    });
    let Some((compression, name, entry)) = listed else { return Err(refuse(Refused::IndexMissing { path })) };
    let base = lists::suite_uri(source);
    let by_hash = name.rsplit_once('/').map_or_else(String::new, |(dir, _)| format!("{dir}/"));
    let by_hash = format!("{base}{by_hash}by-hash/SHA256/{}", entry.sha256.hex());
    let direct = || fetch.get(&format!("{base}{name}"), entry.size);
    let packed = match release.by_hash.then(|| fetch.get(&by_hash, entry.size)) {
        Some(Err(FetchError::NotFound { .. })) | None => direct(),
        Some(result) => result,
    };
    let packed = match packed {
        Err(FetchError::TooLarge { bytes_max, .. }) => {
            return Err(refuse(Refused::IndexSize { path: name, wanted: bytes_max, got: bytes_max + 1 }));
        }
        other => other?,
    };
    check_index(release, &name, &packed).map_err(refuse)?;
    let limit = plain.map_or(UNPACKED_BYTES_MAX, |p| p.size.min(UNPACKED_BYTES_MAX));
    let bytes = compression.unpack(&packed, limit).map_err(|error| ArchiveError::Unpack { path: name, error })?;
    if plain.is_some() {
        check_index(release, &path, &bytes).map_err(refuse)?;
    }
    let (sha256, size) = (Digest::of_file(&bytes), bytes.len() as u64);
    cache.put(bytes.as_slice(), sha256, size)?;
    Ok(SnapshotIndex { component, path, sha256, size })
}

/// Fetches a package that a verified index offers into the cache, unless it is there.
///
/// # Errors
/// Where it cannot be had, or has another size or hash than the index says.
pub fn fetch_package(offer: &Offer, fetch: &dyn Fetch, cache: &Cache) -> Result<PathBuf, ArchiveError> {
    let name = offer.filename.rsplit('/').next().unwrap_or_default();
    let name = fother_core::text::printable(name, 200);
    cache.put_with(offer.sha256, offer.size, &name, |file| {
        match fetch.get_to(&format!("{}/{}", offer.uri, offer.filename), file, offer.size) {
            Ok(_) => Ok(()),
            Err(FetchError::TooLarge { bytes_max, .. }) => {
                let refused = Refused::PackageSize { name: name.clone(), wanted: bytes_max, got: bytes_max + 1 };
                Err(ArchiveError::Cache(refused.into()))
            }
            Err(error) => Err(error.into()),
        }
    })
}

/// Writes a snapshot's InRelease and indexes into `lists_dir` under apt's own names, each hashed again on the way, so that
/// `apt-get -o Dir::State::Lists=…` uses exactly them.
///
/// # Errors
/// Where the cache lost a file or the directory cannot be written.
pub fn materialise(snapshot: &Snapshot, cache: &Cache, lists_dir: &Path) -> Result<(), ArchiveError> {
    let write = |path: PathBuf, bytes: &[u8]| {
        let result = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(&path)
            .and_then(|mut file| io::Write::write_all(&mut file, bytes));
        result.map_err(|error| ArchiveError::Write { path, error })
    };
    let partial = lists_dir.join("partial");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&partial).map_err(|error| ArchiveError::Write { path: partial, error })?;
    write(lists_dir.join(lists::file_name(&lists::inrelease_uri(&snapshot.source))), &cache.read(snapshot.inrelease)?)?;
    for index in &snapshot.indexes {
        let name = lists::file_name(&format!("{}{}", lists::suite_uri(&snapshot.source), index.path));
        write(lists_dir.join(name), &cache.read(index.sha256)?)?;
    }
    Ok(())
}
