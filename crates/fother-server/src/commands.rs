//! What people ask for: tokens, resolutions, plans, rehearsals, changes, rollouts. Touches the store and the archives.

use crate::{
    Error, archives,
    baselines::{self, Answers, ClosedBy},
    engine::{Engine, kind},
    error::refuse,
    orders::is_reachable,
};
use fother_core::{
    Digest, Timestamp,
    approval::{self, Statement},
    change::{Change, Status},
    decide::{self, Steer, Submission},
    directive::Order,
    dispatch::ORDERS_MAX,
    event::Data,
    id::{ChangeId, HostId, RolloutId, TokenId},
    inventory::{Inventory, Labels},
    package::Offer,
    plan::{self, Cohort, Places, Plan, PlanHost, Planned},
    policy::{self, calendar},
    protocol::Token,
    rehearsal::Rehearsal,
    resolution::Resolution,
    state::{CohortState, Host, State},
    version::Version,
    window::Interval,
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

/// What an author wants to submit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// The plan.
    pub plan: Digest,
    /// Units accepted by name.
    #[serde(default)]
    pub acknowledge: BTreeSet<String>,
    /// The author's OpenSSH public key.
    pub key: String,
}

/// A drafted statement that its author signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submit {
    /// The bytes of the statement.
    pub statement: String,
    /// The author's SSH signature over them, in the namespace [`fother_core::approval::AUTHOR_NAMESPACE`].
    pub signature: String,
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
        self.commit(actor, |_, now| Ok(vec![decide::create_token(TokenId::new(ms, random), token.hash(), labels.clone(), now)]))?;
        Ok(token.text())
    }

    pub(crate) fn members<'a>(&self, state: &'a State, group: &str) -> Result<Vec<(HostId, &'a Host)>, Error> {
        let policy = self.policy();
        let Some(group) = policy.group.get(group) else {
            let known: Vec<&str> = policy.group.keys().map(String::as_str).collect();
            let what = plan::Error::NoGroup(group.to_owned()).to_string();
            return refuse("unknown-group", what, format!("known: {}; groups are declared in the policy file", known.join(", ")));
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
        let state = self.state();
        let (here, lost): (Vec<_>, Vec<_>) = self.members(&state, group)?.into_iter().partition(|(_, host)| is_reachable(host));
        let ids = |hosts: Vec<(HostId, &Host)>| hosts.into_iter().map(|(id, _)| id).collect();
        let mut asked = Asked { hosts: ids(here), lost: ids(lost), directives: Vec::new() };
        let order = Order::Resolve { pins, exclude: exclude.into_iter().collect() };
        for some in asked.hosts.chunks(ORDERS_MAX) {
            let state = self.commit(actor, |state, now| {
                let reachable = some.iter().filter(|host| state.hosts.get(*host).is_some_and(is_reachable));
                self.issue(state, now, None, reachable.map(|host| (*host, order.clone())).collect())
            })?;
            asked.directives.extend(newest(&state, "resolve", some));
        }
        Ok(asked)
    }

    /// Makes the plan of a group out of the answers that fit what the hosts are now; `emergency` is a path of the policy, by name.
    pub(crate) fn make_plan(
        &self,
        actor: &str,
        group: &str,
        excluded: &BTreeMap<String, String>,
        emergency: Option<&str>,
    ) -> Result<Made, Error> {
        let state = self.state();
        let answers = self.answers(actor, &state, group, excluded)?;
        baselines::hold_against(&answers.hosts, &self.left_out(&state, group, emergency, &answers)?)?;
        let planned = self.planned(group, excluded, emergency, &answers)?;
        let digest = self.store_plan(&planned)?;
        let created = decide::create_plan(&planned, digest)?;
        self.commit(actor, |state, _| Ok(if state.plans.contains_key(&digest) { Vec::new() } else { created.clone() }))?;
        let cohorts = planned.cohorts.into_keys().collect();
        Ok(Made { plan: digest, cohorts, up_to_date: planned.up_to_date, unknown: planned.unknown, observing: answers.observing })
    }

    /// The plan of a group out of these answers; nothing is stored.
    pub(crate) fn planned(
        &self,
        group: &str,
        excluded: &BTreeMap<String, String>,
        emergency: Option<&str>,
        answers: &Answers,
    ) -> Result<Planned, Error> {
        let closes = answers.closed.iter().map(|(key, closed)| (key.clone(), closed.closes.clone())).collect();
        let policy = self.policy();
        let mut planned = plan::plan(&policy, group, &answers.hosts, &answers.pins, &closes, excluded)
            .map_err(|error| Error::Input(error.to_string()))?;
        planned.set_terms(&policy, emergency, self.clock.now()).or_else(|error| never_opens(&error))?;
        Ok(planned)
    }

    /// Brings every package into the cache and reads what it closes, from the lowest source version that a host has.
    pub(crate) fn acquire(
        &self,
        actor: &str,
        snapshots: &[fother_feeds::archive::Snapshot],
        hosts: &[PlanHost],
        installed: &Installed,
    ) -> Result<ClosedBy, Error> {
        let mut wanted: BTreeMap<(String, String), BTreeSet<Offer>> = BTreeMap::new();
        for change in hosts.iter().filter_map(|host| host.resolution.as_ref()).flat_map(|resolution| &resolution.changes) {
            let Some(to) = &change.to else { continue };
            let Some(offer) = &change.offer else {
                return refuse("no-origin", format!("{} names no origin", change.name), "resolve again; update that agent");
            };
            wanted.entry((change.name.clone(), to.as_str().to_owned())).or_default().insert(offer.clone());
        }
        let mut closes = ClosedBy::new();
        for (key, offers) in wanted {
            for offer in &offers {
                let path = self.package(actor, snapshots, &key.0, offer)?;
                if let Some(from) = installed.get(&key) {
                    closes.entry(key.clone()).or_insert_with(|| self.closes(&path, (&key.0, offer.sha256), from));
                }
            }
        }
        Ok(closes)
    }

    /// Asks one host of each cohort to rehearse.
    pub(crate) fn rehearse(&self, actor: &str, digest: Digest, bisect: bool) -> Result<Vec<String>, Error> {
        self.rehearse_those(actor, digest, (bisect, false), |_| true)
    }

    /// The same for the cohorts that are picked; hosts vouch for their reports where that is asked.
    pub(crate) fn rehearse_those(
        &self,
        actor: &str,
        digest: Digest,
        (bisect, attest): (bool, bool),
        pick: impl Fn(&CohortState) -> bool,
    ) -> Result<Vec<String>, Error> {
        let state = self.state();
        let Some(plan) = state.plans.get(&digest) else {
            return refuse("unknown-plan", format!("there is no plan {digest}"), "see `fother plan ls`");
        };
        let places = Places::over(plan.cohorts.keys().copied());
        let (mut orders, mut directives) = (Vec::new(), Vec::new());
        for (cohort, about) in plan.cohorts.iter().filter(|(_, about)| pick(about)) {
            let able = |id: &&HostId| state.hosts.get(*id).is_some_and(|host| is_reachable(host) && !host.observe);
            let Some(host) = about.hosts.iter().find(able) else {
                let what = format!("no host of the cohort {} can rehearse now", cohort.short());
                return refuse("nobody-to-rehearse", what, "see `fother host ls` for lost and observing hosts");
            };
            let Some(place) = places.place(cohort) else { continue };
            orders.push((*host, Order::Rehearse { plan: digest, cohort: *cohort, place, bisect, attest }));
        }
        for some in orders.chunks(ORDERS_MAX) {
            let state = self.commit(actor, |state, now| self.issue(state, now, None, some.to_vec()))?;
            let hosts: Vec<HostId> = some.iter().map(|(host, _)| *host).collect();
            directives.extend(newest(&state, "rehearse", &hosts));
        }
        Ok(directives)
    }

    /// The statement that an author is to sign for a rehearsed plan; nothing is stored.
    pub(crate) fn draft(&self, draft: &Draft) -> Result<(ChangeId, String), Error> {
        let author_key = approval::fingerprint(&draft.key).map_err(Error::Input)?;
        let author = self.trust.owner(&author_key).or_else(|why| refuse("bad-signature", why, "use a key from the approvers file"))?;
        let (ms, random) = self.fresh()?;
        let change = ChangeId::new(ms, random);
        let now = self.clock.now();
        let statement = self.statement(&self.state(), change, draft.plan, (author, author_key), draft.acknowledge.clone(), now)?;
        Ok((change, String::from_utf8_lossy(&statement.bytes()?).into_owned()))
    }

    fn statement(
        &self,
        state: &State,
        change: ChangeId,
        digest: Digest,
        (author, author_key): (String, String),
        acknowledged: BTreeSet<String>,
        at: Timestamp,
    ) -> Result<Statement, Error> {
        let Some(known) = state.plans.get(&digest) else {
            return refuse("unknown-plan", format!("there is no plan {digest}"), "see `fother plan ls`");
        };
        let plan: Plan = self.get(digest)?;
        let mut unexercised = BTreeSet::new();
        for (rehearsal, _) in known.cohorts.values().filter_map(|cohort| cohort.rehearsal) {
            let rehearsal: Rehearsal = self.get(rehearsal)?;
            unexercised.extend(rehearsal.exercised.into_iter().filter(|unit| !unit.exercised).map(|unit| unit.unit));
        }
        let submission = Submission { change, digest, author, author_key, acknowledged, window: self.window(&plan, at)? };
        Ok(decide::statement(state, &plan, &unexercised, submission, at)?)
    }

    /// Submits a drafted statement that its author signed.
    pub(crate) fn submit(&self, actor: &str, submit: &Submit) -> Result<ChangeId, Error> {
        let bytes = submit.statement.as_bytes();
        let signed: Statement =
            serde_json::from_slice(bytes).map_err(|error| Error::Input(format!("the statement cannot be read: {error}")))?;
        let change = signed.change;
        self.commit(actor, |state, now| {
            if state.changes.contains_key(&change) {
                return refuse("exists", format!("{change} was submitted already"), "see `fother change show`");
            }
            let author = (signed.author.clone(), signed.author_key.clone());
            let drafted = self.statement(state, change, signed.plan, author, signed.acknowledged.clone(), decide::drafted_at(&signed))?;
            decide::submit(&self.trust, &signed, &drafted, bytes, &submit.signature, now)?;
            let statement = self.put(kind::STATEMENT, &signed)?;
            let (author, signature) = (signed.author.clone(), submit.signature.clone());
            Ok(vec![Data::ChangeSubmitted { change, plan: signed.plan, statement, author, signature }])
        })?;
        Ok(change)
    }

    /// When hosts may begin, as long as an approval lives; empty only where nothing restricts it.
    fn window(&self, plan: &Plan, now: Timestamp) -> Result<Vec<Interval>, Error> {
        calendar::openings(&self.policy(), &plan.group, plan.terms.emergency.as_deref(), now, WINDOW_DAYS)
            .or_else(|error| never_opens(&error))
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
        self.commit(actor, |state, _| match state.changes.get(&change).map(Change::status) {
            Some(Status::Open | Status::Approved) => Ok(vec![Data::ChangeRejected { change, reason: reason.clone() }]),
            Some(other) => refuse("closed", format!("{change} is {other:?}"), "nothing is left to reject"),
            None => refuse("unknown-change", format!("there is no change {change}"), "see `fother change ls`"),
        })
        .map(drop)
    }

    /// Starts the rollout of an approved change; with `supersede` it takes the place of those that run over the same hosts.
    pub(crate) fn start_rollout(&self, actor: &str, change: ChangeId, supersede: bool) -> Result<RolloutId, Error> {
        let (ms, random) = self.fresh()?;
        let rollout = RolloutId::new(ms, random);
        self.commit(actor, |state, now| {
            let Some(known) = state.changes.get(&change) else {
                return refuse("unknown-change", format!("there is no change {change}"), "see `fother change ls`");
            };
            let plan: Plan = self.get(known.plan)?;
            let about =
                state.plans.get(&known.plan).ok_or_else(|| Error::Damaged(format!("{change} names a plan that is not in the log")))?;
            let cohorts = about.cohorts.keys().map(|digest| Ok((*digest, self.get(*digest)?)));
            let cohorts: BTreeMap<Digest, Cohort> = cohorts.collect::<Result<_, Error>>()?;
            let statement = self.signed(state, known, actor, now)?;
            if statement.expires <= now {
                return refuse("expired", format!("the approval of {change} expired at {}", statement.expires), "submit the plan again");
            }
            Ok(decide::start_rollout(state, rollout, change, &plan, &cohorts, &statement, supersede)?)
        })?;
        Ok(rollout)
    }

    /// What people signed for a change.
    fn signed(&self, state: &State, change: &Change, actor: &str, now: Timestamp) -> Result<Statement, Error> {
        if change.standing.is_none() {
            return self.get(change.statement);
        }
        // Its owners were promised a notice: only its schedule begins it.
        let Some(schedule) = actor.strip_prefix(crate::schedules::ACTOR) else {
            return refuse("scheduled", format!("{} begins by itself in its window", change.id), "see `fother schedule ls`");
        };
        self.scheduled(state, change, schedule, now)
    }

    /// Pauses, resumes or aborts.
    pub(crate) fn steer(&self, actor: &str, rollout: RolloutId, how: Steer) -> Result<(), Error> {
        self.commit(actor, |state, _| Ok(vec![decide::steer(state, rollout, how)?])).map(drop)
    }

    /// Leaves a host out that has not begun.
    pub(crate) fn skip(&self, actor: &str, rollout: RolloutId, host: HostId, reason: &str) -> Result<(), Error> {
        let reason = fother_core::text::printable(reason, 500);
        self.commit(actor, |state, _| Ok(vec![decide::skip(state, rollout, host, reason.clone())?])).map(drop)
    }

    /// Stops every transaction that has not begun, everywhere; without a reason they may begin again.
    pub(crate) fn stop_all(&self, actor: &str, reason: Option<&str>) -> Result<(), Error> {
        let reason = reason.map(|reason| fother_core::text::printable(reason, 500));
        self.commit(actor, |state, _| Ok(decide::stop_all(state, reason.clone()))).map(drop)
    }

    /// Undoes a rollout, host by host within its budget; one that still runs starts no further host.
    pub(crate) fn rollback(&self, actor: &str, rollout: RolloutId) -> Result<(), Error> {
        self.commit(actor, |state, _| Ok(vec![decide::rollback(state, rollout, format!("{actor} asked for it"))?])).map(drop)
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

/// A group that has no time to begin in.
fn never_opens<T>(error: &calendar::Error) -> Result<T, Error> {
    match error {
        calendar::Error::NoGroup(_) | calendar::Error::NoWindow(_) => {
            refuse("unknown-window", format!("{error} any more"), "plan again under the present policy")
        }
        calendar::Error::NoEmergency(_) => {
            refuse("unknown-emergency", error.to_string(), "see the emergency paths of `fother policy show`")
        }
        calendar::Error::Frozen { .. } => {
            refuse("frozen", error.to_string(), "wait for its end, or take an emergency path that breaks it by name: `--emergency`")
        }
        calendar::Error::Window { .. } => refuse("never-opens", error.to_string(), "see `fother window show`"),
    }
}

/// Lowest installed *source* version by (package, target version): a changelog counts in source versions, which a binary's may differ from.
pub(crate) type Installed = BTreeMap<(String, String), Version>;

/// Takes a host's installed source versions of the packages that it would change into account.
pub(crate) fn lowest(inventory: &Inventory, resolution: &Resolution, installed: &mut Installed) {
    for change in &resolution.changes {
        let (Some(_), Some(to)) = (&change.from, &change.to) else { continue };
        let mine = inventory.packages.iter().find(|package| package.name == change.name && package.arch == change.arch);
        let Some(mine) = mine.map(|package| &package.source_version) else { continue };
        let known = installed.entry((change.name.clone(), to.as_str().to_owned())).or_insert_with(|| mine.clone());
        if mine.compare(known).is_lt() {
            *known = mine.clone();
        }
    }
}

/// The newest directive of this kind of each of these hosts.
fn newest(state: &State, order: &str, hosts: &[HostId]) -> Vec<String> {
    let of = |host: &HostId| {
        let open = state.hosts.get(host)?.open.iter().filter_map(|id| Some((id, state.directives.get(id)?)));
        open.filter(|(_, issued)| issued.order == order).max_by_key(|(_, issued)| issued.sequence).map(|(id, _)| id.to_string())
    };
    hosts.iter().filter_map(of).collect()
}
