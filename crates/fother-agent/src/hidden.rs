//! The hidden subcommands that transient units run; each reads a request file and leaves a result file beside it.

use crate::{
    durable::{self, Disk},
    host::HostError,
    host_live::PutBack,
    units::{RESULT_BYTES_MAX, Told},
};
use fother_core::rehearsal::UndoProof;
use fother_host::{transact, undo::OnConflict};
use std::path::Path;

fn told(error: impl ToString) -> HostError {
    HostError(error.to_string())
}

/// `fother agent transact <request.json>`: carries out, or recovers, one transaction.
///
/// # Errors
/// Where the request cannot be read or the result not be written.
pub fn transact(request: &Path) -> Result<(), HostError> {
    transact::run_from_file(request).map(drop).map_err(told)
}

/// `fother agent put-back <put-back.json>`: undoes one transaction. What somebody else has written since is left alone and named.
///
/// # Errors
/// Where the request cannot be read or the result not be written.
pub fn put_back(request: &Path) -> Result<(), HostError> {
    let bytes = durable::read_bounded(request, RESULT_BYTES_MAX).map_err(told)?;
    let what: PutBack = serde_json::from_slice(&bytes).map_err(told)?;
    let result = match transact::undo_transaction(&what.journal, &what.undo_archive, OnConflict::Leave, &mut |_| {}) {
        Ok(report) => Told::Done {
            answer: UndoProof {
                paths_compared: report.compared,
                differences: report.left.iter().map(|path| format!("{path}: written by somebody else since, left alone")).collect(),
                exempt: Vec::new(),
            },
        },
        Err(error) => Told::Failed { why: error.to_string() },
    };
    let bytes = serde_json::to_vec(&result).map_err(told)?;
    Disk::default().replace(&request.with_file_name("put-back-result.json"), &bytes).map_err(told)
}
