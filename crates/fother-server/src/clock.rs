//! The server's clock and when not to trust it. Reads the system clocks.

use fother_core::{Timestamp, dispatch::clock_fault};
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// A wall clock with a monotonic one beside it.
#[derive(Debug)]
pub struct Clock {
    wall: Timestamp,
    monotonic: Instant,
    /// Milliseconds that a test adds to the wall clock.
    shift_ms: AtomicI64,
    /// Milliseconds of it that a test lets pass on both clocks.
    passed_ms: AtomicI64,
}

impl Clock {
    /// Starts to watch.
    #[must_use]
    pub fn start() -> Self {
        Self { wall: system(), monotonic: Instant::now(), shift_ms: AtomicI64::new(0), passed_ms: AtomicI64::new(0) }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(system().ms().saturating_add_signed(self.shift_ms.load(Ordering::Relaxed)))
    }

    /// Why nothing may be sent out, or nothing: `head` is the time of the last event.
    #[must_use]
    pub fn fault(&self, head: Timestamp) -> Option<String> {
        let (now, expected) = (self.now(), self.wall + self.monotonic.elapsed());
        let expected = Timestamp(expected.ms().saturating_add_signed(self.passed_ms.load(Ordering::Relaxed)));
        clock_fault(now, expected, head)
    }

    #[cfg(test)]
    pub(crate) fn shift(&self, ms: i64) {
        self.shift_ms.store(ms, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn pass(&self, ms: i64) {
        self.shift_ms.store(ms, Ordering::Relaxed);
        self.passed_ms.store(ms, Ordering::Relaxed);
    }
}

fn system() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_jump_either_way_and_a_log_from_the_future_are_faults() {
        let clock = Clock::start();
        assert_eq!(clock.fault(clock.now()), None);
        assert_eq!(clock.fault(clock.now() + Duration::from_secs(290)), None);
        assert!(clock.fault(clock.now() + Duration::from_secs(310)).is_some());
        for ms in [-400_000, 400_000] {
            clock.shift(ms);
            assert!(clock.fault(Timestamp(0)).is_some(), "{ms}");
        }
    }
}
