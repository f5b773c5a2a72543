//! The host's own exact transaction: apt's solver decides, this reads its answer and ties each version to its archive. Writes only
//! below the given scratch directory.

use crate::{
    apt_get::{self, Places, Step},
    in_use,
    inventory::{self, Facts},
    processes, reboot,
    root::Root,
    scan::{Assessed, assess},
};
use fother_core::{
    Digest, canonical,
    package::Installed,
    resolution::{KeptBack, PackageChange, Resolution},
    text::printable,
    version::Version,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Most rounds of excluding what may not happen.
pub const ROUNDS_MAX: usize = 8;
/// Most processes that are named for one package.
const USES_MAX: usize = 2;
const PREFERENCES_BYTES_MAX: usize = 1 << 20;

/// What to resolve.
#[derive(Clone, Copy, Debug)]
pub struct ResolveRequest<'a> {
    /// Must be live: apt's solver runs on the host itself.
    pub root: &'a Root,
    /// Lists directory, as acquisition left it.
    pub lists: &'a Path,
    /// Only these binary packages and what they need; `None` is everything.
    pub only: Option<&'a [String]>,
    /// Source or binary packages that must stay as they are.
    pub exclude: &'a [String],
    /// Packages may be removed, if the solver wants it.
    pub removals: bool,
    /// Packages may be set back to older versions, if pins ask for it.
    pub downgrades: bool,
    /// An empty directory for caches.
    pub scratch: &'a Path,
}

/// There is no resolution.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The root is not the live one.
    #[error("{0} is not the running root; its own package manager cannot be asked")]
    NotLive(PathBuf),
    /// The host's facts cannot be read.
    #[error(transparent)]
    Facts(#[from] inventory::Error),
    /// The solver gave no answer.
    #[error(transparent)]
    Solver(#[from] apt_get::Error),
    /// The scratch directory cannot be used.
    #[error("cannot write {path}: {error}; check space and permissions")]
    Scratch {
        /// Path.
        path: PathBuf,
        /// The system's answer.
        error: std::io::Error,
    },
    /// A named package is not installed.
    #[error("package {0} is not installed; only installed packages can be named")]
    NotInstalled(String),
    /// Excluding never came to an end.
    #[error("after {ROUNDS_MAX} rounds apt still wants what is not allowed: {0}")]
    NoEnd(String),
    /// It has no digest.
    #[error(transparent)]
    Canonical(#[from] canonical::Error),
}

/// Resolves.
///
/// # Errors
/// Where the solver cannot be asked or wants something that may not happen.
pub fn resolve(request: &ResolveRequest<'_>) -> Result<Resolution, Error> {
    if !request.root.is_live() {
        return Err(Error::NotLive(request.root.path().to_owned()));
    }
    let facts = Facts::read(request.root)?;
    let mut excluded: BTreeMap<String, String> = BTreeMap::new();
    for package in &facts.database.packages {
        if request.exclude.contains(&package.name) || request.exclude.contains(&package.source) {
            excluded.insert(package.name.clone(), "excluded by the request".into());
        }
    }
    for name in request.only.unwrap_or_default() {
        if !facts.database.packages.iter().any(|package| package.name == *name) {
            return Err(Error::NotInstalled(printable(name, 80)));
        }
    }
    let mut last = String::new();
    for _round in 0..ROUNDS_MAX {
        let steps = ask(request, &facts, &excluded)?;
        let names = steps.iter().map(|step| match step {
            Step::Install { name, .. } | Step::Remove { name, .. } => name.clone(),
        });
        let assessed = assess(request.root, &facts, Some(request.lists), Some(&names.collect()), true);
        let (changes, refused) = judge(request, &facts, &assessed, &steps);
        if refused.is_empty() {
            return finish(request, &facts, &assessed, changes, &excluded);
        }
        last = refused.iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>().join("; ");
        let before = excluded.len();
        excluded.extend(refused);
        if excluded.len() == before {
            break;
        }
    }
    Err(Error::NoEnd(last))
}

/// Asks the solver. Without leave to remove, `upgrade --with-new-pkgs` takes the place of `dist-upgrade` as soon as that would remove.
fn ask(request: &ResolveRequest<'_>, facts: &Facts, excluded: &BTreeMap<String, String>) -> Result<Vec<Step>, Error> {
    let preferences = request.scratch.join("preferences");
    let own = request.root.text_if_there("/etc/apt/preferences", PREFERENCES_BYTES_MAX).map_err(inventory::Error::from)?;
    let text = format!("{}{}", exclusions(&facts.database.packages, excluded, request.exclude), own.unwrap_or_default());
    let scratch = |path: &Path, result: std::io::Result<()>| result.map_err(|error| Error::Scratch { path: path.to_owned(), error });
    scratch(&preferences, fs::write(&preferences, text))?;
    let cache = request.scratch.join("cache/archives/partial");
    scratch(&cache, fs::create_dir_all(&cache))?;
    let places = Places { lists: request.lists, scratch: request.scratch, preferences: &preferences };
    let removes = |steps: &[Step]| steps.iter().any(|step| matches!(step, Step::Remove { .. }));
    let Some(only) = request.only else {
        let steps = apt_get::simulate(places, &["dist-upgrade"])?;
        let steps = if removes(&steps) && !request.removals { apt_get::simulate(places, &["upgrade", "--with-new-pkgs"])? } else { steps };
        return Ok(steps);
    };
    let named: Vec<&str> = only.iter().map(String::as_str).filter(|name| !excluded.contains_key(*name)).collect();
    if named.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = vec!["install", "--only-upgrade"];
    command.extend(named);
    Ok(apt_get::simulate(places, &command)?)
}

/// Pins that keep packages at their installed version; the first pin that fits wins, so they stand before the host's own.
fn exclusions(packages: &[Installed], excluded: &BTreeMap<String, String>, sources: &[String]) -> String {
    let mut text = String::new();
    for package in packages.iter().filter(|package| excluded.contains_key(&package.name)) {
        let (name, version) = (&package.name, package.version.as_str());
        text.push_str(&format!("Package: {name}:any\nPin: version {version}\nPin-Priority: 32000\n\n"));
        text.push_str(&format!("Package: {name}:any\nPin: release *\nPin-Priority: -1\n\n"));
    }
    for source in sources.iter().filter(|source| crate::dpkg::is_name(source)) {
        text.push_str(&format!("Package: src:{source}:any\nPin: release *\nPin-Priority: -1\n\n"));
    }
    text
}

type Judged = (Vec<PackageChange>, BTreeMap<String, String>);

/// Ties steps to offers; what may not happen is refused by name with the reason.
fn judge(request: &ResolveRequest<'_>, facts: &Facts, assessed: &Assessed, steps: &[Step]) -> Judged {
    let mut changes = Vec::new();
    let mut refused = BTreeMap::new();
    for step in steps {
        match step {
            Step::Remove { name, .. } if !request.removals => {
                let blamed = request.only.unwrap_or_default().iter().chain(std::iter::once(name));
                refused.extend(blamed.map(|blamed| (blamed.clone(), format!("it would remove {name}"))));
            }
            Step::Remove { name, from } => changes.push(removal(facts, name, from.clone())),
            Step::Install { name, from: Some(from), to, .. } if to.compare(from).is_lt() && !request.downgrades => {
                refused.insert(name.clone(), format!("it would go back from {} to {}", from.as_str(), to.as_str()));
            }
            Step::Install { name, arch, from, to } => match install(assessed, facts, name, arch, from.as_ref(), to) {
                Some(change) => changes.push(change),
                None => _ = refused.insert(name.clone(), format!("no index holds version {}", to.as_str())),
            },
        }
    }
    (changes, refused)
}

fn removal(facts: &Facts, name: &str, from: Option<Version>) -> PackageChange {
    let package =
        facts.database.packages.iter().find(|package| package.name == name && from.as_ref().is_none_or(|v| *v == package.version));
    PackageChange {
        name: name.to_owned(),
        arch: package.map_or_else(String::new, |package| package.arch.clone()),
        source: package.map_or_else(|| name.to_owned(), |package| package.source.clone()),
        from: from.or_else(|| package.map(|package| package.version.clone())),
        to: None,
        offer: None,
        class: fother_core::package::UpdateClass::Enhancement,
        closes: Vec::new(),
    }
}

fn install(assessed: &Assessed, facts: &Facts, name: &str, arch: &str, from: Option<&Version>, to: &Version) -> Option<PackageChange> {
    let archives = &assessed.archives;
    let native = facts.architecture();
    let mut offers: Vec<_> = archives.of(name, arch, native).filter(|o| o.candidate.version == *to && o.candidate.arch == arch).collect();
    offers.sort_by_key(|offered| (!archives.is_security(offered.archive), offered.archive));
    let offered = offers.first()?;
    let known = archives.known.get(offered.archive)?;
    let class = from.map_or(fother_core::package::UpdateClass::Enhancement, |from| archives.class(name, arch, native, from, to));
    Some(PackageChange {
        name: name.to_owned(),
        arch: arch.to_owned(),
        source: offered.candidate.source.clone(),
        from: from.cloned(),
        to: Some(to.clone()),
        offer: Some(offered.candidate.offer(known.release.as_ref()?, &known.source)),
        class,
        closes: Vec::new(),
    })
}

fn finish(
    request: &ResolveRequest<'_>,
    facts: &Facts,
    assessed: &Assessed,
    mut changes: Vec<PackageChange>,
    excluded: &BTreeMap<String, String>,
) -> Result<Resolution, Error> {
    changes.sort();
    let changed: BTreeSet<&str> = changes.iter().map(|change| change.name.as_str()).collect();
    let not_asked = |name: &str| request.only.is_some_and(|only| !only.iter().any(|wanted| wanted == name));
    let mut kept_back: BTreeMap<&str, String> = BTreeMap::new();
    for update in assessed.updates.iter().filter(|update| !changed.contains(update.name.as_str()) && !not_asked(&update.name)) {
        let why = excluded.get(&update.name).or(update.kept.as_ref());
        kept_back
            .insert(&update.name, why.cloned().unwrap_or_else(|| "apt's solver keeps it back: its dependencies do not allow it".into()));
    }
    let unpinned = excluded.iter().filter(|(_, why)| *why != "excluded by the request");
    kept_back.extend(unpinned.map(|(name, why)| (name.as_str(), why.clone())));
    let kept_back = kept_back.into_iter().map(|(name, why)| KeptBack { name: name.to_owned(), why }).collect();
    let indexes = Digest::of_kind("indexes", &canonical::to_vec(&assessed.archives.digests)?);
    let in_use = in_use::answer(request.root, &facts.database.packages, &changed, &processes::look(), &reboot::Running::here());
    let in_use = in_use.into_iter().map(|one| one.brief(USES_MAX)).collect();
    Ok(Resolution { base: facts.inventory(request.root).base()?, indexes, changes, kept_back, in_use })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_running_root_can_be_asked() {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open(directory.path()).unwrap();
        let path = directory.path();
        let request =
            ResolveRequest { root: &root, lists: path, only: None, exclude: &[], removals: false, downgrades: false, scratch: path };
        assert!(matches!(resolve(&request), Err(Error::NotLive(_))));
    }
}
