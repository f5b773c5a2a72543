//! The four answers for every vulnerability of a host: vulnerable, fix published, fix installable here, fix in effect. Pure.

use super::{
    Class, Finding,
    in_use::{InUse, PackageUse},
    installed, package, release_name,
};
use crate::{
    Timestamp,
    advisory::{
        Bytes, Day, Status,
        format::Release,
        reader::{self, Database, Error, FeedInfo, ReleaseInfo, SupportInfo},
    },
    cvss::Score,
    inventory::Distribution,
    package::Installed,
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What the host's own archives offer for one installed binary package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Binary package.
    pub name: String,
    /// Architecture of the installed package.
    pub arch: String,
    /// Source version that it brings.
    pub source_version: String,
    /// Source package that it brings.
    pub source: String,
    /// Why it would not be installed now: held, phased.
    pub kept: Option<String>,
}

/// A host as far as its assessment needs it.
#[derive(Clone, Debug)]
pub struct Host<'a> {
    /// Distribution.
    pub distribution: &'a Distribution,
    /// Installed packages.
    pub packages: &'a [Installed],
    /// Updates that are installable here; `None` where the host's archives were not looked at.
    pub offers: Option<&'a [Offer]>,
    /// Packages that came from somebody else's archive, with its name: the distribution's advisories do not speak of them.
    pub foreign: &'a BTreeMap<String, String>,
    /// Release of the running kernel; `None` where it cannot be told.
    pub kernel: Option<&'a str>,
    /// Today.
    pub now: Timestamp,
    /// Days after which any feed is stale, instead of each kind's own.
    pub feed_days_max: Option<u32>,
}

/// Whether a fix can be installed here and now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Installable {
    /// The host's own archives offer it for every affected package.
    Yes {
        /// Binary packages to update.
        packages: Vec<String>,
    },
    /// Offered, but the host keeps it back.
    Kept {
        /// Held or phased, for people.
        why: String,
    },
    /// Published, but no archive of the host offers it.
    No {
        /// Binary packages without an offer.
        packages: Vec<String>,
    },
    /// There is nothing to install.
    NotPublished,
    /// The host's archives were not looked at.
    Unknown,
}

/// Whether the fix runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum InEffect {
    /// It is not installed.
    NotInstalled,
    /// A fixed kernel is installed, the old one is booted.
    AfterReboot,
    /// It is installed, but a process still runs the version from before.
    AfterRestart,
    /// Only in a kernel that is not booted.
    NotBooted,
    /// A kernel of a machine of which the running one is not known.
    Unknown,
}

/// One vulnerability of one source package of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostFinding {
    /// CVE id; the advisory's where it names no vulnerability.
    pub id: String,
    /// One line on it.
    pub title: String,
    /// Source package.
    pub source: String,
    /// Installed source version.
    pub version: String,
    /// Installed binary packages, sorted.
    pub packages: Vec<String>,
    /// Where a language package stands, sorted: paths below the root. Empty for packages of the distribution.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<String>,
    /// First answer: what the vendor says.
    pub status: Status,
    /// Second answer: source version with the fix.
    pub fixed: Option<String>,
    /// Third answer.
    pub installable: Installable,
    /// Fourth answer.
    pub in_effect: InEffect,
    /// Whether its code runs now.
    pub in_use: InUse,
    /// By whom, in one sentence; empty where it was not looked at.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub in_use_because: String,
    /// Kind.
    pub class: Class,
    /// Ids of the advisories that are not met.
    pub advisories: Vec<String>,
    /// First publication of the fix, else of the vulnerability.
    pub published: Day,
    /// CVSS base score.
    pub cvss: Option<Score>,
    /// Its vector.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vector: String,
    /// Probability of exploitation within 30 days, in millionths.
    pub epss_millionths: Option<u32>,
    /// Since when it is known to be exploited.
    pub kev_added: Day,
    /// CISA's due date.
    pub kev_due: Day,
    /// Public exploits, by name.
    pub exploits: Vec<&'static str>,
    /// CISA's decision points.
    pub ssvc: crate::advisory::Ssvc,
    /// Exploitable over a network, as the vendor says.
    pub remote: bool,
    /// The vendor's remark.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// Why the package is judged under another name or release; empty where it is not.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub because: String,
    /// Names of the feeds that say so.
    pub feeds: Vec<String>,
}

/// A package whose support is limited or has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Unsupported {
    /// Source package.
    pub source: String,
    /// What is said, for people.
    pub why: String,
    /// Support has ended, it is not just limited.
    pub ended: bool,
}

/// What a host's assessment comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Assessment {
    /// The release in the database.
    pub release: String,
    /// How long the release is supported, for people.
    pub support: String,
    /// Sorted by id, then source.
    pub findings: Vec<HostFinding>,
    /// Ids that the vendor says a package is not affected by, though another feed says otherwise: `id source`.
    pub not_affected: Vec<String>,
    /// Packages with limited or ended support.
    pub unsupported: Vec<Unsupported>,
    /// Who has loaded code of packages that have findings; empty where it was not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_use: Vec<PackageUse>,
    /// Feeds with their dates and digests.
    pub feeds: Vec<FeedInfo>,
    /// Digest of the database.
    pub database: Option<crate::Digest>,
    /// What could not be told, with the reason.
    pub unknown: Vec<String>,
}

/// Installed binaries of one source version, judged as one.
type Groups<'a> = BTreeMap<installed::Judged, Vec<&'a Installed>>;

/// Assesses a host.
///
/// # Errors
/// Where the database is damaged.
pub fn host<B: Bytes>(db: &Database<B>, host: &Host<'_>) -> Result<Assessment, Error> {
    let feeds = db.feeds()?;
    let mut out = Assessment { database: Some(db.digest()), ..Assessment::default() };
    let name = release_name(host.distribution).unwrap_or_default();
    let Some(release) = db.release(&name)?.filter(|r| r.record.coverage & Release::KNOWS_FIXED != 0) else {
        out.unknown.push(format!("distribution {} {}: no feed speaks about it", host.distribution.id, host.distribution.version));
        out.feeds = feeds;
        return Ok(out);
    };
    let mut groups = Groups::new();
    for package in host.packages.iter().filter(|package| !host.foreign.contains_key(&package.name)) {
        let judged = installed::debian(&name, &package.source, package.source_version.as_str());
        groups.entry(judged).or_default().push(package);
    }
    let mut releases: BTreeMap<String, Option<ReleaseInfo>> = BTreeMap::new();
    releases.insert(name.clone(), Some(release.clone()));
    for (judged, binaries) in &groups {
        if !releases.contains_key(&judged.release) {
            releases.insert(judged.release.clone(), db.release(&judged.release)?);
        }
        let Some(Some(judge)) = releases.get(&judged.release) else {
            out.unknown.push(format!("{} {}: {}, of which no feed speaks", judged.source, judged.version, judged.because));
            continue;
        };
        let verdict = package(db, judge, &judged.source, &judged.version)?;
        out.unknown.extend(verdict.unknown);
        out.not_affected.extend(verdict.not_affected.iter().map(|id| format!("{id} {}", judged.source)));
        for finding in verdict.findings {
            out.findings.extend(split(host, &groups, judged, binaries, judge, &finding, &feeds));
        }
    }
    out.findings.sort_by(|a, b| (&a.id, &a.source, &a.version).cmp(&(&b.id, &b.source, &b.version)));
    judge_support(db, &release, host, &groups, &mut out)?;
    judge_feeds(&release, host.now, host.feed_days_max, &feeds, &mut out);
    out.release = name;
    out.feeds = feeds;
    out.unknown.sort();
    out.unknown.dedup();
    Ok(out)
}

/// One finding, or for kernels one for each way of being in effect.
fn split(
    host: &Host<'_>,
    groups: &Groups<'_>,
    judged: &installed::Judged,
    binaries: &[&Installed],
    judge: &ReleaseInfo,
    finding: &Finding,
    feeds: &[FeedInfo],
) -> Vec<HostFinding> {
    let (kernels, others): (Vec<&Installed>, Vec<&Installed>) = binaries.iter().partition(|package| is_kernel(&package.name));
    let mut parts: Vec<(InEffect, Vec<&Installed>)> = Vec::new();
    if !others.is_empty() {
        parts.push((InEffect::NotInstalled, others));
    }
    for kernel in kernels {
        let effect = kernel_in_effect(host, groups, judged, judge, kernel, finding);
        match parts.iter_mut().find(|(known, group)| *known == effect && group.iter().all(|p| is_kernel(&p.name))) {
            Some((_, group)) => group.push(kernel),
            None => parts.push((effect, vec![kernel])),
        }
    }
    parts.into_iter().map(|(effect, group)| host_finding(host, judged, &group, judge, finding, feeds, effect)).collect()
}

fn is_kernel(name: &str) -> bool {
    name.starts_with("linux-image-")
}

fn kernel_in_effect(
    host: &Host<'_>,
    groups: &Groups<'_>,
    judged: &installed::Judged,
    judge: &ReleaseInfo,
    kernel: &Installed,
    finding: &Finding,
) -> InEffect {
    let name = kernel.name.trim_start_matches("linux-image-");
    // A metapackage holds no kernel; it brings the next one.
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        match host.kernel {
            None => return InEffect::Unknown,
            Some(running) if name.trim_end_matches("-unsigned") != running => return InEffect::NotBooted,
            Some(_) => {}
        }
    }
    let Some(fixed) = &finding.fixed else { return InEffect::NotInstalled };
    let fixed_here = groups.iter().any(|(other, packages)| {
        other.source == judged.source
            && packages.iter().any(|p| is_kernel(&p.name))
            && judge.scheme.compare(&other.version, fixed).is_some_and(std::cmp::Ordering::is_ge)
    });
    if fixed_here { InEffect::AfterReboot } else { InEffect::NotInstalled }
}

/// One finding in words and numbers, without the answers that only a host can give.
pub(super) fn plain(judged: &installed::Judged, packages: Vec<String>, finding: &Finding, feeds: &[FeedInfo]) -> HostFinding {
    let vuln = finding.vuln.as_ref();
    let first = finding.advisories.iter().map(|a| a.date).filter(|day| day.is_known()).min();
    let title = vuln.map(|v| v.title.clone()).filter(|title| !title.is_empty());
    HostFinding {
        id: finding.id.clone(),
        title: title.or_else(|| finding.advisories.first().map(|a| a.summary.clone())).unwrap_or_default(),
        source: judged.source.clone(),
        version: judged.version.clone(),
        packages,
        places: Vec::new(),
        status: finding.status,
        fixed: finding.fixed.clone(),
        installable: if finding.fixed.is_some() { Installable::Unknown } else { Installable::NotPublished },
        in_effect: InEffect::NotInstalled,
        in_use: InUse::NotLooked,
        in_use_because: String::new(),
        class: finding.class,
        advisories: finding.advisories.iter().map(|a| a.id.clone()).collect(),
        published: first.or(vuln.map(|v| v.published)).unwrap_or_default(),
        cvss: vuln.and_then(|v| v.cvss),
        vector: vuln.map(|v| v.vector.clone()).unwrap_or_default(),
        epss_millionths: vuln.and_then(|v| v.epss),
        kev_added: vuln.map(|v| v.kev_added).unwrap_or_default(),
        kev_due: vuln.map(|v| v.kev_due).unwrap_or_default(),
        exploits: vuln.map(|v| v.exploits.names()).unwrap_or_default(),
        ssvc: vuln.map(|v| v.ssvc).unwrap_or_default(),
        remote: finding.remote,
        note: finding.note.clone(),
        because: judged.because.clone(),
        feeds: finding.feeds.iter().filter_map(|at| feeds.get(usize::from(*at))).map(|feed| feed.name.clone()).collect(),
    }
}

fn host_finding(
    host: &Host<'_>,
    judged: &installed::Judged,
    binaries: &[&Installed],
    judge: &ReleaseInfo,
    finding: &Finding,
    feeds: &[FeedInfo],
    in_effect: InEffect,
) -> HostFinding {
    let mut packages: Vec<String> = binaries.iter().map(|package| package.name.clone()).collect();
    packages.sort();
    packages.dedup();
    HostFinding { installable: installable(host, judged, binaries, judge, finding), in_effect, ..plain(judged, packages, finding, feeds) }
}

/// The third answer: whether each affected binary has an offer that reaches the fix.
fn installable(
    host: &Host<'_>,
    judged: &installed::Judged,
    binaries: &[&Installed],
    judge: &ReleaseInfo,
    finding: &Finding,
) -> Installable {
    let Some(fixed) = &finding.fixed else { return Installable::NotPublished };
    let Some(offers) = host.offers else { return Installable::Unknown };
    let release = release_name(host.distribution).unwrap_or_default();
    let reaches = |offer: &&Offer| {
        let offered = installed::debian(&release, &offer.source, &offer.source_version);
        // An update to another source (a rename, a leap to a backport) is judged by its own advisories, not by this fix.
        offered.source == judged.source
            && offered.release == judged.release
            && judge.scheme.compare(&offered.version, fixed).is_some_and(std::cmp::Ordering::is_ge)
    };
    let (mut packages, mut without, mut kept) = (Vec::new(), Vec::new(), None);
    for binary in binaries {
        let own = |offer: &&Offer| offer.name == binary.name && offer.arch == binary.arch;
        // A new kernel is a new package, which the metapackage brings.
        let kernel = |offer: &&Offer| is_kernel(&binary.name) && is_kernel(&offer.name);
        match offers.iter().find(|offer| (own(offer) || kernel(offer)) && reaches(offer)) {
            Some(offer) => {
                packages.push(offer.name.clone());
                kept = kept.or_else(|| offer.kept.clone());
            }
            None => without.push(binary.name.clone()),
        }
    }
    packages.sort();
    packages.dedup();
    without.sort();
    match (without.is_empty(), kept) {
        (false, _) => Installable::No { packages: without },
        (true, Some(why)) => Installable::Kept { why },
        (true, None) => Installable::Yes { packages },
    }
}

/// Dates of the release, and packages whose support is limited or has ended.
fn judge_support<B: Bytes>(
    db: &Database<B>,
    release: &ReleaseInfo,
    host: &Host<'_>,
    groups: &Groups<'_>,
    out: &mut Assessment,
) -> Result<(), Error> {
    let today = Day::of(host.now);
    let record = &release.record;
    let ahead = |day: Day| day.is_known() && day >= today;
    out.support = if !record.eol.is_known() {
        out.unknown.push(format!("{}: until when it is supported is not known", release.name));
        "not known".into()
    } else if ahead(record.eol) {
        format!("regular support until {}", record.eol)
    } else if ahead(record.lts) {
        format!("regular support ended {}; long-term support until {}", record.eol, record.lts)
    } else if ahead(record.elts) {
        let why = format!("free support ended {}; only extended support until {}", record.lts.max(record.eol), record.elts);
        out.unknown.push(format!("{}: {why}: what is not fixed for free is not listed as a fix", release.name));
        why
    } else {
        let why = format!("support ended {}", record.elts.max(record.lts).max(record.eol));
        out.unknown.push(format!("{}: {why}: nobody looks for its vulnerabilities any more", release.name));
        why
    };
    let supports = db.supports(release.at)?;
    let mut found = BTreeSet::new();
    for judged in groups.keys() {
        for (pattern, info) in &supports {
            let fits = pattern.strip_suffix(".*").map_or(*pattern == judged.source, |start| judged.source.starts_with(start));
            if fits {
                found.extend(unsupported(judged, info, today, release));
            }
        }
    }
    out.unsupported = found.into_iter().collect();
    Ok(())
}

fn unsupported(judged: &installed::Judged, info: &SupportInfo, today: Day, release: &ReleaseInfo) -> Option<Unsupported> {
    if !info.ended.is_known() {
        return Some(Unsupported { source: judged.source.clone(), why: format!("limited: {}", info.note), ended: false });
    }
    let newer = info.version != "0" && release.scheme.compare(&judged.version, &info.version).is_some_and(std::cmp::Ordering::is_gt);
    let verb = if info.ended > today { "ends" } else { "ended" };
    (!newer).then(|| Unsupported {
        source: judged.source.clone(),
        why: format!("{verb} {}: {}", info.ended, info.note),
        ended: info.ended <= today,
    })
}

/// Whether the feeds are fresh and whether they cover what is asked.
pub(super) fn judge_feeds(release: &ReleaseInfo, now: Timestamp, days_max: Option<u32>, feeds: &[FeedInfo], out: &mut Assessment) {
    let speaks = |at: usize| release.record.feeds >> at.min(63) & 1 == 1;
    let matter = |(at, feed): &(usize, &FeedInfo)| speaks(*at) || matches!(feed.kind.as_str(), "kev" | "epss");
    let matter: Vec<FeedInfo> = feeds.iter().enumerate().filter(matter).map(|(_, feed)| feed.clone()).collect();
    out.unknown.extend(reader::stale(&matter, Day::of(now), days_max));
    if release.record.coverage & Release::KNOWS_OPEN == 0 {
        out.unknown.push(format!(
            "{}: vulnerabilities without a published fix are not known; only the tracker's JSON lists them (fother feeds update debian-tracker)",
            release.name
        ));
    }
    for kind in ["kev", "epss"] {
        if !feeds.iter().any(|feed| feed.kind == kind) {
            out.unknown.push(format!("feed {kind}: there is none, so findings are not ranked by it"));
        }
    }
}
