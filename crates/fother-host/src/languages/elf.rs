//! The few parts of an ELF file that hold lists of packages (ELF-64 and ELF-32 object file format), read by position within fixed bounds.
//!
//! General readers load symbol tables and whole sections; here nothing is read that is not asked for, and nothing of a size that the file chooses.

use std::{fs::File, os::unix::fs::FileExt as _};

/// Largest table of sections or segments, and of their names, in bytes.
const TABLE_BYTES_MAX: u64 = 1 << 20;
const HEADER_BYTES: usize = 64;
const LOAD: u64 = 1;
const WRITABLE: u64 = 2;

/// An ELF file with its tables.
pub struct Elf<'a> {
    file: &'a File,
    wide: bool,
    big: bool,
    sections: Vec<Section>,
    segments: Vec<Segment>,
}

struct Section {
    name: Vec<u8>,
    offset: u64,
    size: u64,
}

/// A part of the file as it is loaded.
pub struct Segment {
    /// Address in memory.
    pub address: u64,
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub size: u64,
    /// Whether it is loaded writable.
    pub writable: bool,
}

impl<'a> Elf<'a> {
    /// Reads the tables; `None` where it is no ELF file.
    ///
    /// # Errors
    /// Where it is one, but its tables are malformed.
    pub fn read(file: &'a File) -> Result<Option<Self>, String> {
        let mut header = [0; HEADER_BYTES];
        // Shorter ones are no program.
        if file.read_exact_at(&mut header, 0).is_err() || !header.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        let mut elf = Self { file, wide: header[4] == 2, big: header[5] == 2, sections: Vec::new(), segments: Vec::new() };
        let (wide, number) = (elf.wide, |at: usize, len: usize| number(&header, at, len, header[5] == 2));
        let word = |narrow: usize, wide_at: usize| if wide { number(wide_at, 8) } else { number(narrow, 4) };
        let half = |narrow: usize, wide_at: usize| number(if wide { wide_at } else { narrow }, 2);
        let (segments_at, sections_at) = (word(28, 32), word(32, 40));
        let (segment_bytes, segments) = (half(42, 54), half(44, 56));
        let (section_bytes, sections, names) = (half(46, 58), half(48, 60), half(50, 62));
        elf.segments =
            elf.table(segments_at, segment_bytes, segments, if wide { 56 } else { 32 })?.iter().filter_map(|e| elf.segment(e)).collect();
        let table = elf.table(sections_at, section_bytes, sections, if wide { 64 } else { 40 })?;
        elf.sections = elf.named(&table, names)?;
        Ok(Some(elf))
    }

    fn table(&self, at: u64, entry_bytes: u64, count: u64, least: u64) -> Result<Vec<Vec<u8>>, String> {
        if at == 0 || count == 0 {
            return Ok(Vec::new());
        }
        let size = entry_bytes * count;
        if entry_bytes < least || size > TABLE_BYTES_MAX {
            return Err("its tables are malformed".into());
        }
        let bytes = self.bytes(at, size)?;
        Ok(bytes.chunks_exact(usize::try_from(entry_bytes).map_err(|e| e.to_string())?).map(<[u8]>::to_vec).collect())
    }

    fn named(&self, table: &[Vec<u8>], names: u64) -> Result<Vec<Section>, String> {
        let place = |entry: &[u8]| {
            if self.wide {
                (self.number(entry, 24, 8), self.number(entry, 32, 8))
            } else {
                (self.number(entry, 16, 4), self.number(entry, 20, 4))
            }
        };
        let Some(of_names) = usize::try_from(names).ok().and_then(|at| table.get(at)) else { return Ok(Vec::new()) };
        let (offset, size) = place(of_names);
        if size > TABLE_BYTES_MAX {
            return Err("its table of names is malformed".into());
        }
        let texts = self.bytes(offset, size)?;
        let named = table.iter().map(|entry| {
            let text = usize::try_from(self.number(entry, 0, 4)).ok().and_then(|at| texts.get(at..)).unwrap_or_default();
            let name = text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
            let (offset, size) = place(entry);
            Section { name, offset, size }
        });
        Ok(named.collect())
    }

    fn segment(&self, entry: &[u8]) -> Option<Segment> {
        let number = |wide_at, narrow| if self.wide { self.number(entry, wide_at, 8) } else { self.number(entry, narrow, 4) };
        let flags = if self.wide { self.number(entry, 4, 4) } else { self.number(entry, 24, 4) };
        (self.number(entry, 0, 4) == LOAD).then(|| Segment {
            offset: number(8, 4),
            address: number(16, 8),
            size: number(32, 16),
            writable: flags & WRITABLE != 0,
        })
    }

    /// A number of this file's byte order; 0 where the bytes end before it.
    pub fn number(&self, bytes: &[u8], at: usize, len: usize) -> u64 {
        number(bytes, at, len, self.big)
    }

    /// Whether it has a table of sections.
    pub fn has_sections(&self) -> bool {
        !self.sections.is_empty()
    }

    /// The loaded segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// A section's bytes; `None` where there is none of that name.
    ///
    /// # Errors
    /// Where it is larger than `bytes_max` or outside of the file.
    pub fn section(&self, name: &[u8], bytes_max: u64) -> Result<Option<Vec<u8>>, String> {
        let Some(section) = self.sections.iter().find(|section| section.name == name) else { return Ok(None) };
        if section.size > bytes_max {
            return Err(format!("its section {} is larger than {bytes_max} bytes", String::from_utf8_lossy(name)));
        }
        self.bytes(section.offset, section.size).map(Some)
    }

    /// What stands at an address of the loaded program.
    ///
    /// # Errors
    /// Where nothing of the file is loaded there, or it is larger than `bytes_max`.
    pub fn loaded(&self, address: u64, size: u64, bytes_max: u64) -> Result<Vec<u8>, String> {
        let inside = |s: &&Segment| address >= s.address && address.saturating_add(size) <= s.address.saturating_add(s.size);
        let segment = self.segments.iter().find(inside).filter(|_| size <= bytes_max).ok_or("a text lies outside of the program")?;
        self.bytes(segment.offset.saturating_add(address - segment.address), size)
    }

    /// Bytes at an offset; the caller has bounded their number.
    pub fn bytes(&self, offset: u64, size: u64) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0; usize::try_from(size).map_err(|error| error.to_string())?];
        self.file.read_exact_at(&mut bytes, offset).map_err(|_| "it is cut short")?;
        Ok(bytes)
    }
}

fn number(bytes: &[u8], at: usize, len: usize, big: bool) -> u64 {
    let bytes = bytes.get(at..at + len).unwrap_or_default();
    let fold = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) }
}
