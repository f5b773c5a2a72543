//! Kill -9 of any process at any point of rollouts over a real fleet: nothing is lost, done twice or left half-done.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests may panic")]

mod chaos;
mod fleet;

use chaos::{Chaos, Mood, Random};
use fleet::{Fleet, QUICK_WAIT, Setup, processes};
use fother_host::manifest::{Manifest, Options};
use fother_lab::SiteVersion;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Kills that the test is about, at the least.
const KILLS_MIN: u32 = 50;
/// Kills of parts of transactions and undos among them.
const TRANSACTION_KILLS_MIN: u32 = 20;
/// Rollouts, each with its rollback, at the least and at the most.
const ROUNDS: std::ops::RangeInclusive<usize> = 4..=16;
/// Kills in one rollout, and in one rollback: few enough that it ends.
const KILLS_UP: u32 = 9;
const KILLS_DOWN: u32 = 5;
/// Longest rollout or rollback, kills included.
const SETTLE_WAIT: Duration = Duration::from_secs(150);

/// Who is in danger in which round, and whether the canary is spared, so that the later wave is met, too.
const PLAN: [(Mood, bool); 6] = [
    (Mood::Agents, false),
    (Mood::Transactions, false),
    (Mood::Transactions, true),
    (Mood::Everything, false),
    (Mood::Transactions, true),
    (Mood::Everything, true),
];

/// A host exactly as it was before the first rollout, and as the transaction leaves it.
struct Known {
    name: String,
    before: Manifest,
    after: Option<Manifest>,
    upgrades: usize,
}

/// Where one host of a rollout ended: its phase, and why.
type Ends = BTreeMap<String, (String, Value)>;

#[test]
fn killed_anywhere_a_rollout_ends_with_every_host_exactly_before_or_after() {
    let seed = Random::seed();
    let began = Instant::now();
    let mut fleet = Fleet::up(&Setup::quick("kills"));
    fleet.publish(SiteVersion::Good);
    let plan = fleet.rehearsed_plan();
    let mut known: Vec<Known> = fleet
        .web
        .iter()
        .map(|host| Known {
            name: host.name.clone(),
            before: look(&fleet, &host.name),
            after: None,
            upgrades: upgrades(&fleet, &host.name),
        })
        .collect();
    let mut chaos = Chaos::new(seed);
    let mut ends: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..*ROUNDS.end() {
        let enough = chaos.kills() >= KILLS_MIN && chaos.of_transactions() >= TRANSACTION_KILLS_MIN && round >= *ROUNDS.start();
        if enough && ["verified", "rolled-back"].iter().all(|end| ends.contains_key(*end)) {
            break;
        }
        let (mood, spared) = PLAN[round % PLAN.len()];
        let rollout = fleet.start(&fleet.approved(&plan));
        let strikes = Strikes { mood, most: KILLS_UP, from_wave: u64::from(spared) };
        let up = settle(&mut fleet, &mut chaos, &strikes, &rollout, |phase| !["dispatched", "applied"].contains(&phase));
        check(&fleet, &mut known, &rollout, &up);
        println!("round {round} up ({mood:?}): {}", words(&up));
        up.values().for_each(|(phase, _)| *ends.entry(phase.clone()).or_default() += 1);
        if mood == Mood::Agents {
            assert!(up.values().all(|(phase, _)| phase == "verified"), "nobody touched a transaction, yet {up:?}");
        }
        if !up.values().any(|(phase, _)| phase == "verified") {
            continue;
        }
        fleet.roll_back(&rollout);
        let strikes = Strikes { mood: Mood::Undo, most: KILLS_DOWN, from_wave: 0 };
        let down = settle(&mut fleet, &mut chaos, &strikes, &rollout, |phase| !["undoing", "verified"].contains(&phase));
        check(&fleet, &mut known, &rollout, &down);
        println!("round {round} down: {}", words(&down));
        *ends.entry("undone by hand".to_owned()).or_default() += up.values().filter(|(phase, _)| phase == "verified").count() as u32;
    }
    told_once(&fleet);
    chaos.print(&ends, began.elapsed());
    assert!(chaos.kills() >= KILLS_MIN && chaos.of_transactions() >= TRANSACTION_KILLS_MIN, "too few kills: see the table above");
}

fn words(ends: &Ends) -> String {
    ends.iter().map(|(host, (phase, _))| format!("{host} {phase}")).collect::<Vec<_>>().join(", ")
}

/// What is killed during one rollout.
struct Strikes {
    mood: Mood,
    /// At the most.
    most: u32,
    /// Not before this many waves have passed.
    from_wave: u64,
}

/// Kills along until the rollout has ended and every host's phase is one that `settled` takes; where each host ended.
fn settle(fleet: &mut Fleet, chaos: &mut Chaos, strikes: &Strikes, rollout: &str, settled: impl Fn(&str) -> bool) -> Ends {
    let until = Instant::now() + SETTLE_WAIT;
    let mut left = strikes.most;
    loop {
        let state = fleet.state();
        let now = &state["rollouts"][rollout];
        let name = |id: &str| state["hosts"][id]["hostname"].as_str().unwrap().to_owned();
        let hosts = now["hosts"].as_object().unwrap().iter();
        let ends: Ends = hosts.map(|(id, phase)| (name(id), (phase["phase"].as_str().unwrap().to_owned(), phase.clone()))).collect();
        if !now["ended"].is_null() && ends.values().all(|(phase, _)| settled(phase)) {
            return ends;
        }
        let logs = || fleet.web.iter().map(|host| agent_log(fleet, &host.name)).collect::<Vec<_>>().join("\n\n");
        assert!(
            Instant::now() < until,
            "{rollout} did not settle within {} s: {now}\n{}\n{}",
            SETTLE_WAIT.as_secs(),
            fleet.server_log(),
            logs()
        );
        let may = left > 0 && now["waves_passed"].as_u64().unwrap() >= strikes.from_wave;
        if may && chaos.strike(fleet, strikes.mood) {
            left -= 1;
        } else {
            std::thread::sleep(fleet::POLL);
        }
    }
}

/// The whole tree of a host: content, modes, owners, times, attributes, links.
fn look(fleet: &Fleet, host: &str) -> Manifest {
    Manifest::take(&fleet.root(host), &Options::default()).unwrap()
}

/// How often dpkg has ever begun to bring a newer `lab-site`; its log is never taken back.
fn upgrades(fleet: &Fleet, host: &str) -> usize {
    fleet.run_on(host, &["cat", "/var/log/dpkg.log"]).lines().filter(|line| line.contains(" upgrade lab-site:")).count()
}

/// What differs. Times count only against the state before: generated files get the time at which they were made.
fn differences(wanted: &Manifest, now: &Manifest, times: bool) -> Vec<String> {
    let mut wanted = wanted.clone();
    let mut now = now.clone();
    if !times {
        for manifest in [&mut wanted, &mut now] {
            manifest.entries.values_mut().for_each(|seen| (seen.state.mtime_s, seen.state.mtime_ns) = (0, 0));
        }
    }
    wanted.diff(&now, fother_host::manifest::Strictness::Tree).into_iter().map(|(path, what)| format!("{path}: {what}")).collect()
}

/// Every host is exactly before or after, as its phase says; nothing is half-done, and dpkg was asked at most once.
fn check(fleet: &Fleet, known: &mut [Known], rollout: &str, ends: &Ends) {
    for host in known {
        let (phase, whole) = &ends[&host.name];
        let name = host.name.as_str();
        let after = match phase.as_str() {
            "verified" => true,
            "waiting" | "replan" => false,
            "rolled-back" => {
                assert_eq!(whole["exact"], true, "{name} in {rollout}: {whole}");
                false
            }
            other => panic!("{name} ended {other} in {rollout}: {whole}\n{}", agent_log(fleet, name)),
        };
        let version = if after { SiteVersion::Good } else { SiteVersion::First }.version();
        let context = format!("{name} ({phase}) in {rollout}: {whole}");
        assert_eq!(
            fleet.run_on(name, &["dpkg-query", "-W", "-f", "${db:Status-Abbrev}${Version}", "lab-site"]),
            format!("ii {version}"),
            "{context}"
        );
        assert_eq!(fleet.run_on(name, &["dpkg", "--audit"]), "", "{context}");
        let answer = fleet.run_on(name, &["curl", "-s", "--max-time", "5", "http://127.0.0.1/"]);
        assert!(
            answer.contains(&format!("lab-site {version} on {name}")),
            "{context}: the site answers {answer:?}\n{}",
            agent_log(fleet, name)
        );
        let left = processes::of_host(fleet.leader(name));
        assert!(left.iter().all(|process| !process.kind.is_transaction()), "{context}: {left:?}");
        assert!(!fleet.on(name, &["test", "-e", "/run/fother/drain"]).status.success(), "{context}: still out of service");
        let now = look(fleet, name);
        if after {
            let wanted = host.after.get_or_insert_with(|| now.clone());
            assert_eq!(differences(wanted, &now, false), Vec::<String>::new(), "{context}");
        } else {
            assert_eq!(differences(&host.before, &now, true), Vec::<String>::new(), "{context}\n{}", agent_log(fleet, name));
        }
        let upgrades = upgrades(fleet, name);
        let begun = upgrades - host.upgrades;
        assert!(begun <= 1 && (begun == 1 || !after || whole["phase"] != "verified"), "{context}: dpkg began {begun} upgrades");
        host.upgrades = upgrades;
    }
}

fn agent_log(fleet: &Fleet, host: &str) -> String {
    let units = ["-u", "fother-executor", "-u", "fother-agent", "-u", "fother-txn_*", "-u", "fother-undo-*"];
    fleet.run_on(host, &[&["journalctl", "--no-pager", "-q", "-n", "60", "-o", "short-precise"], &units[..]].concat())
}

/// The log verifies; one transaction for each host and rollout; each directive has its one outcome.
fn told_once(fleet: &Fleet) {
    fleet.wait("the end of every directive", QUICK_WAIT, || {
        fleet.state()["directives"].as_object().unwrap().values().all(|issued| !issued["outcome"].is_null())
    });
    let verified = fleet.verify_log();
    assert_eq!(verified["problems"], 0, "{verified}");
    let mut applies: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut ends: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for event in fleet.events() {
        let data = &event["data"];
        match event["type"].as_str().unwrap() {
            "directive.issued" if data["order"] == "apply" => {
                *applies.entry((data["rollout"].to_string(), data["host"].to_string())).or_default() += 1;
            }
            "host.reported" => {
                let outcome = data["report"]["outcome"]["outcome"].as_str().unwrap().to_owned();
                ends.entry(data["report"]["directive"].to_string()).or_default().push(outcome);
            }
            _ => {}
        }
    }
    assert!(applies.values().all(|count| *count == 1), "{applies:?}");
    for (directive, outcomes) in &ends {
        let finals = outcomes.iter().filter(|outcome| !["started", "applied"].contains(&outcome.as_str())).count();
        assert_eq!(finals, 1, "{directive} has the outcomes {outcomes:?}");
        for interim in ["started", "applied"] {
            assert!(outcomes.iter().filter(|outcome| *outcome == interim).count() <= 1, "{directive}: {outcomes:?}");
        }
    }
    println!("{} transactions, {} directives, {} events verified", applies.len(), ends.len(), verified["size"]);
}
