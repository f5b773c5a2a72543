//! What running services write on their own: files that they hold open for writing, and data directories that they work in; reads `/proc`.
//!
//! A database writes while the package manager runs, and goes on afterwards. That is no part of the update: putting such files back under
//! a running service would destroy its data, so they are in no footprint, and the report says that going back does not touch them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path},
};

/// Trees whose files services write on their own; what appears there after the transaction is theirs.
pub(super) const SERVICE_DATA: &[&str] = &["/var/", "/srv/", "/home/", "/root/", "/opt/"];
/// Of these, what belongs to the package manager, whoever holds it open.
const PACKAGE_DATA: &[&str] = &["/var/lib/dpkg", "/var/lib/apt", "/var/cache/apt", "/var/cache/debconf", "/var/lib/ucf"];
/// A working directory counts from this depth on: `/var/lib/x`, not `/var/lib`.
const DEPTH_MIN: usize = 3;
/// Most processes and paths that are looked at.
const LOOKED_AT_MAX: usize = 16_384;
/// Access bits of an open file's flags, octal in `/proc/*/fdinfo` (proc_pid_fdinfo(5)); 0 is reading only.
const ACCESS: u32 = 0o3;

/// Paths and trees that the processes here write on their own.
pub(super) fn of_services() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    for pid in processes.filter(|name| *name != own && name.bytes().all(|b| b.is_ascii_digit())).take(LOOKED_AT_MAX) {
        let process = Path::new("/proc").join(&pid);
        out.extend(fs::read_link(process.join("cwd")).ok().and_then(|path| theirs(&path, DEPTH_MIN)));
        for descriptor in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
            let info = fs::read_to_string(process.join("fdinfo").join(descriptor.file_name())).unwrap_or_default();
            if writes(&info) {
                out.extend(fs::read_link(descriptor.path()).ok().and_then(|path| theirs(&path, DEPTH_MIN + 1)));
            }
        }
        if out.len() > LOOKED_AT_MAX {
            break;
        }
    }
    out
}

fn writes(fdinfo: &str) -> bool {
    let flags = fdinfo.lines().find_map(|line| line.strip_prefix("flags:"));
    flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok()).is_some_and(|flags| flags & ACCESS != 0)
}

/// The path, if it may be a service's own data.
fn theirs(path: &Path, depth_min: usize) -> Option<String> {
    let text = path.to_str()?;
    let deep = path.components().filter(|part| matches!(part, Component::Normal(_))).count() >= depth_min;
    let data = SERVICE_DATA.iter().any(|tree| text.starts_with(tree)) && !PACKAGE_DATA.iter().any(|tree| within(text, tree));
    (deep && data && !text.ends_with(" (deleted)")).then(|| text.to_owned())
}

fn within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The tree of `data` that `path` lies in.
pub(super) fn tree_of<'a>(path: &str, data: &'a BTreeSet<String>) -> Option<&'a String> {
    data.iter().find(|tree| within(path, tree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_deep_paths_of_data_trees_are_a_services_own() {
        let own = |path: &str, depth| theirs(Path::new(path), depth).is_some();
        assert!(own("/var/lib/postgresql/15/main", DEPTH_MIN) && own("/srv/app/data", DEPTH_MIN));
        for other in ["/", "/var/lib", "/etc/x/y/z", "/usr/lib/x/y", "/var/lib/dpkg/updates", "/var/lib/app/x (deleted)"] {
            assert!(!own(other, DEPTH_MIN), "{other}");
        }
        let data = BTreeSet::from(["/var/lib/app".to_owned()]);
        assert!(tree_of("/var/lib/app/wal/1", &data).is_some() && tree_of("/var/lib/apple", &data).is_none());
    }

    #[test]
    fn files_that_are_only_read_are_nobodys_data() {
        assert!(writes("pos:\t0\nflags:\t0100002\nmnt_id:\t5\n") && writes("flags:\t01\n"));
        assert!(!writes("pos:\t0\nflags:\t0100000\n") && !writes(""));
    }
}
