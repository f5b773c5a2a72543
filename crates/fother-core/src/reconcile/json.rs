//! Reports of Trivy (`--format json`, schema 2) and Grype (`-o json`).

use super::{Foreign, Report};
use serde_json::Value;

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Package URL types of Trivy's result types, for entries without a package URL.
fn kind_of_trivy(result: &Value) -> &'static str {
    match result["Type"].as_str().unwrap_or_default() {
        "debian" | "ubuntu" => "deb",
        "alpine" | "wolfi" | "chainguard" => "apk",
        "redhat"
        | "centos"
        | "rocky"
        | "alma"
        | "oracle"
        | "amazon"
        | "fedora"
        | "photon"
        | "suse linux enterprise server"
        | "opensuse-leap" => "rpm",
        "cargo" | "rustbinary" => "cargo",
        "gobinary" | "gomod" => "golang",
        "jar" | "pom" | "gradle" => "maven",
        "node-pkg" | "npm" | "yarn" | "pnpm" => "npm",
        "python-pkg" | "pip" | "pipenv" | "poetry" | "uv" => "pypi",
        "gemspec" | "bundler" => "gem",
        "composer" | "composer-vendor" => "composer",
        _ => "",
    }
}

pub(super) fn trivy(value: &Value) -> Result<Report, String> {
    let mut report = Report { form: "Trivy JSON".into(), ..Report::default() };
    for result in array(&value["Results"]) {
        for (at, found) in array(&result["Vulnerabilities"]).enumerate() {
            let foreign = Foreign {
                id: word(&found["VulnerabilityID"]),
                aliases: array(&found["VendorIDs"]).map(word).collect(),
                package: word(&found["PkgName"]),
                version: word(&found["InstalledVersion"]),
                fixed: word(&found["FixedVersion"]),
                severity: word(&found["Severity"]).to_lowercase(),
                purl: word(&found["PkgIdentifier"]["PURL"]),
                kind: kind_of_trivy(result).to_owned(),
            };
            report.add(foreign, || format!("result {} finding {at}", word(&result["Target"])))?;
        }
    }
    Ok(report)
}

pub(super) fn grype(value: &Value) -> Result<Report, String> {
    let mut report = Report { form: "Grype JSON".into(), ..Report::default() };
    for (at, found) in array(&value["matches"]).enumerate() {
        let (vulnerability, artifact) = (&found["vulnerability"], &found["artifact"]);
        let foreign = Foreign {
            id: word(&vulnerability["id"]),
            aliases: array(&found["relatedVulnerabilities"]).map(|related| word(&related["id"])).collect(),
            package: word(&artifact["name"]),
            version: word(&artifact["version"]),
            fixed: array(&vulnerability["fix"]["versions"]).next().map(word).unwrap_or_default(),
            severity: word(&vulnerability["severity"]).to_lowercase(),
            purl: word(&artifact["purl"]),
            kind: if artifact["type"] == "deb" { "deb".into() } else { String::new() },
        };
        report.add(foreign, || format!("match {at}"))?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn trivy_and_grype_name_the_same_finding() {
        let trivy = r#"{"SchemaVersion":2,"ArtifactName":"/","Results":[{"Target":"x","Class":"os-pkgs","Type":"debian","Vulnerabilities":[
            {"VulnerabilityID":"CVE-2026-0002","PkgName":"bsdutils","InstalledVersion":"1:2.38.1-5","FixedVersion":"2.38.1-6","Severity":"HIGH",
            "PkgIdentifier":{"PURL":"pkg:deb/debian/bsdutils@2.38.1-5?arch=amd64&distro=debian-12.11&epoch=1"}}]}]}"#;
        let grype = r#"{"matches":[{"vulnerability":{"id":"CVE-2026-0002","severity":"High","fix":{"versions":["2.38.1-6"],"state":"fixed"}},
            "relatedVulnerabilities":[{"id":"CVE-2026-0002"}],"artifact":{"name":"bsdutils","version":"1:2.38.1-5","type":"deb",
            "purl":"pkg:deb/debian/bsdutils@1%3A2.38.1-5?arch=amd64&distro=debian-12"}}],"descriptor":{"name":"grype"}}"#;
        for (form, text) in [("Trivy JSON", trivy), ("Grype JSON", grype)] {
            let report = read(text.as_bytes()).unwrap();
            let [one] = report.findings.as_slice() else { panic!("{report:?}") };
            assert_eq!(report.form, form);
            assert_eq!((one.id.as_str(), one.package.as_str(), one.version.as_str()), ("CVE-2026-0002", "bsdutils", "1:2.38.1-5"));
            assert_eq!((one.fixed.as_str(), one.severity.as_str(), one.kind.as_str()), ("2.38.1-6", "high", "deb"));
        }
    }
}
