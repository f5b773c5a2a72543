//! One answer for each foreign finding, with the vendor's evidence. What cannot be told stays unknown, with why.

use super::Foreign;
use crate::{
    advisory::{
        Bytes, Day, Status,
        format::Release,
        reader::{Database, Error, ReleaseInfo},
    },
    assess::{
        components,
        evidence::{Evidence, Said},
        host::{Assessment, HostFinding, InEffect},
        in_use::InUse,
        installed, package_name, release_name,
    },
    inventory::Distribution,
    report::action,
    sbom::Component,
};
use serde::Serialize;
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

/// What a foreign finding comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It is right.
    Agree,
    /// The installed version has the fix, though its number looks too low.
    FixedByBackport,
    /// The vendor says that this package is not affected.
    NotAffected,
    /// This package, or this version of it, is not here.
    NotInstalled,
    /// It is here and vulnerable, but does not run: a kernel that is not booted, code that no process has loaded.
    NotInUse,
    /// It could not be told.
    Unknown,
}

impl Answer {
    /// All.
    pub const ALL: [Self; 6] = [Self::Agree, Self::FixedByBackport, Self::NotAffected, Self::NotInstalled, Self::NotInUse, Self::Unknown];

    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Agree => "agree",
            Self::FixedByBackport => "fixed by backport",
            Self::NotAffected => "not affected",
            Self::NotInstalled => "not installed",
            Self::NotInUse => "not in use",
            Self::Unknown => "unknown",
        }
    }
}

/// A foreign finding with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// What the scanner said.
    pub foreign: Foreign,
    /// The answer.
    pub answer: Answer,
    /// Why, in one sentence.
    pub why: String,
    /// What is installed: `libssl3 3.0.17-1~deb12u2`.
    pub installed: Vec<String>,
    /// Source package and version that were judged.
    pub judged: String,
    /// Version with the fix, as the vendor says.
    pub fixed: Option<String>,
    /// The vendor's advisory.
    pub advisory: Option<String>,
    /// Its publication.
    pub published: Day,
    /// The vendor's status.
    pub status: Option<Status>,
    /// Feed that says so, with its newest date and digest.
    pub feed: Option<Source>,
    /// A kernel that is not booted, in contrast to code that is only not loaded now.
    pub not_booted: bool,
}

/// Where evidence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// Name of the feed.
    pub name: String,
    /// Its newest date.
    pub date: Day,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// What is known about the system that the report speaks of.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Distribution.
    pub distribution: &'a Distribution,
    /// Everything that is installed.
    pub packages: &'a [Component],
    /// Its assessment.
    pub assessment: &'a Assessment,
    /// Packages from archives of others than the distribution, with that archive's origin.
    pub foreign: &'a BTreeMap<String, String>,
}

/// Answers all findings.
///
/// # Errors
/// Where the database is damaged.
pub fn answer<B: Bytes>(db: &Database<B>, ground: &Ground<'_>, findings: &[Foreign]) -> Result<Vec<Answered>, Error> {
    let mut desk = Desk::new(db, *ground);
    findings.iter().map(|foreign| desk.one(foreign)).collect()
}

/// What is asked again and again, kept at hand.
struct Desk<'a, B> {
    db: &'a Database<B>,
    ground: Ground<'a>,
    by_name: BTreeMap<String, Vec<&'a Component>>,
    by_source: BTreeMap<&'a str, Vec<&'a Component>>,
    kinds: BTreeSet<&'a str>,
    findings: BTreeMap<&'a str, Vec<&'a HostFinding>>,
    releases: BTreeMap<String, Option<ReleaseInfo>>,
    said: BTreeMap<(String, String), Said>,
}

impl<'a, B: Bytes> Desk<'a, B> {
    fn new(db: &'a Database<B>, ground: Ground<'a>) -> Self {
        let (mut by_name, mut by_source) = (BTreeMap::<String, Vec<_>>::new(), BTreeMap::<&str, Vec<_>>::new());
        let mut findings: BTreeMap<&str, Vec<&HostFinding>> = BTreeMap::new();
        for component in ground.packages {
            by_name.entry(name_of(component)).or_default().push(component);
            if let Some((source, _)) = &component.source {
                by_source.entry(source).or_default().push(component);
            }
        }
        for finding in &ground.assessment.findings {
            for id in std::iter::once(&finding.id).chain(&finding.advisories) {
                findings.entry(id).or_default().push(finding);
            }
        }
        let kinds = ground.packages.iter().map(|component| component.kind.as_str()).collect();
        Self { db, ground, by_name, by_source, kinds, findings, releases: BTreeMap::new(), said: BTreeMap::new() }
    }

    fn one(&mut self, foreign: &Foreign) -> Result<Answered, Error> {
        let mut out = Answered {
            foreign: foreign.clone(),
            answer: Answer::Unknown,
            why: String::new(),
            installed: Vec::new(),
            judged: String::new(),
            fixed: None,
            advisory: None,
            published: Day::default(),
            status: None,
            feed: None,
            not_booted: false,
        };
        let here = self.here(foreign);
        if here.is_empty() {
            self.absent(foreign, &mut out);
            return Ok(out);
        }
        out.installed = here.iter().map(|component| format!("{} {}", component.name, component.version)).collect();
        out.installed.sort();
        out.installed.dedup();
        let ids: Vec<&str> = std::iter::once(&foreign.id).chain(&foreign.aliases).map(String::as_str).collect();
        if let Some(finding) = self.finding(&ids, &here) {
            agreed(finding, &mut out);
        } else if let Some(origin) = here.iter().find_map(|component| self.ground.foreign.get(&component.name)) {
            out.why = format!("{} is from the archive of {origin}, of which the distribution's advisories do not speak", foreign.package);
        } else {
            self.by_evidence(&ids, &here, &mut out)?;
        }
        self.other_version(foreign, &here, &mut out);
        Ok(out)
    }

    /// Installed components that the scanner may mean: by name, else by source package; of its version where there are several.
    fn here(&self, foreign: &Foreign) -> Vec<&'a Component> {
        let fits = |component: &&&Component| foreign.kind.is_empty() || component.kind == foreign.kind;
        let named = self.by_name.get(&wanted_name(foreign)).into_iter().flatten();
        let mut here: Vec<&Component> = named.filter(fits).copied().collect();
        if here.is_empty() {
            here = self.by_source.get(foreign.package.as_str()).into_iter().flatten().filter(fits).copied().collect();
        }
        let exact: Vec<&Component> = here.iter().filter(|component| is_version(component, &foreign.version)).copied().collect();
        if exact.is_empty() { here } else { exact }
    }

    fn absent(&self, foreign: &Foreign, out: &mut Answered) {
        // Only a kind of package that was listed at all can be said to be absent.
        let listed = if foreign.kind.is_empty() { self.kinds.len() == 1 } else { self.kinds.contains(foreign.kind.as_str()) };
        if listed {
            out.answer = Answer::NotInstalled;
            out.why = format!("{} is not among the {} packages here", foreign.package, self.ground.packages.len());
        } else if foreign.kind.is_empty() {
            out.why = format!("{} is not among the packages here, and the report does not say of which kind it is", foreign.package);
        } else {
            out.why = format!("packages of kind {} were not listed here, so {} may be there", foreign.kind, foreign.package);
        }
    }

    fn finding(&self, ids: &[&str], here: &[&Component]) -> Option<&'a HostFinding> {
        let mine = |finding: &&&HostFinding| {
            here.iter().any(|component| {
                let name = name_of(component);
                finding.packages.contains(&component.name) || finding.packages.contains(&name) || finding.source == name
            })
        };
        let all = ids.iter().filter_map(|id| self.findings.get(id)).flatten();
        // Of several (an old kernel beside the booted one) the one that counts most answers.
        all.filter(mine).max_by_key(|finding| (finding.in_effect != InEffect::NotBooted, finding.in_use)).copied()
    }

    fn by_evidence(&mut self, ids: &[&str], here: &[&Component], out: &mut Answered) -> Result<(), Error> {
        let mut verdicts = Vec::new();
        for component in here {
            let Some((release, names, version, because)) = self.judged(component) else {
                out.why = format!("no feed speaks about packages of kind {}", component.kind);
                return Ok(());
            };
            let Some(info) = self.release(&release)? else {
                out.why = format!("no feed speaks about {release}");
                return Ok(());
            };
            let mut evidence = Vec::new();
            for name in &names {
                let key = (release.clone(), name.clone());
                if !self.said.contains_key(&key) {
                    self.said.insert(key.clone(), Said::about(self.db, &info, name)?);
                }
                if let Some(said) = self.said.get(&key) {
                    evidence.extend(said.of(self.db, &version, ids)?);
                }
            }
            let name = names.first().cloned().unwrap_or_default();
            out.judged = if because.is_empty() { format!("{name} {version}") } else { format!("{name} {version} ({because})") };
            verdicts.push((info, evidence));
        }
        // All installed versions must be fine; the worst one answers.
        let judged = verdicts.iter().map(|(info, evidence)| self.verdict(info, evidence, ids, &out.judged)).max_by_key(|v| rank(v.answer));
        if let Some(verdict) = judged {
            let feed = verdict.evidence.and_then(|evidence| self.ground.assessment.feeds.get(usize::from(evidence.feed)));
            (out.answer, out.why) = (verdict.answer, verdict.why);
            out.feed = feed.map(|feed| Source { name: feed.name.clone(), date: feed.date, sha256: feed.sha256.clone() });
            if let Some(evidence) = verdict.evidence {
                out.fixed.clone_from(&evidence.fixed);
                out.advisory.clone_from(&evidence.advisory);
                (out.status, out.published) = (Some(evidence.status), evidence.date);
            }
        }
        Ok(())
    }

    /// Release, names and version under which a component is judged; `None` where no release can be named.
    fn judged(&self, component: &Component) -> Option<(String, Vec<String>, String, String)> {
        if component.kind == "deb" {
            let own = (component.name.clone(), component.version.clone());
            let (source, version) = component.source.clone().unwrap_or(own);
            let judged = installed::debian(&release_name(self.ground.distribution)?, &source, &version);
            return Some((judged.release, vec![judged.source], judged.version, judged.because));
        }
        if let Some((ecosystem, name)) = components::ecosystem(component) {
            return Some((ecosystem.to_owned(), vec![name], component.version.clone(), String::new()));
        }
        let release = release_name(self.ground.distribution).filter(|_| matches!(component.kind.as_str(), "rpm" | "apk"))?;
        Some((release, components::names(component), component.version.clone(), String::new()))
    }

    fn release(&mut self, name: &str) -> Result<Option<ReleaseInfo>, Error> {
        if !self.releases.contains_key(name) {
            let known = self.db.release(name)?.filter(|release| release.record.coverage & Release::KNOWS_FIXED != 0);
            self.releases.insert(name.to_owned(), known);
        }
        Ok(self.releases.get(name).cloned().flatten())
    }

    fn verdict<'e>(&self, info: &ReleaseInfo, evidence: &'e [Evidence], ids: &[&str], judged: &str) -> Verdict<'e> {
        let is = |answer, why: String, evidence| Verdict { answer, why, evidence };
        if let Some(word) = evidence.iter().find(|word| word.affected.is_none()) {
            return is(
                Answer::Unknown,
                format!("{judged} cannot be compared with {}", word.fixed.as_deref().unwrap_or("its limits")),
                Some(word),
            );
        }
        if let Some(word) = evidence.iter().find(|word| word.status == Status::NotAffected && word.affected == Some(true)) {
            return is(Answer::NotAffected, format!("the vendor says that {judged} is not affected in {}", info.name), Some(word));
        }
        if let Some(word) = evidence.iter().find(|word| word.affected == Some(true)) {
            return is(Answer::Agree, format!("{judged} is affected"), Some(word));
        }
        let fixed = evidence.iter().filter(|word| word.fixed.is_some());
        let order = |a: &&Evidence, b: &&Evidence| {
            let (a, b) = (a.fixed.as_deref().unwrap_or_default(), b.fixed.as_deref().unwrap_or_default());
            info.scheme.compare(a, b).unwrap_or(Ordering::Equal)
        };
        if let Some(word) = fixed.max_by(order) {
            let fixed = word.fixed.as_deref().unwrap_or_default();
            let by = word.advisory.as_ref().map(|id| format!(" ({id}, {})", word.date)).unwrap_or_default();
            return is(Answer::FixedByBackport, format!("{judged} has the fix, which came with {fixed}{by}"), Some(word));
        }
        let what = ids.first().copied().unwrap_or_default();
        if let Some(word) = evidence.first() {
            return is(Answer::NotAffected, format!("{judged} lies outside of every affected range of {what}"), Some(word));
        }
        let only_fixes = info.record.coverage & Release::KNOWS_OPEN == 0;
        let hint = if only_fixes { "; only lists of fixes were taken in, so what has no fix yet is not known" } else { "" };
        is(Answer::Unknown, format!("no feed says anything about {what} in {judged} of {}{hint}", info.name), None)
    }

    /// The report may be older than what is installed.
    fn other_version(&self, foreign: &Foreign, here: &[&Component], out: &mut Answered) {
        if foreign.version.is_empty() || here.iter().any(|component| is_version(component, &foreign.version)) {
            return;
        }
        let note = format!("the report speaks of version {}, {} is installed", foreign.version, out.installed.join(", "));
        if matches!(out.answer, Answer::FixedByBackport | Answer::NotAffected) {
            out.answer = Answer::NotInstalled;
        }
        out.why = format!("{note}: {}", out.why);
    }
}

struct Verdict<'e> {
    answer: Answer,
    why: String,
    evidence: Option<&'e Evidence>,
}

/// Which of several answers speaks for all.
fn rank(answer: Answer) -> u8 {
    match answer {
        Answer::NotInstalled => 0,
        Answer::NotAffected => 1,
        Answer::FixedByBackport => 2,
        Answer::NotInUse => 3,
        Answer::Unknown => 4,
        Answer::Agree => 5,
    }
}

/// Fother finds the same.
fn agreed(finding: &HostFinding, out: &mut Answered) {
    out.judged = format!("{} {}", finding.source, finding.version);
    out.fixed.clone_from(&finding.fixed);
    out.advisory = finding.advisories.first().cloned();
    (out.status, out.published) = (Some(finding.status), finding.published);
    if finding.in_effect == InEffect::NotBooted {
        out.answer = Answer::NotInUse;
        out.not_booted = true;
        out.why = if finding.in_use == InUse::NotLoaded && !finding.in_use_because.is_empty() {
            format!("a kernel that is not booted: {}", finding.in_use_because)
        } else {
            "a kernel that is not booted".into()
        };
    } else if finding.in_use == InUse::NotLoaded {
        out.answer = Answer::NotInUse;
        out.why = format!("vulnerable, but not running now: {}; {}", finding.in_use_because, action(finding));
    } else {
        out.answer = Answer::Agree;
        let used = if finding.in_use >= InUse::Loaded { format!("; {}", finding.in_use_because) } else { String::new() };
        out.why = format!("{}{used}", action(finding));
    }
}

/// The name by which scanners call a component: with its group, where its kind has them.
fn name_of(component: &Component) -> String {
    components::ecosystem(component).map_or_else(|| component.name.clone(), |(_, name)| name)
}

fn wanted_name(foreign: &Foreign) -> String {
    if foreign.kind == "pypi" { package_name("PyPI", &foreign.package) } else { foreign.package.clone() }
}

/// Whether a component has the version that the scanner saw; scanners drop epochs, or name the source's version.
fn is_version(component: &Component, seen: &str) -> bool {
    let without = |version: &str| version.split_once(':').map_or_else(|| version.to_owned(), |(_, rest)| rest.to_owned());
    let same =
        |version: &str| version == seen || without(version) == seen || version.trim_start_matches('v') == seen.trim_start_matches('v');
    same(&component.version) || component.source.as_ref().is_some_and(|(_, version)| same(version))
}
