//! Putting pre-images back: by descriptor, temporary file, metadata, rename. May be killed anywhere and run again.

use super::{
    OnConflict, RestoreReport, UndoError,
    archive::{
        BLOBS, Captured, FULL, RESTORED, conflicts_of, damaged, is_no_directory, is_restored, load, load_sealed, present, read, touched,
    },
    at, at_path,
    snapshot::{Depth, Kind, NOTHING, State, hex_decode, look, look_at},
};
use fother_core::{Digest, canonical};
use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, openat},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Write},
    os::fd::OwnedFd,
    path::Path,
};

const PLAN: &str = "restore.json";

/// What a restoration decided before its first write, so that running it again decides the same.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Plan {
    /// Paths that the transaction wrote and others wrote again since: left alone.
    conflicts: BTreeSet<String>,
    /// Paths that the transaction did not touch: whatever they are now is none of our business.
    untouched: BTreeSet<String>,
    /// Directories whose time is not the transaction's doing, with that time: restoring files in them must not change it.
    pub(super) keep_time: BTreeMap<String, (i64, u32)>,
}

impl Plan {
    fn leaves(&self, path: &str) -> bool {
        self.conflicts.contains(path) || self.untouched.contains(path)
    }

    fn leaves_below(&self, dir: &str) -> bool {
        let below = format!("{dir}/");
        [&self.conflicts, &self.untouched].iter().any(|set| set.range(below.clone()..).next().is_some_and(|path| path.starts_with(&below)))
    }
}

/// Puts every captured path back to its pre-image: content, mode, owner, times, attributes, links; removes what was absent.
/// An archive that was never sealed is restored in full, for nothing after the transaction can have written to it.
///
/// # Errors
/// [`UndoError::Conflicts`] before anything is changed; [`UndoError::Incomplete`] where paths could not be restored: run it again.
pub fn restore(root: &Path, archive: &Path, on_conflict: OnConflict) -> Result<RestoreReport, UndoError> {
    let captured = load(archive)?;
    if is_restored(archive) {
        return restored_before(archive);
    }
    let now = present(root, &captured)?;
    let plan = decide(archive, &captured, &now, on_conflict)?;
    let fd = at::open_root(root).map_err(at_path(root.display().to_string()))?;
    let report = RestoreReport { left: plan.conflicts.iter().cloned().collect(), ..RestoreReport::default() };
    let mut work = Restorer { root: &fd, blobs: &archive.join(BLOBS), captured: &captured, plan: &plan, report, failed: Vec::new() };
    work.remove(&now);
    work.directories(&now);
    work.files(&now);
    work.shared();
    work.finish_directories();
    let (report, failed) = (work.report, work.failed);
    if !failed.is_empty() {
        return Err(UndoError::Incomplete(failed));
    }
    let end = || -> io::Result<()> {
        let root = at::beneath(&fd, "/", OFlags::RDONLY | OFlags::DIRECTORY)?;
        rustix::fs::syncfs(root)?;
        at::write_durably(archive, RESTORED, b"1\n")
    };
    end().map_err(at_path(archive.display().to_string()))?;
    Ok(report)
}

fn decide(archive: &Path, captured: &Captured, now: &BTreeMap<String, State>, on_conflict: OnConflict) -> Result<Plan, UndoError> {
    if let Some(plan) = load_plan(archive)? {
        return Ok(plan);
    }
    let mut plan = Plan::default();
    if let Some(sealed) = load_sealed(archive)? {
        let ours = touched(captured, &sealed);
        plan.untouched = now.keys().filter(|path| !ours.contains(*path)).cloned().collect();
        let conflicts = conflicts_of(captured, &sealed, now);
        match on_conflict {
            OnConflict::Refuse if !conflicts.is_empty() => return Err(UndoError::Conflicts(conflicts)),
            OnConflict::Refuse | OnConflict::Leave => {
                plan.conflicts = conflicts.into_iter().map(|conflict| conflict.path).collect();
            }
            OnConflict::Overwrite => {}
        }
        for (path, state) in now.iter().filter(|(_, state)| state.kind == Kind::Dir) {
            let moved = on_conflict != OnConflict::Overwrite && sealed.get(path).map(times) != Some(times(state));
            if moved || plan.untouched.contains(path) {
                plan.keep_time.insert(path.clone(), times(state));
            }
        }
    }
    let bytes = canonical::to_vec(&plan).map_err(|error| damaged(archive, error.to_string()))?;
    at::write_durably(archive, PLAN, &bytes).map_err(at_path(archive.display().to_string()))?;
    Ok(plan)
}

/// What to say of an archive that was restored: nothing is done again, and what was left alone then is still named.
///
/// # Errors
/// Where the archive was altered.
pub fn restored_before(archive: &Path) -> Result<RestoreReport, UndoError> {
    let left = load_plan(archive)?.unwrap_or_default().conflicts.into_iter().collect();
    Ok(RestoreReport { already: true, left, ..RestoreReport::default() })
}

/// The decisions of a restoration that has begun.
pub(super) fn load_plan(archive: &Path) -> Result<Option<Plan>, UndoError> {
    if !archive.join(PLAN).exists() {
        return Ok(None);
    }
    serde_json::from_str(&read(archive, PLAN)?).map(Some).map_err(|error| damaged(archive, error.to_string()))
}

fn times(state: &State) -> (i64, u32) {
    (state.mtime_s, state.mtime_ns)
}

struct Restorer<'a> {
    root: &'a OwnedFd,
    blobs: &'a Path,
    captured: &'a Captured,
    plan: &'a Plan,
    report: RestoreReport,
    failed: Vec<String>,
}

impl Restorer<'_> {
    fn note(&mut self, path: &str, result: io::Result<()>) {
        if let Err(error) = result {
            self.failed.push(format!("{path}: {error}"));
        }
    }

    fn before(&self, path: &str) -> &State {
        self.captured.paths.get(path).unwrap_or(&NOTHING)
    }

    /// Deepest first: what was absent, and what was of another type.
    fn remove(&mut self, now: &BTreeMap<String, State>) {
        for (path, state) in now.iter().rev() {
            let before = self.before(path).kind;
            if state.kind == Kind::Absent || before == state.kind || self.plan.leaves(path) {
                continue;
            }
            let dir = state.kind == Kind::Dir;
            if !dir && before != Kind::Absent && before != Kind::Dir {
                continue;
            }
            let result = self.unlink(path, dir);
            if result.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::NOTEMPTY.raw_os_error()))
                && self.plan.leaves_below(path)
            {
                continue;
            }
            self.report.removed += u64::from(result.is_ok());
            self.note(path, result);
        }
    }

    fn unlink(&self, path: &str, dir: bool) -> io::Result<()> {
        let (parent, name) = at::split(path);
        let parent = match at::directory(self.root, parent) {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => return Ok(()),
            other => other?,
        };
        match rustix::fs::unlinkat(&parent, name, if dir { AtFlags::REMOVEDIR } else { AtFlags::empty() }) {
            Err(Errno::NOENT) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Shallowest first: directories that are missing; their metadata follows at the end.
    fn directories(&mut self, now: &BTreeMap<String, State>) {
        for (path, before) in &self.captured.paths {
            let missing = now.get(path).is_none_or(|state| state.kind != Kind::Dir);
            if before.kind != Kind::Dir || !missing || self.plan.leaves(path) {
                continue;
            }
            let (parent, name) = at::split(path);
            let result = at::directory(self.root, parent).and_then(|parent| match rustix::fs::mkdirat(&parent, name, Mode::RWXU) {
                Err(Errno::EXIST) => Ok(()),
                other => Ok(other?),
            });
            self.report.restored += u64::from(result.is_ok());
            self.note(path, result);
        }
    }

    fn files(&mut self, now: &BTreeMap<String, State>) {
        for (path, before) in &self.captured.paths {
            if matches!(before.kind, Kind::Absent | Kind::Dir) || self.plan.leaves(path) {
                self.sweep(path, before);
                continue;
            }
            if now.get(path) == Some(before) || self.captured.same_file.contains_key(path) {
                self.sweep(path, before);
                continue;
            }
            let result = self.replace(path, before);
            self.report.restored += u64::from(result.is_ok());
            self.note(path, result);
        }
    }

    /// Removes the temporary name that a killed run may have left.
    fn sweep(&mut self, path: &str, before: &State) {
        if path == "/" || before.kind == Kind::Dir {
            return;
        }
        let (parent, _) = at::split(path);
        if let Ok(parent) = at::directory(self.root, parent) {
            let _ = rustix::fs::unlinkat(&parent, temporary(path), AtFlags::empty());
        }
    }

    fn replace(&self, path: &str, before: &State) -> io::Result<()> {
        let (parent, name) = at::split(path);
        let parent = at::directory(self.root, parent)?;
        let temporary = temporary(path);
        let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
        match before.kind {
            Kind::File => self.write_file(&parent, &temporary, before)?,
            Kind::Link => {
                rustix::fs::symlinkat(before.target.as_deref().unwrap_or_default(), &parent, &temporary)?;
                metadata(&parent, &temporary, before)?;
            }
            Kind::Fifo | Kind::Char | Kind::Block | Kind::Socket => {
                let kind = match before.kind {
                    Kind::Char => FileType::CharacterDevice,
                    Kind::Block => FileType::BlockDevice,
                    Kind::Socket => FileType::Socket,
                    Kind::Fifo | Kind::File | Kind::Link | Kind::Dir | Kind::Absent => FileType::Fifo,
                };
                let (major, minor) = before.device.unwrap_or_default();
                rustix::fs::mknodat(&parent, &temporary, kind, Mode::RUSR, rustix::fs::makedev(major, minor))?;
                metadata(&parent, &temporary, before)?;
            }
            Kind::Absent | Kind::Dir => return Ok(()),
        }
        Ok(rustix::fs::renameat(&parent, &temporary, &parent, name)?)
    }

    fn write_file(&self, parent: &OwnedFd, temporary: &str, before: &State) -> io::Result<()> {
        let wanted = before.sha256.ok_or_else(|| io::Error::other("the archive holds no content for it"))?;
        let mut blob = File::open(self.blobs.join(wanted.hex()))?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(parent, temporary, flags, Mode::RUSR | Mode::WUSR)?);
        let mut hash = sha2::Sha256::new();
        at::pump(&mut blob, |chunk| {
            hash.update(chunk);
            file.write_all(chunk)
        })?;
        if Digest(hash.finalize().into()) != wanted {
            rustix::fs::unlinkat(parent, temporary, AtFlags::empty())?;
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the kept content does not match its hash"));
        }
        metadata(parent, temporary, before)?;
        file.sync_all()
    }

    /// Names that shared a file share it again.
    fn shared(&mut self) {
        for (path, first) in &self.captured.same_file {
            if self.plan.leaves(path) || self.plan.leaves(first) {
                continue;
            }
            let result = self.link(path, first);
            self.report.restored += u64::from(matches!(result, Ok(true)));
            self.note(path, result.map(|_| ()));
        }
    }

    fn link(&self, path: &str, first: &str) -> io::Result<bool> {
        let ((old_parent, old_name), (parent, name)) = (at::split(first), at::split(path));
        let (old_parent, parent) = (at::directory(self.root, old_parent)?, at::directory(self.root, parent)?);
        let inode = |dir: &OwnedFd, name: &str| look(dir, name, Depth::default()).map(|seen| (seen.dev, seen.ino, seen.state.kind));
        let want = inode(&old_parent, old_name)?;
        if want == inode(&parent, name)? {
            return Ok(false);
        }
        let temporary = temporary(path);
        let _ = rustix::fs::unlinkat(&parent, &temporary, AtFlags::empty());
        rustix::fs::linkat(&old_parent, old_name, &parent, &temporary, AtFlags::empty())?;
        rustix::fs::renameat(&parent, &temporary, &parent, name)?;
        Ok(true)
    }

    /// Deepest first: metadata of directories, their times last of all.
    fn finish_directories(&mut self) {
        for (path, before) in self.captured.paths.iter().rev() {
            let kept = self.plan.keep_time.get(path);
            if before.kind != Kind::Dir || (self.plan.leaves(path) && kept.is_none()) {
                continue;
            }
            let result = at::directory(self.root, path).and_then(|fd| {
                let now = look_at(&fd, FULL, &mut |_| Ok(()))?.state;
                let mut wanted = if self.plan.leaves(path) { now.clone() } else { before.clone() };
                if let Some(time) = kept {
                    (wanted.mtime_s, wanted.mtime_ns) = *time;
                }
                if now == wanted { Ok(()) } else { metadata(&fd, ".", &wanted) }
            });
            if !(kept.is_some() && result.as_ref().is_err_and(is_no_directory)) {
                self.note(path, result);
            }
        }
    }
}

/// A name that no other program uses and that is the same in every run.
fn temporary(path: &str) -> String {
    format!(".fother-undo-{}", Digest::of_file(path.as_bytes()).short())
}

/// Owner first (it clears set-id bits and capabilities), then attributes, mode, times.
fn metadata(parent: &OwnedFd, name: &str, wanted: &State) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    let fd = openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let (path, present) = (at::proc_path(&fd), super::snapshot::xattrs(&fd)?);
    for name in present.keys().filter(|name| !wanted.xattrs.contains_key(*name)) {
        rustix::fs::removexattr(&path, name.as_str())?;
    }
    for (name, value) in wanted.xattrs.iter().filter(|(name, value)| present.get(*name) != Some(value)) {
        let value = hex_decode(value).ok_or_else(|| io::Error::other("the archive holds a malformed attribute"))?;
        rustix::fs::setxattr(&path, name.as_str(), &value, rustix::fs::XattrFlags::empty())?;
    }
    if wanted.kind != Kind::Link {
        rustix::fs::chmod(&path, Mode::from_raw_mode(wanted.mode))?;
    }
    let now_omitted = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    let times =
        Timestamps { last_access: now_omitted, last_modification: Timespec { tv_sec: wanted.mtime_s, tv_nsec: wanted.mtime_ns.into() } };
    Ok(rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}
