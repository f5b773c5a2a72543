//! Asks a host's health: HTTP over loopback, systemd units, root-owned hooks. Touches loopback sockets and starts hooks; nothing else.

use crate::command::{self, Program};
use fother_core::{
    policy::{Check, CheckAnswer},
    text::{printable, quoted},
};
use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where check hooks stand.
pub const CHECKS_DIRECTORY: &str = "/etc/fother/checks.d";
/// Where life-cycle hooks (such as `drain`) stand.
pub const HOOKS_DIRECTORY: &str = "/etc/fother/hooks.d";
const HTTP_LIMIT: Duration = Duration::from_secs(2);
const HTTP_BYTES_MAX: usize = 16 << 10;
const UNIT_LIMIT: Duration = Duration::from_secs(5);
const CHECK_HOOK_LIMIT: Duration = Duration::from_secs(10);
const LIFE_HOOK_LIMIT: Duration = Duration::from_secs(30);
/// How often a life-cycle hook is run that a signal ends.
const LIFE_HOOK_RUNS_MAX: u32 = 3;
const HOOK_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Most checks of one host.
pub const CHECKS_MAX: usize = 64;

/// Asks every check in order; beyond [`CHECKS_MAX`] there is no data.
#[must_use]
pub fn ask(checks: &[Check]) -> Vec<(String, CheckAnswer)> {
    let answer = |(at, check): (usize, &Check)| match check {
        _ if at >= CHECKS_MAX => no_data(format!("more than {CHECKS_MAX} checks")),
        Check::Http { url, status, .. } => http(url, *status),
        Check::Unit { unit, .. } => unit_is_active(unit),
        Check::Hook { hook, .. } => hook_answer(Path::new(CHECKS_DIRECTORY), hook),
    };
    checks.iter().enumerate().map(|(at, check)| (check.name().to_owned(), answer((at, check)))).collect()
}

fn no_data(why: impl Into<String>) -> CheckAnswer {
    CheckAnswer::NoData { why: why.into() }
}

fn failed(why: impl Into<String>) -> CheckAnswer {
    CheckAnswer::Failed { why: why.into() }
}

/// `http://127.0.0.1[:port]/path` as address, `Host` value and path; everything else is refused.
fn loopback(url: &str) -> Result<(SocketAddr, &str, &str), &'static str> {
    let rest = url.strip_prefix("http://").ok_or("only http:// to a loopback address is asked")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if !plain(authority) || !plain(path) || authority.contains('@') {
        return Err("the address has signs that are not allowed");
    }
    let address = match authority.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => match authority.strip_prefix("localhost") {
            Some("") => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 80),
            Some(port) => {
                let port = port.strip_prefix(':').and_then(|port| port.parse().ok()).ok_or("the port is malformed")?;
                SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
            }
            None => SocketAddr::new(bare_ip(authority).ok_or("the address is malformed")?, 80),
        },
    };
    if address.ip().is_loopback() { Ok((address, authority, path)) } else { Err("only loopback addresses are asked") }
}

fn bare_ip(text: &str) -> Option<IpAddr> {
    let six = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    six.map_or_else(|| text.parse().ok(), |six| six.parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}

fn http(url: &str, wanted: u16) -> CheckAnswer {
    let (address, host, path) = match loopback(url) {
        Ok(parts) => parts,
        Err(why) => return no_data(why),
    };
    match http_status(address, host, path) {
        Ok(status) if status == wanted => CheckAnswer::Fine,
        Ok(status) => failed(format!("{url} answered {status}, not {wanted}")),
        Err(error) => failed(format!("{url} did not answer: {error}")),
    }
}

/// Status code of one GET; the whole exchange takes at most [`HTTP_LIMIT`].
fn http_status(address: SocketAddr, host: &str, path: &str) -> Result<u16, String> {
    let deadline = Instant::now() + HTTP_LIMIT;
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&address, HTTP_LIMIT).map_err(text)?;
    stream.set_write_timeout(Some(HTTP_LIMIT)).map_err(text)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: fother-check\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(text)?;
    let mut head = Vec::new();
    let mut part = [0_u8; 1024];
    while !head.contains(&b'\n') && head.len() < HTTP_BYTES_MAX {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("it took longer than 2 s".into());
        }
        stream.set_read_timeout(Some(left)).map_err(text)?;
        match stream.read(&mut part).map_err(text)? {
            0 => break,
            got => head.extend_from_slice(&part[..got]),
        }
    }
    let line = String::from_utf8_lossy(&head);
    let mut words = line.lines().next().unwrap_or_default().split(' ');
    let protocol = words.next().unwrap_or_default();
    let status = words.next().and_then(|word| word.parse().ok());
    status.filter(|_| protocol.starts_with("HTTP/1.")).ok_or_else(|| "the answer is no HTTP".into())
}

/// Whether systemd says that a unit is active.
#[must_use]
pub fn unit_is_active(unit: &str) -> CheckAnswer {
    let plain = unit.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._:-\\".contains(&b));
    if unit.is_empty() || unit.len() > 255 || unit.starts_with('-') || !plain {
        return no_data("the unit's name is malformed");
    }
    match Program::new("systemctl", UNIT_LIMIT).args(["is-active", "--", unit]).output_max(HOOK_OUTPUT_BYTES_MAX).run() {
        Ok(output) => match (output.code, output.stdout.trim()) {
            (Some(0), _) => CheckAnswer::Fine,
            (_, state @ ("inactive" | "failed" | "activating" | "deactivating" | "reloading" | "maintenance")) => {
                failed(format!("{unit} is {state}"))
            }
            _ => no_data(format!("systemctl:\n{}", last_line(&output))),
        },
        Err(error) => no_data(error.to_string()),
    }
}

/// What became of a life-cycle hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// It ran and exited 0.
    Done,
    /// There is no such hook: nothing to do.
    NotThere,
}

/// Runs `/etc/fother/hooks.d/<name>`, for example `drain` or `undrain`, for at most 30 s.
///
/// # Errors
/// Where it is not safe to run, fails or takes too long.
pub fn run_hook(name: &str) -> Result<HookOutcome, String> {
    run_hook_in(Path::new(HOOKS_DIRECTORY), name)
}

fn run_hook_in(directory: &Path, name: &str) -> Result<HookOutcome, String> {
    let Some(path) = trusted_hook(directory, name)? else { return Ok(HookOutcome::NotThere) };
    let mut last = String::new();
    for _ in 0..LIFE_HOOK_RUNS_MAX {
        match run(&path, LIFE_HOOK_LIMIT) {
            Ok(output) if output.code == Some(0) => return Ok(HookOutcome::Done),
            Ok(output) => {
                last = format!("hook {name} {}:\n{}", ended(&output), last_line(&output));
                // A hook that somebody killed has said nothing about this host.
                if output.code.is_some() {
                    break;
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(last)
}

fn hook_answer(directory: &Path, name: &str) -> CheckAnswer {
    let path = match trusted_hook(directory, name) {
        Ok(Some(path)) => path,
        Ok(None) => return no_data(format!("there is no {}/{}", directory.display(), printable(name, 80))),
        Err(why) => return no_data(why),
    };
    match run(&path, CHECK_HOOK_LIMIT) {
        Ok(output) if output.code == Some(0) => CheckAnswer::Fine,
        Ok(output) => failed(format!("it {}:\n{}", ended(&output), last_line(&output))),
        Err(error @ command::Error::Timeout { .. }) => failed(error.to_string()),
        Err(error) => no_data(error.to_string()),
    }
}

fn run(path: &Path, limit: Duration) -> Result<command::Output, command::Error> {
    Program::new(path, limit).output_max(HOOK_OUTPUT_BYTES_MAX).run()
}

fn ended(output: &command::Output) -> String {
    output.code.map_or_else(|| "was ended by a signal".into(), |code| format!("exited {code}"))
}

/// The last line that a program printed, marked as the host's own.
fn last_line(output: &command::Output) -> String {
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    text.trim().lines().last().map_or_else(|| "it printed nothing".to_owned(), |line| quoted(line, |_| false))
}

/// The hook's path if it and its directories belong to root and nobody else can write them; `None` if it is absent.
fn trusted_hook(directory: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if name.is_empty() || name.len() > 128 || name.starts_with(['.', '-']) || !plain {
        return Err(format!("hook name `{}` is malformed", printable(name, 80)));
    }
    let path = directory.join(name);
    let kind = match fs::symlink_metadata(&path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
    };
    if !kind.is_file() || kind.mode() & 0o100 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    for part in path.ancestors() {
        let found = fs::symlink_metadata(part).map_err(|error| format!("cannot look at {}: {error}", part.display()))?;
        let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if found.uid() != 0 || (found.mode() & 0o022 != 0 && !sticky) || found.is_symlink() {
            return Err(format!("{} must belong to root and not be writable by others; it was not run", part.display()));
        }
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::TcpListener, os::unix::fs::PermissionsExt, thread};

    fn serve(answer: &'static str) -> (u16, thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let got = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&request[..got]).into_owned()
        });
        (port, served)
    }

    #[test]
    fn an_http_check_wants_its_status() {
        let (port, served) = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(http(&format!("http://127.0.0.1:{port}/health"), 200), CheckAnswer::Fine);
        assert!(served.join().unwrap().starts_with("GET /health HTTP/1.1\r\nHost: 127.0.0.1:"));
        let (port, served) = serve("HTTP/1.0 503 no\r\n\r\n");
        assert!(matches!(http(&format!("http://localhost:{port}"), 200), CheckAnswer::Failed { .. }));
        served.join().unwrap();
        let (port, served) = serve("SSH-2.0-x\r\n");
        assert!(matches!(http(&format!("http://127.0.0.1:{port}/"), 200), CheckAnswer::Failed { .. }));
        served.join().unwrap();
    }

    #[test]
    fn only_loopback_is_asked() {
        for url in [
            "http://192.0.2.1/",
            "https://127.0.0.1/",
            "http://127.0.0.1@192.0.2.1/",
            "http://127.0.0.1/a\r\nX: y",
            "http://[2001:db8::1]/",
            "http://localhost.test/",
        ] {
            assert!(matches!(http(url, 200), CheckAnswer::NoData { .. }), "{url}");
        }
        assert_eq!(loopback("http://[::1]").unwrap().0.port(), 80);
    }

    #[test]
    fn a_hook_that_others_can_write_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let hook = directory.path().join("drain");
        fs::write(&hook, "#!/bin/sh\necho bad >&2\nexit 4\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o757)).unwrap();
        assert!(run_hook_in(directory.path(), "drain").is_err_and(|why| why.contains("must belong to root")));
        assert!(matches!(hook_answer(directory.path(), "drain"), CheckAnswer::NoData { .. }));
        assert_eq!(run_hook_in(directory.path(), "other"), Ok(HookOutcome::NotThere));
        for name in ["", "../drain", ".drain", "a/b", "-x"] {
            assert!(run_hook_in(directory.path(), name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_hook_that_is_killed_is_run_again_and_one_that_fails_is_not() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: hooks are trusted only where they belong to root, and this is not root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let hook = |text: &str| {
            fs::write(directory.join("drain"), format!("#!/bin/sh\necho x >> {}/runs\n{text}\n", directory.display())).unwrap();
            fs::set_permissions(directory.join("drain"), fs::Permissions::from_mode(0o755)).unwrap();
            let _ = fs::remove_file(directory.join("runs"));
            let result = run_hook_in(directory, "drain");
            (result, fs::read_to_string(directory.join("runs")).unwrap().lines().count())
        };
        let once = format!("[ $(wc -l < {}/runs) -gt 1 ] || kill -9 $$", directory.display());
        let results = [hook(&once), hook("kill -9 $$"), hook("exit 4")];
        assert_eq!(results[0], (Ok(HookOutcome::Done), 2));
        assert!(results[1].0.as_ref().is_err_and(|why| why.contains("signal")) && results[1].1 == 3, "{results:?}");
        assert!(results[2].0.is_err() && results[2].1 == 1, "{results:?}");
    }

    #[test]
    fn malformed_units_are_not_asked() {
        for unit in ["", "--help", "a b", "x;y"] {
            assert_eq!(unit_is_active(unit), no_data("the unit's name is malformed"));
        }
    }
}
