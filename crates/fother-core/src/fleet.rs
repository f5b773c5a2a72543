//! Which hosts of a fleet hold or lack what: packages and package sets, each kept once, and bitmaps between them. Pure.
//!
//! A fleet repeats itself. A package version is kept once, with the bitmap of the package sets that hold it; a package set
//! is kept once, with the bitmap of the hosts that have it. A question is answered for distinct versions only, and its
//! hosts are the union of a few bitmaps. [`affected`] answers from the advisory database as it stands: nothing of an
//! answer is kept, so a new advisory needs no more than a new database.

pub mod affected;
mod index;
pub mod query;
pub mod reassess;
mod said;
#[cfg(test)]
mod tests;

pub use index::{Full, Index};

/// Most distinct package versions in one index.
pub const PACKAGES_MAX: usize = 1_000_000;
/// Most packages of one host; as many as a server accepts in one inventory.
pub const HOST_PACKAGES_MAX: usize = 100_000;
