//! One host's facts and acts: inventory, resolution, rehearsal, transaction, undo, checks. Synchronous; touches the file system and processes.

pub mod command;
pub mod dpkg;
pub mod reboot;
pub mod root;
pub mod services;
pub mod sockets;
