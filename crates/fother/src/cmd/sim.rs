//! `fother sim`: worlds out of seeds, for developers; built with `--features sim` only.

use crate::{
    cli::Sim,
    failure::{FAILED, FINE, Failure, NO, USAGE},
};
use fother_sim::{report, world::Stats};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Seeds between two writes of the state.
const CHUNK: u64 = 2_000;

/// What a soak has done so far.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Soak {
    revision: String,
    next: u64,
    seconds: u64,
    happenings: u64,
    steps: u64,
    events: u64,
    met: BTreeMap<String, u64>,
    broken: Vec<u64>,
}

/// Runs the command.
pub fn run(verb: &Sim) -> Result<u8, Failure> {
    match verb {
        Sim::Run { from, seeds } => {
            let began = Instant::now();
            let (stats, broken) = seeds_of(*from, *seeds);
            let rate = *seeds as f64 / began.elapsed().as_secs_f64();
            println!("{seeds} seeds, {rate:.0} a second: {}", report::numbers(&stats));
            broken.iter().take(3).for_each(|seed| println!("{}", fother_sim::tell(*seed)));
            Ok(if broken.is_empty() { FINE } else { NO })
        }
        Sim::Replay { seed, faults } => {
            let only = faults.as_deref().map(numbers).transpose()?;
            let run = fother_sim::replay(*seed, only.as_deref());
            run.timeline.iter().for_each(|line| println!("{line}"));
            match run.violation {
                Some(violation) => {
                    println!("{} is broken: {}", violation.promise, violation.what);
                    Ok(NO)
                }
                None => Ok(FINE),
            }
        }
        Sim::Scenario { script } => {
            let text = std::fs::read_to_string(script)
                .map_err(|error| Failure::new(USAGE, format!("{}: {error}", script.display()), "see crates/fother-sim/scenarios"))?;
            print!("{}", fother_sim::scenario::transcript(&text));
            Ok(FINE)
        }
        Sim::Soak { state, seeds, result, revision } => soak(state, *seeds, result, revision),
    }
}

fn numbers(text: &str) -> Result<Vec<usize>, Failure> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let bad =
        |word: &str| Failure::new(USAGE, format!("`{word}` is no number of a fault"), "write them as the report does: --faults 1,4,7");
    text.split(',').map(|word| word.parse().map_err(|_| bad(word))).collect()
}

fn seeds_of(from: u64, count: u64) -> (Stats, Vec<u64>) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let (all, broken) = (Mutex::new(Stats::default()), Mutex::new(Vec::new()));
    let lock = std::sync::PoisonError::into_inner;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (all, broken) = (&all, &broken);
            scope.spawn(move || {
                let (mut mine, mut bad) = (Stats::default(), Vec::new());
                for seed in (from..from + count).filter(|seed| seed % threads == thread) {
                    let one = fother_sim::run(seed);
                    report::add(&mut mine, &one.stats);
                    bad.extend(one.violation.map(|_| seed));
                }
                report::add(&mut all.lock().unwrap_or_else(lock), &mine);
                broken.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(bad);
            });
        }
    });
    let mut broken = broken.into_inner().unwrap_or_default();
    broken.sort_unstable();
    (all.into_inner().unwrap_or_default(), broken)
}

/// Goes on where the state file says, and writes it after every chunk, so that it may be stopped at any time.
fn soak(state: &Path, seeds: u64, result: &Path, revision: &str) -> Result<u8, Failure> {
    let failed = |what: &Path| {
        let what = what.display().to_string();
        move |error: std::io::Error| Failure::new(FAILED, format!("{what}: {error}"), "the soak goes on where its state file stands")
    };
    let mut soak: Soak = match std::fs::read(state) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| Failure::new(USAGE, format!("{}: {error}", state.display()), "remove it to begin anew"))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Soak::default(),
        Err(error) => return Err(failed(state)(error)),
    };
    if soak.revision != revision {
        if soak.next > 0 {
            eprintln!("the state file is of revision {}: beginning anew with {revision}", soak.revision);
        }
        soak = Soak { revision: revision.to_owned(), ..Soak::default() };
    }
    while soak.next < seeds && soak.broken.is_empty() {
        let (began, count) = (Instant::now(), CHUNK.min(seeds - soak.next));
        let (stats, broken) = seeds_of(soak.next, count);
        soak.next += count;
        soak.happenings += stats.happenings;
        soak.steps += stats.steps;
        soak.events += stats.events;
        stats.met.iter().for_each(|(what, count)| *soak.met.entry((*what).to_owned()).or_insert(0) += count);
        soak.broken.extend(broken);
        soak.seconds += began.elapsed().max(Duration::from_secs(1)).as_secs();
        let text = serde_json::to_vec(&soak).map_err(|error| failed(state)(error.into()))?;
        let beside = state.with_extension("new");
        std::fs::write(&beside, text).and_then(|()| std::fs::rename(&beside, state)).map_err(failed(state))?;
        eprintln!("{} of {seeds} seeds, {} a second", soak.next, count as f64 / began.elapsed().as_secs_f64());
    }
    std::fs::write(result, told(&soak)).map_err(failed(result))?;
    soak.broken.iter().take(3).for_each(|seed| println!("{}", fother_sim::tell(*seed)));
    println!("{} seeds, {} broken; written to {}", soak.next, soak.broken.len(), result.display());
    Ok(if soak.broken.is_empty() { FINE } else { NO })
}

fn told(soak: &Soak) -> String {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = fother_core::Timestamp(u64::try_from(ms).unwrap_or(u64::MAX)).to_string();
    let day = now.split('T').next().unwrap_or_default().to_owned();
    let broken = if soak.broken.is_empty() { "none".to_owned() } else { format!("{:?}", soak.broken) };
    let rows: Vec<String> = soak.met.iter().map(|(what, count)| format!("| {what} | {count} |")).collect();
    format!(
        "# The soak\n\nWhat `make soak` found: every promise of [rollout.md](rollout.md) checked after every step of every world.\n\n\
         | | |\n|---|---|\n| date | {day} |\n| revision | {} |\n| seeds | {} |\n| seconds | {} |\n| happenings | {} |\n| steps of rollouts | {} |\n\
         | events in logs | {} |\n| seeds that break a promise | {broken} |\n\n## What was met\n\n| what | how often |\n|---|---|\n{}\n",
        soak.revision,
        soak.next,
        soak.seconds,
        soak.happenings,
        soak.steps,
        soak.events,
        rows.join("\n"),
    )
}
