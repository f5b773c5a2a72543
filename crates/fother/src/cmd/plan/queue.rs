//! The ranked queue of a plan, as its server derives it: what each update closes, by when, and who runs the code.

use crate::{
    client::Client,
    failure::{Failure, NO},
};
use fother_core::{Digest, rank::select::Wish, text::printable};
use serde_json::Value;
use std::collections::BTreeMap;

/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 400;
/// Updates that are shown.
const SHOWN_MAX: usize = 10;

/// The queue, and with a wish what is selected of it.
pub fn of(client: &Client, plan: Digest, exposed: Option<&str>, wish: Option<Wish>) -> Result<Value, Failure> {
    let mut query = Vec::new();
    query.extend(exposed.map(|answer| format!("exposed={}", answer == "yes")));
    query.extend(wish.map(|wish| match wish {
        Wish::DueWithin(days) => format!("due_within_days={days}"),
        Wish::Risk(percent) => format!("risk_percent={percent}"),
    }));
    client.get(&format!("/api/v1/plans/{}/queue?{}", plan.hex(), query.join("&")))
}

/// The updates that a plan with the selected ones alone leaves out, each with its reason.
pub fn left_out(queue: &Value) -> Result<BTreeMap<String, String>, Failure> {
    if queue["selected"]["taken"].as_object().is_none_or(serde_json::Map::is_empty) {
        return Err(Failure::new(NO, "no update is what was asked for", "see the whole plan with `fother plan show`"));
    }
    let left = queue["selected"]["left"].as_object().into_iter().flatten();
    Ok(left.map(|(source, why)| (source.clone(), why.as_str().unwrap_or_default().to_owned())).collect())
}

/// The front of a queue and what could not be told, for people.
pub fn lines(queue: &Value) -> Vec<String> {
    let updates = queue["queue"]["updates"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut out: Vec<String> = updates.iter().take(SHOWN_MAX).enumerate().map(|(at, update)| line(at + 1, update)).collect();
    if updates.len() > SHOWN_MAX {
        out.push(format!("… and {} more (--format json has all)", updates.len() - SHOWN_MAX));
    }
    let unknown = queue["unknown"].as_array().into_iter().flatten().filter_map(Value::as_str);
    out.extend(unknown.map(|why| printable(&format!("could not tell: {why}"), LINE_CHARS_MAX)));
    out
}

/// One line: `1. nginx → 1.22.1-9+deb12u11: closes 14; due 2026-07-21 (cisa-bod-26-04); in use: listening (nginx on web-1: …); why`.
pub fn line(place: usize, update: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let due = deadline(&update["deadline"]);
    let closes = update["closes"].as_array().map_or(0, Vec::len);
    let in_use = text(&update["in_use"]).replace('-', " ");
    let in_use = update["in_use_because"].as_str().map_or_else(|| in_use.clone(), |who| format!("{in_use} ({who})"));
    let because = text(&update["reasons"][0]);
    let line =
        format!("{place}. {} → {}: closes {closes}; {due}; in use: {in_use}; {because}", text(&update["source"]), text(&update["to"]));
    printable(&line, LINE_CHARS_MAX)
}

/// `due 2026-07-21 (cisa-bod-26-04, missing: automatable)`.
pub fn deadline(deadline: &Value) -> String {
    if deadline.is_null() {
        return "no deadline".to_owned();
    }
    let missing: Vec<&str> = deadline["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let missing = if missing.is_empty() { String::new() } else { format!(", missing: {}", missing.join(", ")) };
    let day = deadline["day"].as_str().filter(|_| !deadline["days_left"].is_null()).unwrap_or("with the next upgrade of the system");
    format!("due {day} ({}{missing})", deadline["pack"].as_str().unwrap_or("-"))
}
