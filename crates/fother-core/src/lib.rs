//! The domain of Fother: pure types and decisions.
//!
//! Nothing in this crate does I/O, reads a clock, draws randomness or is async; `tests/purity.rs` says so.
//! A newcomer follows one update through the modules in this order: [`inventory`] → [`resolution`] → [`plan`] →
//! [`rehearsal`] → [`change`] → [`approval`] → [`rollout`] → [`event`] and [`state`], which keep the story.

pub mod advisory;
pub mod agent;
pub mod apkdb;
pub mod approval;
pub mod assess;
pub mod canonical;
pub mod change;
pub mod checkpoint;
pub mod cvss;
pub mod deb822;
pub mod decide;
pub mod diff;
pub mod digest;
pub mod directive;
pub mod dispatch;
pub mod epoch;
pub mod event;
pub mod fleet;
pub mod gate;
pub mod ics;
pub mod id;
pub mod identity;
pub mod image;
pub mod inventory;
pub mod languages;
pub mod merkle;
pub mod mutant;
pub mod package;
pub mod pattern;
pub mod plan;
pub mod policy;
pub mod predict;
pub mod protocol;
pub mod purl;
pub mod rank;
pub mod reboot_lock;
pub mod reconcile;
pub mod rehearsal;
pub mod report;
pub mod resolution;
pub mod rollout;
pub mod rpmdb;
pub mod sbom;
pub mod schedule;
pub mod ssvc;
pub mod standing;
pub mod state;
pub mod text;
pub mod time;
pub mod version;
pub mod vex;
pub mod window;
pub mod witness;
pub mod yaml;

pub use digest::Digest;
pub use time::Timestamp;
