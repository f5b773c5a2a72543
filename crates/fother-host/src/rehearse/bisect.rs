//! Where a transaction breaks: the smallest failing set of updates, and the rest that passes; rehearses again, a bounded number of times.

use super::{Error, RehearseRequest, rehearse};
use crate::transact::Progress;
use fother_core::rehearsal::{Rehearsal, Verdict};
use std::collections::{BTreeMap, BTreeSet};

/// Most rehearsals that one search makes.
pub const REHEARSALS_MAX: u32 = 16;

/// What the search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bisection {
    /// Source packages whose updates break together; smallest set that was found.
    pub failing: Vec<String>,
    /// The rehearsal of everything else, if it passes.
    pub rest: Option<Rehearsal>,
    /// Rehearsals that were made.
    pub rehearsals: u32,
    /// The search ended at [`REHEARSALS_MAX`]: the set may not be the smallest.
    pub cut_short: bool,
}

/// Finds what breaks. `broken` is the rehearsal of the whole transaction; its named packages are suspected first.
///
/// # Errors
/// As [`rehearse`].
pub fn bisect(request: &RehearseRequest, broken: &Rehearsal, progress: &mut dyn FnMut(Progress)) -> Result<Bisection, Error> {
    let mut error = None;
    let mut reports: BTreeMap<BTreeSet<String>, Rehearsal> = BTreeMap::new();
    let sources: BTreeSet<String> = request.changes.iter().map(|change| change.source.clone()).collect();
    let named: BTreeSet<&str> = broken.breakages.iter().map(|broken| broken.what.as_str()).collect();
    let suspects: BTreeSet<String> = request
        .changes
        .iter()
        .filter(|change| named.contains(change.name.as_str()) || named.contains(format!("{}.service", change.name).as_str()))
        .map(|change| change.source.clone())
        .collect();
    let mut test = |set: &BTreeSet<String>| {
        progress(Progress::new("bisect", 0, format!("rehearsing {} of {} updates", set.len(), sources.len())));
        let mut part = request.clone();
        part.changes.retain(|change| set.contains(&change.source));
        match rehearse(&part, progress) {
            Ok(report) => {
                let verdict = report.verdict;
                reports.insert(set.clone(), report);
                Some(verdict)
            }
            Err(failure) => {
                error = Some(failure);
                None
            }
        }
    };
    let found = search(&sources, &suspects, &mut test);
    if let Some(error) = error {
        return Err(error);
    }
    let rest: BTreeSet<String> = sources.difference(&found.failing).cloned().collect();
    let rest = reports.remove(&rest).filter(|report| report.verdict == Verdict::Passes);
    Ok(Bisection { failing: found.failing.into_iter().collect(), rest, rehearsals: found.tests, cut_short: found.cut_short })
}

struct Found {
    failing: BTreeSet<String>,
    tests: u32,
    cut_short: bool,
}

/// Delta debugging (Zeller and Hildebrandt 2002) over sets of sources; a set that gives no answer does not count as failing.
fn search(all: &BTreeSet<String>, suspects: &BTreeSet<String>, test: &mut dyn FnMut(&BTreeSet<String>) -> Option<Verdict>) -> Found {
    let mut known: BTreeMap<BTreeSet<String>, Option<Verdict>> = BTreeMap::from([(BTreeSet::new(), Some(Verdict::Passes))]);
    let mut tests = 0;
    // One rehearsal is kept back for the rest.
    let mut ask = |set: &BTreeSet<String>, last: u32| {
        if let Some(answer) = known.get(set) {
            return *answer;
        }
        if tests >= last {
            return None;
        }
        tests += 1;
        let answer = test(set);
        known.insert(set.clone(), answer);
        answer
    };
    let mut failing = all.clone();
    let without = |set: &BTreeSet<String>| all.difference(set).cloned().collect::<BTreeSet<_>>();
    if !suspects.is_empty() && suspects.len() < all.len() && ask(suspects, REHEARSALS_MAX) == Some(Verdict::Breaks) {
        failing.clone_from(suspects);
    }
    let mut parts = 2;
    while failing.len() > 1 {
        let list: Vec<&String> = failing.iter().collect();
        let size = list.len().div_ceil(parts.min(list.len()));
        let chunks: Vec<BTreeSet<String>> = list.chunks(size).map(|chunk| chunk.iter().map(|name| (*name).clone()).collect()).collect();
        let complements = chunks.iter().map(|chunk| failing.difference(chunk).cloned().collect::<BTreeSet<_>>());
        let next = chunks.iter().cloned().chain(complements).find(|set| ask(set, REHEARSALS_MAX - 1) == Some(Verdict::Breaks));
        match next {
            Some(smaller) => {
                parts = if chunks.contains(&smaller) { 2 } else { (parts - 1).max(2) };
                failing = smaller;
            }
            None if size == 1 => break,
            None => parts = (parts * 2).min(failing.len()),
        }
    }
    ask(&without(&failing), REHEARSALS_MAX);
    Found { failing, tests, cut_short: tests >= REHEARSALS_MAX - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn run(all: &[&str], suspects: &[&str], culprits: &[&str]) -> Found {
        let culprits = set(culprits);
        search(&set(all), &set(suspects), &mut |set| Some(if culprits.is_subset(set) { Verdict::Breaks } else { Verdict::Passes }))
    }

    #[test]
    fn a_named_suspect_costs_one_rehearsal_and_the_rest_another() {
        let found = run(&["a", "b", "c", "d", "e"], &["d"], &["d"]);
        assert_eq!((found.failing, found.tests, found.cut_short), (set(&["d"]), 2, false));
    }

    #[test]
    fn one_culprit_and_a_pair_are_found_without_suspects() {
        let names: Vec<String> = (0..22).map(|n| format!("p{n:02}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(run(&all, &[], &["p17"]).failing, set(&["p17"]));
        assert_eq!(run(&all[..6], &[], &["p01", "p04"]).failing, set(&["p01", "p04"]));
        assert_eq!(run(&all, &["p03"], &["p17"]).failing, set(&["p17"]));
    }

    #[test]
    fn the_number_of_rehearsals_is_bounded_and_said() {
        let names: Vec<String> = (0..60).map(|n| format!("p{n:02}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        let culprits: Vec<&str> = all.iter().step_by(7).copied().collect();
        let found = run(&all, &[], &culprits);
        assert!(found.tests <= REHEARSALS_MAX && found.cut_short);
        assert!(set(&culprits).is_subset(&found.failing));
    }
}
