//! Which order the versions of a distribution or ecosystem follow.

use super::{apk, composer, gem, maven, pep440, rpm, semver};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// An order of versions. Written into the advisory database, so a number never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Scheme {
    /// Debian and Ubuntu (deb-version(7)).
    Dpkg = 1,
    /// RPM distributions.
    Rpm = 2,
    /// Alpine.
    Apk = 3,
    /// Semantic versions as crates.io, Go, npm and Bitnami use them.
    Semver = 4,
    /// Python (PEP 440).
    Pep440 = 5,
    /// An order that is not known here: only texts that are equal are comparable.
    Opaque = 6,
    /// Ruby gems.
    Gem = 7,
    /// Maven.
    Maven = 8,
    /// PHP (Composer).
    Composer = 9,
}

impl Scheme {
    /// All.
    pub const ALL: [Self; 9] =
        [Self::Dpkg, Self::Rpm, Self::Apk, Self::Semver, Self::Pep440, Self::Opaque, Self::Gem, Self::Maven, Self::Composer];

    /// From its number in the advisory database.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|s| *s as u8 == number)
    }

    /// The order of an OSV ecosystem (OSV schema, "Defined Ecosystems"), which may carry a release behind a colon.
    #[must_use]
    pub fn of_ecosystem(ecosystem: &str) -> Self {
        match ecosystem.split(':').next().unwrap_or_default() {
            "Debian" | "Ubuntu" => Self::Dpkg,
            "AlmaLinux" | "Rocky Linux" | "Red Hat" | "SUSE" | "openSUSE" | "Mageia" | "openEuler" | "Azure Linux" | "Amazon Linux" => {
                Self::Rpm
            }
            "Alpine" | "Wolfi" | "Chainguard" | "Alpaquita" => Self::Apk,
            "crates.io" | "Go" | "npm" | "Bitnami" | "Hex" | "Pub" | "SwiftURL" | "GitHub Actions" | "Node.js" => Self::Semver,
            "RubyGems" => Self::Gem,
            "Maven" => Self::Maven,
            "Packagist" => Self::Composer,
            "PyPI" => Self::Pep440,
            _ => Self::Opaque,
        }
    }

    /// Compares two versions; `None` where one is no version of this scheme, so nothing can be told.
    #[must_use]
    pub fn compare(self, a: &str, b: &str) -> Option<Ordering> {
        match self {
            Self::Dpkg => super::compare_text(a, b).ok(),
            Self::Rpm => Some(rpm::compare(a, b)),
            Self::Apk => (apk::is_valid(a) && apk::is_valid(b)).then(|| apk::compare(a, b)),
            Self::Semver => semver::compare(a, b),
            Self::Pep440 => pep440::compare(a, b),
            Self::Gem => gem::compare(a, b),
            Self::Maven => maven::compare(a, b),
            Self::Composer => composer::compare(a, b),
            Self::Opaque => (a == b).then_some(Ordering::Equal),
        }
    }
}
