//! What a host is and holds: [`fother_core::inventory::Inventory`] of a root. Reads files; asks systemd only for the live root.
//! No file contents, environments, command lines or journal text enter.

use crate::{
    apt::conf::Conf,
    dpkg::{self, Database},
    patchers, reboot,
    root::{self, Root},
    services,
};
use fother_core::{
    inventory::{Distribution, Inventory, Reboot},
    text::printable,
};
use fother_feeds::sources::{self, Sources};

const SMALL_FILE_BYTES_MAX: usize = 64 << 10;
const WORD_CHARS_MAX: usize = 255;

/// A host's facts could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that must be there cannot be read.
    #[error(transparent)]
    Root(#[from] root::Error),
    /// The configured archives cannot be read.
    #[error("cannot read the configured archives below {path}: {error}")]
    Sources {
        /// Root.
        path: String,
        /// The system's answer.
        error: std::io::Error,
    },
}

/// What stands in files: everything but what runs.
#[derive(Debug)]
pub struct Facts {
    /// os-release(5).
    pub distribution: Distribution,
    /// dpkg's database.
    pub database: Database,
    /// apt's sources.
    pub sources: Sources,
    /// apt's configuration.
    pub conf: Conf,
    /// By name with the reason.
    pub unknown: Vec<String>,
}

impl Facts {
    /// Reads them.
    ///
    /// # Errors
    /// Where there is no dpkg database or the sources cannot be read.
    pub fn read(root: &Root) -> Result<Self, Error> {
        let mut database = dpkg::read(root)?;
        let sources =
            sources::read(&root.handle_path()).map_err(|error| Error::Sources { path: root.path().display().to_string(), error })?;
        let conf = Conf::read(root);
        let mut unknown = std::mem::take(&mut database.unknown);
        let distribution = read_distribution(root, &mut unknown);
        unknown.extend(sources.unknown.iter().chain(&conf.unknown).cloned());
        if database.architectures.is_empty() {
            unknown.push("architecture: no package names one".into());
        }
        Ok(Self { distribution, database, sources, conf, unknown })
    }

    /// Distribution and packages alone.
    ///
    /// # Errors
    /// Where there is no dpkg database.
    pub fn read_packages(root: &Root) -> Result<(Distribution, Database), Error> {
        let mut database = dpkg::read(root)?;
        let distribution = read_distribution(root, &mut database.unknown);
        Ok((distribution, database))
    }

    /// dpkg's main architecture; empty if it cannot be told.
    #[must_use]
    pub fn architecture(&self) -> &str {
        self.database.architectures.first().map_or("", String::as_str)
    }

    /// The inventory without what runs.
    #[must_use]
    pub fn inventory(&self, root: &Root) -> Inventory {
        let mut sources: Vec<_> = self.sources.configured.iter().map(|configured| configured.source.clone()).collect();
        sources.sort();
        Inventory {
            hostname: word(root, "/etc/hostname"),
            distribution: self.distribution.clone(),
            architecture: self.architecture().to_owned(),
            kernel: String::new(),
            boot_id: String::new(),
            packages: self.database.packages.clone(),
            sources,
            services: Vec::new(),
            reboot: Reboot::Unknown { reasons: vec!["this root is not running here".into()] },
            other_patchers: patchers::collect(root, &self.database.packages, &self.conf),
            unknown: self.unknown.clone(),
        }
    }
}

/// Collects a root's inventory. What runs is looked at only for the live root and is unknown, by name, for others.
///
/// # Errors
/// As for [`Facts::read`].
pub fn collect(root: &Root) -> Result<Inventory, Error> {
    let facts = Facts::read(root)?;
    let mut inventory = facts.inventory(root);
    if root.is_live() {
        let running = reboot::Running::here();
        let services = services::collect();
        inventory.hostname = printable(&rustix::system::uname().nodename().to_string_lossy(), WORD_CHARS_MAX);
        inventory.kernel = printable(&running.kernel, WORD_CHARS_MAX);
        inventory.boot_id = word(root, "/proc/sys/kernel/random/boot_id");
        inventory.reboot = reboot::with_services(reboot::answer(&inventory.packages, &running), &services.services);
        inventory.services = services.services;
        inventory.unknown.extend(services.unknown);
    } else {
        let not_here = ["services", "running kernel", "boot id"].map(|what| format!("{what}: this root is not running here"));
        inventory.unknown.extend(not_here);
    }
    inventory.unknown.sort();
    inventory.unknown.dedup();
    Ok(inventory)
}

/// The first line of a small file, made safe; empty if it cannot be read.
fn word(root: &Root, path: &str) -> String {
    let text = root.text(path, SMALL_FILE_BYTES_MAX).unwrap_or_default();
    printable(text.lines().next().unwrap_or_default().trim(), WORD_CHARS_MAX)
}

/// What a root calls itself, also where nothing else of it can be read; empty where it does not say.
#[must_use]
pub fn distribution(root: &Root) -> Distribution {
    read_distribution(root, &mut Vec::new())
}

pub(crate) fn read_distribution(root: &Root, unknown: &mut Vec<String>) -> Distribution {
    let read = |path: &str| root.text(path, SMALL_FILE_BYTES_MAX);
    let text = read("/etc/os-release").or_else(|_| read("/usr/lib/os-release")).unwrap_or_else(|error| {
        unknown.push(format!("distribution: {error}"));
        String::new()
    });
    let value = |name: &str| {
        let line = text.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        printable(line.unwrap_or_default().trim().trim_matches(['"', '\'']), WORD_CHARS_MAX)
    };
    Distribution { id: value("ID"), version: value("VERSION_ID"), codename: value("VERSION_CODENAME") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpkg::tests::root_with;
    use std::fs;

    const STATUS: &str = "Package: base-files\nStatus: install ok installed\nArchitecture: amd64\nVersion: 12.4\n\
        Conffiles:\n /etc/issue 0123456789abcdef0123456789abcdef\n";
    const SECRET: &str = "hunter2-planted";

    #[test]
    fn a_planted_secret_does_not_enter() {
        let (keep, root) = root_with(STATUS);
        let write = |path: &str, text: String| {
            let path = keep.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/issue", SECRET.into());
        write("etc/shadow", SECRET.into());
        write("etc/os-release", format!("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nHOME_URL={SECRET}\n"));
        write("etc/apt/auth.conf", format!("machine x login y password {SECRET}\n"));
        write("etc/apt/sources.list", format!("deb http://user:{SECRET}@archive.test/debian bookworm main\n# {SECRET}\n"));
        write("etc/apt/sources.list.d/odd.sources", format!("Types: deb\nURIs: http://u:{SECRET}@x.test/ {SECRET}://x\nSuites:\n"));
        write("etc/apt/apt.conf.d/90proxy", format!("Acquire::http::Proxy \"http://u:{SECRET}@proxy.test\";\n#include \"{SECRET}\";\n"));
        write("var/log/journal/x", SECRET.into());
        let inventory = collect(&root).unwrap();
        assert_eq!(inventory.distribution.codename, "bookworm");
        assert_eq!(inventory.sources[0].uri, "http://archive.test/debian");
        let text = serde_json::to_string(&inventory).unwrap();
        assert!(!text.contains(SECRET), "{text}");
    }

    #[test]
    fn what_runs_is_unknown_by_name_for_a_root_that_does_not_run() {
        let (_keep, root) = root_with(STATUS);
        let inventory = collect(&root).unwrap();
        assert!(matches!(inventory.reboot, Reboot::Unknown { .. }));
        for what in ["services:", "running kernel:", "boot id:", "distribution:"] {
            assert!(inventory.unknown.iter().any(|line| line.starts_with(what)), "{what} {:?}", inventory.unknown);
        }
    }

    #[test]
    fn this_machine_has_an_inventory_that_a_server_accepts() {
        let secret = std::process::Command::new("sleep").arg("600").env("PLANTED", SECRET).spawn();
        let mut child = secret.unwrap();
        let inventory = collect(&Root::live().unwrap()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let bytes = serde_json::to_vec(&inventory).unwrap();
        assert_eq!(Inventory::parse(&bytes).unwrap(), inventory);
        assert!(!String::from_utf8(bytes).unwrap().contains(SECRET));
        assert!(inventory.digest().is_ok() && inventory.base().is_ok());
    }
}
