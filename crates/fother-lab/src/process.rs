//! Names a process so that a reused pid is never mistaken for it, and ends processes. Touches /proc and processes of the lab.

use crate::error::{Error, Result};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// A process by pid and start time (clock ticks since boot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    pub pid: u32,
    pub started: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started: start_time(pid)? })
    }

    pub fn alive(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Sends a signal, unless the pid belongs to another process by now.
    pub fn signal(self, signal: Signal) {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return };
        let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        if self.alive() {
            let _ = pidfd_send_signal(fd, signal);
        }
    }

    /// Kills and waits until it is gone.
    pub fn kill(self, within: Duration) -> Result<()> {
        self.signal(Signal::KILL);
        wait_until(&format!("the end of process {}", self.pid), within, "it does not answer to SIGKILL", || !self.alive())
    }
}

/// Field 22 of /proc/PID/stat; none for a process that is gone or a zombie.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after = &stat[stat.rfind(')')? + 2..];
    let fields: Vec<&str> = after.split(' ').collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19)?.parse().ok()).flatten()
}

/// All pids that exist now.
pub(crate) fn all() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect()
}

/// The child of `parent` that is process 1 of its own namespace: a container's init.
pub(crate) fn init_below(parent: u32) -> Option<u32> {
    all().into_iter().find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
        field("PPid:").and_then(|p| p.parse().ok()) == Some(parent)
            && field("NSpid:").is_some_and(|n| n.split_whitespace().count() > 1 && n.split_whitespace().last() == Some("1"))
            && field("Name:") == Some("systemd")
    })
}

/// Polls until `done`.
pub(crate) fn wait_until(what: &str, within: Duration, hint: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > within {
            return Err(Error::Timeout { what: what.into(), seconds: within.as_secs(), hint: hint.into() });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_another_start_time_is_another_process() {
        let me = Process::of(std::process::id()).unwrap();
        assert!(me.alive());
        assert!(!Process { started: me.started + 1, ..me }.alive());
        assert!(all().contains(&me.pid));
    }
}
