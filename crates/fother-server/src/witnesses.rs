//! Checkpoints as hosts see them: the newest one with the proof that it continues theirs, and their cosignatures. Touches the store.

use crate::{Error, engine::Engine};
use fother_core::{
    Digest,
    checkpoint::{self, Note},
    id::HostId,
};

impl Engine {
    /// The newest checkpoint, and the proof that it continues the one that `host` shows; its cosignature is kept. Whatever else
    /// the host shows is left to the host to judge: it gets no proof.
    pub(crate) fn continuation(&self, host: HostId, shown: Option<&str>) -> Result<(String, Vec<Digest>), Error> {
        let (size, note) = self.newest_checkpoint();
        let Some(shown) = shown.and_then(|shown| shown.parse::<Note>().ok()) else { return Ok((note, Vec::new())) };
        let Ok(seen) = shown.verify(&self.identity.log_verifier()?) else { return Ok((note, Vec::new())) };
        if seen.size > size || self.store.root(seen.size)? != seen.root {
            tracing::error!(%host, events = seen.size, "this host has a checkpoint that this log signed and does not continue: was an older backup restored?");
            return Ok((note, Vec::new()));
        }
        self.keep_cosignature(host, seen.size, &shown)?;
        Ok((note, self.store.prove_consistency(seen.size, size)?))
    }

    fn keep_cosignature(&self, host: HostId, size: u64, shown: &Note) -> Result<(), Error> {
        let Some(known) = self.state().hosts.get(&host).map(|known| known.cosigner.clone()) else { return Ok(()) };
        let key = checkpoint::cosigner(host, &known)?;
        if shown.verify(&key).is_err() {
            return Ok(());
        }
        Ok(self.store.cosign_checkpoint(size, shown, &key)?)
    }
}
