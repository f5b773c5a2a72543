//! The state of one path: everything that a user of the file can tell, and nothing else; reads the file system.

use super::at;
use fother_core::Digest;
use rustix::{
    fs::{FileType, OFlags, Stat, fstat, getxattr, listxattr, openat, readlinkat},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{collections::BTreeMap, io, os::fd::OwnedFd};

/// Largest list of attribute names and largest single attribute that the kernel hands out (xattr(7)).
const XATTR_BYTES_MAX: usize = 65_536;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing.
    Absent,
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Link,
    /// Named pipe.
    Fifo,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Unix socket.
    Socket,
}

/// The state of one path. Two equal states cannot be told apart by content, mode, owner, modification time, attributes or target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// What stands there.
    pub kind: Kind,
    /// Permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time, whole seconds since 1970.
    pub mtime_s: i64,
    /// Modification time, nanoseconds of the second.
    pub mtime_ns: u32,
    /// Size of a regular file in bytes; 0 for everything else.
    pub size: u64,
    /// Content of a regular file, where it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Extended attributes (access control lists and capabilities among them), values in hexadecimal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// Target of a symbolic link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
}

impl State {
    /// Nothing stands there.
    pub const ABSENT: Self = Self {
        kind: Kind::Absent,
        mode: 0,
        uid: 0,
        gid: 0,
        mtime_s: 0,
        mtime_ns: 0,
        size: 0,
        sha256: None,
        xattrs: BTreeMap::new(),
        target: None,
        device: None,
    };

    /// In words, in what `self` and `other` differ; empty if they are equal. With `times_of_dirs` false, a directory's time does not count.
    #[must_use]
    pub fn differences(&self, other: &Self, times_of_dirs: bool) -> Vec<&'static str> {
        if self.kind != other.kind {
            return vec![match (self.kind, other.kind) {
                (_, Kind::Absent) => "absent",
                (Kind::Absent, _) => "present",
                _ => "type",
            }];
        }
        let times = self.kind != Kind::Dir || times_of_dirs;
        let table = [
            ("content", self.sha256 != other.sha256 || self.size != other.size),
            ("mode", self.mode != other.mode),
            ("owner", (self.uid, self.gid) != (other.uid, other.gid)),
            ("modification time", times && (self.mtime_s, self.mtime_ns) != (other.mtime_s, other.mtime_ns)),
            ("extended attributes", self.xattrs != other.xattrs),
            ("link target", self.target != other.target),
            ("device number", self.device != other.device),
        ];
        table.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
    }
}

/// [`State::ABSENT`] with an address.
pub(crate) static NOTHING: State = State::ABSENT;

/// A state together with what only the kernel sees of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The state.
    pub state: State,
    /// File system's device number.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Number of names.
    pub nlink: u64,
    /// Change time: seconds and nanoseconds.
    pub ctime: (i64, u32),
}

impl Seen {
    /// Nothing stands there.
    pub const ABSENT: Self = Self { state: State::ABSENT, dev: 0, ino: 0, nlink: 0, ctime: (0, 0) };
}

/// What to read beside the inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth {
    /// Hash regular files.
    pub content: bool,
    /// Read extended attributes.
    pub xattrs: bool,
}

/// Reads the state of `name` in an open directory, without following a link. A missing name is [`State::ABSENT`].
pub(crate) fn look(parent: &OwnedFd, name: &str, depth: Depth) -> io::Result<Seen> {
    let fd = match openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, rustix::fs::Mode::empty()) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(Seen::ABSENT),
        other => other?,
    };
    look_at(&fd, depth, &mut |_| Ok(()))
}

/// Reads the state behind an `O_PATH` descriptor; the content of a regular file also goes to `sink`.
#[allow(clippy::unnecessary_cast, reason = "the field types of stat differ between architectures")]
pub(crate) fn look_at(fd: &OwnedFd, depth: Depth, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<Seen> {
    let stat = fstat(fd)?;
    let mut state = from_stat(&stat);
    if state.kind == Kind::Link {
        let target = readlinkat(fd, "", Vec::new())?;
        state.target = Some(target.into_string().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the link target is not UTF-8"))?);
    }
    if depth.xattrs {
        state.xattrs = xattrs(fd)?;
    }
    if state.kind == Kind::File && depth.content {
        let mut hash = sha2::Sha256::new();
        let mut file = at::reopen(fd)?;
        state.size = at::pump(&mut file, |chunk| {
            hash.update(chunk);
            sink(chunk)
        })?;
        state.sha256 = Some(Digest(hash.finalize().into()));
    }
    Ok(Seen {
        state,
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        nlink: stat.st_nlink as u64,
        ctime: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
    })
}

#[allow(clippy::unnecessary_cast, reason = "the field types of stat differ between architectures")]
fn from_stat(stat: &Stat) -> State {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link,
        FileType::Fifo => Kind::Fifo,
        FileType::CharacterDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        FileType::Socket => Kind::Socket,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    };
    let device = matches!(kind, Kind::Char | Kind::Block).then(|| (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)));
    State {
        kind,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime_s: stat.st_mtime as i64,
        mtime_ns: stat.st_mtime_nsec as u32,
        size: if kind == Kind::File { stat.st_size as u64 } else { 0 },
        device,
        ..State::ABSENT
    }
}

/// All extended attributes but those that an overlay keeps for itself.
pub(crate) fn xattrs(fd: &OwnedFd) -> io::Result<BTreeMap<String, String>> {
    let path = at::proc_path(fd);
    let mut names = vec![0_u8; XATTR_BYTES_MAX];
    let length = match listxattr(&path, &mut names[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut out = BTreeMap::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "an attribute's name is not UTF-8"))?;
        if name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.") {
            continue;
        }
        let mut value = vec![0_u8; XATTR_BYTES_MAX];
        match getxattr(&path, name, &mut value[..]) {
            Ok(length) => out.insert(name.to_owned(), hex_encode(&value[..length])),
            Err(Errno::NODATA) => None,
            Err(error) => return Err(error.into()),
        };
    }
    Ok(out)
}

fn hex_encode(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Reads hexadecimal digits back; `None` for anything else.
pub(crate) fn hex_decode(text: &str) -> Option<Vec<u8>> {
    (text.len().is_multiple_of(2) && text.is_ascii())
        .then(|| (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect())
        .flatten()
}
