//! The loop that turns a running rollout's next actions into events and directives. Touches the engine only; sleeps between rounds.

use crate::{
    Error,
    engine::{Engine, lock},
    replica::Fence,
};
use fother_core::{
    decide, dispatch,
    event::Data,
    id::{HostId, RolloutId, TransactionId},
    policy::admission,
    state::State,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

/// Longest wait between two rounds; an append ends it at once.
pub const ROUND: Duration = Duration::from_millis(250);
/// Rounds without a pause for one rollout: a bound, not a wish.
const STEPS_MAX: usize = 64;
/// Most hosts that one append says are lost.
const LOST_MAX: usize = 500;

/// The lease on what is done for the whole fleet.
const FLEET_WORK: &str = "work/fleet";

/// Works until `stop` is set or the engine is gone.
pub(crate) fn run(engine: &Arc<Engine>, woken: &Receiver<()>, stop: &AtomicBool) {
    let mut faulty = false;
    while !stop.load(Ordering::Relaxed) {
        let fault = engine.clock_fault();
        if fault.is_some() != faulty {
            faulty = fault.is_some();
            match &fault {
                Some(why) => tracing::error!(why, "nothing is sent out until the clock is right and the server was restarted"),
                None => tracing::info!("the clock is right again"),
            }
        }
        if fault.is_none()
            && let Err(error) = round(engine)
        {
            tracing::error!(%error, "a round of the rollouts failed; it is tried again");
            std::thread::sleep(ROUND);
        }
        if woken.recv_timeout(ROUND) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// One round: lost hosts, then every running rollout.
pub(crate) fn round(engine: &Engine) -> Result<(), Error> {
    engine.save_heard()?;
    engine.save_cosignatures()?;
    if let Some(fence) = engine.holds(FLEET_WORK)? {
        lose(engine, &fence)?;
        expire(engine, &fence)?;
    }
    let running: Vec<RolloutId> = running(&engine.state());
    for rollout in running {
        let work = format!("work/{rollout}");
        let Some(fence) = engine.holds(&work)? else { continue };
        for _ in 0..STEPS_MAX {
            if !advance(engine, rollout, &fence)? {
                break;
            }
        }
        if engine.state().rollouts.get(&rollout).is_none_or(|rollout| rollout.ended.is_some()) {
            engine.give_up(&work);
        }
    }
    Ok(())
}

fn running(state: &State) -> Vec<RolloutId> {
    let active = state.active.iter().filter(|id| state.rollouts.get(*id).is_some_and(|rollout| rollout.ended.is_none()));
    active.copied().collect()
}

/// Takes the next actions of a rollout, decided and stored under one lock; false where there is nothing to do.
fn advance(engine: &Engine, id: RolloutId, fence: &Fence) -> Result<bool, Error> {
    let before = engine.state().size;
    let state = engine.commit_under(fence, "server", |state, now| {
        let Some(rollout) = state.rollouts.get(&id) else { return Ok(Vec::new()) };
        let fresh = || engine.fresh().map(|(ms, random)| TransactionId::new(ms, random));
        let actions = rollout.step(&state.around(rollout), now);
        let actions = admission::admit(&engine.policy(), state, rollout, actions, now).actions;
        let (mut events, orders) = dispatch::carry_out(state, rollout, actions, fresh)?;
        events.extend(engine.issue(state, now, Some(id), orders)?);
        Ok(events)
    })?;
    Ok(state.size > before)
}

/// Says which exceptions have ended.
fn expire(engine: &Engine, fence: &Fence) -> Result<(), Error> {
    let (policy, now) = (engine.policy(), engine.clock.now());
    if decide::expire_exceptions(&engine.state(), &policy, now).is_empty() {
        return Ok(());
    }
    engine.commit_under(fence, "server", |state, now| Ok(decide::expire_exceptions(state, &policy, now))).map(drop)
}

/// Says which hosts have not been heard of for [`dispatch::lost_after`], counted from this server's start at the earliest.
fn lose(engine: &Engine, fence: &Fence) -> Result<(), Error> {
    let (state, now) = (engine.state(), engine.clock.now());
    let gone = |host: &HostId| state.hosts.get(host).is_none_or(|host| host.lost || host.retired);
    let after = dispatch::lost_after(state.hosts.len());
    let mut silent = lock(&engine.heard).silent(now, after, gone);
    if !silent.is_empty() && engine.store.is_shared() {
        engine.hear_of_others()?;
        silent = lock(&engine.heard).silent(now, after, gone);
    }
    for some in silent.chunks(LOST_MAX) {
        let lost = |host: HostId| Data::HostLost { host };
        engine.commit_under(fence, "server", |state, _| {
            Ok(dispatch::late(state, some.iter().copied(), now).into_iter().map(lost).collect())
        })?;
    }
    Ok(())
}
