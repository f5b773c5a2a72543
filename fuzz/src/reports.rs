//! What others report to be answered: Trivy's and Grype's JSON, SARIF, CSV; and saved scans that are compared.

use super::{Target, texts_of};
use fother_core::{diff, reconcile, sbom::Component};
use std::collections::BTreeSet;

pub const ALL: &[Target] =
    &[Target { name: "report", run: report, seeds: report_seeds }, Target { name: "saved-scan", run: saved, seeds: || texts_of(&[SAVED]) }];

const SAVED: &str = r#"{"packages":[{"kind":"deb","namespace":"debian","name":"a","version":"1","arch":"amd64","source":["s","1"],"distro":"debian-12"}],"findings":[{"id":"CVE-2026-0001","source":"s","version":"1","fixed":"2","status":"fixed","advisories":["DSA-1-1"],"in_effect":"not-booted"}]}"#;

fn report_seeds() -> Vec<Vec<u8>> {
    let purl = "pkg:deb/debian/a@1.0-1?arch=amd64&distro=debian-12&epoch=1";
    let trivy = format!(
        r#"{{"SchemaVersion":2,"ArtifactName":"/","Results":[{{"Target":"x","Class":"os-pkgs","Type":"debian","Vulnerabilities":[{{"VulnerabilityID":"CVE-2026-0001","VendorIDs":["DSA-1-1"],"PkgName":"a","InstalledVersion":"1:1.0-1","FixedVersion":"1:1.0-2","Severity":"HIGH","PkgIdentifier":{{"PURL":"{purl}"}}}}]}}]}}"#
    );
    let grype = format!(
        r#"{{"matches":[{{"vulnerability":{{"id":"GHSA-aaaa-bbbb-cccc","severity":"Low","fix":{{"versions":["2"]}}}},"relatedVulnerabilities":[{{"id":"CVE-2026-0001"}}],"artifact":{{"name":"a","version":"1","type":"deb","purl":"{purl}"}}}}]}}"#
    );
    let sarif = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"Grype","rules":[{"id":"CVE-2026-0001-a","properties":{"purls":["pkg:npm/a@1"]}}]}},"results":[{"ruleId":"CVE-2026-0001-a","ruleIndex":0,"message":{"text":"A low vulnerability in npm package: a, version 1 was found at: /x"},"locations":[{"logicalLocations":[{"fullyQualifiedName":"pkg:npm/a@1"}]}]},{"ruleId":"CVE-2026-0001","message":{"text":"Package: a\nInstalled Version: 1\nSeverity: LOW\nFixed Version: 2"}}]}]}"#;
    let csv = "CVE ID;Package Name;Version;Type\n\"CVE-2026-0001, CVE-2026-0002\";'=a;1;deb\n;b;2;\n";
    texts_of(&[&trivy, &grype, sarif, csv])
}

fn report(data: &[u8]) {
    let Ok(report) = reconcile::read(data) else { return };
    let once: BTreeSet<_> = report.findings.iter().collect();
    assert_eq!(once.len(), report.findings.len(), "a finding stands twice");
    for foreign in &report.findings {
        assert!(!foreign.id.is_empty() && !foreign.package.is_empty(), "{foreign:?}");
        let words = [&foreign.id, &foreign.package, &foreign.version, &foreign.fixed, &foreign.severity, &foreign.purl, &foreign.kind];
        assert!(!words.into_iter().any(|word| word.chars().any(char::is_control)), "{foreign:?}");
    }
}

fn saved(data: &[u8]) {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) else { return };
    let side = diff::Side {
        title: "x".into(),
        packages: serde_json::from_value::<Vec<Component>>(value["packages"].clone()).ok(),
        findings: serde_json::from_value(value["findings"].clone()).ok(),
        ..diff::Side::default()
    };
    let same = diff::diff(&side, &side);
    assert!(
        same.added.is_empty() && same.removed.is_empty() && same.changed.is_empty() && same.opened.is_empty() && same.closed.is_empty()
    );
    let none = diff::Side { packages: Some(Vec::new()), findings: Some(Vec::new()), ..diff::Side::default() };
    let all = diff::diff(&none, &side);
    assert!(all.removed.is_empty() && all.closed.is_empty());
}
