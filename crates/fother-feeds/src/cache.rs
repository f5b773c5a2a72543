//! Files by their SHA-256 in one private directory; reads and writes that directory.

use crate::acquire::Refused;
use fother_core::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File, Permissions},
    io::{self, Read, Seek as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Most bytes that a cache holds where nothing else is said; then the oldest files go.
pub const CACHE_BYTES_MAX: u64 = 20 << 30;

/// Why a file is not in the cache.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Its bytes are not the expected ones.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The directory cannot be read or written.
    #[error("the package cache {}: {error}; check its rights and the free space", path.display())]
    Io {
        /// Directory or file.
        path: PathBuf,
        /// Cause.
        error: io::Error,
    },
    /// Larger than the whole cache.
    #[error("a file of {size} bytes does not fit into the package cache of {bytes_max} bytes")]
    TooLarge {
        /// Size of the file.
        size: u64,
        /// Size of the cache.
        bytes_max: u64,
    },
}

/// A content-addressed store of files; directories 0700, files 0600. One process writes, many may read.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
    bytes_max: u64,
    bytes: Mutex<u64>,
}

impl Cache {
    /// Opens or makes it, with room for [`CACHE_BYTES_MAX`].
    ///
    /// # Errors
    /// Where the directory cannot be made or read.
    pub fn open(dir: &Path) -> Result<Self, CacheError> {
        Self::with_limit(dir, CACHE_BYTES_MAX)
    }

    /// Opens or makes it, with room for `bytes_max`. Temporary files that a crash left are removed.
    ///
    /// # Errors
    /// Where the directory cannot be made or read.
    pub fn with_limit(dir: &Path, bytes_max: u64) -> Result<Self, CacheError> {
        let cache = Self { dir: dir.to_owned(), bytes_max, bytes: Mutex::new(0) };
        let io = |error| CacheError::Io { path: dir.to_owned(), error };
        for dir in [dir.to_owned(), cache.files(), cache.temporary()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir).map_err(io)?;
            fs::set_permissions(&dir, Permissions::from_mode(0o700)).map_err(io)?;
        }
        for left in fs::read_dir(cache.temporary()).map_err(io)?.flatten() {
            fs::remove_file(left.path()).map_err(io)?;
        }
        let total = cache.oldest_first().map_err(io)?.iter().map(|(_, size, _)| size).sum();
        *cache.bytes.lock().unwrap_or_else(PoisonError::into_inner) = total;
        Ok(cache)
    }

    fn files(&self) -> PathBuf {
        self.dir.join("sha256")
    }

    fn temporary(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    fn path_of(&self, sha256: Digest) -> PathBuf {
        self.files().join(sha256.hex())
    }

    /// The file with this hash. It was verified when it was put; whoever must be sure of the disk hashes it again.
    #[must_use]
    pub fn get(&self, sha256: Digest) -> Option<PathBuf> {
        Some(self.path_of(sha256)).filter(|path| path.is_file())
    }

    /// The bytes of the file with this hash, hashed again while they are read.
    ///
    /// # Errors
    /// Where it is absent, unreadable or no longer has its hash; then it is removed.
    pub fn read(&self, sha256: Digest) -> Result<Vec<u8>, CacheError> {
        let path = self.path_of(sha256);
        let bytes = fs::read(&path).map_err(|error| CacheError::Io { path: path.clone(), error })?;
        if Digest::of_file(&bytes) != sha256 {
            let _ = fs::remove_file(&path);
            return Err(Refused::PackageHash { name: path.display().to_string() }.into());
        }
        Ok(bytes)
    }

    /// Puts a file whose size and hash are known.
    ///
    /// # Errors
    /// [`CacheError::Refused`] where it has others.
    pub fn put(&self, reader: impl Read, sha256: Digest, size: u64) -> Result<PathBuf, CacheError> {
        self.put_with(sha256, size, &sha256.hex(), |file| {
            let path = self.temporary();
            io::copy(&mut reader.take(size.saturating_add(1)), file).map(drop).map_err(|error| CacheError::Io { path, error })
        })
    }

    /// Puts a file that `fill` writes, for example by fetching it; `name` is for messages.
    ///
    /// # Errors
    /// What `fill` says, or [`CacheError::Refused`] where what it wrote is not what was expected.
    pub fn put_with<E: From<CacheError>>(
        &self,
        sha256: Digest,
        size: u64,
        name: &str,
        fill: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        let path = self.path_of(sha256);
        let io = |error| E::from(CacheError::Io { path: self.dir.clone(), error });
        if let Ok(mut known) = File::open(&path) {
            // Hashed again: what the disk or somebody has changed since is brought anew, not handed on.
            if check(name, size, sha256, &mut known).map_err(io)?.is_ok() {
                return Ok(path);
            }
            fs::remove_file(&path).map_err(io)?;
        }
        self.make_room(size)?;
        let mut temporary = tempfile::NamedTempFile::new_in(self.temporary()).map_err(io)?;
        fill(temporary.as_file_mut())?;
        let file = temporary.as_file_mut();
        file.rewind().map_err(io)?;
        check(name, size, sha256, file).map_err(io)?.map_err(|refused| E::from(refused.into()))?;
        file.sync_all().map_err(io)?;
        temporary.persist(&path).map_err(|error| io(error.error))?;
        File::open(self.files()).and_then(|dir| dir.sync_all()).map_err(io)?;
        *self.bytes.lock().unwrap_or_else(PoisonError::into_inner) += size;
        Ok(path)
    }

    /// Removes the oldest files until `size` bytes fit.
    fn make_room(&self, size: u64) -> Result<(), CacheError> {
        if size > self.bytes_max {
            return Err(CacheError::TooLarge { size, bytes_max: self.bytes_max });
        }
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        if *bytes + size <= self.bytes_max {
            return Ok(());
        }
        let io = |error| CacheError::Io { path: self.dir.clone(), error };
        for (_, old, path) in self.oldest_first().map_err(io)? {
            if *bytes + size <= self.bytes_max {
                break;
            }
            fs::remove_file(&path).map_err(io)?;
            *bytes = bytes.saturating_sub(old);
        }
        Ok(())
    }

    fn oldest_first(&self) -> io::Result<Vec<(std::time::SystemTime, u64, PathBuf)>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(self.files())? {
            let entry = entry?;
            let facts = entry.metadata()?;
            all.push((facts.modified()?, facts.len(), entry.path()));
        }
        all.sort();
        Ok(all)
    }
}

fn check(name: &str, size: u64, sha256: Digest, file: &mut File) -> io::Result<Result<(), Refused>> {
    let got = file.metadata()?.len();
    if got != size {
        return Ok(Err(Refused::PackageSize { name: name.to_owned(), wanted: size, got }));
    }
    let mut hash = Sha256::new();
    io::copy(file, &mut hash)?;
    Ok(if Digest(hash.finalize().into()) == sha256 { Ok(()) } else { Err(Refused::PackageHash { name: name.to_owned() }) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_the_expected_hash_gets_in_and_nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("c")).unwrap();
        let digest = Digest::of_file(b"good");
        assert_eq!(cache.get(digest), None);
        for bad in [&b"evil"[..], b"goo", b"goods"] {
            assert!(matches!(cache.put(bad, digest, 4), Err(CacheError::Refused(_))));
            assert_eq!(cache.get(digest), None);
        }
        let path = cache.put(&b"good"[..], digest, 4).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(cache.read(digest).unwrap(), b"good");
        assert_eq!(fs::read_dir(dir.path().join("c/tmp")).unwrap().count(), 0);
        fs::write(&path, b"evil").unwrap();
        assert!(cache.read(digest).is_err());
        assert_eq!(cache.get(digest), None);
    }

    #[test]
    fn the_oldest_files_go_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::with_limit(dir.path(), 10).unwrap();
        let put = |bytes: &[u8]| cache.put(bytes, Digest::of_file(bytes), bytes.len() as u64).unwrap();
        let first = put(b"aaaa");
        File::open(&first).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        let second = put(b"bbbb");
        let third = put(b"cccc");
        assert!(!first.exists() && second.exists() && third.exists());
        assert!(matches!(cache.put(&b""[..], Digest::of_file(b""), 11), Err(CacheError::TooLarge { .. })));
    }
}
