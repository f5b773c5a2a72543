//! Stages 6, 7 and the end: roll out through kills, verify, back by hand, the log.

use super::fleet::{Fleet, LAB, QUICK_WAIT, wait};
use crate::{
    cmd::{Context, plan, rollout},
    failure::{FAILED, Failure},
    output::{Format, Wanted},
};
use fother_core::{Digest, plan::Cohort, rollout::Phase};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
};

/// Most of the status page that is read, in bytes.
const PAGE_BYTES_MAX: u64 = 4 << 20;

/// Rolls the approved change out; server and executor are killed in the middle. The rollout's id.
pub fn good_path(fleet: &mut Fleet, change: &str, plan: Digest) -> Result<String, Failure> {
    fleet.summary.stage("6 Roll out: canary, waves, zones, budget");
    let client = fleet.client()?;
    let (mut cves, mut updates) = (BTreeSet::new(), 0);
    for (cohort, _) in plan::rehearsals(&client, plan)? {
        let blob: Cohort = client.blob("cohort", cohort)?;
        updates = updates.max(blob.changes.len());
        cves.extend(blob.cves().into_iter().map(str::to_owned));
    }
    let (ok, failed) = fleet.requests();
    let id = rollout::start(&client, change)?;
    wait("the canary at work", QUICK_WAIT, || {
        let view = rollout::View::take(&client, &id)?;
        Ok(view.waves.iter().flatten().any(|(_, phase)| matches!(phase, Phase::Dispatched { .. })))
    })?;
    fleet.kill_server()?;
    fleet.exec(&fleet.canary(), &["systemctl", "kill", "--signal=KILL", "--kill-who=main", "fother-executor.service"])?;
    fleet.start_server()?;
    let client = fleet.client()?;
    if watch(fleet, &id)? != 0 {
        return Err(Failure::new(FAILED, "the good update did not complete", "see `fother rollout watch`"));
    }
    let (now_ok, now_failed) = fleet.requests();
    fleet.summary.figure("updates", format!("{updates} packages on {} hosts, {} CVEs closed", fleet.web().len(), cves.len()));
    fleet.summary.figure("requests on the good path", format!("{} served, {} failed", now_ok - ok, now_failed - failed));
    let state: Value = client.get("/api/v1/state")?;
    let transactions: BTreeSet<(String, String)> = (state["directives"].as_object().into_iter().flatten().map(|(_, issued)| issued))
        .filter(|issued| issued["order"] == "apply" && issued["rollout"] == id.as_str())
        .map(|issued| (issued["host"].to_string(), issued["txn"].to_string()))
        .collect();
    let (many, web) = (transactions.len(), fleet.web().len());
    if many != web {
        return Err(Failure::new(FAILED, format!("{many} transactions for {web} hosts"), "see `fother log show`"));
    }
    fleet.summary.figure("kill -9 of server and executor", format!("both resumed; {many} transactions on {web} hosts, none twice"));
    if now_failed != failed {
        return Err(Failure::new(FAILED, "requests failed on the good path", "see the load balancer's view in `fother lab status`"));
    }
    Ok(id)
}

fn watch(fleet: &Fleet, id: &str) -> Result<u8, Failure> {
    let context = Context { format: Format::Table, wanted: Wanted::Table, run_dir: fleet.run_dir() };
    rollout::watch(&context, &fleet.client()?, id)
}

/// What is installed is what runs, or is said not to.
pub fn verify(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("7 Verify: fresh inventory, what runs");
    let (mut open, mut reboots, mut stale) = (0, 0, BTreeSet::new());
    for host in fleet.web() {
        let output = fother_lab::exec(LAB, &host, &["/usr/local/bin/fother", "scan", "--format", "json"], &[])?;
        let scan: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let Some(updates) = scan["data"]["updates"].as_array() else {
            return Err(Failure::new(FAILED, format!("{host} gave no answer to `fother scan`"), ""));
        };
        open += updates.iter().filter(|update| update["name"] != "lab-site").count();
        reboots += usize::from(scan["data"]["reboot"]["answer"] == "needed");
        let services = scan["data"]["restarts"].as_array().cloned().unwrap_or_default();
        stale.extend(services.iter().map(|service| service["unit"].as_str().unwrap_or_default().trim_end_matches(".service").to_owned()));
    }
    if open > 0 {
        return Err(Failure::new(FAILED, format!("{open} updates are still open after the rollout"), "see `fother scan` on the hosts"));
    }
    let web = fleet.web().len();
    fleet.summary.figure("findings after", format!("0 updates open on {web} hosts but the one that breaks"));
    let running = match stale.is_empty() {
        true => "every service runs what is installed".to_owned(),
        false => {
            format!("restarted, but for {}: reboot due on {reboots} hosts, and said so", stale.into_iter().collect::<Vec<_>>().join(", "))
        }
    };
    fleet.summary.figure("running versions", running);
    Ok(())
}

/// One host by its own hand with the server gone, the others through the server.
pub fn back_by_hand(fleet: &mut Fleet, id: &str) -> Result<(), Failure> {
    fleet.summary.stage("Rollback by hand: every host as it was");
    let view = rollout::View::take(&fleet.client()?, id)?;
    let last = view.waves.iter().flatten().last().cloned();
    let Some((host, Phase::Verified { txn, .. })) = last else {
        return Err(Failure::new(FAILED, "the last host does not carry the update", "see `fother rollout watch`"));
    };
    fleet.kill_server()?;
    let said = fleet.exec(&host, &["/usr/local/bin/fother", "agent", "undo", &txn.to_string()])?;
    fleet.summary.figure("undo with the server gone", format!("{host}: {}", said.trim()));
    fleet.start_server()?;
    let client = fleet.client()?;
    let (ok, failed) = fleet.requests();
    let _: Value = client.post(&format!("/api/v1/rollouts/{id}/rollback"), &json!({}))?;
    watch(fleet, id)?;
    let view = rollout::View::take(&client, id)?;
    let (mut hosts, mut paths) = (0, 0);
    for (name, phase) in view.waves.iter().flatten() {
        match phase {
            Phase::RolledBack { exact: true, paths_compared, .. } => (hosts, paths) = (hosts + 1, paths + paths_compared),
            other => return Err(Failure::new(FAILED, format!("{name} is {} after the rollback", other.word()), "see `fother log show`")),
        }
    }
    let (now_ok, now_failed) = fleet.requests();
    fleet.summary.figure("rollback by hand", format!("{hosts} hosts exactly as before, {paths} paths compared"));
    fleet.summary.figure("requests meanwhile", format!("{} served, {} failed", now_ok - ok, now_failed - failed));
    Ok(())
}

/// The log verifies without the server.
pub fn log(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("9 The log");
    let (ok, failed) = fleet.requests();
    fleet.summary.figure("requests in all", format!("{ok} served, {failed} failed"));
    let (report, _) = crate::cmd::log::check(&fleet.data_dir(), &fother_store::Place::default())?;
    fleet.summary.figure("log", format!("{} events verified, root {}", report.size, report.root));
    let page = status_page(fleet)?;
    fleet.summary.figure("status page", format!("{} answered with {page} bytes; --keep leaves it running", fleet.page()));
    Ok(())
}

/// Bytes of the status page, which must name every host.
fn status_page(fleet: &Fleet) -> Result<usize, Failure> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", fleet.page_port()))?;
    stream.set_read_timeout(Some(QUICK_WAIT))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut text)?;
    let missing = fleet.hosts.iter().find(|host| !text.contains(&host.name));
    if !text.starts_with("HTTP/1.1 200") || missing.is_some() {
        return Err(Failure::new(FAILED, format!("the status page does not show {}", missing.map_or("anything", |host| &host.name)), ""));
    }
    Ok(text.len())
}
