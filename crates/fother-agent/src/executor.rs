//! The root half: accepts directives, takes bytes in, answers the network half, and lets [`crate::worker`] act.

use crate::{
    archives::Archives,
    config::{Config, Identity},
    durable::{self, Disk},
    host::{Clock, Host, SystemClock},
    ipc::{self, Answer, Need, Request, Status},
    spool::Store,
    state::{Keeper, REPORTS_MAX},
    verify,
    witness::Witness,
};
use fother_core::{
    Digest, Timestamp, canonical,
    directive::{Directive, Intake, Refused, SignedDirective},
    epoch::SignedEpoch,
    inventory::Inventory,
    protocol::{OUTCOMES_MAX, Outcome},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// How old the inventory of an idle host may get.
pub const INVENTORY_AGE_MAX: Duration = Duration::from_secs(60);
/// How often an idle worker looks at its queue.
pub const IDLE: Duration = Duration::from_millis(200);
/// How often a file may be delivered with other bytes than its digest says before the directive that needs it is refused.
pub const DELIVERIES_MAX: u32 = 3;
/// Refused directives that are remembered, so that each is reported once.
pub const REFUSED_MAX: usize = 64;

/// Locks; a panic of another holder does not matter as state changes as a whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The present inventory.
pub(crate) struct Present {
    at: Timestamp,
    digest: Digest,
    base: Digest,
    text: String,
}

/// The executor.
pub struct Executor {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) archives: Arc<dyn Archives>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    pub(crate) keeper: Mutex<Keeper>,
    pub(crate) witness: Witness,
    present: Mutex<Option<Present>>,
    refused: Mutex<BTreeSet<Digest>>,
    spoiled: Mutex<BTreeMap<Digest, (u32, String)>>,
}

/// Why the executor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// Not enrolled.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The system refuses.
    #[error("the executor cannot use {what}: {source}")]
    System {
        /// What.
        what: String,
        /// Why.
        source: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> ExecutorError {
    let what = what.into();
    move |source| ExecutorError::System { what, source }
}

impl Executor {
    /// Opens the executor's state.
    ///
    /// # Errors
    /// Where the host is not enrolled or the state is unusable.
    pub fn open(
        config: Config,
        host: Arc<dyn Host>,
        archives: Arc<dyn Archives>,
        clock: Arc<dyn Clock>,
        disk: Disk,
    ) -> Result<Self, ExecutorError> {
        let identity = Identity::read(&config)?;
        identity.key()?;
        durable::private_dir(&config.data).map_err(system("its directory"))?;
        durable::private_dir(&config.transactions()).map_err(system("its journals"))?;
        durable::private_dir(&config.data.join("out")).map_err(system("its blobs"))?;
        let store = Store::open(config.data.join("store")).map_err(system("its store"))?;
        let keeper = Keeper::open(config.data.join("state.json"), disk.clone()).map_err(system("its state"))?;
        let witness = Witness::open(&config, &identity, disk.clone()).map_err(system("its cosigner's key"))?;
        let executor = Self {
            config,
            identity,
            host,
            archives,
            clock,
            disk,
            store,
            keeper: Mutex::new(keeper),
            witness,
            present: Mutex::new(None),
            refused: Mutex::new(BTreeSet::new()),
            spoiled: Mutex::new(BTreeMap::new()),
        };
        executor.refresh();
        Ok(executor)
    }

    /// Takes the inventory anew, and notices what root undid; an error is logged and the old one stays.
    pub fn refresh(&self) {
        if let Err(error) = self.tell_undone() {
            tracing::warn!(%error, "what root undid here is not reported yet");
        }
        match self.take_inventory() {
            Ok(present) => *lock(&self.present) = Some(present),
            Err(why) => tracing::warn!(%why, "no inventory"),
        }
    }

    fn take_inventory(&self) -> Result<Present, String> {
        let inventory: Inventory = self.host.inventory().map_err(|error| error.to_string())?;
        let bytes = canonical::to_vec(&inventory).map_err(|error| error.to_string())?;
        let base = inventory.base().map_err(|error| error.to_string())?;
        let digest = Digest::of_kind("inventory", &bytes);
        Ok(Present { at: self.clock.now(), digest, base, text: String::from_utf8(bytes).map_err(|error| error.to_string())? })
    }

    /// The base as it is right now.
    pub(crate) fn fresh_base(&self) -> Result<Digest, String> {
        let present = self.take_inventory()?;
        let base = present.base;
        *lock(&self.present) = Some(present);
        Ok(base)
    }

    pub(crate) fn keep_blob(&self, kind: &str, bytes: &[u8]) -> io::Result<Digest> {
        let digest = Digest::of_kind(kind, bytes);
        self.disk.replace(&self.config.data.join("out").join(digest.hex()), bytes)?;
        lock(&self.keeper).change(|state| state.queue_blob(kind, digest))?;
        Ok(digest)
    }

    /// Answers one request of the network half, which is believed nothing.
    #[must_use]
    pub fn answer(&self, request: &Request) -> Answer {
        let result = match request {
            Request::Status => self.status(),
            Request::Directive { signed } => self.take_directive(signed).map(|()| Answer::Done),
            Request::Checkpoint { note, proof } => self.take_checkpoint(note, proof).map(|()| Answer::Done),
            Request::Epoch { signed } => self.enter_epoch(signed).map(|()| Answer::Done),
            Request::Needs => self.needs().map(|needs| Answer::Needs { needs }),
            Request::Delivered { digest } => self.delivered(*digest).map(|()| Answer::Done),
            Request::Acknowledge { number } => self.acknowledge(*number).map(|()| Answer::Done),
            Request::Halt { halted } => self.halt(*halted).map(|()| Answer::Done),
            Request::Blobs => Ok(Answer::Blobs { blobs: lock(&self.keeper).get().blobs.clone() }),
            Request::Take { digest } => self.blob(*digest),
            Request::Sent { digest } => self.sent(*digest).map(|()| Answer::Done),
        };
        result.unwrap_or_else(|why| Answer::Refused { why })
    }

    fn status(&self) -> Result<Answer, String> {
        let keeper = lock(&self.keeper);
        let present = lock(&self.present);
        let present = present.as_ref().ok_or("there is no inventory of this host yet")?;
        let state = keeper.get();
        Ok(Answer::Status(Status {
            host: self.identity.host,
            inventory: present.digest,
            base: present.base,
            seen: state.seen,
            epoch: state.epoch,
            oldest: state.oldest(),
            reports: state.reports.iter().take(OUTCOMES_MAX).cloned().collect(),
            observe: self.config.observes(),
            checkpoint: self.witness.note(),
        }))
    }

    fn take_directive(&self, signed: &SignedDirective) -> Result<(), String> {
        let key = self.identity.key().map_err(|error| error.to_string())?;
        let mut keeper = lock(&self.keeper);
        let intake = Intake { host: self.identity.host, key, seen: keeper.get().seen };
        let accepted = intake.accept(signed, self.clock.now()).and_then(|directive| {
            let mut next = keeper.get().clone();
            next.accept(directive.clone()).map(|()| (directive, next))
        });
        match accepted {
            Ok((directive, next)) => {
                tracing::info!(id = %directive.id, sequence = directive.sequence, order = directive.order.name(), "directive accepted");
                keeper.change(|state| *state = next).map_err(|error| format!("the directive could not be stored: {error}"))
            }
            Err(why) => {
                self.report_refused(&mut keeper, signed, &why)?;
                Err(why.to_string())
            }
        }
    }

    fn take_checkpoint(&self, note: &str, proof: &[Digest]) -> Result<(), String> {
        let known = self.witness.fork().is_some();
        self.witness.take(note, proof, self.clock.now()).map_err(|why| {
            if !known && self.witness.fork().is_some() {
                let told = lock(&self.keeper).change(|state| state.report(None, Outcome::Failed { why: why.to_string() }));
                if let Err(error) = told {
                    tracing::warn!(%error, "the fork cannot be reported; its evidence is kept");
                }
            }
            why.to_string()
        })
    }

    fn report_refused(&self, keeper: &mut Keeper, signed: &SignedDirective, why: &Refused) -> Result<(), String> {
        tracing::warn!(%why, "directive refused");
        let mut refused = lock(&self.refused);
        let name = Digest::of_file(signed.directive.as_bytes());
        if refused.len() >= REFUSED_MAX || keeper.get().reports.len() >= REPORTS_MAX || !refused.insert(name) {
            return Ok(());
        }
        let believable = !matches!(why, Refused::Signature | Refused::TooLarge);
        let id = believable.then(|| serde_json::from_str::<Directive>(&signed.directive).ok()).flatten().map(|directive| directive.id);
        keeper.change(|state| state.report(id, Outcome::Refused { why: why.clone() })).map_err(|error| error.to_string())
    }

    fn needs(&self) -> Result<Vec<Need>, String> {
        let jobs = lock(&self.keeper).get().jobs.clone();
        let mut needs = BTreeSet::new();
        // Nothing is fetched for an order that nobody approved; the worker is about to refuse it.
        let approved = |order: &_| verify::approvals(&self.config, &self.store, order, self.identity.host, self.clock.now()).is_ok();
        for job in jobs.iter().filter(|job| !job.begun && approved(&job.directive.order)) {
            needs.extend(verify::needs(&job.directive.order, &self.store).unwrap_or_default());
        }
        Ok(needs.into_iter().collect())
    }

    fn delivered(&self, digest: Digest) -> Result<(), String> {
        let need = self.needs()?.into_iter().find(|need| need.digest() == digest).ok_or("that was not asked for")?;
        let Err(error) = self.store.take(&self.config.spool(), &need) else {
            lock(&self.spoiled).remove(&digest);
            return Ok(());
        };
        tracing::warn!(%error, "delivery refused");
        let why = error.to_string();
        if error.is_other_content() {
            // The last delivery says why: an earlier one may have been for a directive that has ended.
            let mut spoiled = lock(&self.spoiled);
            let (count, last) = spoiled.entry(digest).or_default();
            (*count, *last) = (*count + 1, why.clone());
        }
        Err(why)
    }

    /// Why a file that was delivered wrong too often is not waited for any longer; asking forgets it, so that a new directive may try again.
    pub(crate) fn spoiled(&self, digest: &Digest) -> Option<String> {
        let mut spoiled = lock(&self.spoiled);
        let too_often = spoiled.get(digest).is_some_and(|(count, _)| *count >= DELIVERIES_MAX);
        too_often.then(|| spoiled.remove(digest)).flatten().map(|(_, why)| format!("{why}; tried {DELIVERIES_MAX} times"))
    }

    fn acknowledge(&self, number: u64) -> Result<(), String> {
        let change = lock(&self.keeper).change(|state| state.acknowledge(number));
        change.map_err(|error| error.to_string())
    }

    /// The server was restored from a backup: what it ordered before is dead, and its log goes on from an earlier place.
    fn enter_epoch(&self, signed: &SignedEpoch) -> Result<(), String> {
        let key = self.identity.key().map_err(|error| error.to_string())?;
        let epoch = signed.open(&key).ok_or("the epoch is not signed by this server's directive key")?;
        let mut keeper = lock(&self.keeper);
        if epoch.number <= keeper.get().epoch {
            return Ok(());
        }
        self.witness.enter(epoch, self.clock.now()).map_err(|error| error.to_string())?;
        tracing::warn!(epoch = epoch.number, events = epoch.size, "the server was restored from a backup: its log goes on as a new epoch");
        keeper.change(|state| state.enter(epoch.number)).map_err(|error| error.to_string())
    }

    /// The server says whether anything new may begin. Whoever stands between can only stop more than it says.
    fn halt(&self, halted: bool) -> Result<(), String> {
        lock(&self.keeper).change(|state| state.halted = halted).map_err(|error| error.to_string())
    }

    fn blob(&self, digest: Digest) -> Result<Answer, String> {
        if let Some(present) = lock(&self.present).as_ref()
            && present.digest == digest
        {
            return Ok(Answer::Blob { kind: "inventory".to_owned(), text: present.text.clone() });
        }
        let known = lock(&self.keeper).get().blobs.iter().find(|(_, known)| *known == digest).cloned();
        let (kind, _) = known.ok_or("there is no such blob")?;
        let text = fs::read_to_string(self.config.data.join("out").join(digest.hex())).map_err(|error| error.to_string())?;
        Ok(Answer::Blob { kind, text })
    }

    fn sent(&self, digest: Digest) -> Result<(), String> {
        let change = lock(&self.keeper).change(|state| {
            let before = state.blobs.len();
            state.blobs.retain(|(_, known)| *known != digest);
            before != state.blobs.len()
        });
        if change.map_err(|error| error.to_string())? {
            let _ = fs::remove_file(self.config.data.join("out").join(digest.hex()));
        }
        Ok(())
    }

    /// Serves one connection.
    ///
    /// # Errors
    /// Where the peer is somebody else, or says nothing sensible in time.
    pub fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let peer = rustix::net::sockopt::socket_peercred(&stream)?;
        let uid = peer.uid.as_raw();
        if uid != 0 && uid != self.config.network_uid {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("user {uid} may not talk to the executor")));
        }
        stream.set_read_timeout(Some(ipc::PATIENCE))?;
        stream.set_write_timeout(Some(ipc::PATIENCE))?;
        let request = match ipc::receive(&mut stream, ipc::REQUEST_BYTES_MAX) {
            Ok(request) => request,
            Err(error) => {
                ipc::send(&mut stream, &Answer::Refused { why: error.to_string() })?;
                return Err(error);
            }
        };
        ipc::send(&mut stream, &self.answer(&request))
    }

    /// Listens on the socket.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn listen(&self) -> io::Result<UnixListener> {
        fs::create_dir_all(&self.config.run)?;
        let path = self.config.socket();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660))?;
        chown(&path, None, Some(self.config.network_gid))?;
        Ok(listener)
    }

    /// Whether the inventory of an idle host should be taken anew.
    fn stale(&self) -> bool {
        let now = self.clock.now();
        lock(&self.present).as_ref().is_none_or(|present| now.since(present.at) >= INVENTORY_AGE_MAX)
    }

    /// Does the next piece of work while nobody else acts on this host.
    ///
    /// # Errors
    /// Where that cannot be made sure of, or the state cannot be written.
    pub fn act(&self) -> io::Result<bool> {
        let _hands = crate::undo::hands(&self.config)?;
        self.step()
    }

    fn work_for_ever(&self) {
        loop {
            match self.act() {
                Ok(true) => continue,
                Ok(false) if self.stale() => self.refresh(),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "the work stops here and is resumed in {}s", INVENTORY_AGE_MAX.as_secs());
                    self.clock.sleep(INVENTORY_AGE_MAX);
                }
            }
            self.clock.sleep(IDLE);
        }
    }
}

/// Runs the executor on this host for ever.
///
/// # Errors
/// Where it cannot begin.
pub fn run(config: &Config, host: Arc<dyn Host>, archives: Arc<dyn Archives>) -> Result<(), ExecutorError> {
    let executor = Arc::new(Executor::open(config.clone(), host, archives, Arc::new(SystemClock), Disk::default())?);
    let listener = executor.listen().map_err(system(config.socket().display().to_string()))?;
    let worker = Arc::clone(&executor);
    std::thread::Builder::new().name("worker".to_owned()).spawn(move || worker.work_for_ever()).map_err(system("a thread"))?;
    tracing::info!(host = %executor.identity.host, observe = config.observes(), "executor ready");
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|stream| executor.serve(stream)) {
            tracing::warn!(%error, "request refused");
        }
    }
    Ok(())
}

/// Runs the executor with this machine's own package manager, archives and services.
///
/// # Errors
/// Where it cannot begin.
pub fn run_live(config: &Config) -> Result<(), ExecutorError> {
    let host = crate::host_live::LiveHost { binary: config.binary.clone(), etc: config.etc.clone() };
    run(config, Arc::new(host), Arc::new(crate::archives_host::HostArchives { root: "/".into() }))
}
