//! SARIF 2.1.0 as scanners of packages write it: Trivy, Grype and Fother itself. Names stand in rule ids, messages and rules' help.

use super::{Foreign, Report};
use serde_json::Value;

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn read(value: &Value) -> Result<Report, String> {
    let mut report = Report::default();
    for run in array(&value["runs"]) {
        let driver = &run["tool"]["driver"];
        let name = driver["name"].as_str().unwrap_or("unnamed");
        report.form = format!("SARIF of {}", crate::text::printable(name, 40));
        for (at, result) in array(&run["results"]).enumerate() {
            let rule = result["ruleIndex"].as_u64().and_then(|at| usize::try_from(at).ok()).map(|at| &driver["rules"][at]);
            report.add(foreign(result, rule), || format!("result {at} of {name}"))?;
        }
    }
    Ok(report)
}

fn foreign(result: &Value, rule: Option<&Value>) -> Foreign {
    let rule_id = result["ruleId"].as_str().or_else(|| result["rule"]["id"].as_str()).or_else(|| rule?["id"].as_str());
    let rule_id = rule_id.unwrap_or_default();
    let message = result["message"]["text"].as_str().unwrap_or_default();
    let id = vulnerability(rule_id).or_else(|| vulnerability(message));
    let mut out = Foreign { id: id.unwrap_or(rule_id).to_owned(), ..Foreign::default() };
    // Trivy: a block of `Name: value` lines.
    let line = |name: &str| message.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": ")).unwrap_or_default();
    out.package = line("Package").to_owned();
    out.version = line("Installed Version").to_owned();
    out.fixed = line("Fixed Version").to_owned();
    out.severity = line("Severity").to_lowercase();
    // Grype: `A high vulnerability in deb package: curl, version 7.88.1-10 was found at: /var/lib/dpkg/status`.
    if out.package.is_empty()
        && let Some((before, rest)) = message.split_once(" package: ")
        && let Some((package, rest)) = rest.split_once(", version ")
    {
        out.package = package.to_owned();
        out.version = rest.split_whitespace().next().unwrap_or_default().to_owned();
        out.severity = before.split_whitespace().nth(1).unwrap_or_default().to_owned();
        out.kind = match before.rsplit(' ').next().unwrap_or_default() {
            kind @ ("deb" | "rpm" | "apk" | "npm" | "gem" | "cargo") => kind.to_owned(),
            "python" => "pypi".to_owned(),
            "go-module" => "golang".to_owned(),
            "java-archive" => "maven".to_owned(),
            _ => String::new(),
        };
    }
    out.purl = purl(result, rule).unwrap_or_default().to_owned();
    if out.package.is_empty()
        && let Ok(purl) = crate::purl::Purl::parse(&out.purl)
    {
        out.version = purl.version.unwrap_or_default();
        // A package URL of a source says so (`arch=source`); its name is the source's.
        out.package = purl.name;
    }
    out
}

/// A package URL where one is written: logical locations (Fother), `properties.purls` of the rule (Grype).
fn purl<'a>(result: &'a Value, rule: Option<&'a Value>) -> Option<&'a str> {
    let locations = array(&result["locations"]).flat_map(|location| array(&location["logicalLocations"]));
    let mut named = locations.filter_map(|location| location["fullyQualifiedName"].as_str());
    let own = named.find(|name| name.starts_with("pkg:"));
    let of_rule = || {
        let mut all = array(&rule?["properties"]["purls"]).filter_map(Value::as_str);
        // Several would not say which one is meant.
        all.next().filter(|_| all.next().is_none())
    };
    own.or_else(of_rule)
}

/// The first id of a vulnerability in a text: Grype appends the package to it (`CVE-2023-1234-curl`).
fn vulnerability(text: &str) -> Option<&str> {
    ["CVE-", "GHSA-", "DSA-", "DLA-", "ALAS", "ELSA-", "RHSA-", "USN-", "GO-", "RUSTSEC-", "PYSEC-", "TEMP-"].into_iter().find_map(
        |start| {
            let rest = text.get(text.find(start)?..)?;
            let parts = match start {
                "GHSA-" => 4,
                "TEMP-" | "USN-" | "CVE-" | "DSA-" | "DLA-" | "ELSA-" | "RHSA-" | "GO-" | "RUSTSEC-" | "PYSEC-" => 3,
                _ => 4,
            };
            let word = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':')).next()?;
            let mut ends = word.match_indices('-').map(|(at, _)| at);
            Some(ends.nth(parts - 1).map_or(word, |end| &word[..end]))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::super::read;

    #[test]
    fn each_scanner_s_way_of_naming_the_package_is_read() {
        let trivy = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"Trivy","rules":[{"id":"CVE-2026-0002"}]}},"results":[{"ruleId":"CVE-2026-0002",
            "message":{"text":"Package: web\nInstalled Version: 1.0-1\nVulnerability CVE-2026-0002\nSeverity: HIGH\nFixed Version: 1.0-2\nLink: x"}}]}]}"#;
        let grype = r#"{"runs":[{"tool":{"driver":{"name":"Grype","rules":[{"id":"CVE-2026-0002-web","properties":{"purls":["pkg:deb/debian/web@1.0-1?arch=amd64"]}}]}},
            "results":[{"ruleId":"CVE-2026-0002-web","ruleIndex":0,"message":{"text":"A high vulnerability in deb package: web, version 1.0-1 was found at: /var/lib/dpkg/status"}}]}]}"#;
        let own = r#"{"runs":[{"tool":{"driver":{"name":"Fother"}},"results":[{"ruleId":"CVE-2026-0002","message":{"text":"web 1.0-1 (web): update"},
            "locations":[{"logicalLocations":[{"name":"web","fullyQualifiedName":"pkg:deb/debian/web@1.0-1?arch=source&distro=bookworm"}]}]}]}]}"#;
        for text in [trivy, grype, own] {
            let report = read(text.as_bytes()).unwrap();
            let [one] = report.findings.as_slice() else { panic!("{report:?}") };
            assert_eq!((one.id.as_str(), one.package.as_str(), one.version.as_str()), ("CVE-2026-0002", "web", "1.0-1"), "{text}");
        }
    }

    #[test]
    fn ids_end_where_the_package_begins() {
        for (text, id) in [
            ("CVE-2023-1234-lib-x", Some("CVE-2023-1234")),
            ("GHSA-aaaa-bbbb-cccc-left-pad", Some("GHSA-aaaa-bbbb-cccc")),
            ("see RUSTSEC-2024-0001.", Some("RUSTSEC-2024-0001")),
            ("nothing", None),
        ] {
            assert_eq!(super::vulnerability(text), id, "{text}");
        }
    }
}
