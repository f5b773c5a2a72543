//! One bounded walk of a root by a few threads: follows no link, enters no pseudo file system, opens nothing but regular files.

use crate::root::Root;
use fother_core::{sbom::Component, text::printable};
use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir, fstat, fstatfs, openat, statat},
    io::Errno,
};
use std::{
    fs::File,
    io::Read as _,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    sync::{Condvar, Mutex, PoisonError},
};

/// Most directories of one walk.
const DIRECTORIES_MAX: usize = 4_000_000;
/// Most directories that wait to be walked.
const WAITING_MAX: usize = 1_000_000;
/// Most components of one walk.
const COMPONENTS_MAX: usize = 1_000_000;
/// Most reasons that are kept; the rest is counted.
const UNKNOWN_MAX: usize = 10_000;
/// Most threads: a disk answers few at once.
const THREADS_MAX: usize = 4;
const LIST_BYTES: usize = 32 << 10;
const PATH_CHARS_MAX: usize = 400;

/// Types of file systems (statfs(2)) that hold the kernel's words, not files.
const PSEUDO: [u32; 17] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x1cd1,      // devpts
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0xcafe_4a11, // bpf
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0x1980_0202, // mqueue
    0x9584_58f6, // hugetlbfs
    0x6265_6570, // configfs
    0xde5e_81e4, // efivarfs
    0x0187,      // autofs
    0x6e73_6673, // nsfs
    0x4249_4e4d, // binfmt_misc
];
/// Types of file systems that other machines, or programs, answer for, and overlays, which are containers' roots.
const OTHERS: [(u32, &str); 9] = [
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x6573_5546, "fuse"),
    (0x00c3_6400, "ceph"),
    (0x0102_1997, "9p"),
    (0x5346_414f, "afs"),
    (0x0161_1970, "gfs2"),
    (0x794c_7630, "overlay"),
];

/// What a walk gathers.
#[derive(Debug, Default)]
pub struct Harvest {
    pub components: Vec<Component>,
    pub of_packages: usize,
    pub left_out: Vec<String>,
    pub unknown: Vec<String>,
    more_unknown: usize,
    too_many: bool,
}

impl Harvest {
    /// Takes one component.
    pub fn component(&mut self, component: Component) {
        if self.components.len() < COMPONENTS_MAX { self.components.push(component) } else { self.too_many = true }
    }

    /// Takes one reason.
    pub fn unknown(&mut self, why: String) {
        if self.unknown.len() < UNKNOWN_MAX { self.unknown.push(why) } else { self.more_unknown += 1 }
    }

    fn merge(&mut self, other: Self) {
        other.components.into_iter().for_each(|component| self.component(component));
        other.unknown.into_iter().for_each(|why| self.unknown(why));
        self.left_out.extend(other.left_out);
        self.of_packages += other.of_packages;
        self.more_unknown += other.more_unknown;
        self.too_many |= other.too_many;
    }
}

/// One regular file where it stands.
pub struct Place<'a> {
    handle: &'a OwnedFd,
    /// Its directory below the root, without a slash at the start; empty for the root itself.
    pub directory_bytes: &'a [u8],
    /// The same as text.
    pub directory_text: &'a str,
    /// Its name.
    pub name: &'a [u8],
}

impl Place<'_> {
    /// Its path for people.
    pub fn shown(&self) -> String {
        shown(self.directory_text, self.name)
    }

    /// Its mode, without opening it; `None` where it is gone.
    pub fn mode(&self) -> Option<u32> {
        statat(self.handle, self.name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|stat| stat.st_mode)
    }

    /// Opens it.
    ///
    /// # Errors
    /// Where it cannot be read or is no regular file any more.
    pub fn open(&self) -> Result<File, String> {
        // No waiting at a pipe that took the file's place.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(self.handle, self.name, flags, Mode::empty()).map_err(refused)?;
        let stat = fstat(&file).map_err(refused)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err("it is no regular file".into());
        }
        Ok(file.into())
    }

    /// Its bytes, at most `bytes_max`.
    ///
    /// # Errors
    /// As for [`Place::open`], and where it is larger.
    pub fn bytes(&self, bytes_max: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.open()?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
        if bytes.len() as u64 > bytes_max {
            return Err(format!("it is larger than {bytes_max} bytes; it was not read"));
        }
        Ok(bytes)
    }
}

fn refused(errno: Errno) -> String {
    format!("it cannot be read: {errno}")
}

fn shown(directory: &str, name: &[u8]) -> String {
    let slash = if directory.is_empty() || name.is_empty() { "" } else { "/" };
    printable(&format!("/{directory}{slash}{}", String::from_utf8_lossy(name)), PATH_CHARS_MAX)
}

/// What is wanted of a walk.
pub trait Visit: Sync {
    /// Whether a directory is entered.
    fn enters(&self, parent: &str, name: &str) -> bool;
    /// Looks at a regular file.
    fn file(&self, place: &Place<'_>, out: &mut Harvest);
}

#[derive(Default)]
struct Waiting {
    directories: Vec<Vec<u8>>,
    walked: usize,
    /// Threads that may still add directories.
    busy: usize,
}

struct Walk<'a, V> {
    root: &'a Root,
    visit: &'a V,
    device: u64,
    waiting: Mutex<Waiting>,
    more: Condvar,
}

/// Walks a root.
pub fn walk<V: Visit>(root: &Root, visit: &V) -> Harvest {
    let mut harvest = Harvest::default();
    let device = match root.directory(b"").map_err(|error| error.to_string()).and_then(|top| fstat(&top).map_err(refused)) {
        Ok(stat) => stat.st_dev,
        Err(why) => {
            harvest.unknown(format!("/: {why}"));
            return harvest;
        }
    };
    let waiting = Mutex::new(Waiting { directories: vec![Vec::new()], ..Waiting::default() });
    let walk = Walk { root, visit, device, waiting, more: Condvar::new() };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get().min(THREADS_MAX));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| walk.work())).collect();
        for worker in workers {
            match worker.join() {
                Ok(found) => harvest.merge(found),
                Err(_) => harvest.unknown("a part of the walk ended early; please report this".into()),
            }
        }
    });
    if harvest.more_unknown > 0 {
        harvest.unknown.push(format!("{} more files could not be read or told", harvest.more_unknown));
    }
    if harvest.too_many {
        harvest.unknown.push(format!("components beyond the first {COMPONENTS_MAX}"));
    }
    harvest
}

impl<V: Visit> Walk<'_, V> {
    fn work(&self) -> Harvest {
        let mut harvest = Harvest::default();
        let mut buffer = vec![MaybeUninit::uninit(); LIST_BYTES];
        let mut found = Vec::new();
        while let Some(directory) = self.take() {
            if let Err(why) = self.directory(&directory, &mut buffer, &mut found, &mut harvest) {
                harvest.unknown(format!("{}: {why}; it was not walked", shown(&String::from_utf8_lossy(&directory), b"")));
            }
            self.give(&mut found, &mut harvest);
        }
        harvest
    }

    /// The next directory; `None` when all is walked.
    fn take(&self) -> Option<Vec<u8>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(directory) = waiting.directories.pop() {
                waiting.walked += 1;
                waiting.busy += 1;
                return Some(directory);
            }
            if waiting.busy == 0 {
                return None;
            }
            waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands in the directories that were found in one.
    fn give(&self, found: &mut Vec<Vec<u8>>, harvest: &mut Harvest) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.busy -= 1;
        for directory in found.drain(..) {
            if waiting.directories.len() < WAITING_MAX && waiting.walked < DIRECTORIES_MAX {
                waiting.directories.push(directory);
            } else {
                let name = shown(&String::from_utf8_lossy(&directory), b"");
                harvest.unknown(format!("{name}: there are too many directories; it was not walked"));
            }
        }
        self.more.notify_all();
    }

    fn directory(
        &self,
        path: &[u8],
        buffer: &mut [MaybeUninit<u8>],
        found: &mut Vec<Vec<u8>>,
        harvest: &mut Harvest,
    ) -> Result<(), String> {
        let text = String::from_utf8_lossy(path);
        let handle = match self.root.directory(path) {
            Ok(handle) => handle,
            // Gone since its parent was listed: a running machine's directories come and go.
            Err(error) if error.is_absent() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let device = fstat(&handle).map_err(refused)?.st_dev;
        if device != self.device && self.is_foreign(&handle, &text, harvest)? {
            return Ok(());
        }
        let mut entries = RawDir::new(&handle, buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(refused)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => statat(&handle, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
                    .map_or(FileType::Unknown, |stat| FileType::from_raw_mode(stat.st_mode)),
                known => known,
            };
            if kind.is_dir() && self.visit.enters(&text, &String::from_utf8_lossy(name)) {
                let slash: &[u8] = if path.is_empty() { b"" } else { b"/" };
                found.push([path, slash, name].concat());
            } else if kind.is_file() {
                let place = Place { handle: &handle, directory_bytes: path, directory_text: &text, name };
                self.visit.file(&place, harvest);
            }
        }
        Ok(())
    }

    /// Whether a directory of another device is none of this root's files; what others answer for is named.
    fn is_foreign(&self, handle: &OwnedFd, text: &str, harvest: &mut Harvest) -> Result<bool, String> {
        let kind = u32::try_from(fstatfs(handle).map_err(refused)?.f_type & 0xffff_ffff).unwrap_or(0);
        if PSEUDO.contains(&kind) {
            return Ok(true);
        }
        let other = OTHERS.iter().find(|(number, _)| *number == kind);
        if let Some((_, name)) = other {
            harvest.left_out.push(format!("{}: a file system of type {name}", shown(text, b"")));
        }
        Ok(other.is_some())
    }
}
