//! What people ask for: tokens, resolutions, plans, rehearsals, changes, rollouts. Touches the store and the archives.

use crate::{
    Error, archives,
    engine::{Engine, kind},
    error::refuse,
    orders::is_reachable,
};
use fother_core::{
    Digest, Timestamp,
    approval::{AUTHOR_NAMESPACE, Statement},
    canonical,
    change::Status,
    decide::{self, Steer, Submission},
    directive::Order,
    event::Data,
    id::{ChangeId, HostId, RolloutId, TokenId},
    inventory::{Closes, Labels},
    package::Offer,
    plan::{self, Cohort, Plan, PlanHost},
    policy,
    protocol::Token,
    resolution::Resolution,
    state::{Host, State},
    version::Version,
    window::{self, Interval},
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Days for which a statement lists a window's times: as long as an approval lives.
const WINDOW_DAYS: u32 = 14;

/// Who was asked to resolve.
#[derive(Debug, Default, Serialize)]
pub struct Asked {
    /// Directives.
    pub directives: Vec<String>,
    /// Hosts that were asked.
    pub hosts: Vec<HostId>,
    /// Hosts of the group that are not heard of, skipped.
    pub lost: Vec<HostId>,
}

/// A plan that was made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// Its name.
    pub plan: Digest,
    /// Its cohorts.
    pub cohorts: Vec<Digest>,
    /// Hosts that need nothing.
    pub up_to_date: Vec<HostId>,
    /// Hosts without an answer that fits what they are now.
    pub unknown: Vec<HostId>,
    /// Hosts that only observe: never patched from here.
    pub observing: Vec<HostId>,
}

/// A change to submit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// The plan.
    pub plan: Digest,
    /// Units accepted by name.
    #[serde(default)]
    pub acknowledge: BTreeSet<String>,
    /// SSH signature over [`Submit::bytes`].
    pub signature: String,
}

impl Submit {
    /// What the author signs: canonical `{"acknowledge":[…],"plan":"sha256:…"}`.
    ///
    /// # Errors
    /// Never in practice.
    pub fn bytes(plan: Digest, acknowledge: &BTreeSet<String>) -> Result<Vec<u8>, canonical::Error> {
        canonical::to_vec(&serde_json::json!({ "acknowledge": acknowledge, "plan": plan }))
    }
}

impl Engine {
    /// Makes an enrolment token; only its digest is kept.
    pub(crate) fn create_token(&self, actor: &str, labels: Labels) -> Result<String, Error> {
        let plain = |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        if labels.len() > 32 || !labels.iter().all(|(name, value)| plain(name) && plain(value)) {
            return Err(Error::Input("labels: at most 32, names and values of letters, digits, `-`, `_`, `.`, at most 64 long".to_owned()));
        }
        let secret: [u8; 16] = crate::identity::random()?;
        let secret = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let token = Token { secret, ca: self.identity.ca_fingerprint() };
        let (ms, random) = self.fresh()?;
        self.commit(actor, |_, now| Ok(vec![decide::create_token(TokenId::new(ms, random), token.hash(), labels, now)]))?;
        Ok(token.text())
    }

    fn members<'a>(&self, state: &'a State, group: &str) -> Result<Vec<(HostId, &'a Host)>, Error> {
        let Some(group) = self.policy.group.get(group) else {
            return Err(Error::Input(plan::Error::NoGroup(group.to_owned()).to_string()));
        };
        let mut members = Vec::new();
        for (id, host) in state.hosts.iter().filter(|(_, host)| !host.retired) {
            if policy::selects(&group.select, &host.labels).map_err(Error::Input)? {
                members.push((*id, host));
            }
        }
        Ok(members)
    }

    /// Asks every host of a group what its package manager would do.
    pub(crate) fn resolve(&self, actor: &str, group: &str, exclude: BTreeSet<String>) -> Result<Asked, Error> {
        let pins = archives::pins(&self.snapshots()?);
        let mut asked = Asked::default();
        let before = self.state().size;
        let state = self.commit(actor, |state, now| {
            let (here, lost): (Vec<_>, Vec<_>) = self.members(state, group)?.into_iter().partition(|(_, host)| is_reachable(host));
            asked.hosts = here.iter().map(|(id, _)| *id).collect();
            asked.lost = lost.iter().map(|(id, _)| *id).collect();
            let order = Order::Resolve { pins, exclude: exclude.into_iter().collect() };
            self.issue(state, now, None, asked.hosts.iter().map(|host| (*host, order.clone())).collect())
        })?;
        asked.directives = since(&state, before, "resolve", &asked.hosts);
        Ok(asked)
    }

    /// Makes the plan of a group out of the answers that fit what the hosts are now.
    pub(crate) fn make_plan(&self, actor: &str, group: &str, excluded: &BTreeMap<String, String>) -> Result<Made, Error> {
        let snapshots = self.snapshots()?;
        let state = self.state();
        let (mut hosts, mut observing) = (Vec::new(), Vec::new());
        for (id, host) in self.members(&state, group)? {
            if host.observe {
                observing.push(id);
                continue;
            }
            let fits = host.resolution.filter(|(_, base)| host.base == Some(*base) && !host.lost);
            let resolution: Option<Resolution> = fits.map(|(digest, _)| self.get(digest)).transpose()?;
            if let Some(stale) = resolution.iter().flat_map(|r| &r.changes).find(|change| excluded.contains_key(&change.source)) {
                let what = format!("the answer of {id} still holds {}, which is excluded", stale.source);
                return refuse("resolve-again", what, "resolve the group again with the same exclusions, then plan");
            }
            hosts.push(PlanHost { id, labels: host.labels.clone(), resolution });
        }
        let closes = self.acquire(actor, &snapshots, &hosts)?;
        let planned = plan::plan(&self.policy, group, &hosts, &closes, excluded).map_err(|error| Error::Input(error.to_string()))?;
        for cohort in planned.cohorts.values() {
            self.put(kind::COHORT, cohort)?;
        }
        let digest = self.put(kind::PLAN, &planned.plan)?;
        let created = decide::create_plan(&planned, digest)?;
        if !self.state().plans.contains_key(&digest) {
            self.keep_plan_pins(digest, &archives::pins(&snapshots))?;
        }
        self.commit(actor, |state, _| Ok(if state.plans.contains_key(&digest) { Vec::new() } else { vec![created] }))?;
        let cohorts = planned.plan.cohorts;
        Ok(Made { plan: digest, cohorts, up_to_date: planned.up_to_date, unknown: planned.unknown, observing })
    }

    /// Brings every package into the cache and reads what it closes, from the lowest version that a host has.
    fn acquire(
        &self,
        actor: &str,
        snapshots: &[fother_feeds::archive::Snapshot],
        hosts: &[PlanHost],
    ) -> Result<BTreeMap<(String, String), Vec<Closes>>, Error> {
        let mut wanted: BTreeMap<(String, String), (BTreeSet<Offer>, Option<Version>)> = BTreeMap::new();
        for change in hosts.iter().filter_map(|host| host.resolution.as_ref()).flat_map(|resolution| &resolution.changes) {
            let Some(to) = &change.to else { continue };
            let Some(offer) = &change.offer else {
                return refuse("no-origin", format!("{} names no origin", change.name), "resolve again; update that agent");
            };
            let (offers, from) = wanted.entry((change.name.clone(), to.as_str().to_owned())).or_default();
            offers.insert(offer.clone());
            if let Some(mine) = &change.from
                && from.as_ref().is_none_or(|lowest| mine.compare(lowest).is_lt())
            {
                *from = Some(mine.clone());
            }
        }
        let mut closes = BTreeMap::new();
        for ((name, to), (offers, from)) in wanted {
            for offer in &offers {
                let path = self.package(actor, snapshots, &name, offer)?;
                if from.is_some() {
                    closes.entry((name.clone(), to.clone())).or_insert_with(|| self.closes(&path, &name, from.as_ref()));
                }
            }
        }
        Ok(closes)
    }

    /// Asks one host of each cohort to rehearse.
    pub(crate) fn rehearse(&self, actor: &str, digest: Digest, bisect: bool) -> Result<Vec<String>, Error> {
        let (before, mut hosts) = (self.state().size, Vec::new());
        let state = self.commit(actor, |state, now| {
            let Some(plan) = state.plans.get(&digest) else {
                return refuse("unknown-plan", format!("there is no plan {digest}"), "see `fother plan ls`");
            };
            let pins = self.plan_pins(digest)?;
            let mut orders = Vec::new();
            for (cohort, about) in &plan.cohorts {
                let able = |id: &&HostId| state.hosts.get(*id).is_some_and(|host| is_reachable(host) && !host.observe);
                let Some(host) = about.hosts.iter().find(able) else {
                    let what = format!("no host of the cohort {} can rehearse now", cohort.short());
                    return refuse("nobody-to-rehearse", what, "see `fother host ls` for lost and observing hosts");
                };
                hosts.push(*host);
                orders.push((*host, Order::Rehearse { plan: digest, cohort: *cohort, pins: pins.clone(), bisect }));
            }
            self.issue(state, now, None, orders)
        })?;
        Ok(since(&state, before, "rehearse", &hosts))
    }

    /// Submits a rehearsed plan; the author is whoever signed.
    pub(crate) fn submit(&self, actor: &str, submit: &Submit) -> Result<(ChangeId, String), Error> {
        let bytes = Submit::bytes(submit.plan, &submit.acknowledge)?;
        let author = self.trust.signer(AUTHOR_NAMESPACE, &bytes, &submit.signature);
        let author = author.or_else(|why| refuse("bad-signature", why, "sign with a key from the approvers file"))?;
        if !self.state().plans.contains_key(&submit.plan) {
            return refuse("unknown-plan", format!("there is no plan {}", submit.plan), "see `fother plan ls`");
        }
        let plan: Plan = self.get(submit.plan)?;
        let (ms, random) = self.fresh()?;
        let (change, mut text) = (ChangeId::new(ms, random), String::new());
        self.commit(actor, |state, now| {
            let acknowledged = submit.acknowledge.clone();
            let submission =
                Submission { change, digest: submit.plan, author: author.clone(), acknowledged, window: self.window(&plan.window, now)? };
            let statement = decide::statement(state, &plan, submission, now)?;
            text = String::from_utf8_lossy(&statement.bytes()?).into_owned();
            let blob = self.put(kind::STATEMENT, &statement)?;
            Ok(vec![Data::ChangeSubmitted { change, plan: submit.plan, statement: blob, author }])
        })?;
        Ok((change, text))
    }

    /// The times of a window as long as an approval lives; empty only for `always`.
    fn window(&self, name: &str, now: Timestamp) -> Result<Vec<Interval>, Error> {
        if name == "always" {
            return Ok(Vec::new());
        }
        let Some(window) = self.policy.window.get(name) else {
            return refuse("unknown-window", format!("there is no window `{name}` any more"), "plan again under the present policy");
        };
        window::intervals(window, now, WINDOW_DAYS).map_err(|error| Error::Input(format!("window {name}: {error}")))
    }

    /// Takes a person's approval in.
    pub(crate) fn approve(&self, actor: &str, change: ChangeId, signature: &str) -> Result<(), Error> {
        let known = self.state().changes.get(&change).map(|change| change.statement);
        let bytes = known.map(|statement| self.bytes(statement)).transpose()?.unwrap_or_default();
        self.commit(actor, |state, _| Ok(vec![decide::approve(state, &self.trust, change, &bytes, signature)?])).map(drop)
    }

    /// Takes a person's rejection in.
    pub(crate) fn reject(&self, actor: &str, change: ChangeId, reason: &str) -> Result<(), Error> {
        let reason = fother_core::text::printable(reason, 500);
        self.commit(actor, |state, _| match state.changes.get(&change).map(fother_core::change::Change::status) {
            Some(Status::Open | Status::Approved) => Ok(vec![Data::ChangeRejected { change, reason }]),
            Some(other) => refuse("closed", format!("{change} is {other:?}"), "nothing is left to reject"),
            None => refuse("unknown-change", format!("there is no change {change}"), "see `fother change ls`"),
        })
        .map(drop)
    }

    /// Starts the rollout of an approved change.
    pub(crate) fn start_rollout(&self, actor: &str, change: ChangeId) -> Result<RolloutId, Error> {
        let (ms, random) = self.fresh()?;
        let rollout = RolloutId::new(ms, random);
        self.commit(actor, |state, now| {
            let Some(known) = state.changes.get(&change) else {
                return refuse("unknown-change", format!("there is no change {change}"), "see `fother change ls`");
            };
            let plan: Plan = self.get(known.plan)?;
            let cohorts = plan.cohorts.iter().map(|digest| Ok((*digest, self.get(*digest)?)));
            let cohorts: BTreeMap<Digest, Cohort> = cohorts.collect::<Result<_, Error>>()?;
            let statement: Statement = self.get(known.statement)?;
            if statement.expires <= now {
                return refuse("expired", format!("the approval of {change} expired at {}", statement.expires), "submit the plan again");
            }
            Ok(vec![decide::start_rollout(state, rollout, change, &plan, &cohorts, &statement)?])
        })?;
        Ok(rollout)
    }

    /// Pauses, resumes or aborts.
    pub(crate) fn steer(&self, actor: &str, rollout: RolloutId, how: Steer) -> Result<(), Error> {
        self.commit(actor, |state, _| Ok(vec![decide::steer(state, rollout, how)?])).map(drop)
    }

    /// Undoes a rollout on every host that carries it; one that still runs is aborted first.
    pub(crate) fn rollback(&self, actor: &str, rollout: RolloutId) -> Result<Vec<HostId>, Error> {
        let mut hosts = Vec::new();
        self.commit(actor, |state, now| {
            let done = decide::rollback(state, rollout)?;
            hosts = done.iter().map(|(host, _)| *host).collect();
            let running = state.rollouts.get(&rollout).is_some_and(|rollout| rollout.ended.is_none());
            let mut events = if running { vec![decide::steer(state, rollout, Steer::Abort)?] } else { Vec::new() };
            let reason = format!("{actor} asked for it");
            let orders = done.into_iter().map(|(host, txn)| (host, Order::Undo { txn, reason: reason.clone() })).collect();
            events.extend(self.issue(state, now, Some(rollout), orders)?);
            Ok(events)
        })?;
        Ok(hosts)
    }

    /// Shuts a host out for good: its certificate is worth nothing from here on.
    pub(crate) fn retire(&self, actor: &str, host: HostId) -> Result<(), Error> {
        self.commit(actor, |state, _| match state.hosts.get(&host) {
            Some(known) if !known.retired => Ok(vec![Data::HostRetired { host }]),
            Some(_) => Ok(Vec::new()),
            None => refuse("unknown-host", format!("there is no host {host}"), "see `fother host ls`"),
        })?;
        Ok(self.store.forget_seen(&host.to_string())?)
    }
}

/// Directives of this kind to these hosts whose sequence is their newest, recorded after the log had `before` events.
fn since(state: &State, before: u64, order: &str, hosts: &[HostId]) -> Vec<String> {
    let new = |host: &HostId| {
        let mine = state.directives.iter().filter(|(_, issued)| issued.host == *host && issued.order == order);
        mine.max_by_key(|(_, issued)| issued.sequence).map(|(id, _)| id.to_string())
    };
    if state.size > before { hosts.iter().filter_map(new).collect() } else { Vec::new() }
}
