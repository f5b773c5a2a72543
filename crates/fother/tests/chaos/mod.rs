//! Kill -9 at random: which process, when, and what it met; seeded, so that a run can be asked for again.

use super::fleet::{
    Fleet,
    processes::{self, Kind, Process},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The variable that sets the seed.
const SEED: &str = "FOTHER_KILLS_SEED";
/// How long a kill waits for a process of its kind before another kind is drawn.
const TARGET_WAIT: Duration = Duration::from_secs(3);
/// Longest pause before a process is killed that lives on, in milliseconds.
const PAUSE_MS_MAX: u64 = 900;
/// Longest time that a server stays dead, in milliseconds.
const DEAD_MS_MAX: u64 = 800;
/// How often a kill looks for its process.
const LOOK: Duration = Duration::from_millis(10);

/// A small generator (SplitMix64): the same seed, the same draws.
pub struct Random(u64);

impl Random {
    /// The seed from the environment, or a new one.
    pub fn seed() -> u64 {
        let given = std::env::var(SEED).ok().map(|text| text.parse().unwrap_or_else(|error| panic!("{SEED}={text}: {error}")));
        given.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len() as u64) as usize]
    }
}

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Server,
    Process(Kind),
    /// Everything in a transaction's or an undo's unit at once.
    WholeUnit,
}

impl Target {
    fn fits(self, process: &Process) -> bool {
        match self {
            Self::Server => false,
            Self::Process(kind) => process.kind == kind,
            Self::WholeUnit => process.kind.is_transaction(),
        }
    }

    /// Part of a transaction or of an undo.
    fn is_transaction(self) -> bool {
        match self {
            Self::Server => false,
            Self::Process(kind) => kind.is_transaction(),
            Self::WholeUnit => true,
        }
    }

    /// How long after it was first seen it may be killed, in milliseconds: about as long as it lives.
    fn life_ms(self) -> u64 {
        match self {
            Self::Server | Self::Process(Kind::Network | Kind::Executor) => PAUSE_MS_MAX,
            Self::Process(Kind::ExecutorChild) => 200,
            Self::Process(Kind::Undo | Kind::UndoChild) => 400,
            Self::Process(Kind::Worker | Kind::WorkerChild) | Self::WholeUnit => 1_500,
        }
    }
}

/// Who is in danger for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// The server and both halves of the agents: no transaction may fail by it.
    Agents,
    /// Transactions and what they start.
    Transactions,
    /// Everything while a rollout goes forwards.
    Everything,
    /// Everything while a rollout is undone.
    Undo,
}

impl Mood {
    /// What may be drawn; what stands there twice is drawn twice as often.
    fn targets(self) -> &'static [Target] {
        use Target::{Process as P, Server, WholeUnit};
        match self {
            Self::Agents => &[Server, P(Kind::Network), P(Kind::Executor), P(Kind::Executor)],
            Self::Transactions => &[P(Kind::Worker), P(Kind::WorkerChild), P(Kind::WorkerChild), WholeUnit],
            Self::Everything => &[
                Server,
                P(Kind::Network),
                P(Kind::Executor),
                P(Kind::ExecutorChild),
                P(Kind::Worker),
                P(Kind::WorkerChild),
                P(Kind::WorkerChild),
                WholeUnit,
            ],
            Self::Undo => &[
                Server,
                P(Kind::Network),
                P(Kind::Executor),
                P(Kind::ExecutorChild),
                P(Kind::Undo),
                P(Kind::Undo),
                P(Kind::Undo),
                P(Kind::UndoChild),
                P(Kind::UndoChild),
                WholeUnit,
            ],
        }
    }
}

/// Every process of Fother on the web hosts now.
fn seen(fleet: &Fleet) -> Vec<(String, Process)> {
    let of = |host: &fother_lab::HostStatus| {
        let name = host.name.clone();
        processes::of_host(host.pid.unwrap_or(0)).into_iter().map(move |process| (name.clone(), process))
    };
    fleet.web.iter().flat_map(of).collect()
}

/// What was killed so far.
pub struct Chaos {
    seed: u64,
    random: Random,
    /// Per target: kills, and how many of them came while a transaction or an undo was at work there.
    tally: BTreeMap<Target, (u32, u32)>,
    /// The last few, for a failure's message.
    story: Vec<String>,
}

impl Chaos {
    /// Nothing is killed yet.
    pub fn new(seed: u64) -> Self {
        println!("seed: {SEED}={seed}");
        Self { seed, random: Random(seed), tally: BTreeMap::new(), story: Vec::new() }
    }

    /// All kills.
    pub fn kills(&self) -> u32 {
        self.tally.values().map(|(kills, _)| kills).sum()
    }

    /// Kills of parts of transactions and undos themselves.
    pub fn of_transactions(&self) -> u32 {
        self.tally.iter().filter(|(target, _)| target.is_transaction()).map(|(_, (kills, _))| kills).sum()
    }

    /// Kills while a transaction or an undo was at work on that host, or anywhere for the server.
    pub fn mid_transaction(&self) -> u32 {
        self.tally.values().map(|(_, mid)| mid).sum()
    }

    /// One kill, at a random point of its target's life; false where no process of the drawn kind came in time.
    pub fn strike(&mut self, fleet: &mut Fleet, mood: Mood) -> bool {
        let target = *self.random.pick(mood.targets());
        let until = Instant::now() + TARGET_WAIT;
        let mut at = None;
        while Instant::now() < until {
            let seen = seen(fleet);
            let at_work: Vec<&str> =
                seen.iter().filter(|(_, process)| process.kind.is_transaction()).map(|(host, _)| host.as_str()).collect();
            let fitting: Vec<&(String, Process)> = seen.iter().filter(|(_, process)| target.fits(process)).collect();
            if fitting.is_empty() && target != Target::Server {
                std::thread::sleep(LOOK);
                continue;
            }
            let at = *at.get_or_insert_with(|| Instant::now() + Duration::from_millis(self.random.below(target.life_ms())));
            if Instant::now() < at {
                std::thread::sleep(LOOK);
                continue;
            }
            if target == Target::Server {
                self.server(fleet, !at_work.is_empty());
                return true;
            }
            let (host, process) = *self.random.pick(&fitting);
            let mid = at_work.contains(&host.as_str());
            let whole = |other: &&&(String, Process)| target == Target::WholeUnit && other.0 == *host && other.1.unit == process.unit;
            let mut victims: Vec<&Process> = fitting.iter().filter(whole).map(|(_, other)| other).collect();
            if victims.is_empty() {
                victims.push(process);
            }
            if victims.into_iter().filter(|victim| processes::kill(victim)).count() > 0 {
                self.note(target, mid, format!("{host}: {}", process.command));
                return true;
            }
        }
        false
    }

    fn server(&mut self, fleet: &mut Fleet, mid: bool) {
        fleet.kill_server();
        self.note(Target::Server, mid, "server".to_owned());
        std::thread::sleep(Duration::from_millis(self.random.below(DEAD_MS_MAX)));
        fleet.start_server();
    }

    fn note(&mut self, target: Target, mid: bool, what: String) {
        let (kills, mids) = self.tally.entry(target).or_default();
        (*kills, *mids) = (*kills + 1, *mids + u32::from(mid));
        let what: String = what.chars().take(160).collect();
        self.story.push(format!("{target:?}{}: {what}", if mid { " mid-transaction" } else { "" }));
    }

    /// The table.
    pub fn print(&self, ends: &BTreeMap<String, u32>, took: Duration) {
        println!("\n{:<28} {:>5} {:>16}", "killed", "kills", "mid-transaction");
        for (target, (kills, mid)) in &self.tally {
            println!("{:<28} {kills:>5} {mid:>16}", format!("{target:?}"));
        }
        println!("{:<28} {:>5} {:>16}", "all", self.kills(), self.mid_transaction());
        println!("hosts ended: {ends:?}; {} s; seed {}", took.as_secs(), self.seed);
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this run: {SEED}={}, {} kills:\n  {}", self.seed, self.kills(), self.story.join("\n  "));
        }
    }
}
