//! Running other programs with a clean environment, no input, and bounded time and output; starts processes.

use super::{ApplyError, io_at};
use fother_core::text::{printable, quoted};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// Directories that programs are taken from.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Bytes of a program's output that an error carries.
const TAIL_BYTES: u64 = 4_096;
/// Largest output that is read back, in bytes.
const OUTPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Pause between two looks at a running program.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// A command with a clean environment and nothing to read.
pub(crate) fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/root").stdin(Stdio::null());
    command
}

/// Waits for `child`, calling `each` now and then; at the deadline its whole process group is killed and `None` returned.
pub(crate) fn wait(child: &mut Child, limit: Duration, mut each: impl FnMut()) -> Result<Option<ExitStatus>, ApplyError> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(io_at("waiting for a program"))? {
            each();
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            if let Some(group) = rustix::process::Pid::from_raw(child.id().cast_signed()) {
                let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
            }
            let _ = child.wait();
            return Ok(None);
        }
        each();
        std::thread::sleep(POLL);
    }
}

/// Runs a program to its end and returns its output; any failure carries the last lines, marked as the host's own.
pub(crate) fn output(command: &mut Command, limit_s: u64) -> Result<String, ApplyError> {
    let (ok, text, tail) = lenient(command, limit_s)?;
    if ok {
        return Ok(text);
    }
    let said = quoted(&tail, |_| false);
    let output = if said.is_empty() { "it said nothing; it may have been killed".to_owned() } else { said };
    Err(ApplyError::Tool { program: command.get_program().to_string_lossy().into_owned(), output })
}

/// Runs a program to its end: whether it succeeded, what it printed, and the last lines of its errors.
pub(crate) fn lenient(command: &mut Command, limit_s: u64) -> Result<(bool, String, String), ApplyError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let (mut out, err) =
        (tempfile::tempfile().map_err(io_at("a temporary file"))?, tempfile::tempfile().map_err(io_at("a temporary file"))?);
    let clone = |file: &File| file.try_clone().map_err(io_at("a temporary file"));
    command.stdout(clone(&out)?).stderr(clone(&err)?).process_group(0);
    let mut child = command.spawn().map_err(io_at(format!("starting {program}")))?;
    let status = wait(&mut child, Duration::from_secs(limit_s), || {})?;
    let mut text = Vec::new();
    out.seek(SeekFrom::Start(0)).map_err(io_at("a temporary file"))?;
    out.take(OUTPUT_BYTES_MAX).read_to_end(&mut text).map_err(io_at("a temporary file"))?;
    let mut tail = tail_of(err);
    if status.is_none() {
        tail.push_str(&format!(" (stopped after {limit_s} s)"));
    }
    Ok((status.is_some_and(|status| status.success()), String::from_utf8_lossy(&text).into_owned(), tail))
}

/// The last lines of a file, safe to show.
pub(crate) fn tail(path: &Path) -> String {
    File::open(path).map_or_else(|_| String::new(), tail_of)
}

fn tail_of(mut file: File) -> String {
    let length = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = Vec::new();
    let _ = file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)));
    let _ = file.take(TAIL_BYTES).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(|line| printable(line, 500)).filter(|line| !line.trim().is_empty()).collect::<Vec<_>>().join("\n")
}
