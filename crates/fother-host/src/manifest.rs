//! What a tree looks like, path by path, so that "nothing changed" can be proven; reads the file system.

use crate::undo::{
    at,
    snapshot::{Depth, Kind, Seen, look_at},
};
use fother_core::{Digest, canonical};
use rustix::fs::{Dir, Mode, OFlags, openat};
use std::{collections::BTreeMap, io, os::fd::OwnedFd, path::Path};

/// Most paths that one manifest holds; a larger tree is an error, not a guess.
pub const MANIFEST_PATHS_MAX: usize = 5_000_000;
/// Deepest nesting of directories that is walked.
const DEPTH_MAX: usize = 256;

/// Paths that no comparison of a host counts, each with the reason. `/**` covers the directory itself and all below, a final `*` any ending.
pub const EXEMPT: &[(&str, &str)] = &[
    ("/proc/**", "kernel, not a file system on disk"),
    ("/sys/**", "kernel, not a file system on disk"),
    ("/dev/**", "devices, made anew at every boot"),
    ("/run/**", "state of the running boot, gone at the next"),
    ("/tmp/**", "temporary by definition; the clone has its own"),
    ("/var/tmp/**", "temporary by definition, no package owns any of it; services make private directories there when they start"),
    ("/var/log/**", "logs only grow; taking lines back would falsify them"),
    ("/var/cache/apt/**", "apt's cache, made anew from the indexes"),
    ("/var/lib/apt/lists/**", "indexes of the archives, refreshed by anyone at any time"),
    ("/var/lib/fother/**", "our own records, the undo archive among them"),
    ("/var/cache/fother/**", "our own cache"),
    ("/var/cache/man/**", "index of manual pages, made anew by a timer"),
    ("/var/cache/ldconfig/**", "ldconfig's cache of inodes and times, made anew when it does not match"),
    ("/var/lib/systemd/random-seed", "written at every boot and shutdown"),
    ("/var/lib/systemd/timers/**", "when timers last ran"),
    ("/var/lib/systemd/timesync/**", "clock's last known time"),
    ("/var/lib/systemd/coredump/**", "crash dumps of running programs"),
    ("/var/lib/systemd/linger/**", "made at boot"),
    ("/var/lib/private/systemd/**", "state of the running boot"),
    ("/var/lib/logrotate/**", "when logs were last rotated"),
    ("/var/spool/cron/**", "jobs of users, not of packages"),
    ("/etc/.pwd.lock", "empty lock file of the user database"),
    ("/swapfile", "memory of the running kernel"),
];

/// Why a path does not count, if it does not.
#[must_use]
pub fn exempt(path: &str) -> Option<&'static str> {
    EXEMPT.iter().find(|(pattern, _)| matches(pattern, path)).map(|(_, reason)| *reason)
}

/// Whether `pattern` covers `path`.
#[must_use]
pub fn matches(pattern: &str, path: &str) -> bool {
    if let Some(base) = pattern.strip_suffix("/**") {
        return path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    }
    pattern.strip_suffix('*').map_or(path == pattern, |start| path.starts_with(start))
}

/// What to read, and where not to go.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hash regular files.
    pub content: bool,
    /// Read extended attributes.
    pub xattrs: bool,
    /// Stay on the file system of the root.
    pub one_file_system: bool,
    /// Leave out what [`EXEMPT`] covers.
    pub skip_exempt: bool,
    /// More patterns to leave out.
    pub skip: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { content: true, xattrs: true, one_file_system: true, skip_exempt: true, skip: Vec::new() }
    }
}

/// Why a tree could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A path could not be read.
    #[error("{path} cannot be read: {source}; run as root on an intact file system")]
    Io {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The tree is larger or deeper than the bounds.
    #[error("the tree below {0} has more than {MANIFEST_PATHS_MAX} paths or is nested deeper than {DEPTH_MAX}")]
    TooLarge(String),
    /// No canonical form.
    #[error(transparent)]
    Canonical(#[from] canonical::Error),
}

/// Every path below a root with its state, sorted by path. Names that are not UTF-8 carry their bytes as `\xNN`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Absolute path, as seen from the root.
    pub entries: BTreeMap<String, Seen>,
}

/// How strict a comparison is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// What a user of the tree can tell: content, mode, owner, times, attributes, links.
    Tree,
    /// The same, and inode numbers and change times: was anything written at all?
    Written,
}

impl Manifest {
    /// Walks everything below `root` by descriptors, following no link.
    ///
    /// # Errors
    /// Where a directory cannot be read or a bound is passed. A path that vanishes meanwhile is left out.
    pub fn take(root: &Path, options: &Options) -> Result<Self, Error> {
        let fd = at::open_root(root).map_err(|source| Error::Io { path: root.display().to_string(), source })?;
        let mut walk = Walk { options, device: None, out: Self::default() };
        walk.visit(&fd, "/", 0)?;
        Ok(walk.out)
    }

    /// Paths that differ between `self` (before) and `after`, with what differs, sorted.
    #[must_use]
    pub fn diff(&self, after: &Self, strictness: Strictness) -> Vec<(String, String)> {
        let mut out: Vec<(String, String)> = Vec::new();
        for (path, old) in &self.entries {
            let what = match after.entries.get(path) {
                None => vec!["absent"],
                Some(new) => {
                    let mut what = old.state.differences(&new.state, true);
                    if strictness == Strictness::Written && (old.ctime, old.ino) != (new.ctime, new.ino) && what.is_empty() {
                        what.push("written without a visible difference");
                    }
                    what
                }
            };
            if !what.is_empty() {
                out.push((path.clone(), what.join(", ")));
            }
        }
        let new = after.entries.keys().filter(|path| !self.entries.contains_key(*path));
        out.extend(new.map(|path| (path.clone(), "present".to_owned())));
        out.sort();
        out
    }

    /// One hash over every path and state: equal for trees that [`Strictness::Tree`] calls equal, including which names share a file.
    ///
    /// # Errors
    /// Where a state has no canonical form.
    pub fn digest(&self) -> Result<Digest, Error> {
        let mut first: BTreeMap<(u64, u64), &String> = BTreeMap::new();
        let mut bytes = Vec::new();
        for (path, seen) in &self.entries {
            let shared = (seen.state.kind == Kind::File && seen.nlink > 1).then(|| *first.entry((seen.dev, seen.ino)).or_insert(path));
            bytes.extend(canonical::to_vec(&(path, &seen.state, shared))?);
            bytes.push(b'\n');
        }
        Ok(Digest::of_kind("tree", &bytes))
    }
}

struct Walk<'a> {
    options: &'a Options,
    device: Option<u64>,
    out: Manifest,
}

impl Walk<'_> {
    fn visit(&mut self, fd: &OwnedFd, path: &str, depth: usize) -> Result<(), Error> {
        let fail = |source| Error::Io { path: path.to_owned(), source };
        if (self.options.skip_exempt && exempt(path).is_some()) || self.options.skip.iter().any(|pattern| matches(pattern, path)) {
            return Ok(());
        }
        let look = Depth { content: self.options.content, xattrs: self.options.xattrs };
        let seen = look_at(fd, look, &mut |_| Ok(())).map_err(fail)?;
        if depth > DEPTH_MAX || self.out.entries.len() >= MANIFEST_PATHS_MAX {
            return Err(Error::TooLarge(path.to_owned()));
        }
        let (kind, device) = (seen.state.kind, seen.dev);
        let inside = *self.device.get_or_insert(device) == device || !self.options.one_file_system;
        self.out.entries.insert(path.to_owned(), seen);
        if kind == Kind::Dir && inside {
            self.children(fd, path, depth)?;
        }
        Ok(())
    }

    fn children(&mut self, fd: &OwnedFd, path: &str, depth: usize) -> Result<(), Error> {
        let fail = |source: io::Error| Error::Io { path: path.to_owned(), source };
        for name in names(fd).map_err(fail)? {
            let below = format!("{}/{}", path.trim_end_matches('/'), escaped(&name));
            match openat(fd, &name[..], OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
                Ok(child) => self.visit(&child, &below, depth + 1)?,
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(Error::Io { path: below, source: error.into() }),
            }
        }
        Ok(())
    }
}

/// The names in a directory, sorted, without `.` and `..`.
pub(crate) fn names(fd: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
    let dir = openat(fd, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut out = Vec::new();
    for entry in Dir::new(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            out.push(name);
        }
    }
    out.sort();
    Ok(out)
}

fn escaped(name: &[u8]) -> String {
    name.utf8_chunks().fold(String::new(), |mut out, chunk| {
        out.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\x{byte:02x}")));
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn everything() -> Options {
        Options { skip_exempt: false, ..Options::default() }
    }

    #[test]
    fn every_kind_of_change_shows_and_no_change_does_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/same"), "x").unwrap();
        fs::write(dir.path().join("d/content"), "a").unwrap();
        fs::write(dir.path().join("d/gone"), "a").unwrap();
        symlink("a", dir.path().join("d/link")).unwrap();
        let before = Manifest::take(dir.path(), &everything()).unwrap();
        assert_eq!(before.diff(&Manifest::take(dir.path(), &everything()).unwrap(), Strictness::Written), []);
        fs::write(dir.path().join("d/content"), "b").unwrap();
        fs::remove_file(dir.path().join("d/gone")).unwrap();
        fs::remove_file(dir.path().join("d/link")).unwrap();
        symlink("b", dir.path().join("d/link")).unwrap();
        fs::write(dir.path().join("d/new"), "").unwrap();
        let after = Manifest::take(dir.path(), &everything()).unwrap();
        let diff = before.diff(&after, Strictness::Tree);
        let paths: Vec<&str> = diff.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, ["/d", "/d/content", "/d/gone", "/d/link", "/d/new"]);
        assert!(diff[1].1.contains("content") && diff[2].1 == "absent" && diff[3].1.contains("link target") && diff[4].1 == "present");
        assert_ne!(before.digest().unwrap(), after.digest().unwrap());
    }

    #[test]
    fn links_are_not_followed_and_odd_names_are_kept() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        symlink("/etc", dir.path().join("etc")).unwrap();
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"a\xffb")), "").unwrap();
        let manifest = Manifest::take(dir.path(), &everything()).unwrap();
        assert_eq!(manifest.entries.keys().collect::<Vec<_>>(), ["/", "/a\\xffb", "/etc"]);
    }

    #[test]
    fn exempt_patterns_cover_what_they_say() {
        assert!(exempt("/var/log").is_some() && exempt("/var/log/x/y").is_some());
        assert!(exempt("/var/logs").is_none() && exempt("/etc/passwd").is_none());
        assert!(exempt("/var/tmp/systemd-private-1-nginx/x").is_some());
        assert!(EXEMPT.iter().all(|(pattern, reason)| pattern.starts_with('/') && reason.len() > 10));
    }
}
