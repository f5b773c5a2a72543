//! The auditor's check: recomputes the tree from the stored bytes and compares it with what is stored and with a signed checkpoint. Reads only.

use crate::{Error, Store, blobs, cosigned::Cosigned};
use fother_core::{
    Digest,
    checkpoint::{self, VerifierKey},
    id::HostId,
    merkle,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::Path,
};

/// Most problems that are listed; more are counted.
const PROBLEMS_MAX: usize = 100;

/// One thing that is not as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The event is missing.
    Missing {
        /// Its number.
        seq: u64,
    },
    /// The event's bytes are not those that were appended.
    Altered {
        /// Its number.
        seq: u64,
    },
    /// An inner node of the stored tree is wrong or missing.
    Node {
        /// Its level, leaves being 0.
        level: u32,
        /// Its place within the level.
        index: u64,
    },
    /// The log is shorter than the checkpoint says: its end was cut off.
    Short {
        /// Events there are.
        size: u64,
        /// Events that were signed.
        signed: u64,
    },
    /// The first events do not have the root that was signed: the log was rewritten.
    Root {
        /// Number of events signed.
        size: u64,
        /// The root that was signed.
        signed: Digest,
        /// The root of what is stored.
        found: Digest,
    },
    /// A cosigned checkpoint is no checkpoint of this log, or a host's signature on it is wrong.
    Cosignature {
        /// Number of events of the checkpoint.
        size: u64,
    },
    /// A blob's file is missing or not what its name says.
    Blob {
        /// Its name.
        digest: Digest,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { seq } => write!(f, "event {seq} is missing"),
            Self::Altered { seq } => write!(f, "event {seq} was altered: its bytes no longer have the hash that was stored with it"),
            Self::Node { level, index } => write!(f, "the stored tree is wrong at level {level}, node {index}"),
            Self::Short { size, signed } => write!(f, "the log has {size} events, {signed} were signed: its end was cut off"),
            Self::Root { size, signed, found } => {
                write!(f, "the first {size} events have the root {found}, {signed} was signed: the log was rewritten")
            }
            Self::Cosignature { size } => write!(f, "the cosigned checkpoint over {size} events, or a signature on it, is wrong"),
            Self::Blob { digest } => write!(f, "the blob {digest} is missing or was altered"),
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyReport {
    /// Events there are.
    pub size: u64,
    /// Root over their stored bytes.
    pub root: Digest,
    /// Events that the checkpoint covers; those after it are checked against the stored hashes only.
    pub signed: u64,
    /// Blobs that were read and hashed.
    pub blobs: u64,
    /// Hosts that cosigned a checkpoint of this very log, each with the number of events that its newest one covers.
    pub cosigned: BTreeMap<HostId, u64>,
    /// What is wrong, in the order of the log; at most a hundred.
    pub problems: Vec<Problem>,
    /// Problems in all.
    pub problem_count: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.problem_count == 0
    }

    /// The first event that is missing or altered.
    #[must_use]
    pub fn first_bad_seq(&self) -> Option<u64> {
        self.problems.iter().find_map(|problem| match problem {
            Problem::Missing { seq } | Problem::Altered { seq } => Some(*seq),
            Problem::Node { .. } | Problem::Short { .. } | Problem::Root { .. } | Problem::Cosignature { .. } | Problem::Blob { .. } => {
                None
            }
        })
    }

    pub(crate) fn new(signed: u64) -> Self {
        Self { size: 0, root: merkle::empty_root(), signed, blobs: 0, cosigned: BTreeMap::new(), problems: Vec::new(), problem_count: 0 }
    }

    pub(crate) fn add(&mut self, problem: Problem) {
        self.problem_count += 1;
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(problem);
        }
    }
}

/// Events, and blobs, that are asked for at once.
const PAGE: usize = 1_000;

/// Verifies the store below `dir` against a checkpoint signed by `key`: every event, the tree, every blob. Also beside a running server.
///
/// # Errors
/// Where the checkpoint is not signed by `key`, or the store cannot be read. What is wrong with the log is in the report.
pub fn verify(dir: &Path, note: &str, key: &VerifierKey) -> Result<VerifyReport, Error> {
    let signed = checkpoint::open(note, key)?;
    Store::open_read_only(dir)?.verify_signed(&signed, key)
}

impl Store {
    /// As [`verify`], for an open store.
    ///
    /// # Errors
    /// As [`verify`].
    pub fn verify(&self, note: &str, key: &VerifierKey) -> Result<VerifyReport, Error> {
        self.verify_signed(&checkpoint::open(note, key)?, key)
    }

    fn verify_signed(&self, signed: &checkpoint::Checkpoint, key: &VerifierKey) -> Result<VerifyReport, Error> {
        let mut report = VerifyReport::new(signed.size);
        // What is appended meanwhile is left to the next time. A note may cover it: those are left out as well.
        report.size = self.size()?;
        let notes = self.cosigned_checkpoints()?.into_iter().filter(|(covers, _)| *covers <= report.size.max(signed.size)).collect();
        self.check_log(signed, key, Cosigned::new(notes), &mut report)?;
        self.check_blobs(&mut report)?;
        Ok(report)
    }

    fn check_log(
        &self,
        signed: &checkpoint::Checkpoint,
        key: &VerifierKey,
        mut cosigned: Cosigned,
        report: &mut VerifyReport,
    ) -> Result<(), Error> {
        let mut tree = merkle::Tree::default();
        let mut root_then = (signed.size == 0).then(merkle::empty_root);
        'pages: while tree.size() < report.size {
            let page = self.read(tree.size(), PAGE.min(usize::try_from(report.size - tree.size()).unwrap_or(PAGE)))?;
            let wrong = self.wrong_nodes(&tree, &page)?;
            if page.is_empty() {
                report.add(Problem::Missing { seq: tree.size() });
                break;
            }
            for (seq, event) in page {
                if seq != tree.size() {
                    // Later places in the tree mean nothing now.
                    report.add(Problem::Missing { seq: tree.size() });
                    break 'pages;
                }
                check_event(&mut tree, &event, &wrong, report);
                cosigned.event(seq, &event, &tree);
                if tree.size() == signed.size {
                    root_then = Some(tree.root());
                }
            }
        }
        report.root = tree.root();
        match root_then {
            None => report.add(Problem::Short { size: tree.size(), signed: signed.size }),
            Some(found) if found != signed.root => report.add(Problem::Root { size: signed.size, signed: signed.root, found }),
            Some(_) => {}
        }
        cosigned.finish(key, report);
        Ok(())
    }

    /// Places whose stored hash is not what the events of this page make it.
    fn wrong_nodes(&self, tree: &merkle::Tree, page: &[(u64, Vec<u8>)]) -> Result<BTreeSet<(u32, u64)>, Error> {
        let (mut tree, mut nodes) = (tree.clone(), Vec::new());
        for (_, event) in page {
            tree.append_with(merkle::leaf_hash(event), |level, index, hash| nodes.push(((level, index), *hash)));
        }
        let places: Vec<_> = nodes.iter().map(|(place, _)| *place).collect();
        let found = self.database.nodes(&places)?;
        Ok(nodes.into_iter().zip(found).filter(|((_, hash), found)| *found != Some(*hash)).map(|((place, _), _)| place).collect())
    }

    fn check_blobs(&self, report: &mut VerifyReport) -> Result<(), Error> {
        let mut last = None;
        loop {
            let page = self.database.blobs(last.as_ref(), PAGE)?;
            let Some((end, _, _)) = page.last() else { return Ok(()) };
            last = Some(*end);
            for (digest, kind, _) in page {
                report.blobs += 1;
                if self.files.read(&digest)?.is_none_or(|bytes| blobs::digest_of(&kind, &bytes) != digest) {
                    report.add(Problem::Blob { digest });
                }
            }
        }
    }
}

/// Appends the event to the recomputed tree and tells which of the nodes that it completes are wrong. Where the leaf differs, the nodes
/// above it do too and are not named again.
fn check_event(tree: &mut merkle::Tree, event: &[u8], wrong: &BTreeSet<(u32, u64)>, report: &mut VerifyReport) {
    let seq = tree.size();
    tree.append_with(merkle::leaf_hash(event), |level, index, _| {
        if !wrong.contains(&(level, index)) {
            return;
        }
        if level == 0 {
            report.add(Problem::Altered { seq });
        } else if report.ok() {
            report.add(Problem::Node { level, index });
        }
    });
}
