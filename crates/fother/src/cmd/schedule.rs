//! `fother schedule`: plans that draft themselves, how far each is, and an owner's word to put one off.

use super::{Context, sign, status::text};
use crate::{
    cli::Schedule as Verb,
    client::Client,
    failure::{FINE, Failure, NO, UNKNOWN, USAGE},
    output::{Format, envelope, table},
    sure::Sure,
};
use fother_core::{
    Timestamp,
    policy::span,
    schedule::{DEFER_NAMESPACE, Deferral},
};
use serde_json::{Value, json};
use std::{path::Path, time::Duration};

/// Runs the command.
pub fn run(context: &Context, verb: &Verb) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Verb::Ls => list(context, &client),
        Verb::Show { schedule } => show(context, schedule, &one(&client, schedule)?),
        Verb::Run { schedule, sure } => {
            let found = one(&client, schedule)?;
            let what = format!(
                "draft a plan for group {}, rehearse it, and roll it out where a standing approval covers it",
                text(&found["schedule"]["group"])
            );
            if sure.go(&what) {
                let _: Value = client.post(&format!("/api/v1/schedules/{schedule}/run"), &json!({}))?;
                eprintln!("see how far it is: fother schedule show {schedule}");
            }
            Ok(FINE)
        }
        Verb::Defer { schedule, until, by, reason, key, sure } => {
            let found = one(&client, schedule)?;
            let until = later(&found, until.as_deref(), by.as_deref())?;
            defer(&client, schedule, &found, (until, reason), key, *sure)
        }
    }
}

/// All schedules as the server tells them.
pub fn all(client: &Client) -> Result<Value, Failure> {
    client.get("/api/v1/schedules")
}

fn one(client: &Client, name: &str) -> Result<Value, Failure> {
    let all = all(client)?;
    let found = all[name].clone();
    if found.is_null() {
        let known = all.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
        let hint = if known.is_empty() { "the policy declares none: [schedule.NAME]".to_owned() } else { format!("known: {known}") };
        return Err(Failure::new(USAGE, format!("there is no schedule `{name}`"), hint));
    }
    Ok(found)
}

fn later(found: &Value, until: Option<&str>, by: Option<&str>) -> Result<Timestamp, Failure> {
    let usage = |what: String| Failure::new(USAGE, what, "write --until 2026-12-02T08:00:00Z, or --by 2d");
    if let Some(until) = until {
        return until.parse().map_err(|error| usage(format!("--until {until}: {error}")));
    }
    let by = by.unwrap_or_default();
    let seconds = span::parse(by).ok_or_else(|| usage(format!("--by {by} is no length of time")))?;
    let opens: Timestamp = found["opens"]
        .as_str()
        .and_then(|opens| opens.parse().ok())
        .ok_or_else(|| usage("no rollout of it waits for its time".to_owned()))?;
    Ok(opens + Duration::from_secs(seconds))
}

fn defer(client: &Client, name: &str, found: &Value, (until, reason): (Timestamp, &str), key: &Path, sure: Sure) -> Result<u8, Failure> {
    let occurrence = found["known"]["run"]["occurrence"].as_str().and_then(|at| at.parse().ok());
    let Some(occurrence) = occurrence else {
        return Err(Failure::new(USAGE, "no rollout of it waits for its time", format!("see `fother schedule show {name}`")));
    };
    if let Some(last) = found["defer_until"][0].as_str() {
        eprintln!("it may be put off until {last}: {}", text(&found["defer_until"][1]));
    }
    if !sure.go(&format!("put the rollout of {name} off until {until}")) {
        return Ok(FINE);
    }
    let deferral = Deferral { schedule: name.to_owned(), occurrence, until, reason: reason.to_owned() };
    let signature = sign::sign(key, DEFER_NAMESPACE, &deferral.bytes()?)?;
    let _: Value = client.post(&format!("/api/v1/schedules/{name}/defer"), &json!({"deferral": deferral, "signature": signature}))?;
    eprintln!("{name} begins not before {until}");
    Ok(FINE)
}

/// How far a schedule's last moment is, in words.
pub fn stage(found: &Value) -> String {
    let run = &found["known"]["run"];
    let word = match run["stage"].as_str() {
        None => return if found["known"].is_null() { "not seen yet".to_owned() } else { "no moment yet".to_owned() },
        Some("due") => "archives are brought up to date".to_owned(),
        Some("asked") => format!("hosts are asked, round {}", run["round"]),
        Some("drafted") => "drafted".to_owned(),
        Some("rehearsing") => format!("rehearsed, attempt {}", run["attempt"]),
        Some("covered") => match (&found["rollout"], found["opens"].as_str()) {
            (Value::String(rollout), _) => format!("rolled out: {rollout}"),
            (_, Some(opens)) => format!("begins {opens}"),
            (_, None) => match found["rejected"].as_str() {
                Some(why) => format!("rejected: {why}"),
                None => "covered".to_owned(),
            },
        },
        Some("waits") => format!("waits for people: {}", text(&run["why"])),
        Some("ended") => match run["end"]["how"].as_str() {
            Some("nothing-to-do") => "nothing to do".to_owned(),
            _ => format!("failed: {}", text(&run["end"]["why"])),
        },
        Some(other) => other.to_owned(),
    };
    fother_core::text::printable(&word, 400)
}

fn list(context: &Context, client: &Client) -> Result<u8, Failure> {
    let all = all(client)?;
    if context.format == Format::Json {
        envelope("schedules", &all, &[])?;
        return Ok(FINE);
    }
    let dash = |value: &Value| value.as_str().map_or_else(|| "-".to_owned(), str::to_owned);
    let row = |(name, found): (&String, &Value)| {
        let run = &found["known"]["run"];
        vec![name.clone(), text(&found["schedule"]["group"]), dash(&found["next"]), dash(&run["occurrence"]), stage(found)]
    };
    let rows: Vec<Vec<String>> = all.as_object().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        eprintln!("the policy declares no schedule: [schedule.NAME], see docs/policy.md");
    } else {
        table(&["schedule", "group", "next", "last", "state"], &rows);
    }
    Ok(FINE)
}

fn show(context: &Context, name: &str, found: &Value) -> Result<u8, Failure> {
    let run = &found["known"]["run"];
    let silent = run["silent"].as_array().into_iter().flatten();
    let unknown: Vec<String> = silent.map(|host| format!("{} did not answer in time and is not in the plan", text(host))).collect();
    let code = match (run["stage"].as_str(), run["end"]["how"].as_str()) {
        (_, Some("failed")) => UNKNOWN,
        (Some("waits"), _) => NO,
        _ => FINE,
    };
    if context.format == Format::Json {
        envelope("schedule", found, &unknown)?;
        return Ok(code);
    }
    let schedule = &found["schedule"];
    println!("schedule   {name}: {} in {}, for group {}", text(&schedule["at"]), text(&schedule["timezone"]), text(&schedule["group"]));
    println!("next       {}", text(&found["next"]));
    let owners: Vec<String> = schedule["owners"].as_array().into_iter().flatten().map(text).collect();
    let notice =
        schedule["notice_s"].as_u64().map_or_else(|| "as it begins".to_owned(), |seconds| format!("{} before", span::written(seconds)));
    println!("owners     {}, told {notice}", if owners.is_empty() { "nobody named".to_owned() } else { owners.join(", ") });
    println!("state      {}", stage(found));
    if let Some(plan) = run["plan"].as_str() {
        println!("plan       {plan}");
    }
    if let Some(missed) = run["missed"].as_u64().filter(|missed| *missed > 0) {
        println!("stands for {missed} earlier moments while no server ran");
    }
    for (source, why) in run["exclude"].as_object().into_iter().flatten() {
        println!("left out   {source}: {}", fother_core::text::printable(&text(why), 400));
    }
    if let Some(opens) = run["notice"]["opens"].as_str() {
        let told = match &run["notice"]["told"] {
            Value::String(why) => format!("; the hook failed: {}", fother_core::text::printable(why, 200)),
            _ => String::new(),
        };
        println!("notice     given {} for {opens}{told}", text(&run["notice"]["at"]));
    }
    for one in run["deferred"].as_array().into_iter().flatten() {
        let reason = fother_core::text::printable(&text(&one["reason"]), 200);
        println!("put off    until {} by {}: {reason}", text(&one["until"]), text(&one["person"]));
    }
    if let Some(last) = found["defer_until"][0].as_str() {
        println!("may wait   until {last}: {}", text(&found["defer_until"][1]));
    }
    unknown.iter().for_each(|line| eprintln!("unknown: {line}"));
    Ok(code)
}
