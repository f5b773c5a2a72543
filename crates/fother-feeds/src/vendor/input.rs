//! A feed's file opened by what its bytes say: packed or not, a zip, a tar, lines or one document; every size is bounded.

use super::zip::Zip;
use crate::compress::Compression;
use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek as _},
    path::Path,
};

/// Largest packed file, in bytes.
pub const PACKED_BYTES_MAX: u64 = 1 << 30;
/// Most bytes that come out of one file.
pub const UNPACKED_BYTES_MAX: u64 = 8 << 30;
/// Largest single document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;
/// Longest line, in bytes.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// Most documents in one file.
pub const DOCUMENTS_MAX: u32 = 2_000_000;

/// How a file is packed, as its first bytes say.
#[must_use]
pub fn packing(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Compression::Xz,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
        [0x04, 0x22, 0x4d, 0x18, ..] => Compression::Lz4,
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, 0x59, 0x26, ..] => Compression::Bzip2,
        _ => Compression::Plain,
    }
}

/// A reader that fails, rather than ends, at its limit.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other("it unpacks to too many bytes"))?;
        Ok(read)
    }
}

fn open_file(path: &Path) -> Result<File, String> {
    crate::reading::begin(&path.display().to_string())?;
    // No waiting for a writer of a named pipe.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file: File = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).map_err(|error| error.to_string())?.into();
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("it is no file".into());
    }
    if metadata.len() > PACKED_BYTES_MAX {
        return Err(format!("it is larger than {PACKED_BYTES_MAX} bytes"));
    }
    Ok(file)
}

/// The first bytes of a file.
fn head(file: &mut File) -> Result<[u8; 8], String> {
    let mut head = [0; 8];
    let mut at = 0;
    while at < head.len() {
        match file.read(&mut head[at..]).map_err(|error| error.to_string())? {
            0 => break,
            read => at += read,
        }
    }
    file.rewind().map_err(|error| error.to_string())?;
    Ok(head)
}

/// The unpacked bytes of a file.
///
/// # Errors
/// Where it cannot be read.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    let mut file = open_file(path)?;
    let packing = packing(&head(&mut file)?);
    let plain = packing.reader(BufReader::with_capacity(32 << 10, file)).map_err(|error| error.to_string())?;
    Ok(Box::new(BufReader::with_capacity(32 << 10, Bounded { inner: plain, left: UNPACKED_BYTES_MAX })))
}

/// Whether a file is a zip, by its first bytes.
///
/// # Errors
/// Where it cannot be read.
pub fn is_zip(path: &Path) -> Result<bool, String> {
    Ok(head(&mut open_file(path)?)?.starts_with(b"PK\x03\x04"))
}

/// Calls `line` for each line, without its end.
///
/// # Errors
/// Where the file is damaged, a line is too long, or `line` fails.
pub fn lines(path: &Path, mut line: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let mut reader = open(path)?;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut buffer).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(());
        }
        if buffer.len() > LINE_BYTES_MAX {
            return Err(format!("a line is longer than {LINE_BYTES_MAX} bytes"));
        }
        let text = buffer.strip_suffix(b"\n").unwrap_or(&buffer);
        line(text.strip_suffix(b"\r").unwrap_or(text))?;
    }
}

/// Calls `document` with the name and the bytes of each JSON document: of a zip, of a tar, of lines, or the file itself.
/// `false` from `document` ends it early.
///
/// # Errors
/// Where the file is damaged or cut short, a document is too large, or `document` fails.
pub fn documents(path: &Path, mut document: impl FnMut(&str, &[u8]) -> Result<bool, String>) -> Result<(), String> {
    if is_zip(path)? {
        let mut zip = Zip::open(open_file(path)?)?;
        return zip.each(DOCUMENT_BYTES_MAX, |name, bytes| if is_json(name) { document(name, bytes) } else { Ok(true) });
    }
    let mut reader = open(path)?;
    if is_tar(&mut reader)? { tar_members(reader, &[".json"], document) } else { text_documents(path, reader, document) }
}

/// Whether the unpacked bytes are a tar: its mark, or a block that is no JSON.
fn is_tar(reader: &mut impl BufRead) -> Result<bool, String> {
    let start = reader.fill_buf().map_err(|error| error.to_string())?;
    let json = start.trim_ascii_start().starts_with(b"{") || start.trim_ascii_start().starts_with(b"[");
    Ok(start.get(257..262) == Some(b"ustar") || start.len() >= 512 && !json)
}

/// Whether a file holds several documents as a zip or a tar does.
///
/// # Errors
/// Where it cannot be read.
pub fn is_archive(path: &Path) -> Result<bool, String> {
    Ok(is_zip(path)? || is_tar(&mut open(path)?)?)
}

fn is_json(name: &str) -> bool {
    name.ends_with(".json")
}

/// Calls `member` with the name and the bytes of each file of a tar or zip whose name has one of these ends; `false` ends it early.
///
/// # Errors
/// As for [`documents`].
pub fn members(path: &Path, ends: &[&str], mut member: impl FnMut(&str, &[u8]) -> Result<bool, String>) -> Result<(), String> {
    if is_zip(path)? {
        let wanted = |name: &str| ends.iter().any(|end| name.ends_with(end)).then_some(DOCUMENT_BYTES_MAX);
        return Zip::open(open_file(path)?)?.each_of(wanted, member);
    }
    tar_members(open(path)?, ends, &mut member)
}

fn tar_members(reader: impl Read, ends: &[&str], mut document: impl FnMut(&str, &[u8]) -> Result<bool, String>) -> Result<(), String> {
    let mut archive = tar::Archive::new(reader);
    let mut buffer = Vec::new();
    let mut count = 0;
    for entry in archive.entries().map_err(|error| error.to_string())? {
        let mut entry = entry.map_err(|error| error.to_string())?;
        count += 1;
        if count > DOCUMENTS_MAX {
            return Err(format!("it has more than {DOCUMENTS_MAX} members"));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        if !entry.header().entry_type().is_file() || !ends.iter().any(|end| name.ends_with(end)) {
            continue;
        }
        buffer.clear();
        (&mut entry).take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut buffer).map_err(|error| error.to_string())?;
        if buffer.len() > DOCUMENT_BYTES_MAX {
            return Err(format!("{name} is larger than {DOCUMENT_BYTES_MAX} bytes"));
        }
        if !document(&name, &buffer)? {
            return Ok(());
        }
    }
    Ok(())
}

fn text_documents(
    path: &Path,
    mut reader: impl BufRead,
    mut document: impl FnMut(&str, &[u8]) -> Result<bool, String>,
) -> Result<(), String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut buffer = Vec::new();
    let mut count = 0;
    loop {
        buffer.clear();
        let read = (&mut reader).take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut buffer).map_err(|error| error.to_string())?;
        if read == 0 {
            return Ok(());
        }
        count += 1;
        let line = buffer.trim_ascii();
        // Written over several lines: it is one document.
        if count == 1 && !(line.starts_with(b"{") && line.ends_with(b"}")) {
            let rest = DOCUMENT_BYTES_MAX.saturating_sub(buffer.len()) as u64;
            reader.take(rest + 1).read_to_end(&mut buffer).map_err(|error| error.to_string())?;
            if buffer.len() > DOCUMENT_BYTES_MAX {
                return Err(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"));
            }
            return document(name, &buffer).map(|_| ());
        }
        if count > DOCUMENTS_MAX || buffer.len() > LINE_BYTES_MAX {
            return Err("it has too many or too long lines".into());
        }
        if !line.is_empty() && !document(name, line)? {
            return Ok(());
        }
    }
}
