//! What rehearsing a transaction on a clone of a host showed.

use crate::{
    Digest, canonical,
    id::HostId,
    resolution::PackageChange,
    text::{outgoing, outgoing_diff},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// The answer of a rehearsal. Ordered by severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Everything that ran before runs after, and the undo is exact.
    Passes,
    /// Something is newly broken.
    Breaks,
    /// Could not be told.
    Unknown,
}

/// A path that the transaction writes, replaces or removes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FootprintEntry {
    /// Absolute path.
    pub path: String,
    /// What happens to it.
    pub effect: Effect,
}

/// What a transaction does to one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Was absent, is there.
    Creates,
    /// Other content or metadata.
    Changes,
    /// Was there, is absent.
    Removes,
}

/// One thing that is newly broken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Breakage {
    /// Unit, check or package.
    pub what: String,
    /// For people, with the last lines of output where there are any.
    pub why: String,
}

/// A configuration file that the administrator changed and the package brings anew.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfigConflict {
    /// Path of the configuration file.
    pub path: String,
    /// Unified diff from the kept file to the package's.
    pub diff: String,
    /// What the transaction does: `keep`, `replace` or `stop`.
    pub action: String,
}

/// A unit that the clone could or could not exercise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exercised {
    /// Unit name.
    pub unit: String,
    /// `true`: it ran before and after the upgrade in the clone.
    pub exercised: bool,
    /// Why not, or what was seen.
    pub note: String,
}

/// How the undo in the clone compared with the state before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoProof {
    /// Paths compared byte for byte: content, mode, owner, times, extended attributes, links.
    pub paths_compared: u64,
    /// Paths that differ after the undo, with what differs. Empty means exact.
    pub differences: Vec<String>,
    /// Paths that were left out, each with the reason.
    pub exempt: Vec<String>,
}

/// The whole report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rehearsal {
    /// [`crate::inventory::Inventory::base`] of the host that was cloned.
    pub base: Digest,
    /// The exact transaction.
    pub changes: Vec<PackageChange>,
    /// The answer.
    pub verdict: Verdict,
    /// Why the verdict is not `passes`, or remarks.
    pub reasons: Vec<String>,
    /// What is newly broken.
    pub breakages: Vec<Breakage>,
    /// Every path the transaction touched in the clone, sorted.
    pub footprint: Vec<FootprintEntry>,
    /// Units that restart, by package scripts or because they map replaced files, sorted.
    pub restarts: Vec<String>,
    /// Reasons why a reboot is needed afterwards; empty: none.
    pub reboot: Vec<String>,
    /// Configuration conflicts.
    pub conflicts: Vec<ConfigConflict>,
    /// Units exercised and not exercised.
    pub exercised: Vec<Exercised>,
    /// The undo.
    pub undo: UndoProof,
    /// Paths of the host itself that changed while the rehearsal ran (someone else's writes), sorted.
    pub moved: Vec<String>,
    /// Time of the transaction in the clone, in milliseconds.
    pub apply_ms: u64,
    /// Time of the whole rehearsal, in milliseconds.
    pub total_ms: u64,
    /// Space that the transaction needs on the host, in bytes, undo archive included.
    pub space_bytes: u64,
    /// The host that made it, where it was asked to vouch for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attested: Option<Attested>,
}

/// A host's word that it made a rehearsal: under a standing approval nobody reads the report before it counts, so that no server may write one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attested {
    /// The host.
    pub host: HostId,
    /// Ed25519 by its cosigner's key over `fother/rehearsal-attested/v1\n` and the digest of the report without this field, base64.
    pub signature: String,
}

const ATTESTED_PREFIX: &[u8] = b"fother/rehearsal-attested/v1\n";

impl Rehearsal {
    /// A report on nothing yet: it passes until something speaks against it.
    #[must_use]
    pub fn begun(base: Digest, changes: Vec<PackageChange>) -> Self {
        Self {
            base,
            changes,
            verdict: Verdict::Passes,
            reasons: Vec::new(),
            breakages: Vec::new(),
            footprint: Vec::new(),
            restarts: Vec::new(),
            reboot: Vec::new(),
            conflicts: Vec::new(),
            exercised: Vec::new(),
            undo: UndoProof::default(),
            moved: Vec::new(),
            apply_ms: 0,
            total_ms: 0,
            space_bytes: 0,
            attested: None,
        }
    }

    /// What a host vouches for.
    fn vouched(&self) -> Result<Vec<u8>, canonical::Error> {
        let digest = Self { attested: None, ..self.clone() }.digest()?;
        Ok([ATTESTED_PREFIX, &digest.0].concat())
    }

    /// The report with the word of the host that made it.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn attest(mut self, host: HostId, key: &SigningKey) -> Result<Self, canonical::Error> {
        let signature = STANDARD.encode(key.sign(&self.vouched()?).to_bytes());
        self.attested = Some(Attested { host, signature });
        Ok(self)
    }

    /// Which host made it, if `key_of` knows that host's key (64 hexadecimal digits) and its signature fits.
    ///
    /// # Errors
    /// For people.
    pub fn attester(&self, key_of: impl Fn(HostId) -> Option<String>) -> Result<HostId, String> {
        let Some(Attested { host, signature }) = &self.attested else { return Err("no host vouches for the rehearsal".to_owned()) };
        let hex = key_of(*host).ok_or_else(|| format!("the rehearsal is of {host}, which is none of the hosts that were signed for"))?;
        let bad = || format!("the signature of {host} does not fit its rehearsal");
        let key = Digest::from_hex(&hex).ok().and_then(|bytes| VerifyingKey::from_bytes(&bytes.0).ok()).ok_or_else(bad)?;
        let signature = STANDARD.decode(signature).ok().and_then(|raw| Signature::from_slice(&raw).ok()).ok_or_else(bad)?;
        key.verify_strict(&self.vouched().map_err(|error| error.to_string())?, &signature).map_err(|_| bad())?;
        Ok(*host)
    }

    /// Name of this report.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn digest(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("rehearsal", &canonical::to_vec(self)?))
    }

    /// The report as it may leave its host: without lines that only the host's files hold, and without what programs printed there.
    #[must_use]
    pub fn outgoing(mut self) -> Self {
        let told = |texts: &mut Vec<String>| texts.iter_mut().for_each(|text| *text = outgoing(text));
        told(&mut self.reasons);
        told(&mut self.reboot);
        told(&mut self.undo.differences);
        self.breakages.iter_mut().for_each(|broken| broken.why = outgoing(&broken.why));
        self.exercised.iter_mut().for_each(|unit| unit.note = outgoing(&unit.note));
        self.conflicts.iter_mut().for_each(|conflict| conflict.diff = outgoing_diff(&conflict.diff));
        self
    }
}
