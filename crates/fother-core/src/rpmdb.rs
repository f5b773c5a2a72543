//! rpm's package databases, read without rpm: SQLite, NDB and Berkeley DB (rpm's `lib/backend`). Pure; the bytes are hostile.
//!
//! Each form gives the packages' header blobs, which are all alike.

mod bdb;
mod header;
mod ndb;
mod sqlite;

use crate::sbom::Component;

/// Largest database, in bytes.
pub const DATABASE_BYTES_MAX: usize = 1 << 30;
/// Largest header of one package, in bytes.
pub const HEADER_BYTES_MAX: usize = 64 << 20;
/// Most packages.
pub const PACKAGES_MAX: usize = 100_000;
/// Most bytes of all headers together.
const BYTES_IN_ALL_MAX: usize = 2 << 30;

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// Installed packages, sorted.
    pub packages: Vec<Component>,
    /// Entries that could not be read, with the reason.
    pub unknown: Vec<String>,
}

/// Big- or little-endian numbers at checked places.
fn number(bytes: &[u8], at: usize, len: usize, big: bool) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    Some(if big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
}

/// As [`number`], as a place.
fn place(bytes: &[u8], at: usize, len: usize, big: bool) -> Option<usize> {
    number(bytes, at, len, big).and_then(|number| usize::try_from(number).ok())
}

/// Headers as they come out of a database, with the bounds that hold for all forms.
#[derive(Debug, Default)]
struct Blobs {
    all: Vec<Vec<u8>>,
    bytes: usize,
}

impl Blobs {
    fn add(&mut self, blob: Vec<u8>) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(blob.len());
        if self.all.len() >= PACKAGES_MAX || self.bytes > BYTES_IN_ALL_MAX || blob.len() > HEADER_BYTES_MAX {
            return Err("it holds too many or too large packages".into());
        }
        self.all.push(blob);
        Ok(())
    }
}

/// Reads a database of any form, told by its first bytes.
///
/// # Errors
/// Where it is none, or so damaged that packages may be missing.
pub fn parse(bytes: &[u8]) -> Result<Content, String> {
    let blobs = blobs(bytes)?;
    let mut content = Content::default();
    for (at, blob) in blobs.all.iter().enumerate() {
        match header::component(blob) {
            // Public keys are kept as packages of their own.
            Ok(package) if package.name == "gpg-pubkey" => {}
            Ok(package) => content.packages.push(package),
            Err(why) => content.unknown.push(format!("rpm package number {at}: {why}")),
        }
    }
    content.packages.sort();
    Ok(content)
}

/// Calls `file` with the path of each file of each package.
///
/// # Errors
/// As for [`parse`], and where a package's list of files is malformed.
pub fn files(bytes: &[u8], mut file: impl FnMut(String)) -> Result<(), String> {
    blobs(bytes)?.all.iter().try_for_each(|blob| header::files(blob, &mut file))
}

fn blobs(bytes: &[u8]) -> Result<Blobs, String> {
    if bytes.len() > DATABASE_BYTES_MAX {
        return Err(format!("the rpm database is larger than {DATABASE_BYTES_MAX} bytes"));
    }
    let blobs = if bytes.starts_with(b"SQLite format 3\0") {
        sqlite::blobs(bytes)
    } else if bytes.starts_with(b"RpmP") {
        ndb::blobs(bytes)
    } else if bdb::is(bytes) {
        bdb::blobs(bytes)
    } else {
        Err("it is no SQLite, NDB or Berkeley database".into())
    };
    blobs.map_err(|why| format!("rpm database: {why}"))
}
