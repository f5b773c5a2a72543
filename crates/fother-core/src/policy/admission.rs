//! Whether a host of a rollout may begin now, as far as the policy says: freezes, groups that go first, groups that exclude each other,
//! and whether the predicted time fits the window. Pure; the server's reconciler and the simulator both ask here before they dispatch.

use super::{Policy, selects};
use crate::{
    Timestamp,
    change::Status,
    decide::APPROVAL_LIFE,
    dispatch::ORDERS_MAX,
    id::{ChangeId, HostId, RolloutId},
    inventory::Labels,
    mutant,
    mutant::Mutant,
    predict,
    rollout::{Action, BLOCKING_MAX, End, Rollout},
    standing::Stood,
    state::State,
    window::{self, NotNow},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Why nothing of a rollout begins now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Held {
    /// A freeze is on.
    Frozen {
        /// Its name.
        freeze: String,
        /// Its reason.
        reason: String,
        /// When it ends.
        until: Timestamp,
    },
    /// The standing approval that covers it counts no more.
    Fallen {
        /// Which.
        standing: crate::Digest,
        /// Why.
        reason: String,
    },
    /// A rollout of a group that goes first runs, or was stopped by its gate.
    AfterRollout {
        /// The group.
        group: String,
        /// The rollout.
        rollout: RolloutId,
        /// Whether a gate stopped it: then it waits for a newer one, or for a person.
        halted: bool,
    },
    /// A change of a group that goes first waits for people or for its rollout.
    AfterChange {
        /// The group.
        group: String,
        /// The change.
        change: ChangeId,
    },
    /// A host of a group that excludes this one is out of service.
    NeverWith {
        /// The group.
        group: String,
        /// The host.
        host: HostId,
    },
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frozen { freeze, reason, until } => write!(f, "freeze {freeze} until {until}: {reason}"),
            Self::Fallen { standing, reason } => write!(f, "the standing approval {} counts no more: {reason}", standing.short()),
            Self::AfterRollout { group, rollout, halted: false } => write!(f, "group {group} goes first: {rollout} runs"),
            Self::AfterRollout { group, rollout, halted: true } => {
                write!(f, "group {group} goes first, and {rollout} was stopped by its gate: finish a newer one of it, or abort this one")
            }
            Self::AfterChange { group, change } => write!(f, "group {group} goes first: {change} is not rolled out yet"),
            Self::NeverWith { group, host } => write!(f, "never together with group {group}: its {host} is out of service"),
        }
    }
}

/// Whether hosts of this rollout may begin now.
///
/// # Errors
/// Why not.
pub fn may_start(policy: &Policy, state: &State, rollout: &Rollout, now: Timestamp) -> Result<(), Held> {
    let name = &rollout.setup.group;
    let emergency = state.plans.get(&rollout.plan).and_then(|plan| plan.emergency.as_deref());
    stands(state, rollout.change, now)?;
    if !mutant::is(Mutant::FreezeIgnored) {
        frozen(policy, name, emergency, now)?;
    }
    let Some(group) = policy.group.get(name) else { return Ok(()) };
    for first in &group.after {
        goes_first(state, first, rollout, now)?;
    }
    let excluded = policy
        .group
        .iter()
        .filter(|(other, theirs)| *other != name && (group.never_with.contains(*other) || theirs.never_with.contains(name)));
    for (other, theirs) in excluded {
        if let Some(host) = out_of_service(state, other, &theirs.select, rollout) {
            return Err(Held::NeverWith { group: other.clone(), host });
        }
    }
    Ok(())
}

/// Whether the standing approval that a change is covered by still counts; one that people signed themselves needs none.
///
/// # Errors
/// [`Held::Fallen`].
pub fn stands(state: &State, change: ChangeId, now: Timestamp) -> Result<(), Held> {
    let Some(standing) = state.changes.get(&change).and_then(|change| change.standing) else { return Ok(()) };
    let reason = match state.standings.get(&standing) {
        Some(Stood { revoked: Some(why), .. }) => format!("revoked, {why}"),
        Some(stood) if now >= stood.expires => format!("expired at {}", stood.expires),
        Some(_) => return Ok(()),
        None => "it is not in the log".to_owned(),
    };
    Err(Held::Fallen { standing, reason })
}

/// Whether a freeze stops this group now; an emergency path breaks those that it names.
///
/// # Errors
/// [`Held::Frozen`], of several freezes the one that lasts longest.
pub fn frozen(policy: &Policy, group: &str, emergency: Option<&str>, now: Timestamp) -> Result<(), Held> {
    let broken = broken(policy, group, emergency);
    let on = policy.freeze.iter().filter(|(name, freeze)| freeze.stops(group) && !broken.contains(*name));
    let longest = on.filter_map(|(name, freeze)| Some((freeze.on(now)?, name, freeze))).max_by_key(|(until, ..)| *until);
    match longest {
        Some((until, name, freeze)) => Err(Held::Frozen { freeze: name.clone(), reason: freeze.reason.clone(), until }),
        None => Ok(()),
    }
}

/// Freezes that an emergency path breaks for a group, by name.
#[must_use]
pub fn broken(policy: &Policy, group: &str, emergency: Option<&str>) -> BTreeSet<String> {
    let path = emergency.and_then(|name| policy.emergency.get(name)).filter(|path| path.serves(group));
    path.map(|path| path.breaks.clone()).unwrap_or_default()
}

fn goes_first(state: &State, first: &str, rollout: &Rollout, now: Timestamp) -> Result<(), Held> {
    let group = || first.to_owned();
    let theirs = || state.rollouts.values().filter(|other| other.setup.group == first && other.id != rollout.id);
    if let Some(running) = theirs().find(|other| other.ended.is_none()) {
        return Err(Held::AfterRollout { group: group(), rollout: running.id, halted: false });
    }
    // What went wrong before this rollout was known to whoever started it.
    let newest = theirs().max_by_key(|other| other.id);
    if let Some(halted) = newest.filter(|other| matches!(other.ended, Some(End::Halted { .. })) && other.ended_at >= Some(rollout.started))
    {
        return Err(Held::AfterRollout { group: group(), rollout: halted.id, halted: true });
    }
    let waiting = state.changes.values().find(|change| {
        let open = matches!(change.status(), Status::Open | Status::Approved);
        let due = change.submitted <= rollout.started && now.since(change.submitted) < APPROVAL_LIFE;
        open && due && state.plans.get(&change.plan).is_some_and(|plan| plan.group == first)
    });
    waiting.map_or(Ok(()), |change| Err(Held::AfterChange { group: group(), change: change.id }))
}

/// A host of another group that is at work, broken or not heard of, and is none of this rollout's own.
fn out_of_service(state: &State, group: &str, select: &str, mine: &Rollout) -> Option<HostId> {
    let others = state.active.iter().filter_map(|id| state.rollouts.get(id)).filter(|other| other.setup.group == group);
    if let Some(host) = others.flat_map(Rollout::out).find(|host| !mine.hosts().contains_key(host)) {
        return Some(host);
    }
    let mut holding = state.lock_clients.values().filter(|client| client.held.is_some());
    if let Some(client) = holding.find(|client| selects(select, &client.labels).unwrap_or(true)) {
        return Some(client.host);
    }
    let mut known: BTreeMap<&Labels, bool> = BTreeMap::new();
    state.lost.iter().copied().find(|id| {
        let Some(host) = state.hosts.get(id) else { return false };
        // A selector that fails takes in too many rather than too few.
        !mine.hosts().contains_key(id) && *known.entry(&*host.labels).or_insert_with(|| selects(select, &host.labels).unwrap_or(true))
    })
}

/// What is left of a rollout's next actions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admitted {
    /// What may be done now.
    pub actions: Vec<Action>,
    /// Why hosts that were next do not begin, where the policy says so.
    pub held: Option<Held>,
}

/// Leaves out of the next actions the hosts that may not begin now: undoing and ending is never held up. A host is held until its own
/// predicted time fits a window; where it fits none any more and nothing else goes on, it blocks by name.
#[must_use]
pub fn admit(policy: &Policy, state: &State, rollout: &Rollout, actions: Vec<Action>, now: Timestamp) -> Admitted {
    if !actions.iter().any(|action| matches!(action, Action::Dispatch(_))) {
        return Admitted { actions, held: None };
    }
    let held = may_start(policy, state, rollout, now).err();
    let mut never = Vec::new();
    let windows = &rollout.setup.window;
    let mut admitted = 0;
    let mut fits = |host: HostId| {
        // What does not go out in this round anyway is not looked at.
        if admitted == ORDERS_MAX {
            return false;
        }
        if windows.is_empty() {
            admitted += 1;
            return true;
        }
        match window::fits(windows, now, predict::host(state, rollout, host).total()) {
            Ok(()) => {
                admitted += 1;
                true
            }
            Err(NotNow::NextAt(_)) => false,
            Err(NotNow::Never) => {
                never.push(host);
                false
            }
        }
    };
    let all = actions.len();
    let mut actions: Vec<Action> =
        actions.into_iter().filter(|action| !matches!(action, Action::Dispatch(host) if held.is_some() || !fits(*host))).collect();
    let stuck = held.is_none() && !never.is_empty() && never.len() == all && rollout.out().next().is_none();
    if stuck && never.iter().copied().collect::<BTreeSet<_>>() != rollout.blocked {
        let minutes = predict::host(state, rollout, never[0]).total().as_secs().div_ceil(60);
        never.truncate(BLOCKING_MAX);
        let why = format!(
            "they are expected to take {minutes} min, which no window of the change has room for: a longer window, and a new change"
        );
        actions.push(Action::Block(never, why));
    }
    Admitted { actions, held }
}
