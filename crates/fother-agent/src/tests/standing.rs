//! Standing approvals on a host: one that fits is carried out, and nothing that a stolen server can make of one is.

use super::harness::{Bench, change, log_key, person, txn};
use crate::host::Clock as _;
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, canonical,
    directive::Order,
    id::HostId,
    package::UpdateClass,
    plan::{Cohort, CohortTree, Place, Plan},
    protocol::Outcome,
    rehearsal::{Exercised, Rehearsal, Verdict},
    resolution::PackageChange,
    standing::{AUTHOR_NAMESPACE, NAMESPACE, Standing},
    window::Interval,
};
use ssh_key::{HashAlg, LineEnding};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

const PERMITTED: &str = "[standing]\nclasses = [\"security\"]\n";

fn print(seed: u8) -> String {
    person(seed).public_key().fingerprint(HashAlg::Sha256).to_string()
}

/// The host of the cohort that rehearsed, and its key.
fn rehearser() -> (HostId, SigningKey) {
    (HostId::new(2, [2; 10]), SigningKey::from_bytes(&[11; 32]))
}

fn public(key: &SigningKey) -> String {
    Digest(key.verifying_key().to_bytes()).hex()
}

/// Everything that goes into an order under a standing approval, to be bent by tests.
struct Parts {
    cohort: Cohort,
    plan: Plan,
    rehearsal: Rehearsal,
    vouching: Option<(HostId, SigningKey)>,
    standing: Standing,
    author: u8,
    signers: Vec<u8>,
    namespace: &'static str,
}

/// A security update of an installed package.
fn update() -> PackageChange {
    let mut change = change();
    let offer = change.offer.as_mut().unwrap();
    (offer.label, offer.suite) = ("Debian-Security".to_owned(), "bookworm-security".to_owned());
    change
}

fn good(bench: &Bench) -> Parts {
    let parts = bench.good();
    let now = bench.clock.now();
    let (other, key) = rehearser();
    let mut cohort = parts.cohort;
    cohort.changes = vec![update()];
    let rehearsal =
        Rehearsal { space_bytes: 100, ..Rehearsal::begun(Digest::of_file(b"another host of the cohort"), cohort.changes.clone()) };
    cohort.hosts.insert(other, rehearsal.base);
    let standing = Standing {
        name: "web-security".to_owned(),
        group: "web".to_owned(),
        hosts: BTreeMap::from([(bench.id, public(&SigningKey::from_bytes(&[9; 32]))), (other, public(&key))]),
        classes: BTreeSet::from([UpdateClass::Security]),
        origins: BTreeSet::from(["Debian".to_owned()]),
        packages: 5,
        reboot: false,
        acknowledged: BTreeSet::new(),
        checks: cohort.checks.clone(),
        soak_s: 5,
        config_files: cohort.config_files,
        window: Vec::new(),
        undo_s: 3600,
        author: "carl".to_owned(),
        author_key: print(3),
        from: now - Duration::from_secs(86_400),
        expires: now + Duration::from_secs(30 * 86_400),
    };
    let plan = parts.plan;
    Parts { cohort, plan, rehearsal, vouching: Some((other, key)), standing, author: 3, signers: vec![1], namespace: NAMESPACE }
}

/// The order as a server with all its keys sends it: plan and rehearsal name whatever the parts were bent to.
fn order(bench: &mut Bench, parts: Parts) -> Order {
    let Parts { cohort, mut plan, mut rehearsal, vouching, standing, author, signers, namespace } = parts;
    let digest = cohort.digest().unwrap();
    plan.cohorts = CohortTree::over(&BTreeSet::from([digest]));
    if let Some((host, key)) = vouching {
        rehearsal = rehearsal.attest(host, &key).unwrap();
    }
    let bytes = standing.bytes().unwrap();
    let sign = |seed: u8, namespace| person(seed).sign(namespace, HashAlg::Sha512, &bytes).unwrap().to_pem(LineEnding::LF).unwrap();
    let approvals = signers.iter().map(|seed| sign(*seed, namespace)).collect();
    let author = sign(author, AUTHOR_NAMESPACE);
    for (kind, bytes) in [
        ("plan", canonical::to_vec(&plan).unwrap()),
        ("cohort", canonical::to_vec(&cohort).unwrap()),
        ("rehearsal", canonical::to_vec(&rehearsal).unwrap()),
        ("standing", bytes.clone()),
    ] {
        bench.served.insert(Digest::of_kind(kind, &bytes), bytes);
    }
    Order::Apply {
        txn: txn(1),
        plan: plan.digest().unwrap(),
        cohort: digest,
        place: Place { index: 0, proof: Vec::new() },
        rehearsal: rehearsal.digest().unwrap(),
        statement: Standing::digest_of(&bytes),
        author,
        approvals,
        standing: true,
    }
}

fn permit(bench: &Bench, section: &str) {
    let path = bench.config.etc.join("trust.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{section}")).unwrap();
}

/// Bends a good order, carries it out, and expects one refusal and no act.
fn refused(bend: impl FnOnce(&mut Bench, &mut Parts)) -> String {
    refused_where(PERMITTED, bend)
}

fn refused_where(section: &str, bend: impl FnOnce(&mut Bench, &mut Parts)) -> String {
    let mut bench = Bench::new();
    permit(&bench, section);
    let mut parts = good(&bench);
    bend(&mut bench, &mut parts);
    let order = order(&mut bench, parts);
    let outcomes = bench.carry_out(order);
    assert!(bench.acts().is_empty(), "{:?}", bench.acts());
    match &outcomes[..] {
        [Outcome::Refused { why }] => why.to_string(),
        [Outcome::NotApproved { why }] => why.to_string(),
        [Outcome::Replan { why }] => why.clone(),
        other => panic!("{other:?}"),
    }
}

fn with_change(bend: impl FnOnce(&mut PackageChange)) -> String {
    refused(|_, parts| {
        bend(&mut parts.cohort.changes[0]);
        parts.rehearsal.changes = parts.cohort.changes.clone();
    })
}

#[test]
fn one_that_fits_is_carried_out_and_its_undo_is_covered_from_then_on() {
    let mut bench = Bench::new();
    permit(&bench, PERMITTED);
    let parts = good(&bench);
    let order = order(&mut bench, parts);
    let outcomes = bench.carry_out(order);
    assert!(matches!(outcomes.last(), Some(Outcome::Verified { .. })), "{outcomes:?}");
    assert_eq!(bench.acts(), ["drain", "start", "undrain"]);
    let undone = bench.carry_out(Order::Undo { txn: txn(1), reason: "asked".to_owned() });
    assert!(matches!(undone.last(), Some(Outcome::RolledBack { .. })), "{undone:?}");
}

#[test]
fn a_host_whose_trust_file_says_nothing_permits_none_and_its_limits_hold() {
    assert!(refused_where("", |_, _| ()).contains("has no [standing]"));
    assert!(refused_where("[standing]\nclasses = [\"bugfix\"]\n", |_, _| ()).contains("no standing approval of security"));
    assert!(refused_where("[standing]\nclasses = [\"security\"]\ndays = 30\n", |_, _| ()).contains("at most 30 days"));
    assert!(refused_where("[standing]\nclasses = [\"security\"]\npackages = 4\n", |_, _| ()).contains("at most 4 packages"));
    assert!(refused_where("[standing]\nclasses = [\"security\"]\nrequired = 2\n", |_, _| ()).contains("1 of 2"));
    assert!(refused(|_, parts| parts.standing.reboot = true).contains("no standing approval of reboots"));
}

#[test]
fn signatures_that_are_missing_the_authors_own_strangers_or_for_changes_do_not_count() {
    assert!(refused(|_, parts| parts.signers.clear()).contains("0 of 1"));
    assert!(refused(|_, parts| parts.signers = vec![3]).contains("carl is the author"));
    assert!(refused(|_, parts| parts.signers = vec![77]).contains("belongs to nobody"));
    assert!(refused(|_, parts| parts.namespace = fother_core::approval::NAMESPACE).contains("does not fit"));
    assert!(refused(|_, parts| parts.namespace = AUTHOR_NAMESPACE).contains("does not fit"));
    assert!(refused(|_, parts| parts.author = 1).contains("anna signed"));
}

#[test]
fn other_hosts_and_other_times_are_not_covered() {
    assert!(refused(|bench, parts| drop(parts.standing.hosts.remove(&bench.id))).contains("not among"));
    assert!(refused(|bench, parts| parts.standing.expires = bench.clock.now()).contains("has expired"));
    assert!(refused(|bench, parts| parts.standing.from = bench.clock.now() + Duration::from_secs(1)).contains("does not count yet"));
    let longer = refused(|_, parts| parts.standing.expires = parts.standing.from + Duration::from_secs(91 * 86_400));
    assert!(longer.contains("within 90 days"), "{longer}");
    assert!(
        refused(|bench, parts| {
            let start = bench.clock.now() + Duration::from_secs(60);
            parts.standing.window =
                vec![Interval { start, end: start + Duration::from_secs(9), last_start: start + Duration::from_secs(9) }];
        })
        .contains("outside of the window")
    );
}

#[test]
fn what_an_archive_says_of_itself_decides_on_the_class_whatever_the_plan_says() {
    let other = with_change(|change| {
        let offer = change.offer.as_mut().unwrap();
        (offer.label, offer.suite) = ("Debian".to_owned(), "bookworm".to_owned());
        change.class = UpdateClass::Security;
    });
    assert!(other.contains("enhancement update by its archive"), "{other}");
}

#[test]
fn removals_new_packages_downgrades_and_other_origins_are_never_covered() {
    assert!(with_change(|change| (change.to, change.offer) = (None, None)).contains("removed"));
    assert!(with_change(|change| change.from = None).contains("would be new"));
    let older = with_change(|change| change.from = Some("3.0".parse().unwrap()));
    assert!(older.contains("would go back to 2.0; this host forbids downgrades"), "{older}");
    assert!(with_change(|change| change.offer.as_mut().unwrap().origin = "Evil".to_owned()).contains("comes from `Evil`"));
    let many = refused(|_, parts| {
        let more = |n: u8| PackageChange { name: format!("site{n}"), ..update() };
        parts.cohort.changes = (0..6).map(more).collect();
        parts.rehearsal.changes = parts.cohort.changes.clone();
    });
    assert!(many.contains("6 packages would change"), "{many}");
}

#[test]
fn fewer_checks_a_shorter_soak_other_answers_and_other_groups_are_not_covered() {
    assert!(refused(|_, parts| parts.cohort.checks.clear()).contains("other checks"));
    assert!(refused(|_, parts| parts.cohort.soak_s = 0).contains("longer soak"));
    assert!(refused(|_, parts| parts.cohort.config_files = fother_core::policy::ConfigFiles::Replace).contains("configuration-file"));
    assert!(refused(|_, parts| parts.plan.group = "db".to_owned()).contains("it covers group web"));
    assert!(refused(|_, parts| parts.plan.terms.emergency = Some("kev".to_owned())).contains("emergency"));
}

#[test]
fn a_rehearsal_counts_only_with_the_word_of_a_host_that_people_signed_for() {
    assert!(refused(|_, parts| parts.vouching = None).contains("no host vouches"));
    let server = refused(|_, parts| parts.vouching = Some((rehearser().0, log_key().0)));
    assert!(server.contains("does not fit its rehearsal"), "{server}");
    assert!(refused(|_, parts| parts.vouching = Some((HostId::new(7, [7; 10]), rehearser().1))).contains("none of the hosts"));
    // A rehearsal that was vouched for, with another footprint put in its place.
    let bent = refused(|_, parts| {
        let (host, key) = rehearser();
        let real = parts.rehearsal.clone().attest(host, &key).unwrap();
        parts.vouching = None;
        parts.rehearsal = Rehearsal { footprint: Vec::new(), space_bytes: 1, ..real };
    });
    assert!(bent.contains("does not fit its rehearsal"), "{bent}");
    let moved = refused(|_, parts| _ = parts.cohort.hosts.insert(rehearser().0, Digest([5; 32])));
    assert!(moved.contains("not in the cohort as it was rehearsed"), "{moved}");
}

#[test]
fn rehearsals_that_break_left_units_out_or_need_a_reboot_are_not_covered() {
    assert!(refused(|_, parts| parts.rehearsal.verdict = Verdict::Breaks).contains("does not pass"));
    assert!(refused(|_, parts| parts.rehearsal.verdict = Verdict::Unknown).contains("does not pass"));
    assert!(refused(|_, parts| parts.rehearsal.changes.clear()).contains("another transaction"));
    let unit = || vec![Exercised { unit: "db.service".to_owned(), exercised: false, note: String::new() }];
    assert!(refused(|_, parts| parts.rehearsal.exercised = unit()).contains("db.service was not exercised"));
    assert!(refused(|_, parts| parts.rehearsal.reboot = vec!["a new kernel".to_owned()]).contains("a new kernel"));
}

#[test]
fn a_stolen_server_with_a_standing_approval_cannot_widen_it() {
    // It has the signed bytes and their signatures, and all keys of its own: whatever it changes in the statement voids the signatures.
    let bends: [fn(&mut Standing); 6] = [
        |standing| standing.classes.extend([UpdateClass::Bugfix]),
        |standing| _ = standing.origins.insert("Evil".to_owned()),
        |standing| standing.packages = 900,
        |standing| standing.expires = standing.expires + Duration::from_secs(1),
        |standing| _ = standing.acknowledged.insert("db.service".to_owned()),
        |standing| drop(standing.hosts.insert(HostId::new(8, [8; 10]), String::new())),
    ];
    for bend in bends {
        let mut bench = Bench::new();
        permit(&bench, "[standing]\nclasses = [\"security\", \"bugfix\"]\n");
        let parts = good(&bench);
        let mut wider = parts.standing.clone();
        let mut order = order(&mut bench, parts);
        bend(&mut wider);
        let bytes = wider.bytes().unwrap();
        if let Order::Apply { statement, .. } = &mut order {
            *statement = Standing::digest_of(&bytes);
        }
        bench.served.insert(Standing::digest_of(&bytes), bytes);
        let outcomes = bench.carry_out(order);
        assert!(matches!(&outcomes[..], [Outcome::NotApproved { why }] if why.to_string().contains("does not fit")), "{outcomes:?}");
        assert!(bench.acts().is_empty());
    }
}

#[test]
fn a_statement_of_one_kind_never_passes_for_the_other() {
    for standing in [true, false] {
        let mut bench = Bench::new();
        permit(&bench, PERMITTED);
        let mut bent = if standing {
            let parts = bench.good();
            bench.apply_order(&parts, txn(1))
        } else {
            let parts = good(&bench);
            order(&mut bench, parts)
        };
        if let Order::Apply { standing: flag, .. } = &mut bent {
            *flag = standing;
        }
        let outcomes = bench.carry_out(bent);
        assert!(!outcomes.iter().any(|outcome| matches!(outcome, Outcome::Verified { .. })), "{outcomes:?}");
        assert!(bench.acts().is_empty());
    }
}

#[test]
fn a_host_vouches_for_its_own_rehearsal_where_it_is_asked_to() {
    let mut bench = Bench::new();
    let parts = bench.good();
    let order = bench.apply_order(&parts, txn(1));
    let Order::Apply { plan, cohort, place, .. } = order else { panic!() };
    let signed = bench.signed(Order::Rehearse { plan, cohort, place, bisect: false, attest: true });
    let executor = bench.executor();
    let _ = executor.answer(&crate::ipc::Request::Directive { signed });
    bench.deliver(&executor);
    while executor.step().unwrap() {}
    let outcomes = bench.outcomes(&executor);
    let [Outcome::Rehearsed { rehearsal, .. }] = &outcomes[..] else { panic!("{outcomes:?}") };
    let bytes = fs::read(bench.config.data.join("out").join(rehearsal.hex())).unwrap();
    let told: Rehearsal = serde_json::from_slice(&bytes).unwrap();
    let mine = public(&SigningKey::from_bytes(&[9; 32]));
    assert_eq!(told.attester(|host| (host == bench.id).then(|| mine.clone())), Ok(bench.id));
}
