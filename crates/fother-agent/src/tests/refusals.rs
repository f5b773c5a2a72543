//! Everything that an executor must refuse, each with its own words, and with nothing done.

use super::harness::{Bench, Order2, change, txn};
use crate::{
    host::Clock as _,
    ipc::{Answer, Request},
};
use fother_core::{
    Digest,
    directive::{Order, Refused, sign},
    id::HostId,
    plan::{CohortTree, Place},
    protocol::Outcome,
    rehearsal::{Exercised, Verdict},
    window::Interval,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

/// Bends a good order, carries it out, and expects one refusal and no act.
fn refused(bend: impl FnOnce(&mut Bench, &mut Order2)) -> String {
    let mut bench = Bench::new();
    let mut parts = bench.good();
    bend(&mut bench, &mut parts);
    let order = bench.apply_order(&parts, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(bench.acts().is_empty(), "{:?}", bench.acts());
    let [outcome] = &outcomes[..] else { panic!("{outcomes:?}") };
    match outcome {
        Outcome::Refused { why } => why.to_string(),
        Outcome::NotApproved { why } => why.to_string(),
        Outcome::Replan { why } => why.clone(),
        other => panic!("{other:?}"),
    }
}

/// After a bend of cohort or rehearsal: plan and statement name the bent ones, as a server with all keys could make them approved.
fn renamed(parts: &mut Order2) {
    let cohort = parts.cohort.digest().unwrap();
    parts.rehearsal.changes = parts.cohort.changes.clone();
    parts.plan.cohorts = CohortTree::over(&BTreeSet::from([cohort]));
    parts.statement.plan = parts.plan.digest().unwrap();
    parts.statement.rehearsals = BTreeMap::from([(cohort, parts.rehearsal.digest().unwrap())]);
}

#[test]
fn altered_foreign_replayed_expired_and_misaddressed_directives_do_nothing() {
    let mut bench = Bench::new();
    let parts = bench.good();
    let order = bench.apply_order(&parts, txn(1));
    let directive = bench.directive(order);
    let good = sign(&directive, &bench.key).unwrap();
    let mut altered = good.clone();
    altered.directive = altered.directive.replace("apply", "aqply");
    let foreign = sign(&directive, &ed25519_dalek::SigningKey::from_bytes(&[9; 32])).unwrap();
    let mut other = directive.clone();
    other.host = HostId::new(5, [5; 10]);
    let mut late = directive.clone();
    late.expires = bench.clock.now();
    for bad in [altered, foreign, sign(&other, &bench.key).unwrap(), sign(&late, &bench.key).unwrap()] {
        let outcomes = bench.carry_out_signed(&bad);
        assert!(matches!(outcomes[..], [Outcome::Refused { .. }]), "{outcomes:?}");
    }
    assert!(bench.acts().is_empty());
    assert!(matches!(bench.carry_out_signed(&good).last(), Some(Outcome::Verified { .. })));
    let replayed = bench.carry_out_signed(&good);
    assert!(matches!(replayed[..], [Outcome::Refused { why: Refused::Replayed { .. } }]), "{replayed:?}");
    assert_eq!(bench.acts(), ["drain", "start", "undrain"]);
}

#[test]
fn a_directive_that_expires_while_it_waits_does_nothing() {
    let mut bench = Bench::new();
    let parts = bench.good();
    let order = bench.apply_order(&parts, txn(1));
    let signed = bench.signed(order);
    let executor = bench.executor();
    assert!(matches!(executor.answer(&Request::Directive { signed }), Answer::Done));
    bench.clock.sleep(Duration::from_secs(301));
    assert!(executor.step().unwrap());
    let outcomes = bench.outcomes(&executor);
    assert!(matches!(outcomes[..], [Outcome::Refused { why: Refused::Expired { .. } }]), "{outcomes:?}");
}

#[test]
fn approvals_that_are_missing_the_authors_own_doubled_or_strangers_do_not_count() {
    assert!(refused(|_, parts| parts.signers.clear()).contains("0 of 1"));
    assert!(refused(|_, parts| parts.signers = vec![3]).contains("carl is the author"));
    assert!(refused(|_, parts| parts.signers = vec![77]).contains("belongs to nobody"));
    assert!(
        refused(|bench, parts| {
            bench.write_trust(2);
            parts.signers = vec![1, 1, 3];
        })
        .contains("1 of 2")
    );
}

#[test]
fn one_person_under_two_names_is_not_author_and_approver() {
    let print = |seed| super::harness::person(seed).public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
    // Anna submits as "author" with a key that no host knows, and approves as anna.
    let unknown = refused(|_, parts| {
        parts.author = 77;
        (parts.statement.author, parts.statement.author_key) = ("author".to_owned(), print(77));
    });
    assert!(unknown.contains("belongs to nobody"), "{unknown}");
    // ... or with her own key, under another name.
    let renamed = refused(|_, parts| {
        parts.author = 1;
        (parts.statement.author, parts.statement.author_key) = ("author".to_owned(), print(1));
    });
    assert!(renamed.contains("anna signed"), "{renamed}");
    // ... or in carl's name without his signature.
    assert!(refused(|_, parts| parts.author = 1).contains("anna signed"));
}

#[test]
fn approvals_of_something_else_do_not_cover() {
    assert!(refused(|_, parts| parts.statement.plan = Digest::of_file(b"another")).contains("another plan"));
    assert!(refused(|_, parts| parts.plan.group = "db".to_owned()).contains("another plan"));
    assert!(refused(|_, parts| parts.rehearsal.apply_ms = 2).contains("another rehearsal"));
    assert!(refused(|_, parts| parts.statement.hosts.clear()).contains("not among"));
    assert!(
        refused(|_, parts| {
            parts.plan.policy = Digest::of_file(b"looser");
            parts.statement.plan = parts.plan.digest().unwrap();
        })
        .contains("another policy")
    );
    assert!(
        refused(|bench, parts| {
            let start = bench.clock.now() + Duration::from_secs(60);
            parts.statement.window =
                vec![Interval { start, end: start + Duration::from_secs(9), last_start: start + Duration::from_secs(9) }];
        })
        .contains("window")
    );
    assert!(refused(|bench, parts| parts.statement.expires = bench.clock.now()).contains("expired"));
}

#[test]
fn rehearsals_that_break_are_of_another_transaction_or_left_units_out_do_not_count() {
    assert!(
        refused(|_, parts| {
            parts.rehearsal.verdict = Verdict::Breaks;
            renamed(parts);
        })
        .contains("does not pass")
    );
    assert!(
        refused(|_, parts| {
            parts.rehearsal.exercised = vec![Exercised { unit: "db.service".to_owned(), exercised: false, note: String::new() }];
            renamed(parts);
        })
        .contains("db.service was not exercised")
    );
    assert!(
        refused(|_, parts| {
            parts.rehearsal.changes.clear();
            let digest = parts.rehearsal.digest().unwrap();
            parts.statement.rehearsals.values_mut().for_each(|known| *known = digest);
        })
        .contains("another transaction")
    );
}

#[test]
fn the_hosts_own_limits_hold_whatever_is_approved() {
    let bent = |bend: fn(&mut fother_core::resolution::PackageChange)| {
        refused(|_, parts| {
            let mut bent = change();
            bend(&mut bent);
            parts.cohort.changes = vec![bent];
            renamed(parts);
        })
    };
    assert!(bent(|change| change.to = None).contains("forbids removals"));
    assert!(bent(|change| change.from = Some("3.0".parse().unwrap())).contains("forbids downgrades"));
    assert!(bent(|change| change.offer.as_mut().unwrap().origin = "Evil".to_owned()).contains("comes from `Evil`"));
}

#[test]
fn a_host_that_moved_or_is_no_member_answers_replan() {
    assert!(refused(|bench, _| bench.host.0.lock().unwrap().packages_moved = true).contains("when the plan was made"));
    assert!(
        refused(|_, parts| {
            parts.cohort.hosts.clear();
            renamed(parts);
        })
        .contains("not a member")
    );
}

#[test]
fn a_trust_file_that_others_can_write_is_a_link_or_missing_is_not_used() {
    let path = |bench: &Bench| bench.config.etc.join("trust.toml");
    assert!(refused(|bench, _| fs::set_permissions(path(bench), fs::Permissions::from_mode(0o620)).unwrap()).contains("owned by root"));
    assert!(refused(|bench, _| fs::remove_file(path(bench)).unwrap()).contains("trust.toml"));
    assert!(
        refused(|bench, _| {
            fs::rename(path(bench), bench.config.etc.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere", path(bench)).unwrap();
        })
        .contains("trust.toml")
    );
    assert!(refused(|bench, _| bench.config.owner_uid = 12_345).contains("owned by root"));
}

#[test]
fn archives_that_do_not_verify_stop_it_with_their_own_words() {
    let why = "the Release file was replayed";
    assert_eq!(refused(|bench, _| bench.host.0.lock().unwrap().archives_refuse = Some(why.to_owned())), why);
}

#[test]
fn tampered_packages_indexes_and_blobs_are_never_taken_in() {
    for tampered in [super::harness::DEB, super::harness::INDEX, super::harness::INRELEASE] {
        let mut bench = Bench::new();
        bench.served.insert(Digest::of_file(tampered), b"evil".to_vec());
        let parts = bench.good();
        let order = bench.apply_order(&parts, txn(1));
        let signed = bench.signed(order);
        let executor = bench.executor();
        let _ = executor.answer(&Request::Directive { signed });
        let why = bench.deliver(&executor).join("\n");
        assert!(why.contains("other bytes") || why.contains("is larger"), "{why}");
        assert!(executor.step().unwrap(), "it does not wait for ever for what never comes right");
        let outcomes = bench.outcomes(&executor);
        assert!(matches!(&outcomes[..], [Outcome::Refused { why: Refused::Host { why } }] if why.contains("; tried ")), "{outcomes:?}");
        assert!(bench.acts().is_empty());
    }
}

/// Two cohorts in a plan, this host's and another; the order as an honest server sends it.
fn of_two(bench: &mut Bench) -> (Order2, Order, CohortTree) {
    let mut parts = bench.good();
    let mut other = parts.cohort.clone();
    other.soak_s += 1;
    let both = BTreeSet::from([parts.cohort.digest().unwrap(), other.digest().unwrap()]);
    parts.plan.cohorts = CohortTree::over(&both);
    parts.statement.plan = parts.plan.digest().unwrap();
    let mut order = bench.apply_order(&parts, txn(1));
    if let Order::Apply { place, cohort, .. } = &mut order {
        *place = CohortTree::place(&both, cohort).unwrap();
    }
    (parts, order, CohortTree::over(&both))
}

#[test]
fn a_cohort_counts_by_its_proof_and_without_the_list_of_the_others() {
    let mut bench = Bench::new();
    let (_, order, _) = of_two(&mut bench);
    let outcomes = bench.carry_out(order);
    assert!(matches!(outcomes.last(), Some(Outcome::Verified { .. })), "{outcomes:?}");
}

#[test]
fn a_proof_that_is_missing_of_another_place_or_bent_is_refused() {
    let bends: [fn(&mut Place); 4] =
        [|place| place.proof.clear(), |place| place.index ^= 1, |place| place.proof[0].0[0] ^= 1, |place| place.proof.push(place.proof[0])];
    for bend in bends {
        let mut bench = Bench::new();
        let (_, mut order, _) = of_two(&mut bench);
        let Order::Apply { place, .. } = &mut order else { panic!() };
        bend(place);
        let outcomes = bench.carry_out(order);
        assert!(
            matches!(&outcomes[..], [Outcome::NotApproved { why }] if why.to_string().contains("the proof does not show")),
            "{outcomes:?}"
        );
        assert!(bench.acts().is_empty());
    }
}

#[test]
fn a_cohort_that_the_approved_plan_does_not_hold_is_refused_whatever_it_is_rehearsed_as() {
    let mut bench = Bench::new();
    let (mut parts, _, tree) = of_two(&mut bench);
    parts.cohort.soak_s = 0;
    renamed(&mut parts);
    parts.plan.cohorts = tree;
    parts.statement.plan = parts.plan.digest().unwrap();
    let order = bench.apply_order(&parts, txn(1));
    let outcomes = bench.carry_out(order);
    assert!(matches!(&outcomes[..], [Outcome::NotApproved { .. }]), "{outcomes:?}");
    assert!(bench.acts().is_empty());
}
