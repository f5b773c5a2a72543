//! The API for people over the unix socket, JSON in and out. Touches the engine.

use crate::{
    Error,
    commands::{Draft, Submit},
    engine::{Engine, lock},
    page::phases,
    problem::{Answer, Problem, blocking},
};
use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State as Held},
    http::StatusCode,
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use fother_core::{
    Digest,
    decide::Steer,
    id::{ChangeId, HostId, RolloutId},
    inventory::Labels,
    rank::{Asset, select::Wish},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

/// Largest request of a person, in bytes.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Most events in one answer.
const EVENTS_MAX: usize = 1_000;
/// Longest wait for news, in seconds.
const WAIT_S_MAX: u64 = 60;

/// Who is on the other end of the socket; `None` for a user who may not ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller(pub(crate) Option<u32>);

impl Caller {
    fn actor(self) -> String {
        self.0.map_or_else(|| "nobody".to_owned(), |uid| format!("uid:{uid}"))
    }
}

type Shared = Held<Arc<Engine>>;

/// The routes of the unix socket.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/api/v1/status", get(status))
        .route("/api/v1/state", get(state))
        .route("/api/v1/last-seen", get(last_seen))
        .route("/api/v1/blobs/{hex}", get(blob))
        .route("/api/v1/tokens", post(tokens))
        .route("/api/v1/archives/update", post(update_archives))
        .route("/api/v1/policy", get(policy).post(apply_policy))
        .route("/api/v1/policy/simulate", post(simulate))
        .route("/api/v1/policy/author", post(policy_author))
        .route("/api/v1/policy/{hex}/approve", post(approve_policy))
        .route("/api/v1/schedules", get(schedules))
        .route("/api/v1/schedules/{name}/run", post(run_schedule))
        .route("/api/v1/schedules/{name}/defer", post(defer_schedule))
        .route("/api/v1/standings", get(standings).post(submit_standing))
        .route("/api/v1/standings/draft", post(draft_standing))
        .route("/api/v1/standings/{hex}", get(standing))
        .route("/api/v1/standings/{hex}/approve", post(approve_standing))
        .route("/api/v1/standings/{hex}/revoke", post(revoke_standing))
        .route("/api/v1/resolve", post(resolve))
        .route("/api/v1/plans", post(plans))
        .route("/api/v1/baseline", post(baseline))
        .route("/api/v1/updates/clear", post(clear_update))
        .route("/api/v1/plans/{hex}/rehearse", post(rehearse))
        .route("/api/v1/plans/{hex}/queue", get(queue))
        .route("/api/v1/explain", get(explained))
        .route("/api/v1/changes/draft", post(draft))
        .route("/api/v1/changes", post(changes))
        .route("/api/v1/changes/{id}/approve", post(approve))
        .route("/api/v1/changes/{id}/reject", post(reject))
        .route("/api/v1/rollouts", post(rollouts))
        .route("/api/v1/rollouts/{id}/{verb}", post(steer))
        .route("/api/v1/rollouts/{id}/hosts/{host}/skip", post(skip))
        .route("/api/v1/stop", post(stop))
        .route("/api/v1/resume", post(resume))
        .route("/api/v1/hosts/{id}/retire", post(retire))
        .route("/api/v1/hosts/{id}/revoke", post(revoke))
        .route("/api/v1/locks", post(register_lock))
        .route("/api/v1/locks/{client}/{verb}", post(end_lock))
        .route("/api/v1/affected", get(affected))
        .route("/api/v1/vulnerabilities", get(vulnerabilities))
        .route("/api/v1/log", get(log))
        .route("/api/v1/log/checkpoint", get(checkpoint))
        .route("/api/v1/log/key", get(log_key))
        .route("/api/v1/wait", get(wait))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(middleware::from_fn(known_caller))
        .with_state(engine)
}

async fn known_caller(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    if caller.0.is_some() {
        return next.run(request).await;
    }
    let hint = "run the command as root, or as the user that the server runs as";
    Problem::new(StatusCode::FORBIDDEN, "not-allowed", "this user may not ask the server", hint).into_response()
}

type Data = Answer<Json<Value>>;

fn data(value: impl serde::Serialize) -> Data {
    let value = serde_json::to_value(value).map_err(|error| Error::Damaged(error.to_string()))?;
    Ok(Json(json!({ "data": value })))
}

/// Runs one command and answers with what it gives.
async fn run<T: serde::Serialize + Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Data {
    data(blocking(work).await?)
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Answer<T> {
    text.parse().map_err(|error: T::Err| Problem::new(StatusCode::BAD_REQUEST, "name", &error.to_string(), ""))
}

fn digest(hex: &str) -> Answer<Digest> {
    Digest::from_hex(hex).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "name", &error.to_string(), ""))
}

async fn status(Held(engine): Shared) -> Data {
    let (state, last) = (engine.state(), lock(&engine.heard).newest());
    let count = |pick: &dyn Fn(&fother_core::state::Host) -> bool| state.hosts.values().filter(|host| !host.retired && pick(host)).count();
    let (policy, now) = (engine.policy(), engine.clock.now());
    let held = |rollout: &fother_core::rollout::Rollout| match rollout.ended {
        None => fother_core::policy::admission::may_start(&policy, &state, rollout, now).err().map(|held| held.to_string()),
        Some(_) => None,
    };
    let rollouts = state.rollouts.values().map(|rollout| {
        json!({ "held": held(rollout), "id": rollout.id, "group": rollout.setup.group, "change": rollout.change, "paused": rollout.paused, "ended": rollout.ended,
            "wave": rollout.waves_passed, "waves": rollout.setup.waves.len(), "phases": phases(rollout) })
    });
    data(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "now": engine.clock.now(),
        "size": state.size,
        "root": engine.root(),
        "checkpoint": engine.checkpoint(),
        "clock": engine.clock_fault(),
        "heard": last,
        "hosts": { "total": count(&|_| true), "lost": count(&|host| host.lost), "observe": count(&|host| host.observe) },
        "rollouts": rollouts.collect::<Vec<_>>(),
        "archives": state.archives,
        "stopped": state.stopped,
    }))
}

async fn state(Held(engine): Shared) -> Data {
    data(&*engine.state())
}

async fn last_seen(Held(engine): Shared) -> Data {
    data(lock(&engine.heard).times())
}

async fn blob(Held(engine): Shared, Path(hex): Path<String>) -> Answer<Vec<u8>> {
    let digest = digest(&hex)?;
    let found = blocking(move || Ok(engine.store.get_blob(&digest)?)).await?;
    found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "absent", "there is no blob of that digest", ""))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewToken {
    #[serde(default)]
    labels: Labels,
}

async fn tokens(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(new): Json<NewToken>) -> Data {
    run(move || Ok(json!({ "token": engine.create_token(&caller.actor(), new.labels)? }))).await
}

async fn update_archives(Held(engine): Shared, Extension(caller): Extension<Caller>) -> Data {
    run(move || engine.update_archives(&caller.actor())).await
}

async fn policy(Held(engine): Shared) -> Data {
    run(move || engine.policy_in_force()).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Author {
    key: String,
}

async fn policy_author(Held(engine): Shared, Json(ask): Json<Author>) -> Data {
    run(move || Ok(json!({ "author": engine.owner(&ask.key)? }))).await
}

async fn simulate(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(ask): Json<crate::Simulate>) -> Data {
    run(move || engine.simulate(&caller.actor(), &ask)).await
}

async fn apply_policy(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(wanted): Json<crate::Wanted>) -> Data {
    run(move || engine.apply_policy(&caller.actor(), &wanted)).await
}

async fn approve_policy(
    Held(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path(hex): Path<String>,
    Json(ask): Json<Approve>,
) -> Data {
    let policy = digest(&hex)?;
    run(move || engine.approve_policy(&caller.actor(), policy, &ask.signature)).await
}

async fn schedules(Held(engine): Shared) -> Data {
    run(move || engine.scheduled_all()).await
}

async fn run_schedule(Held(engine): Shared, Extension(caller): Extension<Caller>, Path(name): Path<String>) -> Data {
    run(move || engine.run_schedule(&caller.actor(), &name)).await
}

async fn defer_schedule(Held(engine): Shared, Path(name): Path<String>, Json(ask): Json<crate::schedules::Defer>) -> Data {
    run(move || engine.defer_schedule(&name, &ask)).await
}

async fn standings(Held(engine): Shared) -> Data {
    run(move || Ok(engine.standings())).await
}

async fn standing(Held(engine): Shared, Path(hex): Path<String>) -> Data {
    let digest = digest(&hex)?;
    run(move || engine.standing(digest)).await
}

async fn draft_standing(Held(engine): Shared, Json(ask): Json<crate::standings::Draft>) -> Data {
    run(move || Ok(json!({ "standing": engine.draft_standing(ask)? }))).await
}

async fn submit_standing(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(ask): Json<crate::standings::Signed>) -> Data {
    run(move || Ok(json!({ "standing": engine.submit_standing(&caller.actor(), &ask)? }))).await
}

async fn approve_standing(
    Held(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path(hex): Path<String>,
    Json(ask): Json<Approve>,
) -> Data {
    let digest = digest(&hex)?;
    run(move || engine.approve_standing(&caller.actor(), digest, &ask.signature)).await
}

async fn revoke_standing(
    Held(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path(hex): Path<String>,
    Json(ask): Json<Reject>,
) -> Data {
    let digest = digest(&hex)?;
    run(move || engine.revoke_standing(&caller.actor(), digest, &ask.reason)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resolve {
    group: String,
    #[serde(default)]
    exclude: BTreeSet<String>,
}

async fn resolve(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(ask): Json<Resolve>) -> Data {
    run(move || engine.resolve(&caller.actor(), &ask.group, ask.exclude)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPlan {
    group: String,
    #[serde(default)]
    exclude: BTreeMap<String, String>,
    #[serde(default)]
    emergency: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    group: String,
    #[serde(default)]
    emergency: Option<String>,
}

async fn baseline(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(ask): Json<Baseline>) -> Data {
    run(move || engine.baseline(&caller.actor(), &ask.group, ask.emergency.as_deref())).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Clear {
    group: String,
    source: String,
    version: String,
    reason: String,
}

async fn clear_update(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(ask): Json<Clear>) -> Data {
    run(move || engine.clear_update(&caller.actor(), &ask.group, &ask.source, &ask.version, &ask.reason)).await
}

async fn plans(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(new): Json<NewPlan>) -> Data {
    run(move || engine.make_plan(&caller.actor(), &new.group, &new.exclude, new.emergency.as_deref())).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rehearse {
    #[serde(default)]
    bisect: bool,
}

async fn rehearse(Held(engine): Shared, Extension(caller): Extension<Caller>, Path(hex): Path<String>, Json(ask): Json<Rehearse>) -> Data {
    let plan = digest(&hex)?;
    run(move || Ok(json!({ "directives": engine.rehearse(&caller.actor(), plan, ask.bisect)? }))).await
}

async fn changes(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(submit): Json<Submit>) -> Data {
    run(move || Ok(json!({ "change": engine.submit(&caller.actor(), &submit)? }))).await
}

async fn draft(Held(engine): Shared, Json(draft): Json<Draft>) -> Data {
    run(move || {
        let (change, statement) = engine.draft(&draft)?;
        Ok(json!({ "change": change, "statement": statement }))
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approve {
    signature: String,
}

async fn approve(Held(engine): Shared, Extension(caller): Extension<Caller>, Path(id): Path<String>, Json(ask): Json<Approve>) -> Data {
    let change: ChangeId = parsed(&id)?;
    run(move || engine.approve(&caller.actor(), change, &ask.signature)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reject {
    reason: String,
}

async fn reject(Held(engine): Shared, Extension(caller): Extension<Caller>, Path(id): Path<String>, Json(ask): Json<Reject>) -> Data {
    let change: ChangeId = parsed(&id)?;
    run(move || engine.reject(&caller.actor(), change, &ask.reason)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRollout {
    change: ChangeId,
    #[serde(default)]
    supersede: bool,
}

async fn rollouts(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(new): Json<NewRollout>) -> Data {
    run(move || Ok(json!({ "rollout": engine.start_rollout(&caller.actor(), new.change, new.supersede)? }))).await
}

async fn steer(Held(engine): Shared, Extension(caller): Extension<Caller>, Path((id, verb)): Path<(String, String)>) -> Data {
    let (rollout, actor): (RolloutId, _) = (parsed(&id)?, caller.actor());
    let how = match verb.as_str() {
        "pause" => Steer::Pause,
        "resume" => Steer::Resume,
        "abort" => Steer::Abort,
        "rollback" => return run(move || engine.rollback(&actor, rollout).map(|()| json!({}))).await,
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "verb", "pause, resume, abort or rollback", "")),
    };
    run(move || engine.steer(&actor, rollout, how)).await
}

async fn skip(
    Held(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path((id, host)): Path<(String, String)>,
    Json(ask): Json<Reject>,
) -> Data {
    let (rollout, host): (RolloutId, HostId) = (parsed(&id)?, parsed(&host)?);
    run(move || engine.skip(&caller.actor(), rollout, host, &ask.reason)).await
}

async fn stop(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(ask): Json<Reject>) -> Data {
    run(move || engine.stop_all(&caller.actor(), Some(&ask.reason))).await
}

async fn resume(Held(engine): Shared, Extension(caller): Extension<Caller>) -> Data {
    run(move || engine.stop_all(&caller.actor(), None)).await
}

async fn retire(Held(engine): Shared, Extension(caller): Extension<Caller>, Path(id): Path<String>) -> Data {
    let host: HostId = parsed(&id)?;
    run(move || engine.retire(&caller.actor(), host)).await
}

async fn revoke(
    Held(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Json(Because { reason }): Json<Because>,
) -> Data {
    let host: HostId = parsed(&id)?;
    run(move || engine.revoke(&caller.actor(), host, &reason)).await
}

/// A host that others patch and that asks for reboot locks.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LockClient {
    client: String,
    name: String,
    labels: Labels,
}

async fn register_lock(Held(engine): Shared, Extension(caller): Extension<Caller>, Json(new): Json<LockClient>) -> Data {
    run(move || engine.register_lock(&caller.actor(), &new.client, &new.name, &new.labels)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    reason: String,
}

async fn end_lock(
    Held(engine): Shared,
    Extension(caller): Extension<Caller>,
    Path((client, verb)): Path<(String, String)>,
    Json(Because { reason }): Json<Because>,
) -> Data {
    let forget = match verb.as_str() {
        "release" => false,
        "forget" => true,
        _ => return Err(Problem::new(StatusCode::NOT_FOUND, "verb", "a lock is released or its client forgotten", "")),
    };
    run(move || engine.end_lock(&caller.actor(), &client, &reason, forget)).await
}

#[derive(Deserialize)]
struct Asked {
    what: String,
}

async fn affected(Held(engine): Shared, Query(asked): Query<Asked>) -> Data {
    run(move || engine.fleet.affected(&engine, &asked.what)).await
}

/// What is known about assets beyond their packages, and which updates are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    exposed: Option<bool>,
    due_within_days: Option<u32>,
    risk_percent: Option<u32>,
}

async fn queue(Held(engine): Shared, Path(hex): Path<String>, Query(wanted): Query<Wanted>) -> Data {
    let plan = digest(&hex)?;
    let wish = wanted.due_within_days.map(Wish::DueWithin).or(wanted.risk_percent.map(Wish::Risk));
    run(move || engine.ranked(plan, Asset { publicly_exposed: wanted.exposed }, wish)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    what: String,
    exposed: Option<bool>,
}

async fn explained(Held(engine): Shared, Query(asked): Query<Question>) -> Data {
    run(move || crate::explain::explain(&engine, &asked.what, Asset { publicly_exposed: asked.exposed })).await
}

async fn vulnerabilities(Held(engine): Shared) -> Data {
    run(move || engine.fleet.vulnerabilities(&engine)).await
}

#[derive(Deserialize)]
struct LogPage {
    #[serde(default)]
    from: u64,
    max: Option<usize>,
}

async fn log(Held(engine): Shared, Query(page): Query<LogPage>) -> Data {
    run(move || {
        let events = engine.store.read(page.from, page.max.unwrap_or(EVENTS_MAX).min(EVENTS_MAX))?;
        let events = events.iter().map(|(_, bytes)| serde_json::from_slice::<Value>(bytes)).collect::<Result<Vec<_>, _>>();
        let events = events.map_err(|error| Error::Damaged(error.to_string()))?;
        Ok(json!({ "size": engine.state().size, "events": events }))
    })
    .await
}

async fn checkpoint(Held(engine): Shared) -> String {
    engine.checkpoint()
}

async fn log_key(Held(engine): Shared) -> Answer<String> {
    Ok(engine.identity.log_verifier()?.to_string())
}

#[derive(Deserialize)]
struct Wait {
    size: u64,
    #[serde(default)]
    timeout_s: u64,
}

async fn wait(Held(engine): Shared, Query(wait): Query<Wait>) -> Data {
    let mut watch = engine.watch_size();
    let longest = Duration::from_secs(wait.timeout_s.min(WAIT_S_MAX));
    let _ = tokio::time::timeout(longest, watch.wait_for(|size| *size > wait.size)).await;
    let size = *watch.borrow();
    data(json!({ "size": size }))
}
