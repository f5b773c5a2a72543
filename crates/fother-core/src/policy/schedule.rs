//! Schedules: again and again a plan is drafted for a group by itself, rehearsed, and rolled out where a standing approval covers it. Pure.

use crate::{
    Timestamp,
    window::{self, ALWAYS},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, time::Duration};

/// Longest notice, in seconds.
pub const NOTICE_S_MAX: u32 = 30 * 86_400;
/// Longest deferral, in seconds.
pub const DEFER_S_MAX: u32 = 90 * 86_400;
/// Most deferrals of one plan.
pub const DEFER_TIMES_MAX: u32 = 10;
/// Most days that are looked back for occurrences that were missed.
const BACK_DAYS_MAX: u32 = window::DAYS_MAX;

const DAY: Duration = Duration::from_secs(86_400);

/// When plans of a group draft themselves, and who is told before they are rolled out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Group that is planned for.
    pub group: String,
    /// When: an RFC 5545 recurrence, as windows have it.
    pub at: String,
    /// IANA name of the time zone.
    pub timezone: String,
    /// How long before a rollout begins its owners are told, in seconds; written `notice = "48h"`, too.
    #[serde(default, alias = "notice", deserialize_with = "super::span::maybe", skip_serializing_if = "Option::is_none")]
    pub notice_s: Option<u32>,
    /// People who are told and may defer, as the approvers file names them; where nobody is named, everybody there may.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub owners: BTreeSet<String>,
    /// How far owners may put a rollout off; not at all if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defer: Option<Defer>,
}

/// How far owners may put a rollout off; never beyond the day by which one of its updates is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Defer {
    /// How often one plan may be put off.
    pub times: u32,
    /// How far after the moment at which it would have begun first, in seconds; written `by = "7d"`, too.
    #[serde(alias = "by", deserialize_with = "super::span::seconds")]
    pub by_s: u32,
}

impl Schedule {
    /// How long before a rollout its owners are told.
    #[must_use]
    pub fn notice(&self) -> Duration {
        Duration::from_secs(self.notice_s.unwrap_or(0).into())
    }

    /// Everything that is wrong with it in itself: the key and what is wrong.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.at == ALWAYS {
            found.push(("at", "`always` is no recurrence: say when, such as FREQ=WEEKLY;BYDAY=TU;BYHOUR=9".to_owned()));
        } else if let Err(error) = window::occurrences(&self.timezone, &self.at, Timestamp(0), Timestamp(0) + DAY) {
            let key = if matches!(error, window::Error::Zone { .. }) { "timezone" } else { "at" };
            // What is wrong with a recurrence is told as of a window's `start`.
            found.push((key, error.to_string().trim_start_matches("start: ").to_owned()));
        }
        if self.notice_s.is_some_and(|notice| notice > NOTICE_S_MAX) {
            found.push(("notice_s", format!("at most {} days", NOTICE_S_MAX / 86_400)));
        }
        if let Some(defer) = self.defer {
            if defer.times == 0 || defer.times > DEFER_TIMES_MAX {
                found.push(("defer.times", format!("1 to {DEFER_TIMES_MAX}; leave `defer` out where nobody may defer")));
            }
            if defer.by_s == 0 || defer.by_s > DEFER_S_MAX {
                found.push(("defer.by_s", format!("more than nothing, and at most {} days", DEFER_S_MAX / 86_400)));
            }
        }
        found
    }

    /// Its moments after `from` and up to `to`, in order; none where it cannot be worked out, which `policy check` refuses.
    #[must_use]
    pub fn occurrences(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        window::occurrences(&self.timezone, &self.at, from, to).unwrap_or_default()
    }

    /// The newest moment after `since` that has come by `now`, and how many older ones after `since` it stands for: nothing is drafted twice, and one
    /// draft makes up for all that a server slept through.
    #[must_use]
    pub fn due(&self, since: Timestamp, now: Timestamp) -> Option<(Timestamp, u32)> {
        let from = since.max(now - DAY * BACK_DAYS_MAX);
        let found = self.occurrences(from, now);
        let newest = found.last()?;
        Some((*newest, u32::try_from(found.len() - 1).unwrap_or(u32::MAX)))
    }

    /// Its next moment after `now`.
    #[must_use]
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let mut days = 8;
        loop {
            match self.occurrences(now, now + DAY * days).first() {
                Some(next) => return Some(*next),
                None if days >= BACK_DAYS_MAX => return None,
                None => days = (days * 4).min(BACK_DAYS_MAX),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn schedule(rule: &str) -> Schedule {
        toml::from_str(&format!("group = \"web\"\nat = \"{rule}\"\ntimezone = \"Europe/Berlin\"\nnotice = \"48h\"")).unwrap()
    }

    #[test]
    fn the_newest_moment_that_has_come_is_due_once() {
        let weekly = schedule("FREQ=WEEKLY;BYDAY=TU;BYHOUR=9");
        let since = at("2026-11-01T00:00:00Z");
        assert_eq!(weekly.due(since, at("2026-11-03T07:59:59Z")), None);
        let first = at("2026-11-03T08:00:00Z");
        assert_eq!(weekly.due(since, first), Some((first, 0)));
        assert_eq!(weekly.due(first, at("2026-11-10T07:59:59Z")), None, "not a second time");
        assert_eq!(
            weekly.due(since, at("2026-11-18T00:00:00Z")),
            Some((at("2026-11-17T08:00:00Z"), 2)),
            "one stands for those slept through"
        );
        assert_eq!(weekly.next(first), Some(at("2026-11-10T08:00:00Z")));
    }

    #[test]
    fn a_moment_in_the_spring_gap_is_its_end_and_one_that_comes_twice_is_the_first() {
        let nightly = schedule("FREQ=DAILY;BYHOUR=2;BYMINUTE=30");
        assert_eq!(nightly.next(at("2026-03-28T12:00:00Z")), Some(at("2026-03-29T01:00:00Z")));
        let autumn = nightly.occurrences(at("2026-10-24T12:00:00Z"), at("2026-10-26T12:00:00Z"));
        assert_eq!(autumn, [at("2026-10-25T00:30:00Z"), at("2026-10-26T01:30:00Z")]);
        let half_hours = schedule("FREQ=DAILY;BYHOUR=2;BYMINUTE=0,30");
        assert_eq!(
            half_hours.occurrences(at("2026-03-28T12:00:00Z"), at("2026-03-29T12:00:00Z")),
            [at("2026-03-29T01:00:00Z")],
            "both in the gap are one"
        );
    }
}
