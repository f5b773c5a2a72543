//! Ten thousand worlds: no promise is broken in any, and every fault and every end was really met.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_sim::{faults::Kind, report, run, tell, world::Stats};
use std::{sync::Mutex, time::Instant};

/// Seeds of the ordinary test run; `FOTHER_SIM_SEEDS` sets another number, `FOTHER_SIM_FROM` the first.
const SEEDS: u64 = 10_000;
const THREADS: u64 = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn no_seed_breaks_a_promise_and_every_fault_and_end_is_met() {
    let (from, count) = (number("FOTHER_SIM_FROM", 0), number("FOTHER_SIM_SEEDS", SEEDS));
    let began = Instant::now();
    let (all, broken) = (Mutex::new(Stats::default()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (all, broken) = (&all, &broken);
            scope.spawn(move || {
                for seed in (from..from + count).filter(|seed| seed % THREADS == thread) {
                    let one = run(seed);
                    report::add(&mut all.lock().unwrap(), &one.stats);
                    if one.violation.is_some() {
                        broken.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let (all, mut broken) = (all.into_inner().unwrap(), broken.into_inner().unwrap());
    broken.sort_unstable();
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} seeds, {rate:.0} a second: {}", report::numbers(&all));
    if let Some(first) = broken.first() {
        panic!("{} seeds break promises: {:?}\n{}", broken.len(), &broken[..broken.len().min(20)], tell(*first));
    }
    if count >= SEEDS {
        let ends = ["completed", "halted", "aborted", "rolled back", "superseded", "blocked"];
        let missing: Vec<&str> =
            Kind::ALL.iter().map(|(kind, _)| kind.name()).chain(ends).filter(|name| !all.met.contains_key(name)).collect();
        assert!(missing.is_empty(), "never met: {missing:?}");
    }
}
