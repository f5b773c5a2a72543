//! Policies come into force: tighter ones at once, looser ones by people, at a restart by what the log says.

use super::fleet::{ANNA, BERT, URI, canned, open, policy, public, signed, trust};
use crate::{Error, Wanted, engine::Engine};
use fother_core::{
    Digest, Timestamp,
    decide::{APPROVAL_LIFE, loosens},
    event::Data,
    policy::{
        Policy,
        change::differences,
        proposal::{AUTHOR_NAMESPACE, NAMESPACE, Statement},
    },
};

const POLICY: &str = r#"
    [group.web]
    select = 'role == "web"'
    window = "always"
    budget = { unavailable = 3 }
    rollout = { canary = 1, waves = ["50%", "100%"], soak_s = 1 }
    checks = ["up"]
    approvals = 1
    [check.up]
    kind = "unit"
    name = "up"
    unit = "nginx.service"
    [archive.main]
    uri = "URI"
    suite = "bookworm"
    components = ["main"]
    signed_by = "/nowhere"
"#;

fn with(from: &str, to: &str) -> String {
    assert!(POLICY.contains(from));
    POLICY.replace("URI", URI).replacen(from, to, 1)
}

fn wanted(engine: &Engine, text: &str) -> Wanted {
    let base = engine.policy_in_force().unwrap().digest;
    Wanted { files: vec![("fother.toml".to_owned(), text.to_owned())], base, signed: None }
}

fn code(error: &Error) -> &'static str {
    match error {
        Error::Refused(refusal) => refusal.code,
        Error::Input(_) => "input",
        other => panic!("{other}"),
    }
}

/// Anna's statement about a policy.
fn statement(engine: &Engine, text: &str) -> Statement {
    let (running, new) = (engine.policy_in_force().unwrap(), Policy::parse(text).unwrap());
    Statement {
        policy: new.digest().unwrap(),
        base: running.digest,
        loosens: loosens(&differences(&running.policy, &new)),
        author: "anna".to_owned(),
        author_key: fother_core::approval::fingerprint(&public(ANNA)).unwrap(),
        expires: engine.clock.now() + APPROVAL_LIFE,
    }
}

fn proposed(engine: &Engine, text: &str, statement: &Statement) -> Result<crate::Became, Error> {
    let bytes = String::from_utf8(statement.bytes().unwrap()).unwrap();
    let signature = signed(ANNA, AUTHOR_NAMESPACE, bytes.as_bytes());
    engine.apply_policy("uid:0", &Wanted { signed: Some((bytes, signature)), ..wanted(engine, text) })
}

#[test]
fn what_tightens_is_in_force_at_once_and_stays_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, woken) = open(dir.path());
    let before = engine.policy_in_force().unwrap().digest;
    let text = with("unavailable = 3", "unavailable = 1");
    let became = engine.apply_policy("uid:0", &wanted(&engine, &text)).unwrap();
    assert!(became.applied && became.missing.is_empty());
    assert_eq!(became.differences[0].what, "web: budget 3 → 1");
    assert_eq!(engine.policy().group["web"].budget.unavailable, fother_core::policy::Share::Count(1));
    let again = engine.apply_policy("uid:0", &wanted(&engine, &text)).unwrap();
    let size = engine.state().size;
    assert!(again.applied && again.differences.is_empty());
    let applied = engine.store.read(size - 1, 1).unwrap();
    assert!(String::from_utf8_lossy(&applied[0].1).contains("policy.applied"), "applying it again is no event");
    drop((engine, woken));
    // The file is the old, looser one.
    let (engine, _woken) = Engine::open(&dir.path().join("data"), policy(), trust(), canned(dir.path())).unwrap();
    assert_eq!(engine.policy_in_force().unwrap().digest, became.policy);
    assert_ne!(became.policy, before);
}

#[test]
fn a_file_that_tightens_is_taken_over_at_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let tighter = Policy::parse(&with("soak_s = 1", "soak = \"1h\"")).unwrap();
    let (engine, _woken) = Engine::open(&dir.path().join("data"), tighter.clone(), trust(), canned(dir.path())).unwrap();
    assert_eq!(*engine.policy(), tighter);
    assert_eq!(engine.state().policy, Some(tighter.digest().unwrap()));
}

#[test]
fn what_loosens_needs_another_person_than_its_author() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let text = with("unavailable = 3", "unavailable = 5");
    assert_eq!(code(&engine.apply_policy("uid:0", &wanted(&engine, &text)).unwrap_err()), "loosens");
    let made = statement(&engine, &text);
    let became = proposed(&engine, &text, &made).unwrap();
    assert!(!became.applied && became.missing[0].required == 1);
    let bytes = made.bytes().unwrap();
    let approve = |seed, namespace| engine.approve_policy("uid:0", made.policy, &signed(seed, namespace, &bytes));
    assert_eq!(code(&approve(ANNA, NAMESPACE).unwrap_err()), "four-eyes");
    assert_eq!(code(&approve(BERT, AUTHOR_NAMESPACE).unwrap_err()), "bad-signature");
    assert_eq!(code(&approve(BERT, fother_core::approval::NAMESPACE).unwrap_err()), "bad-signature");
    assert_eq!(code(&approve(9, NAMESPACE).unwrap_err()), "bad-signature");
    assert_eq!(code(&engine.approve_policy("uid:0", Digest([7; 32]), "").unwrap_err()), "unknown-proposal");
    assert_eq!(*engine.policy(), policy());
    let shown = engine.policy_in_force().unwrap();
    assert_eq!(shown.proposals[&made.policy].missing.len(), 1);
    assert!(approve(BERT, NAMESPACE).unwrap().applied);
    assert_eq!(*engine.policy(), Policy::parse(&text).unwrap());
    assert!(engine.state().proposals.is_empty());
    assert_eq!(code(&approve(BERT, NAMESPACE).unwrap_err()), "unknown-proposal", "once is enough");
}

#[test]
fn a_statement_that_says_something_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let text = with("unavailable = 3", "unavailable = 5");
    let made = statement(&engine, &text);
    for (changed, wanted) in [
        (Statement { loosens: Vec::new(), ..made.clone() }, "other-statement"),
        (Statement { policy: Digest([1; 32]), ..made.clone() }, "other-statement"),
        (Statement { base: Digest([1; 32]), ..made.clone() }, "other-policy"),
        (Statement { author: "bert".to_owned(), ..made.clone() }, "bad-signature"),
        (Statement { expires: engine.clock.now(), ..made.clone() }, "stale-draft"),
        (Statement { expires: Timestamp(u64::MAX >> 12), ..made.clone() }, "stale-draft"),
    ] {
        assert_eq!(code(&proposed(&engine, &text, &changed).unwrap_err()), wanted, "{changed:?}");
    }
    assert_eq!(code(&engine.apply_policy("uid:0", &wanted(&engine, "[group.web")).unwrap_err()), "input");
}

#[test]
fn whoever_compared_with_another_policy_compares_again() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let looser = with("unavailable = 3", "unavailable = 5");
    let made = statement(&engine, &looser);
    let old = wanted(&engine, &with("unavailable = 3", "unavailable = 2"));
    proposed(&engine, &looser, &made).unwrap();
    engine.apply_policy("uid:0", &wanted(&engine, &with("unavailable = 3", "unavailable = 1"))).unwrap();
    assert_eq!(code(&engine.apply_policy("uid:1", &old).unwrap_err()), "other-policy");
    let late = engine.approve_policy("uid:0", made.policy, &signed(BERT, NAMESPACE, &made.bytes().unwrap()));
    assert_eq!(code(&late.unwrap_err()), "unknown-proposal", "what was compared with another policy is void");
}

#[test]
fn the_log_keeps_who_proposed_and_who_approved() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _woken) = open(dir.path());
    let text = with("approvals = 1", "approvals = 1\n    undo = \"60d\"");
    let made = statement(&engine, &text);
    proposed(&engine, &text, &made).unwrap();
    engine.approve_policy("uid:0", made.policy, &signed(BERT, NAMESPACE, &made.bytes().unwrap())).unwrap();
    let size = engine.state().size;
    let events: Vec<Data> = engine
        .store
        .read(size - 3, 3)
        .unwrap()
        .iter()
        .map(|(seq, bytes)| fother_core::event::Event::parse(*seq, bytes).unwrap().data)
        .collect();
    assert!(matches!(&events[0], Data::PolicyProposed { author, .. } if author == "anna"), "{events:?}");
    assert!(matches!(&events[1], Data::PolicyApproved { person, .. } if person == "bert"));
    assert!(matches!(&events[2], Data::PolicyApplied { policy, base } if (*policy, *base) == (made.policy, made.base)));
}
