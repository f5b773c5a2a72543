//! The append-only event log and its Merkle tree. Touches the database.

use crate::{
    AppendError, Error, LOG_LEASE, Store,
    database::{Node, Swap},
};
use fother_core::{
    Digest,
    checkpoint::{Note, VerifierKey},
    merkle,
};
use std::{collections::BTreeMap, sync::PoisonError};

/// Largest event.
pub const EVENT_BYTES_MAX: usize = fother_core::event::BYTES_MAX;
/// Most events of one append.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Most bytes of one append, and of one read.
pub const BATCH_BYTES_MAX: usize = 16 << 20;
/// How often a cosignature is added anew where others were added meanwhile.
const COSIGN_TRIES_MAX: usize = 16;

impl Store {
    /// Appends `events` where the log has exactly `expected_head` of them and `fence` is the current fence of [`LOG_LEASE`]
    /// (0 while nobody ever took it). All or none, on disk before this returns the new size.
    ///
    /// # Errors
    /// Where the log has moved on, the lease is another's, a bound is exceeded, or the database fails.
    pub fn append(&self, events: &[Vec<u8>], expected_head: u64, fence: u64) -> Result<u64, AppendError> {
        self.append_under(events, expected_head, &[(LOG_LEASE, fence)])
    }

    /// As [`Store::append`], under these leases with their fences; under none, only the head is compared.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub fn append_under(&self, events: &[Vec<u8>], expected_head: u64, fences: &[(&str, u64)]) -> Result<u64, AppendError> {
        check_bounds(events)?;
        let Some(mut tree) = self.tree_at(expected_head)? else {
            // Tells who has the lease before it tells that the log is shorter.
            self.database.append(expected_head, &[], &[], fences)?;
            return Err(AppendError::HeadMoved { expected: expected_head, actual: self.size()? });
        };
        let mut nodes: Vec<Node> = Vec::new();
        for event in events {
            tree.append_with(merkle::leaf_hash(event), |level, index, hash| nodes.push((level, index, *hash)));
        }
        self.database.append(expected_head, events, &nodes, fences)?;
        let size = tree.size();
        *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = tree;
        Ok(size)
    }

    /// The tree over the first `size` events; nothing where there are fewer.
    fn tree_at(&self, size: u64) -> Result<Option<merkle::Tree>, Error> {
        let known = self.tree.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if known.size() == size {
            return Ok(Some(known));
        }
        if size > self.size()? {
            return Ok(None);
        }
        let places: Vec<_> = merkle::peak_positions(size).collect();
        let peaks: Option<Vec<Digest>> = self.database.nodes(&places)?.into_iter().collect();
        let tree = peaks.and_then(|peaks| merkle::Tree::from_parts(size, peaks));
        tree.map(Some).ok_or_else(|| Error::Damaged("the tree has no right edge".to_owned()))
    }

    /// Number of events.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn size(&self) -> Result<u64, Error> {
        self.database.size()
    }

    /// Root of the tree over the first `size` events.
    ///
    /// # Errors
    /// Where the log has fewer, or the database fails.
    pub fn root(&self, size: u64) -> Result<Digest, Error> {
        self.check_size(size)?;
        self.gathered(|node| merkle::root_from(size, node))
    }

    /// Up to `max` events from number `from` on, in order, cut at [`BATCH_BYTES_MAX`] but never to none where there is one.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn read(&self, from: u64, max: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        self.database.events(from, max)
    }

    /// Stored leaf hashes of the events `from..to`.
    ///
    /// # Errors
    /// Where the log has fewer, or the database fails.
    pub fn leaf_hashes(&self, from: u64, to: u64) -> Result<Vec<Digest>, Error> {
        self.check_size(to)?;
        self.nodes(0, from, to)
    }

    /// Stored hashes of the perfect subtrees `from..to` of one level.
    pub(crate) fn nodes(&self, level: u32, from: u64, to: u64) -> Result<Vec<Digest>, Error> {
        let places: Vec<_> = (from..to).map(|index| (level, index)).collect();
        let found = self.database.nodes(&places)?;
        places.into_iter().zip(found).map(|((level, index), hash)| hash.ok_or_else(|| missing(level, index))).collect()
    }

    /// Audit path of event `seq` in the tree over the first `size` events: see [`merkle::verify`].
    ///
    /// # Errors
    /// Where the log has fewer events, `seq` is not among them, or the database fails.
    pub fn prove_inclusion(&self, seq: u64, size: u64) -> Result<Vec<Digest>, Error> {
        if seq >= size {
            return Err(Error::Beyond { wanted: seq.saturating_add(1), size });
        }
        self.check_size(size)?;
        self.gathered(|node| merkle::prove_from(seq, size, node))
    }

    /// Proof that the first `first` events are the beginning of the first `second`: see [`merkle::verify_consistency`].
    ///
    /// # Errors
    /// Where the log has fewer than `second` events, `first` is larger than `second`, or the database fails.
    pub fn prove_consistency(&self, first: u64, second: u64) -> Result<Vec<Digest>, Error> {
        if first > second {
            return Err(Error::Beyond { wanted: first, size: second });
        }
        self.check_size(second)?;
        self.gathered(|node| merkle::prove_consistency_from(first, second, node))
    }

    /// Keeps a signed checkpoint; one of the same size, with fewer cosignatures, is replaced.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn put_checkpoint(&self, size: u64, note: &str) -> Result<(), Error> {
        self.database.put_checkpoint(size, note)
    }

    /// The kept checkpoint of the largest size, as (size, note).
    ///
    /// # Errors
    /// Where the database fails.
    pub fn latest_checkpoint(&self) -> Result<Option<(u64, String)>, Error> {
        self.database.latest_checkpoint()
    }

    /// Adds cosignatures, each by a key on a note, to the kept checkpoints of these sizes, where that is the same text and has room.
    ///
    /// # Errors
    /// Where a kept note cannot be read, or the database fails.
    pub fn cosign_checkpoints(&self, cosigned: &[(u64, Note, VerifierKey)]) -> Result<(), Error> {
        let mut by_size: BTreeMap<u64, Vec<(&Note, &VerifierKey)>> = BTreeMap::new();
        cosigned.iter().for_each(|(size, note, key)| by_size.entry(*size).or_default().push((note, key)));
        for _ in 0..COSIGN_TRIES_MAX {
            let sizes: Vec<u64> = by_size.keys().copied().collect();
            let mut swaps: Vec<Swap> = Vec::new();
            for ((size, notes), kept) in by_size.iter().zip(self.database.checkpoints(&sizes)?) {
                swaps.extend(merged(*size, kept, notes)?);
            }
            by_size.retain(|size, _| swaps.iter().any(|(wanted, ..)| wanted == size));
            if by_size.is_empty() {
                return Ok(());
            }
            // Another replica may have added others meanwhile: those are merged again.
            let swapped = self.database.swap_checkpoints(&swaps)?;
            by_size.retain(|size, _| !swapped.contains(size));
        }
        // Their hosts show them again.
        Ok(())
    }

    /// Every kept checkpoint that carries more than the log's own signature, the smallest first.
    ///
    /// # Errors
    /// Where the database fails.
    pub fn cosigned_checkpoints(&self) -> Result<Vec<(u64, String)>, Error> {
        self.database.cosigned()
    }

    fn check_size(&self, wanted: u64) -> Result<(), Error> {
        let known = self.tree.lock().unwrap_or_else(PoisonError::into_inner).size();
        if wanted <= known {
            return Ok(());
        }
        let size = self.size()?;
        if wanted > size { Err(Error::Beyond { wanted, size }) } else { Ok(()) }
    }

    /// Runs `work` over the stored tree with one question to the database: which nodes it reads does not depend on what they hold, so
    /// they are listed first.
    fn gathered<T>(&self, work: impl Fn(&mut dyn FnMut(u32, u64) -> Result<Digest, Error>) -> Result<T, Error>) -> Result<T, Error> {
        let mut places = Vec::new();
        work(&mut |level, index| {
            places.push((level, index));
            Ok(merkle::empty_root())
        })?;
        let found = self.database.nodes(&places)?;
        let nodes: BTreeMap<_, _> = places.into_iter().zip(found).collect();
        work(&mut |level, index| nodes.get(&(level, index)).copied().flatten().ok_or_else(|| missing(level, index)))
    }
}

/// What the kept checkpoint of a size becomes with these cosignatures; nothing where it has them, has no room, or was never kept: what a host
/// shows is not known to carry the log's own signature.
fn merged(size: u64, kept: Option<String>, notes: &[(&Note, &VerifierKey)]) -> Result<Option<Swap>, Error> {
    let Some(known) = kept.as_deref().map(str::parse::<Note>).transpose()? else { return Ok(None) };
    let mut merged = known.clone();
    for (note, key) in notes {
        merged.adopt(note, key);
    }
    Ok((known != merged).then(|| (size, kept, merged.to_string())))
}

fn missing(level: u32, index: u64) -> Error {
    Error::Damaged(format!("the tree's node {index} of level {level} is missing"))
}

fn check_bounds(events: &[Vec<u8>]) -> Result<(), AppendError> {
    let bytes = events.iter().map(Vec::len).sum();
    if events.len() > BATCH_EVENTS_MAX || bytes > BATCH_BYTES_MAX {
        return Err(AppendError::BatchSize { events: events.len(), bytes });
    }
    let bad = events.iter().enumerate().find(|(_, event)| event.is_empty() || event.len() > EVENT_BYTES_MAX);
    bad.map_or(Ok(()), |(index, event)| Err(AppendError::EventSize { index, bytes: event.len() }))
}
