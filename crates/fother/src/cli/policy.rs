//! The command line of policies and windows. No behaviour.

use crate::sure::Sure;
use clap::Subcommand;
use std::path::PathBuf;

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
    /// The JSON schema of the files, for editors.
    #[command(
        after_help = "Examples:\n  fother policy schema > fother.schema.json\n\nIn an editor with Taplo: put `#:schema ./fother.schema.json` on the first line of fother.toml."
    )]
    Schema,
}
