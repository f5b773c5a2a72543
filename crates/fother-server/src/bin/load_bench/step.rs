//! A rollout over every host: what one step costs, and what one costs after a single report.

use crate::{Failure, HOSTS, figure, made};
use fother_core::{
    Digest, Timestamp,
    event::{Data, Event, VERSION},
    id::{ChangeId, DirectiveId, HostId, RolloutId, TransactionId},
    policy::{Budget, Share, Strategy},
    protocol::{Outcome, Report},
    rollout::{Action, Rollout, Setup},
    state::{Host, State},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

/// Steps that are timed.
const STEPS: usize = 30_000;

pub(crate) fn run() -> Result<(), Failure> {
    let id = RolloutId::new(1, [1; 10]);
    let mut state = fleet(id);
    let (mut large, mut small, mut at_work) = (Vec::new(), Vec::new(), VecDeque::new());
    for _ in 0..STEPS {
        let rollout = state.rollouts.get(&id).ok_or("no rollout")?;
        let began = Instant::now();
        let actions = rollout.step(&state.around(rollout), Timestamp(2));
        let took = began.elapsed().as_secs_f64() * 1_000.0;
        if actions.len() > 1 {
            large.push(took)
        } else {
            small.push(took)
        }
        for action in actions {
            match action {
                Action::Dispatch(host) => {
                    fold(&mut state, issued(id, host));
                    at_work.push_back(host);
                }
                Action::PassWave(shown) => fold(&mut state, Data::WavePassed { rollout: id, wave: 0, shown }),
                Action::Undo(..) | Action::GoBack(_) | Action::Finish(_) | Action::Block(..) => {}
            }
        }
        let Some(host) = at_work.pop_front() else { continue };
        let outcome = Outcome::Verified { txn: txn(host), remarks: Vec::new() };
        fold(&mut state, Data::HostReported { host, report: Report { number: 1, directive: Some(directive(host)), outcome } });
    }
    figure("step that lets 20,000 of 100,000 hosts begin, ms", large);
    figure("step after one report, 100,000 hosts, ms", small);
    Ok(())
}

fn fleet(id: RolloutId) -> State {
    let all: Vec<HostId> = (0..HOSTS).map(made::host).collect();
    let setup = Setup {
        group: "web".to_owned(),
        select: "true".to_owned(),
        hosts: HOSTS as u32,
        waves: vec![all[..1].to_vec(), all[1..].to_vec()],
        zones: all.iter().enumerate().map(|(n, host)| (*host, format!("zone-{}", n % 3))).collect(),
        group_size: HOSTS as u32,
        zone_sizes: BTreeMap::new(),
        outage: None,
        budget: Budget::of(Share::Percent(20)),
        strategy: Strategy::of(1, vec![Share::Percent(100)], 1),
        window: Vec::new(),
        expires: Timestamp(u64::MAX),
    };
    let mut state = State::default();
    for (n, host) in all.iter().enumerate() {
        let new = Host::enrolled(String::new(), made::labels(n), Digest::of_file(&n.to_le_bytes()), String::new(), false);
        state.hosts.insert(*host, new);
    }
    state.rollouts.insert(id, Rollout::new(id, ChangeId::new(1, [1; 10]), Digest([0; 32]), setup, Timestamp(0)));
    state.active.insert(id);
    state
}

fn fold(state: &mut State, data: Data) {
    let event = Event { v: VERSION, seq: state.size, at: Timestamp(1), actor: "server".to_owned(), data };
    state.fold(&event);
}

fn txn(host: HostId) -> TransactionId {
    TransactionId(host.0)
}

fn directive(host: HostId) -> DirectiveId {
    DirectiveId(host.0)
}

fn issued(rollout: RolloutId, host: HostId) -> Data {
    Data::DirectiveIssued {
        directive: directive(host),
        host,
        sequence: 1,
        order: "apply".to_owned(),
        blob: Digest([0; 32]),
        txn: Some(txn(host)),
        cohort: None,
        plan: None,
        rollout: Some(rollout),
        expires: Timestamp(u64::MAX),
    }
}
