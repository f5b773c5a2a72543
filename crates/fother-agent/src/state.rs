//! What the executor must never forget, in one small file replaced as a whole: the highest sequence, the queue, reports, the newest archive dates.

use crate::durable::{self, Disk};
use fother_core::{
    Digest, Timestamp,
    directive::Directive,
    protocol::{Outcome, Report},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, io, path::PathBuf};

/// Most directives that wait; more are refused.
pub const JOBS_MAX: usize = 16;
/// Most reports kept for the server; above it only outcomes of accepted directives are added.
pub const REPORTS_MAX: usize = 256;
/// Most blobs that wait to be sent; the oldest is dropped.
pub const BLOBS_MAX: usize = 64;
const FILE_BYTES_MAX: u64 = 64 << 20;

/// An accepted directive on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The directive.
    pub directive: Directive,
    /// Verified in full and begun: after a restart it is resumed from its journal, not begun again.
    pub begun: bool,
    /// Interim outcomes that were reported, so that each is reported once.
    pub reported: Vec<String>,
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Highest accepted sequence.
    pub seen: u64,
    /// Number of the last report.
    pub last_report: u64,
    /// Reports that the server has not acknowledged.
    pub reports: Vec<Report>,
    /// Accepted directives, oldest first.
    pub jobs: Vec<Job>,
    /// Blobs to send: kind and digest.
    pub blobs: Vec<(String, Digest)>,
    /// Newest Release date seen per `uri suite`.
    pub newest: BTreeMap<String, Timestamp>,
}

impl State {
    /// Adds a report: the one way by which words leave this host, so what its programs printed is taken out here.
    pub fn report(&mut self, directive: Option<fother_core::id::DirectiveId>, outcome: Outcome) {
        self.last_report += 1;
        self.reports.push(Report { number: self.last_report, directive, outcome: outcome.outgoing() });
    }

    /// Reports an interim outcome of the first job once.
    pub fn report_once(&mut self, name: &str, outcome: Outcome) {
        let Some(job) = self.jobs.first_mut() else { return };
        if job.reported.iter().any(|known| known == name) {
            return;
        }
        job.reported.push(name.to_owned());
        let id = job.directive.id;
        self.report(Some(id), outcome);
    }

    /// Ends the first job with its final outcome.
    pub fn finish(&mut self, outcome: Outcome) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.remove(0);
        self.report(Some(job.directive.id), outcome);
    }

    /// Queues a blob for sending.
    pub fn queue_blob(&mut self, kind: &str, digest: Digest) {
        self.blobs.retain(|(_, known)| *known != digest);
        self.blobs.push((kind.to_owned(), digest));
        if self.blobs.len() > BLOBS_MAX {
            self.blobs.remove(0);
        }
    }
}

/// The state and where it lies.
pub struct Keeper {
    path: PathBuf,
    disk: Disk,
    state: State,
}

impl Keeper {
    /// Reads the state, or begins with an empty one.
    ///
    /// # Errors
    /// Where it is there but damaged: never begun anew silently, or old directives would be taken again.
    pub fn open(path: PathBuf, disk: Disk) -> io::Result<Self> {
        let state = match durable::read_bounded(&path, FILE_BYTES_MAX) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| io::Error::other(format!("{} is damaged: {error}", path.display())))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => State::default(),
            Err(error) => return Err(error),
        };
        Ok(Self { path, disk, state })
    }

    /// The present state.
    #[must_use]
    pub fn get(&self) -> &State {
        &self.state
    }

    /// Changes it durably; on failure nothing has changed.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut next = self.state.clone();
        let answer = change(&mut next);
        if next != self.state {
            self.disk.replace(&self.path, &serde_json::to_vec(&next)?)?;
            self.state = next;
        }
        Ok(answer)
    }
}
