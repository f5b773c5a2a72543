//! What a host makes of the checkpoints that it is shown: a log may grow, and never change. Pure.

use crate::{
    Digest,
    checkpoint::{self, Checkpoint, VerifierKey},
    merkle,
};

/// Why a checkpoint is not cosigned.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Refused {
    /// Not a checkpoint of the pinned log.
    #[error("the checkpoint cannot be used: {0}")]
    NotTheLogs(String),
    /// Older than one seen before: replayed, or the log lost its end.
    #[error("the checkpoint has {size} events, this host has seen {seen}: replayed, or the log lost its end")]
    Older {
        /// Its events.
        size: u64,
        /// Events of the newest one seen.
        seen: u64,
    },
    /// Signed by the log, and not a continuation of what the log signed before.
    #[error("the log was rewritten: its checkpoint over {size} events does not continue the one over {seen} events that it signed before")]
    Fork {
        /// Its events.
        size: u64,
        /// Events of the newest one seen.
        seen: u64,
    },
}

/// Judges a checkpoint against the newest one `seen`: signed by the pinned log key, and shown by `proof` to continue it.
/// The first one is believed.
///
/// # Errors
/// See [`Refused`]; only [`Refused::Fork`] is evidence against the log.
pub fn judge(log: &VerifierKey, seen: Option<&Checkpoint>, note: &str, proof: &[Digest]) -> Result<Checkpoint, Refused> {
    let shown = checkpoint::open(note, log).map_err(|error| Refused::NotTheLogs(error.to_string()))?;
    let Some(seen) = seen else { return Ok(shown) };
    if shown.size < seen.size {
        return Err(Refused::Older { size: shown.size, seen: seen.size });
    }
    let same_size = shown.size == seen.size;
    let continues =
        if same_size { shown.root == seen.root } else { merkle::verify_consistency(seen.size, &seen.root, shown.size, &shown.root, proof) };
    if continues { Ok(shown) } else { Err(Refused::Fork { size: shown.size, seen: seen.size }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Kind;
    use ed25519_dalek::SigningKey;

    fn leaves(count: u8, rewritten: Option<u8>) -> Vec<Digest> {
        (0..count).map(|n| merkle::leaf_hash(&[n, u8::from(rewritten == Some(n))])).collect()
    }

    fn of(leaves: &[Digest]) -> Checkpoint {
        Checkpoint { origin: "log".to_owned(), size: leaves.len() as u64, root: merkle::root(leaves) }
    }

    fn shown(seen: Option<&Checkpoint>, now: &[Digest]) -> Result<Checkpoint, Refused> {
        let key = SigningKey::from_bytes(&[1; 32]);
        let log = VerifierKey::new("log", Kind::Log, key.verifying_key()).unwrap();
        let proof = seen.and_then(|seen| merkle::prove_consistency(now, usize::try_from(seen.size).unwrap())).unwrap_or_default();
        judge(&log, seen, &of(now).sign(&key).unwrap().to_string(), &proof)
    }

    #[test]
    fn a_log_may_stand_still_and_grow() {
        let seen = shown(None, &leaves(5, None)).unwrap();
        assert_eq!(shown(Some(&seen), &leaves(5, None)), Ok(seen.clone()));
        assert_eq!(shown(Some(&seen), &leaves(9, None)), Ok(of(&leaves(9, None))));
    }

    #[test]
    fn any_event_rewritten_or_cut_off_is_found_whether_the_log_grew_or_not() {
        let seen = of(&leaves(5, None));
        for rewritten in 0..5 {
            for size in 5..12 {
                assert!(matches!(shown(Some(&seen), &leaves(size, Some(rewritten))), Err(Refused::Fork { .. })), "{rewritten} of {size}");
            }
        }
        assert_eq!(shown(Some(&seen), &leaves(4, None)), Err(Refused::Older { size: 4, seen: 5 }));
        assert!(shown(Some(&seen), &leaves(9, Some(7))).is_ok(), "what was not seen yet is not history");
    }

    #[test]
    fn others_keys_and_missing_proofs_do_not_pass() {
        let (key, other) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let log = VerifierKey::new("log", Kind::Log, key.verifying_key()).unwrap();
        let note = of(&leaves(9, None)).sign(&other).unwrap().to_string();
        assert!(matches!(judge(&log, None, &note, &[]), Err(Refused::NotTheLogs(_))));
        let note = of(&leaves(9, None)).sign(&key).unwrap().to_string();
        assert!(matches!(judge(&log, Some(&of(&leaves(5, None))), &note, &[]), Err(Refused::Fork { .. })));
    }
}
