//! Directives: built, signed, stored as blob, then recorded; and which of them a host gets at its check-in. Touches the store.

use crate::{
    Error,
    engine::{Engine, kind},
    error::refuse,
};
use fother_core::{
    Digest, Timestamp,
    directive::{self, Directive, Order, SignedDirective},
    event::Data,
    id::{DirectiveId, HostId, RolloutId, TransactionId},
    plan::CohortTree,
    rollout::Phase,
    state::{Host, Issued, State},
};
use std::{collections::BTreeMap, time::Duration};

/// Life of a directive: how long a host may take to accept it.
pub const DIRECTIVE_LIFE: Duration = Duration::from_secs(600);
/// Longest time without a check-in before a host counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(60);
/// Most directives in one answer.
const ANSWER_DIRECTIVES_MAX: usize = 16;

impl Engine {
    /// Signs orders for hosts and returns the events; nothing is true before they are committed. Call it inside a decision.
    pub(crate) fn issue(
        &self,
        state: &State,
        now: Timestamp,
        rollout: Option<RolloutId>,
        orders: Vec<(HostId, Order)>,
    ) -> Result<Vec<Data>, Error> {
        if let Some(fault) = self.clock.fault(state.head) {
            return Err(Error::Clock(fault));
        }
        let mut sequences: BTreeMap<HostId, u64> = BTreeMap::new();
        let mut events = Vec::new();
        for (host, order) in orders {
            let Some(known) = state.hosts.get(&host).filter(|known| !known.retired) else {
                return refuse("unknown-host", format!("{host} is not enrolled, or retired"), "see `fother host ls`");
            };
            let sequence = sequences.entry(host).or_insert(known.sequence);
            *sequence += 1;
            let (ms, random) = self.fresh()?;
            let directive = Directive {
                id: DirectiveId::new(ms, random),
                host,
                sequence: *sequence,
                issued: now,
                expires: now + DIRECTIVE_LIFE,
                order,
            };
            let signed = directive::sign(&directive, self.identity.directive())?;
            let blob = self.put(kind::DIRECTIVE, &signed)?;
            events.push(recorded(&directive, blob, rollout));
        }
        Ok(events)
    }

    /// The apply order of one host of a rollout, out of what the log names.
    pub(crate) fn apply_order(&self, state: &State, rollout: RolloutId, host: HostId, txn: TransactionId) -> Result<Order, Error> {
        let missing = |what: &str| Error::Damaged(format!("{rollout} names {what} that the log does not hold"));
        let rollout = state.rollouts.get(&rollout).ok_or_else(|| missing("a rollout"))?;
        let change = state.changes.get(&rollout.change).ok_or_else(|| missing("a change"))?;
        let known = state.plans.get(&rollout.plan).ok_or_else(|| missing("a plan"))?;
        let (cohort, about) = known.cohorts.iter().find(|(_, cohort)| cohort.hosts.contains(&host)).ok_or_else(|| missing("a host"))?;
        let (rehearsal, _) = about.rehearsal.ok_or_else(|| missing("a rehearsal"))?;
        Ok(Order::Apply {
            txn,
            plan: rollout.plan,
            cohort: *cohort,
            place: CohortTree::place(&known.cohorts.keys().copied().collect(), cohort).ok_or_else(|| missing("a cohort"))?,
            rehearsal,
            statement: change.statement,
            author: change.author_signature.clone(),
            approvals: change.approvals.values().cloned().collect(),
        })
    }

    /// What a host that has accepted everything up to `seen` is to do: the same answer until it says that it has it.
    pub(crate) fn directives_for(&self, state: &State, host: HostId, seen: u64, now: Timestamp) -> Result<Vec<SignedDirective>, Error> {
        let mut due: Vec<&Issued> = open(state, host, now).filter(|issued| issued.sequence > seen).collect();
        due.sort_by_key(|issued| issued.sequence);
        due.into_iter().take(ANSWER_DIRECTIVES_MAX).map(|issued| self.get(issued.blob)).collect()
    }

    /// Signs anew what expired before this host accepted it: the same order, under the same transaction.
    pub(crate) fn renew(&self, state: &State, host: HostId, seen: u64, now: Timestamp) -> Result<Vec<Data>, Error> {
        let mut again = Vec::new();
        for rollout in state.rollouts.values() {
            let (txn, order) = match rollout.hosts.get(&host) {
                Some(Phase::Dispatched { txn, .. }) if rollout.ended.is_none() => (*txn, "apply"),
                Some(Phase::Undoing { txn, .. }) if rollout.ended.is_none() => (*txn, "undo"),
                _ => continue,
            };
            let mine = |issued: &&Issued| issued.host == host && issued.txn == Some(txn) && issued.order == order;
            let Some(last) = state.directives.values().filter(mine).max_by_key(|issued| issued.sequence) else { continue };
            if last.sequence <= seen || last.expires > now || last.outcome.is_some() {
                continue;
            }
            let signed: SignedDirective = self.get(last.blob)?;
            let old: Directive =
                serde_json::from_str(&signed.directive).map_err(|error| Error::Damaged(format!("the blob {}: {error}", last.blob)))?;
            again.extend(self.issue(state, now, Some(rollout.id), vec![(host, old.order)])?);
        }
        Ok(again)
    }
}

/// Directives of a host that wait for something.
pub(crate) fn open(state: &State, host: HostId, now: Timestamp) -> impl Iterator<Item = &Issued> {
    state.directives.values().filter(move |issued| issued.host == host && issued.outcome.is_none() && issued.expires > now)
}

/// Whether a person or a rollout waits for this host, so that it should come back soon.
pub(crate) fn is_awaited(state: &State, host: HostId, now: Timestamp) -> bool {
    let running = |phase: Option<&Phase>| phase.is_some_and(|phase| !phase.is_settled());
    open(state, host, now).next().is_some()
        || state.rollouts.values().any(|rollout| {
            let phase = rollout.hosts.get(&host);
            running(phase) && (rollout.ended.is_none() || phase != Some(&Phase::Waiting))
        })
}

/// Whether a host can be asked to work.
pub(crate) fn is_reachable(host: &Host) -> bool {
    !host.retired && !host.lost
}

fn recorded(directive: &Directive, blob: Digest, rollout: Option<RolloutId>) -> Data {
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
