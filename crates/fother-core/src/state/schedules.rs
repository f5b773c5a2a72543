//! The part of the fold that schedules and standing approvals take: what was drafted for which moment, how far it is, who had notice.

use super::State;
use crate::{
    Timestamp,
    change::Change,
    event::Data,
    schedule::{Deferred, End, Known, Notice, Run, Stage},
    standing::Stood,
};
use std::collections::{BTreeMap, BTreeSet};

impl State {
    pub(super) fn fold_standing(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::StandingSubmitted { standing, name, group, hosts, author, signature, from, expires, needed, approvers } => {
                let new = Stood {
                    name: name.clone(),
                    group: group.clone(),
                    hosts: *hosts,
                    author: author.clone(),
                    author_signature: signature.clone(),
                    submitted: at,
                    from: *from,
                    expires: *expires,
                    needed: *needed,
                    approvers: approvers.clone(),
                    approvals: BTreeMap::new(),
                    revoked: None,
                };
                self.standings.entry(*standing).or_insert(new);
            }
            Data::StandingApproved { standing, person, signature } => {
                if let Some(stood) = self.standings.get_mut(standing) {
                    stood.approvals.insert(person.clone(), signature.clone());
                }
            }
            Data::StandingRevoked { standing, reason } => {
                if let Some(stood) = self.standings.get_mut(standing) {
                    stood.revoked = Some(reason.clone());
                }
            }
            Data::ChangeCovered { change, plan, standing, schedule, .. } => {
                let Some(stood) = self.standings.get(standing) else { return };
                let new = Change {
                    id: *change,
                    plan: *plan,
                    statement: *standing,
                    author: stood.author.clone(),
                    author_signature: stood.author_signature.clone(),
                    submitted: at,
                    approvals: stood.approvals.clone(),
                    needed: self.plans.get(plan).map_or(u32::MAX, |plan| plan.approvals),
                    rejected: None,
                    rollout: None,
                    standing: Some(*standing),
                };
                self.changes.insert(*change, new);
                if let Some(run) = self.run_of(schedule) {
                    (run.change, run.stage, run.since) = (Some(*change), Stage::Covered, at);
                }
            }
            _ => {}
        }
    }

    fn run_of(&mut self, schedule: &str) -> Option<&mut Run> {
        self.schedules.get_mut(schedule)?.run.as_mut()
    }

    pub(super) fn fold_schedule(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::ScheduleSet { schedule, group, at: rule, timezone } => {
                let run = self.schedules.remove(schedule).filter(|known| known.group == *group).and_then(|known| known.run);
                let known = Known { group: group.clone(), at: rule.clone(), timezone: timezone.clone(), since: at, run };
                self.schedules.insert(schedule.clone(), known);
            }
            Data::ScheduleRemoved { schedule } => drop(self.schedules.remove(schedule)),
            Data::ScheduleDue { schedule, occurrence, missed, asked } => {
                if let Some(known) = self.schedules.get_mut(schedule) {
                    if !asked {
                        known.since = *occurrence;
                    }
                    known.run = Some(Run::new(*occurrence, *missed, *asked, at));
                }
            }
            Data::ScheduleAsked { schedule, since, exclude, .. } => {
                if let Some(run) = self.run_of(schedule) {
                    let round = if let Stage::Asked { round } = run.stage { round + 1 } else { 1 };
                    (run.stage, run.since, run.exclude) = (Stage::Asked { round }, *since, exclude.clone());
                }
            }
            Data::ScheduleDrafted { schedule, plan, silent, silent_more, .. } => {
                if let Some(run) = self.run_of(schedule) {
                    (run.stage, run.since, run.plan) = (Stage::Drafted, at, Some(*plan));
                    (run.silent, run.silent_more) = (silent.iter().copied().collect::<BTreeSet<_>>(), *silent_more);
                }
            }
            Data::ScheduleRehearsing { schedule, attempt, .. } => self.stage(schedule, Stage::Rehearsing { attempt: *attempt }, at),
            Data::ScheduleWaits { schedule, why, .. } => self.stage(schedule, Stage::Waits { why: why.clone() }, at),
            Data::ScheduleEnded { schedule, end, .. } => {
                if let (Some(run), End::NothingToDo { silent, .. }) = (self.run_of(schedule), end) {
                    run.silent = silent.iter().copied().collect();
                }
                self.stage(schedule, Stage::Ended { end: end.clone() }, at);
            }
            Data::ScheduleDeferred { schedule, until, reason, person, .. } => {
                if let Some(run) = self.run_of(schedule) {
                    run.deferred.push(Deferred { until: *until, reason: reason.clone(), person: person.clone(), at });
                }
            }
            Data::NoticeGiven { schedule, opens, .. } => {
                if let Some(run) = self.run_of(schedule) {
                    run.first_opens.get_or_insert(*opens);
                    run.notice = Some(Notice { opens: *opens, at, told: None });
                }
            }
            Data::NoticeTold { schedule, opens, failed, .. } => {
                if let Some(notice) = self.run_of(schedule).and_then(|run| run.notice.as_mut()).filter(|notice| notice.opens == *opens) {
                    notice.told = Some(failed.clone());
                }
            }
            _ => {}
        }
    }

    fn stage(&mut self, schedule: &str, stage: Stage, at: Timestamp) {
        if let Some(run) = self.run_of(schedule) {
            (run.stage, run.since) = (stage, at);
        }
    }
}
