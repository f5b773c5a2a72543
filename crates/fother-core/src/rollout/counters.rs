//! Counters and sets over the phases of a rollout's hosts, kept as they change, so that no step walks over all of them.
//! A copy shares what did not change.

use super::Phase;
use crate::{Timestamp, id::HostId};
use imbl::{OrdMap, OrdSet};
use std::{collections::BTreeMap, sync::Arc};

/// Places in the order of all waves, by zone.
pub(super) type Places = BTreeMap<String, OrdSet<u32>>;

/// How a host counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Takes {
    /// It did not leave.
    pub(super) counts: bool,
    /// It can be undone.
    pub(super) carries: bool,
    /// It takes a place of the budget.
    pub(super) out: bool,
}

/// What the phases add up to. Hosts that left for good are only in `clean` and `failures`, which tell what was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    place: OrdMap<HostId, u32>,
    order: Arc<Vec<HostId>>,
    /// First place after each wave.
    ends: Vec<u32>,
    waiting: Places,
    carriers: Places,
    unsettled: OrdSet<u32>,
    /// Hosts at work by the time at which they should have reported.
    working: OrdSet<(Timestamp, HostId)>,
    deadline: OrdMap<HostId, Timestamp>,
    out: OrdSet<HostId>,
    out_by_zone: BTreeMap<String, u32>,
    clean: OrdSet<HostId>,
    failures: OrdSet<HostId>,
    /// Hosts by wave that say something about the change.
    shows: BTreeMap<u32, u32>,
    shown: OrdSet<HostId>,
}

/// Whether that changed anything.
fn put<T: Ord + Clone>(set: &mut OrdSet<T>, item: T, is_in: bool) -> bool {
    if is_in { set.insert(item).is_none() } else { set.remove(&item).is_some() }
}

fn put_place(places: &mut Places, zone: &str, place: u32, is_in: bool) {
    match places.get_mut(zone) {
        Some(set) => drop(put(set, place, is_in)),
        None if is_in => drop(places.insert(zone.to_owned(), OrdSet::unit(place))),
        None => {}
    }
}

impl Counters {
    /// Gives the next place to a host of this wave.
    pub(super) fn place(&mut self, wave: u32, host: HostId) {
        let place = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        self.place.insert(host, place);
        Arc::make_mut(&mut self.order).push(host);
        self.ends.resize(wave as usize + 1, place);
        if let Some(end) = self.ends.last_mut() {
            *end = place + 1;
        }
    }

    /// Takes a host's phase in.
    pub(super) fn set(&mut self, host: HostId, zone: &str, phase: &Phase, deadline: Option<Timestamp>, takes: Takes) {
        let Takes { counts, carries, out } = takes;
        let Some(place) = self.place.get(&host).copied() else { return };
        put_place(&mut self.waiting, zone, place, counts && *phase == Phase::Waiting);
        put_place(&mut self.carriers, zone, place, carries);
        put(&mut self.unsettled, place, counts && !phase.is_settled());
        if let Some(old) = self.deadline.remove(&host) {
            self.working.remove(&(old, host));
        }
        if let Some(deadline) = deadline {
            self.deadline.insert(host, deadline);
            self.working.insert((deadline, host));
        }
        if put(&mut self.out, host, out) {
            let count = self.out_by_zone.entry(zone.to_owned()).or_insert(0);
            *count = if out { *count + 1 } else { count.saturating_sub(1) };
        }
        put(&mut self.clean, host, matches!(phase, Phase::Verified { .. }));
        put(&mut self.failures, host, phase.is_failure());
        if put(&mut self.shown, host, phase.shows()) {
            let count = self.shows.entry(self.wave_of(place)).or_insert(0);
            *count = if phase.shows() { *count + 1 } else { count.saturating_sub(1) };
        }
    }

    fn wave_of(&self, place: u32) -> u32 {
        u32::try_from(self.ends.partition_point(|end| *end <= place)).unwrap_or(u32::MAX)
    }

    /// First place of a wave and first behind it.
    pub(super) fn span(&self, wave: u32) -> std::ops::Range<u32> {
        let wave = wave as usize;
        let start = wave.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        start..self.ends.get(wave).copied().unwrap_or(start)
    }

    pub(super) fn host(&self, place: u32) -> Option<HostId> {
        self.order.get(place as usize).copied()
    }

    pub(super) fn place_of(&self, host: &HostId) -> Option<u32> {
        self.place.get(host).copied()
    }

    pub(super) fn waiting(&self) -> &Places {
        &self.waiting
    }

    pub(super) fn carriers(&self) -> &Places {
        &self.carriers
    }

    /// Whether every host of these places is settled or left.
    pub(super) fn is_settled(&self, places: std::ops::Range<u32>) -> bool {
        self.unsettled.range(places).next().is_none()
    }

    /// Hosts at work whose report is late.
    pub(super) fn overdue(&self, now: Timestamp) -> impl Iterator<Item = HostId> + '_ {
        self.working.iter().take_while(move |(deadline, _)| *deadline < now).map(|(_, host)| *host)
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.working.is_empty()
    }

    /// Hosts at work.
    pub(super) fn at_work(&self) -> impl Iterator<Item = HostId> + '_ {
        self.deadline.keys().copied()
    }

    pub(super) fn working(&self) -> usize {
        self.working.len()
    }

    pub(super) fn is_working(&self, host: &HostId) -> bool {
        self.deadline.contains_key(host)
    }

    pub(super) fn out(&self) -> &OrdSet<HostId> {
        &self.out
    }

    pub(super) fn out_by_zone(&self) -> &BTreeMap<String, u32> {
        &self.out_by_zone
    }

    pub(super) fn clean(&self) -> u64 {
        self.clean.len() as u64
    }

    pub(super) fn failures(&self) -> &OrdSet<HostId> {
        &self.failures
    }

    /// Hosts of a wave that say something about the change.
    pub(super) fn shown_in(&self, wave: u32) -> u32 {
        self.shows.get(&wave).copied().unwrap_or(0)
    }
}
