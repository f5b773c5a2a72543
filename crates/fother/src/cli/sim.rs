//! Worlds out of seeds, for developers.

use clap::Subcommand;
use std::path::PathBuf;

/// `fother sim …`.
#[derive(Debug, Subcommand)]
pub enum Sim {
    /// Play seeds out and say which break a promise.
    #[command(after_help = "Example:\n  fother sim run --seeds 1000")]
    Run {
        /// First seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
    },
    /// Play one seed out and tell what happens.
    #[command(after_help = "Examples:\n  fother sim replay --seed 62\n  fother sim replay --seed 62 --faults 1,4")]
    Replay {
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Only these of its faults, by number; `none` for none of them.
        #[arg(long)]
        faults: Option<String>,
    },
    /// Play a script by hand: commands in, readable state out.
    #[command(after_help = "Example:\n  fother sim scenario crates/fother-sim/scenarios/01-canary-and-waves.txt")]
    Scenario {
        /// The script.
        script: PathBuf,
    },
    /// Play very many seeds out; may be stopped and goes on.
    #[command(after_help = "Example:\n  fother sim soak --revision 1f0c2ab --state soak.json --result docs/soak.md")]
    Soak {
        /// Where it stands.
        #[arg(long, default_value = "soak.json")]
        state: PathBuf,
        /// How many in all.
        #[arg(long, default_value_t = 1_000_000)]
        seeds: u64,
        /// Where the result goes.
        #[arg(long, default_value = "docs/soak.md")]
        result: PathBuf,
        /// Revision of the source.
        #[arg(long)]
        revision: String,
    },
}
