//! Programs that carry a list of what they were built from: Go's build information, Rust's cargo-auditable section.

use super::{
    elf::{Elf, Segment},
    many,
    walk::{Harvest, Place},
};
use fother_core::languages::{golang, rust};
use std::io::Read as _;

const EXECUTABLE: u32 = 0o111;
/// Largest section or text with modules, in bytes.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// Largest packed list of crates, in bytes.
const PACKED_BYTES_MAX: u64 = 8 << 20;
const UNPACKED_BYTES_MAX: u64 = 64 << 20;
/// How much of a program without a table of sections is looked through for Go's mark, in bytes, as Go itself does.
const SEARCH_BYTES_MAX: u64 = 64 << 10;
const MARK_ALIGNMENT: usize = 16;

/// Reads an executable file; any other is passed over.
///
/// # Errors
/// Where it is a program whose list is damaged.
pub fn read(place: &Place<'_>, out: &mut Harvest) -> Result<(), String> {
    if place.mode().is_none_or(|mode| mode & EXECUTABLE == 0) {
        return Ok(());
    }
    let file = place.open()?;
    let Some(elf) = Elf::read(&file).map_err(|why| format!("program: {why}"))? else { return Ok(()) };
    if let Some(packed) = elf.section(b".dep-v0", PACKED_BYTES_MAX)? {
        let mut list = Vec::new();
        let unpacked = flate2::read::ZlibDecoder::new(packed.as_slice()).take(UNPACKED_BYTES_MAX + 1).read_to_end(&mut list);
        unpacked.map_err(|error| format!("its list of crates is damaged: {error}"))?;
        if list.len() as u64 > UNPACKED_BYTES_MAX {
            return Err(format!("its list of crates unpacks to more than {UNPACKED_BYTES_MAX} bytes"));
        }
        many(place, out, rust::crates(&list).map_err(|why| format!("its list of crates: {why}"))?);
    }
    if let Some(section) = go_section(&elf)? {
        let (version, list) = go_texts(&elf, &section).map_err(|why| format!("Go's build information: {why}"))?;
        many(place, out, golang::modules(&version, &list)?);
    }
    Ok(())
}

fn go_section(elf: &Elf<'_>) -> Result<Option<Vec<u8>>, String> {
    if elf.has_sections() {
        return elf.section(b".go.buildinfo", LIST_BYTES_MAX);
    }
    let Some(data) = elf.segments().iter().find(|segment| segment.writable) else { return Ok(None) };
    let Segment { offset, size, .. } = *data;
    let start = elf.bytes(offset, size.min(SEARCH_BYTES_MAX))?;
    let at = start.chunks(MARK_ALIGNMENT).position(|chunk| chunk.starts_with(golang::MAGIC)).map(|at| (at * MARK_ALIGNMENT) as u64);
    at.map(|at| elf.bytes(offset + at, (size - at).min(LIST_BYTES_MAX))).transpose()
}

/// The version of Go and the list of modules.
fn go_texts(elf: &Elf<'_>, section: &[u8]) -> Result<(Vec<u8>, Vec<u8>), String> {
    match golang::form(section)? {
        golang::Form::Inline => {
            let (version, list) = golang::inline(section).ok_or("it is cut short")?;
            Ok((version.to_vec(), list.to_vec()))
        }
        golang::Form::Pointers { size, .. } => {
            let text = |at: usize| -> Result<Vec<u8>, String> {
                let header = elf.loaded(elf.number(section, at, size), 2 * size as u64, LIST_BYTES_MAX)?;
                let (address, len) = (elf.number(&header, 0, size), elf.number(&header, size, size));
                if len == 0 { Ok(Vec::new()) } else { elf.loaded(address, len, LIST_BYTES_MAX) }
            };
            Ok((text(16)?, text(16 + size)?))
        }
    }
}
