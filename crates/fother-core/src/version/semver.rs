//! Semantic versions (semver.org 2.0.0, item 11), read leniently as advisories write them: a leading `v`, one to many numbers.

use super::rpm::number;
use std::cmp::Ordering;

/// Their order; `None` where one of them does not start with a number. Build metadata does not count.
#[must_use]
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let ((a, a_pre), (b, b_pre)) = (split(a)?, split(b)?);
    Some(release(a, b).then_with(|| match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(x), Some(y)) => prerelease(x, y),
    }))
}

/// Release numbers and pre-release.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let text = text.trim();
    let text = text.strip_prefix('v').or_else(|| text.strip_prefix("go")).unwrap_or(text);
    let text = text.split('+').next()?;
    let (release, pre) = match text.split_once('-') {
        Some((release, pre)) => (release, Some(pre)),
        // Go's own releases write `1.21rc2` and some ecosystems `1.2.3beta`.
        None => match text.find(|c: char| !c.is_ascii_digit() && c != '.') {
            Some(at) => (text[..at].trim_end_matches('.'), Some(&text[at..])),
            None => (text, None),
        },
    };
    let fine = !release.is_empty() && release.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    fine.then_some((release, pre))
}

/// Dotted numbers; a missing one counts as 0.
pub(super) fn release(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (x, y) = (a.next(), b.next());
        if x.is_none() && y.is_none() {
            return Ordering::Equal;
        }
        let order = number(x.unwrap_or("0").as_bytes(), y.unwrap_or("0").as_bytes());
        if order.is_ne() {
            return order;
        }
    }
}

fn prerelease(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let (x, y) = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => (x, y),
        };
        let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        let order = match (numeric(x), numeric(y)) {
            (true, true) => number(x.as_bytes(), y.as_bytes()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (false, false) => x.cmp(y),
        };
        if order.is_ne() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_specification_is_in_order() {
        let chain = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "v1.0.1",
            "1.0.1.1",
            "1.2",
            "1.10.0",
        ];
        for (at, low) in chain.iter().enumerate() {
            assert_eq!(compare(low, low), Some(Ordering::Equal));
            for high in &chain[at + 1..] {
                assert_eq!(compare(low, high), Some(Ordering::Less), "{low} {high}");
                assert_eq!(compare(high, low), Some(Ordering::Greater), "{high} {low}");
            }
        }
        assert_eq!(compare("1.0.0+a", "1.0.0+b"), Some(Ordering::Equal));
        assert_eq!(compare("1.21rc2", "1.21.0"), Some(Ordering::Less));
        assert_eq!(compare("0.0.0-0", "0.0.0"), Some(Ordering::Less));
        assert_eq!(compare("x", "1"), None);
        assert_eq!(compare("1..2", "1"), None);
    }
}
