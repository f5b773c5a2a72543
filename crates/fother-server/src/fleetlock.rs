//! Reboot locks over HTTP (FleetLock protocol of Zincati), and what people do with them. Touches the engine.
//!
//! Its clients show no certificate: who knows the id of one can take its lock or give it back. What that yields is delay, or a place in a
//! budget that is given away too early; it changes nothing on any host.

use crate::{Error, engine::Engine, error::refuse, problem::blocking};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State as Held},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use fother_core::{
    Timestamp,
    event::Data,
    id::HostId,
    inventory::Labels,
    reboot_lock::{self, Denied},
    state::State,
};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// Largest request of a client, in bytes.
const REQUEST_BYTES_MAX: usize = 4 << 10;
/// The header that tells a client of the protocol from a browser that was led astray.
const HEADER: &str = "fleet-lock-protocol";

type Shared = Held<Arc<Engine>>;

/// The routes of the protocol.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    let wrong_method = || async { told(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "only POST is understood here") };
    Router::new()
        .route("/v1/pre-reboot", post(pre_reboot).fallback(wrong_method))
        .route("/v1/steady-state", post(steady_state).fallback(wrong_method))
        .fallback(|| async { told(StatusCode::NOT_FOUND, "not_found", "there are /v1/pre-reboot and /v1/steady-state") })
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(engine)
}

#[derive(Deserialize)]
struct Request {
    client_params: Params,
}

#[derive(Deserialize)]
struct Params {
    id: String,
    group: String,
}

fn told(status: StatusCode, kind: &str, value: &str) -> Response {
    (status, Json(json!({ "kind": kind, "value": value }))).into_response()
}

/// The client's id and group out of a request of the protocol.
fn params(headers: &HeaderMap, body: &[u8]) -> Result<Params, Box<Response>> {
    if headers.get(HEADER).is_none_or(|value| value != "true") {
        return Err(Box::new(told(StatusCode::BAD_REQUEST, "missing_header", &format!("the header `{HEADER}: true` is missing"))));
    }
    match serde_json::from_slice::<Request>(body) {
        Ok(request) if !request.client_params.id.is_empty() && !request.client_params.group.is_empty() => Ok(request.client_params),
        _ => {
            let wanted = "the body is not {\"client_params\": {\"id\": …, \"group\": …}}";
            Err(Box::new(told(StatusCode::BAD_REQUEST, "invalid_request", wanted)))
        }
    }
}

async fn pre_reboot(Held(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match params(&headers, &body) {
        Err(answer) => *answer,
        Ok(Params { id, group }) => {
            let policy = engine.policy();
            answer(engine, move |state, now| reboot_lock::pre_reboot(&policy, state, &id, &group, now)).await
        }
    }
}

async fn steady_state(Held(engine): Shared, headers: HeaderMap, body: Bytes) -> Response {
    match params(&headers, &body) {
        Err(answer) => *answer,
        Ok(Params { id, .. }) => answer(engine, move |state, _| reboot_lock::steady_state(state, &id)).await,
    }
}

/// Decides under the log's lock; only what is in the log is granted.
async fn answer(engine: Arc<Engine>, decide: impl Fn(&State, Timestamp) -> Result<Vec<Data>, Denied> + Send + 'static) -> Response {
    if let Some(fault) = engine.clock_fault() {
        return told(StatusCode::SERVICE_UNAVAILABLE, "clock", &fault);
    }
    let work = move || {
        let mut denied = None;
        engine.commit("lock", |state, now| {
            // It may be decided anew, where another replica was first.
            match decide(state, now) {
                Ok(events) => {
                    denied = None;
                    Ok(events)
                }
                Err(why) => {
                    denied = Some(why);
                    Ok(Vec::new())
                }
            }
        })?;
        Ok(denied)
    };
    match blocking(work).await {
        Ok(None) => StatusCode::OK.into_response(),
        Ok(Some(denied)) => {
            let status = if denied.is_for_now() { StatusCode::CONFLICT } else { StatusCode::FORBIDDEN };
            tracing::debug!(kind = denied.kind(), %denied, "a reboot lock was denied");
            told(status, denied.kind(), &denied.to_string())
        }
        Err(_) => told(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server could not do it; its log says why"),
    }
}

impl Engine {
    /// A person registers a client of the protocol.
    pub(crate) fn register_lock(&self, actor: &str, client: &str, name: &str, labels: &Labels) -> Result<HostId, Error> {
        let (ms, random) = self.fresh()?;
        let host = HostId::new(ms, random);
        self.commit(actor, |state, _| Ok(vec![reboot_lock::register(state, client, host, name, labels.clone()).map_err(Error::Input)?]))?;
        Ok(host)
    }

    /// A person frees a lock, or strikes its client off.
    pub(crate) fn end_lock(&self, actor: &str, client: &str, reason: &str, forget: bool) -> Result<(), Error> {
        if reason.trim().is_empty() {
            return Err(Error::Input("give a reason; it stays in the log".to_owned()));
        }
        let decided = |state: &State| reboot_lock::by_person(state, client, reason, forget);
        self.commit(actor, |state, _| match decided(state) {
            Ok(event) => Ok(vec![event]),
            Err(why) => refuse("no-lock", why, "see `fother lock ls`"),
        })
        .map(drop)
    }
}
