//! What a rollout was started with, and how it can end: fixed in the log once and for all.

use crate::{
    Timestamp,
    id::{HostId, RolloutId},
    policy::{Budget, Strategy},
    window::Interval,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a rollout does and in which order; fixed when it starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The group.
    pub group: String,
    /// Selector of the group when the plan was made.
    pub select: String,
    /// Number of hosts in all waves. Nothing is done before all of them are known.
    pub hosts: u32,
    /// Waves of hosts; the first is the canary. In the log they follow in events of their own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<Vec<HostId>>,
    /// Zone of each host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zones: BTreeMap<HostId, String>,
    /// Hosts of the whole group when it started, for the budget.
    pub group_size: u32,
    /// Hosts of the whole group by zone when it started; empty in old logs, where budgets per zone did not exist.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub zone_sizes: BTreeMap<String, u32>,
    /// Whether people accepted by name that the group may reach zero healthy hosts; absent in old logs, where nobody was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage: Option<bool>,
    /// Budget.
    pub budget: Budget,
    /// Strategy.
    pub strategy: Strategy,
    /// Windows in which a host may start; empty: always.
    pub window: Vec<Interval>,
    /// From when on nothing may start.
    pub expires: Timestamp,
}

/// How a rollout ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum End {
    /// Every host is verified, or named as replan or skipped.
    Completed,
    /// A gate stopped it; what the policy wants put back was put back.
    Halted {
        /// Why.
        why: String,
    },
    /// A person stopped it.
    Aborted,
    /// A person had it undone: no host carries it any more but those named as failed.
    RolledBack,
    /// A newer one took its place.
    Superseded {
        /// The newer one.
        by: RolloutId,
    },
}

/// Why and how far a rollout is put back because of a gate; a person's rollback has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedGate {
    /// Why it failed.
    pub why: String,
    /// First wave that is put back, from 0.
    pub wave: u32,
}
