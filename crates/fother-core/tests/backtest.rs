//! Back-tests do not look ahead, and count what they say.

use fother_core::{
    advisory::Day,
    cvss::Score,
    rank::{
        backtest::{Entry, History, Listed, Order, Share, first, replay},
        points::Table,
    },
};
use std::collections::BTreeMap;

const DAY: Day = Day(20_000);

fn entry(epss: u32, score: u8) -> Entry {
    let vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H".to_owned();
    Entry { published: Day(19_000), score: Some(Score(score)), vector, epss: BTreeMap::from([(Day(19_990), epss)]), ..Entry::default() }
}

fn history() -> History {
    let mut history = History { lists_of: DAY, kev_until: Day(20_400), ..History::default() };
    for number in 0..200_u32 {
        history.entries.insert(format!("CVE-2023-{:04}", 1000 + number), entry(number * 1_000, 98));
    }
    history
}

#[test]
fn a_planted_future_fact_changes_no_ranking() {
    let (before, table) = (history(), Table::built_in().unwrap());
    let (view, order) = (before.at(DAY, false, false), first(&before.at(DAY, false, false), &table, 500));
    let mut planted = before.clone();
    let one = planted.entries.get_mut("CVE-2023-1003").unwrap();
    one.epss.insert(Day(DAY.0 + 1), 999_999);
    one.kev_added = Some(Day(DAY.0 + 1));
    planted.entries.insert("CVE-2023-9999".into(), Entry { published: Day(DAY.0 + 1), ..entry(999_999, 100) });
    assert_eq!(planted.at(DAY, false, false).known(), view.known());
    assert_eq!(first(&planted.at(DAY, false, false), &table, 500), order);
    // The test can fail: a day later, all of it counts.
    assert_ne!(planted.at(Day(DAY.0 + 1), false, false).known(), view.known());
    assert_eq!(planted.exploited(DAY, Day(20_400)).len(), 1);
}

#[test]
fn lists_of_a_later_day_are_not_believed_unless_asked_for() {
    let mut later = history();
    later.lists_of = Day(DAY.0 + 1);
    for entry in later.entries.values_mut() {
        entry.listed = Listed { metasploit: true, exploited: true, ..Listed::default() };
    }
    assert!(later.at(DAY, false, false).known().iter().all(|known| !known.signals.metasploit && !known.signals.exploited));
    assert!(later.at(DAY, false, true).known().iter().all(|known| known.signals.metasploit && known.signals.exploited));
    assert!(later.at(Day(DAY.0 + 1), false, false).known().iter().all(|known| known.signals.metasploit));
}

#[test]
fn what_was_in_the_catalogue_already_is_not_to_be_predicted() {
    let mut history = history();
    history.entries.get_mut("CVE-2023-1001").unwrap().kev_added = Some(DAY);
    let view = history.at(DAY, false, false);
    assert_eq!(view.known().len(), 199);
    assert_eq!(view.left_out().get("in CISA's catalogue already"), Some(&1));
    assert!(history.exploited(DAY, Day(20_400)).is_empty());
}

#[test]
fn ties_count_by_chance_and_not_by_the_order_of_names() {
    let mut history = history();
    history.entries.get_mut("CVE-2023-1000").unwrap().kev_added = Some(Day(DAY.0 + 5));
    let exploited = history.exploited(DAY, Day(20_400));
    let (view, table) = (history.at(DAY, false, false), Table::built_in().unwrap());
    let cvss = replay(&view, Order::Cvss, &table, &exploited).reach(10.0);
    assert_eq!((cvss.fixed, cvss.coverage.unwrap().percent.round()), (20, 10.0));
    // The least likely one by EPSS is only met at the end.
    let epss = replay(&view, Order::Epss, &table, &exploited);
    assert_eq!((epss.reach(99.0).hits, epss.reach(100.0).hits), (0.0, 1.0));
}

#[test]
fn intervals_are_wilsons() {
    let share = Share::of(56.0, 125).unwrap();
    assert_eq!(format!("{:.1} {:.1} {:.1}", share.percent, share.low, share.high), "44.8 36.4 53.5");
    assert_eq!(Share::of(0.0, 0), None);
    assert!(Share::of(0.0, 10).unwrap().low.abs() < 1e-9);
}

#[test]
fn the_interval_of_a_difference_is_the_same_each_time() {
    let mut history = history();
    for number in (1000..1200).step_by(7) {
        history.entries.get_mut(&format!("CVE-2023-{number}")).unwrap().kev_added = Some(Day(DAY.0 + 1));
    }
    let exploited = history.exploited(DAY, Day(20_400));
    let (view, table) = (history.at(DAY, false, false), Table::built_in().unwrap());
    let (mine, theirs) = (replay(&view, Order::Epss, &table, &exploited), replay(&view, Order::Cvss, &table, &exploited));
    let ahead = mine.ahead_of(&theirs, 20.0).unwrap();
    assert_eq!(mine.ahead_of(&theirs, 20.0), Some(ahead));
    assert!(ahead.low <= ahead.percent && ahead.percent <= ahead.high, "{ahead:?}");
}
