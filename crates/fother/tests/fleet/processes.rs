//! The processes of a lab's host as this machine sees them, told apart by the unit that they run in; kills none but those.

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs;

/// What a process of a host is to Fother.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The agent's half without privileges.
    Network,
    /// The agent's root half.
    Executor,
    /// What the root half starts itself: hooks, systemctl, systemd-run, apt's solver.
    ExecutorChild,
    /// The main process of a transaction's unit.
    Worker,
    /// apt, dpkg, a maintainer script or any other child of a transaction.
    WorkerChild,
    /// The main process of an undo's unit.
    Undo,
    /// What an undo starts.
    UndoChild,
}

impl Kind {
    /// Part of a transaction or of an undo.
    pub fn is_transaction(self) -> bool {
        match self {
            Self::Worker | Self::WorkerChild | Self::Undo | Self::UndoChild => true,
            Self::Network | Self::Executor | Self::ExecutorChild => false,
        }
    }
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// On this machine.
    pub pid: u32,
    /// What it is.
    pub kind: Kind,
    /// Its unit.
    pub unit: String,
    /// Its command line, for messages.
    pub command: String,
}

/// The processes of Fother on the host whose process 1 is `leader`.
pub fn of_host(leader: u32) -> Vec<Process> {
    let Ok(namespace) = fs::read_link(format!("/proc/{leader}/ns/pid")) else { return Vec::new() };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let inside = pids.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/pid")).is_ok_and(|found| found == namespace));
    inside.filter_map(look).collect()
}

fn look(pid: u32) -> Option<Process> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let unit = groups.lines().flat_map(|line| line.split('/')).find(|part| part.starts_with("fother-") && part.ends_with(".service"))?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
    let words: Vec<String> = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let main = words.first().is_some_and(|word| word.ends_with("/fother")) && words.get(1).is_some_and(|word| word == "agent");
    let kind = match unit {
        "fother-agent.service" => Kind::Network,
        "fother-executor.service" if main => Kind::Executor,
        "fother-executor.service" => Kind::ExecutorChild,
        _ if unit.starts_with("fother-undo-") => {
            if main {
                Kind::Undo
            } else {
                Kind::UndoChild
            }
        }
        _ if unit.starts_with("fother-txn_") => {
            if main {
                Kind::Worker
            } else {
                Kind::WorkerChild
            }
        }
        _ => return None,
    };
    Some(Process { pid, kind, unit: unit.to_owned(), command: words.join(" ").trim().to_owned() })
}

/// Kill -9, unless the process is another one by now; whether it was sent.
pub fn kill(process: &Process) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(fd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // The descriptor is bound to whatever has this pid now; only what is still the same process is killed through it.
    let same = look(process.pid).is_some_and(|now| now.unit == process.unit && now.kind == process.kind);
    same && pidfd_send_signal(fd, Signal::KILL).is_ok()
}
