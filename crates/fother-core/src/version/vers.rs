//! Ranges of versions as `vers` writes them (package-url/vers-spec): `vers:npm/>=1.0|<2.0|3.1`. Pure.

use super::scheme::Scheme;
use std::cmp::Ordering;

/// Most constraints of one range.
const CONSTRAINTS_MAX: usize = 1_000;

/// One end of an interval: the version, and whether it is inside.
pub type Bound<'a> = Option<(&'a str, bool)>;

/// A range: intervals, single versions, and versions that are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vers<'a> {
    /// Order of its versions.
    pub scheme: Scheme,
    /// From and to.
    pub intervals: Vec<(Bound<'a>, Bound<'a>)>,
    /// Single versions.
    pub single: Vec<&'a str>,
    /// Versions that are not meant.
    pub without: Vec<&'a str>,
}

/// The order of a range's type. Types without an order of their own (`generic`, `all`) go by numbers and letters, as rpm does.
fn scheme(kind: &str) -> Scheme {
    match kind {
        "deb" => Scheme::Dpkg,
        "alpine" | "apk" => Scheme::Apk,
        "npm" | "cargo" | "golang" | "semver" | "hex" | "pub" => Scheme::Semver,
        "pypi" => Scheme::Pep440,
        _ => Scheme::Rpm,
    }
}

/// Reads a range; `None` where it is none. A text without `vers:` is read as constraints of no type.
#[must_use]
pub fn parse(text: &str) -> Option<Vers<'_>> {
    let (kind, rest) = match text.strip_prefix("vers:") {
        Some(rest) => rest.split_once('/')?,
        None => ("generic", text),
    };
    let mut out = Vers { scheme: scheme(kind), intervals: Vec::new(), single: Vec::new(), without: Vec::new() };
    let mut open: Bound<'_> = None;
    for (count, constraint) in rest.split('|').map(str::trim).enumerate() {
        if count >= CONSTRAINTS_MAX || constraint.is_empty() {
            return None;
        }
        let (sign, version) = constraint.split_at(constraint.find(|c: char| !"<>=!".contains(c)).unwrap_or(constraint.len()));
        let version = version.trim();
        match (sign, version) {
            ("", "*") if count == 0 && !rest.contains('|') => out.intervals.push((None, None)),
            (_, "" | "*") => return None,
            ("" | "=" | "==", version) => out.single.push(version),
            ("!=", version) => out.without.push(version),
            (">" | ">=", version) => {
                if let Some(from) = open.replace((version, sign == ">=")) {
                    out.intervals.push((Some(from), None));
                }
            }
            ("<" | "<=", version) => out.intervals.push((open.take(), Some((version, sign == "<=")))),
            (_, _) => return None,
        }
    }
    if let Some(from) = open {
        out.intervals.push((Some(from), None));
    }
    Some(out)
}

impl Vers<'_> {
    /// Whether a version is inside; `None` where it cannot be compared.
    #[must_use]
    pub fn contains(&self, version: &str) -> Option<bool> {
        let same = |other: &&str| self.scheme.compare(version, other).map_or(*other == version, Ordering::is_eq);
        if self.without.iter().any(&same) {
            return Some(false);
        }
        if self.single.iter().any(&same) {
            return Some(true);
        }
        let mut unsure = false;
        for (from, to) in &self.intervals {
            let side = |bound: &Bound<'_>, inside: Ordering| match bound {
                None => Some(true),
                Some((limit, closed)) => self.scheme.compare(version, limit).map(|order| order == inside || *closed && order.is_eq()),
            };
            match (side(from, Ordering::Greater), side(to, Ordering::Less)) {
                (Some(true), Some(true)) => return Some(true),
                (Some(false), _) | (_, Some(false)) => {}
                (None, _) | (_, None) => unsure = true,
            }
        }
        (!unsure).then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_they_say() {
        let cases = [
            ("vers:generic/>=2.9|<=4.1", "2.9", Some(true)),
            ("vers:generic/>=2.9|<=4.1", "4.10", Some(false)),
            ("vers:generic/>=2.9|<=4.1", "2.8", Some(false)),
            ("vers:all/<V3.1.4", "V3.1.3", Some(true)),
            ("vers:all/<V3.1.4", "V3.1.4", Some(false)),
            ("vers:all/*", "x", Some(true)),
            ("vers:npm/1.2.3|>=2.0.0|<5.0.0|!=3.0.0", "1.2.3", Some(true)),
            ("vers:npm/1.2.3|>=2.0.0|<5.0.0|!=3.0.0", "3.0.0", Some(false)),
            ("vers:npm/1.2.3|>=2.0.0|<5.0.0|>=7.0.0", "7.1.0", Some(true)),
            ("vers:npm/>=2.0.0|<5.0.0", "not a version", None),
            ("vers:deb/<1.2-3~bpo1", "1.2-2", Some(true)),
            ("<2", "1", Some(true)),
        ];
        for (range, version, want) in cases {
            assert_eq!(parse(range).unwrap().contains(version), want, "{range} {version}");
        }
        for bad in ["vers:npm", "vers:npm/", "vers:npm/>=", "vers:npm/*|1", "vers:npm/<>1", "vers:npm/1||2"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
