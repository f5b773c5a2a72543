//! The server's memory: append-only event log, blobs, leases and small state, on SQLite or PostgreSQL, in a directory or an S3-compatible store.
//! Touches the data directory and what it is told to use instead.
//!
//! The stored bytes of an event are the truth and are never parsed or written anew. Over them stands an RFC 6962 Merkle tree whose perfect
//! subtrees are stored with the events, in the same transaction. [`verify`] recomputes all of it and compares it with a signed checkpoint.

mod blobs;
mod cosigned;
mod database;
mod directory;
mod error;
mod export;
mod files;
mod lease;
mod log;
mod numbers;
mod objects;
mod place;
mod postgres;
mod runner;
mod small;
mod sqlite;
mod store;
mod tls;
mod transfer;
mod verify;

pub use blobs::{BLOB_BYTES_MAX, FILE};
pub use error::{AppendError, Error, LeaseError};
pub use export::verify_export;
pub use lease::{LOG_LEASE, Lease};
pub use log::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, EVENT_BYTES_MAX};
pub use place::Place;
pub use small::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use sqlite::DATABASE;
pub use store::Store;
pub use transfer::{Progress, Standing, Transferred, survey, transfer};
pub use verify::{Problem, VerifyReport, verify};
