//! Emergency paths: shorter, never empty. Fewer people and another window, and freezes that they break by name; rehearsal, approval and rollback stay. Pure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A shorter path, taken by name: `fother plan new web --emergency NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Emergency {
    /// When it may be taken, for those who approve.
    pub reason: String,
    /// Groups that may take it; all if left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<String>,
    /// Freezes that do not stop it, by name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub breaks: BTreeSet<String>,
    /// Its window instead of the group's; the group's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

impl Emergency {
    /// Whether this group may take it.
    #[must_use]
    pub fn serves(&self, group: &str) -> bool {
        self.groups.is_empty() || self.groups.contains(group)
    }
}
