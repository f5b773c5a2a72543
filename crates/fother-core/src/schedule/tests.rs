//! Schedules through restarts, daylight saving and deferrals: laws first, then cases.

use super::*;
use crate::{
    event::{Data, Event},
    policy::Schedule,
};
use proptest::prelude::*;

const HOUR: Duration = Duration::from_secs(3_600);

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn policy(rule: &str, zone: &str) -> Policy {
    let schedule = Schedule {
        group: "web".to_owned(),
        at: rule.to_owned(),
        timezone: zone.to_owned(),
        notice_s: None,
        owners: BTreeSet::new(),
        defer: None,
    };
    Policy { schedule: BTreeMap::from([("weekly".to_owned(), schedule)]), ..Policy::default() }
}

/// A server that sleeps and wakes: folds what it said, and ends each moment at once.
fn lives(policy: &Policy, wakes: &[Timestamp]) -> Vec<(Timestamp, u32)> {
    let (mut log, mut begun) = (Vec::new(), Vec::new());
    for now in wakes {
        // Each time anew from the log: nothing is remembered elsewhere.
        let mut state = State::default();
        log.iter().for_each(|event| state.fold(event));
        for _ in 0..3 {
            let data = match step(policy, &state, "weekly", *now) {
                Step::Set => Data::ScheduleSet {
                    schedule: "weekly".to_owned(),
                    group: "web".to_owned(),
                    at: policy.schedule["weekly"].at.clone(),
                    timezone: policy.schedule["weekly"].timezone.clone(),
                },
                Step::Begin { occurrence, missed } => {
                    begun.push((occurrence, missed));
                    Data::ScheduleDue { schedule: "weekly".to_owned(), occurrence, missed, asked: false }
                }
                Step::Wait | Step::Ask => break,
                other => panic!("{other:?}"),
            };
            let event = Event { v: 1, seq: log.len() as u64, at: *now, actor: "server".to_owned(), data };
            state.fold(&event);
            log.push(event);
        }
    }
    begun
}

proptest! {
    #[test]
    fn whatever_a_server_sleeps_through_each_moment_is_drafted_once_or_stood_for(
        gaps in prop::collection::vec(1_u64..40 * 3_600, 1..80),
        zone in prop::sample::select(vec!["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Tehran", "UTC", "Africa/Cairo"]),
        rule in prop::sample::select(vec!["FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "FREQ=DAILY;BYHOUR=0,1,2,3;BYMINUTE=0,30", "FREQ=WEEKLY;BYDAY=SU,TU;BYHOUR=2", "FREQ=MONTHLY;BYDAY=-1SU;BYHOUR=1"]),
        start in 0_u64..1_460,
    ) {
        let policy = policy(rule, zone);
        let begin = Timestamp(at("2024-01-01T00:00:00Z").ms() + start * 86_400_000);
        let mut now = begin;
        let wakes: Vec<Timestamp> = std::iter::once(begin).chain(gaps.iter().map(|gap| { now = now + Duration::from_secs(*gap); now })).collect();
        let begun = lives(&policy, &wakes);
        let all = policy.schedule["weekly"].occurrences(begin, now);
        // Neither skipped nor doubled: those that begun and those that they stand for are all there are, in order.
        let stood: usize = begun.iter().map(|(_, missed)| *missed as usize + 1).sum();
        prop_assert_eq!(stood, all.len());
        prop_assert!(begun.windows(2).all(|pair| pair[0].0 < pair[1].0));
        prop_assert!(begun.iter().all(|(occurrence, _)| all.contains(occurrence)));
    }

    #[test]
    fn a_rollout_never_begins_without_its_notice_nor_outside_of_an_opening_nor_before_it_is_put_off_to(
        gaps in prop::collection::vec(1_u64..20 * 3_600, 1..60),
        notice_h in 0_u64..72,
        length_h in 1_u64..12,
        put_off in prop::option::of((0_usize..60, 1_u64..200)),
    ) {
        let begin = at("2026-11-03T09:00:00Z");
        let openings: Vec<Interval> = (0..60).map(|day| {
            let start = begin + HOUR * (24 * day + 5);
            Interval { start, end: start + HOUR * (length_h as u32), last_start: start + HOUR * (length_h as u32) - HOUR / 2 }
        }).collect();
        let notice = HOUR * (notice_h as u32);
        let mut run = Run { stage: Stage::Covered, ..Run::new(begin, 0, false, begin) };
        let mut now = begin;
        for (wake, gap) in gaps.iter().enumerate() {
            now = now + Duration::from_secs(*gap);
            if let Some((when, hours)) = put_off && when == wake {
                run.deferred.push(Deferred { until: now + HOUR * (hours as u32), reason: String::new(), person: String::new(), at: now });
            }
            for _ in 0..2 {
                match lead(&run, notice, &openings, now) {
                    Lead::Wait(then) => { prop_assert!(then > now); break; }
                    Lead::Notice(opens) => {
                        prop_assert!(opens.since(now) >= notice, "{opens} is told at {now}");
                        run.notice = Some(Notice { opens, at: now, told: None });
                    }
                    Lead::Start => {
                        let given = run.notice.as_ref().unwrap();
                        prop_assert!(now.since(given.at) >= notice);
                        prop_assert!(openings.iter().any(|one| one.start <= now && now < one.last_start), "{now}");
                        prop_assert!(run.deferred_until().is_none_or(|until| now >= until));
                        return Ok(());
                    }
                    Lead::Never => { prop_assert!(openings.last().unwrap().last_start.since(now) < notice + HOUR * 24); break; }
                }
            }
        }
    }
}

fn covered(since: &str) -> Run {
    Run { stage: Stage::Covered, ..Run::new(at(since), 0, false, at(since)) }
}

fn sunday(day: u64) -> Interval {
    let start = Timestamp(at("2026-11-01T01:00:00Z").ms() + day * 7 * 86_400_000);
    Interval { start, end: start + HOUR * 3, last_start: start + HOUR * 2 }
}

#[test]
fn owners_know_two_days_before_the_window_opens_and_a_deferral_takes_a_notice_of_its_own() {
    let openings = [sunday(0), sunday(1), sunday(2)];
    let (notice, mut run) = (HOUR * 48, covered("2026-11-03T09:00:00Z"));
    let opens = openings[1].start;
    assert_eq!(lead(&run, notice, &openings, at("2026-11-05T00:00:00Z")), Lead::Wait(opens - notice - NOTICE_SLACK));
    let told = opens - notice - NOTICE_SLACK;
    assert_eq!(lead(&run, notice, &openings, told), Lead::Notice(opens));
    run.notice = Some(Notice { opens, at: told, told: None });
    assert_eq!(lead(&run, notice, &openings, told), Lead::Wait(opens));
    assert_eq!(lead(&run, notice, &openings, opens), Lead::Start);
    run.deferred.push(Deferred { until: opens + HOUR * 24, reason: "a launch".to_owned(), person: "anna".to_owned(), at: told });
    assert_eq!(lead(&run, notice, &openings, opens), Lead::Wait(openings[2].start - notice - NOTICE_SLACK));
}

#[test]
fn a_server_that_slept_through_the_time_of_notice_takes_the_next_opening() {
    let openings = [sunday(1), sunday(2)];
    let run = covered("2026-11-03T09:00:00Z");
    let late = openings[0].start - HOUR * 10;
    assert_eq!(opening(&run, HOUR * 48, &openings, late), Some(openings[1].start));
    assert_eq!(lead(&run, HOUR * 48, &openings, openings[1].start), Lead::Never);
}

#[test]
fn calendar_and_signed_openings_meet() {
    let (one, until) = (sunday(1), at("2026-12-01T00:00:00Z"));
    assert_eq!(both_open(&[], &[one], at("2026-11-01T00:00:00Z"), until), [one]);
    assert_eq!(both_open(&[one], &[], at("2026-11-01T00:00:00Z"), until), [one]);
    assert_eq!(both_open(&[one], &[sunday(2)], at("2026-11-01T00:00:00Z"), until), []);
    let cut = Interval { start: one.start + HOUR, ..one };
    assert_eq!(both_open(&[one], &[cut], at("2026-11-01T00:00:00Z"), until), [cut]);
    assert!(both_open(&[], &[], at("2026-11-01T00:00:00Z"), until)[0].last_start == until);
}

/// A log up to a covered plan, and what comes on top.
fn after(more: Vec<Data>) -> State {
    let (digest, change) = (Digest([1; 32]), ChangeId::new(1, [1; 10]));
    let begin = at("2026-11-03T08:00:00Z");
    let schedule = || "weekly".to_owned();
    let mut all = vec![
        Data::ScheduleSet {
            schedule: schedule(),
            group: "web".to_owned(),
            at: "FREQ=DAILY;BYHOUR=9".to_owned(),
            timezone: "UTC".to_owned(),
        },
        Data::StandingSubmitted {
            standing: digest,
            name: "web".to_owned(),
            group: "web".to_owned(),
            hosts: 1,
            author: "ann".to_owned(),
            signature: String::new(),
            from: begin,
            expires: begin + HOUR * 2_000,
            needed: 1,
            approvers: BTreeSet::new(),
        },
        Data::ScheduleDue { schedule: schedule(), occurrence: begin + HOUR, missed: 0, asked: false },
        Data::ChangeCovered { change, plan: digest, standing: digest, schedule: schedule(), occurrence: begin + HOUR },
    ];
    all.extend(more);
    let mut state = State::default();
    for (seq, data) in (0_u64..).zip(all) {
        state.fold(&Event { v: 1, seq, at: begin + HOUR * u32::try_from(seq).unwrap(), actor: "server".to_owned(), data });
    }
    state
}

#[test]
fn what_owners_have_notice_of_is_not_taken_back_by_the_next_moment() {
    let policy = policy("FREQ=DAILY;BYHOUR=9", "UTC");
    let (change, next) = (ChangeId::new(1, [1; 10]), at("2026-11-04T09:00:00Z"));
    assert_eq!(
        step(&policy, &after(Vec::new()), "weekly", next),
        Step::Begin { occurrence: next, missed: 0 },
        "nobody was promised anything"
    );
    let notice = Data::NoticeGiven {
        schedule: "weekly".to_owned(),
        occurrence: at("2026-11-03T09:00:00Z"),
        change,
        opens: at("2026-11-08T01:00:00Z"),
        owners: BTreeSet::new(),
    };
    assert_eq!(step(&policy, &after(vec![notice.clone()]), "weekly", next), Step::Lead(change));
    let rejected = Data::ChangeRejected { change, reason: "no".to_owned() };
    assert_eq!(step(&policy, &after(vec![notice, rejected]), "weekly", next), Step::Begin { occurrence: next, missed: 0 });
}
