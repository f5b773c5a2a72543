//! Zip files, read through their central directory (APPNOTE 6.3.10, without encryption and without parts); reads one open file, or bytes.

use fother_core::advisory::Bytes;
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

/// A file that is read by position.
#[derive(Debug)]
pub struct Positioned {
    file: File,
    size: u64,
}

impl Bytes for Positioned {
    fn size(&self) -> u64 {
        self.size
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), String> {
        self.file.read_exact_at(out, offset).map_err(|_| "it is cut short".into())
    }
}

/// An open zip.
#[derive(Debug)]
pub struct Zip<B = Positioned> {
    bytes: B,
    /// Bytes in front of the zip, which its own offsets do not count: the starter of an executable archive.
    before: u64,
    directory_at: u64,
    directory_bytes: u64,
    members: u64,
}

fn le(bytes: &[u8], at: usize, len: usize) -> Result<u64, String> {
    let bytes = bytes.get(at..at + len).ok_or("it is cut short")?;
    Ok(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

/// Bytes of a part of a zip, read by position.
struct Part<'a, B> {
    bytes: &'a B,
    at: u64,
    left: u64,
}

impl<B: Bytes> Read for Part<'_, B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        self.bytes.read(self.at, &mut out[..want]).map_err(io::Error::other)?;
        self.at += want as u64;
        self.left -= want as u64;
        Ok(want)
    }
}

impl Zip {
    /// Finds the central directory of a file.
    ///
    /// # Errors
    /// Where there is none, so also where the file is cut short.
    pub fn open(file: File) -> Result<Self, String> {
        let size = file.metadata().map_err(|error| error.to_string())?.len();
        Self::over(Positioned { file, size })
    }
}

impl<B: Bytes> Zip<B> {
    /// Finds the central directory.
    ///
    /// # Errors
    /// Where there is none, so also where the bytes are cut short.
    pub fn over(bytes: B) -> Result<Self, String> {
        let size = bytes.size();
        let from = size.saturating_sub(TAIL_BYTES);
        let tail = read_at(&bytes, from, usize::try_from(size - from).map_err(|e| e.to_string())?)?;
        let end = tail.windows(4).rposition(|bytes| bytes == END).ok_or("it is cut short: it has no central directory")?;
        let record = &tail[end..];
        let (mut members, mut len, mut at) = (le(record, 10, 2)?, le(record, 12, 4)?, le(record, 16, 4)?);
        let mut before = (from + end as u64).saturating_sub(at.saturating_add(len));
        if members == 0xffff || len == 0xffff_ffff || at == 0xffff_ffff {
            let locator = end.checked_sub(20).and_then(|at| tail.get(at..end)).filter(|l| l.starts_with(b"PK\x06\x07"));
            // Fewer than 65,535 members may stand there plainly.
            if let Some(locator) = locator {
                let record = read_at(&bytes, le(locator, 8, 8)?, 56)?;
                if !record.starts_with(END_64) {
                    return Err("its zip64 end record is malformed".into());
                }
                (members, len, at, before) = (le(&record, 32, 8)?, le(&record, 40, 8)?, le(&record, 48, 8)?, 0);
            } else if len == 0xffff_ffff || at == 0xffff_ffff {
                return Err("its zip64 locator is missing".into());
            }
        }
        let at = at.saturating_add(before);
        if members > MEMBERS_MAX || len > DIRECTORY_BYTES_MAX || at.checked_add(len).is_none_or(|end| end > size) {
            return Err("its central directory is malformed".into());
        }
        Ok(Self { bytes, before, directory_at: at, directory_bytes: len, members })
    }

    /// Calls `member` with the name and the unpacked bytes of each file; `false` ends it early.
    ///
    /// # Errors
    /// Where a member is damaged or larger than `bytes_max`, or `member` fails.
    pub fn each(&mut self, bytes_max: usize, member: impl FnMut(&str, &[u8]) -> Result<bool, String>) -> Result<(), String> {
        self.each_of(|_| Some(bytes_max), member)
    }

    /// As [`Zip::each`], for the files whose names are `wanted`, with the most bytes that each may have; the others are not unpacked.
    ///
    /// # Errors
    /// As for [`Zip::each`].
    pub fn each_of(
        &self,
        wanted: impl Fn(&str) -> Option<usize>,
        mut member: impl FnMut(&str, &[u8]) -> Result<bool, String>,
    ) -> Result<(), String> {
        let mut directory = io::BufReader::new(Part { bytes: &self.bytes, at: self.directory_at, left: self.directory_bytes });
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
            let Some(bytes_max) = wanted(&text).filter(|_| !text.ends_with('/')) else { continue };
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

    fn part(&self, local_at: u64, packed: u64) -> Result<Part<'_, B>, String> {
        let local_at = local_at.saturating_add(self.before);
        let local = read_at(&self.bytes, local_at, 30)?;
        if !local.starts_with(LOCAL) {
            return Err("a member's header is malformed".into());
        }
        let at = local_at + 30 + le(&local, 26, 2)? + le(&local, 28, 2)?;
        if at.checked_add(packed).is_none_or(|end| end > self.bytes.size()) {
            return Err("a member is outside of the file".into());
        }
        Ok(Part { bytes: &self.bytes, at, left: packed })
    }
}

fn unpack(part: Part<'_, impl Bytes>, method: u64, unpacked: u64, out: &mut Vec<u8>) -> Result<(), String> {
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

fn read_at(bytes: &impl Bytes, at: u64, len: usize) -> Result<Vec<u8>, String> {
    let mut out = vec![0; len];
    bytes.read(at, &mut out)?;
    Ok(out)
}
