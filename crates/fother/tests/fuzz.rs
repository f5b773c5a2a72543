//! Every parser of foreign bytes on mutations of its seeds, for a bounded time: the targets of `fuzz/` without libFuzzer.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, clippy::cast_possible_truncation)]

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use targets::Target;

/// Seconds for each target, unless `FUZZ_SECONDS` says otherwise.
const SECONDS: f64 = 1.0;
/// Targets that run at the same time.
const WORKERS: usize = 2;
/// Largest mutated input, in bytes.
const BYTES_MAX: usize = 64 << 10;
/// Most bytes of a failing input that are printed.
const SHOWN_BYTES_MAX: usize = 512;

/// xorshift64*: the same inputs in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end.max(1)
    }
}

const WORDS: &[&[u8]] = &[
    b"\n",
    b"\n\n",
    b"\"",
    b"{",
    b"[",
    b"]}",
    b"0",
    b"99999999999999999999",
    b"-1",
    b"\xff\xff\xff\xff",
    b"\0",
    b"../",
    b":",
    b"%41",
    b"~",
];

fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(5) {
        let at = random.below(bytes.len() + 1);
        match random.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..at, WORDS[random.below(WORDS.len())].iter().copied())),
            4 => {
                let end = (at + 1 + random.below(16)).min(bytes.len());
                drop(bytes.drain(at..end));
            }
            5 => {
                let end = (at + 1 + random.below(64)).min(bytes.len());
                let part = bytes[at..end].repeat(1 + random.below(4));
                drop(bytes.splice(at..at, part));
            }
            6 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len());
                bytes.truncate(at);
                bytes.extend(&other[from..]);
            }
            _ => {
                let number = [0, 1, 0x7f, 0x80, 0xff, 0xffff_ffff, 0x7fff_ffff][random.below(7)];
                for (place, byte) in bytes.iter_mut().skip(at).zip(u32::to_le_bytes(number)) {
                    *place = byte;
                }
            }
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

/// Runs one target; the number of inputs, or what broke it.
fn run(target: &Target, time: Duration) -> Result<usize, String> {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty(), "{} has no seeds", target.name);
    let start = Instant::now();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut count = 0;
    loop {
        let input = seeds.get(count).cloned().unwrap_or_else(|| mutated(&mut random, &seeds));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(&input))) {
            let why = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            let shown = &input[..input.len().min(SHOWN_BYTES_MAX)];
            return Err(format!("{}: input {count}: {}: \"{}\"", target.name, why.unwrap_or_default(), shown.escape_ascii()));
        }
        count += 1;
        if count >= seeds.len() && start.elapsed() >= time {
            return Ok(count);
        }
    }
}

#[test]
fn every_parser_holds_its_laws_on_mutated_input() {
    let seconds = std::env::var("FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SECONDS);
    let only = std::env::var("FOTHER_FUZZ").ok();
    let all: Vec<&Target> = targets::all().filter(|target| only.as_deref().is_none_or(|name| name == target.name)).collect();
    assert!(all.len() > 30 || only.is_some(), "only {} targets", all.len());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                while let Some(target) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match run(target, Duration::from_secs_f64(seconds)) {
                        Ok(count) => println!("{:<22}{count:>10} inputs", target.name),
                        Err(why) => failed.lock().unwrap().push(why),
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
