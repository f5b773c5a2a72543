//! The disruption budget: who may begin now beside everybody who is out of service already.

use super::{Around, Rollout, Why, counters::Places};
use crate::{
    id::HostId,
    mutant,
    mutant::Mutant,
    policy::{Budget, Per},
};
use std::{collections::BTreeMap, ops::Range};

/// What is left of the budget while hosts are chosen.
pub(super) struct Ledger<'a> {
    rollout: &'a Rollout,
    /// Most hosts of the group at once.
    limit: usize,
    out: usize,
    by_zone: BTreeMap<&'a str, usize>,
}

impl<'a> Ledger<'a> {
    /// Everybody who is out of service now, each once.
    pub(super) fn new(rollout: &'a Rollout, around: &'a Around) -> Self {
        let mut by_zone: BTreeMap<&str, usize> =
            rollout.counters.out_by_zone().iter().filter(|(_, n)| **n > 0).map(|(zone, n)| (zone.as_str(), *n as usize)).collect();
        let mut out = rollout.counters.out().len();
        for (_, other) in around.out.iter().filter(|(host, other)| !rollout.counters.out().contains(*host) && counts(other.why)) {
            out += 1;
            *by_zone.entry(other.zone.as_str()).or_insert(0) += 1;
        }
        Self { limit: limit(rollout), rollout, out, by_zone }
    }

    /// Whether the group has room for one more host at all.
    pub(super) fn has_room(&self) -> bool {
        let more = usize::from(mutant::is(Mutant::BudgetOffByOne));
        self.out < self.limit + more || mutant::is(Mutant::BudgetIgnored)
    }

    /// Whether this zone has room for one more host.
    pub(super) fn zone_has_room(&self, zone: &str) -> bool {
        let size = self.rollout.zone_members.get(zone).copied().unwrap_or(0) as usize;
        zone_has_room(&self.rollout.setup.budget, zone, size, &self.by_zone)
    }

    fn take(&mut self, zone: &'a str) {
        self.out += 1;
        *self.by_zone.entry(zone).or_insert(0) += 1;
    }
}

fn counts(why: Why) -> bool {
    !match why {
        Why::Lost => mutant::is(Mutant::LostDoesNotCount),
        Why::Working => mutant::is(Mutant::OtherRolloutsDoNotCount),
        Why::Unhealthy => mutant::is(Mutant::UnhealthyDoesNotCount),
    }
}

/// Most hosts of the group that may be out of service at once, as large as the group is now.
fn limit(rollout: &Rollout) -> usize {
    let (setup, size) = (&rollout.setup, rollout.members as usize);
    let size = if mutant::is(Mutant::BudgetOfStart) { setup.group_size as usize } else { size };
    // A group that would reach zero healthy hosts is an outage, which people must have accepted by name.
    let last = usize::from(setup.outage == Some(false) && !mutant::is(Mutant::OutageAllowed));
    most(&setup.budget, size, last)
}

/// Most hosts of a group of `size` that may be out of service at once, where at least `last` stay.
pub(crate) fn most(budget: &Budget, size: usize, last: usize) -> usize {
    let share = match budget.per {
        Per::Group => budget.unavailable.of(size),
        Per::Zone => size,
    };
    let quorum = budget.min_healthy.filter(|_| !mutant::is(Mutant::QuorumIgnored)).map_or(0, |share| share.quorum(size));
    share.min(size.saturating_sub(quorum.max(last)))
}

/// Whether a zone of `size` hosts has room for one more, `out` being those out of service by zone.
pub(crate) fn zone_has_room(budget: &Budget, zone: &str, size: usize, out: &BTreeMap<&str, usize>) -> bool {
    let alone = !budget.one_zone_at_a_time || mutant::is(Mutant::ZonesIgnored) || out.keys().all(|other| *other == zone);
    let within = match budget.per {
        Per::Group => true,
        Per::Zone => out.get(zone).copied().unwrap_or(0) < budget.unavailable.of(size) || mutant::is(Mutant::ZoneBudgetIgnored),
    };
    alone && within
}

impl Rollout {
    /// Whether the budget is too small for any host at all, however healthy the group is.
    pub(super) fn has_no_budget(&self) -> bool {
        limit(self) == 0
    }

    /// Hosts out of `places`, in their order or backwards, that the budget lets begin now. Those that are out of service already
    /// take no further place and come first.
    pub(super) fn within_budget(&self, places: &Places, span: Range<u32>, back: bool, around: &Around) -> Vec<HostId> {
        let mut ledger = Ledger::new(self, around);
        let zone_of = |host: &HostId| self.setup.zones.get(host).map(String::as_str).unwrap_or_default();
        let is_candidate = |host: &HostId| {
            let place = self.counters.place_of(host).filter(|place| span.contains(place));
            place.is_some_and(|place| places.get(zone_of(host)).is_some_and(|zone| zone.contains(&place)))
        };
        let may_be_asked = |host: &HostId| !around.keeps(host) || mutant::is(Mutant::LostIsAsked);
        let is_out = |host: &HostId| around.out.contains_key(host) || self.counters.out().contains(host);
        // Forwards, no host of this rollout both waits and is out of service because of it.
        let own = self.counters.out().iter().filter(|host| back && !around.out.contains_key(host));
        let mut chosen: Vec<HostId> =
            around.out.keys().chain(own).filter(|host| may_be_asked(host) && is_candidate(host)).copied().collect();
        let key = |place: u32| if back { u32::MAX - place } else { place };
        let mut queues: Vec<_> = places
            .iter()
            .map(|(zone, set)| {
                let range = set.range(span.clone());
                let range: Box<dyn Iterator<Item = &u32>> = if back { Box::new(range.rev()) } else { Box::new(range) };
                (zone.as_str(), range.peekable())
            })
            .collect();
        while ledger.has_room() {
            let next = queues
                .iter_mut()
                .filter(|(zone, _)| ledger.zone_has_room(zone))
                .filter_map(|queue| Some((key(**queue.1.peek()?), queue)))
                .min_by_key(|(key, _)| *key);
            let Some((_, (zone, queue))) = next else { break };
            let Some(host) = queue.next().and_then(|place| self.counters.host(*place)) else { break };
            if is_out(&host) {
                continue;
            }
            ledger.take(zone);
            chosen.push(host);
        }
        chosen
    }
}
