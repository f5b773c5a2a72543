//! Epochs of a log: it goes on as a new one where a backup was restored. What came after the backup is lost to the server, not to the hosts,
//! so the server says in a signed statement from where on the log goes on, and what was ordered before is dead on every host that saw it.
//!
//! Each epoch has a range of sequence numbers of its own: a host that is in an epoch refuses all that is numbered below it.

use crate::{Digest, Timestamp, canonical};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// Sequence numbers of one epoch.
const SEQUENCES: u64 = 1 << 32;
/// Most epochs of one log; with it, sequence numbers stay below 2^53.
pub const EPOCHS_MAX: u64 = 1 << 20;

const PREFIX: &[u8] = b"fother/epoch/v1\n";

/// Where a log goes on. A log that never was restored is in epoch 0, which nothing states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    /// Which: one more than the one before.
    pub number: u64,
    /// Events that were restored.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Digest,
    /// When it began.
    pub began: Timestamp,
}

/// An epoch, signed by the directive key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedEpoch {
    /// The statement.
    pub epoch: Epoch,
    /// Ed25519 over `fother/epoch/v1\n` and its canonical bytes, base64.
    pub signature: String,
}

/// The lowest number that no directive of an epoch has: those above it, up to the next epoch's, are its own.
#[must_use]
pub fn base(number: u64) -> u64 {
    number.min(EPOCHS_MAX) * SEQUENCES
}

/// Signs an epoch.
///
/// # Errors
/// Where it has no canonical form.
pub fn sign(epoch: Epoch, key: &SigningKey) -> Result<SignedEpoch, canonical::Error> {
    let bytes = canonical::to_vec(&epoch)?;
    let signature = key.sign(&[PREFIX, &bytes].concat());
    Ok(SignedEpoch { epoch, signature: STANDARD.encode(signature.to_bytes()) })
}

impl SignedEpoch {
    /// The epoch, where `key` signed it.
    #[must_use]
    pub fn open(&self, key: &VerifyingKey) -> Option<&Epoch> {
        let raw = STANDARD.decode(&self.signature).ok()?;
        let signature = Signature::from_slice(&raw).ok()?;
        let bytes = canonical::to_vec(&self.epoch).ok()?;
        key.verify_strict(&[PREFIX, &bytes].concat(), &signature).ok()?;
        (1..=EPOCHS_MAX).contains(&self.epoch.number).then_some(&self.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_directive_key_signed_opens() {
        let key = SigningKey::from_bytes(&[7; 32]);
        let epoch = Epoch { number: 1, size: 9, root: Digest([1; 32]), began: Timestamp(5) };
        let signed = sign(epoch.clone(), &key).unwrap();
        assert_eq!(signed.open(&key.verifying_key()), Some(&epoch));
        assert_eq!(signed.open(&SigningKey::from_bytes(&[8; 32]).verifying_key()), None);
        let altered = SignedEpoch { epoch: Epoch { number: 2, ..epoch.clone() }, ..signed };
        assert_eq!(altered.open(&key.verifying_key()), None);
        let none = sign(Epoch { number: 0, ..epoch.clone() }, &key).unwrap();
        assert_eq!(none.open(&key.verifying_key()), None);
        let too_many = sign(Epoch { number: EPOCHS_MAX + 1, ..epoch }, &key).unwrap();
        assert_eq!(too_many.open(&key.verifying_key()), None);
    }

    #[test]
    fn the_numbers_of_every_epoch_are_above_those_of_the_one_before_and_canonical() {
        assert_eq!((base(0), base(1)), (0, SEQUENCES));
        assert!(base(EPOCHS_MAX) + SEQUENCES < 1 << 53);
        assert_eq!(base(u64::MAX), base(EPOCHS_MAX));
    }
}
