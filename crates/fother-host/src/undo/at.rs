//! File access by descriptors below one root, never through a link; touches the file system only.

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, open, openat2},
    io::Errno,
};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

/// Longest chain of symbolic links that is followed when a path is made canonical, as the kernel's own limit.
const LINKS_MAX: usize = 40;
/// How often the kernel may ask to try again because a directory moved while it was walked (openat2(2), `EAGAIN`).
const RETRIES_MAX: usize = 64;
/// Bytes per read while copying and hashing.
pub(crate) const CHUNK_BYTES: usize = 256 * 1024;

/// Opens the directory below which everything happens. The root itself may be reached through links: the caller names it.
pub(crate) fn open_root(root: &Path) -> io::Result<OwnedFd> {
    Ok(open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// `path` without its leading slashes, `.` for the root itself.
pub(crate) fn relative(path: &str) -> &str {
    match path.trim_start_matches('/') {
        "" => ".",
        rest => rest,
    }
}

/// Splits an absolute path into its parent and its last component.
pub(crate) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((parent, name)) => (parent, name),
        None => ("/", path),
    }
}

/// Opens `path` below `root`: no component may be a symbolic link, nothing may lead outside.
pub(crate) fn beneath(root: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES_MAX {
        match openat2(root, relative(path), flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return Ok(other?),
        }
    }
    Err(Errno::AGAIN.into())
}

/// Opens a directory below `root` for use with the `*at` calls.
pub(crate) fn directory(root: &OwnedFd, path: &str) -> io::Result<OwnedFd> {
    beneath(root, path, OFlags::PATH | OFlags::DIRECTORY)
}

/// A name for an open descriptor of any kind that calls without an `f…` form accept.
pub(crate) fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// Opens what the `O_PATH` descriptor stands for, for reading, without touching its access time where that is permitted.
pub(crate) fn reopen(fd: &OwnedFd) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let opened = open(proc_path(fd), flags | OFlags::NOATIME, Mode::empty()).or_else(|_| open(proc_path(fd), flags, Mode::empty()))?;
    Ok(File::from(opened))
}

/// Reads `from` to its end, hands every chunk to `each`, and returns the number of bytes.
pub(crate) fn pump(from: &mut impl Read, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<u64> {
    let mut buffer = vec![0_u8; CHUNK_BYTES];
    let mut total = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                each(&buffer[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Writes `bytes` to `dir/name` so that after a power cut there is the old file or the new one.
pub(crate) fn write_durably(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// Makes paths canonical below a root: links in directories are followed (inside the root), the last component is not.
pub(crate) struct Canonical<'a> {
    root: &'a OwnedFd,
    known: HashMap<String, String>,
}

impl<'a> Canonical<'a> {
    pub(crate) fn new(root: &'a OwnedFd) -> Self {
        Self { root, known: HashMap::new() }
    }

    /// The canonical form of an absolute path; what does not exist is taken as it is written.
    pub(crate) fn path(&mut self, path: &str) -> io::Result<String> {
        let clean: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        if clean.contains(&"..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path holds `..`"));
        }
        let Some((name, parents)) = clean.split_last() else { return Ok("/".to_owned()) };
        let parent = self.parent(&parents.join("/"))?;
        Ok(if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") })
    }

    fn parent(&mut self, parent: &str) -> io::Result<String> {
        if let Some(known) = self.known.get(parent) {
            return Ok(known.clone());
        }
        let mut todo: Vec<String> = parent.split('/').rev().map(str::to_owned).collect();
        let mut done: Vec<String> = Vec::new();
        let mut links = 0;
        while let Some(part) = todo.pop() {
            match part.as_str() {
                "" | "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(part),
            }
            let here = done.join("/");
            let target = beneath(self.root, &here, OFlags::PATH | OFlags::NOFOLLOW)
                .ok()
                .and_then(|fd| rustix::fs::readlinkat(&fd, "", Vec::new()).ok())
                .and_then(|target| target.into_string().ok());
            if let Some(target) = target {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Errno::LOOP.into());
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                todo.extend(target.split('/').rev().map(str::to_owned));
            }
        }
        let canonical = format!("/{}", done.join("/"));
        self.known.insert(parent.to_owned(), canonical.clone());
        Ok(canonical)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_links_are_followed_inside_the_root_only_and_the_last_part_never() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        std::os::unix::fs::symlink("usr/lib", dir.path().join("lib")).unwrap();
        std::os::unix::fs::symlink("/usr/lib", dir.path().join("abs")).unwrap();
        std::os::unix::fs::symlink("../../../../usr", dir.path().join("up")).unwrap();
        std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
        let root = open_root(dir.path()).unwrap();
        let mut canonical = Canonical::new(&root);
        assert_eq!(canonical.path("/lib/x").unwrap(), "/usr/lib/x");
        assert_eq!(canonical.path("/abs/y/z").unwrap(), "/usr/lib/y/z");
        assert_eq!(canonical.path("/up/lib/q").unwrap(), "/usr/lib/q");
        assert_eq!(canonical.path("/lib").unwrap(), "/lib");
        assert_eq!(canonical.path("/./").unwrap(), "/");
        assert!(canonical.path("/loop/x").is_err());
        assert!(canonical.path("/usr/../etc").is_err());
    }

    #[test]
    fn nothing_is_opened_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("real")).unwrap();
        std::os::unix::fs::symlink("real", dir.path().join("link")).unwrap();
        let root = open_root(dir.path()).unwrap();
        assert!(directory(&root, "/real").is_ok());
        assert_eq!(directory(&root, "/link").unwrap_err().raw_os_error(), Some(Errno::LOOP.raw_os_error()));
        assert!(beneath(&root, "/../etc", OFlags::PATH).is_err());
    }
}
