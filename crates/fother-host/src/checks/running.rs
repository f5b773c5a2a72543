//! Whether an executable runs, and who listens on a port. Reads `/proc` only.

use super::{failed, no_data};
use crate::{processes, sockets};
use fother_core::policy::{CheckAnswer, checks::Protocol};
use std::{collections::BTreeSet, fs, io, net::SocketAddr, os::unix::fs::MetadataExt};

const DELETED: &str = " (deleted)";
/// Most descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 1 << 16;

pub(super) fn process(executable: &str, unit: Option<&str>, count: u32) -> CheckAnswer {
    let Running { found, closed } = match running(executable) {
        Ok(running) => running,
        Err(why) => return no_data(why),
    };
    let base = processes::base_of_units();
    let there = found.iter().filter(|pid| unit.is_none_or(|unit| processes::unit_of(**pid, &base).as_deref() == Some(unit))).count();
    if there as u64 >= u64::from(count) {
        return CheckAnswer::Fine;
    }
    if closed {
        return no_data(CLOSED);
    }
    let place = unit.map(|unit| format!(" in {unit}")).unwrap_or_default();
    failed(match (there, count) {
        (0, _) => format!("{executable} does not run{place}"),
        (there, count) => format!("{executable} runs {there} times{place}, not {count}"),
    })
}

const CLOSED: &str = "a process of that name may not be looked at, not even by root";

/// Who runs an executable.
struct Running {
    found: Vec<u32>,
    /// A process that goes by its name did not let itself be looked at.
    closed: bool,
}

/// Processes of this root that run `executable`, one that was replaced meanwhile included.
fn running(executable: &str) -> Result<Running, String> {
    let mut unknown = Vec::new();
    let ids = processes::process_ids(&mut unknown);
    if let Some(why) = unknown.into_iter().next() {
        return Err(why);
    }
    let root = fs::metadata("/").map(|root| (root.dev(), root.ino())).map_err(|error| format!("/: {error}"))?;
    let (mut found, mut closed) = (Vec::new(), false);
    for pid in ids {
        match fs::read_link(format!("/proc/{pid}/exe")) {
            Ok(path) => {
                let path = path.to_string_lossy();
                let ours = || fs::metadata(format!("/proc/{pid}/root/")).is_ok_and(|its| (its.dev(), its.ino()) == root);
                if path.strip_suffix(DELETED).unwrap_or(&path) == executable && ours() {
                    found.push(pid);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
                let base = executable.rsplit('/').next().unwrap_or_default();
                closed |= !comm.trim_end().is_empty() && base.starts_with(comm.trim_end());
            }
            // Gone meanwhile, or the kernel's own.
            Err(_) => {}
        }
    }
    Ok(Running { found, closed })
}

pub(super) fn listening(protocol: Protocol, port: u16, address: Option<&str>, executable: Option<&str>) -> CheckAnswer {
    let mut inodes = BTreeSet::new();
    let tables: &[&str] = match protocol {
        Protocol::Tcp => &["tcp", "tcp6"],
        Protocol::Udp => &["udp", "udp6"],
    };
    for table in tables {
        match fs::read_to_string(format!("/proc/net/{table}")) {
            Ok(text) => inodes.extend(matching(&text, protocol, port, address)),
            // A kernel without IPv6 has no such table.
            Err(error) if error.kind() == io::ErrorKind::NotFound && table.ends_with('6') => {}
            Err(error) => return no_data(format!("/proc/net/{table} cannot be read: {error}")),
        }
    }
    let place = format!("{} {}:{port}", protocol.word(), address.unwrap_or("*"));
    if inodes.is_empty() {
        return failed(format!("nothing listens on {place}"));
    }
    let Some(executable) = executable else { return CheckAnswer::Fine };
    match running(executable) {
        Err(why) => no_data(why),
        Ok(Running { found, .. }) if found.iter().any(|pid| owns(*pid, &inodes)) => CheckAnswer::Fine,
        Ok(Running { closed: true, .. }) => no_data(CLOSED),
        Ok(_) => failed(format!("{executable} does not listen on {place}, somebody else does")),
    }
}

fn matching(table: &str, protocol: Protocol, port: u16, address: Option<&str>) -> Vec<u64> {
    // No port counts as a client's here: this one is asked for by name.
    let sockets = sockets::listening(table, protocol == Protocol::Udp, (1, 0));
    let wanted = |text: &str| {
        let at: Option<SocketAddr> = text.split_once(' ').and_then(|(_, at)| at.parse().ok());
        at.is_some_and(|at| {
            at.port() == port && address.is_none_or(|address| address.parse().is_ok_and(|ip: std::net::IpAddr| ip == at.ip()))
        })
    };
    sockets.into_iter().filter(|socket| wanted(&socket.address)).map(|socket| socket.inode).collect()
}

fn owns(pid: u32, inodes: &BTreeSet<u64>) -> bool {
    let inode = |name: &str| name.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok();
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten().take(DESCRIPTORS_MAX);
    descriptors
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .any(|to| to.to_str().and_then(inode).is_some_and(|inode| inodes.contains(&inode)))
}
