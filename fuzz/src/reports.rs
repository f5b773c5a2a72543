//! Reports of other scanners: Trivy and Grype JSON, SARIF, tables.

use super::{Target, texts_of};
use fother_core::reconcile;

pub const ALL: &[Target] = &[Target { name: "scanner-report", run: report, seeds }];

fn seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        r#"{"SchemaVersion":2,"ArtifactName":"/","Results":[{"Target":"x","Class":"os-pkgs","Type":"debian","Vulnerabilities":[{"VulnerabilityID":"CVE-2026-0002","PkgName":"b","InstalledVersion":"1:2.38.1-5","FixedVersion":"2.38.1-6","Severity":"HIGH","PkgIdentifier":{"PURL":"pkg:deb/debian/b@2?epoch=1"}}]}]}"#,
        r#"{"matches":[{"vulnerability":{"id":"CVE-2026-0002","severity":"High","fix":{"versions":["2"],"state":"fixed"}},"relatedVulnerabilities":[{"id":"CVE-2026-0002"}],"artifact":{"name":"b","version":"1","type":"deb","purl":"pkg:deb/debian/b@1"}}]}"#,
        r#"{"runs":[{"tool":{"driver":{"name":"Trivy","rules":[{"id":"CVE-2026-0002"}]}},"results":[{"ruleId":"CVE-2026-0002","ruleIndex":0,"message":{"text":"Package: web\nInstalled Version: 1.0-1\nFixed Version: 1.0-2\nLink: x"},"locations":[{"logicalLocations":[{"fullyQualifiedName":"pkg:deb/debian/web@1.0-1"}]}]}]}]}"#,
        "\u{feff}Vulnerability;Component;Version\n\"CVE-2026-0002, CVE-2026-0003\";\"web\";\"1.0-1\"\n;web;1\n",
    ])
}

fn report(data: &[u8]) {
    let Ok(report) = reconcile::read(data) else { return };
    assert!(!report.form.is_empty());
    assert!(report.findings.iter().all(|found| !found.id.is_empty() && !found.package.is_empty()), "{report:?}");
    assert!(
        report.findings.iter().all(|found| !format!("{found:?}").chars().any(char::is_control)),
        "a control character passes: {report:?}"
    );
}
