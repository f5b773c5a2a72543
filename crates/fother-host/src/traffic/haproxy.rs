//! HAProxy's runtime API (HAProxy Management Guide, section 9.3): `set server`, and `show stat` to see that it is so.

use super::{Direction, until};
use fother_core::text::printable;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    time::Duration,
};

/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// Largest answer, in bytes: a line of CSV for each server of every backend.
const ANSWER_BYTES_MAX: u64 = 4 << 20;

/// A host as HAProxy knows it.
pub(super) struct Server<'a> {
    pub(super) address: &'a str,
    pub(super) backend: &'a str,
    pub(super) server: &'a str,
}

/// What `show stat` says of one server.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: String,
    sessions: u64,
    queued: u64,
}

impl Seen {
    fn is_up(&self) -> bool {
        self.status == "no check" || self.status.split(' ').next() == Some("UP")
    }

    fn takes_nobody(&self) -> bool {
        ["DRAIN", "MAINT"].contains(&self.status.split(' ').next().unwrap_or_default())
    }
}

/// What is wrong with these names.
pub(super) fn fault(backend: &str, server: &str) -> Option<String> {
    let plain =
        |name: &str| !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b));
    (!plain(backend) || !plain(server)).then(|| "names of a backend and a server are letters, digits, `-`, `_`, `.` and `:`".to_owned())
}

impl Server<'_> {
    pub(super) fn direct(&self, direction: Direction, wait_s: u32) -> Result<(), String> {
        let state = match direction {
            Direction::Out => "drain",
            Direction::In => "ready",
        };
        let answer = self.ask(&format!("set server {}/{} state {state}", self.backend, self.server))?;
        if !answer.trim().is_empty() {
            return Err(self.told(&printable(answer.trim(), 300)));
        }
        let mut last = None;
        let done = until(wait_s, || {
            let seen = self.look()?;
            let done = match direction {
                Direction::Out => seen.takes_nobody() && seen.sessions == 0 && seen.queued == 0,
                Direction::In => seen.is_up(),
            };
            last = Some(seen);
            Ok(done)
        })?;
        if done {
            return Ok(());
        }
        let seen =
            last.map(|Seen { status, sessions, queued }| format!("{} with {sessions} sessions, {queued} queued", printable(&status, 40)));
        Err(self.told(&format!("after {wait_s} s it is {}", seen.as_deref().unwrap_or("not known how"))))
    }

    fn told(&self, what: &str) -> String {
        format!("HAProxy at {}, {}/{}: {what}", self.address, self.backend, self.server)
    }

    fn look(&self) -> Result<Seen, String> {
        find(&self.ask("show stat")?, self.backend, self.server).ok_or_else(|| self.told("`show stat` does not list it"))
    }

    /// One command, one connection.
    fn ask(&self, command: &str) -> Result<String, String> {
        let told = |error: std::io::Error| self.told(&format!("the runtime API does not answer: {error}"));
        if self.address.starts_with('/') {
            let stream = UnixStream::connect(self.address).map_err(told)?;
            stream.set_read_timeout(Some(ANSWER_WAIT)).and_then(|()| stream.set_write_timeout(Some(ANSWER_WAIT))).map_err(told)?;
            return exchange(stream, command).map_err(told);
        }
        let at: SocketAddr = self.address.parse().map_err(|_| self.told("the address is no IP address with a port, and no path"))?;
        let stream = TcpStream::connect_timeout(&at, ANSWER_WAIT).map_err(told)?;
        stream.set_read_timeout(Some(ANSWER_WAIT)).and_then(|()| stream.set_write_timeout(Some(ANSWER_WAIT))).map_err(told)?;
        exchange(stream, command).map_err(told)
    }
}

fn exchange(mut stream: impl Read + Write, command: &str) -> std::io::Result<String> {
    writeln!(stream, "{command}")?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The line of one server in the CSV of `show stat` (section 9.1); columns go by their names.
fn find(csv: &str, backend: &str, server: &str) -> Option<Seen> {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next()?.trim_start_matches("# ").split(',').collect();
    let column = |name: &str| names.iter().position(|known| *known == name);
    let (px, sv, scur, qcur, status) = (column("pxname")?, column("svname")?, column("scur")?, column("qcur")?, column("status")?);
    lines
        .map(|line| line.split(',').collect::<Vec<_>>())
        .find(|row| row.get(px) == Some(&backend) && row.get(sv) == Some(&server))
        .and_then(|row| {
            let number = |at: usize| row.get(at)?.parse::<u64>().ok();
            Some(Seen { status: (*row.get(status)?).to_owned(), sessions: number(scur)?, queued: number(qcur)? })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "# pxname,svname,qcur,qmax,scur,smax,slim,stot,bin,bout,dreq,dresp,ereq,econ,eresp,wretr,wredis,status,weight,\n\
        hosts,web-1,0,0,3,5,,9,1,1,,0,,0,0,0,0,DRAIN (agent),1,\nhosts,web-2,0,0,0,5,,9,1,1,,0,,0,0,0,0,UP 1/2,1,\n";

    #[test]
    fn a_server_is_found_by_the_names_of_columns() {
        let seen = find(CSV, "hosts", "web-1").unwrap();
        assert_eq!(seen, Seen { status: "DRAIN (agent)".to_owned(), sessions: 3, queued: 0 });
        assert!(seen.takes_nobody() && !seen.is_up());
        assert!(find(CSV, "hosts", "web-2").unwrap().is_up());
        assert_eq!(find(CSV, "hosts", "web-3"), None);
        assert_eq!(find("", "hosts", "web-1"), None);
    }

    #[test]
    fn names_cannot_smuggle_commands_in() {
        for bad in ["", "a;disable", "a b", "a\nb", "a/b"] {
            assert!(fault(bad, "web-1").is_some() && fault("hosts", bad).is_some(), "{bad:?}");
        }
    }
}
