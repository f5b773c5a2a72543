//! `fother rehearse`: the real upgrade of this machine on a clone of it, and the undo, changing nothing.

use super::Context;
use crate::{
    cli::Rehearse,
    failure::{FAILED, FINE, Failure, NO, REFUSED, UNKNOWN},
    output::{Format, envelope, table},
};
use fother_core::{
    rehearsal::{Exercised, Rehearsal, Verdict},
    resolution::{PackageChange, Resolution},
};
use fother_feeds::{acquire, archive, cache::Cache, fetch::HttpFetch, lists::IndexSet, sources};
use fother_host::{
    inventory,
    rehearse::{self, Limits, RehearseRequest},
    resolve::{ResolveRequest, resolve},
    root::Root,
    scan::clock,
    transact::{self, ApplyError, ConffilePolicy, Progress},
};
use rustix::fs::FlockOperation;
use std::{
    fs::{self, File},
    io::{IsTerminal as _, Read as _, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::Duration,
};

/// Most package lines on a screen; JSON has all.
const LINES_MAX: usize = 30;
/// Most lines of a breakage's output on a screen.
const WHY_LINES_MAX: usize = 8;
/// How many times its packed size a package may need in the clone: unpacked, old files kept, both compared.
const UNPACKED_MAX: u64 = 6;
/// apt's lists on a host.
const LISTS: &str = "/var/lib/apt/lists";

/// Runs the command.
pub fn run(context: &Context, arguments: &Rehearse) -> Result<u8, Failure> {
    Failure::need_root("rehearsing boots a clone of this machine and")?;
    private_dir(&arguments.work)?;
    let _alone = alone(&arguments.work)?;
    settled(arguments.lock_wait)?;
    let root = Root::live()?;
    eprintln!("verifying the archives' signatures and indexes…");
    verify_lists(&root)?;
    let resolution = resolution(&root, arguments)?;
    if resolution.changes.is_empty() {
        return nothing(context, &resolution);
    }
    let limits = Limits::default();
    room(&arguments.work, &resolution.changes, limits)?;
    let debs = fetch(&arguments.work, &resolution.changes)?;
    let facts = inventory::collect(&root)?;
    let request = RehearseRequest {
        changes: resolution.changes,
        debs,
        work: arguments.work.clone(),
        base: facts.base()?,
        checks: Vec::new(),
        conffiles: ConffilePolicy::Keep,
        binary: std::env::current_exe()?,
        driver_args: driver_args(),
        limits,
    };
    let mut progress = progress();
    let rehearsal = rehearse::rehearse(&request, &mut progress)?;
    if context.format == Format::Table {
        print_changes(&rehearsal.changes);
        print(&rehearsal);
    }
    let mut failing = Vec::new();
    let mut rest = None;
    if rehearsal.verdict == Verdict::Breaks && !arguments.no_bisect {
        eprintln!("it breaks; looking for the smallest failing set…");
        let found = rehearse::bisect(&request, &rehearsal, &mut progress)?;
        (failing, rest) = (found.failing, found.rest);
    }
    match context.format {
        Format::Json => {
            envelope("rehearsal", &serde_json::json!({"rehearsal": rehearsal, "failing": failing, "rest": rest}), &rehearsal.reasons)?
        }
        Format::Table => {
            if !failing.is_empty() {
                println!("  smallest failing set: {}", failing.join(", "));
            }
            if let Some(rest) = &rest {
                println!("\n  without it, {} packages:", rest.changes.len());
                print(rest);
            }
        }
    }
    Ok(match rehearsal.verdict {
        Verdict::Passes => FINE,
        Verdict::Breaks => NO,
        Verdict::Unknown => UNKNOWN,
    })
}

/// Arguments of this program that lead to the driver inside a clone, where the exchange directory is bound.
#[must_use]
pub fn driver_args() -> Vec<String> {
    ["agent", "rehearse-inside", "/run/fother-rehearsal"].map(str::to_owned).to_vec()
}

/// Prints each new stage of a rehearsal to standard error.
pub fn progress() -> impl FnMut(Progress) {
    let mut last = String::new();
    move |progress| {
        let line = format!("{}: {}", progress.stage, fother_core::text::printable(&progress.what, 100));
        if progress.stage != last {
            eprintln!("  {line}");
            last = progress.stage;
        }
    }
}

/// Holds the work directory for one rehearsal; a second one would tear down the first one's clone.
fn alone(work: &Path) -> Result<File, Failure> {
    let path = work.join("lock");
    let mut file = File::options().create(true).read(true).truncate(false).write(true).open(&path)?;
    if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        let what = format!("another rehearsal works in {} (process {})", work.display(), holder.trim());
        return Err(Failure::new(REFUSED, what, "wait until it has ended, or give another directory with --work"));
    }
    file.set_len(0)?;
    write!(file, "{}", std::process::id())?;
    Ok(file)
}

/// Nobody is at work on the packages, and nobody left them half-done: else the clone would be of something in between.
fn settled(wait_s: u64) -> Result<(), Failure> {
    match transact::wait_for_locks(wait_s) {
        Ok(()) => {}
        Err(error @ ApplyError::Locked { .. }) => {
            return Err(Failure::new(REFUSED, error.to_string(), "or wait longer: --lock-wait SECONDS"));
        }
        Err(error) => return Err(error.into()),
    }
    let packages = transact::unclean()?;
    if packages.is_empty() {
        return Ok(());
    }
    let what = format!("dpkg was left unfinished by somebody before: {}", packages.join(", "));
    Err(Failure::new(
        REFUSED,
        what,
        "repair it (`dpkg --configure -a`, `apt-get -f install`), then rehearse again; a rehearsal changes nothing",
    ))
}

/// Enough space for packages, clone and comparison, before anything is fetched.
fn room(work: &Path, changes: &[PackageChange], limits: Limits) -> Result<(), Failure> {
    const MIB: u64 = 1 << 20;
    let packed: u64 = changes.iter().filter_map(|change| change.offer.as_ref()).map(|offer| offer.size).sum();
    let need = packed.saturating_mul(UNPACKED_MAX).saturating_add(limits.free_bytes);
    let stat = rustix::fs::statvfs(work)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free >= need {
        return Ok(());
    }
    let (need, free) = (need.div_ceil(MIB), free / MIB);
    let what = format!("{} has {free} MiB free, the rehearsal of {} packages may need {need} MiB", work.display(), changes.len());
    Err(Failure::new(REFUSED, what, "free some space, give another directory with --work, or name fewer packages; nothing was begun"))
}

/// There is no update: said with what is kept back.
fn nothing(context: &Context, resolution: &Resolution) -> Result<u8, Failure> {
    if context.format == Format::Json {
        envelope("rehearsal", &serde_json::json!({"rehearsal": null, "kept_back": resolution.kept_back}), &[])?;
        return Ok(FINE);
    }
    println!("nothing to do: no update is installable here");
    for kept in resolution.kept_back.iter().take(LINES_MAX) {
        println!("  kept back: {}: {}", kept.name, fother_core::text::printable(&kept.why, 200));
    }
    Ok(FINE)
}

fn private_dir(path: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// Checks the archives' signatures and the indexes' hashes again: nothing is taken on trust from an earlier run of apt.
fn verify_lists(root: &Root) -> Result<(), Failure> {
    let configured = sources::read(Path::new("/"))?.configured;
    let architecture = inventory::collect(root)?.architecture;
    let set = IndexSet::load(Path::new(LISTS), &configured, &architecture)?;
    if set.files.is_empty() {
        let what = format!("{LISTS} holds no index of the configured archives: what is offered cannot be told");
        return Err(Failure::new(UNKNOWN, what, "run `apt-get update`, then try again"));
    }
    for file in &set.files {
        let source = &configured[file.source];
        let keyring = sources::keyring_for(Path::new("/"), source)?;
        let policy = acquire::Policy { suite: source.source.suite.clone(), max_age: None, newest_seen: None };
        let what = |why: String| {
            Failure::new(FAILED, format!("{} {}: {why}", source.source.uri, source.source.suite), "run `apt-get update`, then try again")
        };
        let Some(inrelease) = &file.inrelease else { return Err(what("there is no InRelease file beside its index".to_owned())) };
        let bytes = fs::read(inrelease)?;
        let release = acquire::check_release(&policy, &bytes, &keyring, clock()).map_err(|refused| what(refused.to_string()))?;
        acquire::check_index(&release, &file.index_path, &file.read()?).map_err(|refused| what(refused.to_string()))?;
    }
    Ok(())
}

fn resolution(root: &Root, arguments: &Rehearse) -> Result<Resolution, Failure> {
    let scratch = arguments.work.join("scratch");
    if scratch.exists() {
        fs::remove_dir_all(&scratch)?;
    }
    private_dir(&scratch)?;
    let only = (!arguments.packages.is_empty()).then_some(arguments.packages.as_slice());
    let request =
        ResolveRequest { root, lists: Path::new(LISTS), only, exclude: &[], removals: false, downgrades: false, scratch: &scratch };
    Ok(resolve(&request)?)
}

fn fetch(work: &Path, changes: &[PackageChange]) -> Result<std::path::PathBuf, Failure> {
    let cache = Cache::open(&work.join("cache"))?;
    let debs = work.join("debs");
    if debs.exists() {
        fs::remove_dir_all(&debs)?;
    }
    private_dir(&debs)?;
    let http = HttpFetch::from_machine()?;
    let people = std::io::stderr().is_terminal();
    for (number, change) in changes.iter().enumerate() {
        let Some(offer) = &change.offer else { continue };
        if people {
            eprint!("\r\x1b[K  fetching {}/{} {}", number + 1, changes.len(), change.name);
        }
        let path = archive::fetch_package(offer, &http, &cache).map_err(|error| {
            Failure::new(
                FAILED,
                format!("{}: {error}", change.name),
                "check the archive in apt's sources and the network; nothing was begun",
            )
        })?;
        fs::hard_link(path, debs.join(format!("{}.deb", offer.sha256.hex())))?;
    }
    eprintln!("{}  {} packages fetched and verified", if people { "\r\x1b[K" } else { "" }, changes.len());
    Ok(debs)
}

/// Prints what changes.
pub fn print_changes(changes: &[PackageChange]) {
    let text = |version: &Option<fother_core::version::Version>| version.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let rows: Vec<Vec<String>> = changes
        .iter()
        .take(LINES_MAX)
        .map(|change| {
            let class = format!("{:?}", change.class).to_lowercase();
            let suite = change.offer.as_ref().map(|offer| offer.suite.clone()).unwrap_or_default();
            let mut cves: Vec<String> = change.closes.iter().map(|closes| closes.cve.clone()).collect();
            cves.truncate(2);
            if change.closes.len() > 2 {
                cves.push(format!("+{}", change.closes.len() - 2));
            }
            vec![format!("  {}", change.name), text(&change.from), text(&change.to), class, suite, cves.join(" ")]
        })
        .collect();
    table(&["  package", "from", "to", "class", "archive", "closes"], &rows);
    if changes.len() > LINES_MAX {
        println!("  … and {} more", changes.len() - LINES_MAX);
    }
}

/// Prints a rehearsal as people need it before they decide.
pub fn print(rehearsal: &Rehearsal) {
    let line = |label: &str, text: &str| {
        for (number, text) in text.lines().take(LINES_MAX).enumerate() {
            println!("  {:<11}{}", if number == 0 { label } else { "" }, fother_core::text::printable(text, 400));
        }
    };
    let seconds = |ms: u64| format!("{:.1} s", Duration::from_millis(ms).as_secs_f64());
    let word = match rehearsal.verdict {
        Verdict::Passes => "PASSES",
        Verdict::Breaks => "BREAKS",
        Verdict::Unknown => "UNKNOWN",
    };
    line(
        "verdict",
        &format!(
            "{word}: {} packages, {} for the upgrade, {} in all",
            rehearsal.changes.len(),
            seconds(rehearsal.apply_ms),
            seconds(rehearsal.total_ms)
        ),
    );
    for reason in &rehearsal.reasons {
        line("because", reason);
    }
    for breakage in &rehearsal.breakages {
        let why: Vec<&str> = breakage.why.lines().collect();
        line("breaks", &format!("{}: {}", breakage.what, why.first().filter(|_| why.len() == 1).copied().unwrap_or("its last words:")));
        for last in why.iter().skip(why.len().saturating_sub(WHY_LINES_MAX)).filter(|_| why.len() > 1) {
            line("", last);
        }
    }
    line("footprint", &format!("{} paths, {} MiB needed", rehearsal.footprint.len(), rehearsal.space_bytes.div_ceil(1 << 20)));
    line("restarts", if rehearsal.restarts.is_empty() { "none".to_owned() } else { rehearsal.restarts.join(", ") }.as_str());
    line("reboot", if rehearsal.reboot.is_empty() { "no".to_owned() } else { rehearsal.reboot.join("; ") }.as_str());
    for conflict in &rehearsal.conflicts {
        line("conflict", &format!("{} ({})", conflict.path, conflict.action));
        for diff in conflict.diff.lines().take(12) {
            println!("               {}", fother_core::text::printable(diff, 120));
        }
    }
    let (ran, idle): (Vec<&Exercised>, Vec<&Exercised>) = rehearsal.exercised.iter().partition(|unit| unit.exercised);
    let names = ran.iter().map(|unit| unit.unit.as_str()).collect::<Vec<_>>().join(", ");
    line("exercised", if ran.is_empty() { "no unit" } else { &names });
    for unit in &idle {
        line("NOT", &format!("{}: {}", unit.unit, unit.note));
    }
    let undo = &rehearsal.undo;
    if undo.differences.is_empty() && undo.paths_compared > 0 {
        line("undo", &format!("proven byte for byte over {} paths, {} exempt by name", undo.paths_compared, undo.exempt.len()));
    } else {
        line("undo", &format!("NOT proven: {} differences over {} paths", undo.differences.len(), undo.paths_compared));
        for difference in undo.differences.iter().take(10) {
            line("", difference);
        }
    }
    if !rehearsal.moved.is_empty() {
        line(
            "moved",
            &format!(
                "{} paths of the host changed meanwhile, by others: {}",
                rehearsal.moved.len(),
                rehearsal.moved.iter().take(5).cloned().collect::<Vec<_>>().join(", ")
            ),
        );
    }
}
