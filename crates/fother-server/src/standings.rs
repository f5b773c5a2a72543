//! Standing approvals as people ask for them: drafted, submitted, approved, shown, taken back. Touches the store.

use crate::{
    Error,
    engine::{Engine, kind},
    error::refuse,
};
use fother_core::{
    Digest, approval,
    decide::{self, Wish},
    id::HostId,
    standing::{Standing, Status, Stood},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What an author wants drafted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Draft {
    wish: Wish,
    /// The author's OpenSSH public key.
    key: String,
}

/// A draft that its author signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signed {
    standing: String,
    signature: String,
}

/// A standing approval as people see it.
#[derive(Debug, Serialize)]
pub struct StandingView {
    /// Its digest.
    pub digest: Digest,
    /// Where it is.
    pub status: Status,
    /// What the log says.
    pub stood: Stood,
    /// What people sign.
    pub standing: Standing,
    /// Hosts of the group that it does not cover, each with the reason.
    pub left_alone: BTreeMap<HostId, String>,
}

impl Engine {
    /// The bytes that an author is to sign; nothing is stored.
    pub(crate) fn draft_standing(&self, ask: Draft) -> Result<String, Error> {
        let author_key = approval::fingerprint(&ask.key).map_err(Error::Input)?;
        let author = self.trust.owner(&author_key).or_else(|why| refuse("bad-signature", why, "use a key from the approvers file"))?;
        let mut wish = ask.wish;
        if wish.origins.is_empty() {
            wish.origins.clone_from(&self.trust.limits.origins);
        }
        let standing = decide::draft_standing(&self.state(), &self.policy(), wish, (author, author_key), self.clock.now())?;
        Ok(String::from_utf8_lossy(&standing.bytes()?).into_owned())
    }

    /// Takes a draft in that its author signed; its digest.
    pub(crate) fn submit_standing(&self, actor: &str, signed: &Signed) -> Result<Digest, Error> {
        let bytes = signed.standing.as_bytes();
        self.commit(actor, |state, now| {
            let (standing, event) = decide::submit_standing(state, &self.trust, &self.policy(), (bytes, &signed.signature), now)?;
            self.put(kind::STANDING, &standing)?;
            Ok(vec![event])
        })?;
        Ok(Standing::digest_of(bytes))
    }

    /// Takes a person's approval in.
    pub(crate) fn approve_standing(&self, actor: &str, digest: Digest, signature: &str) -> Result<(), Error> {
        let bytes = if self.state().standings.contains_key(&digest) { self.bytes(digest)? } else { Vec::new() };
        self.commit(actor, |state, now| Ok(vec![decide::approve_standing(state, &self.trust, digest, (&bytes, signature), now)?])).map(drop)
    }

    /// Lets a standing approval count no more: nothing begins under it from here on.
    pub(crate) fn revoke_standing(&self, actor: &str, digest: Digest, reason: &str) -> Result<(), Error> {
        self.commit(actor, |state, _| Ok(decide::revoke_standing(state, digest, reason)?)).map(drop)
    }

    /// All of them: what the log says, and where each is.
    pub(crate) fn standings(&self) -> BTreeMap<Digest, (Status, Stood)> {
        let now = self.clock.now();
        self.state().standings.iter().map(|(digest, stood)| (*digest, (stood.status(now), stood.clone()))).collect()
    }

    /// One of them.
    pub(crate) fn standing(&self, digest: Digest) -> Result<StandingView, Error> {
        let state = self.state();
        let Some(stood) = state.standings.get(&digest).cloned() else {
            return refuse("unknown-standing", format!("there is no standing approval {digest}"), "see `fother standing ls`");
        };
        let standing: Standing = self.get(digest)?;
        let left_alone = decide::left_alone(&state, &self.policy(), &standing);
        Ok(StandingView { digest, status: stood.status(self.clock.now()), stood, standing, left_alone })
    }
}
