//! The command line of a fleet: hosts, archives, plans, changes, rollouts, the log. No behaviour.

use crate::sure::Sure;
use clap::Subcommand;
use std::path::PathBuf;

/// `fother host …`.
#[derive(Debug, Subcommand)]
pub enum Host {
    /// All hosts, or those that a vulnerability, an advisory or a package version is on.
    #[command(
        after_help = "Examples:\n  fother host ls --format json\n  fother host ls --affected CVE-2026-45447\n  fother host ls --affected 'openssl<3.0.20'\n  fother host ls --affected DSA-6001-1\n  fother host ls --silent"
    )]
    Ls {
        /// Only hosts that this is on: a vulnerability, an advisory, or a binary or source package with `<`, `<=`, `=`, `>=`, `>` and a version.
        #[arg(long, value_name = "CVE|ADVISORY|PACKAGE[<VERSION]", conflicts_with = "silent")]
        affected: Option<String>,
        /// Only hosts that nobody patches from here now: not heard of, shut out, or two of one name.
        #[arg(long)]
        silent: bool,
    },
    /// One host.
    #[command(after_help = "Example:\n  fother host show web-1")]
    Show {
        /// Id or host name.
        host: String,
    },
    /// A one-time enrolment token, valid for an hour.
    #[command(after_help = "Example:\n  fother host token --label role=web --label zone=a > token")]
    Token {
        /// Labels that the host gets.
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Shut an identity out at once, for a key that was stolen: its connections end, its certificate is refused from now on.
    #[command(
        after_help = "Example:\n  fother host revoke web-9 --reason 'its disk was stolen' --yes\n\nIt counts as out of service until it is retired. The way back: `fother agent uninstall` there, then enrol with a new token."
    )]
    Revoke {
        /// Id or host name.
        host: String,
        /// Why; it stays in the log.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Let a host go for good; it stops counting in budgets.
    #[command(after_help = "Examples:\n  fother host retire web-9 --dry-run\n  fother host retire web-9 --yes")]
    Retire {
        /// Id or host name.
        host: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
}

/// `fother archive …`.
#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Acquire and verify the newest state of each archive; what is refused leaves the old state.
    #[command(after_help = "Examples:\n  fother archive update\n  fother archive update --dry-run")]
    Update {
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// All archives.
    #[command(after_help = "Example:\n  fother archive ls")]
    Ls,
    /// One archive.
    #[command(after_help = "Example:\n  fother archive show bookworm-security")]
    Show {
        /// Its name in the policy.
        archive: String,
    },
}

/// `fother plan …`.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Let hosts resolve, group them, name the result.
    #[command(
        after_help = "Examples:\n  fother plan new web\n  fother plan new web --exclude lab-site\n  fother plan new web --due-within 14d\n  fother plan new web --risk 90%\n  fother plan new web --emergency known-exploited"
    )]
    New {
        /// Group of the policy.
        group: String,
        /// Source packages to leave out.
        #[arg(long, value_delimiter = ',')]
        exclude: Vec<String>,
        /// Why they are left out.
        #[arg(long, default_value = "left out by the author")]
        because: String,
        /// Take only what is due within this time: 14d, 2w.
        #[arg(long, conflicts_with = "risk")]
        due_within: Option<fother_core::rank::select::Days>,
        /// Take only what removes this share of the expected risk, the riskiest first: 90%.
        #[arg(long)]
        risk: Option<fother_core::rank::select::Percent>,
        /// Whether the group is reachable from the internet.
        #[arg(long, value_parser = ["yes", "no"])]
        exposed: Option<String>,
        /// Take this emergency path of the policy, by name.
        #[arg(long, value_name = "PATH")]
        emergency: Option<String>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Let an update be planned again that was rolled back.
    #[command(after_help = "Example:\n  fother plan clear web nginx 1.22.1-9+deb12u7 --reason site-mended")]
    Clear {
        /// Group of the policy.
        group: String,
        /// Source package.
        source: String,
        /// The version that was rolled back.
        version: String,
        /// What was mended; it stays in the log.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Rehearse each cohort on a clone of one of its hosts, and wait.
    #[command(after_help = "Examples:\n  fother plan rehearse 1f0c\n  fother plan rehearse 1f0c --no-bisect")]
    Rehearse {
        /// Plan digest or its first digits.
        plan: String,
        /// Do not look for the smallest failing set.
        #[arg(long)]
        no_bisect: bool,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// A plan, its cohorts and their rehearsals.
    #[command(after_help = "Example:\n  fother plan show 1f0c --format json")]
    Show {
        /// Plan digest or its first digits.
        plan: String,
    },
    /// All plans.
    #[command(after_help = "Example:\n  fother plan ls")]
    Ls,
}

/// `fother change …`.
#[derive(Debug, Subcommand)]
pub enum Change {
    /// Submit a rehearsed plan.
    #[command(
        after_help = "Examples:\n  fother change submit 1f0c --key ~/.ssh/id_ed25519\n  fother change submit 1f0c --key author.key --acknowledge cups.service"
    )]
    Submit {
        /// Plan digest or its first digits.
        plan: String,
        /// The author's SSH key, as for `ssh-keygen -Y sign -f`.
        #[arg(long)]
        key: PathBuf,
        /// Accept a unit that the rehearsal could not exercise.
        #[arg(long)]
        acknowledge: Vec<String>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Show plan, rehearsal, risk, window and rollback, then sign.
    #[command(
        after_help = "Examples:\n  fother change approve change_01m8e3vn1bf6q9ecteb984c6et --key ~/.ssh/id_ed25519\n  fother change approve change_01m8e3vn1bf6q9ecteb984c6et --key ~/.ssh/id_ed25519_sk --yes"
    )]
    Approve {
        /// Change id.
        change: String,
        /// The approver's SSH key.
        #[arg(long)]
        key: PathBuf,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Say no.
    #[command(after_help = "Example:\n  fother change reject change_01m8e3vn1bf6q9ecteb984c6et --reason freeze")]
    Reject {
        /// Change id.
        change: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// A change as its approvers see it.
    #[command(after_help = "Example:\n  fother change show change_01m8e3vn1bf6q9ecteb984c6et")]
    Show {
        /// Change id.
        change: String,
    },
    /// All changes.
    #[command(after_help = "Example:\n  fother change ls")]
    Ls,
}

/// `fother rollout …`.
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Start an approved change.
    #[command(after_help = "Example:\n  fother rollout start change_01m8e3vn1bf6q9ecteb984c6et --watch")]
    Start {
        /// Change id.
        change: String,
        /// Stay and watch.
        #[arg(long)]
        watch: bool,
        /// Take the place of rollouts that run over the same hosts: what is at work there finishes, nothing else begins.
        #[arg(long)]
        supersede: bool,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Watch until it ends.
    #[command(after_help = "Examples:\n  fother rollout watch\n  fother rollout watch rollout_01m8e3vn1bf6q9ecteb984c6et")]
    Watch {
        /// Rollout id; the newest if left out.
        rollout: Option<String>,
    },
    /// Stand still.
    #[command(after_help = "Example:\n  fother rollout pause rollout_01m8e3vn1bf6q9ecteb984c6et")]
    Pause {
        /// Rollout id.
        rollout: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Go on.
    #[command(after_help = "Example:\n  fother rollout resume rollout_01m8e3vn1bf6q9ecteb984c6et")]
    Resume {
        /// Rollout id.
        rollout: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Stop for good; hosts that are at work finish.
    #[command(
        after_help = "Examples:\n  fother rollout abort rollout_01m8e3vn1bf6q9ecteb984c6et --dry-run\n  fother rollout abort rollout_01m8e3vn1bf6q9ecteb984c6et --yes"
    )]
    Abort {
        /// Rollout id.
        rollout: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Undo what it did, host by host within the budget; the newest rollout of a host first.
    #[command(
        after_help = "Examples:\n  fother rollout rollback rollout_01m8e3vn1bf6q9ecteb984c6et --dry-run\n  fother rollout rollback rollout_01m8e3vn1bf6q9ecteb984c6et --yes"
    )]
    Rollback {
        /// Rollout id.
        rollout: String,
        /// Stay and watch.
        #[arg(long)]
        watch: bool,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Leave a host out that has not begun.
    #[command(after_help = "Example:\n  fother rollout skip rollout_01m8e3vn1bf6q9ecteb984c6et web-3 --reason 'its owner asked'")]
    Skip {
        /// Rollout id.
        rollout: String,
        /// Host, by name or id.
        host: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// All rollouts.
    #[command(after_help = "Example:\n  fother rollout ls")]
    Ls,
    /// One rollout, host by host.
    #[command(after_help = "Example:\n  fother rollout show rollout_01m8e3vn1bf6q9ecteb984c6et")]
    Show {
        /// Rollout id; the newest if left out.
        rollout: Option<String>,
    },
}

/// `fother stop`.
#[derive(Debug, clap::Args)]
pub struct Stop {
    /// Everywhere; there is nothing smaller yet, so it must be said.
    #[arg(long, required = true)]
    pub all: bool,
    /// Why.
    #[arg(long, default_value = "no reason given")]
    pub reason: String,
    /// Whether to do it.
    #[command(flatten)]
    pub sure: Sure,
}

/// `fother resume`.
#[derive(Debug, clap::Args)]
pub struct Resume {
    /// Everywhere.
    #[arg(long, required = true)]
    pub all: bool,
    /// Whether to do it.
    #[command(flatten)]
    pub sure: Sure,
}

/// `fother log …`.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Events, newest last.
    #[command(after_help = "Examples:\n  fother log show\n  fother log show --from 0 --format json")]
    Show {
        /// From this event on; negative counts from the end.
        #[arg(long, default_value_t = -50, allow_hyphen_values = true)]
        from: i64,
    },
    /// Check the whole log: tree, stored bytes, checkpoint, cosignatures, fold. Needs no server.
    #[command(after_help = "Examples:\n  sudo fother log verify\n  fother log verify audit.tar --key fother-server/log+…")]
    Verify {
        /// An exported file, instead of a data directory.
        #[arg(requires = "key")]
        file: Option<PathBuf>,
        /// The log's key, as `fother log key` printed it on the server or as a host pinned it; or a file that holds it. Never taken from the export.
        #[arg(long)]
        key: Option<String>,
        /// Which store.
        #[command(flatten)]
        at: super::At,
    },
    /// Write the log, its tree, its newest checkpoint and the hosts' cosignatures to a tar file, for an auditor.
    #[command(after_help = "Example:\n  sudo fother log export audit.tar")]
    Export {
        /// The file; must not exist.
        file: PathBuf,
        /// Of which store.
        #[command(flatten)]
        at: super::At,
    },
    /// Print the public key that checkpoints are signed with.
    #[command(after_help = "Example:\n  sudo fother log key")]
    Key {
        /// The server's data directory.
        #[arg(long, default_value = "/var/lib/fother/server")]
        data_dir: PathBuf,
    },
}
