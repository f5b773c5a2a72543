//! One host's facts and acts: inventory, resolution, rehearsal, transaction, undo, checks. Synchronous; touches the file system and processes.

pub mod apt;
pub mod apt_get;
pub mod checks;
pub mod command;
pub mod dpkg;
pub mod findings;
pub mod foreign;
pub mod image;
pub mod in_use;
pub mod inventory;
pub mod languages;
pub mod manifest;
pub mod outside;
pub mod patchers;
pub mod processes;
pub mod reboot;
pub mod rehearse;
pub mod resolve;
pub mod sandbox;
pub mod scan;
pub mod services;
pub mod sockets;
pub mod traffic;
pub mod transact;
pub mod undo;

pub use fother_feeds::root;
