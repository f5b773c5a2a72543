//! `fother host`: who is in the fleet.

pub mod affected;

use super::{Context, status::text};
use crate::{
    cli::Host,
    client::Client,
    failure::{FINE, Failure, USAGE},
    output::{Format, envelope, table},
};
use fother_core::{Digest, inventory::Inventory};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Runs the command.
pub fn run(context: &Context, verb: Host) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Host::Ls { affected: None, silent } => list(context, &client, silent),
        Host::Ls { affected: Some(what), .. } => affected::run(context, &client, &what),
        Host::Show { host } => show(context, &client, &host),
        Host::Token { labels, sure } => {
            let map = self::labels(&labels)?;
            if !sure.go("make a token for one host") {
                return Ok(FINE);
            }
            let answer: Value = client.post("/api/v1/tokens", &json!({"labels": map}))?;
            println!("{}", text(&answer["token"]));
            Ok(FINE)
        }
        Host::Revoke { host, reason, sure } => {
            let (id, _) = find(&client, &host)?;
            if sure.ask(&format!("shut {host} ({id}) out; it would have to enrol again"))? {
                let _: Value = client.post(&format!("/api/v1/hosts/{id}/revoke"), &json!({"reason": reason}))?;
            }
            Ok(FINE)
        }
        Host::Retire { host, sure } => {
            let (id, _) = find(&client, &host)?;
            if !sure.ask(&format!("let {host} ({id}) go for good; it would have to enrol again"))? {
                return Ok(FINE);
            }
            let _: Value = client.post(&format!("/api/v1/hosts/{id}/retire"), &json!({}))?;
            Ok(FINE)
        }
    }
}

/// Labels as they are written on the command line.
pub(super) fn labels(given: &[String]) -> Result<serde_json::Map<String, Value>, Failure> {
    let one = |label: &String| {
        let (key, value) =
            label.split_once('=').ok_or_else(|| Failure::new(USAGE, format!("`{label}` is no label"), "write --label role=web"))?;
        Ok((key.to_owned(), json!(value)))
    };
    given.iter().map(one).collect()
}

/// Why a host is not patched from here now, beyond what it says itself.
fn trouble(names: &BTreeMap<String, usize>, host: &Value) -> Option<&'static str> {
    match host {
        host if host["retired"] == true => None,
        host if !host["revoked"].is_null() => Some("REVOKED"),
        host if host["lost"] == true => Some("LOST"),
        host if names.get(&text(&host["hostname"])).is_some_and(|count| *count > 1) => Some("DUPLICATE"),
        _ => None,
    }
}

fn list(context: &Context, client: &Client, silent: bool) -> Result<u8, Failure> {
    let mut state: Value = client.get("/api/v1/state")?;
    let seen: Value = client.get("/api/v1/last-seen")?;
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for host in state["hosts"].as_object().into_iter().flat_map(serde_json::Map::values).filter(|host| host["retired"] == false) {
        *names.entry(text(&host["hostname"])).or_insert(0) += 1;
    }
    if let (true, Some(hosts)) = (silent, state["hosts"].as_object_mut()) {
        hosts.retain(|_, host| trouble(&names, host).is_some());
    }
    if context.format == Format::Json {
        envelope("hosts", &json!({"hosts": state["hosts"], "last_seen": seen}), &[])?;
        return Ok(FINE);
    }
    let rows: Vec<Vec<String>> = state["hosts"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, host)| {
            let labels: Vec<String> =
                host["labels"].as_object().into_iter().flatten().map(|(key, value)| format!("{key}={}", text(value))).collect();
            let word = if host["retired"] == true {
                "retired"
            } else if let Some(why) = trouble(&names, host) {
                why
            } else if host["observe"] == true {
                "observes"
            } else {
                "patches"
            };
            vec![text(&host["hostname"]), word.to_owned(), labels.join(" "), host["packages"].to_string(), text(&seen[id]), id.clone()]
        })
        .collect();
    table(&["host", "mode", "labels", "packages", "last seen", "id"], &rows);
    Ok(FINE)
}

fn show(context: &Context, client: &Client, name: &str) -> Result<u8, Failure> {
    let (id, host) = find(client, name)?;
    if context.format == Format::Json {
        envelope("host", &host, &[])?;
        return Ok(FINE);
    }
    println!("{} ({id})", text(&host["hostname"]));
    println!("labels     {}", host["labels"]);
    let Some(digest) = host["inventory"].as_str().and_then(|text| text.parse::<Digest>().ok()) else {
        println!("inventory  none yet");
        return Ok(FINE);
    };
    let inventory: Inventory = client.blob("inventory", digest)?;
    let print = |label: &str, value: &str| println!("{label:<10} {}", fother_core::text::printable(value, 300));
    print("system", &format!("{} {} ({})", inventory.distribution.id, inventory.distribution.version, inventory.architecture));
    print("kernel", &inventory.kernel);
    print("packages", &inventory.packages.len().to_string());
    print("reboot", &format!("{:?}", inventory.reboot));
    for patcher in &inventory.other_patchers {
        print("patcher", patcher);
    }
    for service in inventory.services.iter().filter(|service| !service.stale_files.is_empty()) {
        print("restart", &format!("{} still maps {}", service.unit, service.stale_files.join(", ")));
    }
    for unknown in &inventory.unknown {
        print("unknown", unknown);
    }
    for refusal in host["refusals"].as_array().into_iter().flatten() {
        print("refused", &text(refusal));
    }
    Ok(FINE)
}

/// A host by id or name.
pub(super) fn find(client: &Client, name: &str) -> Result<(String, Value), Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let mut found: Vec<(String, Value)> = state["hosts"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(id, host)| *id == name || host["hostname"] == name)
        .map(|(id, host)| (id.clone(), host.clone()))
        .collect();
    match (found.pop(), found.is_empty()) {
        (Some(one), true) => Ok(one),
        (None, _) => Err(Failure::new(USAGE, format!("there is no host `{name}`"), "see `fother host ls`")),
        (Some(_), false) => Err(Failure::new(USAGE, format!("several hosts are called `{name}`"), "use the id")),
    }
}
