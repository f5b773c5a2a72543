//! Another scanner's report, finding by finding, answered from the vendors' own words. Pure; the report's bytes are hostile.
//!
//! [`read`] takes the report in, [`answer`] answers, [`vex`] writes the answers so that the scanner itself stops reporting them.

mod answer;
mod json;
mod sarif;
mod table;
pub mod vex;

pub use answer::{Answer, Answered, Ground, answer};

use crate::text::printable;
use serde::Serialize;

/// Largest report, in bytes.
pub const REPORT_BYTES_MAX: usize = 256 << 20;
/// Most findings of a report.
pub const FINDINGS_MAX: usize = 500_000;
/// Longest word that is taken from a report, in characters.
const WORD_CHARS_MAX: usize = 1_000;
/// Most other names of one finding.
const ALIASES_MAX: usize = 16;

/// One finding as another scanner tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Foreign {
    /// Id of the vulnerability as the scanner names it.
    pub id: String,
    /// Other ids of the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Package as the scanner names it.
    pub package: String,
    /// Version that it saw; empty where it does not say.
    pub version: String,
    /// Version with the fix, as it says; empty where it does not.
    pub fixed: String,
    /// Its severity; empty where it does not say.
    pub severity: String,
    /// Its package URL; empty where it does not say.
    pub purl: String,
    /// Type of the package URL (`deb`); empty where it is not known.
    pub kind: String,
}

/// A report taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What it is: `Trivy JSON`.
    pub form: String,
    /// In the report's order, each once.
    pub findings: Vec<Foreign>,
    /// Entries that could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

impl Report {
    fn add(&mut self, mut foreign: Foreign, place: impl Fn() -> String) -> Result<(), String> {
        if self.findings.len() >= FINDINGS_MAX {
            return Err(format!("more than {FINDINGS_MAX} findings"));
        }
        let Foreign { id, package, version, fixed, severity, purl, kind, aliases } = &mut foreign;
        for word in [id, package, version, fixed, severity, purl, kind] {
            *word = printable(word.trim(), WORD_CHARS_MAX);
        }
        aliases.sort();
        aliases.dedup();
        aliases.truncate(ALIASES_MAX);
        if let Some((kind, _)) = foreign.purl.strip_prefix("pkg:").and_then(|rest| rest.split_once('/')) {
            foreign.kind = kind.to_lowercase();
        }
        let missing = [("vulnerability", &foreign.id), ("package", &foreign.package)].into_iter().find(|(_, word)| word.is_empty());
        match missing {
            Some((what, _)) => self.unknown.push(format!("{}: it names no {what}", place())),
            None => self.findings.push(foreign),
        }
        Ok(())
    }
}

/// Reads a report; which scanner it is from is told by its content.
///
/// # Errors
/// Where it is of no known form, or malformed, with the place.
pub fn read(bytes: &[u8]) -> Result<Report, String> {
    if bytes.len() > REPORT_BYTES_MAX {
        return Err(format!("it is larger than {REPORT_BYTES_MAX} bytes"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut report = match bytes.trim_ascii_start().first() {
        Some(b'{') => {
            let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| format!("malformed JSON: {error}"))?;
            if value["runs"].is_array() {
                sarif::read(&value)?
            } else if value["matches"].is_array() {
                json::grype(&value)?
            } else if value["SchemaVersion"].is_number() && value["Results"].is_array() {
                json::trivy(&value)?
            } else if value["SchemaVersion"].is_number() && value["ArtifactName"].is_string() {
                // Trivy leaves the list out where it found nothing.
                Report { form: "Trivy JSON".into(), ..Report::default() }
            } else {
                return Err("it is JSON, but no report of Trivy or Grype and no SARIF".into());
            }
        }
        Some(_) => table::read(bytes)?,
        None => return Err("it is empty".into()),
    };
    let mut seen = std::collections::BTreeSet::new();
    report.findings.retain(|foreign| seen.insert(foreign.clone()));
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_reports_are_refused_or_named_and_never_crash() {
        for bad in ["", "{", "{}", "[1]", "{\"runs\":", "hello", "a,b\n1,2\n", "{\"matches\":1}"] {
            assert!(read(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{{\"runs\":{}{}}}", "[".repeat(300), "]".repeat(300));
        assert!(read(deep.as_bytes()).unwrap_err().contains("recursion"));
        let odd = r#"{"SchemaVersion":2,"Results":[{"Vulnerabilities":[{"PkgName":"a"},7,{"VulnerabilityID":"CVE-2026-1234","PkgName":"\u001b[2J"}]}]}"#;
        let report = read(odd.as_bytes()).unwrap();
        assert_eq!((report.findings.len(), report.unknown.len()), (1, 2), "{report:?}");
        assert_eq!(report.findings[0].package, "\\u{1b}[2J");
    }
}
