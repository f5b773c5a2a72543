//! Decisions about policies: what tightens is taken in at once, what loosens waits for the approvals that the policy in force demands.

use super::{APPROVAL_LIFE, Refusal, refuse};
use crate::{
    Digest, Timestamp,
    approval::Trust,
    event::Data,
    policy::{
        Policy,
        baseline::RolledBack,
        change::{Demand, Difference, Effect, demands, differences, unmet},
        proposal::{AUTHOR_NAMESPACE, LOOSENS_MAX, NAMESPACE, Statement},
    },
    state::State,
};
use std::collections::BTreeSet;

/// What loosens, in words.
#[must_use]
pub fn loosens(differences: &[Difference]) -> Vec<String> {
    differences.iter().filter(|one| one.effect == Effect::Loosens).map(|one| crate::text::printable(&one.what, 500)).collect()
}

/// For people: who must still approve.
fn wanted<'a>(demands: impl IntoIterator<Item = &'a Demand>) -> String {
    demands.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Takes a policy in that was compared with `base`, where nothing of it loosens; no event where it is in force already.
///
/// # Errors
/// Compared with another policy than the one in force; looser.
pub fn apply_policy(state: &State, old: &Policy, new: (&Policy, Digest), base: Digest) -> Result<Vec<Data>, Refusal> {
    let found = compared(state, old, new, base)?;
    if state.policy == Some(new.1) {
        return Ok(Vec::new());
    }
    let demands = demands(old, &found);
    if demands.is_empty() {
        return Ok(vec![Data::PolicyApplied { policy: new.1, base }]);
    }
    let what = format!("it loosens the policy in force ({}): {}", loosens(&found).join("; "), wanted(&demands));
    refuse("loosens", what, "sign it as its author: `fother policy apply --key KEY`; then others approve it")
}

fn compared(state: &State, old: &Policy, (new, _): (&Policy, Digest), base: Digest) -> Result<Vec<Difference>, Refusal> {
    if state.policy != Some(base) {
        return refuse(
            "other-policy",
            "another policy is in force than the one that this was compared with",
            "compare it again: `fother policy diff`",
        );
    }
    Ok(differences(old, new))
}

/// Takes the proposal of a looser policy in. `bytes` are the statement's, `signature` its author's.
///
/// # Errors
/// As [`apply_policy`]; a statement that is not what the policies say; a signature that is not the author's; an expiry that is out of bounds.
pub fn propose_policy(
    state: &State,
    trust: &Trust,
    old: &Policy,
    new: (&Policy, Digest),
    (bytes, signature): (&[u8], &str),
    now: Timestamp,
) -> Result<(Statement, Vec<Data>), Refusal> {
    let unreadable = || refuse("other-statement", "the statement cannot be read", "bring the command line to the server's version");
    let Ok(statement) = serde_json::from_slice::<Statement>(bytes) else { return unreadable() };
    let found = loosens(&compared(state, old, new, statement.base)?);
    if found.len() > LOOSENS_MAX {
        let what = format!("it loosens the policy in force in {} places; one proposal names at most {LOOSENS_MAX}", found.len());
        return refuse("too-much", what, "take it in steps");
    }
    if statement.policy != new.1 || statement.loosens != found || statement.bytes().ok().as_deref() != Some(bytes) {
        return refuse(
            "other-statement",
            "the signed statement is not what these files say beside the policy in force",
            "compare again and sign again",
        );
    }
    if statement.expires <= now || statement.expires > now + APPROVAL_LIFE {
        let what = format!("the statement expires at {}", statement.expires);
        return refuse("stale-draft", what, format!("sign again; it may live for {} days", APPROVAL_LIFE.as_secs() / 86_400));
    }
    let hint = "sign with a key from the approvers file";
    let signer = trust.signer(AUTHOR_NAMESPACE, bytes, signature).or_else(|why| refuse("bad-signature", why, hint))?;
    if signer.person != statement.author || signer.key != statement.author_key {
        let what =
            format!("{} signed with {}, the statement names {} and {}", signer.person, signer.key, statement.author, statement.author_key);
        return refuse("bad-signature", what, hint);
    }
    let event = Data::PolicyProposed {
        policy: statement.policy,
        base: statement.base,
        statement: Digest::of_kind("policy-statement", bytes),
        author: statement.author.clone(),
        signature: signature.to_owned(),
    };
    Ok((statement, vec![event]))
}

/// A person approves a looser policy; the approval that suffices takes it in.
///
/// # Errors
/// Unknown or stale proposal, a signature that does not count, the author's own.
pub fn approve_policy(
    state: &State,
    trust: &Trust,
    old: &Policy,
    new: (&Policy, Digest),
    (bytes, signature): (&[u8], &str),
    now: Timestamp,
) -> Result<Vec<Data>, Refusal> {
    let Some(proposal) = state.proposals.get(&new.1) else {
        return refuse("unknown-proposal", format!("nobody proposed the policy {}", new.1), "see `fother policy show`");
    };
    if Digest::of_kind("policy-statement", bytes) != proposal.statement {
        return refuse("other-statement", "these are not the bytes of the proposal's statement", "read `fother policy show` again");
    }
    let Ok(statement) = serde_json::from_slice::<Statement>(bytes) else {
        return refuse("other-statement", "the proposal's statement cannot be read", "propose the policy again");
    };
    let found = compared(state, old, new, statement.base)?;
    if statement.expires <= now {
        return refuse("expired", format!("the proposal expired at {}", statement.expires), "propose the policy again");
    }
    let hint = "sign the statement of `fother policy show` with a key from the approvers file";
    let signer = trust.signer(NAMESPACE, bytes, signature).or_else(|why| refuse("bad-signature", why, hint))?;
    if signer.person == statement.author || signer.key == statement.author_key {
        return refuse("four-eyes", format!("{} is the author and cannot approve", signer.person), "ask somebody else");
    }
    if !trust.approvers.iter().any(|person| person.name == signer.person) {
        return refuse("bad-signature", format!("{} may propose policies but not approve them", signer.person), hint);
    }
    let mut people: BTreeSet<String> = proposal.approvals.keys().cloned().collect();
    people.insert(signer.person.clone());
    let mut events = vec![Data::PolicyApproved { policy: new.1, person: signer.person, signature: signature.to_owned() }];
    if unmet(&demands(old, &found), &people).is_empty() {
        events.push(Data::PolicyApplied { policy: new.1, base: statement.base });
    }
    Ok(events)
}

/// Says which exceptions of the policy in force have ended and were not said to.
#[must_use]
pub fn expire_exceptions(state: &State, policy: &Policy, now: Timestamp) -> Vec<Data> {
    let ended = policy
        .exception
        .iter()
        .filter(|(name, exception)| exception.expires <= now && !state.expired.contains(&((*name).clone(), exception.expires)));
    ended
        .map(|(name, exception)| Data::ExceptionExpired {
            exception: name.clone(),
            expires: exception.expires,
            owner: exception.owner.clone(),
        })
        .collect()
}

/// Whether this person's approval counts for a plan.
///
/// # Errors
/// Somebody whom the policy does not name.
pub(super) fn asked(state: &State, plan: Digest, person: &str) -> Result<(), Refusal> {
    let asked = state.plans.get(&plan).map(|plan| &plan.approvers).filter(|asked| !asked.is_empty());
    match asked {
        Some(asked) if !asked.contains(person) => refuse(
            "not-asked",
            format!("{person} is none of those whose approval counts for this group"),
            format!("ask one of {}", asked.iter().cloned().collect::<Vec<_>>().join(", ")),
        ),
        _ => Ok(()),
    }
}

/// Lets an update be planned again that was rolled back; no event where it may be already.
///
/// # Errors
/// Nothing of that name was rolled back in the group; no reason.
pub fn clear_update(
    state: &State,
    rolled_back: &RolledBack,
    (group, source, version): (&str, &str, &str),
    reason: &str,
) -> Result<Vec<Data>, Refusal> {
    if reason.trim().is_empty() {
        return refuse("no-reason", "a reason is needed: it stays in the log", "say what was mended");
    }
    if state.cleared.contains(&(group.to_owned(), source.to_owned(), version.to_owned())) {
        return Ok(Vec::new());
    }
    if !rolled_back.contains_key(&(source.to_owned(), version.to_owned())) {
        let what = format!("{source} {version} is not held back in group {group}");
        return refuse("not-held", what, "see what `fother plan new` leaves out");
    }
    Ok(vec![Data::UpdateCleared {
        group: group.to_owned(),
        source: source.to_owned(),
        version: version.to_owned(),
        reason: crate::text::printable(reason, 500),
    }])
}
