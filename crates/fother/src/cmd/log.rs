//! `fother log`: every decision, and the proof that none was changed.

mod export;

use super::{Context, status::text};
use crate::{
    cli::{At, Log},
    failure::{FAILED, FINE, Failure},
    output::{Format, envelope},
};
use fother_core::{Timestamp, event::Event, state::State};
use fother_server::Identity;
use fother_store::{Place, VerifyReport};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub fn run(context: &Context, verb: &Log) -> Result<u8, Failure> {
    match verb {
        Log::Show { from } => show(context, *from),
        Log::Verify { file: Some(file), key, .. } => verify_file(context, file, key.as_deref().unwrap_or_default()),
        Log::Verify { file: None, at, .. } => verify(context, at),
        Log::Export { file, at } => {
            let signed = export::write(&at.data_dir, &super::store::place(at)?, file)?;
            eprintln!("{} events, root {}; verify with `fother log verify {} --key KEY`", signed.size, signed.root, file.display());
            Ok(FINE)
        }
        Log::Key { data_dir } => {
            println!("{}", Identity::open(data_dir, Timestamp(0))?.log_verifier()?);
            Ok(FINE)
        }
    }
}

fn show(context: &Context, from: i64) -> Result<u8, Failure> {
    let client = context.client()?;
    let status: Value = client.get("/api/v1/status")?;
    let size = status["size"].as_u64().unwrap_or(0);
    let mut next = if from < 0 { size.saturating_sub(from.unsigned_abs()) } else { from.unsigned_abs() };
    let mut all = Vec::new();
    while next < size {
        let page: Value = client.get(&format!("/api/v1/log?from={next}&max=500"))?;
        let events = page["events"].as_array().cloned().unwrap_or_default();
        if events.is_empty() {
            break;
        }
        next += events.len() as u64;
        all.extend(events);
    }
    if context.format == Format::Json {
        envelope("log", &all, &[])?;
        return Ok(FINE);
    }
    for event in &all {
        let data = fother_core::text::printable(&event["data"].to_string(), 180);
        println!("{:>6} {} {:<36} {:<22} {data}", event["seq"], text(&event["at"]), text(&event["actor"]), text(&event["type"]));
    }
    Ok(FINE)
}

fn verify(context: &Context, at: &At) -> Result<u8, Failure> {
    let (report, state) = check(&at.data_dir, &super::store::place(at)?)?;
    print(context, &report, "every stored byte is in the tree; its blobs hash to their names")?;
    if context.format != Format::Json {
        println!(
            "the state folds: {} hosts, {} plans, {} changes, {} rollouts",
            state.hosts.len(),
            state.plans.len(),
            state.changes.len(),
            state.rollouts.len()
        );
    }
    Ok(FINE)
}

fn verify_file(context: &Context, file: &Path, key: &str) -> Result<u8, Failure> {
    let report = export::check(file, key)?;
    if !report.ok() {
        return Err(bad(problems(&report)));
    }
    print(context, &report, "every event and every hash of the export is in the tree")?;
    Ok(FINE)
}

fn print(context: &Context, report: &VerifyReport, what: &str) -> Result<(), Failure> {
    if context.format == Format::Json {
        let data = json!({"size": report.size, "root": report.root, "signed": report.signed, "blobs": report.blobs,
            "cosigned": report.cosigned, "problems": report.problem_count});
        return envelope("log-verification", &data, &[]);
    }
    println!("{} events, root {}", report.size, report.root);
    println!("{what}; the checkpoint over {} events is signed by the log key; {} blobs", report.signed, report.blobs);
    match report.cosigned.values().max() {
        None => println!("cosigned by 0 hosts: nobody but the server says that this is the log it always had"),
        Some(newest) => println!("cosigned by {} hosts, up to event {newest}", report.cosigned.len()),
    }
    Ok(())
}

fn bad(what: String) -> Failure {
    Failure::new(FAILED, format!("the log does not verify: {what}"), "keep it as it is, and compare with the hosts' checkpoints")
}

fn problems(report: &VerifyReport) -> String {
    let first: Vec<String> = report.problems.iter().take(5).map(ToString::to_string).collect();
    first.join("; ")
}

/// Events read at once.
const PAGE: usize = 500;

/// Verifies the log of a server's data directory, wherever it lies, and folds it anew. Also beside a running server.
pub fn check(data_dir: &Path, place: &Place) -> Result<(VerifyReport, State), Failure> {
    let store = super::store::look(data_dir, place)?;
    let identity = Identity::open(data_dir, Timestamp(0))?;
    let Some((_, note)) = store.latest_checkpoint()? else {
        return Err(bad("there is no checkpoint".to_owned()));
    };
    let report = store.verify(&note, &identity.log_verifier()?)?;
    if !report.ok() {
        return Err(bad(problems(&report)));
    }
    let mut state = State::default();
    while state.size < report.size {
        let page = store.read(state.size, PAGE)?;
        if page.is_empty() {
            return Err(bad(format!("event {} is missing", state.size)));
        }
        for (seq, bytes) in page {
            state.fold(&Event::parse(seq, &bytes)?);
        }
    }
    Ok((report, state))
}
