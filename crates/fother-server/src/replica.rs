//! One of several servers over the same store: follows what the others append, and shares their work by leases. Touches the store.
//!
//! Any replica may append: the database compares the head, and whoever decided on an older state decides again. What nobody asked for, such
//! as the next step of a rollout, is done under a lease, by one replica at a time; such an append carries the lease's fence, so that what
//! was decided under a lease that has moved on is refused.

use crate::{
    Error,
    engine::{Engine, lock},
};
use fother_core::{Timestamp, checkpoint::Note, event::Event, merkle};
use fother_store::LeaseError;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// How often a replica looks for what others appended.
const FOLLOW_EVERY: Duration = Duration::from_millis(150);
/// Events that are read at once.
const FOLLOW_EVENTS: usize = 1_000;
/// A replica that could not look for so long takes no check-ins: others know more than it does.
pub const CUT_OFF_AFTER: Duration = Duration::from_secs(10);
/// Life of a lease on work; it is renewed when half of it is over.
const WORK_LIFE: Duration = Duration::from_secs(6);
/// How often work that another replica holds is asked for.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What this replica is called, holds, and knows of the others.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Holder of leases; another one at each start.
    name: String,
    /// Leases that are held, each with its fence and the moment from which on it is renewed.
    held: BTreeMap<String, (u64, Instant)>,
    asked: BTreeMap<String, Instant>,
    /// When it was at the log's end last.
    current: Instant,
}

impl Replica {
    pub(crate) fn new() -> Result<Self, Error> {
        let random: [u8; 8] = crate::identity::random()?;
        let name = format!("replica-{:016x}", u64::from_be_bytes(random));
        Ok(Self { name, held: BTreeMap::new(), asked: BTreeMap::new(), current: Instant::now() })
    }
}

impl Engine {
    /// Reads and folds what others appended; says whether there was anything. Whoever decides holds the turn.
    pub(crate) fn catch_up(&self) -> Result<bool, Error> {
        let mut any = false;
        loop {
            let from = self.state().size;
            let batch = self.store.read(from, FOLLOW_EVENTS)?;
            if batch.is_empty() {
                lock(&self.replica).current = Instant::now();
                return Ok(any);
            }
            any = true;
            let mut events = Vec::with_capacity(batch.len());
            for (seq, bytes) in &batch {
                if *seq != from + events.len() as u64 {
                    return Err(Error::Damaged(format!("event {} is missing", from + events.len() as u64)));
                }
                events.push((Event::parse(*seq, bytes)?, merkle::leaf_hash(bytes)));
            }
            self.take_in(events)?;
        }
    }

    /// Sees to it that a host that another replica has answered is not answered from an older state: `shown` is the newest checkpoint
    /// that it was given.
    pub(crate) fn catch_up_with(&self, shown: Option<&str>) -> Result<(), Error> {
        if !self.store.is_shared() {
            return Ok(());
        }
        let seen = shown.and_then(|shown| shown.parse::<Note>().ok()?.checkpoint().ok());
        if seen.is_some_and(|seen| seen.size > self.state().size) { self.follow_once() } else { Ok(()) }
    }

    /// Whether this replica has not seen the log's end for too long.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.store.is_shared() && lock(&self.replica).current.elapsed() > CUT_OFF_AFTER
    }

    /// The fence under which work is done, where this replica holds its lease or gets it now; nothing where another one does it. A server
    /// that is alone holds everything.
    pub(crate) fn holds(&self, work: &str) -> Result<Option<Fence>, Error> {
        if !self.store.is_shared() {
            return Ok(Some(Fence::default()));
        }
        let now = Instant::now();
        let (name, held, asked) = {
            let replica = lock(&self.replica);
            (replica.name.clone(), replica.held.get(work).copied(), replica.asked.get(work).copied())
        };
        let of = |fence| Ok(Some(Fence(Some((work.to_owned(), fence)))));
        let clock = self.clock.now();
        if let Some((fence, renew)) = held {
            if now < renew {
                return of(fence);
            }
            match self.store.renew_lease(work, fence, clock, WORK_LIFE) {
                Ok(_) => {
                    lock(&self.replica).held.insert(work.to_owned(), (fence, now + WORK_LIFE / 2));
                    return of(fence);
                }
                Err(LeaseError::Lost { .. }) => drop(lock(&self.replica).held.remove(work)),
                Err(error @ (LeaseError::Held { .. } | LeaseError::Store(_))) => return Err(error.into()),
            }
        }
        if asked.is_some_and(|asked| now.duration_since(asked) < ASK_EVERY) {
            return Ok(None);
        }
        match self.store.acquire_lease(work, &name, clock, WORK_LIFE) {
            Ok(lease) => {
                tracing::info!(work, fence = lease.fence, "this replica does it from now on");
                lock(&self.replica).held.insert(work.to_owned(), (lease.fence, now + WORK_LIFE / 2));
                of(lease.fence)
            }
            Err(LeaseError::Held { .. } | LeaseError::Lost { .. }) => {
                lock(&self.replica).asked.insert(work.to_owned(), now);
                Ok(None)
            }
            Err(LeaseError::Store(error)) => Err(error.into()),
        }
    }

    /// Work is over, or was lost.
    pub(crate) fn give_up(&self, work: &str) {
        let held = lock(&self.replica).held.remove(work);
        if let Some((fence, _)) = held
            && let Err(error) = self.store.release_lease(work, fence)
        {
            tracing::debug!(%error, work, "a lease is not given back; it runs out");
        }
    }

    /// Gives all leases back, so that others need not wait.
    pub(crate) fn give_all_up(&self) {
        let held: Vec<String> = lock(&self.replica).held.keys().cloned().collect();
        held.iter().for_each(|work| self.give_up(work));
    }

    /// What other replicas heard from hosts that seem silent here.
    pub(crate) fn hear_of_others(&self) -> Result<(), Error> {
        let times: Vec<(_, Timestamp)> =
            self.store.last_seen()?.into_iter().filter_map(|(host, at)| Some((host.parse().ok()?, at))).collect();
        lock(&self.heard).learn(times.into_iter());
        Ok(())
    }
}

/// Under which lease an append is made; none but for work that replicas share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(pub(crate) Option<(String, u64)>);

/// Follows the log until `stop` is set. A replica that cannot goes on trying: it takes no check-ins meanwhile.
pub(crate) fn follow(engine: &Arc<Engine>, stop: &AtomicBool) {
    let mut failing = false;
    while !stop.load(Ordering::Relaxed) {
        match engine.follow_once() {
            Ok(()) if failing => {
                failing = false;
                tracing::info!("the log can be followed again");
            }
            Ok(()) => {}
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the log cannot be followed");
            }
            Err(_) => {}
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}
