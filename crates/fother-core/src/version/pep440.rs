//! Versions of Python packages and their order (PEP 440, version specifiers of packaging.python.org).

use super::{rpm::number, semver::release};
use std::cmp::Ordering;

/// One version in the parts that its order is made of.
#[derive(Debug, Default)]
struct Parsed<'a> {
    epoch: &'a str,
    release: &'a str,
    /// Rank of the phase (`a`, `b`, `rc`) and its number.
    pre: Option<(u8, &'a str)>,
    post: Option<&'a str>,
    dev: Option<&'a str>,
    local: Option<&'a str>,
}

/// Their order; `None` where one of them is no version.
#[must_use]
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (a.trim().to_ascii_lowercase(), b.trim().to_ascii_lowercase());
    let (a, b) = (parse(&a)?, parse(&b)?);
    let digits = |x: &str, y: &str| number(x.as_bytes(), y.as_bytes());
    let optional = |x: Option<&str>, y: Option<&str>, absent: Ordering| match (x, y) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => absent,
        (Some(_), None) => absent.reverse(),
        (Some(x), Some(y)) => digits(x, y),
    };
    let order = digits(a.epoch, b.epoch)
        .then_with(|| release(a.release, b.release))
        .then_with(|| phase(&a).0.cmp(&phase(&b).0).then_with(|| digits(phase(&a).1, phase(&b).1)))
        .then_with(|| optional(a.post, b.post, Ordering::Less))
        .then_with(|| optional(a.dev, b.dev, Ordering::Greater))
        .then_with(|| match (a.local, b.local) {
            (None, None) => Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(x), Some(y)) => local(x, y),
        });
    Some(order)
}

/// Development releases come before pre-releases, those before final ones.
fn phase<'a>(v: &Parsed<'a>) -> (u8, &'a str) {
    match v.pre {
        Some((rank, number)) => (rank, number),
        None if v.post.is_none() && v.dev.is_some() => (0, "0"),
        None => (4, "0"),
    }
}

fn parse(text: &str) -> Option<Parsed<'_>> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, local) = text.split_once('+').map_or((text, None), |(t, l)| (t, Some(l)));
    let (epoch, text) = text.split_once('!').unwrap_or(("0", text));
    let digits_dots = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let release = text[..digits_dots].trim_end_matches('.');
    let mut rest = text[digits_dots..].trim_start_matches(['.', '-', '_']);
    let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !numeric(epoch) || release.is_empty() || !release.split('.').all(numeric) {
        return None;
    }
    let mut parsed = Parsed { epoch, release, local, ..Parsed::default() };
    // `1.0-1` is a post-release in short form.
    if text.as_bytes().get(digits_dots) == Some(&b'-') && rest.starts_with(|c: char| c.is_ascii_digit()) {
        parsed.post = Some(take_number(&mut rest));
    }
    const WORDS: [(&str, u8); 12] = [
        ("alpha", 1),
        ("beta", 2),
        ("preview", 3),
        ("pre", 3),
        ("post", 10),
        ("rev", 10),
        ("rc", 3),
        ("dev", 11),
        ("a", 1),
        ("b", 2),
        ("c", 3),
        ("r", 10),
    ];
    while !rest.is_empty() {
        rest = rest.trim_start_matches(['.', '-', '_']);
        let (word, kind) = WORDS.iter().find(|(word, _)| rest.starts_with(word))?;
        rest = rest[word.len()..].trim_start_matches(['.', '-', '_']);
        let number = take_number(&mut rest);
        match kind {
            10 => parsed.post = Some(number),
            11 => parsed.dev = Some(number),
            rank => parsed.pre = Some((*rank, number)),
        }
    }
    Some(parsed)
}

fn take_number<'a>(rest: &mut &'a str) -> &'a str {
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (head, tail) = rest.split_at(len);
    *rest = tail;
    if head.is_empty() { "0" } else { head }
}

fn local(a: &str, b: &str) -> Ordering {
    let pieces = |s: &str| s.split(['.', '-', '_']).map(str::to_owned).collect::<Vec<_>>();
    let (a, b) = (pieces(a), pieces(b));
    for (x, y) in a.iter().zip(&b) {
        let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        let order = match (numeric(x), numeric(y)) {
            (true, true) => number(x.as_bytes(), y.as_bytes()),
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => x.cmp(y),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_specification_holds() {
        let chain = [
            "1.dev0",
            "1.0.dev456",
            "1.0a1",
            "1.0a2.dev456",
            "1.0a12.dev456",
            "1.0a12",
            "1.0b1.dev456",
            "1.0b2",
            "1.0b2.post345.dev456",
            "1.0b2.post345",
            "1.0rc1.dev456",
            "1.0rc1",
            "1.0",
            "1.0+abc.5",
            "1.0+abc.7",
            "1.0+5",
            "1.0.post456.dev34",
            "1.0.post456",
            "1.0.15",
            "1.1.dev1",
            "1!0.1",
        ];
        for (at, low) in chain.iter().enumerate() {
            for high in &chain[at + 1..] {
                assert_eq!(compare(low, high), Some(Ordering::Less), "{low} {high}");
                assert_eq!(compare(high, low), Some(Ordering::Greater), "{high} {low}");
            }
        }
        for (a, b) in [("1.0", "1"), ("1.0-1", "1.post1"), ("1.0c1", "1.0RC1"), ("v1.0.alpha.1", "1a1")] {
            assert_eq!(compare(a, b), Some(Ordering::Equal), "{a} {b}");
        }
        assert_eq!(compare("x", "1"), None);
        assert_eq!(compare("1.0-foo", "1"), None);
    }
}
