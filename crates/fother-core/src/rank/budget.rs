//! Which updates fit a budget of windows and reboots, so that most expected risk goes: a greedy choice that explains itself. Pure.
//!
//! An update is put whole into one window. A window in which something needs a reboot costs one reboot of the budget, and its time,
//! however many updates share it. How far the choice is from the best one is measured in `tests/budget.rs`.

use super::{Update, percent};
use crate::assess::host::Installable;
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, str::FromStr};

/// Seconds of an update, where none was rehearsed.
pub const UPDATE_S: u32 = 30;
/// Seconds more for each of its packages.
pub const PACKAGE_S: u32 = 5;
/// Seconds of a reboot.
pub const REBOOT_S: u32 = 180;
/// Most windows.
pub const WINDOWS_MAX: usize = 100;
/// Rounds of exchange after the greedy choice; each removes more risk than the last.
const ROUNDS_MAX: usize = 100;

/// What may be spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Length of each window, in seconds.
    pub windows_s: Vec<u32>,
    /// Reboots.
    pub reboots: usize,
}

/// Windows: `2h`, `90m`, `2h,1h`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Windows(pub Vec<u32>);

impl FromStr for Windows {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let one = |part: &str| {
            let (number, unit) = match part.char_indices().next_back()? {
                (at, 'h') => (part.get(..at)?, 3_600),
                (at, 'm') => (part.get(..at)?, 60),
                (at, 's') => (part.get(..at)?, 1),
                _ => return None,
            };
            number.parse::<u32>().ok()?.checked_mul(unit)
        };
        let windows: Option<Vec<u32>> = text.split(',').map(one).collect();
        windows
            .filter(|windows| windows.len() <= WINDOWS_MAX)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is no time such as 2h or 90m, nor several windows such as 2h,1h"))
    }
}

/// One update as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Source package.
    pub name: String,
    /// Expected risk that it removes, in millionths.
    pub risk: u64,
    /// Seconds that it takes, without the reboot.
    pub seconds: u32,
    /// It takes effect with a reboot only.
    pub reboot: bool,
    /// Why it cannot be chosen at all.
    pub never: Option<String>,
}

/// An update that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// Source package.
    pub name: String,
    /// Its window, from 1.
    pub window: usize,
    /// Why.
    pub why: String,
}

/// An update that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Source package.
    pub name: String,
    /// Why.
    pub why: String,
}

/// What was chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// By window, then by risk.
    pub taken: Vec<Taken>,
    /// By risk.
    pub left: Vec<Left>,
    /// Expected risk that goes, in millionths.
    pub removed: u64,
    /// Of so much.
    pub total: u64,
    /// Seconds that are used.
    pub seconds: u64,
    /// Reboots that are used.
    pub reboots: usize,
}

/// The candidates of a queue. Times are estimates: [`UPDATE_S`], [`PACKAGE_S`], [`REBOOT_S`].
#[must_use]
pub fn candidates(updates: &[Update]) -> Vec<Candidate> {
    let one = |update: &Update| {
        let packages = u32::try_from(update.packages.len()).unwrap_or(u32::MAX);
        let never = match &update.installable {
            _ if update.reboot || update.restart => None,
            Installable::Yes { .. } | Installable::Unknown => None,
            Installable::Kept { why } => Some(format!("kept back: {why}")),
            Installable::No { .. } => Some("no archive of this host offers it".to_owned()),
            Installable::NotPublished => Some("no fix is published".to_owned()),
        };
        Candidate {
            name: update.source.clone(),
            risk: update.risk_millionths,
            // What is installed already only waits for the reboot, or for restarts.
            seconds: match (update.reboot, update.restart) {
                (true, _) => 0,
                (false, true) => UPDATE_S,
                (false, false) => UPDATE_S.saturating_add(PACKAGE_S.saturating_mul(packages)),
            },
            reboot: update.reboot || needs_reboot(&update.source),
            never,
        }
    };
    updates.iter().map(one).collect()
}

/// Source packages that take effect with a reboot only: kernels and processors' microcode.
fn needs_reboot(source: &str) -> bool {
    source == "linux" || source.starts_with("linux-signed") || source.ends_with("-microcode")
}

/// Which candidate is in which window.
type Placed = Vec<Option<usize>>;

struct Problem<'a> {
    candidates: &'a [Candidate],
    budget: &'a Budget,
}

impl Problem<'_> {
    /// Whether everything that is placed fits.
    fn fits(&self, placed: &Placed) -> bool {
        let mut left: Vec<i64> = self.budget.windows_s.iter().map(|seconds| i64::from(*seconds)).collect();
        let mut reboots = vec![false; left.len()];
        for (candidate, window) in self.candidates.iter().zip(placed) {
            let Some(window) = window else { continue };
            let (Some(left), Some(reboot)) = (left.get_mut(*window), reboots.get_mut(*window)) else { return false };
            *left -= i64::from(candidate.seconds);
            *reboot |= candidate.reboot;
        }
        for (left, reboot) in left.iter_mut().zip(&reboots) {
            *left -= if *reboot { i64::from(REBOOT_S) } else { 0 };
        }
        left.iter().all(|left| *left >= 0) && reboots.iter().filter(|reboot| **reboot).count() <= self.budget.reboots
    }

    fn risk(&self, placed: &Placed) -> u64 {
        self.candidates.iter().zip(placed).filter(|(_, window)| window.is_some()).map(|(candidate, _)| candidate.risk).sum()
    }

    /// The first window in which it fits; windows that reboot anyway come first for what needs one.
    fn place(&self, placed: &mut Placed, at: usize) -> bool {
        for window in 0..self.budget.windows_s.len() {
            if let Some(slot) = placed.get_mut(at) {
                *slot = Some(window);
            }
            if self.fits(placed) {
                return true;
            }
        }
        if let Some(slot) = placed.get_mut(at) {
            *slot = None;
        }
        false
    }

    /// Takes them in an order, as long as they fit.
    fn greedy(&self, order: &[usize]) -> Placed {
        let mut placed = vec![None; self.candidates.len()];
        for at in order {
            self.place(&mut placed, *at);
        }
        placed
    }

    /// Exchanges one that is in for one that is not, as long as more risk goes; then fills what is free.
    fn improve(&self, placed: &mut Placed, order: &[usize]) {
        for _ in 0..ROUNDS_MAX {
            let before = self.risk(placed);
            for coming in order.iter().copied().filter(|at| placed.get(*at).is_some_and(Option::is_none)).collect::<Vec<_>>() {
                for going in (0..placed.len()).filter(|at| placed.get(*at).is_some_and(Option::is_some)).collect::<Vec<_>>() {
                    let mut other = placed.clone();
                    if let Some(slot) = other.get_mut(going) {
                        *slot = None;
                    }
                    if !self.place(&mut other, coming) {
                        continue;
                    }
                    order.iter().filter(|at| placed.get(**at).is_some_and(Option::is_none)).for_each(|at| {
                        if other.get(*at).is_some_and(Option::is_none) {
                            self.place(&mut other, *at);
                        }
                    });
                    self.place_again(&mut other, going);
                    if self.risk(&other) > self.risk(placed) {
                        *placed = other;
                        break;
                    }
                }
            }
            if self.risk(placed) <= before {
                return;
            }
        }
    }

    fn place_again(&self, placed: &mut Placed, at: usize) {
        if placed.get(at).is_some_and(Option::is_none) {
            self.place(placed, at);
        }
    }
}

/// Chooses: by risk for its time and by risk alone, with and without reboots; the best of these, improved by exchanges.
#[must_use]
pub fn choose(candidates: &[Candidate], budget: &Budget) -> Choice {
    let problem = Problem { candidates, budget };
    let eligible: Vec<usize> =
        (0..candidates.len()).filter(|at| candidates.get(*at).is_some_and(|c| c.never.is_none() && c.risk > 0)).collect();
    let of = |at: &usize| candidates.get(*at);
    let mut by_risk = eligible.clone();
    by_risk.sort_by_key(|at| Reverse(of(at).map_or(0, |c| c.risk)));
    let mut by_rate = eligible.clone();
    by_rate.sort_by_key(|at| Reverse(of(at).map_or(0, |c| rate(c, false))));
    let mut by_rate_alone = eligible;
    by_rate_alone.sort_by_key(|at| Reverse(of(at).map_or(0, |c| rate(c, true))));
    let still: Vec<usize> = by_rate.iter().copied().filter(|at| of(at).is_some_and(|c| !c.reboot)).collect();
    let mut best: Placed = vec![None; candidates.len()];
    for order in [&by_rate, &by_rate_alone, &by_risk, &still] {
        let mut placed = problem.greedy(order);
        problem.improve(&mut placed, &by_rate);
        if problem.risk(&placed) > problem.risk(&best) {
            best = placed;
        }
    }
    explain(&problem, &best)
}

/// Risk for a minute; with `reboot` a reboot's time is counted to each that needs one.
fn rate(candidate: &Candidate, reboot: bool) -> u64 {
    let more = if reboot && candidate.reboot { REBOOT_S } else { 0 };
    candidate.risk.saturating_mul(60) / u64::from(candidate.seconds.saturating_add(more).max(1))
}

fn explain(problem: &Problem<'_>, placed: &Placed) -> Choice {
    let (candidates, budget) = (problem.candidates, problem.budget);
    let total = candidates.iter().map(|candidate| candidate.risk).sum();
    let mut out = Choice { removed: problem.risk(placed), total, ..Choice::default() };
    let mut all: Vec<(&Candidate, Option<usize>, usize)> =
        candidates.iter().zip(placed).enumerate().map(|(at, (candidate, window))| (candidate, *window, at)).collect();
    all.sort_by_key(|(candidate, window, _)| (*window, Reverse(candidate.risk)));
    let free = free(problem, placed);
    let mut rebooting: Vec<usize> = all.iter().filter(|(c, ..)| c.reboot).filter_map(|(_, window, _)| *window).collect();
    rebooting.dedup();
    out.reboots = rebooting.len();
    out.seconds = all.iter().filter(|(_, window, _)| window.is_some()).map(|(c, ..)| u64::from(c.seconds)).sum::<u64>()
        + u64::from(REBOOT_S) * rebooting.len() as u64;
    for (candidate, window, _) in all {
        let name = candidate.name.clone();
        let removes = format!("removes {} in {} s", percent(candidate.risk), candidate.seconds);
        let reboot = if candidate.reboot { ", with a reboot" } else { "" };
        match window {
            Some(window) => out.taken.push(Taken { name, window: window + 1, why: format!("{removes}{reboot}") }),
            None => out.left.push(Left { name, why: why_not(candidate, budget, &free, out.reboots) }),
        }
    }
    out
}

/// Seconds that each window has left.
fn free(problem: &Problem<'_>, placed: &Placed) -> Vec<i64> {
    let used = |window: usize| {
        let mine = || problem.candidates.iter().zip(placed).filter(move |(_, at)| **at == Some(window));
        let reboot = if mine().any(|(candidate, _)| candidate.reboot) { i64::from(REBOOT_S) } else { 0 };
        mine().map(|(candidate, _)| i64::from(candidate.seconds)).sum::<i64>() + reboot
    };
    problem.budget.windows_s.iter().enumerate().map(|(at, seconds)| i64::from(*seconds) - used(at)).collect()
}

fn why_not(candidate: &Candidate, budget: &Budget, free: &[i64], reboots: usize) -> String {
    if let Some(why) = &candidate.never {
        return why.clone();
    }
    if candidate.risk == 0 {
        return "removes no known risk".to_owned();
    }
    let removes = format!("would remove {}", percent(candidate.risk));
    if candidate.reboot && reboots >= budget.reboots && reboots == 0 {
        return format!("{removes}; it needs a reboot, and the budget has none");
    }
    let most = free.iter().max().copied().unwrap_or_default();
    format!(
        "{removes}; it takes {} s{}, {most} s are left, and no exchange removes more",
        candidate.seconds,
        if candidate.reboot { " and a reboot" } else { "" }
    )
}
