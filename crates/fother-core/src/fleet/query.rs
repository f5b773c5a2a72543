//! Questions to a fleet as people write them: `CVE-2026-1234`, `DSA-6001-1`, `openssl<3.0.20`, `nginx`.

use super::{
    affected::{Affected, Found},
    index::Index,
};
use crate::version::scheme::Scheme;
use std::{cmp::Ordering, str::FromStr};

/// Longest question, in bytes.
pub const QUERY_BYTES_MAX: usize = 512;

/// How a version stands to the one that was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `<`
    Before,
    /// `<=`
    UpTo,
    /// `=`
    Is,
    /// `>=`
    From,
    /// `>`
    After,
}

/// A question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Hosts that hold a version of a binary or source package.
    Package {
        /// Binary or source package.
        name: String,
        /// Relation and version.
        versions: (Relation, String),
    },
    /// A name alone: a vulnerability, an advisory, or any version of a package, in this order.
    Name(String),
}

/// The text is no question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no question to a fleet: {why}; write CVE-2026-1234, DSA-6001-1, openssl<3.0.20 or nginx")]
pub struct ParseError {
    text: String,
    why: &'static str,
}

impl FromStr for Query {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let fail = |why| Err(ParseError { text: crate::text::printable(text, 80), why });
        if text.len() > QUERY_BYTES_MAX {
            return fail("it is too long");
        }
        let known = [("<=", Relation::UpTo), (">=", Relation::From), ("<", Relation::Before), (">", Relation::After), ("=", Relation::Is)];
        let at = text.find(['<', '=', '>']);
        let (name, rest) = at.map_or((text, ""), |at| text.split_at(at));
        let name = name.trim();
        if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return fail("it names nothing");
        }
        let Some((word, relation)) = known.into_iter().find(|(word, _)| rest.starts_with(word)) else {
            return Ok(Self::Name(name.to_owned()));
        };
        let version = rest[word.len()..].trim().to_owned();
        if crate::version::compare_text(&version, &version).is_err() {
            return fail("the version is none");
        }
        Ok(Self::Package { name: name.to_owned(), versions: (relation, version) })
    }
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Before => order.is_lt(),
            Self::UpTo => order.is_le(),
            Self::Is => order.is_eq(),
            Self::From => order.is_ge(),
            Self::After => order.is_gt(),
        }
    }
}

impl Index {
    /// Hosts that hold a binary or source package of this name in one of these versions; any version without `versions`.
    /// Inventories are dpkg's, so versions are compared in its order.
    #[must_use]
    pub fn holding(&self, name: &str, versions: Option<(Relation, &str)>) -> Affected {
        let mut out = Affected::default();
        let fits = |version: &str| {
            versions.is_none_or(|(relation, wanted)| Scheme::Dpkg.compare(version, wanted).is_some_and(|order| relation.holds(order)))
        };
        for (_, package) in self.packages.iter() {
            let version = if package.name() == name {
                package.version()
            } else if package.source() == name {
                package.source_version()
            } else {
                continue;
            };
            if !fits(version) {
                continue;
            }
            let hosts = self.hosts_of(&package.sets);
            out.hosts |= &hosts;
            let release = self.judged.get(package.judged).map(|judged| judged.release.to_string()).unwrap_or_default();
            let (package, version) = (package.name().to_owned(), package.version().to_owned());
            out.found.push(Found { release, package, version, status: None, fixed: None, hosts });
        }
        out.found.sort_by(|a, b| (&a.release, &a.package, &a.version).cmp(&(&b.release, &b.package, &b.version)));
        out
    }
}
