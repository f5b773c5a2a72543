//! The loop that turns a running rollout's next actions into events and directives. Touches the engine only; sleeps between rounds.

use crate::{
    Error,
    engine::{Engine, lock},
    orders::LOST_AFTER,
};
use fother_core::{
    directive::Order,
    event::Data,
    id::{RolloutId, TransactionId},
    rollout::Action,
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
    lose(engine)?;
    let running: Vec<RolloutId> =
        engine.state().rollouts.values().filter(|rollout| rollout.ended.is_none()).map(|rollout| rollout.id).collect();
    for rollout in running {
        for _ in 0..STEPS_MAX {
            if !advance(engine, rollout)? {
                break;
            }
        }
    }
    Ok(())
}

/// Takes the next actions of a rollout, decided and stored under one lock; false where there is nothing to do.
fn advance(engine: &Engine, id: RolloutId) -> Result<bool, Error> {
    let before = engine.state().size;
    let state = engine.commit("server", |state, now| {
        let Some(rollout) = state.rollouts.get(&id) else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        let mut orders = Vec::new();
        for action in rollout.step(&state.absent(rollout), now) {
            match action {
                Action::Dispatch(host) => {
                    let (ms, random) = engine.fresh()?;
                    orders.push((host, engine.apply_order(state, id, host, TransactionId::new(ms, random))?));
                }
                Action::Undo(host, txn) => {
                    let reason = rollout.rolling_back.clone().unwrap_or_default();
                    orders.push((host, Order::Undo { txn, reason }));
                }
                Action::PassWave(shown) => events.push(Data::WavePassed { rollout: id, wave: rollout.waves_passed, shown }),
                Action::Finish(end) => events.push(Data::RolloutEnded { rollout: id, end }),
                Action::Block(by, why) => events.push(Data::RolloutBlocked { rollout: id, by, why }),
            }
        }
        events.extend(engine.issue(state, now, Some(id), orders)?);
        Ok(events)
    })?;
    Ok(state.size > before)
}

/// Says which hosts have not been heard of for [`LOST_AFTER`], counted from this server's start at the earliest.
fn lose(engine: &Engine) -> Result<(), Error> {
    let now = engine.clock.now();
    let late = |state: &fother_core::state::State| -> Vec<Data> {
        let heard = lock(&engine.heard);
        let silent = |host| now.since(heard.get(&host).map_or(engine.started, |heard| heard.at.max(engine.started))) > LOST_AFTER;
        let hosts = state.hosts.iter().filter(|(_, host)| !host.lost && !host.retired);
        hosts.filter(|(id, _)| silent(**id)).map(|(id, _)| Data::HostLost { host: *id }).collect()
    };
    if late(&engine.state()).is_empty() {
        return Ok(());
    }
    engine.commit("server", |state, _| Ok(late(state))).map(drop)
}
