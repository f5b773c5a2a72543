//! What an executor must never forget: the highest sequence, the queue, reports, the newest archive dates.

use crate::{
    Digest, Timestamp,
    directive::{Directive, Order, Refused},
    id::DirectiveId,
    mutant,
    mutant::Mutant,
    protocol::{Outcome, Report},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most directives that wait; more are refused.
pub const JOBS_MAX: usize = 16;
/// Most reports kept for the server; above it only outcomes of accepted directives are added.
pub const REPORTS_MAX: usize = 256;
/// Most blobs that wait to be sent; the oldest is dropped.
pub const BLOBS_MAX: usize = 64;

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
    /// The server says that nothing new may begin.
    #[serde(default)]
    pub halted: bool,
}

impl State {
    /// Takes a directive whose signature was checked.
    ///
    /// # Errors
    /// [`JOBS_MAX`] wait already.
    pub fn accept(&mut self, directive: Directive) -> Result<(), Refused> {
        if self.jobs.len() >= JOBS_MAX {
            return Err(Refused::Unknown { why: format!("{JOBS_MAX} directives wait already") });
        }
        if !mutant::is(Mutant::SequenceForgotten) {
            self.seen = directive.sequence;
        }
        self.jobs.push(Job { directive, begun: false, reported: Vec::new() });
        Ok(())
    }

    /// Why a job that has not begun may not begin any more, or may not now.
    ///
    /// # Errors
    /// Too late, or everything that has not begun is stopped.
    pub fn may_begin(&self, directive: &Directive, now: Timestamp) -> Result<(), Refused> {
        if directive.expires <= now {
            return Err(Refused::Expired { expires: directive.expires });
        }
        if self.halted && matches!(directive.order, Order::Apply { .. }) && !mutant::is(Mutant::StopIgnored) {
            return Err(Refused::Withdrawn);
        }
        Ok(())
    }

    /// The first job begins: from here on it is resumed, not begun again.
    pub fn begin(&mut self) {
        if let Some(job) = self.jobs.first_mut() {
            job.begun = true;
        }
    }

    /// Adds a report: the one way by which words leave this host, so what its programs printed is taken out here.
    pub fn report(&mut self, directive: Option<DirectiveId>, outcome: Outcome) {
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
