//! The check is checked: every deliberate fault of the engine breaks a promise, and it is told in how many seeds.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::mutant::{self, Mutant};
use fother_sim::run;
use std::{collections::BTreeMap, sync::Mutex};

/// Seeds that every fault is looked for in, and most for those that are rare.
const SEEDS: (u64, u64) = (100, 30_000);

fn look_for(fault: Mutant) -> (u64, u64, BTreeMap<&'static str, u64>) {
    let (mut caught, mut promises) = (0, BTreeMap::new());
    for seed in 0..SEEDS.1 {
        if seed >= SEEDS.0 && caught > 0 {
            return (caught, seed, promises);
        }
        mutant::set(Some(fault));
        if let Some(violation) = run(seed).violation {
            caught += 1;
            *promises.entry(violation.promise).or_insert(0) += 1;
        }
    }
    (caught, SEEDS.1, promises)
}

#[test]
fn every_deliberate_fault_of_the_engine_is_caught() {
    if !mutant::set(None) {
        println!("skipped: this build has no deliberate faults (debug assertions are off)");
        return;
    }
    const { assert!(Mutant::ALL.len() >= 25) };
    // For whoever works on one of them: FOTHER_MUTANT names it.
    let only = std::env::var("FOTHER_MUTANT").ok();
    let all: Vec<_> = Mutant::ALL.iter().filter(|(fault, _)| only.as_ref().is_none_or(|only| format!("{fault:?}") == *only)).collect();
    let (next, lines) = (Mutex::new(all.into_iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((fault, what)) = next.lock().unwrap().next().copied() else { return };
                    let (caught, seeds, promises) = look_for(fault);
                    mutant::set(None);
                    lines.lock().unwrap().push((fault, caught, seeds, what, promises));
                }
            });
        }
    });
    let mut lines = lines.into_inner().unwrap();
    lines.sort_by_key(|line| line.0);
    for (fault, caught, seeds, what, promises) in &lines {
        println!(
            "{fault:?}: caught in {caught} of {seeds} seeds ({}):{what} {promises:?}",
            if *caught > 0 { "caught" } else { "SURVIVES" }
        );
    }
    let alive: Vec<Mutant> = lines.iter().filter(|line| line.1 == 0).map(|line| line.0).collect();
    println!("{} deliberate faults, {} caught", lines.len(), lines.len() - alive.len());
    assert!(alive.is_empty(), "nothing notices {alive:?}");
}
