//! A new epoch of the log, begun where a backup was restored: what the old server ordered is dead on the hosts from then on. Touches the store.

use crate::{Error, engine::Engine, error::refuse};
use fother_core::{
    Timestamp,
    epoch::{self, Epoch, SignedEpoch},
    event::Data,
    state::State,
};
use fother_store::Store;

/// Key of the small state under which a restored store says how many events it was restored with.
const RESTORED: &str = "restored";

/// Marks a store that was just made out of a backup: the server that starts on it begins a new epoch first of all.
///
/// # Errors
/// Where the store fails.
pub fn restored(store: &Store) -> Result<(), Error> {
    Ok(store.put(RESTORED, store.size()?.to_string().as_bytes())?)
}

/// Begins a new epoch where the store was restored and has not grown since.
pub(crate) fn begin(engine: &Engine) -> Result<(), Error> {
    let restored = engine.store.get(RESTORED)?.and_then(|text| String::from_utf8_lossy(&text).parse::<u64>().ok());
    let began = |state: &State, root, began: Timestamp| -> Result<Vec<Data>, Error> {
        if restored != Some(state.size) {
            return Ok(Vec::new());
        }
        let number = state.epoch.as_ref().map_or(0, |signed| signed.epoch.number) + 1;
        let signed = epoch::sign(Epoch { number, size: state.size, root, began }, engine.identity.directive())?;
        tracing::warn!(
            epoch = number,
            events = state.size,
            "the log was restored from a backup and goes on as a new epoch; nothing begins until `fother resume --all`"
        );
        Ok(vec![Data::EpochBegan { signed }])
    };
    let root = engine.root();
    engine.commit("server", |state, now| began(state, root, now)).map(drop)
}

/// Refuses a host that follows a newer epoch: this server's log was left, and it must not be believed any more.
pub(crate) fn not_older(state: &State, host_in: u64) -> Result<(), Error> {
    let own = state.epoch.as_ref().map_or(0, |signed| signed.epoch.number);
    if host_in <= own {
        return Ok(());
    }
    let what = format!("this host follows epoch {host_in} of the log, this server is in epoch {own}");
    refuse("old-epoch", what, "this server was replaced by one that was restored from its backup: stop it for good")
}

/// What a host is told that is in an older epoch; nothing while it could not be told what became of its orders.
pub(crate) fn to_tell(state: &State, host_in: u64, faulty: bool) -> Option<SignedEpoch> {
    state.epoch.clone().filter(|signed| !faulty && signed.epoch.number > host_in)
}
