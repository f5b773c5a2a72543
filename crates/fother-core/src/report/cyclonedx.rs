//! CycloneDX 1.6: a vulnerability disclosure report, that is, the affected components and their vulnerabilities.

use super::{Subject, action, page, severity};
use crate::advisory::Status;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What the document is about: the image with its digests, else the operating system.
fn whole(subject: &Subject<'_>) -> Value {
    let distribution = subject.distribution;
    let system = json!({"type": "operating-system", "name": distribution.id, "version": distribution.version});
    let Some(image) = subject.image else { return system };
    let properties = [("fother:image:form", Some(&image.form)), ("fother:image:digest", Some(&image.digest))].into_iter();
    let properties = properties.chain(image.references.iter().map(|reference| ("fother:image:reference", Some(reference))));
    let properties: Vec<Value> = properties.filter_map(|(name, value)| Some(json!({"name": name, "value": value?}))).collect();
    let mut out = json!({"type": "container", "bom-ref": "image", "name": image.name(), "version": image.digest, "properties": properties, "components": [system]});
    if let Some(purl) = image.purl() {
        out["purl"] = json!(purl);
    }
    out
}

/// The document.
#[must_use]
pub fn document(subject: &Subject<'_>) -> Value {
    let mut components = BTreeMap::new();
    let mut vulnerabilities = Vec::new();
    for finding in &subject.assessment.findings {
        let purl = super::purl(subject, finding);
        components.entry(purl.clone()).or_insert_with(
            || json!({"type": "library", "bom-ref": purl, "name": finding.source, "version": finding.version, "purl": purl}),
        );
        let ratings: Vec<Value> = finding
            .cvss
            .iter()
            .map(|score| {
                let method = match crate::cvss::version(&finding.vector) {
                    4 => "CVSSv4",
                    3 => "CVSSv31",
                    _ => "CVSSv2",
                };
                // Tenths keep the number exact.
                let number = serde_json::Number::from_f64(f64::from(score.0) / 10.0);
                json!({"score": number, "severity": severity(finding), "method": method, "vector": finding.vector})
            })
            .collect();
        let response: &[&str] = match finding.status {
            Status::Fixed => &["update"],
            Status::Ignored | Status::EndOfLife => &["will_not_fix"],
            Status::Open | Status::NoAdvisory | Status::Postponed | Status::Undetermined | Status::NotAffected => &[],
        };
        let state = if finding.status == Status::Undetermined { "in_triage" } else { "exploitable" };
        let mut affected = json!({"ref": purl, "versions": [{"version": finding.version, "status": "affected"}]});
        if let Some(fixed) = &finding.fixed
            && let Some(versions) = affected["versions"].as_array_mut()
        {
            versions.push(json!({"version": fixed, "status": "unaffected"}));
        }
        vulnerabilities.push(json!({
            "id": finding.id,
            "source": {"name": finding.feeds.first(), "url": page(&finding.id)},
            "description": finding.title,
            "ratings": ratings,
            "recommendation": action(finding),
            "advisories": finding.advisories.iter().map(|id| json!({"title": id, "url": page(id)})).collect::<Vec<_>>(),
            "analysis": {"state": state, "response": response},
            "affects": [affected],
        }));
    }
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": subject.at,
            "tools": {"components": [{"type": "application", "name": "fother", "version": subject.version}]},
            "component": whole(subject),
            "properties": subject.assessment.unknown.iter().map(|why| json!({"name": "fother:unknown", "value": why})).collect::<Vec<_>>(),
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "vulnerabilities": vulnerabilities,
    })
}
