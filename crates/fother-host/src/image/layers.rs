//! One layer, a tar, applied to the files so far, its digests checked on the way. Memory does not depend on its size.

use super::{
    UNPACKED_BYTES_MAX,
    tree::{Thing, Tree},
};
use fother_core::Digest;
use fother_feeds::{compress::Compression, vendor::input::packing};
use sha2::{Digest as _, Sha256};
use std::{
    cell::RefCell,
    io::{self, BufRead as _, BufReader, Read},
    rc::Rc,
};

/// What a layer's digests must be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    /// SHA-256 of the bytes as they lie there.
    pub packed: Option<Digest>,
    /// SHA-256 of the unpacked tar.
    pub plain: Option<Digest>,
    /// Whether the tar's end mark must be there: where no digest tells, a cut between two members shows in nothing else.
    pub end: bool,
}

impl Expected {
    /// Nothing is known but that it must be whole.
    pub const WHOLE: Self = Self { packed: None, plain: None, end: true };
}

/// A tar ends in two empty blocks.
const END_BYTES: u64 = 1024;

/// What has passed.
#[derive(Default)]
struct Passed {
    hash: Sha256,
    bytes: u64,
    /// Bytes of zero at the end.
    zeros: u64,
}

/// A reader that hashes and counts what passes, and fails at a bound.
struct Hashed<R> {
    inner: R,
    state: Rc<RefCell<Passed>>,
    bytes_max: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        let mut state = self.state.borrow_mut();
        state.hash.update(&out[..read]);
        state.bytes += read as u64;
        let zeros = out[..read].iter().rev().take_while(|byte| **byte == 0).count();
        state.zeros = if zeros == read { state.zeros + zeros as u64 } else { zeros as u64 };
        if state.bytes > self.bytes_max {
            return Err(io::Error::other(format!("more than {} bytes come out of it", self.bytes_max)));
        }
        Ok(read)
    }
}

fn hashed<R: Read>(inner: R, bytes_max: u64) -> (Hashed<R>, Rc<RefCell<Passed>>) {
    let state = Rc::new(RefCell::new(Passed::default()));
    (Hashed { inner, state: Rc::clone(&state), bytes_max }, state)
}

fn digest(state: &RefCell<Passed>) -> Digest {
    Digest(state.borrow().hash.clone().finalize().into())
}

fn check(what: &str, expected: Option<Digest>, found: Digest) -> Result<(), String> {
    match expected {
        Some(expected) if expected != found => Err(format!("{what} is {found}, not {expected} as it says: it is damaged or was changed")),
        Some(_) | None => Ok(()),
    }
}

/// Applies a layer, however it is packed; the digest of its bytes as they lay there. `left` are the bytes that may still come out.
///
/// # Errors
/// Where it is damaged, no tar, or not what its digests say.
pub fn apply(tree: &mut Tree, layer: impl Read, expected: Expected, left: &mut u64) -> Result<Digest, String> {
    let failed = |error: io::Error| format!("layer {}: {error}", tree.layer + 1);
    let (packed, packed_state) = hashed(layer, u64::MAX);
    let mut packed = BufReader::with_capacity(64 << 10, packed);
    let kind = packing(packed.fill_buf().map_err(failed)?);
    let number = tree.layer + 1;
    {
        let plain = kind.reader(&mut packed).map_err(failed)?;
        let (mut plain, plain_state) = hashed(plain, *left);
        entries(tree, &mut plain)?;
        // Behind the end mark there may be more, which the digest counts.
        io::copy(&mut plain, &mut io::sink()).map_err(|error| format!("layer {number}: {error}"))?;
        *left = left.saturating_sub(plain_state.borrow().bytes);
        if expected.end && plain_state.borrow().zeros < END_BYTES {
            return Err("it has no end mark: it is cut short".into());
        }
        check(&format!("the content of layer {number}"), expected.plain, digest(&plain_state))?;
    }
    io::copy(&mut packed, &mut io::sink()).map_err(|error| format!("layer {number}: {error}"))?;
    let found = digest(&packed_state);
    check(&format!("layer {number}"), expected.packed, found)?;
    Ok(found)
}

fn entries(tree: &mut Tree, tar: impl Read) -> Result<(), String> {
    let number = tree.layer + 1;
    let failed = |error: io::Error| format!("layer {number}: {error}");
    for entry in tar::Archive::new(tar).entries().map_err(failed)? {
        let mut entry = entry.map_err(failed)?;
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned()).unwrap_or_default();
        let kind = entry.header().entry_type();
        let thing = if kind.is_dir() {
            Thing::Directory
        } else if kind.is_symlink() {
            Thing::Symlink(target)
        } else if kind.is_hard_link() {
            Thing::Hardlink(target)
        } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            Thing::File(&mut entry)
        } else {
            Thing::Other
        };
        tree.apply(&path, thing)?;
    }
    Ok(())
}

/// The bytes that may come out of all layers of one image.
pub fn budget() -> u64 {
    UNPACKED_BYTES_MAX
}

/// Unpacks a file that is packed as a whole into another, bounded; `None` where it is not packed.
///
/// # Errors
/// Where it is damaged or too large.
pub fn unpacked(from: impl Read, out: &mut impl io::Write) -> Result<Option<u64>, String> {
    let mut from = BufReader::with_capacity(64 << 10, from);
    let kind = packing(from.fill_buf().map_err(|error| error.to_string())?);
    if kind == Compression::Plain {
        return Ok(None);
    }
    let mut plain = kind.reader(from).map_err(|error| error.to_string())?.take(UNPACKED_BYTES_MAX + 1);
    let bytes = io::copy(&mut plain, out).map_err(|error| error.to_string())?;
    if bytes > UNPACKED_BYTES_MAX { Err(format!("it unpacks to more than {UNPACKED_BYTES_MAX} bytes")) } else { Ok(Some(bytes)) }
}
