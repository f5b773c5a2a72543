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
        let seen: Option<Checkpoint> = kept.as_deref().map(|note| fother_core::checkpoint::open(note, &self.log)).transpose()?;
        let checkpoint = match witness::judge(&self.log, seen.as_ref(), shown, proof) {
            Ok(checkpoint) => checkpoint,
            Err(why @ Refused::Fork { .. }) => return Err(self.record(kept.unwrap_or_default(), shown, proof, &why, now)?),
            Err(why @ (Refused::NotTheLogs(_) | Refused::Older { .. })) => return Err(why.into()),
        };
        if seen.is_some_and(|seen| seen == checkpoint) {
            return Ok(());
        }
        let mut note: Note = shown.parse()?;
        note.only(&self.log);
        note.cosign(&self.name, &self.key, now.ms() / 1000)?;
        Ok(self.disk.replace(&self.dir.join(CHECKPOINT_FILE), note.to_string().as_bytes())?)
    }

    fn record(&self, seen: String, shown: &str, proof: &[Digest], why: &Refused, now: Timestamp) -> io::Result<WitnessError> {
        let path = self.dir.join(FORK_FILE);
        let fork = Fork { at: now, why: why.to_string(), seen, shown: shown.to_owned(), proof: proof.to_vec() };
        self.disk.replace(&path, &serde_json::to_vec_pretty(&fork)?)?;
        // The evidence holds it; once an operator has moved that away, this host begins anew.
        std::fs::remove_file(self.dir.join(CHECKPOINT_FILE))?;
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
