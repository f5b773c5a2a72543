//! The status page: one HTML document without scripts, on loopback only. Every foreign text is made printable, then escaped. Touches the engine.

use crate::engine::{Engine, lock};
use axum::{
    Router,
    extract::{Request, State as Held},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use fother_core::{
    Timestamp,
    rollout::{End, Phase, Rollout},
    state::{Host, State},
    text::printable,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::{collections::BTreeMap, sync::Arc};

/// Rows of a table that are shown.
const ROWS_MAX: usize = 500;
/// Seconds after which a browser asks again.
const REFRESH_S: u32 = 3;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:75rem;margin:2rem auto;padding:0 1rem;color:#1a202c;background:#fafafa}\
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%;background:#fff}\
th,td{text-align:left;padding:.35rem .7rem;border-bottom:1px solid #e2e8f0}th{font-weight:600;color:#4a5568}\
.bad{color:#b91c1c;font-weight:600}.dim{color:#64748b}code{font-size:.9em}svg{display:block;margin:.3rem 0}";

/// The routes of the loopback port.
pub(crate) fn router(engine: Arc<Engine>) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { "ok\n" }))
        .layer(middleware::from_fn(local_host))
        .with_state(engine)
}

/// A page of another site cannot read this one by pointing its own name at loopback.
async fn local_host(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name);
    if !matches!(name, "localhost" | "127.0.0.1" | "[::1]") {
        return (StatusCode::MISDIRECTED_REQUEST, "this page answers to localhost only\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Hosts of a rollout by phase, in words.
pub(crate) fn phases(rollout: &Rollout) -> BTreeMap<&'static str, usize> {
    let mut phases = BTreeMap::new();
    rollout.hosts().values().for_each(|phase| *phases.entry(phase.word()).or_default() += 1);
    phases
}

async fn page(Held(engine): Held<Arc<Engine>>) -> Response {
    let heard = lock(&engine.heard).times();
    let body = document(&engine.state(), &heard, engine.clock.now(), engine.clock_fault().as_deref()).into_string();
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

/// The whole document.
pub(crate) fn document(state: &State, heard: &BTreeMap<fother_core::id::HostId, Timestamp>, now: Timestamp, fault: Option<&str>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="refresh" content=(REFRESH_S);
                title { "Fother" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Fother" }
                p class="dim" { (state.size) " events, " (now) }
                @if let Some(fault) = fault { p class="bad" { "Nothing is sent out: " (fault) } }
                @for rollout in state.rollouts.values().rev().take(10) { (progress(state, rollout)) }
                h2 { "Hosts" }
                table {
                    tr { th { "Host" } th { "Labels" } th { "State" } th { "Packages" } th { "Last seen" } }
                    @for (id, host) in state.hosts.iter().take(ROWS_MAX) {
                        tr title=(id) {
                            td { (printable(&host.hostname, 64)) }
                            td { @for (name, value) in &*host.labels { code { (printable(name, 32)) "=" (printable(value, 32)) } " " } }
                            td class=[bad(host).then_some("bad")] { (word(host)) }
                            td { (host.packages) }
                            td { @match heard.get(id) { Some(at) => { (now.since(*at).as_secs()) " s ago" } None => { span class="dim" { "never" } } } }
                        }
                    }
                }
                (archives(state))
                (changes(state))
            }
        }
    }
}

fn archives(state: &State) -> Markup {
    html! {
        h2 { "Archives" }
        table {
            tr { th { "Name" } th { "Date" } th { "State" } }
            @for (name, archive) in &state.archives {
                tr {
                    td { (printable(name, 64)) }
                    td { @if let Some(date) = archive.date { (date) } }
                    td class=[archive.refused.is_some().then_some("bad")] {
                        (printable(archive.refused.as_deref().unwrap_or("verified"), 300))
                    }
                }
            }
        }
    }
}

fn changes(state: &State) -> Markup {
    html! {
        h2 { "Plans" }
        table {
            tr { th { "Plan" } th { "Group" } th { "Cohorts" } th { "Rehearsal" } th { "Left out" } }
            @for (digest, plan) in state.plans.iter().take(ROWS_MAX) {
                tr {
                    td { code { (digest.short()) } }
                    td { (printable(&plan.group, 64)) }
                    td { (plan.cohorts.len()) }
                    td { (plan.verdict().map_or("not yet", verdict)) }
                    td { @for (source, reason) in &plan.excluded { (printable(source, 64)) " (" (printable(reason, 100)) ") " } }
                }
            }
        }
        h2 { "Changes" }
        table {
            tr { th { "Change" } th { "Plan" } th { "Author" } th { "Approvals" } th { "State" } }
            @for change in state.changes.values().rev().take(ROWS_MAX) {
                tr {
                    td { code { (change.id) } }
                    td { code { (change.plan.short()) } }
                    td { (printable(&change.author, 64)) }
                    td { (change.approvals.len()) " of " (change.needed) }
                    td { (format!("{:?}", change.status())) }
                }
            }
        }
    }
}

fn verdict(verdict: fother_core::rehearsal::Verdict) -> &'static str {
    match verdict {
        fother_core::rehearsal::Verdict::Passes => "passes",
        fother_core::rehearsal::Verdict::Breaks => "breaks",
        fother_core::rehearsal::Verdict::Unknown => "unknown",
    }
}

fn bad(host: &Host) -> bool {
    host.lost && !host.retired
}

fn word(host: &Host) -> &'static str {
    match (host.retired, host.lost, host.observe) {
        (true, ..) => "retired",
        (_, true, _) => "lost",
        (_, _, true) => "observing",
        _ => "fine",
    }
}

fn colour(phase: &Phase) -> &'static str {
    match phase {
        Phase::Waiting => "#cbd5e1",
        Phase::Dispatched { .. } => "#3b82f6",
        Phase::Applied { .. } => "#14b8a6",
        Phase::Verified { .. } => "#16a34a",
        Phase::Replan { .. } | Phase::Refused { .. } | Phase::Skipped { .. } => "#a16207",
        Phase::RolledBack { .. } | Phase::Undoing { .. } => "#ea580c",
        Phase::Failed { .. } => "#b91c1c",
    }
}

fn progress(state: &State, rollout: &Rollout) -> Markup {
    let end = match &rollout.ended {
        None if rollout.paused => "paused".to_owned(),
        None if rollout.rolling_back.is_some() => "being undone".to_owned(),
        None => "running".to_owned(),
        Some(End::Completed) => "completed".to_owned(),
        Some(End::Aborted) => "aborted".to_owned(),
        Some(End::RolledBack) => "rolled back".to_owned(),
        Some(End::Superseded { by }) => format!("superseded by {by}"),
        Some(End::Halted { why }) => format!("halted: {}", printable(why, 300)),
    };
    let name = |id| state.hosts.get(id).map_or_else(String::new, |host| printable(&host.hostname, 64));
    html! {
        h2 { "Rollout of " (printable(&rollout.setup.group, 64)) ": " (end) }
        p class="dim" { @for (word, count) in phases(rollout) { (count) " " (word) " · " } "started " (rollout.started) }
        @for (number, wave) in rollout.setup.waves.iter().enumerate() {
            svg width=(wave.len().min(ROWS_MAX) * 22) height="20" role="img" {
                title { @if number == 0 { "canary" } @else { "wave " (number) } }
                @for (place, host) in wave.iter().take(ROWS_MAX).enumerate() {
                    @if let Some(phase) = rollout.hosts().get(host) {
                        rect x=(place * 22) y="1" width="18" height="18" rx="3" fill=(colour(phase)) { title { (name(host)) ": " (phase.word()) } }
                    }
                }
            }
        }
    }
}
