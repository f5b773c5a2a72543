//! Stages 2, 4 and 5: plan, rehearse, approve. What breaks is left out, and the rest goes on.

use super::{acquire, fleet::Fleet};
use crate::{
    cmd::{change, plan},
    failure::{FAILED, Failure},
};
use fother_core::{
    Digest,
    approval::NAMESPACE,
    plan::{Cohort, Plan},
    rank::select::Wish,
    rehearsal::{Rehearsal, Verdict},
    text::printable,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Longest reason for what is left out, in characters.
const WHY_CHARS_MAX: usize = 150;
/// Why an update is left out of the second plan.
const BREAKS: &str = "breaks in rehearsal";

/// Everything is planned; one update breaks; the smallest failing set is found; the plan without it is approved.
pub fn without_what_breaks(fleet: &mut Fleet) -> Result<(String, Digest), Failure> {
    fleet.summary.stage("2 Plan, 4 rehearse: a script that fails");
    let client = fleet.client()?;
    let first = plan::new(&client, "web", &[], "")?;
    let verdict = plan::rehearse(&client, first, true)?;
    let failing = plan::failing(&client, first)?;
    if verdict != Verdict::Breaks || failing != ["lab-site"] {
        return Err(Failure::new(FAILED, format!("the rehearsal said {verdict:?}, failing {failing:?}"), "see `fother plan show`"));
    }
    let why = breakages(&client, first)?;
    fleet.summary.figure("script that fails", format!("stopped by rehearsal ({why}); smallest failing set: {}", failing.join(", ")));
    fleet.summary.stage("2 Plan, 4 rehearse: everything else");
    let digest = plan::new(&client, "web", &failing, BREAKS)?;
    if plan::new(&client, "web", &failing, BREAKS)? != digest {
        return Err(Failure::new(FAILED, "the same state gave two plans", "compare them with `fother plan show`"));
    }
    fleet.summary.figure("plan", format!("{digest}, the same digest twice"));
    ranked(fleet, digest, &failing)?;
    plan::rehearse(&client, digest, false)?;
    let passed = passed(fleet, digest)?;
    for rehearsal in &passed {
        let undo = if rehearsal.undo.differences.is_empty() { "proven byte for byte" } else { "NOT exact" };
        fleet.summary.figure(
            "rehearsal",
            format!(
                "{:?}, {} packages, {} paths, {:.1} s for the upgrade, {:.1} s in all; undo {undo} over {} paths",
                rehearsal.verdict,
                rehearsal.changes.len(),
                rehearsal.footprint.len(),
                Duration::from_millis(rehearsal.apply_ms).as_secs_f64(),
                Duration::from_millis(rehearsal.total_ms).as_secs_f64(),
                rehearsal.undo.paths_compared
            ),
        );
        let reboot = if rehearsal.reboot.is_empty() { "no" } else { "due" };
        fleet.summary.figure("restarts", format!("{}; reboot {reboot}", rehearsal.restarts.join(", ")));
    }
    fleet.summary.stage("5 Approve: by somebody else, bound to digests");
    let id = approved(fleet, digest, true)?;
    Ok((id, digest))
}

/// The plan's updates as a ranked queue: what their signed changelogs close, with what the feeds here know, by when, and who runs the code.
/// Then the same plan asked for by due date and by risk.
fn ranked(fleet: &mut Fleet, digest: Digest, failing: &[String]) -> Result<(), Failure> {
    let client = fleet.client()?;
    let queue = plan::queue::of(&client, digest, Some("yes"), None)?;
    plan::queue::lines(&queue).iter().for_each(|line| println!("   {line}"));
    let updates = queue["queue"]["updates"].as_array().cloned().unwrap_or_default();
    let risky = updates.iter().filter(|update| update["risk_millionths"].as_u64() > Some(0));
    let closes: usize = risky.filter_map(|update| update["closes"].as_array()).map(Vec::len).sum();
    fleet.summary.figure("ranked queue", format!("{} updates, {closes} vulnerabilities from signed changelogs", updates.len()));
    let count = |answer: &str| updates.iter().filter(|update| update["in_use"] == answer).count();
    let (listening, loaded) = (count("listening"), count("loaded"));
    if listening == 0 {
        return Err(Failure::new(FAILED, "no update replaces code that listens, though nginx serves", "see `fother plan show`"));
    }
    fleet.summary.figure(
        "in use",
        format!(
            "{listening} updates replace code of processes that listen, {loaded} code that runs, {} neither",
            updates.len() - listening - loaded
        ),
    );
    // The same plan, asked for with less: each is resolved by the hosts again, and says what it leaves out and why.
    let left_out: BTreeMap<String, String> = failing.iter().map(|source| (source.clone(), BREAKS.to_owned())).collect();
    for (name, wish) in [("due within 14 days", Wish::DueWithin(14)), ("90 % of the risk", Wish::Risk(90))] {
        let wished = plan::wished(&client, "web", left_out.clone(), Some(wish), Some("yes"), None)?;
        let made: Plan = client.blob("plan", wished)?;
        let mut packages = 0;
        for (cohort, _) in plan::rehearsals(&client, wished)? {
            packages += client.blob::<Cohort>("cohort", cohort)?.changes.len();
        }
        let left = made.excluded.iter().filter(|(source, _)| !failing.contains(source));
        let left: Vec<String> = left.map(|(source, why)| format!("{source}: {why}")).collect();
        let why = left.first().map(|line| printable(line, WHY_CHARS_MAX)).unwrap_or_default();
        fleet.summary.figure(name, format!("a plan of {packages} packages; it leaves out {} updates, such as {why}", left.len()));
    }
    Ok(())
}

/// What broke in a plan's rehearsals, for people.
pub fn breakages(client: &crate::client::Client, digest: Digest) -> Result<String, Failure> {
    let all = plan::rehearsals(client, digest)?.into_iter().filter_map(|(_, rehearsal)| rehearsal);
    let what: Vec<String> = all.flat_map(|rehearsal| rehearsal.breakages.into_iter().map(|breakage| breakage.what)).collect();
    Ok(what.join(", "))
}

/// The rehearsals of a plan, none of which breaks.
pub fn passed(fleet: &Fleet, digest: Digest) -> Result<Vec<Rehearsal>, Failure> {
    let mut passed = Vec::new();
    for (_, rehearsal) in plan::rehearsals(&fleet.client()?, digest)? {
        let Some(rehearsal) = rehearsal else { continue };
        if rehearsal.verdict == Verdict::Breaks {
            let mut why: Vec<String> = rehearsal.breakages.iter().map(|b| format!("{}: {}", b.what, b.why)).collect();
            why.extend(rehearsal.reasons);
            why.extend(rehearsal.undo.differences);
            return Err(Failure::new(FAILED, format!("the rehearsal broke: {}", why.join("; ")), "see `fother plan show`"));
        }
        passed.push(rehearsal);
    }
    Ok(passed)
}

/// Submits a rehearsed plan and has it approved; with `show` also what is not accepted as an approval.
pub fn approved(fleet: &mut Fleet, digest: Digest, show: bool) -> Result<String, Failure> {
    let client = fleet.client()?;
    let units = passed(fleet, digest)?.into_iter().flat_map(|rehearsal| rehearsal.exercised);
    let accepted: BTreeSet<String> = units.filter(|unit| !unit.exercised).map(|unit| unit.unit).collect();
    let accepted: Vec<String> = accepted.into_iter().collect();
    let id = change::submit(&client, digest, &fleet.key("author"), &accepted)?;
    if show {
        match change::approve(&client, &id, &fleet.key("author")) {
            Ok(()) => return Err(Failure::new(FAILED, "the author could approve", "")),
            Err(refusal) => fleet.summary.figure("author approves", format!("refused: {}", refusal.what)),
        }
        another_signature(fleet, &id, digest, &accepted)?;
    }
    change::approve(&client, &id, &fleet.key("approver"))?;
    if show {
        let not = if accepted.is_empty() { "none".to_owned() } else { accepted.join(", ") };
        fleet.summary.figure("approval", format!("an SSH signature by `approver`; accepted as not exercised: {not}"));
    }
    Ok(id)
}

/// The approver's own signature over one change is worth nothing for another one.
fn another_signature(fleet: &mut Fleet, id: &str, digest: Digest, accepted: &[String]) -> Result<(), Failure> {
    let client = fleet.client()?;
    let other = change::submit(&client, digest, &fleet.key("author"), accepted)?;
    let signature = crate::cmd::sign::sign(&fleet.key("approver"), NAMESPACE, &change::statement(&client, &other)?.bytes()?)?;
    let given: Result<Value, Failure> = client.post(&format!("/api/v1/changes/{id}/approve"), &json!({"signature": signature}));
    match given {
        Ok(_) => return Err(Failure::new(FAILED, "a signature over another change counted", "")),
        Err(refusal) => fleet.summary.figure("approval of another change", format!("refused: {}", refusal.what)),
    }
    let _: Value = client.post(&format!("/api/v1/changes/{other}/reject"), &json!({"reason": "made only to be shown"}))?;
    Ok(())
}

/// Plans what is offered now, rehearses it, and has it approved.
pub fn next(fleet: &mut Fleet) -> Result<(String, Digest), Failure> {
    acquire::update(fleet)?;
    let client = fleet.client()?;
    let digest = plan::new(&client, "web", &[], "")?;
    plan::rehearse(&client, digest, false)?;
    Ok((approved(fleet, digest, false)?, digest))
}
