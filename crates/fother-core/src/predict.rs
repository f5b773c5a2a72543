//! How long a host will take: from its own history and its cohort's, with a margin; soak and reboot included. Pure.

use crate::{
    id::HostId,
    rollout::Rollout,
    state::{HISTORY_KEPT, State},
};
use serde::Serialize;
use std::time::Duration;

/// What is added for what never happens twice alike: half of the longest time seen.
const MARGIN_PERCENT: u64 = 50;
/// So many of a host's own times are enough to do without its cohort's.
const ENOUGH: usize = 3;
/// Where nothing is known: a transaction of some packages.
pub const UNKNOWN: Duration = Duration::from_secs(10 * 60);
/// Where a reboot is due and none was seen.
pub const REBOOT: Duration = Duration::from_secs(5 * 60);
/// Most members of a cohort that are looked at.
const MEMBERS_MAX: usize = 400;

/// Where a prediction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The host's own history.
    Host,
    /// Hosts with the same transaction.
    Cohort,
    /// Nothing is known.
    Unknown,
}

/// A predicted time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Prediction {
    /// The transaction, margin included.
    pub work_ms: u64,
    /// The reboot, if one is due.
    pub reboot_ms: u64,
    /// The soak.
    pub soak_ms: u64,
    /// Where the first comes from.
    pub basis: Basis,
}

impl Prediction {
    /// All of it.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_millis(self.work_ms.saturating_add(self.reboot_ms).saturating_add(self.soak_ms))
    }
}

/// The prediction out of times that were seen, in ms: the host's own, and its cohort's. The longest counts: a window is not to be missed.
#[must_use]
pub fn predict(own: &[u64], cohort: &[u64], soak_s: u32, reboot: Option<Duration>) -> Prediction {
    let longest = |times: &[u64]| times.iter().copied().max();
    let (seen, basis) = match (longest(own), longest(cohort)) {
        (Some(mine), Some(theirs)) if own.len() < ENOUGH && theirs > mine => (theirs, Basis::Cohort),
        (Some(mine), _) => (mine, Basis::Host),
        (None, Some(theirs)) => (theirs, Basis::Cohort),
        (None, None) => (0, Basis::Unknown),
    };
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let work_ms = match basis {
        Basis::Host | Basis::Cohort => seen.saturating_add(seen / 100 * MARGIN_PERCENT + seen % 100 * MARGIN_PERCENT / 100),
        Basis::Unknown => ms(UNKNOWN),
    };
    Prediction { work_ms, reboot_ms: reboot.map_or(0, ms), soak_ms: u64::from(soak_s) * 1_000, basis }
}

/// The prediction for one host of a rollout, as the log tells its history and that of its cohort.
#[must_use]
pub fn host(state: &State, rollout: &Rollout, host: HostId) -> Prediction {
    let of = |id: &HostId| state.hosts.get(id).map(|host| host.apply_ms.as_slice()).unwrap_or_default();
    let plan = state.plans.get(&rollout.plan);
    let cohort = plan.and_then(|plan| plan.cohorts.get(plan.cohort_of.get(&host)?)).map(|cohort| &cohort.hosts);
    let times = cohort.into_iter().flatten().filter(|id| **id != host).take(MEMBERS_MAX).filter_map(|id| of(id).last().copied());
    let times: Vec<u64> = times.collect();
    predict(of(&host), &times, rollout.setup.strategy.soak_s, None)
}

/// Takes one more time in; the oldest goes.
pub fn remember(times: &mut Vec<u64>, ms: u64) {
    times.push(ms);
    let extra = times.len().saturating_sub(HISTORY_KEPT);
    times.drain(..extra);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_counts_with_half_of_it_more() {
        let said = predict(&[60_000, 90_000, 70_000], &[500_000], 30, None);
        assert_eq!(said, Prediction { work_ms: 135_000, reboot_ms: 0, soak_ms: 30_000, basis: Basis::Host });
        assert_eq!(said.total(), Duration::from_secs(165));
    }

    #[test]
    fn a_host_with_little_history_is_as_slow_as_its_slowest_fellow() {
        assert_eq!(
            predict(&[60_000], &[100_000, 20_000], 0, None),
            Prediction { work_ms: 150_000, reboot_ms: 0, soak_ms: 0, basis: Basis::Cohort }
        );
        assert_eq!(predict(&[60_000], &[20_000], 0, None).basis, Basis::Host);
        assert_eq!(predict(&[], &[20_000], 0, None).work_ms, 30_000);
    }

    #[test]
    fn where_nothing_is_known_a_good_while_is_taken_and_a_reboot_comes_on_top() {
        let said = predict(&[], &[], 60, Some(REBOOT));
        assert_eq!((said.basis, said.total()), (Basis::Unknown, UNKNOWN + REBOOT + Duration::from_secs(60)));
        assert_eq!(predict(&[u64::MAX], &[], 1, None).total(), Duration::from_millis(u64::MAX));
    }

    #[test]
    fn only_the_last_times_are_kept() {
        let mut times = Vec::new();
        (0..20).for_each(|ms| remember(&mut times, ms));
        assert_eq!((times.len(), times.last()), (HISTORY_KEPT, Some(&19)));
    }
}
