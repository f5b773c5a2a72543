//! Certificates that are renewed, identities that are shut out, and copies that are found. Touches the engine; signs certificates.

use crate::{
    Error,
    agents::{Peer, host_of},
    engine::{Engine, lock},
    error::refuse,
    problem::{Answer, blocking},
};
use axum::{Extension, Json, extract::State as Held};
use fother_core::{
    Digest,
    event::Data,
    id::HostId,
    identity::{self, COPIED},
    protocol::{CheckIn, Renew, Renewed},
};
use std::{collections::BTreeSet, sync::Arc};

/// A host's next certificate, for a new key, asked for under the old one.
pub(crate) async fn renew(
    Held(engine): Held<Arc<Engine>>,
    Extension(peer): Extension<Peer>,
    Json(renew): Json<Renew>,
) -> Answer<Json<Renewed>> {
    let host = host_of(&engine, peer)?;
    blocking(move || engine.renewed(host, &renew.csr)).await.map(|certificate| Json(Renewed { certificate }))
}

impl Engine {
    fn renewed(&self, host: HostId, csr: &str) -> Result<String, Error> {
        if !self.allow(host, csr.len() as u64) {
            return refuse("too-much", "this host asks for more than it may in one minute", "wait a minute");
        }
        let (pem, certificate) = self.identity.certify(csr, host, self.clock.now())?;
        self.commit(&host.to_string(), |state, _| match state.hosts.get(&host) {
            Some(known) if known.revoked.is_none() && !known.retired => Ok(vec![Data::HostRenewed { host, certificate }]),
            _ => refuse("revoked", format!("{host} was shut out"), "enrol it again with a new token"),
        })?;
        tracing::info!(%host, "a host renewed its certificate");
        Ok(pem)
    }

    /// Shuts a host's identity out; connections under its certificates end at once.
    pub(crate) fn revoke(&self, actor: &str, host: HostId, reason: &str) -> Result<(), Error> {
        if reason.trim().is_empty() {
            return Err(Error::Input("give a reason; it stays in the log".to_owned()));
        }
        let state = self.commit(actor, |state, _| Ok(identity::revoke(state, host, reason)?))?;
        let cut: BTreeSet<Digest> = state
            .hosts
            .get(&host)
            .map(|known| [Some(known.certificate), known.previous].into_iter().flatten().collect())
            .unwrap_or_default();
        self.revoked.send_modify(|revoked| revoked.extend(cut));
        tracing::warn!(%host, reason, "an identity was shut out");
        Ok(())
    }

    /// Refuses, and shuts out, an identity that two machines use at once.
    pub(crate) fn is_one_machine(&self, host: HostId, report: &CheckIn) -> Result<(), Error> {
        let Some(session) = report.session.as_deref() else { return Ok(()) };
        if !identity::is_session(session) {
            return Err(Error::Input("the session is 16 to 64 letters and digits".to_owned()));
        }
        if !lock(&self.sessions).entry(host).or_default().heard(session) {
            return Ok(());
        }
        self.revoke("server", host, COPIED)?;
        refuse("revoked", format!("{host} was shut out: {COPIED}"), "`fother agent uninstall`, then enrol with a new token")
    }
}
