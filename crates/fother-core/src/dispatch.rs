//! What a server does around the engine, as far as it is decided: actions into events and orders, which directives a host gets, what
//! becomes of those that it never accepted, who counts as lost, and which clocks are believed. Pure; server and simulator both call it.

use crate::{
    Digest, Timestamp,
    decide::Refusal,
    directive::{Directive, Order, SKEW_MS_MAX},
    event::Data,
    id::{DirectiveId, HostId, RolloutId, TransactionId},
    mutant,
    mutant::Mutant,
    plan::Places,
    policy::{Policy, admission},
    rollout::{Action, Phase, Rollout},
    state::{Issued, State},
};
use std::{collections::BTreeMap, time::Duration};

/// Life of a directive: how long a host may take to accept it.
pub const DIRECTIVE_LIFE: Duration = Duration::from_secs(600);
/// Longest time without a check-in before a host of a small fleet counts as lost: see [`lost_after`].
pub const LOST_AFTER: Duration = Duration::from_secs(60);
/// Check-ins a second that a fleet may cost, until [`QUIET_S`] ends it.
pub const CHECK_INS_PER_S: usize = 200;
/// Fewest and most seconds to the next check-in of a host that nobody waits for.
pub const QUIET_S: (u32, u32) = (2, 300);
/// Fewest seconds to the next check-in of a host that somebody waits for.
pub const AWAITED_S: u32 = 1;
/// Most orders of one round: their events fit one append, and the next round goes on from there.
pub const ORDERS_MAX: usize = 250;
/// Most directives in one answer.
pub const ANSWER_DIRECTIVES_MAX: usize = 16;
/// Largest jump, against the head of the log or the monotonic clock, that is not a fault.
pub const JUMP_MAX: Duration = Duration::from_secs(300);
/// How long after its expiry a host could still have accepted a directive: its clock may be behind.
const GRACE: Duration = Duration::from_millis(SKEW_MS_MAX);

/// Why nothing may be sent out, or nothing: `now` is what the clock says, `expected` what it should say by the time that has passed
/// since it was first read, `head` the time of the last event.
#[must_use]
pub fn clock_fault(now: Timestamp, expected: Timestamp, head: Timestamp) -> Option<String> {
    if mutant::is(Mutant::ClockJumpIgnored) {
        return None;
    }
    if head.since(now) > JUMP_MAX {
        return Some(format!("the clock says {now}, but the log already holds events of {head}"));
    }
    let jump = now.since(expected).max(expected.since(now));
    (jump > JUMP_MAX).then(|| format!("the clock jumped by {} s since the server started", jump.as_secs()))
}

/// Whether a host's clock is close enough: with another one it would misjudge windows, expiries and archives.
///
/// # Errors
/// Says how far apart the clocks are.
pub fn same_time(host: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    let apart_ms = host.ms().abs_diff(now.ms());
    if apart_ms <= SKEW_MS_MAX {
        return Ok(());
    }
    Err(Refusal {
        code: "clock",
        what: format!("the host's clock says {host}, the server's {now}: they are {} s apart", apart_ms.div_ceil(1_000)),
        hint: format!("at most {} s are accepted: set the clock that is wrong (timedatectl set-ntp true)", SKEW_MS_MAX / 1_000),
    })
}

/// Seconds to the next check-in of a host that nobody waits for: the more hosts, the longer each is quiet.
#[must_use]
pub fn quiet_s(hosts: usize) -> u32 {
    u32::try_from(hosts / CHECK_INS_PER_S).unwrap_or(u32::MAX).clamp(QUIET_S.0, QUIET_S.1)
}

/// Seconds to this host's next check-in: soon where somebody waits for it, as far as those who are waited for together allow.
#[must_use]
pub fn next_check_in_s(state: &State, host: HostId, now: Timestamp) -> u32 {
    let quiet = quiet_s(state.hosts.len());
    if !is_awaited(state, host, now) {
        return quiet;
    }
    let running = state.active.iter().filter_map(|id| state.rollouts.get(id)).filter(|rollout| rollout.ended.is_none());
    let awaited = running.map(Rollout::present_wave).sum::<usize>().max(state.asked);
    u32::try_from(awaited / CHECK_INS_PER_S).unwrap_or(u32::MAX).clamp(AWAITED_S, quiet)
}

/// Longest time without a check-in before a host counts as lost: [`LOST_AFTER`], and time for two more tries in a large fleet.
#[must_use]
pub fn lost_after(hosts: usize) -> Duration {
    LOST_AFTER.max(Duration::from_secs(u64::from(quiet_s(hosts)) * 3))
}

/// Hosts that count as lost from now on, out of these with the time at which each was heard of last, at the earliest when this server started.
pub fn late(state: &State, heard: impl Iterator<Item = (HostId, Timestamp)>, now: Timestamp) -> Vec<HostId> {
    if mutant::is(Mutant::LossIsNotSeen) {
        return Vec::new();
    }
    let after = lost_after(state.hosts.len());
    let here = |id: &HostId| state.hosts.get(id).is_some_and(|host| !host.lost && !host.retired);
    heard.filter(|(id, at)| now.since(*at) > after && here(id)).map(|(id, _)| id).collect()
}

/// Events to append, and orders to sign in the same append.
pub type Outgoing = (Vec<Data>, Vec<(HostId, Order)>);

/// What actions come to: events to append, and orders to sign in the same append. `txn` makes the id of a transaction that begins.
///
/// # Errors
/// Where the log does not hold what the rollout names.
pub fn carry_out<E: From<Damaged>>(
    state: &State,
    rollout: &Rollout,
    actions: Vec<Action>,
    mut txn: impl FnMut() -> Result<TransactionId, E>,
) -> Result<Outgoing, E> {
    let id = rollout.id;
    let (mut events, mut orders) = (Vec::new(), Vec::new());
    let mut places = None;
    for action in actions {
        if orders.len() == ORDERS_MAX {
            break;
        }
        match action {
            Action::Dispatch(host) => orders.push((host, apply_order(state, rollout, host, txn()?, &mut places)?)),
            Action::Undo(host, txn) => {
                let reason = rollout.rolling_back.clone().unwrap_or_default();
                orders.push((host, Order::Undo { txn, reason }));
            }
            Action::PassWave(shown) => events.push(Data::WavePassed { rollout: id, wave: rollout.waves_passed, shown }),
            Action::GoBack(gate) => events.push(Data::RollbackStarted { rollout: id, reason: gate.why.clone(), gate: Some(gate) }),
            Action::Finish(end) => events.push(Data::RolloutEnded { rollout: id, end }),
            Action::Block(by, why) => events.push(Data::RolloutBlocked { rollout: id, by, why }),
        }
    }
    Ok((events, orders))
}

/// The log names something that it does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{rollout} names {what} that the log does not hold")]
pub struct Damaged {
    rollout: RolloutId,
    what: &'static str,
}

/// The apply order of one host of a rollout, out of what the log names. The plan's tree is remembered in `places`.
fn apply_order(state: &State, rollout: &Rollout, host: HostId, txn: TransactionId, places: &mut Option<Places>) -> Result<Order, Damaged> {
    let missing = |what| Damaged { rollout: rollout.id, what };
    let change = state.changes.get(&rollout.change).ok_or_else(|| missing("a change"))?;
    let known = state.plans.get(&rollout.plan).ok_or_else(|| missing("a plan"))?;
    let cohort = known.cohort_of.get(&host).ok_or_else(|| missing("a host"))?;
    let about = known.cohorts.get(cohort).ok_or_else(|| missing("a cohort"))?;
    let (rehearsal, _) = about.rehearsal.ok_or_else(|| missing("a rehearsal"))?;
    let places = places.get_or_insert_with(|| Places::over(known.cohorts.keys().copied()));
    Ok(Order::Apply {
        txn,
        plan: rollout.plan,
        cohort: *cohort,
        place: places.place(cohort).ok_or_else(|| missing("a cohort"))?,
        rehearsal,
        statement: change.statement,
        author: change.author_signature.clone(),
        approvals: change.approvals.values().cloned().collect(),
        standing: change.standing.is_some(),
    })
}

/// The directives of these orders, numbered per host; `fresh` makes their ids. Nothing is true before they are signed, stored and appended.
///
/// # Errors
/// A host that is unknown or left.
pub fn directives<E: From<Refusal>>(
    state: &State,
    now: Timestamp,
    orders: Vec<(HostId, Order)>,
    mut fresh: impl FnMut() -> Result<DirectiveId, E>,
) -> Result<Vec<Directive>, E> {
    let mut sequences: BTreeMap<HostId, u64> = BTreeMap::new();
    let mut out = Vec::with_capacity(orders.len());
    for (host, order) in orders {
        let Some(known) = state.hosts.get(&host).filter(|known| !known.retired) else {
            let what = format!("{host} is not enrolled, or retired");
            return Err(Refusal { code: "unknown-host", what, hint: "see `fother host ls`".to_owned() }.into());
        };
        let sequence = sequences.entry(host).or_insert(known.sequence);
        *sequence += 1;
        out.push(Directive { id: fresh()?, host, sequence: *sequence, issued: now, expires: now + DIRECTIVE_LIFE, order });
    }
    Ok(out)
}

/// What the log keeps of a directive, whose signed bytes are the blob.
#[must_use]
pub fn recorded(directive: &Directive, blob: Digest, rollout: Option<RolloutId>) -> Data {
    let (txn, cohort, plan) = match &directive.order {
        Order::Resolve { .. } => (None, None, None),
        Order::Rehearse { plan, cohort, .. } => (None, Some(*cohort), Some(*plan)),
        Order::Apply { txn, plan, cohort, .. } => (Some(*txn), Some(*cohort), Some(*plan)),
        Order::Undo { txn, .. } => (Some(*txn), None, None),
    };
    Data::DirectiveIssued {
        directive: directive.id,
        host: directive.host,
        sequence: directive.sequence,
        order: directive.order.name().to_owned(),
        blob,
        txn,
        cohort,
        plan,
        rollout,
        expires: directive.expires,
    }
}

/// Directives of a host that wait for something, lowest sequence first.
fn waiting(state: &State, host: HostId) -> Vec<&Issued> {
    let Some(known) = state.hosts.get(&host) else { return Vec::new() };
    let mut open: Vec<&Issued> = known.open.iter().filter_map(|id| state.directives.get(id)).collect();
    open.sort_by_key(|issued| issued.sequence);
    open
}

/// Whether a transaction that its host has not begun may begin, as far as the server knows.
fn may_begin(state: &State, policy: &Policy, issued: &Issued, now: Timestamp) -> bool {
    let Some(rollout) = issued.rollout.and_then(|id| state.rollouts.get(&id)) else { return true };
    match issued.order.as_str() {
        "apply" => {
            let stopped = state.stopped.is_some() && !mutant::is(Mutant::StopIgnored);
            let stands = admission::stands(state, rollout.change, now).is_ok();
            !stopped
                && stands
                && rollout.may_start(now)
                && (!is_frozen(state, policy, rollout, now) || mutant::is(Mutant::FrozenIsHandedOut))
        }
        _ => rollout.ended.is_none(),
    }
}

/// Whether a freeze is on that may have come after the directive went out.
fn is_frozen(state: &State, policy: &Policy, rollout: &Rollout, now: Timestamp) -> bool {
    let emergency = state.plans.get(&rollout.plan).and_then(|plan| plan.emergency.as_deref());
    admission::frozen(policy, &rollout.setup.group, emergency, now).is_err()
}

/// What a host that has accepted everything up to `seen` is to do: the same answer until it says that it has it. What follows
/// something that may not begin now is held as well, since a host accepts in the order of the sequence only.
#[must_use]
pub fn due<'a>(state: &'a State, policy: &Policy, host: HostId, seen: u64, now: Timestamp) -> Vec<&'a Issued> {
    let base = state.sequence_base();
    let open = waiting(state, host).into_iter().filter(|issued| issued.sequence > seen.max(base));
    let held = |issued: &&Issued| issued.rollout.is_none() || (issued.expires > now && may_begin(state, policy, issued, now));
    open.take_while(held).filter(|issued| issued.expires > now).take(ANSWER_DIRECTIVES_MAX).collect()
}

/// What becomes of a directive that expired before its host accepted it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lapsed<'a> {
    /// It is signed anew: the same order, under the same transaction.
    Renew(RolloutId, &'a Issued),
    /// It may not begin any more, so its host waits again.
    Withdraw(RolloutId, TransactionId),
}

/// What becomes of the directives that expired before this host accepted them, as it says itself.
#[must_use]
pub fn lapsed<'a>(state: &'a State, policy: &Policy, host: HostId, seen: u64, now: Timestamp) -> Vec<Lapsed<'a>> {
    let mut out = Vec::new();
    for issued in waiting(state, host) {
        let (Some(rollout), Some(txn)) = (issued.rollout.and_then(|id| state.rollouts.get(&id)), issued.txn) else { continue };
        let pending = match rollout.hosts().get(&host) {
            Some(Phase::Dispatched { txn: known, .. }) => *known == txn && issued.order == "apply",
            Some(Phase::Undoing { txn: known, .. }) => *known == txn && issued.order == "undo",
            _ => false,
        };
        // Of an older epoch: no host may accept it any more, whenever it expires.
        let dead = issued.sequence <= state.sequence_base();
        if !pending || issued.sequence <= seen || (issued.expires > now && !dead) {
            continue;
        }
        if may_begin(state, policy, issued, now) || mutant::is(Mutant::RenewedOutsideWindow) {
            out.push(Lapsed::Renew(rollout.id, issued));
        } else if (dead || now.since(issued.expires) > GRACE) && !mutant::is(Mutant::NeverWithdrawn) {
            out.push(Lapsed::Withdraw(rollout.id, txn));
        }
    }
    out
}

/// Whether a person or a rollout waits for this host, so that it should come back soon.
#[must_use]
pub fn is_awaited(state: &State, host: HostId, now: Timestamp) -> bool {
    waiting(state, host).iter().any(|issued| issued.expires > now)
        || state.active.iter().filter_map(|id| state.rollouts.get(id)).any(|rollout| match rollout.hosts().get(&host) {
            Some(Phase::Waiting) => rollout.ended.is_none() && rollout.is_in_present_wave(&host),
            Some(phase) => phase.is_working(),
            None => false,
        })
}
