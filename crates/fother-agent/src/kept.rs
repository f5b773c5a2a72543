//! What stays on the host: rehearsals in full, with output and configuration of this host, for its own root; `fother agent log` shows them.

use crate::{
    config::Config,
    durable::{self, Disk},
};
use fother_core::{Digest, id::TransactionId, rehearsal::Rehearsal};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Rehearsals that are kept; the oldest go first.
pub const KEPT_MAX: usize = 32;
/// Largest rehearsal that is read back, in bytes.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// Last bytes of the package manager's output that are shown.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

fn dir(config: &Config) -> PathBuf {
    config.data.join("rehearsals")
}

fn oldest_first(dir: &Path) -> io::Result<Vec<(SystemTime, PathBuf)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        all.push((entry.metadata()?.modified()?, entry.path()));
    }
    all.sort();
    Ok(all)
}

/// Keeps a rehearsal under the digest of what the server got of it.
///
/// # Errors
/// Where the directory cannot be written.
pub fn keep(config: &Config, disk: &Disk, told: &Digest, rehearsal: &Rehearsal) -> io::Result<()> {
    let dir = dir(config);
    durable::private_dir(&dir)?;
    disk.replace(&dir.join(told.hex()), &serde_json::to_vec_pretty(rehearsal)?)?;
    let all = oldest_first(&dir)?;
    all.iter().rev().skip(KEPT_MAX).try_for_each(|(_, path)| fs::remove_file(path))
}

/// Digests of the rehearsals that are kept, oldest first.
///
/// # Errors
/// Where the directory cannot be read.
pub fn list(config: &Config) -> io::Result<Vec<Digest>> {
    match oldest_first(&dir(config)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        all => Ok(all?.iter().filter_map(|(_, path)| Digest::from_hex(path.file_name()?.to_str()?).ok()).collect()),
    }
}

/// A rehearsal in full.
///
/// # Errors
/// Where it is not kept any more, or not readable.
pub fn rehearsal(config: &Config, told: &Digest) -> io::Result<Rehearsal> {
    let bytes = durable::read_bounded(&dir(config).join(told.hex()), KEPT_BYTES_MAX)?;
    serde_json::from_slice(&bytes).map_err(io::Error::other)
}

/// The end of what the package manager and the packages' scripts printed in a transaction.
///
/// # Errors
/// Where there is no such output.
pub fn output(config: &Config, txn: TransactionId) -> io::Result<String> {
    use io::{Read as _, Seek as _, SeekFrom};
    let mut file = fs::File::open(config.transactions().join(txn.to_string()).join("work/apt.log"))?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(OUTPUT_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    file.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
