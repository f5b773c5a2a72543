//! OpenVEX documents, 0.0.1 and 0.2.0 (github.com/openvex/spec). Pure; the bytes are hostile.

use super::{PARTS_MAX, Product, STATEMENTS_MAX, Statement, Status, at_ms, is_vendor, words};
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "@id", default)]
    id: String,
    #[serde(default)]
    author: String,
    timestamp: Option<String>,
    last_updated: Option<String>,
    statements: Vec<Raw>,
}

#[derive(Deserialize)]
struct Raw {
    timestamp: Option<String>,
    last_updated: Option<String>,
    vulnerability: Vulnerability,
    #[serde(default)]
    products: Vec<Named>,
    /// Before 0.2.0 they stood beside the products.
    #[serde(default)]
    subcomponents: Vec<Named>,
    status: String,
    #[serde(default)]
    justification: String,
    #[serde(default)]
    impact_statement: String,
    #[serde(default)]
    action_statement: String,
    #[serde(default)]
    status_notes: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vulnerability {
    /// 0.0.1.
    Name(String),
    /// 0.2.0.
    Object {
        #[serde(default)]
        name: String,
        #[serde(rename = "@id", default)]
        id: String,
        #[serde(default)]
        aliases: Vec<String>,
    },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    /// 0.0.1.
    Id(String),
    /// 0.2.0.
    Object {
        #[serde(rename = "@id", default)]
        id: String,
        #[serde(default)]
        identifiers: BTreeMap<String, String>,
        #[serde(default)]
        hashes: BTreeMap<String, String>,
        #[serde(default)]
        subcomponents: Vec<Named>,
    },
}

impl Named {
    /// The product and its parts. A package URL among the identifiers says more than the id.
    fn read(&self) -> Result<(Product, Vec<Product>), String> {
        match self {
            Self::Id(id) => Ok((Product::of_id(id), Vec::new())),
            Self::Object { id, identifiers, hashes, subcomponents } => {
                let id = identifiers.get("purl").unwrap_or(id);
                if id.is_empty() && hashes.is_empty() {
                    return Err("a product has neither an id nor a package URL nor a digest".into());
                }
                let mut product = Product::of_id(id);
                product.hashes = hashes.iter().map(|(kind, digest)| (kind.to_lowercase(), digest.to_lowercase())).collect();
                let parts = subcomponents.iter().map(|part| part.read().map(|(part, _)| part)).collect::<Result<_, _>>()?;
                Ok((product, parts))
            }
        }
    }
}

/// Whether a JSON text is an OpenVEX document, by its start.
#[must_use]
pub fn is_one(text: &str) -> bool {
    text.contains("\"@context\"") && text.contains("openvex.dev/ns")
}

/// Reads a document: a statement for each product.
///
/// # Errors
/// Where it is malformed or too large.
pub fn parse(bytes: &[u8]) -> Result<Vec<Statement>, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| format!("not an OpenVEX document: {error}"))?;
    let mut out = Vec::new();
    for raw in &document.statements {
        let ids = ids(&raw.vulnerability)?;
        let (status, note) = status(raw);
        // A statement without a time of its own has the document's (OpenVEX 0.2.0, "Data inheritance").
        let time = [&raw.last_updated, &raw.timestamp, &document.last_updated, &document.timestamp];
        let at_ms = at_ms(time.into_iter().find_map(Option::as_deref));
        let said = [note, &raw.impact_statement, &raw.action_statement, &raw.status_notes];
        let said = said.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join("; ");
        for named in &raw.products {
            let (product, mut parts) = named.read()?;
            for part in &raw.subcomponents {
                parts.push(part.read()?.0);
            }
            if parts.len() > PARTS_MAX || out.len() >= STATEMENTS_MAX {
                return Err(format!("more than {PARTS_MAX} subcomponents of a product or {STATEMENTS_MAX} statements"));
            }
            out.push(Statement {
                ids: ids.clone(),
                vendor: is_vendor(&document.author, &product),
                product,
                parts,
                status,
                justification: words(&raw.justification),
                words: words(&said),
                author: words(&document.author),
                document: words(&document.id),
                at_ms,
            });
        }
    }
    Ok(out)
}

fn ids(vulnerability: &Vulnerability) -> Result<Vec<String>, String> {
    let ids = match vulnerability {
        Vulnerability::Name(name) => vec![name.clone()],
        Vulnerability::Object { name, id, aliases } => {
            let name = if name.is_empty() { id.rsplit('/').next().unwrap_or_default() } else { name };
            std::iter::once(name.to_owned()).chain(aliases.iter().cloned()).collect()
        }
    };
    let ids: Vec<String> = ids.into_iter().filter(|id| !id.is_empty()).collect();
    if ids.is_empty() { Err("a statement names no vulnerability".into()) } else { Ok(ids) }
}

/// The status; what the specification does not allow is not believed.
fn status(raw: &Raw) -> (Status, &'static str) {
    match raw.status.as_str() {
        "not_affected" if raw.justification.is_empty() && raw.impact_statement.is_empty() => {
            (Status::UnderInvestigation, "`not_affected` without a justification or an impact statement")
        }
        "not_affected" => (Status::NotAffected, ""),
        "fixed" => (Status::Fixed, ""),
        "affected" => (Status::Affected, ""),
        "under_investigation" => (Status::UnderInvestigation, ""),
        _ => (Status::UnderInvestigation, "a status that OpenVEX does not have"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vex::Versions;

    #[test]
    fn both_versions_of_the_form_are_read() {
        let old = r#"{"@context":"https://openvex.dev/ns","@id":"d","author":"A","timestamp":"2023-01-08T18:02:03.647787998-06:00",
            "statements":[{"vulnerability":"CVE-2023-12345","products":["pkg:apk/wolfi/git@2.39.0-r1?arch=armv7"],"subcomponents":["pkg:apk/wolfi/zlib"],"status":"fixed"}]}"#;
        let [one] = parse(old.as_bytes()).unwrap().try_into().unwrap();
        assert_eq!((one.status, one.at_ms, one.parts[0].name.as_str()), (Status::Fixed, 1_673_222_523_647, "zlib"));
        assert_eq!(one.product.versions, Versions::One("2.39.0-r1".into()));
        let new = r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"d","author":"A <a@ubuntu.com>","timestamp":"2024-01-01T00:00:00Z","statements":[
            {"vulnerability":{"@id":"https://x.test/CVE-2024-0001","aliases":["GHSA-x"]},"timestamp":"2024-02-01T00:00:00Z",
             "products":[{"@id":"https://x.test/p","identifiers":{"purl":"pkg:deb/ubuntu/zlib"},"hashes":{"sha-256":"AB"}}],"status":"not_affected","justification":"component_not_present"},
            {"vulnerability":{"name":"CVE-2024-0002"},"products":[{"@id":"pkg:deb/ubuntu/zlib"}],"status":"not_affected"},
            {"vulnerability":{"name":"CVE-2024-0003"},"products":[{"@id":"pkg:deb/ubuntu/zlib"}],"status":"fine"}]}"#;
        let all = parse(new.as_bytes()).unwrap();
        assert_eq!(all[0].ids, ["CVE-2024-0001", "GHSA-x"]);
        assert_eq!(
            (all[0].vendor, all[0].product.key().as_str(), all[0].product.hashes["sha-256"].as_str()),
            (true, "deb/ubuntu/zlib", "ab")
        );
        assert!(all[0].at_ms > all[1].at_ms);
        assert_eq!(
            all.iter().map(|s| s.status).collect::<Vec<_>>(),
            [Status::NotAffected, Status::UnderInvestigation, Status::UnderInvestigation]
        );
    }

    #[test]
    fn malformed_documents_are_refused() {
        let part = r#"{"@id":"x","subcomponents":["#;
        let deep = format!(
            "{{\"statements\":[{{\"vulnerability\":\"CVE-1\",\"status\":\"fixed\",\"products\":[{}{}]}}]}}",
            part.repeat(100),
            "]}".repeat(100)
        );
        let cases = [
            "",
            "{",
            "[]",
            "{}",
            r#"{"statements":{}}"#,
            r#"{"statements":[{"status":"fixed"}]}"#,
            r#"{"author":"a","author":"b","statements":[]}"#,
            r#"{"statements":[{"vulnerability":"","products":["x"],"status":"fixed"}]}"#,
            r#"{"statements":[{"vulnerability":"CVE-1","products":[{}],"status":"fixed"}]}"#,
            r#"{"statements":[{"vulnerability":"CVE-1","products":[1],"status":"fixed"}]}"#,
            &deep,
        ];
        for bad in cases {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
