//! Versions of Ruby gems (RubyGems, `Gem::Version`): segments of digits or letters, where letters mean a pre-release.

use super::rpm::number;
use std::cmp::Ordering;

/// Longest version, in bytes.
const BYTES_MAX: usize = 256;

/// A segment; letters sort before digits, so `1.0.a` before `1.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'a> {
    Letters(&'a str),
    Number(&'a str),
}

impl Segment<'_> {
    fn is_zero(self) -> bool {
        matches!(self, Self::Number(digits) if digits.bytes().all(|b| b == b'0'))
    }

    fn compare(self, other: Self) -> Ordering {
        match (self, other) {
            (Self::Letters(a), Self::Letters(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => number(a.as_bytes(), b.as_bytes()),
            (Self::Letters(_), Self::Number(_)) => Ordering::Less,
            (Self::Number(_), Self::Letters(_)) => Ordering::Greater,
        }
    }
}

/// Their order; `None` where one is no version of a gem.
#[must_use]
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (segments(a)?, segments(b)?);
    let zero = Segment::Number("0");
    let places = 0..a.len().max(b.len());
    let differs = places.map(|place| a.get(place).copied().unwrap_or(zero).compare(b.get(place).copied().unwrap_or(zero)));
    Some(differs.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal))
}

/// Canonical segments: zeros at the end of the release and of the pre-release do not count.
fn segments(text: &str) -> Option<Vec<Segment<'_>>> {
    let text = text.trim();
    let fine = text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-".contains(&b));
    if !fine || text.len() > BYTES_MAX || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mut release, mut pre): (Vec<Segment<'_>>, Vec<Segment<'_>>) = (Vec::new(), Vec::new());
    for (part, dashed) in text.split('.').flat_map(|part| part.split('-').enumerate().map(|(at, part)| (part, at > 0))) {
        if part.is_empty() {
            return None;
        }
        if dashed {
            // `1.0-x` is `1.0.pre.x`.
            pre.push(Segment::Letters("pre"));
        }
        for run in runs(part) {
            if pre.is_empty() && matches!(run, Segment::Number(_)) { release.push(run) } else { pre.push(run) }
        }
    }
    for list in [&mut release, &mut pre] {
        while list.last().is_some_and(|segment| segment.is_zero()) {
            list.pop();
        }
    }
    release.append(&mut pre);
    Some(release)
}

/// Runs of digits and of letters.
fn runs(mut text: &str) -> Vec<Segment<'_>> {
    let mut found = Vec::new();
    while let Some(first) = text.chars().next() {
        let digits = first.is_ascii_digit();
        let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
        let (run, rest) = text.split_at(end);
        found.push(if digits { Segment::Number(run) } else { Segment::Letters(run) });
        text = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering;

    #[test]
    fn gems_are_in_the_order_of_rubygems() {
        // From the documentation of Gem::Version and its tests.
        let chain = [
            "0.9",
            "1.0.a.1",
            "1.0.a.2",
            "1.0.a10",
            "1.0.b1",
            "1.0.pre.1",
            "1.0.rc1",
            "1.0",
            "1.0.1",
            "1.1.a",
            "1.1",
            "1.9.3",
            "1.10",
            "2.0.0.pre1",
            "2",
        ];
        for (at, low) in chain.iter().enumerate() {
            assert_eq!(compare(low, low), Some(Ordering::Equal));
            for high in &chain[at + 1..] {
                assert_eq!(compare(low, high), Some(Ordering::Less), "{low} {high}");
                assert_eq!(compare(high, low), Some(Ordering::Greater), "{high} {low}");
            }
        }
        for (a, b) in [("1.0", "1"), ("1.2.b1", "1.2.b.1"), ("1.0-1", "1.0.pre.1"), ("1.0.a.0", "1.0.a"), ("01", "1")] {
            assert_eq!(compare(a, b), Some(Ordering::Equal), "{a} {b}");
        }
        for bad in ["", "junk", "1..2", "1_0", "v1", "-1"] {
            assert_eq!(compare(bad, "1"), None, "{bad}");
        }
    }
}
