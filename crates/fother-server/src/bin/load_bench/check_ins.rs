//! Check-ins over real mutual TLS: a fleet at its usual pace, and a fleet that comes back all at once after its server died.
//!
//! Arrivals are open-loop: each check-in begins when it is due, however long others take, and its time counts from then on.

use crate::{
    Failure, HOSTS, figure,
    made::{self, Writer},
    server::Server,
};
use fother_core::{
    Digest, Timestamp,
    checkpoint::Note,
    protocol::{CheckIn, CheckInAnswer, VERSION},
};
use fother_server::{Identity, SERVER_NAME};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore, SignatureScheme,
    client::{ResolvesClientCert, Resumption},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _};
use std::{
    collections::HashMap,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

/// Seconds of the usual pace, and check-ins a second: 100,000 hosts every five minutes.
const PACE_S: u64 = 60;
const PER_S: u64 = 333;
/// Seconds within which the whole fleet comes back.
const HERD_S: u64 = 60;
/// Seconds that are looked at after that.
const AFTER_S: u64 = 15;

/// What every agent brings.
struct Fleet {
    config: ClientConfig,
    key: Arc<dyn rustls::sign::SigningKey>,
    certificates: Vec<CertificateDer<'static>>,
    /// Inventories and bases.
    sets: Vec<(Digest, Digest)>,
    /// The newest checkpoint that anybody saw.
    checkpoint: Mutex<Option<Note>>,
    /// What agents that were here before kept, to resume with.
    known: Mutex<HashMap<usize, Arc<ClientConfig>>>,
}

pub(crate) fn run(fother: &Path, dir: &Path) -> Result<(), Failure> {
    let fleet = Arc::new(prepare(dir)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let server = Server::start(fother, dir)?;
    figure("start with 100,000 hosts, s", vec![server.start.as_secs_f64()]);
    // What a start leaves to do is done first.
    runtime.block_on(arrive(&fleet, server.agents, 0, PER_S * 5, Duration::from_secs(5)))?;
    for round in ["full handshakes", "the same hosts again"] {
        let (before, began) = (server.processor_s()?, Instant::now());
        let times = runtime.block_on(arrive(&fleet, server.agents, 2_000, PER_S * PACE_S, Duration::from_secs(PACE_S)))?;
        let share = (server.processor_s()? - before) / began.elapsed().as_secs_f64() * 100.0;
        figure(&format!("check-ins at 333/s, {round}: % of one core"), vec![share]);
        times.print(&format!("check-ins at 333/s, {round}"));
    }
    figure("check-ins: memory, MiB", vec![server.memory_mib("VmRSS")?]);
    figure("check-ins: most memory, MiB", vec![server.memory_mib("VmHWM")?]);
    server.kill()?;
    let server = Server::start(fother, dir)?;
    let (before, began) = (server.processor_s()?, Instant::now());
    let times = runtime.block_on(arrive(&fleet, server.agents, 0, HOSTS as u64, Duration::from_secs(HERD_S)))?;
    let took = began.elapsed().as_secs_f64();
    figure("herd: all 100,000 answered, s", vec![took]);
    figure("herd: % of one core", vec![(server.processor_s()? - before) / took * 100.0]);
    times.print("herd");
    figure("herd: most memory, MiB", vec![server.memory_mib("VmHWM")?]);
    runtime.block_on(arrive(&fleet, server.agents, 0, PER_S * AFTER_S, Duration::from_secs(AFTER_S)))?.print("after the herd");
    server.kill()
}

fn prepare(dir: &Path) -> Result<Fleet, Failure> {
    let data = dir.join("data");
    made::private(&data)?;
    let identity = Identity::open(&data, now()?)?;
    // One key for all: what a server does per handshake is the same, and a hundred thousand of them would tell nothing more.
    let pair = KeyPair::generate()?;
    let request = CertificateParams::new(Vec::new())?.serialize_request(&pair)?.pem()?;
    let mut certificates = Vec::with_capacity(HOSTS);
    let mut writer = Writer::open(&data, now()?)?;
    let sets = made::enrol(&mut writer, |host| {
        let (pem, digest) = identity.certify(&request, host, now()?)?;
        certificates.push(CertificateDer::from_pem_slice(pem.as_bytes())?);
        Ok(digest)
    })?;
    let mut roots = RootCertStore::empty();
    roots.add(identity.ca_der().clone())?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let key = rustls::crypto::ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der())))?;
    Ok(Fleet { config, key, certificates, sets, checkpoint: Mutex::default(), known: Mutex::default() })
}

fn now() -> Result<Timestamp, Failure> {
    Ok(Timestamp(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?))
}

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// How long check-ins took, in milliseconds, and how many did not work.
struct Times {
    all: Vec<f64>,
    failed: usize,
    why: Option<String>,
}

impl Times {
    fn print(mut self, what: &str) {
        self.all.sort_by(f64::total_cmp);
        let at = |share: f64| {
            self.all.get(((self.all.len() as f64 * share) as usize).min(self.all.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        println!("{what}: ms\t{}\t{:.3}\t{:.3}\t{:.3}", self.all.len(), at(0.0), at(0.5), at(1.0));
        println!("{what}: p99, ms\t{}\t{:.3}\t{:.3}\t{:.3}", self.all.len(), at(0.99), at(0.99), at(0.99));
        println!("{what}: not answered\t1\t{}\t{}\t{}", self.failed, self.failed, self.failed);
        self.why.iter().for_each(|why| println!("# {what}: {why}"));
    }
}

/// Lets `count` hosts from number `first` on check in once each, evenly over `time`.
async fn arrive(fleet: &Arc<Fleet>, server: SocketAddr, first: usize, count: u64, time: Duration) -> Result<Times, Failure> {
    let began = tokio::time::Instant::now();
    let (mut tasks, mut times) = (JoinSet::new(), Times { all: Vec::new(), failed: 0, why: None });
    let mut take = |done: Result<Result<Duration, Failure>, tokio::task::JoinError>| match done {
        Ok(Ok(time)) => times.all.push(time.as_secs_f64() * 1_000.0),
        Ok(Err(error)) => {
            times.failed += 1;
            times.why = Some(error.to_string());
        }
        Err(error) => {
            times.failed += 1;
            times.why = Some(error.to_string());
        }
    };
    for n in 0..count {
        let due = began + time.mul_f64(n as f64 / count as f64);
        tokio::time::sleep_until(due).await;
        let fleet = Arc::clone(fleet);
        tasks.spawn(async move {
            let host = (first + usize::try_from(n)?) % HOSTS;
            check_in(&fleet, server, host).await?;
            Ok(due.elapsed())
        });
        while let Some(done) = tasks.try_join_next() {
            take(done);
        }
    }
    while let Some(done) = tasks.join_next().await {
        take(done);
    }
    Ok(times)
}

/// One connection, one check-in.
async fn check_in(fleet: &Fleet, server: SocketAddr, host: usize) -> Result<(), Failure> {
    let config = fleet.config_of(host)?;
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut stream = TlsConnector::from(config).connect(ServerName::try_from(SERVER_NAME)?, stream).await?;
    let body = serde_json::to_vec(&fleet.says(host)?)?;
    let head = format!(
        "POST /agent/v1/check-in HTTP/1.1\r\nhost: {SERVER_NAME}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let fine = answer.starts_with(b"HTTP/1.1 200");
    let Some(at) = answer.windows(4).position(|four| four == b"\r\n\r\n").filter(|_| fine) else {
        return Err(String::from_utf8_lossy(&answer).into_owned().into());
    };
    let answer: CheckInAnswer = serde_json::from_slice(&answer[at + 4..])?;
    if answer.wants_inventory || !answer.directives.is_empty() {
        return Err("the server wants more than a quiet host has".into());
    }
    *fleet.checkpoint.lock().map_err(|_| "poisoned")? = answer.checkpoint.map(|note| note.parse()).transpose()?;
    Ok(())
}

impl Fleet {
    /// The host's own certificate, and what it can resume with.
    fn config_of(&self, host: usize) -> Result<Arc<ClientConfig>, Failure> {
        if let Some(known) = self.known.lock().map_err(|_| "poisoned")?.get(&host) {
            return Ok(Arc::clone(known));
        }
        let mut config = self.config.clone();
        let certificate = self.certificates.get(host).ok_or("no such host")?.clone();
        config.client_auth_cert_resolver = Arc::new(Shows(Arc::new(CertifiedKey::new(vec![certificate], Arc::clone(&self.key)))));
        config.resumption = Resumption::in_memory_sessions(1);
        let config = Arc::new(config);
        self.known.lock().map_err(|_| "poisoned")?.insert(host, Arc::clone(&config));
        Ok(config)
    }

    /// What a host without news says: its digests, and the newest checkpoint with its cosignature.
    fn says(&self, host: usize) -> Result<CheckIn, Failure> {
        let (inventory, base) = self.sets[host % self.sets.len()];
        let mut checkpoint = self.checkpoint.lock().map_err(|_| "poisoned")?.clone();
        if let Some(note) = &mut checkpoint {
            note.cosign(&made::host(host).to_string(), &made::cosigner(), now()?.ms() / 1_000)?;
        }
        let checkpoint = checkpoint.map(|note| note.to_string());
        Ok(CheckIn {
            version: VERSION,
            session: None,
            inventory,
            base,
            reports: Vec::new(),
            seen: 0,
            epoch: 0,
            oldest: None,
            checkpoint,
            clock: now()?,
            observe: false,
        })
    }
}
