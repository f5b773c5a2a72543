//! What commands print: tables for people, one JSON envelope for machines.

use crate::failure::Failure;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// `{"schema": "fother.<noun>/1", "data": …, "unknown": […], "feeds": […], "errors": […]}`.
    Json,
}

/// What `--format` asks for: a form for every command, or one of those that carry findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
pub enum Wanted {
    /// For people.
    Table,
    /// One JSON envelope.
    Json,
    /// SARIF 2.1.0 (scan).
    Sarif,
    /// CycloneDX 1.6 with vulnerabilities (scan).
    Cyclonedx,
    /// OpenVEX 0.2.0 (scan).
    Openvex,
    /// SPDX 2.3 as JSON: all packages, vulnerabilities as security references (scan).
    Spdx,
    /// Comma-separated values (scan, diff, reconcile).
    Csv,
    /// One page for people, self-contained (scan).
    Html,
    /// iCalendar, RFC 5545 (window, policy simulate).
    Ics,
}

impl Wanted {
    /// The form of everything that is no finding.
    #[must_use]
    pub fn plain(self) -> Format {
        match self {
            Self::Table => Format::Table,
            Self::Json | Self::Ics | Self::Sarif | Self::Cyclonedx | Self::Openvex | Self::Spdx | Self::Csv | Self::Html => Format::Json,
        }
    }

    /// Only findings have this form.
    #[must_use]
    pub fn is_for_findings(self) -> bool {
        match self {
            Self::Table | Self::Json | Self::Ics => false,
            Self::Sarif | Self::Cyclonedx | Self::Openvex | Self::Spdx | Self::Csv | Self::Html => true,
        }
    }
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
