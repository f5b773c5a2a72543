//! Verified acquisition of Debian archives and simple readers of advisories; touches the file system and the network.
//!
//! The chain is [`sources`] → [`trust`] → [`release`] → [`acquire`] → [`packages`]; [`archive`] drives it over
//! [`fetch`] and [`cache`]; [`lists`] reads what apt itself fetched; [`changelog`] and [`advisories`] say what an update closes.

pub mod acquire;
pub mod archive;
pub mod cache;
pub mod changelog;
pub mod compile;
pub mod compress;
pub mod database;
pub mod fetch;
pub mod intake;
pub mod lists;
pub mod packages;
pub mod reading;
pub mod release;
pub mod root;
pub mod sources;
pub mod sources_table;
pub mod trust;
pub mod vendor;
