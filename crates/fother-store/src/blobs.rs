//! Content-addressed blobs: files below `blobs/`, their kinds in the database. Touches the data directory.

use crate::{
    Error, Store,
    log::{int, uint},
    open::sync_dir,
};
use fother_core::Digest;
use rusqlite::{OptionalExtension, params};
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Largest blob, in bytes: packages of several hundred megabytes pass.
pub const BLOB_BYTES_MAX: u64 = 1 << 30;
/// The kind of plain files and packages, named by the bare SHA-256 of their bytes. Every other kind is part of the digest.
pub const FILE: &str = "file";

const KIND_BYTES_MAX: usize = 32;
const TEMPORARY_PREFIX: &str = ".new-";

/// Keeps the names of temporary files apart within one process.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// The name of `bytes` as a blob of `kind`.
pub(crate) fn digest_of(kind: &str, bytes: &[u8]) -> Digest {
    if kind == FILE { Digest::of_file(bytes) } else { Digest::of_kind(kind, bytes) }
}

impl Store {
    /// Stores `bytes` as a blob of `kind` and returns its name. File and entry are on disk before this returns; storing twice is harmless.
    ///
    /// # Errors
    /// Where the blob is too large, the kind is no word, or disk or database fail.
    pub fn put_blob(&self, kind: &str, bytes: &[u8]) -> Result<Digest, Error> {
        check_kind(kind)?;
        check_size(bytes.len() as u64)?;
        let digest = digest_of(kind, bytes);
        if self.blob_info(&digest)?.is_some() && self.read_blob(&digest)?.is_some_and(|stored| stored == bytes) {
            return Ok(digest);
        }
        self.write_file(&digest, bytes)?;
        self.write(|connection| {
            let sql = "INSERT OR REPLACE INTO blob (digest, kind, bytes) VALUES (?, ?, ?)";
            let done = connection.execute(sql, params![digest.0, kind, int(bytes.len() as u64)?]);
            done.map(drop).map_err(Error::sql("note a blob"))
        })?;
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
    /// Where the file is missing or altered, or disk or database fail.
    pub fn get_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let Some((kind, _)) = self.blob_info(digest)? else { return Ok(None) };
        let bytes = self.read_blob(digest)?.ok_or_else(|| Error::Damaged(format!("the blob {digest} has lost its file")))?;
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
        let row = self
            .durable()
            .query_row("SELECT kind, bytes FROM blob WHERE digest = ?", [digest.0], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?)));
        let row = row.optional().map_err(Error::sql("find a blob"))?;
        row.map(|(kind, bytes)| Ok((kind, uint(bytes)?))).transpose()
    }

    /// The open file of a blob, to stream it; unlike [`Store::get_blob`] unchecked, so the receiver must hash it. Nothing where it is not stored.
    ///
    /// # Errors
    /// Where disk or database fail.
    pub fn open_blob(&self, digest: &Digest) -> Result<Option<(fs::File, u64)>, Error> {
        let Some((_, bytes)) = self.blob_info(digest)? else { return Ok(None) };
        let path = self.blob_path(digest);
        let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
        Ok(Some((file, bytes)))
    }

    /// Removes what writers that were killed left behind, and returns how many files that were. For the holder of [`crate::LOG_LEASE`], at its start:
    /// no other process may be storing blobs meanwhile.
    ///
    /// # Errors
    /// Where the disk fails.
    pub fn remove_leftovers(&self) -> Result<u64, Error> {
        let root = self.dir.join("blobs");
        let entries = match fs::read_dir(&root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries.map_err(Error::io("read", &root))?,
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", &root))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.dir.join("blobs").join(&hex[..2]).join(hex)
    }

    /// The bytes of the file, unchecked and at most [`BLOB_BYTES_MAX`] of them.
    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.blob_path(digest);
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(BLOB_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        check_size(bytes.len() as u64)?;
        Ok(Some(bytes))
    }

    fn write_file(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let path = self.blob_path(digest);
        let root = self.dir.join("blobs");
        let folder = root.join(&digest.hex()[..2]);
        make_folder(&root, &self.dir)?;
        make_folder(&folder, &root)?;
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = root.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()));
        let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(Error::io("write", &path))?;
        sync_dir(&folder)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // What a killed process of the same number left behind is overwritten.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn make_folder(folder: &Path, parent: &Path) -> Result<(), Error> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync_dir(parent),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io("create", folder)(error)),
    }
}

fn check_kind(kind: &str) -> Result<(), Error> {
    let good =
        (1..=KIND_BYTES_MAX).contains(&kind.len()) && kind.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(()) } else { Err(Error::BlobKind(kind.chars().take(KIND_BYTES_MAX).collect())) }
}

fn check_size(bytes: u64) -> Result<(), Error> {
    if bytes > BLOB_BYTES_MAX { Err(Error::BlobTooLarge { bytes, max: BLOB_BYTES_MAX }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn a_blob_is_named_by_its_kind_and_bytes() {
        let (_dir, store) = store();
        let plan = store.put_blob("plan", b"{}").unwrap();
        let file = store.put_blob(FILE, b"{}").unwrap();
        assert_eq!((plan, file), (Digest::of_kind("plan", b"{}"), Digest::of_file(b"{}")));
        assert_eq!(store.get_blob(&plan).unwrap().unwrap(), b"{}");
        assert_eq!(store.blob_info(&plan).unwrap(), Some(("plan".to_owned(), 2)));
        assert_eq!(store.get_blob(&Digest::of_file(b"other")).unwrap(), None);
        assert_eq!(store.put_blob("plan", b"{}").unwrap(), plan);
        assert!(store.dir().join("blobs").read_dir().unwrap().all(|entry| !entry.unwrap().file_name().to_string_lossy().contains("new")));
    }

    #[test]
    fn bytes_under_a_false_name_are_refused() {
        let (_dir, store) = store();
        let named = Digest::of_kind("plan", b"{}");
        assert!(matches!(store.put_named_blob(named, "plan", b"{ }"), Err(Error::BlobMismatch { .. })));
        assert!(matches!(store.put_named_blob(named, "cohort", b"{}"), Err(Error::BlobMismatch { .. })));
        assert_eq!(store.get_blob(&named).unwrap(), None);
        store.put_named_blob(named, "plan", b"{}").unwrap();
        for kind in ["", "Plan", "a/b", &"x".repeat(33)] {
            assert!(matches!(store.put_blob(kind, b""), Err(Error::BlobKind(_))), "{kind}");
        }
    }

    #[test]
    fn an_altered_or_lost_file_is_never_served_and_heals_by_storing_it_again() {
        let (_dir, store) = store();
        let digest = store.put_blob("plan", b"{}").unwrap();
        fs::write(store.blob_path(&digest), b"[]").unwrap();
        assert!(matches!(store.get_blob(&digest), Err(Error::Damaged(_))));
        fs::remove_file(store.blob_path(&digest)).unwrap();
        assert!(matches!(store.get_blob(&digest), Err(Error::Damaged(_))));
        store.put_blob("plan", b"{}").unwrap();
        assert_eq!(store.get_blob(&digest).unwrap().unwrap(), b"{}");
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
        store.write_file(&Digest::of_kind("plan", b"{}"), b"{}").unwrap();
        assert_eq!(store.get_blob(&Digest::of_kind("plan", b"{}")).unwrap(), None);
    }
}
