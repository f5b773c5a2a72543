//! A fleet against a database: who is affected, and the whole reassessment, are what the assessment of each host alone says.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Timestamp,
    advisory::{
        Day, Status,
        format::{Claim, Release, Subject},
        reader::Database,
    },
    assess::{self, installed, release_name},
    fleet::{Index, affected, reassess},
    id::HostId,
    inventory::Distribution,
    package::Installed,
    version::scheme::Scheme,
};
use fother_feeds::compile::{Builder, Statement};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const VERSIONS: [&str; 5] = ["1.0-1", "1.0-2", "1.0-3", "2.0-1", "2.0-1~bpo12+1"];
const SOURCES: [&str; 3] = ["web", "tool", "linux-signed-amd64"];
const RELEASES: [&str; 3] = ["bookworm", "trixie", "sid"];
const VULNS: [&str; 4] = ["CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003", "GHSA-xxxx"];

#[derive(Clone, Debug)]
struct Said {
    release: usize,
    source: usize,
    introduced: Option<usize>,
    end: Option<usize>,
    flags: u8,
    status: Status,
    /// Vulnerabilities of its advisory; one alone stands for itself.
    vulns: Vec<usize>,
}

fn said() -> impl Strategy<Value = Said> {
    let status = prop::sample::select(Status::ALL.to_vec());
    let flags = prop::sample::select(vec![0, 0, 0, Claim::LAST_AFFECTED, Claim::EXACT]);
    // No feed speaks about the last release.
    let place = (0..RELEASES.len() - 1, 0..SOURCES.len());
    let range = (prop::option::weighted(0.3, 0..4_usize), prop::option::weighted(0.8, 0..4_usize));
    let vulns = prop::collection::vec(0..VULNS.len(), 0..3);
    (place, range, flags, status, vulns).prop_map(|((release, source), (introduced, end), flags, status, vulns)| Said {
        release,
        source,
        introduced,
        end,
        flags,
        status,
        vulns,
    })
}

fn database(all: &[Said]) -> Database<Box<[u8]>> {
    let mut builder = Builder::default();
    builder.begin_feed().unwrap();
    for (number, said) in all.iter().enumerate() {
        let release = builder.release(&format!("debian:{}", RELEASES[said.release]), Scheme::Dpkg).unwrap();
        builder.covers(release, Release::KNOWS_FIXED);
        let source = SOURCES[said.source].split("-signed").next().unwrap();
        let package = builder.package(release, source).unwrap();
        let version = |at: Option<usize>| at.map_or("", |at| VERSIONS[at]);
        let statement =
            Statement { introduced: version(said.introduced), end: version(said.end), status: said.status, flags: said.flags, note: "" };
        let subject = match said.vulns.as_slice() {
            [one] => Subject::Vuln(builder.vuln(VULNS[*one]).unwrap()),
            several => {
                let advisory = builder.advisory(&format!("DSA-{number}"), Some(Day(20_000)), 0, "").unwrap();
                for vuln in several {
                    let vuln = builder.vuln(VULNS[*vuln]).unwrap();
                    builder.closes(advisory, vuln);
                }
                Subject::Advisory(advisory)
            }
        };
        builder.claim(package, subject, &statement).unwrap();
    }
    Database::open(builder.finish(Timestamp(1)).unwrap().into_boxed_slice()).unwrap()
}

type Fleet = BTreeMap<HostId, (Distribution, Vec<Installed>)>;

fn fleet() -> impl Strategy<Value = Fleet> {
    let package = (0..SOURCES.len(), 0..VERSIONS.len()).prop_map(|(source, version)| {
        let version: fother_core::version::Version = VERSIONS[version].parse().unwrap();
        let source = SOURCES[source].to_owned();
        Installed {
            name: source.clone(),
            arch: "amd64".into(),
            version: version.clone(),
            source,
            source_version: version,
            broken: None,
            held: false,
        }
    });
    let host = (0..RELEASES.len(), prop::collection::vec(package, 0..4)).prop_map(|(release, packages)| {
        (Distribution { id: "debian".into(), version: String::new(), codename: RELEASES[release].into() }, packages)
    });
    prop::collection::btree_map((0..12_u128).prop_map(HostId), host, 0..10)
}

/// Findings of one host, each source version once: id and fixed version.
fn findings(
    db: &Database<Box<[u8]>>,
    distribution: &Distribution,
    packages: &[Installed],
) -> BTreeSet<(String, String, String, Status, Option<String>)> {
    let release = release_name(distribution).unwrap();
    let mut out = BTreeSet::new();
    for package in packages {
        let judged = installed::debian(&release, &package.source, package.source_version.as_str());
        let Some(judge) = db.release(&judged.release).unwrap() else { continue };
        let verdict = assess::package(db, &judge, &judged.source, &judged.version).unwrap();
        out.extend(verdict.findings.into_iter().map(|f| (f.id, judged.source.clone(), judged.version.clone(), f.status, f.fixed)));
    }
    out
}

proptest! {
    #[test]
    fn a_fleet_is_affected_by_what_its_hosts_are(all in prop::collection::vec(said(), 1..12), fleet in fleet()) {
        let db = database(&all);
        let mut index = Index::default();
        let mut naive: BTreeMap<HostId, BTreeSet<_>> = BTreeMap::new();
        for (host, (distribution, packages)) in &fleet {
            index.put(*host, distribution, packages).unwrap();
            naive.insert(*host, findings(&db, distribution, packages));
        }
        let ids = VULNS.iter().map(|id| (*id).to_owned()).chain((0..all.len()).map(|number| format!("DSA-{number}")));
        for id in ids {
            let Some(subject) = affected::subject(&db, &id).unwrap() else { continue };
            let answer = affected::affected(&index, &db, subject).unwrap();
            let lines = naive.iter().flat_map(|(host, all)| {
                let own = all.iter().filter(|f| f.0 == id);
                own.map(|(_, source, version, status, fixed)| (*host, source.clone(), version.clone(), Some(*status), fixed.clone()))
            });
            let lines: BTreeSet<_> = lines.collect();
            let mine: BTreeSet<_> = answer.found.iter().flat_map(|f| {
                let line = |host| (host, f.package.clone(), f.version.clone(), f.status, f.fixed.clone());
                index.names(&f.hosts).map(line).collect::<Vec<_>>()
            }).collect();
            // An advisory that names vulnerabilities stands in no finding of its own.
            if matches!(subject, Subject::Vuln(_)) || !lines.is_empty() {
                prop_assert_eq!(&mine, &lines, "{}", id);
            }
            let hosts: BTreeSet<HostId> = index.names(&answer.hosts).collect();
            prop_assert_eq!(hosts, mine.iter().map(|line| line.0).collect::<BTreeSet<_>>());
            // Releases of which no feed speaks are named, and only those.
            let releases = fleet.values().flat_map(|(d, packages)| packages.iter().map(move |p| {
                installed::debian(&release_name(d).unwrap(), &p.source, p.source_version.as_str()).release
            }));
            let silent: BTreeSet<String> = releases.filter(|name| db.release(name).unwrap().is_none()).collect();
            let named: BTreeSet<String> =
                answer.unknown.iter().filter_map(|why| why.split_once(": no feed")).map(|(name, _)| name.to_owned()).collect();
            prop_assert_eq!(named, silent);
        }
        let shares = (0..2).map(|number| reassess::share(&index, &db, number, 2).unwrap()).collect();
        let whole = reassess::together(&index, &db, shares).unwrap();
        prop_assert_eq!(whole.findings, naive.values().map(|all| all.len() as u64).sum::<u64>());
        prop_assert_eq!(whole.hosts as usize, naive.values().filter(|all| !all.is_empty()).count());
        let mut of: BTreeMap<&str, BTreeSet<HostId>> = BTreeMap::new();
        naive.iter().for_each(|(host, all)| all.iter().for_each(|f| { of.entry(&f.0).or_default().insert(*host); }));
        let mine: BTreeMap<String, usize> = whole.subjects.iter().map(|(subject, hosts)| {
            let id = match subject {
                Subject::Vuln(at) => db.vuln(*at).unwrap().id,
                Subject::Advisory(at) => db.advisory(*at).unwrap().id,
            };
            (id, *hosts as usize)
        }).collect();
        prop_assert_eq!(mine, of.into_iter().map(|(id, hosts)| (id.to_owned(), hosts.len())).collect::<BTreeMap<_, _>>());
    }
}
