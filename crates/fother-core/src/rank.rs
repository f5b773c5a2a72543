//! Findings turned into a short queue of updates, in the order that removes risk fastest, each with its reason and its deadline. Pure.
//!
//! The unit is the update: one source package that moves to one version and closes many findings at once.
//! All numbers are integers in millionths, so that the same findings give the same order on every machine.

pub mod backtest;
pub mod budget;
pub mod offered;
pub mod points;
pub mod rules;
pub mod select;

use crate::{
    advisory::{Day, Status},
    assess::{
        Class,
        host::{HostFinding, InEffect, Installable},
        in_use::InUse,
    },
    cvss::Severity,
};
use points::{Line, Signals, Table};
use rules::{Due, Facts, Pack};
use serde::Serialize;
use std::{collections::BTreeMap, sync::LazyLock};

const MILLION: u64 = 1_000_000;
/// Chance of being attacked, where a vulnerability is known to be exploited: it is no forecast any more.
const CHANCE_EXPLOITED: u64 = 900_000;
/// A table of points that cannot be read makes everything urgent, and says so; a test reads the built-in one.
const CHANCE_UNREADABLE: u64 = MILLION;
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
    /// Vulnerabilities of CISA's catalogue among those that it closes.
    pub exploited: usize,
    /// Whether the code that it replaces runs now.
    pub in_use: InUse,
    /// By whom, in one sentence; empty where it was not looked at.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub in_use_because: String,
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

static TABLE: LazyLock<Result<Table, String>> = LazyLock::new(Table::built_in);

/// How likely a finding is to be attacked, and every point of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chance {
    /// In millionths.
    pub millionths: u64,
    /// What it rests on, in a sentence.
    pub why: String,
    /// The points; none where it is known to be exploited.
    pub lines: Vec<Line>,
}

/// What is known about a finding on the day.
#[must_use]
pub fn signals(finding: &HostFinding) -> Signals {
    let has = |name: &str| finding.exploits.contains(&name);
    let mut signals = Signals {
        exploited: has("exploited"),
        metasploit: has("Metasploit"),
        nuclei: has("Nuclei"),
        exploit_db: has("Exploit-DB"),
        public_exploit: finding.ssvc.exploitation.is_some_and(|exploitation| exploitation > 0),
        total_impact: finding.ssvc.total_impact,
        year: Signals::year_of(&finding.id),
        epss_millionths: finding.epss_millionths,
        ..Signals::default()
    };
    signals.take_vector(&finding.vector);
    signals
}

/// The chance that a finding is attacked within a year, with what it rests on.
#[must_use]
pub fn chance(finding: &HostFinding, today: Day) -> Chance {
    if finding.exploits.contains(&"KEV") {
        let since = if finding.kev_added.is_known() { format!(" since {}", finding.kev_added) } else { String::new() };
        return Chance { millionths: CHANCE_EXPLOITED, why: format!("known to be exploited{since}"), lines: Vec::new() };
    }
    let table = match &*TABLE {
        Ok(table) => table,
        Err(why) => return Chance { millionths: CHANCE_UNREADABLE, why: why.clone(), lines: Vec::new() },
    };
    let mut lines = table.lines(&signals(finding), backtest::year(today));
    let sum = lines.iter().fold(0_u32, |sum, line| sum.saturating_add(line.points));
    lines.sort_by_key(|line| std::cmp::Reverse(line.points));
    let millionths = table.chance(sum);
    let most: Vec<String> =
        lines.iter().filter(|line| line.points > 0).take(2).map(|line| format!("{} +{}", line.what, line.points)).collect();
    Chance { millionths, why: format!("{} within a year, {sum} points ({})", percent(millionths), most.join("; ")), lines }
}

/// Millionths as a percentage for people.
#[must_use]
pub fn percent(millionths: u64) -> String {
    if millionths < 10_000 {
        format!("0.{:03} %", millionths / 10)
    } else {
        format!("{}.{} %", millionths / 10_000, millionths % 10_000 / 1_000)
    }
}

/// Expected risk of a finding in millionths: chance times impact.
#[must_use]
pub fn risk(finding: &HostFinding, today: Day) -> u64 {
    if finding.class != Class::Security || finding.in_effect == InEffect::NotBooted {
        return 0;
    }
    chance(finding, today).millionths * finding.cvss.map_or(IMPACT_UNKNOWN, |score| u64::from(score.0)) / 100
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
    sorted.sort_by_cached_key(|finding| (std::cmp::Reverse(risk(finding, today)), finding.id.clone()));
    // The highest fixed version closes all; versions of one source are in one order.
    let highest = sorted
        .iter()
        .filter_map(|f| f.fixed.as_deref())
        .max_by(|a, b| crate::version::compare_text(a, b).unwrap_or_else(|_| crate::version::rpm::compare(a, b)));
    let survive = sorted.iter().fold(MILLION, |left, finding| left * (MILLION - risk(finding, today).min(MILLION)) / MILLION);
    let mut packages: Vec<String> = sorted.iter().flat_map(|finding| finding.packages.iter().cloned()).collect();
    packages.sort();
    packages.dedup();
    let installable = sorted.iter().find(|f| f.fixed.as_deref() == highest).map_or(Installable::Unknown, |f| f.installable.clone());
    let exploited = sorted.iter().filter(|f| f.exploits.contains(&"KEV")).count();
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
        in_use_because: most_exposed(&sorted).map(|finding| finding.in_use_because.clone()).unwrap_or_default(),
        reasons: reasons(&sorted, today),
        deadline: deadlines.min_by_key(|deadline| if deadline.day.is_known() { deadline.day.0 } else { u32::MAX }),
    }
}

/// The finding that says most about who runs the code.
fn most_exposed<'a>(findings: &[&'a HostFinding]) -> Option<&'a HostFinding> {
    findings.iter().filter(|finding| !finding.in_use_because.is_empty()).max_by_key(|finding| finding.in_use).copied()
}

fn reasons(sorted: &[&HostFinding], today: Day) -> Vec<String> {
    let mut out = Vec::new();
    for finding in sorted.iter().take(REASONS_MAX - 1) {
        let score = finding.cvss.map_or("no CVSS score, taken as 8.0".to_owned(), |score| format!("CVSS {score}"));
        let (why, from) = (chance(finding, today).why, evidence(finding));
        out.push(format!("{}: {why}; {score}{from}", finding.id));
    }
    // Whether it runs is a fact about the package, so it is told once.
    let most = most_exposed(sorted).filter(|most| most.in_use != InUse::Unknown);
    if let (Some(first), Some(most)) = (out.first_mut(), most) {
        first.push_str(&format!("; {}", most.in_use_because));
    }
    if sorted.len() >= REASONS_MAX {
        out.push(format!("and {} more", sorted.len() - (REASONS_MAX - 1)));
    }
    out
}

/// Where it stands that the update closes this, where that is no advisory.
fn evidence(finding: &HostFinding) -> String {
    if finding.because.is_empty() || !finding.advisories.is_empty() { String::new() } else { format!("; {}", finding.because) }
}

/// From when a deadline counts at the latest that is left open: the first day of the year of its number, where no source says a day.
fn earliest(finding: &HostFinding) -> Day {
    Signals::year_of(&finding.id).and_then(|year| Day::parse(&format!("{year:04}-01-01"))).unwrap_or_default()
}

/// Whether a source says from when a deadline counts.
fn counts_from_known(finding: &HostFinding, kev: bool) -> bool {
    finding.published.is_known() || kev && finding.kev_added.is_known()
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
        let published = if finding.published.is_known() { finding.published } else { earliest(finding) };
        let counts_from = if verdict.kev { published.max(finding.kev_added) } else { published };
        let mut missing = verdict.missing;
        if !counts_from_known(finding, verdict.kev) {
            missing.push("day of first publication");
        }
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
            missing,
        });
    }
    out
}

/// The severity of a finding, `None` where no score is known.
#[must_use]
pub fn severity(finding: &HostFinding) -> Option<Severity> {
    finding.cvss.map(|score| score.severity())
}
