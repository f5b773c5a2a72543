//! [`Host`] on the machine itself: facts and checks in this process, everything that acts in a transient unit of its own.

use crate::{
    config,
    durable::{self, Disk},
    host::{Hook, Host, HostError, Progress, Rehearsed, Transaction},
    units::UnitRun,
};
use fother_core::{
    Digest,
    inventory::{Inventory, Reboot},
    plan::Cohort,
    policy::{Check, CheckAnswer, ConfigFiles},
    rehearsal::UndoProof,
    resolution::{PackageChange, Resolution},
};
use fother_host::{
    checks, inventory, resolve,
    root::Root,
    traffic::{self, Direction},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Longest rehearsal with its bisection.
pub const REHEARSE_LIMIT: Duration = Duration::from_secs(3600);
/// Longest undo.
pub const UNDO_LIMIT: Duration = Duration::from_secs(3600);
/// How long a transaction waits for another package manager, in seconds.
pub const LOCK_WAIT_S: u64 = 120;

/// This machine.
#[derive(Clone, Debug)]
pub struct LiveHost {
    /// This program.
    pub binary: PathBuf,
    /// Where `agent.toml` stands.
    pub etc: PathBuf,
}

/// Request of the hidden subcommand `rehearse-here`; it answers with [`Rehearsed`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RehearseHere {
    /// The transaction.
    pub changes: Vec<PackageChange>,
    /// Directory of `<sha256 hex>.deb`.
    pub debs: PathBuf,
    /// Directory for the clone.
    pub work: PathBuf,
    /// Base of the host.
    pub base: Digest,
    /// Checks to ask in the clone.
    pub checks: Vec<Check>,
    /// Configuration conflicts.
    pub config_files: ConfigFiles,
    /// Where it breaks, look for the smallest failing set.
    pub bisect: bool,
}

/// Request of the hidden subcommand `put-back`; it answers with an [`UndoProof`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PutBack {
    /// The host's journal of the transaction.
    pub journal: PathBuf,
    /// Its undo archive.
    pub undo_archive: PathBuf,
}

#[derive(Deserialize)]
struct ApplyResult {
    outcome: Option<String>,
    applied: Option<Applied>,
    error: Option<String>,
    #[serde(default)]
    compared: u64,
}

#[derive(Deserialize)]
struct Applied {
    apply_ms: u64,
    #[serde(default)]
    restarts: Vec<fother_host::transact::Restart>,
}

impl Applied {
    fn restarted(&self) -> Result<(), HostError> {
        let failed = self.restarts.iter().filter(|restart| !restart.ok).map(|restart| format!("{}: {}", restart.unit, restart.note));
        let failed: Vec<String> = failed.collect();
        if failed.is_empty() { Ok(()) } else { Err(HostError(failed.join("; "))) }
    }
}

fn told(error: impl ToString) -> HostError {
    HostError(error.to_string())
}

impl LiveHost {
    fn transact(&self, transaction: &Transaction) -> UnitRun {
        UnitRun {
            binary: self.binary.clone(),
            unit: format!("fother-{}", transaction.id),
            verb: "transact",
            request: transaction.dir.join("request.json"),
            result: transaction.dir.join("result.json"),
            properties: &["Type=exec", "OOMScoreAdjust=-900", "TimeoutStopSec=infinity"],
        }
    }

    fn journal(transaction: &Transaction) -> PathBuf {
        transaction.dir.join("host-journal")
    }

    fn undo_archive(transaction: &Transaction) -> PathBuf {
        transaction.dir.join("undo")
    }

    fn request(transaction: &Transaction) -> serde_json::Value {
        json!({
            "id": transaction.id.to_string(),
            "tx": {
                "changes": transaction.cohort.changes,
                "debs": transaction.dir.join("debs"),
                "work": transaction.dir.join("work"),
                "conffiles": transaction.cohort.config_files,
                "lock_wait_s": LOCK_WAIT_S,
            },
            "footprint": transaction.footprint,
            "undo_archive": Self::undo_archive(transaction),
            "journal": Self::journal(transaction),
        })
    }

    fn judge(result: &ApplyResult) -> Result<Progress, HostError> {
        let why = || result.error.clone().unwrap_or_else(|| "no reason was given".to_owned());
        match result.outcome.as_deref() {
            Some("after") => Ok(Progress::After(result.applied.as_ref().map_or(0, |applied| applied.apply_ms))),
            Some("before") => Ok(Progress::Before { why: why(), paths_compared: result.compared }),
            _ => Err(HostError(format!("the host is neither before nor after the transaction: {}", why()))),
        }
    }
}

impl Host for LiveHost {
    fn inventory(&self) -> Result<Inventory, HostError> {
        inventory::collect(&Root::live().map_err(told)?).map_err(told)
    }

    fn resolve(&self, lists: &Path, exclude: &[String], work: &Path) -> Result<Resolution, HostError> {
        let root = Root::live().map_err(told)?;
        let scratch = work.join("scratch");
        durable::private_dir(&scratch).map_err(told)?;
        let request =
            resolve::ResolveRequest { root: &root, lists, only: None, exclude, removals: false, downgrades: false, scratch: &scratch };
        resolve::resolve(&request).map_err(told)
    }

    fn rehearse(&self, cohort: &Cohort, base: Digest, debs: &Path, work: &Path, bisect: bool) -> Result<Rehearsed, HostError> {
        let clone = work.join("clone");
        durable::private_dir(&clone).map_err(told)?;
        let request = RehearseHere {
            changes: cohort.changes.clone(),
            debs: debs.to_owned(),
            work: clone,
            base,
            checks: cohort.checks.clone(),
            config_files: cohort.config_files,
            bisect,
        };
        let run = UnitRun {
            binary: self.binary.clone(),
            unit: "fother-rehearsal".to_owned(),
            verb: "rehearse-here",
            request: work.join("request.json"),
            result: work.join("result.json"),
            properties: &["Type=exec", "Delegate=yes", "OOMScoreAdjust=500", "Nice=5"],
        };
        run.stop()?;
        Disk::default().replace(&run.request, &serde_json::to_vec(&request).map_err(told)?).map_err(told)?;
        run.finish(REHEARSE_LIMIT)
    }

    fn repair(&self) -> Result<Vec<String>, HostError> {
        fother_host::transact::repair(LOCK_WAIT_S).map_err(told)
    }

    fn start(&self, transaction: &Transaction) -> Result<(), HostError> {
        let run = self.transact(transaction);
        durable::private_dir(&transaction.dir.join("work")).map_err(told)?;
        Disk::default().replace(&run.request, &serde_json::to_vec(&Self::request(transaction)).map_err(told)?).map_err(told)?;
        run.launch()
    }

    fn progress(&self, transaction: &Transaction) -> Result<Progress, HostError> {
        let run = self.transact(transaction);
        let active = run.is_active()?;
        match run.result::<ApplyResult>()? {
            Some(result) if result.outcome.is_some() => return Self::judge(&result),
            _ if active => return Ok(Progress::Running),
            // Going back failed half way, perhaps for a passing reason: the same subcommand goes on from its journal.
            Some(result) => {
                let Err(why) = Self::judge(&result) else { return Self::judge(&result) };
                tracing::warn!(%why, "recovering again");
                run.launch().map_err(|error| HostError(format!("{why}; {error}")))?;
                return Ok(Progress::Running);
            }
            None => {}
        }
        let begun = std::fs::metadata(Self::journal(transaction)).is_ok_and(|meta| meta.len() > 0);
        if !begun {
            return Ok(Progress::NotStarted);
        }
        // Killed in the middle: the same subcommand finds its journal and goes to before or after.
        run.launch()?;
        Ok(Progress::Running)
    }

    fn undo(&self, transaction: &Transaction) -> Result<UndoProof, HostError> {
        let request = PutBack { journal: Self::journal(transaction), undo_archive: Self::undo_archive(transaction) };
        let run = UnitRun {
            binary: self.binary.clone(),
            unit: format!("fother-undo-{}", transaction.id),
            verb: "put-back",
            request: transaction.dir.join("put-back.json"),
            result: transaction.dir.join("put-back-result.json"),
            properties: &["Type=exec", "OOMScoreAdjust=-900", "TimeoutStopSec=infinity"],
        };
        Disk::default().replace(&run.request, &serde_json::to_vec(&request).map_err(told)?).map_err(told)?;
        run.finish_resuming(UNDO_LIMIT)
    }

    fn checks(&self, list: &[Check], before: Option<&[(String, CheckAnswer)]>) -> Vec<(String, CheckAnswer)> {
        checks::ask(list, before, &config::checks(&self.etc))
    }

    fn hook(&self, hook: Hook) -> Result<(), HostError> {
        let balancers = config::balancers(&self.etc).map_err(HostError)?;
        let direct = |direction| traffic::direct(&balancers, direction).map_err(HostError);
        let run = |name| checks::run_hook(name).map(drop).map_err(HostError);
        // First out of the balancers, last into them: a hook of the host's own works while nobody uses it.
        match hook {
            Hook::Drain => direct(Direction::Out).and_then(|()| run("drain")),
            Hook::Undrain => run("undrain").and_then(|()| direct(Direction::In)),
        }
    }

    fn restarted(&self, transaction: &Transaction) -> Result<(), HostError> {
        let result = self.transact(transaction).result::<ApplyResult>()?;
        result.and_then(|result| result.applied).ok_or_else(|| HostError("what was restarted is not recorded".to_owned()))?.restarted()
    }

    fn remarks(&self) -> Vec<String> {
        let inventory = match self.inventory() {
            Ok(inventory) => inventory,
            Err(error) => return vec![format!("running versions could not be told: {error}")],
        };
        let stale = inventory.services.iter().filter(|service| !service.stale_files.is_empty());
        let mut remarks: Vec<String> = stale.map(|service| format!("{} still runs replaced files", service.unit)).collect();
        match inventory.reboot {
            Reboot::No => {}
            Reboot::Needed { reasons } => remarks.extend(reasons.into_iter().map(|why| format!("reboot due: {why}"))),
            Reboot::Unknown { reasons } => remarks.extend(reasons.into_iter().map(|why| format!("reboot unknown: {why}"))),
        }
        remarks
    }

    fn space_bytes(&self) -> u64 {
        rustix::fs::statvfs("/var/lib").map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fother_core::id::TransactionId;
    use fother_host::transact;

    #[test]
    fn request_and_result_have_the_shape_that_the_transaction_reads_and_writes() {
        let cohort =
            Cohort { changes: Vec::new(), hosts: Default::default(), checks: Vec::new(), soak_s: 1, config_files: ConfigFiles::Stop };
        let id = TransactionId::new(1, [1; 10]);
        let transaction = Transaction { id, dir: "/x".into(), cohort, footprint: Vec::new() };
        let request: transact::ApplyRequest = serde_json::from_value(LiveHost::request(&transaction)).unwrap();
        assert_eq!(request.tx.conffiles.word(), "stop");
        assert_eq!(request.journal, LiveHost::journal(&transaction));
        let result =
            |outcome| transact::ApplyResult { id: id.to_string(), outcome, applied: None, error: Some("no".to_owned()), compared: 3 };
        let read = |outcome| LiveHost::judge(&serde_json::from_value(serde_json::to_value(result(outcome)).unwrap()).unwrap());
        assert_eq!(read(Some(transact::Outcome::Before)).unwrap(), Progress::Before { why: "no".to_owned(), paths_compared: 3 });
        assert_eq!(read(Some(transact::Outcome::After)).unwrap(), Progress::After(0));
        assert!(read(None).is_err());
    }

    #[test]
    fn a_service_that_was_not_restarted_is_named() {
        let restart = |ok| transact::Restart { unit: "a.service".to_owned(), ok, note: "it did not come up".to_owned() };
        let applied = |restarts| Applied { apply_ms: 1, restarts };
        assert!(applied(vec![restart(true)]).restarted().is_ok());
        let error = applied(vec![restart(true), restart(false)]).restarted().unwrap_err();
        assert_eq!(error.to_string(), "a.service: it did not come up");
    }
}
