//! The rest that a search for the failing set rehearsed: kept for a while, so that the plan without the failing updates need not wait
//! for the very same rehearsal again. Touches one file below the agent's directory.

use crate::durable::{self, Disk};
use fother_core::{Digest, Timestamp, canonical, plan::Cohort, rehearsal::Rehearsal};
use serde::{Deserialize, Serialize};
use std::{path::Path, time::Duration};

/// How old a kept rehearsal may be; within it the host's packages must still be the same ones, too.
pub const KEPT_LIFE: Duration = Duration::from_secs(15 * 60);
/// Largest file that is read, in bytes.
const KEPT_BYTES_MAX: u64 = fother_core::protocol::BLOB_BYTES_MAX as u64 + 4096;
const FILE: &str = "kept-rehearsal.json";

#[derive(Serialize, Deserialize)]
struct Kept {
    of: Digest,
    at: Timestamp,
    rehearsal: Rehearsal,
}

/// What a rehearsal depends on: transaction, base, checks, what happens to configuration files.
fn name(cohort: &Cohort, base: Digest, rehearsal: Option<&Rehearsal>) -> Option<Digest> {
    let changes = rehearsal.map_or(&cohort.changes, |rehearsal| &rehearsal.changes);
    let bytes = canonical::to_vec(&(changes, base, &cohort.checks, cohort.config_files)).ok()?;
    Some(Digest::of_kind("kept-rehearsal", &bytes))
}

/// Keeps the rehearsal of a part of `cohort` in the place of any earlier one. A failure only costs the time of another rehearsal.
pub fn keep(dir: &Path, disk: &Disk, cohort: &Cohort, base: Digest, rest: Rehearsal, now: Timestamp) {
    let Some(of) = name(cohort, base, Some(&rest)) else { return };
    let kept = Kept { of, at: now, rehearsal: rest };
    let written = serde_json::to_vec(&kept).map_err(std::io::Error::other).and_then(|bytes| disk.replace(&dir.join(FILE), &bytes));
    if let Err(error) = written {
        tracing::warn!(%error, "a rehearsal was not kept");
    }
}

/// The kept rehearsal of exactly this transaction on exactly this base, if it is young enough.
#[must_use]
pub fn find(dir: &Path, cohort: &Cohort, base: Digest, now: Timestamp) -> Option<Rehearsal> {
    let bytes = durable::read_bounded(&dir.join(FILE), KEPT_BYTES_MAX).ok()?;
    let kept: Kept = serde_json::from_slice(&bytes).ok()?;
    let fits = Some(kept.of) == name(cohort, base, None) && kept.rehearsal.base == base && kept.rehearsal.changes == cohort.changes;
    (fits && kept.at <= now && now.since(kept.at) <= KEPT_LIFE).then_some(kept.rehearsal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::harness;
    use fother_core::id::HostId;

    #[test]
    fn only_the_same_transaction_on_the_same_base_is_answered_and_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, base, now) = (Disk::default(), Digest([7; 32]), Timestamp(1_000_000));
        let cohort = harness::cohort(HostId::new(1, [1; 10]), base, Vec::new());
        let rest = Rehearsal { base, ..harness::rehearsal(&cohort) };
        assert!(find(dir.path(), &cohort, base, now).is_none());
        keep(dir.path(), &disk, &cohort, base, rest.clone(), now);
        assert_eq!(find(dir.path(), &cohort, base, now + KEPT_LIFE), Some(rest));
        assert!(find(dir.path(), &cohort, base, now + KEPT_LIFE + Duration::from_secs(1)).is_none());
        assert!(find(dir.path(), &cohort, Digest([8; 32]), now).is_none());
        let mut other = cohort.clone();
        other.checks.clear();
        other.changes.clear();
        assert!(find(dir.path(), &other, base, now).is_none());
        std::fs::write(dir.path().join(FILE), b"{").unwrap();
        assert!(find(dir.path(), &cohort, base, now).is_none());
    }
}
