//! `fother host ls --affected`: which hosts a vulnerability, an advisory or a package version is on, from the server's index.

use super::super::{Context, status::text};
use crate::{
    client::Client,
    failure::{FINE, Failure, UNKNOWN},
    output::{Format, table},
};
use fother_core::text::printable;
use serde_json::{Value, json};

/// Most lines of a list on a screen; JSON has all.
const LINES_MAX: usize = 40;

/// Asks and prints.
pub fn run(context: &Context, client: &Client, what: &str) -> Result<u8, Failure> {
    let mut answer: Value = client.get(&format!("/api/v1/affected?what={}", escaped(what)))?;
    let unknown: Vec<String> = answer["unknown"].as_array().into_iter().flatten().map(text).collect();
    let code = if unknown.is_empty() { FINE } else { UNKNOWN };
    if context.format == Format::Json {
        let feeds = answer["feeds"].take();
        let data = json!({"what": what, "hosts": answer["hosts"], "found": answer["found"]});
        let value = json!({"schema": "fother.affected/1", "data": data, "unknown": unknown, "feeds": feeds, "errors": []});
        println!("{}", serde_json::to_string_pretty(&value)?);
        return Ok(code);
    }
    let hosts = &answer["hosts"];
    println!("{}: {} hosts", printable(what, 80), hosts.as_object().map_or(0, serde_json::Map::len));
    let found = answer["found"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows = found.iter().flat_map(|found| {
        found["hosts"].as_array().into_iter().flatten().map(move |id| {
            let id = text(id);
            let fixed = found["fixed"].as_str().unwrap_or("-");
            let status = found["status"].as_str().unwrap_or("-");
            let word = |value: &Value| printable(&text(value), 80);
            vec![word(&hosts[&id]), word(&found["package"]), word(&found["version"]), status.to_owned(), printable(fixed, 80), id]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        println!();
        table(&["host", "package", "version", "status", "fixed in", "id"], &rows[..rows.len().min(LINES_MAX)]);
    }
    if rows.len() > LINES_MAX {
        println!("… and {} more (--format json has all)", rows.len() - LINES_MAX);
    }
    for why in unknown.iter().take(LINES_MAX) {
        println!("could not tell: {}", printable(why, 300));
    }
    Ok(code)
}

/// A query's value in the form of RFC 3986 section 2.1: everything but letters and digits escaped.
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escape).collect()
}
