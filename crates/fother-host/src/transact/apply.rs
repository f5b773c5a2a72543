//! The state machine of one transaction: each step journalled before it is taken, everything undone when the package manager fails.

use super::{
    Applied, ApplyError, ConffilePolicy, Outcome, Progress, Transaction,
    apt::{Apt, MARK},
    dpkg, hooks, io_at,
    journal::{Step, append, steps},
    repo, units,
};
use crate::undo::{self, OnConflict, RestoreReport};
use fother_core::rehearsal::FootprintEntry;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::Path,
    path::PathBuf,
    time::{Duration, Instant},
};

/// Largest request file, in bytes.
const REQUEST_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// How long recovery waits for a package manager that outlived its transaction, in seconds.
const RECOVER_WAIT_S: u64 = 300;

/// How long killed processes of a transaction may take to end.
const LEFTOVERS_END_WITHIN: Duration = Duration::from_secs(30);

/// Everything that one transaction needs; written to disk by the agent and carried out in a unit of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRequest {
    /// Transaction id.
    pub id: String,
    /// What to install.
    pub tx: Transaction,
    /// What the rehearsal saw it touch.
    pub footprint: Vec<FootprintEntry>,
    /// Directory for the pre-images; must not exist, or belong to this transaction.
    pub undo_archive: PathBuf,
    /// File for the journal; its directory must exist.
    pub journal: PathBuf,
}

/// What became of a request, as `result.json` says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyResult {
    /// Transaction id.
    pub id: String,
    /// Where the host is; `None`: neither exactly before nor after, see `error`.
    pub outcome: Option<Outcome>,
    /// What was done, if the outcome is after.
    pub applied: Option<Applied>,
    /// Why it was not done.
    pub error: Option<String>,
    /// Where everything was put back: paths that were read anew afterwards and compared with their pre-images.
    #[serde(default)]
    pub compared: u64,
}

/// Where recovery has brought a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Where the host is.
    pub outcome: Outcome,
    /// What was done, if the outcome is after.
    pub applied: Option<Applied>,
}

/// Carries out a request from its beginning.
///
/// # Errors
/// Every error but [`ApplyError::NotUndone`] leaves the host exactly as before.
pub fn apply(request: &ApplyRequest, progress: &mut dyn FnMut(Progress)) -> Result<Applied, ApplyError> {
    if !geteuid().is_root() {
        return Err(ApplyError::NotRoot);
    }
    if !steps(&request.journal)?.is_empty() {
        return Err(ApplyError::Request(format!("{} holds a begun transaction; recover it", request.journal.display())));
    }
    append(&request.journal, &Step::Intent { id: request.id.clone() })?;
    let ready = prepare(&request.tx, &request.id, &request.undo_archive, progress).and_then(|apt| {
        progress(Progress::new("capture", 0, "keeping the files as they are"));
        capture(request)?;
        Ok(apt)
    });
    let apt = match ready {
        Ok(apt) => apt,
        Err(error) => {
            append(&request.journal, &Step::Abandoned { why: error.to_string() })?;
            return Err(error);
        }
    };
    append(&request.journal, &Step::Captured)?;
    let active = units::active();
    append(&request.journal, &Step::Started { active: active.clone(), takes_over: true })?;
    match install(&apt, &request.tx, progress) {
        Ok(applied) => {
            append(&request.journal, &Step::Done { apply_ms: applied.apply_ms })?;
            finish(request, &active, applied, progress)
        }
        Err((package, output)) => {
            // Where apt itself was killed, dpkg and its scripts go on without it.
            stop_leftovers(&request.id)?;
            dpkg::wait_for_locks(RECOVER_WAIT_S)?;
            let differences = put_back(request, &active, &output, progress)?;
            Err(if differences.is_empty() { ApplyError::Failed { package, output } } else { ApplyError::NotUndone { output, differences } })
        }
    }
}

/// Every check that can be made before anything changes, and the local archive.
pub(crate) fn prepare<'a>(
    tx: &'a Transaction,
    id: &'a str,
    archive: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Apt<'a>, ApplyError> {
    progress(Progress::new("prepare", 0, "checking that nobody else is at work"));
    if tx.changes.is_empty() {
        return Err(ApplyError::Request("it changes nothing".to_owned()));
    }
    fs::create_dir_all(&tx.work).map_err(io_at(tx.work.display().to_string()))?;
    dpkg::wait_for_locks(tx.lock_wait_s)?;
    let packages = dpkg::unclean()?;
    if !packages.is_empty() {
        return Err(ApplyError::Unclean { packages });
    }
    dpkg::check_space(tx, archive)?;
    progress(Progress::new("prepare", 50, "checking that apt would do exactly what the plan says"));
    let repo = repo::build(tx)?;
    let apt = Apt::prepare(tx, &repo, id)?;
    apt.check()?;
    if tx.conffiles == ConffilePolicy::Stop {
        let conflicts = dpkg::conffile_conflicts(Path::new("/"), tx)?;
        if !conflicts.is_empty() {
            return Err(ApplyError::Conffiles(conflicts));
        }
    }
    Ok(apt)
}

fn capture(request: &ApplyRequest) -> Result<(), ApplyError> {
    let mut paths: Vec<String> = dpkg::package_paths(&request.tx)?.into_iter().collect();
    paths.extend(dpkg::ADMIN_STATE.iter().map(|path| (*path).to_owned()));
    paths.extend(request.footprint.iter().map(|entry| entry.path.clone()));
    paths.retain(|path| crate::manifest::exempt(path).is_none());
    undo::capture(Path::new("/"), &paths, &request.undo_archive)?;
    Ok(())
}

/// Runs the package manager, restarts taken over. On failure: the package it named, and its last lines.
pub(crate) fn install(apt: &Apt<'_>, tx: &Transaction, progress: &mut dyn FnMut(Progress)) -> Result<Applied, (Option<String>, String)> {
    let mut applied = Applied::default();
    let text = |error: ApplyError| (None, error.to_string());
    if !hooks::install(tx).map_err(text)? {
        applied.notes.push("the host has a policy-rc.d of its own: it decides about restarts by package scripts".to_owned());
    }
    let start = Instant::now();
    let result = apt.upgrade(progress);
    applied.apply_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    hooks::remove().map_err(text)?;
    result.map(|()| applied)
}

/// How often restarts are begun anew where systemctl itself failed.
const RESTART_RUNS_MAX: u32 = 3;

/// Restarts what is to be restarted. The packages are installed by now, so trouble is recorded: whoever asked judges it, as a rehearsal does.
pub(crate) fn restart(tx: &Transaction, active: &BTreeMap<String, String>, applied: &mut Applied, progress: &mut dyn FnMut(Progress)) {
    let asked = hooks::asked(tx);
    let mut last = None;
    for _ in 0..RESTART_RUNS_MAX {
        // A systemctl that somebody killed has said nothing about the services; each run begins from the same facts.
        let mut whole = applied.clone();
        match units::restart_after(&asked, active, &mut whole, progress) {
            Ok(()) => {
                *applied = whole;
                return;
            }
            Err(error) => last = Some(error),
        }
    }
    if let Some(error) = last {
        let note = format!("services could not be restarted: {error}");
        applied.restarts.push(super::Restart { unit: "systemctl".to_owned(), ok: false, note });
    }
}

fn finish(
    request: &ApplyRequest,
    active: &BTreeMap<String, String>,
    mut applied: Applied,
    progress: &mut dyn FnMut(Progress),
) -> Result<Applied, ApplyError> {
    restart(&request.tx, active, &mut applied, progress);
    append(&request.journal, &Step::Restarted { applied: applied.clone() })?;
    progress(Progress::new("seal", 0, "recording what was installed"));
    undo::seal(Path::new("/"), &request.undo_archive)?;
    append(&request.journal, &Step::Sealed)?;
    Ok(applied)
}

/// Puts everything back after a failure, and tells what is not as before.
fn put_back(
    request: &ApplyRequest,
    active: &BTreeMap<String, String>,
    why: &str,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<String>, ApplyError> {
    progress(Progress::new("undo", 0, "putting everything back"));
    append(&request.journal, &Step::Undoing { why: why.to_owned(), on_conflict: OnConflict::Overwrite })?;
    undo::restore(Path::new("/"), &request.undo_archive, OnConflict::Overwrite)?;
    let comparison = undo::compare(Path::new("/"), &request.undo_archive)?;
    units::restart_after_undo(active, false, progress)?;
    if comparison.differences.is_empty() {
        append(&request.journal, &Step::Undone { compared: comparison.paths })?;
    }
    Ok(comparison.differences)
}

/// Brings a transaction that was killed at any point to exactly before or exactly after.
///
/// # Errors
/// Where it cannot: the cause is named, and running it again continues.
pub fn recover(request: &ApplyRequest, progress: &mut dyn FnMut(Progress)) -> Result<Recovered, ApplyError> {
    if !geteuid().is_root() {
        return Err(ApplyError::NotRoot);
    }
    let steps = steps(&request.journal)?;
    let active = steps
        .iter()
        .rev()
        .find_map(|step| if let Step::Started { active, .. } = step { Some(active.clone()) } else { None })
        .unwrap_or_default();
    let done = steps.iter().find_map(|step| if let Step::Restarted { applied } = step { Some(applied.clone()) } else { None });
    let before = Ok(Recovered { outcome: Outcome::Before, applied: None });
    match steps.last() {
        None | Some(Step::Intent { .. } | Step::Captured | Step::Abandoned { .. } | Step::Undone { .. }) => before,
        Some(Step::Started { .. }) => {
            stop_leftovers(&request.id)?;
            dpkg::wait_for_locks(RECOVER_WAIT_S)?;
            hooks::remove()?;
            let differences = put_back(request, &active, "killed while the package manager ran", progress)?;
            if differences.is_empty() { before } else { Err(ApplyError::NotUndone { output: "killed".to_owned(), differences }) }
        }
        Some(Step::Done { apply_ms }) => {
            hooks::remove()?;
            let applied = finish(request, &active, Applied { apply_ms: *apply_ms, ..Applied::default() }, progress)?;
            Ok(Recovered { outcome: Outcome::After, applied: Some(applied) })
        }
        Some(Step::Restarted { .. }) => {
            undo::seal(Path::new("/"), &request.undo_archive)?;
            append(&request.journal, &Step::Sealed)?;
            Ok(Recovered { outcome: Outcome::After, applied: done })
        }
        Some(Step::Sealed) => Ok(Recovered { outcome: Outcome::After, applied: done }),
        Some(Step::Undoing { on_conflict, .. }) => {
            hooks::remove()?;
            let mapping = done.is_some();
            go_back(&request.journal, &request.undo_archive, *on_conflict, &active, mapping, progress)?;
            before
        }
    }
}

/// Undoes a transaction, also one that nobody could finish or recover: files, then the units, with proof.
///
/// # Errors
/// [`crate::undo::UndoError::Conflicts`] with nothing changed; [`ApplyError::NotUndone`] with the paths that differ.
pub fn undo_transaction(
    journal: &Path,
    archive: &Path,
    on_conflict: OnConflict,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoreReport, ApplyError> {
    if !geteuid().is_root() {
        return Err(ApplyError::NotRoot);
    }
    let steps = steps(journal)?;
    match steps.last() {
        Some(Step::Undone { compared }) => return Ok(RestoreReport { compared: *compared, ..undo::restored_before(archive)? }),
        Some(Step::Sealed | Step::Undoing { .. }) => {}
        Some(Step::Started { .. } | Step::Done { .. } | Step::Restarted { .. }) => {
            if let Some(Step::Intent { id }) = steps.first() {
                stop_leftovers(id)?;
            }
        }
        Some(Step::Intent { .. } | Step::Captured | Step::Abandoned { .. }) => return Ok(RestoreReport::default()),
        None => return Err(ApplyError::Request(format!("{} knows of no transaction", journal.display()))),
    }
    dpkg::wait_for_locks(RECOVER_WAIT_S)?;
    hooks::remove()?;
    if !matches!(steps.last(), Some(Step::Sealed | Step::Undoing { .. })) {
        // Never sealed: nothing but the transaction itself can have written there since.
        append(journal, &Step::Undoing { why: "asked for before it was finished".to_owned(), on_conflict: OnConflict::Overwrite })?;
    }
    if steps.last() == Some(&Step::Sealed) {
        let conflicts = undo::conflicts(Path::new("/"), archive)?;
        if on_conflict == OnConflict::Refuse && !conflicts.is_empty() {
            return Err(undo::UndoError::Conflicts(conflicts).into());
        }
        append(journal, &Step::Undoing { why: "asked for".to_owned(), on_conflict })?;
    }
    let active =
        steps.iter().find_map(|step| if let Step::Started { active, .. } = step { Some(active.clone()) } else { None }).unwrap_or_default();
    let mapping = steps.iter().any(|step| matches!(step, Step::Done { .. }));
    go_back(journal, archive, on_conflict, &active, mapping, progress)
}

fn go_back(
    journal: &Path,
    archive: &Path,
    on_conflict: OnConflict,
    active: &BTreeMap<String, String>,
    mapping: bool,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoreReport, ApplyError> {
    progress(Progress::new("undo", 0, "putting everything back"));
    let mut report = undo::restore(Path::new("/"), archive, on_conflict)?;
    let undo::Comparison { paths, mut differences } = undo::compare(Path::new("/"), archive)?;
    report.compared = paths;
    differences.retain(|line| !report.left.iter().any(|path| line.strip_prefix(path.as_str()).is_some_and(|rest| rest.starts_with(": "))));
    progress(Progress::new("undo", 70, "restarting services"));
    units::restart_after_undo(active, mapping, progress)?;
    if !differences.is_empty() {
        return Err(ApplyError::NotUndone { output: "undo".to_owned(), differences });
    }
    append(journal, &Step::Undone { compared: report.compared })?;
    Ok(report)
}

/// Ends what a killed transaction has left running: every process that carries its mark, until there is none. They are ours. What apt
/// was about to put in place of its own state then goes as well.
fn stop_leftovers(id: &str) -> Result<(), ApplyError> {
    let mark = format!("{MARK}={id}");
    let until = Instant::now() + LEFTOVERS_END_WITHIN;
    loop {
        // One may have started another between two looks.
        let found = marked(&mark);
        if found.is_empty() {
            return dpkg::remove_half_written(Path::new("/var/lib/apt"));
        }
        if Instant::now() >= until {
            let pids: Vec<String> = found.iter().map(|pid| pid.as_raw_nonzero().to_string()).collect();
            return Err(ApplyError::Request(format!("processes {} of the transaction do not end", pids.join(", "))));
        }
        found.into_iter().for_each(|pid| _ = kill_process(pid, Signal::KILL));
        std::thread::sleep(super::POLL);
    }
}

/// Living processes other than this one with this variable in their environment; those that have ended have none.
fn marked(mark: &str) -> Vec<Pid> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let carries = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    pids.filter(carries).filter_map(Pid::from_raw).filter(|pid| *pid != rustix::process::getpid()).collect()
}

/// Entry of the hidden subcommand that a unit of its own runs: carries out, or recovers, the request in a file; `result.json` beside it says what became of it.
///
/// # Errors
/// Where the request cannot be read or the result not be written; everything else stands in the result.
pub fn run_from_file(path: &Path) -> Result<ApplyResult, ApplyError> {
    let at = || io_at(path.display().to_string());
    if fs::metadata(path).map_err(at())?.len() > REQUEST_BYTES_MAX {
        return Err(ApplyError::Request("the request is too large".to_owned()));
    }
    let bytes = fs::read(path).map_err(at())?;
    let request: ApplyRequest = serde_json::from_slice(&bytes).map_err(|error| ApplyError::Request(error.to_string()))?;
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut progress = |progress: Progress| {
        if let Ok(line) = serde_json::to_vec(&progress) {
            let _ = std::io::stdout().write_all(&[line, b"\n".to_vec()].concat());
        }
    };
    let result = if steps(&request.journal)?.is_empty() {
        apply(&request, &mut progress).map(|applied| Recovered { outcome: Outcome::After, applied: Some(applied) })
    } else {
        recover(&request, &mut progress)
    };
    let compared = compared(&request.journal)?;
    let result = match result {
        Ok(Recovered { outcome, applied }) => {
            let error = (outcome == Outcome::Before).then(|| why_before(&request.journal));
            ApplyResult { id: request.id, outcome: Some(outcome), applied, error, compared }
        }
        Err(error) => {
            let outcome = (error.unchanged() && !in_between(&request.journal)).then_some(Outcome::Before);
            ApplyResult { id: request.id, outcome, applied: None, error: Some(error.to_string()), compared }
        }
    };
    let bytes = serde_json::to_vec(&result).map_err(|error| ApplyError::Request(error.to_string()))?;
    undo::at::write_durably(dir, "result.json", &bytes).map_err(io_at("result.json"))?;
    Ok(result)
}

/// Paths that were compared where the journal ends with everything put back.
fn compared(journal: &Path) -> Result<u64, ApplyError> {
    Ok(match steps(journal)?.last() {
        Some(Step::Undone { compared }) => *compared,
        _ => 0,
    })
}

/// Why a recovered transaction ended where it began, as its journal tells it.
fn why_before(journal: &Path) -> String {
    let steps = steps(journal).unwrap_or_default();
    let why = steps.iter().rev().find_map(|step| match step {
        Step::Undoing { why, .. } => Some(format!("{why}; everything was put back")),
        Step::Abandoned { why } => Some(why.clone()),
        _ => None,
    });
    why.unwrap_or_else(|| "killed before anything was changed".to_owned())
}

/// Whether the journal says that something was begun and neither finished nor undone.
fn in_between(journal: &Path) -> bool {
    let settled = |step: &Step| matches!(step, Step::Intent { .. } | Step::Captured | Step::Abandoned { .. } | Step::Undone { .. });
    steps(journal).map_or(true, |steps| steps.last().is_some_and(|step| !settled(step)))
}

/// Runs a transaction in a clone: no capture, no journal, no undo of its own.
pub(crate) fn execute(tx: &Transaction, id: &str, archive: &Path, progress: &mut dyn FnMut(Progress)) -> Result<Applied, ApplyError> {
    let apt = prepare(tx, id, archive, progress)?;
    let active = units::active();
    let mut applied = install(&apt, tx, progress).map_err(|(package, output)| ApplyError::Failed { package, output })?;
    restart(tx, &active, &mut applied, progress);
    Ok(applied)
}
