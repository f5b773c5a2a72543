//! The command line of reboot locks. No behaviour.

use crate::sure::Sure;
use clap::Subcommand;

/// `fother lock …`.
#[derive(Debug, Subcommand)]
pub enum Lock {
    /// Hosts that others patch, and who of them holds a lock.
    #[command(after_help = "Example:\n  fother lock ls")]
    Ls,
    /// Register a host by the id that it shows; its labels say in which groups it counts.
    #[command(after_help = "Example:\n  fother lock add 4c5b0d3e8f1a4b6c9d2e7f0a1b3c5d7e --name core-1 --label role=web --label zone=a")]
    Add {
        /// Its id in the FleetLock protocol; Zincati prints it as `agent identity` at its start.
        client: String,
        /// What people call it.
        #[arg(long)]
        name: String,
        /// Labels that it gets.
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Free the lock of a host that will not say itself that it is back.
    #[command(after_help = "Example:\n  fother lock release core-1 --reason 'its disk is gone' --yes")]
    Release {
        /// Id or name.
        client: String,
        /// Why; it stays in the log.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Strike a host off: it counts nowhere any more, and is refused.
    #[command(after_help = "Example:\n  fother lock rm core-1 --reason replaced --yes")]
    Rm {
        /// Id or name.
        client: String,
        /// Why; it stays in the log.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
}
