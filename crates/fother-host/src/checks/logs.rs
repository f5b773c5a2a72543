//! Lines that were written since a change began: to the journal of a unit, or to a file. Reads them; runs journalctl.

use super::{Earlier, failed, no_data};
use crate::command::Program;
use fother_core::{
    pattern::Pattern,
    policy::{CheckAnswer, Mark},
    text::quoted,
};
use rustix::fs::OFlags;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    time::Duration,
};

/// Most bytes that may be written since the change began; more cannot be looked through.
pub(super) const LOG_BYTES_MAX: usize = 1 << 20;
const JOURNAL_LIMIT: Duration = Duration::from_secs(10);
const CURSOR: &str = "-- cursor: ";
/// Longest cursor of systemd, in bytes.
const CURSOR_BYTES_MAX: usize = 512;

pub(super) fn journal(unit: &str, pattern: &str, max: u32, earlier: Earlier<'_>) -> CheckAnswer {
    match earlier {
        Earlier::First => match cursor() {
            Ok(cursor) => CheckAnswer::Noted { mark: Mark::Journal { cursor } },
            Err(why) => no_data(why),
        },
        Earlier::Said(Some(CheckAnswer::Noted { mark: Mark::Journal { cursor } })) => {
            let after = format!("--after-cursor={cursor}");
            match journalctl(&["--unit", unit, &after, "--output=cat", "--all"]) {
                Ok(text) => judge(&format!("the journal of {unit}"), text.as_bytes(), pattern, max),
                Err(why) => no_data(why),
            }
        }
        Earlier::Said(_) => no_data("where the journal ended before is not known"),
    }
}

fn journalctl(args: &[&str]) -> Result<String, String> {
    let run = Program::new("journalctl", JOURNAL_LIMIT).args(["--quiet", "--no-pager"]).args(args).output_max(LOG_BYTES_MAX).run();
    let output = run.map_err(|error| error.to_string())?;
    if output.code == Some(0) { Ok(output.stdout) } else { Err(format!("journalctl:\n{}", super::last_line(&output))) }
}

/// Where the journal ends now.
fn cursor() -> Result<String, String> {
    let text = journalctl(&["--lines=1", "--output=cat", "--show-cursor"])?;
    let cursor = text.lines().filter_map(|line| line.strip_prefix(CURSOR)).next_back();
    let plain = |cursor: &&str| cursor.len() <= CURSOR_BYTES_MAX && cursor.bytes().all(|b| b.is_ascii_alphanumeric() || b"=;".contains(&b));
    cursor.filter(plain).map(str::to_owned).ok_or_else(|| "the journal is empty or not readable".to_owned())
}

pub(super) fn file(path: &str, pattern: &str, max: u32, earlier: Earlier<'_>) -> CheckAnswer {
    let result = match earlier {
        Earlier::First => match open(path) {
            Ok((_, inode, bytes)) => return CheckAnswer::Noted { mark: Mark::File { inode, bytes } },
            Err(why) => Err(why),
        },
        Earlier::Said(Some(CheckAnswer::Noted { mark: Mark::File { inode, bytes } })) => since(path, *inode, *bytes),
        Earlier::Said(_) => Err(format!("where {path} ended before is not known")),
    };
    match result {
        Ok(text) => judge(path, &text, pattern, max),
        Err(why) => no_data(why),
    }
}

/// A regular file with its inode and length; never waits for a writer, as a pipe would.
fn open(path: &str) -> Result<(File, u64, u64), String> {
    let told = |error: std::io::Error| format!("{path} cannot be read: {error}");
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(told)?;
    let meta = file.metadata().map_err(told)?;
    if meta.is_file() { Ok((file, meta.ino(), meta.len())) } else { Err(format!("{path} is no file")) }
}

/// What was written to `path` since it was `bytes` long; where it was rotated to `path.1`, the rest of that one first.
fn since(path: &str, inode: u64, bytes: u64) -> Result<Vec<u8>, String> {
    let (now, its_inode, length) = open(path)?;
    if its_inode == inode {
        return if length < bytes {
            Err(format!("{path} became shorter: what stood there is gone"))
        } else {
            rest(path, now, bytes, Vec::new())
        };
    }
    let rotated = format!("{path}.1");
    match open(&rotated) {
        Ok((old, its_inode, length)) if its_inode == inode && length >= bytes => {
            rest(path, now, 0, rest(&rotated, old, bytes, Vec::new())?)
        }
        _ => Err(format!("{path} was rotated, and its old file is not {rotated}")),
    }
}

fn rest(path: &str, mut file: File, from: u64, mut text: Vec<u8>) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("{path} cannot be read: {error}");
    file.seek(SeekFrom::Start(from)).map_err(told)?;
    let room = (LOG_BYTES_MAX + 1).saturating_sub(text.len());
    file.take(room as u64).read_to_end(&mut text).map_err(told)?;
    if text.len() > LOG_BYTES_MAX { Err(format!("more than {} KiB were written to {path} since", LOG_BYTES_MAX >> 10)) } else { Ok(text) }
}

fn judge(what: &str, text: &[u8], pattern: &str, max: u32) -> CheckAnswer {
    let found = match Pattern::parse(pattern) {
        Ok(found) => found,
        Err(why) => return no_data(why),
    };
    let (mut count, mut last) = (0_u64, &b""[..]);
    for line in found.lines(text) {
        (count, last) = (count + 1, line);
    }
    if count <= u64::from(max) {
        return CheckAnswer::Fine;
    }
    let line = quoted(&String::from_utf8_lossy(last), |_| false);
    failed(format!("{count} new lines in {what} match `{pattern}`, at most {max} may:\n{line}"))
}
