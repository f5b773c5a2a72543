//! The command line of the server's store: where it is, and moving, backing up and restoring it. No behaviour.

use crate::sure::Sure;
use clap::Subcommand;
use std::path::PathBuf;

/// Where the server's keys and store are.
#[derive(Clone, Debug, clap::Args)]
pub struct At {
    /// The server's data directory: its keys, and the store unless --store or --blobs say otherwise.
    #[arg(long, env = "FOTHER_DATA_DIR", default_value = "/var/lib/fother/server")]
    pub data_dir: PathBuf,
    /// Where the log lies: `sqlite` (below the data directory), postgres://user@host/database, or @FILE that holds such a line. An address
    /// with a password belongs into a file, into FOTHER_STORE, or into the credential `fother-store`; on the command line it is refused.
    #[arg(long, value_name = "PLACE")]
    pub store: Option<String>,
    /// Where blobs lie: an absolute directory, or s3://bucket/prefix?endpoint=URL&region=NAME (else FOTHER_BLOBS). Keys come from
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or from the credential `fother-s3`.
    #[arg(long, value_name = "PLACE")]
    pub blobs: Option<String>,
}

/// `fother store …`.
#[derive(Debug, Subcommand)]
pub enum Store {
    /// Where the store is, what is in it, and whether a server may work on it.
    #[command(
        after_help = "Examples:\n  sudo fother store show\n  sudo fother store show --store @/etc/fother/store --blobs s3://bucket/fother"
    )]
    Show {
        /// Which.
        #[command(flatten)]
        at: At,
    },
    /// Move the store: to PostgreSQL, to an S3-compatible store, or back. Goes on where it was cut off; verified before the old one is closed.
    #[command(
        after_help = "Examples:\n  sudo fother store migrate --store @/etc/fother/store --blobs s3://bucket/fother --dry-run\n  sudo fother store migrate --store @/etc/fother/store --blobs s3://bucket/fother --yes\n  sudo fother store migrate --from-store @/etc/fother/store --from-blobs s3://bucket/fother --store sqlite --data-dir /var/lib/fother/back\n\nStop the server first. The old store is marked as moved and does not start any more; `fother store reopen` takes that back."
    )]
    Migrate {
        /// Where it shall be.
        #[command(flatten)]
        at: At,
        /// Where it is now, in the form of --store; below --from-data-dir unless it is named.
        #[arg(long, value_name = "PLACE", default_value = "sqlite")]
        from_store: String,
        /// Where the blobs are now, in the form of --blobs.
        #[arg(long, value_name = "PLACE")]
        from_blobs: Option<String>,
        /// Data directory that it is in now, and that the keys are taken from; the same unless it is named.
        #[arg(long)]
        from_data_dir: Option<PathBuf>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Write a consistent copy into a directory, also while servers run: log, blobs, small state, keys. The same directory again takes only what is new.
    #[command(
        after_help = "Examples:\n  sudo fother store backup /mnt/backup/fother\n  sudo fother store backup /mnt/backup/fother --without-keys\n\nThe backup holds the server's keys: keep it as you keep them, or leave them out and keep them elsewhere."
    )]
    Backup {
        /// The directory; new, empty, or an earlier backup of the same log.
        dir: PathBuf,
        /// Of which store.
        #[command(flatten)]
        at: At,
        /// Leave the server's keys out.
        #[arg(long)]
        without_keys: bool,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Make a store out of a backup, here or elsewhere. The server that starts on it begins a new epoch: what the old one ordered is dead on the hosts.
    #[command(
        after_help = "Examples:\n  sudo fother store restore /mnt/backup/fother --yes\n  sudo fother store restore /mnt/backup/fother --data-dir /srv/fother --store @/etc/fother/store --blobs s3://bucket/fother --yes\n\nNothing begins on any host until `fother resume --all`; the server that the backup was taken from must never run again."
    )]
    Restore {
        /// The backup.
        dir: PathBuf,
        /// Where it shall be; empty.
        #[command(flatten)]
        at: At,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Let a server work on a store again that was marked as moved. The one that it moved to must never run again: its log would fork.
    #[command(after_help = "Example:\n  sudo fother store reopen --data-dir /var/lib/fother/server --yes")]
    Reopen {
        /// Which.
        #[command(flatten)]
        at: At,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
}
