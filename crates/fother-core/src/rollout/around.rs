//! What the rest of the fleet says about a rollout's group: who else is out of service, and whether everything stands still.

use crate::id::HostId;
use std::collections::BTreeMap;

/// Why a member of the group is out of service without this rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Not heard of: it is asked nothing.
    Lost,
    /// Another rollout works on it: it is asked nothing until that has ended there.
    Working,
    /// Another rollout failed there: it may itself be patched, without more budget.
    Unhealthy,
}

/// A member of the group that is out of service without this rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Out {
    /// Its zone.
    pub zone: String,
    /// Why.
    pub why: Why,
}

/// What a rollout must know of everything else, as the fleet is now: see [`crate::state::State::around`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// Members of the group that are out of service, in this rollout or not.
    pub out: BTreeMap<HostId, Out>,
    /// A person stopped everything that has not begun.
    pub stopped: bool,
}

impl Around {
    /// Whether nothing can be asked of this host now.
    #[must_use]
    pub fn keeps(&self, host: &HostId) -> bool {
        self.out.get(host).is_some_and(|out| match out.why {
            Why::Lost | Why::Working => true,
            Why::Unhealthy => false,
        })
    }

    /// Hosts that are not heard of.
    pub fn lost(&self) -> impl Iterator<Item = &HostId> {
        self.out.iter().filter(|(_, out)| out.why == Why::Lost).map(|(host, _)| host)
    }
}
