//! The demo's stages, top to bottom as a user would go.

use super::fleet::{Fleet, LAB, QUICK_WAIT, wait};
use crate::{
    cmd::{Context, change, plan, rollout},
    failure::{FAILED, Failure},
    output::Format,
};
use fother_core::{Digest, plan::Cohort, rehearsal::Verdict, rollout::Phase};
use fother_lab::{Role, SiteVersion};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// Every stage.
pub fn all(fleet: &mut Fleet, quick: bool) -> Result<(), Failure> {
    fleet.start_traffic()?;
    plain_apt(fleet)?;
    enrol(fleet)?;
    if !quick {
        broken_updates(fleet)?;
    }
    good_path(fleet)?;
    slow_failure(fleet)?;
    log(fleet)?;
    fleet.summary.print();
    Ok(())
}

fn plain_apt(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("Before: a bad update by plain apt");
    fother_lab::publish(LAB, SiteVersion::SlowFailure)?;
    let host = fleet.web().first().cloned().unwrap_or_default();
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

fn enrol(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("1 Inventory: agents enrol, hosts report");
    fleet.start_server()?;
    let client = fleet.client()?;
    for host in fleet.hosts.clone() {
        let labels = json!({"role": host.role.name(), "zone": host.zone, "env": "prod"});
        let answer: Value = client.post("/api/v1/tokens", &json!({"labels": labels}))?;
        let token = answer["token"].as_str().unwrap_or_default();
        fother_lab::copy_in(LAB, &host.name, Path::new("/run/fother-token"), token.as_bytes(), 0o600)?;
        fother_lab::copy_in(LAB, &host.name, Path::new("/run/fother-trust.toml"), &std::fs::read(fleet.trust())?, 0o600)?;
        let mut command =
            vec!["/usr/local/bin/fother", "agent", "install", "--token-file", "/run/fother-token", "--trust", "/run/fother-trust.toml"];
        let url = Fleet::server_url();
        command.extend(["--server", &url]);
        if host.role != Role::Web {
            command.push("--observe");
        }
        fleet.exec(&host.name, &command)?;
    }
    let all = fleet.hosts.len();
    wait("every inventory", QUICK_WAIT, || {
        let state: Value = client.get("/api/v1/state")?;
        Ok(state["hosts"].as_object().into_iter().flatten().filter(|(_, host)| host["inventory"].is_string()).count() == all)
    })?;
    let state: Value = client.get("/api/v1/state")?;
    let packages: u64 = state["hosts"].as_object().into_iter().flatten().filter_map(|(_, host)| host["packages"].as_u64()).sum();
    fleet.summary.figure("hosts", format!("{all} enrolled by one-time token, mutual TLS; {packages} packages"));
    Ok(())
}

fn update_archives(fleet: &Fleet) -> Result<(), Failure> {
    let answer: Value = fleet.client()?.post("/api/v1/archives/update", &json!({}))?;
    match answer["refused"].as_array().into_iter().flatten().next() {
        None => Ok(()),
        Some(refused) => Err(Failure::new(FAILED, format!("an archive was refused: {refused}"), "")),
    }
}

fn broken_updates(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("4 Rehearsal stops bad updates");
    for (version, what) in [
        (SiteVersion::BrokenScript, "script that fails"),
        (SiteVersion::BrokenNginx, "nginx broken"),
        (SiteVersion::DyingService, "service that dies"),
    ] {
        fother_lab::publish(LAB, version)?;
        update_archives(fleet)?;
        let client = fleet.client()?;
        let digest = plan::new(&client, "web", &[], "")?;
        let verdict = plan::rehearse(&client, digest, version == SiteVersion::BrokenScript)?;
        let failing = plan::failing(&client, digest)?;
        if verdict != Verdict::Breaks {
            return Err(Failure::new(
                FAILED,
                format!("{what}: the rehearsal said {verdict:?}"),
                "see the rehearsal with `fother plan show`",
            ));
        }
        let why: Vec<String> = plan::rehearsals(&client, digest)?
            .into_iter()
            .filter_map(|(_, rehearsal)| rehearsal)
            .flat_map(|rehearsal| rehearsal.breakages.into_iter().map(|breakage| breakage.what))
            .collect();
        let set = if failing.is_empty() { String::new() } else { format!("; smallest failing set: {}", failing.join(", ")) };
        fleet.summary.figure(what, format!("stopped by rehearsal ({}){set}", why.join(", ")));
    }
    Ok(())
}

/// Plans, rehearses, submits, approves; the change and its plan.
fn approved_change(fleet: &mut Fleet, exclude: &[String]) -> Result<(String, Digest), Failure> {
    update_archives(fleet)?;
    let client = fleet.client()?;
    let digest = plan::new(&client, "web", exclude, "breaks in rehearsal")?;
    let again = plan::new(&client, "web", exclude, "breaks in rehearsal")?;
    if digest != again {
        return Err(Failure::new(FAILED, "the same state gave two plans", ""));
    }
    plan::rehearse(&client, digest, false)?;
    let mut accepted = BTreeSet::new();
    for (_, rehearsal) in plan::rehearsals(&client, digest)? {
        let Some(rehearsal) = rehearsal else { continue };
        if rehearsal.verdict == Verdict::Breaks {
            let mut why: Vec<String> = rehearsal.breakages.iter().map(|b| format!("{}: {}", b.what, b.why)).collect();
            why.extend(rehearsal.reasons);
            why.extend(rehearsal.undo.differences);
            return Err(Failure::new(FAILED, format!("the rehearsal broke: {}", why.join("; ")), ""));
        }
        accepted.extend(rehearsal.exercised.iter().filter(|unit| !unit.exercised).map(|unit| unit.unit.clone()));
        fleet.summary.figure(
            "rehearsal",
            format!(
                "{:?}, {} packages, {} paths, {:.1} s; undo {} over {} paths",
                rehearsal.verdict,
                rehearsal.changes.len(),
                rehearsal.footprint.len(),
                Duration::from_millis(rehearsal.total_ms).as_secs_f64(),
                if rehearsal.undo.differences.is_empty() { "exact" } else { "NOT exact" },
                rehearsal.undo.paths_compared
            ),
        );
    }
    let accepted: Vec<String> = accepted.into_iter().collect();
    let id = change::submit(&client, digest, &fleet.key("author"), &accepted)?;
    if change::approve(&client, &id, &fleet.key("author")).is_ok() {
        return Err(Failure::new(FAILED, "the author could approve", ""));
    }
    change::approve(&client, &id, &fleet.key("approver"))?;
    Ok((id, digest))
}

fn good_path(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("2-5 Plan, acquire, rehearse, approve");
    fother_lab::publish(LAB, SiteVersion::Good)?;
    let (id, digest) = approved_change(fleet, &[])?;
    let client = fleet.client()?;
    let mut cves = BTreeSet::new();
    let mut updates = 0;
    for (cohort, _) in plan::rehearsals(&client, digest)? {
        let blob: Cohort = client.blob("cohort", cohort)?;
        updates = updates.max(blob.changes.len());
        cves.extend(blob.cves().into_iter().map(str::to_owned));
    }
    fleet.summary.stage("6 Roll out: canary, waves, zones, budget");
    let (ok, failed) = fleet.requests();
    let rollout = rollout::start(&client, &id)?;
    let context = Context { format: Format::Table, wanted: crate::output::Wanted::Table, run_dir: fleet.run_dir() };
    wait("the canary at work", QUICK_WAIT, || {
        let view = rollout::View::take(&client, &rollout)?;
        Ok(view.waves.iter().flatten().any(|(_, phase)| matches!(phase, Phase::Dispatched { .. })))
    })?;
    fleet.kill_server()?;
    let canary = fleet.web().first().cloned().unwrap_or_default();
    fleet.exec(&canary, &["systemctl", "kill", "--signal=KILL", "--kill-who=main", "fother-executor.service"])?;
    fleet.start_server()?;
    let client = fleet.client()?;
    let code = rollout::watch(&context, &client, &rollout)?;
    if code != 0 {
        return Err(Failure::new(FAILED, "the good update did not complete", "see `fother rollout watch`"));
    }
    let (now_ok, now_failed) = fleet.requests();
    fleet.summary.figure("updates", format!("{updates} packages on {} hosts, {} CVEs closed", fleet.web().len(), cves.len()));
    fleet.summary.figure("requests on the good path", format!("{} served, {} failed", now_ok - ok, now_failed - failed));
    let state: Value = client.get("/api/v1/state")?;
    let mine = |issued: &&Value| issued["order"] == "apply" && issued["rollout"] == rollout.as_str();
    let transactions: BTreeSet<(String, String)> = (state["directives"].as_object().into_iter().flatten().map(|(_, issued)| issued))
        .filter(mine)
        .map(|issued| (issued["host"].to_string(), issued["txn"].to_string()))
        .collect();
    if transactions.len() != fleet.web().len() {
        return Err(Failure::new(FAILED, format!("{} transactions for {} hosts", transactions.len(), fleet.web().len()), ""));
    }
    fleet.summary.figure("kill -9 of server and executor", "both resumed; nothing done twice");
    if now_failed != failed {
        return Err(Failure::new(FAILED, "requests failed on the good path", ""));
    }
    verify(fleet)
}

fn verify(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("7 Verify: what runs is what is installed");
    for host in fleet.web() {
        let version = fleet.exec(&host, &["dpkg-query", "-W", "-f", "${Version}", "lab-site"])?;
        let answer = fleet.exec(&host, &["curl", "-s", "http://127.0.0.1/"])?;
        if version != SiteVersion::Good.version() || !answer.contains(&version) {
            return Err(Failure::new(FAILED, format!("{host} has lab-site {version} and answers {answer}"), ""));
        }
    }
    fleet.summary.figure("running versions", format!("lab-site {} answers on every web host", SiteVersion::Good.version()));
    Ok(())
}

fn slow_failure(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("8 Fails only under traffic: the gate");
    fother_lab::publish(LAB, SiteVersion::SlowFailure)?;
    let (id, _) = approved_change(fleet, &[])?;
    let client = fleet.client()?;
    let (ok, failed) = fleet.requests();
    let rollout = rollout::start(&client, &id)?;
    let context = Context { format: Format::Table, wanted: crate::output::Wanted::Table, run_dir: fleet.run_dir() };
    let code = rollout::watch(&context, &client, &rollout)?;
    let view = rollout::View::take(&client, &rollout)?;
    let touched: Vec<&(String, Phase)> = view.waves.iter().flatten().filter(|(_, phase)| !matches!(phase, Phase::Waiting)).collect();
    let [(host, Phase::RolledBack { exact, paths_compared, .. })] = touched[..] else {
        return Err(Failure::new(FAILED, format!("the canary was not rolled back alone (exit {code})"), ""));
    };
    if !exact {
        return Err(Failure::new(FAILED, format!("{host} is not exactly as before"), ""));
    }
    let settle = fleet.requests();
    wait("traffic after the rollback", Duration::from_secs(30), || Ok(fleet.requests().0 > settle.0 + 100))?;
    let (now_ok, now_failed) = fleet.requests();
    let all = now_ok + now_failed - ok - failed;
    fleet
        .summary
        .figure("canary under traffic", format!("{} of {all} requests failed, one host of {}", now_failed - failed, fleet.web().len()));
    fleet.summary.figure("rollback proof", format!("{host}: {paths_compared} paths compared, exact; the rest never got it"));
    Ok(())
}

fn log(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("9 The log");
    let (ok, failed) = fleet.requests();
    fleet.summary.figure("requests in all", format!("{ok} served, {failed} failed"));
    let (report, _) = crate::cmd::log::check(&fleet.data_dir())?;
    fleet.summary.figure("log", format!("{} events verified, root {}", report.size, report.root));
    fleet.summary.figure("status page", fleet.page());
    Ok(())
}
