//! One transaction from drain to soak, or back: each step is journaled durably before it is done, so that a kill anywhere is resumed.
//!
//! ```text
//! accepted → checked → draining → applying → applied → soaking ─────────────→ ended (verified)
//!                         └ ended      └────────┴─────────┴→ going-back → back → ended (rolled back)
//! ```

use crate::{
    Timestamp,
    directive::Refused,
    id::{DirectiveId, TransactionId},
    mutant,
    mutant::Mutant,
    policy::CheckAnswer,
    protocol::Outcome,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long a check may take to come right after the transaction, in seconds.
pub const SETTLE_S: u32 = 15;
/// Attempts to undo before a person is asked.
pub const UNDO_ATTEMPTS: u32 = 3;
/// How often it may fail to say how far a transaction is before a person is asked.
pub const PROGRESS_ERRORS_MAX: u32 = 15;
/// How often a running unit is looked at.
pub const POLL: Duration = Duration::from_millis(200);
/// How long an undo that failed waits before it is tried again, and a watched host before it is asked again.
pub const SECOND: Duration = Duration::from_secs(1);
/// How long it waits where it cannot be told how far a transaction is.
pub const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A step that is about to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Step {
    /// Everything is verified.
    Accepted {
        /// By which directive.
        directive: DirectiveId,
        /// Until when the approval covers an undo.
        undo_until: Timestamp,
    },
    /// What the checks said before anything was touched.
    Checked {
        /// By name.
        before: Vec<(String, CheckAnswer)>,
    },
    /// The host leaves service.
    Draining,
    /// The transaction starts or was started.
    Applying,
    /// It is installed and healthy; the host returns to service.
    Applied {
        /// Milliseconds.
        apply_ms: u64,
    },
    /// In service and watched.
    Soaking {
        /// Until when.
        until: Timestamp,
    },
    /// It is being undone.
    GoingBack {
        /// Why.
        why: String,
    },
    /// The host is as before; it returns to service.
    Back {
        /// Why.
        why: String,
        /// Paths compared.
        paths_compared: u64,
        /// Differences.
        differences: Vec<String>,
    },
    /// Nothing more comes.
    Ended {
        /// How.
        outcome: Outcome,
    },
}

/// How far a transaction is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Never started.
    NotStarted,
    /// Its unit runs.
    Running,
    /// Ended with the host as before.
    Before {
        /// Why.
        why: String,
        /// Paths that were put back or could have been, read anew and compared; 0 where nothing was begun.
        paths_compared: u64,
    },
    /// Ended with everything installed; milliseconds.
    After(u64),
}

/// Before and after service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Take this host out of service.
    Drain,
    /// Put it back.
    Undrain,
}

/// What an undo proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Paths that were read anew and compared.
    pub paths_compared: u64,
    /// Differences.
    pub differences: Vec<String>,
}

/// What a transaction asks of its host. Every error is for people.
pub trait Hands {
    /// Asks the checks; afterwards with what they said before anything was touched, which some are compared with.
    fn checks(&mut self, before: Option<&[(String, CheckAnswer)]>) -> Vec<(String, CheckAnswer)>;
    /// Takes the host out of service, or puts it back.
    ///
    /// # Errors
    /// Where it fails or takes too long.
    fn hook(&mut self, hook: Hook) -> Result<(), String>;
    /// Starts the transaction and returns at once.
    ///
    /// # Errors
    /// Where it could not be started.
    fn start(&mut self) -> Result<(), String>;
    /// How far it is; puts an interrupted one to before or after.
    ///
    /// # Errors
    /// Where that cannot be told.
    fn progress(&mut self) -> Result<Progress, String>;
    /// Whether every service that must run anew does.
    ///
    /// # Errors
    /// The services that do not.
    fn restarted(&mut self) -> Result<(), String>;
    /// Puts everything back.
    ///
    /// # Errors
    /// Where something could not be put back.
    fn undo(&mut self) -> Result<Undone, String>;
    /// What is not yet in effect.
    fn remarks(&mut self) -> Vec<String>;
}

/// What the driver does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write this step durably, then [`Machine::push`] it.
    Journal(Step),
    /// Report this durably, then write and push the step.
    Tell(Outcome, Step),
    /// Wait so long, then ask again.
    Wait(Duration),
    /// Nothing more comes.
    Ended(Outcome),
}

/// One transaction: its steps, and what a kill may forget.
#[derive(Clone, Debug)]
pub struct Machine {
    txn: TransactionId,
    soak_s: u32,
    steps: Vec<Step>,
    /// Times that the present step was asked about.
    tries: u32,
    /// Why the start failed.
    not_started: Option<String>,
    /// It is installed, and its checks settle; milliseconds.
    judging: Option<u64>,
    /// Why the last undo failed.
    last: Option<String>,
}

/// Checks that are worse than before: failed anew, or without data.
#[must_use]
pub fn newly_broken(before: &[(String, CheckAnswer)], now: &[(String, CheckAnswer)]) -> Vec<String> {
    let was_failing = |name: &str| before.iter().any(|(known, answer)| known == name && matches!(answer, CheckAnswer::Failed { .. }));
    let mut broken: Vec<String> = now
        .iter()
        .filter_map(|(name, answer)| match answer {
            CheckAnswer::Fine | CheckAnswer::Noted { .. } => None,
            CheckAnswer::Failed { .. } if was_failing(name) => None,
            CheckAnswer::Failed { why } => Some(format!("{name}: {why}")),
            CheckAnswer::NoData { .. } if mutant::is(Mutant::NoDataPasses) => None,
            CheckAnswer::NoData { why } => Some(format!("{name}: no answer: {why}")),
        })
        .collect();
    broken.extend(
        before.iter().filter(|(name, _)| !now.iter().any(|(known, _)| known == name)).map(|(name, _)| format!("{name}: was not asked")),
    );
    broken
}

impl Machine {
    /// Goes on from these steps.
    #[must_use]
    pub fn resume(txn: TransactionId, soak_s: u32, steps: Vec<Step>) -> Self {
        Self { txn, soak_s, steps, tries: 0, not_started: None, judging: None, last: None }
    }

    /// A step was written.
    pub fn push(&mut self, step: Step) {
        (self.tries, self.not_started, self.judging, self.last) = (0, None, None, None);
        self.steps.push(step);
    }

    /// The steps so far.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Does the next thing, and says what the driver must do about it; nothing where there is no step yet.
    pub fn poll(&mut self, hands: &mut dyn Hands, now: Timestamp) -> Option<Next> {
        Some(match self.steps.last()?.clone() {
            Step::Accepted { .. } => Next::Journal(Step::Checked { before: hands.checks(None) }),
            Step::Checked { .. } => Next::Journal(Step::Draining),
            Step::Draining => Next::Journal(drain(hands)),
            Step::Applying => self.apply(hands),
            Step::Applied { apply_ms } => match hands.hook(Hook::Undrain) {
                Err(error) => Next::Journal(Step::GoingBack { why: format!("the host could not be put back into service: {error}") }),
                Ok(()) => {
                    let until = now + Duration::from_secs(self.soak_s.into());
                    Next::Tell(Outcome::Applied { txn: self.txn, apply_ms }, Step::Soaking { until })
                }
            },
            Step::Soaking { until } => self.soak(hands, until, now),
            Step::GoingBack { why } => self.go_back(hands, why),
            Step::Back { why, paths_compared, differences } => self.serve_again(hands, why, paths_compared, differences),
            Step::Ended { outcome } => Next::Ended(outcome),
        })
    }

    fn broken(&self, hands: &mut dyn Hands) -> Vec<String> {
        let before = self.steps.iter().find_map(|step| if let Step::Checked { before } = step { Some(before.as_slice()) } else { None });
        let before = before.unwrap_or_default();
        newly_broken(before, &hands.checks(Some(before)))
    }

    fn apply(&mut self, hands: &mut dyn Hands) -> Next {
        if let Some(apply_ms) = self.judging {
            return self.judge(hands, apply_ms);
        }
        let progress = if mutant::is(Mutant::StartedBlindly) && self.tries == 0 { Ok(Progress::NotStarted) } else { hands.progress() };
        match progress {
            Ok(Progress::NotStarted) => {
                if let Some(why) = self.not_started.take() {
                    let why = format!("not started: {why}");
                    return Next::Journal(Step::Back { why, paths_compared: 0, differences: Vec::new() });
                }
                // An error may hide a start that worked, so how far it is is asked for again before anything is concluded.
                self.not_started = hands.start().err();
                self.tries += 1;
                Next::Wait(Duration::ZERO)
            }
            Ok(Progress::Running) => Next::Wait(POLL),
            Ok(Progress::Before { why, paths_compared }) => Next::Journal(Step::Back { why, paths_compared, differences: Vec::new() }),
            Ok(Progress::After(apply_ms)) => {
                if let Err(error) = hands.restarted() {
                    return Next::Journal(Step::GoingBack { why: format!("services were not restarted: {error}") });
                }
                (self.judging, self.tries) = (Some(apply_ms), 0);
                self.judge(hands, apply_ms)
            }
            Err(error) if self.tries >= PROGRESS_ERRORS_MAX => Next::Journal(Step::Ended { outcome: Outcome::Failed { why: error } }),
            Err(_) => {
                self.tries += 1;
                Next::Wait(ASK_AGAIN)
            }
        }
    }

    fn judge(&mut self, hands: &mut dyn Hands, apply_ms: u64) -> Next {
        let broken = self.broken(hands);
        if broken.is_empty() {
            return Next::Journal(Step::Applied { apply_ms });
        }
        if self.tries >= SETTLE_S {
            return Next::Journal(Step::GoingBack { why: broken.join("; ") });
        }
        self.tries += 1;
        Next::Wait(SECOND)
    }

    fn soak(&self, hands: &mut dyn Hands, until: Timestamp, now: Timestamp) -> Next {
        let broken = self.broken(hands);
        if !broken.is_empty() {
            return Next::Journal(Step::GoingBack { why: broken.join("; ") });
        }
        if now >= until || mutant::is(Mutant::SoakSkipped) {
            let remarks = hands.remarks();
            return Next::Journal(Step::Ended { outcome: Outcome::Verified { txn: self.txn, remarks } });
        }
        Next::Wait(SECOND)
    }

    fn go_back(&mut self, hands: &mut dyn Hands, why: String) -> Next {
        if self.tries == 0 {
            // Where it cannot be taken out of service it is put back all the same.
            let _ = hands.hook(Hook::Drain);
        }
        match hands.undo() {
            Ok(Undone { paths_compared, differences }) => return Next::Journal(Step::Back { why, paths_compared, differences }),
            Err(error) => self.last = Some(error),
        }
        self.tries += 1;
        if self.tries < UNDO_ATTEMPTS {
            return Next::Wait(SECOND);
        }
        let last = self.last.clone().unwrap_or_default();
        let why = format!("{why}; and the undo failed {UNDO_ATTEMPTS} times: {last}; the host stays out of service");
        Next::Journal(Step::Ended { outcome: Outcome::Failed { why } })
    }

    fn serve_again(&self, hands: &mut dyn Hands, why: String, paths_compared: u64, differences: Vec<String>) -> Next {
        let outcome = match hands.hook(Hook::Undrain) {
            Ok(()) => Outcome::RolledBack { txn: self.txn, why, paths_compared, differences },
            Err(error) => Outcome::Failed { why: format!("{why}; undone, but the host could not be put back into service: {error}") },
        };
        Next::Journal(Step::Ended { outcome })
    }
}

fn drain(hands: &mut dyn Hands) -> Step {
    match hands.hook(Hook::Drain) {
        Ok(()) => Step::Applying,
        Err(error) => {
            let why = format!("the host could not be taken out of service, nothing was changed: {error}");
            if let Err(error) = hands.hook(Hook::Undrain) {
                return Step::Ended { outcome: Outcome::Failed { why: format!("{why}; and not put back into service: {error}") } };
            }
            Step::Ended { outcome: Outcome::Replan { why } }
        }
    }
}

/// By which directive a transaction was accepted, and until when an undo is covered.
#[must_use]
pub fn accepted(steps: &[Step]) -> Option<(DirectiveId, Timestamp)> {
    steps.iter().find_map(|step| match step {
        Step::Accepted { directive, undo_until } => Some((*directive, *undo_until)),
        _ => None,
    })
}

/// What an apply order comes to on a host whose journal of the transaction holds these steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It is new: verify everything, then begin.
    New,
    /// It goes on where the journal stands.
    GoOn,
    /// Nothing is done twice: this is the answer.
    Say(Outcome),
}

/// Whether the transaction of an apply order begins, goes on, or was done before.
#[must_use]
pub fn begin(steps: &[Step], txn: TransactionId, directive: DirectiveId, begun: bool) -> Begin {
    match (accepted(steps), steps.last()) {
        (None, _) => Begin::New,
        _ if mutant::is(Mutant::DoneTwice) => Begin::New,
        (Some((known, _)), _) if known == directive && begun => Begin::GoOn,
        // Asked again under a newer directive: what became of it is said again.
        (Some(_), Some(Step::Ended { outcome })) => Begin::Say(outcome.clone()),
        (Some(_), _) => Begin::Say(refused(format!("{txn} is known already; nothing is done twice"))),
    }
}

/// Whether an undo order goes on from these steps.
///
/// # Errors
/// The answer where nothing is undone.
pub fn may_undo(steps: &[Step], txn: TransactionId, begun: bool, now: Timestamp) -> Result<(), Outcome> {
    let touched = steps.contains(&Step::Applying);
    match (accepted(steps), steps.last()) {
        (None, _) | (_, None) => Err(refused(format!("{txn} is no transaction of this host"))),
        (Some(_), Some(_)) if begun => Ok(()),
        // Undone already, perhaps by root at the host itself: said again, and not done again.
        (Some(_), Some(Step::Ended { outcome: outcome @ Outcome::RolledBack { .. } })) => Err(outcome.clone()),
        (Some((_, undo_until)), _) if now >= undo_until => {
            Err(refused(format!("the approval covered an undo of {txn} until {undo_until}; root can still undo at the host itself")))
        }
        (_, Some(Step::Ended { outcome: Outcome::Verified { .. } | Outcome::Failed { .. } })) if touched => Ok(()),
        (_, Some(Step::Ended { .. })) => Err(refused(format!("{txn} is not in effect: there is nothing to undo"))),
        (_, Some(_)) => Err(refused(format!("{txn} has not ended yet"))),
    }
}

/// The step with which an undo begins, where it has not yet.
#[must_use]
pub fn turn_back(steps: &[Step], reason: &str) -> Option<Step> {
    let ended = matches!(steps.last(), Some(Step::Ended { outcome: Outcome::Verified { .. } | Outcome::Failed { .. } }));
    ended.then(|| Step::GoingBack { why: crate::text::printable(reason, 500) })
}

fn refused(why: String) -> Outcome {
    Outcome::Refused { why: Refused::Host { why } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_is_asked_for_under_a_newer_directive_is_answered_and_not_done_again() {
        let (txn, first, second) = (TransactionId(1), DirectiveId(1), DirectiveId(2));
        let outcome = Outcome::Verified { txn, remarks: Vec::new() };
        let mut steps = vec![Step::Accepted { directive: first, undo_until: Timestamp(9) }, Step::Applying];
        assert!(matches!(begin(&steps, txn, second, false), Begin::Say(Outcome::Refused { .. })));
        assert_eq!(begin(&steps, txn, first, true), Begin::GoOn);
        steps.push(Step::Ended { outcome: outcome.clone() });
        assert_eq!(begin(&steps, txn, second, false), Begin::Say(outcome));
        assert_eq!(begin(&[], txn, second, false), Begin::New);
    }
}
