//! One host's facts and acts: inventory, resolution, rehearsal, transaction, undo, checks. Synchronous; touches the file system and processes.

pub mod apt;
pub mod checks;
pub mod command;
pub mod dpkg;
pub mod patchers;
pub mod reboot;
pub mod root;
pub mod services;
pub mod sockets;
