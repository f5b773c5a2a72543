//! Stage 8: what goes wrong on purpose, and what is refused.

use super::{
    acquire,
    fleet::{Fleet, LAB, QUICK_WAIT, wait},
    prepare,
};
use crate::{
    client::Client,
    cmd::{Context, plan, rollout},
    failure::{FAILED, Failure},
    output::{Format, Wanted},
};
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp,
    directive::{self, Directive, Order, SignedDirective},
    id::{DirectiveId, HostId, TransactionId},
    protocol::Outcome,
    rehearsal::Verdict,
    rollout::Phase,
};
use fother_lab::SiteVersion;
use serde_json::Value;
use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Bad updates that a rehearsal stops, one that asks, and one that wants out of its clone.
pub fn stopped_by_rehearsal(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("8 Go wrong: what rehearsal stops");
    for (version, what) in [(SiteVersion::BrokenNginx, "nginx broken"), (SiteVersion::DyingService, "service that dies")] {
        let (verdict, digest) = rehearsed(fleet, version)?;
        if verdict != Verdict::Breaks {
            return Err(Failure::new(FAILED, format!("{what}: the rehearsal said {verdict:?}"), "see `fother plan show`"));
        }
        let why = prepare::breakages(&fleet.client()?, digest)?;
        fleet.summary.figure(what, format!("stopped by rehearsal ({why})"));
    }
    let (verdict, digest) = rehearsed(fleet, SiteVersion::Conffile)?;
    let conflicts: Vec<String> = prepare::passed(fleet, digest)?
        .into_iter()
        .flat_map(|rehearsal| rehearsal.conflicts)
        .map(|conflict| format!("{} is kept, diff of {} lines in the change", conflict.path, conflict.diff.lines().count()))
        .collect();
    if conflicts.is_empty() {
        return Err(Failure::new(FAILED, "the changed configuration file was not noticed", "see `fother plan show`"));
    }
    fleet.summary.figure("changed configuration file", format!("{verdict:?}; {}", conflicts.join("; ")));
    hostile(fleet)
}

fn rehearsed(fleet: &Fleet, version: SiteVersion) -> Result<(Verdict, Digest), Failure> {
    fother_lab::publish(LAB, version)?;
    acquire::update(fleet)?;
    let client = fleet.client()?;
    let digest = plan::new(&client, "web", &[], "")?;
    Ok((plan::rehearse(&client, digest, false)?, digest))
}

/// Facts of the machine below the lab that a package which breaks out would change.
fn machine() -> (String, Vec<String>, String) {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut devices: Vec<String> =
        std::fs::read_dir("/dev").into_iter().flatten().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    devices.sort();
    (read("/proc/sys/kernel/sysrq") + &read("/proc/sys/kernel/core_pattern"), devices, read("/proc/sys/kernel/random/boot_id"))
}

fn hostile(fleet: &mut Fleet) -> Result<(), Failure> {
    let host = fleet.canary();
    let look = "find / -xdev -newer /run/fother-mark -not -path '/proc/*' -not -path '/sys/*' -not -path '/run/*' -not -path '/tmp*' \
                -not -path '/var/log/*' -not -path '/var/lib/fother/*' -not -path '/var/lib/systemd/*' -not -path '/var/lib/nginx/*' \
                -not -path '/var/cache/*' -not -path '/var/tmp*' | head -20";
    fleet.exec(&host, &["touch", "/run/fother-mark"])?;
    let before = machine();
    let (verdict, digest) = rehearsed(fleet, SiteVersion::Hostile)?;
    let changed = fleet.exec(&host, &["sh", "-c", look])?;
    if machine() != before || !changed.trim().is_empty() {
        return Err(Failure::new(FAILED, format!("the hostile package left its clone: {}", changed.trim()), "do not use this build"));
    }
    let log = prepare::breakages(&fleet.client()?, digest)?;
    let said = if log.is_empty() { String::new() } else { format!(" ({log})") };
    fleet.summary.figure("hostile package", format!("{verdict:?}{said}; nothing changed outside its clone"));
    Ok(())
}

/// Passes its rehearsal, fails under real traffic: the canary's gate puts it back.
pub fn only_under_traffic(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("8 Go wrong: fails only under traffic");
    fother_lab::publish(LAB, SiteVersion::SlowFailure)?;
    let (id, _) = prepare::next(fleet)?;
    let client = fleet.client()?;
    let (ok, failed) = fleet.requests();
    let rollout = rollout::start(&client, &id)?;
    let context = Context { format: Format::Table, wanted: Wanted::Table, run_dir: fleet.run_dir() };
    let code = rollout::watch(&context, &client, &rollout)?;
    let view = rollout::View::take(&client, &rollout)?;
    let touched: Vec<&(String, Phase)> = view.waves.iter().flatten().filter(|(_, phase)| !matches!(phase, Phase::Waiting)).collect();
    let [(host, Phase::RolledBack { exact, paths_compared, .. })] = touched[..] else {
        return Err(Failure::new(FAILED, format!("the canary was not rolled back alone (exit {code})"), "see `fother log show`"));
    };
    if !exact {
        return Err(Failure::new(FAILED, format!("{host} is not exactly as before"), "see `fother log show`"));
    }
    let settle = fleet.requests();
    wait("traffic after the rollback", Duration::from_secs(30), || Ok(fleet.requests().0 > settle.0 + 100))?;
    let (now_ok, now_failed) = fleet.requests();
    let all = now_ok + now_failed - ok - failed;
    let share = format!("{} of {all} requests failed, one host of {}", now_failed - failed, fleet.web().len());
    fleet.summary.figure("canary under traffic", share);
    fleet.summary.figure("rollback proof", format!("{host}: {paths_compared} paths compared, exact; the rest never got it"));
    Ok(())
}

/// Who would forge directives: here with the server's own key, taken from its data directory.
struct Forger {
    key: SigningKey,
    host: HostId,
    sequence: u64,
}

impl Forger {
    fn new(fleet: &Fleet, name: &str) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(fleet.data_dir().join("keys/directive.key"))?;
        let key = SigningKey::from_bytes(&Digest::from_hex(text.trim())?.0);
        let state: Value = fleet.client()?.get("/api/v1/state")?;
        let found = state["hosts"].as_object().into_iter().flatten().find(|(_, host)| host["hostname"] == name);
        let (id, host) = found.ok_or_else(|| Failure::new(FAILED, format!("{name} is not enrolled"), "see `fother host ls`"))?;
        Ok(Self { key, host: id.parse()?, sequence: host["sequence"].as_u64().unwrap_or(0) })
    }

    fn sign(&self, change: impl FnOnce(&mut Directive)) -> Result<SignedDirective, Failure> {
        let now = Timestamp(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?);
        let mut random = [0; 10];
        getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        let order = Order::Resolve { pins: Vec::new(), exclude: Vec::new() };
        let id = DirectiveId::new(now.ms(), random);
        let mut directive =
            Directive { id, host: self.host, sequence: self.sequence + 1, issued: now, expires: now + Duration::from_secs(600), order };
        change(&mut directive);
        Ok(directive::sign(&directive, &self.key)?)
    }
}

/// Offers a directive to the executor of `host` as the network half would; its refusal.
fn offer(host: &str, signed: &SignedDirective) -> Result<Option<String>, Failure> {
    fother_lab::copy_in(LAB, host, Path::new("/run/fother-offer.json"), &serde_json::to_vec(signed)?, 0o600)?;
    let output = fother_lab::exec(LAB, host, &["/usr/local/bin/fother", "agent", "offer", "/run/fother-offer.json"], &[])?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let line = text.lines().find_map(|line| line.split_once("refused: ")).map(|(_, why)| why.to_owned());
    Ok(Some(line.unwrap_or(text)))
}

/// Altered, replayed, expired, unknown, for another host: each refused by the host, and told to the server.
pub fn directives(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("8 Go wrong: directives that are none");
    let host = fleet.canary();
    let forger = Forger::new(fleet, &host)?;
    let mut altered = forger.sign(|_| {})?;
    altered.directive = altered.directive.replacen("\"exclude\":[]", "\"exclude\":[\"openssl\"]", 1);
    let replayed = forger.sign(|directive| directive.sequence = forger.sequence)?;
    let expired = forger.sign(|directive| {
        (directive.issued, directive.expires) =
            (Timestamp(directive.issued.ms() - 7_200_000), Timestamp(directive.issued.ms() - 3_600_000));
    })?;
    let other = forger.sign(|directive| directive.host = HostId::new(1, [9; 10]))?;
    let unknown = unknown(&forger)?;
    let kinds =
        [("altered", altered), ("replayed", replayed), ("expired", expired), ("for another host", other), ("unknown order", unknown)];
    let mut many = 0;
    for (what, signed) in &kinds {
        match offer(&host, signed)? {
            None => return Err(Failure::new(FAILED, format!("a directive ({what}) was accepted"), "do not use this build")),
            Some(why) => fleet.summary.figure(&format!("directive: {what}"), format!("refused: {why}")),
        }
        many += 1;
    }
    let client = fleet.client()?;
    let mut told = 0;
    wait("the refusals in the log", QUICK_WAIT, || {
        let state: Value = client.get("/api/v1/state")?;
        told = state["hosts"][forger.host.to_string()]["refusals"].as_array().map_or(0, Vec::len);
        Ok(told >= many)
    })?;
    fleet.summary.figure("refusals in the log", format!("{told} of {host}"));
    Ok(())
}

/// Signed with the true key, but of a kind that no host knows.
fn unknown(forger: &Forger) -> Result<SignedDirective, Failure> {
    use base64::Engine as _;
    use ed25519_dalek::Signer as _;
    let plain = forger.sign(|_| {})?.directive;
    let text = plain.replacen("{\"exclude\":[],\"order\":\"resolve\",\"pins\":[]}", "{\"command\":\"id\",\"order\":\"run\"}", 1);
    let signature = forger.key.sign(&[b"fother/directive/v1\n", text.as_bytes()].concat());
    Ok(SignedDirective { directive: text, signature: base64::engine::general_purpose::STANDARD.encode(signature.to_bytes()) })
}

/// With all the server's keys and its database, but without people, nothing is installed.
pub fn stolen_keys(fleet: &mut Fleet) -> Result<(), Failure> {
    fleet.summary.stage("8 Go wrong: all keys of the server stolen");
    let host = fleet.canary();
    let client = fleet.client()?;
    let forger = Forger::new(fleet, &host)?;
    let state: Value = client.get("/api/v1/state")?;
    let issued = state["directives"].as_object().into_iter().flatten().map(|(_, issued)| issued);
    let mine = issued.filter(|issued| issued["order"] == "apply" && issued["host"] == forger.host.to_string().as_str());
    let blob: Digest = mine.filter_map(|issued| issued["blob"].as_str()).next().unwrap_or_default().parse()?;
    let known: SignedDirective = client.blob("directive", blob)?;
    let known: Directive = serde_json::from_str(&known.directive)?;
    let Order::Apply { .. } = &known.order else {
        return Err(Failure::new(FAILED, "the canary never got an apply directive", "see `fother log show`"));
    };
    let before = fleet.exec(&host, &["sh", "-c", "dpkg-query -W | sha256sum"])?;
    let signed = forger.sign(|directive| {
        directive.order = known.order.clone();
        if let Order::Apply { txn, approvals, .. } = &mut directive.order {
            *txn = TransactionId::new(directive.issued.ms(), [7; 10]);
            approvals.clear();
        }
    })?;
    if let Some(why) = offer(&host, &signed)? {
        return Err(Failure::new(FAILED, format!("the forged directive was not even taken in: {why}"), ""));
    }
    let mut why = String::new();
    let mine: Directive = serde_json::from_str(&signed.directive)?;
    wait("the host's answer to the forged directive", QUICK_WAIT, || {
        let answer = answer_to(&client, &mine.id.to_string())?;
        why = answer.map(|outcome| outcome.brief()).unwrap_or_default();
        Ok(!why.is_empty())
    })?;
    if fleet.exec(&host, &["sh", "-c", "dpkg-query -W | sha256sum"])? != before {
        return Err(Failure::new(FAILED, "packages changed by a directive without approvals", "do not use this build"));
    }
    fleet.summary.figure("all keys of the server", format!("are not enough: {host} {why}"));
    Ok(())
}

/// What a host reported about a directive, as the log has it.
fn answer_to(client: &Client, directive: &str) -> Result<Option<Outcome>, Failure> {
    let status: Value = client.get("/api/v1/status")?;
    let from = status["size"].as_u64().unwrap_or(0).saturating_sub(100);
    let page: Value = client.get(&format!("/api/v1/log?from={from}&max=100"))?;
    let mut reports = page["events"].as_array().into_iter().flatten().map(|event| &event["data"]["report"]);
    let found = reports.rfind(|report| report["directive"] == directive);
    Ok(found.map(|report| serde_json::from_value(report["outcome"].clone())).transpose()?)
}
