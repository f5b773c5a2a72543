//! A root directory ("/", an image, a clone) whose files are opened so that no link inside it leads out of it. Reads files only.

use crate::reading;
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags, openat, openat2, readlinkat, statat};
use rustix::io::Errno;
use std::{
    fs::File,
    io::Read,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
};

/// Most entries of one directory that are listed.
pub const DIRECTORY_ENTRIES_MAX: usize = 65_536;

/// Most memory that is set aside because a file says that it is so large, in bytes.
const HINT_BYTES_MAX: usize = 16 << 20;

/// A root directory and the descriptor that everything is opened below.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    live: bool,
}

/// A file of a root could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there; often that is an answer.
    #[error("{path} is not there")]
    Absent {
        /// Full path.
        path: String,
    },
    /// The system refused.
    #[error("cannot {act} {path}: {errno}; check that it exists and that you may read it")]
    Refused {
        /// What was tried.
        act: &'static str,
        /// Full path.
        path: String,
        /// The system's answer.
        errno: Errno,
    },
    /// A device, pipe, socket or directory stands where a file is expected.
    #[error("{path} is not a regular file; it was not opened")]
    NotAFile {
        /// Full path.
        path: String,
    },
    /// Larger than the bound.
    #[error("{path} is larger than {bytes_max} bytes; it was not read")]
    TooLarge {
        /// Full path.
        path: String,
        /// The bound.
        bytes_max: usize,
    },
    /// An earlier reader did not survive it.
    #[error("{path} {why}")]
    LeftOut {
        /// Full path.
        path: String,
        /// For people.
        why: String,
    },
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Absent { .. } => std::io::ErrorKind::NotFound,
            Error::Refused { errno, .. } => errno.kind(),
            Error::NotAFile { .. } => std::io::ErrorKind::InvalidInput,
            Error::TooLarge { .. } => std::io::ErrorKind::FileTooLarge,
            Error::LeftOut { .. } => std::io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl Error {
    /// Whether the file simply is not there.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
}

impl Root {
    /// Opens a root directory. It is live (its processes can be looked at) only if it is the `/` of this process.
    ///
    /// # Errors
    /// Where the directory cannot be opened.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let refuse = |errno| refusal("open", path.display().to_string(), errno);
        let directory = openat(CWD, path, flags, Mode::empty()).map_err(refuse)?;
        let ours = rustix::fs::fstat(&directory).map_err(refuse)?;
        let slash = rustix::fs::stat("/").map_err(refuse)?;
        let live = (ours.st_dev, ours.st_ino) == (slash.st_dev, slash.st_ino);
        Ok(Self { directory, path: path.to_owned(), live })
    }

    /// The root of this machine.
    ///
    /// # Errors
    /// As for [`Root::open`].
    pub fn live() -> Result<Self, Error> {
        Self::open(Path::new("/"))
    }

    /// Whether this is the `/` that this process itself lives in.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Where the root stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory of this root as a root of its own.
    ///
    /// # Errors
    /// Where it is absent or refused.
    pub fn below(&self, path: &str) -> Result<Self, Error> {
        let directory = self.open_below(path, OFlags::PATH | OFlags::DIRECTORY)?;
        Ok(Self { directory, path: PathBuf::from(self.full(path)), live: false })
    }

    /// A path by which other code reaches this very directory while the root is open.
    #[must_use]
    pub fn handle_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.directory.as_raw_fd()))
    }

    fn full(&self, path: &str) -> String {
        self.path.join(path.trim_start_matches('/')).display().to_string()
    }

    fn open_below(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.directory, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            .map_err(|errno| refusal("open", self.full(path), errno))
    }

    /// Opens a regular file for reading. Devices, pipes and sockets are recognised without opening them.
    ///
    /// # Errors
    /// Where it is absent, refused, no regular file, or left out ([`reading`]).
    pub fn file(&self, path: &str) -> Result<File, Error> {
        reading::begin(path).map_err(|why| Error::LeftOut { path: self.full(path), why })?;
        let handle = self.open_below(path, OFlags::PATH)?;
        let refuse = |errno| refusal("open", self.full(path), errno);
        let stat = rustix::fs::fstat(&handle).map_err(refuse)?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Error::NotAFile { path: self.full(path) });
        }
        let again = format!("/proc/self/fd/{}", handle.as_raw_fd());
        openat(CWD, again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map(File::from).map_err(refuse)
    }

    /// A regular file's bytes, at most `bytes_max`.
    ///
    /// # Errors
    /// As for [`Root::file`], and where it is larger.
    pub fn read(&self, path: &str, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let file = self.file(path)?;
        // What it says about its size is a hint only: files of /proc have none.
        let size = file.metadata().map_or(0, |metadata| usize::try_from(metadata.len()).unwrap_or(usize::MAX));
        let mut bytes = Vec::with_capacity(size.min(bytes_max.min(HINT_BYTES_MAX)) + 1);
        let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
        file.take(limit)
            .read_to_end(&mut bytes)
            .map_err(|error| refusal("read", self.full(path), Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        if bytes.len() > bytes_max {
            return Err(Error::TooLarge { path: self.full(path), bytes_max });
        }
        Ok(bytes)
    }

    /// A regular file's text; bytes that are not UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// As for [`Root::read`].
    pub fn text(&self, path: &str, bytes_max: usize) -> Result<String, Error> {
        self.read(path, bytes_max).map(|bytes| match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        })
    }

    /// As [`Root::text`], with `None` where the file is absent.
    ///
    /// # Errors
    /// As for [`Root::read`].
    pub fn text_if_there(&self, path: &str, bytes_max: usize) -> Result<Option<String>, Error> {
        match self.text(path, bytes_max) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sorted names in a directory; an absent directory has none.
    ///
    /// # Errors
    /// Where it cannot be read or has more than [`DIRECTORY_ENTRIES_MAX`] entries.
    pub fn names(&self, path: &str) -> Result<Vec<String>, Error> {
        let directory = match self.open_below(path, OFlags::RDONLY | OFlags::DIRECTORY) {
            Ok(directory) => directory,
            Err(error) if error.is_absent() => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let refuse = |errno| refusal("list", self.full(path), errno);
        let mut names = Vec::new();
        for entry in Dir::new(directory).map_err(refuse)? {
            let entry = entry.map_err(refuse)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
            if names.len() > DIRECTORY_ENTRIES_MAX {
                return Err(Error::TooLarge { path: self.full(path), bytes_max: DIRECTORY_ENTRIES_MAX });
            }
        }
        names.sort();
        Ok(names)
    }

    /// Opens the directory at exactly this path (bytes, relative to the root), following no link at all.
    ///
    /// # Errors
    /// Where it is absent, refused, or a link is on the way.
    pub fn directory(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.directory, path, flags, Mode::empty(), resolve)
            .map_err(|errno| refusal("list", self.full(&String::from_utf8_lossy(path)), errno))
    }

    /// Whether something is at the path, links followed below the root.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        self.open_below(path, OFlags::PATH).is_ok()
    }

    /// Where the link at the path points, `None` if there is no link.
    #[must_use]
    pub fn link(&self, path: &str) -> Option<String> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { "/" } else { parent };
        let directory = self.open_below(parent, OFlags::PATH | OFlags::DIRECTORY).ok()?;
        let stat = statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        if !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink() {
            return None;
        }
        readlinkat(&directory, name, Vec::new()).ok().map(|target| target.to_string_lossy().into_owned())
    }

    /// Seconds since the epoch at which the file was last written.
    ///
    /// # Errors
    /// Where it is absent or refused.
    pub fn modified_s(&self, path: &str) -> Result<u64, Error> {
        let handle = self.open_below(path, OFlags::PATH)?;
        let stat = rustix::fs::fstat(&handle).map_err(|errno| refusal("look at", self.full(path), errno))?;
        Ok(u64::try_from(stat.st_mtime).unwrap_or(0))
    }
}

fn refusal(act: &'static str, path: String, errno: Errno) -> Error {
    if errno == Errno::NOENT || errno == Errno::NOTDIR { Error::Absent { path } } else { Error::Refused { act, path, errno } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_stay_below_the_root() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "outside").unwrap();
        let inside = tempfile::tempdir().unwrap();
        symlink(outside.path().join("secret"), inside.path().join("absolute")).unwrap();
        symlink("../../../../../../../../etc/passwd", inside.path().join("relative")).unwrap();
        std::fs::create_dir(inside.path().join("etc")).unwrap();
        std::fs::write(inside.path().join("etc/real"), "inside").unwrap();
        symlink("/etc/real", inside.path().join("fine")).unwrap();
        let root = Root::open(inside.path()).unwrap();
        assert!(!root.is_live());
        assert!(root.text("absolute", 99).unwrap_err().is_absent());
        assert!(root.text("/relative", 99).unwrap_err().is_absent());
        assert_eq!(root.text("/fine", 99).unwrap(), "inside");
        assert_eq!(root.link("/fine").as_deref(), Some("/etc/real"));
        assert_eq!(root.link("/etc/real"), None);
    }

    #[test]
    fn pipes_and_large_files_are_refused_without_waiting() {
        let inside = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(CWD, inside.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        std::fs::write(inside.path().join("large"), vec![b'x'; 11]).unwrap();
        let root = Root::open(inside.path()).unwrap();
        assert!(matches!(root.read("pipe", 10), Err(Error::NotAFile { .. })));
        assert!(matches!(root.read("large", 10), Err(Error::TooLarge { .. })));
        assert_eq!(root.read("large", 11).unwrap().len(), 11);
        assert_eq!(root.names("/").unwrap(), ["large", "pipe"]);
        assert!(root.names("/none").unwrap().is_empty());
    }

    #[test]
    fn only_slash_is_live() {
        assert!(Root::live().unwrap().is_live());
    }
}
