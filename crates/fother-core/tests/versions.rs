//! Laws of the orders of versions: for every scheme, any three texts that are versions stand in one total order.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::version::scheme::Scheme;
use proptest::prelude::*;
use std::cmp::Ordering;

/// Texts of the pieces that versions are made of; many are versions of several schemes.
fn texts() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "0", "00", "1", "2", "10", ".", "-", ".", "-", "+", "~", "_", "a", "b", "m", "rc", "alpha", "beta", "pre", "sp", "ga", "final",
        "snapshot", "x", "dev", "post", "1.0", "1.0.0", "v1", "p",
    ]);
    prop::collection::vec(pieces, 1..7).prop_map(|pieces| format!("1{}", pieces.concat()))
}

fn check(scheme: Scheme, [a, b, c]: [&str; 3]) {
    let order = |x: &str, y: &str| scheme.compare(x, y);
    let (Some(ab), Some(ba), Some(bc), Some(ac)) = (order(a, b), order(b, a), order(b, c), order(a, c)) else { return };
    assert_eq!(ab, ba.reverse(), "{scheme:?}: {a} and {b} depend on who asks");
    assert_eq!(order(a, a), Some(Ordering::Equal), "{scheme:?}: {a} is not itself");
    if ab == bc {
        assert_eq!(ac, ab, "{scheme:?}: {a}, {b}, {c} are no chain");
    }
    if ab == Ordering::Equal {
        assert_eq!(ac, bc, "{scheme:?}: {a} and {b} are equal, but not to {c}");
    }
    if bc == Ordering::Equal {
        assert_eq!(ac, ab, "{scheme:?}: {b} and {c} are equal, but not to {a}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn any_three_versions_are_in_one_order(a in texts(), b in texts(), c in texts()) {
        for scheme in [Scheme::Dpkg, Scheme::Semver, Scheme::Pep440, Scheme::Gem, Scheme::Maven, Scheme::Composer] {
            check(scheme, [&a, &b, &c]);
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_refused(a in "\\PC{0,300}", b in texts()) {
        for scheme in Scheme::ALL {
            let _ = scheme.compare(&a, &b);
            let _ = scheme.compare(&b, &a);
        }
    }
}

#[test]
fn go_pseudo_versions_come_before_the_release_that_they_lead_to() {
    // Go modules reference, "Pseudo-versions": the three forms.
    let chain = [
        "v0.0.0-20191109021931-daa7c04131f5",
        "v0.0.0-20200101000000-000000000000",
        "v0.0.1",
        "v1.2.3-pre.0.20191109021931-daa7c04131f5",
        "v1.2.3",
        "v1.2.4-0.20191109021931-daa7c04131f5",
        "v1.2.4",
        "v2.0.0+incompatible",
    ];
    for (at, low) in chain.iter().enumerate() {
        for high in &chain[at + 1..] {
            assert_eq!(Scheme::Semver.compare(low, high), Some(Ordering::Less), "{low} {high}");
        }
    }
}
