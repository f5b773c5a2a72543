//! Lock files of a source tree: each that is known, but none of what was installed or fetched below it.

use super::walk::{self, Harvest, Place, Visit};
use crate::root::Root;
use fother_core::sbom::{Component, Sbom, lock};

/// Largest lock file in a tree, in bytes.
const LOCK_BYTES_MAX: u64 = 64 << 20;
/// Directories of what was installed, fetched or built: their lock files are other projects'.
const NOT_SOURCE: [&str; 12] = [
    "node_modules",
    "bower_components",
    "vendor",
    "target",
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    ".tox",
    "site-packages",
    "__pycache__",
];

struct Locks;

impl Visit for Locks {
    fn enters(&self, _parent: &str, name: &str) -> bool {
        !NOT_SOURCE.contains(&name)
    }

    fn file(&self, place: &Place<'_>, out: &mut Harvest) {
        let Some(name) = std::str::from_utf8(place.name).ok().filter(|name| lock::is_known(name)) else { return };
        match place.bytes(LOCK_BYTES_MAX).and_then(|bytes| lock::parse(name, &bytes)) {
            Ok(found) => {
                found.components.into_iter().for_each(|c| out.component(Component { place: place.shown(), ..c }));
                found.unknown.into_iter().for_each(|why| out.unknown(format!("{}: {why}", place.shown())));
                out.of_packages += 1;
            }
            Err(why) => out.unknown(format!("{}: {why}", place.shown())),
        }
    }
}

/// Reads all lock files of a tree.
///
/// # Errors
/// Where there is none.
pub fn lock_files(tree: &Root) -> Result<Sbom, String> {
    let harvest = walk::walk(tree, &Locks);
    if harvest.of_packages == 0 && harvest.unknown.is_empty() {
        return Err("there is no lock file that is known in it".into());
    }
    let mut sbom = Sbom {
        form: format!("{} lock files", harvest.of_packages),
        components: harvest.components,
        unknown: harvest.unknown,
        ..Sbom::default()
    };
    sbom.unknown.extend(harvest.left_out.into_iter().map(|why| format!("{why}: not looked at")));
    sbom.components.sort();
    sbom.components.dedup();
    Ok(sbom)
}
