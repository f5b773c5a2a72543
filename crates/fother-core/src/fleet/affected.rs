//! From a vulnerability or an advisory to hosts: claims of the database against the distinct versions of the fleet.

use super::{index::Index, said::Said};
use crate::advisory::{
    Bytes, Status,
    format::Subject,
    reader::{Database, Error},
};
use roaring::RoaringBitmap;
use std::collections::BTreeSet;

/// One package version that fits, and who has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Release whose advisories judge it.
    pub release: String,
    /// Source package, as it is judged; the binary package where versions were asked for.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What the vendor says; nothing where versions were asked for.
    pub status: Option<Status>,
    /// First version with the fix, where one is published.
    pub fixed: Option<String>,
    /// Places of its hosts, for [`Index::names`].
    pub hosts: RoaringBitmap,
}

/// Who is affected, and by what.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Affected {
    /// Sorted by release, package, version.
    pub found: Vec<Found>,
    /// Places of all hosts in `found`, for [`Index::names`].
    pub hosts: RoaringBitmap,
    /// What could not be told, for people.
    pub unknown: BTreeSet<String>,
}

/// What a name alone means to a database: a vulnerability, else an advisory; nothing where it knows neither.
///
/// # Errors
/// Where the database is damaged.
pub fn subject<B: Bytes>(db: &Database<B>, id: &str) -> Result<Option<Subject>, Error> {
    Ok(match db.vuln_place(id)? {
        Some(at) => Some(Subject::Vuln(at)),
        None => db.advisory_place(id)?.map(Subject::Advisory),
    })
}

/// Hosts with a version that a vulnerability is in, or that lacks an advisory's fix.
///
/// # Errors
/// Where the database is damaged.
pub fn affected<B: Bytes>(index: &Index, db: &Database<B>, subject: Subject) -> Result<Affected, Error> {
    let mut out = Affected::default();
    let naming = db.naming(subject)?;
    for (name, sources) in &index.by_source {
        let Some(release) = db.release(name)? else { continue };
        for (source, versions) in sources {
            let said = Said::read(db, &release, source, Some((subject, &naming)))?;
            if said.is_empty() {
                continue;
            }
            for judged in versions.values().filter_map(|at| index.judged.get(*at)) {
                let verdict = said.judge(&judged.version)?;
                if let Some(limits) = &verdict.incomparable {
                    out.unknown.insert(format!("{name} {source} {}: cannot be compared with {limits}", judged.version));
                }
                let Some(unmet) = verdict.unmet.into_values().next() else { continue };
                let hosts = index.hosts_of(&index.sets_of(judged));
                out.hosts |= &hosts;
                let fixed = Some(said.text(unmet.fixed).to_owned()).filter(|fixed| !fixed.is_empty());
                let (release, package, version) = (name.to_string(), source.to_string(), judged.version.to_string());
                out.found.push(Found { release, package, version, status: Some(unmet.status), fixed, hosts });
            }
        }
    }
    out.found.sort_by(|a, b| (&a.release, &a.package, &a.version).cmp(&(&b.release, &b.package, &b.version)));
    out.unknown.extend(silent(index, db)?);
    Ok(out)
}

/// Releases of the fleet that no feed speaks about, with the number of their hosts.
pub(super) fn silent<B: Bytes>(index: &Index, db: &Database<B>) -> Result<Vec<String>, Error> {
    let mut out = Vec::new();
    for (name, sources) in &index.by_source {
        let known = db.release(name)?.is_some_and(|r| r.record.coverage & crate::advisory::format::Release::KNOWS_FIXED != 0);
        if known {
            continue;
        }
        let mut sets = RoaringBitmap::new();
        for judged in sources.values().flat_map(|versions| versions.values()).filter_map(|at| index.judged.get(*at)) {
            sets |= index.sets_of(judged);
        }
        let name = if name.is_empty() { "a distribution that is not known" } else { name };
        out.push(format!("{name}: no feed speaks about it; packages of {} hosts are not judged", index.hosts_of(&sets).len()));
    }
    Ok(out)
}
