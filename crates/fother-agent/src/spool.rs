//! Takes bytes from a directory that the network half owns into one that only root can write; hashes only the copy.

use crate::{durable, ipc::Need};
use fother_core::{Digest, canonical};
use rustix::fs::{Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Above this the store drops its oldest files, in bytes.
pub const STORE_BYTES_MAX: u64 = 4 << 30;

/// Why delivered bytes are not taken.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A link, a device, a directory, gone.
    #[error("the spool's {digest} is no plain file that can be read: {why}")]
    NotPlain {
        /// Which.
        digest: Digest,
        /// Why.
        why: String,
    },
    /// Too large.
    #[error("{digest} is larger than the {bytes_max} bytes that it may have")]
    TooLarge {
        /// Which.
        digest: Digest,
        /// The limit.
        bytes_max: u64,
    },
    /// Other bytes.
    #[error("{digest} was delivered with other bytes ({found}): tampered or damaged on the way")]
    Other {
        /// Wanted.
        digest: Digest,
        /// Found.
        found: Digest,
    },
    /// Not canonical JSON.
    #[error("{digest} is not in canonical form")]
    NotCanonical {
        /// Which.
        digest: Digest,
    },
    /// The store cannot be written.
    #[error("the executor's store cannot be written: {0}; is the disk full?")]
    Store(#[from] io::Error),
}

impl SpoolError {
    /// Whether other bytes came than were asked for, and not merely none.
    #[must_use]
    pub fn is_other_content(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::Other { .. } | Self::NotCanonical { .. } => true,
            Self::NotPlain { .. } | Self::Store(_) => false,
        }
    }
}

/// Verified bytes by digest.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// Opens or makes the store.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        durable::private_dir(&dir)?;
        Ok(Self { dir })
    }

    /// Where the bytes of a digest lie.
    #[must_use]
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Whether it is there.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.path(digest).is_file()
    }

    /// Takes what `need` names out of the spool directory.
    ///
    /// # Errors
    /// See [`SpoolError`]; nothing is kept.
    pub fn take(&self, spool: &Path, need: &Need) -> Result<(), SpoolError> {
        let digest = need.digest();
        let copy = self.dir.join(format!("{}.part", digest.hex()));
        let result = self.copy_and_check(spool, need, &copy);
        if result.is_err() {
            let _ = fs::remove_file(&copy);
        }
        result
    }

    fn copy_and_check(&self, spool: &Path, need: &Need, copy: &Path) -> Result<(), SpoolError> {
        let digest = need.digest();
        let mut from = open_plain(spool, &digest.hex()).map_err(|error| SpoolError::NotPlain { digest, why: error.to_string() })?;
        let mut to = File::create(copy)?;
        let copied = io::copy(&mut from.by_ref().take(need.bytes_max() + 1), &mut to)?;
        if copied > need.bytes_max() {
            return Err(SpoolError::TooLarge { digest, bytes_max: need.bytes_max() });
        }
        to.sync_all()?;
        drop(to);
        let found = match need {
            Need::File { .. } => hash_file(copy)?,
            Need::Blob { kind, .. } => {
                let bytes = durable::read_bounded(copy, need.bytes_max())?;
                if !canonical::is_canonical(&bytes) {
                    return Err(SpoolError::NotCanonical { digest });
                }
                Digest::of_kind(kind, &bytes)
            }
        };
        if found != digest {
            return Err(SpoolError::Other { digest, found });
        }
        fs::rename(copy, self.path(&digest))?;
        Ok(())
    }

    /// Drops the oldest files above [`STORE_BYTES_MAX`]; called only while no directive waits.
    ///
    /// # Errors
    /// Where the store cannot be listed.
    pub fn trim(&self, bytes_max: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            files.push((meta.modified()?, meta.len(), entry.path()));
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, bytes, path) in files {
            if total <= bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }
}

fn open_plain(dir: &Path, name: &str) -> io::Result<File> {
    let dir = rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::openat(&dir, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a plain file"));
    }
    Ok(file)
}

/// SHA-256 of a file.
///
/// # Errors
/// Where it cannot be read.
pub fn hash_file(path: &Path) -> io::Result<Digest> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0_u8; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest(hash.finalize().into())),
            count => hash.update(&buffer[..count]),
        }
    }
}
