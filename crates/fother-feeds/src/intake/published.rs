//! Hashes and signatures that vendors publish beside a file: `FILE.sha256`, `FILE.sha512`, `FILE.asc` (CSAF 2.0, sections 7.1.18 to 7.1.20).
//! Reads only; a file that contradicts them is refused.

use crate::{
    trust::{Keyring, verify_detached},
    vendor::Kind,
};
use fother_core::{Timestamp, text::printable};
use sha2::{Sha256, Sha512};
use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

/// Endings of such files.
pub const ENDINGS: [&str; 3] = [".sha256", ".sha512", ".asc"];
/// Largest file with a hash or a signature, in bytes.
const BESIDE_BYTES_MAX: u64 = 64 << 10;
/// Largest file whose signature is checked, in bytes: it is held in memory for that.
const SIGNED_BYTES_MAX: u64 = 512 << 20;

/// The file with this ending beside another.
#[must_use]
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Whether a path is such a file, and not a feed of its own.
#[must_use]
pub fn is_one(path: &Path) -> bool {
    let name = path.to_string_lossy();
    ENDINGS.iter().filter_map(|ending| name.strip_suffix(ending)).any(|base| Path::new(base).is_file())
}

/// What may be read of such a file; `None` where there is none.
fn small(path: &Path) -> Result<Option<Vec<u8>>, String> {
    let name = || path.file_name().map(|name| printable(&name.to_string_lossy(), 120)).unwrap_or_default();
    if !path.symlink_metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(BESIDE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 <= BESIDE_BYTES_MAX => Ok(Some(bytes)),
        Ok(_) => Err(format!("{} is larger than {BESIDE_BYTES_MAX} bytes", name())),
        Err(error) => Err(format!("{}: {error}", name())),
    }
}

/// The hash that a file beside it names, as `sha256sum` writes it: digits first.
fn published(path: &Path, ending: &str, digits: usize) -> Result<Option<String>, String> {
    let Some(bytes) = small(&beside(path, ending))? else { return Ok(None) };
    let text = String::from_utf8_lossy(&bytes);
    let hash = text.split_whitespace().next().unwrap_or_default().to_ascii_lowercase();
    if hash.len() == digits && hash.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(Some(hash));
    }
    Err(format!("the {ending} beside it holds no hash"))
}

fn hashed<D: sha2::Digest + io::Write>(path: &Path) -> Result<String, String> {
    let mut hash = D::new();
    let mut file = fs::File::open(path).map_err(|error| error.to_string())?;
    io::copy(&mut file, &mut hash).map_err(|error| error.to_string())?;
    Ok(hex::encode(hash.finalize()))
}

/// Compares a file with what is published beside it. With a keyring, a CSAF file must be signed by one of its keys.
///
/// # Errors
/// Where it contradicts, or a signature is wanted and missing, with the reason.
pub fn judge(path: &Path, kind: Kind, keyring: Option<&Keyring>, now: Timestamp) -> Result<(), String> {
    for (ending, digits) in [(".sha256", 64), (".sha512", 128)] {
        let Some(wanted) = published(path, ending, digits)? else { continue };
        let found = if digits == 64 { hashed::<Sha256>(path)? } else { hashed::<Sha512>(path)? };
        if found != wanted {
            return Err(format!("it is not what the {ending} beside it says: {wanted}, it has {found}: changed or half fetched"));
        }
    }
    let Some(keyring) = keyring.filter(|_| kind == Kind::Csaf) else { return Ok(()) };
    let Some(armor) = small(&beside(path, ".asc"))? else {
        return Err("no signature (.asc) stands beside it, and --keyring wants one".into());
    };
    let mut data = Vec::new();
    let file = fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(SIGNED_BYTES_MAX + 1).read_to_end(&mut data).map_err(|error| error.to_string())?;
    if data.len() as u64 > SIGNED_BYTES_MAX {
        return Err(format!("it is larger than {SIGNED_BYTES_MAX} bytes, of which no signature is checked"));
    }
    verify_detached(&data, &armor, keyring, now).map_err(|error| error.to_string())
}
