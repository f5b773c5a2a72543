//! Directives: signed and stored as blob, then recorded; and which of them a host gets at its check-in. Touches the store.

use crate::{
    Error,
    engine::{Engine, kind},
};
use fother_core::{
    Timestamp,
    directive::{self, Directive, Order, SignedDirective},
    dispatch::{self, Lapsed},
    event::Data,
    id::{DirectiveId, HostId, RolloutId},
    state::{Host, State},
};

pub use fother_core::dispatch::{DIRECTIVE_LIFE, LOST_AFTER};

impl Engine {
    /// Signs orders for hosts and returns the events; nothing is true before they are committed. Call it inside a decision.
    pub(crate) fn issue(
        &self,
        state: &State,
        now: Timestamp,
        rollout: Option<RolloutId>,
        orders: Vec<(HostId, Order)>,
    ) -> Result<Vec<Data>, Error> {
        if let Some(fault) = self.clock.fault(state.head) {
            return Err(Error::Clock(fault));
        }
        let fresh = || self.fresh().map(|(ms, random)| DirectiveId::new(ms, random));
        let recorded = dispatch::directives(state, now, orders, fresh)?.into_iter().map(|directive| {
            let signed = directive::sign(&directive, self.identity.directive())?;
            Ok(dispatch::recorded(&directive, self.put(kind::DIRECTIVE, &signed)?, rollout))
        });
        recorded.collect()
    }

    /// What a host that has accepted everything up to `seen` is to do.
    pub(crate) fn directives_for(&self, state: &State, host: HostId, seen: u64, now: Timestamp) -> Result<Vec<SignedDirective>, Error> {
        dispatch::due(state, &self.policy(), host, seen, now).into_iter().map(|issued| self.get(issued.blob)).collect()
    }

    /// Signs anew, or withdraws, what expired before this host accepted it.
    pub(crate) fn renew(&self, state: &State, host: HostId, seen: u64, now: Timestamp) -> Result<Vec<Data>, Error> {
        let mut events = Vec::new();
        for lapsed in dispatch::lapsed(state, &self.policy(), host, seen, now) {
            match lapsed {
                Lapsed::Renew(rollout, last) => {
                    let signed: SignedDirective = self.get(last.blob)?;
                    let old: Directive = serde_json::from_str(&signed.directive)
                        .map_err(|error| Error::Damaged(format!("the blob {}: {error}", last.blob)))?;
                    events.extend(self.issue(state, now, Some(rollout), vec![(host, old.order)])?);
                }
                Lapsed::Withdraw(rollout, txn) => events.push(Data::HostWithdrawn { rollout, host, txn }),
            }
        }
        Ok(events)
    }
}

/// Whether a host can be asked to work.
pub(crate) fn is_reachable(host: &Host) -> bool {
    !host.retired && !host.lost
}
