//! Small files that survive a power cut: temporary file, fsync, rename, fsync of the directory; and append with fsync.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
};

/// Called before and after each durable write with the file's name; an error stops there. Tests die with it.
pub type Fault = Arc<dyn Fn(&str) -> io::Result<()> + Send + Sync>;

/// The way to durable files.
#[derive(Clone, Default)]
pub struct Disk {
    fault: Option<Fault>,
}

impl Disk {
    /// A disk that fails where `fault` says so.
    #[must_use]
    pub fn failing(fault: Fault) -> Self {
        Self { fault: Some(fault) }
    }

    fn ask(&self, path: &Path) -> io::Result<()> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        self.fault.as_ref().map_or(Ok(()), |fault| fault(&name))
    }

    /// Replaces `path` as a whole, mode 0600.
    ///
    /// # Errors
    /// Where the disk is full or the directory is missing; the old content stays.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.ask(path)?;
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        let temporary = path.with_extension("tmp");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(dir)?.sync_all()?;
        self.ask(path)
    }

    /// Appends one line.
    ///
    /// # Errors
    /// Where the disk is full; a torn last line is recognised by its reader.
    pub fn append(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        self.ask(path)?;
        let fresh = !path.exists();
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        file.write_all(&[line, b"\n"].concat())?;
        file.sync_all()?;
        if fresh {
            File::open(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?.sync_all()?;
        }
        self.ask(path)
    }
}

/// Makes `dir` with its parents and closes it to others (0700).
///
/// # Errors
/// As for mkdir and chmod.
pub fn private_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700))
}

/// Reads at most `bytes_max`.
///
/// # Errors
/// Where the file is larger or cannot be read.
pub fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("larger than {bytes_max} bytes")));
    }
    Ok(bytes)
}
