//! apt's own rules, applied without apt: configuration, pins, phasing, candidates. Reads files of a root only.

pub mod archives;
pub mod candidates;
pub mod conf;
pub mod pattern;
pub mod phasing;
pub mod pins;
