//! Maintenance windows. (Placeholder until the store branch lands.)
/// A window.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// IANA zone.
    pub timezone: String,
}
/// A UTC interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Interval {
    /// Start.
    pub start: crate::Timestamp,
    /// End.
    pub end: crate::Timestamp,
    /// Cutoff: nothing starts from here on.
    pub last_start: crate::Timestamp,
}
