//! Base scores from CVSS vectors, versions 2, 3.0, 3.1 and 4.0 (FIRST specifications), as tenths.

use serde::{Deserialize, Serialize};
use std::str::FromStr as _;

/// Longest vector that is read, in bytes.
pub const VECTOR_BYTES_MAX: usize = 512;

/// A score in tenths, 0 to 100: `98` is 9.8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(pub u8);

/// The qualitative rating scale (CVSS 4.0 specification, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// 0.0
    None,
    /// 0.1 to 3.9
    Low,
    /// 4.0 to 6.9
    Medium,
    /// 7.0 to 8.9
    High,
    /// 9.0 to 10.0
    Critical,
}

impl Score {
    /// Its place on the rating scale.
    #[must_use]
    pub fn severity(self) -> Severity {
        match self.0 {
            0 => Severity::None,
            1..=39 => Severity::Low,
            40..=69 => Severity::Medium,
            70..=89 => Severity::High,
            _ => Severity::Critical,
        }
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 / 10, self.0 % 10)
    }
}

/// The base score of a vector of any version; threat and environmental metrics count where the version folds them in (4.0).
/// `None` where the text is no vector.
#[must_use]
pub fn score(vector: &str) -> Option<Score> {
    if vector.len() > VECTOR_BYTES_MAX {
        return None;
    }
    let value = if vector.starts_with("CVSS:4") {
        cvss::v4::Vector::from_str(vector).ok()?.score().value()
    } else if vector.starts_with("CVSS:3") {
        cvss::v3::Vector::from_str(vector).ok()?.base_score().value()
    } else {
        cvss::v2::Vector::from_str(vector.trim_matches(['(', ')'])).ok()?.score().value()
    };
    tenths(value)
}

/// The version that a vector says it follows: 2, 3 or 4.
#[must_use]
pub fn version(vector: &str) -> u8 {
    match vector.get(..6) {
        Some("CVSS:4") => 4,
        Some("CVSS:3") => 3,
        _ => 2,
    }
}

fn tenths(value: f64) -> Option<Score> {
    let tenths = (value * 10.0).round();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
    (0.0..=100.0).contains(&tenths).then_some(Score(tenths as u8))
}
