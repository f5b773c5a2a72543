//! Zip files, read through their central directory (APPNOTE 6.3.10, without encryption and without parts); reads one open file.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
};

/// Most members.
pub const MEMBERS_MAX: u64 = 2_000_000;
/// Largest central directory, in bytes.
const DIRECTORY_BYTES_MAX: u64 = 512 << 20;
/// How far from the end the end record is looked for: its size and the longest comment.
const TAIL_BYTES: u64 = 22 + 65_535;
const END: &[u8; 4] = b"PK\x05\x06";
const END_64: &[u8; 4] = b"PK\x06\x06";
const CENTRAL: &[u8; 4] = b"PK\x01\x02";
const LOCAL: &[u8; 4] = b"PK\x03\x04";

/// An open zip.
#[derive(Debug)]
pub struct Zip {
    file: File,
    size: u64,
    directory_at: u64,
    directory_bytes: u64,
    members: u64,
}

fn le(bytes: &[u8], at: usize, len: usize) -> Result<u64, String> {
    let bytes = bytes.get(at..at + len).ok_or("it is cut short")?;
    Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Bytes of a part of a file, read by position.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Part<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        let read = self.file.read_at(&mut out[..want], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

impl Zip {
    /// Finds the central directory.
    ///
    /// # Errors
    /// Where there is none, so also where the file is cut short.
    pub fn open(file: File) -> Result<Self, String> {
        let size = file.metadata().map_err(|error| error.to_string())?.len();
        let from = size.saturating_sub(TAIL_BYTES);
        let tail = read_at(&file, from, usize::try_from(size - from).map_err(|e| e.to_string())?)?;
        let end = tail.windows(4).rposition(|bytes| bytes == END).ok_or("it is cut short: it has no central directory")?;
        let record = &tail[end..];
        let (mut members, mut bytes, mut at) = (le(record, 10, 2)?, le(record, 12, 4)?, le(record, 16, 4)?);
        if members == 0xffff || bytes == 0xffff_ffff || at == 0xffff_ffff {
            let locator = end.checked_sub(20).and_then(|at| tail.get(at..end)).filter(|l| l.starts_with(b"PK\x06\x07"));
            let place = le(locator.ok_or("its zip64 locator is missing")?, 8, 8)?;
            let record = read_at(&file, place, 56)?;
            if !record.starts_with(END_64) {
                return Err("its zip64 end record is malformed".into());
            }
            (members, bytes, at) = (le(&record, 32, 8)?, le(&record, 40, 8)?, le(&record, 48, 8)?);
        }
        if members > MEMBERS_MAX || bytes > DIRECTORY_BYTES_MAX || at.checked_add(bytes).is_none_or(|end| end > size) {
            return Err("its central directory is malformed".into());
        }
        Ok(Self { file, size, directory_at: at, directory_bytes: bytes, members })
    }

    /// Calls `member` with the name and the unpacked bytes of each file; `false` ends it early.
    ///
    /// # Errors
    /// Where a member is damaged or larger than `bytes_max`, or `member` fails.
    pub fn each(&mut self, bytes_max: usize, mut member: impl FnMut(&str, &[u8]) -> Result<bool, String>) -> Result<(), String> {
        let mut directory = io::BufReader::new(Part { file: &self.file, at: self.directory_at, left: self.directory_bytes });
        let mut buffer = Vec::new();
        let mut name = Vec::new();
        for _ in 0..self.members {
            let mut entry = [0; 46];
            directory.read_exact(&mut entry).map_err(|_| "its central directory is cut short")?;
            if !entry.starts_with(CENTRAL) {
                return Err("its central directory is malformed".into());
            }
            let (flags, method) = (le(&entry, 8, 2)?, le(&entry, 10, 2)?);
            let (checksum, packed, unpacked) = (le(&entry, 16, 4)?, le(&entry, 20, 4)?, le(&entry, 24, 4)?);
            let lens = (le(&entry, 28, 2)?, le(&entry, 30, 2)? + le(&entry, 32, 2)?);
            name.resize(usize::try_from(lens.0).map_err(|e| e.to_string())?, 0);
            directory.read_exact(&mut name).map_err(|_| "its central directory is cut short")?;
            io::copy(&mut (&mut directory).take(lens.1), &mut io::sink()).map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&name);
            if text.ends_with('/') {
                continue;
            }
            if flags & 1 != 0 || packed == 0xffff_ffff || unpacked > bytes_max as u64 {
                return Err(format!("{} is encrypted or too large", fother_core::text::printable(&text, 80)));
            }
            let part = self.part(le(&entry, 42, 4)?, packed)?;
            unpack(part, method, unpacked, &mut buffer).map_err(|why| format!("{}: {why}", fother_core::text::printable(&text, 80)))?;
            if u64::from(crc32(&buffer)) != checksum {
                return Err(format!("{} is damaged: its checksum differs", fother_core::text::printable(&text, 80)));
            }
            if !member(&text, &buffer)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn part(&self, local_at: u64, packed: u64) -> Result<Part<'_>, String> {
        let local = read_at(&self.file, local_at, 30)?;
        if !local.starts_with(LOCAL) {
            return Err("a member's header is malformed".into());
        }
        let at = local_at + 30 + le(&local, 26, 2)? + le(&local, 28, 2)?;
        if at.checked_add(packed).is_none_or(|end| end > self.size) {
            return Err("a member is outside of the file".into());
        }
        Ok(Part { file: &self.file, at, left: packed })
    }
}

fn unpack(part: Part<'_>, method: u64, unpacked: u64, out: &mut Vec<u8>) -> Result<(), String> {
    out.clear();
    let limit = unpacked + 1;
    let read = match method {
        0 => part.take(limit).read_to_end(out),
        8 => flate2::read::DeflateDecoder::new(part).take(limit).read_to_end(out),
        _ => return Err(format!("it is packed by method {method}")),
    };
    read.map_err(|error| error.to_string())?;
    if out.len() as u64 == unpacked { Ok(()) } else { Err("it is not as long as the directory says".into()) }
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn read_at(file: &File, at: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, at).map_err(|_| "it is cut short")?;
    Ok(bytes)
}
