//! Approvals: only enough distinct people, not the author, over exactly this, count.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    approval::{AUTHOR_NAMESPACE, Action, NAMESPACE, Refused, Statement, Trust},
    id::{ChangeId, HostId},
    window::Interval,
};
use ssh_key::{HashAlg, LineEnding, PrivateKey, private::Ed25519Keypair};
use std::collections::{BTreeMap, BTreeSet};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

fn public(seed: u8) -> String {
    key(seed).public_key().to_openssh().unwrap()
}

fn print(seed: u8) -> String {
    key(seed).public_key().fingerprint(HashAlg::Sha256).to_string()
}

fn trust(required: u32) -> Trust {
    let text = format!(
        "required = {required}\n[limits]\norigins = [\"Debian\"]\n\
         [[approver]]\nname = \"ann\"\nkeys = [\"{}\"]\n[[approver]]\nname = \"bob\"\nkeys = [\"{}\", \"{}\"]\n[[approver]]\nname = \"cho\"\nkeys = [\"{}\"]\n",
        public(1),
        public(2),
        public(3),
        public(4)
    );
    Trust::parse(&text).unwrap()
}

fn host() -> HostId {
    HostId::new(1, [1; 10])
}

fn statement() -> Statement {
    Statement {
        action: Action::Apply,
        change: ChangeId::new(1, [1; 10]),
        plan: Digest([1; 32]),
        rehearsals: BTreeMap::from([(Digest([2; 32]), Digest([3; 32]))]),
        acknowledged: BTreeSet::new(),
        policy: Digest([4; 32]),
        hosts: BTreeSet::from([host()]),
        window: vec![Interval { start: Timestamp(100), end: Timestamp(200), last_start: Timestamp(180) }],
        author: "ann".to_owned(),
        author_key: print(1),
        undo_until: Timestamp(9000),
        expires: Timestamp(1000),
    }
}

fn sign(seed: u8, namespace: &str, bytes: &[u8]) -> String {
    key(seed).sign(namespace, HashAlg::Sha512, bytes).unwrap().to_pem(LineEnding::LF).unwrap()
}

fn authored(bytes: &[u8]) -> String {
    sign(1, AUTHOR_NAMESPACE, bytes)
}

#[test]
fn enough_distinct_people_suffice() {
    let bytes = statement().bytes().unwrap();
    let (parsed, people) = trust(2).approved(&bytes, &authored(&bytes), &[sign(2, NAMESPACE, &bytes), sign(4, NAMESPACE, &bytes)]).unwrap();
    assert_eq!(parsed, statement());
    assert_eq!(people, BTreeSet::from(["bob".to_owned(), "cho".to_owned()]));
}

#[test]
fn two_keys_of_one_person_the_author_strangers_other_namespaces_and_other_bytes_do_not_count() {
    let bytes = statement().bytes().unwrap();
    let other = Statement { plan: Digest([9; 32]), ..statement() }.bytes().unwrap();
    let good = sign(2, NAMESPACE, &bytes);
    for second in [
        sign(2, NAMESPACE, &bytes),
        sign(3, NAMESPACE, &bytes),
        sign(1, NAMESPACE, &bytes),
        sign(9, NAMESPACE, &bytes),
        sign(4, "file", &bytes),
        sign(4, NAMESPACE, &other),
        "garbage".to_owned(),
    ] {
        let refused = trust(2).approved(&bytes, &authored(&bytes), &[good.clone(), second]).unwrap_err();
        assert!(matches!(refused, Refused::TooFew { have: 1, need: 2, .. }), "{refused}");
        assert!(refused.to_string().starts_with("1 of 2 approvals from "), "{refused}");
    }
    let none = trust(1).approved(&bytes, &authored(&bytes), &[]).unwrap_err();
    assert_eq!(none.to_string(), "0 of 1 approvals");
}

#[test]
fn an_author_who_is_unknown_under_another_name_or_key_or_did_not_sign_makes_every_approval_void() {
    let good = |statement: &Statement| {
        let bytes = statement.bytes().unwrap();
        vec![sign(4, NAMESPACE, &bytes), sign(2, NAMESPACE, &bytes)]
    };
    let refused =
        |statement: Statement, author: &str| trust(1).approved(&statement.bytes().unwrap(), author, &good(&statement)).unwrap_err();
    let by = |seed: u8, statement: &Statement| sign(seed, AUTHOR_NAMESPACE, &statement.bytes().unwrap());
    // Bob writes under a name of his own choice and would approve as bob.
    let alias = Statement { author: "robert".to_owned(), author_key: print(2), ..statement() };
    assert!(matches!(refused(alias.clone(), &by(2, &alias)), Refused::Author { .. }));
    // ... or with a key that no host knows.
    let stranger = Statement { author: "robert".to_owned(), author_key: print(9), ..statement() };
    assert!(matches!(refused(stranger.clone(), &by(9, &stranger)), Refused::Author { .. }));
    // ... or in ann's name, without ann's key.
    let stolen = Statement { author_key: print(2), ..statement() };
    assert!(matches!(refused(stolen.clone(), &by(2, &stolen)), Refused::Author { .. }));
    for author in [String::new(), by(2, &statement()), sign(1, NAMESPACE, &statement().bytes().unwrap()), by(1, &alias)] {
        assert!(matches!(refused(statement(), &author), Refused::Author { .. }));
    }
}

#[test]
fn an_authors_signature_is_no_approval_and_neither_key_of_the_author_approves() {
    let mine = Statement { author: "bob".to_owned(), author_key: print(2), ..statement() };
    let bytes = mine.bytes().unwrap();
    let author = sign(2, AUTHOR_NAMESPACE, &bytes);
    for own in [author.clone(), sign(2, NAMESPACE, &bytes), sign(3, NAMESPACE, &bytes)] {
        assert!(matches!(trust(1).approved(&bytes, &author, &[own]), Err(Refused::TooFew { have: 0, .. })));
    }
    assert!(trust(1).approved(&bytes, &author, &[sign(1, NAMESPACE, &bytes)]).is_ok());
    assert!(matches!(trust(1).approved(&bytes, &author, &[sign(1, AUTHOR_NAMESPACE, &bytes)]), Err(Refused::TooFew { have: 0, .. })));
}

#[test]
fn people_who_may_only_write_changes_do_not_approve() {
    let mut trust = trust(1);
    trust.authors = vec![trust.approvers.remove(0)];
    let bytes = statement().bytes().unwrap();
    assert!(trust.approved(&bytes, &authored(&bytes), &[sign(2, NAMESPACE, &bytes)]).is_ok());
    let by_bob = Statement { author: "bob".to_owned(), author_key: print(2), ..statement() }.bytes().unwrap();
    let refused = trust.approved(&by_bob, &sign(2, AUTHOR_NAMESPACE, &by_bob), &[sign(1, NAMESPACE, &by_bob)]);
    assert!(matches!(refused, Err(Refused::TooFew { have: 0, .. })));
}

#[test]
fn a_statement_covers_only_its_plan_rehearsal_host_window_and_time() {
    let good = statement();
    let (plan, cohort, rehearsal) = (Digest([1; 32]), Digest([2; 32]), Digest([3; 32]));
    assert!(good.covers(plan, cohort, rehearsal, host(), Timestamp(150)).is_ok());
    let other = Digest([8; 32]);
    assert!(good.covers(other, cohort, rehearsal, host(), Timestamp(150)).is_err());
    assert!(good.covers(plan, other, rehearsal, host(), Timestamp(150)).is_err());
    assert!(good.covers(plan, cohort, other, host(), Timestamp(150)).is_err());
    assert!(good.covers(plan, cohort, rehearsal, HostId::new(2, [2; 10]), Timestamp(150)).is_err());
    assert!(good.covers(plan, cohort, rehearsal, host(), Timestamp(99)).is_err());
    assert!(good.covers(plan, cohort, rehearsal, host(), Timestamp(180)).is_err());
    let open = Statement { window: Vec::new(), ..statement() };
    assert!(open.covers(plan, cohort, rehearsal, host(), Timestamp(999)).is_ok());
    assert!(open.covers(plan, cohort, rehearsal, host(), Timestamp(1000)).is_err());
}

#[test]
fn a_trust_file_that_could_be_met_by_fewer_people_is_refused() {
    let limits = "[limits]\norigins = []\n";
    let shared = format!(
        "required = 1\n{limits}[[approver]]\nname = \"a\"\nkeys = [\"{0}\"]\n[[approver]]\nname = \"b\"\nkeys = [\"{0}\"]\n",
        public(1)
    );
    assert!(Trust::parse(&shared).is_err());
    let few = format!("required = 2\n{limits}[[approver]]\nname = \"a\"\nkeys = [\"{}\", \"{}\"]\n", public(1), public(2));
    assert!(Trust::parse(&few).is_err());
    assert!(Trust::parse(&few.replace("required = 2", "required = 0")).is_err());
    assert!(Trust::parse(&few.replace("required = 2", "required = 1")).is_ok());
}

#[test]
fn a_signature_by_ssh_keygen_counts() {
    let dir = std::env::temp_dir().join(format!("fother-approvals-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (file, message) = (dir.join("key"), dir.join("message"));
    std::fs::write(&file, key(2).to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let bytes = statement().bytes().unwrap();
    std::fs::write(&message, &bytes).unwrap();
    let status = std::process::Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", NAMESPACE, "-f"])
        .arg(&file)
        .arg(&message)
        .status()
        .unwrap();
    assert!(status.success());
    let armored = std::fs::read_to_string(dir.join("message.sig")).unwrap();
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(trust(1).approved(&bytes, &authored(&bytes), &[armored]).is_ok());
}
