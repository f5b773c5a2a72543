//! Findings of SBOMs, lock files and installed language packages: Debian's by source package, rpm's and apk's by their release, language packages by ecosystem. Pure.

use super::{
    host::{self, Assessment, Host, HostFinding},
    installed::Judged,
    package, package_name, release_name,
};
use crate::{
    Timestamp,
    advisory::reader::{Database, Error, ReleaseInfo},
    advisory::{Bytes, format::Release},
    inventory::Distribution,
    sbom::{Component, Sbom},
};
use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

/// The ecosystem in the database that a package URL's type belongs to, and the name there.
pub(crate) fn ecosystem(component: &Component) -> Option<(&'static str, String)> {
    let grouped = |separator: &str| {
        if component.namespace.is_empty() {
            component.name.clone()
        } else {
            format!("{}{separator}{}", component.namespace, component.name)
        }
    };
    Some(match component.kind.as_str() {
        "cargo" => ("crates.io", component.name.clone()),
        "golang" => ("Go", package_name("Go", &grouped("/"))),
        "pypi" => ("PyPI", package_name("PyPI", &component.name)),
        "npm" => ("npm", grouped("/")),
        "gem" => ("RubyGems", component.name.clone()),
        "maven" => ("Maven", grouped(":")),
        "composer" => ("Packagist", grouped("/")),
        "nuget" => ("NuGet", component.name.clone()),
        "hex" => ("Hex", component.name.clone()),
        "pub" => ("Pub", component.name.clone()),
        "nodejs" => ("Node.js", component.name.clone()),
        "bitnami" => ("Bitnami", component.name.clone()),
        _ => return None,
    })
}

/// Names under which a distribution's advisories may speak of a component: the binary package, and for apk the source.
pub(crate) fn names(component: &Component) -> Vec<String> {
    let source = component.source.as_ref().map(|(source, _)| source.clone());
    match (component.kind.as_str(), source) {
        ("apk", Some(source)) => vec![source],
        _ => vec![component.name.clone()],
    }
}

/// Assesses what a document says; whether a fix is installable is not known from it.
///
/// # Errors
/// Where the database is damaged.
pub fn document<B: Bytes>(
    db: &Database<B>,
    sbom: Sbom,
    now: Timestamp,
    feed_days_max: Option<u32>,
) -> Result<(Distribution, Assessment), Error> {
    let nowhere = Distribution { id: String::new(), version: String::new(), codename: String::new() };
    let distribution = sbom.distribution.clone().unwrap_or(nowhere);
    let (packages, others, unknown) = sbom.split();
    let mut out = if packages.is_empty() {
        Assessment {
            feeds: db.feeds()?,
            database: Some(db.digest()),
            release: release_name(&distribution).unwrap_or_default(),
            ..Assessment::default()
        }
    } else {
        let foreign = BTreeMap::new();
        let subject =
            Host { distribution: &distribution, packages: &packages, offers: None, foreign: &foreign, kernel: None, now, feed_days_max };
        host::host(db, &subject)?
    };
    out.unknown.extend(unknown);
    add(db, &distribution, &others, now, feed_days_max, &mut out)?;
    Ok((distribution, out))
}

/// Binary packages of one judged group, and where they stand.
type Members = (BTreeSet<String>, BTreeSet<String>);

/// Adds what is to be said about components to an assessment.
///
/// # Errors
/// Where the database is damaged.
pub fn add<B: Bytes>(
    db: &Database<B>,
    distribution: &Distribution,
    components: &[Component],
    now: Timestamp,
    feed_days_max: Option<u32>,
    out: &mut Assessment,
) -> Result<(), Error> {
    // Rpm's advisories speak of binary packages; what is updated at once is all that one source was built into.
    let mut groups: BTreeMap<(Judged, String), Members> = BTreeMap::new();
    let mut without: BTreeMap<String, usize> = BTreeMap::new();
    for component in components {
        let judged =
            |release: String, source: String| Judged { release, source, version: component.version.clone(), because: String::new() };
        if let Some((ecosystem, name)) = ecosystem(component) {
            let (names, places) = groups.entry((judged(ecosystem.to_owned(), name.clone()), name.clone())).or_default();
            names.insert(name);
            places.extend(Some(&component.place).filter(|place| !place.is_empty()).cloned());
        } else if let Some(release) = release_name(distribution).filter(|_| matches!(component.kind.as_str(), "rpm" | "apk")) {
            let source = component.source.as_ref().map_or(&component.name, |(source, _)| source);
            for name in names(component) {
                groups.entry((judged(release.clone(), name), source.clone())).or_default().0.insert(component.name.clone());
            }
        } else {
            *without.entry(component.kind.clone()).or_default() += 1;
        }
    }
    for (kind, count) in without {
        out.unknown.push(format!("{count} components of type {kind}: no feed speaks about them"));
    }
    let mut releases: BTreeMap<String, Option<ReleaseInfo>> = BTreeMap::new();
    let feeds = out.feeds.clone();
    let mut found: BTreeMap<(String, String, String), HostFinding> = BTreeMap::new();
    for ((judged, source), (packages, places)) in groups {
        if !releases.contains_key(&judged.release) {
            let known = db.release(&judged.release)?.filter(|release| release.record.coverage & Release::KNOWS_FIXED != 0);
            match &known {
                Some(release) => host::judge_feeds(release, now, feed_days_max, &feeds, out),
                None => out.unknown.push(format!("{}: no feed speaks about it", judged.release)),
            }
            releases.insert(judged.release.clone(), known);
        }
        let Some(Some(release)) = releases.get(&judged.release) else { continue };
        let verdict = package(db, release, &judged.source, &judged.version)?;
        out.unknown.extend(verdict.unknown);
        out.not_affected.extend(verdict.not_affected.iter().map(|id| format!("{id} {}", judged.source)));
        let (packages, places): (Vec<String>, Vec<String>) = (packages.into_iter().collect(), places.into_iter().collect());
        for finding in &verdict.findings {
            let one =
                HostFinding { source: source.clone(), places: places.clone(), ..host::plain(&judged, packages.clone(), finding, &feeds) };
            match found.entry((one.id.clone(), one.source.clone(), one.version.clone())) {
                Entry::Vacant(place) => {
                    place.insert(one);
                }
                Entry::Occupied(mut place) => place.get_mut().packages.extend(one.packages),
            }
        }
    }
    out.findings.extend(found.into_values());
    out.findings.sort_by(|a, b| (&a.id, &a.source, &a.version).cmp(&(&b.id, &b.source, &b.version)));
    out.unknown.sort();
    out.unknown.dedup();
    Ok(())
}
