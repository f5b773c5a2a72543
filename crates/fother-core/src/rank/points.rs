//! How likely a vulnerability is to be attacked, as an additive table of points that was fitted to history. Pure.
//!
//! The numbers are in `points.toml`; how they were found, and what they reach, is in `docs/priority.md`. Everything is an integer,
//! so that the same facts give the same order on every machine.

use serde::Deserialize;

/// The table that comes with the program.
pub const BUILT_IN: &str = include_str!("points.toml");
/// Most steps of EPSS.
const STEPS_MAX: usize = 100;
/// Most points, and so most entries of the table of chances.
const POINTS_MAX: usize = 1_000;

/// The table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Table {
    /// Version of the table.
    pub version: String,
    /// Day of the facts that it was fitted on.
    pub fitted_on: String,
    /// Until when later attacks were known.
    pub known_until: String,
    /// How many vulnerabilities were attacked later.
    pub attacked: u32,
    /// Out of how many.
    pub vulnerabilities: u32,
    /// Each threshold that EPSS reaches gives `points.epss-step`, in millionths.
    pub epss_steps: Vec<u32>,
    /// What EPSS counts as where there is no score yet, in millionths.
    pub epss_missing: u32,
    /// A vulnerability counts as young for so many years after that of its number.
    pub young_years: u32,
    /// Points of each fact.
    pub points: Weights,
    /// The chance, by points, to be known as exploited within twelve months, in millionths.
    pub chance_millionths: Vec<u64>,
}

/// Points of each fact.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Weights {
    /// Known as exploited to another catalogue than CISA's.
    pub exploited: u32,
    /// A Metasploit module.
    pub metasploit: u32,
    /// A Nuclei template.
    pub nuclei: u32,
    /// An entry in Exploit-DB.
    pub exploit_db: u32,
    /// Exploit code in public, as CISA's SSVC or a list of it says.
    pub public_exploit: u32,
    /// Nobody but the attacker must take part.
    pub no_interaction: u32,
    /// Confidentiality, integrity and availability are lost entirely.
    pub total_impact: u32,
    /// Its number is of the last years.
    pub young: u32,
    /// For each step that EPSS reaches.
    pub epss_step: u32,
}

/// What is known about a vulnerability on a day. `None` is not known, and then counts as the stricter answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// Known as exploited to another catalogue than CISA's.
    pub exploited: bool,
    /// A Metasploit module.
    pub metasploit: bool,
    /// A Nuclei template.
    pub nuclei: bool,
    /// An entry in Exploit-DB.
    pub exploit_db: bool,
    /// Exploit code in public.
    pub public_exploit: bool,
    /// Nobody but the attacker must take part.
    pub no_interaction: Option<bool>,
    /// Everything is lost.
    pub total_impact: Option<bool>,
    /// Year of its CVE number.
    pub year: Option<u32>,
    /// EPSS in millionths.
    pub epss_millionths: Option<u32>,
}

/// One line of the sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The fact, with where it is from.
    pub what: String,
    /// Its points.
    pub points: u32,
    /// The fact is not known, and the stricter answer was taken.
    pub missing: bool,
}

impl Signals {
    /// What a CVSS vector of version 2, 3 or 4 says about interaction and impact; nothing where it is none.
    pub fn take_vector(&mut self, vector: &str) {
        let (interaction, impacts, full) = if vector.starts_with("CVSS:4") {
            (Some("UI"), ["VC", "VI", "VA"], "H")
        } else if vector.starts_with("CVSS:3") {
            (Some("UI"), ["C", "I", "A"], "H")
        } else {
            // Version 2 has no metric for interaction.
            (None, ["C", "I", "A"], "C")
        };
        let value = |name: &str| vector.split('/').find_map(|part| part.strip_prefix(name)?.strip_prefix(':'));
        let impacts = impacts.map(value);
        if impacts.iter().all(Option::is_some) {
            self.total_impact = Some(impacts.iter().all(|impact| *impact == Some(full)));
            self.no_interaction = Some(interaction.is_none_or(|name| value(name) == Some("N")));
        }
    }

    /// The year of a CVE number.
    #[must_use]
    pub fn year_of(id: &str) -> Option<u32> {
        id.strip_prefix("CVE-")?.get(..4)?.parse().ok()
    }
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// Where it is malformed, or its chances do not cover every sum of points.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: Self = toml::from_str(text).map_err(|error| format!("table of points: {error}"))?;
        if table.epss_steps.len() > STEPS_MAX || !table.epss_steps.is_sorted() {
            return Err(format!("table of points: epss-steps must rise and be at most {STEPS_MAX}"));
        }
        let chances = &table.chance_millionths;
        let most = table.most();
        if most >= POINTS_MAX || chances.len() != most + 1 || !chances.is_sorted() || chances.last().is_none_or(|last| *last > 1_000_000) {
            return Err(format!("table of points: chance-millionths must have {} rising entries up to 1000000", most + 1));
        }
        Ok(table)
    }

    /// The table that comes with the program.
    ///
    /// # Errors
    /// Never, as a test reads it.
    pub fn built_in() -> Result<Self, String> {
        Self::parse(BUILT_IN)
    }

    /// The highest sum.
    fn most(&self) -> usize {
        let w = &self.points;
        let flags = [w.exploited, w.metasploit, w.nuclei, w.exploit_db, w.public_exploit, w.no_interaction, w.total_impact, w.young];
        let flags: usize = flags.iter().map(|points| *points as usize).sum();
        flags.saturating_add((w.epss_step as usize).saturating_mul(self.epss_steps.len()))
    }

    /// Every point, and where it came from; facts that are known and give none are left out.
    #[must_use]
    pub fn lines(&self, signals: &Signals, this_year: u32) -> Vec<Line> {
        let w = &self.points;
        let mut out = Vec::new();
        let mut known = |fact: bool, points: u32, what: &str| {
            if fact {
                out.push(Line { what: what.to_owned(), points, missing: false });
            }
        };
        known(signals.exploited, w.exploited, "exploited, as another catalogue than CISA's says");
        known(signals.metasploit, w.metasploit, "Metasploit has a module");
        known(signals.nuclei, w.nuclei, "Nuclei has a template");
        known(signals.exploit_db, w.exploit_db, "Exploit-DB has an entry");
        known(signals.public_exploit, w.public_exploit, "exploit code is public");
        let mut perhaps = |fact: Option<bool>, points: u32, what: &str, missing: &str| match fact {
            Some(false) => {}
            Some(true) => out.push(Line { what: what.to_owned(), points, missing: false }),
            None => out.push(Line { what: missing.to_owned(), points, missing: true }),
        };
        let (quiet, total) = ("nobody else must take part (CVSS vector)", "everything is lost (CVSS vector)");
        perhaps(signals.no_interaction, w.no_interaction, quiet, "no CVSS vector yet: taken as without interaction");
        perhaps(signals.total_impact, w.total_impact, total, "no CVSS vector yet: taken as losing everything");
        let young = signals.year.map(|year| this_year.saturating_sub(year) <= self.young_years);
        let words = format!("its number is at most {} years old", self.young_years);
        perhaps(young, w.young, &words, "its year is not known: taken as young");
        let epss = signals.epss_millionths.unwrap_or(self.epss_missing);
        let steps = u32::try_from(self.epss_steps.iter().filter(|step| epss >= **step).count()).unwrap_or(u32::MAX);
        let percent = format!("{}.{:02} %", epss / 10_000, epss % 10_000 / 100);
        let what = match signals.epss_millionths {
            Some(_) => format!("EPSS {percent}: {steps} of {} steps", self.epss_steps.len()),
            None => format!("no EPSS score yet: counted as {percent}"),
        };
        out.push(Line { what, points: w.epss_step.saturating_mul(steps), missing: signals.epss_millionths.is_none() });
        out
    }

    /// The sum.
    #[must_use]
    pub fn sum(&self, signals: &Signals, this_year: u32) -> u32 {
        self.lines(signals, this_year).iter().fold(0, |sum, line| sum.saturating_add(line.points))
    }

    /// The chance of a sum, in millionths.
    #[must_use]
    pub fn chance(&self, points: u32) -> u64 {
        let last = self.chance_millionths.last().copied().unwrap_or_default();
        self.chance_millionths.get(points as usize).copied().unwrap_or(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_is_complete_and_says_where_it_is_from() {
        let table = Table::built_in().unwrap();
        assert!(table.attacked > 0 && table.vulnerabilities > table.attacked);
        assert!(table.chance(0) < table.chance(10) && table.chance(u32::MAX) <= 1_000_000);
    }

    #[test]
    fn every_point_is_named_and_the_lines_are_the_sum() {
        let table = Table::built_in().unwrap();
        let mut signals = Signals { metasploit: true, year: Some(2023), epss_millionths: Some(700_000), ..Signals::default() };
        signals.take_vector("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H");
        let lines = table.lines(&signals, 2024);
        let names: Vec<&str> = lines.iter().map(|line| line.what.split(':').next().unwrap()).collect();
        assert_eq!(names.len(), 5, "{names:?}");
        assert!(lines.iter().all(|line| !line.missing));
        assert_eq!(lines.iter().map(|line| line.points).sum::<u32>(), table.sum(&signals, 2024));
    }

    #[test]
    fn what_is_not_known_counts_as_the_stricter_answer_and_is_named() {
        let table = Table::built_in().unwrap();
        let lines = table.lines(&Signals::default(), 2026);
        assert_eq!(lines.iter().filter(|line| line.missing).count(), 4);
        let harmless = Signals {
            no_interaction: Some(false),
            total_impact: Some(false),
            year: Some(2001),
            epss_millionths: Some(0),
            ..Signals::default()
        };
        assert_eq!(table.sum(&harmless, 2026), 0);
        assert!(table.sum(&Signals::default(), 2026) > 0);
    }

    #[test]
    fn vectors_of_every_version_are_read() {
        let of = |vector: &str| {
            let mut signals = Signals::default();
            signals.take_vector(vector);
            (signals.no_interaction, signals.total_impact)
        };
        assert_eq!(of("AV:N/AC:L/Au:N/C:C/I:C/A:C"), (Some(true), Some(true)));
        assert_eq!(of("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:U/C:H/I:N/A:H"), (Some(false), Some(false)));
        assert_eq!(of("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"), (Some(true), Some(true)));
        assert_eq!(of(""), (None, None));
        assert_eq!(of("nonsense"), (None, None));
    }

    #[test]
    fn a_table_whose_chances_do_not_fit_is_refused() {
        assert!(
            Table::parse(&BUILT_IN.replace("chance-millionths = [", "chance-millionths = [0, ")).unwrap_err().contains("rising entries")
        );
        assert!(Table::parse(&format!("surprise = 1\n{BUILT_IN}")).unwrap_err().contains("surprise"));
    }
}
