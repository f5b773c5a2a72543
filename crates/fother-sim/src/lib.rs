//! Deterministic simulation of fleets and faults over the core: the very code of `fother-core`, a fake clock, and a seed.
//!
//! Nothing here does I/O. A seed gives a [`setting::Setting`] (fleet, zones, budget, strategy, windows, people), a list of
//! [`faults::Fault`]s, and everything else by chance; [`run`] plays it out while [`oracle`] checks every promise after every step.
//! A seed that breaks one is made small with [`shrink`] and told as a [`timeline`].

pub mod draw;
pub mod faults;
pub mod host;
pub mod oracle;
pub mod people;
pub mod report;
pub mod scenario;
pub mod server;
pub mod setting;
pub mod timeline;
mod trouble;
pub mod world;

use faults::Fault;
use setting::Setting;
use world::{Stats, Violation, World};

/// What became of one seed.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its numbers.
    pub stats: Stats,
    /// The first broken promise.
    pub violation: Option<Violation>,
    /// What happened, where it was wanted.
    pub timeline: Vec<String>,
}

/// Plays a seed out.
#[must_use]
pub fn run(seed: u64) -> Run {
    let setting = Setting::draw(seed);
    let faults = faults::draw(seed, &setting);
    play(seed, setting, faults, false)
}

/// Plays a seed out with only these of its faults, by number, and tells what happens.
#[must_use]
pub fn replay(seed: u64, only: Option<&[usize]>) -> Run {
    let setting = Setting::draw(seed);
    let mut faults = faults::draw(seed, &setting);
    if let Some(only) = only {
        let mut at = 0..;
        faults.retain(|_| at.next().is_some_and(|at| only.contains(&at)));
    }
    play(seed, setting, faults, true)
}

fn play(seed: u64, setting: Setting, faults: Vec<Fault>, told: bool) -> Run {
    let mut world = World::new(seed, setting, faults, told);
    world.run();
    Run { stats: world.stats, violation: world.violation, timeline: world.timeline.lines().to_vec() }
}

/// The fewest faults of a seed, by number, with which the same promise is broken; nothing where none is.
#[must_use]
pub fn shrink(seed: u64) -> Option<(Violation, Vec<usize>)> {
    let setting = Setting::draw(seed);
    let all = faults::draw(seed, &setting);
    let mut kept: Vec<usize> = (0..all.len()).collect();
    let broken = |kept: &[usize]| {
        let faults = kept.iter().filter_map(|at| all.get(*at)).copied().collect();
        play(seed, setting.clone(), faults, false).violation
    };
    let mut violation = broken(&kept)?;
    let mut at = 0;
    while at < kept.len() {
        let mut fewer = kept.clone();
        fewer.remove(at);
        match broken(&fewer) {
            Some(same) if same.promise == violation.promise => (kept, violation) = (fewer, same),
            _ => at += 1,
        }
    }
    Some((violation, kept))
}

/// A broken seed for people: the seed, the fewest faults, the command that plays it again, and what happened.
#[must_use]
pub fn tell(seed: u64) -> String {
    let Some((violation, kept)) = shrink(seed) else { return format!("seed {seed} breaks nothing") };
    let setting = Setting::draw(seed);
    let all = faults::draw(seed, &setting);
    let list: Vec<String> = kept.iter().map(ToString::to_string).collect();
    let faults: Vec<String> = kept.iter().filter_map(|at| Some(format!("  {at}: {}", all.get(*at)?))).collect();
    let timeline = replay(seed, Some(&kept)).timeline;
    format!(
        "seed {seed}: {} is broken at {}: {}\nfaults that it takes ({} of {}):\n{}\nplay it again: fother sim replay --seed {seed} --faults {}\n{}",
        violation.promise,
        timeline::clock(violation.at),
        violation.what,
        kept.len(),
        all.len(),
        faults.join("\n"),
        if list.is_empty() { "none".to_owned() } else { list.join(",") },
        timeline.join("\n"),
    )
}
