//! Decisions: `(state, command, now) -> events`, pure. What is refused is an error with a hint, never a half-done change.

mod policy;
mod report;
mod schedule;
mod standing;

pub use schedule::{begin_schedule, defer_schedule, remove_schedule, run_schedule, set_schedule, waiting};
pub use standing::{Rehearsed, Wish, approve_standing, draft_standing, left_alone, revoke_standing, submit_standing, uncovered};

pub use policy::{apply_policy, approve_policy, clear_update, expire_exceptions, loosens, propose_policy};

use crate::{
    Digest, Timestamp,
    approval::{self, NoApproval, Statement, Trust},
    change::Status,
    checkpoint,
    event::Data,
    id::{ChangeId, HostId, RolloutId, TokenId},
    inventory::Labels,
    mutant,
    mutant::Mutant,
    plan::{Cohort, MEMBERS_MAX, Plan, Planned},
    protocol::{self, CheckIn, Enrol},
    rehearsal::Verdict,
    rollout::{End, Phase, Rollout, Setup},
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

/// A host asks to join; `certificate` is the digest of the one made for it.
///
/// # Errors
/// Unknown, used or expired token, all three with the same words, so that nothing is learnt by trying; a cosigner's key that proves nothing.
pub fn enrol(state: &State, host: HostId, enrol: &Enrol, certificate: Digest, now: Timestamp) -> Result<Data, Refusal> {
    let hash = Digest::of_kind("token", enrol.secret.as_bytes());
    let found = state.tokens.iter().find(|(_, token)| token.hash == hash && !token.used && token.expires > now);
    let Some((id, token)) = found else {
        return refuse("bad-token", "the token is unknown, used or expired", "make a new one with `fother host token` and enrol again");
    };
    if let Err(error) = checkpoint::cosigner(host, &enrol.cosigner) {
        return refuse(
            "bad-key",
            format!("the cosigner's key cannot be used: {error}"),
            "bring the agent to the server's version, then enrol again",
        );
    }
    Ok(Data::HostEnrolled {
        host,
        token: *id,
        hostname: crate::text::printable(&enrol.hostname, 128),
        labels: token.labels.clone(),
        certificate,
        cosigner: enrol.cosigner.clone(),
        observe: enrol.observe,
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
    if let Some(reason) = &host.revoked {
        return refuse("revoked", format!("{id} was shut out: {reason}"), "enrol it again with a new token");
    }
    if !protocol::speaks(check_in.version) {
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
    if let Some(first) = check_in.reports.first().filter(|first| first.number > last + 1) {
        if check_in.oldest.is_some_and(|oldest| oldest <= last + 1) {
            // The host has what is missing, and sends it once it hears up to where its reports are stored.
            return Ok(events);
        }
        events.push(Data::ReportsMissing { host: id, from: last + 1, to: first.number - 1 });
        last = first.number - 1;
    }
    for report in check_in.reports.iter().take(protocol::OUTCOMES_MAX) {
        if report.number <= last && !mutant::is(Mutant::ReportsTwice) {
            continue;
        }
        if report.number > last + 1 {
            return refuse("gap", format!("report {} follows {last}", report.number), "the agent must send its reports without gaps");
        }
        last = report.number;
        events.push(Data::HostReported { host: id, report: report::bounded(report) });
    }
    Ok(events)
}

/// Records a plan, in one append.
///
/// # Errors
/// A plan without cohorts.
pub fn create_plan(planned: &Planned, digest: Digest) -> Result<Vec<Data>, Refusal> {
    if planned.cohorts.is_empty() {
        let what = format!("nothing to do: {} hosts are up to date, {} gave no answer", planned.up_to_date.len(), planned.unknown.len());
        return refuse("nothing-to-do", what, "see `fother host ls`; hosts without an answer are listed as unknown");
    }
    let members: Vec<(Digest, HostId)> =
        planned.cohorts.iter().flat_map(|(digest, cohort)| cohort.hosts.keys().map(|host| (*digest, *host))).collect();
    let mut events = vec![Data::PlanCreated {
        plan: digest,
        group: planned.plan.group.clone(),
        hosts: u32::try_from(members.len()).unwrap_or(u32::MAX),
        approvals: planned.plan.approvals,
        excluded: planned.plan.excluded.clone(),
        emergency: planned.plan.terms.emergency.clone(),
        approvers: planned.plan.terms.approvers.clone(),
    }];
    for some in members.chunks(MEMBERS_MAX) {
        let mut cohorts: BTreeMap<Digest, Vec<HostId>> = BTreeMap::new();
        for (cohort, host) in some {
            cohorts.entry(*cohort).or_default().push(*host);
        }
        events.push(Data::PlanMembers { plan: digest, cohorts });
    }
    Ok(events)
}

fn listed(names: &[&str]) -> String {
    names.iter().map(|name| crate::text::printable(name, 200)).collect::<Vec<_>>().join(", ")
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
    /// Fingerprint of the author's key.
    pub author_key: String,
    /// Units that no rehearsal could exercise, accepted by name.
    pub acknowledged: BTreeSet<String>,
    /// When hosts may start; empty: always.
    pub window: Vec<Interval>,
}

/// The statement that people sign for a rehearsed plan.
///
/// # Errors
/// Unknown plan, a missing rehearsal, one that breaks or could not tell, or a unit of `unexercised` that the author does not accept by name:
/// every host refuses such a change.
pub fn statement(
    state: &State,
    plan: &Plan,
    unexercised: &BTreeSet<String>,
    submission: Submission,
    now: Timestamp,
) -> Result<Statement, Refusal> {
    let Submission { change, digest, author, author_key, acknowledged, window } = submission;
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
        Some(Verdict::Unknown) => {
            return refuse(
                "rehearsal-unknown",
                "the rehearsal could not tell whether this plan is safe",
                "see its reasons in `fother plan show`, remove them, and rehearse again",
            );
        }
        Some(Verdict::Passes) => {}
    }
    let missing: Vec<&str> = unexercised.difference(&acknowledged).map(String::as_str).collect();
    if !missing.is_empty() {
        let what = format!(
            "the rehearsal did not exercise {}, and the submission does not accept {} by name",
            listed(&missing),
            if missing.len() == 1 { "it" } else { "them" }
        );
        let flags: Vec<String> = missing.iter().map(|unit| format!("--acknowledge {unit}")).collect();
        return refuse("not-acknowledged", what, format!("read `fother plan show`, then submit with {}", flags.join(" ")));
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
        author_key,
        undo_until: now + Duration::from_secs(plan.undo_s),
        expires: now + APPROVAL_LIFE,
    })
}

/// Longest time from the draft of a statement to its author's signature.
pub const DRAFT_LIFE: Duration = Duration::from_secs(3600);

/// An author submits a statement that was drafted for them: `bytes` are its bytes, `drafted` what a draft made at its time says today.
///
/// # Errors
/// A signature that is not the author's, a draft that is too old, or one that is not what would be drafted.
pub fn submit(
    trust: &Trust,
    statement: &Statement,
    drafted: &Statement,
    bytes: &[u8],
    signature: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    trust.authored(statement, bytes, signature).or_else(|why| {
        refuse("bad-signature", why.to_string(), "sign the draft with the key that it was asked for with; see the approvers file")
    })?;
    let made = drafted_at(statement);
    if made > now || now.since(made) > DRAFT_LIFE {
        return refuse("stale-draft", format!("the statement was drafted at {made}"), "submit the plan again");
    }
    if statement != drafted || drafted.bytes().ok().as_deref() != Some(bytes) {
        return refuse("other-statement", "the signed statement is not the one that this plan has now", "submit the plan again");
    }
    Ok(())
}

/// When a statement was drafted.
#[must_use]
pub fn drafted_at(statement: &Statement) -> Timestamp {
    statement.expires - APPROVAL_LIFE
}

/// A person approves: `bytes` are the statement's, `signature` an armored SSH signature.
///
/// # Errors
/// Unknown or closed change, a signature that does not count, the author's own.
pub fn approve(state: &State, trust: &Trust, id: ChangeId, bytes: &[u8], signature: &str) -> Result<Data, Refusal> {
    approvable(state, id, Digest::of_kind("statement", bytes))?;
    let Ok(statement) = serde_json::from_slice::<Statement>(bytes) else {
        return refuse("other-statement", "the change's statement cannot be read", "submit the plan again");
    };
    let signer = trust.approver(&statement, bytes, signature);
    if let Ok(signer) = &signer {
        policy::asked(state, statement.plan, &signer.person)?;
    }
    approve_by(signer, id, signature)
}

/// Whether a statement of this digest can be approved for a change.
///
/// # Errors
/// Unknown or closed change, another statement than the change's.
pub fn approvable(state: &State, id: ChangeId, statement: Digest) -> Result<(), Refusal> {
    let Some(change) = state.changes.get(&id) else {
        return refuse("unknown-change", format!("there is no change {id}"), "see `fother change ls`");
    };
    if statement != change.statement {
        return refuse("other-statement", "these are not the bytes of the change's statement", "read `fother change show` again");
    }
    match change.status() {
        Status::Open | Status::Approved => Ok(()),
        status @ (Status::Rejected | Status::RolledOut) => refuse("closed", format!("{id} is {status:?}"), "submit a new change"),
    }
}

/// Takes in what became of a person's signature.
///
/// # Errors
/// A signature that does not count, the author's own.
pub fn approve_by(signer: Result<approval::Signer, NoApproval>, id: ChangeId, signature: &str) -> Result<Data, Refusal> {
    match signer {
        Ok(signer) => Ok(Data::ChangeApproved { change: id, person: signer.person, signature: signature.to_owned() }),
        Err(NoApproval::Author(person)) => refuse("four-eyes", format!("{person} is the author and cannot approve"), "ask somebody else"),
        Err(NoApproval::Signature(why)) => {
            refuse("bad-signature", why, "sign the statement of `fother change show` with a key from the approvers file")
        }
    }
}

/// What a statement must accept by name before a rollout may leave a group of several hosts without a healthy one.
#[must_use]
pub fn outage_of(group: &str) -> String {
    format!("outage:{group}")
}

/// Starts the rollout of an approved change, in one append.
///
/// # Errors
/// Not approved, already started, or another rollout works on one of the hosts and is not to be superseded, or is being undone.
pub fn start_rollout(
    state: &State,
    rollout: RolloutId,
    id: ChangeId,
    plan: &Plan,
    cohorts: &BTreeMap<Digest, Cohort>,
    statement: &Statement,
    supersede: bool,
) -> Result<Vec<Data>, Refusal> {
    let Some(change) = state.changes.get(&id) else {
        return refuse("unknown-change", format!("there is no change {id}"), "see `fother change ls`");
    };
    match change.status() {
        Status::Approved => {}
        Status::Open => {
            let what = format!("{id} has {} of {} approvals", change.approvals.len(), change.needed);
            return refuse("not-approved", what, "ask for approval: `fother change approve`");
        }
        Status::Rejected => {
            let why = change.rejected.as_deref().unwrap_or_default();
            return refuse(
                "rejected",
                format!("{id} was rejected: {why}"),
                "submit the plan, or a better one, anew: `fother change submit`",
            );
        }
        Status::RolledOut => {
            let what = format!("{id} is rolled out already");
            return refuse("rolled-out", what, "see `fother rollout watch`; what is to happen again needs a change of its own");
        }
    }
    let labels: BTreeMap<HostId, std::sync::Arc<Labels>> = state.hosts.iter().map(|(id, host)| (*id, host.labels.clone())).collect();
    let waves = crate::plan::waves(plan, cohorts, &labels);
    let mine: BTreeSet<HostId> = waves.iter().flatten().copied().collect();
    let in_the_way = |other: &&Rollout| other.ended.is_none() && other.hosts().keys().any(|host| mine.contains(host));
    let running = state.active.iter().filter_map(|id| state.rollouts.get(id));
    let others: Vec<&Rollout> = running.filter(in_the_way).collect();
    if let Some(other) = others.iter().find(|other| !supersede || other.rolling_back.is_some()) {
        let hint = "wait for it or abort it; or let this one take its place with `fother rollout start --supersede`";
        return refuse("busy", format!("{} works on some of these hosts", other.id), hint);
    }
    let zone_sizes = state.zone_sizes(&plan.select);
    let setup = Setup {
        group: plan.group.clone(),
        select: plan.select.clone(),
        hosts: u32::try_from(mine.len()).unwrap_or(u32::MAX),
        waves: Vec::new(),
        zones: BTreeMap::new(),
        group_size: zone_sizes.values().sum(),
        // A group of one host is out of service whenever it is patched; nobody has to be told.
        outage: (zone_sizes.values().sum::<u32>() > 1).then(|| statement.acknowledged.contains(&outage_of(&plan.group))),
        zone_sizes,
        budget: plan.budget.clone(),
        strategy: plan.rollout.clone(),
        window: statement.window.clone(),
        expires: statement.expires,
    };
    let end = End::Superseded { by: rollout };
    let mut events: Vec<Data> = others.iter().map(|other| Data::RolloutEnded { rollout: other.id, end: end.clone() }).collect();
    events.push(Data::RolloutStarted { rollout, change: id, plan: change.plan, setup });
    let zone = |host: &HostId| labels.get(host).and_then(|labels| labels.get("zone")).cloned().unwrap_or_default();
    for (wave, hosts) in (0..).zip(&waves) {
        let some = hosts.chunks(MEMBERS_MAX).map(|some| some.iter().map(|host| (*host, zone(host))).collect());
        events.extend(some.map(|hosts| Data::RolloutMembers { rollout, wave, hosts }));
    }
    Ok(events)
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

/// A person leaves a host out that has not begun.
///
/// # Errors
/// Unknown or ended rollout, a host that is not in it or has begun.
pub fn skip(state: &State, id: RolloutId, host: HostId, reason: String) -> Result<Data, Refusal> {
    let Some(rollout) = state.rollouts.get(&id) else {
        return refuse("unknown-rollout", format!("there is no rollout {id}"), "see `fother status`");
    };
    match rollout.hosts().get(&host) {
        _ if rollout.ended.is_some() => refuse("ended", format!("{id} has ended"), "see `fother rollout watch`"),
        Some(Phase::Waiting) => Ok(Data::HostSkipped { rollout: id, host, reason }),
        Some(phase) => refuse("begun", format!("{host} is {}", phase.word()), "only a host that waits can be left out"),
        None => refuse("unknown-host", format!("{host} is not in {id}"), "see `fother rollout show`"),
    }
}

/// A person stops everything that has not begun, everywhere, or lets it begin again; nothing where that is so already.
#[must_use]
pub fn stop_all(state: &State, reason: Option<String>) -> Vec<Data> {
    match (reason, &state.stopped) {
        (Some(reason), None) => vec![Data::FleetStopped { reason }],
        (None, Some(_)) => vec![Data::FleetResumed {}],
        (Some(_), Some(_)) | (None, None) => Vec::new(),
    }
}

/// A person wants a rollout undone; one that still runs starts no further host. Last in, first out: what later rollouts
/// wrote over it is undone first.
///
/// # Errors
/// Unknown rollout, nothing to undo, a later rollout over the same hosts.
pub fn rollback(state: &State, id: RolloutId, reason: String) -> Result<Data, Refusal> {
    let Some(rollout) = state.rollouts.get(&id) else {
        return refuse("unknown-rollout", format!("there is no rollout {id}"), "see `fother status`");
    };
    if rollout.rolling_back.is_some() {
        return refuse("rolling-back", format!("{id} is being undone already"), "see `fother rollout watch`");
    }
    let carries = |phase: &Phase| phase.is_working() || phase.carried().is_some();
    let here = rollout.hosts().iter().filter(|(host, phase)| carries(phase) && !rollout.has_left(host));
    let done: BTreeSet<HostId> = here.map(|(host, _)| *host).collect();
    if done.is_empty() {
        return refuse("nothing-to-undo", format!("no host of {id} carries its change"), "see `fother rollout watch`");
    }
    let over = |other: &&Rollout| {
        let begun = |phase: &Phase| match phase {
            Phase::Waiting => other.ended.is_none(),
            phase => carries(phase),
        };
        other.id > id && other.hosts().iter().any(|(host, phase)| done.contains(host) && begun(phase))
    };
    if let Some(later) = state.rollouts.values().find(over) {
        let what = format!("{} came later to some of these hosts", later.id);
        return refuse("later-rollout", what, format!("undo that one first: `fother rollout rollback {}`", later.id));
    }
    Ok(Data::RollbackStarted { rollout: id, reason, gate: None })
}
