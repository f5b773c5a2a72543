//! Whether an apply order may be carried out: trust file, approvals, plan, cohort, rehearsal, base, limits. Reads files, changes nothing.

use crate::{config::Config, durable, ipc::Need, spool::Store};
use fother_core::{
    Digest, Timestamp,
    approval::{Refused as NotApproved, Statement, Trust},
    directive::{IndexPin, Order, Refused::NotNow},
    id::HostId,
    plan::{Cohort, Place, Plan},
    protocol::{BLOB_BYTES_MAX, Outcome},
    rehearsal::{Rehearsal, Verdict},
    standing::Standing,
};
use rustix::fs::{Mode, OFlags};
use serde::de::DeserializeOwned;
use std::{collections::BTreeSet, fs::File, io::Read as _, os::unix::fs::MetadataExt as _, time::Duration};

/// Largest trust file, in bytes.
pub const TRUST_BYTES_MAX: u64 = 1 << 20;
/// Largest InRelease file, in bytes.
pub const INRELEASE_BYTES_MAX: u64 = 4 << 20;
/// Largest index, in bytes.
pub const INDEX_BYTES_MAX: u64 = 256 << 20;
/// Largest package, in bytes.
pub const PACKAGE_BYTES_MAX: u64 = 2 << 30;
/// Most bytes of packages that one order may need: no order fills this host's disk.
pub const NEEDS_BYTES_MAX: u64 = 8 << 30;
/// Most files that one order may need.
pub const NEEDS_MAX: usize = 4096;

fn replan(why: impl Into<String>) -> Outcome {
    Outcome::Replan { why: why.into() }
}

/// Reads the trust file: no link, owned by root, written by nobody else.
///
/// # Errors
/// [`NotApproved::Trust`] with the reason.
pub fn trust(config: &Config) -> Result<Trust, NotApproved> {
    let path = config.etc.join("trust.toml");
    let bad = |reason: String| NotApproved::Trust { reason: format!("{}: {reason}", path.display()) };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(&path, flags, Mode::empty()).map_err(|error| bad(error.to_string()))?);
    let meta = file.metadata().map_err(|error| bad(error.to_string()))?;
    if !meta.is_file() || meta.uid() != config.owner_uid || meta.mode() & 0o022 != 0 {
        return Err(bad("must be a plain file owned by root and writable by nobody else".to_owned()));
    }
    let mut text = String::new();
    file.take(TRUST_BYTES_MAX).read_to_string(&mut text).map_err(|error| bad(error.to_string()))?;
    Trust::parse(&text)
}

/// Kind of the blob that people signed.
fn kind_of(standing: bool) -> &'static str {
    if standing { "standing" } else { "statement" }
}

/// What an order still needs from the server, as far as it is known yet.
///
/// # Errors
/// Where the order asks for more than the limits allow.
pub fn needs(order: &Order, store: &Store) -> Result<Vec<Need>, String> {
    let mut needs = Vec::new();
    let blob = |kind: &str, digest: &Digest| Need::Blob { kind: kind.to_owned(), digest: *digest };
    let known_pins =
        |plan: &Digest| if store.has(plan) { read_blob::<Plan>(store, "plan", plan).map(|plan| plan.pins) } else { Ok(Vec::new()) };
    let (pins, cohort): (Vec<IndexPin>, Option<&Digest>) = match order {
        Order::Resolve { pins, .. } => (pins.clone(), None),
        Order::Rehearse { plan, cohort, .. } => {
            needs.extend([blob("plan", plan), blob("cohort", cohort)]);
            (known_pins(plan)?, Some(cohort))
        }
        // The statement first: an order that nobody approved costs this host nothing more.
        Order::Apply { statement, standing, .. } if !store.has(statement) => return Ok(vec![blob(kind_of(*standing), statement)]),
        Order::Apply { plan, cohort, rehearsal, statement, standing, .. } => {
            needs.extend([blob("plan", plan), blob("cohort", cohort), blob("rehearsal", rehearsal), blob(kind_of(*standing), statement)]);
            (known_pins(plan)?, Some(cohort))
        }
        Order::Undo { .. } => return Ok(needs),
    };
    for pin in pins {
        needs.push(Need::File { digest: pin.inrelease, bytes_max: INRELEASE_BYTES_MAX });
        needs.extend(pin.indexes.iter().map(|(_, digest)| Need::File { digest: *digest, bytes_max: INDEX_BYTES_MAX }));
    }
    if let Some(cohort) = cohort
        && store.has(cohort)
    {
        let cohort: Cohort = read_blob(store, "cohort", cohort)?;
        let sizes = cohort.changes.iter().filter_map(|change| change.offer.as_ref()).map(|offer| offer.size);
        if sizes.fold(0_u64, u64::saturating_add) > NEEDS_BYTES_MAX {
            return Err(format!("the packages of this order are said to have more than {NEEDS_BYTES_MAX} bytes"));
        }
        for offer in cohort.changes.iter().filter_map(|change| change.offer.as_ref()) {
            if offer.size > PACKAGE_BYTES_MAX {
                return Err(format!("{} is said to have {} bytes, more than the limit of {PACKAGE_BYTES_MAX}", offer.filename, offer.size));
            }
            needs.push(Need::File { digest: offer.sha256, bytes_max: offer.size });
        }
    }
    if needs.len() > NEEDS_MAX {
        return Err(format!("the order needs {} files, more than {NEEDS_MAX}", needs.len()));
    }
    needs.retain(|need| !store.has(&need.digest()));
    needs.sort();
    needs.dedup();
    Ok(needs)
}

/// Reads a typed blob from the store and checks its name again.
///
/// # Errors
/// For people.
pub fn read_blob<T: DeserializeOwned>(store: &Store, kind: &str, digest: &Digest) -> Result<T, String> {
    let bytes = read_bytes(store, kind, digest)?;
    serde_json::from_slice(&bytes).map_err(|error| format!("the {kind} {digest} is malformed: {error}"))
}

fn read_bytes(store: &Store, kind: &str, digest: &Digest) -> Result<Vec<u8>, String> {
    let bytes = durable::read_bounded(&store.path(digest), BLOB_BYTES_MAX as u64)
        .map_err(|error| format!("the {kind} {digest} cannot be read: {error}"))?;
    if Digest::of_kind(kind, &bytes) != *digest {
        return Err(format!("the stored {kind} is not {digest}"));
    }
    Ok(bytes)
}

/// A plan's manifest and a cohort, once the proof shows that this plan holds this cohort. The list of all cohorts is not needed.
///
/// # Errors
/// For people.
pub fn cohort_of(store: &Store, plan: &Digest, cohort: &Digest, place: &Place) -> Result<(Plan, Cohort), String> {
    let plan: Plan = read_blob(store, "plan", plan)?;
    let members: Cohort = read_blob(store, "cohort", cohort)?;
    if !plan.cohorts.holds(cohort, place) {
        return Err("the proof does not show that the plan holds this cohort".to_owned());
    }
    Ok((plan, members))
}

/// Checks that a cohort is for this host as it is now.
///
/// # Errors
/// [`Outcome::Replan`].
pub fn base_fits(cohort: &Cohort, host: HostId, base: Digest) -> Result<(), Outcome> {
    match cohort.hosts.get(&host) {
        None => Err(replan("this host is not a member of the cohort")),
        Some(wanted) if *wanted != base => {
            Err(replan(format!("this host was at {} when the plan was made and is at {} now", wanted.short(), base.short())))
        }
        Some(_) => Ok(()),
    }
}

/// What people signed.
#[derive(Clone, Debug)]
pub enum Signed {
    /// This plan.
    Change(Statement),
    /// What a plan may do.
    Standing(Standing),
}

impl Signed {
    /// Until when an undo of what begins now is covered.
    fn undo_until(&self, now: Timestamp) -> Timestamp {
        match self {
            Self::Change(statement) => statement.undo_until,
            Self::Standing(standing) => now + Duration::from_secs(standing.undo_s),
        }
    }
}

/// A verified apply order.
#[derive(Clone, Debug)]
pub struct Approved {
    /// Until when an undo is covered.
    pub undo_until: Timestamp,
    /// Who approved.
    pub people: BTreeSet<String>,
    /// The transaction.
    pub cohort: Cohort,
    /// The archives' state that its packages come from, as the plan pins it.
    pub pins: Vec<IndexPin>,
    /// Its rehearsal.
    pub rehearsal: Rehearsal,
}

/// Counts the approvals of an apply order and checks what they cover, from the order, the statement and the trust file alone;
/// `None` for other orders, and while the statement has not arrived.
///
/// # Errors
/// The outcome to report; nothing was changed.
pub fn approvals(
    config: &Config,
    store: &Store,
    order: &Order,
    host: HostId,
    now: Timestamp,
) -> Result<Option<(Signed, BTreeSet<String>)>, Outcome> {
    let Order::Apply { plan, cohort, rehearsal, statement, author, approvals, standing, .. } = order else { return Ok(None) };
    if !store.has(statement) {
        return Ok(None);
    }
    let not_approved = |why| Outcome::NotApproved { why };
    let trust = trust(config).map_err(not_approved)?;
    let kind = kind_of(*standing);
    let statement = read_bytes(store, kind, statement).map_err(|reason| not_approved(NotApproved::Statement { reason }))?;
    if *standing {
        let (standing, people) = trust.stands(&statement, author, approvals, host).map_err(not_approved)?;
        standing.admits(now).map_err(|why| Outcome::Refused { why: NotNow { why: why.to_owned() } })?;
        return Ok(Some((Signed::Standing(standing), people)));
    }
    let (statement, people) = trust.approved(&statement, author, approvals).map_err(not_approved)?;
    match statement.covers(*plan, *cohort, *rehearsal, host, now) {
        // Approved, but too early or too late: the rollout asks again while it may start.
        Err(NotApproved::NotCovered { reason: why }) if statement.admits(now) == Err(why.as_str()) => {
            return Err(Outcome::Refused { why: NotNow { why } });
        }
        covered => covered.map_err(not_approved)?,
    }
    Ok(Some((Signed::Change(statement), people)))
}

/// Verifies everything about an apply order but the archives' signatures.
///
/// # Errors
/// The outcome to report; nothing was changed.
pub fn apply(config: &Config, store: &Store, order: &Order, host: HostId, base: Digest, now: Timestamp) -> Result<Approved, Outcome> {
    let Order::Apply { plan, cohort, place, rehearsal, .. } = order else { return Err(replan("not an apply order")) };
    let Some((signed, people)) = approvals(config, store, order, host, now)? else {
        return Err(replan("the statement that people signed did not arrive"));
    };
    let not_approved = |why| Outcome::NotApproved { why };
    let uncovered = |reason: &str| Outcome::NotApproved { why: NotApproved::NotCovered { reason: reason.to_owned() } };
    let trust = trust(config).map_err(not_approved)?;
    let (plan, members) = cohort_of(store, plan, cohort, place).map_err(|why| uncovered(&why))?;
    if let Signed::Change(statement) = &signed
        && plan.policy != statement.policy
    {
        return Err(uncovered("another policy was approved"));
    }
    base_fits(&members, host, base)?;
    trust.allows(&members.changes).map_err(not_approved)?;
    let rehearsal: Rehearsal = read_blob(store, "rehearsal", rehearsal).map_err(replan)?;
    let statement = match &signed {
        Signed::Standing(standing) => {
            standing.covers(&plan, &members, &rehearsal).map_err(|why| uncovered(&why))?;
            return Ok(Approved { undo_until: signed.undo_until(now), people, cohort: members, pins: plan.pins, rehearsal });
        }
        Signed::Change(statement) => statement,
    };
    if rehearsal.changes != members.changes {
        return Err(uncovered("the approved rehearsal is of another transaction"));
    }
    if rehearsal.verdict != Verdict::Passes {
        return Err(uncovered("the approved rehearsal does not pass"));
    }
    if let Some(unit) = rehearsal.exercised.iter().find(|unit| !unit.exercised && !statement.acknowledged.contains(&unit.unit)) {
        return Err(uncovered(&format!("{} was not exercised and nobody acknowledged it by name", unit.unit)));
    }
    Ok(Approved { undo_until: signed.undo_until(now), people, cohort: members, pins: plan.pins, rehearsal })
}
