//! An image (what `docker save` writes, an OCI layout, a root as a tar, a raw disk) made into a root directory that holds only the files an
//! assessment reads. Touches the image and one empty directory of its own; the bytes are hostile.
//!
//! The names in an image are never paths of this machine: layers are put together in memory ([`tree`]), and only what is left in the end
//! is written, below the directory, into directories that were made for it.

mod archive;
mod disk;
mod layers;
mod packed;
pub mod select;
mod store;
mod tree;

use fother_core::{image::Image, text::printable};
use serde::Serialize;
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Largest image file, in bytes.
pub const IMAGE_BYTES_MAX: u64 = 256 << 30;
/// Most bytes that come out of all layers together.
pub const UNPACKED_BYTES_MAX: u64 = 128 << 30;
/// Most bytes of the files that are kept.
pub const KEPT_BYTES_MAX: u64 = 16 << 30;
/// Most files, directories and links in all layers together.
pub const ENTRIES_MAX: u64 = 10_000_000;
/// Most layers.
pub const LAYERS_MAX: usize = 512;
/// Most lines on what could not be read.
const UNKNOWN_MAX: usize = 100;
/// As much of a file as tells what it is.
const HEAD_BYTES: u64 = 72 << 10;

/// What an image is, for reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// What it is called.
    #[serde(flatten)]
    pub image: Image,
    /// Number of layers; 0 where there are none.
    pub layers: usize,
    /// What of it could not be read, by name with the reason.
    #[serde(skip)]
    pub unknown: Vec<String>,
}

/// An image cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be read as an image: {why}")]
pub struct Error {
    path: String,
    why: String,
}

/// Makes the image's root below `work`, which must be empty and stay untouched by others; the root is `work/root`.
/// `platform` (`linux/arm64`) chooses among several; without it, this machine's is taken.
///
/// # Errors
/// Where it is no image, damaged, not what its digests say, too large, or holds no root that is readable here.
pub fn unpack(path: &Path, platform: Option<&str>, work: &Path) -> Result<(About, PathBuf), Error> {
    let failed = |why: String| Error { path: path.display().to_string(), why: printable(&why, 500) };
    let root = work.join("root");
    let mut tree = tree::Tree::new(&work.join("kept")).map_err(failed)?;
    let mut about = read(path, platform, work, &mut tree).map_err(failed)?;
    about.unknown.extend(std::mem::take(&mut tree.unknown));
    about.unknown.truncate(UNKNOWN_MAX);
    tree.write(&root).map_err(failed)?;
    Ok((about, root))
}

fn read(path: &Path, platform: Option<&str>, work: &Path, tree: &mut tree::Tree) -> Result<About, String> {
    fother_feeds::reading::begin(&path.display().to_string())?;
    if path.is_dir() {
        let store = store::Store::directory(path)?;
        return archive::read(&store, platform, tree);
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.len() > IMAGE_BYTES_MAX {
        return Err(format!("it is no file of at most {IMAGE_BYTES_MAX} bytes"));
    }
    let mut head = Vec::new();
    (&file).take(HEAD_BYTES).read_to_end(&mut head).map_err(|error| error.to_string())?;
    if let Some(what) = foreign_disk(&head) {
        return Err(format!("it is {what}; convert it to a raw disk (`qemu-img convert -O raw`) or mount it and use --root"));
    }
    if disk::is(&head) {
        return disk::read(&file, tree);
    }
    packed::read(path, platform, work, tree)
}

/// Disk images that are not read here, by their first bytes.
fn foreign_disk(head: &[u8]) -> Option<&'static str> {
    [
        (b"QFI\xfb".as_slice(), "a qcow2 disk"),
        (b"KDMV", "a VMDK disk"),
        (b"conectix", "a VHD disk"),
        (b"vhdxfile", "a VHDX disk"),
        (b"hsqs", "a squashfs"),
    ]
    .into_iter()
    .find_map(|(magic, what)| head.starts_with(magic).then_some(what))
}
