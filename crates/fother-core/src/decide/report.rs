//! What a host reports, bounded before it becomes an event: by the bytes that it takes *as stored*, so that no report can be too large to append.

use crate::{
    approval,
    directive::Refused,
    protocol::{Outcome, Report},
    text,
};

/// Longest text of a report, in bytes of canonical JSON.
const TEXT_BYTES_MAX: usize = 4_000;
/// Longest line of a report's list, in bytes of canonical JSON.
const LINE_BYTES_MAX: usize = 300;
/// Most lines of a report's list; one more says how many were left out.
const LINES_MAX: usize = 50;

fn text(text: &str) -> String {
    text::stored(text, TEXT_BYTES_MAX)
}

fn lines(all: &[String]) -> Vec<String> {
    let mut lines: Vec<String> = all.iter().take(LINES_MAX).map(|line| text::stored(line, LINE_BYTES_MAX)).collect();
    if all.len() > LINES_MAX {
        lines.push(format!("and {} more", all.len() - LINES_MAX));
    }
    lines
}

/// The report with every text printable and cut, every list shortened.
pub(super) fn bounded(report: &Report) -> Report {
    let outcome = match &report.outcome {
        Outcome::Replan { why } => Outcome::Replan { why: text(why) },
        Outcome::Failed { why } => Outcome::Failed { why: text(why) },
        Outcome::RolledBack { txn, why, paths_compared, differences } => {
            Outcome::RolledBack { txn: *txn, why: text(why), paths_compared: *paths_compared, differences: lines(differences) }
        }
        Outcome::Verified { txn, remarks } => Outcome::Verified { txn: *txn, remarks: lines(remarks) },
        Outcome::Rehearsed { rehearsal, verdict, failing } => {
            Outcome::Rehearsed { rehearsal: *rehearsal, verdict: *verdict, failing: lines(failing) }
        }
        Outcome::Refused { why } => Outcome::Refused { why: refused(why) },
        Outcome::NotApproved { why } => Outcome::NotApproved { why: not_approved(why) },
        other @ (Outcome::Resolved { .. } | Outcome::Started { .. } | Outcome::Applied { .. }) => other.clone(),
    };
    Report { outcome, ..report.clone() }
}

fn refused(why: &Refused) -> Refused {
    match why {
        Refused::Unknown { why } => Refused::Unknown { why: text(why) },
        Refused::NotNow { why } => Refused::NotNow { why: text(why) },
        Refused::Host { why } => Refused::Host { why: text(why) },
        other @ (Refused::TooLarge
        | Refused::Signature
        | Refused::OtherHost { .. }
        | Refused::Replayed { .. }
        | Refused::Expired { .. }
        | Refused::Withdrawn
        | Refused::FromTheFuture { .. }) => other.clone(),
    }
}

fn not_approved(why: &approval::Refused) -> approval::Refused {
    use approval::Refused;
    match why {
        Refused::Trust { reason } => Refused::Trust { reason: text(reason) },
        Refused::Statement { reason } => Refused::Statement { reason: text(reason) },
        Refused::Author { reason } => Refused::Author { reason: text(reason) },
        Refused::NotCovered { reason } => Refused::NotCovered { reason: text(reason) },
        Refused::TooFew { have, need, counted, ignored } => {
            Refused::TooFew { have: *have, need: *need, counted: lines(counted), ignored: lines(ignored) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Digest, Timestamp,
        event::{self, Data, Event},
        id::{DirectiveId, HostId, TransactionId},
        rehearsal::Verdict,
    };

    /// Texts that grow most when they are made printable and stored.
    fn nasty() -> [String; 6] {
        ["\"", "\\", "\u{1}", "\u{202e}", "\u{10ffff}", "x"].map(|one| one.repeat(10_000))
    }

    fn outcomes(text: &str) -> Vec<Outcome> {
        let (txn, many, why) = (TransactionId::new(1, [1; 10]), vec![text.to_owned(); 200], text.to_owned());
        let reason = why.clone();
        vec![
            Outcome::Refused { why: Refused::Unknown { why: why.clone() } },
            Outcome::NotApproved { why: approval::Refused::TooFew { have: 0, need: 1, counted: many.clone(), ignored: many.clone() } },
            Outcome::NotApproved { why: approval::Refused::Trust { reason: reason.clone() } },
            Outcome::NotApproved { why: approval::Refused::Statement { reason: reason.clone() } },
            Outcome::NotApproved { why: approval::Refused::Author { reason: reason.clone() } },
            Outcome::NotApproved { why: approval::Refused::NotCovered { reason } },
            Outcome::Replan { why: why.clone() },
            Outcome::Rehearsed { rehearsal: Digest([1; 32]), verdict: Verdict::Breaks, failing: many.clone() },
            Outcome::Verified { txn, remarks: many.clone() },
            Outcome::RolledBack { txn, why: why.clone(), paths_compared: u64::MAX >> 12, differences: many },
            Outcome::Failed { why },
        ]
    }

    #[test]
    fn no_report_of_a_hostile_host_is_too_large_for_the_log() {
        for text in nasty() {
            for outcome in outcomes(&text) {
                let report = Report { number: 1 << 52, directive: Some(DirectiveId::new(1, [1; 10])), outcome };
                let host = HostId::new(1, [1; 10]);
                let data = Data::HostReported { host, report: bounded(&report) };
                let event = Event { v: event::VERSION, seq: 1 << 52, at: Timestamp(1), actor: host.to_string(), data };
                let bytes = event.bytes().unwrap().len();
                assert!(bytes <= event::BYTES_MAX, "{bytes} bytes");
            }
        }
    }

    #[test]
    fn what_was_left_out_is_counted_and_differences_never_vanish() {
        let line = |n: usize| (0..n).map(|n| format!("/path/{n}: content")).collect::<Vec<_>>();
        assert_eq!(lines(&line(3)), line(3));
        let cut = lines(&line(60));
        assert_eq!((cut.len(), cut[50].as_str()), (51, "and 10 more"));
    }
}
