//! The order of everything in the file: sorted runs, texts that are searched together side by side. Writes to what it is given.

use super::{Builder, intern::Moved};
use fother_core::{
    Timestamp,
    advisory::format::{
        Claim, DIGEST_AT, HEADER_BYTES, MAGIC, Package, Record, SECTION_BYTES, Section, Statement, Subject, Support, TEXT_BYTES_MAX, Text,
        VERSION, Vuln,
    },
};
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Seek, SeekFrom, Write};

/// Bytes that are gathered before they are written.
const BLOCK_BYTES: usize = 64 << 10;

/// What the file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// SHA-256 of everything behind the header.
    pub digest: [u8; 32],
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// The file under construction: sections one after the other, written as they come, so that they are never all in memory.
struct File<'a, W> {
    out: &'a mut W,
    block: Vec<u8>,
    written: u64,
    sections: Vec<(Section, u64, u64)>,
}

impl<'a, W: Read + Write + Seek> File<'a, W> {
    /// Starts behind the header and the table of sections, which are written last.
    fn begin(out: &'a mut W) -> io::Result<Self> {
        let mut block = Vec::with_capacity(BLOCK_BYTES + TEXT_BYTES_MAX);
        block.resize(HEADER_BYTES + SECTION_BYTES * Section::ALL.len(), 0);
        out.seek(SeekFrom::Start(0))?;
        Ok(Self { out, block, written: 0, sections: Vec::new() })
    }

    fn at(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.block)?;
        self.written += self.block.len() as u64;
        self.block.clear();
        Ok(())
    }

    fn put<R: Record>(&mut self, records: impl Iterator<Item = R>) -> io::Result<()> {
        self.section(R::SECTION, records, |record, bytes| record.put(bytes))
    }

    fn section<T>(&mut self, section: Section, parts: impl Iterator<Item = T>, put: impl Fn(T, &mut Vec<u8>)) -> io::Result<()> {
        while !self.at().is_multiple_of(8) {
            self.block.push(0);
        }
        let from = self.at();
        for part in parts {
            put(part, &mut self.block);
            if self.block.len() >= BLOCK_BYTES {
                self.flush()?;
            }
        }
        self.sections.push((section, from, (self.at() - from) / section.record_bytes() as u64));
        Ok(())
    }

    fn seal(mut self, now: Timestamp) -> Result<Sealed, String> {
        let failed = |error: io::Error| error.to_string();
        self.flush().map_err(failed)?;
        self.sections.sort_by_key(|(section, ..)| *section as u32);
        let mut table = Vec::with_capacity(SECTION_BYTES * self.sections.len());
        for (at, (section, offset, count)) in self.sections.iter().enumerate() {
            table.extend((*section as u32).to_le_bytes());
            table.extend(u32::try_from(section.record_bytes()).map_err(|e| e.to_string())?.to_le_bytes());
            table.extend(offset.to_le_bytes());
            table.extend(u32::try_from(*count).map_err(|_| "a section is too large".to_owned())?.to_le_bytes());
            table.resize(SECTION_BYTES * (at + 1), 0);
        }
        let behind = SeekFrom::Start(HEADER_BYTES as u64);
        self.out.seek(behind).and_then(|_| self.out.write_all(&table)).and_then(|()| self.out.seek(behind)).map_err(failed)?;
        let mut hash = Sha256::new();
        self.block.resize(BLOCK_BYTES, 0);
        loop {
            match self.out.read(&mut self.block).map_err(failed)? {
                0 => break,
                read => hash.update(&self.block[..read]),
            }
        }
        let sealed = Sealed { digest: hash.finalize().into(), bytes: self.written };
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(u32::try_from(self.sections.len()).unwrap_or(0).to_le_bytes());
        header.extend(sealed.bytes.to_le_bytes());
        header.extend(now.ms().to_le_bytes());
        debug_assert_eq!(header.len(), DIGEST_AT);
        header.extend(sealed.digest);
        self.out.seek(SeekFrom::Start(0)).and_then(|_| self.out.write_all(&header)).map_err(failed)?;
        Ok(sealed)
    }
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

pub(super) fn write<W: Read + Write + Seek>(builder: Builder, now: Timestamp, out: &mut W) -> Result<Sealed, String> {
    let file = sections(builder, out).map_err(|error| error.to_string())?;
    file.seal(now)
}

fn sections<W: Read + Write + Seek>(mut builder: Builder, out: &mut W) -> io::Result<File<'_, W>> {
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

    let mut file = File::begin(out)?;
    file.section(Section::Strings, heap.chunks(BLOCK_BYTES), |chunk, bytes| bytes.extend(chunk))?;
    drop(heap);
    file.put(builder.feeds.iter().map(|feed| {
        let place = |text| moved.place(text);
        fother_core::advisory::format::Feed { name: place(feed.name), kind: place(feed.kind), origin: place(feed.origin), ..*feed }
    }))?;
    put_packages(&mut file, &mut builder, &releases, &packages, &moved, &vuln_rank)?;
    put_advisories(&mut file, &mut builder, &moved, &vuln_rank)?;
    file.put(vulns.iter().map(|at| {
        let vuln = &builder.vulns[*at as usize];
        Vuln { id: moved.place(vuln.id), vector: moved.place(vuln.vector), title: moved.place(vuln.title), ..*vuln }
    }))?;
    if !builder.epss.is_sorted_by_key(|epss| epss.key) {
        builder.epss.sort_by_key(|epss| epss.key);
    }
    builder.epss.dedup_by_key(|epss| epss.key);
    file.put(builder.epss.iter().copied())?;
    file.put(builder.supports.iter().map(|support| Support {
        release: release_rank[support.release as usize],
        pattern: moved.place(support.pattern),
        version: moved.place(support.version),
        note: moved.place(support.note),
        ended: support.ended,
    }))?;
    file.put(builder.statements.iter().map(|statement| Statement {
        product: moved.place(statement.product),
        body: moved.place(statement.body),
        ..*statement
    }))?;
    Ok(file)
}

fn put_packages<W: Read + Write + Seek>(
    file: &mut File<'_, W>,
    builder: &mut Builder,
    releases: &[u32],
    packages: &[u32],
    moved: &Moved,
    vuln_rank: &[u32],
) -> io::Result<()> {
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
    }))?;
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
    }))?;
    file.put(packages.iter().zip(&runs).map(|(at, (claim_first, claim_count))| Package {
        name: place(builder.packages[*at as usize].1),
        claim_first: *claim_first,
        claim_count: *claim_count,
    }))
}

fn put_advisories<W: Read + Write + Seek>(
    file: &mut File<'_, W>,
    builder: &mut Builder,
    moved: &Moved,
    vuln_rank: &[u32],
) -> io::Result<()> {
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
    file.put(advisories.into_iter())?;
    file.section(Section::AdvisoryVulns, closes.iter(), |(_, vuln), bytes| bytes.extend(vuln.to_le_bytes()))
}
