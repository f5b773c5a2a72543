//! Checkpoints as hosts see them: the newest one with the proof that it continues theirs, and their cosignatures. Touches the store.

use crate::{
    Error,
    engine::{Engine, lock},
};
use fother_core::{
    Digest, Timestamp,
    checkpoint::{self, Note, SIGNATURES_MAX, VerifierKey},
    id::HostId,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

/// Newest checkpoints that are known without asking the store.
const RECENT_MAX: usize = 20_000;
/// Proofs that are remembered; they are made anew with each event.
const PROOFS_MAX: usize = 10_000;
/// Cosignatures that wait to be kept.
const WAITING_MAX: usize = 1_000;
/// How long a cosignature waits at most: its host shows it again where a crash comes first.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What need not be asked or proven again for every host. All of it can be lost.
#[derive(Debug, Default)]
pub(crate) struct Witnesses {
    /// Roots of the checkpoints that this server signed lately, by size.
    recent: BTreeMap<u64, Digest>,
    /// Proofs that this size continues others.
    proofs: (u64, HashMap<u64, Vec<Digest>>),
    /// Newest size of which each host's cosignature is kept or was found wrong.
    judged: HashMap<HostId, u64>,
    /// How many cosignatures a checkpoint has, as far as this server took them.
    taken: BTreeMap<u64, usize>,
    waiting: Vec<(u64, Note, VerifierKey)>,
    kept: Timestamp,
}

impl Witnesses {
    /// A checkpoint was signed.
    pub(crate) fn published(&mut self, size: u64, root: Digest) {
        self.recent.insert(size, root);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_first();
        }
        while self.taken.len() > RECENT_MAX {
            self.taken.pop_first();
        }
    }

    /// Whether this host's cosignature on this size is still of use.
    fn wants(&self, host: HostId, size: u64) -> bool {
        self.judged.get(&host).is_none_or(|judged| *judged < size)
            && self.taken.get(&size).is_none_or(|taken| *taken + 1 < SIGNATURES_MAX)
            && self.waiting.len() < WAITING_MAX
    }

    fn proof(&self, from: u64, to: u64) -> Option<Vec<Digest>> {
        self.proofs.1.get(&from).filter(|_| self.proofs.0 == to).cloned()
    }

    fn remember(&mut self, from: u64, to: u64, proof: &[Digest]) {
        if self.proofs.0 != to || self.proofs.1.len() >= PROOFS_MAX {
            self.proofs = (to, HashMap::new());
        }
        self.proofs.1.insert(from, proof.to_vec());
    }
}

impl Engine {
    /// The newest checkpoint, and the proof that it continues the one that `host` shows; its cosignature is kept. Whatever else
    /// the host shows is left to the host to judge: it gets no proof.
    pub(crate) fn continuation(&self, host: HostId, shown: Option<&str>) -> Result<(String, Vec<Digest>), Error> {
        let (size, note) = self.newest_checkpoint();
        // Where the log was restored: a host that has seen more than that, or nothing yet, goes on from there.
        let branch = self.state().epoch.as_ref().map(|signed| signed.epoch.size);
        let from_branch = || branch.map_or_else(|| Ok(Vec::new()), |branch| self.store.prove_consistency(branch, size));
        let Some(shown) = shown.and_then(|shown| shown.parse::<Note>().ok()) else { return Ok((note, from_branch()?)) };
        let Ok(seen) = shown.checkpoint() else { return Ok((note, Vec::new())) };
        // What this server signed a moment ago need not be checked again.
        if lock(&self.witnesses).recent.get(&seen.size) != Some(&seen.root) {
            if shown.verify(&self.identity.log_verifier()?).is_err() {
                return Ok((note, Vec::new()));
            }
            if branch.is_some() && (seen.size > size || self.store.root(seen.size)? != seen.root) {
                return Ok((note, from_branch()?));
            }
            if seen.size > size || self.store.root(seen.size)? != seen.root {
                tracing::error!(%host, events = seen.size, "this host has a checkpoint that this log signed and does not continue: was an older backup restored?");
                return Ok((note, Vec::new()));
            }
        }
        self.take_cosignature(host, seen.size, &shown)?;
        let known = lock(&self.witnesses).proof(seen.size, size);
        let proof = match known {
            Some(proof) => proof,
            None => {
                let proof = self.store.prove_consistency(seen.size, size)?;
                lock(&self.witnesses).remember(seen.size, size, &proof);
                proof
            }
        };
        Ok((note, proof))
    }

    fn take_cosignature(&self, host: HostId, size: u64, shown: &Note) -> Result<(), Error> {
        if !lock(&self.witnesses).wants(host, size) {
            return Ok(());
        }
        let Some(known) = self.state().hosts.get(&host).map(|known| known.cosigner.clone()) else { return Ok(()) };
        let key = checkpoint::cosigner(host, &known)?;
        let right = shown.verify(&key).is_ok();
        let mut witnesses = lock(&self.witnesses);
        witnesses.judged.insert(host, size);
        if right {
            *witnesses.taken.entry(size).or_insert(0) += 1;
            witnesses.waiting.push((size, shown.clone(), key));
        }
        Ok(())
    }

    /// Keeps the cosignatures that came in since, once in a while.
    pub(crate) fn save_cosignatures(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let waiting = {
            let mut witnesses = lock(&self.witnesses);
            if witnesses.waiting.is_empty() || now.since(witnesses.kept) < KEEP_EVERY {
                return Ok(());
            }
            witnesses.kept = now;
            std::mem::take(&mut witnesses.waiting)
        };
        Ok(self.store.cosign_checkpoints(&waiting)?)
    }
}
