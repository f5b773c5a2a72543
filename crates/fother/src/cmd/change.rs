//! `fother change`: a plan with its rehearsal goes to people who are not its author.

use super::{Context, plan, sign, status::text};
use crate::{
    cli::Change,
    client::Client,
    failure::{FAILED, FINE, Failure, USAGE},
    output::{Format, envelope, table},
};
use fother_core::{
    Digest,
    approval::{AUTHOR_NAMESPACE, NAMESPACE, Statement},
    plan::CohortTree,
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Runs the command.
pub fn run(context: &Context, verb: Change) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Change::Submit { plan, key, acknowledge, sure } => {
            let digest = plan::find(&client, &plan)?;
            if !sure.go(&format!("sign {digest} with {} and submit it", key.display())) {
                return Ok(FINE);
            }
            let id = submit(&client, digest, &key, &acknowledge)?;
            println!("{id}");
            eprintln!("ask somebody else: fother change approve {id} --key KEY");
            Ok(FINE)
        }
        Change::Approve { change, key, sure } => {
            show(context, &client, &change)?;
            if !sure.ask(&format!("sign {change} with {}", key.display()))? {
                return Ok(FINE);
            }
            approve(&client, &change, &key)?;
            eprintln!("approved {change}");
            Ok(FINE)
        }
        Change::Reject { change, reason, sure } => {
            known(&client, &change)?;
            if !sure.go(&format!("reject {change}")) {
                return Ok(FINE);
            }
            let _: Value = client.post(&format!("/api/v1/changes/{change}/reject"), &json!({"reason": reason}))?;
            Ok(FINE)
        }
        Change::Show { change } => show(context, &client, &change),
        Change::Ls => list(context, &client),
    }
}

/// Submits a plan: the server drafts the statement, it is checked against the blobs, and the author signs it; the change's id.
pub fn submit(client: &Client, plan: Digest, key: &Path, acknowledge: &[String]) -> Result<String, Failure> {
    let acknowledged: BTreeSet<&String> = acknowledge.iter().collect();
    let public = sign::public(key)?;
    let draft: Value = client.post("/api/v1/changes/draft", &json!({"plan": plan, "acknowledge": acknowledged, "key": public}))?;
    let drafted = text(&draft["statement"]);
    let statement: Statement = serde_json::from_str(&drafted)?;
    if statement.plan != plan || statement.acknowledged.iter().ne(acknowledged.iter().copied()) || statement.bytes()? != drafted.as_bytes()
    {
        return Err(wrong("another plan than was submitted, or accepts other units"));
    }
    check(client, &statement)?;
    let signature = sign::sign(key, AUTHOR_NAMESPACE, drafted.as_bytes())?;
    let answer: Value = client.post("/api/v1/changes", &json!({"statement": drafted, "signature": signature}))?;
    Ok(text(&answer["change"]))
}

fn wrong(what: &str) -> Failure {
    Failure::new(FAILED, format!("the server's statement names {what}"), "do not sign; run `fother log verify` and look at the server")
}

/// Computes the statement from the blobs, compares it with the server's, signs, sends.
pub fn approve(client: &Client, change: &str, key: &Path) -> Result<(), Failure> {
    let statement = statement(client, change)?;
    let signature = sign::sign(key, NAMESPACE, &statement.bytes()?)?;
    let _: Value = client.post(&format!("/api/v1/changes/{change}/approve"), &json!({"signature": signature}))?;
    Ok(())
}

/// The statement, with every digest in it recomputed from the blobs that this command line fetched and will show.
pub fn statement(client: &Client, change: &str) -> Result<Statement, Failure> {
    let known = known(client, change)?;
    let digest: Digest = text(&known["statement"]).parse()?;
    let statement: Statement = client.blob("statement", digest)?;
    if statement.change.to_string() != change || text(&known["plan"]) != statement.plan.to_string() {
        return Err(wrong("another change or plan than it shows"));
    }
    check(client, &statement)?;
    Ok(statement)
}

/// Recomputes every digest in a statement from the blobs.
fn check(client: &Client, statement: &Statement) -> Result<(), Failure> {
    let blob: fother_core::plan::Plan = client.blob("plan", statement.plan)?;
    let mut rehearsals = BTreeMap::new();
    let mut hosts = BTreeSet::new();
    for (cohort, rehearsal) in plan::rehearsals(client, statement.plan)? {
        let members: fother_core::plan::Cohort = client.blob("cohort", cohort)?;
        hosts.extend(members.hosts.keys().copied());
        if let Some(rehearsal) = rehearsal {
            if rehearsal.changes != members.changes {
                return Err(wrong("a rehearsal of another transaction"));
            }
            rehearsals.insert(cohort, rehearsal.digest()?);
        }
    }
    let cohorts: BTreeSet<Digest> = rehearsals.keys().copied().collect();
    if CohortTree::over(&cohorts) != blob.cohorts || rehearsals != statement.rehearsals {
        return Err(wrong("other rehearsals than the ones shown"));
    }
    if hosts != statement.hosts || blob.policy != statement.policy {
        return Err(wrong("other hosts or another policy than the plan"));
    }
    Ok(())
}

fn show(context: &Context, client: &Client, change: &str) -> Result<u8, Failure> {
    let known = known(client, change)?;
    let statement = statement(client, change)?;
    if context.format == Format::Json {
        envelope("change", &json!({"change": known, "statement": statement}), &[])?;
        return Ok(FINE);
    }
    println!("change     {change}");
    println!("author     {} ({})", statement.author, statement.author_key);
    let approvals: Vec<String> = known["approvals"].as_object().into_iter().flatten().map(|(person, _)| person.clone()).collect();
    println!("approvals  {} of {} ({})", approvals.len(), known["needed"], approvals.join(", "));
    println!("hosts      {}", statement.hosts.len());
    match (statement.window.first(), statement.window.len()) {
        (None, _) => println!("window     at any time until {}", statement.expires),
        (Some(next), count) => println!("window     {count} intervals, next {} to {}", next.start, next.end),
    }
    println!("undo       covered until {}", statement.undo_until);
    if !statement.acknowledged.is_empty() {
        println!("accepted   not exercised by the rehearsal: {}", statement.acknowledged.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    println!();
    plan::show(context, client, statement.plan)
}

/// A change as the state tells it.
pub fn known(client: &Client, change: &str) -> Result<Value, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let known = state["changes"][change].clone();
    if known.is_null() {
        return Err(Failure::new(USAGE, format!("there is no change `{change}`"), "see `fother change ls`"));
    }
    Ok(known)
}

fn list(context: &Context, client: &Client) -> Result<u8, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    if context.format == Format::Json {
        envelope("changes", &state["changes"], &[])?;
        return Ok(FINE);
    }
    let rows: Vec<Vec<String>> = state["changes"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(id, change)| {
            let have = change["approvals"].as_object().map_or(0, serde_json::Map::len);
            let word = if change["rejected"].is_string() {
                "rejected"
            } else if change["rollout"].is_string() {
                "rolled out"
            } else {
                "open"
            };
            vec![id.clone(), text(&change["author"]), format!("{have}/{}", change["needed"]), word.to_owned(), text(&change["submitted"])]
        })
        .collect();
    table(&["change", "author", "approvals", "state", "submitted"], &rows);
    Ok(FINE)
}
