//! One GET to a service on this host: status, body, and how long it takes beside before.

use super::{Earlier, LOOPBACK_LIMIT, failed, no_data};
use fother_core::{
    pattern::Pattern,
    policy::{
        CheckAnswer, Mark,
        checks::{Body, Latency, loopback_url},
    },
};
use std::{
    io::Read,
    time::{Duration, Instant},
};
use ureq::Agent;

/// So much of a body is looked at, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;
/// Requests whose median counts as the time that an answer takes.
const SAMPLES: usize = 5;

/// One answer.
pub(super) struct Answer {
    status: u16,
    body: Vec<u8>,
    took: Duration,
}

pub(super) fn ask(url: &str, status: u16, body: Option<&Body>, latency: Option<Latency>, earlier: Earlier<'_>) -> CheckAnswer {
    let well = || get(url).map_err(failed).and_then(|answer| is_wanted(url, &answer, status, body).map(|()| answer.took));
    let first = match well() {
        Ok(took) => took,
        Err(answer) => return answer,
    };
    let Some(latency) = latency else { return CheckAnswer::Fine };
    let mut times = vec![first];
    while times.len() < SAMPLES {
        match well() {
            Ok(took) => times.push(took),
            Err(answer) => return answer,
        }
    }
    times.sort_unstable();
    let now_us = u64::try_from(times[SAMPLES / 2].as_micros()).unwrap_or(u64::MAX);
    match earlier {
        Earlier::First => CheckAnswer::Noted { mark: Mark::Latency { us: now_us } },
        Earlier::Said(Some(CheckAnswer::Noted { mark: Mark::Latency { us } })) if latency.is_slower(*us, now_us) => {
            failed(format!("{url} takes {} instead of {}", millis(now_us), millis(*us)))
        }
        // What did not answer well before is better now, however long it takes.
        Earlier::Said(Some(CheckAnswer::Noted { mark: Mark::Latency { .. } } | CheckAnswer::Failed { .. })) => CheckAnswer::Fine,
        Earlier::Said(_) => no_data(format!("how long {url} took before is not known")),
    }
}

fn millis(us: u64) -> String {
    format!("{}.{} ms", us / 1_000, us % 1_000 / 100)
}

fn is_wanted(url: &str, answer: &Answer, status: u16, body: Option<&Body>) -> Result<(), CheckAnswer> {
    if answer.status != status {
        return Err(failed(format!("{url} answered {}, not {status}", answer.status)));
    }
    let Some(Body { contains, matches }) = body else { return Ok(()) };
    let full = if answer.body.len() >= BODY_BYTES_MAX { format!(" (its first {} KiB)", BODY_BYTES_MAX >> 10) } else { String::new() };
    if let Some(text) = contains
        && !answer.body.windows(text.len().max(1)).any(|part| part == text.as_bytes())
    {
        return Err(failed(format!("what {url} answered{full} does not hold `{text}`")));
    }
    if let Some(text) = matches {
        let pattern = Pattern::parse(text).map_err(no_data)?;
        if !pattern.is_in(&answer.body) {
            return Err(failed(format!("what {url} answered{full} does not match `{text}`")));
        }
    }
    Ok(())
}

/// The whole exchange takes at most [`LOOPBACK_LIMIT`]; nothing is followed, no proxy is asked.
fn get(url: &str) -> Result<Answer, String> {
    let (address, host, path) = loopback_url(url)?;
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .proxy(None)
        .timeout_global(Some(LOOPBACK_LIMIT))
        .user_agent("fother-check")
        .build();
    let begun = Instant::now();
    let told = |error: &dyn std::fmt::Display| format!("{url} did not answer: {error}");
    let request = config.new_agent().get(format!("http://{address}{path}")).header("Host", host).header("Connection", "close");
    let response = request.call().map_err(|error| told(&error))?;
    let status = response.status().as_u16();
    let mut body = Vec::new();
    let limit = BODY_BYTES_MAX as u64;
    response.into_body().into_reader().take(limit).read_to_end(&mut body).map_err(|error| told(&error))?;
    Ok(Answer { status, body, took: begun.elapsed() })
}
