//! Replays history: what an order of vulnerabilities, made with what was known on a day, would have caught afterwards. Pure.
//!
//! Looking ahead is ruled out by construction: an order sees a [`View`] only, a [`View`] comes from [`History::at`] only, and that hands
//! out no fact of a later day. What came afterwards is asked with [`History::exploited`], by the evaluation alone.

use super::points::{Signals, Table};
use crate::{advisory::Day, cvss::Score};
use serde::Serialize;
use std::{
    cmp::{Ordering, Reverse},
    collections::{BTreeMap, BTreeSet},
};

/// 95 % of a normal distribution lie within so many standard deviations.
const Z95: f64 = 1.959_963_984_540_054;
/// How often positives are drawn anew for the interval of a difference.
const DRAWS: usize = 2_000;
/// Seed of those draws: the same data give the same interval.
const SEED: u64 = 0x0f07_4e12_5eed_2024;

/// What lists say about a vulnerability without saying since when; only the day of the lists is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// In CISA's catalogue.
    pub kev: bool,
    /// Known as exploited to another catalogue.
    pub exploited: bool,
    /// A Metasploit module.
    pub metasploit: bool,
    /// A Nuclei template.
    pub nuclei: bool,
    /// An entry in Exploit-DB.
    pub exploit_db: bool,
    /// Exploit code in public.
    pub public_exploit: bool,
}

/// All that is recorded about one vulnerability, each fact with its day.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// First publication; unknown where no source says it.
    pub published: Day,
    /// Base score.
    pub score: Option<Score>,
    /// Vector of the base score.
    pub vector: String,
    /// EPSS in millionths by the day of the score.
    pub epss: BTreeMap<Day, u32>,
    /// What lists say.
    pub listed: Listed,
    /// When it was added to CISA's catalogue.
    pub kev_added: Option<Day>,
}

/// Everything that is recorded, before and after the day in question.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// By id.
    pub entries: BTreeMap<String, Entry>,
    /// The day of the lists in [`Entry::listed`].
    pub lists_of: Day,
    /// The newest day of CISA's catalogue.
    pub kev_until: Day,
}

/// One vulnerability as it was known on the day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub id: String,
    /// What was known.
    pub signals: Signals,
    /// Base score.
    pub score: Option<Score>,
}

/// What was known on a day. Only [`History::at`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    day: Day,
    known: Vec<Known>,
    left_out: BTreeMap<&'static str, usize>,
}

impl View {
    /// The day.
    #[must_use]
    pub fn day(&self) -> Day {
        self.day
    }

    /// The vulnerabilities that are to be ordered, by id.
    #[must_use]
    pub fn known(&self) -> &[Known] {
        &self.known
    }

    /// How many are not to be ordered, by the reason.
    #[must_use]
    pub fn left_out(&self) -> &BTreeMap<&'static str, usize> {
        &self.left_out
    }
}

impl History {
    /// What was known on `day`. With `scored_only`, what had no EPSS score then is left out; with `undated`, lists of a later day are
    /// believed, which looks ahead: the caller says so. What was in CISA's catalogue already is left out: there is nothing to predict.
    #[must_use]
    pub fn at(&self, day: Day, scored_only: bool, undated: bool) -> View {
        let lists = undated || self.lists_of <= day;
        let (mut known, mut left_out) = (Vec::new(), BTreeMap::new());
        for (id, entry) in &self.entries {
            let epss = entry.epss.range(..=day).next_back().map(|(_, score)| *score);
            let why = if entry.published > day {
                Some("published later")
            } else if entry.kev_added.is_some_and(|added| added <= day) {
                Some("in CISA's catalogue already")
            } else if lists && entry.listed.kev {
                // Lists of a later day give it away; the other flags of that file may have come with it.
                Some("in CISA's catalogue as the lists say")
            } else if scored_only && epss.is_none() {
                Some("without an EPSS score on the day")
            } else {
                None
            };
            if let Some(why) = why {
                *left_out.entry(why).or_default() += 1;
                continue;
            }
            let listed = if lists { entry.listed } else { Listed::default() };
            let mut signals = Signals {
                exploited: listed.exploited,
                metasploit: listed.metasploit,
                nuclei: listed.nuclei,
                exploit_db: listed.exploit_db,
                public_exploit: listed.public_exploit,
                year: Signals::year_of(id),
                epss_millionths: epss,
                ..Signals::default()
            };
            signals.take_vector(&entry.vector);
            known.push(Known { id: id.clone(), signals, score: entry.score });
        }
        View { day, known, left_out }
    }

    /// What was added to CISA's catalogue after `from`, until `to`.
    #[must_use]
    pub fn exploited(&self, from: Day, to: Day) -> BTreeSet<&str> {
        let later = |entry: &Entry| entry.kev_added.is_some_and(|added| added > from && added <= to);
        self.entries.iter().filter(|(_, entry)| later(entry)).map(|(id, _)| id.as_str()).collect()
    }
}

/// An order of vulnerabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// By base score.
    Cvss,
    /// By EPSS.
    Epss,
    /// Known exploited elsewhere, then Metasploit or Nuclei, then the rest; each by EPSS × CVSS.
    Tiered,
    /// By the built-in points, then EPSS × CVSS.
    BuiltIn,
}

impl Order {
    /// All.
    pub const ALL: [Self; 4] = [Self::Cvss, Self::Epss, Self::Tiered, Self::BuiltIn];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cvss => "CVSS",
            Self::Epss => "EPSS",
            Self::Tiered => "tiered rule",
            Self::BuiltIn => "built-in order",
        }
    }

    /// The place of one: higher is earlier, equal is undecided.
    fn key(self, known: &Known, table: &Table, year: u32) -> (u64, u64) {
        let score = known.score.map_or(0, |score| u64::from(score.0));
        let epss = u64::from(known.signals.epss_millionths.unwrap_or_default());
        let signals = &known.signals;
        match self {
            Self::Cvss => (score, 0),
            Self::Epss => (epss, 0),
            Self::Tiered => {
                let tier = if signals.exploited { 2 } else { u64::from(signals.metasploit || signals.nuclei) };
                (tier, epss * score)
            }
            Self::BuiltIn => (u64::from(table.sum(signals, year)), epss * score),
        }
    }
}

/// A share with its 95 % interval (Wilson), in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Share {
    /// The share.
    pub percent: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Share {
    /// `hits` of `of`; nothing is known of a share of nothing.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub fn of(hits: f64, of: usize) -> Option<Self> {
        let n = of as f64;
        if of == 0 {
            return None;
        }
        let (p, z2) = (hits / n, Z95 * Z95);
        let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = Z95 / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        Some(Self { percent: 100.0 * p, low: 100.0 * (middle - half).max(0.0), high: 100.0 * (middle + half).min(1.0) })
    }
}

/// What one order reaches at one effort.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reach {
    /// Share of all vulnerabilities that are fixed, in percent.
    pub effort: f64,
    /// How many those are.
    pub fixed: usize,
    /// How many of them were exploited later; a fraction where the order leaves it undecided.
    pub hits: f64,
    /// Share of the exploited that were fixed.
    pub coverage: Option<Share>,
    /// Share of the fixed that were exploited.
    pub efficiency: Option<Share>,
}

/// How far an order reaches, and where each exploited vulnerability stands in it.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The order.
    pub order: Order,
    /// For each exploited vulnerability, by id: the first and the last place that the order leaves open, from 0.
    places: Vec<(usize, usize)>,
    size: usize,
}

/// Orders a view, then looks where the exploited ones stand.
#[must_use]
pub fn replay(view: &View, order: Order, table: &Table, exploited: &BTreeSet<&str>) -> Replay {
    let year = year(view.day);
    let mut keyed: Vec<((u64, u64), &str)> = view.known.iter().map(|known| (order.key(known, table, year), known.id.as_str())).collect();
    keyed.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    let mut places = BTreeMap::new();
    let mut start = 0;
    for group in keyed.chunk_by(|a, b| a.0 == b.0) {
        for (_, id) in group.iter().filter(|(_, id)| exploited.contains(id)) {
            places.insert(*id, (start, start + group.len() - 1));
        }
        start += group.len();
    }
    Replay { order, places: places.into_values().collect(), size: keyed.len() }
}

/// The year of a day.
#[must_use]
pub fn year(day: Day) -> u32 {
    day.to_string().get(..4).and_then(|year| year.parse().ok()).unwrap_or_default()
}

impl Replay {
    /// How many were exploited later.
    #[must_use]
    pub fn exploited(&self) -> usize {
        self.places.len()
    }

    /// How many stand in the order.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// How likely each exploited one is among the first `fixed`: less than 1 where the order leaves it undecided.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    fn caught(&self, fixed: usize) -> impl Iterator<Item = f64> + '_ {
        self.places.iter().map(move |(first, last)| {
            let of = last - first + 1;
            fixed.saturating_sub(*first).min(of) as f64 / of as f64
        })
    }

    /// What it reaches at an effort in percent.
    #[must_use]
    pub fn reach(&self, effort: f64) -> Reach {
        let fixed = self.fixed(effort);
        let hits: f64 = self.caught(fixed).sum();
        Reach { effort, fixed, hits, coverage: Share::of(hits, self.places.len()), efficiency: Share::of(hits, fixed) }
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
    fn fixed(&self, effort: f64) -> usize {
        ((self.size as f64 * effort.clamp(0.0, 100.0) / 100.0) as usize).min(self.size)
    }

    /// By how many points of coverage this is ahead of `other`, with a 95 % interval: the exploited ones are drawn anew, both orders judged
    /// on the same draws.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "counts below 2^53; an index below the number of positives"
    )]
    pub fn ahead_of(&self, other: &Self, effort: f64) -> Option<Share> {
        let differences: Vec<f64> =
            self.caught(self.fixed(effort)).zip(other.caught(other.fixed(effort))).map(|(mine, theirs)| mine - theirs).collect();
        let n = differences.len();
        if n == 0 || other.places.len() != n {
            return None;
        }
        let mut state = SEED;
        let mut draw = || {
            // splitmix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % n as u64) as usize
        };
        let mut means: Vec<f64> =
            (0..DRAWS).map(|_| (0..n).filter_map(|_| differences.get(draw())).sum::<f64>() * 100.0 / n as f64).collect();
        means.sort_by(|a, b| a.partial_cmp(b).unwrap_or(Ordering::Equal));
        let at = |index: usize| means.get(index).copied().unwrap_or_default();
        let percent = differences.iter().sum::<f64>() * 100.0 / n as f64;
        Some(Share { percent, low: at(DRAWS / 40), high: at(DRAWS - 1 - DRAWS / 40) })
    }
}

/// The first of an order, for people: ids with their points.
#[must_use]
pub fn first(view: &View, table: &Table, count: usize) -> Vec<(String, u32)> {
    let year = year(view.day);
    let mut all: Vec<_> = view.known.iter().map(|known| (Reverse(Order::BuiltIn.key(known, table, year)), known)).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.id.cmp(&b.1.id)));
    all.into_iter().take(count).map(|(_, known)| (known.id.clone(), table.sum(&known.signals, year))).collect()
}
