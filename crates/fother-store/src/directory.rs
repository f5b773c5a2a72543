//! Blobs as files below one directory. Touches that directory only.

use crate::{Error, blobs::check_size, files::Files, sqlite::sync_dir};
use fother_core::Digest;
use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

const TEMPORARY_PREFIX: &str = ".new-";

/// Keeps the names of temporary files apart within one process.
static TEMPORARY: AtomicU64 = AtomicU64::new(0);

/// The directory of the blobs.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
}

impl Directory {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root.join(&hex[..2]).join(hex)
    }
}

impl Files for Directory {
    fn write(&self, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(digest);
        let root = &self.root;
        let folder = root.join(&digest.hex()[..2]);
        make_folder(root, root.parent().unwrap_or(root))?;
        make_folder(&folder, root)?;
        let number = TEMPORARY.fetch_add(1, Ordering::Relaxed);
        let temporary = root.join(format!("{TEMPORARY_PREFIX}{}-{number}", std::process::id()));
        let written = write_synced(&temporary, bytes).and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written.map_err(Error::io("write", &path))?;
        sync_dir(&folder)
    }

    fn read(&self, digest: &Digest) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(digest);
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Error::io("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(crate::BLOB_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
        check_size(bytes.len() as u64)?;
        Ok(Some(bytes))
    }

    fn remove_leftovers(&self) -> Result<u64, Error> {
        let root = &self.root;
        let entries = match fs::read_dir(root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries.map_err(Error::io("read", root))?,
        };
        let mut removed = 0;
        for entry in entries {
            let entry = entry.map_err(Error::io("read", root))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
                fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
                removed += 1;
            }
        }
        Ok(removed)
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
