//! What Fother promises about trust, on real hosts: a server with every key but no approvers, tampered files, a hostile package. Root only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod fleet;
mod hostile;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signer as _, SigningKey};
use fleet::{Fleet, QUICK_WAIT, Setup};
use fother_core::{
    Digest,
    approval::{AUTHOR_NAMESPACE, NAMESPACE, Statement},
    directive::{Directive, IndexPin, Order, SignedDirective, sign},
    id::{HostId, TransactionId},
    plan::{Cohort, CohortTree, Place, Plan},
    protocol::Outcome,
    rehearsal::Rehearsal,
};
use fother_host::manifest::{Manifest, Options, Strictness};
use fother_lab::{GATEWAY, SiteVersion};
use hostile::{Evil, now};
use serde_json::{Value, json};
use ssh_key::{HashAlg, LineEnding, PrivateKey};
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// The tree that counts, and what dpkg and apt's cache hold.
fn tree(fleet: &Fleet, host: &str) -> (Manifest, String) {
    let skip = ["/proc/**", "/sys/**"].map(str::to_owned).into();
    let tree = Manifest::take(&fleet.root(host), &Options { one_file_system: false, skip, ..Options::default() }).unwrap();
    let status = "dpkg-query -W -f '${Package} ${Version} ${Status}\\n'; ls -R /var/cache/apt/archives; dpkg --audit";
    (tree, fleet.run_on(host, &["sh", "-c", status]))
}

fn unchanged(fleet: &Fleet, host: &str, before: &(Manifest, String)) {
    let after = tree(fleet, host);
    assert_eq!(before.0.diff(&after.0, Strictness::Tree), [], "nothing on the host may have changed");
    assert_eq!(before.1, after.1);
}

/// What the executor wrote into the host's journal.
fn journal(fleet: &Fleet, host: &str) -> String {
    fleet.run_on(host, &["journalctl", "--no-pager", "-o", "cat", "-u", "fother-executor"])
}

/// What the host reported to its honest server, as the log holds it.
fn reported(fleet: &Fleet) -> Vec<Value> {
    let events = fleet.events().into_iter().filter(|event| event["type"] == "host.reported");
    events.map(|event| event["data"]["report"]["outcome"].clone()).collect()
}

fn wait_for_report(fleet: &Fleet, said: &str) {
    fleet.wait(&format!("an event that says `{said}`"), QUICK_WAIT, || {
        reported(fleet).iter().any(|outcome| outcome.to_string().contains(said))
    });
}

/// The newest directive of a kind, as the server keeps it.
fn newest(fleet: &Fleet, order: &str) -> SignedDirective {
    let state = fleet.state();
    let issued = state["directives"].as_object().unwrap().values().filter(|issued| issued["order"] == order);
    let newest = issued.max_by_key(|issued| issued["sequence"].as_u64()).unwrap();
    serde_json::from_value(fleet.get(&format!("/api/v1/blobs/{}", newest["blob"].as_str().unwrap().trim_start_matches("sha256:"))).unwrap())
        .unwrap()
}

/// Hands a directive to the executor as the network half would; it runs as that user, on the host.
fn hand_over(fleet: &Fleet, host: &str, signed: &SignedDirective) -> String {
    let request = json!({"ask": "directive", "signed": signed}).to_string();
    let script = "import socket,struct,sys; s=socket.socket(socket.AF_UNIX); s.connect('/run/fother/executor.sock'); b=sys.stdin.buffer.read(); \
        s.sendall(struct.pack('>I',len(b))+b); n=struct.unpack('>I',s.recv(4))[0]; print(s.recv(n).decode())";
    let argv = ["runuser", "-u", "fother-agent", "--", "python3", "-c", script];
    let output = fother_lab::exec(&fleet.name, host, &argv, request.as_bytes()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn person(fleet: &Fleet, name: &str) -> PrivateKey {
    PrivateKey::read_openssh_file(Path::new(&fleet.key(name))).unwrap()
}

fn signature(key: &PrivateKey, namespace: &str, statement: &[u8]) -> String {
    key.sign(namespace, HashAlg::Sha512, statement).unwrap().to_pem(LineEnding::LF).unwrap()
}

fn approval(key: &PrivateKey, statement: &[u8]) -> String {
    signature(key, NAMESPACE, statement)
}

#[test]
fn bad_directives_and_tampered_files_are_refused_and_a_stolen_server_installs_nothing() {
    let mut fleet = Fleet::up(&Setup { hosts: 1, ..Setup::quick("hostilekeys") });
    let host = fleet.web[0].name.clone();
    fleet.publish(SiteVersion::Good);
    let plan = fleet.rehearsed_plan();
    let before = tree(&fleet, &host);
    an_honest_server_hears_what_was_refused(&fleet, &host);
    unchanged(&fleet, &host, &before);
    a_file_that_the_cache_altered_is_not_installed(&fleet, &host, &plan);
    unchanged(&fleet, &host, &before);
    let stolen = Stolen::take(&fleet, &host, &plan);
    fleet.kill_server();
    let at = format!("{GATEWAY}:7443");
    let mut evil = Evil::take_over(&fleet.name, &at, &fleet.data_dir(), &fleet.path("cache"), stolen.host);
    every_bad_directive_has_its_reason(&mut evil, &stolen);
    approvals_cannot_be_made_up(&fleet, &mut evil, &stolen);
    an_approved_package_is_nothing_but_itself(&fleet, &mut evil, &stolen);
    limits_of_the_host_hold_whatever_is_approved(&fleet, &mut evil, &stolen);
    archives_of_strangers_count_for_nothing(&mut evil, &stolen);
    undo_is_no_way_in(&mut evil);
    unchanged(&fleet, &host, &before);
    let log = journal(&fleet, &host);
    for said in [
        "directive refused",
        "0 of 1 approvals",
        "another plan was approved",
        "forbids downgrades",
        "forbids removals",
        "unknown key",
        "delivered with other bytes",
    ] {
        assert!(log.contains(said), "the host's own journal does not say `{said}`");
    }
    with_enough_approvers_it_is_installed_and_undone_within_its_deadline_only(&fleet, &mut evil, &stolen, &before);
}

fn an_honest_server_hears_what_was_refused(fleet: &Fleet, host: &str) {
    let genuine = newest(fleet, "rehearse");
    assert!(hand_over(fleet, host, &genuine).contains("replayed"));
    let altered = SignedDirective { directive: genuine.directive.replace("\"bisect\":false", "\"bisect\":true"), ..genuine };
    assert!(hand_over(fleet, host, &altered).contains("the signature does not fit"));
    wait_for_report(fleet, "replayed");
    wait_for_report(fleet, "signature");
    let state = fleet.state();
    let refusals = state["hosts"][fleet.id(&state, host)]["refusals"].to_string();
    assert!(refusals.contains("replayed: sequence") && refusals.contains("does not fit"), "{refusals}");
}

fn a_file_that_the_cache_altered_is_not_installed(fleet: &Fleet, host: &str, plan: &str) {
    let change = fleet.approved(plan);
    let rehearsal: Rehearsal = serde_json::from_value(fleet.rehearsals(plan).remove(0)).unwrap();
    let deb = rehearsal.changes[0].offer.as_ref().unwrap().sha256.hex();
    let cached = fleet.path("cache").join("sha256").join(&deb);
    let good = fs::read(&cached).unwrap();
    let mut bad = good.clone();
    let middle = bad.len() / 2;
    bad[middle] ^= 1;
    fs::write(&cached, bad).unwrap();
    // The host has rehearsed with the good file; another one of its cohort would have to fetch it.
    fleet.run_on(host, &["rm", &format!("/var/lib/fother/agent/store/{deb}")]);
    let rollout = fleet.start(&change);
    wait_for_report(fleet, "delivered with other bytes");
    fleet.wait("the end of the rollout", QUICK_WAIT, || !fleet.state()["rollouts"][&rollout]["ended"].is_null());
    let phase = fleet.state()["rollouts"][&rollout]["hosts"].to_string();
    assert!(phase.contains("tampered or damaged on the way"), "{phase}");
    fs::write(&cached, good).unwrap();
}

/// What a thief finds: everything of a rehearsed plan.
struct Stolen {
    host: HostId,
    plan_digest: Digest,
    plan: Plan,
    cohort: Cohort,
    cohort_digest: Digest,
    rehearsal: Rehearsal,
    rehearsal_digest: Digest,
    place: Place,
    statement: Statement,
    /// The author is on the thief's side.
    author: PrivateKey,
}

impl Stolen {
    fn take(fleet: &Fleet, host: &str, plan: &str) -> Self {
        let state = fleet.state();
        let blob =
            |digest: &Value| fleet.get(&format!("/api/v1/blobs/{}", digest.as_str().unwrap().trim_start_matches("sha256:"))).unwrap();
        let directive: Directive = serde_json::from_str(&newest(fleet, "rehearse").directive).unwrap();
        let Order::Rehearse { plan: plan_digest, cohort: cohort_digest, place, .. } = directive.order else { panic!() };
        let change = state["changes"].as_object().unwrap().values().find(|change| change["plan"] == plan).unwrap().clone();
        let rehearsal_digest = state["plans"][plan]["cohorts"][cohort_digest.to_string()]["rehearsal"][0].clone();
        Self {
            host: fleet.id(&state, host).parse().unwrap(),
            plan: serde_json::from_value(blob(&json!(plan))).unwrap(),
            cohort: serde_json::from_value(blob(&json!(cohort_digest.to_string()))).unwrap(),
            rehearsal: serde_json::from_value(blob(&rehearsal_digest)).unwrap(),
            rehearsal_digest: rehearsal_digest.as_str().unwrap().parse().unwrap(),
            statement: serde_json::from_value(blob(&change["statement"])).unwrap(),
            plan_digest,
            cohort_digest,
            place,
            author: person(fleet, "author"),
        }
    }

    fn order(&self, evil: &Evil, txn: TransactionId, statement: &str, approvals: Vec<String>) -> Order {
        let name = Digest::of_kind("statement", statement.as_bytes());
        evil.serve(name, statement.as_bytes());
        Order::Apply {
            txn,
            plan: self.plan_digest,
            cohort: self.cohort_digest,
            place: self.place.clone(),
            rehearsal: self.rehearsal_digest,
            statement: name,
            author: signature(&self.author, AUTHOR_NAMESPACE, statement.as_bytes()),
            approvals,
            standing: false,
        }
    }

    /// The plan with another cohort, and everything that hangs on it renamed, as a thief would do it.
    fn bent(&self, evil: &Evil, bend: impl FnOnce(&mut Cohort)) -> Self {
        let (mut cohort, mut rehearsal, mut plan, mut statement) =
            (self.cohort.clone(), self.rehearsal.clone(), self.plan.clone(), self.statement.clone());
        bend(&mut cohort);
        rehearsal.changes.clone_from(&cohort.changes);
        let (cohort_digest, rehearsal_digest) = (evil.forge("cohort", &cohort), evil.forge("rehearsal", &rehearsal));
        let cohorts = [cohort_digest].into();
        plan.cohorts = CohortTree::over(&cohorts);
        let place = CohortTree::place(&cohorts, &cohort_digest).unwrap();
        let plan_digest = evil.forge("plan", &plan);
        statement.plan = plan_digest;
        statement.rehearsals = BTreeMap::from([(cohort_digest, rehearsal_digest)]);
        let (host, author) = (self.host, self.author.clone());
        Self { host, plan_digest, plan, cohort, cohort_digest, rehearsal, rehearsal_digest, place, statement, author }
    }
}

fn txn(number: u8) -> TransactionId {
    TransactionId::new(now().ms(), [number; 10])
}

fn text(statement: &Statement) -> String {
    String::from_utf8(statement.bytes().unwrap()).unwrap()
}

fn apply(evil: &mut Evil, what: &Stolen, txn: TransactionId, statement: &str, approvals: Vec<String>) -> Outcome {
    let order = what.order(evil, txn, statement, approvals);
    evil.order(order)
}

/// Why a directive was not acted on.
fn why(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused { why } => why.to_string(),
        Outcome::NotApproved { why } => why.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn assert_says(outcome: Outcome, said: &str) {
    let why = why(outcome);
    assert!(why.contains(said), "`{why}` does not say `{said}`");
}

fn every_bad_directive_has_its_reason(evil: &mut Evil, stolen: &Stolen) {
    let resolve = || Order::Resolve { pins: stolen.plan.pins.clone(), exclude: Vec::new() };
    let good = evil.directive(resolve());
    let signed = |directive: &Directive, evil: &Evil| sign(directive, &evil.key).unwrap();
    let altered = SignedDirective { directive: signed(&good, evil).directive.replace("resolve", "resolvf"), ..signed(&good, evil) };
    assert_says(evil.send(altered, None), "altered, or not from this server's directive key");
    let foreign = sign(&Directive { sequence: good.sequence + 1, ..good.clone() }, &SigningKey::from_bytes(&[9; 32])).unwrap();
    assert_says(evil.send(foreign, None), "altered, or not from this server's directive key");
    let other = Directive { host: HostId::new(1, [9; 10]), ..good.clone() };
    assert_says(evil.send(signed(&other, evil), Some(other.id)), "not for this host");
    let late = Directive { expires: now(), ..good.clone() };
    assert_says(evil.send(signed(&late, evil), Some(late.id)), "expired at");
    let early = Directive { issued: now() + Duration::from_secs(3600), ..good.clone() };
    assert_says(evil.send(signed(&early, evil), Some(early.id)), "ahead of this host's clock");
    let old = Directive { sequence: 1, ..good.clone() };
    assert_says(evil.send(signed(&old, evil), Some(old.id)), "replayed: sequence 1");
    let shell = signed(&good, evil).directive.replace("\"resolve\"", "\"shell\"");
    let signature = evil.key.sign(&[b"fother/directive/v1\n", shell.as_bytes()].concat());
    let shell = SignedDirective { directive: shell, signature: STANDARD.encode(signature.to_bytes()) };
    assert_says(evil.send(shell, None), "unknown or malformed directive");
    let large = Directive { order: Order::Undo { txn: txn(1), reason: "x".repeat(1 << 20) }, ..good.clone() };
    assert_says(evil.send(signed(&large, evil), None), "larger than");
}

fn approvals_cannot_be_made_up(fleet: &Fleet, evil: &mut Evil, stolen: &Stolen) {
    let (author, approver) = (person(fleet, "author"), person(fleet, "approver"));
    let genuine = text(&stolen.statement);
    evil.asked();
    assert_says(apply(evil, stolen, txn(1), &genuine, Vec::new()), "0 of 1 approvals");
    let own = approval(&author, genuine.as_bytes());
    assert_says(apply(evil, stolen, txn(2), &genuine, vec![own.clone(), own]), "author is the author");
    let stranger = PrivateKey::from(ssh_key::private::Ed25519Keypair::from_seed(&[7; 32]));
    assert_says(apply(evil, stolen, txn(3), &genuine, vec![approval(&stranger, genuine.as_bytes())]), "belongs to nobody");
    let signature = approval(&approver, genuine.as_bytes());
    let mut altered = stolen.statement.clone();
    altered.expires = altered.expires + Duration::from_secs(1);
    assert_says(apply(evil, stolen, txn(4), &text(&altered), vec![signature.clone()]), "does not fit this statement");
    let mut signed_for = |bend: &dyn Fn(&mut Statement), said: &str| {
        let mut other = stolen.statement.clone();
        bend(&mut other);
        let other = text(&other);
        let approvals = vec![approval(&approver, other.as_bytes())];
        assert_says(apply(evil, stolen, txn(5), &other, approvals), said);
    };
    signed_for(&|other| other.plan = Digest::of_file(b"another"), "another plan was approved");
    signed_for(&|other| other.rehearsals.values_mut().for_each(|digest| *digest = Digest::of_file(b"x")), "another rehearsal");
    signed_for(&|other| other.hosts = [HostId::new(1, [9; 10])].into(), "this host is not among the approved ones");
    signed_for(&|other| other.expires = now(), "the approval has expired");
    let asked = evil.asked();
    assert!(
        [stolen.plan_digest, stolen.cohort_digest, stolen.rehearsal_digest].iter().all(|digest| !asked.contains(&digest.hex())),
        "an order that nobody approved makes the host fetch its statement and nothing else: {asked:?}"
    );
}

/// Other bytes under the name of the approved package, which the host does not have yet.
fn an_approved_package_is_nothing_but_itself(fleet: &Fleet, evil: &mut Evil, stolen: &Stolen) {
    let approver = person(fleet, "approver");
    let offer = stolen.cohort.changes[0].offer.as_ref().unwrap();
    let files: Vec<Digest> =
        stolen.plan.pins.iter().flat_map(|pin| pin.indexes.iter().map(|(_, digest)| *digest).chain([pin.inrelease])).collect();
    evil.serve_stolen(&[], &files);
    let genuine = text(&stolen.statement);
    let approvals = vec![approval(&approver, genuine.as_bytes())];
    evil.serve_stolen(&[stolen.plan_digest, stolen.cohort_digest, stolen.rehearsal_digest], &[]);
    evil.serve(offer.sha256, b"!<arch>\nnot what anybody signed");
    assert_says(apply(evil, stolen, txn(8), &genuine, approvals.clone()), "delivered with other bytes");
    evil.serve(offer.sha256, &vec![0; usize::try_from(offer.size).unwrap() + 9]);
    assert_says(apply(evil, stolen, txn(9), &genuine, approvals), "is larger than the");
}

fn limits_of_the_host_hold_whatever_is_approved(fleet: &Fleet, evil: &mut Evil, stolen: &Stolen) {
    let approver = person(fleet, "approver");
    let downgrade = stolen.bent(evil, |cohort| {
        let change = &mut cohort.changes[0];
        change.to = Some("0.9".parse().unwrap());
    });
    let removal = stolen.bent(evil, |cohort| {
        let change = &mut cohort.changes[0];
        (change.to, change.offer) = (None, None);
    });
    let offer = stolen.cohort.changes[0].offer.as_ref().unwrap();
    let files: Vec<Digest> =
        stolen.plan.pins.iter().flat_map(|pin| pin.indexes.iter().map(|(_, digest)| *digest).chain([pin.inrelease])).collect();
    evil.serve_stolen(&[], &files);
    evil.serve_stolen(&[], &[offer.sha256]);
    for (bent, said) in [(downgrade, "forbids downgrades"), (removal, "forbids removals")] {
        let statement = text(&bent.statement);
        assert_says(apply(evil, &bent, txn(6), &statement, Vec::new()), "0 of 1 approvals");
        let approvals = vec![approval(&approver, statement.as_bytes())];
        assert_says(apply(evil, &bent, txn(7), &statement, approvals), said);
    }
}

fn archives_of_strangers_count_for_nothing(evil: &mut Evil, stolen: &Stolen) {
    let (gpg, index) = (hostile::gpg::Gpg::new(), b"Package: lab-site\nVersion: 9\n\n");
    let key = gpg.key("stranger", "ed25519", "sign", "never", None);
    let release = format!(
        "Origin: Fother-Lab\nSuite: lab\nCodename: lab\nDate: {}\nSHA256:\n {} {} main/binary-amd64/Packages\n",
        hostile::release_date(),
        Digest::of_file(index).hex(),
        index.len()
    );
    let inrelease = gpg.clearsign(&key, &release);
    let (inrelease_digest, index_digest) = (Digest::of_file(&inrelease), Digest::of_file(index));
    evil.serve(inrelease_digest, &inrelease);
    evil.serve(index_digest, index);
    let known = &stolen.plan.pins[0];
    let forged =
        IndexPin { inrelease: inrelease_digest, indexes: vec![("main/binary-amd64/Packages".to_owned(), index_digest)], ..known.clone() };
    assert_says(evil.order(Order::Resolve { pins: vec![forged.clone()], exclude: Vec::new() }), "refused: unknown key");
    let elsewhere = IndexPin { uri: "http://203.0.113.1/debian".to_owned(), ..forged.clone() };
    assert_says(evil.order(Order::Resolve { pins: vec![elsewhere.clone()], exclude: Vec::new() }), "none of the pinned archives");
    for (pin, said) in [(forged, "refused: unknown key"), (elsewhere, "none of the pinned archives")] {
        let mut plan = stolen.plan.clone();
        plan.pins = vec![pin];
        let (plan, cohort, place) = (evil.forge("plan", &plan), stolen.cohort_digest, stolen.place.clone());
        evil.serve_stolen(&[], &[stolen.cohort.changes[0].offer.as_ref().unwrap().sha256]);
        assert_says(evil.order(Order::Rehearse { plan, cohort, place, bisect: false, attest: false }), said);
    }
}

fn undo_is_no_way_in(evil: &mut Evil) {
    assert_says(evil.order(Order::Undo { txn: txn(77), reason: "mine".to_owned() }), "is no transaction of this host");
}

fn with_enough_approvers_it_is_installed_and_undone_within_its_deadline_only(
    fleet: &Fleet,
    evil: &mut Evil,
    stolen: &Stolen,
    before: &(Manifest, String),
) {
    let host = &fleet.web[0].name;
    let mut statement = stolen.statement.clone();
    statement.undo_until = now();
    let statement = text(&statement);
    let approvals = vec![approval(&person(fleet, "approver"), statement.as_bytes())];
    let id = txn(10);
    let outcome = apply(evil, stolen, id, &statement, approvals.clone());
    assert!(matches!(outcome, Outcome::Verified { .. }), "{outcome:?}");
    assert_eq!(fleet.run_on(host, &["dpkg-query", "-W", "-f", "${Version}", "lab-site"]), SiteVersion::Good.version());
    // The same transaction again, in a new directive: what became of it is said again, and nothing is done twice.
    let written = || fleet.run_on(host, &["sha256sum", "/var/log/dpkg.log"]);
    let log = written();
    let again = apply(evil, stolen, id, &statement, approvals);
    assert_eq!(again, outcome);
    assert_eq!(written(), log, "dpkg did something");
    assert_says(evil.order(Order::Undo { txn: id, reason: "mine".to_owned() }), "covered an undo of");
    assert_eq!(fleet.run_on(host, &["dpkg-query", "-W", "-f", "${Version}", "lab-site"]), SiteVersion::Good.version());
    let undone = fleet.run_on(host, &["/usr/local/bin/fother", "agent", "undo", &id.to_string()]);
    assert!(undone.contains("no difference"), "{undone}");
    unchanged(fleet, host, before);
}

/// What the hostile package wrote down about its attempts, read from outside while its clone ran.
fn attempts(fleet: &Fleet, host: &str, plan: &str) -> (std::process::Output, BTreeMap<String, String>) {
    let work = fleet.root(host).join("var/lib/fother/agent/rehearse");
    let mut seen = BTreeMap::new();
    std::thread::scope(|scope| {
        let rehearsal = scope.spawn(|| fleet.try_cli(&["plan", "rehearse", plan, "--no-bisect"]));
        while !rehearsal.is_finished() {
            let mut logs = Vec::new();
            find(&work, "escape.log", &mut logs);
            let lines = logs
                .iter()
                .filter_map(|log| fs::read_to_string(log).ok())
                .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
            seen.extend(lines.filter_map(|line| line.split_once(": ").map(|(name, what)| (name.to_owned(), what.to_owned()))));
            std::thread::sleep(Duration::from_millis(200));
        }
        (rehearsal.join().unwrap(), seen)
    })
}

fn find(dir: &Path, name: &str, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // Upper layers hold what was written; the merged trees would be walked twice and whole.
        let file = entry.file_name();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && file != "merged" && file != "earlier" {
            find(&entry.path(), name, found);
        } else if file == name {
            found.push(entry.path());
        }
    }
}

/// What of this machine a breakout would change.
fn machine() -> BTreeMap<&'static str, String> {
    let output = |script: &str| {
        let output = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    BTreeMap::from([
        ("devices", output("find /dev -xdev \\( -type b -o -type c \\) -printf '%p %y %M\\n' | sort")),
        ("core pattern", output("cat /proc/sys/kernel/core_pattern")),
        ("sysrq", output("dmesg | grep -ci 'sysrq: HELP'")),
        ("loop7", output("head -c 512 /dev/loop7 2>&1 | sha256sum")),
    ])
}

/// Processes of this machine that belong to a rehearsal of the lab's host.
fn strays() -> Vec<String> {
    let pids = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let of_lab = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|group| group.contains("hostilepackage") && group.contains("fother-rehearsal"))
    };
    pids.filter(of_lab).filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()).collect()
}

#[test]
fn the_hostile_package_gets_nowhere_from_its_rehearsal() {
    let fleet = Fleet::up(&Setup { hosts: 1, ..Setup::quick("hostilepackage") });
    let host = fleet.web[0].name.clone();
    fleet.publish(SiteVersion::Hostile);
    let plan = fleet.json(&["plan", "new", fleet::GROUP])["digest"].as_str().unwrap().to_owned();
    let (before, outside) = (tree(&fleet, &host), machine());
    let (output, attempts) = attempts(&fleet, &host, &plan);
    let rehearsal = fleet.rehearsals(&plan).remove(0);
    eprintln!("{}: the verdict of a package that only tries; its attempts: {attempts:?}", rehearsal["verdict"]);
    assert!(output.status.code().is_some_and(|code| [0, 1, 3].contains(&code)), "{output:?}");
    let names = ["mknod", "write-device", "mknod-memory", "remount-root", "bind-mount", "sysrq", "kernel-setting", "network", "kernel-log"];
    assert!(names.iter().all(|name| attempts.contains_key(*name)), "{attempts:?}");
    // A fork bomb is not refused but held within the clone's limit of processes.
    let done: Vec<&str> = attempts.iter().filter(|(_, what)| *what != "refused").map(|(name, _)| name.as_str()).collect();
    assert!(done.iter().all(|name| *name == "fork-bomb"), "{attempts:?}");
    unchanged(&fleet, &host, &before);
    assert_eq!(machine(), outside);
    assert_eq!(strays(), [""; 0]);
}
