//! The bytes of the advisory database, version 2: a header, a table of sections, sections of fixed-size records. Little-endian.
//!
//! ARCHITECTURE.md holds the same as a table. Records refer to each other by position and to texts by their place in
//! the section of strings (a two-byte length, then UTF-8), so nothing has to be parsed before the first answer.

use super::{Day, Status};

/// First bytes of the file.
pub const MAGIC: [u8; 8] = *b"FOTHERAD";
/// Version of the format.
pub const VERSION: u32 = 2;
/// Bytes of the header; the table of sections follows.
pub const HEADER_BYTES: usize = 64;
/// Bytes of one entry of the table of sections.
pub const SECTION_BYTES: usize = 24;
/// Where the digest of everything behind the header stands.
pub const DIGEST_AT: usize = 32;
/// Longest text, in bytes.
pub const TEXT_BYTES_MAX: usize = u16::MAX as usize;
/// Most feeds, as each is one bit of a release's set.
pub const FEEDS_MAX: usize = 64;

/// The sections, in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Section {
    /// Texts.
    Strings = 0,
    /// [`Feed`] records.
    Feeds = 1,
    /// [`Release`] records, sorted by name.
    Releases = 2,
    /// [`Package`] records, a run for each release, sorted by name in it.
    Packages = 3,
    /// [`Claim`] records, a run for each package.
    Claims = 4,
    /// [`Advisory`] records.
    Advisories = 5,
    /// Positions of vulnerabilities, a run for each advisory.
    AdvisoryVulns = 6,
    /// [`Vuln`] records: CVEs sorted by key, then others sorted by id.
    Vulns = 7,
    /// [`Epss`] records, sorted by key.
    Epss = 8,
    /// [`Support`] records.
    Supports = 9,
    /// [`Statement`] records, sorted by product.
    Statements = 10,
}

impl Section {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Strings,
        Self::Feeds,
        Self::Releases,
        Self::Packages,
        Self::Claims,
        Self::Advisories,
        Self::AdvisoryVulns,
        Self::Vulns,
        Self::Epss,
        Self::Supports,
        Self::Statements,
    ];

    /// Bytes of one record.
    #[must_use]
    pub fn record_bytes(self) -> usize {
        match self {
            Self::Strings => 1,
            Self::Feeds => Feed::BYTES,
            Self::Releases => Release::BYTES,
            Self::Packages => Package::BYTES,
            Self::Claims => Claim::BYTES,
            Self::Advisories => Advisory::BYTES,
            Self::AdvisoryVulns => 4,
            Self::Vulns => Vuln::BYTES,
            Self::Epss => Epss::BYTES,
            Self::Supports => Support::BYTES,
            Self::Statements => Statement::BYTES,
        }
    }
}

/// A text's place in the section of strings; 0 is the empty text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(pub u32);

/// A record of fixed size.
pub trait Record: Sized {
    /// Section that holds it.
    const SECTION: Section;
    /// Its size in the file, in bytes.
    const BYTES: usize;

    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// Reads it from exactly [`Record::BYTES`] bytes; `None` where a value has no meaning.
    fn get(bytes: &[u8]) -> Option<Self>;
}

/// Little-endian fields of one record, in order.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|b| b[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn text(&mut self) -> Option<Text> {
        self.u32().map(Text)
    }

    fn day(&mut self) -> Option<Day> {
        self.u32().map(Day)
    }
}

fn put32(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend(value.to_le_bytes());
    }
}

/// One feed that went in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// Its name: `kev`, `debian-list/DSA.list`.
    pub name: Text,
    /// Its kind: `kev`, `osv`.
    pub kind: Text,
    /// Where it came from.
    pub origin: Text,
    /// Records that were taken from it.
    pub records: u32,
    /// The newest date inside it.
    pub date: Day,
    /// After how many days it is stale.
    pub fresh_days: u32,
    /// When it was taken in, milliseconds since 1970.
    pub imported_ms: u64,
    /// SHA-256 of its bytes.
    pub digest: [u8; 32],
}

impl Record for Feed {
    const SECTION: Section = Section::Feeds;
    const BYTES: usize = 64;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.name.0, self.kind.0, self.origin.0, self.records, self.date.0, self.fresh_days]);
        out.extend(self.imported_ms.to_le_bytes());
        out.extend(self.digest);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self {
            name: f.text()?,
            kind: f.text()?,
            origin: f.text()?,
            records: f.u32()?,
            date: f.day()?,
            fresh_days: f.u32()?,
            imported_ms: f.u64()?,
            digest: f.take()?,
        })
    }
}

/// A distribution's release, or an ecosystem.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Release {
    /// `debian:bookworm`, `AlmaLinux:9`, `crates.io`.
    pub name: Text,
    /// [`crate::version::scheme::Scheme`] as a number.
    pub scheme: u8,
    /// [`Release::KNOWS_FIXED`] and [`Release::KNOWS_OPEN`].
    pub coverage: u8,
    /// First of its packages.
    pub package_first: u32,
    /// Number of its packages.
    pub package_count: u32,
    /// Day of release.
    pub released: Day,
    /// Last day of the vendor's regular support.
    pub eol: Day,
    /// Last day of long-term support.
    pub lts: Day,
    /// Last day of extended, often paid, support.
    pub elts: Day,
    /// Set of feeds that speak about it, bit by bit.
    pub feeds: u64,
}

impl Release {
    /// Fixed versions are known.
    pub const KNOWS_FIXED: u8 = 1;
    /// Vulnerabilities without a fix are known.
    pub const KNOWS_OPEN: u8 = 2;
}

impl Record for Release {
    const SECTION: Section = Section::Releases;
    const BYTES: usize = 40;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.name.0]);
        out.extend([self.scheme, self.coverage, 0, 0]);
        put32(out, &[self.package_first, self.package_count, self.released.0, self.eol.0, self.lts.0, self.elts.0]);
        out.extend(self.feeds.to_le_bytes());
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        let (name, scheme, coverage, _) = (f.text()?, f.u8()?, f.u8()?, f.u16()?);
        Some(Self {
            name,
            scheme,
            coverage,
            package_first: f.u32()?,
            package_count: f.u32()?,
            released: f.day()?,
            eol: f.day()?,
            lts: f.day()?,
            elts: f.day()?,
            feeds: f.u64()?,
        })
    }
}

/// A package of a release: a source package for Debian and Ubuntu, a binary package for rpm distributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Name.
    pub name: Text,
    /// First of its claims.
    pub claim_first: u32,
    /// Number of its claims.
    pub claim_count: u32,
}

impl Record for Package {
    const SECTION: Section = Section::Packages;
    const BYTES: usize = 12;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.name.0, self.claim_first, self.claim_count]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self { name: f.text()?, claim_first: f.u32()?, claim_count: f.u32()? })
    }
}

/// What a claim speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An advisory, by position.
    Advisory(u32),
    /// A vulnerability, by position.
    Vuln(u32),
}

/// Top bit: the position is a vulnerability's.
const SUBJECT_VULN: u32 = 1 << 31;

/// One range of versions of one package, and what is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// What it speaks of.
    pub subject: Subject,
    /// First affected version; empty from the beginning.
    pub introduced: Text,
    /// First version that is not affected any more, or the last affected one ([`Claim::LAST_AFFECTED`]); empty where there is none.
    pub end: Text,
    /// What is said.
    pub status: Status,
    /// [`Claim::LAST_AFFECTED`], [`Claim::EXACT`], [`Claim::REMOTE`], [`Claim::UNTIL_FIXED`], [`Claim::PAID`].
    pub flags: u8,
    /// Position of the feed that says it.
    pub feed: u16,
    /// The vendor's remark: urgency, reason; a [`super::Said`] where a statement is meant.
    pub note: Text,
}

impl Claim {
    /// `end` is the last affected version.
    pub const LAST_AFFECTED: u8 = 1;
    /// Only the version `introduced` is meant.
    pub const EXACT: u8 = 2;
    /// Exploitable over a network, as the vendor says.
    pub const REMOTE: u8 = 4;
    /// Vulnerable only as long as the release has no fix: a published fix of the same vulnerability takes this claim's place.
    pub const UNTIL_FIXED: u8 = 8;
    /// The fix is published, but in an archive that needs a subscription; the note names it. A fix for all takes this claim's place.
    pub const PAID: u8 = 16;

    /// One version that the feed's own ranges cannot leave out otherwise, and no vendor's statement.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.status == Status::NotAffected && self.flags & Self::EXACT != 0 && self.note == Text::default()
    }
}

impl Record for Claim {
    const SECTION: Section = Section::Claims;
    const BYTES: usize = 20;

    fn put(&self, out: &mut Vec<u8>) {
        let subject = match self.subject {
            Subject::Advisory(at) => at & !SUBJECT_VULN,
            Subject::Vuln(at) => at | SUBJECT_VULN,
        };
        put32(out, &[subject, self.introduced.0, self.end.0]);
        out.extend([self.status as u8, self.flags]);
        out.extend(self.feed.to_le_bytes());
        put32(out, &[self.note.0]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        let subject = f.u32()?;
        let at = subject & !SUBJECT_VULN;
        Some(Self {
            subject: if subject & SUBJECT_VULN == 0 { Subject::Advisory(at) } else { Subject::Vuln(at) },
            introduced: f.text()?,
            end: f.text()?,
            status: Status::from_number(f.u8()?)?,
            flags: f.u8()?,
            feed: f.u16()?,
            note: f.text()?,
        })
    }
}

/// An advisory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advisory {
    /// `DSA-5865-1`.
    pub id: Text,
    /// One line on it.
    pub summary: Text,
    /// First publication.
    pub date: Day,
    /// First of its vulnerabilities, in [`Section::AdvisoryVulns`].
    pub vuln_first: u32,
    /// Number of its vulnerabilities.
    pub vuln_count: u32,
    /// 0 security, 1 bugfix, 2 enhancement, 3 notice (for example: unmaintained), 4 new package.
    pub class: u8,
    /// The vendor's word on its severity, [`super::Urgency`] as a number; 0 where there is none.
    pub urgency: u8,
    /// 1: the vendor suggests a reboot.
    pub flags: u8,
}

impl Advisory {
    /// The vendor suggests a reboot after the update.
    pub const REBOOT: u8 = 1;
}

impl Record for Advisory {
    const SECTION: Section = Section::Advisories;
    const BYTES: usize = 24;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.id.0, self.summary.0, self.date.0, self.vuln_first, self.vuln_count]);
        out.extend([self.class, self.urgency, self.flags, 0]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self {
            id: f.text()?,
            summary: f.text()?,
            date: f.day()?,
            vuln_first: f.u32()?,
            vuln_count: f.u32()?,
            class: f.u8()?,
            urgency: f.u8()?,
            flags: f.u8()?,
        })
    }
}

/// A vulnerability.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vuln {
    /// [`super::cve_key`]; 0 for ids that are no CVE.
    pub key: u32,
    /// The id, where it is no CVE.
    pub id: Text,
    /// The CVSS vector that the score is from.
    pub vector: Text,
    /// One line on it.
    pub title: Text,
    /// First publication.
    pub published: Day,
    /// Since when it is known to be exploited.
    pub kev_added: Day,
    /// CISA's due date.
    pub kev_due: Day,
    /// CVSS base score in tenths; 255 where none is known.
    pub cvss: u8,
    /// [`super::Exploits`].
    pub exploits: u8,
    /// [`super::Ssvc::pack`].
    pub ssvc: u8,
}

impl Vuln {
    /// No score is known.
    pub const NO_SCORE: u8 = 255;
}

impl Record for Vuln {
    const SECTION: Section = Section::Vulns;
    const BYTES: usize = 32;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.key, self.id.0, self.vector.0, self.title.0, self.published.0, self.kev_added.0, self.kev_due.0]);
        out.extend([self.cvss, self.exploits, self.ssvc, 0]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self {
            key: f.u32()?,
            id: f.text()?,
            vector: f.text()?,
            title: f.text()?,
            published: f.day()?,
            kev_added: f.day()?,
            kev_due: f.day()?,
            cvss: f.u8()?,
            exploits: f.u8()?,
            ssvc: f.u8()?,
        })
    }
}

/// FIRST's probability of exploitation within 30 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epss {
    /// [`super::cve_key`].
    pub key: u32,
    /// Probability in millionths.
    pub millionths: u32,
}

impl Record for Epss {
    const SECTION: Section = Section::Epss;
    const BYTES: usize = 8;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.key, self.millionths]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self { key: f.u32()?, millionths: f.u32()? })
    }
}

/// A package whose support is limited or has ended before its release's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Support {
    /// Release, by position.
    pub release: u32,
    /// Source package, or the start of one before `.*`.
    pub pattern: Text,
    /// Last day of support; unknown where support is limited only.
    pub ended: Day,
    /// Last supported version; empty where support is limited only.
    pub version: Text,
    /// The vendor's words.
    pub note: Text,
}

impl Record for Support {
    const SECTION: Section = Section::Supports;
    const BYTES: usize = 20;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.release, self.pattern.0, self.ended.0, self.version.0, self.note.0]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self { release: f.u32()?, pattern: f.text()?, ended: f.day()?, version: f.text()?, note: f.text()? })
    }
}

/// One VEX statement on a product that is no release's package: kept in the words of [`crate::vex::Statement`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Statement {
    /// The product: type, namespace and name as [`crate::vex::Product::key`] joins them.
    pub product: Text,
    /// The statement as JSON.
    pub body: Text,
    /// Position of the feed that says it.
    pub feed: u32,
}

impl Record for Statement {
    const SECTION: Section = Section::Statements;
    const BYTES: usize = 12;

    fn put(&self, out: &mut Vec<u8>) {
        put32(out, &[self.product.0, self.body.0, self.feed]);
    }

    fn get(bytes: &[u8]) -> Option<Self> {
        let mut f = Fields(bytes);
        Some(Self { product: f.text()?, body: f.text()?, feed: f.u32()? })
    }
}
