//! Events: every decision and transition, in one log. A released type never changes; an unknown type refuses to start.

use crate::{
    Digest, Timestamp, canonical,
    id::{ChangeId, DirectiveId, HostId, RolloutId, TokenId, TransactionId},
    inventory::Labels,
    protocol::Report,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod wire;

/// Version of the event form.
pub const VERSION: u32 = 1;

/// Largest event, in bytes: with its length it fits into a C2SP entry bundle (65,535), and leaves room.
pub const BYTES_MAX: usize = 60_000;

/// One event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Event {
    /// [`VERSION`].
    pub v: u32,
    /// Place in the log, from 0.
    pub seq: u64,
    /// When it was decided.
    pub at: Timestamp,
    /// Who decided: `server`, `uid:0`, `host_…`, `person:<name>`; opaque.
    pub actor: String,
    /// What happened.
    #[serde(flatten)]
    pub data: Data,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum Data {
    /// The server came up; `after_crash` if its predecessor did not end in order.
    #[serde(rename = "server.started")]
    ServerStarted {
        /// Program version.
        version: String,
        /// The policy in force.
        policy: Digest,
    },
    /// An enrolment token was made.
    #[serde(rename = "token.created")]
    TokenCreated {
        /// The token.
        token: TokenId,
        /// Digest of the secret.
        hash: Digest,
        /// One hour later.
        expires: Timestamp,
        /// Labels that the host gets.
        labels: Labels,
    },
    /// A host joined.
    #[serde(rename = "host.enrolled")]
    HostEnrolled {
        /// The host.
        host: HostId,
        /// With this token.
        token: TokenId,
        /// As the host says.
        hostname: String,
        /// Assigned by the server.
        labels: Labels,
        /// SHA-256 of the certificate.
        certificate: Digest,
        /// Public key that it cosigns checkpoints with: Ed25519, 64 hexadecimal digits.
        cosigner: String,
        /// Read-only.
        observe: bool,
    },
    /// What a host holds changed.
    #[serde(rename = "inventory.changed")]
    InventoryChanged {
        /// The host.
        host: HostId,
        /// The inventory blob.
        inventory: Digest,
        /// Its base.
        base: Digest,
        /// Packages, for people.
        packages: u32,
    },
    /// A host went from patching to observing or back, at the host itself.
    #[serde(rename = "host.observe-changed")]
    ObserveChanged {
        /// The host.
        host: HostId,
        /// Read-only now.
        observe: bool,
    },
    /// A host has not been heard of for too long.
    #[serde(rename = "host.lost")]
    HostLost {
        /// The host.
        host: HostId,
    },
    /// A lost host is back.
    #[serde(rename = "host.returned")]
    HostReturned {
        /// The host.
        host: HostId,
    },
    /// A host left for good.
    #[serde(rename = "host.retired")]
    HostRetired {
        /// The host.
        host: HostId,
    },
    /// An identity is worth nothing any more: a person said so, or two machines used it at once.
    #[serde(rename = "host.revoked")]
    HostRevoked {
        /// The host.
        host: HostId,
        /// Why, for people.
        reason: String,
    },
    /// A host got a new certificate under its old one, which counts until its own end.
    #[serde(rename = "host.renewed")]
    HostRenewed {
        /// The host.
        host: HostId,
        /// SHA-256 of the new certificate.
        certificate: Digest,
    },
    /// An archive's verified state is new.
    #[serde(rename = "archive.updated")]
    ArchiveUpdated {
        /// Its name in the policy.
        archive: String,
        /// SHA-256 of the InRelease file.
        inrelease: Digest,
        /// Its `Date`.
        date: Timestamp,
    },
    /// An archive gave something that is not trusted.
    #[serde(rename = "archive.refused")]
    ArchiveRefused {
        /// Its name in the policy.
        archive: String,
        /// Why.
        why: String,
    },
    /// A directive was signed for a host.
    #[serde(rename = "directive.issued")]
    DirectiveIssued {
        /// The directive.
        directive: DirectiveId,
        /// The host.
        host: HostId,
        /// Its sequence.
        sequence: u64,
        /// `resolve`, `rehearse`, `apply`, `undo`.
        order: String,
        /// Blob of the signed directive.
        blob: Digest,
        /// The transaction, for apply and undo.
        txn: Option<TransactionId>,
        /// The cohort, for rehearse and apply.
        cohort: Option<Digest>,
        /// The plan, for rehearse and apply.
        plan: Option<Digest>,
        /// The rollout, for apply and undo.
        rollout: Option<RolloutId>,
        /// From when on it is refused.
        expires: Timestamp,
    },
    /// A host reported.
    #[serde(rename = "host.reported")]
    HostReported {
        /// The host.
        host: HostId,
        /// The report.
        report: Report,
    },
    /// Reports of a host are lost: the server that took them is gone, its backup does not hold them, and the host keeps them no more.
    #[serde(rename = "host.reports-missing")]
    ReportsMissing {
        /// The host.
        host: HostId,
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// The log was restored from a backup and goes on as a new epoch: what was ordered before is dead, and nothing begins until a person says so.
    #[serde(rename = "epoch.began")]
    EpochBegan {
        /// As hosts are told.
        signed: crate::epoch::SignedEpoch,
    },
    /// A plan was made.
    #[serde(rename = "plan.created")]
    PlanCreated {
        /// Its name.
        plan: Digest,
        /// The group.
        group: String,
        /// Number of its hosts; `plan.members` names them, in the same append.
        hosts: u32,
        /// Distinct approvers needed.
        approvals: u32,
        /// Updates left out, with the reason.
        excluded: BTreeMap<String, String>,
        /// The emergency path that it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        emergency: Option<String>,
        /// People whose approvals count; everybody's where none is named.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        approvers: BTreeSet<String>,
    },
    /// Hosts of a plan that was just made, at most [`crate::plan::MEMBERS_MAX`] of them.
    #[serde(rename = "plan.members")]
    PlanMembers {
        /// The plan.
        plan: Digest,
        /// Members of cohorts; a large cohort goes on in the next event.
        cohorts: BTreeMap<Digest, Vec<HostId>>,
    },
    /// A change was submitted.
    #[serde(rename = "change.submitted")]
    ChangeSubmitted {
        /// The change.
        change: ChangeId,
        /// The plan.
        plan: Digest,
        /// Blob of the statement that approvers sign.
        statement: Digest,
        /// The author.
        author: String,
        /// The author's SSH signature over the statement.
        signature: String,
    },
    /// A person approved.
    #[serde(rename = "change.approved")]
    ChangeApproved {
        /// The change.
        change: ChangeId,
        /// The person.
        person: String,
        /// The SSH signature.
        signature: String,
    },
    /// A person rejected.
    #[serde(rename = "change.rejected")]
    ChangeRejected {
        /// The change.
        change: ChangeId,
        /// Why.
        reason: String,
    },
    /// A rollout began.
    #[serde(rename = "rollout.started")]
    RolloutStarted {
        /// The rollout.
        rollout: RolloutId,
        /// The change.
        change: ChangeId,
        /// The plan.
        plan: Digest,
        /// What it does; `rollout.members` says in which order, in the same append.
        setup: crate::rollout::Setup,
    },
    /// Hosts of a wave of a rollout that has just begun, at most [`crate::plan::MEMBERS_MAX`] of them.
    #[serde(rename = "rollout.members")]
    RolloutMembers {
        /// The rollout.
        rollout: RolloutId,
        /// The wave, from 0; a large one goes on in the next event.
        wave: u32,
        /// In their order, each with its zone.
        hosts: Vec<(HostId, String)>,
    },
    /// A wave passed its gate.
    #[serde(rename = "rollout.wave-passed")]
    WavePassed {
        /// The rollout.
        rollout: RolloutId,
        /// The wave, from 0.
        wave: u32,
        /// What has been shown.
        shown: String,
    },
    /// A rollout stands still until somebody resumes it.
    #[serde(rename = "rollout.paused")]
    RolloutPaused {
        /// The rollout.
        rollout: RolloutId,
    },
    /// It goes on.
    #[serde(rename = "rollout.resumed")]
    RolloutResumed {
        /// The rollout.
        rollout: RolloutId,
    },
    /// A person wants what it did undone, host by host within its budget.
    #[serde(rename = "rollout.rollback-started")]
    RollbackStarted {
        /// The rollout.
        rollout: RolloutId,
        /// Who asked, or which gate failed, for people.
        reason: String,
        /// The gate that failed, where no person asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gate: Option<crate::rollout::FailedGate>,
    },
    /// A host never accepted its directive and cannot any more: it waits again, untouched.
    #[serde(rename = "rollout.host-withdrawn")]
    HostWithdrawn {
        /// The rollout.
        rollout: RolloutId,
        /// The host.
        host: HostId,
        /// The transaction that was not begun.
        txn: TransactionId,
    },
    /// A person left a waiting host out.
    #[serde(rename = "rollout.host-skipped")]
    HostSkipped {
        /// The rollout.
        rollout: RolloutId,
        /// The host.
        host: HostId,
        /// Why, for people.
        reason: String,
    },
    /// A person stopped every transaction that has not begun, everywhere.
    #[serde(rename = "fleet.stopped")]
    FleetStopped {
        /// Why, for people.
        reason: String,
    },
    /// Transactions may begin again.
    #[serde(rename = "fleet.resumed")]
    FleetResumed {},
    /// It ended: completed, halted by a gate, aborted or rolled back by a person.
    #[serde(rename = "rollout.ended")]
    RolloutEnded {
        /// The rollout.
        rollout: RolloutId,
        /// How.
        end: crate::rollout::End,
    },
    /// A person lets an update be planned again that was rolled back.
    #[serde(rename = "update.cleared")]
    UpdateCleared {
        /// The group.
        group: String,
        /// Source package.
        source: String,
        /// The version that was rolled back.
        version: String,
        /// Why, for people.
        reason: String,
    },
    /// An exception of the policy ended: what it was about is a finding again.
    #[serde(rename = "exception.expired")]
    ExceptionExpired {
        /// Its name.
        exception: String,
        /// When it ended.
        expires: Timestamp,
        /// Who answered for it.
        owner: String,
    },
    /// Somebody proposed a policy that loosens the one in force.
    #[serde(rename = "policy.proposed")]
    PolicyProposed {
        /// The new policy.
        policy: Digest,
        /// The policy that it was compared with.
        base: Digest,
        /// Blob of the statement that approvers sign.
        statement: Digest,
        /// The author.
        author: String,
        /// The author's SSH signature over the statement.
        signature: String,
    },
    /// A person approved a proposed policy.
    #[serde(rename = "policy.approved")]
    PolicyApproved {
        /// The new policy.
        policy: Digest,
        /// The person.
        person: String,
        /// The SSH signature.
        signature: String,
    },
    /// A policy is in force from here on.
    #[serde(rename = "policy.applied")]
    PolicyApplied {
        /// The new policy.
        policy: Digest,
        /// The one that it replaces.
        base: Digest,
    },
    /// A person registered a host that others patch and that asks here before it reboots.
    #[serde(rename = "lock.registered")]
    LockRegistered {
        /// Its id in the FleetLock protocol.
        client: String,
        /// What it counts as in budgets.
        host: HostId,
        /// For people.
        name: String,
        /// Assigned by the person.
        labels: Labels,
    },
    /// Such a host may leave service to reboot, and counts as out from here on.
    #[serde(rename = "lock.taken")]
    LockTaken {
        /// Which.
        client: String,
    },
    /// It is back, by its own word or a person's.
    #[serde(rename = "lock.released")]
    LockReleased {
        /// Which.
        client: String,
        /// Why a person freed it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A person struck it off; it counts nowhere any more.
    #[serde(rename = "lock.forgotten")]
    LockForgotten {
        /// Which.
        client: String,
        /// Why, for people.
        reason: String,
    },
    /// Somebody wrote a standing approval.
    #[serde(rename = "standing.submitted")]
    StandingSubmitted {
        /// Its digest; the blob of the [`crate::standing::Standing`].
        standing: Digest,
        /// Name for people.
        name: String,
        /// The group whose plans it covers.
        group: String,
        /// Number of its hosts.
        hosts: u32,
        /// The author.
        author: String,
        /// The author's SSH signature over it.
        signature: String,
        /// From when on it counts.
        from: Timestamp,
        /// Until when it counts.
        expires: Timestamp,
        /// Distinct approvers needed.
        needed: u32,
        /// People whose approvals count; everybody's where none is named.
        #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
        approvers: BTreeSet<String>,
    },
    /// A person approved a standing approval.
    #[serde(rename = "standing.approved")]
    StandingApproved {
        /// Which.
        standing: Digest,
        /// The person.
        person: String,
        /// The SSH signature.
        signature: String,
    },
    /// A standing approval counts no more.
    #[serde(rename = "standing.revoked")]
    StandingRevoked {
        /// Which.
        standing: Digest,
        /// Why, for people.
        reason: String,
    },
    /// A standing approval covers a drafted plan: a change under it, which nobody has to approve.
    #[serde(rename = "change.covered")]
    ChangeCovered {
        /// The change.
        change: ChangeId,
        /// The plan.
        plan: Digest,
        /// The standing approval.
        standing: Digest,
        /// The schedule that drafted it.
        schedule: String,
        /// The moment that it was drafted for.
        occurrence: Timestamp,
    },
    /// A schedule of the policy counts from here on; its earlier moments are nobody's.
    #[serde(rename = "schedule.set")]
    ScheduleSet {
        /// Its name.
        schedule: String,
        /// Its group.
        group: String,
        /// Its recurrence.
        at: String,
        /// Its time zone.
        timezone: String,
    },
    /// A schedule is in the policy no more.
    #[serde(rename = "schedule.removed")]
    ScheduleRemoved {
        /// Its name.
        schedule: String,
    },
    /// A schedule's moment has come, or a person asked for it out of turn: a plan is drafted.
    #[serde(rename = "schedule.due")]
    ScheduleDue {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// Earlier moments that passed while no server ran; this draft stands for them.
        missed: u32,
        /// A person asked for it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        asked: bool,
    },
    /// Hosts were asked what they would do.
    #[serde(rename = "schedule.asked")]
    ScheduleAsked {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// Answers from here on count.
        since: Timestamp,
        /// Source packages that are left out, with the reason.
        exclude: BTreeMap<String, String>,
    },
    /// A plan was drafted.
    #[serde(rename = "schedule.drafted")]
    ScheduleDrafted {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// The plan.
        plan: Digest,
        /// Hosts of the group that did not answer in time and are not in the plan, at most [`crate::schedule::NAMED_MAX`] by name.
        silent: Vec<HostId>,
        /// How many more.
        #[serde(default, skip_serializing_if = "is_zero")]
        silent_more: u32,
    },
    /// Cohorts without a rehearsal are rehearsed.
    #[serde(rename = "schedule.rehearsing")]
    ScheduleRehearsing {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// How often it was tried, this time included.
        attempt: u32,
    },
    /// The draft waits for people.
    #[serde(rename = "schedule.waits")]
    ScheduleWaits {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// Why nothing happens by itself, for people.
        why: String,
    },
    /// Nothing comes of this moment.
    #[serde(rename = "schedule.ended")]
    ScheduleEnded {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// How.
        end: crate::schedule::End,
    },
    /// An owner put a rollout off.
    #[serde(rename = "schedule.deferred")]
    ScheduleDeferred {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// It begins not before.
        until: Timestamp,
        /// Why, for people.
        reason: String,
        /// The owner.
        person: String,
        /// The owner's SSH signature over [`crate::schedule::Deferral`].
        signature: String,
    },
    /// Owners have notice of a rollout.
    #[serde(rename = "notice.given")]
    NoticeGiven {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// The change.
        change: ChangeId,
        /// When it begins, at the earliest.
        opens: Timestamp,
        /// Who is told.
        owners: BTreeSet<String>,
    },
    /// The hook that carries notices was run.
    #[serde(rename = "notice.told")]
    NoticeTold {
        /// The schedule.
        schedule: String,
        /// The moment.
        occurrence: Timestamp,
        /// When it begins, at the earliest.
        opens: Timestamp,
        /// Why it could not tell, if so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failed: Option<String>,
    },
    /// It cannot go on for now.
    #[serde(rename = "rollout.blocked")]
    RolloutBlocked {
        /// The rollout.
        rollout: RolloutId,
        /// The hosts that block it.
        by: Vec<HostId>,
        /// For people.
        why: String,
    },
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Why stored bytes are no event of this program.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Malformed, or of a type or version that this program does not know.
    #[error("event {seq}: {why}; a newer version of fother is needed to read this log")]
    Unknown {
        /// Place in the log.
        seq: u64,
        /// For people.
        why: String,
    },
    /// At another place than it says.
    #[error("event {seq} says that it is event {says}")]
    Place {
        /// Place in the log.
        seq: u64,
        /// What it says.
        says: u64,
    },
}

impl Event {
    /// The bytes to store.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, canonical::Error> {
        canonical::to_vec(self)
    }

    /// Reads stored bytes at place `seq`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn parse(seq: u64, bytes: &[u8]) -> Result<Self, Error> {
        let event = wire::read(bytes).map_err(|error| Error::Unknown { seq, why: error.to_string() })?;
        if event.v != VERSION {
            return Err(Error::Unknown { seq, why: format!("version {}", event.v) });
        }
        if event.seq != seq {
            return Err(Error::Place { seq, says: event.seq });
        }
        Ok(event)
    }
}
