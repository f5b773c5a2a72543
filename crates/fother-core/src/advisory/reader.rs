//! Answers from the advisory database, straight from its bytes; every offset is checked when it is used.

use super::{
    Bytes, Day, Exploits, Ssvc, Urgency, cve_key, cve_text,
    format::{
        Advisory, Claim, DIGEST_AT, Epss, FEEDS_MAX, Feed, HEADER_BYTES, MAGIC, Package, Record, Release, SECTION_BYTES, Section,
        Statement, Subject, Support, Text, VERSION, Vuln,
    },
};
use crate::{Timestamp, cvss::Score, version::scheme::Scheme};
use serde::Serialize;
use std::cmp::Ordering;

/// Largest database, in bytes.
pub const DATABASE_BYTES_MAX: u64 = 4 << 30;
/// Most claims on one package.
pub const CLAIMS_MAX: u32 = 200_000;
/// Most vulnerabilities of one advisory.
pub const ADVISORY_VULNS_MAX: u32 = 100_000;
/// Most statements on one product.
pub const STATEMENTS_MAX: u32 = 100_000;
/// Most records of sections that are read as a whole: releases, supports.
const WHOLE_MAX: u32 = 20_000;
/// Largest record.
const RECORD_BYTES_MAX: usize = 64;

/// Why the database gives no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not one, or of another version.
    #[error("the advisory database is not usable: {0}; run `fother feeds update` or `fother feeds import`")]
    Unusable(String),
    /// Its insides contradict each other.
    #[error("the advisory database is damaged: {0}; run `fother feeds import` again")]
    Damaged(String),
}

fn damaged(what: impl Into<String>) -> Error {
    Error::Damaged(what.into())
}

/// An open database.
#[derive(Debug)]
pub struct Database<B> {
    bytes: B,
    sections: [(u64, u32); Section::ALL.len()],
    digest: [u8; 32],
    created: Timestamp,
    until: Option<Day>,
}

/// One feed, for people and for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FeedInfo {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Where it came from.
    pub origin: String,
    /// Records taken from it.
    pub records: u32,
    /// The newest date inside it.
    pub date: Day,
    /// When it was taken in.
    pub imported: Timestamp,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
    /// Days after which it is stale.
    pub fresh_days: u32,
}

impl FeedInfo {
    /// Why the feed can no longer be relied on, as of a day.
    #[must_use]
    pub fn stale(&self, today: Day, limit_days: Option<u32>) -> Option<String> {
        let limit = limit_days.unwrap_or(self.fresh_days);
        if !self.date.is_known() {
            return Some(format!("feed {}: it has no date", self.name));
        }
        let age = today.since(self.date);
        (age > limit).then(|| format!("feed {}: its newest entry is of {}, {age} days old, older than {limit}", self.name, self.date))
    }
}

/// Why feeds can no longer be relied on, as of a day. Files that continue each other (`DSA/list` and its older part) count as one, by their newest.
#[must_use]
pub fn stale(feeds: &[FeedInfo], today: Day, limit_days: Option<u32>) -> Vec<String> {
    let group = |feed: &FeedInfo| {
        let end = feed.name.find(|c: char| c == '.' || c.is_ascii_digit()).filter(|_| feed.kind.starts_with("debian-"));
        feed.name[..end.unwrap_or(feed.name.len())].to_owned()
    };
    let mut newest: std::collections::BTreeMap<String, &FeedInfo> = std::collections::BTreeMap::new();
    for feed in feeds {
        let best = newest.entry(group(feed)).or_insert(feed);
        if feed.date > best.date {
            *best = feed;
        }
    }
    newest.into_values().filter_map(|feed| feed.stale(today, limit_days)).collect()
}

/// A release with its name and its place.
#[derive(Clone, Debug)]
pub struct ReleaseInfo {
    /// Position.
    pub at: u32,
    /// Name.
    pub name: String,
    /// Order of its versions.
    pub scheme: Scheme,
    /// The record.
    pub record: Release,
}

/// A vulnerability with everything known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VulnInfo {
    /// Id.
    pub id: String,
    /// One line, may be empty.
    pub title: String,
    /// First publication.
    pub published: Day,
    /// Base score.
    pub cvss: Option<Score>,
    /// Its vector.
    pub vector: String,
    /// Probability of exploitation in millionths.
    pub epss: Option<u32>,
    /// Since when known to be exploited.
    pub kev_added: Day,
    /// CISA's due date.
    pub kev_due: Day,
    /// Exploits.
    pub exploits: Exploits,
    /// Decision points.
    pub ssvc: Ssvc,
}

/// An advisory with its texts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AdvisoryInfo {
    /// Id.
    pub id: String,
    /// One line, may be empty.
    pub summary: String,
    /// First publication.
    pub date: Day,
    /// 0 security, 1 bugfix, 2 enhancement, 3 notice, 4 new package.
    pub class: u8,
    /// The vendor's word on its severity.
    pub urgency: Option<Urgency>,
    /// The vendor suggests a reboot after the update.
    pub reboot: bool,
}

/// What is said about a package's support.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SupportInfo {
    /// Last day; unknown where support is limited only.
    pub ended: Day,
    /// Last supported version; empty where support is limited only.
    pub version: String,
    /// The vendor's words.
    pub note: String,
}

impl<B: Bytes> Database<B> {
    /// Opens a database: reads the header and the table of sections, nothing else.
    ///
    /// # Errors
    /// Where it is no database of this version or sections lie outside of it.
    pub fn open(bytes: B) -> Result<Self, Error> {
        let unusable = |why: String| Error::Unusable(why);
        let mut header = [0; HEADER_BYTES];
        bytes.read(0, &mut header).map_err(unusable)?;
        if header[..8] != MAGIC {
            return Err(unusable("it is no advisory database".into()));
        }
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if u32_at(8) != VERSION {
            return Err(unusable(format!("it has format {}, this program reads {VERSION}", u32_at(8))));
        }
        if u64_at(16) != bytes.size() || bytes.size() > DATABASE_BYTES_MAX {
            return Err(unusable(format!("it says {} bytes and has {}", u64_at(16), bytes.size())));
        }
        if u32_at(12) as usize != Section::ALL.len() {
            return Err(unusable(format!("it has {} sections", u32_at(12))));
        }
        let mut digest = [0; 32];
        digest[..].copy_from_slice(&header[DIGEST_AT..DIGEST_AT + 32]);
        let mut sections = [(0, 0); Section::ALL.len()];
        let mut table = [0; SECTION_BYTES * Section::ALL.len()];
        bytes.read(HEADER_BYTES as u64, &mut table).map_err(unusable)?;
        for (section, entry) in Section::ALL.into_iter().zip(table.chunks_exact(SECTION_BYTES)) {
            let (number, record, count) = (le32(entry, 0), le32(entry, 4), le32(entry, 16));
            let offset = u64::from(le32(entry, 8)) | u64::from(le32(entry, 12)) << 32;
            let end = u64::from(count).checked_mul(u64::from(record)).and_then(|len| offset.checked_add(len));
            if number != section as u32 || record as usize != section.record_bytes() || end.is_none_or(|end| end > bytes.size()) {
                return Err(unusable(format!("section {number} is malformed")));
            }
            sections[section as usize] = (offset, count);
        }
        Ok(Self { sections, digest, created: Timestamp(u64_at(24)), bytes, until: None })
    }

    /// The database as it would have answered at the end of a day, from publication dates: claims whose advisory (else whose
    /// vulnerability) was published later are left out, as is what carries no date and changes daily (EPSS, exploit lists, SSVC).
    /// What has no date of publication counts as known.
    #[must_use]
    pub fn as_of(mut self, day: Day) -> Self {
        self.until = Some(day);
        self
    }

    fn was_known(&self, claim: &Claim) -> Result<bool, Error> {
        let Some(until) = self.until else { return Ok(true) };
        let published = match claim.subject {
            Subject::Advisory(at) => self.record::<Advisory>(at)?.date,
            Subject::Vuln(at) => self.record::<Vuln>(at)?.published,
        };
        Ok(published <= until)
    }

    /// SHA-256 of everything behind the header, as the header says; [`Database::verify`] checks it.
    #[must_use]
    pub fn digest(&self) -> crate::Digest {
        crate::Digest(self.digest)
    }

    /// When it was built.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.created
    }

    /// Reads every byte and compares with the digest.
    ///
    /// # Errors
    /// Where they differ.
    pub fn verify(&self) -> Result<(), Error> {
        use sha2::{Digest as _, Sha256};
        let (mut hash, mut at, mut block) = (Sha256::new(), HEADER_BYTES as u64, vec![0; 64 << 10]);
        while at < self.bytes.size() {
            let len = usize::try_from(self.bytes.size() - at).unwrap_or(usize::MAX).min(block.len());
            self.bytes.read(at, &mut block[..len]).map_err(damaged)?;
            hash.update(&block[..len]);
            at += len as u64;
        }
        if hash.finalize()[..] == self.digest { Ok(()) } else { Err(damaged("its bytes differ from its digest")) }
    }

    /// Number of records of a section.
    #[must_use]
    pub fn count(&self, section: Section) -> u32 {
        self.sections[section as usize].1
    }

    fn record<R: Record>(&self, at: u32) -> Result<R, Error> {
        let (offset, count) = self.sections[R::SECTION as usize];
        if at >= count {
            return Err(damaged(format!("record {at} of section {} is outside", R::SECTION as u32)));
        }
        let mut buffer = [0; RECORD_BYTES_MAX];
        let record = buffer.get_mut(..R::BYTES).ok_or_else(|| damaged("a record is too large"))?;
        self.bytes.read(offset + u64::from(at) * R::BYTES as u64, record).map_err(damaged)?;
        R::get(record).ok_or_else(|| damaged(format!("record {at} of section {} has no meaning", R::SECTION as u32)))
    }

    /// A text.
    ///
    /// # Errors
    /// Where it lies outside or is not UTF-8.
    pub fn text(&self, text: Text) -> Result<String, Error> {
        let mut out = Vec::new();
        self.text_into(text, &mut out)?;
        String::from_utf8(out).map_err(|_| damaged("a text is not UTF-8"))
    }

    fn text_into(&self, text: Text, out: &mut Vec<u8>) -> Result<(), Error> {
        let (offset, count) = self.sections[Section::Strings as usize];
        let mut len = [0; 2];
        let end = |len: u64| u64::from(text.0).checked_add(2 + len).filter(|end| *end <= u64::from(count));
        end(0).ok_or_else(|| damaged("a text is outside"))?;
        self.bytes.read(offset + u64::from(text.0), &mut len).map_err(damaged)?;
        let len = u16::from_le_bytes(len);
        end(u64::from(len)).ok_or_else(|| damaged("a text is outside"))?;
        out.clear();
        out.resize(usize::from(len), 0);
        self.bytes.read(offset + u64::from(text.0) + 2, out).map_err(damaged)
    }

    /// Position of the first record in `from..to` that does not sort before what is looked for, and whether it is equal.
    fn search(&self, from: u32, to: u32, mut order: impl FnMut(u32) -> Result<Ordering, Error>) -> Result<Option<u32>, Error> {
        let (mut low, mut high) = (from, to);
        while low < high {
            let middle = low + (high - low) / 2;
            match order(middle)? {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Some(middle)),
            }
        }
        Ok(None)
    }

    /// All feeds.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn feeds(&self) -> Result<Vec<FeedInfo>, Error> {
        let count = self.count(Section::Feeds);
        if count as usize > FEEDS_MAX {
            return Err(damaged(format!("it names {count} feeds")));
        }
        (0..count).map(|at| self.feed(at)).collect()
    }

    fn feed(&self, at: u32) -> Result<FeedInfo, Error> {
        let feed: Feed = self.record(at)?;
        Ok(FeedInfo {
            name: self.text(feed.name)?,
            kind: self.text(feed.kind)?,
            origin: self.text(feed.origin)?,
            records: feed.records,
            date: feed.date,
            imported: Timestamp(feed.imported_ms),
            sha256: hex::encode(feed.digest),
            fresh_days: feed.fresh_days,
        })
    }

    /// A release by its name; `None` where no feed speaks about it.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn release(&self, name: &str) -> Result<Option<ReleaseInfo>, Error> {
        let mut text = Vec::new();
        let found = self.search(0, self.count(Section::Releases), |at| {
            let release: Release = self.record(at)?;
            self.text_into(release.name, &mut text)?;
            Ok(text.as_slice().cmp(name.as_bytes()))
        })?;
        let Some(at) = found else { return Ok(None) };
        let record: Release = self.record(at)?;
        let scheme = Scheme::from_number(record.scheme).ok_or_else(|| damaged(format!("release {name} has no order of versions")))?;
        Ok(Some(ReleaseInfo { at, name: name.to_owned(), scheme, record }))
    }

    /// Names of all releases.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn releases(&self) -> Result<Vec<(String, Release)>, Error> {
        let count = self.count(Section::Releases).min(WHOLE_MAX);
        (0..count).map(|at| self.record(at).and_then(|release: Release| Ok((self.text(release.name)?, release)))).collect()
    }

    /// What is said about a package of a release; empty where nothing is.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn claims(&self, release: &Release, package: &str) -> Result<Vec<Claim>, Error> {
        let end = release.package_first.checked_add(release.package_count).filter(|end| *end <= self.count(Section::Packages));
        let end = end.ok_or_else(|| damaged("a release's packages are outside"))?;
        let mut text = Vec::new();
        let found = self.search(release.package_first, end, |at| {
            let record: Package = self.record(at)?;
            self.text_into(record.name, &mut text)?;
            Ok(text.as_slice().cmp(package.as_bytes()))
        })?;
        let Some(at) = found else { return Ok(Vec::new()) };
        let record: Package = self.record(at)?;
        if record.claim_count > CLAIMS_MAX {
            return Err(damaged(format!("package {package} has {} claims", record.claim_count)));
        }
        let places = record.claim_first..record.claim_first.saturating_add(record.claim_count);
        let mut claims = Vec::with_capacity(places.len());
        for at in places {
            let claim: Claim = self.record(at)?;
            if self.was_known(&claim)? {
                claims.push(claim);
            }
        }
        Ok(claims)
    }

    /// An advisory.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn advisory(&self, at: u32) -> Result<AdvisoryInfo, Error> {
        let record: Advisory = self.record(at)?;
        Ok(AdvisoryInfo {
            id: self.text(record.id)?,
            summary: self.text(record.summary)?,
            date: record.date,
            class: record.class,
            urgency: Urgency::of_number(record.urgency),
            reboot: record.flags & Advisory::REBOOT != 0,
        })
    }

    /// The vulnerabilities of a claim's subject, as positions.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn vulns_of(&self, subject: Subject) -> Result<Vec<u32>, Error> {
        let at = match subject {
            Subject::Vuln(at) => return Ok(vec![at]),
            Subject::Advisory(at) => at,
        };
        let mut bytes = Vec::new();
        self.vulns_into(at, &mut bytes)?;
        Ok(bytes.chunks_exact(4).map(|bytes| le32(bytes, 0)).collect())
    }

    /// What claims may have as their subject when they speak of this: itself, and the advisories that name a vulnerability. Sorted.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn naming(&self, subject: Subject) -> Result<Vec<Subject>, Error> {
        let mut all = vec![subject];
        if let Subject::Vuln(vuln) = subject {
            let mut bytes = Vec::new();
            for at in 0..self.count(Section::Advisories) {
                self.vulns_into(at, &mut bytes)?;
                if bytes.chunks_exact(4).any(|bytes| le32(bytes, 0) == vuln) {
                    all.push(Subject::Advisory(at));
                }
            }
        }
        all.sort_unstable();
        Ok(all)
    }

    /// Positions of an advisory's vulnerabilities, four bytes each.
    fn vulns_into(&self, advisory: u32, bytes: &mut Vec<u8>) -> Result<(), Error> {
        let record: Advisory = self.record(advisory)?;
        let (offset, count) = self.sections[Section::AdvisoryVulns as usize];
        let end = record.vuln_first.checked_add(record.vuln_count).filter(|end| *end <= count && record.vuln_count <= ADVISORY_VULNS_MAX);
        end.ok_or_else(|| damaged("an advisory's vulnerabilities are outside"))?;
        bytes.resize(record.vuln_count as usize * 4, 0);
        self.bytes.read(offset + u64::from(record.vuln_first) * 4, bytes).map_err(damaged)
    }

    /// A vulnerability by its position.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn vuln(&self, at: u32) -> Result<VulnInfo, Error> {
        let record: Vuln = self.record(at)?;
        let id = if record.key == 0 { self.text(record.id)? } else { cve_text(record.key) };
        let mut info = VulnInfo {
            epss: if record.key == 0 { None } else { self.epss(record.key)? },
            title: self.text(record.title)?,
            published: record.published,
            cvss: (record.cvss != Vuln::NO_SCORE).then_some(Score(record.cvss.min(100))),
            vector: self.text(record.vector)?,
            kev_added: record.kev_added,
            kev_due: record.kev_due,
            exploits: Exploits(record.exploits),
            ssvc: Ssvc::unpack(record.ssvc),
            id,
        };
        if let Some(until) = self.until {
            let exploited = info.kev_added.is_known() && info.kev_added <= until;
            info.exploits = Exploits(if exploited { record.exploits & Exploits::KEV } else { 0 });
            if !exploited {
                (info.kev_added, info.kev_due) = (Day::default(), Day::default());
            }
            (info.epss, info.ssvc) = (None, Ssvc::default());
        }
        Ok(info)
    }

    /// A vulnerability's id by its position.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn vuln_id(&self, at: u32) -> Result<String, Error> {
        let record: Vuln = self.record(at)?;
        if record.key == 0 { self.text(record.id) } else { Ok(cve_text(record.key)) }
    }

    /// A vulnerability by its id; `None` where no feed but perhaps EPSS knows it.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn vuln_by_id(&self, id: &str) -> Result<Option<VulnInfo>, Error> {
        self.vuln_place(id)?.map(|at| self.vuln(at)).transpose()
    }

    /// Position of a vulnerability by its id.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn vuln_place(&self, id: &str) -> Result<Option<u32>, Error> {
        let count = self.count(Section::Vulns);
        let key = cve_key(id);
        self.search(0, count, |at| {
            let record: Vuln = self.record(at)?;
            Ok(match (key, record.key) {
                (Some(key), 1..) => record.key.cmp(&key),
                // CVEs stand before other ids.
                (Some(_), 0) => Ordering::Greater,
                (None, 1..) => Ordering::Less,
                (None, 0) => self.text(record.id)?.as_str().cmp(id),
            })
        })
    }

    /// Position of an advisory by its id; reads all advisories' ids.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn advisory_place(&self, id: &str) -> Result<Option<u32>, Error> {
        let mut text = Vec::new();
        for at in 0..self.count(Section::Advisories) {
            let record: Advisory = self.record(at)?;
            self.text_into(record.id, &mut text)?;
            if text == id.as_bytes() {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Probability of exploitation of a CVE, in millionths.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn epss(&self, key: u32) -> Result<Option<u32>, Error> {
        let found = self.search(0, self.count(Section::Epss), |at| self.record(at).map(|e: Epss| e.key.cmp(&key)))?;
        found.map(|at| self.record(at).map(|e: Epss| e.millionths.min(1_000_000))).transpose()
    }

    /// What is said about the support of packages of a release: source package or `start.*`, and the words.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn supports(&self, release: u32) -> Result<Vec<(String, SupportInfo)>, Error> {
        let mut out = Vec::new();
        for at in 0..self.count(Section::Supports).min(WHOLE_MAX) {
            let record: Support = self.record(at)?;
            if record.release == release {
                let info = SupportInfo { ended: record.ended, version: self.text(record.version)?, note: self.text(record.note)? };
                out.push((self.text(record.pattern)?, info));
            }
        }
        Ok(out)
    }

    /// VEX statements on a product, by its key: their words as JSON and the feed's position.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn statements(&self, product: &str) -> Result<Vec<(String, u32)>, Error> {
        let count = self.count(Section::Statements);
        let mut text = Vec::new();
        let mut order = |at: u32| -> Result<Ordering, Error> {
            let record: Statement = self.record(at)?;
            self.text_into(record.product, &mut text)?;
            Ok(text.as_slice().cmp(product.as_bytes()))
        };
        let Some(found) = self.search(0, count, &mut order)? else { return Ok(Vec::new()) };
        let mut first = found;
        while first > 0 && found - first < STATEMENTS_MAX && order(first - 1)?.is_eq() {
            first -= 1;
        }
        let mut out = Vec::new();
        for at in first..count.min(first.saturating_add(STATEMENTS_MAX)) {
            if !order(at)?.is_eq() {
                break;
            }
            let record: Statement = self.record(at)?;
            out.push((self.text(record.body)?, record.feed));
        }
        Ok(out)
    }

    /// Every package that has a claim on a vulnerability: release, package, claim. Reads all claims.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn affected_by(&self, id: &str) -> Result<Vec<(String, String, Claim)>, Error> {
        let mut out = Vec::new();
        for (name, release) in self.releases()? {
            for at in release.package_first..release.package_first.saturating_add(release.package_count) {
                let package: Package = self.record(at)?;
                for claim in package.claim_first..package.claim_first.saturating_add(package.claim_count.min(CLAIMS_MAX)) {
                    let claim: Claim = self.record(claim)?;
                    let mut named = false;
                    for vuln in self.vulns_of(claim.subject)? {
                        let record: Vuln = self.record(vuln)?;
                        named |= if record.key == 0 { self.text(record.id)? == id } else { cve_key(id) == Some(record.key) };
                    }
                    if named {
                        out.push((name.clone(), self.text(package.name)?, claim));
                    }
                }
            }
        }
        Ok(out)
    }
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
