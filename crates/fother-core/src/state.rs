//! State: a fold over events. The fold reads no blobs, no clock, nothing but the event.

use crate::{
    Digest, Timestamp,
    change::Change,
    event::{Data, Event},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TokenId, TransactionId},
    inventory::Labels,
    policy::proposal::Proposal,
    protocol::{Outcome, Report},
    rehearsal::Verdict,
    rollout::{Absent, Phase, Rollout},
};
use serde::Serialize;
use std::collections::BTreeMap;

/// An enrolment token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Digest of its secret.
    pub hash: Digest,
    /// When it expires.
    pub expires: Timestamp,
    /// Labels that it gives.
    pub labels: Labels,
    /// Whether it was used.
    pub used: bool,
}

/// A host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// As the host says; hostile text.
    pub hostname: String,
    /// Assigned by the server.
    pub labels: Labels,
    /// SHA-256 of its certificate.
    pub certificate: Digest,
    /// Public key that it cosigns checkpoints with, 64 hexadecimal digits.
    pub cosigner: String,
    /// Read-only.
    pub observe: bool,
    /// Newest inventory.
    pub inventory: Option<Digest>,
    /// Newest base.
    pub base: Option<Digest>,
    /// Packages.
    pub packages: u32,
    /// Sequence of the last directive.
    pub sequence: u64,
    /// Reports stored up to here.
    pub acknowledged: u64,
    /// Newest resolution with its base.
    pub resolution: Option<(Digest, Digest)>,
    /// Not heard of.
    pub lost: bool,
    /// Left for good.
    pub retired: bool,
    /// Refusals that it reported, newest last, at most [`REFUSALS_KEPT`].
    pub refusals: Vec<String>,
}

/// Refusals kept per host.
pub const REFUSALS_KEPT: usize = 16;

/// A directive that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issued {
    /// The host.
    pub host: HostId,
    /// Its sequence.
    pub sequence: u64,
    /// `resolve`, `rehearse`, `apply`, `undo`.
    pub order: String,
    /// Blob of the signed directive.
    pub blob: Digest,
    /// Transaction.
    pub txn: Option<TransactionId>,
    /// Cohort.
    pub cohort: Option<Digest>,
    /// Plan.
    pub plan: Option<Digest>,
    /// Rollout.
    pub rollout: Option<RolloutId>,
    /// Expiry.
    pub expires: Timestamp,
    /// Its final outcome.
    pub outcome: Option<Outcome>,
}

/// A cohort of a plan and its rehearsal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CohortState {
    /// Members.
    pub hosts: Vec<HostId>,
    /// Report and verdict.
    pub rehearsal: Option<(Digest, Verdict)>,
    /// Source packages of the smallest failing set.
    pub failing: Vec<String>,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PlanState {
    /// Group.
    pub group: String,
    /// Number of hosts that it was made for.
    pub hosts: u32,
    /// Cohorts.
    pub cohorts: BTreeMap<Digest, CohortState>,
    /// Distinct approvers needed.
    pub approvals: u32,
    /// Updates left out.
    pub excluded: BTreeMap<String, String>,
    /// When it was made.
    pub created: Timestamp,
}

impl PlanState {
    /// The worst verdict of its cohorts; `None` while a rehearsal, or a host, is missing.
    #[must_use]
    pub fn verdict(&self) -> Option<Verdict> {
        if self.cohorts.values().map(|cohort| cohort.hosts.len()).sum::<usize>() != self.hosts as usize {
            return None;
        }
        let verdicts: Option<Vec<Verdict>> = self.cohorts.values().map(|cohort| cohort.rehearsal.map(|(_, verdict)| verdict)).collect();
        Some(verdicts?.into_iter().max().unwrap_or(Verdict::Passes))
    }
}

/// An archive's newest verified state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchiveState {
    /// SHA-256 of the InRelease file.
    pub inrelease: Option<Digest>,
    /// Its `Date`.
    pub date: Option<Timestamp>,
    /// Why its last state was refused; cleared by a good one.
    pub refused: Option<String>,
}

/// Everything that the log says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct State {
    /// Number of events.
    pub size: u64,
    /// Time of the last event.
    pub head: Timestamp,
    /// Tokens.
    pub tokens: BTreeMap<TokenId, Token>,
    /// Hosts.
    pub hosts: BTreeMap<HostId, Host>,
    /// Directives.
    pub directives: BTreeMap<DirectiveId, Issued>,
    /// Plans.
    pub plans: BTreeMap<Digest, PlanState>,
    /// Changes.
    pub changes: BTreeMap<ChangeId, Change>,
    /// Rollouts.
    pub rollouts: BTreeMap<RolloutId, Rollout>,
    /// The policy in force.
    pub policy: Option<Digest>,
    /// Looser policies that wait for approval, by the digest of the policy.
    pub proposals: BTreeMap<Digest, Proposal>,
    /// Archives.
    pub archives: BTreeMap<String, ArchiveState>,
}

impl State {
    /// Takes one event in. Events must come in the order of the log.
    pub fn fold(&mut self, event: &Event) {
        self.size = event.seq + 1;
        self.head = self.head.max(event.at);
        match &event.data {
            Data::ServerStarted { policy, .. } => self.policy = Some(*policy),
            Data::PolicyProposed { .. } | Data::PolicyApproved { .. } | Data::PolicyApplied { .. } => {
                self.fold_policy(&event.data, event.at)
            }
            Data::TokenCreated { .. }
            | Data::HostEnrolled { .. }
            | Data::InventoryChanged { .. }
            | Data::ObserveChanged { .. }
            | Data::HostLost { .. }
            | Data::HostReturned { .. }
            | Data::HostRetired { .. } => self.fold_host(&event.data),
            Data::ArchiveUpdated { archive, inrelease, date } => {
                let state = ArchiveState { inrelease: Some(*inrelease), date: Some(*date), refused: None };
                self.archives.insert(archive.clone(), state);
            }
            Data::ArchiveRefused { archive, why } => {
                let state = self.archives.entry(archive.clone()).or_insert(ArchiveState { inrelease: None, date: None, refused: None });
                state.refused = Some(why.clone());
            }
            Data::DirectiveIssued { .. } => self.fold_directive(&event.data, event.at),
            Data::HostReported { host, report } => self.fold_report(*host, report, event.at),
            Data::PlanCreated { .. }
            | Data::PlanMembers { .. }
            | Data::ChangeSubmitted { .. }
            | Data::ChangeApproved { .. }
            | Data::ChangeRejected { .. } => {
                self.fold_change(&event.data, event.at);
            }
            Data::RolloutStarted { .. }
            | Data::RolloutMembers { .. }
            | Data::WavePassed { .. }
            | Data::RolloutPaused { .. }
            | Data::RolloutResumed { .. }
            | Data::RollbackStarted { .. }
            | Data::RolloutEnded { .. }
            | Data::RolloutBlocked { .. } => self.fold_rollout(&event.data, event.at),
        }
    }

    fn fold_policy(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::PolicyProposed { policy, base, statement, author, .. } => {
                let new = Proposal { base: *base, statement: *statement, author: author.clone(), at, approvals: BTreeMap::new() };
                self.proposals.insert(*policy, new);
            }
            Data::PolicyApproved { policy, person, signature } => {
                if let Some(proposal) = self.proposals.get_mut(policy) {
                    proposal.approvals.insert(person.clone(), signature.clone());
                }
            }
            Data::PolicyApplied { policy, .. } => {
                self.policy = Some(*policy);
                // What was compared with another policy can come into force no more.
                self.proposals.clear();
            }
            _ => {}
        }
    }

    fn fold_host(&mut self, data: &Data) {
        match data {
            Data::TokenCreated { token, hash, expires, labels } => {
                self.tokens.insert(*token, Token { hash: *hash, expires: *expires, labels: labels.clone(), used: false });
            }
            Data::HostEnrolled { host, token, hostname, labels, certificate, cosigner, observe } => {
                if let Some(token) = self.tokens.get_mut(token) {
                    token.used = true;
                }
                let new = Host {
                    hostname: hostname.clone(),
                    labels: labels.clone(),
                    certificate: *certificate,
                    cosigner: cosigner.clone(),
                    observe: *observe,
                    inventory: None,
                    base: None,
                    packages: 0,
                    sequence: 0,
                    acknowledged: 0,
                    resolution: None,
                    lost: false,
                    retired: false,
                    refusals: Vec::new(),
                };
                self.hosts.insert(*host, new);
            }
            Data::InventoryChanged { host, inventory, base, packages } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    (host.inventory, host.base, host.packages) = (Some(*inventory), Some(*base), *packages);
                }
            }
            Data::ObserveChanged { host, observe } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.observe = *observe;
                }
            }
            Data::HostLost { host } | Data::HostReturned { host } => {
                let lost = matches!(data, Data::HostLost { .. });
                self.unblock(*host);
                if let Some(host) = self.hosts.get_mut(host) {
                    host.lost = lost;
                }
            }
            Data::HostRetired { host } => {
                self.unblock(*host);
                if let Some(host) = self.hosts.get_mut(host) {
                    host.retired = true;
                }
            }
            _ => {}
        }
    }

    /// A host whose standing changed blocks nothing until that is said anew.
    fn unblock(&mut self, host: HostId) {
        for rollout in self.rollouts.values_mut() {
            rollout.blocked.remove(&host);
        }
    }

    fn fold_directive(&mut self, data: &Data, at: Timestamp) {
        let Data::DirectiveIssued { directive, host, sequence, order, blob, txn, cohort, plan, rollout, expires } = data else { return };
        if let Some(host) = self.hosts.get_mut(host) {
            host.sequence = host.sequence.max(*sequence);
        }
        let issued = Issued {
            host: *host,
            sequence: *sequence,
            order: order.clone(),
            blob: *blob,
            txn: *txn,
            cohort: *cohort,
            plan: *plan,
            rollout: *rollout,
            expires: *expires,
            outcome: None,
        };
        if let (Some(rollout), Some(txn)) = (rollout.and_then(|id| self.rollouts.get_mut(&id)), *txn) {
            let phase = match order.as_str() {
                "undo" => Phase::Undoing { txn, at },
                _ => Phase::Dispatched { txn, at },
            };
            rollout.hosts.insert(*host, phase);
            rollout.blocked.clear();
        }
        self.directives.insert(*directive, issued);
    }

    /// Members of a rollout's group that are not heard of, and hosts that left for good.
    #[must_use]
    pub fn absent(&self, rollout: &Rollout) -> Absent {
        // A selector that once chose these hosts and fails now takes in too many rather than too few.
        let member = |id: &HostId, host: &Host| {
            rollout.hosts.contains_key(id) || crate::policy::selects(&rollout.setup.select, &host.labels).unwrap_or(true)
        };
        let lost = self.hosts.iter().filter(|(id, host)| host.lost && !host.retired && member(id, host));
        Absent {
            lost: lost.map(|(id, host)| (*id, host.labels.get("zone").cloned().unwrap_or_default())).collect(),
            retired: self.hosts.iter().filter(|(_, host)| host.retired).map(|(id, _)| *id).collect(),
        }
    }

    fn fold_report(&mut self, id: HostId, report: &Report, at: Timestamp) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.acknowledged = host.acknowledged.max(report.number);
        if let Outcome::Refused { why } = &report.outcome {
            host.refusals.push(why.to_string());
            let extra = host.refusals.len().saturating_sub(REFUSALS_KEPT);
            host.refusals.drain(..extra);
        }
        if let Outcome::Resolved { resolution, base } = &report.outcome {
            host.resolution = Some((*resolution, *base));
        }
        let Some(issued) = report.directive.and_then(|id| self.directives.get_mut(&id)) else { return };
        if issued.host != id {
            return;
        }
        if report.outcome.is_final() {
            issued.outcome = Some(report.outcome.clone());
        }
        if issued.order == "rehearse"
            && let Outcome::Rehearsed { rehearsal, verdict, failing } = &report.outcome
            && let Some(cohort) =
                issued.plan.and_then(|plan| self.plans.get_mut(&plan)).and_then(|plan| plan.cohorts.get_mut(&issued.cohort?))
        {
            cohort.rehearsal = Some((*rehearsal, *verdict));
            cohort.failing.clone_from(failing);
        }
        if let Some(rollout) = issued.rollout.and_then(|id| self.rollouts.get_mut(&id)) {
            rollout.report(id, &report.outcome, at);
        }
    }

    fn fold_change(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::PlanCreated { plan, group, hosts, approvals, excluded } => {
                let new = PlanState {
                    group: group.clone(),
                    hosts: *hosts,
                    cohorts: BTreeMap::new(),
                    approvals: *approvals,
                    excluded: excluded.clone(),
                    created: at,
                };
                self.plans.entry(*plan).or_insert(new);
            }
            Data::PlanMembers { plan, cohorts } => {
                if let Some(plan) = self.plans.get_mut(plan) {
                    for (cohort, hosts) in cohorts {
                        plan.cohorts.entry(*cohort).or_default().hosts.extend(hosts);
                    }
                }
            }
            Data::ChangeSubmitted { change, plan, statement, author, signature } => {
                let new = Change {
                    id: *change,
                    plan: *plan,
                    statement: *statement,
                    author: author.clone(),
                    author_signature: signature.clone(),
                    submitted: at,
                    approvals: BTreeMap::new(),
                    needed: self.plans.get(plan).map_or(u32::MAX, |plan| plan.approvals),
                    rejected: None,
                    rollout: None,
                };
                self.changes.insert(*change, new);
            }
            Data::ChangeApproved { change, person, signature } => {
                if let Some(change) = self.changes.get_mut(change) {
                    change.approvals.insert(person.clone(), signature.clone());
                }
            }
            Data::ChangeRejected { change, reason } => {
                if let Some(change) = self.changes.get_mut(change) {
                    change.rejected = Some(reason.clone());
                }
            }
            _ => {}
        }
    }

    fn fold_rollout(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::RolloutStarted { rollout, change, plan, setup } => {
                if let Some(change) = self.changes.get_mut(change) {
                    change.rollout = Some(*rollout);
                }
                self.rollouts.insert(*rollout, Rollout::new(*rollout, *change, *plan, setup.clone(), at));
            }
            Data::RolloutMembers { rollout, wave, hosts } => {
                if let Some(rollout) = self.rollouts.get_mut(rollout) {
                    rollout.join(*wave, hosts);
                }
            }
            Data::WavePassed { rollout, wave, .. } => {
                if let Some(rollout) = self.rollouts.get_mut(rollout) {
                    rollout.waves_passed = wave + 1;
                }
            }
            Data::RolloutPaused { rollout } | Data::RolloutResumed { rollout } => {
                let paused = matches!(data, Data::RolloutPaused { .. });
                if let Some(rollout) = self.rollouts.get_mut(rollout) {
                    rollout.paused = paused;
                }
            }
            Data::RollbackStarted { rollout, reason } => {
                if let Some(rollout) = self.rollouts.get_mut(rollout) {
                    (rollout.ended, rollout.ended_at, rollout.paused) = (None, None, false);
                    rollout.rolling_back = Some(reason.clone());
                }
            }
            Data::RolloutEnded { rollout, end } => {
                if let Some(rollout) = self.rollouts.get_mut(rollout) {
                    rollout.rolling_back = None;
                    rollout.ended = Some(end.clone());
                    rollout.ended_at = Some(at);
                }
            }
            Data::RolloutBlocked { rollout, by, .. } => {
                if let Some(rollout) = self.rollouts.get_mut(rollout) {
                    rollout.blocked = by.iter().copied().collect();
                }
            }
            _ => {}
        }
    }
}
