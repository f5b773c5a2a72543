//! Versions of Maven artifacts (Maven, "Version Order Specification" of the POM reference, and `ComparableVersion`).
//!
//! A version is a list of items; a hyphen, a change between digits and letters, or a qualifier opens a list in the list. Where text and
//! program differ, `.qualifier` counts as `-qualifier` (the text): only so is it an order.

use super::rpm::number;
use std::cmp::Ordering;

/// Longest version, in bytes.
const BYTES_MAX: usize = 256;
/// Qualifiers before and after a release, in their order; a release is the empty one.
const QUALIFIERS: [&str; 7] = ["alpha", "beta", "milestone", "rc", "snapshot", "", "sp"];
const RELEASE: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Number(String),
    /// Place among the known qualifiers, and the text of others, which sort after them.
    Qualifier(usize, String),
}

impl Item {
    fn of(text: &str, before_digit: bool) -> Self {
        if text.bytes().all(|b| b.is_ascii_digit()) {
            return Self::Number(text.to_owned());
        }
        let name = match text {
            "a" if before_digit => "alpha",
            "b" if before_digit => "beta",
            "m" if before_digit => "milestone",
            "cr" => "rc",
            "ga" | "final" | "release" => "",
            other => other,
        };
        match QUALIFIERS.iter().position(|known| *known == name) {
            Some(place) => Self::Qualifier(place, String::new()),
            None => Self::Qualifier(QUALIFIERS.len(), name.to_owned()),
        }
    }

    /// Against nothing: whether it makes a version newer or older.
    fn weight(&self) -> Ordering {
        match self {
            Self::Number(digits) => number(digits.as_bytes(), b"0"),
            Self::Qualifier(place, _) => place.cmp(&RELEASE),
        }
    }
}

/// Lists in lists: each holds items, and the next one as its last.
type Lists = Vec<Vec<Item>>;

/// Their order; `None` where one is empty, too long or holds white space.
#[must_use]
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    Some(ordered(&lists(a)?, &lists(b)?))
}

fn lists(text: &str) -> Option<Lists> {
    let text = text.trim().to_lowercase();
    if text.is_empty() || text.len() > BYTES_MAX || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let mut lists: Lists = vec![Vec::new()];
    for (at, hyphened) in text.split('-').enumerate() {
        if at > 0 {
            lists.push(Vec::new());
        }
        for part in hyphened.split('.') {
            if part.is_empty() {
                add(&mut lists, Item::Number("0".into()), false);
                continue;
            }
            let mut rest = part;
            let mut first = true;
            while let Some(digits) = rest.chars().next().map(|c| c.is_ascii_digit()) {
                let end = rest.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(rest.len());
                let (run, after) = rest.split_at(end);
                // A change between digits and letters is as a hyphen.
                add(&mut lists, Item::of(run, !after.is_empty()), !first);
                (rest, first) = (after, false);
            }
        }
    }
    for list in &mut lists {
        while list.last().is_some_and(|item| item.weight().is_eq()) {
            list.pop();
        }
    }
    // Nothing between two hyphens is no place: `1-ga-1` is `1-1`. The numbers at the start always are one.
    let mut at_start = true;
    lists.retain(|list| std::mem::take(&mut at_start) || !list.is_empty());
    Some(lists)
}

fn add(lists: &mut Lists, item: Item, opens: bool) {
    let is_qualifier = matches!(item, Item::Qualifier(..));
    let at_start = lists.len() == 1;
    match lists.last_mut() {
        Some(list) if !opens && !is_qualifier || list.is_empty() && !(at_start && is_qualifier) => list.push(item),
        Some(_) | None => lists.push(vec![item]),
    }
}

/// What stands at a place of a list.
enum At<'a> {
    Nothing,
    Item(&'a Item),
    Lists(&'a [Vec<Item>]),
}

fn at(lists: &[Vec<Item>], place: usize) -> At<'_> {
    let Some((list, inner)) = lists.split_first() else { return At::Nothing };
    match list.get(place) {
        Some(item) => At::Item(item),
        None if place == list.len() && !inner.is_empty() => At::Lists(inner),
        None => At::Nothing,
    }
}

fn ordered(a: &[Vec<Item>], b: &[Vec<Item>]) -> Ordering {
    for place in 0.. {
        let order = match (at(a, place), at(b, place)) {
            (At::Nothing, At::Nothing) => return Ordering::Equal,
            (At::Nothing, At::Item(item)) => item.weight().reverse(),
            (At::Item(item), At::Nothing) => item.weight(),
            (At::Nothing, At::Lists(inner)) => weight(inner).reverse(),
            (At::Lists(inner), At::Nothing) => weight(inner),
            (At::Lists(x), At::Lists(y)) => ordered(x, y),
            (At::Item(Item::Number(x)), At::Item(Item::Number(y))) => number(x.as_bytes(), y.as_bytes()),
            (At::Item(Item::Qualifier(p, x)), At::Item(Item::Qualifier(q, y))) => (p, x).cmp(&(q, y)),
            // A qualifier is less than a list, a list less than a number.
            (At::Item(Item::Qualifier(..)), At::Item(Item::Number(_)) | At::Lists(_)) | (At::Lists(_), At::Item(Item::Number(_))) => {
                Ordering::Less
            }
            (At::Item(Item::Number(_)) | At::Lists(_), At::Item(Item::Qualifier(..))) | (At::Item(Item::Number(_)), At::Lists(_)) => {
                Ordering::Greater
            }
        };
        if order.is_ne() {
            return order;
        }
    }
    Ordering::Equal
}

/// A list against nothing: by its first item that is not nothing itself.
fn weight(lists: &[Vec<Item>]) -> Ordering {
    lists.iter().flatten().map(Item::weight).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering;

    #[test]
    fn qualifiers_numbers_and_lists_are_in_mavens_order() {
        let chain = [
            "1-alpha",
            "1-alpha-1",
            "1-alpha2",
            "1-alpha10",
            "1-beta",
            "1-milestone-1",
            "1-rc",
            "1-snapshot",
            "1",
            "1-sp",
            "1-abc",
            "1-xyz",
            "1-1",
            "1-2",
            "1.0.1",
            "1.1-snapshot",
            "1.1",
            "1.9",
            "1.10",
            "2-a1",
            "2",
        ];
        for (at, low) in chain.iter().enumerate() {
            assert_eq!(compare(low, low), Some(Ordering::Equal));
            for high in &chain[at + 1..] {
                assert_eq!(compare(low, high), Some(Ordering::Less), "{low} {high}");
                assert_eq!(compare(high, low), Some(Ordering::Greater), "{high} {low}");
            }
        }
    }

    #[test]
    fn the_examples_of_the_specification_hold() {
        for (a, b) in [
            ("1.0.0", "1"),
            ("1.ga", "1"),
            ("1-final", "1"),
            ("1.", "1"),
            ("1-", "1"),
            ("1.0.0-foo.0.0", "1-foo"),
            ("1.0.0-0.0.0", "1"),
            ("1.foo", "1-foo"),
            ("1-a1", "1-alpha-1"),
            ("1-b2", "1-beta-2"),
            ("1-cr1", "1-RC1"),
            ("1x", "1-x"),
            ("1.0-release", "1"),
        ] {
            assert_eq!(compare(a, b), Some(Ordering::Equal), "{a} {b}");
        }
        for (less, more) in [
            ("1-1.foo-bar1baz-.1", "1-1.foo-bar1baz-.2"),
            ("1-snapshot", "1"),
            ("1-foo2", "1-foo10"),
            ("1.foo", "1-1"),
            ("1-1", "1.1"),
            ("2.14.1", "2.15.0"),
            ("2.0-beta9", "2.3.1"),
            ("5.3.0.RC1", "5.3.0"),
            ("31.1-android", "31.1-jre"),
            ("99999999999999999998", "99999999999999999999"),
        ] {
            assert_eq!(compare(less, more), Some(Ordering::Less), "{less} {more}");
        }
        assert_eq!(compare("", "1"), None);
        assert_eq!(compare("1 2", "1"), None);
    }
}
