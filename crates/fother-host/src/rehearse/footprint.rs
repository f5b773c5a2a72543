//! The exact footprint of a change: what really differs between the clone before and after; reads the layers only.

use super::{Error, data::SERVICE_DATA, io_at, layers::Layers};
use crate::{
    manifest::{exempt, names},
    undo::{
        at,
        snapshot::{Depth, Kind, NOTHING, State, look_at},
    },
};
use fother_core::rehearsal::{Effect, FootprintEntry};
use rustix::{
    fs::{Mode, OFlags, getxattr, openat},
    io::Errno,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::Path,
};

/// Most paths that a transaction may touch.
const PATHS_MAX: usize = 1_000_000;
const FULL: Depth = Depth { content: true, xattrs: true };

/// Every path that the clone's upper layers (now or as remembered) say something about, as the clone names it.
pub(super) fn candidates(layers: &Layers) -> Result<BTreeSet<String>, Error> {
    let mut out = BTreeSet::new();
    for layer in &layers.all {
        for upper in [&layer.upper, &layer.before] {
            let fd = at::open_root(upper).map_err(io_at(upper.display().to_string()))?;
            walk(&fd, layer.at.trim_end_matches('/'), layers, &mut out)?;
        }
    }
    Ok(out)
}

fn walk(fd: &OwnedFd, at: &str, layers: &Layers, out: &mut BTreeSet<String>) -> Result<(), Error> {
    for name in names(fd).map_err(io_at(at.to_owned()))? {
        let Ok(name) = String::from_utf8(name) else {
            return Err(Error::Clone(format!("wrote a name in {at} that is not UTF-8; it cannot be compared")));
        };
        let path = format!("{at}/{name}");
        if exempt(&path).is_some() {
            continue;
        }
        let child = match openat(fd, &*name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Ok(child) => child,
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(io_at(path)(error.into())),
        };
        let seen = look_at(&child, Depth::default(), &mut |_| Ok(())).map_err(io_at(path.clone()))?;
        if seen.state.kind != Kind::Dir || is_opaque(&child) {
            // A whiteout, a file or a fresh directory: all that stood below is gone or hidden.
            for view in [&layers.earlier, &layers.merged] {
                below(view, &path, out)?;
            }
        }
        if seen.state.kind == Kind::Dir {
            walk(&child, &path, layers, out)?;
        }
        out.insert(path);
        if out.len() > PATHS_MAX {
            return Err(Error::Clone(format!("touched more than {PATHS_MAX} paths")));
        }
    }
    Ok(())
}

fn is_opaque(dir: &OwnedFd) -> bool {
    let mut value = [0_u8; 8];
    getxattr(at::proc_path(dir), "trusted.overlay.opaque", &mut value[..]).is_ok_and(|length| length > 0 && value[0] == b'y')
}

fn below(root: &Path, path: &str, out: &mut BTreeSet<String>) -> Result<(), Error> {
    let Ok(fd) = at::open_root(root) else { return Ok(()) };
    Ok(crate::undo::below(&fd, path, out)?)
}

/// The states of the given paths in one view of the clone.
pub(super) fn states(root: &Path, paths: &BTreeSet<String>) -> Result<BTreeMap<String, State>, Error> {
    let fd = at::open_root(root).map_err(io_at(root.display().to_string()))?;
    let mut parents = crate::undo::Parents::new(&fd);
    paths
        .iter()
        .map(|path| {
            let seen = parents.look(path, FULL).map_err(io_at(format!("{}{path}", root.display())))?;
            Ok((path.clone(), seen.state))
        })
        .collect()
}

/// What really differs. A directory whose time alone differs counts only if none of its entries does: then only a passing file stood in
/// it, and no entry would lead an undo to it.
pub(super) fn footprint(before: &BTreeMap<String, State>, after: &BTreeMap<String, State>) -> Vec<FootprintEntry> {
    let mut entries = BTreeMap::new();
    for (path, old) in before {
        let new = after.get(path).unwrap_or(&NOTHING);
        if old.differences(new, false).is_empty() {
            continue;
        }
        let effect = match (old.kind, new.kind) {
            (Kind::Absent, _) => Effect::Creates,
            (_, Kind::Absent) => Effect::Removes,
            _ => Effect::Changes,
        };
        entries.insert(path.clone(), effect);
    }
    let led_to: BTreeSet<String> = entries.keys().map(|path| at::split(path).0.to_owned()).collect();
    for (path, old) in before.iter().filter(|(path, old)| old.kind == Kind::Dir && !led_to.contains(*path)) {
        if !old.differences(after.get(path).unwrap_or(&NOTHING), true).is_empty() {
            entries.entry(path.clone()).or_insert(Effect::Changes);
        }
    }
    entries.into_iter().map(|(path, effect)| FootprintEntry { path, effect }).collect()
}

/// Paths that differ after the undo, and paths that somebody wrote after the transaction had ended.
pub(super) fn compare(
    before: &BTreeMap<String, State>,
    end: &BTreeMap<String, State>,
    footprint: &[FootprintEntry],
) -> (Vec<String>, Vec<String>) {
    let ours: BTreeSet<&str> = footprint.iter().map(|entry| entry.path.as_str()).collect();
    let above: BTreeSet<&str> = ours.iter().map(|path| at::split(path).0).collect();
    let (mut differences, mut written) = (Vec::new(), Vec::new());
    for (path, old) in before {
        let what = old.differences(end.get(path).unwrap_or(&NOTHING), true);
        if what.is_empty() {
            continue;
        }
        let own = ours.contains(path.as_str()) || (above.contains(path.as_str()) && what != ["modification time"]);
        if !own && SERVICE_DATA.iter().any(|tree| path.starts_with(tree)) {
            written.push(format!("{path}: written by a service after the transaction had ended ({})", what.join(", ")));
        } else {
            differences.push(format!("{path}: {}", what.join(", ")));
        }
    }
    (differences, written)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str, mtime_s: i64) -> State {
        let digest = fother_core::Digest::of_file(text.as_bytes());
        State { kind: Kind::File, mode: 0o644, sha256: Some(digest), size: text.len() as u64, mtime_s, ..State::ABSENT }
    }

    #[test]
    fn only_real_differences_are_in_the_footprint() {
        let dir = |mtime_s| State { kind: Kind::Dir, mode: 0o755, mtime_s, ..State::ABSENT };
        let before = [("/a", file("x", 1)), ("/b", file("x", 1)), ("/c", State::ABSENT), ("/d", dir(1)), ("/e", file("x", 1))];
        let after = [("/a", file("x", 1)), ("/b", file("y", 1)), ("/c", file("n", 2)), ("/d", dir(2)), ("/e", State::ABSENT)];
        let map = |list: [(&str, State); 5]| list.into_iter().map(|(path, state)| (path.to_owned(), state)).collect::<BTreeMap<_, _>>();
        let effects: Vec<_> = footprint(&map(before), &map(after)).into_iter().map(|entry| (entry.path, entry.effect)).collect();
        let wanted = [("/b", Effect::Changes), ("/c", Effect::Creates), ("/d", Effect::Changes), ("/e", Effect::Removes)];
        assert_eq!(effects, wanted.map(|(path, effect)| (path.to_owned(), effect)));
    }

    #[test]
    fn the_undo_is_not_exact_if_any_system_file_or_touched_path_differs() {
        let map = |list: &[(&str, &str)]| list.iter().map(|(path, text)| ((*path).to_owned(), file(text, 1))).collect::<BTreeMap<_, _>>();
        let before = map(&[("/etc/x", "1"), ("/var/lib/app/touched", "1"), ("/var/lib/app/db", "1")]);
        let end = map(&[("/etc/x", "2"), ("/var/lib/app/touched", "2"), ("/var/lib/app/db", "2")]);
        let footprint = [FootprintEntry { path: "/var/lib/app/touched".to_owned(), effect: Effect::Changes }];
        let (differences, written) = compare(&before, &end, &footprint);
        assert_eq!((differences.len(), written.len()), (2, 1));
        assert!(written[0].starts_with("/var/lib/app/db"));
    }
}
