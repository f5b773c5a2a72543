//! Assesses a root without calling apt: what is installed, what its archives offer, what is due. Reads only; needs no privileges.

use crate::{
    apt::{
        archives::{self, Archives, Request},
        candidates::{Known, Policy},
        phasing,
        pins::Pins,
    },
    in_use,
    inventory::{self, Facts},
    languages::{self, Owned},
    processes, reboot,
    root::Root,
    services,
};
use fother_core::{
    Timestamp,
    inventory::{Closes, Distribution, Reboot, Service},
    package::{Installed, UpdateClass},
    resolution::KeptBack,
    sbom::Component,
    version::Version,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

const MACHINE_ID: &str = "/etc/machine-id";
const MACHINE_ID_BYTES_MAX: usize = 256;

/// One update that is installable here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Binary package.
    pub name: String,
    /// Architecture of the installed package.
    pub arch: String,
    /// Source package.
    pub source: String,
    /// Installed source version, which advisories are matched on.
    pub source_from: Version,
    /// Offered source version.
    pub source_to: Version,
    /// Installed version.
    pub from: Version,
    /// Version that apt's policy chooses.
    pub to: Version,
    /// `Origin` of the archive.
    pub origin: String,
    /// `Label` of the archive.
    pub label: String,
    /// Suite that the source names.
    pub suite: String,
    /// Kind.
    pub class: UpdateClass,
    /// CVEs that it closes, as far as advisories say.
    pub closes: Vec<Closes>,
    /// Why apt would not install it now, for people: held, phased.
    pub kept: Option<String>,
}

/// What a scan found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scan {
    /// The image that the root is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<crate::image::About>,
    /// Distribution.
    pub distribution: Distribution,
    /// Main architecture.
    pub architecture: String,
    /// Number of installed packages.
    pub installed: usize,
    /// The installed packages themselves.
    pub packages: Vec<Component>,
    /// Sorted by name.
    pub updates: Vec<Update>,
    /// Installed packages that no archive answers for: not assessed.
    pub not_assessed: Vec<KeptBack>,
    /// Packages from archives of others than the distribution, with that archive's origin.
    #[serde(skip)]
    pub foreign: BTreeMap<String, String>,
    /// Packages that dpkg left half-done, with their state.
    pub broken: Vec<KeptBack>,
    /// Services that still map files that were replaced.
    pub restarts: Vec<Service>,
    /// Whether a reboot is due.
    pub reboot: Reboot,
    /// Other programs that patch this host.
    pub other_patchers: Vec<String>,
    /// Findings and their four answers, where an advisory database was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assessment: Option<fother_core::assess::host::Assessment>,
    /// Packages of language ecosystems, where they were looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Languages>,
    /// What could not be told, by name with the reason.
    pub unknown: Vec<String>,
}

/// Packages of language ecosystems as a report shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Languages {
    /// Number of components of each type, for people.
    pub counts: String,
    /// All of them.
    pub components: Vec<languages::Shown>,
    /// Number of files with components that belong to packages of the distribution, whose advisories judge them.
    pub of_packages: usize,
    /// Directories that were left out, with the reason.
    pub left_out: Vec<String>,
}

impl Languages {
    /// What a walk found, without its unknowns.
    #[must_use]
    pub fn of(found: &languages::Found) -> Self {
        let components = found.components.iter().map(languages::Shown::from).collect();
        Self { counts: found.counts(), components, of_packages: found.of_packages, left_out: found.left_out.clone() }
    }
}

/// What is asked of a scan.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// Another lists directory than the root's own.
    pub lists: Option<&'a Path>,
    /// The advisory database; without it, which vulnerabilities there are stays open.
    pub judge: Option<&'a crate::findings::Judge<'a>>,
    /// Whether the root is walked for packages of language ecosystems.
    pub languages: bool,
}

/// The machine's clock.
#[must_use]
pub fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Why a root cannot be scanned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its facts cannot be read.
    #[error(transparent)]
    Inventory(#[from] inventory::Error),
    /// The advisory database gives no answer.
    #[error(transparent)]
    Database(#[from] fother_core::advisory::reader::Error),
}

/// Who has loaded code of the packages with findings, and what still runs the version before.
fn in_use_of(
    judge: &crate::findings::Judge<'_>,
    root: &Root,
    facts: &Facts,
    processes: &processes::Processes,
    assessment: &mut fother_core::assess::host::Assessment,
) -> Result<(), fother_core::advisory::reader::Error> {
    let wanted = assessment.findings.iter().flat_map(|finding| finding.packages.iter().map(String::as_str)).collect();
    let uses = in_use::answer(root, &facts.database.packages, &wanted, processes, &reboot::Running::here());
    fother_core::assess::in_use::apply(assessment, uses);
    judge.after_restart(root, facts, processes, assessment)
}

/// Scans a root.
///
/// # Errors
/// Where there is no dpkg database, the sources cannot be read, or the advisory database is damaged.
pub fn scan(root: &Root, wanted: &Wanted<'_>) -> Result<Scan, Error> {
    let (facts, live) = std::thread::scope(|scope| {
        let live = root.is_live().then(|| {
            scope.spawn(|| {
                let processes = processes::look();
                (services::of(&processes), processes)
            })
        });
        (Facts::read(root), live.and_then(|thread| thread.join().ok()))
    });
    let facts = facts?;
    let mut assessed = assess(root, &facts, wanted.lists, None, false);
    let mut assessment = wanted.judge.map(|judge| judge.with_archives(root, &facts, &mut assessed)).transpose()?;
    if let (Some(judge), Some(assessment), Some((_, processes))) = (wanted.judge, &mut assessment, &live) {
        in_use_of(judge, root, &facts, processes, assessment)?;
    }
    let found = wanted.languages.then(|| {
        let owned = Owned::of_dpkg(root, &assessed.foreign);
        let mut found = languages::find(root, &owned);
        found.unknown.extend(owned.unknown);
        found
    });
    if let (Some(judge), Some(assessment), Some(found)) = (wanted.judge, &mut assessment, &found) {
        judge.add(&facts.distribution, &found.components, assessment)?;
    }
    let inventory = facts.inventory(root);
    let mut unknown = inventory.unknown;
    unknown.extend(assessment.iter().flat_map(|assessment| assessment.unknown.iter().cloned()));
    unknown.extend(std::mem::take(&mut assessed.archives.unknown));
    unknown.extend(assessed.unknown);
    unknown.extend(found.iter().flat_map(|found| found.unknown.iter().cloned()));
    unknown.extend(unsupported(&facts.distribution));
    let (services, reboot) = match live {
        Some((live, _)) => {
            unknown.extend(live.unknown);
            let kernel = reboot::answer(&facts.database.packages, &reboot::Running::here());
            let reboot = reboot::with_services(kernel, &live.services);
            (live.services, reboot)
        }
        None => {
            unknown.push("services: this root is not running here".into());
            (Vec::new(), inventory.reboot)
        }
    };
    let broken = |p: &Installed| p.broken.as_ref().map(|why| KeptBack { name: p.name.clone(), why: why.clone() });
    let of_system = facts.database.packages.iter().map(|package| Component::installed(package, &facts.distribution));
    let packages = of_system.chain(found.iter().flat_map(|found| found.components.iter().cloned())).collect();
    unknown.sort();
    unknown.dedup();
    Ok(Scan {
        image: None,
        architecture: facts.architecture().to_owned(),
        installed: facts.database.packages.len(),
        packages,
        updates: assessed.updates,
        not_assessed: assessed.not_assessed,
        foreign: assessed.foreign,
        broken: facts.database.packages.iter().filter_map(broken).collect(),
        restarts: services.into_iter().filter(|service| !service.stale_files.is_empty()).collect(),
        reboot,
        other_patchers: inventory.other_patchers,
        assessment,
        languages: found.as_ref().map(Languages::of),
        unknown,
        distribution: facts.distribution,
    })
}

fn unsupported(distribution: &Distribution) -> Option<String> {
    let known = distribution.id == "debian" && matches!(distribution.version.as_str(), "11" | "12" | "13");
    (!known).then(|| format!("distribution {} {}: not supported, its updates are not judged", distribution.id, distribution.version))
}

/// The package part of a scan.
#[derive(Debug)]
pub struct Assessed {
    /// What the archives offer.
    pub archives: Archives,
    /// Sorted by name.
    pub updates: Vec<Update>,
    /// Without any archive.
    pub not_assessed: Vec<KeptBack>,
    /// Packages whose installed version only archives of others than the distribution have, with that archive's origin.
    pub foreign: BTreeMap<String, String>,
    /// By name with the reason.
    pub unknown: Vec<String>,
}

/// Chooses candidates for all installed packages. `also` names packages that are not installed but wanted in the archives' part.
#[must_use]
pub fn assess(root: &Root, facts: &Facts, lists: Option<&Path>, also: Option<&BTreeSet<String>>, with_digests: bool) -> Assessed {
    let installed = &facts.database.packages;
    let wanted: HashSet<&str> = installed.iter().map(|p| p.name.as_str()).chain(also.into_iter().flatten().map(String::as_str)).collect();
    let sources = &facts.sources.configured;
    let architectures = &facts.database.architectures;
    let request = Request { lists, sources, architectures, wanted: &wanted, with_digests, now: clock() };
    let archives = archives::load(root, &request)
        .unwrap_or_else(|error| Archives { unknown: vec![format!("apt lists: {error}; run apt-get update")], ..Archives::default() });
    let mut pins = Pins::read(root);
    let mut unknown = std::mem::take(&mut pins.unknown);
    let native = facts.architecture();
    let known = archives.known.iter().map(|known| known.archive.clone()).collect();
    let policy = match Policy::new(known, pins, facts.conf.get("APT::Default-Release"), native) {
        Ok(policy) => policy,
        Err(why) => {
            unknown.push(format!("APT::Default-Release: {why}: no update is judged"));
            return Assessed { archives, updates: Vec::new(), not_assessed: Vec::new(), foreign: BTreeMap::new(), unknown };
        }
    };
    let phasing = Phasing::read(root, facts);
    let (mut updates, mut not_assessed, mut foreign) = (Vec::new(), Vec::new(), BTreeMap::new());
    for package in installed {
        let versions = versions(&archives, package, native);
        if let Some(origin) = foreign_origin(&archives, &versions, &facts.distribution) {
            foreign.insert(package.name.clone(), origin);
        }
        if let Some(why) = unanswered(&versions, package) {
            not_assessed.push(KeptBack { name: package.name.clone(), why });
        }
        let Some(at) = policy.candidate(&package.name, &package.arch, &versions) else { continue };
        if versions[at].version.compare(&package.version).is_ne() {
            updates.extend(update(&archives, package, &versions, at, native, &phasing));
        }
    }
    Assessed { archives, updates, not_assessed, foreign, unknown }
}

/// The origin of an installed version that only archives of others than the distribution have; `None` where the distribution has it, or nobody.
fn foreign_origin(archives: &Archives, versions: &[Known], distribution: &Distribution) -> Option<String> {
    let here = versions.iter().find(|known| known.installed)?;
    let own = |origin: &str| origin.to_lowercase().starts_with(distribution.id.as_str());
    let mut origins =
        here.archives.iter().filter(|at| **at != 0).filter_map(|at| archives.known.get(*at)).map(|known| &known.archive.origin);
    let first = origins.next()?;
    let foreign = !own(first) && !origins.any(|origin| own(origin));
    foreign.then(|| if first.is_empty() { "unnamed".to_owned() } else { first.clone() })
}

/// All versions of a package, each once, the installed one among them.
#[must_use]
pub fn versions(archives: &Archives, package: &Installed, native: &str) -> Vec<Known> {
    let mut versions: BTreeMap<&str, Known> = BTreeMap::new();
    let source = package.source.clone();
    let here = Known { version: package.version.clone(), source, archives: vec![0], installed: true };
    versions.insert(package.version.as_str(), here);
    for offered in archives.of(&package.name, &package.arch, native) {
        let candidate = &offered.candidate;
        let fresh =
            || Known { version: candidate.version.clone(), source: candidate.source.clone(), archives: Vec::new(), installed: false };
        versions.entry(candidate.version.as_str()).or_insert_with(fresh).archives.push(offered.archive);
    }
    versions.into_values().collect()
}

/// Why no archive answers for a package.
fn unanswered(versions: &[Known], package: &Installed) -> Option<String> {
    let newest = versions.iter().filter(|known| !known.installed || known.archives.len() > 1).max_by(|a, b| a.version.compare(&b.version));
    match newest {
        None => Some("no configured archive has it".into()),
        Some(newest) if newest.version.compare(&package.version).is_lt() => {
            Some(format!("{} is newer than any configured archive has", package.version.as_str()))
        }
        Some(_) => None,
    }
}

fn update(archives: &Archives, package: &Installed, versions: &[Known], at: usize, native: &str, phasing: &Phasing) -> Option<Update> {
    let to = &versions[at];
    let mut offers: Vec<_> = archives.of(&package.name, &package.arch, native).filter(|o| o.candidate.version == to.version).collect();
    offers.sort_by_key(|offered| (!archives.is_security(offered.archive), offered.archive));
    let offered = offers.first()?;
    let known = archives.known.get(offered.archive)?;
    Some(Update {
        name: package.name.clone(),
        arch: package.arch.clone(),
        source: offered.candidate.source.clone(),
        source_from: package.source_version.clone(),
        source_to: offered.candidate.source_version.clone(),
        from: package.version.clone(),
        to: to.version.clone(),
        origin: known.archive.origin.clone(),
        label: known.archive.label.clone(),
        suite: known.source.suite.clone(),
        class: archives.class(&package.name, &package.arch, native, &package.version, &to.version),
        closes: Vec::new(),
        kept: if package.held { Some("held by the administrator".into()) } else { phasing.kept(&offered.candidate, known) },
    })
}

impl Archives {
    /// Whether an index comes from the vendor's security archive.
    #[must_use]
    pub fn is_security(&self, archive: usize) -> bool {
        self.known.get(archive).is_some_and(|known| known.archive.label == "Debian-Security" || known.archive.suite.ends_with("-security"))
    }

    /// Kind of an update: security if the security archive offers any version after `from` and up to `to`.
    #[must_use]
    pub fn class(&self, name: &str, arch: &str, native: &str, from: &Version, to: &Version) -> UpdateClass {
        let between = |version: &Version| version.compare(from).is_gt() && version.compare(to).is_le();
        if self.of(name, arch, native).any(|o| self.is_security(o.archive) && between(&o.candidate.version)) {
            return UpdateClass::Security;
        }
        if from.parts().1 == to.parts().1 { UpdateClass::Bugfix } else { UpdateClass::Enhancement }
    }
}

/// This machine's place in phased updates.
struct Phasing {
    machine_id: String,
    always: bool,
    never: bool,
}

impl Phasing {
    fn read(root: &Root, facts: &Facts) -> Self {
        let option = |name: &str| ["APT::Get::", "Update-Manager::"].iter().any(|scope| facts.conf.is_true(&format!("{scope}{name}")));
        let own = facts.conf.get("APT::Machine-ID").map(str::to_owned);
        let machine_id = own.or_else(|| root.text(MACHINE_ID, MACHINE_ID_BYTES_MAX).ok()).unwrap_or_default().trim().to_owned();
        Self { machine_id, always: option("Always-Include-Phased-Updates"), never: option("Never-Include-Phased-Updates") }
    }

    fn kept(&self, candidate: &fother_feeds::packages::Candidate, known: &archives::KnownArchive) -> Option<String> {
        let percentage = candidate.phased_percent.filter(|percentage| *percentage < 100)?;
        let (source, version) = (&candidate.source, candidate.source_version.as_str());
        let excluded = self.never || (!self.always && phasing::is_excluded(source, version, &self.machine_id, percentage));
        (excluded && !known.archive.suite.ends_with("-security")).then(|| format!("phased: {percentage}% of machines have it yet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpkg::tests::root_with;
    use std::fs;

    const STATUS: &str = "Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n\
        Package: kept\nStatus: hold ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n\
        Package: own\nStatus: install ok installed\nArchitecture: all\nVersion: 7\n\n\
        Package: half\nStatus: install ok half-configured\nArchitecture: amd64\nVersion: 1.0-1\n";

    fn release(suite: &str, label: &str, extra: &str) -> String {
        format!(
            "Origin: Debian\nLabel: {label}\nSuite: {suite}\nCodename: {suite}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n{extra}SHA256:\n {} 0 main/x\n",
            "0".repeat(64)
        )
    }

    fn stanza(name: &str, version: &str) -> String {
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: pool/{name}.deb\nSize: 1\nSHA256: {}\n\n",
            "0".repeat(64)
        )
    }

    fn lab_root() -> (tempfile::TempDir, Root) {
        let (keep, root) = root_with(STATUS);
        let write = |path: &str, text: &str| {
            let path = keep.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("etc/os-release", "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n");
        write("etc/apt/sources.list", "deb http://archive.test/debian bookworm main\ndeb http://archive.test/sec bookworm-security main\n");
        let lists = "var/lib/apt/lists/archive.test_";
        write(&format!("{lists}debian_dists_bookworm_InRelease"), &release("bookworm", "Debian", ""));
        let main = stanza("web", "1.0-1") + &stanza("kept", "1.0-2") + &stanza("half", "1.0-1") + &stanza("web", "1.0-3");
        write(&format!("{lists}debian_dists_bookworm_main_binary-amd64_Packages"), &main);
        write(
            &format!("{lists}sec_dists_bookworm-security_InRelease"),
            &release("bookworm-security", "Debian-Security", "Valid-Until: Fri, 02 Jan 2026 00:00:00 UTC\n"),
        );
        write(&format!("{lists}sec_dists_bookworm-security_main_binary-amd64_Packages"), &stanza("web", "1.0-2"));
        (keep, root)
    }

    #[test]
    fn updates_are_found_with_class_origin_and_reason_to_keep() {
        let (_keep, root) = lab_root();
        let scan = scan(&root, &Wanted::default()).unwrap();
        let all: Vec<_> = scan.updates.iter().map(|u| (u.name.as_str(), u.to.as_str(), u.class, u.kept.is_some())).collect();
        assert_eq!(all, [("kept", "1.0-2", UpdateClass::Bugfix, true), ("web", "1.0-3", UpdateClass::Security, false)]);
        assert_eq!(scan.not_assessed, [KeptBack { name: "own".into(), why: "no configured archive has it".into() }]);
        assert_eq!(scan.broken, [KeptBack { name: "half".into(), why: "half-configured".into() }]);
        assert_eq!(scan.installed, 4);
    }

    #[test]
    fn stale_and_missing_lists_and_foreign_distributions_are_unknown() {
        let (keep, root) = lab_root();
        fs::write(keep.path().join("etc/os-release"), "ID=plan9\n").unwrap();
        let unknown = scan(&root, &Wanted::default()).unwrap().unknown.join("\n");
        assert!(unknown.contains("expired at 2026-01-02"), "{unknown}");
        assert!(unknown.contains("not supported"), "{unknown}");
        fs::remove_dir_all(keep.path().join("var/lib/apt/lists")).unwrap();
        let bare = scan(&root, &Wanted::default()).unwrap();
        assert!(bare.updates.is_empty());
        assert!(bare.unknown.iter().any(|line| line.contains("run apt-get update")), "{:?}", bare.unknown);
    }
}
