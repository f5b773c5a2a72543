//! The command line of schedules and standing approvals. No behaviour.

use crate::sure::Sure;
use clap::Subcommand;
use std::path::PathBuf;

/// `fother schedule …`.
#[derive(Debug, Subcommand)]
pub enum Schedule {
    /// All schedules: what became of the last moment, when the next is, when a rollout begins.
    #[command(after_help = "Example:\n  fother schedule ls --format json")]
    Ls,
    /// One schedule: how far it is and why, its notice, its deferrals, until when it may be put off.
    #[command(
        after_help = "Example:\n  fother schedule show web-weekly\n\nExit codes: 0 fine, 1 its draft waits for people, 3 it could not be drafted."
    )]
    Show {
        /// Its name in the policy.
        schedule: String,
    },
    /// Draft its plan now, out of turn; the rest of the way is the same.
    #[command(after_help = "Examples:\n  fother schedule run web-weekly --dry-run\n  fother schedule run web-weekly")]
    Run {
        /// Its name in the policy.
        schedule: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Put its rollout off, as an owner, within what the policy allows and before anything of it is due.
    #[command(
        after_help = "Examples:\n  fother schedule defer web-weekly --by 2d --reason 'a launch' --key ~/.ssh/id_ed25519\n  fother schedule defer web-weekly --until 2026-12-02T08:00:00Z --reason 'a launch' --key anna.key --dry-run"
    )]
    Defer {
        /// Its name in the policy.
        schedule: String,
        /// Not before this moment, RFC 3339.
        #[arg(long, conflicts_with = "by", required_unless_present = "by")]
        until: Option<String>,
        /// So much later than it would begin: 12h, 2d.
        #[arg(long)]
        by: Option<String>,
        /// Why; it stays in the log.
        #[arg(long)]
        reason: String,
        /// The owner's SSH key, as for `ssh-keygen -Y sign -f`.
        #[arg(long)]
        key: PathBuf,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
}

/// `fother standing …`.
#[derive(Debug, Subcommand)]
pub enum Standing {
    /// What a standing approval for a group would say now: all its hosts by name, its checks, its window. Changes nothing.
    #[command(
        after_help = "Example:\n  fother standing draft web --name web-security --class security --packages 20 --days 60 --key author.key > draft.json\n\nHosts may be taken out of the draft, nothing else changed."
    )]
    Draft {
        /// Group of the policy.
        group: String,
        /// Name for people.
        #[arg(long)]
        name: String,
        /// Kinds of update that it covers, as the archives say: security, bugfix, enhancement.
        #[arg(long = "class", value_delimiter = ',', required = true, value_parser = ["security", "bugfix", "enhancement"])]
        classes: Vec<String>,
        /// Most packages of one transaction.
        #[arg(long, default_value_t = 20)]
        packages: u32,
        /// Cover what needs a reboot, too.
        #[arg(long)]
        reboot: bool,
        /// `Origin` of archives that packages may come from; those of the approvers file unless one is named.
        #[arg(long)]
        origin: Vec<String>,
        /// Accept a unit that rehearsals may leave unexercised, or an outage as `outage:GROUP`.
        #[arg(long)]
        acknowledge: Vec<String>,
        /// Days from now until it expires, at most 90.
        #[arg(long, default_value_t = 30)]
        days: u32,
        /// The author's SSH key.
        #[arg(long)]
        key: PathBuf,
    },
    /// Sign a draft as its author and submit it.
    #[command(after_help = "Example:\n  fother standing submit draft.json --key author.key")]
    Submit {
        /// File that `draft` wrote.
        draft: PathBuf,
        /// The author's SSH key, the one that it was drafted with.
        #[arg(long)]
        key: PathBuf,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Show what it covers, then sign.
    #[command(after_help = "Example:\n  fother standing approve 1f0c --key ~/.ssh/id_ed25519")]
    Approve {
        /// Digest or its first digits, or its name.
        standing: String,
        /// The approver's SSH key.
        #[arg(long)]
        key: PathBuf,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// All standing approvals.
    #[command(after_help = "Example:\n  fother standing ls --format json")]
    Ls,
    /// What one covers, who signed it, and which hosts of its group it does not cover.
    #[command(
        after_help = "Example:\n  fother standing show web-security\n\nExit codes: 0 fine, 1 hosts of the group are not covered, or it does not count."
    )]
    Show {
        /// Digest or its first digits, or its name.
        standing: String,
    },
    /// Let it count no more: nothing begins under it from now on.
    #[command(after_help = "Example:\n  fother standing revoke web-security --reason 'anna left the team'")]
    Revoke {
        /// Digest or its first digits, or its name.
        standing: String,
        /// Why; it stays in the log.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
}
