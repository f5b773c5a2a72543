//! `fother lock`: reboot locks for hosts that others patch.

use super::{Context, host::labels, status::text};
use crate::{
    cli::Lock,
    client::Client,
    failure::{FINE, Failure, USAGE},
    output::{Format, envelope, table},
};
use serde_json::{Value, json};

/// Runs the command.
pub fn run(context: &Context, verb: Lock) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Lock::Ls => list(context, &client),
        Lock::Add { client: id, name, labels: given, sure } => {
            let labels = labels(&given)?;
            if sure.go(&format!("register {name} ({id}) for reboot locks")) {
                let _: Value = client.post("/api/v1/locks", &json!({"client": id, "name": name, "labels": labels}))?;
                println!("{name} may ask for reboot locks");
            }
            Ok(FINE)
        }
        Lock::Release { client: wanted, reason, sure } => {
            let (id, name) = find(&client, &wanted)?;
            if sure.ask(&format!("free the lock of {name} ({id}), as if it had said that it is back"))? {
                let _: Value = client.post(&format!("/api/v1/locks/{id}/release"), &json!({"reason": reason}))?;
                println!("{name} holds no lock any more");
            }
            Ok(FINE)
        }
        Lock::Rm { client: wanted, reason, sure } => {
            let (id, name) = find(&client, &wanted)?;
            if sure.ask(&format!("strike {name} ({id}) off: it counts nowhere any more, and is refused"))? {
                let _: Value = client.post(&format!("/api/v1/locks/{id}/forget"), &json!({"reason": reason}))?;
                println!("{name} is struck off");
            }
            Ok(FINE)
        }
    }
}

fn list(context: &Context, client: &Client) -> Result<u8, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let clients = &state["lock_clients"];
    if context.format == Format::Json {
        envelope("locks", clients, &[])?;
        return Ok(FINE);
    }
    let rows: Vec<Vec<String>> = clients
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, one)| {
            let labels: Vec<String> =
                one["labels"].as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
            let held = one["held"].as_str().map_or_else(|| "serves".to_owned(), |since| format!("OUT since {since}"));
            vec![text(&one["name"]), held, labels.join(" "), id.clone()]
        })
        .collect();
    table(&["host", "lock", "labels", "id"], &rows);
    Ok(FINE)
}

/// Id and name of a client by either.
fn find(client: &Client, name: &str) -> Result<(String, String), Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let clients = state["lock_clients"].as_object().into_iter().flatten();
    let found: Vec<(String, String)> =
        clients.filter(|(id, one)| *id == name || one["name"] == name).map(|(id, one)| (id.clone(), text(&one["name"]))).collect();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Failure::new(USAGE, format!("there is no client `{name}`"), "see `fother lock ls`")),
        _ => Err(Failure::new(USAGE, format!("several clients are called `{name}`"), "use the id")),
    }
}
