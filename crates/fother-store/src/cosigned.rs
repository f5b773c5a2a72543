//! Whether hosts have cosigned what the log now says: their notes against the tree, their signatures against the keys that they enrolled with. Pure.

use crate::{Problem, VerifyReport};
use fother_core::{
    Digest,
    checkpoint::{self, Note, VerifierKey},
    event::{Data, Event},
    id::HostId,
    merkle,
};
use std::collections::BTreeMap;

/// How every event that enrols a host contains its type.
const ENROLLED: &[u8] = b"\"type\":\"host.enrolled\"";

/// Cosigned notes, and what a walk over the log finds out about them.
pub(crate) struct Cosigned {
    notes: BTreeMap<u64, String>,
    roots: BTreeMap<u64, Digest>,
    keys: BTreeMap<HostId, VerifierKey>,
}

impl Cosigned {
    pub(crate) fn new(notes: Vec<(u64, String)>) -> Self {
        Self { notes: notes.into_iter().collect(), roots: BTreeMap::new(), keys: BTreeMap::new() }
    }

    /// Takes the next event of the walk in, `tree` being the one over it and all before it.
    pub(crate) fn event(&mut self, seq: u64, event: &[u8], tree: &merkle::Tree) {
        if self.notes.contains_key(&tree.size()) {
            self.roots.insert(tree.size(), tree.root());
        }
        if event.windows(ENROLLED.len()).any(|part| part == ENROLLED)
            && let Ok(Event { data: Data::HostEnrolled { host, cosigner, .. }, .. }) = Event::parse(seq, event)
            && let Ok(key) = checkpoint::cosigner(host, &cosigner)
        {
            self.keys.insert(host, key);
        }
    }

    /// Checks every note, and counts the hosts whose cosignatures are right.
    pub(crate) fn finish(self, log: &VerifierKey, report: &mut VerifyReport) {
        for (size, text) in &self.notes {
            let note = text.parse::<Note>().ok();
            let Some((note, signed)) =
                note.and_then(|note| note.verify(log).ok().map(|signed| (note, signed))).filter(|(_, signed)| signed.size == *size)
            else {
                report.add(Problem::Cosignature { size: *size });
                continue;
            };
            match self.roots.get(size) {
                Some(root) if *root == signed.root => {}
                Some(root) => report.add(Problem::Root { size: *size, signed: signed.root, found: *root }),
                None => report.add(Problem::Short { size: report.size, signed: *size }),
            }
            for (host, key) in self.keys.iter().filter(|(_, key)| note.cosigned_at(key).is_some()) {
                if note.verify(key).is_ok() {
                    report.cosigned.insert(*host, *size);
                } else {
                    report.add(Problem::Cosignature { size: *size });
                }
            }
        }
    }
}
