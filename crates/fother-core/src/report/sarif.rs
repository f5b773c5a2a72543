//! SARIF 2.1.0 (OASIS), the form that code-scanning pages read.

use super::{Subject, action, page, severity};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The log of one run.
#[must_use]
pub fn log(subject: &Subject<'_>) -> Value {
    let mut rules = BTreeMap::new();
    for finding in &subject.assessment.findings {
        rules.entry(&finding.id).or_insert_with(|| {
            let score = finding.cvss.map_or_else(|| "7.0".to_owned(), |score| score.to_string());
            json!({
                "id": finding.id,
                "shortDescription": {"text": if finding.title.is_empty() { &finding.id } else { &finding.title }},
                "helpUri": page(&finding.id),
                "properties": {"security-severity": score, "tags": ["security", severity(finding)]},
            })
        });
    }
    let results: Vec<Value> = subject
        .assessment
        .findings
        .iter()
        .map(|finding| {
            let level = match severity(finding) {
                "critical" | "high" => "error",
                "low" | "none" => "note",
                _ => "warning",
            };
            let message = format!("{} {} ({}): {}", finding.source, finding.version, finding.packages.join(", "), action(finding));
            json!({
                "ruleId": finding.id,
                "level": level,
                "message": {"text": message},
                "locations": [{
                    "physicalLocation": {"artifactLocation": {"uri": "var/lib/dpkg/status"}, "region": {"startLine": 1}},
                    "logicalLocations": [{"name": finding.source, "fullyQualifiedName": super::purl(subject, finding), "kind": "package"}],
                }],
                "partialFingerprints": {"finding/v1": format!("{}/{}", finding.source, finding.id)},
            })
        })
        .collect();
    let unknown: Vec<Value> = subject
        .assessment
        .unknown
        .iter()
        .map(|why| json!({"level": "warning", "message": {"text": format!("could not tell: {why}")}}))
        .collect();
    // As Trivy names them, so that what reads its reports finds them here.
    let image = subject.image.map(|image| json!({"imageName": image.name(), "imageID": image.digest, "repoDigests": image.manifest.iter().collect::<Vec<_>>(), "repoTags": image.references}));
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "Fother", "version": subject.version, "rules": rules.into_values().collect::<Vec<_>>()}},
            "results": results,
            "properties": image.unwrap_or_else(|| json!({})),
            "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": unknown}],
        }],
    })
}
