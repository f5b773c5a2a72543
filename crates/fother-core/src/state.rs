//! State: a fold over events. The fold reads no blobs, no clock, nothing but the event.

mod locks;

use crate::{
    Digest, Timestamp,
    change::Change,
    directive::Refused,
    epoch::{self, SignedEpoch},
    event::{Data, Event},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TokenId, TransactionId},
    inventory::Labels,
    policy::proposal::Proposal,
    protocol::{Outcome, Report},
    reboot_lock::Client,
    rehearsal::Verdict,
    rollout::{Around, Out, Rollout, Why},
    schedule::Known,
    standing::Stood,
};
use imbl::{OrdMap, OrdSet};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

mod schedules;

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
    /// Assigned by the server; hosts with the same ones share them.
    #[serde(serialize_with = "shared")]
    pub labels: Arc<Labels>,
    /// SHA-256 of its certificate.
    pub certificate: Digest,
    /// The certificate before it, which counts until its own end.
    pub previous: Option<Digest>,
    /// Why its certificates are worth nothing any more.
    pub revoked: Option<String>,
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
    /// When it was told.
    pub resolved: Timestamp,
    /// Not heard of.
    pub lost: bool,
    /// Left for good.
    pub retired: bool,
    /// The rollout that worked on it last: its unavailability counts there.
    pub rollout: Option<RolloutId>,
    /// Its directives without a final outcome; of one transaction the newest only.
    pub open: BTreeSet<DirectiveId>,
    /// Its other directives that are still known, oldest first, at most [`DIRECTIVES_KEPT`].
    pub closed: Vec<DirectiveId>,
    /// How long its last transactions took, in ms, newest last, at most [`HISTORY_KEPT`].
    pub apply_ms: Vec<u64>,
    /// Refusals that it reported, newest last, at most [`REFUSALS_KEPT`].
    pub refusals: Vec<String>,
}

fn shared<S: serde::Serializer>(labels: &Arc<Labels>, to: S) -> Result<S::Ok, S::Error> {
    (**labels).serialize(to)
}

impl Host {
    /// A host that has just enrolled and has told nothing yet.
    #[must_use]
    pub fn enrolled(hostname: String, labels: Labels, certificate: Digest, cosigner: String, observe: bool) -> Self {
        Self {
            hostname,
            labels: Arc::new(labels),
            certificate,
            previous: None,
            revoked: None,
            cosigner,
            observe,
            inventory: None,
            base: None,
            packages: 0,
            sequence: 0,
            acknowledged: 0,
            resolution: None,
            resolved: Timestamp(0),
            lost: false,
            retired: false,
            rollout: None,
            open: BTreeSet::new(),
            closed: Vec::new(),
            apply_ms: Vec::new(),
            refusals: Vec::new(),
        }
    }
}

impl Host {
    /// Directives that `is_done` is true of are open no more, and the oldest of those that are not are forgotten.
    fn close(&mut self, directives: &mut OrdMap<DirectiveId, Issued>, is_done: impl Fn(&DirectiveId, &Issued) -> bool) {
        let done = |id: &DirectiveId| directives.get(id).is_none_or(|issued| is_done(id, issued));
        let closed: Vec<DirectiveId> = self.open.iter().filter(|id| done(id)).copied().collect();
        for id in closed {
            self.open.remove(&id);
            self.closed.push(id);
        }
        let extra = self.closed.len().saturating_sub(DIRECTIVES_KEPT);
        for id in self.closed.drain(..extra) {
            directives.remove(&id);
        }
    }
}

/// Times of transactions kept per host.
pub const HISTORY_KEPT: usize = 5;
/// Directives without further work that are kept per host: a late report may still speak of one. The log keeps all.
pub const DIRECTIVES_KEPT: usize = 16;
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

impl Issued {
    /// Whether this is a later directive for the same work as `other`.
    fn renews(&self, other: &Self) -> bool {
        self.txn.is_some() && self.txn == other.txn && self.order == other.order && self.sequence > other.sequence
    }

    /// Whether nothing is expected of it any more once `next` is issued.
    fn is_done(&self, next: &Self, at: Timestamp) -> bool {
        next.renews(self) || (self.txn.is_none() && self.expires <= at)
    }

    /// It ended; what a copy of it was refused for does not take back what became of it.
    fn ended(&mut self, outcome: &Outcome) {
        if self.outcome.is_none() || !matches!(outcome, Outcome::Refused { .. } | Outcome::NotApproved { .. }) {
            self.outcome = Some(outcome.clone());
        }
    }
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PlanState {
    /// Group.
    pub group: String,
    /// Number of hosts that it was made for.
    pub hosts: u32,
    /// Cohorts.
    pub cohorts: OrdMap<Digest, CohortState>,
    /// The cohort of each member.
    #[serde(skip)]
    pub cohort_of: OrdMap<HostId, Digest>,
    /// Distinct approvers needed.
    pub approvals: u32,
    /// Updates left out.
    pub excluded: BTreeMap<String, String>,
    /// The emergency path that it takes.
    pub emergency: Option<String>,
    /// People whose approvals count; everybody's where none is named.
    pub approvers: BTreeSet<String>,
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
    pub tokens: OrdMap<TokenId, Token>,
    /// Hosts.
    pub hosts: OrdMap<HostId, Host>,
    /// Directives.
    pub directives: OrdMap<DirectiveId, Issued>,
    /// Plans.
    pub plans: OrdMap<Digest, PlanState>,
    /// Changes.
    pub changes: OrdMap<ChangeId, Change>,
    /// Rollouts.
    pub rollouts: OrdMap<RolloutId, Rollout>,
    /// Updates that may be planned again although they were rolled back: group, source package, version.
    pub cleared: BTreeSet<(String, String, String)>,
    /// Exceptions whose end was said, with that end: a longer one of the same name ends anew.
    pub expired: BTreeSet<(String, Timestamp)>,
    /// The policy in force.
    pub policy: Option<Digest>,
    /// Looser policies that wait for approval, by the digest of the policy.
    pub proposals: BTreeMap<Digest, Proposal>,
    /// Standing approvals, by their digest.
    pub standings: BTreeMap<Digest, Stood>,
    /// Schedules of the policy, and what became of their last moment.
    pub schedules: BTreeMap<String, Known>,
    /// Archives.
    pub archives: BTreeMap<String, ArchiveState>,
    /// Hosts that others patch and that ask for reboot locks, by their ids.
    pub lock_clients: BTreeMap<String, Client>,
    /// Hosts that are not heard of and did not leave.
    pub lost: OrdSet<HostId>,
    /// Rollouts that run, or that still keep a host out of service.
    pub active: BTreeSet<RolloutId>,
    /// The epoch that the log is in; none while it never was restored.
    pub epoch: Option<SignedEpoch>,
    /// Why nothing new may begin anywhere, if a person said so.
    pub stopped: Option<String>,
    /// Hosts of which a directive is open.
    #[serde(skip)]
    pub asked: usize,
    /// Hosts that did not leave, by the digest of their certificate.
    #[serde(skip)]
    pub certificates: OrdMap<Digest, HostId>,
    /// Every set of labels that a host has or had, once.
    #[serde(skip)]
    pub label_sets: OrdSet<Arc<Labels>>,
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
            | Data::HostRevoked { .. }
            | Data::HostRenewed { .. }
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
            | Data::HostWithdrawn { .. }
            | Data::HostSkipped { .. }
            | Data::RolloutEnded { .. }
            | Data::RolloutBlocked { .. } => self.fold_rollout(&event.data, event.at),
            Data::UpdateCleared { group, source, version, .. } => {
                self.cleared.insert((group.clone(), source.clone(), version.clone()));
            }
            Data::ExceptionExpired { exception, expires, .. } => {
                self.expired.insert((exception.clone(), *expires));
            }
            Data::ReportsMissing { host, to, .. } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.acknowledged = host.acknowledged.max(*to);
                }
            }
            Data::EpochBegan { signed } => self.fold_epoch(signed),
            Data::LockRegistered { .. } | Data::LockTaken { .. } | Data::LockReleased { .. } | Data::LockForgotten { .. } => {
                self.fold_lock(&event.data, event.at);
            }
            Data::StandingSubmitted { .. } | Data::StandingApproved { .. } | Data::StandingRevoked { .. } | Data::ChangeCovered { .. } => {
                self.fold_standing(&event.data, event.at)
            }
            Data::ScheduleSet { .. }
            | Data::ScheduleRemoved { .. }
            | Data::ScheduleDue { .. }
            | Data::ScheduleAsked { .. }
            | Data::ScheduleDrafted { .. }
            | Data::ScheduleRehearsing { .. }
            | Data::ScheduleWaits { .. }
            | Data::ScheduleEnded { .. }
            | Data::ScheduleDeferred { .. }
            | Data::NoticeGiven { .. }
            | Data::NoticeTold { .. } => self.fold_schedule(&event.data, event.at),
            Data::FleetStopped { reason } => self.stopped = Some(reason.clone()),
            Data::FleetResumed {} => self.stopped = None,
        }
    }

    /// What is ordered from here on has higher numbers than all that any host can have seen.
    fn fold_epoch(&mut self, signed: &SignedEpoch) {
        let number = signed.epoch.number;
        let base = epoch::base(number);
        let hosts: Vec<HostId> = self.hosts.keys().copied().collect();
        for host in hosts {
            if let Some(host) = self.hosts.get_mut(&host) {
                host.sequence = host.sequence.max(base);
            }
        }
        self.stopped = Some(format!("the log was restored from a backup and goes on as epoch {number}"));
        self.epoch = Some(signed.clone());
    }

    /// The lowest number that a directive must be above to count.
    #[must_use]
    pub fn sequence_base(&self) -> u64 {
        epoch::base(self.epoch.as_ref().map_or(0, |signed| signed.epoch.number))
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
                let mut new = Host::enrolled(hostname.clone(), labels.clone(), *certificate, cosigner.clone(), *observe);
                match self.label_sets.get(&new.labels) {
                    Some(same) => new.labels = Arc::clone(same),
                    None => drop(self.label_sets.insert(Arc::clone(&new.labels))),
                }
                new.sequence = self.sequence_base();
                self.certificates.insert(*certificate, *host);
                self.hosts.insert(*host, new);
                self.member(*host, true);
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
                if let Some(known) = self.hosts.get_mut(host) {
                    known.lost = lost;
                    if lost && !known.retired {
                        self.lost.insert(*host)
                    } else {
                        self.lost.remove(host)
                    };
                }
            }
            Data::HostRevoked { host, reason } => {
                if let Some(host) = self.hosts.get_mut(host) {
                    host.revoked = Some(reason.clone());
                    self.certificates.remove(&host.certificate);
                    host.previous.map(|previous| self.certificates.remove(&previous));
                    host.previous.map(|previous| self.certificates.remove(&previous));
                }
            }
            Data::HostRenewed { host, certificate } => {
                if let Some(known) = self.hosts.get_mut(host) {
                    known.previous.take().map(|before| self.certificates.remove(&before));
                    known.previous = Some(std::mem::replace(&mut known.certificate, *certificate));
                    self.certificates.insert(*certificate, *host);
                }
            }
            Data::HostRetired { host } => self.fold_retired(*host),
            _ => {}
        }
    }

    fn fold_retired(&mut self, id: HostId) {
        self.unblock(id);
        self.lost.remove(&id);
        let Some(host) = self.hosts.get_mut(&id).filter(|host| !host.retired) else { return };
        host.retired = true;
        self.certificates.remove(&host.certificate);
        host.previous.map(|previous| self.certificates.remove(&previous));
        self.member(id, false);
        // Those that have ended, too: one of them may be put back later.
        let with: Vec<RolloutId> =
            self.rollouts.values().filter(|rollout| rollout.hosts().contains_key(&id)).map(|rollout| rollout.id).collect();
        for rollout in with {
            if let Some(rollout) = self.rollouts.get_mut(&rollout) {
                rollout.retire(id);
            }
            self.settle(rollout);
        }
    }

    /// A host whose standing changed blocks nothing until that is said anew.
    fn unblock(&mut self, host: HostId) {
        for rollout in &self.active {
            if let Some(rollout) = self.rollouts.get_mut(rollout) {
                rollout.blocked.remove(&host);
            }
        }
    }

    /// The groups of running rollouts have one member more or fewer.
    fn member(&mut self, id: HostId, joined: bool) {
        let labels = self.hosts.get(&id).map(|host| &*host.labels);
        let Some(labels) = labels.or_else(|| self.lock_clients.values().find(|client| client.host == id).map(|client| &client.labels))
        else {
            return;
        };
        for rollout in &self.active {
            if let Some(rollout) = self.rollouts.get_mut(rollout)
                && (rollout.hosts().contains_key(&id) || is_member(&rollout.setup.select, labels))
            {
                rollout.member(zone(labels), joined);
            }
        }
    }

    /// Keeps the list of rollouts that matter short.
    fn settle(&mut self, id: RolloutId) {
        if self.rollouts.get(&id).is_some_and(Rollout::is_active) {
            self.active.insert(id)
        } else {
            self.active.remove(&id)
        };
    }

    fn fold_directive(&mut self, data: &Data, at: Timestamp) {
        let Data::DirectiveIssued { directive, host: id, sequence, order, blob, txn, cohort, plan, rollout, expires } = data else {
            return;
        };
        let issued = Issued {
            host: *id,
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
        let mut before = None;
        if let Some(host) = self.hosts.get_mut(id) {
            host.sequence = host.sequence.max(*sequence);
            self.asked += usize::from(host.open.is_empty());
            host.close(&mut self.directives, |_, other| other.is_done(&issued, at));
            host.open.insert(*directive);
            if rollout.is_some() {
                before = host.rollout.filter(|before| Some(*before) != *rollout);
                host.rollout = *rollout;
            }
        }
        if let (Some(rollout), Some(txn)) = (*rollout, *txn) {
            if let Some(before) = before.and_then(|before| self.rollouts.get_mut(&before)) {
                before.release(*id);
            }
            before.into_iter().for_each(|before| self.settle(before));
            if let Some(rollout) = self.rollouts.get_mut(&rollout) {
                rollout.issued(*id, order, txn, at);
            }
            self.settle(rollout);
        }
        self.directives.insert(*directive, issued);
    }

    /// What else the fleet says about a rollout's group: members that are not heard of, or that other rollouts work on or broke. Costs
    /// as much as there are such hosts, not as the fleet has.
    #[must_use]
    pub fn around(&self, rollout: &Rollout) -> Around {
        let mut known: BTreeMap<&Labels, bool> = BTreeMap::new();
        let mut out = BTreeMap::new();
        let mut put = |id: HostId, why: Why| {
            let Some(host) = self.hosts.get(&id).filter(|host| !host.retired) else { return };
            let member = rollout.hosts().contains_key(&id)
                || *known.entry(&*host.labels).or_insert_with(|| is_member(&rollout.setup.select, &host.labels));
            if member {
                out.insert(id, Out { zone: zone(&host.labels).to_owned(), why });
            }
        };
        for other in self.active.iter().filter(|other| **other != rollout.id).filter_map(|other| self.rollouts.get(other)) {
            for host in other.out() {
                let working = other.hosts().get(&host).is_some_and(crate::rollout::Phase::is_working);
                put(host, if working { Why::Working } else { Why::Unhealthy });
            }
        }
        self.lost.iter().for_each(|host| put(*host, Why::Lost));
        self.locked_out(&rollout.setup.select, &mut out);
        Around { out, stopped: self.stopped.is_some() }
    }

    fn fold_report(&mut self, id: HostId, report: &Report, at: Timestamp) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.acknowledged = host.acknowledged.max(report.number);
        if let Outcome::Refused { why } = &report.outcome {
            host.refusals.push(why.to_string());
            let extra = host.refusals.len().saturating_sub(REFUSALS_KEPT);
            host.refusals.drain(..extra);
        }
        if let Outcome::Applied { apply_ms, .. } = &report.outcome {
            crate::predict::remember(&mut host.apply_ms, *apply_ms);
        }
        if let Outcome::Resolved { resolution, base } = &report.outcome {
            (host.resolution, host.resolved) = (Some((*resolution, *base)), at);
        }
        let Some(directive) = report.directive else { return };
        let Some(issued) = self.directives.get(&directive).filter(|issued| issued.host == id) else { return };
        let newest = !host.open.iter().filter_map(|other| self.directives.get(other)).any(|other| other.renews(issued));
        let (rollout, txn) = (issued.rollout, issued.txn);
        if report.outcome.is_final() && !matches!(report.outcome, Outcome::Refused { why: Refused::Replayed { .. } }) {
            if let Some(issued) = self.directives.get_mut(&directive) {
                issued.ended(&report.outcome);
                fold_rehearsal(&mut self.plans, issued, &report.outcome);
            }
            let asked = !host.open.is_empty();
            host.close(&mut self.directives, |id, _| *id == directive);
            self.asked = self.asked.saturating_sub(usize::from(asked && host.open.is_empty()));
        }
        if let Some(rollout) = rollout {
            if let Some(rollout) = self.rollouts.get_mut(&rollout) {
                rollout.report(id, txn, &report.outcome, newest, at);
            }
            self.settle(rollout);
        }
    }

    fn fold_change(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::PlanCreated { plan, group, hosts, approvals, excluded, emergency, approvers } => {
                let new = PlanState {
                    group: group.clone(),
                    hosts: *hosts,
                    cohorts: OrdMap::new(),
                    cohort_of: OrdMap::new(),
                    approvals: *approvals,
                    excluded: excluded.clone(),
                    emergency: emergency.clone(),
                    approvers: approvers.clone(),
                    created: at,
                };
                self.plans.entry(*plan).or_insert(new);
            }
            Data::PlanMembers { plan, cohorts } => {
                if let Some(plan) = self.plans.get_mut(plan) {
                    for (cohort, hosts) in cohorts {
                        plan.cohort_of.extend(hosts.iter().map(|host| (*host, *cohort)));
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
                    standing: None,
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
        let id = match data {
            Data::RolloutStarted { rollout, change, plan, setup } => {
                if let Some(change) = self.changes.get_mut(change) {
                    change.rollout = Some(*rollout);
                }
                self.rollouts.insert(*rollout, Rollout::new(*rollout, *change, *plan, setup.clone(), at));
                *rollout
            }
            Data::RolloutMembers { rollout, .. }
            | Data::WavePassed { rollout, .. }
            | Data::RolloutPaused { rollout }
            | Data::RolloutResumed { rollout }
            | Data::RollbackStarted { rollout, .. }
            | Data::HostWithdrawn { rollout, .. }
            | Data::HostSkipped { rollout, .. }
            | Data::RolloutEnded { rollout, .. }
            | Data::RolloutBlocked { rollout, .. } => *rollout,
            _ => return,
        };
        let Some(rollout) = self.rollouts.get_mut(&id) else { return };
        match data {
            Data::RolloutMembers { wave, hosts, .. } => {
                rollout.join(*wave, hosts);
                let left = hosts.iter().filter(|(host, _)| self.hosts.get(host).is_some_and(|host| host.retired));
                left.for_each(|(host, _)| rollout.retire(*host));
            }
            Data::WavePassed { wave, .. } => rollout.waves_passed = wave + 1,
            Data::RolloutPaused { .. } => rollout.paused = true,
            Data::RolloutResumed { .. } => rollout.paused = false,
            Data::RollbackStarted { reason, gate, .. } => {
                rollout.go_back(reason, gate.clone());
                // Its group was not followed after it had ended.
                let sizes = zone_sizes(&self.hosts, &self.lock_clients, &rollout.setup.select);
                rollout.regroup(sizes);
            }
            Data::HostWithdrawn { host, txn, .. } => {
                rollout.withdraw(*host, *txn);
                if let Some(host) = self.hosts.get_mut(host) {
                    let asked = !host.open.is_empty();
                    host.close(&mut self.directives, |_, issued| issued.txn == Some(*txn));
                    self.asked = self.asked.saturating_sub(usize::from(asked && host.open.is_empty()));
                }
            }
            Data::HostSkipped { host, reason, .. } => rollout.skip(*host, reason),
            Data::RolloutEnded { end, .. } => rollout.end(end, at),
            Data::RolloutBlocked { by, .. } => rollout.blocked = by.iter().copied().collect(),
            _ => {}
        }
        self.settle(id);
    }
}

/// Whether a selector picks a host. One that once chose hosts and fails now takes in too many rather than too few.
fn is_member(select: &str, labels: &Labels) -> bool {
    crate::policy::selects(select, labels).unwrap_or(true)
}

/// Members of a group by zone, without those that left; clients of reboot locks are members like others.
fn zone_sizes(hosts: &OrdMap<HostId, Host>, clients: &BTreeMap<String, Client>, select: &str) -> BTreeMap<String, u32> {
    let (mut sizes, mut known) = (BTreeMap::new(), BTreeMap::new());
    let here = hosts.values().filter(|host| !host.retired).map(|host| &*host.labels);
    for labels in here.chain(clients.values().map(|client| &client.labels)) {
        if *known.entry(labels).or_insert_with(|| is_member(select, labels)) {
            *sizes.entry(zone(labels).to_owned()).or_insert(0) += 1;
        }
    }
    sizes
}

fn zone(labels: &Labels) -> &str {
    labels.get("zone").map(String::as_str).unwrap_or_default()
}

fn fold_rehearsal(plans: &mut OrdMap<Digest, PlanState>, issued: &Issued, outcome: &Outcome) {
    if issued.order == "rehearse"
        && let Outcome::Rehearsed { rehearsal, verdict, failing } = outcome
        && let Some(cohort) = issued.plan.and_then(|plan| plans.get_mut(&plan)).and_then(|plan| plan.cohorts.get_mut(&issued.cohort?))
    {
        cohort.rehearsal = Some((*rehearsal, *verdict));
        cohort.failing.clone_from(failing);
    }
}
