//! The order of everything in the file: sorted runs, texts that are searched together side by side. Pure.

use super::{Builder, intern::Moved};
use fother_core::{
    Timestamp,
    advisory::format::{
        Claim, DIGEST_AT, HEADER_BYTES, MAGIC, Package, Record, SECTION_BYTES, Section, Statement, Subject, Support, Text, VERSION, Vuln,
    },
};
use sha2::{Digest as _, Sha256};

/// The file under construction: sections one after the other.
struct File {
    bytes: Vec<u8>,
    sections: Vec<(Section, usize, usize)>,
}

impl File {
    fn put<R: Record>(&mut self, records: impl Iterator<Item = R>) {
        self.section(R::SECTION, |bytes| records.for_each(|record| record.put(bytes)));
    }

    fn section(&mut self, section: Section, fill: impl FnOnce(&mut Vec<u8>)) {
        while !self.bytes.len().is_multiple_of(8) {
            self.bytes.push(0);
        }
        let from = self.bytes.len();
        fill(&mut self.bytes);
        self.sections.push((section, from, (self.bytes.len() - from) / section.record_bytes()));
    }

    fn seal(mut self, now: Timestamp) -> Result<Vec<u8>, String> {
        self.sections.sort_by_key(|(section, ..)| *section as u32);
        for (at, (section, offset, count)) in self.sections.iter().enumerate() {
            let mut entry = Vec::with_capacity(SECTION_BYTES);
            entry.extend((*section as u32).to_le_bytes());
            entry.extend(u32::try_from(section.record_bytes()).map_err(|e| e.to_string())?.to_le_bytes());
            entry.extend((*offset as u64).to_le_bytes());
            entry.extend(u32::try_from(*count).map_err(|_| "a section is too large".to_owned())?.to_le_bytes());
            entry.resize(SECTION_BYTES, 0);
            let from = HEADER_BYTES + at * SECTION_BYTES;
            self.bytes[from..from + SECTION_BYTES].copy_from_slice(&entry);
        }
        let digest = Sha256::digest(&self.bytes[HEADER_BYTES..]);
        let len = self.bytes.len() as u64;
        self.bytes[..8].copy_from_slice(&MAGIC);
        self.bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        self.bytes[12..16].copy_from_slice(&u32::try_from(self.sections.len()).unwrap_or(0).to_le_bytes());
        self.bytes[16..24].copy_from_slice(&len.to_le_bytes());
        self.bytes[24..32].copy_from_slice(&now.ms().to_le_bytes());
        self.bytes[DIGEST_AT..DIGEST_AT + 32].copy_from_slice(&digest);
        Ok(self.bytes)
    }
}

/// About the size of the file, so that it never grows while it is filled.
fn size(builder: &Builder, strings: usize) -> usize {
    let records = [
        (Section::Feeds, builder.feeds.len()),
        (Section::Releases, builder.releases.len()),
        (Section::Packages, builder.packages.len()),
        (Section::Claims, builder.claims.len()),
        (Section::Advisories, builder.advisories.len()),
        (Section::AdvisoryVulns, builder.advisory_vulns.len()),
        (Section::Vulns, builder.vulns.len()),
        (Section::Epss, builder.epss.len()),
        (Section::Supports, builder.supports.len()),
        (Section::Statements, builder.statements.len()),
    ];
    let tables = HEADER_BYTES + (SECTION_BYTES + 8) * Section::ALL.len();
    strings + tables + records.iter().map(|(section, count)| section.record_bytes() * count).sum::<usize>()
}

/// Positions after sorting: `order` lists the old ones in their new order; the result maps old to new.
fn ranks(order: &[u32]) -> Vec<u32> {
    let mut ranks = vec![0; order.len()];
    for (new, old) in (0..).zip(order) {
        ranks[*old as usize] = new;
    }
    ranks
}

fn positions(len: usize) -> Vec<u32> {
    (0..u32::try_from(len).unwrap_or(u32::MAX)).collect()
}

pub(super) fn bytes(mut builder: Builder, now: Timestamp) -> Result<Vec<u8>, String> {
    // What only building needs goes first: the peak of memory is here.
    (builder.package_index, builder.cve_index) = Default::default();
    (builder.other_index, builder.advisory_index, builder.release_index) = Default::default();
    builder.apart_index = Default::default();
    builder.statements.sort_by(|a, b| builder.text.get(a.product).as_bytes().cmp(builder.text.get(b.product).as_bytes()).then(a.cmp(b)));
    builder.statements.dedup_by_key(|statement| (statement.product, statement.body));
    let mut releases = positions(builder.releases.len());
    releases.sort_by_key(|at| builder.text.get(builder.releases[*at as usize].name).as_bytes());
    let release_rank = ranks(&releases);
    let mut packages = positions(builder.packages.len());
    packages.sort_by_key(|at| {
        let (release, name) = builder.packages[*at as usize];
        (release_rank[release as usize], builder.text.get(name).as_bytes())
    });
    let mut names: Vec<Text> = packages.iter().map(|at| builder.packages[*at as usize].1).collect();
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(*name));
    let (heap, moved) = builder.text.reordered(&names);
    let mut vulns = positions(builder.vulns.len());
    vulns.sort_by_key(|at| {
        let vuln = &builder.vulns[*at as usize];
        (vuln.key == 0, vuln.key, builder.text.get(vuln.id).as_bytes())
    });
    builder.text = super::Interner::default();
    let vuln_rank = ranks(&vulns);

    let mut file = File { bytes: Vec::with_capacity(size(&builder, heap.len())), sections: Vec::new() };
    file.bytes.resize(HEADER_BYTES + SECTION_BYTES * Section::ALL.len(), 0);
    file.section(Section::Strings, |bytes| bytes.extend(&heap));
    drop(heap);
    file.put(builder.feeds.iter().map(|feed| {
        let place = |text| moved.place(text);
        fother_core::advisory::format::Feed { name: place(feed.name), kind: place(feed.kind), origin: place(feed.origin), ..*feed }
    }));
    put_packages(&mut file, &mut builder, &releases, &packages, &moved, &vuln_rank);
    put_advisories(&mut file, &mut builder, &moved, &vuln_rank);
    file.put(vulns.iter().map(|at| {
        let vuln = &builder.vulns[*at as usize];
        Vuln { id: moved.place(vuln.id), vector: moved.place(vuln.vector), title: moved.place(vuln.title), ..*vuln }
    }));
    if !builder.epss.is_sorted_by_key(|epss| epss.key) {
        builder.epss.sort_by_key(|epss| epss.key);
    }
    builder.epss.dedup_by_key(|epss| epss.key);
    file.put(builder.epss.iter().copied());
    file.put(builder.supports.iter().map(|support| Support {
        release: release_rank[support.release as usize],
        pattern: moved.place(support.pattern),
        version: moved.place(support.version),
        note: moved.place(support.note),
        ended: support.ended,
    }));
    file.put(builder.statements.iter().map(|statement| Statement {
        product: moved.place(statement.product),
        body: moved.place(statement.body),
        ..*statement
    }));
    file.seal(now)
}

fn put_packages(file: &mut File, builder: &mut Builder, releases: &[u32], packages: &[u32], moved: &Moved, vuln_rank: &[u32]) {
    let rank = ranks(packages);
    let mut claims = std::mem::take(&mut builder.claims);
    for (package, claim) in &mut claims {
        *package = rank[*package as usize];
        claim.subject = match claim.subject {
            Subject::Vuln(at) => Subject::Vuln(vuln_rank[at as usize]),
            Subject::Advisory(at) => Subject::Advisory(at),
        };
    }
    claims.sort_unstable();
    // The same words from several feeds are kept once.
    claims.dedup_by(|a, b| a.0 == b.0 && Claim { feed: 0, ..a.1 } == Claim { feed: 0, ..b.1 });
    let mut from = 0;
    let runs: Vec<(u32, u32)> = positions(packages.len())
        .iter()
        .map(|package| {
            let count = claims[from..].partition_point(|(p, _)| p <= package);
            let run = (u32::try_from(from).unwrap_or(u32::MAX), u32::try_from(count).unwrap_or(u32::MAX));
            from += count;
            run
        })
        .collect();
    let place = |text| moved.place(text);
    file.put(claims.iter().map(|(_, claim)| Claim {
        introduced: place(claim.introduced),
        end: place(claim.end),
        note: place(claim.note),
        ..*claim
    }));
    drop(claims);
    let mut first = 0;
    file.put(releases.iter().map(|at| {
        let mut release = builder.releases[*at as usize];
        let run = packages[first..].iter().take_while(|p| builder.packages[**p as usize].0 == *at).count();
        release.name = place(release.name);
        release.package_first = u32::try_from(first).unwrap_or(u32::MAX);
        release.package_count = u32::try_from(run).unwrap_or(u32::MAX);
        first += run;
        release
    }));
    file.put(packages.iter().zip(&runs).map(|(at, (claim_first, claim_count))| Package {
        name: place(builder.packages[*at as usize].1),
        claim_first: *claim_first,
        claim_count: *claim_count,
    }));
}

fn put_advisories(file: &mut File, builder: &mut Builder, moved: &Moved, vuln_rank: &[u32]) {
    let mut closes = std::mem::take(&mut builder.advisory_vulns);
    for (_, vuln) in &mut closes {
        *vuln = vuln_rank[*vuln as usize];
    }
    closes.sort_unstable();
    closes.dedup();
    let mut from = 0;
    let advisories: Vec<_> = (0..)
        .zip(&builder.advisories)
        .map(|(at, advisory)| {
            let count = closes[from..].partition_point(|(a, _)| *a <= at);
            let first = from;
            from += count;
            fother_core::advisory::format::Advisory {
                id: moved.place(advisory.id),
                summary: moved.place(advisory.summary),
                vuln_first: u32::try_from(first).unwrap_or(u32::MAX),
                vuln_count: u32::try_from(count).unwrap_or(u32::MAX),
                ..*advisory
            }
        })
        .collect();
    file.put(advisories.into_iter());
    file.section(Section::AdvisoryVulns, |bytes| closes.iter().for_each(|(_, vuln)| bytes.extend(vuln.to_le_bytes())));
}
