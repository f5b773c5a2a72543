//! The command line of `fother diff` and `fother reconcile`. No behaviour.

use std::path::PathBuf;

/// `fother diff`.
#[derive(Debug, clap::Args)]
pub struct Diff {
    /// The state before: a root directory, an image, an SBOM, a lock file, an inventory or a saved `fother scan --format json`.
    pub a: PathBuf,
    /// The state after; without it, the first one again, which `--as-of` sets on different days.
    pub b: Option<PathBuf>,
    /// Judge the first state (given twice: each) by what advisories had been published on this day.
    #[arg(long, value_name = "DAY")]
    pub as_of: Vec<String>,
    /// Exit 1 if findings were opened.
    #[arg(long, value_parser = ["opened"])]
    pub fail_on: Option<String>,
    /// Database of advisories; the one of `fother feeds` is used if it is there.
    #[arg(long, env = "FOTHER_DB")]
    pub db: Option<PathBuf>,
    /// Days after which any feed is stale, instead of each kind's own.
    #[arg(long)]
    pub feed_max_age: Option<u32>,
}

/// `fother reconcile`.
#[derive(Debug, clap::Args)]
pub struct Reconcile {
    /// The other scanner's report; `-` reads standard input.
    pub report: PathBuf,
    /// Root directory that the report speaks of.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Image, SBOM, lock file or inventory that the report speaks of, instead of a root.
    #[arg(long, conflicts_with = "root")]
    pub file: Option<PathBuf>,
    /// Write OpenVEX with which that scanner leaves out what is no finding.
    #[arg(long, value_name = "FILE")]
    pub write_vex: Option<PathBuf>,
    /// Let the OpenVEX silence code that no process has loaded now, too; it may be loaded a minute later.
    #[arg(long, requires = "write_vex")]
    pub silence_not_loaded: bool,
    /// Database of advisories; the one of `fother feeds` is used if it is there.
    #[arg(long, env = "FOTHER_DB")]
    pub db: Option<PathBuf>,
    /// Days after which any feed is stale, instead of each kind's own.
    #[arg(long)]
    pub feed_max_age: Option<u32>,
}
