//! `fother archive`: where updates come from.

use super::{Context, status::text};
use crate::{
    cli::Archive,
    client::Client,
    failure::{FINE, Failure, REFUSED, USAGE},
    output::{Format, envelope, table},
};
use serde_json::{Value, json};

/// Runs the command.
pub fn run(context: &Context, verb: Archive) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Archive::Update { sure } => {
            if !sure.go("fetch and verify the newest state of each archive") {
                return Ok(FINE);
            }
            let answer: Value = client.post("/api/v1/archives/update", &json!({}))?;
            let refused = answer["refused"].as_array().cloned().unwrap_or_default();
            if context.format == Format::Json {
                envelope("archives", &answer, &[])?;
            } else {
                for archive in answer["archives"].as_array().into_iter().flatten() {
                    println!(
                        "{}: {} of {}, {} packages, verified",
                        text(&archive["name"]),
                        text(&archive["suite"]),
                        text(&archive["date"]),
                        archive["packages"]
                    );
                }
                for archive in &refused {
                    eprintln!("{}: refused: {}", text(&archive["name"]), text(&archive["why"]));
                }
            }
            Ok(if refused.is_empty() { FINE } else { REFUSED })
        }
        Archive::Ls => {
            let state: Value = client.get("/api/v1/state")?;
            if context.format == Format::Json {
                envelope("archives", &state["archives"], &[])?;
                return Ok(FINE);
            }
            let rows: Vec<Vec<String>> = state["archives"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, archive)| {
                    let refused = if archive["refused"].is_null() { String::new() } else { text(&archive["refused"]) };
                    vec![name.clone(), text(&archive["date"]), refused]
                })
                .collect();
            table(&["archive", "date", "refused"], &rows);
            Ok(FINE)
        }
        Archive::Show { archive } => show(context, &client, &archive),
    }
}

fn show(context: &Context, client: &Client, name: &str) -> Result<u8, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let archive = &state["archives"][name];
    if archive.is_null() {
        return Err(Failure::new(USAGE, format!("there is no archive `{name}`"), "see `fother archive ls`"));
    }
    if context.format == Format::Json {
        envelope("archive", archive, &[])?;
        return Ok(FINE);
    }
    for (label, value) in [("archive", name.to_owned()), ("date", text(&archive["date"])), ("inrelease", text(&archive["inrelease"]))] {
        println!("{label:<10} {}", fother_core::text::printable(&value, 200));
    }
    if !archive["refused"].is_null() {
        println!("{:<10} {}", "refused", fother_core::text::printable(&text(&archive["refused"]), 400));
    }
    Ok(FINE)
}
