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
/// Acknowledged reports that are kept all the same: a server that was restored from a backup has lost the newest.
pub const TOLD_MAX: usize = 32;
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
    /// The newest reports that the server has acknowledged, at most [`TOLD_MAX`], right below those that it has not.
    #[serde(default)]
    pub told: Vec<Report>,
    /// The epoch of the log.
    #[serde(default)]
    pub epoch: u64,
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

    /// The server has stored reports up to `number`. What it has lost again, and is still here, is to be sent once more.
    pub fn acknowledge(&mut self, number: u64) {
        let mut all = std::mem::take(&mut self.told);
        all.append(&mut self.reports);
        self.reports = all.split_off(all.partition_point(|report| report.number <= number));
        let extra = all.len().saturating_sub(TOLD_MAX);
        self.told = all.split_off(extra);
    }

    /// The lowest report that is still here; one more than the last where none is.
    #[must_use]
    pub fn oldest(&self) -> u64 {
        self.told.first().or(self.reports.first()).map_or(self.last_report + 1, |report| report.number)
    }

    /// The log goes on as this epoch: what was ordered before and has not begun never will.
    pub fn enter(&mut self, epoch: u64) {
        let base = crate::epoch::base(epoch);
        (self.epoch, self.seen) = (epoch, self.seen.max(base));
        let (kept, dead): (Vec<Job>, Vec<Job>) =
            std::mem::take(&mut self.jobs).into_iter().partition(|job| job.begun || job.directive.sequence > base);
        self.jobs = kept;
        for job in dead {
            self.report(Some(job.directive.id), Outcome::Refused { why: Refused::Withdrawn });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::HostId, id::TransactionId};

    fn told(state: &State) -> (Vec<u64>, Vec<u64>) {
        let numbers = |reports: &[Report]| reports.iter().map(|report| report.number).collect();
        (numbers(&state.told), numbers(&state.reports))
    }

    #[test]
    fn a_server_that_lost_reports_gets_them_again_as_long_as_they_are_kept() {
        let mut state = State::default();
        assert_eq!(state.oldest(), 1);
        (0..50).for_each(|_| state.report(None, Outcome::Replan { why: String::new() }));
        state.acknowledge(45);
        assert_eq!(told(&state), ((14..=45).collect(), (46..=50).collect()));
        state.acknowledge(40);
        assert_eq!((told(&state), state.oldest()), (((14..=40).collect(), (41..=50).collect()), 14));
        state.acknowledge(3);
        assert_eq!(told(&state), (vec![], (14..=50).collect()), "what is kept no more, cannot be sent");
        state.acknowledge(50);
        assert_eq!((told(&state), state.oldest()), (((19..=50).collect(), vec![]), 19));
    }

    #[test]
    fn what_an_older_epoch_ordered_ends_unless_it_has_begun() {
        let job = |sequence: u64| Directive {
            id: DirectiveId::new(sequence, [1; 10]),
            host: HostId::new(1, [1; 10]),
            sequence,
            issued: Timestamp(0),
            expires: Timestamp(9),
            order: Order::Undo { txn: TransactionId::new(1, [3; 10]), reason: String::new() },
        };
        let mut state = State::default();
        state.accept(job(5)).unwrap();
        state.begin();
        state.accept(job(6)).unwrap();
        state.enter(1);
        assert_eq!(state.jobs.iter().map(|job| job.directive.sequence).collect::<Vec<_>>(), [5]);
        assert!(matches!(&state.reports[..], [Report { outcome: Outcome::Refused { why: Refused::Withdrawn }, .. }]));
        assert_eq!((state.epoch, state.seen), (1, crate::epoch::base(1)));
        state.accept(job(crate::epoch::base(1) + 1)).unwrap();
        state.enter(1);
        assert_eq!(state.jobs.len(), 2);
    }
}
