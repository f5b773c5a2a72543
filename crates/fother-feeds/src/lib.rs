//! Verified acquisition of Debian archives and simple readers of advisories; touches the file system and the network.
//!
//! The chain is [`sources`] → [`trust`] → [`release`] → [`acquire`] → [`packages`]; [`lists`] reads what apt itself fetched.

pub mod acquire;
pub mod compress;
pub mod lists;
pub mod packages;
pub mod release;
pub mod root;
pub mod sources;
pub mod trust;
