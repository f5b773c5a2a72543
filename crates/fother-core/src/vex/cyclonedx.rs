//! CycloneDX documents that carry vulnerabilities with an analysis, 1.4 and newer (cyclonedx.org/capabilities/vex). Pure; the bytes are hostile.

use super::{Product, STATEMENTS_MAX, Statement, Status, Versions, at_ms, is_vendor, words};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Most components of one document.
const COMPONENTS_MAX: usize = 1_000_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    #[serde(default)]
    pub(super) bom_format: String,
    #[serde(default)]
    pub(super) serial_number: String,
    #[serde(default)]
    pub(super) version: Option<u64>,
    pub(super) metadata: Option<Metadata>,
    #[serde(default)]
    pub(super) components: Vec<Component>,
    #[serde(default)]
    vulnerabilities: Vec<Vulnerability>,
}

#[derive(Default, Deserialize)]
pub(super) struct Metadata {
    timestamp: Option<String>,
    pub(super) component: Option<Component>,
    #[serde(default)]
    authors: Vec<Party>,
    manufacturer: Option<Party>,
    manufacture: Option<Party>,
    supplier: Option<Party>,
}

#[derive(Default, Deserialize)]
struct Party {
    #[serde(default)]
    name: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    url: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Component {
    #[serde(rename = "bom-ref", default)]
    pub(super) bom_ref: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    purl: String,
    #[serde(default)]
    hashes: Vec<Hash>,
    #[serde(default)]
    pub(super) components: Vec<Component>,
}

#[derive(Deserialize)]
struct Hash {
    alg: String,
    content: String,
}

#[derive(Deserialize)]
struct Vulnerability {
    #[serde(default)]
    id: String,
    #[serde(default)]
    references: Vec<Reference>,
    published: Option<String>,
    updated: Option<String>,
    analysis: Option<Analysis>,
    #[serde(default)]
    affects: Vec<Affects>,
}

#[derive(Deserialize)]
struct Reference {
    #[serde(default)]
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Analysis {
    #[serde(default)]
    state: String,
    #[serde(default)]
    justification: String,
    #[serde(default)]
    detail: String,
    first_issued: Option<String>,
    last_updated: Option<String>,
}

#[derive(Deserialize)]
struct Affects {
    #[serde(rename = "ref")]
    target: String,
    #[serde(default)]
    versions: Vec<Affected>,
}

#[derive(Deserialize)]
struct Affected {
    version: Option<String>,
    range: Option<String>,
    status: Option<String>,
}

impl Component {
    pub(super) fn product(&self) -> Product {
        let named = || Product {
            name: self.name.clone(),
            versions: if self.version.is_empty() { Versions::Any } else { Versions::One(self.version.clone()) },
            ..Product::default()
        };
        let mut product = Product::of_purl(&self.purl).unwrap_or_else(|_| named());
        let hash = |hash: &Hash| (hash.alg.to_lowercase(), hash.content.to_lowercase());
        product.hashes = self.hashes.iter().map(hash).collect();
        product
    }
}

/// Calls `each` with every component, nested ones too; serde bounds the depth.
pub(super) fn walk<'a>(components: &'a [Component], count: &mut usize, each: &mut impl FnMut(&'a Component)) -> Result<(), String> {
    for component in components {
        *count += 1;
        if *count > COMPONENTS_MAX {
            return Err(format!("more than {COMPONENTS_MAX} components"));
        }
        each(component);
        walk(&component.components, count, each)?;
    }
    Ok(())
}

pub(super) fn read(bytes: &[u8]) -> Result<Document, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| format!("not a CycloneDX document: {error}"))?;
    if document.bom_format == "CycloneDX" { Ok(document) } else { Err("not a CycloneDX document: no `bomFormat`".into()) }
}

/// Reads a document: a statement for each vulnerability, affected component and version. One without vulnerabilities has none.
///
/// # Errors
/// Where it is malformed or too large.
pub fn parse(bytes: &[u8]) -> Result<Vec<Statement>, String> {
    let document = read(bytes)?;
    let mut refs: BTreeMap<String, Product> = BTreeMap::new();
    let root = document.metadata.as_ref().and_then(|metadata| metadata.component.as_ref());
    let (mut count, mut twice) = (0, None);
    let mut put = |component: &'_ Component| {
        let bom_ref = component.bom_ref.as_str();
        if !bom_ref.is_empty() && refs.insert(bom_ref.to_owned(), component.product()).is_some() {
            twice = Some(bom_ref.to_owned());
        }
    };
    walk(root.map_or(&[], std::slice::from_ref), &mut count, &mut put)?;
    walk(&document.components, &mut count, &mut put)?;
    if let Some(name) = twice {
        return Err(format!("two components have the bom-ref `{}`", crate::text::printable(&name, 80)));
    }
    let author = author(document.metadata.as_ref());
    let mut out = Vec::new();
    for vulnerability in &document.vulnerabilities {
        if vulnerability.id.is_empty() {
            return Err("a vulnerability has no id".into());
        }
        for affects in &vulnerability.affects {
            // What is no component here is a link to one elsewhere, or a plain name.
            let product = refs.get(affects.target.as_str()).cloned().unwrap_or_else(|| Product::of_id(&affects.target));
            for (versions, status, note) in versions(vulnerability.analysis.as_ref(), affects, &product) {
                if out.len() >= STATEMENTS_MAX {
                    return Err(format!("more than {STATEMENTS_MAX} statements"));
                }
                out.push(statement(&document, vulnerability, &author, Product { versions, ..product.clone() }, status, note));
            }
        }
    }
    Ok(out)
}

fn author(metadata: Option<&Metadata>) -> String {
    let Some(metadata) = metadata else { return String::new() };
    let parties = metadata.authors.iter().chain(&metadata.manufacturer).chain(&metadata.manufacture).chain(&metadata.supplier);
    let said = |party: &Party| {
        let words = [party.name.as_str(), party.email.as_str()].into_iter().chain(party.url.iter().map(String::as_str));
        words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    };
    words(&parties.map(said).find(|text| !text.is_empty()).unwrap_or_default())
}

/// What the analysis says; nothing said is affected.
fn state(analysis: Option<&Analysis>) -> (Status, &'static str) {
    match analysis.map(|analysis| analysis.state.as_str()) {
        Some("not_affected") => (Status::NotAffected, ""),
        Some("false_positive") => (Status::NotAffected, "false positive"),
        Some("resolved" | "resolved_with_pedigree") => (Status::Fixed, ""),
        Some("in_triage") => (Status::UnderInvestigation, ""),
        Some("exploitable") => (Status::Affected, ""),
        None | Some("") => (Status::Affected, "listed without an analysis"),
        Some(_) => (Status::UnderInvestigation, "a state that CycloneDX does not have"),
    }
}

/// One line for each range of versions; where the range's status contradicts the analysis, the worse one counts.
fn versions(analysis: Option<&Analysis>, affects: &Affects, product: &Product) -> Vec<(Versions, Status, &'static str)> {
    let (overall, note) = state(analysis);
    if affects.versions.is_empty() {
        return vec![(product.versions.clone(), overall, note)];
    }
    let one = |affected: &Affected| {
        let versions = match (&affected.version, &affected.range) {
            (Some(version), _) => Versions::One(version.clone()),
            (None, Some(range)) => Versions::Vers(range.clone()),
            (None, None) => product.versions.clone(),
        };
        let (status, note) = match (affected.status.as_deref(), overall) {
            (None, overall) => (overall, note),
            (Some("affected"), Status::NotAffected | Status::Fixed) => (Status::Affected, "its version is listed as affected"),
            (Some("affected"), overall) => (overall, note),
            (Some("unaffected"), Status::Affected) => (Status::NotAffected, "its version is listed as unaffected"),
            (Some("unaffected"), overall) => (overall, note),
            (Some(_), _) => (Status::UnderInvestigation, "the status of its version is not known"),
        };
        (versions, status, note)
    };
    affects.versions.iter().map(one).collect()
}

fn statement(document: &Document, vulnerability: &Vulnerability, author: &str, product: Product, status: Status, note: &str) -> Statement {
    let analysis = vulnerability.analysis.as_ref();
    let of_analysis = analysis.and_then(|a| a.last_updated.as_deref().or(a.first_issued.as_deref()));
    let of_document = document.metadata.as_ref().and_then(|metadata| metadata.timestamp.as_deref());
    let time = of_analysis.or(vulnerability.updated.as_deref()).or(of_document).or(vulnerability.published.as_deref());
    let detail = analysis.map(|a| a.detail.as_str()).unwrap_or_default();
    let said = [note, detail].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
    let mut ids = vec![vulnerability.id.clone()];
    ids.extend(vulnerability.references.iter().map(|r| r.id.clone()).filter(|id| !id.is_empty()));
    Statement {
        ids,
        vendor: is_vendor(author, &product),
        product,
        parts: Vec::new(),
        status,
        justification: words(analysis.map(|a| a.justification.as_str()).unwrap_or_default()),
        words: words(&said),
        author: author.to_owned(),
        document: words(&document.serial_number),
        at_ms: at_ms(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(vulnerabilities: &str) -> Result<Vec<Statement>, String> {
        let text = format!(
            r#"{{"bomFormat":"CycloneDX","specVersion":"1.5","serialNumber":"urn:uuid:1","metadata":{{"timestamp":"2024-01-01T00:00:00Z",
            "authors":[{{"name":"Ann","email":"ann@x.test"}}],"component":{{"bom-ref":"p","name":"P","version":"1"}}}},
            "components":[{{"bom-ref":"c","name":"lib","purl":"pkg:npm/lib@2","components":[{{"bom-ref":"d","name":"n"}}]}}],"vulnerabilities":[{vulnerabilities}]}}"#
        );
        parse(text.as_bytes())
    }

    #[test]
    fn states_and_versions_come_to_one_status_and_the_worse_one_counts() {
        let case = |state: &str, versions: &str| {
            let analysis = if state.is_empty() { String::new() } else { format!(r#""analysis":{{"state":"{state}"}},"#) };
            let all = of(&format!(r#"{{"id":"CVE-2024-0001",{analysis}"affects":[{{"ref":"c"{versions}}}]}}"#)).unwrap();
            all.into_iter().map(|s| s.status).collect::<Vec<_>>()
        };
        assert_eq!(case("not_affected", ""), [Status::NotAffected]);
        assert_eq!(case("false_positive", ""), [Status::NotAffected]);
        assert_eq!(case("resolved", ""), [Status::Fixed]);
        assert_eq!(case("in_triage", ""), [Status::UnderInvestigation]);
        assert_eq!(case("exploitable", ""), [Status::Affected]);
        assert_eq!(case("", ""), [Status::Affected]);
        assert_eq!(case("fine", ""), [Status::UnderInvestigation]);
        let both = r#","versions":[{"version":"1","status":"affected"},{"range":"vers:npm/<3","status":"unaffected"},{"version":"9","status":"unknown"}]"#;
        assert_eq!(case("not_affected", both), [Status::Affected, Status::NotAffected, Status::UnderInvestigation]);
        assert_eq!(case("exploitable", both), [Status::Affected, Status::NotAffected, Status::UnderInvestigation]);
    }

    #[test]
    fn products_are_components_links_or_names() {
        let all = of(
            r#"{"id":"CVE-2024-0001","analysis":{"state":"not_affected","lastUpdated":"2024-03-01T00:00:00Z"},"affects":[{"ref":"p"},{"ref":"c"},{"ref":"d"},{"ref":"urn:cdx:9/1#x"},{"ref":"pkg:gem/g@1"}]}"#,
        );
        let all = all.unwrap();
        let keys: Vec<String> = all.iter().map(|s| s.product.key()).collect();
        assert_eq!(keys, ["name:P", "npm//lib", "name:n", "link:urn:cdx:9/1#x", "gem//g"]);
        assert_eq!((all[0].author.as_str(), all[0].at_ms), ("Ann ann@x.test", 1_709_251_200_000));
    }

    #[test]
    fn malformed_documents_are_refused() {
        let deep =
            format!("{{\"bomFormat\":\"CycloneDX\",\"components\":[{}{}]}}", r#"{"name":"n","components":["#.repeat(100), "]}".repeat(100));
        let twice = r#"{"bomFormat":"CycloneDX","components":[{"bom-ref":"a","name":"x"},{"bom-ref":"a","name":"y"}]}"#;
        for bad in [
            "",
            "{}",
            "[]",
            r#"{"bomFormat":"CycloneDX","vulnerabilities":3}"#,
            r#"{"bomFormat":"CycloneDX","vulnerabilities":[{}]}"#,
            twice,
            &deep,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(parse(br#"{"bomFormat":"CycloneDX"}"#), Ok(Vec::new()));
    }
}
