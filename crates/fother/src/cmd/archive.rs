//! `fother archive`: where updates come from.

use super::{Context, status::text};
use crate::{
    cli::Archive,
    failure::{FINE, Failure, REFUSED},
    output::{Format, envelope, table},
};
use serde_json::{Value, json};

/// Runs the command.
pub fn run(context: &Context, verb: &Archive) -> Result<u8, Failure> {
    let client = context.client()?;
    match verb {
        Archive::Update => {
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
                .map(|(name, archive)| vec![name.clone(), text(&archive["date"]), text(&archive["refused"])])
                .collect();
            table(&["archive", "date", "refused"], &rows);
            Ok(FINE)
        }
    }
}
