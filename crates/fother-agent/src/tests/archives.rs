//! The agent's own check from a vendor's key to a package, over a really signed archive and a server that pins whatever it likes; runs gpg.

#[path = "../../../fother-feeds/tests/common/mod.rs"]
mod common;

use super::harness::{Bench, Order2, txn};
use crate::archives_host::HostArchives;
use common::{Archive, Gpg, SUITE};
use fother_core::{
    Digest,
    directive::{IndexPin, Order, Refused},
    package::{Offer, UpdateClass},
    plan::{CohortTree, Place},
    protocol::Outcome,
    resolution::PackageChange,
};
use std::{collections::BTreeMap, fs, sync::Arc};

const URI: &str = "http://archive.test/debian";
const INDEX: &str = "main/binary-amd64/Packages";
const FRESH: &str = "Sat, 11 Jul 2026 10:00:00 UTC";
const OLDER: &str = "Fri, 10 Jul 2026 10:00:00 UTC";
const NOW: &str = "2026-07-12T00:00:00Z";

/// A host whose sources name one archive and its key, an executor in front of it, and everybody's signature under every order.
struct Setting {
    bench: Bench,
    gpg: Gpg,
    key: String,
    archive: Archive,
}

/// What the server serves and pins of one state of the archive.
#[derive(Clone)]
struct Served {
    inrelease: Vec<u8>,
    index: Vec<u8>,
    package: Vec<u8>,
}

impl Setting {
    fn new() -> Self {
        let (bench, gpg) = (Bench::new(), Gpg::new());
        *bench.clock.0.lock().unwrap() = NOW.parse().unwrap();
        let key = gpg.key("archive", "ed25519", "sign", "never", Some("20260101T000000"));
        let apt = bench.dir.path().join("etc/apt");
        fs::create_dir_all(&apt).unwrap();
        fs::write(apt.join("k.gpg"), gpg.export(&key)).unwrap();
        // `trusted=yes` makes apt skip signatures; the agent does not.
        fs::write(apt.join("sources.list"), format!("deb [signed-by=/etc/apt/k.gpg trusted=yes] {URI} {SUITE} main\n")).unwrap();
        let trust = bench.config.etc.join("trust.toml");
        fs::write(&trust, fs::read_to_string(&trust).unwrap().replace("\"Debian\"", "\"Test\"")).unwrap();
        Self { bench, gpg, key, archive: Archive::new() }
    }

    fn sign(&self, key: &str, text: &str) -> Vec<u8> {
        self.gpg.run(&["--faked-system-time", "20260711T100000!", "-u", key, "--clearsign"], text.as_bytes())
    }

    fn served(&self, date: &str, more: &str) -> Served {
        let text = self.archive.release(date, more);
        let index = fs::read(self.archive.suite_dir().join(INDEX)).unwrap();
        Served { inrelease: self.sign(&self.key, &text), index, package: fs::read(&self.archive.package).unwrap() }
    }

    fn good(&self) -> Served {
        self.served(FRESH, "")
    }

    /// One order with its pins; its outcome, after making sure that nothing came near the package manager if it was refused.
    fn carry_out(&mut self, order: Order) -> Outcome {
        let before = self.bench.acts();
        let signed = self.bench.signed(order);
        let host = Arc::new(HostArchives { root: self.bench.dir.path().to_owned() });
        let executor = self.bench.executor_with(host);
        let _ = executor.answer(&crate::ipc::Request::Directive { signed });
        self.bench.deliver(&executor);
        while executor.step().unwrap() {}
        let outcome = self.bench.outcomes(&executor).pop().unwrap();
        if matches!(outcome, Outcome::Refused { .. }) {
            assert_eq!(self.bench.acts(), before);
            for dir in ["resolve/lists", "rehearse/debs", "txn"] {
                let dir = self.bench.config.data.join(dir);
                assert!(fs::read_dir(&dir).is_ok_and(|mut dir| dir.next().is_none()) || !dir.exists(), "{}", dir.display());
            }
        }
        outcome
    }

    fn pin(&mut self, served: &Served) -> Vec<IndexPin> {
        for bytes in [&served.inrelease, &served.index, &served.package] {
            self.bench.served.insert(Digest::of_file(bytes), bytes.clone());
        }
        let indexes = vec![(INDEX.to_owned(), Digest::of_file(&served.index))];
        vec![IndexPin { uri: URI.to_owned(), suite: SUITE.to_owned(), inrelease: Digest::of_file(&served.inrelease), indexes }]
    }

    /// A plan over exactly these bytes that everybody approves.
    fn plan(&self, served: &Served, pins: Vec<IndexPin>) -> Order2 {
        let mut parts = self.bench.good();
        parts.cohort.changes = vec![change(&served.package)];
        parts.rehearsal.changes.clone_from(&parts.cohort.changes);
        let cohort = parts.cohort.digest().unwrap();
        parts.plan.cohorts = CohortTree::over(&[cohort].into());
        parts.plan.pins = pins;
        parts.statement.plan = parts.plan.digest().unwrap();
        parts.statement.rehearsals = BTreeMap::from([(cohort, parts.rehearsal.digest().unwrap())]);
        parts
    }

    fn apply(&mut self, served: &Served, pins: Vec<IndexPin>, number: u8) -> Outcome {
        let parts = self.plan(served, pins);
        let order = self.bench.apply_order(&parts, txn(number));
        self.carry_out(order)
    }

    /// The same reason refuses resolving, rehearsing and applying.
    fn refusal(&mut self, served: &Served) -> String {
        let pins = self.pin(served);
        let resolved = why(self.carry_out(Order::Resolve { pins: pins.clone(), exclude: Vec::new() }));
        assert_eq!(self.refusal_of_package(served, pins), resolved);
        resolved
    }

    /// The same reason refuses rehearsing and applying.
    fn refusal_of_package(&mut self, served: &Served, pins: Vec<IndexPin>) -> String {
        let applied = why(self.apply(served, pins.clone(), 1));
        let parts = self.plan(served, pins);
        let (plan, cohort) = (parts.plan.digest().unwrap(), parts.cohort.digest().unwrap());
        let place = Place { index: 0, proof: Vec::new() };
        assert_eq!(why(self.carry_out(Order::Rehearse { plan, cohort, place, bisect: false, attest: false })), applied);
        applied
    }
}

fn why(outcome: Outcome) -> String {
    let Outcome::Refused { why: Refused::Host { why } } = outcome else { panic!("{outcome:?}") };
    why
}

fn change(package: &[u8]) -> PackageChange {
    PackageChange {
        name: "a".to_owned(),
        arch: "all".to_owned(),
        source: "a".to_owned(),
        from: None,
        to: Some("1".parse().unwrap()),
        offer: Some(Offer {
            origin: "Test".to_owned(),
            label: "Test".to_owned(),
            suite: SUITE.to_owned(),
            uri: URI.to_owned(),
            filename: "pool/a_1_all.deb".to_owned(),
            size: package.len() as u64,
            sha256: Digest::of_file(package),
        }),
        class: UpdateClass::Security,
        closes: Vec::new(),
    }
}

#[test]
fn a_good_chain_is_resolved_rehearsed_and_applied() {
    let mut setting = Setting::new();
    let good = setting.good();
    let pins = setting.pin(&good);
    let resolve = Order::Resolve { pins: pins.clone(), exclude: Vec::new() };
    assert!(matches!(setting.carry_out(resolve), Outcome::Resolved { .. }));
    let lists = setting.bench.config.data.join("resolve/lists");
    let names = ["dists_testing-suite_InRelease", "dists_testing-suite_main_binary-amd64_Packages"];
    for (name, bytes) in names.iter().zip([&good.inrelease, &good.index]) {
        assert_eq!(&fs::read(lists.join(format!("archive.test_debian_{name}"))).unwrap(), bytes);
    }
    assert!(matches!(setting.apply(&good, pins, 1), Outcome::Verified { .. }));
    assert_eq!(setting.bench.acts(), ["resolve", "drain", "start", "undrain"]);
}

#[test]
fn a_tampered_package_is_refused_wherever_it_was_tampered_with() {
    let mut setting = Setting::new();
    let good = setting.good();
    let pins = setting.pin(&good);
    // The server names its own package in an approved plan: the signed index does not offer it.
    let evil = Served { package: b"these are the bytes of another package".to_vec(), ..good.clone() };
    setting.pin(&evil);
    assert_eq!(setting.refusal_of_package(&evil, pins.clone()), "a 1 is not offered by the verified archives as the plan names it");
    // The server, a cache or the network serves other bytes than it names: they are never taken in, and the order does not wait for ever.
    let name = Digest::of_file(&good.package);
    for (bytes, said) in [
        (&b"these are the bytes of a packagf"[..], "delivered with other bytes"),
        (&good.package[..9], "delivered with other bytes"),
        (&[&good.package[..], b"x"].concat(), "larger than the 32 bytes"),
    ] {
        setting.bench.served.insert(name, bytes.to_vec());
        let why = setting.refusal_of_package(&good, pins.clone());
        assert!(why.contains(said) && why.contains("; tried "), "{why}");
    }
    // The file on the host's own disk was changed after it was taken in.
    setting.pin(&good);
    let store = crate::spool::Store::open(setting.bench.config.data.join("store")).unwrap();
    for (bytes, said) in [(&b"these are the bytes of a packagf"[..], "does not match the hash"), (&good.package[..9], "cut short")] {
        fs::write(store.path(&name), bytes).unwrap();
        let why = setting.refusal_of_package(&good, pins.clone());
        assert!(why.contains(said) && why.contains("pool/a_1_all.deb"), "{why}");
    }
}

#[test]
fn a_tampered_cut_or_unlisted_index_is_refused() {
    let mut setting = Setting::new();
    let good = setting.good();
    let text = String::from_utf8(good.index.clone()).unwrap();
    let evil = Served { index: text.replace("Version: 1", "Version: 2").into_bytes(), ..good.clone() };
    let why = setting.refusal(&evil);
    assert!(why.contains(&format!("the index {INDEX} does not match the hash in the signed Release")), "{why}");
    let cut = Served { index: good.index[..40].to_vec(), ..good.clone() };
    let why = setting.refusal(&cut);
    assert!(why.contains("has 40 bytes, the signed Release says"), "{why}");
    let mut pins = setting.pin(&good);
    pins[0].indexes[0].0 = "main/binary-amd64/Other".to_owned();
    let why = setting.refusal_of_package(&good, pins);
    assert!(why.contains("does not list main/binary-amd64/Other"), "{why}");
}

#[test]
fn an_index_that_expired_is_too_old_or_from_the_future_is_refused() {
    let mut setting = Setting::new();
    let late = setting.served(FRESH, "Valid-Until: Sat, 11 Jul 2026 12:00:00 UTC\n");
    assert!(setting.refusal(&late).contains("the index expired at 2026-07-11T12:00:00.000Z"));
    let old = setting.served("Wed, 10 Jul 2024 10:00:00 UTC", "");
    assert!(setting.refusal(&old).contains("older than the 730 days"));
    let early = setting.served("Sun, 12 Jul 2026 00:06:00 UTC", "");
    assert!(setting.refusal(&early).contains("from the future"));
}

#[test]
fn an_older_index_than_one_that_was_used_is_a_replay_also_after_a_restart() {
    let mut setting = Setting::new();
    let (older, newer) = (setting.served(OLDER, ""), setting.good());
    let pins = setting.pin(&newer);
    assert!(matches!(setting.carry_out(Order::Resolve { pins, exclude: Vec::new() }), Outcome::Resolved { .. }));
    fs::remove_dir_all(setting.bench.config.data.join("resolve")).unwrap();
    let why = setting.refusal(&older);
    assert!(why.contains("replayed: the index of 2026-07-10T10:00:00.000Z is older than the one of 2026-07-11T10:00:00.000Z"), "{why}");
    let both = [setting.pin(&newer), setting.pin(&older)].concat();
    assert!(setting.refusal_of_package(&newer, both).contains("is pinned twice"));
}

#[test]
fn foreign_keys_missing_and_damaged_signatures_and_other_suites_are_refused() {
    let mut setting = Setting::new();
    let good = setting.good();
    let text = setting.archive.release(FRESH, "");
    let stranger = setting.gpg.key("stranger", "ed25519", "sign", "never", Some("20260101T000000"));
    let with = |inrelease: Vec<u8>| Served { inrelease, ..good.clone() };
    let foreign = with(setting.sign(&stranger, &text));
    assert!(setting.refusal(&foreign).contains("refused: unknown key"));
    assert!(setting.refusal(&with(text.clone().into_bytes())).contains("the archive's index is not signed"));
    let changed = String::from_utf8(good.inrelease.clone()).unwrap().replace("Origin: Test", "Origin: Tset");
    assert!(setting.refusal(&with(changed.into_bytes())).contains("refused: bad signature"));
    assert!(setting.refusal(&with(good.inrelease[..good.inrelease.len() - 40].to_vec())).contains("the signature does not count"));
    let other = text.replace(&format!("Suite: {SUITE}"), "Suite: sid").replace("Codename: code", "Codename: sid");
    let other = with(setting.sign(&setting.key, &other));
    assert!(setting.refusal(&other).contains(&format!("wrong suite: the source asks for `{SUITE}`, the signed index is of `sid`")));
}

#[test]
fn an_archive_that_this_host_does_not_use_counts_for_nothing() {
    let mut setting = Setting::new();
    let good = setting.good();
    let mut pins = setting.pin(&good);
    let elsewhere = IndexPin { uri: "http://evil.test/debian".to_owned(), ..pins[0].clone() };
    let why = setting.refusal_of_package(&good, vec![elsewhere.clone()]);
    assert_eq!(why, "none of the pinned archives is one that this host is configured to use");
    // Beside a good one it is passed over: nothing of it is laid out for the package manager.
    pins.push(elsewhere);
    assert!(matches!(setting.carry_out(Order::Resolve { pins, exclude: Vec::new() }), Outcome::Resolved { .. }));
    let laid = fs::read_dir(setting.bench.config.data.join("resolve/lists")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(laid.map(|name| name.into_string().unwrap()).all(|name| name == "partial" || name.starts_with("archive.test_")));
}

#[test]
fn a_host_whose_key_is_gone_verifies_nothing() {
    let mut setting = Setting::new();
    let good = setting.good();
    fs::remove_file(setting.bench.dir.path().join("etc/apt/k.gpg")).unwrap();
    assert!(setting.refusal(&good).contains("/etc/apt/k.gpg"));
    fs::remove_file(setting.bench.dir.path().join("etc/apt/sources.list")).unwrap();
    assert!(setting.refusal(&good).contains("none of the pinned archives is one that this host is configured to use"));
}
