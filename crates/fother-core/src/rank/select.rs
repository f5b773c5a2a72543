//! Which updates of a queue a plan takes: what is due soon, or what removes most of the risk; the rest is named with its reason. Pure.

use super::{Queue, Update, percent};
use serde::Serialize;
use std::{collections::BTreeMap, str::FromStr};

/// Longest time ahead, in days.
const DAYS_MAX: u32 = 3_660;

/// What a plan is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Everything that is due within so many days.
    DueWithin(u32),
    /// The fewest from the front of the queue that remove this share of the risk, in percent.
    Risk(u32),
}

/// What is taken and what is not, by source package, each with the reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Selected {
    /// Taken.
    pub taken: BTreeMap<String, String>,
    /// Left out.
    pub left: BTreeMap<String, String>,
}

/// A number of days: `14d`, `2w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Days(pub u32);

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = text.strip_suffix('d').map(|n| (n, 1)).or_else(|| text.strip_suffix('w').map(|n| (n, 7))).unwrap_or((text, 1));
        let days = number.parse::<u32>().ok().and_then(|n| n.checked_mul(unit)).filter(|days| *days <= DAYS_MAX);
        days.map(Self).ok_or_else(|| format!("`{text}` is no number of days such as 14d or 2w, up to {DAYS_MAX}"))
    }
}

/// A share: `90%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percent(pub u32);

impl FromStr for Percent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).parse::<u32>().ok().filter(|n| (1..=100).contains(n));
        number.map(Self).ok_or_else(|| format!("`{text}` is no share such as 90%"))
    }
}

/// Chooses. A source of which one update is taken is taken whole.
#[must_use]
pub fn select(queue: &Queue, wish: Wish) -> Selected {
    let mut out = Selected::default();
    let total: u64 = queue.updates.iter().map(|update| update.risk_millionths).sum();
    let mut removed = 0_u64;
    for update in &queue.updates {
        let (take, why) = match wish {
            Wish::DueWithin(days) => due(update, days),
            Wish::Risk(share) => {
                // Compared before it is added: the one that reaches the share is taken.
                let enough = removed.saturating_mul(100) >= total.saturating_mul(u64::from(share));
                let take = !enough && update.risk_millionths > 0;
                if take {
                    removed = removed.saturating_add(update.risk_millionths);
                }
                (take, risk(update, take, share))
            }
        };
        let source = update.source.clone();
        if take {
            out.taken.insert(source, why);
        } else {
            out.left.insert(source, why);
        }
    }
    out.left.retain(|source, _| !out.taken.contains_key(source));
    out
}

fn due(update: &Update, days: u32) -> (bool, String) {
    match &update.deadline {
        None => (false, "no deadline".to_owned()),
        Some(deadline) => match deadline.days_left {
            None => (false, format!("due with the next upgrade of the system ({})", deadline.pack)),
            Some(left) => {
                let for_whom = format!("due {} for {} ({})", deadline.day, deadline.id, deadline.pack);
                let take = left <= i64::from(days);
                (take, if take { for_whom } else { format!("{for_whom}, later than within {days} days") })
            }
        },
    }
}

fn risk(update: &Update, take: bool, share: u32) -> String {
    let removes = format!("removes {} of expected risk", percent(update.risk_millionths));
    if take {
        removes
    } else if update.risk_millionths == 0 {
        "closes no known vulnerability".to_owned()
    } else {
        format!("{removes}; what comes before it removes {share} % of all of it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{advisory::Day, assess::host::Installable, rank::Deadline};

    fn update(source: &str, risk: u64, left: Option<i64>) -> Update {
        let deadline = left.map(|left| Deadline {
            day: Day(20_000),
            days_left: Some(left),
            what: String::new(),
            pack: "pack".into(),
            id: "CVE-2026-0001".into(),
            counts_from: Day(19_000),
            missing: Vec::new(),
        });
        Update {
            source: source.into(),
            from: "1".into(),
            to: Some("2".into()),
            packages: Vec::new(),
            closes: Vec::new(),
            installable: Installable::Unknown,
            reboot: false,
            restart: false,
            risk_millionths: risk,
            exploited: 0,
            in_use: crate::assess::in_use::InUse::NotLooked,
            in_use_because: String::new(),
            reasons: Vec::new(),
            deadline,
        }
    }

    fn queue() -> Queue {
        let updates = vec![update("a", 800, Some(-3)), update("b", 150, Some(14)), update("c", 50, Some(15)), update("d", 0, None)];
        Queue { updates, without_fix: BTreeMap::new() }
    }

    #[test]
    fn everything_due_within_14_days_is_taken_and_the_rest_named_with_its_reason() {
        let chosen = select(&queue(), Wish::DueWithin(14));
        assert_eq!(chosen.taken.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(chosen.left["c"].contains("later than within 14 days"), "{:?}", chosen.left);
        assert_eq!(chosen.left["d"], "no deadline");
    }

    #[test]
    fn what_removes_90_percent_of_the_risk_is_the_shortest_front_of_the_queue() {
        let chosen = select(&queue(), Wish::Risk(90));
        assert_eq!(chosen.taken.keys().collect::<Vec<_>>(), ["a", "b"], "80 % is not enough, 95 % is");
        assert_eq!(select(&queue(), Wish::Risk(80)).taken.len(), 1);
        assert_eq!(select(&queue(), Wish::Risk(100)).left["d"], "closes no known vulnerability");
    }

    #[test]
    fn days_and_shares_are_read() {
        assert_eq!("14d".parse(), Ok(Days(14)));
        assert_eq!("2w".parse(), Ok(Days(14)));
        assert_eq!("90%".parse(), Ok(Percent(90)));
        for bad in ["", "d", "-1d", "99999d", "4294967295w"] {
            assert!(bad.parse::<Days>().is_err(), "{bad}");
        }
        assert!("0%".parse::<Percent>().is_err() && "101%".parse::<Percent>().is_err());
    }
}
