//! `load_bench`: what a fleet of 100,000 hosts costs the control plane; a part of `make bench`. Prints lines of name, runs, lowest, middle, highest.
//!
//! `plan` and `step` time the core; `start FOTHER DIR` and `check-ins FOTHER DIR` make a data directory below `DIR` and run a real
//! `fother serve` on it, and the latter real mutual TLS over loopback.

mod check_ins;
mod made;
mod plan;
mod server;
mod start;
mod step;

use std::{path::PathBuf, process::ExitCode};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Hosts of every fleet here.
const HOSTS: usize = 100_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["plan"] => plan::run(),
        ["step"] => step::run(),
        ["start", fother, dir] => start::run(&PathBuf::from(fother), &PathBuf::from(dir), 10_000_000),
        ["start", fother, dir, events] => {
            events.parse().map_err(Failure::from).and_then(|n| start::run(&PathBuf::from(fother), &PathBuf::from(dir), n))
        }
        ["check-ins", fother, dir] => check_ins::run(&PathBuf::from(fother), &PathBuf::from(dir)),
        _ => {
            eprintln!("usage: load_bench plan | step | start FOTHER DIR [EVENTS] | check-ins FOTHER DIR");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load_bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One line of the table out of all runs, in their own unit.
fn figure(what: &str, mut runs: Vec<f64>) {
    runs.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (runs.first(), runs.last()) else { return };
    println!("{what}\t{}\t{low:.3}\t{:.3}\t{high:.3}", runs.len(), runs[runs.len() / 2]);
}
