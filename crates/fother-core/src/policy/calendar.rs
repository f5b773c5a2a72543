//! When hosts of a group may begin: its window without the freezes that stop it, in UTC. Pure.

use super::{Policy, admission};
use crate::{
    Timestamp,
    window::{self, ALWAYS, Interval, Window},
};
/// Why there is no calendar.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The group is not there any more.
    #[error("there is no group `{0}` in the policy")]
    NoGroup(String),
    /// The window is not there any more.
    #[error("there is no window `{0}` in the policy")]
    NoWindow(String),
    /// The path is not there, or not for this group.
    #[error("there is no emergency path `{0}` for this group in the policy")]
    NoEmergency(String),
    /// The window has no times.
    #[error("window {window}: {why}")]
    Window {
        /// Which.
        window: String,
        /// Why.
        why: window::Error,
    },
    /// Freezes leave nothing of it.
    #[error("within {days} days freezes leave nothing of window {window}: {}", .freezes.join(", "))]
    Frozen {
        /// Which.
        window: String,
        /// How many days were looked at.
        days: u32,
        /// The freezes, by name.
        freezes: Vec<String>,
    },
}

/// When hosts of `group` may begin within `days` days from `now`, in order; empty only where nothing restricts it.
///
/// # Errors
/// Where it may never begin, or the policy does not say.
pub fn openings(policy: &Policy, group: &str, emergency: Option<&str>, now: Timestamp, days: u32) -> Result<Vec<Interval>, Error> {
    let known = policy.group.get(group).ok_or_else(|| Error::NoGroup(group.to_owned()))?;
    let path = emergency.map(|name| {
        let path = policy.emergency.get(name).filter(|path| path.serves(group));
        path.ok_or_else(|| Error::NoEmergency(name.to_owned()))
    });
    let name = path.transpose()?.and_then(|path| path.window.as_ref()).unwrap_or(&known.window);
    let window =
        if name == ALWAYS { Window::always() } else { policy.window.get(name).cloned().ok_or_else(|| Error::NoWindow(name.clone()))? };
    let open = window::intervals(&window, now, days).map_err(|why| Error::Window { window: name.clone(), why })?;
    let broken = admission::broken(policy, group, emergency);
    let stopping = || policy.freeze.iter().filter(|(name, freeze)| freeze.stops(group) && !broken.contains(*name));
    let frozen: Vec<Interval> = stopping().flat_map(|(_, freeze)| freeze.intervals(now, days)).collect();
    if frozen.is_empty() && name == ALWAYS {
        return Ok(Vec::new());
    }
    let left = without(&open, &frozen);
    if left.is_empty() {
        let freezes = stopping().map(|(name, _)| name.clone()).collect();
        return Err(Error::Frozen { window: name.clone(), days, freezes });
    }
    Ok(left)
}

/// Openings without the times that freezes take: work is over when one begins, and the cutoff comes before that, too.
#[must_use]
pub fn without(open: &[Interval], frozen: &[Interval]) -> Vec<Interval> {
    let mut left: Vec<Interval> = open.to_vec();
    for freeze in frozen {
        left = left.iter().flat_map(|one| around(one, freeze)).collect();
    }
    left
}

fn around(one: &Interval, freeze: &Interval) -> Vec<Interval> {
    if freeze.end <= one.start || freeze.start >= one.end {
        return vec![*one];
    }
    let cutoff = one.end.since(one.last_start);
    let before =
        (freeze.start > one.start).then(|| Interval { end: freeze.start, last_start: one.last_start.min(freeze.start - cutoff), ..*one });
    let after = (freeze.end < one.end).then_some(Interval { start: freeze.end, ..*one });
    [before, after].into_iter().flatten().filter(|piece| piece.start < piece.last_start).collect()
}

/// The next `count` openings of a window, however far they are, within [`window::DAYS_MAX`] days.
///
/// # Errors
/// As [`window::intervals`].
pub fn next(window: &Window, now: Timestamp, count: usize) -> Result<Vec<Interval>, window::Error> {
    let mut days = 30;
    loop {
        let found = window::intervals(window, now, days);
        match found {
            Ok(found) if found.len() >= count || days >= window::DAYS_MAX => return Ok(found.into_iter().take(count).collect()),
            Err(error @ window::Error::NeverOpens { .. }) if days >= window::DAYS_MAX => return Err(error),
            Ok(_) | Err(window::Error::NeverOpens { .. }) => days = (days * 3).min(window::DAYS_MAX),
            Err(other) => return Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64) -> Timestamp {
        Timestamp(hour * 3_600_000)
    }

    fn interval(start: u64, end: u64, last: u64) -> Interval {
        Interval { start: at(start), end: at(end), last_start: at(last) }
    }

    #[test]
    fn a_freeze_cuts_windows_and_the_cutoff_comes_before_it_too() {
        let open = [interval(10, 20, 18), interval(30, 40, 38)];
        for (freeze, left) in [
            (interval(0, 10, 0), vec![interval(10, 20, 18), interval(30, 40, 38)]),
            (interval(5, 12, 0), vec![interval(12, 20, 18), interval(30, 40, 38)]),
            (interval(15, 35, 0), vec![interval(10, 15, 13), interval(35, 40, 38)]),
            (interval(12, 14, 0), vec![interval(14, 20, 18), interval(30, 40, 38)]),
            (interval(10, 18, 0), vec![interval(30, 40, 38)]),
            (interval(20, 30, 0), vec![interval(10, 20, 18), interval(30, 40, 38)]),
            (interval(0, 100, 0), vec![]),
        ] {
            assert_eq!(without(&open, &[freeze]), left, "{freeze:?}");
        }
    }
}
