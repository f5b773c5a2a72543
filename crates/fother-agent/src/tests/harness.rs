//! A fake host, a server that signs whatever it likes, people who approve, and an executor in between.

use crate::{
    archives::{Archives, Newest},
    config::{Config, Identity},
    durable::Disk,
    executor::Executor,
    host::{Clock, Hook, Host, HostError, Progress, Rehearsed, Transaction},
    ipc::{Answer, Need, Request},
    spool::Store,
    witness::write_key,
};
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp,
    approval::{AUTHOR_NAMESPACE, Action, NAMESPACE, Statement},
    canonical,
    checkpoint::{Kind, VerifierKey},
    directive::{Directive, IndexPin, Order, SignedDirective, sign},
    id::{ChangeId, DirectiveId, HostId, TransactionId},
    inventory::{Distribution, Inventory, Reboot},
    package::{Installed, Offer, UpdateClass},
    plan::{Cohort, CohortTree, Place, Plan, Terms},
    policy::{Budget, Check, CheckAnswer, ConfigFiles, Share, Strategy},
    protocol::{Outcome, Report},
    rehearsal::{Rehearsal, UndoProof},
    resolution::{PackageChange, Resolution},
    version::Version,
};
use ssh_key::{HashAlg, LineEnding, PrivateKey, private::Ed25519Keypair};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

pub const DEB: &[u8] = b"the new package";
pub const INRELEASE: &[u8] = b"signed";
pub const INDEX: &[u8] = b"offers";

/// What the fake host has, and everything that was done to it.
#[derive(Default)]
pub struct World {
    pub version: u32,
    pub started: u32,
    pub acts: Vec<String>,
    pub broken_after: bool,
    pub restart_fails: bool,
    pub breaks_after_checks: Option<u32>,
    pub archives_refuse: Option<String>,
    pub packages_moved: bool,
    pub space: u64,
    pub die_in_start: bool,
    /// Fails and puts itself back, so many paths compared.
    pub puts_itself_back: Option<u64>,
    checks_since: u32,
    ended: BTreeMap<TransactionId, u64>,
}

#[derive(Clone)]
pub struct FakeHost(pub Arc<Mutex<World>>);

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn inventory(moved: bool, patched: u32) -> Inventory {
    let number = if moved { "1:0" } else { "1.0" };
    let number = if patched > 0 { "2.0" } else { number };
    Inventory {
        hostname: "web-1".to_owned(),
        distribution: Distribution { id: "debian".to_owned(), version: "12".to_owned(), codename: "bookworm".to_owned() },
        architecture: "amd64".to_owned(),
        kernel: "6.1".to_owned(),
        boot_id: "b".to_owned(),
        packages: vec![Installed {
            name: "site".to_owned(),
            arch: "all".to_owned(),
            version: version(number),
            source: "site".to_owned(),
            source_version: version(number),
            broken: None,
            held: false,
        }],
        sources: Vec::new(),
        services: Vec::new(),
        reboot: Reboot::No,
        other_patchers: Vec::new(),
        unknown: Vec::new(),
    }
}

impl Host for FakeHost {
    fn inventory(&self) -> Result<Inventory, HostError> {
        let world = self.0.lock().unwrap();
        Ok(inventory(world.packages_moved, world.version))
    }
    fn resolve(&self, _: &Path, _: &[String], _: &Path) -> Result<Resolution, HostError> {
        self.0.lock().unwrap().acts.push("resolve".to_owned());
        let base = self.inventory()?.base().unwrap();
        Ok(Resolution { base, indexes: Digest::of_file(INDEX), changes: vec![change()], kept_back: Vec::new(), in_use: Vec::new() })
    }
    fn rehearse(&self, cohort: &Cohort, base: Digest, debs: &Path, _: &Path, _: bool) -> Result<Rehearsed, HostError> {
        self.0.lock().unwrap().acts.push("rehearse".to_owned());
        let deb = debs.join(format!("{}.deb", Digest::of_file(DEB).hex()));
        assert_eq!(fs::read(deb).unwrap(), DEB);
        Ok(Rehearsed { rehearsal: Rehearsal { base, ..rehearsal(cohort) }, failing: Vec::new(), rest: None })
    }
    fn start(&self, transaction: &Transaction) -> Result<(), HostError> {
        let mut world = self.0.lock().unwrap();
        world.started += 1;
        world.version += 1;
        world.acts.push("start".to_owned());
        world.ended.insert(transaction.id, 7);
        if std::mem::take(&mut world.die_in_start) {
            return Err(HostError("killed".to_owned()));
        }
        Ok(())
    }
    fn progress(&self, transaction: &Transaction) -> Result<Progress, HostError> {
        let world = self.0.lock().unwrap();
        if let (true, Some(paths_compared)) = (world.started > 0, world.puts_itself_back) {
            return Ok(Progress::Before { why: "postinst failed".to_owned(), paths_compared });
        }
        Ok(world.ended.get(&transaction.id).map_or(Progress::NotStarted, |ms| Progress::After(*ms)))
    }
    fn undo(&self, _: &Transaction) -> Result<UndoProof, HostError> {
        let mut world = self.0.lock().unwrap();
        world.version = 0;
        world.broken_after = false;
        world.acts.push("undo".to_owned());
        Ok(UndoProof { paths_compared: 9, differences: Vec::new(), exempt: Vec::new() })
    }
    fn checks(&self, checks: &[Check], _: Option<&[(String, CheckAnswer)]>) -> Vec<(String, CheckAnswer)> {
        let mut world = self.0.lock().unwrap();
        world.checks_since += u32::from(world.version > 0);
        let late = world.breaks_after_checks.is_some_and(|limit| world.checks_since > limit);
        let bad = world.version > 0 && (world.broken_after || late);
        let answer = || if bad { CheckAnswer::Failed { why: "503".to_owned() } } else { CheckAnswer::Fine };
        checks.iter().map(|check| (check.name().to_owned(), answer())).collect()
    }
    fn hook(&self, hook: Hook) -> Result<(), HostError> {
        self.0.lock().unwrap().acts.push(format!("{hook:?}").to_lowercase());
        Ok(())
    }
    fn restarted(&self, _: &Transaction) -> Result<(), HostError> {
        if self.0.lock().unwrap().restart_fails { Err(HostError("site.service: it did not come up".to_owned())) } else { Ok(()) }
    }
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
    fn space_bytes(&self) -> u64 {
        self.0.lock().unwrap().space
    }
}

impl Archives for FakeHost {
    fn verify(&self, pins: &[IndexPin], _: &[PackageChange], store: &Store, newest: &mut Newest, now: Timestamp) -> Result<(), String> {
        if let Some(why) = &self.0.lock().unwrap().archives_refuse {
            return Err(why.clone());
        }
        for pin in pins {
            assert!(store.has(&pin.inrelease));
            newest.insert(pin.suite.clone(), now);
        }
        Ok(())
    }
    fn lists(&self, _: &[IndexPin], _: &Store, _: &Path) -> Result<(), String> {
        Ok(())
    }
}

/// A clock that stands still until somebody sleeps.
pub struct FakeClock(pub Mutex<Timestamp>);

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
    fn sleep(&self, span: Duration) {
        let mut now = self.0.lock().unwrap();
        *now = *now + span;
    }
}

pub fn change() -> PackageChange {
    PackageChange {
        name: "site".to_owned(),
        arch: "all".to_owned(),
        source: "site".to_owned(),
        from: Some(version("1.0")),
        to: Some(version("2.0")),
        offer: Some(Offer {
            origin: "Debian".to_owned(),
            label: "Debian".to_owned(),
            suite: "bookworm".to_owned(),
            uri: "http://archive.test/debian".to_owned(),
            filename: "pool/site.deb".to_owned(),
            size: DEB.len() as u64,
            sha256: Digest::of_file(DEB),
        }),
        class: UpdateClass::Security,
        closes: Vec::new(),
    }
}

pub fn cohort(host: HostId, base: Digest, checks: Vec<Check>) -> Cohort {
    Cohort { changes: vec![change()], hosts: BTreeMap::from([(host, base)]), checks, soak_s: 5, config_files: ConfigFiles::Keep }
}

pub fn rehearsal(cohort: &Cohort) -> Rehearsal {
    Rehearsal { space_bytes: 100, ..Rehearsal::begun(Digest::of_file(b"another host of the cohort"), cohort.changes.clone()) }
}

/// Everything that goes into an apply order, to be bent by tests.
pub struct Order2 {
    pub cohort: Cohort,
    pub plan: Plan,
    pub rehearsal: Rehearsal,
    pub statement: Statement,
    pub author: u8,
    pub signers: Vec<u8>,
}

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub config: Config,
    pub host: FakeHost,
    pub clock: Arc<FakeClock>,
    pub key: SigningKey,
    pub id: HostId,
    pub served: BTreeMap<Digest, Vec<u8>>,
    sequence: u64,
}

/// The server's log key, and how it is pinned.
pub fn log_key() -> (SigningKey, VerifierKey) {
    let key = SigningKey::from_bytes(&[8; 32]);
    let pinned = VerifierKey::new("fother-server/log", Kind::Log, key.verifying_key()).unwrap();
    (key, pinned)
}

/// A person's key.
pub fn person(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub fn txn(number: u8) -> TransactionId {
    TransactionId::new(u64::from(number), [number; 10])
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        let mut config = Config::system(dir.path(), uid, gid, "/bin/false".into());
        config.owner_uid = uid;
        for path in [&config.data, &config.etc, &config.run, &config.spool()] {
            fs::create_dir_all(path).unwrap();
        }
        let key = SigningKey::from_bytes(&[7; 32]);
        let id = HostId::new(1, [1; 10]);
        let identity = Identity { host: id, directive_key: Digest(key.verifying_key().to_bytes()).hex(), log_key: log_key().1.to_string() };
        fs::write(config.data.join(Identity::FILE), serde_json::to_vec(&identity).unwrap()).unwrap();
        write_key(&config.data, &SigningKey::from_bytes(&[9; 32]), &Disk::default()).unwrap();
        let world = World { space: 1 << 30, ..World::default() };
        let mut bench = Self {
            dir,
            config,
            host: FakeHost(Arc::new(Mutex::new(world))),
            clock: Arc::new(FakeClock(Mutex::new(Timestamp(1_700_000_000_000)))),
            key,
            id,
            served: BTreeMap::new(),
            sequence: 0,
        };
        bench.write_trust(1);
        for bytes in [DEB, INRELEASE, INDEX] {
            bench.served.insert(Digest::of_file(bytes), bytes.to_vec());
        }
        bench
    }

    pub fn write_trust(&self, required: u32) {
        let people: String = [("anna", 1), ("ben", 2), ("carl", 3)]
            .iter()
            .map(|(name, seed)| {
                format!("[[approver]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", person(*seed).public_key().to_openssh().unwrap())
            })
            .collect();
        let path = self.config.etc.join("trust.toml");
        fs::write(&path, format!("required = {required}\n{people}[limits]\norigins = [\"Debian\"]\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn executor(&self) -> Executor {
        self.executor_on(Disk::default())
    }

    pub fn executor_on(&self, disk: Disk) -> Executor {
        let archives: Arc<dyn Archives> = Arc::new(self.host.clone());
        Executor::open(self.config.clone(), Arc::new(self.host.clone()), archives, self.clock.clone(), disk).unwrap()
    }

    /// With real archives instead of the fake host's.
    pub fn executor_with(&self, archives: Arc<dyn Archives>) -> Executor {
        let disk = Disk::default();
        Executor::open(self.config.clone(), Arc::new(self.host.clone()), archives, self.clock.clone(), disk).unwrap()
    }

    pub fn pins() -> Vec<IndexPin> {
        vec![IndexPin {
            uri: "http://archive.test/debian".to_owned(),
            suite: "bookworm".to_owned(),
            inrelease: Digest::of_file(INRELEASE),
            indexes: vec![("main/binary-amd64/Packages".to_owned(), Digest::of_file(INDEX))],
        }]
    }

    /// A good order: a plan of one cohort with this host, rehearsed, written by carl, approved by anna.
    pub fn good(&self) -> Order2 {
        let base = inventory(false, 0).base().unwrap();
        let checks = vec![Check::Unit { name: "site".to_owned(), unit: "site.service".to_owned() }];
        let cohort = cohort(self.id, base, checks);
        let now = self.clock.now();
        let policy = Digest::of_file(b"policy");
        let plan = Plan {
            group: "web".to_owned(),
            select: "true".to_owned(),
            policy,
            budget: Budget::of(Share::Count(1)),
            rollout: Strategy::of(1, Vec::new(), 5),
            window: "always".to_owned(),
            approvals: 1,
            undo_s: 3600,
            excluded: BTreeMap::new(),
            terms: Terms::default(),
            pins: Self::pins(),
            cohorts: CohortTree::over(&BTreeSet::from([cohort.digest().unwrap()])),
        };
        let rehearsal = rehearsal(&cohort);
        let statement = Statement {
            action: Action::Apply,
            change: ChangeId::new(1, [1; 10]),
            plan: plan.digest().unwrap(),
            rehearsals: BTreeMap::from([(cohort.digest().unwrap(), rehearsal.digest().unwrap())]),
            acknowledged: BTreeSet::new(),
            policy,
            hosts: BTreeSet::from([self.id]),
            window: Vec::new(),
            author: "carl".to_owned(),
            author_key: person(3).public_key().fingerprint(HashAlg::Sha256).to_string(),
            undo_until: now + Duration::from_secs(3600),
            expires: now + Duration::from_secs(600),
        };
        Order2 { cohort, plan, rehearsal, statement, author: 3, signers: vec![1] }
    }

    /// The order as the server would send it; its blobs are served.
    pub fn apply_order(&mut self, parts: &Order2, txn: TransactionId) -> Order {
        let statement = parts.statement.bytes().unwrap();
        let sign = |seed: u8, namespace| person(seed).sign(namespace, HashAlg::Sha512, &statement).unwrap().to_pem(LineEnding::LF).unwrap();
        let approvals = parts.signers.iter().map(|seed| sign(*seed, NAMESPACE)).collect();
        let author = sign(parts.author, AUTHOR_NAMESPACE);
        for (kind, bytes) in [
            ("plan", canonical::to_vec(&parts.plan).unwrap()),
            ("cohort", canonical::to_vec(&parts.cohort).unwrap()),
            ("rehearsal", canonical::to_vec(&parts.rehearsal).unwrap()),
            ("statement", statement.clone()),
        ] {
            self.served.insert(Digest::of_kind(kind, &bytes), bytes);
        }
        Order::Apply {
            txn,
            plan: parts.plan.digest().unwrap(),
            cohort: parts.cohort.digest().unwrap(),
            place: Place { index: 0, proof: Vec::new() },
            rehearsal: parts.rehearsal.digest().unwrap(),
            statement: Digest::of_kind("statement", &statement),
            author,
            approvals,
            standing: false,
        }
    }

    pub fn directive(&mut self, order: Order) -> Directive {
        self.sequence += 1;
        let now = self.clock.now();
        let sequence = self.sequence;
        let id = DirectiveId::new(sequence, [u8::try_from(sequence).unwrap(); 10]);
        Directive { id, host: self.id, sequence, issued: now, expires: now + Duration::from_secs(300), order }
    }

    pub fn signed(&mut self, order: Order) -> SignedDirective {
        let directive = self.directive(order);
        sign(&directive, &self.key).unwrap()
    }

    /// What an honest network half does with needs, in a few rounds: statement, plan and cohort, their files, and what comes wrong again.
    pub fn deliver(&self, executor: &Executor) -> Vec<String> {
        let mut refused = Vec::new();
        for _ in 0..crate::executor::DELIVERIES_MAX + 4 {
            let Answer::Needs { needs } = executor.answer(&Request::Needs) else { panic!("no needs") };
            for need in needs {
                if let Answer::Refused { why } = self.deliver_one(executor, &need) {
                    refused.push(why);
                }
            }
        }
        refused
    }

    fn deliver_one(&self, executor: &Executor, need: &Need) -> Answer {
        if let Some(bytes) = self.served.get(&need.digest()) {
            fs::write(self.config.spool().join(need.digest().hex()), bytes).unwrap();
        }
        executor.answer(&Request::Delivered { digest: need.digest() })
    }

    /// Hands over the directive, delivers what it needs, and works until nothing is left; the executor's new reports.
    pub fn carry_out(&mut self, order: Order) -> Vec<Outcome> {
        let signed = self.signed(order);
        self.carry_out_signed(&signed)
    }

    pub fn carry_out_signed(&mut self, signed: &SignedDirective) -> Vec<Outcome> {
        let executor = self.executor();
        let _ = executor.answer(&Request::Directive { signed: signed.clone() });
        self.deliver(&executor);
        while executor.step().unwrap() {}
        self.outcomes(&executor)
    }

    pub fn reports(executor: &Executor) -> Vec<Report> {
        let Answer::Status(status) = executor.answer(&Request::Status) else { panic!("no status") };
        status.reports
    }

    /// Takes the pending outcomes and acknowledges them.
    pub fn outcomes(&self, executor: &Executor) -> Vec<Outcome> {
        let reports = Self::reports(executor);
        if let Some(last) = reports.last() {
            let _ = executor.answer(&Request::Acknowledge { number: last.number });
        }
        reports.into_iter().map(|report| report.outcome).collect()
    }

    pub fn acts(&self) -> Vec<String> {
        self.host.0.lock().unwrap().acts.clone()
    }
}
