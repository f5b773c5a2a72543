//! The policy in force, and how another one comes into force: at once where it tightens, after approvals where it loosens. Touches the store.

use crate::{
    Error,
    engine::{Engine, kind},
    error::refuse,
};
use fother_core::{
    Digest,
    decide::{self, loosens},
    event::Data,
    policy::{
        Policy, Source,
        change::{Demand, Difference, demands, differences, unmet},
        proposal::{Proposal, Statement},
    },
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What is in force, and what waits.
#[derive(Debug, Serialize, Deserialize)]
pub struct InForce {
    /// Its digest.
    pub digest: Digest,
    /// What it says.
    pub policy: Policy,
    /// Looser policies that wait for approval, by the digest of the policy.
    pub proposals: BTreeMap<Digest, Proposed>,
}

/// A looser policy that waits for approval.
#[derive(Debug, Serialize, Deserialize)]
pub struct Proposed {
    /// The statement that approvers sign.
    pub statement: Statement,
    /// What the policy says.
    pub policy: Policy,
    /// Who has approved.
    pub approved: BTreeSet<String>,
    /// What is still demanded.
    pub missing: Vec<Demand>,
}

/// A policy that somebody wants to be in force.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// Its files: names and texts.
    pub files: Vec<(String, String)>,
    /// The policy in force that it was compared with.
    pub base: Digest,
    /// Where it loosens: the bytes of the author's [`Statement`], and the signature over them.
    #[serde(default)]
    pub signed: Option<(String, String)>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Became {
    /// Its digest.
    pub policy: Digest,
    /// Whether it is in force.
    pub applied: bool,
    /// What it says otherwise than the one before.
    pub differences: Vec<Difference>,
    /// What is still demanded.
    pub missing: Vec<Demand>,
}

impl Engine {
    /// The policy in force and the proposals.
    pub(crate) fn policy_in_force(&self) -> Result<InForce, Error> {
        let state = self.state();
        let policy = self.policy();
        let proposed = |(digest, proposal): (&Digest, &Proposal)| {
            let new: Policy = self.get(*digest)?;
            let statement: Statement = self.get(proposal.statement)?;
            let approved: BTreeSet<String> = proposal.approvals.keys().cloned().collect();
            let demanded = demands(&policy, &differences(&policy, &new));
            let missing = unmet(&demanded, &approved).into_iter().cloned().collect();
            Ok((*digest, Proposed { statement, policy: new, approved, missing }))
        };
        let proposals = state.proposals.iter().map(proposed).collect::<Result<_, Error>>()?;
        let digest = state.policy.ok_or_else(|| Error::Damaged("the log names no policy".to_owned()))?;
        Ok(InForce { digest, policy: (*policy).clone(), proposals })
    }

    /// Whose key this is.
    pub(crate) fn owner(&self, openssh: &str) -> Result<String, Error> {
        let key = fother_core::approval::fingerprint(openssh).map_err(Error::Input)?;
        self.trust.owner(&key).or_else(|why| refuse("bad-signature", why, "use a key from the approvers file"))
    }

    /// Takes a policy in where it does not loosen the one in force, and a signed proposal where it does.
    pub(crate) fn apply_policy(&self, actor: &str, wanted: &Wanted) -> Result<Became, Error> {
        let sources: Vec<Source<'_>> = wanted.files.iter().map(|(name, text)| Source { name, text }).collect();
        let new = fother_core::policy::read(&sources).map_err(|error| Error::Input(error.to_string()))?;
        let digest = self.put(kind::POLICY, &new)?;
        let old = self.policy();
        let state = self.commit(actor, |state, now| {
            let Some((bytes, signature)) = &wanted.signed else {
                return Ok(decide::apply_policy(state, &self.policy(), (&new, digest), wanted.base)?);
            };
            let signed = (bytes.as_bytes(), signature.as_str());
            let (statement, events) = decide::propose_policy(state, &self.trust, &self.policy(), (&new, digest), signed, now)?;
            self.put(kind::POLICY_STATEMENT, &statement)?;
            Ok(events)
        })?;
        let found = differences(&old, &new);
        let applied = state.policy == Some(digest);
        let missing = if applied { Vec::new() } else { demands(&old, &found).into_iter().collect() };
        Ok(Became { policy: digest, applied, differences: found, missing })
    }

    /// Takes a person's approval of a proposed policy in; the one that suffices brings it into force.
    pub(crate) fn approve_policy(&self, actor: &str, digest: Digest, signature: &str) -> Result<Became, Error> {
        let Some(proposal) = self.state().proposals.get(&digest).cloned() else {
            return refuse("unknown-proposal", format!("nobody proposed the policy {digest}"), "see `fother policy show`");
        };
        let (bytes, new): (_, Policy) = (self.bytes(proposal.statement)?, self.get(digest)?);
        let old = self.policy();
        let state = self.commit(actor, |state, now| {
            Ok(decide::approve_policy(state, &self.trust, &self.policy(), (&new, digest), (&bytes, signature), now)?)
        })?;
        let found = differences(&old, &new);
        let approved = state.proposals.get(&digest).map(|known| known.approvals.keys().cloned().collect()).unwrap_or_default();
        let applied = state.policy == Some(digest);
        let missing = if applied { Vec::new() } else { unmet(&demands(&old, &found), &approved).into_iter().cloned().collect() };
        Ok(Became { policy: digest, applied, differences: found, missing })
    }
}

/// At a start: what the log says is in force, and not the file, which somebody may have loosened. What tightens is taken over from the file.
pub(crate) fn in_force(engine: &Engine) -> Result<(), Error> {
    let Some(logged) = engine.state().policy else { return Ok(()) };
    let file = engine.policy();
    let old: Policy = engine.get(logged)?;
    let digest = engine.put(kind::POLICY, &*file)?;
    let found = differences(&old, &file);
    engine.set_policy(old);
    if digest == logged {
        return Ok(());
    }
    let looser = loosens(&found);
    if looser.is_empty() {
        tracing::info!("the policy file tightens the policy in force, and is taken over");
        return engine.commit("server", |_, _| Ok(vec![Data::PolicyApplied { policy: digest, base: logged }])).map(drop);
    }
    tracing::error!(
        loosens = looser.join("; "),
        "the policy file loosens the policy in force and is not used: `fother policy apply` proposes it for approval"
    );
    Ok(())
}
