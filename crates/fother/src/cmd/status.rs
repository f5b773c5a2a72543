//! `fother status`: the fleet at a glance.

use super::Context;
use crate::{
    failure::{FINE, Failure},
    output::{Format, envelope, table},
};
use serde_json::Value;

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
    let state: Value = client.get("/api/v1/state")?;
    let rollouts: Vec<Vec<String>> = state["rollouts"].as_object().into_iter().flatten().map(|(id, rollout)| row(id, rollout)).collect();
    if !rollouts.is_empty() {
        println!();
        table(ROLLOUT_HEADER, &rollouts);
    }
    Ok(FINE)
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
