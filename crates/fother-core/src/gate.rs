//! The sequential test that ends a wave early: Wald 1945, "few hosts break" against "many do". Pure; its floats stay inside.

use crate::{mutant, mutant::Mutant};

/// Share of broken hosts that is fine: 1 %.
const FINE: f64 = 0.01;
/// Share of broken hosts that is not: 10 %.
const BAD: f64 = 0.10;
/// Chance to reject an update that is fine.
const ALPHA: f64 = 0.05;
/// Chance to accept an update that is bad.
const BETA: f64 = 0.10;

/// What the test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Not enough hosts yet.
    Continue,
    /// At most 1 % break, rather than 10 %.
    Accept,
    /// 10 % break, rather than 1 %.
    Reject,
}

/// The hosts seen so far. Ask for the verdict after each host and stop at the first that is not [`Verdict::Continue`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sprt {
    /// Hosts on which every check passed.
    pub clean: u64,
    /// Hosts that failed, or gave no answer.
    pub failed: u64,
}

impl Sprt {
    /// The verdict on these hosts. Accepts after 24 clean ones; rejects at two failures where at most 17 are clean, at three where at most 42 are.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        let evidence = self.failed as f64 * (BAD / FINE).ln() + self.clean as f64 * ((1.0 - BAD) / (1.0 - FINE)).ln();
        if evidence >= ((1.0 - BETA) / ALPHA).ln() {
            Verdict::Reject
        } else if evidence <= (BETA / (1.0 - ALPHA)).ln() {
            Verdict::Accept
        } else {
            Verdict::Continue
        }
    }

    /// One more host on which every check passed. Evidence does not grow beyond acceptance: a long good start must not buy later failures.
    #[must_use]
    pub fn clean(self) -> Self {
        match self.verdict() {
            Verdict::Accept => self,
            Verdict::Continue | Verdict::Reject => Self { clean: self.clean + 1, ..self },
        }
    }

    /// One more host that failed, or gave no answer.
    #[must_use]
    pub fn failed(self) -> Self {
        if mutant::is(Mutant::FailuresDoNotAddUp) { Self { failed: 1, ..self } } else { Self { failed: self.failed + 1, ..self } }
    }

    /// What these hosts have shown, for people: see [`shown`]; with failures only the count, since its bound would no longer hold.
    #[must_use]
    pub fn shown(self) -> String {
        if self.failed == 0 {
            shown(self.clean)
        } else {
            format!("{} of {} fine, {} failed", self.clean, self.clean + self.failed, self.failed)
        }
    }
}

/// What `clean` hosts without a failure have shown, for people: the share that could still break without being noticed more often than once in 20 times,
/// 1 − 0.05^(1/n), rounded up to whole percents, below one percent to tenths.
#[must_use]
pub fn shown(clean: u64) -> String {
    if clean == 0 {
        return "no host yet: nothing shown".to_owned();
    }
    let percent = (1.0 - 0.05_f64.powf(1.0 / clean as f64)) * 100.0;
    let bound = if percent > 1.0 { format!("{:.0}", (percent - 1e-9).ceil()) } else { format!("{:.1}", (percent * 10.0).ceil() / 10.0) };
    format!("{clean} of {clean} fine: 95 % sure that fewer than {bound} % fail")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn verdict(clean: u64, failed: u64) -> Verdict {
        Sprt { clean, failed }.verdict()
    }

    #[test]
    fn twenty_four_clean_hosts_accept_and_not_one_fewer() {
        assert_eq!(verdict(23, 0), Verdict::Continue);
        assert_eq!(verdict(24, 0), Verdict::Accept);
    }

    #[test]
    fn two_early_failures_reject_and_one_does_not() {
        assert_eq!(verdict(0, 1), Verdict::Continue);
        assert_eq!(verdict(0, 2), Verdict::Reject);
        assert_eq!(verdict(17, 2), Verdict::Reject);
        assert_eq!(verdict(18, 2), Verdict::Continue);
    }

    #[test]
    fn a_hundred_clean_hosts_do_not_buy_more_failures_than_the_first_twenty_four() {
        let many = (0..100).fold(Sprt::default(), |test, _| test.clean());
        assert_eq!(many, Sprt { clean: 24, failed: 0 });
        assert_eq!(many.failed().failed().verdict(), Verdict::Continue);
        assert_eq!(many.failed().failed().failed().verdict(), Verdict::Reject);
    }

    /// In whole numbers: reject where 10^(f+c) ≥ 18·11^c, accept where 19·10^(f+c) ≤ 2·11^c.
    #[test]
    fn the_floats_agree_with_whole_numbers() {
        for clean in 0_u32..=30 {
            for failed in 0_u32..=4 {
                let (tens, elevens) = (10_u128.pow(failed + clean), 11_u128.pow(clean));
                let exact = match (tens >= 18 * elevens, 19 * tens <= 2 * elevens) {
                    (true, _) => Verdict::Reject,
                    (_, true) => Verdict::Accept,
                    _ => Verdict::Continue,
                };
                assert_eq!(verdict(clean.into(), failed.into()), exact, "{clean} clean, {failed} failed");
            }
        }
    }

    #[test]
    fn what_was_shown_is_the_rule_of_three() {
        assert_eq!(shown(29), "29 of 29 fine: 95 % sure that fewer than 10 % fail");
        assert_eq!(shown(1), "1 of 1 fine: 95 % sure that fewer than 95 % fail");
        assert_eq!(shown(59), "59 of 59 fine: 95 % sure that fewer than 5 % fail");
        assert_eq!(shown(3_000), "3000 of 3000 fine: 95 % sure that fewer than 0.1 % fail");
        assert_eq!(shown(0), "no host yet: nothing shown");
        assert_eq!(Sprt { clean: 29, failed: 0 }.shown(), shown(29));
        assert_eq!(Sprt { clean: 28, failed: 1 }.shown(), "28 of 29 fine, 1 failed");
    }

    proptest! {
        #[test]
        fn one_more_failure_never_helps_and_one_more_clean_host_never_hurts(clean in 0_u64..500, failed in 0_u64..50) {
            let rank = |verdict| match verdict { Verdict::Reject => 0, Verdict::Continue => 1, Verdict::Accept => 2 };
            prop_assert!(rank(verdict(clean, failed + 1)) <= rank(verdict(clean, failed)));
            prop_assert!(rank(verdict(clean + 1, failed)) >= rank(verdict(clean, failed)));
        }
    }
}
