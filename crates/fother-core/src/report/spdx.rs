//! SPDX 2.3 as JSON: everything that is installed, with its source package, and the vulnerabilities as security references.

use super::{Subject, action, page};
use crate::{Digest, assess::host::HostFinding, image::Image, sbom::Component, text::printable};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NOTHING_SAID: &str = "NOASSERTION";
const SYSTEM: &str = "SPDXRef-System";
const IMAGE: &str = "SPDXRef-Image";
/// Longest comment, in characters.
const COMMENT_CHARS_MAX: usize = 2_000;

/// The document; the same content has the same namespace.
#[must_use]
pub fn document(subject: &Subject<'_>) -> Value {
    let mut by_package: BTreeMap<&str, Vec<&HostFinding>> = BTreeMap::new();
    for finding in &subject.assessment.findings {
        for package in &finding.packages {
            by_package.entry(package).or_default().push(finding);
        }
    }
    let created = created(subject);
    let system = &subject.distribution;
    let name = if system.id.is_empty() { "packages".to_owned() } else { format!("{} {}", system.id, system.version) };
    let mut packages = vec![json!({
        "SPDXID": SYSTEM,
        "name": if system.id.is_empty() { "packages" } else { system.id.as_str() },
        "versionInfo": if system.version.is_empty() { "0" } else { system.version.as_str() },
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "primaryPackagePurpose": if system.id.is_empty() { "OTHER" } else { "OPERATING-SYSTEM" },
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
    })];
    let mut relationships = match subject.image {
        Some(image) => {
            packages.push(whole(image));
            vec![related("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE), related(IMAGE, "CONTAINS", SYSTEM)]
        }
        None => vec![related("SPDXRef-DOCUMENT", "DESCRIBES", SYSTEM)],
    };
    for (at, component) in subject.packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{at}");
        relationships.push(related(SYSTEM, "CONTAINS", &id));
        let found = by_package.get(component.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        packages.push(package(&id, (component, &component.purl_in(system)), found));
    }
    let digest = Digest::of_file(serde_json::to_string(&packages).unwrap_or_default().as_bytes());
    let annotations: Vec<Value> = subject
        .assessment
        .unknown
        .iter()
        .map(|why| {
            json!({
                "annotationDate": created,
                "annotationType": "OTHER",
                "annotator": format!("Tool: fother-{}", subject.version),
                "comment": format!("could not tell: {}", printable(why, COMMENT_CHARS_MAX)),
            })
        })
        .collect();
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": name,
        "documentNamespace": format!("https://spdx.org/spdxdocs/fother-{}", digest.hex()),
        "creationInfo": {"created": created, "creators": [format!("Tool: fother-{}", subject.version)]},
        "packages": packages,
        "relationships": relationships,
        "annotations": annotations,
    })
}

/// SPDX wants whole seconds (specification, section 6.9).
fn created(subject: &Subject<'_>) -> String {
    let text = subject.at.to_string();
    text.split_once('.').map_or_else(|| text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

fn related(from: &str, how: &str, to: &str) -> Value {
    json!({"spdxElementId": from, "relationshipType": how, "relatedSpdxElement": to})
}

/// The image that holds it all, with its digest as a checksum where that is of a file.
fn whole(image: &Image) -> Value {
    let references =
        image.purl().map(|purl| json!([{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}]));
    let mut out = json!({
        "SPDXID": IMAGE,
        "name": image.name(),
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "primaryPackagePurpose": "CONTAINER",
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "comment": format!("{} {}", image.form, image.digest),
        "externalRefs": references.unwrap_or_else(|| json!([])),
    });
    if let Some(hex) = image.digest.strip_prefix("sha256:") {
        out["checksums"] = json!([{"algorithm": "SHA256", "checksumValue": hex}]);
    }
    out
}

fn package(id: &str, (component, purl): (&Component, &str), found: &[&HostFinding]) -> Value {
    let mut references = Vec::new();
    if !purl.is_empty() {
        references.push(json!({"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": purl}));
    }
    for finding in found {
        let comment = format!("{} in {} {}: {}", finding.id, finding.source, finding.version, action(finding));
        references.push(json!({
            "referenceCategory": "SECURITY",
            "referenceType": "advisory",
            "referenceLocator": page(&finding.id),
            "comment": printable(&comment, COMMENT_CHARS_MAX),
        }));
    }
    let mut out = json!({
        "SPDXID": id,
        "name": component.name,
        "versionInfo": component.version,
        "supplier": NOTHING_SAID,
        "downloadLocation": NOTHING_SAID,
        "filesAnalyzed": false,
        "licenseConcluded": NOTHING_SAID,
        "licenseDeclared": NOTHING_SAID,
        "copyrightText": NOTHING_SAID,
        "primaryPackagePurpose": "LIBRARY",
        "externalRefs": references,
    });
    if let Some((name, version)) = &component.source {
        // The words by which other readers find the source package.
        out["sourceInfo"] = json!(format!("built package from: {name} {version}"));
    }
    out
}
