//! One server per data directory: a lock that names its holder. Touches `data_dir/server.lock`.

use crate::Error;
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Name of the lock below the data directory.
pub(crate) const LOCK: &str = "server.lock";
/// Longest text in it that is shown, in bytes.
const HOLDER_BYTES_MAX: u64 = 64;

/// The right to serve a data directory; ends with the process, however it ends.
pub(crate) struct Sole {
    _file: File,
}

/// Takes the right to serve `data_dir`.
///
/// # Errors
/// [`Error::Taken`] where another process serves it, or the lock cannot be used.
pub(crate) fn take(data_dir: &Path) -> Result<Sole, Error> {
    let path = data_dir.join(LOCK);
    let options = File::options().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path);
    let mut file = options.map_err(Error::io("open", &path))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        return Err(if error == rustix::io::Errno::WOULDBLOCK { taken(data_dir) } else { Error::io("lock", &path)(error.into()) });
    }
    let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "process {}", std::process::id()));
    written.map_err(Error::io("write", &path))?;
    Ok(Sole { _file: file })
}

/// Checks that nobody serves `data_dir` now.
///
/// # Errors
/// As for [`take`].
pub fn unserved(data_dir: &Path) -> Result<(), Error> {
    if data_dir.join(LOCK).exists() { take(data_dir).map(drop) } else { Ok(()) }
}

/// That another process serves `data_dir`, with its name.
pub(crate) fn taken(data_dir: &Path) -> Error {
    let mut text = String::new();
    let read = File::open(data_dir.join(LOCK)).and_then(|file| file.take(HOLDER_BYTES_MAX).read_to_string(&mut text));
    let holder = if read.is_ok() && !text.trim().is_empty() {
        fother_core::text::printable(text.trim(), 64)
    } else {
        "a process unknown".to_owned()
    };
    Error::Taken { dir: data_dir.to_owned(), holder }
}
