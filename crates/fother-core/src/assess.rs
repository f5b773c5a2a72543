//! Which vulnerabilities an installed package has: matched on release, source package and source version. Pure.
//!
//! [`installed`] says what a package counts as; [`package`] answers for one; the caller counts up.

pub mod components;
pub mod evidence;
pub mod host;
pub mod in_use;
pub mod installed;

use crate::{
    advisory::{
        Bytes, Status,
        format::{Claim, Subject, Text},
        reader::{AdvisoryInfo, Database, Error, ReleaseInfo, VulnInfo},
    },
    inventory::Distribution,
    package::UpdateClass,
    version::scheme::Scheme,
};
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

/// The name of a distribution's release in the advisory database; `None` where no feed can speak about it.
#[must_use]
pub fn release_name(distribution: &Distribution) -> Option<String> {
    let major = distribution.version.split('.').next().unwrap_or_default();
    Some(match distribution.id.as_str() {
        "debian" if !distribution.codename.is_empty() => format!("debian:{}", distribution.codename),
        "debian" => format!("debian:{}", debian_codename(major)?),
        "ubuntu" => {
            let lts = major.parse::<u32>().is_ok_and(|year| year % 2 == 0) && distribution.version.ends_with(".04");
            format!("Ubuntu:{}{}", distribution.version, if lts { ":LTS" } else { "" })
        }
        "almalinux" => format!("AlmaLinux:{major}"),
        "rocky" => format!("Rocky Linux:{major}"),
        "alpine" => format!("Alpine:v{}", distribution.version.splitn(3, '.').take(2).collect::<Vec<_>>().join(".")),
        _ => return None,
    })
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
    /// No bug: for example, unmaintained.
    Notice,
}

impl Class {
    fn of(number: u8) -> Self {
        match number {
            0 => Self::Security,
            1 => Self::Bugfix,
            2 => Self::Enhancement,
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
    /// What could not be told, with the reason.
    pub unknown: BTreeSet<String>,
}

/// Whether a version lies in a claim's range; `None` where the versions cannot be compared.
fn within(scheme: Scheme, claim: &Claim, order: &mut impl FnMut(Text) -> Result<Option<Ordering>, Error>) -> Result<Option<bool>, Error> {
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
    notes: BTreeSet<String>,
    feeds: BTreeSet<u16>,
}

/// Answers for one package: the highest fixed version counts, since every advisory that names a vulnerability must be met.
///
/// # Errors
/// Where the database is damaged.
pub fn package<B: Bytes>(db: &Database<B>, release: &ReleaseInfo, name: &str, version: &str) -> Result<Verdict, Error> {
    let scheme = release.scheme;
    let mut verdict = Verdict::default();
    let mut orders: HashMap<Text, Option<Ordering>> = HashMap::new();
    let mut gathered: BTreeMap<Subject, Gathered> = BTreeMap::new();
    let mut cleared: BTreeSet<u32> = BTreeSet::new();
    for claim in db.claims(&release.record, name)? {
        let mut order = |text: Text| match orders.get(&text) {
            Some(order) => Ok(*order),
            None => Ok(*orders.entry(text).or_insert(scheme.compare(version, &db.text(text)?))),
        };
        match within(scheme, &claim, &mut order)? {
            Some(false) => continue,
            Some(true) => {}
            None => {
                let limits = format!("{} {}", db.text(claim.introduced)?, db.text(claim.end)?);
                verdict.unknown.insert(format!("{name} {version}: cannot be compared with {}", limits.trim()));
                continue;
            }
        }
        let vulns = db.vulns_of(claim.subject)?;
        if claim.status == Status::NotAffected {
            cleared.extend(vulns);
            continue;
        }
        if vulns.is_empty() {
            gather(db, scheme, &mut gathered, claim.subject, &claim)?;
        }
        for vuln in vulns {
            gather(db, scheme, &mut gathered, Subject::Vuln(vuln), &claim)?;
        }
    }
    for (subject, found) in gathered {
        if let Subject::Vuln(at) = subject
            && cleared.contains(&at)
        {
            verdict.not_affected.push(db.vuln(at)?.id);
        } else {
            verdict.findings.push(finding(db, subject, found)?);
        }
    }
    verdict.findings.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(verdict)
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
    found.feeds.insert(claim.feed);
    if !note.is_empty() {
        found.notes.insert(note);
    }
    Ok(())
}

fn finding<B: Bytes>(db: &Database<B>, subject: Subject, found: Gathered) -> Result<Finding, Error> {
    let advisories = found.advisories.iter().map(|at| db.advisory(*at)).collect::<Result<Vec<_>, _>>()?;
    let vuln = match subject {
        Subject::Vuln(at) => Some(db.vuln(at)?),
        Subject::Advisory(_) => None,
    };
    let id = match (&vuln, advisories.first()) {
        (Some(vuln), _) => vuln.id.clone(),
        (None, Some(advisory)) => advisory.id.clone(),
        (None, None) => String::new(),
    };
    let class = advisories.iter().map(|advisory| Class::of(advisory.class)).min().unwrap_or(Class::Security);
    let note = found.notes.into_iter().collect::<Vec<_>>().join("; ");
    Ok(Finding { id, vuln, status: found.status, fixed: found.fixed, advisories, class, remote: found.remote, note, feeds: found.feeds })
}
