//! `fother rehearse`: the real upgrade of this machine on a clone of it, and the undo, changing nothing.

use super::Context;
use crate::{
    cli::Rehearse,
    failure::{FAILED, FINE, Failure, NO, UNKNOWN},
    output::{Format, envelope, table},
};
use fother_core::{
    rehearsal::{Rehearsal, Verdict},
    resolution::{PackageChange, Resolution},
};
use fother_feeds::{acquire, archive, cache::Cache, fetch::HttpFetch, lists::IndexSet, sources};
use fother_host::{
    inventory,
    rehearse::{self, Limits, RehearseRequest},
    resolve::{ResolveRequest, resolve},
    root::Root,
    scan::clock,
    transact::{ConffilePolicy, Progress},
};
use std::{fs, os::unix::fs::DirBuilderExt as _, path::Path, time::Duration};

/// Most package lines on a screen; JSON has all.
const LINES_MAX: usize = 30;
/// apt's lists on a host.
const LISTS: &str = "/var/lib/apt/lists";

/// Runs the command.
pub fn run(context: &Context, arguments: &Rehearse) -> Result<u8, Failure> {
    Failure::need_root("rehearsing boots a clone of this machine and")?;
    private_dir(&arguments.work)?;
    let root = Root::live()?;
    eprintln!("verifying the archives' signatures and indexes…");
    verify_lists(&root)?;
    let resolution = resolution(&root, arguments)?;
    if resolution.changes.is_empty() {
        println!("nothing to do: no update is installable here");
        return Ok(FINE);
    }
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
        limits: Limits::default(),
    };
    let mut progress = progress();
    let rehearsal = rehearse::rehearse(&request, &mut progress)?;
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
            print_changes(&rehearsal.changes);
            print(&rehearsal);
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
    for (number, change) in changes.iter().enumerate() {
        let Some(offer) = &change.offer else { continue };
        eprint!("\r\x1b[K  fetching {}/{} {}", number + 1, changes.len(), change.name);
        let path = archive::fetch_package(offer, &http, &cache)?;
        fs::hard_link(path, debs.join(format!("{}.deb", offer.sha256.hex())))?;
    }
    eprintln!("\r\x1b[K  {} packages fetched and verified", changes.len());
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
        line("breaks", &format!("{}: {}", breakage.what, breakage.why));
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
    let idle: Vec<&str> = rehearsal.exercised.iter().filter(|unit| !unit.exercised).map(|unit| unit.unit.as_str()).collect();
    line(
        "exercised",
        &format!(
            "{} units; not exercised: {}",
            rehearsal.exercised.len() - idle.len(),
            if idle.is_empty() { "none".to_owned() } else { idle.join(", ") }
        ),
    );
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
