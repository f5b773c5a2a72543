//! Which files belong to packages that the distribution's advisories judge, as keyed hashes of their paths. Reads the lists of dpkg, rpm and apk of a root.

use crate::{foreign, root::Root};
use std::{
    collections::BTreeMap,
    hash::{BuildHasher, Hasher, RandomState},
};

const LISTS: &str = "/var/lib/dpkg/info";
const LIST_BYTES_MAX: usize = 64 << 20;
/// Most files of all packages.
const FILES_MAX: usize = 20_000_000;
/// Directories that are links into `/usr` where it is merged (Debian Policy 9.1.1): packages still name their files through them.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The set; by default an empty one.
#[derive(Debug, Default)]
pub struct Owned {
    keys: RandomState,
    hashes: Vec<u64>,
    merged: Vec<&'static str>,
    /// What could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

impl Owned {
    /// Reads dpkg's lists. Files of packages in `foreign` count as nobody's: the distribution does not judge them.
    #[must_use]
    pub fn of_dpkg(root: &Root, foreign: &BTreeMap<String, String>) -> Self {
        let mut owned = Self::merged(root);
        let names = root.names(LISTS).unwrap_or_else(|error| {
            owned.unknown.push(format!("files of packages: {error}"));
            Vec::new()
        });
        for name in names.iter().filter_map(|name| name.strip_suffix(".list")) {
            let package = name.split(':').next().unwrap_or(name);
            if foreign.contains_key(package) {
                continue;
            }
            match root.read(&format!("{LISTS}/{name}.list"), LIST_BYTES_MAX) {
                Ok(list) => list.split(|byte| *byte == b'\n').for_each(|path| owned.add(path)),
                Err(error) => owned.unknown.push(format!("files of package {name}: {error}")),
            }
        }
        owned.sorted()
    }

    /// Reads the lists of rpm and apk.
    #[must_use]
    pub fn of_others(root: &Root) -> Self {
        let mut owned = Self::merged(root);
        if let Err(why) = foreign::files(root, |path| owned.add(path.as_bytes())) {
            owned.unknown.push(format!("files of packages: {why}"));
        }
        owned.sorted()
    }

    fn merged(root: &Root) -> Self {
        let is_merged = |name: &&str| root.link(&format!("/{name}")).is_some_and(|to| to.trim_start_matches('/') == format!("usr/{name}"));
        Self { merged: MERGED.into_iter().filter(is_merged).collect(), ..Self::default() }
    }

    fn sorted(mut self) -> Self {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        self
    }

    fn add(&mut self, path: &[u8]) {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        if path.is_empty() || path == b"." || self.hashes.len() >= FILES_MAX {
            return;
        }
        let first = path.split(|byte| *byte == b'/').next().unwrap_or_default();
        let is_merged = first.len() < path.len() && self.merged.iter().any(|name| name.as_bytes() == first);
        let mut hasher = self.keys.build_hasher();
        if is_merged {
            hasher.write(b"usr/");
        }
        hasher.write(path);
        self.hashes.push(hasher.finish());
    }

    /// Whether a file belongs to such a package.
    #[must_use]
    pub fn holds(&self, directory: &[u8], name: &[u8]) -> bool {
        if self.hashes.is_empty() {
            return false;
        }
        let mut hasher = self.keys.build_hasher();
        if !directory.is_empty() {
            hasher.write(directory);
            hasher.write(b"/");
        }
        hasher.write(name);
        self.hashes.binary_search(&hasher.finish()).is_ok()
    }
}
