//! The way back: host by host, the last one in first out, within the budget; windows do not hold it up.

use super::{Action, Around, End, Rollout, step::silent};
use crate::{Timestamp, id::HostId, mutant, mutant::Mutant};

impl Rollout {
    /// First wave that is put back: all of them where a person asked.
    fn back_from(&self) -> u32 {
        self.failed_gate.as_ref().map_or(0, |gate| gate.wave)
    }

    /// Whether any host carries the change, from this wave on.
    pub(super) fn carries_from(&self, wave: u32) -> bool {
        let start = self.counters.span(wave).start;
        self.counters.carriers().values().any(|zone| zone.range(start..).next().is_some())
    }

    pub(super) fn step_back(&self, around: &Around, now: Timestamp) -> Vec<Action> {
        let overdue = self.overdue(now);
        if !overdue.is_empty() {
            return self.block(overdue, silent());
        }
        let wave = self.back_from();
        let carries = self.carries_from(wave);
        if (!carries || mutant::is(Mutant::BackEndsEarly)) && !self.counters.is_busy() {
            return vec![Action::Finish(match &self.failed_gate {
                Some(gate) => End::Halted { why: gate.why.clone() },
                None => End::RolledBack,
            })];
        }
        if self.paused {
            return Vec::new();
        }
        let chosen = self.within_budget(self.counters.carriers(), self.counters.span(wave).start..u32::MAX, true, around);
        if chosen.is_empty() && !self.is_heard_at_work(around) {
            return self.held_up(self.counters.carriers(), around);
        }
        let undo = |host: HostId| Some(Action::Undo(host, self.hosts.get(&host)?.carried()?));
        chosen.into_iter().filter_map(undo).collect()
    }
}
