//! `fother policy`: the files of a team, checked, compared with what the server runs, and brought into force.

pub mod files;
mod force;
mod simulate;

use super::Context;
use crate::{
    cli::Policy as Verb,
    failure::{FINE, Failure, USAGE},
    output::{Format, envelope},
};
use files::Files;
use fother_core::policy::{Fault, Policy, schema};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub fn run(context: &Context, verb: &Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Check { dir } => check(context, dir),
        Verb::Diff { dir } => force::diff(context, dir),
        Verb::Apply { dir, key, sure } => force::apply(context, dir, key.as_deref(), *sure),
        Verb::Approve { policy, key, sure } => force::approve(context, policy, key, *sure),
        Verb::Show => force::show(context),
        Verb::Simulate { dir, days } => simulate::run(context, dir.as_deref(), *days),
        Verb::Schema => {
            println!("{:#}", schema::schema());
            Ok(FINE)
        }
    }
}

fn check(context: &Context, dir: &Path) -> Result<u8, Failure> {
    let files = Files::read(dir)?;
    match files.parse() {
        Ok(policy) => {
            let digest = policy.digest()?;
            if context.format == Format::Json {
                envelope("policy-check", &json!({"digest": digest, "files": files.names().collect::<Vec<_>>(), "policy": policy}), &[])?;
            } else {
                println!("{}: fine", files.names().collect::<Vec<_>>().join(", "));
                println!("{}", counted(&policy));
                println!("{digest}");
            }
            Ok(FINE)
        }
        Err(error) if context.format == Format::Json => {
            let faults: Vec<Value> = error.0.iter().map(told).collect();
            let value = json!({"schema": "fother.policy-check/1", "data": null, "unknown": [], "feeds": [], "errors": faults});
            println!("{value:#}");
            Ok(USAGE)
        }
        Err(error) => {
            println!("{error}");
            Ok(USAGE)
        }
    }
}

fn told(fault: &Fault) -> Value {
    let Fault { file, line, column, key, what, meant, text, .. } = fault;
    json!({"file": file, "line": line, "column": column, "key": key, "what": what, "meant": meant, "text": text})
}

fn counted(policy: &Policy) -> String {
    let counts = [
        (policy.group.len(), "groups"),
        (policy.window.len(), "windows"),
        (policy.freeze.len(), "freezes"),
        (policy.baseline.len(), "baselines"),
        (policy.exception.len(), "exceptions"),
        (policy.emergency.len(), "emergency paths"),
        (policy.check.len(), "checks"),
        (policy.archive.len(), "archives"),
        (policy.team.len(), "teams"),
        (policy.schedule.len(), "schedules"),
    ];
    counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
}
