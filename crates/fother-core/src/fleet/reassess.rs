//! The whole fleet against the whole database: every distinct version once, then set algebra.

use super::{affected::silent, index::Index, said::Said};
use crate::advisory::{
    Bytes,
    format::Subject,
    reader::{Database, Error},
};
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the fleet has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reassessed {
    /// Hosts of each vulnerability, and of each advisory that names none, most hosts first.
    pub subjects: Vec<(Subject, u32)>,
    /// Findings (a vulnerability in a source package) of all hosts together.
    pub findings: u64,
    /// Hosts with at least one.
    pub hosts: u32,
    /// What could not be told, for people.
    pub unknown: BTreeSet<String>,
}

/// One share of the work, for one core: sources are dealt out in turn.
///
/// # Errors
/// Where the database is damaged.
pub fn share<B: Bytes>(index: &Index, db: &Database<B>, number: usize, of: usize) -> Result<Share, Error> {
    let mut out = Share { versions: BTreeMap::new(), findings: HashMap::new(), unknown: BTreeSet::new() };
    for (name, sources) in &index.by_source {
        let Some(release) = db.release(name)? else { continue };
        for (source, versions) in sources.iter().skip(number).step_by(of.max(1)) {
            let said = Said::read(db, &release, source, None)?;
            if said.is_empty() {
                continue;
            }
            for (at, judged) in versions.values().filter_map(|at| Some((*at, index.judged.get(*at)?))) {
                let verdict = said.judge(&judged.version)?;
                if let Some(limits) = verdict.incomparable {
                    out.unknown.insert(format!("{name} {source} {}: cannot be compared with {limits}", judged.version));
                }
                if verdict.unmet.is_empty() {
                    continue;
                }
                out.findings.insert(at, u32::try_from(verdict.unmet.len()).unwrap_or(u32::MAX));
                verdict.unmet.into_keys().for_each(|subject| out.versions.entry(subject).or_default().push(at));
            }
        }
    }
    Ok(out)
}

/// What one core found: judged versions by place.
#[derive(Clone, Debug)]
pub struct Share {
    versions: BTreeMap<Subject, Vec<u32>>,
    findings: HashMap<u32, u32>,
    unknown: BTreeSet<String>,
}

/// Puts the shares of all cores together.
///
/// # Errors
/// Where the database is damaged.
pub fn together<B: Bytes>(index: &Index, db: &Database<B>, shares: Vec<Share>) -> Result<Reassessed, Error> {
    let (mut out, mut versions) = (Reassessed::default(), BTreeMap::<Subject, Vec<u32>>::new());
    let mut of_sets = vec![0_u64; index.sets.end()];
    for share in shares {
        out.unknown.extend(share.unknown);
        for (at, count) in share.findings {
            let Some(judged) = index.judged.get(at) else { continue };
            for set in index.sets_of(judged) {
                of_sets[set as usize] += u64::from(count);
            }
        }
        for (subject, places) in share.versions {
            versions.entry(subject).or_default().extend(places);
        }
    }
    for (at, set) in index.sets.iter().filter(|(at, _)| of_sets[*at as usize] > 0) {
        out.hosts += u32::try_from(set.hosts.len()).unwrap_or(u32::MAX);
        out.findings += of_sets[at as usize] * set.hosts.len() as u64;
    }
    // Vulnerabilities that one update closes are in the same versions: their hosts are counted once.
    let mut counted: HashMap<Vec<u32>, u32> = HashMap::new();
    for (subject, mut places) in versions {
        places.sort_unstable();
        let hosts = match counted.get(&places) {
            Some(hosts) => *hosts,
            None => {
                let mut sets = RoaringBitmap::new();
                for judged in places.iter().filter_map(|at| index.judged.get(*at)) {
                    sets |= index.sets_of(judged);
                }
                let hosts: u64 = sets.iter().filter_map(|set| index.sets.get(set)).map(|set| set.hosts.len() as u64).sum();
                *counted.entry(places).or_insert(u32::try_from(hosts).unwrap_or(u32::MAX))
            }
        };
        out.subjects.push((subject, hosts));
    }
    out.subjects.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    out.unknown.extend(silent(index, db)?);
    Ok(out)
}
