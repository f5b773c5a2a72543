//! What agents ask over mutual TLS: enrol, check in, blobs, files. Everything they send is hostile. Touches the engine.

use crate::{
    Error,
    engine::{Engine, kind, lock},
    epoch,
    error::refuse,
    problem::{Answer, Problem, blocking},
};
use axum::{
    Extension, Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, State as Held},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use fother_core::{
    Digest, canonical, decide, dispatch,
    id::HostId,
    inventory::Inventory,
    protocol::{BLOB_BYTES_MAX, CHECK_IN_BYTES_MAX, CheckIn, CheckInAnswer, Enrol, Enrolled, Outcome, Report},
    rehearsal::Rehearsal,
    resolution::Resolution,
    state::State,
};
use std::{
    borrow::Cow,
    io::{Seek as _, SeekFrom},
    sync::Arc,
};

/// Largest enrolment request, in bytes.
const ENROL_BYTES_MAX: usize = 64 << 10;
/// Code of the refusal of a report whose blob is not here.
const BLOB_MISSING: &str = "blob-missing";
/// A host that comes back after this many seconds or more, and has nothing else to ask, gives its connection up: its place is another's.
const PARTED_S: u32 = 5;
/// Kinds that an agent may send.
const SENT: [&str; 3] = [kind::INVENTORY, kind::RESOLUTION, kind::REHEARSAL];
/// Kinds that an agent may read.
const READ: [&str; 5] = [kind::COHORT, kind::PLAN, kind::REHEARSAL, kind::STANDING, kind::STATEMENT];

/// SHA-256 of the certificate on the other side of this connection, if it showed one that our CA issued.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Option<Digest>);

type Shared = Held<Arc<Engine>>;

/// The routes of the agent port.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/agent/v1/enrol", post(enrol).layer(DefaultBodyLimit::max(ENROL_BYTES_MAX)))
        .route("/agent/v1/renew", post(crate::identities::renew).layer(DefaultBodyLimit::max(ENROL_BYTES_MAX)))
        .route("/agent/v1/check-in", post(check_in).layer(DefaultBodyLimit::max(CHECK_IN_BYTES_MAX)))
        .route("/agent/v1/blobs/{kind}/{hex}", put(put_blob).layer(DefaultBodyLimit::max(BLOB_BYTES_MAX)))
        .route("/agent/v1/blobs/{hex}", get(get_blob))
        .route("/agent/v1/files/{hex}", get(get_file))
        .with_state(engine)
}

/// The enrolled host behind a certificate.
pub(crate) fn host_of(engine: &Engine, peer: Peer) -> Result<HostId, Problem> {
    let find = || peer.0.and_then(|certificate| engine.state().certificates.get(&certificate).copied());
    let known = find().or_else(|| {
        // Another replica may have let it in a moment ago.
        let follows = engine.store.is_shared() && peer.0.is_some();
        follows.then(|| tokio::task::block_in_place(|| engine.follow_once()).ok()).flatten().and_then(|()| find())
    });
    let hint = "enrol this host with a token of this server";
    known.ok_or_else(|| Problem::new(StatusCode::FORBIDDEN, "no-certificate", "no certificate of an enrolled host", hint))
}

async fn enrol(Held(engine): Shared, Json(enrol): Json<Enrol>) -> Answer<Json<Enrolled>> {
    blocking(move || admit(&engine, &enrol)).await.map(Json)
}

/// Lets a host in that shows a good token.
pub(crate) fn admit(engine: &Engine, enrol: &Enrol) -> Result<Enrolled, Error> {
    let (ms, random) = engine.fresh()?;
    let host = HostId::new(ms, random);
    let (certificate, digest) = engine.identity.certify(&enrol.csr, host, engine.clock.now())?;
    engine.commit(&host.to_string(), |state, now| Ok(vec![decide::enrol(state, host, enrol, digest, now)?]))?;
    lock(&engine.heard).note(host, engine.clock.now());
    tracing::info!(%host, "a host enrolled");
    Ok(Enrolled {
        host,
        certificate,
        ca: engine.identity.ca_pem().to_owned(),
        directive_key: Digest(engine.identity.directive().verifying_key().to_bytes()).hex(),
        log_key: engine.identity.log_verifier()?.to_string(),
    })
}

async fn check_in(Held(engine): Shared, Extension(peer): Extension<Peer>, Json(report): Json<CheckIn>) -> Answer<Response> {
    if engine.is_cut_off() {
        let what = "this replica cannot reach the log";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "cut-off", what, "another replica takes this"));
    }
    let host = host_of(&engine, peer)?;
    bounded(&engine, host, 0)?;
    if let Err(refusal) = dispatch::same_time(report.clock, engine.clock.now()) {
        tracing::warn!(%host, "a check-in was refused: {refusal}");
        return Err(Error::from(refusal).into());
    }
    let answer = blocking(move || take_check_in(&engine, host, &report)).await?;
    let over = answer.next_check_in_s >= PARTED_S && answer.directives.is_empty() && !answer.wants_inventory;
    let mut response = Json(answer).into_response();
    if over {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Takes a check-in: what it reports is stored before it is acknowledged; the same one again changes nothing.
pub(crate) fn take_check_in(engine: &Engine, host: HostId, report: &CheckIn) -> Result<CheckInAnswer, Error> {
    let now = engine.clock.now();
    engine.catch_up_with(report.checkpoint.as_deref())?;
    epoch::not_older(&engine.state(), report.epoch)?;
    engine.is_one_machine(host, report)?;
    let (acknowledged, inventory) = engine.state().hosts.get(&host).map_or((0, None), |known| (known.acknowledged, known.inventory));
    let packages = if inventory == Some(report.inventory) { None } else { inventory_of(engine, report)? };
    let report = &*with_reports(engine, report, acknowledged)?;
    let state = engine.state();
    let state = match decide::check_in(&state, host, report, packages) {
        // Nobody waits for the disk who brings nothing.
        Ok(news) if news.is_empty() => state,
        // Decided again in turn: the state may have moved.
        Ok(_) | Err(_) => engine.commit(&host.to_string(), |state, _| Ok(decide::check_in(state, host, report, packages)?))?,
    };
    let state = match engine.renew(&state, host, report.seen, now) {
        Ok(again) if again.is_empty() => state,
        // Decided again under the lock: the state may have moved.
        Ok(_) => engine.commit("server", |state, now| engine.renew(state, host, report.seen, now))?,
        Err(Error::Clock(_)) => state,
        Err(error) => return Err(error),
    };
    lock(&engine.heard).note(host, now);
    let directives = match engine.clock_fault() {
        None => engine.directives_for(&state, host, report.seen, now)?,
        Some(_) => Vec::new(),
    };
    let known = state.hosts.get(&host);
    let (checkpoint, consistency) = engine.continuation(host, report.checkpoint.as_deref())?;
    Ok(CheckInAnswer {
        acknowledged: known.map_or(0, |known| known.acknowledged),
        directives,
        next_check_in_s: dispatch::next_check_in_s(&state, host, now),
        wants_inventory: known.is_none_or(|known| known.inventory != Some(report.inventory)),
        checkpoint: Some(checkpoint),
        consistency,
        stopped: state.stopped.is_some(),
        epoch: epoch::to_tell(&state, report.epoch, engine.clock_fault().is_some()),
    })
}

/// Number of packages of a new inventory; nothing while its blob was not sent.
fn inventory_of(engine: &Engine, report: &CheckIn) -> Result<Option<u32>, Error> {
    let Some((kind::INVENTORY, _)) = engine.store.blob_info(&report.inventory)?.as_ref().map(|(kind, size)| (kind.as_str(), size)) else {
        return Ok(None);
    };
    let inventory = Inventory::parse(&engine.bytes(report.inventory)?).map_err(Error::Input)?;
    if inventory.base()? != report.base {
        return Err(Error::Input("the base is not that of the inventory".to_owned()));
    }
    Ok(Some(u32::try_from(inventory.packages.len()).unwrap_or(u32::MAX)))
}

/// The check-in with its reports as they are taken.
fn with_reports<'a>(engine: &Engine, report: &'a CheckIn, acknowledged: u64) -> Result<Cow<'a, CheckIn>, Error> {
    if report.reports.is_empty() {
        return Ok(Cow::Borrowed(report));
    }
    let state = engine.state();
    let taken = |one: &Report| if one.number > acknowledged { checked(engine, &state, one) } else { Ok(one.clone()) };
    let reports = report.reports.iter().map(taken).collect::<Result<_, _>>()?;
    Ok(Cow::Owned(CheckIn { reports, ..report.clone() }))
}

/// The report as it is taken. What the store lost when it was restored, its host has no more either: such a report says so instead.
fn checked(engine: &Engine, state: &State, report: &Report) -> Result<Report, Error> {
    match check_report(engine, state, report) {
        Err(Error::Refused(refusal)) if refusal.code == BLOB_MISSING && state.epoch.is_some() => {
            let why = format!("{}; it was lost when the server was restored from a backup: ask this host again", refusal.what);
            Ok(Report { outcome: Outcome::Failed { why }, ..report.clone() })
        }
        checked => checked.map(|()| report.clone()),
    }
}

/// A report may only speak of blobs that are here and that say the same.
fn check_report(engine: &Engine, state: &State, report: &Report) -> Result<(), Error> {
    let stored = |digest: &Digest, kind: &str| match engine.store.blob_info(digest)? {
        Some((found, _)) if found == kind => Ok(()),
        _ => refuse(BLOB_MISSING, format!("report {} names a {kind} that was not sent", report.number), "send the blob first"),
    };
    match &report.outcome {
        Outcome::Resolved { resolution, base } => {
            stored(resolution, kind::RESOLUTION)?;
            let same = engine.get::<Resolution>(*resolution)?.base == *base;
            if same { Ok(()) } else { Err(Error::Input("the report names another base than the resolution".to_owned())) }
        }
        Outcome::Rehearsed { rehearsal, verdict, .. } => {
            stored(rehearsal, kind::REHEARSAL)?;
            // What a lost log ordered decides nothing here.
            if report.directive.is_some_and(|id| !state.directives.contains_key(&id)) && state.epoch.is_some() {
                return Ok(());
            }
            let found: Rehearsal = engine.get(*rehearsal)?;
            let cohort = report.directive.and_then(|id| state.directives.get(&id)).and_then(|issued| issued.cohort);
            let wanted: Option<fother_core::plan::Cohort> = cohort.map(|cohort| engine.get(cohort)).transpose()?;
            let key = |change: &fother_core::resolution::PackageChange| {
                (change.name.clone(), change.arch.clone(), change.from.clone(), change.to.clone())
            };
            let same = wanted.is_some_and(|wanted| wanted.changes.iter().map(key).eq(found.changes.iter().map(key)));
            // What could not even begin may carry no changes; it never passes.
            let empty = found.changes.is_empty() && found.verdict != fother_core::rehearsal::Verdict::Passes;
            if found.verdict != *verdict || !(same || empty) {
                return Err(Error::Input("the report does not fit the rehearsal, or the rehearsal not its cohort".to_owned()));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn bounded(engine: &Engine, host: HostId, bytes: usize) -> Result<(), Problem> {
    if engine.allow(host, bytes as u64) {
        return Ok(());
    }
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-much", "this host sends more than it may in one minute", "wait a minute"))
}

async fn put_blob(
    Held(engine): Shared,
    Extension(peer): Extension<Peer>,
    Path((kind, hex)): Path<(String, String)>,
    bytes: Bytes,
) -> Answer<StatusCode> {
    let host = host_of(&engine, peer)?;
    bounded(&engine, host, bytes.len())?;
    let named = digest(&hex)?;
    if !SENT.contains(&kind.as_str()) {
        return Err(Problem::new(StatusCode::FORBIDDEN, "kind", "agents send inventories, resolutions and rehearsals only", ""));
    }
    blocking(move || {
        let readable = match kind.as_str() {
            kind::INVENTORY => Inventory::parse(&bytes).is_ok(),
            kind::RESOLUTION => serde_json::from_slice::<Resolution>(&bytes).is_ok(),
            _ => serde_json::from_slice::<Rehearsal>(&bytes).is_ok(),
        };
        if !readable || !canonical::is_canonical(&bytes) {
            return Err(Error::Input(format!("these bytes are no canonical {kind}")));
        }
        match engine.store.put_named_blob(named, &kind, &bytes) {
            Err(fother_store::Error::BlobMismatch { .. }) => {
                Err(Error::Input("these bytes do not have the digest that they come with".to_owned()))
            }
            other => Ok(other?),
        }
    })
    .await
    .map(|()| StatusCode::NO_CONTENT)
}

fn digest(hex: &str) -> Result<Digest, Problem> {
    Digest::from_hex(hex).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "digest", &error.to_string(), ""))
}

fn absent() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "absent", "there is nothing of that digest here", "")
}

async fn get_blob(Held(engine): Shared, Extension(peer): Extension<Peer>, Path(hex): Path<String>) -> Answer<Vec<u8>> {
    host_of(&engine, peer)?;
    let digest = digest(&hex)?;
    let found = blocking(move || match engine.store.blob_info(&digest)? {
        Some((kind, _)) if READ.contains(&kind.as_str()) => Ok(engine.store.get_blob(&digest)?),
        _ => Ok(None),
    });
    found.await?.ok_or_else(absent)
}

async fn get_file(Held(engine): Shared, Extension(peer): Extension<Peer>, Path(hex): Path<String>, headers: HeaderMap) -> Answer<Response> {
    host_of(&engine, peer)?;
    let path = engine.archives.file(digest(&hex)?).ok_or_else(absent)?;
    let from = headers.get(header::RANGE).and_then(|range| first_byte(range.to_str().ok()?));
    let (file, size) = blocking(move || {
        let open = || {
            let mut file = std::fs::File::open(&path)?;
            let size = file.metadata()?.len();
            file.seek(SeekFrom::Start(from.unwrap_or(0)))?;
            Ok((file, size))
        };
        open().map_err(Error::io("open", &path))
    })
    .await?;
    Ok(part(file, size, from))
}

/// The first byte of `bytes=N-`, the only form of a range that agents send; every other one is answered with the whole file (RFC 9110, 14.2).
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}

/// 200 with the whole file, 206 with the rest from `from` on, 416 where there is no such byte.
fn part(file: std::fs::File, size: u64, from: Option<u64>) -> Response {
    let start = from.unwrap_or(0);
    let mut response = match from {
        Some(from) if from >= size => Response::new(Body::empty()),
        _ => Response::new(Body::new(crate::serve::FileBody::new(file))),
    };
    let (status, length, range) = match from {
        None => (StatusCode::OK, size, None),
        Some(from) if from >= size => (StatusCode::RANGE_NOT_SATISFIABLE, 0, Some(format!("bytes */{size}"))),
        Some(from) => (StatusCode::PARTIAL_CONTENT, size - start, Some(format!("bytes {from}-{}/{size}", size - 1))),
    };
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(range) = range.and_then(|range| HeaderValue::from_str(&range).ok()) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    response
}
