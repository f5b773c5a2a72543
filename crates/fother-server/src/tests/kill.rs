//! Kill -9 of a real server process in the middle of a rollout: nothing is lost, nothing is sent twice.

use super::{
    door::options,
    fleet::{Host, ask, canned, client, enrolled, open, started},
};
use crate::run_with;
use fother_core::{Digest, event::Event, id::RolloutId, protocol::CheckInAnswer, rollout::End, state::State};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

const DIR: &str = "FOTHER_SERVER_KILL_DIR";
/// Kills while the rollout runs; one more afterwards, where it ended before the last.
const KILLS: u32 = 20;
const HOSTS: usize = 10;
/// Longest time that the whole test may take.
const PATIENCE: Duration = Duration::from_secs(240);

/// The server that is killed: says where it listens, then serves until then.
#[test]
#[ignore = "the child of the test below"]
fn child() {
    let dir = std::env::var_os(DIR).expect("started by the test below only");
    let dir = Path::new(&dir);
    let options = options(dir);
    println!("\nlistening {}", options.agent_listener.local_addr().unwrap());
    run_with(options, canned(dir), std::future::pending()).unwrap();
}

fn spawn(dir: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "tests::kill::child", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let at = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening ")?.parse().ok());
    (child, at.expect("the child says where it listens"))
}

/// One check-in of a scripted host; an error where the server died meanwhile.
fn turn(at: SocketAddr, host: &mut Host) -> std::io::Result<()> {
    let tls = client(&host.enrolled.ca, Some((&host.enrolled.certificate, &host.key)));
    let body = serde_json::to_vec(&host.check_in()).unwrap();
    let (status, _, body) = ask(at, &tls, "POST /agent/v1/check-in", &body)?;
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    let answer: CheckInAnswer = serde_json::from_slice(&body).map_err(std::io::Error::other)?;
    for (kind, bytes) in host.take(&answer) {
        let hex = Digest::of_kind(kind, &bytes).hex();
        ask(at, &tls, &format!("PUT /agent/v1/blobs/{kind}/{hex}"), &bytes)?;
    }
    Ok(())
}

fn folded(dir: &Path) -> State {
    let store = fother_store::Store::open_read_only(&dir.join("data")).unwrap();
    let mut state = State::default();
    store.read(0, 100_000).unwrap().iter().for_each(|(seq, bytes)| state.fold(&Event::parse(*seq, bytes).unwrap()));
    state
}

#[test]
fn a_server_that_is_killed_again_and_again_finishes_its_rollout_and_repeats_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, woken) = open(dir.path());
    let mut hosts = enrolled(&engine, HOSTS);
    let rollout: RolloutId = started(&engine, &mut hosts);
    drop((engine, woken));
    let (began, mut kills, mut random) = (Instant::now(), 0, 0x5eed_u64);
    let mut sizes = Vec::new();
    while folded(dir.path()).rollouts[&rollout].ended.is_none() {
        assert!(began.elapsed() < PATIENCE, "the rollout did not end after {kills} kills");
        let (mut server, at) = spawn(dir.path());
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Killed after a few answers, with the next request under way: how fast the machine is does not matter.
        let (answers, wait) = ((random >> 33) % 5, Duration::from_micros((random >> 40) % 4_000));
        let mut next = usize::try_from(random >> 50).unwrap();
        for _ in 0..answers {
            turn(at, &mut hosts[next % HOSTS]).unwrap();
            next += 1;
        }
        let killer = std::thread::spawn(move || {
            std::thread::sleep(wait);
            server.kill().unwrap();
            server.wait().unwrap()
        });
        let _ = turn(at, &mut hosts[next % HOSTS]);
        let status = killer.join().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9), "{status}");
        kills += 1;
        sizes.push(folded(dir.path()).size);
    }
    assert!(kills > KILLS && sizes.is_sorted(), "{kills} kills: {sizes:?}");
    let state = folded(dir.path());
    assert_eq!(state.rollouts[&rollout].ended, Some(End::Completed));
    let mut applies = BTreeMap::new();
    state.directives.values().filter(|issued| issued.order == "apply").for_each(|issued| *applies.entry(issued.host).or_insert(0) += 1);
    assert!(applies.len() == HOSTS && applies.values().all(|count| *count == 1), "{applies:?}");
    assert!(hosts.iter().all(|host| host.done.values().eq([&1])));
    let (engine, _woken) = open(dir.path());
    assert_eq!(engine.state().rollouts, state.rollouts);
    let key = engine.identity.log_verifier().unwrap();
    assert!(fother_store::verify(&dir.path().join("data"), &engine.checkpoint(), &key).unwrap().ok());
}
