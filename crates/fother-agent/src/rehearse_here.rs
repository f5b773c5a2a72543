//! The hidden subcommand `rehearse-here`: rehearses a cohort on a clone of this host, and looks for the smallest failing set.

use crate::{
    durable::{self, Disk},
    host::{HostError, Rehearsed},
    host_live::RehearseHere,
    units::{RESULT_BYTES_MAX, Told},
};
use fother_core::{policy::ConfigFiles, rehearsal::Verdict};
use fother_host::{
    rehearse::{self, RehearseRequest},
    transact::ConffilePolicy,
};
use std::path::{Path, PathBuf};

fn told(error: impl ToString) -> HostError {
    HostError(error.to_string())
}

/// Reads the request, rehearses, and leaves the result beside it. `driver` are the arguments of `binary` that lead to
/// [`fother_host::rehearse::inside`].
///
/// # Errors
/// Where the request cannot be read or the result not be written.
pub fn run(request: &Path, binary: PathBuf, driver: Vec<String>) -> Result<(), HostError> {
    let bytes = durable::read_bounded(request, RESULT_BYTES_MAX).map_err(told)?;
    let here: RehearseHere = serde_json::from_slice(&bytes).map_err(told)?;
    let result = match rehearsed(here, binary, driver) {
        Ok(answer) => Told::Done { answer },
        Err(why) => Told::Failed { why },
    };
    let bytes = serde_json::to_vec(&result).map_err(told)?;
    Disk::default().replace(&request.with_file_name("result.json"), &bytes).map_err(told)
}

fn rehearsed(here: RehearseHere, binary: PathBuf, driver_args: Vec<String>) -> Result<Rehearsed, String> {
    let request = RehearseRequest {
        changes: here.changes,
        debs: here.debs,
        work: here.work,
        base: here.base,
        checks: here.checks,
        binary,
        driver_args,
        conffiles: match here.config_files {
            ConfigFiles::Keep => ConffilePolicy::Keep,
            ConfigFiles::Replace => ConffilePolicy::Replace,
            ConfigFiles::Stop => ConffilePolicy::Stop,
        },
        limits: rehearse::Limits::default(),
    };
    let say = |progress: fother_host::transact::Progress| tracing::info!(stage = progress.stage, "{}", progress.what);
    let rehearsal = rehearse::rehearse(&request, &mut |progress| say(progress)).map_err(|error| error.to_string())?;
    let (mut failing, mut rest) = (Vec::new(), None);
    if here.bisect && rehearsal.verdict == Verdict::Breaks {
        let found = rehearse::bisect(&request, &rehearsal, &mut |progress| say(progress)).map_err(|error| error.to_string())?;
        (failing, rest) = (found.failing, found.rest);
    }
    Ok(Rehearsed { rehearsal, failing, rest })
}
