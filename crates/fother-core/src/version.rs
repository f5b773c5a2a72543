//! Debian version numbers and their order (Debian Policy section 5.6.12; deb-version(7)); other orders in the modules below.

pub mod apk;
pub mod composer;
pub mod gem;
pub mod maven;
pub mod pep440;
pub mod rpm;
pub mod scheme;
pub mod semver;

use serde::{Deserialize, Serialize, de};
use std::{cmp::Ordering, fmt, str::FromStr};

/// Longest version that is accepted, in bytes.
pub const VERSION_BYTES_MAX: usize = 512;

/// A valid Debian version. Equality is by text, [`Version::compare`] by dpkg's order (`1.0` and `1.00` compare equal).
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Version(String);

/// Why a text is no Debian version.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{text}` is not a Debian version: {why}")]
pub struct ParseError {
    text: String,
    why: &'static str,
}

impl Version {
    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Epoch, upstream version and revision.
    #[must_use]
    pub fn parts(&self) -> (u32, &str, &str) {
        parts(&self.0)
    }

    /// dpkg's order.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Ordering {
        order(&self.0, &other.0)
    }
}

fn parts(text: &str) -> (u32, &str, &str) {
    let (epoch, rest) = text.split_once(':').map_or((0, text), |(e, r)| (e.parse().unwrap_or(0), r));
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
    (epoch, upstream, revision)
}

fn order(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    a.0.cmp(&b.0).then_with(|| fragment(a.1, b.1)).then_with(|| fragment(a.2, b.2))
}

/// dpkg's order of two texts, without taking them in.
///
/// # Errors
/// Where one of them is no Debian version.
pub fn compare_text(a: &str, b: &str) -> Result<Ordering, ParseError> {
    check(a)?;
    check(b)?;
    Ok(order(a, b))
}

/// Compares two fragments: non-digit runs by dpkg's letter order, digit runs by value.
fn fragment(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        let end = |s: &[u8]| s.first().is_none_or(u8::is_ascii_digit);
        while !end(a) || !end(b) {
            let (x, y) = (weight(a.first()), weight(b.first()));
            if x != y {
                return x.cmp(&y);
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let (x, y) = (digits(&mut a), digits(&mut b));
        let order = x.len().cmp(&y.len()).then_with(|| x.cmp(y));
        if order != Ordering::Equal || (a.is_empty() && b.is_empty()) {
            return order;
        }
    }
}

/// `~` sorts before the end, the end (and digits) before letters, letters before everything else.
fn weight(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(b'~') => -1,
        Some(b) if b.is_ascii_digit() => 0,
        Some(b) if b.is_ascii_alphabetic() => i32::from(*b),
        Some(b) => i32::from(*b) + 256,
    }
}

fn digits<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (run, tail) = rest.split_at(len);
    *rest = tail;
    let zeros = run.iter().take_while(|b| **b == b'0').count();
    &run[zeros..]
}

impl FromStr for Version {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        check(text).map(|()| Self(text.to_owned()))
    }
}

/// Whether a text is a Debian version.
fn check(text: &str) -> Result<(), ParseError> {
    let fail = |why| Err(ParseError { text: crate::text::printable(text, 80), why });
    if text.is_empty() {
        return fail("it is empty");
    }
    if text.len() > VERSION_BYTES_MAX {
        return fail("it is longer than 512 bytes");
    }
    let rest = match text.split_once(':') {
        None => text,
        Some((epoch, rest)) => {
            if epoch.is_empty() || !epoch.bytes().all(|b| b.is_ascii_digit()) {
                return fail("its epoch is not a number");
            }
            if epoch.parse::<i32>().is_err() {
                return fail("its epoch is too big");
            }
            rest
        }
    };
    let (upstream, revision) = rest.rsplit_once('-').map_or((rest, None), |(u, r)| (u, Some(r)));
    if upstream.is_empty() {
        return fail("its upstream version is empty");
    }
    if !upstream.as_bytes()[0].is_ascii_digit() {
        return fail("its upstream version does not start with a digit");
    }
    if !upstream.bytes().all(|b| b.is_ascii_alphanumeric() || b".-+~:".contains(&b)) {
        return fail("its upstream version holds a forbidden character");
    }
    match revision {
        Some("") => fail("its revision is empty"),
        Some(r) if !r.bytes().all(|b| b.is_ascii_alphanumeric() || b".+~".contains(&b)) => fail("its revision holds a forbidden character"),
        _ => Ok(()),
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// dpkg's order, ties broken by text, so that it agrees with equality.
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.compare(other).then_with(|| self.0.cmp(&other.0))
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(a: &str, b: &str) -> Ordering {
        a.parse::<Version>().unwrap().compare(&b.parse().unwrap())
    }

    #[test]
    fn tilde_sorts_before_the_end_and_letters_before_signs() {
        for (less, more) in [
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b1"),
            ("1.9", "1.10"),
            ("9", "1:0"),
            ("1.0-1", "1.0-1+deb12u1"),
            ("1.0-1~bpo12+1", "1.0-1"),
            ("0:1-1~~", "1-1~"),
        ] {
            assert_eq!(order(less, more), Ordering::Less, "{less} < {more}");
            assert_eq!(order(more, less), Ordering::Greater, "{more} > {less}");
        }
    }

    #[test]
    fn leading_zeros_and_a_zero_epoch_do_not_count() {
        assert_eq!(order("0:1.02-0", "1.2-0"), Ordering::Equal);
        assert_eq!(order("1-0", "1"), Ordering::Equal);
    }

    #[test]
    fn bad_versions_are_refused() {
        for bad in ["", "a", ":1", "x:1", "1-", "1 2", "-1", "1_0", "1:", "99999999999:1"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
