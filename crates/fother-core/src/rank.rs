//! Findings turned into a short queue of updates, in the order that removes risk fastest, each with its reason and its deadline. Pure.
//!
//! The unit is the update: one source package that moves to one version and closes many findings at once.
//! All numbers are integers in millionths, so that the same findings give the same order on every machine.

pub mod rules;

use crate::{
    advisory::{Day, Status},
    assess::{
        Class,
        host::{HostFinding, InEffect, Installable},
        in_use::InUse,
    },
    cvss::Severity,
};
use rules::{Due, Facts, Pack};
use serde::Serialize;
use std::collections::BTreeMap;

const MILLION: u64 = 1_000_000;
/// Chance of being attacked, where a vulnerability is known to be exploited.
const CHANCE_EXPLOITED: u64 = 900_000;
/// At least so much, where an attack tool has it (Metasploit, Nuclei).
const CHANCE_TOOLED: u64 = 300_000;
/// At least so much, where an exploit is public.
const CHANCE_PUBLIC: u64 = 100_000;
/// Where no score is known: about the ninth decile of all scores, since new CVEs have none yet.
const CHANCE_UNKNOWN: u64 = 20_000;
/// Impact in tenths, where no CVSS score is known: that of a high one.
const IMPACT_UNKNOWN: u64 = 80;
/// Most reasons that one update shows.
const REASONS_MAX: usize = 5;

/// What is known about the asset, beyond its packages; `None` is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asset {
    /// Reachable from the internet.
    pub publicly_exposed: Option<bool>,
}

/// A deadline with the rule that sets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deadline {
    /// The day; unknown for "on upgrade".
    pub day: Day,
    /// Days that are left; negative when it is over.
    pub days_left: Option<i64>,
    /// What must be done by then, for people.
    pub what: String,
    /// Pack that says so.
    pub pack: String,
    /// The vulnerability that it is due for.
    pub id: String,
    /// From which day it counts.
    pub counts_from: Day,
    /// Inputs that are missing, for which the strictest branch was taken.
    pub missing: Vec<&'static str>,
}

/// One update of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Update {
    /// Source package.
    pub source: String,
    /// Installed source version.
    pub from: String,
    /// The source version that closes all that can be closed.
    pub to: Option<String>,
    /// Binary packages.
    pub packages: Vec<String>,
    /// Ids that it closes, the riskiest first.
    pub closes: Vec<String>,
    /// Whether it can be installed here.
    pub installable: Installable,
    /// A reboot puts it into effect; the fix is installed.
    pub reboot: bool,
    /// A restart of services puts it into effect; the fix is installed.
    pub restart: bool,
    /// Expected risk that it removes, in millionths.
    pub risk_millionths: u64,
    /// Known exploited vulnerabilities among those that it closes.
    pub exploited: usize,
    /// Whether the code that it replaces runs now.
    pub in_use: InUse,
    /// Why it stands where it stands, one sentence each.
    pub reasons: Vec<String>,
    /// The earliest deadline of all rule packs that are in force.
    pub deadline: Option<Deadline>,
}

/// The queue and what no update closes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Updates, the most urgent first.
    pub updates: Vec<Update>,
    /// Findings without a published fix, by status.
    pub without_fix: BTreeMap<Status, usize>,
}

/// The chance that a finding is attacked, in millionths, with what it rests on.
#[must_use]
pub fn chance(finding: &HostFinding) -> (u64, String) {
    let has = |name: &str| finding.exploits.contains(&name);
    let epss = finding.epss_millionths.map(u64::from);
    let percent = |millionths: u64| format!("{}.{:02} %", millionths / 10_000, millionths % 10_000 / 100);
    if has("KEV") || has("exploited") {
        let since = if finding.kev_added.is_known() { format!(" since {}", finding.kev_added) } else { String::new() };
        return (CHANCE_EXPLOITED, format!("known to be exploited{since}"));
    }
    let (floor, tool) = if has("Metasploit") || has("Nuclei") {
        (CHANCE_TOOLED, Some("an attack tool has it"))
    } else if has("Exploit-DB") || finding.ssvc.exploitation == Some(1) {
        (CHANCE_PUBLIC, Some("an exploit is public"))
    } else {
        (0, None)
    };
    match (epss, tool) {
        (Some(epss), Some(tool)) if floor > epss => (floor, tool.to_owned()),
        (Some(epss), _) => (epss, format!("{} likely to be exploited within 30 days (EPSS)", percent(epss))),
        (None, Some(tool)) => (floor, tool.to_owned()),
        (None, None) => (CHANCE_UNKNOWN, "no EPSS score yet, taken as 2 %".to_owned()),
    }
}

/// Expected risk of a finding in millionths: chance times impact.
#[must_use]
pub fn risk(finding: &HostFinding) -> u64 {
    if finding.class != Class::Security || finding.in_effect == InEffect::NotBooted {
        return 0;
    }
    chance(finding).0 * finding.cvss.map_or(IMPACT_UNKNOWN, |score| u64::from(score.0)) / 100
}

/// The queue of a host.
#[must_use]
pub fn queue(findings: &[HostFinding], asset: Asset, packs: &[Pack], today: Day) -> Queue {
    let mut out = Queue::default();
    let mut groups: BTreeMap<(&str, &str, bool, bool), Vec<&HostFinding>> = BTreeMap::new();
    for finding in findings {
        if finding.fixed.is_none() {
            *out.without_fix.entry(finding.status).or_default() += 1;
        } else if finding.in_effect != InEffect::NotBooted {
            let (reboot, restart) = (finding.in_effect == InEffect::AfterReboot, finding.in_effect == InEffect::AfterRestart);
            groups.entry((finding.source.as_str(), finding.version.as_str(), reboot, restart)).or_default().push(finding);
        }
    }
    out.updates = groups.into_values().map(|group| update(&group, asset, packs, today)).collect();
    out.updates.sort_by(|a, b| order(a).cmp(&order(b)).then_with(|| a.source.cmp(&b.source)));
    out
}

/// Exploited first, then the one that removes more risk, then the one that closes more.
fn order(update: &Update) -> (bool, std::cmp::Reverse<u64>, usize) {
    (update.exploited == 0, std::cmp::Reverse(update.risk_millionths), usize::MAX - update.closes.len())
}

fn update(group: &[&HostFinding], asset: Asset, packs: &[Pack], today: Day) -> Update {
    let mut sorted: Vec<&HostFinding> = group.to_vec();
    sorted.sort_by_key(|finding| (std::cmp::Reverse(risk(finding)), finding.id.clone()));
    // The highest fixed version closes all; versions of one source are in one order.
    let highest = sorted
        .iter()
        .filter_map(|f| f.fixed.as_deref())
        .max_by(|a, b| crate::version::compare_text(a, b).unwrap_or_else(|_| crate::version::rpm::compare(a, b)));
    let survive = sorted.iter().fold(MILLION, |left, finding| left * (MILLION - risk(finding).min(MILLION)) / MILLION);
    let mut packages: Vec<String> = sorted.iter().flat_map(|finding| finding.packages.iter().cloned()).collect();
    packages.sort();
    packages.dedup();
    let installable = sorted.iter().find(|f| f.fixed.as_deref() == highest).map_or(Installable::Unknown, |f| f.installable.clone());
    let exploited = sorted.iter().filter(|f| f.exploits.contains(&"KEV") || f.exploits.contains(&"exploited")).count();
    let deadlines = sorted.iter().flat_map(|finding| deadline(finding, asset, packs, today));
    Update {
        source: sorted.first().map(|f| f.source.clone()).unwrap_or_default(),
        from: sorted.first().map(|f| f.version.clone()).unwrap_or_default(),
        to: highest.map(str::to_owned),
        packages,
        closes: sorted.iter().map(|finding| finding.id.clone()).collect(),
        installable,
        reboot: sorted.iter().any(|finding| finding.in_effect == InEffect::AfterReboot),
        restart: sorted.iter().any(|finding| finding.in_effect == InEffect::AfterRestart),
        risk_millionths: MILLION - survive,
        exploited,
        in_use: sorted.iter().map(|finding| finding.in_use).max().unwrap_or_default(),
        reasons: reasons(&sorted),
        deadline: deadlines.min_by_key(|deadline| if deadline.day.is_known() { deadline.day.0 } else { u32::MAX }),
    }
}

fn reasons(sorted: &[&HostFinding]) -> Vec<String> {
    let mut out = Vec::new();
    for finding in sorted.iter().take(REASONS_MAX - 1) {
        let score = finding.cvss.map_or("no CVSS score, taken as 8.0".to_owned(), |score| format!("CVSS {score}"));
        out.push(format!("{}: {}; {score}", finding.id, chance(finding).1));
    }
    // Whether it runs is a fact about the package, so it is told once.
    let most = sorted.iter().filter(|finding| !finding.in_use_because.is_empty()).max_by_key(|finding| finding.in_use);
    if let (Some(first), Some(most)) = (out.first_mut(), most.filter(|most| most.in_use != InUse::Unknown)) {
        first.push_str(&format!("; {}", most.in_use_because));
    }
    if sorted.len() >= REASONS_MAX {
        out.push(format!("and {} more", sorted.len() - (REASONS_MAX - 1)));
    }
    out
}

/// Every deadline that the packs set for a finding.
fn deadline(finding: &HostFinding, asset: Asset, packs: &[Pack], today: Day) -> Vec<Deadline> {
    if finding.class != Class::Security {
        return Vec::new();
    }
    let kev = finding.exploits.contains(&"KEV");
    let facts = Facts {
        kev,
        publicly_exposed: asset.publicly_exposed,
        automatable: finding.ssvc.automatable,
        total_impact: finding.ssvc.total_impact,
        severity: finding.cvss.map(|score| score.severity()),
    };
    let mut out = Vec::new();
    for pack in packs.iter().filter(|pack| pack.counts(today)) {
        let Some(verdict) = pack.judge(&facts) else { continue };
        // Nothing can be due before the fix, or before the vulnerability was known to be exploited.
        let counts_from = if verdict.kev { finding.published.max(finding.kev_added) } else { finding.published };
        let day = match verdict.due {
            Due::Days(days) if counts_from.is_known() => Day(counts_from.0.saturating_add(days)),
            Due::KevDate => finding.kev_due,
            Due::Days(_) | Due::OnUpgrade => Day::default(),
        };
        let left = day.is_known().then(|| i64::from(day.0) - i64::from(today.0));
        out.push(Deadline {
            day,
            days_left: left,
            what: verdict.what,
            pack: pack.id.clone(),
            id: finding.id.clone(),
            counts_from,
            missing: verdict.missing,
        });
    }
    out
}

/// The severity of a finding, `None` where no score is known.
#[must_use]
pub fn severity(finding: &HostFinding) -> Option<Severity> {
    finding.cvss.map(|score| score.severity())
}
