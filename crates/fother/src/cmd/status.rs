//! `fother status`: the fleet at a glance.

use super::Context;
use crate::{
    failure::{FINE, Failure},
    output::{Format, envelope, table},
};
use fother_core::text::printable;
use serde_json::Value;

/// Most vulnerabilities on the screen.
const WIDEST_MAX: usize = 3;

/// Runs the command.
pub fn run(context: &Context) -> Result<u8, Failure> {
    let client = context.client()?;
    let status: Value = client.get("/api/v1/status")?;
    if context.format == Format::Json {
        envelope("status", &status, &[])?;
        return Ok(FINE);
    }
    println!("log        {} events, root {}", status["size"], text(&status["root"]));
    println!(
        "hosts      {} enrolled, {} lost, {} observe only",
        status["hosts"]["total"], status["hosts"]["lost"], status["hosts"]["observe"]
    );
    vulnerable(client.get("/api/v1/vulnerabilities"));
    for rollout in status["rollouts"].as_array().into_iter().flatten() {
        if let Some(why) = rollout["held"].as_str() {
            println!("held       {}: {}", text(&rollout["id"]), printable(why, 400));
        }
    }
    let schedules: Value = super::schedule::all(&client)?;
    for (name, found) in schedules.as_object().into_iter().flatten() {
        println!("schedule   {name} for {}: {}", text(&found["schedule"]["group"]), super::schedule::stage(found));
    }
    let state: Value = client.get("/api/v1/state")?;
    let rollouts: Vec<Vec<String>> = state["rollouts"].as_object().into_iter().flatten().map(|(id, rollout)| row(id, rollout)).collect();
    if !rollouts.is_empty() {
        println!();
        table(ROLLOUT_HEADER, &rollouts);
    }
    Ok(FINE)
}

/// How much of the fleet is vulnerable, as far as the server can tell.
fn vulnerable(answer: Result<Value, Failure>) {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return println!("vulnerable could not tell: {}", printable(&failure.what, 200)),
    };
    let hosts = &answer["hosts"];
    println!("vulnerable {} of {} hosts, {} findings", hosts["vulnerable"], hosts["assessed"], answer["findings"]);
    let widest = answer["widest"].as_array().into_iter().flatten().take(WIDEST_MAX);
    let widest: Vec<String> = widest.map(|one| format!("{} on {}", printable(&text(&one["id"]), 40), one["hosts"])).collect();
    if !widest.is_empty() {
        println!("widest     {}  (fother host ls --affected CVE)", widest.join(", "));
    }
    for why in answer["unknown"].as_array().into_iter().flatten().take(WIDEST_MAX) {
        println!("could not tell: {}", printable(&text(why), 200));
    }
}

/// Columns of [`row`].
pub const ROLLOUT_HEADER: &[&str] = &["rollout", "group", "hosts", "waves", "state"];

/// A rollout as a line of a table.
pub fn row(id: &str, rollout: &Value) -> Vec<String> {
    let count = |value: &Value| value.as_array().map_or(0, Vec::len).to_string();
    let hosts = rollout["hosts"].as_object().map_or(0, serde_json::Map::len).to_string();
    let state = match rollout["ended"]["how"].as_str() {
        Some(how) => how.to_owned(),
        None if rollout["paused"] == true => "paused".to_owned(),
        None => "running".to_owned(),
    };
    let waves = format!("{}/{}", rollout["waves_passed"], count(&rollout["setup"]["waves"]));
    vec![id.to_owned(), text(&rollout["setup"]["group"]), hosts, waves, state]
}

/// A JSON string without its quotes.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
