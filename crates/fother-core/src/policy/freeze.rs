//! Freezes: times in which nothing starts, once or again and again, for some groups or all. A freeze beats a window. Pure.

use crate::{
    Timestamp,
    window::{self, Interval, Window},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A time in which nothing starts: `from` and `to`, or a recurrence as windows have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// Why, for everybody whom it stops.
    pub reason: String,
    /// Groups that it stops; all if left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// First moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// First moment after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
    /// IANA name of the time zone of a recurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// An RFC 5545 recurrence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// How long each lasts, in seconds; written `duration = "2d"`, too.
    #[serde(default, alias = "duration", deserialize_with = "super::span::maybe", skip_serializing_if = "Option::is_none")]
    pub duration_s: Option<u32>,
}

/// When a freeze is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// Once.
    Once(Timestamp, Timestamp),
    /// Again and again.
    Recurring(Window),
}

impl Freeze {
    /// When it is.
    ///
    /// # Errors
    /// Neither an interval nor a recurrence, or both, or one that cannot be.
    pub fn when(&self) -> Result<When, String> {
        let recurs = self.timezone.is_some() || self.start.is_some() || self.duration_s.is_some();
        match (self.from, self.to, &self.timezone, &self.start, self.duration_s) {
            (Some(from), Some(to), ..) if !recurs => {
                if from < to {
                    Ok(When::Once(from, to))
                } else {
                    Err(format!("it would end at {to}, before it begins"))
                }
            }
            (None, None, Some(timezone), Some(start), Some(duration_s)) => {
                let window = Window { timezone: timezone.clone(), start: start.clone(), duration_s, cutoff_s: 0 };
                if start == window::ALWAYS {
                    return Err("`always` would stop everything for ever: give an interval or a recurrence".to_owned());
                }
                window.validate().map_err(|error| error.to_string())?;
                Ok(When::Recurring(window))
            }
            _ => Err("give either `from` and `to`, or `timezone`, `start` and `duration`".to_owned()),
        }
    }

    /// Whether it stops this group.
    #[must_use]
    pub fn stops(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.contains(group)
    }

    /// When it ends, if it is on at `now`. What cannot be worked out is on.
    #[must_use]
    pub fn on(&self, now: Timestamp) -> Option<Timestamp> {
        match self.when() {
            Ok(When::Once(from, to)) => (from <= now && now < to).then_some(to),
            Ok(When::Recurring(window)) => match window::intervals(&window, now, 1) {
                Ok(found) => found.iter().find(|one| one.start <= now && now < one.end).map(|one| one.end),
                Err(window::Error::NeverOpens { .. }) => None,
                Err(_) => Some(Timestamp(u64::MAX)),
            },
            Err(_) => Some(Timestamp(u64::MAX)),
        }
    }

    /// Its intervals that overlap the `days` days from `from` on.
    #[must_use]
    pub fn intervals(&self, from: Timestamp, days: u32) -> Vec<Interval> {
        let to = from + std::time::Duration::from_secs(u64::from(days) * 86_400);
        match self.when() {
            Ok(When::Once(start, end)) if start < to && end > from => vec![Interval { start, end, last_start: end }],
            Ok(When::Once(..)) => Vec::new(),
            Ok(When::Recurring(window)) => match window::intervals(&window, from, days) {
                Ok(found) => found,
                Err(window::Error::NeverOpens { .. }) => Vec::new(),
                Err(_) => vec![Interval { start: from, end: to, last_start: to }],
            },
            Err(_) => vec![Interval { start: from, end: to, last_start: to }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn freeze(toml: &str) -> Freeze {
        toml::from_str(&format!("reason = \"year end\"\n{toml}")).unwrap()
    }

    #[test]
    fn an_interval_is_on_from_its_first_moment_until_before_its_last() {
        let freeze = freeze("from = \"2026-12-20T18:00:00+01:00\"\nto = \"2027-01-04T06:00:00+01:00\"");
        let end = at("2027-01-04T05:00:00Z");
        for (time, on) in [
            ("2026-12-20T16:59:59Z", None),
            ("2026-12-20T17:00:00Z", Some(end)),
            ("2027-01-04T04:59:59Z", Some(end)),
            ("2027-01-04T05:00:00Z", None),
        ] {
            assert_eq!(freeze.on(at(time)), on, "{time}");
        }
    }

    #[test]
    fn a_recurring_freeze_is_on_each_time() {
        let freeze = freeze("timezone = \"Europe/Berlin\"\nstart = \"FREQ=MONTHLY;BYMONTHDAY=-1\"\nduration = \"1d\"");
        assert_eq!(freeze.on(at("2026-11-29T22:59:00Z")), None);
        assert_eq!(freeze.on(at("2026-11-30T12:00:00Z")), Some(at("2026-11-30T23:00:00Z")));
        assert_eq!(freeze.on(at("2026-12-31T12:00:00Z")), Some(at("2026-12-31T23:00:00Z")));
        assert_eq!(freeze.intervals(at("2026-11-01T00:00:00Z"), 59).len(), 1);
        assert_eq!(freeze.intervals(at("2026-11-01T00:00:00Z"), 60).len(), 2);
    }

    #[test]
    fn what_cannot_be_worked_out_is_on() {
        let mut freeze = freeze("from = \"2026-12-20T18:00:00Z\"");
        assert!(freeze.when().is_err());
        assert!(freeze.on(at("2020-01-01T00:00:00Z")).is_some());
        (freeze.to, freeze.start) = (Some(at("2026-12-21T00:00:00Z")), Some("FREQ=DAILY".to_owned()));
        assert!(freeze.when().is_err());
    }
}
