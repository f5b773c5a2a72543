//! `fother plan`: exact transactions, pinned by digest, and their rehearsals.

pub mod queue;

use super::{Context, status::text};
use crate::{
    cli::Plan,
    client::Client,
    failure::{FINE, Failure, NO, UNKNOWN, USAGE},
    output::{Format, envelope, table},
};
use fother_core::{
    Digest,
    plan::Cohort,
    rank::select::Wish,
    rehearsal::{Rehearsal, Verdict},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Longest wait for hosts to resolve.
const RESOLVE_WAIT: Duration = Duration::from_secs(5 * 60);
/// What is left out may bring other updates in: how often that is looked at.
const BASELINE_ROUNDS_MAX: usize = 4;
/// Longest wait for rehearsals; a bisection rehearses several times.
const REHEARSE_WAIT: Duration = Duration::from_secs(60 * 60);

/// Runs the command.
pub fn run(context: &Context, verb: Plan) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Plan::New { group, exclude, because, due_within, risk, exposed, emergency, sure } => {
            if !sure.go(&format!("let the hosts of group {group} resolve, and make a plan")) {
                return Ok(FINE);
            }
            let wish = due_within.map(|days| Wish::DueWithin(days.0)).or(risk.map(|share| Wish::Risk(share.0)));
            let mine = exclude.into_iter().map(|source| (source, because.clone())).collect();
            let digest = wished(&client, &group, mine, wish, exposed.as_deref(), emergency.as_deref())?;
            show(context, &client, digest)
        }
        Plan::Rehearse { plan, no_bisect, sure } => {
            let digest = find(&client, &plan)?;
            if !sure.go(&format!("rehearse each cohort of {digest} on a clone of one of its hosts")) {
                return Ok(FINE);
            }
            let verdict = rehearse(&client, digest, !no_bisect)?;
            show(context, &client, digest)?;
            Ok(match verdict {
                Verdict::Passes => FINE,
                Verdict::Breaks => NO,
                Verdict::Unknown => UNKNOWN,
            })
        }
        Plan::Clear { group, source, version, reason, sure } => {
            if sure.go(&format!("let {source} {version} be planned again in group {group}")) {
                let ask = json!({"group": group, "source": source, "version": version, "reason": reason});
                let _: Value = client.post("/api/v1/updates/clear", &ask)?;
            }
            Ok(FINE)
        }
        Plan::Show { plan } => {
            let digest = find(&client, &plan)?;
            show(context, &client, digest)
        }
        Plan::Ls => list(context, &client),
    }
}

/// `fother promote`: a plan of the same versions that the group before it has run for its soak.
pub fn promote(context: &Context, group: &str, sure: crate::sure::Sure) -> Result<u8, Failure> {
    let client = context.client()?;
    let running: fother_server::InForce = client.get("/api/v1/policy")?;
    let Some(known) = running.policy.group.get(group) else {
        let known = running.policy.group.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(Failure::new(USAGE, format!("there is no group `{group}`"), format!("known: {known}")));
    };
    let Some(first) = &known.follows else {
        let hint = format!("say it in the policy: [group.{group}] follows = {{ group = \"staging\", soak = \"7d\" }}");
        return Err(Failure::new(USAGE, format!("group {group} follows no other group"), hint));
    };
    if !sure.go(&format!("plan for group {group} what group {} has run long enough", first.group)) {
        return Ok(FINE);
    }
    let digest = by(&client, group, &BTreeMap::new(), None)?;
    show(context, &client, digest)
}

/// Lets the group's hosts resolve, then makes the plan.
pub fn new(client: &Client, group: &str, exclude: &[String], because: &str) -> Result<Digest, Failure> {
    by(client, group, &exclude.iter().map(|source| (source.clone(), because.to_owned())).collect(), None)
}

/// The same with what is wished for alone: planned whole first, since only a plan's packages say what they close.
pub fn wished(
    client: &Client,
    group: &str,
    mut excluded: BTreeMap<String, String>,
    wish: Option<Wish>,
    exposed: Option<&str>,
    emergency: Option<&str>,
) -> Result<Digest, Failure> {
    let whole = by(client, group, &excluded, emergency)?;
    let Some(wish) = wish else { return Ok(whole) };
    excluded.extend(queue::left_out(&queue::of(client, whole, exposed, Some(wish))?)?);
    by(client, group, &excluded, emergency)
}

/// The same, with a reason for each source package that is left out, by an emergency path where one is named. What the policy leaves
/// out is left out, too: the hosts resolve again without it.
fn by(client: &Client, group: &str, excluded: &BTreeMap<String, String>, emergency: Option<&str>) -> Result<Digest, Failure> {
    resolve(client, group, excluded)?;
    let mut excluded = excluded.clone();
    for _ in 0..BASELINE_ROUNDS_MAX {
        let left: BTreeMap<String, String> = client.post("/api/v1/baseline", &json!({"group": group, "emergency": emergency}))?;
        if left.is_empty() {
            break;
        }
        left.iter().for_each(|(source, why)| eprintln!("left out: {source}: {}", fother_core::text::printable(why, 400)));
        excluded.extend(left);
        resolve(client, group, &excluded)?;
    }
    let made: Value = client.post("/api/v1/plans", &json!({"group": group, "exclude": excluded, "emergency": emergency}))?;
    for host in made["unknown"].as_array().into_iter().flatten() {
        eprintln!("unknown: {} gave no answer and is not in the plan", text(host));
    }
    text(&made["plan"]).parse().map_err(|_| anyhow::anyhow!("the server named no plan").into())
}

fn resolve(client: &Client, group: &str, excluded: &BTreeMap<String, String>) -> Result<(), Failure> {
    let exclude: Vec<&String> = excluded.keys().collect();
    let asked: Value = client.post("/api/v1/resolve", &json!({"group": group, "exclude": exclude}))?;
    let ids: Vec<String> = asked["directives"].as_array().into_iter().flatten().map(text).collect();
    eprintln!("{} hosts resolve…", ids.len());
    wait_for(client, &ids, RESOLVE_WAIT)
}

/// Rehearses each cohort and waits for the verdicts.
pub fn rehearse(client: &Client, plan: Digest, bisect: bool) -> Result<Verdict, Failure> {
    let asked: Value = client.post(&format!("/api/v1/plans/{}/rehearse", plan.hex()), &json!({"bisect": bisect}))?;
    let ids: Vec<String> = asked["directives"].as_array().into_iter().flatten().map(text).collect();
    eprintln!("{} cohorts are rehearsed on clones of their hosts…", ids.len());
    wait_for(client, &ids, REHEARSE_WAIT)?;
    let mut worst = Verdict::Passes;
    for (_, rehearsal) in rehearsals(client, plan)? {
        worst = worst.max(rehearsal.map_or(Verdict::Unknown, |rehearsal| rehearsal.verdict));
    }
    Ok(worst)
}

/// Waits until every directive has a final outcome.
pub fn wait_for(client: &Client, ids: &[String], wait: Duration) -> Result<(), Failure> {
    let until = Instant::now() + wait;
    loop {
        let state: Value = client.get("/api/v1/state")?;
        let open: Vec<&String> = ids.iter().filter(|id| state["directives"][id.as_str()]["outcome"].is_null()).collect();
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() > until {
            let what = format!("{} of {} hosts gave no answer within {} s", open.len(), ids.len(), wait.as_secs());
            return Err(Failure::new(UNKNOWN, what, "see `fother host ls` for lost hosts, then try again"));
        }
        let _: Value = client.get(&format!("/api/v1/wait?size={}&timeout_s=10", state["size"]))?;
    }
}

/// Each cohort's rehearsal.
pub fn rehearsals(client: &Client, plan: Digest) -> Result<Vec<(Digest, Option<Rehearsal>)>, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let mut found = Vec::new();
    for (cohort, known) in state["plans"][plan.to_string()]["cohorts"].as_object().into_iter().flatten() {
        let digest: Option<Digest> = known["rehearsal"][0].as_str().and_then(|text| text.parse().ok());
        let rehearsal = digest.map(|digest| client.blob("rehearsal", digest)).transpose()?;
        found.push((cohort.parse()?, rehearsal));
    }
    Ok(found)
}

/// Source packages that made a rehearsal break.
pub fn failing(client: &Client, plan: Digest) -> Result<Vec<String>, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let cohorts = state["plans"][plan.to_string()]["cohorts"].as_object().cloned().unwrap_or_default();
    let mut all: Vec<String> =
        cohorts.values().flat_map(|cohort| cohort["failing"].as_array().cloned().unwrap_or_default()).map(|v| text(&v)).collect();
    all.sort();
    all.dedup();
    Ok(all)
}

/// Prints a plan as its approvers need it.
pub fn show(context: &Context, client: &Client, digest: Digest) -> Result<u8, Failure> {
    let plan: fother_core::plan::Plan = client.blob("plan", digest)?;
    let queue = queue::of(client, digest, None, None)?;
    if context.format == Format::Json {
        envelope("plan", &json!({"digest": digest, "plan": plan, "queue": queue["queue"]}), &[])?;
        return Ok(FINE);
    }
    println!("plan       {digest}");
    println!("group      {} ({})", plan.group, plan.select);
    println!(
        "rollout    canary {}, soak {} s, window {}, {} approval(s)",
        plan.rollout.canary, plan.rollout.soak_s, plan.window, plan.approvals
    );
    if let Some(path) = &plan.terms.emergency {
        println!("emergency  {path}");
    }
    if !plan.terms.approvers.is_empty() {
        println!("approvers  {}", plan.terms.approvers.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    if let (Some(next), Some(tzdata)) = (plan.terms.openings.first(), &plan.terms.tzdata) {
        println!("openings   {} within 90 days, next {} to {} (tz database {tzdata})", plan.terms.openings.len(), next.start, next.end);
    }
    for (source, why) in &plan.excluded {
        println!("left out   {source}: {why}");
    }
    queue::lines(&queue).iter().for_each(|line| println!("{line}"));
    for (cohort, rehearsal) in rehearsals(client, digest)? {
        let blob: Cohort = client.blob("cohort", cohort)?;
        println!(
            "\ncohort {}: {} hosts, {} packages, {} CVEs closed",
            cohort.short(),
            blob.hosts.len(),
            blob.changes.len(),
            blob.cves().len()
        );
        crate::cmd::rehearse::print_changes(&blob.changes);
        match rehearsal {
            None => println!("  not rehearsed yet: `fother plan rehearse {}`", digest.short()),
            Some(rehearsal) => crate::cmd::rehearse::print(&rehearsal),
        }
    }
    Ok(FINE)
}

fn list(context: &Context, client: &Client) -> Result<u8, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    if context.format == Format::Json {
        envelope("plans", &state["plans"], &[])?;
        return Ok(FINE);
    }
    let rows: Vec<Vec<String>> = state["plans"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(digest, plan)| {
            let cohorts = plan["cohorts"].as_object().cloned().unwrap_or_default();
            let verdicts: Vec<String> =
                cohorts.values().map(|cohort| cohort["rehearsal"][1].as_str().unwrap_or("not rehearsed").to_owned()).collect();
            vec![
                digest.get(7..19).unwrap_or(digest).to_owned(),
                text(&plan["group"]),
                cohorts.len().to_string(),
                verdicts.join(" "),
                text(&plan["created"]),
            ]
        })
        .collect();
    table(&["plan", "group", "cohorts", "rehearsals", "made"], &rows);
    Ok(FINE)
}

/// A plan by digest or its first hexadecimal digits.
pub fn find(client: &Client, text: &str) -> Result<Digest, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let wanted = if text.starts_with("sha256:") { text.to_owned() } else { format!("sha256:{text}") };
    let found: Vec<&String> =
        state["plans"].as_object().into_iter().flatten().map(|(digest, _)| digest).filter(|d| d.starts_with(&wanted)).collect();
    match found[..] {
        [one] => Ok(one.parse()?),
        [] => Err(Failure::new(USAGE, format!("there is no plan `{text}`"), "see `fother plan ls`")),
        _ => Err(Failure::new(USAGE, format!("several plans begin with `{text}`"), "give more digits")),
    }
}
