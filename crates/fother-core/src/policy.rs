//! What a team decides once and keeps in files: checks, groups, windows, budgets, rollout strategies, approvals.

use serde::{Deserialize, Serialize};

/// One question that a healthy host answers well. Data only: what to run as a hook stands in a root-owned file on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Check {
    /// An HTTP GET to a loopback address answers with this status.
    Http {
        /// Name for people.
        name: String,
        /// `http://127.0.0.1[:port]/path`; other hosts are refused by the agent.
        url: String,
        /// Wanted status, for example 200.
        status: u16,
    },
    /// A systemd unit is active.
    Unit {
        /// Name for people.
        name: String,
        /// Unit name.
        unit: String,
    },
    /// The root-owned executable `/etc/fother/checks.d/<hook>` exits 0.
    Hook {
        /// Name for people.
        name: String,
        /// File name, no slash.
        hook: String,
    },
}

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum CheckAnswer {
    /// As wanted.
    Fine,
    /// Not as wanted.
    Failed {
        /// For people.
        why: String,
    },
    /// Could not be asked: gates like a failure.
    NoData {
        /// For people.
        why: String,
    },
}

impl Check {
    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Http { name, .. } | Self::Unit { name, .. } | Self::Hook { name, .. } => name,
        }
    }
}
