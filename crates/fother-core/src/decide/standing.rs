//! Decisions about standing approvals: drafted out of the policy, submitted, approved by others, taken back, and held against a rehearsed plan.

use super::{DRAFT_LIFE, Refusal, refuse};
use crate::{
    Digest, Timestamp,
    approval::{NoApproval, Trust},
    event::Data,
    id::HostId,
    package::UpdateClass,
    plan::{Cohort, Plan},
    policy::{Policy, calendar},
    rehearsal::Rehearsal,
    schedule,
    standing::{DAYS_MAX, Standing, Status, Stood},
    state::State,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const DAY: Duration = Duration::from_secs(86_400);

/// What an author wants a standing approval to cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// Name for people.
    pub name: String,
    /// The group.
    pub group: String,
    /// Kinds of update.
    pub classes: BTreeSet<UpdateClass>,
    /// `Origin` fields; those of the approvers file's limits where none is named.
    #[serde(default)]
    pub origins: BTreeSet<String>,
    /// Most packages of one transaction.
    pub packages: u32,
    /// Whether a transaction may need a reboot.
    #[serde(default)]
    pub reboot: bool,
    /// Units and outages that are accepted by name.
    #[serde(default)]
    pub acknowledge: BTreeSet<String>,
    /// Days from now.
    pub days: u32,
}

/// The standing approval that covers a wish as the policy and the fleet are now: all hosts of the group that may be patched, its checks, its window.
///
/// # Errors
/// No such group, no hosts, or one that would never begin or is out of bounds.
pub fn draft_standing(
    state: &State,
    policy: &Policy,
    wish: Wish,
    (author, author_key): (String, String),
    now: Timestamp,
) -> Result<Standing, Refusal> {
    let Some(group) = policy.group.get(&wish.group) else {
        let known = policy.group.keys().cloned().collect::<Vec<_>>().join(", ");
        return refuse("unknown-group", format!("there is no group `{}`", wish.group), format!("known: {known}"));
    };
    if wish.days == 0 || wish.days > DAYS_MAX {
        return refuse("out-of-bounds", format!("{} days", wish.days), format!("a standing approval lives for 1 to {DAYS_MAX} days"));
    }
    let window = calendar::openings(policy, &wish.group, None, now, wish.days)
        .or_else(|error| refuse("never-opens", error.to_string(), "see `fother window show`"))?;
    let members = schedule::members(policy, state, &wish.group).into_iter().filter(|(_, host)| !host.observe);
    let standing = Standing {
        name: wish.name,
        group: wish.group,
        hosts: members.map(|(id, host)| (id, host.cosigner.clone())).collect(),
        classes: wish.classes,
        origins: wish.origins,
        packages: wish.packages,
        reboot: wish.reboot,
        acknowledged: wish.acknowledge,
        checks: policy.checks_of(group),
        soak_s: group.rollout.soak_s,
        config_files: group.config_files,
        window,
        undo_s: group.undo_s.min(crate::standing::UNDO_S_MAX),
        author,
        author_key,
        from: now,
        expires: now + DAY * wish.days,
    };
    standing.check().or_else(|why| refuse("out-of-bounds", why, "see `fother standing draft --help`"))?;
    Ok(standing)
}

/// An author submits a standing approval that was drafted for them, all of it or for fewer hosts.
///
/// # Errors
/// A signature that is not the author's, a draft that is too old, or one that is not what the policy and the fleet say.
pub fn submit_standing(
    state: &State,
    trust: &Trust,
    policy: &Policy,
    (bytes, signature): (&[u8], &str),
    now: Timestamp,
) -> Result<(Standing, Data), Refusal> {
    let standing = Standing::parse(bytes).or_else(|why| refuse("other-statement", why.to_string(), "draft it again"))?;
    trust.standing_author(&standing, bytes, signature).or_else(|why| {
        refuse("bad-signature", why.to_string(), "sign the draft with the key that it was asked for with; see the approvers file")
    })?;
    if standing.from > now || now.since(standing.from) > DRAFT_LIFE {
        return refuse("stale-draft", format!("it was drafted at {}", standing.from), "draft it again");
    }
    let digest = Standing::digest_of(bytes);
    if state.standings.contains_key(&digest) {
        return refuse("exists", "it was submitted already", "see `fother standing show`");
    }
    let wish = Wish {
        name: standing.name.clone(),
        group: standing.group.clone(),
        classes: standing.classes.clone(),
        origins: standing.origins.clone(),
        packages: standing.packages,
        reboot: standing.reboot,
        acknowledge: standing.acknowledged.clone(),
        days: u32::try_from(standing.expires.since(standing.from).as_secs() / 86_400).unwrap_or(0),
    };
    let mut drafted = draft_standing(state, policy, wish, (standing.author.clone(), standing.author_key.clone()), standing.from)?;
    drafted.hosts.retain(|host, _| standing.hosts.contains_key(host));
    if drafted != standing {
        let hint = "draft it again; only hosts may be taken out of a draft";
        return refuse("other-statement", "it is not what the policy and the fleet say now", hint);
    }
    let (needed, approvers) = policy
        .group
        .get(&standing.group)
        .map(|group| (group.approvals.required, group.approvals.people(policy)))
        .unwrap_or((u32::MAX, BTreeSet::new()));
    let event = Data::StandingSubmitted {
        standing: digest,
        name: standing.name.clone(),
        group: standing.group.clone(),
        hosts: u32::try_from(standing.hosts.len()).unwrap_or(u32::MAX),
        author: standing.author.clone(),
        signature: signature.to_owned(),
        from: standing.from,
        expires: standing.expires,
        needed,
        approvers,
    };
    Ok((standing, event))
}

fn known(state: &State, digest: Digest) -> Result<&Stood, Refusal> {
    match state.standings.get(&digest) {
        Some(stood) => Ok(stood),
        None => refuse("unknown-standing", format!("there is no standing approval {digest}"), "see `fother standing ls`"),
    }
}

/// A person approves a standing approval.
///
/// # Errors
/// Unknown, over or revoked; a signature that does not count; the author's own; somebody whom the policy does not name.
pub fn approve_standing(
    state: &State,
    trust: &Trust,
    digest: Digest,
    (bytes, signature): (&[u8], &str),
    now: Timestamp,
) -> Result<Data, Refusal> {
    let stood = known(state, digest)?;
    if Standing::digest_of(bytes) != digest {
        return refuse("other-statement", "these are not its bytes", "read `fother standing show` again");
    }
    match stood.status(now) {
        Status::Open | Status::InForce => {}
        status @ (Status::Expired | Status::Revoked) => {
            return refuse("closed", format!("it is {status:?}").to_lowercase(), "draft a new one");
        }
    }
    let standing = Standing::parse(bytes).or_else(|why| refuse("other-statement", why.to_string(), "draft it again"))?;
    match trust.standing_approver(&standing, bytes, signature) {
        Ok(signer) if !stood.approvers.is_empty() && !stood.approvers.contains(&signer.person) => {
            let hint = format!("ask one of {}", stood.approvers.iter().cloned().collect::<Vec<_>>().join(", "));
            refuse("not-asked", format!("{} is none of those whose approval counts for this group", signer.person), hint)
        }
        Ok(signer) => Ok(Data::StandingApproved { standing: digest, person: signer.person, signature: signature.to_owned() }),
        Err(NoApproval::Author(person)) => refuse("four-eyes", format!("{person} is the author and cannot approve"), "ask somebody else"),
        Err(NoApproval::Signature(why)) => {
            refuse("bad-signature", why, "sign what `fother standing show` shows with a key from the approvers file")
        }
    }
}

/// A person takes a standing approval back; no event where that was done already.
///
/// # Errors
/// Unknown; no reason.
pub fn revoke_standing(state: &State, digest: Digest, reason: &str) -> Result<Vec<Data>, Refusal> {
    if reason.trim().is_empty() {
        return refuse("no-reason", "a reason is needed: it stays in the log", "say why it shall count no more");
    }
    if known(state, digest)?.revoked.is_some() {
        return Ok(Vec::new());
    }
    Ok(vec![Data::StandingRevoked { standing: digest, reason: crate::text::printable(reason, 500) }])
}

/// A rehearsed plan, as it is held against standing approvals.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsed<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its cohorts, each with its rehearsal.
    pub cohorts: &'a [(Cohort, Rehearsal)],
}

/// Why a standing approval does not cover a plan now, for people; nothing where it does.
#[must_use]
pub fn uncovered(
    state: &State,
    policy: &Policy,
    digest: Digest,
    standing: &Standing,
    rehearsed: Rehearsed<'_>,
    now: Timestamp,
) -> Option<String> {
    let Some(stood) = state.standings.get(&digest) else { return Some("it is not in the log".to_owned()) };
    match stood.status(now) {
        Status::InForce => {}
        Status::Open => return Some(format!("it has {} of {} approvals", stood.approvals.len(), stood.needed)),
        Status::Expired => return Some(format!("it expired at {}", stood.expires)),
        Status::Revoked => return Some(format!("it was revoked: {}", stood.revoked.as_deref().unwrap_or_default())),
    }
    let Rehearsed { plan, cohorts } = rehearsed;
    if plan.group != standing.group {
        return Some(format!("it is for group {}", standing.group));
    }
    // Whom the policy asks now: it may have been tightened since.
    let asked = |person: &&String| plan.terms.approvers.is_empty() || plan.terms.approvers.contains(*person);
    let have = stood.approvals.keys().filter(asked).count();
    let need = plan.approvals.max(policy.group.get(&plan.group).map_or(u32::MAX, |group| group.approvals.required));
    if (have as u64) < u64::from(need) {
        return Some(format!("{have} of {need} people whose approval counts for this group have approved it"));
    }
    for (cohort, rehearsal) in cohorts {
        for host in cohort.hosts.keys() {
            if let Some(why) = unlisted(state, standing, *host) {
                return Some(why);
            }
        }
        if let Err(why) = standing.covers(plan, cohort, rehearsal) {
            return Some(why);
        }
    }
    None
}

fn unlisted(state: &State, standing: &Standing, host: HostId) -> Option<String> {
    let known = state.hosts.get(&host);
    let name = || known.map_or_else(|| host.to_string(), |known| crate::text::printable(&known.hostname, 64));
    match standing.hosts.get(&host) {
        None => Some(format!("{} is not among its hosts: hosts that joined later need a new one", name())),
        Some(key) if known.is_none_or(|known| known.cosigner != *key) => Some(format!("{} has another key than was signed for", name())),
        Some(_) => None,
    }
}

/// Hosts of its group that a standing approval does not cover, by name: those that joined later, and those that were left out.
#[must_use]
pub fn left_alone(state: &State, policy: &Policy, standing: &Standing) -> BTreeMap<HostId, String> {
    let members = schedule::members(policy, state, &standing.group);
    let not = members.into_iter().filter_map(|(id, host)| {
        let why = if host.observe { Some(format!("{} only observes", host.hostname)) } else { unlisted(state, standing, id) };
        Some((id, why?))
    });
    not.collect()
}
