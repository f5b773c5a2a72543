//! A server that is somebody else's: it has every key and the database of an honest one, answers on its address, and sends what it likes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests may panic, and each test file uses its part")]

#[path = "../../../fother-feeds/tests/common/mod.rs"]
pub mod gpg;

use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp, canonical,
    directive::{Directive, Order, SignedDirective, sign},
    event::{Data, Event},
    id::{DirectiveId, HostId},
    protocol::{CheckIn, CheckInAnswer, Outcome, Report},
};
use fother_server::Identity;
use fother_store::Store;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

/// How long a host may take to answer a directive.
const ANSWER_WAIT: Duration = Duration::from_secs(120);
/// Pause between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(50);
/// Life of the directives.
const LIFE: Duration = Duration::from_secs(300);

/// The clock of this machine, which the lab's hosts share.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Timestamp(u64::try_from(since.as_millis()).unwrap())
}

/// What it sends, serves and hears.
#[derive(Default)]
struct Talk {
    directives: Vec<SignedDirective>,
    served: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
    reports: Vec<Report>,
    seen: u64,
    acknowledged: u64,
    heard: u64,
}

/// The server; ends with the value.
pub struct Evil {
    /// The stolen directive key.
    pub key: SigningKey,
    /// The only host that it speaks to.
    pub host: HostId,
    store: Store,
    cache: PathBuf,
    sequence: u64,
    talk: Arc<Mutex<Talk>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Evil {
    /// Takes over the address of a server that was stopped, with what lies in its data and cache directories.
    pub fn take_over(lab: &str, at: &str, data: &Path, cache: &Path, host: HostId) -> Self {
        let identity = Identity::open(data, now()).unwrap();
        let (chain, key) = identity.server_chain(&[], now()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = fother_lab::in_gateway(lab, || TcpListener::bind(at).unwrap()).unwrap();
        let store = Store::open_read_only(data).unwrap();
        // It knows what the true server acknowledged: whoever knows less is told everything again.
        let talk = Talk { acknowledged: acknowledged(&store, host), ..Talk::default() };
        let (talk, stop) = (Arc::new(Mutex::new(talk)), Arc::new(AtomicBool::new(false)));
        let (theirs, stopped, tls) = (Arc::clone(&talk), Arc::clone(&stop), Arc::new(tls));
        listener.set_nonblocking(true).unwrap();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let (tls, talk) = (Arc::clone(&tls), Arc::clone(&theirs));
                        std::thread::spawn(move || _ = answer(stream, tls, &talk));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(20)),
                }
            }
        });
        let key = SigningKey::from_bytes(&identity.directive().to_bytes());
        let mut evil = Self { key, host, store, cache: cache.to_owned(), sequence: 0, talk, stop, thread: Some(thread) };
        let until = Instant::now() + ANSWER_WAIT;
        while evil.talk.lock().unwrap().heard == 0 {
            assert!(Instant::now() < until, "the host never came to its new server");
            std::thread::sleep(PAUSE);
        }
        evil.sequence = evil.talk.lock().unwrap().seen;
        evil
    }

    /// A blob out of the stolen database.
    pub fn blob<T: serde::de::DeserializeOwned>(&self, digest: Digest) -> T {
        serde_json::from_slice(&self.store.get_blob(&digest).unwrap().unwrap()).unwrap()
    }

    /// Serves a value as a blob of this kind; its name.
    pub fn forge<T: Serialize>(&self, kind: &str, value: &T) -> Digest {
        let bytes = canonical::to_vec(value).unwrap();
        let digest = Digest::of_kind(kind, &bytes);
        self.talk.lock().unwrap().served.insert(digest.hex(), bytes);
        digest
    }

    /// Serves bytes under the name of others, or under their own.
    pub fn serve(&self, name: Digest, bytes: &[u8]) {
        self.talk.lock().unwrap().served.insert(name.hex(), bytes.to_vec());
    }

    /// Serves everything that the stolen database and cache hold, as an honest server would.
    pub fn serve_stolen(&self, blobs: &[Digest], files: &[Digest]) {
        for digest in blobs {
            self.serve(*digest, &self.store.get_blob(digest).unwrap().unwrap());
        }
        for digest in files {
            self.serve(*digest, &fs::read(self.cache.join("sha256").join(digest.hex())).unwrap());
        }
    }

    /// A good directive around an order, the next in sequence.
    pub fn directive(&mut self, order: Order) -> Directive {
        self.sequence += 1;
        let issued = now();
        let id = DirectiveId::new(issued.ms(), [u8::try_from(self.sequence % 251).unwrap(); 10]);
        Directive { id, host: self.host, sequence: self.sequence, issued, expires: issued + LIFE, order }
    }

    /// Sends an order in a good directive; its final outcome.
    pub fn order(&mut self, order: Order) -> Outcome {
        let directive = self.directive(order);
        let signed = sign(&directive, &self.key).unwrap();
        self.send(signed, Some(directive.id))
    }

    /// Sends what it is given; the final outcome of the directive `id`, or of one that the host could not name.
    pub fn send(&self, signed: SignedDirective, id: Option<DirectiveId>) -> Outcome {
        let before = {
            let mut talk = self.talk.lock().unwrap();
            talk.directives = vec![signed];
            talk.reports.len()
        };
        let until = Instant::now() + ANSWER_WAIT;
        loop {
            let talk = self.talk.lock().unwrap();
            let mine = |report: &&Report| (report.directive == id || report.directive.is_none()) && report.outcome.is_final();
            if let Some(report) = talk.reports[before..].iter().find(mine) {
                return report.outcome.clone();
            }
            assert!(Instant::now() < until, "no answer to {id:?}; reports: {:?}", &talk.reports[before..]);
            drop(talk);
            std::thread::sleep(PAUSE);
        }
    }

    /// What the host has asked for since the last time: `<sha256 hex>` each.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.talk.lock().unwrap().asked)
    }
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The last report of this host that the stolen log holds.
fn acknowledged(store: &Store, host: HostId) -> u64 {
    let (mut next, mut last) = (0, 0);
    loop {
        let batch = store.read(next, 1_000).unwrap();
        let Some((newest, _)) = batch.last() else { return last };
        next = newest + 1;
        for (seq, bytes) in &batch {
            match Event::parse(*seq, bytes).unwrap().data {
                Data::HostReported { host: of, report } if of == host => last = last.max(report.number),
                _ => {}
            }
        }
    }
}

/// One request over one connection.
fn answer(stream: TcpStream, tls: Arc<ServerConfig>, talk: &Mutex<Talk>) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let length = head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let path = head.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let (status, body) = talk.lock().unwrap().reply(&path, &body);
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len())?;
    stream.write_all(&body)?;
    stream.conn.send_close_notify();
    stream.flush()
}

impl Talk {
    fn reply(&mut self, path: &str, body: &[u8]) -> (u16, Vec<u8>) {
        if path == "/agent/v1/check-in" {
            let check_in: CheckIn = serde_json::from_slice(body).unwrap();
            let last = self.acknowledged;
            self.reports.extend(check_in.reports.into_iter().filter(|report| report.number > last));
            self.acknowledged = self.reports.last().map_or(last, |report| report.number);
            self.seen = check_in.seen;
            self.heard += 1;
            let answer = CheckInAnswer {
                acknowledged: self.acknowledged,
                directives: std::mem::take(&mut self.directives),
                next_check_in_s: 0,
                wants_inventory: false,
                checkpoint: None,
                consistency: Vec::new(),
                stopped: false,
                epoch: None,
            };
            return (200, serde_json::to_vec(&answer).unwrap());
        }
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        self.asked.push(name.clone());
        match self.served.get(&name) {
            Some(bytes) => (200, bytes.clone()),
            None if path.contains("/blobs/") && !body.is_empty() => (204, Vec::new()),
            None => (404, Vec::new()),
        }
    }
}

/// Now, as a Release file says it.
pub fn release_date() -> String {
    let at = jiff::Timestamp::from_millisecond(i64::try_from(now().ms()).unwrap()).unwrap();
    at.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}
