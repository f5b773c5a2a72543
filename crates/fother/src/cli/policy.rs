//! The command line of policies and windows. No behaviour.

use crate::sure::Sure;
use clap::Subcommand;
use std::path::PathBuf;

/// `fother window …`.
#[derive(Debug, Subcommand)]
pub enum Window {
    /// When a window of the policy files opens next, in UTC and on its own clocks; needs no server.
    #[command(
        after_help = "Examples:\n  fother window show sunday-night --next 10\n  fother window show sunday-night --format ics > windows.ics\n  fother window show sunday-night --group web    # without the freezes that stop the group"
    )]
    Show {
        /// Its name.
        name: String,
        /// So many openings.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=400))]
        next: u16,
        /// Without the freezes that stop this group.
        #[arg(long)]
        group: Option<String>,
        /// Counted from this moment on, RFC 3339; now if left out.
        #[arg(long)]
        from: Option<String>,
        /// Directory with `fother.toml` and `policies/*.toml`, or the file.
        #[arg(long, default_value = ".")]
        policy: PathBuf,
    },
    /// All windows of the policy files, and when each opens next.
    #[command(after_help = "Example:\n  fother window ls --policy ops/fother")]
    Ls {
        /// Directory with `fother.toml` and `policies/*.toml`, or the file.
        #[arg(long, default_value = ".")]
        policy: PathBuf,
    },
}

/// `fother policy …`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Check the files of a policy; needs no server.
    #[command(
        after_help = "Examples:\n  fother policy check\n  fother policy check ops/fother --format json\n\nExit codes: 0 fine, 2 something is wrong: each fault with file, line and column."
    )]
    Check {
        /// Directory with `fother.toml` and `policies/*.toml`, or the file.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// What the files say otherwise than the policy that the server runs, in words, and whether it loosens.
    #[command(
        after_help = "Examples:\n  fother policy diff\n  fother policy diff ops/fother --format json\n\nExit codes: 0 nothing loosens, 1 something does: it needs the approvals that the policy in force demands."
    )]
    Diff {
        /// Directory with `fother.toml` and `policies/*.toml`, or the file.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Bring the files into force: at once where they tighten, as a signed proposal where they loosen.
    #[command(
        after_help = "Examples:\n  fother policy apply --dry-run\n  fother policy apply ops/fother --yes\n  fother policy apply --key ~/.ssh/id_ed25519 --yes"
    )]
    Apply {
        /// Directory with `fother.toml` and `policies/*.toml`, or the file.
        #[arg(default_value = ".")]
        dir: PathBuf,
        /// The author's SSH key, as for `ssh-keygen -Y sign -f`; needed where something loosens.
        #[arg(long)]
        key: Option<PathBuf>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Show what a proposed policy loosens, then sign; the approval that suffices brings it into force.
    #[command(after_help = "Example:\n  fother policy approve 3f5a --key ~/.ssh/id_ed25519")]
    Approve {
        /// Digest of the proposed policy or its first digits.
        policy: String,
        /// The approver's SSH key.
        #[arg(long)]
        key: PathBuf,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// The policy in force, and the proposals that wait for approval.
    #[command(after_help = "Example:\n  fother policy show --format json")]
    Show,
    /// What would happen in the next days to this fleet: which host, in which window, with which updates.
    #[command(
        after_help = "Examples:\n  fother policy simulate                     # under the policy that the server runs\n  fother policy simulate ops/fother --days 60   # under these files\n  fother policy simulate --format ics > patching.ics"
    )]
    Simulate {
        /// Files of a policy instead of the one in force: directory with `fother.toml` and `policies/*.toml`, or the file.
        dir: Option<PathBuf>,
        /// So many days from now.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
    },
    /// The JSON schema of the files, for editors.
    #[command(
        after_help = "Examples:\n  fother policy schema > fother.schema.json\n\nIn an editor with Taplo: put `#:schema ./fother.schema.json` on the first line of fother.toml."
    )]
    Schema,
}
