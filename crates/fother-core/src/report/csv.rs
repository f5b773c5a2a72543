//! Comma-separated values (RFC 4180), one line for each finding; cells that a spreadsheet would run are defused.

use super::{Subject, action, severity};

const HEADER: &str =
    "id,source,version,packages,status,fixed,installable,in_effect,in_use,severity,cvss,epss,kev_added,advisories,action,feeds";

/// The table.
#[must_use]
pub fn table(subject: &Subject<'_>) -> String {
    let mut out = String::from(HEADER);
    out.push_str("\r\n");
    let grounds = super::grounds(subject.assessment);
    for finding in &subject.assessment.findings {
        // Each of the feeds that say so, with its day and digest.
        let says = |ground: &&String| {
            finding.feeds.iter().any(|name| ground.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with(' ')))
        };
        let installable = serde_json::to_value(&finding.installable).ok().and_then(|v| v["answer"].as_str().map(str::to_owned));
        let cells = [
            finding.id.clone(),
            finding.source.clone(),
            finding.version.clone(),
            finding.packages.join(" "),
            word(&finding.status),
            finding.fixed.clone().unwrap_or_default(),
            installable.unwrap_or_default(),
            word(&finding.in_effect),
            word(&finding.in_use),
            severity(finding).to_owned(),
            finding.cvss.map(|score| score.to_string()).unwrap_or_default(),
            finding.epss_millionths.map(|epss| format!("0.{epss:06}")).unwrap_or_default(),
            if finding.kev_added.is_known() { finding.kev_added.to_string() } else { String::new() },
            finding.advisories.join(" "),
            action(finding),
            grounds.iter().filter(says).cloned().collect::<Vec<_>>().join("; "),
        ];
        out.push_str(&cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(","));
        out.push_str("\r\n");
    }
    out
}

/// A cell; one that starts like a formula gets an apostrophe.
#[must_use]
pub fn quoted(cell: &str) -> String {
    let cell = crate::text::printable(cell, 4_000);
    let cell = if cell.starts_with(['=', '+', '-', '@', '\t']) { format!("'{cell}") } else { cell };
    if cell.contains([',', '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

/// The word that an answer has in JSON.
fn word(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn formulas_are_defused_and_separators_quoted() {
        assert_eq!(super::quoted("=cmd()"), "'=cmd()");
        assert_eq!(super::quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
