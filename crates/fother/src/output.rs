//! What commands print: tables for people, one JSON envelope for machines.

use crate::failure::Failure;
use serde::Serialize;
use serde_json::json;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// `{"schema": "fother.<noun>/1", "data": …, "unknown": […], "feeds": […], "errors": […]}`.
    Json,
}

/// Prints the JSON envelope.
pub fn envelope<T: Serialize>(noun: &str, data: &T, unknown: &[String]) -> Result<(), Failure> {
    let value = json!({"schema": format!("fother.{noun}/1"), "data": data, "unknown": unknown, "feeds": [], "errors": []});
    println!("{}", serde_json::to_string_pretty(&value)?);
    Ok(())
}

/// A plain table; every cell is made printable.
pub fn table(header: &[&str], rows: &[Vec<String>]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(header.iter().map(|cell| cell.to_uppercase()));
    for row in rows {
        table.add_row(row.iter().map(|cell| fother_core::text::printable(cell, 400)));
    }
    for line in table.to_string().lines() {
        println!("{}", line.trim_end());
    }
}
