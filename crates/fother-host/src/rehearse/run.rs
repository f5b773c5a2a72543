//! One rehearsal from the first mount to the report; runs the host's side of it.

use super::{
    Error, MOVED_MAX, RehearseRequest,
    clone::{Clone, stop_stale},
    data,
    driver::{After, Order, Undone, put},
    footprint, io_at, judge,
    judge::Observation,
    layers::{FOREIGN, Layers, WRITTEN, can_hold_upper, clean},
};
use crate::{
    manifest::{EXEMPT, Manifest, Options, Strictness},
    transact::{self, Progress, Public, Transaction, units},
    undo,
};
use fother_core::{
    rehearsal::{Breakage, Rehearsal, UndoProof, Verdict},
    text::{printable, quoted},
};
use rustix::process::geteuid;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder},
    io::Read,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Largest answer of the clone that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How long the clone may take to stop, in seconds.
const STOP_S_MAX: u64 = 30;
/// How often a rehearsal is repeated because the host moved meanwhile.
const REPEATS_MAX: u32 = 1;

/// Rehearses a transaction. The host is not changed; `work` is used and left empty.
///
/// # Errors
/// Only where not even "unknown, because" can be said: not root, or the request is unusable.
pub fn rehearse(request: &RehearseRequest, progress: &mut dyn FnMut(Progress)) -> Result<Rehearsal, Error> {
    if !geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&request.work).map_err(io_at(request.work.display().to_string()))?;
    let start = Instant::now();
    let mut repeats = 0;
    loop {
        let mut report = once(request, progress);
        let touched: BTreeSet<&str> = report.footprint.iter().map(|entry| entry.path.as_str()).collect();
        let matters = report.moved.len() > MOVED_MAX || report.moved.iter().any(|path| touched.contains(path.as_str()));
        if matters && repeats < REPEATS_MAX {
            repeats += 1;
            continue;
        }
        if matters {
            let moved = report.moved.len();
            unknown(
                &mut report,
                format!("{moved} paths of the host changed while it was rehearsed, twice: the clone does not stand for it"),
            );
        }
        report.total_ms = millis(start);
        return Ok(report);
    }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn unknown(report: &mut Rehearsal, why: String) {
    report.reasons.push(why);
    if report.verdict == Verdict::Passes {
        report.verdict = Verdict::Unknown;
    }
}

fn once(request: &RehearseRequest, progress: &mut dyn FnMut(Progress)) -> Rehearsal {
    let mut report = Rehearsal::begun(request.base, request.changes.clone());
    stop_stale(&request.work);
    clean(&request.work);
    let result = can_hold_upper(&request.work).map_err(Error::Clone).and_then(|()| {
        // Told by the host itself, before a clone of something half-done is made.
        let packages = transact::unclean()?;
        if !packages.is_empty() {
            return Err(transact::ApplyError::Unclean { packages }.into());
        }
        progress(Progress::new("clone", 0, "reading the host"));
        let host = host_manifest(&request.work)?;
        session(request, &mut report, progress)?;
        report.moved = host.diff(&host_manifest(&request.work)?, Strictness::Written).into_iter().map(|(path, _)| path).collect();
        Ok(())
    });
    if let Err(error) = result {
        unknown(&mut report, error.to_string());
    }
    clean(&request.work);
    report
}

/// The trees that packages write, by inode only.
fn host_manifest(work: &Path) -> Result<Manifest, Error> {
    let mut all = Manifest::default();
    let own = format!("{}/**", work.display());
    let patterns = || {
        EXEMPT.iter().map(|(pattern, _)| (*pattern).to_owned()).chain(FOREIGN.iter().map(|dir| format!("{dir}/**"))).chain([own.clone()])
    };
    let dirs = WRITTEN.iter().filter(|dir| !["/home", "/srv", "/root"].contains(*dir));
    for dir in dirs.filter(|dir| Path::new(dir).is_dir() && !Path::new(dir).is_symlink()) {
        let skip =
            patterns().filter_map(|pattern| pattern.strip_prefix(dir).filter(|rest| rest.starts_with('/')).map(str::to_owned)).collect();
        let options = Options { content: false, xattrs: false, one_file_system: false, skip_exempt: false, skip };
        let part = Manifest::take(Path::new(dir), &options)?;
        all.entries.extend(part.entries.into_iter().map(|(path, seen)| (format!("{dir}{}", path.trim_end_matches('/')), seen)));
    }
    Ok(all)
}

/// One clone, from mounting to comparing.
fn session(request: &RehearseRequest, report: &mut Rehearsal, progress: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let layers = Layers::mount(&request.work)?;
    let exchange = request.work.join("exchange");
    DirBuilder::new().mode(0o700).create(&exchange).map_err(io_at(exchange.display().to_string()))?;
    let tx = transaction(request);
    report.conflicts = transact::conffile_conflicts(&layers.merged, &tx)?;
    report.reasons.extend(layers.left_out.iter().map(|what| format!("not in the clone: {what}")));
    put(&exchange, "order.json", &Order { tx, checks: request.checks.clone() })?;
    progress(Progress::new("clone", 30, "booting the clone"));
    let clone = Clone::start(request, &layers, &exchange)?;
    report.reasons.extend(clone.unlimited.clone());
    let mut talk = Talk { request, exchange: &exchange, clone, deadline: Instant::now() + Duration::from_secs(request.limits.time_s) };
    let before: Observation = talk.answer("before.json")?;
    layers.remember()?;
    progress(Progress::new("upgrade", 0, "upgrading the clone"));
    talk.order("go-apply")?;
    let after: After = talk.answer("after.json")?;
    judge_after(request, report, &before, &after, talk.clone.booted);
    if after.trouble.is_some() {
        return Ok(());
    }
    progress(Progress::new("undo", 0, "undoing it in the clone and comparing"));
    let data = before.data.union(&after.seen.data).cloned().collect();
    undo_and_compare(report, &layers, &mut talk, (&before, data), request)
}

fn judge_after(request: &RehearseRequest, report: &mut Rehearsal, before: &Observation, after: &After, booted: bool) {
    let on_host = if units::systemd_runs() { units::show().unwrap_or_default() } else { BTreeMap::new() };
    report.exercised = judge::exercised(before, &after.seen, &on_host);
    if !units::systemd_runs() {
        report.exercised.extend(judge::idle_listeners(before, &judge::listeners()));
    }
    for why in judge::unanswered(before) {
        unknown(report, why);
    }
    if !booted {
        let why = "the clone has no systemd to boot: packages and undo were rehearsed, no service was exercised".to_owned();
        if report.exercised.is_empty() { report.reasons.push(why) } else { unknown(report, why) }
    }
    report.exercised.extend(judge::not_asked(&request.checks));
    if let Some(trouble) = &after.trouble {
        // The clone's own marks do not count: its packages could have made them.
        let public = Public::of(&transaction(request));
        let why = quoted(trouble, |line| public.knows(line));
        if after.failed {
            report.verdict = Verdict::Breaks;
            report.breakages.push(Breakage { what: after.package.clone().unwrap_or_else(|| "the package manager".to_owned()), why });
        } else {
            unknown(report, format!("the transaction did not start in the clone:\n{why}"));
        }
    }
    if after.failed || after.trouble.is_none() {
        report.breakages.extend(judge::newly_broken(before, &after.seen));
    }
    let mut restarts = judge::restarted(before, &after.seen);
    for applied in after.applied.iter() {
        report.apply_ms = applied.apply_ms;
        restarts.extend(applied.restarts.iter().map(|restart| restart.unit.clone()));
        report.reboot.extend(applied.put_off.iter().map(|what| printable(what, 300)));
        report.reasons.extend(applied.notes.iter().map(|note| printable(note, 300)));
        for restart in applied.restarts.iter().filter(|restart| !restart.ok) {
            if !report.breakages.iter().any(|known| known.what == restart.unit) {
                report.breakages.push(Breakage { what: restart.unit.clone(), why: marked(&restart.note) });
            }
        }
    }
    report.restarts = restarts.into_iter().map(|unit| printable(&unit, 256)).collect();
    let kernel = report.changes.iter().filter(|change| change.name.starts_with("linux-image-") && change.to.is_some());
    report.reboot.extend(kernel.map(|change| format!("a new kernel: {}", change.name)));
    if after.seen.reboot_required {
        report.reboot.push("a package asks for it (/run/reboot-required)".to_owned());
    }
    if !report.breakages.is_empty() {
        report.verdict = Verdict::Breaks;
    }
}

/// Text of ours in which quoted lines keep their marks.
fn marked(text: &str) -> String {
    text.lines().map(|line| printable(line, 500)).collect::<Vec<_>>().join("\n")
}

fn transaction(request: &RehearseRequest) -> Transaction {
    Transaction {
        changes: request.changes.clone(),
        debs: request.debs.clone(),
        work: PathBuf::new(),
        conffiles: request.conffiles,
        lock_wait_s: 30,
        space_bytes: 0,
    }
}

fn undo_and_compare(
    report: &mut Rehearsal,
    layers: &Layers,
    talk: &mut Talk<'_>,
    (before, data): (&Observation, BTreeSet<String>),
    request: &RehearseRequest,
) -> Result<(), Error> {
    let mut touched = footprint::candidates(layers)?;
    // No service's own data is put back under it; files that packages bring are not a service's own.
    let mut packaged = package_files(&layers.earlier, &touched)?;
    packaged.extend(package_files(&layers.merged, &touched)?);
    let own: BTreeSet<String> =
        touched.iter().filter(|path| data::tree_of(path, &data).is_some() && !packaged.contains(*path)).cloned().collect();
    touched.retain(|path| !own.contains(path));
    let (old, new) = (footprint::states(&layers.earlier, &touched)?, footprint::states(&layers.merged, &touched)?);
    report.footprint = footprint::footprint(&old, &new);
    let archive = talk.exchange.join("undo");
    // Directories of which only the time differs are kept too: entries came and went in them.
    let paths: Vec<String> = old.iter().filter(|(path, state)| new.get(*path) != Some(*state)).map(|(path, _)| path.clone()).collect();
    let kept = undo::capture(&layers.earlier, &paths, &archive)?;
    undo::seal(&layers.merged, &archive)?;
    let written: u64 = report.footprint.iter().filter_map(|entry| new.get(&entry.path)).map(|state| state.size).sum();
    let packages: u64 = request.changes.iter().filter_map(|change| change.offer.as_ref()).map(|offer| offer.size).sum();
    report.space_bytes = written + kept.bytes + 2 * packages;
    talk.order("go-undo")?;
    let restored: Undone = talk.answer("restored.json")?;
    talk.order("go-restart")?;
    let undone: Undone = talk.answer("undone.json")?;
    talk.order("go-stop")?;
    talk.stop();
    let mut touched = footprint::candidates(layers)?;
    touched.extend(undo::paths(&archive)?);
    touched.retain(|path| data::tree_of(path, &data).is_none() || packaged.contains(path));
    let (old, end) = (footprint::states(&layers.earlier, &touched)?, footprint::states(&layers.merged, &touched)?);
    let (differences, written) = footprint::compare(&old, &end, &report.footprint);
    report.undo = UndoProof { paths_compared: old.len() as u64, differences, exempt: written };
    report.undo.differences.extend(restored.trouble.map(|why| printable(&why, 1_000)));
    let broken = judge::newly_broken(before, &undone.seen);
    report.undo.differences.extend(broken.into_iter().map(|broken| format!("after the undo, {}: {}", broken.what, broken.why)));
    for tree in own.iter().filter_map(|path| data::tree_of(path, &data)).collect::<BTreeSet<_>>() {
        report.undo.exempt.push(format!("{tree}: a running service's own data"));
        report.reasons.push(printable(
            &format!("{tree} is a running service's own data: going back leaves it as it is then, so keep a backup of it"),
            300,
        ));
    }
    report.undo.exempt.extend(EXEMPT.iter().map(|(path, reason)| format!("{path}: {reason}")));
    if !report.undo.differences.is_empty() {
        report.verdict = Verdict::Breaks;
        report.reasons.push(format!("the undo is not exact: {} differences", report.undo.differences.len()));
    }
    Ok(())
}

/// Of `paths`, those that the clone's package database knows as files of packages.
fn package_files(root: &Path, paths: &BTreeSet<String>) -> Result<BTreeSet<String>, Error> {
    let info = root.join("var/lib/dpkg/info");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(&info).map_err(io_at(info.display().to_string()))?.flatten() {
        if entry.path().extension().is_some_and(|ending| ending == "list") {
            let text = fs::read_to_string(entry.path()).map_err(io_at(entry.path().display().to_string()))?;
            found.extend(text.lines().filter(|line| paths.contains(*line)).map(str::to_owned));
        }
    }
    Ok(found)
}

/// The host's end of the talk with the driver. What the clone says is hostile: bounded, never followed.
struct Talk<'a> {
    request: &'a RehearseRequest,
    exchange: &'a Path,
    clone: Clone,
    deadline: Instant,
}

impl Talk<'_> {
    fn order(&self, name: &str) -> Result<(), Error> {
        put(self.exchange, name, &true)
    }

    fn answer<T: for<'de> Deserialize<'de>>(&mut self, name: &str) -> Result<T, Error> {
        let path = self.exchange.join(name);
        loop {
            if let Some(bytes) = read_bounded(&path)? {
                return serde_json::from_slice(&bytes)
                    .map_err(|error| Error::Clone(format!("gave an answer in {name} that cannot be read: {error}")));
            }
            if !self.clone.alive() && !path.exists() {
                return Err(Error::Clone(format!("stopped before {name}:\n{}", self.last_words())));
            }
            if Instant::now() >= self.deadline {
                return Err(Error::Clone(format!(
                    "took longer than {} s (waiting for {name}):\n{}",
                    self.request.limits.time_s,
                    self.last_words()
                )));
            }
            self.check_space()?;
            std::thread::sleep(transact::POLL);
        }
    }

    fn check_space(&self) -> Result<(), Error> {
        let stat = rustix::fs::statvfs(&self.request.work).map_err(|error| io_at("the work directory")(error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < self.request.limits.free_bytes {
            return Err(Error::Clone(format!(
                "was stopped: {free} bytes free below {}, the limit is {}",
                self.request.work.display(),
                self.request.limits.free_bytes
            )));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        let logs = ["driver.log", "nspawn.log"].map(|name| read_bounded(&self.exchange.join(name)).ok().flatten().unwrap_or_default());
        let text = logs.map(|log| String::from_utf8_lossy(&log[log.len().saturating_sub(2_000)..]).into_owned()).concat();
        quoted(&text, |_| false)
    }

    fn stop(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(STOP_S_MAX);
        while self.clone.alive() && Instant::now() < deadline {
            std::thread::sleep(transact::POLL);
        }
    }
}

/// A regular file of the clone's, without following links; `None` if there is none.
fn read_bounded(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    use rustix::fs::{Mode, OFlags, open};
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match open(path, flags, Mode::empty()) {
        Ok(fd) => fs::File::from(fd),
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        Err(error) => return Err(io_at(path.display().to_string())(error.into())),
    };
    let meta = file.metadata().map_err(io_at(path.display().to_string()))?;
    if !meta.is_file() || meta.len() > ANSWER_BYTES_MAX {
        return Err(Error::Clone(format!("put something else than a small file at {}", path.display())));
    }
    let mut bytes = Vec::new();
    file.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map_err(io_at(path.display().to_string()))?;
    Ok(Some(bytes))
}
