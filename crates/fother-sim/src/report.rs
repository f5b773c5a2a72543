//! A run in words: one event, the numbers of many runs.

use crate::world::Stats;
use fother_core::event::Data;

/// One event for people.
#[must_use]
pub fn line(data: &Data) -> String {
    match data {
        Data::RolloutStarted { setup, .. } => format!("a rollout of {} hosts starts", setup.hosts),
        Data::RolloutMembers { wave, hosts, .. } => format!("wave {wave} has {} hosts", hosts.len()),
        Data::WavePassed { wave, shown, .. } => format!("wave {wave} passed: {shown}"),
        Data::RolloutBlocked { by, why, .. } => format!("BLOCKED by {} hosts: {why}", by.len()),
        Data::RolloutEnded { end, .. } => format!("the rollout ended: {end:?}"),
        Data::RollbackStarted { reason, gate, .. } => {
            format!("it goes back ({}): {reason}", if gate.is_some() { "a gate" } else { "a person" })
        }
        Data::HostWithdrawn { .. } => "a directive that nobody accepted is withdrawn".to_owned(),
        other => {
            let text = format!("{other:?}");
            text.split([' ', '{', '(']).next().unwrap_or_default().to_owned()
        }
    }
}

/// Adds the numbers of a run to those of all.
pub fn add(all: &mut Stats, one: &Stats) {
    all.happenings += one.happenings;
    all.steps += one.steps;
    all.events += one.events;
    for (what, count) in &one.met {
        *all.met.entry(what).or_insert(0) += count;
    }
}

/// The numbers for people.
#[must_use]
pub fn numbers(all: &Stats) -> String {
    let met: Vec<String> = all.met.iter().map(|(what, count)| format!("{what} {count}")).collect();
    format!("{} happenings, {} steps of rollouts, {} events; met: {}", all.happenings, all.steps, all.events, met.join(", "))
}
