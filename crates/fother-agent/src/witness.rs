//! This host as a witness of the server's log: keeps the newest checkpoint that it saw, cosigns what continues it, and remembers a fork.
//! Touches its own files below the executor's directory.

use crate::{
    config::{Config, Identity},
    durable::{self, Disk},
};
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp, canonical,
    checkpoint::{Checkpoint, NOTE_BYTES_MAX, Note, VerifierKey},
    epoch::Epoch,
    id::HostId,
    rehearsal::Rehearsal,
    witness::{self, Refused},
};
use serde::{Deserialize, Serialize};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The key that this host cosigns with, 64 hexadecimal digits, root only.
pub const KEY_FILE: &str = "cosigner.key";
/// The newest checkpoint, with this host's cosignature.
const CHECKPOINT_FILE: &str = "checkpoint";
/// The evidence of a fork. While it is there, nothing is applied; an operator who has looked into it moves it away.
pub const FORK_FILE: &str = "fork.json";
/// Where the log goes on since it was restored from a backup that holds less than this host had seen.
const BRANCH_FILE: &str = "branch.json";
/// Largest evidence, in bytes.
const FORK_BYTES_MAX: u64 = 1 << 20;

/// Two checkpoints that the log's key signed and of which one does not continue the other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fork {
    /// When it was seen, by this host's clock.
    pub at: Timestamp,
    /// What is wrong.
    pub why: String,
    /// The one that was cosigned.
    pub seen: String,
    /// The one that was shown.
    pub shown: String,
    /// The proof that came with it.
    pub proof: Vec<Digest>,
}

/// What a host had seen of a log that then went on from an earlier place: its evidence, kept for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// When it was left, by this host's clock.
    pub at: Timestamp,
    /// The newest checkpoint of the epoch before.
    pub seen: String,
    /// Where the log goes on.
    pub epoch: Epoch,
}

/// Why a checkpoint was not cosigned.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// A fork is on record.
    #[error("the server's log forked, see {}: nothing is applied until an operator has looked into it and moved the file away", .0.display())]
    Forked(PathBuf),
    /// Not this time.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Files.
    #[error("the checkpoint cannot be kept: {0}")]
    Files(#[from] io::Error),
    /// The cosignature cannot be made.
    #[error("the checkpoint cannot be cosigned: {0}")]
    Cosign(#[from] fother_core::checkpoint::Error),
}

/// The witness.
pub struct Witness {
    dir: PathBuf,
    disk: Disk,
    host: HostId,
    name: String,
    key: SigningKey,
    log: VerifierKey,
}

/// A new key, not written yet.
///
/// # Errors
/// Where the system has no randomness.
pub fn new_key() -> io::Result<SigningKey> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(SigningKey::from_bytes(&bytes))
}

/// The public half as enrolment sends it.
#[must_use]
pub fn public(key: &SigningKey) -> String {
    Digest(key.verifying_key().to_bytes()).hex()
}

/// Writes the key below `data`.
///
/// # Errors
/// Where the disk refuses.
pub fn write_key(data: &Path, key: &SigningKey, disk: &Disk) -> io::Result<()> {
    disk.replace(&data.join(KEY_FILE), Digest(key.to_bytes()).hex().as_bytes())
}

impl Witness {
    /// Reads what enrolment wrote.
    ///
    /// # Errors
    /// Where key or pinned log key are missing or damaged.
    pub fn open(config: &Config, identity: &Identity, disk: Disk) -> io::Result<Self> {
        let path = config.data.join(KEY_FILE);
        let bad = |what: &str| io::Error::other(format!("{what} is missing or damaged; enrol this host again"));
        let text = durable::read_bounded(&path, 256).map_err(|_| bad(&path.display().to_string()))?;
        let digest = Digest::from_hex(String::from_utf8_lossy(&text).trim()).map_err(|_| bad(&path.display().to_string()))?;
        let log = identity.log_key.parse().map_err(|_| bad("the pinned log key"))?;
        Ok(Self {
            dir: config.data.clone(),
            disk,
            host: identity.host,
            name: identity.host.to_string(),
            key: SigningKey::from_bytes(&digest.0),
            log,
        })
    }

    /// The fork on record.
    #[must_use]
    pub fn fork(&self) -> Option<WitnessError> {
        let path = self.dir.join(FORK_FILE);
        // What cannot be told counts as a fork.
        path.try_exists().unwrap_or(true).then_some(WitnessError::Forked(path))
    }

    /// A rehearsal with this host's word that it made it.
    ///
    /// # Errors
    /// Where the report has no canonical form.
    pub fn attest(&self, rehearsal: Rehearsal) -> Result<Rehearsal, canonical::Error> {
        rehearsal.attest(self.host, &self.key)
    }

    /// The newest checkpoint that this host cosigned.
    #[must_use]
    pub fn note(&self) -> Option<String> {
        let bytes = durable::read_bounded(&self.dir.join(CHECKPOINT_FILE), NOTE_BYTES_MAX as u64).ok()?;
        String::from_utf8(bytes).ok()
    }

    /// Takes a checkpoint in: judged, cosigned, kept. A fork is kept as evidence instead, durably, before this returns.
    ///
    /// # Errors
    /// See [`WitnessError`].
    pub fn take(&self, shown: &str, proof: &[Digest], now: Timestamp) -> Result<(), WitnessError> {
        if let Some(fork) = self.fork() {
            return Err(fork);
        }
        let kept = self.note();
        let seen = self.seen(kept.as_deref())?;
        let checkpoint = match witness::judge(&self.log, seen.as_ref(), shown, proof) {
            Ok(checkpoint) => checkpoint,
            Err(why @ Refused::Fork { .. }) => return Err(self.record(kept.unwrap_or_default(), shown, proof, &why, now)?),
            Err(why @ (Refused::NotTheLogs(_) | Refused::Older { .. })) => return Err(why.into()),
        };
        if kept.is_some() && seen.is_some_and(|seen| seen == checkpoint) {
            return Ok(());
        }
        let mut note: Note = shown.parse()?;
        note.only(&self.log);
        note.cosign(&self.name, &self.key, now.ms() / 1000)?;
        Ok(self.disk.replace(&self.dir.join(CHECKPOINT_FILE), note.to_string().as_bytes())?)
    }

    /// What a checkpoint must continue: the newest one that was kept, else where an epoch began.
    fn seen(&self, kept: Option<&str>) -> Result<Option<Checkpoint>, WitnessError> {
        if let Some(note) = kept {
            return Ok(Some(fother_core::checkpoint::open(note, &self.log)?));
        }
        let path = self.dir.join(BRANCH_FILE);
        if !path.try_exists()? {
            return Ok(None);
        }
        let epoch: Epoch = serde_json::from_slice(&durable::read_bounded(&path, FORK_BYTES_MAX)?).map_err(io::Error::other)?;
        Ok(Some(Checkpoint { origin: self.log.name().to_owned(), size: epoch.size, root: epoch.root }))
    }

    /// The log goes on as this epoch. Where this host has seen more than was restored, that is kept as evidence, durably, and the next
    /// checkpoint must continue what was restored.
    ///
    /// # Errors
    /// Where the files cannot be read or written.
    pub fn enter(&self, epoch: &Epoch, now: Timestamp) -> Result<(), WitnessError> {
        let kept = self.note();
        if self.seen(kept.as_deref())?.is_none_or(|seen| seen.size <= epoch.size) {
            return Ok(());
        }
        if let Some(seen) = kept {
            let left = Left { at: now, seen, epoch: epoch.clone() };
            let path = self.dir.join(format!("epoch-{}.json", epoch.number));
            self.disk.replace(&path, &serde_json::to_vec_pretty(&left).map_err(io::Error::other)?)?;
        }
        self.disk.replace(&self.dir.join(BRANCH_FILE), &serde_json::to_vec(epoch).map_err(io::Error::other)?)?;
        match std::fs::remove_file(self.dir.join(CHECKPOINT_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn record(&self, seen: String, shown: &str, proof: &[Digest], why: &Refused, now: Timestamp) -> io::Result<WitnessError> {
        let path = self.dir.join(FORK_FILE);
        let fork = Fork { at: now, why: why.to_string(), seen, shown: shown.to_owned(), proof: proof.to_vec() };
        self.disk.replace(&path, &serde_json::to_vec_pretty(&fork)?)?;
        // The evidence holds it; once an operator has moved that away, this host begins anew.
        if self.dir.join(CHECKPOINT_FILE).try_exists()? {
            std::fs::remove_file(self.dir.join(CHECKPOINT_FILE))?;
        }
        tracing::error!(%why, evidence = %path.display(), "THE SERVER'S LOG FORKED: nothing is applied until an operator has looked into it");
        Ok(WitnessError::Forked(path))
    }
}

/// Reads the evidence of a fork.
///
/// # Errors
/// Where there is none.
pub fn read_fork(data: &Path) -> io::Result<Fork> {
    serde_json::from_slice(&durable::read_bounded(&data.join(FORK_FILE), FORK_BYTES_MAX)?).map_err(io::Error::other)
}
