//! The advisory database's file, read by position as it is asked: only the blocks that answers lie in. Touches that file.
//!
//! A memory map would need `unsafe`, which the workspace forbids; blocks that were read stay in memory up to a bound.

use fother_core::advisory::{
    Bytes,
    reader::{Database, Error},
};
use std::{cell::RefCell, fs::File, os::unix::fs::FileExt as _, path::Path};

/// Bytes of one block: answers lie far apart, so small ones take least.
const BLOCK_BYTES: usize = 1 << 10;
/// Most blocks in memory.
const BLOCKS_MAX: usize = 2_048;
/// Largest database that is read by position, in bytes: each block has an entry in a table.
const READ_BYTES_MAX: u64 = 4 << 30;
/// Largest database that is held in memory as a whole, in bytes.
const HELD_BYTES_MAX: u64 = 512 << 20;

/// A file and the blocks that were read from it.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    size: u64,
    blocks: RefCell<Held>,
}

/// Blocks in memory.
#[derive(Debug)]
struct Held {
    /// For each block of the file its place in `blocks`, counted from 1; 0 where it was not read.
    places: Vec<u32>,
    blocks: Vec<Box<[u8]>>,
}

impl Held {
    /// The block's place, as it is or once it was read.
    fn place(&mut self, number: usize, read: impl FnOnce() -> Result<Box<[u8]>, String>) -> Result<usize, String> {
        let past_end = || "it ends too early".to_owned();
        let known = *self.places.get(number).ok_or_else(past_end)? as usize;
        if known > 0 {
            return Ok(known - 1);
        }
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.clear();
            self.places.fill(0);
        }
        self.blocks.push(read()?);
        *self.places.get_mut(number).ok_or_else(past_end)? = u32::try_from(self.blocks.len()).map_err(|error| error.to_string())?;
        Ok(self.blocks.len() - 1)
    }
}

/// Opens a database.
///
/// # Errors
/// Where there is none or it is not usable.
pub fn open(path: &Path) -> Result<Database<Blocks>, Error> {
    let (file, size) = open_file(path)?;
    if size > READ_BYTES_MAX {
        return Err(Error::Unusable(format!("{}: it has {size} bytes, more than {READ_BYTES_MAX}", path.display())));
    }
    let places = usize::try_from(size.div_ceil(BLOCK_BYTES as u64)).unwrap_or(usize::MAX);
    Database::open(Blocks { file, size, blocks: RefCell::new(Held { places: vec![0; places], blocks: Vec::new() }) })
}

/// Reads a database as a whole, for one that asks for much of it and for long: a server.
///
/// # Errors
/// Where there is none, it is not usable, or too large to be held.
pub fn load(path: &Path) -> Result<Database<Box<[u8]>>, Error> {
    let (file, size) = open_file(path)?;
    if size > HELD_BYTES_MAX {
        return Err(Error::Unusable(format!("{}: it has {size} bytes, more than the {HELD_BYTES_MAX} that are held", path.display())));
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(|error| unusable(path, &error))?;
    Database::open(bytes.into_boxed_slice())
}

fn unusable(path: &Path, error: &std::io::Error) -> Error {
    Error::Unusable(format!("{}: {error}", path.display()))
}

fn open_file(path: &Path) -> Result<(File, u64), Error> {
    crate::reading::begin(&path.display().to_string()).map_err(|why| Error::Unusable(format!("{} {why}", path.display())))?;
    let file = File::open(path).map_err(|error| unusable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unusable(path, &error))?;
    if !metadata.is_file() {
        return Err(Error::Unusable(format!("{}: it is no file", path.display())));
    }
    Ok((file, metadata.len()))
}

impl Blocks {
    fn block(&self, number: u64) -> Result<Box<[u8]>, String> {
        let from = number * BLOCK_BYTES as u64;
        let len = usize::try_from(self.size.saturating_sub(from)).unwrap_or(usize::MAX).min(BLOCK_BYTES);
        let mut block = vec![0; len];
        self.file.read_exact_at(&mut block, from).map_err(|error| error.to_string())?;
        Ok(block.into_boxed_slice())
    }
}

impl Bytes for Blocks {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, mut offset: u64, mut out: &mut [u8]) -> Result<(), String> {
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > self.size) {
            return Err("it ends too early".into());
        }
        let mut blocks = self.blocks.borrow_mut();
        while !out.is_empty() {
            let (number, within) = (offset / BLOCK_BYTES as u64, usize::try_from(offset % BLOCK_BYTES as u64).unwrap_or(0));
            let place = blocks.place(usize::try_from(number).unwrap_or(usize::MAX), || self.block(number))?;
            let block = blocks.blocks.get(place).and_then(|block| block.get(within..)).filter(|b| !b.is_empty());
            let block = block.ok_or("it ends too early")?;
            let len = block.len().min(out.len());
            out[..len].copy_from_slice(&block[..len]);
            out = &mut out[len..];
            offset += len as u64;
        }
        Ok(())
    }
}
