//! Content-addressed blobs: their bytes in files or objects, their kinds in the database. Touches both.

use crate::{Error, Store};
use fother_core::Digest;

/// Largest blob, in bytes: packages of several hundred megabytes pass.
pub const BLOB_BYTES_MAX: u64 = 1 << 30;
/// The kind of plain files and packages, named by the bare SHA-256 of their bytes. Every other kind is part of the digest.
pub const FILE: &str = "file";

const KIND_BYTES_MAX: usize = 32;

/// The name of `bytes` as a blob of `kind`.
pub(crate) fn digest_of(kind: &str, bytes: &[u8]) -> Digest {
    if kind == FILE { Digest::of_file(bytes) } else { Digest::of_kind(kind, bytes) }
}

impl Store {
    /// Stores `bytes` as a blob of `kind` and returns its name. Bytes and entry are durable before this returns; storing twice is harmless.
    ///
    /// # Errors
    /// Where the blob is too large, the kind is no word, or disk or database fail.
    pub fn put_blob(&self, kind: &str, bytes: &[u8]) -> Result<Digest, Error> {
        check_kind(kind)?;
        check_size(bytes.len() as u64)?;
        let digest = digest_of(kind, bytes);
        if self.blob_info(&digest)?.is_some() && self.files.read(&digest)?.is_some_and(|stored| stored == bytes) {
            return Ok(digest);
        }
        self.files.write(&digest, bytes)?;
        self.database.note_blob(&digest, kind, bytes.len() as u64)?;
        Ok(digest)
    }

    /// As [`Store::put_blob`], for bytes that came with a name: they are refused where it is not theirs.
    ///
    /// # Errors
    /// As [`Store::put_blob`], and where `named` is not the digest of `bytes`.
    pub fn put_named_blob(&self, named: Digest, kind: &str, bytes: &[u8]) -> Result<(), Error> {
        let found = digest_of(kind, bytes);
        if found != named {
            return Err(Error::BlobMismatch { named, found });
        }
        self.put_blob(kind, bytes).map(drop)
    }

    /// The bytes of a blob, checked against its name; nothing where it is not stored.
    ///
    /// # Errors
    /// Where the bytes are missing or altered, or disk or database fail.
    pub fn get_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some((kind, _)) = self.blob_info(digest)? else { return Ok(None) };
        let bytes = self.files.read(digest)?.ok_or_else(|| Error::Damaged(format!("the blob {digest} has lost its file")))?;
        if digest_of(&kind, &bytes) != *digest {
            return Err(Error::Damaged(format!("the blob {digest} was altered")));
        }
        Ok(Some(bytes))
    }

    /// Kind and size in bytes of a blob; nothing where it is not stored.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn blob_info(&self, digest: &Digest) -> Result<Option<(String, u64)>, Error> {
        self.database.blob(digest)
    }

    /// Removes what writers that were killed left behind, and returns how many files that were. For the holder of [`crate::LOG_LEASE`], at its start:
    /// no other process may be storing blobs meanwhile.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn remove_leftovers(&self) -> Result<u64, Error> {
        self.files.remove_leftovers()
    }
}

fn check_kind(kind: &str) -> Result<(), Error> {
    let good =
        (1..=KIND_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(()) } else { Err(Error::BlobKind(kind.chars().take(KIND_BYTES_MAX).collect())) }
}

pub(crate) fn check_size(bytes: u64) -> Result<(), Error> {
    if bytes > BLOB_BYTES_MAX { Err(Error::BlobTooLarge { bytes, max: BLOB_BYTES_MAX }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::PathBuf};

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    fn path(store: &Store, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        store.dir().join("blobs").join(&hex[..2]).join(hex)
    }

    #[test]
    fn an_altered_or_lost_file_is_never_served_and_heals_by_storing_it_again() {
        let (_dir, store) = store();
        let digest = store.put_blob("plan", b"{}").unwrap();
        fs::write(path(&store, &digest), b"[]").unwrap();
        assert!(matches!(store.get_blob(&digest), Err(Error::Damaged(_))));
        fs::remove_file(path(&store, &digest)).unwrap();
        assert!(matches!(store.get_blob(&digest), Err(Error::Damaged(_))));
        store.put_blob("plan", b"{}").unwrap();
        assert_eq!(store.get_blob(&digest).unwrap().unwrap(), b"{}");
        assert!(store.dir().join("blobs").read_dir().unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().contains("new")));
    }

    #[test]
    fn what_a_killed_writer_left_behind_is_removed_and_nothing_else() {
        let (_dir, store) = store();
        assert_eq!(store.remove_leftovers().unwrap(), 0);
        let digest = store.put_blob("plan", b"{}").unwrap();
        fs::write(store.dir().join("blobs/.new-1-0"), b"half").unwrap();
        assert_eq!((store.remove_leftovers().unwrap(), store.remove_leftovers().unwrap()), (1, 0));
        assert!(store.get_blob(&digest).unwrap().is_some());
    }

    #[test]
    fn a_blob_without_an_entry_does_not_exist() {
        let (_dir, store) = store();
        store.files.write(&Digest::of_kind("plan", b"{}"), b"{}").unwrap();
        assert_eq!(store.get_blob(&Digest::of_kind("plan", b"{}")).unwrap(), None);
    }
}
