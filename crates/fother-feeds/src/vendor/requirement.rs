//! Requirements on versions (`>= 1.2, < 2`, `~> 1.2`, `^4.8 || 6.x`) as ranges, and what is left of all versions without them.

use crate::compile::{Builder, Statement};
use fother_core::{
    advisory::{
        Status,
        format::{Claim, Subject},
    },
    version::scheme::Scheme,
};
use std::cmp::Ordering;

/// Most alternatives of one requirement.
const RANGES_MAX: usize = 500;

/// A place just before a version, or just after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edge {
    version: String,
    after: bool,
}

/// Versions from one edge to another; `None` is without end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    from: Option<Edge>,
    to: Option<Edge>,
}

fn edge(version: &str, after: bool) -> Option<Edge> {
    Some(Edge { version: version.to_owned(), after })
}

fn order(scheme: Scheme, a: &Edge, b: &Edge) -> Result<Ordering, String> {
    let order = scheme.compare(&a.version, &b.version).ok_or_else(|| format!("{} and {} cannot be compared", a.version, b.version))?;
    Ok(order.then(a.after.cmp(&b.after)))
}

/// One comparison.
fn range(text: &str) -> Result<Range, String> {
    let at = text.find(|c: char| !"<>=~^!".contains(c)).unwrap_or(text.len());
    let (sign, version) = (&text[..at], text[at..].trim());
    let wild = version.strip_suffix(".x").unwrap_or(version);
    if !version.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(format!("`{text}` is no requirement"));
    }
    let whole = |to: String| Range { from: edge(wild, false), to: edge(&to, false) };
    Ok(match sign {
        ">=" => Range { from: edge(version, false), to: None },
        ">" => Range { from: edge(version, true), to: None },
        "<" => Range { from: None, to: edge(version, false) },
        "<=" => Range { from: None, to: edge(version, true) },
        "=" | "" if wild == version && version.contains('.') => Range { from: edge(version, false), to: edge(version, true) },
        "" => whole(next(wild, wild.split('.').count())?),
        // RubyGems: pre-releases of the next one are not meant, and `.a` sorts before all of them.
        "~>" => whole(format!("{}.a", next(version, version.split('.').count().saturating_sub(1).max(1))?)),
        "^" => whole(next(wild, 1)?),
        _ => return Err(format!("`{text}` is no requirement that is known")),
    })
}

/// The first `parts` numbers with the last one counted up.
fn next(version: &str, parts: usize) -> Result<String, String> {
    let mut numbers: Vec<u64> = version.split('.').take(parts).map_while(|part| part.parse().ok()).collect();
    let last = numbers.last_mut().ok_or_else(|| format!("`{version}` is no version"))?;
    *last = last.saturating_add(1);
    Ok(numbers.iter().map(u64::to_string).collect::<Vec<_>>().join("."))
}

/// All comparisons at once, separated by commas or spaces.
///
/// # Errors
/// Where one is malformed.
pub fn all_of(scheme: Scheme, text: &str) -> Result<Range, String> {
    let mut found = Range::default();
    // A space may stand between a sign and its version.
    let joined = ["<=", ">=", "~>", "<", ">", "=", "^"].iter().fold(text.to_owned(), |text, sign| text.replace(&format!("{sign} "), sign));
    for part in joined.split([',', ' ']).filter(|part| !part.is_empty()) {
        let Range { from, to } = range(part)?;
        found.from = inner(scheme, found.from, from, Ordering::Greater)?;
        found.to = inner(scheme, found.to, to, Ordering::Less)?;
    }
    Ok(found)
}

fn inner(scheme: Scheme, a: Option<Edge>, b: Option<Edge>, wanted: Ordering) -> Result<Option<Edge>, String> {
    Ok(match (a, b) {
        (Some(a), Some(b)) => Some(if order(scheme, &a, &b)? == wanted { a } else { b }),
        (a, b) => a.or(b),
    })
}

/// What of `wanted` none of `without` holds, in order.
///
/// # Errors
/// Where versions cannot be compared.
pub fn rest(scheme: Scheme, wanted: &Range, without: &[Range]) -> Result<Vec<Range>, String> {
    if without.len() > RANGES_MAX {
        return Err(format!("more than {RANGES_MAX} ranges"));
    }
    let mut rest = vec![wanted.clone()];
    for hole in without {
        let mut kept = Vec::new();
        for range in rest {
            let before = Range { from: range.from.clone(), to: inner(scheme, range.to.clone(), hole.from.clone(), Ordering::Less)? };
            let after = Range { from: inner(scheme, range.from.clone(), hole.to.clone(), Ordering::Greater)?, to: range.to.clone() };
            for (part, there) in [(before, hole.from.is_some()), (after, hole.to.is_some())] {
                let empty = match (&part.from, &part.to) {
                    (Some(from), Some(to)) => order(scheme, from, to)?.is_ge(),
                    _ => false,
                };
                if there && !empty {
                    kept.push(part);
                }
            }
        }
        rest = kept;
    }
    Ok(rest)
}

/// Says that a range is vulnerable.
///
/// # Errors
/// Where the database is full.
pub fn claim(builder: &mut Builder, package: u32, subject: Subject, range: &Range) -> Result<(), String> {
    let (introduced, after) = range.from.as_ref().map_or(("", false), |edge| (edge.version.as_str(), edge.after));
    if after {
        // Claims start at a version; it itself is not affected.
        let exact = Statement { introduced, end: "", status: Status::NotAffected, flags: Claim::EXACT, note: "" };
        builder.claim(package, subject, &exact)?;
    }
    let statement = match &range.to {
        None => Statement { introduced, end: "", status: Status::Open, flags: 0, note: "" },
        Some(Edge { version, after: true }) => {
            Statement { introduced, end: version, status: Status::Open, flags: Claim::LAST_AFFECTED, note: "" }
        }
        Some(Edge { version, after: false }) => Statement { introduced, ..Statement::fixed(version) },
    };
    builder.claim(package, subject, &statement)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vulnerable(scheme: Scheme, safe: &[&str], version: &str) -> bool {
        let safe: Vec<Range> = safe.iter().map(|text| all_of(scheme, text).unwrap()).collect();
        let at = Edge { version: version.into(), after: false };
        rest(scheme, &Range::default(), &safe).unwrap().iter().any(|range| {
            range.from.as_ref().is_none_or(|from| order(scheme, from, &at).unwrap().is_le())
                && range.to.as_ref().is_none_or(|to| order(scheme, &at, to).unwrap().is_lt())
        })
    }

    #[test]
    fn what_is_left_is_vulnerable() {
        // rubysec, actionmailer: several patched series.
        let safe = ["~> 6.1.7.9", ">= 7.0.8, < 7.1", ">= 7.1.4", "< 3.0"];
        for (version, want) in [
            ("2.9", false),
            ("3.0", true),
            ("6.1.7.8", true),
            ("6.1.7.9", false),
            ("6.1.7.10", false),
            ("6.1.8", true),
            ("7.0.8", false),
            ("7.1", true),
            ("7.1.4", false),
        ] {
            assert_eq!(vulnerable(Scheme::Gem, &safe, version), want, "{version}");
        }
        assert!(!vulnerable(Scheme::Gem, &["<= 1.2"], "1.2") && vulnerable(Scheme::Gem, &["<= 1.2"], "1.2.1"));
        assert!(vulnerable(Scheme::Gem, &["> 4.2.3"], "4.2.3"));
        assert!(!vulnerable(Scheme::Gem, &["= 2.0.0"], "2.0") && vulnerable(Scheme::Gem, &["= 2.0.0"], "2.0.1"));
        assert!(vulnerable(Scheme::Gem, &[], "1"));
    }

    #[test]
    fn series_of_node_end_at_their_patched_version() {
        let of = |text: &str| all_of(Scheme::Semver, text).unwrap();
        let ranges = rest(Scheme::Semver, &of("4.x"), &[of("^4.8.4"), of(" ^6.11.1")]).unwrap();
        assert_eq!(ranges, [Range { from: edge("4", false), to: edge("4.8.4", false) }]);
        assert_eq!(of(">= 5 <6.2"), Range { from: edge("5", false), to: edge("6.2", false) });
        assert!(all_of(Scheme::Gem, "!= 2").is_err() && all_of(Scheme::Gem, "x").is_err());
    }
}
