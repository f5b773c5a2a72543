//! What the world of a seed looks like before anything goes wrong: fleet, zones, budget, strategy, windows, people, network.

use crate::draw::Draw;
use fother_core::{
    Timestamp,
    policy::{Budget, GoBack, Per, Share, Strategy},
    window::Interval,
};

/// When every world begins.
pub const BEGIN: u64 = 1_700_000_000_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// A world before anything goes wrong.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Zone of each host.
    pub zones: Vec<u8>,
    /// Hosts that only the group `all` has, counted from the last.
    pub others: usize,
    /// Budget of every group.
    pub budget: Budget,
    /// Strategy of every group.
    pub strategy: Strategy,
    /// Openings; none: always.
    pub window: Vec<Interval>,
    /// Life of an approval in milliseconds.
    pub approval_ms: u64,
    /// Distinct people needed.
    pub approvals: u32,
    /// Until when faults begin, in milliseconds from the start; people heal what is left afterwards.
    pub busy_ms: u64,
    /// Of a hundred updates so many break hosts at all.
    pub bad_percent: u64,
    /// Of a hundred hosts that a bad update breaks so many.
    pub breaks_percent: u64,
    /// Milliseconds that a transaction takes.
    pub apply_ms: (u64, u64),
    /// Of a hundred messages so many are lost while the network is bad.
    pub loss_percent: u64,
    /// Seconds between the check-ins of a host that is awaited.
    pub beat_s: u64,
    /// Whether a second change follows the first.
    pub again: bool,
}

impl Setting {
    /// The world of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut draw = Draw::new(seed, 1);
        let hosts = match draw.below(2_000) {
            0 => 2_000,
            1..=19 => draw.within(60, 300),
            20..=150 => draw.within(15, 60),
            _ => draw.within(1, 14),
        };
        let zones = draw.within(1, 3);
        let window = window(&mut draw);
        let busy_ms = window.last().map_or(90 * MINUTE, |last| last.end.ms() - BEGIN);
        let size = hosts;
        Self {
            zones: (0..hosts).map(|_| u8::try_from(draw.below(zones)).unwrap_or(0)).collect(),
            others: if draw.percent(30) { usize::try_from(draw.below(1 + hosts / 2)).unwrap_or(0) } else { 0 },
            budget: budget(&mut draw, size),
            strategy: strategy(&mut draw),
            window,
            approval_ms: if draw.percent(20) { draw.within(HOUR, 3 * HOUR) } else { 14 * 24 * HOUR },
            approvals: if draw.percent(40) { 2 } else { 1 },
            busy_ms,
            bad_percent: if draw.percent(50) { 100 } else { 0 },
            breaks_percent: *draw.pick(&[2, 10, 20, 30, 100]).unwrap_or(&10),
            apply_ms: *draw.pick(&[(2_000, 20_000), (20_000, 90_000), (60_000, 400_000)]).unwrap_or(&(2_000, 20_000)),
            loss_percent: draw.within(5, 60),
            beat_s: draw.within(3, 20),
            again: draw.percent(30),
        }
    }
}

fn budget(draw: &mut Draw, hosts: u64) -> Budget {
    let unavailable = match draw.below(4) {
        0 => Share::Count(1),
        1 => Share::Count(u32::try_from(draw.within(1, 4)).unwrap_or(1)),
        2 => Share::Percent(20),
        _ => Share::Percent(u8::try_from(draw.within(5, 60)).unwrap_or(20)),
    };
    let quorum = draw.percent(25).then(|| match draw.below(2) {
        0 => Share::Percent(u8::try_from(draw.within(30, 90)).unwrap_or(50)),
        _ => Share::Count(u32::try_from(draw.below(1 + hosts)).unwrap_or(0)),
    });
    Budget {
        unavailable,
        one_zone_at_a_time: draw.percent(30),
        per: if draw.percent(25) { Per::Zone } else { Per::Group },
        min_healthy: quorum,
    }
}

fn strategy(draw: &mut Draw) -> Strategy {
    let waves = match draw.below(3) {
        0 => vec![Share::Percent(100)],
        1 => vec![Share::Percent(25), Share::Percent(100)],
        _ => vec![Share::Count(2), Share::Percent(50), Share::Percent(100)],
    };
    let soak_s = *draw.pick(&[5, 60, 300, 900]).unwrap_or(&5);
    Strategy {
        by_zone: draw.percent(20),
        retries: u32::try_from(draw.below(3)).unwrap_or(0),
        on_failure: *draw.pick(&[GoBack::Host, GoBack::Wave, GoBack::Rollout]).unwrap_or(&GoBack::Host),
        ..Strategy::of(u32::try_from(draw.within(1, 2)).unwrap_or(1), waves, soak_s)
    }
}

fn window(draw: &mut Draw) -> Vec<Interval> {
    if draw.percent(60) {
        return Vec::new();
    }
    let mut at = BEGIN + draw.below(30 * MINUTE);
    let mut out = Vec::new();
    for _ in 0..draw.within(2, 4) {
        let length = draw.within(20 * MINUTE, 2 * HOUR);
        let cutoff = draw.below(length / 2);
        out.push(Interval { start: Timestamp(at), end: Timestamp(at + length), last_start: Timestamp(at + length - cutoff) });
        at += length + draw.within(30 * MINUTE, 4 * HOUR);
    }
    out
}
