//! Rule packs: files that say by when what must be fixed, with version, day of effect, citation and status. Pure.

use crate::{advisory::Day, cvss::Severity};
use serde::Deserialize;
use std::collections::BTreeSet;

/// The packs that come with the program.
pub const BUILT_IN: [&str; 5] = [
    include_str!("packs/cisa-bod-26-04.toml"),
    include_str!("packs/pci-dss-6.3.3.toml"),
    include_str!("packs/fedramp-vdr.toml"),
    include_str!("packs/nist-si-2.toml"),
    include_str!("packs/hipaa-proposed.toml"),
];
/// Most rules of one pack.
pub const RULES_MAX: usize = 1_000;

/// Whether a rule pack binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It binds those whom it addresses.
    InForce,
    /// It has been proposed.
    Proposed,
    /// It is being tried out.
    Evaluation,
}

/// A rule pack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Pack {
    /// Short name.
    pub id: String,
    /// Name.
    pub title: String,
    /// Version of the rules.
    pub version: String,
    /// First day on which it counts.
    pub effective: String,
    /// Where it stands.
    pub citation: String,
    /// Whether it binds.
    pub standing: Standing,
    /// Whether it is used; a team switches it on or off.
    pub enabled: bool,
    /// What a reader should know about it.
    #[serde(default)]
    pub remark: String,
    /// The first rule that fits decides.
    #[serde(rename = "rule")]
    pub rules: Vec<Rule>,
}

/// One rule: every condition that is named must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// In CISA's catalogue.
    pub kev: Option<bool>,
    /// Reachable from the internet.
    pub publicly_exposed: Option<bool>,
    /// An attack can be automated.
    pub automatable: Option<bool>,
    /// The technical impact is total.
    pub total_impact: Option<bool>,
    /// Lowest severity.
    pub severity: Option<Severity>,
    /// Days from first publication.
    pub days: Option<u32>,
    /// CISA's own due date counts.
    #[serde(default)]
    pub kev_date: bool,
    /// To be closed with the next upgrade of the system.
    #[serde(default)]
    pub on_upgrade: bool,
    /// The host is examined for signs of an intrusion first.
    #[serde(default)]
    pub forensics: bool,
}

/// What goes in; `None` is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// In CISA's catalogue.
    pub kev: bool,
    /// Reachable from the internet.
    pub publicly_exposed: Option<bool>,
    /// An attack can be automated.
    pub automatable: Option<bool>,
    /// The technical impact is total.
    pub total_impact: Option<bool>,
    /// Severity by CVSS.
    pub severity: Option<Severity>,
}

/// When something is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// On CISA's own date.
    KevDate,
    /// Days from first publication.
    Days(u32),
    /// With the next upgrade of the system.
    OnUpgrade,
}

/// What a pack says about one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// When.
    pub due: Due,
    /// For people.
    pub what: String,
    /// The rule asks for a known exploited vulnerability.
    pub kev: bool,
    /// Inputs that were missing and could have made it later.
    pub missing: Vec<&'static str>,
}

impl Rule {
    fn due(&self) -> Option<Due> {
        match (self.days, self.kev_date, self.on_upgrade) {
            (Some(days), false, false) => Some(Due::Days(days)),
            (None, true, false) => Some(Due::KevDate),
            (None, false, true) => Some(Due::OnUpgrade),
            _ => None,
        }
    }

    fn fits(&self, facts: &Facts) -> bool {
        let same = |rule: Option<bool>, fact: Option<bool>| rule.is_none() || rule == fact;
        same(self.kev, Some(facts.kev))
            && same(self.publicly_exposed, facts.publicly_exposed)
            && same(self.automatable, facts.automatable)
            && same(self.total_impact, facts.total_impact)
            && self.severity.is_none_or(|lowest| facts.severity.is_some_and(|severity| severity >= lowest))
    }
}

impl Pack {
    /// Reads a pack.
    ///
    /// # Errors
    /// Where it is malformed, with the place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pack: Self = toml::from_str(text).map_err(|error| format!("rule pack: {error}"))?;
        if pack.rules.len() > RULES_MAX {
            return Err(format!("rule pack {}: more than {RULES_MAX} rules", pack.id));
        }
        if Day::parse(&pack.effective).is_none() {
            return Err(format!("rule pack {}: `effective` is no day such as 2026-01-31", pack.id));
        }
        match pack.rules.iter().position(|rule| rule.due().is_none()) {
            Some(at) => Err(format!("rule pack {}: rule {} needs exactly one of days, kev-date, on-upgrade", pack.id, at + 1)),
            None => Ok(pack),
        }
    }

    /// The packs that come with the program.
    ///
    /// # Errors
    /// Never, as a test reads them all.
    pub fn built_in() -> Result<Vec<Self>, String> {
        BUILT_IN.iter().map(|text| Self::parse(text)).collect()
    }

    /// Whether it is used on a day.
    #[must_use]
    pub fn counts(&self, today: Day) -> bool {
        self.enabled && Day::parse(&self.effective).is_some_and(|day| day <= today)
    }

    /// What it says: the strictest that the missing inputs leave open; `None` where it says nothing.
    #[must_use]
    pub fn judge(&self, facts: &Facts) -> Option<Verdict> {
        let mut worlds = Vec::new();
        for exposed in open(facts.publicly_exposed) {
            for automatable in open(facts.automatable) {
                for total in open(facts.total_impact) {
                    for severity in facts.severity.map_or_else(|| vec![Severity::Critical, Severity::Low], |known| vec![known]) {
                        worlds.push(Facts {
                            publicly_exposed: Some(exposed),
                            automatable: Some(automatable),
                            total_impact: Some(total),
                            severity: Some(severity),
                            ..*facts
                        });
                    }
                }
            }
        }
        let decided = worlds.iter().filter_map(|world| self.rules.iter().find(|rule| rule.fits(world)).map(|rule| (world, rule)));
        let strictness = |rule: &Rule| (rule.due().unwrap_or(Due::OnUpgrade), !rule.forensics);
        let (_, rule) = decided.min_by_key(|(_, rule)| strictness(rule))?;
        let due = rule.due()?;
        let examine = if rule.forensics { ", after a forensic examination" } else { "" };
        let what = match due {
            Due::Days(days) => format!("within {days} days{examine}"),
            Due::KevDate => format!("by CISA's due date{examine}"),
            Due::OnUpgrade => "with the next upgrade of the system".to_owned(),
        };
        Some(Verdict { due, what, kev: rule.kev == Some(true), missing: self.missing(facts) })
    }

    /// Inputs that some rule asks for and that are not known.
    fn missing(&self, facts: &Facts) -> Vec<&'static str> {
        let asks = |get: fn(&Rule) -> bool| self.rules.iter().any(get);
        let mut out = BTreeSet::new();
        if facts.publicly_exposed.is_none() && asks(|rule| rule.publicly_exposed.is_some()) {
            out.insert("publicly exposed");
        }
        if facts.automatable.is_none() && asks(|rule| rule.automatable.is_some()) {
            out.insert("automatable");
        }
        if facts.total_impact.is_none() && asks(|rule| rule.total_impact.is_some()) {
            out.insert("technical impact");
        }
        if facts.severity.is_none() && asks(|rule| rule.severity.is_some()) {
            out.insert("CVSS score");
        }
        out.into_iter().collect()
    }
}

fn open(fact: Option<bool>) -> Vec<bool> {
    fact.map_or_else(|| vec![true, false], |known| vec![known])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Facts = Facts { kev: false, publicly_exposed: None, automatable: None, total_impact: None, severity: None };

    fn pack(id: &str) -> Pack {
        Pack::built_in().unwrap().into_iter().find(|pack| pack.id == id).unwrap()
    }

    #[test]
    fn every_built_in_pack_is_complete_and_says_what_it_is() {
        let packs = Pack::built_in().unwrap();
        assert_eq!(packs.len(), BUILT_IN.len());
        for pack in &packs {
            assert!(!pack.citation.is_empty() && !pack.title.is_empty() && !pack.version.is_empty(), "{}", pack.id);
            assert!(pack.standing == Standing::InForce || !pack.enabled, "{}: what does not bind is off", pack.id);
        }
    }

    #[test]
    fn a_missing_input_takes_the_stricter_branch_and_is_named() {
        let bod = pack("cisa-bod-26-04");
        let unknown = bod.judge(&Facts { kev: true, ..NOTHING }).unwrap();
        assert_eq!(unknown.due, Due::Days(3));
        assert!(unknown.what.contains("forensic"));
        assert_eq!(unknown.missing, ["automatable", "publicly exposed", "technical impact"]);
        let known = Facts { kev: true, publicly_exposed: Some(false), automatable: Some(false), total_impact: Some(false), severity: None };
        let known = bod.judge(&known).unwrap();
        assert_eq!((known.due, known.missing.len()), (Due::Days(14), 0));
        let pci = pack("pci-dss-6.3.3");
        assert_eq!(pci.judge(&NOTHING).unwrap().missing, ["CVSS score"]);
        assert_eq!(pci.judge(&Facts { severity: Some(Severity::Critical), ..NOTHING }).unwrap().due, Due::Days(30));
        assert_eq!(pci.judge(&Facts { severity: Some(Severity::High), ..NOTHING }), None);
    }

    #[test]
    fn malformed_packs_are_refused_with_the_place() {
        let good = BUILT_IN[1];
        assert!(Pack::parse(&good.replace("days = 30", "days = 30\non-upgrade = true")).unwrap_err().contains("exactly one"));
        assert!(Pack::parse(&good.replace("effective = \"", "effective = \"x")).unwrap_err().contains("no day"));
        assert!(Pack::parse(&format!("surprise = 1\n{good}")).unwrap_err().contains("surprise"));
    }
}
