//! The server's memory: append-only event log, blobs, leases and small state on SQLite and a directory. Touches that directory only.
//!
//! The stored bytes of an event are the truth and are never parsed or written anew. Over them stands an RFC 6962 Merkle tree whose perfect
//! subtrees are stored with the events, in the same transaction. [`verify`] recomputes all of it and compares it with a signed checkpoint.

mod blobs;
mod cosigned;
mod error;
mod export;
mod lease;
mod log;
mod open;
mod small;
mod verify;

pub use blobs::{BLOB_BYTES_MAX, FILE};
pub use error::{AppendError, Error, LeaseError};
pub use export::verify_export;
pub use lease::{LOG_LEASE, Lease};
pub use log::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX};
pub use open::{DATABASE, Store};
pub use small::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use verify::{Problem, VerifyReport, verify};
