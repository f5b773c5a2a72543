//! The log, its fold, and the one way by which anything becomes true: store first, fold then. Touches the store and the clock.

use crate::{
    Archives, Error,
    clock::Clock,
    fleet::Fleet,
    heard::Heard,
    identity::{Identity, LOG_ORIGIN},
    replica::{Fence, Replica},
    sole::{self, Sole},
    witnesses::Witnesses,
};
use fother_core::{
    Digest, Timestamp,
    approval::Trust,
    checkpoint::{self, Checkpoint},
    event::{self, Data, Event},
    id::HostId,
    identity::Sessions,
    inventory::Closes,
    merkle,
    policy::Policy,
    state::State,
};
use fother_store::{LOG_LEASE, Place, Store};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};
use tokio::sync::watch;

/// Events that are read at once when the log is folded.
const READ_EVENTS: usize = 500;
/// Reads that may be ahead of the fold.
const READ_AHEAD: usize = 4;
/// How often a decision is taken anew because another replica appended first.
const DECISIONS_MAX: usize = 50;
/// Life of the log's lease; only a label on it, since one server restarts under its own name.
const LEASE_LIFE: Duration = Duration::from_secs(60);
/// Kinds of blob, in one place.
pub(crate) mod kind {
    pub(crate) const COHORT: &str = "cohort";
    pub(crate) const DIRECTIVE: &str = "directive";
    pub(crate) const INVENTORY: &str = "inventory";
    pub(crate) const PLAN: &str = "plan";
    pub(crate) const POLICY: &str = "policy";
    pub(crate) const POLICY_STATEMENT: &str = "policy-statement";
    pub(crate) const REHEARSAL: &str = "rehearsal";
    pub(crate) const RESOLUTION: &str = "resolution";
    pub(crate) const STANDING: &str = "standing";
    pub(crate) const STATEMENT: &str = "statement";
}

/// What is folded, under one lock.
pub(crate) struct Folded {
    pub(crate) state: Arc<State>,
    tree: merkle::Tree,
    note: String,
}

/// What a package closes for those who have an older one, and the day on which the newest fix in it was published first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed {
    pub(crate) closes: Vec<Closes>,
    pub(crate) published: Option<Timestamp>,
}

/// The whole server without its doors.
pub(crate) struct Engine {
    pub(crate) store: Store,
    pub(crate) identity: Identity,
    policy: Mutex<Arc<Policy>>,
    pub(crate) trust: Trust,
    pub(crate) archives: Box<dyn Archives>,
    pub(crate) clock: Clock,
    pub(crate) heard: Mutex<Heard>,
    pub(crate) witnesses: Mutex<Witnesses>,
    /// The runs of each host's agent that were heard of since this server's start.
    pub(crate) sessions: Mutex<BTreeMap<HostId, Sessions>>,
    /// Tells which certificates were revoked, as that happens: their connections end.
    pub(crate) revoked: watch::Sender<BTreeSet<Digest>>,
    /// What packages close, by their digest and the version before: only remembered, read again after a start.
    pub(crate) closes: Mutex<BTreeMap<(Digest, String), Closed>>,
    pub(crate) fleet: Fleet,
    /// The fence of the log's lease, where this server is alone.
    fence: Option<u64>,
    pub(crate) replica: Mutex<Replica>,
    /// Held by whoever decides: one at a time. The state can be read meanwhile, however long the store takes.
    turn: Mutex<()>,
    /// Whether another server has taken the log over.
    fenced: watch::Sender<bool>,
    _sole: Sole,
    folded: Mutex<Folded>,
    size: watch::Sender<u64>,
    wake: mpsc::SyncSender<()>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Opens the store, folds the log, and refuses a log that is shorter than, or different from, its newest checkpoint.
    #[cfg(test)]
    pub(crate) fn open(
        data_dir: &std::path::Path,
        policy: Policy,
        trust: Trust,
        archives: Box<dyn Archives>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<()>), Error> {
        Self::open_at(data_dir, &Place::default(), policy, trust, archives)
    }

    /// As [`Engine::open`], where log or blobs may lie elsewhere.
    pub(crate) fn open_at(
        data_dir: &std::path::Path,
        place: &Place,
        policy: Policy,
        trust: Trust,
        archives: Box<dyn Archives>,
    ) -> Result<(Arc<Self>, mpsc::Receiver<()>), Error> {
        let clock = Clock::start();
        let started = clock.now();
        let store = Store::open_at(data_dir, place)?;
        let sole = sole::take(data_dir)?;
        let identity = Identity::open(data_dir, started)?;
        let alone = !store.is_shared();
        let fence = alone.then(|| store.acquire_lease(LOG_LEASE, "server", started, LEASE_LIFE)).transpose()?.map(|lease| lease.fence);
        // Before the log is read: another replica may append meanwhile.
        let newest = store.latest_checkpoint()?;
        let (state, tree) = fold(&store)?;
        check(&store, &identity, &tree, newest)?;
        let mut heard = Heard::default();
        heard.begin(store.last_seen()?.into_iter().filter_map(|(host, at)| Some((host.parse().ok()?, at))));
        heard.await_all(state.hosts.keys().copied(), started);
        let (wake, woken) = mpsc::sync_channel(1);
        let engine = Self {
            heard: Mutex::new(heard),
            witnesses: Mutex::default(),
            sessions: Mutex::default(),
            revoked: watch::Sender::default(),
            fleet: Fleet::default(),
            size: watch::Sender::new(state.size),
            folded: Mutex::new(Folded { state: Arc::new(state), tree, note: String::new() }),
            store,
            identity,
            policy: Mutex::new(Arc::new(policy)),
            trust,
            archives,
            clock,
            closes: Mutex::default(),
            fence,
            replica: Mutex::new(Replica::new()?),
            turn: Mutex::new(()),
            fenced: watch::Sender::new(false),
            _sole: sole,
            wake,
        };
        crate::epoch::begin(&engine)?;
        crate::policies::in_force(&engine)?;
        let (before, policy) = (engine.state().policy, engine.put(kind::POLICY, &*engine.policy())?);
        engine.commit("server", |state, _| {
            if state.policy != before {
                return Err(Error::Input("another policy came into force while this server started; start it again".to_owned()));
            }
            Ok(vec![Data::ServerStarted { version: env!("CARGO_PKG_VERSION").to_owned(), policy }])
        })?;
        Ok((Arc::new(engine), woken))
    }

    /// The state now.
    pub(crate) fn state(&self) -> Arc<State> {
        Arc::clone(&lock(&self.folded).state)
    }

    /// The policy in force.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&lock(&self.policy))
    }

    /// Lets another policy be in force; only what the log says may come here.
    pub(crate) fn set_policy(&self, policy: Policy) {
        *lock(&self.policy) = Arc::new(policy);
    }

    /// Text of the newest checkpoint.
    pub(crate) fn checkpoint(&self) -> String {
        lock(&self.folded).note.clone()
    }

    /// Size and text of the newest checkpoint.
    pub(crate) fn newest_checkpoint(&self) -> (u64, String) {
        let folded = lock(&self.folded);
        (folded.tree.size(), folded.note.clone())
    }

    /// Root over all events.
    pub(crate) fn root(&self) -> Digest {
        lock(&self.folded).tree.root()
    }

    /// Tells the number of events as it grows.
    pub(crate) fn watch_size(&self) -> watch::Receiver<u64> {
        self.size.subscribe()
    }

    /// Ready once another server has taken the log over: nothing can become true here any more.
    pub(crate) async fn fenced(&self) {
        let _ = self.fenced.subscribe().wait_for(|fenced| *fenced).await;
    }

    /// Decides and stores, one at a time; nothing is folded, and the state is as before, where anything fails. Where another replica
    /// appended first, its events are folded and it is decided again.
    pub(crate) fn commit(
        &self,
        actor: &str,
        decide: impl FnMut(&State, Timestamp) -> Result<Vec<Data>, Error>,
    ) -> Result<Arc<State>, Error> {
        self.commit_under(&Fence::default(), actor, decide)
    }

    /// As [`Engine::commit`], under the lease of some work: refused once that has moved on.
    pub(crate) fn commit_under(
        &self,
        fence: &Fence,
        actor: &str,
        mut decide: impl FnMut(&State, Timestamp) -> Result<Vec<Data>, Error>,
    ) -> Result<Arc<State>, Error> {
        let _turn = lock(&self.turn);
        let mut refused = false;
        for _ in 0..DECISIONS_MAX {
            let state = self.state();
            let at = self.clock.now().max(state.head);
            let data = match decide(&state, at) {
                // What is refused may be known to another replica already: looked at once.
                Err(_) if self.store.is_shared() && !refused && self.catch_up()? => {
                    refused = true;
                    continue;
                }
                data => data?,
            };
            if data.is_empty() {
                return Ok(state);
            }
            match self.append(fence, actor, &state, at, data) {
                Err(Error::Append(fother_store::AppendError::HeadMoved { .. })) if self.store.is_shared() => self.catch_up()?,
                Err(error) => return Err(error),
                Ok(()) => return Ok(self.state()),
            };
        }
        Err(Error::Busy)
    }

    fn append(&self, fence: &Fence, actor: &str, state: &State, at: Timestamp, data: Vec<Data>) -> Result<(), Error> {
        let first = state.size;
        let events: Vec<Event> =
            (first..).zip(data).map(|(seq, data)| Event { v: event::VERSION, seq, at, actor: actor.to_owned(), data }).collect();
        let bytes = events.iter().map(Event::bytes).collect::<Result<Vec<_>, _>>()?;
        let alone = self.fence.map(|fence| (LOG_LEASE, fence));
        let fences: Vec<(&str, u64)> = alone.into_iter().chain(fence.0.as_ref().map(|(work, fence)| (work.as_str(), *fence))).collect();
        if let Err(error) = self.store.append_under(&bytes, first, &fences) {
            if let fother_store::AppendError::Fenced { lease, .. } = &error {
                match &fence.0 {
                    Some((work, _)) if work == lease => self.give_up(work),
                    _ => drop(self.fenced.send_replace(true)),
                }
            }
            return Err(error.into());
        }
        self.take_in(events.into_iter().zip(&bytes).map(|(event, bytes)| (event, merkle::leaf_hash(bytes))).collect())?;
        let (size, note) = self.newest_checkpoint();
        Ok(self.store.put_checkpoint(size, &note)?)
    }

    /// Folds what is in the log, and signs a checkpoint over it.
    pub(crate) fn take_in(&self, events: Vec<(Event, Digest)>) -> Result<(), Error> {
        let mut folded = lock(&self.folded);
        let before = folded.state.policy;
        let state = Arc::make_mut(&mut folded.state);
        events.iter().for_each(|(event, _)| state.fold(event));
        events.iter().for_each(|(_, leaf)| folded.tree.append(*leaf));
        // Another replica may have heard of them: their next silence is looked for here as well.
        for (event, _) in &events {
            if let Data::HostEnrolled { host, .. } | Data::HostReturned { host } = &event.data {
                lock(&self.heard).await_all([*host].into_iter(), event.at);
            }
        }
        let policy = folded.state.policy.filter(|now| before.is_some_and(|before| before != *now));
        let checkpoint = Checkpoint { origin: LOG_ORIGIN.to_owned(), size: folded.tree.size(), root: folded.tree.root() };
        folded.note = checkpoint.sign(self.identity.log())?.to_string();
        lock(&self.witnesses).published(checkpoint.size, checkpoint.root);
        drop(folded);
        if let Some(policy) = policy {
            self.set_policy(self.get(policy)?);
        }
        self.size.send_replace(checkpoint.size);
        let _ = self.wake.try_send(());
        Ok(())
    }

    /// Takes in what other replicas appended, once.
    pub(crate) fn follow_once(&self) -> Result<(), Error> {
        let _turn = lock(&self.turn);
        self.catch_up().map(drop)
    }

    /// Stores a value in canonical form.
    pub(crate) fn put<T: serde::Serialize>(&self, kind: &str, value: &T) -> Result<Digest, Error> {
        Ok(self.store.put_blob(kind, &fother_core::canonical::to_vec(value)?)?)
    }

    /// Reads a value that the log names.
    pub(crate) fn get<T: serde::de::DeserializeOwned>(&self, digest: Digest) -> Result<T, Error> {
        let bytes = self.bytes(digest)?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Damaged(format!("the blob {digest}: {error}")))
    }

    /// The bytes of a blob that the log names.
    pub(crate) fn bytes(&self, digest: Digest) -> Result<Vec<u8>, Error> {
        self.store.get_blob(&digest)?.ok_or_else(|| Error::Damaged(format!("the blob {digest} is missing")))
    }

    /// Why nothing may be sent out, or nothing.
    pub(crate) fn clock_fault(&self) -> Option<String> {
        self.clock.fault(lock(&self.folded).state.head)
    }

    /// Ten random bytes and the time, for an id.
    pub(crate) fn fresh(&self) -> Result<(u64, [u8; 10]), Error> {
        Ok((self.clock.now().ms(), crate::identity::random()?))
    }
}

/// Folds the whole log: one thread reads, one parses and hashes, one folds, so that a start costs as much as the slowest of them.
fn fold(store: &Store) -> Result<(State, merkle::Tree), Error> {
    type Parsed = Vec<(Event, Digest)>;
    std::thread::scope(|scope| {
        let (send_bytes, bytes) = mpsc::sync_channel::<Vec<(u64, Vec<u8>)>>(READ_AHEAD);
        let (send_parsed, parsed) = mpsc::sync_channel::<Result<Parsed, event::Error>>(READ_AHEAD);
        // Whoever fails drops its end, which ends the others.
        let reader = scope.spawn(move || -> Result<(), Error> {
            let mut next = 0;
            loop {
                let batch = store.read(next, READ_EVENTS)?;
                let Some((last, _)) = batch.last() else { return Ok(()) };
                next = last + 1;
                if send_bytes.send(batch).is_err() {
                    return Ok(());
                }
            }
        });
        scope.spawn(move || {
            let parse = |(seq, bytes): (u64, Vec<u8>)| Ok((Event::parse(seq, &bytes)?, merkle::leaf_hash(&bytes)));
            for batch in bytes {
                if send_parsed.send(batch.into_iter().map(parse).collect()).is_err() {
                    return;
                }
            }
        });
        let (mut state, mut tree) = (State::default(), merkle::Tree::default());
        for batch in parsed {
            for (event, leaf) in batch? {
                if event.seq != state.size {
                    return Err(Error::Damaged(format!("event {} is missing", state.size)));
                }
                state.fold(&event);
                tree.append(leaf);
            }
        }
        match reader.join() {
            Ok(read) => read.map(|()| (state, tree)),
            Err(_) => Err(Error::Damaged("the log could not be read to its end".to_owned())),
        }
    })
}

fn check(store: &Store, identity: &Identity, tree: &merkle::Tree, newest: Option<(u64, String)>) -> Result<(), Error> {
    if store.root(tree.size())? != tree.root() {
        return Err(Error::Damaged("the events do not match their tree".to_owned()));
    }
    let Some((size, note)) = newest else { return Ok(()) };
    let signed = checkpoint::open(&note, &identity.log_verifier()?)?;
    if signed.size != size || size > tree.size() {
        return Err(Error::Damaged(format!("a checkpoint says {} events, the log has {}", signed.size, tree.size())));
    }
    if store.root(size)? != signed.root {
        return Err(Error::Damaged(format!("the first {size} events are not those that were signed")));
    }
    Ok(())
}
