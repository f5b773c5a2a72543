//! The agent: a network half without privileges and a small root executor that verifies everything again.
//!
//! A directive's way: [`network`] fetches it → [`ipc`] carries it → [`executor`] accepts it ([`state`]) → [`spool`] takes in the bytes that it
//! needs → [`verify`] checks approvals, plan, base and limits, [`archives`] the vendor's signatures → [`transaction`] journals and acts through
//! [`host`] → reports go back the same way. [`enrol`] and [`install`] set a host up; [`undo`] works with the server gone.

pub mod archives;
pub mod archives_host;
pub mod config;
pub mod durable;
pub mod enrol;
pub mod executor;
pub mod hidden;
pub mod host;
pub mod host_live;
pub mod install;
pub mod ipc;
pub mod kept;
pub mod network;
pub mod rehearse_here;
pub mod renewal;
pub mod rest;
pub mod spool;
pub mod state;
pub mod tls;
pub mod transaction;
pub mod undo;
pub mod units;
pub mod verify;
pub mod witness;
pub mod worker;

pub use config::Config;

#[cfg(test)]
mod tests;
