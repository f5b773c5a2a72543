//! Three replicas over one PostgreSQL in the middle of a rollout, over real mutual TLS: killed, cut off, their database crashed, twenty
//! times. Nothing twice, nothing lost, the budget held, the log verifies, every host settled.

use super::{
    door::options,
    fleet::{Host, ask, canned, client, enrolled, policy, started, trust},
    relay::Relay,
};
use crate::{Identity, ServerOptions, engine::Engine, run_with};
use fother_core::{
    Digest,
    event::{Data, Event},
    id::{HostId, RolloutId},
    protocol::{CheckInAnswer, Outcome},
    rollout::End,
    state::State,
};
use fother_store::{Place, Store};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

#[path = "../../../fother-store/tests/servers/postgres.rs"]
mod postgres;

const DIR: &str = "FOTHER_REPLICA_DIR";
const STORE: &str = "FOTHER_REPLICA_STORE";
const BLOBS: &str = "FOTHER_REPLICA_BLOBS";
const SEED: &str = "FOTHER_REPLICA_SEED";
const REPLICAS: usize = 3;
const HOSTS: usize = 14;
/// Disturbances, and check-ins that are tried after each.
const BLOWS: usize = 20;
const TURNS: usize = 4;
/// Of the policy: hosts of the group that may be out of service.
const BUDGET: usize = 3;
/// How long a replica is cut off from the database.
const CUT: Duration = Duration::from_millis(2_500);
/// Longest time that the whole may take.
const PATIENCE: Duration = Duration::from_secs(230);

/// A replica: says where it listens, then serves until it is killed.
#[test]
#[ignore = "the child of the test below"]
fn replica() {
    let dir = PathBuf::from(std::env::var_os(DIR).expect("started by the test below only"));
    let (store, blobs) = (std::env::var(STORE).unwrap(), std::env::var(BLOBS).unwrap());
    let place = Place::new(Some(&store), Some(&blobs), BTreeMap::new()).unwrap();
    let options = ServerOptions { place, ..options(&dir) };
    println!("\nlistening {}", options.agent_listener.local_addr().unwrap());
    run_with(options, canned(&dir), std::future::pending()).unwrap();
}

/// Random numbers that a seed repeats.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// One replica and how it reaches the database.
struct Replica {
    dir: PathBuf,
    store: String,
    blobs: String,
    running: Option<(Child, SocketAddr)>,
}

impl Replica {
    fn start(&mut self) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "tests::replicas::replica", "--nocapture"])
            .env(DIR, &self.dir)
            .env(STORE, &self.store)
            .env(BLOBS, &self.blobs)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let at = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ")?.parse().ok());
        self.running = Some((child, at.expect("the child says where it listens")));
    }

    fn kill(&mut self) {
        if let Some((mut child, _)) = self.running.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One check-in at one replica; false where it could not be had there.
fn turn(at: SocketAddr, host: &mut Host) -> bool {
    let tls = client(&host.enrolled.ca, Some((&host.enrolled.certificate, &host.key)));
    let body = serde_json::to_vec(&host.check_in()).unwrap();
    let Ok((200, _, body)) = ask(at, &tls, "POST /agent/v1/check-in", &body) else { return false };
    let answer: CheckInAnswer = serde_json::from_slice(&body).unwrap();
    for (kind, bytes) in host.take(&answer) {
        let hex = Digest::of_kind(kind, &bytes).hex();
        assert!(ask(at, &tls, &format!("PUT /agent/v1/blobs/{kind}/{hex}"), &bytes).is_ok(), "rollouts need no blobs of hosts");
    }
    true
}

fn folded(store: &Store) -> (State, Vec<Event>) {
    let (mut state, mut events) = (State::default(), Vec::new());
    loop {
        let page = store.read(state.size, 1_000).unwrap();
        if page.is_empty() {
            return (state, events);
        }
        for (seq, bytes) in page {
            let event = Event::parse(seq, &bytes).unwrap();
            state.fold(&event);
            events.push(event);
        }
    }
}

/// Most hosts of a rollout that were at work at the same time, as the log tells it.
fn most_at_work(events: &[Event], rollout: RolloutId) -> usize {
    let (mut at_work, mut most) = (BTreeSet::new(), 0);
    let mut orders: BTreeMap<_, HostId> = BTreeMap::new();
    for event in events {
        match &event.data {
            Data::DirectiveIssued { directive, host, order, rollout: of, .. } if order == "apply" && *of == Some(rollout) => {
                orders.insert(*directive, *host);
                at_work.insert(*host);
            }
            Data::HostReported { host, report } if matches!(report.outcome, Outcome::Verified { .. }) => drop(at_work.remove(host)),
            _ => {}
        }
        most = most.max(at_work.len());
    }
    most
}

/// A fleet with a rollout that has just begun, and the replicas that are to carry it out.
fn prepared(dir: &Path, direct: &str, relayed: &str) -> (Vec<Replica>, Vec<Host>, RolloutId, Place) {
    let blobs = dir.join("blobs").display().to_string();
    let place = Place::new(Some(direct), Some(&blobs), BTreeMap::new()).unwrap();
    let data = |number: usize| dir.join(number.to_string()).join("data");
    let (engine, woken) = Engine::open_at(&data(0), &place, policy(), trust(), canned(dir)).unwrap();
    let mut hosts = enrolled(&engine, HOSTS);
    let rollout = started(&engine, &mut hosts);
    drop((engine, woken));
    let replicas = (0..REPLICAS).map(|number| {
        if number > 0 {
            Store::open_at(&data(number), &place).unwrap();
            Identity::copy(&data(0), &data(number)).unwrap();
        }
        std::fs::write(dir.join(number.to_string()).join("package"), b"package").unwrap();
        let store = if number + 1 == REPLICAS { relayed } else { direct }.to_owned();
        Replica { dir: dir.join(number.to_string()), store, blobs: blobs.clone(), running: None }
    });
    (replicas.collect(), hosts, rollout, place)
}

#[test]
fn replicas_that_are_killed_cut_off_and_lose_their_database_twenty_times_finish_a_rollout_and_repeat_nothing() {
    let cluster = match postgres::Cluster::start(&[]) {
        Ok(cluster) => cluster,
        Err(why) => return println!("skipped: {why}"),
    };
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
    println!("seed {seed}; again with {SEED}={seed}");
    let (mut random, began) = (Random(seed), Instant::now());
    let dir = tempfile::tempdir().unwrap();
    let relay = Relay::start(cluster.port);
    let direct = cluster.database();
    let relayed = direct.replace(&format!(":{}/", cluster.port), &format!(":{}/", relay.port));
    let (mut replicas, mut hosts, rollout, place) = prepared(dir.path(), &direct, &relayed);
    let watching = Store::open_read_only_at(dir.path(), &place).unwrap();
    replicas.iter_mut().for_each(Replica::start);
    let (mut blows, mut taken, mut in_the_middle) = (BTreeMap::new(), 0, 0);
    while blows.values().sum::<usize>() < BLOWS {
        in_the_middle += usize::from(folded(&watching).0.rollouts[&rollout].ended.is_none());
        let blow = random.below(3);
        match blow {
            0 => replicas[random.below(REPLICAS)].kill(),
            1 => cluster.crash_and_restart(),
            _ => relay.cut(CUT),
        }
        *blows.entry(["kill -9 of a replica", "crash of PostgreSQL", "replica cut off"][blow]).or_insert(0) += 1;
        for _ in 0..TURNS {
            if let Some((_, at)) = replicas[random.below(REPLICAS)].running {
                taken += usize::from(turn(at, &mut hosts[random.below(HOSTS)]));
            }
        }
        replicas.iter_mut().filter(|replica| replica.running.is_none()).for_each(Replica::start);
    }
    relay.heal();
    let mut next = 0;
    while folded(&watching).0.rollouts[&rollout].ended.is_none() {
        assert!(began.elapsed() < PATIENCE, "seed {seed}: the rollout did not end: {:?}", folded(&watching).0.rollouts[&rollout]);
        next += 1;
        let (_, at) = replicas[next % REPLICAS].running.as_ref().unwrap();
        taken += usize::from(turn(*at, &mut hosts[next % HOSTS]));
    }
    let (state, events) = folded(&watching);
    println!("{blows:?}, {in_the_middle} of them while the rollout ran; {taken} check-ins, {} events, {:?}", state.size, began.elapsed());
    assert!(in_the_middle >= BLOWS / 2, "seed {seed}: the rollout was over too soon");
    let known = &state.rollouts[&rollout];
    assert_eq!(known.ended, Some(End::Completed), "seed {seed}");
    assert!(known.hosts().values().all(|phase| phase.carried().is_some()), "seed {seed}: {:?}", known.hosts());
    for host in &hosts {
        assert!(host.done.values().eq([&1]), "seed {seed}: {} was asked {:?}", host.id, host.done);
        let numbers: Vec<u64> = events
            .iter()
            .filter_map(|event| match &event.data {
                Data::HostReported { host: of, report } if *of == host.id => Some(report.number),
                _ => None,
            })
            .collect();
        assert!(numbers.iter().copied().eq(1..=numbers.len() as u64), "seed {seed}: reports lost or taken twice: {numbers:?}");
    }
    let most = most_at_work(&events, rollout);
    assert!((1..=BUDGET).contains(&most), "seed {seed}: {most} hosts at work at once");
    replicas.iter_mut().for_each(Replica::kill);
    let key = Identity::open_existing(&dir.path().join("0/data")).unwrap().log_verifier().unwrap();
    let note = watching.latest_checkpoint().unwrap().unwrap().1;
    let report = watching.verify(&note, &key).unwrap();
    assert!(report.ok(), "seed {seed}: {report:?}");
}
