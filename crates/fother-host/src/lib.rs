//! One host's facts and acts: inventory, resolution, rehearsal, transaction, undo, checks. Synchronous; touches the file system and processes.

pub mod manifest;
pub mod rehearse;
pub mod transact;
pub mod undo;
