//! The half without privileges: carries directives, files, blobs and reports between server and executor over mutual TLS; decides nothing.

use crate::{
    config::{Client, Config, ConfigError},
    durable::Disk,
    host::{Clock, SystemClock},
    ipc::{self, Answer, Need, Request, Status},
    renewal,
    tls::{self, TlsError},
};
use fother_core::{
    Digest,
    protocol::{CheckIn, CheckInAnswer, VERSION, VERSION_MIN},
    text::printable,
};
use std::{
    cell::Cell,
    fs::{self, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    time::{Duration, Instant},
};
use ureq::{Agent, Body, http::Response};

/// First wait after an error.
pub const BACK_OFF_MIN: Duration = Duration::from_secs(1);
/// Longest wait after errors.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(60);
/// Longest wait that a server can ask for, in seconds.
pub const CHECK_IN_S_MAX: u32 = 3600;
/// How soon the next check-in follows where the executor works on something.
pub const BUSY: Duration = Duration::from_secs(1);
/// Largest answer to a check-in, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 20 << 20;
/// Largest problem document that is read, in bytes, and how much of it is repeated, in characters.
const PROBLEM_BYTES_MAX: u64 = 64 << 10;
const PROBLEM_CHARS_MAX: usize = 500;
/// HTTP's word for a body that was read and does not fit (RFC 9110, 15.5.21).
const UNREADABLE: u16 = 422;
/// How often the certificate's end is looked at.
pub const RENEWAL_EVERY: Duration = Duration::from_secs(3_600);
/// Attempts to fetch one file before the next check-in.
pub const FETCH_ATTEMPTS: u32 = 3;

/// Why a round did not work.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// Not enrolled.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection.
    #[error("the server cannot be reached: {0}")]
    Http(#[from] ureq::Error),
    /// It says no.
    #[error("the server answers {status} to {what}: {why}")]
    Status {
        /// To what.
        what: String,
        /// HTTP status.
        status: u16,
        /// What it said.
        why: String,
    },
    /// Its answer is malformed.
    #[error("the server's answer to a check-in cannot be read: {0}")]
    Malformed(String),
    /// The executor is not there or refuses.
    #[error("the executor cannot be asked: {0}; is fother-executor.service running?")]
    Executor(#[from] io::Error),
}

/// The network half.
pub struct Network {
    config: Config,
    http: Agent,
    clock: SystemClock,
    /// Names this run; see [`CheckIn::session`].
    session: String,
    /// The server is of the version before: it is told nothing that it does not know.
    old: Cell<bool>,
}

impl Network {
    /// Reads what enrolment wrote.
    ///
    /// # Errors
    /// Where the host is not enrolled.
    pub fn open(config: &Config) -> Result<Self, NetworkError> {
        let client = Client::read(config)?;
        renewal::finish(config, &client.certificate)?;
        let path = config.net.join(Client::KEY_FILE);
        let key = fs::read_to_string(&path).map_err(|source| ConfigError::Read { path, source })?;
        let http = tls::client(&client.server, &tls::certificate_der(&client.ca)?, Some((&client.certificate, &key)))?;
        fs::create_dir_all(config.spool())?;
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| NetworkError::Executor(io::Error::other(error.to_string())))?;
        let session = random.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { config: config.clone(), http, clock: SystemClock, session, old: Cell::new(false) })
    }

    /// Renews the certificate where it is due; the network half under the new one.
    ///
    /// # Errors
    /// Where it is due and the server gives none: the old one goes on.
    pub fn renewed(&self) -> Result<Option<Self>, NetworkError> {
        if !renewal::is_due(&Client::read(&self.config)?.certificate, self.clock.now()) {
            return Ok(None);
        }
        self.renew_now()?;
        tracing::info!("the certificate was renewed");
        let (session, old) = (self.session.clone(), Cell::new(self.old.get()));
        Ok(Some(Self { session, old, ..Self::open(&self.config)? }))
    }

    /// Renews the certificate whether it is due or not.
    ///
    /// # Errors
    /// See [`renewal::renew`].
    pub fn renew_now(&self) -> Result<(), NetworkError> {
        renewal::renew(&self.config, &self.http, &Disk::default())
    }

    fn ask(&self, request: &Request) -> io::Result<Answer> {
        match ipc::ask(&self.config.socket(), request)? {
            Answer::Refused { why } => Err(io::Error::other(why)),
            answer => Ok(answer),
        }
    }

    fn status(&self) -> io::Result<Status> {
        match self.ask(&Request::Status)? {
            Answer::Status(status) => Ok(status),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// One round: blobs up, check-in, directives down, files down. Says when the next is due.
    ///
    /// # Errors
    /// See [`NetworkError`]; nothing is lost, the next round says it again.
    pub fn once(&self) -> Result<Duration, NetworkError> {
        self.send_blobs()?;
        let status = self.status()?;
        let answer = self.check_in(&status)?;
        if answer.wants_inventory {
            self.send_blob(&status.inventory)?;
        }
        self.ask(&Request::Acknowledge { number: answer.acknowledged })?;
        // Before the checkpoint: it continues what the epoch says, and would be a fork to a host that does not know of it.
        if let Some(signed) = answer.epoch {
            self.ask(&Request::Epoch { signed })?;
        }
        if let Some(note) = answer.checkpoint
            && let Err(error) = self.ask(&Request::Checkpoint { note, proof: answer.consistency })
        {
            tracing::warn!(%error, "the checkpoint was not cosigned");
        }
        // Before anything new is handed over.
        self.ask(&Request::Halt { halted: answer.stopped })?;
        for signed in answer.directives {
            if let Err(error) = self.ask(&Request::Directive { signed }) {
                tracing::warn!(%error, "a directive was not taken");
            }
        }
        let fetched = self.fetch_needs()?;
        let wait = Duration::from_secs(answer.next_check_in_s.min(CHECK_IN_S_MAX).into());
        let news = self.status()?.reports.iter().any(|report| report.number > answer.acknowledged);
        Ok(if fetched || news || answer.wants_inventory { wait.min(BUSY) } else { wait })
    }

    fn check_in(&self, status: &Status) -> Result<CheckInAnswer, NetworkError> {
        let check_in = CheckIn {
            version: if self.old.get() { VERSION_MIN } else { VERSION },
            session: (!self.old.get()).then(|| self.session.clone()),
            inventory: status.inventory,
            base: status.base,
            reports: status.reports.clone(),
            seen: status.seen,
            epoch: status.epoch,
            oldest: Some(status.oldest),
            checkpoint: status.checkpoint.clone(),
            clock: self.clock.now(),
            observe: status.observe,
        };
        let body = serde_json::to_vec(&check_in).map_err(|error| NetworkError::Malformed(error.to_string()))?;
        let answer = self.http.post(tls::url("/agent/v1/check-in")).header("content-type", "application/json").send(&body[..])?;
        // A server that cannot read the message is of the version before; what it refuses in words is something else.
        if answer.status().as_u16() == UNREADABLE && !self.old.replace(true) {
            tracing::info!("the server speaks protocol {VERSION_MIN}; so does this agent now");
            return self.check_in(status);
        }
        let text = fine("check-in", answer)?.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        serde_json::from_slice(&text).map_err(|error| NetworkError::Malformed(error.to_string()))
    }

    fn send_blobs(&self) -> Result<(), NetworkError> {
        let Answer::Blobs { blobs } = self.ask(&Request::Blobs)? else { return Ok(()) };
        for (_, digest) in blobs {
            self.send_blob(&digest)?;
            self.ask(&Request::Sent { digest })?;
        }
        Ok(())
    }

    fn send_blob(&self, digest: &Digest) -> Result<(), NetworkError> {
        let Answer::Blob { kind, text } = self.ask(&Request::Take { digest: *digest })? else { return Ok(()) };
        let path = format!("/agent/v1/blobs/{kind}/{}", digest.hex());
        fine(&kind, self.http.put(tls::url(&path)).header("content-type", "application/json").send(text.as_bytes())?)?;
        Ok(())
    }

    fn fetch_needs(&self) -> Result<bool, NetworkError> {
        let mut any = false;
        // A cohort names further files, so needs are asked for again until none is left or none can be fetched.
        for _ in 0..3 {
            let Answer::Needs { needs } = self.ask(&Request::Needs)? else { break };
            if needs.is_empty() {
                break;
            }
            for need in &needs {
                match self.fetch(need).and_then(|()| Ok(self.ask(&Request::Delivered { digest: need.digest() })?)) {
                    Ok(_) => any = true,
                    Err(error) => tracing::warn!(digest = %need.digest(), %error, "not delivered"),
                }
                let _ = fs::remove_file(self.config.spool().join(need.digest().hex()));
            }
        }
        self.sweep()?;
        Ok(any)
    }

    fn sweep(&self) -> io::Result<()> {
        let Answer::Needs { needs } = self.ask(&Request::Needs)? else { return Ok(()) };
        for entry in fs::read_dir(self.config.spool())? {
            let entry = entry?;
            if !needs.iter().any(|need| part(need) == entry.file_name().to_string_lossy()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    fn fetch(&self, need: &Need) -> Result<(), NetworkError> {
        let spool = self.config.spool();
        let (partly, whole) = (spool.join(part(need)), spool.join(need.digest().hex()));
        let mut last = None;
        for _ in 0..FETCH_ATTEMPTS {
            match self.fetch_on(need, &partly) {
                Ok(()) => {
                    fs::rename(&partly, &whole)?;
                    return Ok(());
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| NetworkError::Malformed("nothing was fetched".to_owned())))
    }

    /// Fetches the rest of a file; what is there already is not asked for again.
    fn fetch_on(&self, need: &Need, partly: &PathBuf) -> Result<(), NetworkError> {
        let path = match need {
            Need::Blob { digest, .. } => format!("/agent/v1/blobs/{}", digest.hex()),
            Need::File { digest, .. } => format!("/agent/v1/files/{}", digest.hex()),
        };
        let have = fs::metadata(partly).map_or(0, |meta| meta.len());
        let mut request = self.http.get(tls::url(&path));
        if have > 0 {
            request = request.header("range", format!("bytes={have}-"));
        }
        let mut answer = request.call()?;
        let status = answer.status().as_u16();
        let resumed = status == 206;
        if status == 416 {
            fs::remove_file(partly)?;
        }
        if !resumed {
            answer = fine(&path, answer)?;
        }
        let left = need.bytes_max().saturating_sub(if resumed { have } else { 0 });
        let mut file = OpenOptions::new().create(true).write(true).append(resumed).truncate(!resumed).mode(0o600).open(partly)?;
        let mut body = answer.body_mut().as_reader().take(left + 1);
        let copied = io::copy(&mut body, &mut file)?;
        file.flush()?;
        if copied > left {
            tracing::warn!(path, bytes_max = need.bytes_max(), "larger than it may be; the executor is to say so");
        }
        Ok(())
    }
}

fn part(need: &Need) -> String {
    format!("{}.part", need.digest().hex())
}

pub(crate) fn fine(what: &str, mut answer: Response<Body>) -> Result<Response<Body>, NetworkError> {
    let status = answer.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(answer);
    }
    let text = answer.body_mut().with_config().limit(PROBLEM_BYTES_MAX).read_to_vec().unwrap_or_default();
    let problem: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let why = printable(problem["detail"].as_str().unwrap_or("it does not say why"), PROBLEM_CHARS_MAX);
    Err(NetworkError::Status { what: what.to_owned(), status, why })
}

/// The wait after `failures` errors in a row, with up to a quarter of jitter.
#[must_use]
pub fn back_off(failures: u32, random: u8) -> Duration {
    let wait = BACK_OFF_MIN.saturating_mul(1 << failures.saturating_sub(1).min(10)).min(BACK_OFF_MAX);
    wait - wait * u32::from(random) / 1024
}

/// Runs the network half for ever.
///
/// # Errors
/// Where the host is not enrolled.
pub fn run(config: &Config) -> Result<(), NetworkError> {
    let mut network = Network::open(config)?;
    let (mut failures, mut told) = (0_u32, String::new());
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|looked| looked.elapsed() >= RENEWAL_EVERY) {
            looked = Some(Instant::now());
            match network.renewed() {
                Ok(Some(next)) => network = next,
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "the certificate was not renewed; it is tried again in an hour"),
            }
        }
        let wait = match network.once() {
            Ok(wait) => {
                if failures > 0 || told.is_empty() {
                    tracing::info!("in touch with the server");
                }
                (failures, told) = (0, "fine".to_owned());
                // At least a little, whatever the server says: a hostile one must not keep this host busy.
                wait.max(Duration::from_millis(100))
            }
            Err(error) => {
                let text = error.to_string();
                if text != told {
                    tracing::warn!(%error, "trying again");
                    told = text;
                }
                failures = failures.saturating_add(1);
                let mut random = [0_u8];
                let _ = getrandom::fill(&mut random);
                back_off(failures, random[0])
            }
        };
        network.clock.sleep(wait);
    }
}
