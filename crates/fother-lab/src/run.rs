//! Runs external programs with a clean environment and a bounded answer. Touches processes only.

use crate::error::{Error, Result};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Where every program is looked for; the caller's own path is not used.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Longest part of a program's complaint that an error repeats, in bytes.
const COMPLAINT_BYTES_MAX: usize = 2000;

/// A command with an empty environment but for the path and a locale.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LC_ALL", "C.UTF-8").stdin(Stdio::null());
    command
}

/// Runs and waits; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<Output> {
    let output = command.output().map_err(|e| cannot_start(command, &e))?;
    if output.status.success() { Ok(output) } else { Err(failed(command, &output.status.to_string(), &output.stderr)) }
}

/// Shorthand for [`run`] with plain arguments.
pub(crate) fn sh(program: &str, args: &[&str]) -> Result<Output> {
    run(command(program).args(args))
}

/// Runs, feeding `input`.
pub(crate) fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Output> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| cannot_start(command, &e))?;
    let stdin = child.stdin.take();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program may end without reading all of it: its exit status tells.
            if let Some(mut stdin) = stdin {
                let _ = stdin.write_all(input);
            }
        });
        child.wait_with_output()
    });
    output.map_err(|e| cannot_start(command, &e))
}

/// Runs, handing over each line of its standard error while it comes.
pub(crate) fn run_lines(command: &mut Command, line: &mut dyn FnMut(&str)) -> Result<()> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().map_err(|e| cannot_start(command, &e))?;
    let mut last: Vec<String> = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        for text in BufReader::new(stderr).split(b'\n').map_while(std::result::Result::ok) {
            let text = String::from_utf8_lossy(&text).trim_end().to_string();
            line(&text);
            last.push(text);
            if last.len() > 12 {
                last.remove(0);
            }
        }
    }
    let status = child.wait().map_err(|e| cannot_start(command, &e))?;
    if status.success() { Ok(()) } else { Err(failed(command, &status.to_string(), last.join("\n").as_bytes())) }
}

fn described(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let args: Vec<_> = command.get_args().take(4).map(|a| a.to_string_lossy().into_owned()).collect();
    format!("{program} {}", args.join(" "))
}

fn cannot_start(command: &Command, e: &std::io::Error) -> Error {
    let hint = if e.kind() == std::io::ErrorKind::NotFound { " (is its Debian package installed?)" } else { "" };
    Error::Program { program: described(command), status: "could not run".into(), stderr: format!("{e}{hint}") }
}

pub(crate) fn failed(command: &Command, status: &str, stderr: &[u8]) -> Error {
    let from = stderr.len().saturating_sub(COMPLAINT_BYTES_MAX);
    let stderr = String::from_utf8_lossy(&stderr[from..]).trim().to_string();
    Error::Program { program: described(command), status: status.into(), stderr }
}
