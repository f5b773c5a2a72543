//! Which services run here, where they listen, and which of them still map files that were replaced. Reads `/proc`, asks systemd.

use crate::{
    command::Program,
    outside::{self, Question},
    sockets::{Listening, listening},
};
use fother_core::{inventory::Service, text::printable};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

/// Most processes that are looked at.
pub const PROCESSES_MAX: usize = 65_536;
/// Most files and addresses that are reported for one unit.
pub const FACTS_PER_UNIT_MAX: usize = 256;
const PROC_FILE_BYTES_MAX: u64 = 16 << 20;
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(5);
const DELETED: &str = " (deleted)";
/// Prefixes of maps that are no installed file: shared memory, generated code, scratch.
const NO_FILES: [&str; 6] = ["/memfd:", "/dev/", "/SYSV", "/tmp/", "/var/tmp/", "/run/"];

/// Services of this machine and what could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Services {
    /// Sorted by unit.
    pub services: Vec<Service>,
    /// By name with the reason.
    pub unknown: Vec<String>,
}

/// A file that a process maps as code and that is deleted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mapped {
    /// Absolute path as it was when it was mapped.
    pub path: String,
    /// Inode that is mapped.
    pub inode: u64,
}

impl Mapped {
    /// Whether another file stands at the path now: the code was replaced, not only removed.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|now| now.is_file() && now.ino() != self.inode)
    }
}

#[derive(Default)]
struct Found {
    state: String,
    listens: BTreeSet<String>,
    stale_files: BTreeSet<String>,
}

/// Looks at every process of this machine, or has the process outside of the sandbox look.
#[must_use]
pub fn collect() -> Services {
    match outside::ask(Question::Services) {
        Some(answer) => answer.unwrap_or_else(|why| Services { unknown: vec![format!("services: {why}")], ..Services::default() }),
        None => look(),
    }
}

fn look() -> Services {
    let mut units: BTreeMap<String, Found> = BTreeMap::new();
    let mut unknown = Vec::new();
    match unit_states() {
        Ok(states) => units.extend(states.into_iter().map(|(unit, state)| (unit, Found { state, ..Found::default() }))),
        Err(why) => unknown.push(format!("states of units: {why}")),
    }
    let mut sockets = match all_listening() {
        Ok(sockets) => sockets,
        Err(why) => {
            unknown.push(format!("listening sockets: {why}"));
            Vec::new()
        }
    };
    let base = base_of_units();
    let mut closed = BTreeSet::new();
    for pid in process_ids(&mut unknown) {
        let Some(unit) = unit_of(pid, &base) else { continue };
        let found = units.entry(unit.clone()).or_default();
        match stale_files(pid) {
            Ok(files) => found.stale_files.extend(files.into_iter().map(|file| printable(&file.path, 512))),
            Err(true) => {}
            Err(false) => _ = closed.insert(unit),
        }
        let inodes = socket_inodes(pid);
        found.listens.extend(sockets.iter().filter(|socket| inodes.contains(&socket.inode)).map(|socket| socket.address.clone()));
    }
    let owned: BTreeSet<String> = units.values().flat_map(|found| found.listens.iter().cloned()).collect();
    sockets.retain(|socket| !owned.contains(&socket.address));
    let unowned: BTreeSet<String> = sockets.into_iter().map(|socket| socket.address).collect();
    unknown.extend(closed.into_iter().map(|unit| format!("files mapped by {unit}: not readable by this user")));
    unknown.extend(
        unowned
            .into_iter()
            .take(FACTS_PER_UNIT_MAX)
            .map(|address| format!("who listens on {address}: its process cannot be looked at by this user")),
    );
    Services { services: finish(units), unknown }
}

fn finish(units: BTreeMap<String, Found>) -> Vec<Service> {
    let keep = |(unit, found): (String, Found)| {
        let state = if found.state.is_empty() { "active".to_owned() } else { found.state };
        let facts = |set: BTreeSet<String>| set.into_iter().take(FACTS_PER_UNIT_MAX).collect();
        Service { unit, state, listens: facts(found.listens), stale_files: facts(found.stale_files) }
    };
    units.into_iter().map(keep).collect()
}

/// Units that run or failed, with their state; an error where systemd does not run.
fn unit_states() -> Result<BTreeMap<String, String>, String> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err("systemd does not run here".into());
    }
    let args = ["list-units", "--type=service", "--all", "--plain", "--no-legend", "--no-pager"];
    let output = Program::new("systemctl", SYSTEMCTL_LIMIT).args(args).run().map_err(|error| error.to_string())?;
    if output.code != Some(0) {
        return Err(format!("systemctl: {}", printable(output.stderr.trim(), 200)));
    }
    Ok(parse_units(&output.stdout))
}

fn parse_units(table: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut fields = line.split_whitespace();
        let (unit, _load, active) = (fields.next()?, fields.next()?, fields.next()?);
        (active != "inactive").then(|| (printable(unit, 256), printable(active, 40)))
    };
    table.lines().filter_map(row).collect()
}

fn process_ids(unknown: &mut Vec<String>) -> Vec<u32> {
    let entries = match fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => {
            unknown.push(format!("processes: cannot list /proc: {error}"));
            return Vec::new();
        }
    };
    let mut ids: Vec<u32> = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    if ids.len() > PROCESSES_MAX {
        unknown.push(format!("processes beyond the first {PROCESSES_MAX}"));
        ids.truncate(PROCESSES_MAX);
    }
    ids
}

/// Bounded text of a file below `/proc`; kernel tables are UTF-8 but for hostile file names.
fn proc_text(path: &str) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(PROC_FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Control group below which this system's units live: that of process 1 without `init.scope`.
fn base_of_units() -> String {
    let text = proc_text("/proc/1/cgroup").unwrap_or_default();
    let path = unified(&text).unwrap_or("/");
    path.trim_end_matches("init.scope").trim_end_matches('/').to_owned()
}

fn unified(text: &str) -> Option<&str> {
    let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let named = || text.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    line("0::").filter(|path| *path != "/").or_else(named).or(line("0::"))
}

/// The system unit of a process; `None` where it has none or lives in a container of its own (another process table).
fn unit_of(pid: u32, base: &str) -> Option<String> {
    if in_another_process_table(&proc_text(&format!("/proc/{pid}/status")).ok()?) {
        return None;
    }
    let text = proc_text(&format!("/proc/{pid}/cgroup")).ok()?;
    unit_in(unified(&text)?, base).map(|unit| printable(unit, 256))
}

fn in_another_process_table(status: &str) -> bool {
    status.lines().find_map(|line| line.strip_prefix("NSpid:")).is_some_and(|ids| ids.split_whitespace().count() > 1)
}

/// The outermost unit of a control group: `…/user@0.service/app.slice/x.service` belongs to `user@0.service`.
fn unit_in<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let below = path.strip_prefix(base).unwrap_or(path);
    below.split('/').find(|part| part.ends_with(".service") || part.ends_with(".scope"))
}

/// Deleted code files that a process maps. `Err(true)`: it is gone; `Err(false)`: not readable.
fn stale_files(pid: u32) -> Result<BTreeSet<Mapped>, bool> {
    match proc_text(&format!("/proc/{pid}/maps")) {
        Ok(maps) => Ok(deleted_code(&maps)),
        Err(error) => {
            Err(error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()))
        }
    }
}

/// Deleted files in the text of `/proc/PID/maps` that are mapped executable.
#[must_use]
pub fn deleted_code(maps: &str) -> BTreeSet<Mapped> {
    let row = |line: &str| {
        let mut rest = line;
        let mut field = || {
            let (field, tail) = rest.trim_start().split_once(' ')?;
            rest = tail;
            Some(field)
        };
        let (_range, mode, _offset, _device, inode) = (field()?, field()?, field()?, field()?, field()?);
        let path = rest.trim_start().strip_suffix(DELETED)?;
        let file = path.starts_with('/') && !NO_FILES.iter().any(|prefix| path.starts_with(prefix));
        (file && mode.contains('x')).then(|| Mapped { path: path.to_owned(), inode: inode.parse().unwrap_or(0) })
    };
    maps.lines().filter_map(row).collect()
}

fn socket_inodes(pid: u32) -> BTreeSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return BTreeSet::new() };
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    entries.flatten().filter_map(inode).collect()
}

fn all_listening() -> Result<Vec<Listening>, String> {
    let range = proc_text("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ports = range.split_whitespace().filter_map(|port| port.parse().ok());
    let ephemeral = (ports.next().unwrap_or(32_768), ports.next().unwrap_or(60_999));
    let mut all = Vec::new();
    for (table, udp) in [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)] {
        match proc_text(&format!("/proc/net/{table}")) {
            Ok(text) => all.extend(listening(&text, udp, ephemeral)),
            Err(error) if table.ends_with('6') && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read /proc/net/{table}: {error}")),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deleted_code_files_count() {
        let maps = "7f0000000000-7f0000001000 r-xp 00000000 08:01 123                        /usr/lib/libssl.so.3 (deleted)\n\
            7f0000001000-7f0000002000 r--p 00000000 08:01 123                        /usr/lib/libssl.so.3 (deleted)\n\
            7f0000003000-7f0000004000 r--p 00000000 08:01 124                        /usr/share/locale.cache (deleted)\n\
            7f0000005000-7f0000006000 r-xp 00000000 00:01 125                        /memfd:jit code (deleted)\n\
            7f0000007000-7f0000008000 r-xp 00000000 08:01 126                        /usr/lib/libc.so.6\n\
            7f0000009000-7f000000a000 r-xp 00000000 08:01 127                        /opt/my app/x (deleted)\n\
            7f000000b000-7f000000c000 rwxp 00000000 00:00 0 \n";
        let found: Vec<_> = deleted_code(maps).into_iter().map(|file| (file.path, file.inode)).collect();
        assert_eq!(found, [("/opt/my app/x".to_owned(), 127), ("/usr/lib/libssl.so.3".to_owned(), 123)]);
    }

    #[test]
    fn a_removed_file_is_not_a_replaced_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lib");
        let mapped = Mapped { path: path.display().to_string(), inode: 1 };
        assert!(!mapped.is_replaced());
        fs::write(&path, "new").unwrap();
        assert!(mapped.is_replaced());
        assert!(!Mapped { inode: fs::metadata(&path).unwrap().ino(), ..mapped }.is_replaced());
    }

    #[test]
    fn the_outermost_unit_owns_a_process() {
        assert_eq!(unit_in("/system.slice/nginx.service", ""), Some("nginx.service"));
        assert_eq!(unit_in("/user.slice/user-0.slice/user@0.service/app.slice/x.service", ""), Some("user@0.service"));
        assert_eq!(unit_in("/machine.slice/m.scope/payload/system.slice/a.service", "/machine.slice/m.scope/payload"), Some("a.service"));
        assert_eq!(unit_in("/", ""), None);
        assert!(in_another_process_table("Name:\tx\nNSpid:\t40\t1\n"));
        assert!(!in_another_process_table("Name:\tx\nNSpid:\t40\n"));
    }

    #[test]
    fn inactive_units_are_not_services_of_this_host() {
        let table = "nginx.service loaded active running Web\ncron.service loaded inactive dead Cron\nx.service loaded failed failed X y\n";
        let units = parse_units(table);
        assert_eq!(
            units.into_iter().collect::<Vec<_>>(),
            [("nginx.service".into(), "active".into()), ("x.service".into(), "failed".into())]
        );
    }

    #[test]
    fn a_socket_of_this_process_is_found_by_its_inode() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp {}", listener.local_addr().unwrap());
        let sockets = all_listening().unwrap();
        let socket = sockets.iter().find(|socket| socket.address == address).unwrap();
        assert!(socket_inodes(std::process::id()).contains(&socket.inode));
    }
}
