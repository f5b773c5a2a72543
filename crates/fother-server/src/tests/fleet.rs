//! What the tests share: a policy, people with keys, a stand-in for mirrors, scripted hosts, an HTTP client over TLS.

use crate::{Archives, Draft, Error, PackageError, Submit, agents::take_check_in, engine::Engine};
use ed25519_dalek::{SigningKey, VerifyingKey};
use fother_core::{
    Digest, Timestamp,
    approval::{AUTHOR_NAMESPACE, NAMESPACE, Trust},
    assess::in_use::PackageUse,
    canonical,
    checkpoint::{self, Checkpoint, Note, VerifierKey},
    directive::{Directive, Order, SignedDirective},
    epoch::{self, SignedEpoch},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TransactionId},
    inventory::{Distribution, Inventory, Labels, Reboot},
    package::{Offer, UpdateClass},
    policy::{self, Policy},
    protocol::{CheckIn, CheckInAnswer, Enrol, Enrolled, Outcome, Report, Token, VERSION},
    rehearsal::{Exercised, Rehearsal, Verdict},
    resolution::{PackageChange, Resolution},
    witness,
};
use fother_feeds::{archive::Snapshot, release::Release};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use ssh_key::{HashAlg, LineEnding, PrivateKey, private::Ed25519Keypair};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, mpsc::Receiver},
    time::Duration,
};

pub(super) const URI: &str = "http://archive.invalid/debian";

pub(super) fn policy() -> Policy {
    policy_with("approvals = 1", "")
}

/// The same with other keys of the group, and further sections.
pub(super) fn policy_with(group: &str, rest: &str) -> Policy {
    Policy::parse(&format!(
        r#"
        [group.web]
        select = 'role == "web"'
        window = "always"
        budget = {{ unavailable = 3 }}
        rollout = {{ canary = 1, waves = ["50%", "100%"], soak_s = 1 }}
        checks = ["up"]
        {group}
        [check.up]
        kind = "unit"
        name = "up"
        unit = "nginx.service"
        [archive.main]
        uri = "{URI}"
        suite = "bookworm"
        components = ["main"]
        signed_by = "/nowhere"
        {rest}
        "#
    ))
    .unwrap_or_else(|error| panic!("{error}"))
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

pub(super) fn public(seed: u8) -> String {
    key(seed).public_key().to_openssh().unwrap()
}

pub(super) fn signed(seed: u8, namespace: &str, bytes: &[u8]) -> String {
    key(seed).sign(namespace, HashAlg::Sha256, bytes).unwrap().to_pem(LineEnding::LF).unwrap()
}

pub(super) const ANNA: u8 = 1;
pub(super) const BERT: u8 = 2;

pub(super) fn trust() -> Trust {
    let person = |name, seed| format!("[[approver]]\nname = \"{name}\"\nkeys = [\"{}\"]\n", key(seed).public_key().to_openssh().unwrap());
    let limits = "[limits]\norigins = [\"Debian\"]\n";
    Trust::parse(&format!("required = 1\n{}{}{limits}", person("anna", ANNA), person("bert", BERT))).unwrap()
}

/// Stands in for mirrors: one archive, every package there.
pub(super) struct Canned(pub(super) PathBuf);

impl Archives for Canned {
    fn update(&self, archive: &policy::Archive, newest: Option<Timestamp>, now: Timestamp) -> Result<Snapshot, String> {
        let date = now - Duration::from_secs(60);
        if newest.is_some_and(|newest| newest > date) {
            return Err("refused: replayed".to_owned());
        }
        let text = format!("Origin: Debian\nDate: Sat, 11 Jul 2026 10:12:49 UTC\nSHA256:\n {} 1 a\n", Digest::of_file(b"a").hex());
        let mut release = Release::parse(&text).map_err(|error| error.to_string())?;
        release.date = date;
        let source = fother_core::inventory::Source {
            uri: archive.uri.clone(),
            suite: archive.suite.clone(),
            components: archive.components.clone(),
            signed_by: None,
        };
        Ok(Snapshot { source, arch: "amd64".to_owned(), release, inrelease: Digest::of_file(b"inrelease"), indexes: Vec::new() })
    }

    fn count(&self, _: &Snapshot) -> u64 {
        1
    }

    fn package(&self, _: &[Snapshot], name: &str, offer: &Offer) -> Result<PathBuf, PackageError> {
        if offer.uri == URI { Ok(self.0.clone()) } else { Err(PackageError::NotOffered(format!("no signed index offers {name}"))) }
    }

    fn file(&self, sha256: Digest) -> Option<PathBuf> {
        (sha256 == Digest::of_file(b"package")).then(|| self.0.clone())
    }
}

pub(super) fn canned(dir: &Path) -> Box<Canned> {
    let path = dir.join("package");
    std::fs::write(&path, b"package").unwrap();
    Box::new(Canned(path))
}

pub(super) fn open(dir: &Path) -> (Arc<Engine>, Receiver<()>) {
    Engine::open(&dir.join("data"), policy(), trust(), canned(dir)).unwrap()
}

pub(super) fn labels() -> Labels {
    Labels::from([("role".to_owned(), "web".to_owned()), ("zone".to_owned(), "a".to_owned())])
}

pub(super) fn inventory(hostname: &str) -> Inventory {
    Inventory {
        hostname: hostname.to_owned(),
        distribution: Distribution { id: "debian".to_owned(), version: "12".to_owned(), codename: "bookworm".to_owned() },
        architecture: "amd64".to_owned(),
        kernel: "6.1".to_owned(),
        boot_id: "b".to_owned(),
        packages: Vec::new(),
        sources: Vec::new(),
        services: Vec::new(),
        reboot: Reboot::No,
        other_patchers: Vec::new(),
        unknown: Vec::new(),
    }
}

pub(super) fn changes() -> Vec<PackageChange> {
    let offer = Offer {
        origin: "Debian".to_owned(),
        label: "Debian".to_owned(),
        suite: "bookworm".to_owned(),
        uri: URI.to_owned(),
        filename: "pool/n/nginx.deb".to_owned(),
        size: 7,
        sha256: Digest::of_file(b"package"),
    };
    vec![PackageChange {
        name: "nginx".to_owned(),
        arch: "amd64".to_owned(),
        source: "nginx".to_owned(),
        from: Some("1.0".parse().unwrap()),
        to: Some("1.1".parse().unwrap()),
        offer: Some(offer),
        class: UpdateClass::Security,
        closes: Vec::new(),
    }]
}

/// A scripted host: what a real agent keeps on its disk.
pub(super) struct Host {
    pub(super) id: HostId,
    pub(super) inventory: Inventory,
    pub(super) enrolled: Enrolled,
    pub(super) key: KeyPair,
    pub(super) seen: u64,
    /// The epoch of the log that it is in, and where that began if it had seen more.
    pub(super) epoch: u64,
    branch: Option<Checkpoint>,
    pub(super) next: u64,
    pub(super) pending: Vec<Report>,
    /// Whether it keeps what was acknowledged, and what it keeps.
    pub(super) keeps: bool,
    told: Vec<Report>,
    /// The newest checkpoint, cosigned.
    pub(super) note: Option<String>,
    /// What it resolves to, but for what is excluded.
    pub(super) offered: Vec<PackageChange>,
    /// Who runs what changes.
    pub(super) in_use: Vec<PackageUse>,
    /// What its rehearsals exercise.
    pub(super) exercised: Vec<Exercised>,
    /// How often each transaction was carried out.
    pub(super) done: BTreeMap<TransactionId, u32>,
}

/// The key that a scripted host cosigns with.
fn cosigning(hostname: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of_file(hostname.as_bytes()).0)
}

fn cosigner(key: &SigningKey) -> String {
    Digest(key.verifying_key().to_bytes()).hex()
}

pub(super) fn enrolment(token: &str, hostname: &str) -> (Enrol, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let csr = CertificateParams::new(Vec::new()).unwrap().serialize_request(&key).unwrap().pem().unwrap();
    (
        Enrol {
            secret: Token::parse(token).unwrap().secret,
            csr,
            hostname: hostname.to_owned(),
            cosigner: cosigner(&cosigning(hostname)),
            observe: false,
        },
        key,
    )
}

impl Host {
    pub(super) fn new(enrolled: Enrolled, key: KeyPair, hostname: &str) -> Self {
        let id = enrolled.host;
        Self {
            id,
            inventory: inventory(hostname),
            enrolled,
            key,
            seen: 0,
            epoch: 0,
            branch: None,
            next: 1,
            pending: Vec::new(),
            keeps: false,
            told: Vec::new(),
            note: None,
            offered: changes(),
            in_use: Vec::new(),
            exercised: Vec::new(),
            done: BTreeMap::new(),
        }
    }

    pub(super) fn report(&mut self, directive: Option<DirectiveId>, outcome: Outcome) {
        self.pending.push(Report { number: self.next, directive, outcome });
        self.next += 1;
    }

    pub(super) fn check_in(&self) -> CheckIn {
        CheckIn {
            version: VERSION,
            session: None,
            inventory: self.inventory.digest().unwrap(),
            base: self.inventory.base().unwrap(),
            reports: self.pending.clone(),
            seen: self.seen,
            epoch: self.epoch,
            oldest: self.keeps.then(|| self.told.first().or(self.pending.first()).map_or(self.next, |report| report.number)),
            checkpoint: self.note.clone(),
            clock: crate::clock::Clock::start().now(),
            observe: false,
        }
    }

    /// Takes an answer in; blobs to send first come out.
    pub(super) fn take(&mut self, answer: &CheckInAnswer) -> Vec<(&'static str, Vec<u8>)> {
        if self.keeps {
            self.told.append(&mut self.pending);
            self.pending = self.told.split_off(self.told.partition_point(|report| report.number <= answer.acknowledged));
        } else {
            self.pending.retain(|report| report.number > answer.acknowledged);
        }
        answer.epoch.iter().for_each(|signed| self.enter(signed));
        self.witness(answer);
        let mut blobs = Vec::new();
        for signed in &answer.directives {
            let directive: Directive = serde_json::from_str(&signed.directive).unwrap();
            if directive.sequence > self.seen {
                self.seen = directive.sequence;
                blobs.extend(self.act(directive));
            }
        }
        blobs
    }

    /// Goes over to another epoch as a real agent does.
    fn enter(&mut self, signed: &SignedEpoch) {
        let key = VerifyingKey::from_bytes(&Digest::from_hex(&self.enrolled.directive_key).unwrap().0).unwrap();
        let epoch = signed.open(&key).expect("signed by the directive key");
        (self.epoch, self.seen) = (epoch.number, self.seen.max(epoch::base(epoch.number)));
        let log: VerifierKey = self.enrolled.log_key.parse().unwrap();
        let seen = self.note.as_deref().map(|note| checkpoint::open(note, &log).unwrap());
        if seen.is_some_and(|seen| seen.size > epoch.size) {
            self.note = None;
            self.branch = Some(Checkpoint { origin: log.name().to_owned(), size: epoch.size, root: epoch.root });
        }
    }

    /// Judges and cosigns as a real agent does.
    fn witness(&mut self, answer: &CheckInAnswer) {
        let log: VerifierKey = self.enrolled.log_key.parse().unwrap();
        let seen = self.note.as_deref().map(|note| checkpoint::open(note, &log).unwrap()).or(self.branch.clone());
        let shown = answer.checkpoint.as_deref().unwrap();
        witness::judge(&log, seen.as_ref(), shown, &answer.consistency).unwrap();
        let mut note: Note = shown.parse().unwrap();
        note.cosign(&self.id.to_string(), &cosigning(&self.inventory.hostname), 1).unwrap();
        self.note = Some(note.to_string());
    }

    fn act(&mut self, directive: Directive) -> Option<(&'static str, Vec<u8>)> {
        let (id, base) = (Some(directive.id), self.inventory.base().unwrap());
        match directive.order {
            Order::Resolve { exclude, .. } => {
                let changes = self.offered.iter().filter(|change| !exclude.contains(&change.source)).cloned().collect();
                let resolution = Resolution { base, indexes: base, changes, kept_back: Vec::new(), in_use: self.in_use.clone() };
                self.report(id, Outcome::Resolved { resolution: resolution.digest().unwrap(), base });
                Some(("resolution", canonical::to_vec(&resolution).unwrap()))
            }
            Order::Rehearse { attest, .. } => {
                let mut rehearsal = Rehearsal { exercised: self.exercised.clone(), ..Rehearsal::begun(base, self.offered.clone()) };
                if attest {
                    rehearsal = rehearsal.attest(self.id, &cosigning(&self.inventory.hostname)).unwrap();
                }
                let outcome = Outcome::Rehearsed { rehearsal: rehearsal.digest().unwrap(), verdict: Verdict::Passes, failing: Vec::new() };
                self.report(id, outcome);
                Some(("rehearsal", canonical::to_vec(&rehearsal).unwrap()))
            }
            Order::Apply { txn, .. } => {
                *self.done.entry(txn).or_default() += 1;
                self.report(id, Outcome::Started { txn });
                self.report(id, Outcome::Applied { txn, apply_ms: 5 });
                self.report(id, Outcome::Verified { txn, remarks: Vec::new() });
                None
            }
            Order::Undo { txn, .. } => {
                self.report(id, Outcome::RolledBack { txn, why: "asked".to_owned(), paths_compared: 1, differences: Vec::new() });
                None
            }
        }
    }

    /// One check-in with the engine itself.
    pub(super) fn turn(&mut self, engine: &Engine) -> CheckInAnswer {
        let answer = take_check_in(engine, self.id, &self.check_in()).unwrap();
        for (kind, bytes) in self.take(&answer) {
            engine.store.put_blob(kind, &bytes).unwrap();
        }
        answer
    }
}

/// Enrols `count` hosts that have checked in with their inventory.
pub(super) fn enrolled(engine: &Engine, count: usize) -> Vec<Host> {
    let one = |number| {
        let token = engine.create_token("uid:0", labels()).unwrap();
        let name = format!("web{number}");
        let (enrol, key) = enrolment(&token, &name);
        let mut host = Host::new(crate::agents::admit(engine, &enrol).unwrap(), key, &name);
        engine.store.put_blob("inventory", &canonical::to_vec(&host.inventory).unwrap()).unwrap();
        host.turn(engine);
        host
    };
    (0..count).map(one).collect()
}

/// Anna drafts, signs and submits a plan.
pub(super) fn submitted(engine: &Engine, plan: Digest, acknowledge: &[&str]) -> Result<(ChangeId, String), Error> {
    let acknowledge = acknowledge.iter().map(|unit| (*unit).to_owned()).collect();
    let (change, statement) = engine.draft(&Draft { plan, acknowledge, key: public(ANNA) })?;
    let signature = signed(ANNA, AUTHOR_NAMESPACE, statement.as_bytes());
    assert_eq!(engine.submit("uid:0", &Submit { statement: statement.clone(), signature })?, change);
    Ok((change, statement))
}

/// Everything up to an approved change.
pub(super) fn approved(engine: &Engine, hosts: &mut [Host]) -> ChangeId {
    let plan = rehearsed(engine, hosts);
    let (change, statement) = submitted(engine, plan, &[]).unwrap();
    engine.approve("uid:0", change, &signed(BERT, NAMESPACE, statement.as_bytes())).unwrap();
    change
}

/// Everything up to a rehearsed plan.
pub(super) fn rehearsed(engine: &Engine, hosts: &mut [Host]) -> Digest {
    engine.update_archives("uid:0").unwrap();
    engine.resolve("uid:0", "web", BTreeSet::new()).unwrap();
    hosts.iter_mut().for_each(|host| drop((host.turn(engine), host.turn(engine))));
    let made = engine.make_plan("uid:0", "web", &BTreeMap::new(), None).unwrap();
    assert_eq!((made.cohorts.len(), made.unknown.len()), (1, 0));
    engine.rehearse("uid:0", made.plan, false).unwrap();
    hosts.iter_mut().for_each(|host| drop((host.turn(engine), host.turn(engine))));
    made.plan
}

pub(super) fn started(engine: &Engine, hosts: &mut [Host]) -> RolloutId {
    let change = approved(engine, hosts);
    engine.start_rollout("uid:0", change, false).unwrap()
}

/// TLS as an agent speaks it: one CA, optionally a certificate.
pub(super) fn client(ca_pem: &str, own: Option<(&str, &KeyPair)>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    Arc::new(match own {
        None => builder.with_no_client_auth(),
        Some((pem, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()];
            builder.with_client_auth_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()))).unwrap()
        }
    })
}

/// One request over its own connection: status, head and body; an error where the connection breaks.
pub(super) fn ask(at: SocketAddr, tls: &Arc<ClientConfig>, line: &str, body: &[u8]) -> std::io::Result<(u16, String, Vec<u8>)> {
    let stream = TcpStream::connect_timeout(&at, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let connection = ClientConnection::new(Arc::clone(tls), "fother-server".try_into().unwrap()).map_err(std::io::Error::other)?;
    exchange(&mut StreamOwned::new(connection, stream), "fother-server", line, body)
}

/// Writes a request and reads its answer to the end.
pub(super) fn exchange(stream: &mut (impl Read + Write), host: &str, line: &str, body: &[u8]) -> std::io::Result<(u16, String, Vec<u8>)> {
    let length = body.len();
    write!(
        stream,
        "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    stream.flush()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let cut = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&bytes[..cut]).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok((status, head, bytes[cut + 4..].to_vec()))
}

pub(super) fn directives(answer: &[SignedDirective]) -> Vec<Directive> {
    answer.iter().map(|signed| serde_json::from_str(&signed.directive).unwrap()).collect()
}
