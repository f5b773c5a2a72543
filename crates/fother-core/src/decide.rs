//! Decisions: `(state, command, now) -> events`, pure. What is refused is an error with a hint, never a half-done change.

use crate::{
    Digest, Timestamp,
    approval::{self, Statement, Trust},
    change::Status,
    directive::Refused,
    event::Data,
    id::{ChangeId, HostId, RolloutId, TokenId},
    inventory::Labels,
    plan::{Cohort, Plan, Planned},
    protocol::{self, CheckIn, Report},
    rehearsal::Verdict,
    rollout::{End, Phase, Setup},
    state::State,
    window::Interval,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Life of an enrolment token.
pub const TOKEN_LIFE: Duration = Duration::from_secs(3600);
/// How long an approved change may be started.
pub const APPROVAL_LIFE: Duration = Duration::from_secs(14 * 86_400);

/// Why a command is refused: what happened, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{what}")]
pub struct Refusal {
    /// Stable word for programs.
    pub code: &'static str,
    /// What happened.
    pub what: String,
    /// What to do.
    pub hint: String,
}

fn refuse<T>(code: &'static str, what: impl Into<String>, hint: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { code, what: what.into(), hint: hint.into() })
}

/// A new token.
#[must_use]
pub fn create_token(token: TokenId, hash: Digest, labels: Labels, now: Timestamp) -> Data {
    Data::TokenCreated { token, hash, expires: now + TOKEN_LIFE, labels }
}

/// A host asks to join with a secret whose digest is `hash`.
///
/// # Errors
/// Unknown, used or expired token; all three with the same words, so that nothing is learnt by trying.
pub fn enrol(
    state: &State,
    hash: Digest,
    host: HostId,
    hostname: &str,
    certificate: Digest,
    observe: bool,
    now: Timestamp,
) -> Result<Data, Refusal> {
    let found = state.tokens.iter().find(|(_, token)| token.hash == hash && !token.used && token.expires > now);
    let Some((id, token)) = found else {
        return refuse("bad-token", "the token is unknown, used or expired", "make a new one with `fother host token` and enrol again");
    };
    Ok(Data::HostEnrolled {
        host,
        token: *id,
        hostname: crate::text::printable(hostname, 128),
        labels: token.labels.clone(),
        certificate,
        observe,
    })
}

/// What a check-in changes. `packages` is the number of packages of a new inventory, whose blob must be stored already.
///
/// # Errors
/// Unknown or retired host, other protocol version, gaps in the reports.
pub fn check_in(state: &State, id: HostId, check_in: &CheckIn, packages: Option<u32>) -> Result<Vec<Data>, Refusal> {
    let Some(host) = state.hosts.get(&id).filter(|host| !host.retired) else {
        return refuse("unknown-host", format!("{id} is not enrolled here"), "enrol it again with a new token");
    };
    if check_in.version != protocol::VERSION {
        return refuse(
            "version",
            format!("the agent speaks protocol {}", check_in.version),
            "bring agent and server to neighbouring versions",
        );
    }
    let mut events = Vec::new();
    if host.lost {
        events.push(Data::HostReturned { host: id });
    }
    if host.observe != check_in.observe {
        events.push(Data::ObserveChanged { host: id, observe: check_in.observe });
    }
    if let Some(packages) = packages
        && host.inventory != Some(check_in.inventory)
    {
        events.push(Data::InventoryChanged { host: id, inventory: check_in.inventory, base: check_in.base, packages });
    }
    let mut last = host.acknowledged;
    for report in check_in.reports.iter().take(protocol::OUTCOMES_MAX) {
        if report.number <= last {
            continue;
        }
        if report.number != last + 1 {
            return refuse("gap", format!("report {} follows {last}", report.number), "the agent must send its reports without gaps");
        }
        last = report.number;
        events.push(Data::HostReported { host: id, report: bounded(report) });
    }
    Ok(events)
}

/// Longest text that a report may carry into the log, in bytes; with its lists a report stays far below an event's limit.
pub const REPORT_TEXT_MAX: usize = 4000;
/// Longest line of a report's list, in bytes.
const REPORT_LINE_MAX: usize = 300;
/// Most lines of a report's list.
const REPORT_LINES_MAX: usize = 50;

/// Printable, and cut to a number of bytes.
fn cut(text: &str, bytes_max: usize) -> String {
    let mut text = crate::text::printable(text, bytes_max);
    while text.len() > bytes_max {
        text.pop();
    }
    text
}

fn bounded(report: &Report) -> Report {
    use crate::protocol::Outcome;
    let cut_all = |texts: &[String]| texts.iter().take(REPORT_LINES_MAX).map(|text| cut(text, REPORT_LINE_MAX)).collect::<Vec<_>>();
    let cut = |text: &str| cut(text, REPORT_TEXT_MAX);
    let outcome = match &report.outcome {
        Outcome::Replan { why } => Outcome::Replan { why: cut(why) },
        Outcome::Failed { why } => Outcome::Failed { why: cut(why) },
        Outcome::RolledBack { txn, why, paths_compared, differences } => {
            Outcome::RolledBack { txn: *txn, why: cut(why), paths_compared: *paths_compared, differences: cut_all(differences) }
        }
        Outcome::Verified { txn, remarks } => Outcome::Verified { txn: *txn, remarks: cut_all(remarks) },
        Outcome::Rehearsed { rehearsal, verdict, failing } => {
            Outcome::Rehearsed { rehearsal: *rehearsal, verdict: *verdict, failing: cut_all(failing) }
        }
        Outcome::Refused { why: Refused::Unknown { why } } => Outcome::Refused { why: Refused::Unknown { why: cut(why) } },
        Outcome::Refused { why: Refused::Host { why } } => Outcome::Refused { why: Refused::Host { why: cut(why) } },
        Outcome::NotApproved { why } => Outcome::NotApproved { why: bounded_refusal(why) },
        other @ (Outcome::Refused { .. } | Outcome::Resolved { .. } | Outcome::Started { .. } | Outcome::Applied { .. }) => other.clone(),
    };
    Report { outcome, ..report.clone() }
}

fn bounded_refusal(why: &approval::Refused) -> approval::Refused {
    use crate::approval::Refused;
    let cut_all = |texts: &[String]| texts.iter().take(REPORT_LINES_MAX).map(|text| cut(text, REPORT_LINE_MAX)).collect::<Vec<_>>();
    match why {
        Refused::Trust { reason } => Refused::Trust { reason: cut(reason, REPORT_TEXT_MAX) },
        Refused::Statement { reason } => Refused::Statement { reason: cut(reason, REPORT_TEXT_MAX) },
        Refused::NotCovered { reason } => Refused::NotCovered { reason: cut(reason, REPORT_TEXT_MAX) },
        Refused::TooFew { have, need, counted, ignored } => {
            Refused::TooFew { have: *have, need: *need, counted: cut_all(counted), ignored: cut_all(ignored) }
        }
    }
}

/// Records a plan.
///
/// # Errors
/// A plan without cohorts.
pub fn create_plan(planned: &Planned, digest: Digest) -> Result<Data, Refusal> {
    if planned.cohorts.is_empty() {
        let what = format!("nothing to do: {} hosts are up to date, {} gave no answer", planned.up_to_date.len(), planned.unknown.len());
        return refuse("nothing-to-do", what, "see `fother host ls`; hosts without an answer are listed as unknown");
    }
    Ok(Data::PlanCreated {
        plan: digest,
        group: planned.plan.group.clone(),
        cohorts: planned.cohorts.iter().map(|(digest, cohort)| (*digest, cohort.hosts.keys().copied().collect())).collect(),
        approvals: planned.plan.approvals,
        excluded: planned.plan.excluded.clone(),
    })
}

/// What an author submits.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Id of the new change.
    pub change: ChangeId,
    /// The plan's name.
    pub digest: Digest,
    /// The author.
    pub author: String,
    /// Units that no rehearsal could exercise, accepted by name.
    pub acknowledged: BTreeSet<String>,
    /// When hosts may start; empty: always.
    pub window: Vec<Interval>,
}

/// The statement that people sign for a rehearsed plan.
///
/// # Errors
/// Unknown plan, a missing rehearsal, or one that breaks.
pub fn statement(state: &State, plan: &Plan, submission: Submission, now: Timestamp) -> Result<Statement, Refusal> {
    let Submission { change, digest, author, acknowledged, window } = submission;
    let Some(known) = state.plans.get(&digest) else {
        return refuse("unknown-plan", format!("there is no plan {digest}"), "see `fother plan ls`");
    };
    match known.verdict() {
        None => return refuse("not-rehearsed", "a cohort of this plan has not been rehearsed", "run `fother plan rehearse` and wait"),
        Some(Verdict::Breaks) => {
            let failing: BTreeSet<&str> = known.cohorts.values().flat_map(|c| c.failing.iter().map(String::as_str)).collect();
            let hint = format!(
                "plan without the failing updates: `fother plan new --exclude {}`",
                failing.into_iter().collect::<Vec<_>>().join(",")
            );
            return refuse("rehearsal-breaks", "the rehearsal of this plan breaks something", hint);
        }
        Some(Verdict::Unknown) if acknowledged.is_empty() => {
            return refuse(
                "rehearsal-unknown",
                "the rehearsal could not tell whether this plan is safe",
                "read `fother plan show`, then name what you accept with `--acknowledge UNIT`",
            );
        }
        Some(Verdict::Unknown | Verdict::Passes) => {}
    }
    let rehearsals = known.cohorts.iter().filter_map(|(cohort, state)| Some((*cohort, state.rehearsal?.0))).collect();
    Ok(Statement {
        action: approval::Action::Apply,
        change,
        plan: digest,
        rehearsals,
        acknowledged,
        policy: plan.policy,
        hosts: known.cohorts.values().flat_map(|cohort| cohort.hosts.iter().copied()).collect(),
        window,
        author,
        undo_until: now + Duration::from_secs(plan.undo_s),
        expires: now + APPROVAL_LIFE,
    })
}

/// A person approves: `bytes` are the statement's, `signature` an armored SSH signature.
///
/// # Errors
/// Unknown or closed change, a signature that does not count, the author's own.
pub fn approve(state: &State, trust: &Trust, id: ChangeId, bytes: &[u8], signature: &str) -> Result<Data, Refusal> {
    let Some(change) = state.changes.get(&id) else {
        return refuse("unknown-change", format!("there is no change {id}"), "see `fother change ls`");
    };
    if Digest::of_kind("statement", bytes) != change.statement {
        return refuse("other-statement", "these are not the bytes of the change's statement", "read `fother change show` again");
    }
    if !matches!(change.status(), Status::Open | Status::Approved) {
        return refuse("closed", format!("{id} is {:?}", change.status()), "submit a new change");
    }
    let person = trust
        .signer(approval::NAMESPACE, bytes, signature)
        .or_else(|why| refuse("bad-signature", why, "sign the statement of `fother change show` with a key from the approvers file"))?;
    if person == change.author {
        return refuse("four-eyes", format!("{person} is the author and cannot approve"), "ask somebody else");
    }
    Ok(Data::ChangeApproved { change: id, person, signature: signature.to_owned() })
}

/// Starts the rollout of an approved change.
///
/// # Errors
/// Not approved, already started, or another rollout works on one of the hosts.
pub fn start_rollout(
    state: &State,
    rollout: RolloutId,
    id: ChangeId,
    plan: &Plan,
    cohorts: &BTreeMap<Digest, Cohort>,
    statement: &Statement,
) -> Result<Data, Refusal> {
    let Some(change) = state.changes.get(&id) else {
        return refuse("unknown-change", format!("there is no change {id}"), "see `fother change ls`");
    };
    if change.status() != Status::Approved {
        let what = format!("{id} has {} of {} approvals and is {:?}", change.approvals.len(), change.needed, change.status());
        return refuse("not-approved", what, "ask for approval: `fother change approve`");
    }
    let labels: BTreeMap<HostId, Labels> = state.hosts.iter().map(|(id, host)| (*id, host.labels.clone())).collect();
    let waves = crate::plan::waves(plan, cohorts, &labels);
    let mine: BTreeSet<HostId> = waves.iter().flatten().copied().collect();
    let busy = state.rollouts.values().find(|other| other.ended.is_none() && other.hosts.keys().any(|host| mine.contains(host)));
    if let Some(other) = busy {
        return refuse("busy", format!("{} works on some of these hosts", other.id), "wait for it or abort it");
    }
    let member = |host: &&crate::state::Host| crate::policy::selects(&plan.select, &host.labels) == Ok(true) && !host.retired;
    let group_size = state.hosts.values().filter(member).count();
    let zones =
        mine.iter().map(|host| (*host, labels.get(host).and_then(|labels| labels.get("zone")).cloned().unwrap_or_default())).collect();
    let setup = Setup {
        group: plan.group.clone(),
        waves,
        zones,
        group_size: u32::try_from(group_size).unwrap_or(u32::MAX),
        budget: plan.budget.clone(),
        strategy: plan.rollout.clone(),
        window: statement.window.clone(),
        expires: statement.expires,
    };
    Ok(Data::RolloutStarted { rollout, change: id, plan: change.plan, setup })
}

/// What a person may do with a running rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steer {
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// Stop for good; hosts that are at work finish.
    Abort,
}

/// Steers a rollout.
///
/// # Errors
/// Unknown or ended rollout.
pub fn steer(state: &State, id: RolloutId, steer: Steer) -> Result<Data, Refusal> {
    let Some(rollout) = state.rollouts.get(&id) else {
        return refuse("unknown-rollout", format!("there is no rollout {id}"), "see `fother status`");
    };
    if rollout.ended.is_some() {
        return refuse("ended", format!("{id} has ended"), "see `fother rollout watch`");
    }
    Ok(match steer {
        Steer::Pause => Data::RolloutPaused { rollout: id },
        Steer::Resume => Data::RolloutResumed { rollout: id },
        Steer::Abort => Data::RolloutEnded { rollout: id, end: End::Aborted },
    })
}

/// The verified hosts of a rollout whose transactions a person wants undone.
///
/// # Errors
/// Unknown rollout, or nothing to undo.
pub fn rollback(state: &State, id: RolloutId) -> Result<Vec<(HostId, crate::id::TransactionId)>, Refusal> {
    let Some(rollout) = state.rollouts.get(&id) else {
        return refuse("unknown-rollout", format!("there is no rollout {id}"), "see `fother status`");
    };
    let done: Vec<_> = rollout
        .hosts
        .iter()
        .filter_map(|(host, phase)| match phase {
            Phase::Verified { txn, .. } | Phase::Applied { txn, .. } => Some((*host, *txn)),
            _ => None,
        })
        .collect();
    if done.is_empty() {
        return refuse("nothing-to-undo", format!("no host of {id} carries its change"), "see `fother rollout watch`");
    }
    Ok(done)
}
