//! The order of rpm versions: `epoch:version-release` and rpm's segment comparison (rpm-version(7), `rpmvercmp`).

use std::cmp::Ordering;

/// rpm's order of two `[epoch:]version[-release]` texts; every text is comparable.
///
/// A missing epoch is 0. A release is compared only if both have one, as rpm does for dependencies, so a fix that
/// names no release covers all of them.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    let releases = match (a.2, b.2) {
        (Some(x), Some(y)) => segments(x, y),
        (Some(_) | None, None) | (None, Some(_)) => Ordering::Equal,
    };
    number(a.0.as_bytes(), b.0.as_bytes()).then_with(|| segments(a.1, b.1)).then(releases)
}

/// Epoch, version and release.
fn parts(text: &str) -> (&str, &str, Option<&str>) {
    let (epoch, rest) = text.split_once(':').filter(|(e, _)| e.bytes().all(|b| b.is_ascii_digit())).unwrap_or(("0", text));
    let (version, release) = rest.rsplit_once('-').map_or((rest, None), |(v, r)| (v, Some(r)));
    (epoch, version, release)
}

/// `rpmvercmp`: segments of digits or letters; `~` sorts before everything, `^` after the end and before anything longer.
#[must_use]
pub fn segments(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip(a);
        b = skip(b);
        match (a.first() == Some(&b'~'), b.first() == Some(&b'~')) {
            (true, true) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (true, false) => return Ordering::Less,
            (false, true) => return Ordering::Greater,
            (false, false) => {}
        }
        match (a.first() == Some(&b'^'), b.first() == Some(&b'^')) {
            (true, true) => {
                (a, b) = (&a[1..], &b[1..]);
                continue;
            }
            (true, false) => return if b.is_empty() { Ordering::Greater } else { Ordering::Less },
            (false, true) => return if a.is_empty() { Ordering::Less } else { Ordering::Greater },
            (false, false) => {}
        }
        let (Some(first), Some(_)) = (a.first(), b.first()) else {
            // Whichever still has segments is newer.
            return a.len().cmp(&b.len());
        };
        let digits = first.is_ascii_digit();
        let (x, y);
        (x, a) = run(a, digits);
        (y, b) = run(b, digits);
        if y.is_empty() {
            // Different kinds of segments: numbers are newer.
            return if digits { Ordering::Greater } else { Ordering::Less };
        }
        let order = if digits { number(x, y) } else { x.cmp(y) };
        if order.is_ne() {
            return order;
        }
    }
}

fn skip(text: &[u8]) -> &[u8] {
    let at = text.iter().position(|b| b.is_ascii_alphanumeric() || *b == b'~' || *b == b'^').unwrap_or(text.len());
    &text[at..]
}

fn run(text: &[u8], digits: bool) -> (&[u8], &[u8]) {
    let wanted = |b: &u8| if digits { b.is_ascii_digit() } else { b.is_ascii_alphabetic() };
    text.split_at(text.iter().position(|b| !wanted(b)).unwrap_or(text.len()))
}

/// Digit runs of any length by value.
pub(super) fn number(a: &[u8], b: &[u8]) -> Ordering {
    let strip = |s: &[u8]| s.iter().position(|b| *b != b'0').unwrap_or(s.len());
    let (a, b) = (&a[strip(a)..], &b[strip(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_beat_versions_and_releases_count_only_on_both_sides() {
        assert_eq!(compare("1:1.0-1", "2.0-1"), Ordering::Greater);
        assert_eq!(compare("1.0-1.el9", "1.0-2.el9"), Ordering::Less);
        assert_eq!(compare("1.0", "1.0-2.el9"), Ordering::Equal);
        assert_eq!(compare("0:1.0-1", "1.0-1"), Ordering::Equal);
        assert_eq!(compare("1.0~rc1-1", "1.0-1"), Ordering::Less);
        assert_eq!(compare("1.0^git1-1", "1.0-1"), Ordering::Greater);
    }
}
