//! The command line of `fother feeds`. No behaviour.

use clap::Subcommand;
use std::path::PathBuf;

/// `fother feeds …`.
#[derive(Debug, Subcommand)]
pub enum Feeds {
    /// Fetch the vendors' feeds and compile them.
    #[command(
        after_help = "Examples:\n  fother feeds update\n  fother feeds update debian kev epss\n  fother feeds update --sources sources.toml"
    )]
    Update {
        /// Only sources whose names start so.
        names: Vec<String>,
        /// Another table of sources than the built-in one.
        #[arg(long)]
        sources: Option<PathBuf>,
        /// Where feeds and database are kept; /var/lib/fother/feeds, or the user's own data directory.
        #[arg(long, env = "FOTHER_FEEDS_DIR")]
        dir: Option<PathBuf>,
        /// Print the table of sources and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take in files that were brought here; what they are is told by their content.
    #[command(
        after_help = "Examples:\n  fother feeds import /mnt/usb/feeds\n  fother feeds import --kind nuclei cves.txt\n  fother feeds import /mnt/usb/csaf --keyring vendor.asc"
    )]
    Import {
        /// Files and folders.
        #[arg(required_unless_present = "offered")]
        paths: Vec<PathBuf>,
        /// What the files are: debian-tracker, debian-list, osv, kev, epss, cve, debian-dates, ubuntu-dates, debian-support-ended,
        /// debian-support-limited, metasploit, nuclei, exploit-db, csaf, openvex, cyclonedx-vex, updateinfo, alpine-secdb, exploited
        /// (CVEs that another catalogue than CISA's knows).
        #[arg(long)]
        kind: Option<String>,
        /// What `fother feeds update` fetched, with origins and kinds.
        #[arg(long, hide = true, conflicts_with = "paths")]
        offered: Option<PathBuf>,
        /// CSAF files must be signed by a key of this keyring: the vendor's public key, from the vendor. Hashes beside a file (.sha256, .sha512) are always compared.
        #[arg(long, value_name = "FILE")]
        keyring: Option<PathBuf>,
        /// Let feeds in that are older or much smaller than those in use.
        #[arg(long)]
        force: bool,
        /// Where feeds and database are kept.
        #[arg(long, env = "FOTHER_FEEDS_DIR")]
        dir: Option<PathBuf>,
    },
    /// Each feed's date, digest and freshness.
    #[command(after_help = "Examples:\n  fother feeds status\n  fother feeds status --verify")]
    Status {
        /// Where feeds and database are kept.
        #[arg(long, env = "FOTHER_FEEDS_DIR")]
        dir: Option<PathBuf>,
        /// Days after which any feed is stale, instead of each kind's own.
        #[arg(long)]
        max_age: Option<u32>,
        /// Read every byte of the database and compare with its digest.
        #[arg(long)]
        verify: bool,
    },
}
