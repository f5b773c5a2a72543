//! The advisory database's file, read by position as it is asked: only the blocks that answers lie in. Touches that file.
//!
//! A memory map would need `unsafe`, which the workspace forbids; blocks that were read stay in memory up to a bound.

use fother_core::advisory::{
    Bytes,
    reader::{Database, Error},
};
use std::{cell::RefCell, collections::HashMap, fs::File, os::unix::fs::FileExt as _, path::Path};

/// Bytes of one block.
const BLOCK_BYTES: usize = 4 << 10;
/// Most blocks in memory.
const BLOCKS_MAX: usize = 512;

/// A file and the blocks that were read from it.
#[derive(Debug)]
pub struct Blocks {
    file: File,
    size: u64,
    blocks: RefCell<HashMap<u64, Box<[u8]>>>,
}

/// Opens a database.
///
/// # Errors
/// Where there is none or it is not usable.
pub fn open(path: &Path) -> Result<Database<Blocks>, Error> {
    let unusable = |error: std::io::Error| Error::Unusable(format!("{}: {error}", path.display()));
    crate::reading::begin(&path.display().to_string()).map_err(|why| Error::Unusable(format!("{} {why}", path.display())))?;
    let file = File::open(path).map_err(unusable)?;
    let metadata = file.metadata().map_err(unusable)?;
    if !metadata.is_file() {
        return Err(Error::Unusable(format!("{}: it is no file", path.display())));
    }
    Database::open(Blocks { file, size: metadata.len(), blocks: RefCell::default() })
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
            if !blocks.contains_key(&number) {
                if blocks.len() >= BLOCKS_MAX {
                    blocks.clear();
                }
                blocks.insert(number, self.block(number)?);
            }
            let block = blocks.get(&number).and_then(|block| block.get(within..)).filter(|b| !b.is_empty()).ok_or("it ends too early")?;
            let len = block.len().min(out.len());
            out[..len].copy_from_slice(&block[..len]);
            out = &mut out[len..];
            offset += len as u64;
        }
        Ok(())
    }
}
