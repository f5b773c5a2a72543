//! Before Fother, and stage 1: what plain apt does to a service, who is in the fleet, what is missing there.

use super::fleet::{Fleet, LAB, QUICK_WAIT, wait};
use crate::failure::{FAILED, Failure};
use fother_core::{Digest, inventory::Inventory};
use fother_lab::{Role, SiteVersion};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, process::Command};

/// Lines of the ranked queue that are shown.
const QUEUE_SHOWN: usize = 5;

/// The update that fails under traffic, by plain apt on one host; then back.
pub fn plain_apt(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("Before: a bad update by plain apt");
    fother_lab::publish(LAB, SiteVersion::SlowFailure)?;
    let host = fleet.canary();
    let (ok, failed) = fleet.requests();
    fleet.exec(&host, &["sh", "-c", "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq lab-site"])?;
    let mut last = (ok, failed);
    wait("some traffic over the bad update", QUICK_WAIT, || {
        last = fleet.requests();
        Ok(last.0 + last.1 >= ok + failed + 400)
    })?;
    fleet.summary.figure("plain apt, one host", format!("{} of {} requests failed", last.1 - failed, last.0 + last.1 - ok - failed));
    fother_lab::publish(LAB, SiteVersion::First)?;
    fleet.exec(
        &host,
        &["sh", "-c", "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --allow-downgrades lab-site=1.0"],
    )?;
    Ok(())
}

/// Every host enrols read-only; patching is switched on at the web hosts themselves.
pub fn inventory(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("1 Inventory and assessment");
    fleet.start_server()?;
    for host in fleet.hosts.clone() {
        enrol(fleet, &host.name, host.role, &host.zone)?;
    }
    let client = fleet.client()?;
    let all = fleet.hosts.len();
    wait("every inventory", QUICK_WAIT, || {
        let state: Value = client.get("/api/v1/state")?;
        Ok(hosts(&state).filter(|host| host["inventory"].is_string()).count() == all)
    })?;
    let state: Value = client.get("/api/v1/state")?;
    let packages: u64 = hosts(&state).filter_map(|host| host["packages"].as_u64()).sum();
    fleet.summary.figure("hosts", format!("{all} enrolled by one-time token, mutual TLS, read-only at first; {packages} packages"));
    let mut patchers = BTreeSet::new();
    for digest in hosts(&state).filter_map(|host| host["inventory"].as_str()?.parse::<Digest>().ok()) {
        patchers.extend(client.blob::<Inventory>("inventory", digest)?.other_patchers);
    }
    fleet.summary.figure("other patchers there", patchers.into_iter().collect::<Vec<_>>().join("; "));
    findings(fleet)?;
    for host in fleet.web() {
        fleet.exec(&host, &["/usr/local/bin/fother", "agent", "observe", "off"])?;
    }
    let web = fleet.web().len();
    wait("the web hosts to say that they may be patched", QUICK_WAIT, || {
        let state: Value = client.get("/api/v1/state")?;
        Ok(hosts(&state).filter(|host| host["observe"] == false).count() == web)
    })?;
    fleet.summary.figure("patching", format!("switched on at {web} web hosts themselves; the other one only observes"));
    Ok(())
}

fn hosts(state: &Value) -> impl Iterator<Item = &Value> {
    state["hosts"].as_object().into_iter().flatten().map(|(_, host)| host)
}

fn enrol(fleet: &Fleet, name: &str, role: Role, zone: &str) -> Result<(), Failure> {
    let labels = json!({"role": role.name(), "zone": zone, "env": "prod"});
    let answer: Value = fleet.client()?.post("/api/v1/tokens", &json!({"labels": labels}))?;
    let token = answer["token"].as_str().unwrap_or_default();
    fother_lab::copy_in(LAB, name, Path::new("/run/fother-token"), token.as_bytes(), 0o600)?;
    fother_lab::copy_in(LAB, name, Path::new("/run/fother-trust.toml"), &std::fs::read(fleet.trust())?, 0o600)?;
    let url = Fleet::server_url();
    let from = ["--token-file", "/run/fother-token", "--trust", "/run/fother-trust.toml", "--observe"];
    let mut command = vec!["/usr/local/bin/fother", "agent", "install", "--server", &url];
    command.extend(from);
    fleet.exec(name, &command).map(drop)
}

/// What `fother scan` says on the canary; with the shared feeds, where they are present, as a ranked queue with reasons and deadlines.
fn findings(fleet: &mut Fleet) -> Result<(), Failure> {
    let host = fleet.canary();
    fleet.exec(&host, &["apt-get", "update", "-qq"])?;
    let mut command = vec!["/usr/local/bin/fother", "scan", "--exposed", "yes", "--format", "json"];
    let database = database(fleet)?;
    if let Some(bytes) = &database {
        fother_lab::copy_in(LAB, &host, Path::new(DATABASE_THERE), bytes, 0o644)?;
        command.extend(["--db", DATABASE_THERE]);
    }
    // What could not be told ends the scan with 3; the answer is there all the same, and says what.
    let output = fother_lab::exec(LAB, &host, &command, &[])?;
    let scan: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| Failure::new(FAILED, format!("`fother scan` on {host}: {}", String::from_utf8_lossy(&output.stderr).trim()), ""))?;
    let updates = scan["data"]["updates"].as_array().cloned().unwrap_or_default();
    let security = updates.iter().filter(|update| update["class"] == "security").count();
    fleet.summary.figure("findings on the canary", format!("{} updates offered, {security} of them security", updates.len()));
    let queue = scan["data"]["queue"]["updates"].as_array().cloned().unwrap_or_default();
    if database.is_none() {
        fleet.summary.figure("advisories", "no feeds here (FOTHER_SHARED); what updates close is read from their signed packages");
        return Ok(());
    }
    for (place, update) in queue.iter().take(QUEUE_SHOWN).enumerate() {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let closes = update["closes"].as_array().map_or(0, Vec::len);
        let due = text(&update["deadline"]["day"]);
        println!("   {}. {:<12} closes {closes:>2}, due {due}: {}", place + 1, text(&update["source"]), text(&update["reasons"][0]));
    }
    let findings = scan["data"]["assessment"]["findings"].as_array().map_or(0, Vec::len);
    let text = match findings {
        0 => "0 findings: the feeds here end before the offered fixes, and are named as stale; changelogs tell more below".to_owned(),
        _ => format!("{findings} findings in {} ranked updates; feeds of some age are named as unknown", queue.len()),
    };
    fleet.summary.figure("advisories", text);
    Ok(())
}

/// Where the canary gets the database of advisories.
const DATABASE_THERE: &str = "/run/fother-advisories.db";

/// The database of advisories compiled from the shared feeds, where they are present.
fn database(fleet: &Fleet) -> Result<Option<Vec<u8>>, Failure> {
    let shared = std::env::var_os("FOTHER_SHARED").map_or_else(|| Path::new("../shared").to_owned(), Into::into);
    let feeds = shared.join("feeds");
    if !feeds.is_dir() {
        return Ok(None);
    }
    let dir = fleet.dir.join("feeds");
    let output = Command::new(std::env::current_exe()?).args(["feeds", "import"]).arg(&feeds).arg("--dir").arg(&dir).output()?;
    match std::fs::read(dir.join("advisories.db")) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(_) => Err(Failure::new(FAILED, format!("the feeds were not taken in: {}", String::from_utf8_lossy(&output.stderr).trim()), "")),
    }
}
