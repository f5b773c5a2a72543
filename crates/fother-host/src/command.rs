//! Runs one external program with a clean environment, a time limit and bounded output. Starts processes; ends only its own.

use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    ffi::OsStr,
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Most bytes that are kept of each output stream; more makes the run fail.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;
const POLL: Duration = Duration::from_millis(5);
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// What a program said before it ended.
#[derive(Clone, Debug)]
pub struct Output {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, not UTF-8 replaced.
    pub stdout: String,
    /// Standard error, not UTF-8 replaced.
    pub stderr: String,
}

/// A program could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It could not be started.
    #[error("cannot run {program}: {error}; check that it is installed")]
    Start {
        /// Program name.
        program: String,
        /// The system's answer.
        error: std::io::Error,
    },
    /// It took too long and was ended.
    #[error("{program} had not ended after {limit_s} s and was killed")]
    Timeout {
        /// Program name.
        program: String,
        /// The limit in seconds.
        limit_s: u64,
    },
    /// It wrote more than the bound.
    #[error("{program} wrote more than {bytes_max} bytes and its output was refused")]
    Output {
        /// Program name.
        program: String,
        /// The bound.
        bytes_max: usize,
    },
}

/// A program to run: environment cleared but for `PATH`, `LC_ALL=C.UTF-8`, `HOME=/`.
#[derive(Debug)]
pub struct Program {
    name: String,
    command: Command,
    limit: Duration,
    bytes_max: usize,
}

impl Program {
    /// A program looked up in the system's directories, with its time limit.
    #[must_use]
    pub fn new(program: impl AsRef<OsStr>, limit: Duration) -> Self {
        let name = program.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").env("HOME", "/").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        Self { name, command, limit, bytes_max: OUTPUT_BYTES_MAX }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.command.args(args);
        self
    }

    /// Adds one environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Lowers the bound on each output stream.
    #[must_use]
    pub fn output_max(mut self, bytes_max: usize) -> Self {
        self.bytes_max = bytes_max;
        self
    }

    /// Runs it to its end; its whole process group is killed when the time is up.
    ///
    /// # Errors
    /// Where it cannot be started, takes too long or writes too much.
    pub fn run(mut self) -> Result<Output, Error> {
        let mut child = self.command.spawn().map_err(|error| Error::Start { program: self.name.clone(), error })?;
        let stdout = drain(child.stdout.take(), self.bytes_max);
        let stderr = drain(child.stderr.take(), self.bytes_max);
        let deadline = Instant::now() + self.limit;
        let code = loop {
            match child.try_wait() {
                Ok(Some(status)) if stdout.is_finished() && stderr.is_finished() => break status.code(),
                Ok(_) if Instant::now() < deadline => thread::sleep(POLL),
                Ok(_) => {
                    end(&mut child);
                    return Err(Error::Timeout { program: self.name, limit_s: self.limit.as_secs() });
                }
                Err(error) => {
                    end(&mut child);
                    return Err(Error::Start { program: self.name, error });
                }
            }
        };
        match (joined(stdout), joined(stderr)) {
            (Some(stdout), Some(stderr)) => Ok(Output { code, stdout, stderr }),
            _ => Err(Error::Output { program: self.name, bytes_max: self.bytes_max }),
        }
    }
}

/// Kills the group that the child leads: hooks may have started others.
fn end(child: &mut Child) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _gone = kill_process_group(group, Signal::KILL);
    }
    let _gone = child.kill();
    let _reaped = child.wait();
}

/// Reads a stream to its end on a thread, so that a full pipe never blocks the program; `None` beyond the bound.
fn drain(stream: Option<impl Read + Send + 'static>, bytes_max: usize) -> JoinHandle<Option<Vec<u8>>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut stream = stream?;
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        stream.by_ref().take(limit).read_to_end(&mut kept).ok()?;
        let whole = kept.len() <= bytes_max;
        let _rest = std::io::copy(&mut stream, &mut std::io::sink());
        whole.then_some(kept)
    })
}

fn joined(thread: JoinHandle<Option<Vec<u8>>>) -> Option<String> {
    thread.join().ok().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Program {
        Program::new("sh", limit).args(["-c", script])
    }

    #[test]
    fn the_environment_is_not_inherited() {
        let output = shell("env; exit 3", Duration::from_secs(20)).env("MINE", "1").run().unwrap();
        assert_eq!(output.code, Some(3));
        assert!(output.stdout.contains("MINE=1") && !output.stdout.contains("CARGO"), "{}", output.stdout);
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_its_children() {
        let error = shell("sleep 600 & sleep 600", Duration::from_millis(50)).run().unwrap_err();
        assert!(matches!(error, Error::Timeout { .. }));
    }

    #[test]
    fn output_beyond_the_bound_is_refused() {
        let error = shell("yes | head -c 100000", Duration::from_secs(20)).output_max(1000).run().unwrap_err();
        assert!(matches!(error, Error::Output { .. }));
    }
}
