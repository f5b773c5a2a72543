//! What each fault does to the world, and how it is over.

use crate::{
    faults::{Fault, Kind},
    server::{Dies, No},
    setting::BEGIN,
    world::{Confusion, Event, World},
};
use fother_core::{
    Timestamp,
    decide::{self, Steer},
    event::Data,
    id::{HostId, RolloutId},
    policy::{Budget, Freeze, Share},
    rollout::Phase,
};
use std::collections::BTreeSet;

impl World {
    fn pick_host(&self, fault: Fault) -> usize {
        usize::try_from(fault.who).unwrap_or(0) % self.hosts.len().max(1)
    }

    /// A host on which something runs, if there is one: faults are to hurt.
    fn pick_busy(&self, fault: Fault) -> usize {
        let busy: Vec<usize> =
            (0..self.hosts.len()).filter(|at| self.hosts.get(*at).is_some_and(|host| !host.queue.jobs.is_empty())).collect();
        match busy.get(usize::try_from(fault.who).unwrap_or(0) % busy.len().max(1)) {
            Some(at) if fault.span.is_multiple_of(2) => *at,
            _ => self.pick_host(fault),
        }
    }

    /// A fault begins.
    pub(crate) fn strike(&mut self, number: usize) {
        let Some(fault) = self.faults.get(number).copied() else { return };
        if self.hosts.is_empty() {
            return;
        }
        let kind = fault.kind;
        self.timeline.add(self.now - BEGIN, || format!("FAULT {number}: {fault}"));
        self.met(Kind::name(kind));
        self.after(fault.span, Event::Heal(number));
        match kind {
            Kind::ServerCrash
            | Kind::ServerDiesBeforeAppend
            | Kind::ServerDiesAfterAppend
            | Kind::DatabaseFull
            | Kind::DatabaseLate
            | Kind::SecondLeader
            | Kind::ServerClockJumps
            | Kind::OtherStatement
            | Kind::ApprovalsLost => self.strike_server(fault),
            Kind::NetworkBad => self.bad_until = self.now + fault.span,
            Kind::ZoneCut => {
                let until = self.now + fault.span;
                let at = self.pick_host(fault);
                let zone = self.hosts.get(at).map(|host| host.zone.clone());
                self.hosts.iter_mut().filter(|host| Some(&host.zone) == zone.as_ref()).for_each(|host| host.trouble.cut_until = until);
            }
            Kind::ScaleOut => self.add_host(u8::try_from(fault.who % 3).unwrap_or(0), false),
            Kind::Pause
            | Kind::Abort
            | Kind::Rollback
            | Kind::Skip
            | Kind::StopAll
            | Kind::Supersede
            | Kind::OtherGroup
            | Kind::AuthorApproves
            | Kind::PolicyChanges
            | Kind::Freeze => self.strike_person(fault),
            Kind::HostClockJumps
            | Kind::AgentCrash
            | Kind::AgentDiesAtWrite
            | Kind::HostDiskFull
            | Kind::HostHangs
            | Kind::HostSlow
            | Kind::DownloadsSlow
            | Kind::HostCut
            | Kind::HostAwayForDays
            | Kind::CheckFails
            | Kind::CheckWithoutData
            | Kind::UndoFails
            | Kind::UndoInexact
            | Kind::DrainFails
            | Kind::BootLoop
            | Kind::HostGone
            | Kind::ScaleIn
            | Kind::HostDrifts => self.strike_host(fault),
        }
    }

    fn strike_server(&mut self, fault: Fault) {
        let (at, until) = (self.leader(), self.now + fault.span);
        match fault.kind {
            Kind::ServerCrash => self.kill_server(at),
            Kind::DatabaseFull => self.db.full_until = until,
            Kind::DatabaseLate => self.db.late = (self.now + 10 * 60_000, fault.span),
            Kind::OtherStatement => self.confused = Some(Confusion::OtherStatement),
            Kind::ApprovalsLost => self.confused = Some(Confusion::NoApprovals),
            Kind::SecondLeader if self.servers.len() < 3 => self.add_server(),
            Kind::ServerClockJumps => {
                self.clocks_moved = true;
                let skew = i64::try_from(fault.span).unwrap_or(0);
                if let Some(server) = self.servers.get_mut(at) {
                    server.skew = if fault.who.is_multiple_of(2) { skew } else { -skew };
                }
            }
            kind => {
                if let Some(server) = self.servers.get_mut(at) {
                    server.dies = Some(if kind == Kind::ServerDiesBeforeAppend { Dies::Before } else { Dies::After });
                }
            }
        }
    }

    fn strike_host(&mut self, fault: Fault) {
        let (at, until) = (self.pick_busy(fault), self.now + fault.span);
        let id = self.hosts.get(at).map(|host| host.id);
        let Some(host) = self.hosts.get_mut(at) else { return };
        match fault.kind {
            Kind::AgentCrash => {
                host.crash();
                self.revive(at);
            }
            Kind::AgentDiesAtWrite => {
                host.trouble.dies_at = Some((u32::try_from(fault.who % 9).unwrap_or(0), fault.span.is_multiple_of(2)))
            }
            Kind::HostDiskFull => host.trouble.full_until = until,
            Kind::HostHangs | Kind::HostSlow => host.trouble.hangs = fault.span,
            Kind::DownloadsSlow => self.hosts.iter_mut().for_each(|host| host.trouble.fetching_until = until),
            Kind::HostCut | Kind::HostAwayForDays => host.trouble.cut_until = until,
            Kind::CheckFails => host.trouble.failing_until = until,
            Kind::CheckWithoutData => host.trouble.mute_until = until,
            Kind::UndoFails => self.hosts.iter_mut().for_each(|host| host.trouble.undo_fails_until = until),
            Kind::UndoInexact => self.hosts.iter_mut().for_each(|host| host.trouble.inexact_until = until),
            Kind::DrainFails => host.trouble.drain_fails_until = until,
            Kind::BootLoop => {
                host.trouble.boot_loop = u32::try_from(fault.who % 60).unwrap_or(0);
                host.crash();
                self.revive(at);
            }
            Kind::HostGone => {
                host.trouble.gone = true;
                host.crash();
            }
            Kind::HostDrifts => host.content ^= fault.who << 8,
            Kind::HostClockJumps => {
                self.clocks_moved = true;
                let skew = i64::try_from(fault.span).unwrap_or(0);
                host.skew = if fault.who.is_multiple_of(2) { skew } else { -skew };
            }
            _ => {
                let Some(host) = id else { return };
                let leader = self.leader();
                let _ = self.commit(leader, "person", |state, _, _| {
                    let known = state.hosts.get(&host).is_some_and(|host| !host.retired);
                    Ok::<_, No>(if known { vec![Data::HostRetired { host }] } else { Vec::new() })
                });
            }
        }
    }

    fn newest(&self) -> Option<RolloutId> {
        self.servers.get(self.leader()).and_then(|server| server.state.rollouts.keys().next_back().copied())
    }

    fn strike_person(&mut self, fault: Fault) {
        let leader = self.leader();
        let select = self.group().to_owned();
        match (fault.kind, self.newest()) {
            (Kind::Pause, Some(id)) => self.person_says(leader, Ok(Steer::Pause), id),
            (Kind::Abort, Some(id)) => self.person_says(leader, Ok(Steer::Abort), id),
            (Kind::Rollback, Some(id)) => self.person_says(leader, Err(()), id),
            (Kind::Skip, Some(id)) => {
                let waiting = |server: &crate::server::Server| -> Vec<HostId> {
                    let hosts = server.state.rollouts.get(&id).map(|rollout| rollout.hosts().iter()).into_iter().flatten();
                    hosts.filter(|(_, phase)| **phase == Phase::Waiting).map(|(host, _)| *host).collect()
                };
                let hosts = self.servers.get(leader).map(waiting).unwrap_or_default();
                let host = hosts.get(usize::try_from(fault.who).unwrap_or(0) % hosts.len().max(1)).copied();
                let Some(host) = host else { return };
                let _ =
                    self.commit(leader, "person", |state, _, _| decide::skip(state, id, host, "asked".to_owned()).map(|event| vec![event]));
            }
            (Kind::StopAll, _) => {
                let _ = self.commit(leader, "person", |state, _, _| Ok::<_, No>(decide::stop_all(state, Some("asked".to_owned()))));
            }
            (Kind::Supersede, _) => self.propose(&select, true, false, 1_000),
            (Kind::OtherGroup, _) => self.propose("true", false, false, 1_000),
            (Kind::AuthorApproves, _) => self.propose(&select, false, true, 1_000),
            (Kind::PolicyChanges, _) => {
                let count = u32::try_from(1 + fault.who % 4).unwrap_or(1);
                self.setting.budget = Budget { one_zone_at_a_time: fault.who.is_multiple_of(3), ..Budget::of(Share::Count(count)) };
            }
            (Kind::Freeze, _) => {
                let (from, to) = (Timestamp(self.now), Timestamp(self.now + fault.span));
                let freeze = Freeze {
                    reason: "asked".to_owned(),
                    groups: BTreeSet::new(),
                    from: Some(from),
                    to: Some(to),
                    timezone: None,
                    start: None,
                    duration_s: None,
                };
                self.policy.freeze.insert(format!("f{}", self.policy.freeze.len()), freeze);
                self.met("frozen");
            }
            _ => {}
        }
    }

    fn person_says(&mut self, leader: usize, how: Result<Steer, ()>, id: RolloutId) {
        let said = self.commit(leader, "person", |state, _, _| match how {
            Ok(steer) => decide::steer(state, id, steer).map(|event| vec![event]),
            Err(()) => decide::rollback(state, id, "asked".to_owned()).map(|event| vec![event]),
        });
        if said.is_ok() {
            self.met(match how {
                Ok(Steer::Pause) => "paused",
                Ok(Steer::Resume) => "resumed",
                Ok(Steer::Abort) => "aborted at the worst moment",
                Err(()) => "rolled back by a person",
            });
        }
    }

    /// What a fault changed is as before, as far as it does not end by itself.
    pub(crate) fn heal(&mut self, number: usize) {
        let Some(fault) = self.faults.get(number).copied() else { return };
        match fault.kind {
            Kind::ServerClockJumps => {
                for server in &mut self.servers {
                    server.skew = 0;
                }
            }
            Kind::HostClockJumps => self.hosts.iter_mut().for_each(|host| host.skew = 0),
            Kind::Pause => {
                if let Some(id) = self.newest() {
                    let leader = self.leader();
                    self.person_says(leader, Ok(Steer::Resume), id);
                }
            }
            Kind::StopAll => {
                let leader = self.leader();
                let _ = self.commit(leader, "person", |state, _, _| Ok::<_, No>(decide::stop_all(state, None)));
            }
            _ => {
                let at = self.pick_host(fault);
                self.beat(at, 1_000);
            }
        }
    }

    /// All faults are over: what can come back does.
    pub(crate) fn heal_all(&mut self) {
        self.healed = true;
        self.timeline.add(self.now - BEGIN, || "all faults are over".to_owned());
        (self.bad_until, self.db.full_until, self.db.late, self.confused) = (0, 0, (0, 0), None);
        for at in 0..self.hosts.len() {
            let now = self.now;
            let Some(host) = self.hosts.get_mut(at) else { continue };
            host.skew = 0;
            host.trouble = crate::host::Trouble { gone: host.trouble.gone, ..crate::host::Trouble::default() };
            if host.trouble.gone {
                continue;
            }
            if !host.up {
                self.revive(at);
            }
            self.turn(at, now + 1_000);
            self.beat(at, 2_000);
        }
        for server in &mut self.servers {
            server.skew = 0;
        }
        // A server whose clock jumped is restarted by people.
        let leader = self.leader();
        self.kill_server(leader);
        self.after(15 * 60_000, Event::Caretaker);
    }
}
