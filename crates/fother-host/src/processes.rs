//! One look at every process of this machine: what code it has mapped, in which unit it runs, where it listens. Reads `/proc` only.
//!
//! Command lines and environments may hold secrets and are never read; a process is named by what it calls itself (`comm`).

use crate::{
    outside::{self, Question},
    sockets::{Listening, listening},
};
use fother_core::text::printable;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
    io::Read,
    os::unix::fs::MetadataExt,
    sync::Arc,
};

/// Most processes that are looked at.
pub const PROCESSES_MAX: usize = 65_536;
/// Most files that are kept of one process; what is beyond makes the process one that could not be looked at.
pub const FILES_PER_PROCESS_MAX: usize = 16_384;
/// Tables of this machine's own network stand here; those of others below their process.
pub const OWN_TABLES: &str = "/proc/net";
const PROC_FILE_BYTES_MAX: u64 = 16 << 20;
const NAME_CHARS_MAX: usize = 64;
const DELETED: &str = " (deleted)";
/// Prefixes of maps that are no installed file: shared memory, generated code, scratch.
const NO_FILES: [&str; 6] = ["/memfd:", "/dev/", "/SYSV", "/tmp/", "/var/tmp/", "/run/"];
/// The kernel's own threads map nothing (`PF_KTHREAD` of `include/linux/sched.h`).
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A file that a process maps as code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mapped {
    /// Absolute path as it was when it was mapped.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub path: Arc<str>,
    /// Inode that is mapped.
    pub inode: u64,
    /// The file that is mapped is no longer there; another may stand at its path.
    pub deleted: bool,
}

fn as_text<S: Serializer>(path: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(path)
}

fn from_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    String::deserialize(deserializer).map(Arc::from)
}

impl Mapped {
    /// Whether another file stands at the path now: the code was replaced, not only removed.
    #[must_use]
    pub fn is_replaced(&self) -> bool {
        fs::metadata(&*self.path).is_ok_and(|now| now.is_file() && now.ino() != self.inode)
    }
}

/// A socket that waits for others, with the table that says so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listens {
    /// `tcp 0.0.0.0:80`.
    pub address: String,
    /// `/proc/net/tcp`.
    pub table: String,
}

/// What a process has mapped, or why that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// Sorted.
    Files(Vec<Mapped>),
    /// This user may not look, or there is too much of it.
    Closed(String),
}

/// One process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// What it calls itself; hostile, made printable.
    pub name: String,
    /// The outermost system unit that it runs in.
    pub unit: Option<String>,
    /// It lives in a container of its own, with another process table.
    pub contained: bool,
    /// Its root directory is another one: its files are not this root's.
    pub other_root: bool,
    /// Its code.
    pub code: Code,
    /// Where it listens, as far as that can be told.
    pub listens: Vec<Listens>,
}

/// All processes, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Processes {
    /// Without the kernel's own.
    pub list: Vec<Process>,
    /// Addresses of this network on which a process listens that could not be looked at.
    pub unowned: BTreeSet<String>,
    /// By name with the reason.
    pub unknown: Vec<String>,
}

/// Looks at every process of this machine, or has the process outside of the sandbox look.
#[must_use]
pub fn look() -> Processes {
    let failed = |why| Processes { unknown: vec![format!("processes: {why}")], ..Processes::default() };
    outside::ask(Question::Processes).map_or_else(look_here, |answer| answer.unwrap_or_else(failed))
}

pub(crate) fn look_here() -> Processes {
    let mut out = Processes::default();
    let ids = process_ids(&mut out.unknown);
    let mut networks = Networks::new(&mut out.unknown);
    let base = base_of_units();
    let root = fs::metadata("/").map(|root| (root.dev(), root.ino())).ok();
    let mut texts = HashSet::new();
    for pid in ids {
        let Some(status) = proc_text(&format!("/proc/{pid}/status")).ok().filter(|_| !is_kernel_thread(pid)) else { continue };
        let Some(code) = code(pid, &mut texts) else { continue };
        out.list.push(Process {
            pid,
            name: name(&status),
            unit: unit_of(pid, &base),
            contained: in_another_process_table(&status),
            other_root: fs::metadata(format!("/proc/{pid}/root/")).is_ok_and(|its| Some((its.dev(), its.ino())) != root),
            code,
            listens: networks.of(pid),
        });
    }
    out.unowned = networks.unowned();
    out
}

fn name(status: &str) -> String {
    let name = status.lines().next().and_then(|line| line.strip_prefix("Name:\t")).unwrap_or_default();
    printable(name, NAME_CHARS_MAX)
}

fn is_kernel_thread(pid: u32) -> bool {
    let Ok(stat) = proc_text(&format!("/proc/{pid}/stat")) else { return false };
    // The name may hold parentheses and spaces; what follows the last one does not.
    let flags = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(6)?.parse::<u64>().ok());
    flags.is_some_and(|flags| flags & KERNEL_THREAD != 0)
}

pub(crate) fn process_ids(unknown: &mut Vec<String>) -> Vec<u32> {
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
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    })
}

/// Control group below which this system's units live: that of process 1 without `init.scope`.
pub(crate) fn base_of_units() -> String {
    let text = proc_text("/proc/1/cgroup").unwrap_or_default();
    let path = unified(&text).unwrap_or("/");
    path.trim_end_matches("init.scope").trim_end_matches('/').to_owned()
}

fn unified(text: &str) -> Option<&str> {
    let line = |prefix: &str| text.lines().find_map(|line| line.strip_prefix(prefix));
    let named = || text.lines().find_map(|line| line.split_once(":name=systemd:").map(|(_, path)| path));
    line("0::").filter(|path| *path != "/").or_else(named).or(line("0::"))
}

pub(crate) fn unit_of(pid: u32, base: &str) -> Option<String> {
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

/// What a process maps; `None` where it is gone.
fn code(pid: u32, texts: &mut HashSet<Arc<str>>) -> Option<Code> {
    match proc_text(&format!("/proc/{pid}/maps")) {
        Ok(maps) if maps.len() as u64 >= PROC_FILE_BYTES_MAX => Some(Code::Closed("its maps are too long".into())),
        Ok(maps) => {
            let files = mapped_code(&maps, texts);
            let many = files.len() > FILES_PER_PROCESS_MAX;
            Some(if many { Code::Closed("it maps too many files".into()) } else { Code::Files(files) })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => None,
        Err(error) => Some(Code::Closed(format!("/proc/{pid}/maps: {error}"))),
    }
}

/// Files in the text of `/proc/PID/maps` that are mapped executable, each once, sorted.
#[must_use]
pub fn mapped_code(maps: &str, texts: &mut HashSet<Arc<str>>) -> Vec<Mapped> {
    let mut row = |line: &str| {
        let mut rest = line;
        let mut field = || {
            let (field, tail) = rest.trim_start().split_once(' ')?;
            rest = tail;
            Some(field)
        };
        let (_range, mode, _offset, _device, inode) = (field()?, field()?, field()?, field()?, field()?);
        let path = rest.trim_start();
        if !mode.contains('x') || !path.starts_with('/') || NO_FILES.iter().any(|prefix| path.starts_with(prefix)) {
            return None;
        }
        let (path, deleted) = path.strip_suffix(DELETED).map_or((path, false), |path| (path, true));
        let path = texts.get(path).cloned().unwrap_or_else(|| {
            let path: Arc<str> = Arc::from(path);
            texts.insert(Arc::clone(&path));
            path
        });
        Some(Mapped { path, inode: inode.parse().unwrap_or(0), deleted })
    };
    let mut files: Vec<Mapped> = maps.lines().filter_map(&mut row).collect();
    files.sort();
    files.dedup();
    files
}

/// Network namespaces with their listening sockets; each is read once.
struct Networks {
    own: Option<std::path::PathBuf>,
    ephemeral: (u16, u16),
    ours: Vec<(Listening, String)>,
    owned: HashSet<u64>,
    others: BTreeMap<std::path::PathBuf, Vec<(Listening, String)>>,
}

impl Networks {
    fn new(unknown: &mut Vec<String>) -> Self {
        let range = proc_text("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
        let mut ports = range.split_whitespace().filter_map(|port| port.parse().ok());
        let ephemeral = (ports.next().unwrap_or(32_768), ports.next().unwrap_or(60_999));
        let ours = tables(OWN_TABLES, ephemeral).unwrap_or_else(|why| {
            unknown.push(format!("listening sockets: {why}"));
            Vec::new()
        });
        Self { own: fs::read_link("/proc/self/ns/net").ok(), ephemeral, ours, owned: HashSet::new(), others: BTreeMap::new() }
    }

    fn of(&mut self, pid: u32) -> Vec<Listens> {
        let inodes = socket_inodes(pid);
        if inodes.is_empty() {
            return Vec::new();
        }
        let here = fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let sockets = match here {
            Some(other) if self.own.as_ref().is_some_and(|own| *own != other) => {
                let ephemeral = self.ephemeral;
                self.others.entry(other).or_insert_with(|| tables(&format!("/proc/{pid}/net"), ephemeral).unwrap_or_default())
            }
            Some(_) | None => {
                self.owned.extend(inodes.iter());
                &self.ours
            }
        };
        let mine = sockets.iter().filter(|(socket, _)| inodes.contains(&socket.inode));
        let mut out: Vec<Listens> = mine.map(|(socket, table)| Listens { address: socket.address.clone(), table: table.clone() }).collect();
        out.sort();
        out.dedup();
        out
    }

    fn unowned(&self) -> BTreeSet<String> {
        let owned: HashSet<&str> =
            self.ours.iter().filter(|(s, _)| self.owned.contains(&s.inode)).map(|(s, _)| s.address.as_str()).collect();
        self.ours.iter().map(|(socket, _)| &socket.address).filter(|address| !owned.contains(address.as_str())).cloned().collect()
    }
}

fn socket_inodes(pid: u32) -> HashSet<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return HashSet::new() };
    let inode = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    entries.flatten().filter_map(inode).collect()
}

/// All listening sockets of one network, each with the table that names it.
fn tables(dir: &str, ephemeral: (u16, u16)) -> Result<Vec<(Listening, String)>, String> {
    let mut all = Vec::new();
    for (table, udp) in [("tcp", false), ("tcp6", false), ("udp", true), ("udp6", true)] {
        let path = format!("{dir}/{table}");
        match proc_text(&path) {
            Ok(text) => all.extend(listening(&text, udp, ephemeral).into_iter().map(|socket| (socket, path.clone()))),
            Err(error) if table.ends_with('6') && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(format!("cannot read {path}: {error}")),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_files_are_told_with_whether_they_were_deleted() {
        let maps = "7f0000000000-7f0000001000 r-xp 00000000 08:01 123                        /usr/lib/libssl.so.3 (deleted)\n\
            7f0000001000-7f0000002000 r--p 00000000 08:01 123                        /usr/lib/libssl.so.3 (deleted)\n\
            7f0000003000-7f0000004000 r--p 00000000 08:01 124                        /usr/share/locale.cache (deleted)\n\
            7f0000005000-7f0000006000 r-xp 00000000 00:01 125                        /memfd:jit code (deleted)\n\
            7f0000007000-7f0000008000 r-xp 00000000 08:01 126                        /usr/lib/libc.so.6\n\
            7f0000009000-7f000000a000 r-xp 00000000 08:01 127                        /opt/my app/x (deleted)\n\
            7f000000b000-7f000000c000 rwxp 00000000 00:00 0 \n\
            7f000000d000-7f000000e000 r-xp 00000000 00:00 0                          [vdso]\n";
        let mut texts = HashSet::new();
        let found: Vec<_> = mapped_code(maps, &mut texts).into_iter().map(|f| (f.path.to_string(), f.inode, f.deleted)).collect();
        assert_eq!(
            found,
            [
                ("/opt/my app/x".to_owned(), 127, true),
                ("/usr/lib/libc.so.6".to_owned(), 126, false),
                ("/usr/lib/libssl.so.3".to_owned(), 123, true)
            ]
        );
    }

    #[test]
    fn a_removed_file_is_not_a_replaced_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lib");
        let mapped = Mapped { path: path.display().to_string().into(), inode: 1, deleted: true };
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
    fn this_process_is_found_with_its_socket_and_the_table_that_names_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp {}", listener.local_addr().unwrap());
        let all = look();
        let own = all.list.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(own.listens.contains(&Listens { address: address.clone(), table: "/proc/net/tcp".into() }), "{own:?}");
        assert!(!all.unowned.contains(&address));
        assert!(matches!(&own.code, Code::Files(files) if files.iter().any(|file| file.path.contains("libc.so"))), "{own:?}");
        assert!(!own.contained && !own.other_root);
    }
}
