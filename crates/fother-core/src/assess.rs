//! Which vulnerabilities an installed package has: matched on release, source package and source version. Pure.
//!
//! [`installed`] says what a package counts as; [`package`] answers for one; the caller counts up.

pub mod components;
pub mod evidence;
pub mod host;
pub mod in_use;
pub mod installed;
pub mod releases;
mod rpm;

use crate::{
    advisory::{
        Bytes, Said, Status, Urgency,
        format::{Claim, Subject, Text},
        reader::{AdvisoryInfo, Database, Error, ReleaseInfo, VulnInfo},
    },
    package::UpdateClass,
    version::scheme::Scheme,
};
pub use releases::of_distribution as release_name;
use serde::Serialize;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap},
};

/// Debian's versions and codenames; `distro-info-data` gives the dates.
const DEBIAN: [(&str, &str); 8] = [
    ("8", "jessie"),
    ("9", "stretch"),
    ("10", "buster"),
    ("11", "bullseye"),
    ("12", "bookworm"),
    ("13", "trixie"),
    ("14", "forky"),
    ("15", "duke"),
];

/// The codename of a Debian version: `12` is `bookworm`.
#[must_use]
pub fn debian_codename(version: &str) -> Option<&'static str> {
    DEBIAN.iter().find(|(number, _)| *number == version).map(|(_, codename)| *codename)
}

/// A package's name as the database keeps it: Python's are compared without case and signs (PEP 503); Go's without case, for package URLs
/// are written in lower case (purl-spec, `golang`).
#[must_use]
pub fn package_name(ecosystem: &str, name: &str) -> String {
    match ecosystem {
        "PyPI" => name.to_lowercase().split(['-', '_', '.']).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-"),
        "Go" => name.to_lowercase(),
        _ => name.to_owned(),
    }
}

/// One vulnerability of one installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// CVE id; the advisory's id where it names no vulnerability.
    pub id: String,
    /// What is known about it; `None` where the advisory names no vulnerability.
    pub vuln: Option<VulnInfo>,
    /// What the vendor says.
    pub status: Status,
    /// First source version without it, where one is published.
    pub fixed: Option<String>,
    /// Advisories that the installed version lacks.
    pub advisories: Vec<AdvisoryInfo>,
    /// Kind of the update that closes it.
    pub class: Class,
    /// The vendor's highest word on its severity.
    pub urgency: Option<Urgency>,
    /// The vendor suggests a reboot after the update.
    pub reboot: bool,
    /// The fix is in an archive that needs a subscription; the remark names it.
    pub paid: bool,
    /// Exploitable over a network, as the vendor says.
    pub remote: bool,
    /// The vendor's remark: urgency, reason.
    pub note: String,
    /// Names of the feeds that say so.
    pub feeds: BTreeSet<u16>,
}

/// Kind of a finding, as the vendor tells kinds of updates apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// A vulnerability.
    Security,
    /// A bug.
    Bugfix,
    /// A new feature.
    Enhancement,
    /// A package that was not there before.
    NewPackage,
    /// No bug: for example, unmaintained.
    Notice,
}

impl Class {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Security,
            1 => Self::Bugfix,
            2 => Self::Enhancement,
            4 => Self::NewPackage,
            _ => Self::Notice,
        }
    }
}

impl From<UpdateClass> for Class {
    fn from(class: UpdateClass) -> Self {
        match class {
            UpdateClass::Security => Self::Security,
            UpdateClass::Bugfix => Self::Bugfix,
            UpdateClass::Enhancement => Self::Enhancement,
        }
    }
}

/// The answer for one package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Sorted by id.
    pub findings: Vec<Finding>,
    /// Ids that the vendor says it is not affected by, though another feed says otherwise.
    pub not_affected: Vec<String>,
    /// What vendors' own statements say about it, sorted by id.
    pub stated: Vec<Stated>,
    /// What could not be told, with the reason.
    pub unknown: BTreeSet<String>,
}

/// A vendor's statement that a package is not affected.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stated {
    /// Vulnerability.
    pub id: String,
    /// Who says so.
    pub who: String,
    /// Justification and words.
    pub why: String,
    /// The document's id.
    pub document: String,
    /// Position of the feed.
    pub feed: u16,
    /// It counts: the same vendor does not say otherwise.
    pub honoured: bool,
}

/// Whether a version lies in a claim's range; `None` where the versions cannot be compared.
pub(crate) fn within(
    scheme: Scheme,
    claim: &Claim,
    order: &mut impl FnMut(Text) -> Result<Option<Ordering>, Error>,
) -> Result<Option<bool>, Error> {
    let mut after = |text: Text| if text == Text::default() { Ok(None) } else { order(text).map(Some) };
    if claim.flags & Claim::EXACT != 0 {
        // Not comparable is not equal: enumerations are compared by text then.
        return Ok(Some(after(claim.introduced)?.flatten().is_some_and(Ordering::is_eq)));
    }
    let starts = match after(claim.introduced)? {
        None => Some(true),
        Some(order) => order.map(Ordering::is_ge),
    };
    let ends = match after(claim.end)? {
        None => Some(true),
        Some(order) => order.map(|order| if claim.flags & Claim::LAST_AFFECTED == 0 { order.is_lt() } else { order.is_le() }),
    };
    // With texts only, a range says nothing; the enumeration beside it does.
    if scheme == Scheme::Opaque && (claim.introduced != Text::default() || claim.end != Text::default()) {
        return Ok(Some(false));
    }
    Ok(match (starts, ends) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        (None, _) | (_, None) => None,
    })
}

/// What one subject's unmet claims come to.
#[derive(Debug)]
struct Gathered {
    status: Status,
    fixed: Option<String>,
    advisories: BTreeSet<u32>,
    remote: bool,
    paid: bool,
    notes: BTreeSet<String>,
    feeds: BTreeSet<u16>,
}

/// Answers for one package under one name: see [`packages`].
///
/// # Errors
/// Where the database is damaged.
pub fn package<B: Bytes>(db: &Database<B>, release: &ReleaseInfo, name: &str, version: &str) -> Result<Verdict, Error> {
    packages(db, release, &[name], version)
}

/// Answers for one package under all the names that vendors give it: the highest fixed version counts, since every advisory that
/// names a vulnerability must be met.
///
/// # Errors
/// Where the database is damaged.
pub fn packages<B: Bytes>(db: &Database<B>, release: &ReleaseInfo, names: &[&str], version: &str) -> Result<Verdict, Error> {
    let mut claims = Vec::new();
    for name in names {
        claims.extend(db.claims(&release.record, name)?);
    }
    judge(db, release.scheme, &claims, names.first().unwrap_or(&""), version)
}

/// Answers from claims.
///
/// # Errors
/// Where the database is damaged.
pub fn judge<B: Bytes>(db: &Database<B>, scheme: Scheme, claims: &[Claim], name: &str, version: &str) -> Result<Verdict, Error> {
    let mut verdict = Verdict::default();
    let mut orders: HashMap<Text, Option<Ordering>> = HashMap::new();
    let mut gathered: BTreeMap<Subject, Gathered> = BTreeMap::new();
    let mut cleared: BTreeMap<u32, BTreeSet<(u16, Text)>> = BTreeMap::new();
    let mut left_out: BTreeSet<u32> = BTreeSet::new();
    let fixes = Fixes::of(db, claims)?;
    for claim in claims {
        let mut order = |text: Text| match orders.get(&text) {
            Some(order) => Ok(*order),
            None => Ok(*orders.entry(text).or_insert(scheme.compare(version, &db.text(text)?))),
        };
        match within(scheme, claim, &mut order)? {
            Some(false) => continue,
            Some(true) => {}
            None => {
                let limits = format!("{} {}", db.text(claim.introduced)?, db.text(claim.end)?);
                verdict.unknown.insert(format!("{name} {version}: cannot be compared with {}", limits.trim()));
                continue;
            }
        }
        let vulns = db.vulns_of(claim.subject)?;
        if claim.is_gap() {
            left_out.extend(vulns);
            continue;
        }
        if claim.status == Status::NotAffected {
            vulns.into_iter().for_each(|vuln| _ = cleared.entry(vuln).or_default().insert((claim.feed, claim.note)));
            continue;
        }
        if vulns.is_empty() {
            gather(db, scheme, &mut gathered, claim.subject, claim)?;
        }
        for vuln in vulns.into_iter().filter(|vuln| !fixes.replace(claim, *vuln)) {
            gather(db, scheme, &mut gathered, Subject::Vuln(vuln), claim)?;
        }
    }
    for at in left_out {
        if gathered.remove(&Subject::Vuln(at)).is_some() {
            verdict.not_affected.push(db.vuln_id(at)?);
        }
    }
    settle(db, gathered, &cleared, &mut verdict)?;
    Ok(verdict)
}

/// Vulnerabilities with a published fix: for all, and for any.
#[derive(Debug, Default)]
struct Fixes {
    free: BTreeSet<u32>,
    any: BTreeSet<u32>,
}

impl Fixes {
    /// Looks only where a claim asks for it.
    fn of<B: Bytes>(db: &Database<B>, claims: &[Claim]) -> Result<Self, Error> {
        let mut out = Self::default();
        if !claims.iter().any(|claim| claim.flags & (Claim::UNTIL_FIXED | Claim::PAID) != 0) {
            return Ok(out);
        }
        for claim in claims.iter().filter(|claim| claim.status == Status::Fixed) {
            let vulns = db.vulns_of(claim.subject)?;
            if claim.flags & Claim::PAID == 0 {
                out.free.extend(&vulns);
            }
            out.any.extend(vulns);
        }
        Ok(out)
    }

    fn replace(&self, claim: &Claim, vuln: u32) -> bool {
        claim.flags & Claim::UNTIL_FIXED != 0 && self.any.contains(&vuln) || claim.flags & Claim::PAID != 0 && self.free.contains(&vuln)
    }
}

/// What is unmet against what is said not to be affected. A feed that says both of the same package is not believed in the better one.
fn settle<B: Bytes>(
    db: &Database<B>,
    gathered: BTreeMap<Subject, Gathered>,
    cleared: &BTreeMap<u32, BTreeSet<(u16, Text)>>,
    verdict: &mut Verdict,
) -> Result<(), Error> {
    let mut refused = BTreeSet::new();
    for (subject, mut found) in gathered {
        let by = match subject {
            Subject::Vuln(at) => cleared.get(&at).map(|by| (at, by)),
            Subject::Advisory(_) => None,
        };
        match by {
            Some((at, by)) if by.iter().any(|(feed, _)| !found.feeds.contains(feed)) => verdict.not_affected.push(db.vuln_id(at)?),
            Some((at, _)) => {
                refused.insert(at);
                found.notes.insert("the same feed also says that it is not affected".into());
                verdict.findings.push(finding(db, subject, found)?);
            }
            None => verdict.findings.push(finding(db, subject, found)?),
        }
    }
    for (at, by) in cleared {
        for (feed, note) in by {
            let Some(said) = Said::of_note(&db.text(*note)?) else { continue };
            let honoured = !refused.contains(at);
            let Said { who, why, document } = said;
            verdict.stated.push(Stated { id: db.vuln_id(*at)?, who, why, document, feed: *feed, honoured });
        }
    }
    verdict.findings.sort_by(|a, b| a.id.cmp(&b.id));
    verdict.not_affected.sort();
    verdict.stated.sort();
    Ok(())
}

fn gather<B: Bytes>(
    db: &Database<B>,
    scheme: Scheme,
    all: &mut BTreeMap<Subject, Gathered>,
    subject: Subject,
    claim: &Claim,
) -> Result<(), Error> {
    let fixed = (claim.end != Text::default() && claim.flags & Claim::LAST_AFFECTED == 0).then(|| db.text(claim.end)).transpose()?;
    let note = db.text(claim.note)?;
    let advisory = match claim.subject {
        Subject::Advisory(at) => Some(at),
        Subject::Vuln(_) => None,
    };
    let found = all.entry(subject).or_insert_with(|| Gathered {
        status: claim.status,
        fixed: None,
        advisories: BTreeSet::new(),
        remote: false,
        paid: false,
        notes: BTreeSet::new(),
        feeds: BTreeSet::new(),
    });
    // A published fix says more than an open status of another feed.
    found.status = if fixed.is_some() { Status::Fixed } else { found.status.min(claim.status) };
    if let Some(fixed) = fixed {
        let higher = found.fixed.as_deref().is_none_or(|old| scheme.compare(&fixed, old).is_some_and(Ordering::is_gt));
        found.fixed = if higher { Some(fixed) } else { found.fixed.take() };
    }
    found.advisories.extend(advisory);
    found.remote |= claim.flags & Claim::REMOTE != 0;
    found.paid |= claim.flags & Claim::PAID != 0;
    found.feeds.insert(claim.feed);
    if !note.is_empty() {
        found.notes.insert(note);
    }
    Ok(())
}

fn finding<B: Bytes>(db: &Database<B>, subject: Subject, found: Gathered) -> Result<Finding, Error> {
    let mut advisories = found.advisories.iter().map(|at| db.advisory(*at)).collect::<Result<Vec<_>, _>>()?;
    // A document that speaks of several vulnerabilities one by one stands there once for each.
    advisories.dedup_by(|a, b| a.id == b.id);
    let vuln = match subject {
        Subject::Vuln(at) => Some(db.vuln(at)?),
        Subject::Advisory(_) => None,
    };
    let id = match (&vuln, advisories.first()) {
        (Some(vuln), _) => vuln.id.clone(),
        (None, Some(advisory)) => advisory.id.clone(),
        (None, None) => String::new(),
    };
    Ok(Finding {
        id,
        vuln,
        status: found.status,
        fixed: found.fixed,
        class: advisories.iter().map(|advisory| Class::of(advisory.class)).min().unwrap_or(Class::Security),
        urgency: advisories.iter().filter_map(|advisory| advisory.urgency).max(),
        reboot: advisories.iter().any(|advisory| advisory.reboot),
        paid: found.paid,
        advisories,
        remote: found.remote,
        note: found.notes.into_iter().collect::<Vec<_>>().join("; "),
        feeds: found.feeds,
    })
}
