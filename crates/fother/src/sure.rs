//! `--dry-run` and `--yes`, as every command that changes something takes them; asks on a terminal only.

use crate::failure::{Failure, REFUSED};
use std::io::{IsTerminal as _, Write as _};

/// Whether to do it.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Sure {
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Do it without asking.
    #[arg(long, conflicts_with = "dry_run")]
    pub yes: bool,
}

impl Sure {
    /// Whether to go on with something that is easily put right: everything but `--dry-run` does.
    #[must_use]
    pub fn go(self, what: &str) -> bool {
        if self.dry_run {
            println!("dry run: would {what}; nothing was done");
        }
        !self.dry_run
    }

    /// Whether to go on with something that is not easily put right: asks a person, and refuses where there is none.
    ///
    /// # Errors
    /// Where the answer is no, or nobody is there to ask.
    pub fn ask(self, what: &str) -> Result<bool, Failure> {
        if self.dry_run || self.yes {
            return Ok(self.go(what));
        }
        if !std::io::stdin().is_terminal() {
            return Err(Failure::new(REFUSED, format!("this would {what}"), "add --yes to do it, or --dry-run to only see it"));
        }
        eprint!("This will {what}. Type yes to go on: ");
        std::io::stderr().flush()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        if line.trim() == "yes" {
            return Ok(true);
        }
        Err(Failure::new(REFUSED, "the answer was not yes", "nothing was done"))
    }
}
