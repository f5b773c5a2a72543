//! Files below a root directory, read so that links never lead out of it (openat2(2), RESOLVE_IN_ROOT); reads the file system.

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

/// Most entries of a directory that are read.
const ENTRIES_MAX: usize = 10_000;

/// A root directory, held open.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens the directory.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// The path that it was opened by, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a regular file; absolute paths and links start at this root.
    ///
    /// # Errors
    /// Where it is absent, no regular file, unreadable or larger than `bytes_max`.
    pub fn read(&self, path: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = openat2(&self.fd, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        File::from(fd).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > bytes_max { Err(io::Error::other(format!("it is larger than {bytes_max} bytes"))) } else { Ok(bytes) }
    }

    /// The names in a directory, sorted; names that are not UTF-8 are passed over.
    ///
    /// # Errors
    /// Where it is absent or unreadable.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(&self.fd, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)?.take(ENTRIES_MAX) {
            if let Ok(name) = entry?.file_name().to_str() {
                names.push(name.to_owned());
            }
        }
        names.retain(|name| name != "." && name != "..");
        names.sort();
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_dots_stay_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(dir.path().join("secret"), "outside").unwrap();
        std::fs::write(root.join("secret"), "inside").unwrap();
        std::os::unix::fs::symlink("../../../secret", root.join("etc/a")).unwrap();
        std::os::unix::fs::symlink("/secret", root.join("etc/b")).unwrap();
        let root = Root::open(&root).unwrap();
        for path in ["/etc/a", "etc/b", "/../secret", "../../secret"] {
            assert_eq!(root.read(path, 100).unwrap(), b"inside", "{path}");
        }
        assert!(root.read("/secret", 3).is_err());
        assert!(root.read("/etc", 100).is_err());
        assert_eq!(root.list("/etc").unwrap(), ["a", "b"]);
    }
}
