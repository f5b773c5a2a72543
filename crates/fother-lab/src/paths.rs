//! Names and places of one lab: where its state and its bulky data lie. Touches nothing but the directories that it makes.

use crate::error::{Error, Result, io};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

const STATE: &str = "/run/fother-lab";
const CACHE: &str = "/var/cache/fother/lab";
/// Where `ip netns` keeps its names.
pub(crate) const NETNS: &str = "/run/netns";
/// Interface and unit names have to fit.
const NAME_CHARS_MAX: usize = 15;

/// The address of the gateway, in every lab: each has its own network namespaces.
pub const GATEWAY: &str = "10.77.0.1";
/// Where the mirror and the lab's archive are served, in the gateway namespace.
pub const MIRROR_PORT: u16 = 8080;
/// Last byte of the first host's address.
pub(crate) const FIRST_HOST: u8 = 11;

/// Says whether `name` may name a lab or a host.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty() && name.len() <= NAME_CHARS_MAX;
    let starts = name.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let made_of = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits && starts && made_of { Ok(()) } else { Err(Error::BadName(name.into())) }
}

/// The places of one lab.
#[derive(Debug, Clone)]
pub(crate) struct Lab {
    pub name: String,
}

impl Lab {
    /// A lab's name has no '-', so that no lab's namespaces begin like another's.
    pub fn new(name: &str) -> Result<Self> {
        check_name(name)?;
        if name.contains('-') {
            return Err(Error::BadName(name.into()));
        }
        Ok(Self { name: name.into() })
    }
    /// Volatile state: pids, sockets, logs.
    pub fn state(&self) -> PathBuf {
        Path::new(STATE).join(&self.name)
    }
    /// Bulky data of this lab alone; gone after `down`.
    pub fn data(&self) -> PathBuf {
        cache().join("labs").join(&self.name)
    }
    pub fn archive(&self) -> PathBuf {
        self.data().join("archive")
    }
    pub fn host_data(&self, host: &str) -> PathBuf {
        self.data().join("hosts").join(host)
    }
    pub fn host_state(&self, host: &str) -> PathBuf {
        self.state().join("hosts").join(host)
    }
    pub fn config(&self) -> PathBuf {
        self.state().join("lab.json")
    }
    pub fn control(&self) -> PathBuf {
        self.state().join("control.sock")
    }
    pub fn log(&self) -> PathBuf {
        self.state().join("supervisor.log")
    }
    pub fn gateway(&self) -> String {
        format!("fl-{}-gw", self.name)
    }
    /// The host's network namespace and machine name. A host cannot be called `gw`.
    pub fn netns(&self, host: &str) -> String {
        format!("fl-{}-{host}", self.name)
    }
    /// The control group's name below which everything of this lab runs.
    pub fn cgroup(&self) -> String {
        format!("fother-lab-{}", self.name)
    }
}

/// What all labs share: base images, mirror cache, the archive key.
pub(crate) fn cache() -> PathBuf {
    PathBuf::from(CACHE)
}

/// Makes a directory with its parents, for root alone.
pub(crate) fn make_dir(path: &Path) -> Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io("make directory", path))
}

/// Writes a file beside its place and renames it there, with `mode`.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(io("make directory", parent))?;
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.{:?}.new", std::process::id(), std::thread::current().id()));
    let beside = path.with_file_name(name);
    std::fs::write(&beside, bytes).map_err(io("write", &beside))?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(mode)).map_err(io("set the mode of", &beside))?;
    std::fs::rename(&beside, path).map_err(io("put in place", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_their_directory_are_refused() {
        for bad in ["", "..", "a/b", "-x", "1a", "A", "a.b", "sixteen-letters-"] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["lab", "web-1", "t1"] {
            assert!(check_name(good).is_ok(), "{good:?}");
        }
    }
}
