//! The lab's control groups: one below which everything of a lab runs, so that `down` finds it all. Touches the lab's own groups only.

use crate::error::{Error, Result, io};
use crate::paths::Lab;
use crate::process::{Process, wait_until};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Processes that one host may have, its rehearsals included, where the machine has a controller for it.
const HOST_PROCESSES_MAX: &str = "3000";
/// Memory of one host in bytes: 3 GiB.
const HOST_MEMORY_BYTES_MAX: &str = "3221225472";
/// How long killed processes may take to leave, before it is called an error.
const EMPTY_WITHIN: Duration = Duration::from_secs(10);

/// The hierarchies that a host is placed in: all of version 2, and of version 1 those that carry processes and limits.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new("/sys/fs/cgroup");
    if root.join("cgroup.controllers").exists() {
        return vec![root.into()];
    }
    ["unified", "systemd", "pids", "memory"].iter().map(|h| root.join(h)).filter(|h| h.join("cgroup.procs").exists()).collect()
}

/// Makes the group `leaf` of this lab and returns the files that a process writes its pid to in order to join it.
pub(crate) fn make(lab: &Lab, leaf: &str, limited: bool) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for root in hierarchies() {
        let (top, dir) = (root.join(lab.cgroup()), root.join(lab.cgroup()).join(leaf));
        fs::create_dir_all(&dir).map_err(io("make control group", &dir))?;
        for group in [&root, &top] {
            delegate(group);
        }
        if limited {
            limit(&dir);
        }
        files.push(dir.join("cgroup.procs"));
    }
    if files.is_empty() {
        return Err(Error::Other("this machine has no control groups below /sys/fs/cgroup: mount them".into()));
    }
    Ok(files)
}

/// Passes every controller of version 2 on; one that cannot be passed is not there for hosts, which systemd copes with.
fn delegate(group: &Path) {
    let Ok(controllers) = fs::read_to_string(group.join("cgroup.controllers")) else { return };
    for controller in controllers.split_whitespace() {
        let _ = fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn limit(dir: &Path) {
    let limits =
        [("pids.max", HOST_PROCESSES_MAX), ("memory.max", HOST_MEMORY_BYTES_MAX), ("memory.limit_in_bytes", HOST_MEMORY_BYTES_MAX)];
    for (file, value) in limits {
        let path = dir.join(file);
        if path.exists() && fs::write(&path, value).is_err() {
            tracing::debug!(?path, "this limit could not be set");
        }
    }
}

/// A command that joins the groups of `files` before it becomes `program`.
pub(crate) fn joined(files: &[PathBuf], program: &str) -> Command {
    const JOIN: &str = "n=$1; shift; while [ $n -gt 0 ]; do echo $$ >\"$1\" || exit 125; shift; n=$((n-1)); done; exec \"$@\"";
    let mut command = crate::run::command("sh");
    command.args(["-c", JOIN, "sh", &files.len().to_string()]).args(files).arg(program);
    command
}

/// Kills everything in the lab's groups, the caller excepted, and removes them.
pub(crate) fn kill_all(lab: &Lab) -> Result<()> {
    let tops: Vec<PathBuf> = hierarchies().iter().map(|root| root.join(lab.cgroup())).filter(|top| top.exists()).collect();
    wait_until("the end of all processes of the lab", EMPTY_WITHIN, "look into its control groups below /sys/fs/cgroup", || {
        let pids: Vec<u32> = tops.iter().flat_map(|top| members(top)).filter(|pid| *pid != std::process::id()).collect();
        for process in pids.iter().filter_map(|pid| Process::of(*pid)) {
            process.signal(rustix::process::Signal::KILL);
        }
        pids.is_empty()
    })?;
    for top in tops {
        // A group stays busy for a moment after its last process is reaped.
        wait_until("the removal of a control group", EMPTY_WITHIN, &format!("look into {}", top.display()), || {
            remove_tree(&top);
            !top.exists()
        })?;
    }
    Ok(())
}

fn members(group: &Path) -> Vec<u32> {
    let own = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<u32> = own.lines().filter_map(|l| l.parse().ok()).collect();
    for child in children(group) {
        pids.extend(members(&child));
    }
    pids
}

fn children(group: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(group) else { return Vec::new() };
    entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Removes empty groups from the leaves up; what is busy stays.
pub(crate) fn remove_tree(group: &Path) {
    for child in children(group) {
        remove_tree(&child);
    }
    let _ = fs::remove_dir(group);
}

/// Kills what is left of one host between two boots.
pub(crate) fn sweep(lab: &Lab, leaf: &str) {
    for root in hierarchies() {
        let dir = root.join(lab.cgroup()).join(leaf);
        for process in members(&dir).into_iter().filter_map(Process::of) {
            process.signal(rustix::process::Signal::KILL);
        }
        children(&dir).iter().for_each(|c| remove_tree(c));
    }
}
