//! The driver inside the clone: observes, applies, undoes, when the host says so; runs as root of the clone only.

use super::{Error, clone::DEBS, io_at, judge::Observation};
use crate::{
    transact::{self, Applied, ApplyError, Transaction, units},
    undo::{self, OnConflict},
};
use fother_core::policy::{Check, CheckAnswer};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

/// Directory that host and clone share, as the clone sees it.
pub const EXCHANGE: &str = "/run/fother-rehearsal";
const BOOT_S_MAX: u64 = 120;
const JOBS_S_MAX: u64 = 60;
const ORDER_S_MAX: u64 = 900;
/// How long units are watched before the transaction and after the undo, in seconds.
const WATCH_S: u64 = 2;
/// How long they are watched after the transaction, in seconds: what starts and dies shows.
const WATCH_AFTER_S: u64 = 5;
const PAUSE: Duration = Duration::from_millis(100);

/// What the host orders, in `order.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// What to install; its paths are replaced by the clone's.
    pub tx: Transaction,
    /// What to ask.
    pub checks: Vec<Check>,
}

/// What the transaction did in the clone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct After {
    /// What was done.
    pub applied: Option<Applied>,
    /// The package manager failed: the package that it named.
    pub package: Option<String>,
    /// Last lines of output, or why it did not start.
    pub trouble: Option<String>,
    /// The package manager ran and failed; `false` with `trouble`: it did not start.
    pub failed: bool,
    /// What ran afterwards.
    pub seen: Observation,
}

/// What the undo did in the clone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Undone {
    /// Why it could not be done.
    pub trouble: Option<String>,
    /// What ran afterwards.
    pub seen: Observation,
}

/// Writes `value` so that the other side sees it whole or not at all.
pub(super) fn put<T: Serialize>(exchange: &Path, name: &str, value: &T) -> Result<(), Error> {
    let bytes = serde_json::to_vec(value).map_err(|error| Error::Clone(format!("has no words for {name}: {error}")))?;
    undo::at::write_durably(exchange, name, &bytes).map_err(io_at(name))
}

/// Answers a check in the clone; afterwards with what it said before.
pub type Ask<'a> = &'a dyn Fn(&Check, Option<&[(String, CheckAnswer)]>) -> CheckAnswer;

/// Drives the clone to its end; `ask` answers a check.
///
/// # Errors
/// Where the host's orders do not come or cannot be read.
pub fn inside(exchange: &Path, ask: Ask<'_>) -> Result<(), Error> {
    must_be_locked_down()?;
    let order: Order = wait_for(exchange, "order.json")?;
    let tx = Transaction { debs: DEBS.into(), work: exchange.join("tx"), ..order.tx };
    if units::systemd_runs() {
        let limit = BOOT_S_MAX.to_string();
        let _ = transact::lenient(transact::tool("timeout").args([&limit, "systemctl", "is-system-running", "--wait"]), BOOT_S_MAX + 5);
    }
    let before = observe(&order.checks, ask, None, WATCH_S);
    let said: Vec<_> = before.answers.clone().into_iter().collect();
    put(exchange, "before.json", &before)?;
    let _: bool = wait_for(exchange, "go-apply")?;
    let archive = exchange.join("undo");
    let active = active(&before);
    let (mut after, mut applied) =
        (After { applied: None, package: None, trouble: None, failed: false, seen: Observation::default() }, None);
    match transact::execute(&tx, "rehearsal", &archive, &mut |_| {}) {
        Ok(done) => applied = Some(done),
        Err(ApplyError::Failed { package, output }) => (after.package, after.trouble, after.failed) = (package, Some(output), true),
        Err(error) => after.trouble = Some(error.to_string()),
    }
    after.applied = applied;
    after.seen = observe(&order.checks, ask, Some(&said), WATCH_AFTER_S);
    put(exchange, "after.json", &after)?;
    let _: bool = wait_for(exchange, "go-undo")?;
    let mut undone = Undone { trouble: None, seen: Observation::default() };
    let restored = undo::restore(Path::new("/"), &archive, OnConflict::Overwrite);
    undone.trouble = restored.err().map(|error| error.to_string());
    put(exchange, "restored.json", &undone)?;
    let _: bool = wait_for(exchange, "go-restart")?;
    let _ = units::restart_after_undo(&active, true, &mut |_| {});
    undone.seen = observe(&order.checks, ask, Some(&said), WATCH_S);
    put(exchange, "undone.json", &undone)?;
    let _: bool = wait_for(exchange, "go-stop")?;
    if units::systemd_runs() {
        transact::lenient(transact::tool("systemctl").args(["poweroff", "--no-block"]), JOBS_S_MAX)?;
    }
    Ok(())
}

/// Nothing of a package may run before it is certain that the clone cannot open up the kernel's settings.
fn must_be_locked_down() -> Result<(), Error> {
    use rustix::mount::{MountFlags, mount_remount};
    let opened = mount_remount("/proc/sys", MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, "").is_ok();
    let settable = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger"]
        .iter()
        .any(|path| Path::new(path).exists() && rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_ok());
    if opened || settable {
        return Err(Error::Clone("is not locked down: it could change the host's kernel settings; nothing was run in it".to_owned()));
    }
    Ok(())
}

fn active(seen: &Observation) -> BTreeMap<String, String> {
    let services = seen.units.iter().filter(|(name, unit)| name.ends_with(".service") && unit.active == "active");
    services.map(|(name, unit)| (name.clone(), unit.invocation.clone())).collect()
}

fn wait_for<T: for<'de> Deserialize<'de>>(exchange: &Path, name: &str) -> Result<T, Error> {
    let deadline = Instant::now() + Duration::from_secs(ORDER_S_MAX);
    loop {
        if let Ok(bytes) = fs::read(exchange.join(name)) {
            return serde_json::from_slice(&bytes).map_err(|error| Error::Clone(format!("cannot read {name}: {error}")));
        }
        if Instant::now() >= deadline {
            return Err(Error::Clone(format!("waited {ORDER_S_MAX} s for {name}")));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Waits until nothing is being started or stopped, watches the units for `watch_s` seconds, then looks.
fn observe(checks: &[Check], ask: Ask<'_>, before: Option<&[(String, CheckAnswer)]>, watch_s: u64) -> Observation {
    let mut seen = Observation::default();
    if units::systemd_runs() {
        seen.booted = true;
        let deadline = Instant::now() + Duration::from_secs(JOBS_S_MAX);
        let idle = || {
            let jobs = transact::lenient(transact::tool("systemctl").args(["list-jobs", "--no-legend"]), JOBS_S_MAX);
            jobs.is_ok_and(|(_, text, _)| text.trim().is_empty() || text.contains("No jobs"))
        };
        while !idle() && Instant::now() < deadline {
            std::thread::sleep(PAUSE);
        }
        watch(&mut seen, Duration::from_secs(watch_s));
    }
    seen.data = super::data::of_services();
    seen.listeners = super::judge::listeners();
    let asked = checks.iter().filter_map(|check| check.in_clone().asked);
    seen.answers = asked.map(|check| (check.name().to_owned(), ask(&check, before))).collect();
    seen.reboot_required = Path::new("/run/reboot-required").exists() || Path::new("/var/run/reboot-required").exists();
    seen
}

fn watch(seen: &mut Observation, time: Duration) {
    let start = Instant::now();
    let first = units::show().unwrap_or_default();
    loop {
        let now = units::show().unwrap_or_default();
        for (name, unit) in &first {
            let later = now.get(name);
            let died = unit.active == "active" && later.is_some_and(|later| later.active == "failed" || later.sub == "auto-restart");
            if died || later.is_some_and(|later| later.restarts > unit.restarts) {
                seen.unstable.insert(name.clone());
            }
        }
        if start.elapsed() >= time {
            seen.units = now;
            break;
        }
        std::thread::sleep(PAUSE * 3);
    }
    for (name, unit) in seen.units.iter().filter(|(name, unit)| unit.active == "failed" || seen.unstable.contains(*name)) {
        let properties = "--property=Result,ExecMainCode,ExecMainStatus";
        let why = transact::lenient(transact::tool("systemctl").args(["show", properties, "--", name]), JOBS_S_MAX);
        let why = why.map_or_else(|_| String::new(), |(_, text, _)| text.split_whitespace().collect::<Vec<_>>().join(", "));
        seen.why.insert(name.clone(), format!("{} ({}): {why}", unit.active, unit.sub));
    }
}
