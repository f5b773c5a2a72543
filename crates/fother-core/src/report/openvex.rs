//! OpenVEX 0.2.0: what is affected, what the vendor says is not.

use super::{Subject, action, purl};
use crate::{Digest, Timestamp, advisory::Status};
use serde_json::{Value, json};

/// The document; the same findings have the same id.
#[must_use]
pub fn document(subject: &Subject<'_>) -> Value {
    let mut statements: Vec<Value> = subject
        .assessment
        .findings
        .iter()
        .map(|finding| {
            let product = json!([{"@id": purl(subject, finding)}]);
            let vulnerability = json!({"name": finding.id});
            if finding.status == Status::Undetermined {
                json!({"vulnerability": vulnerability, "products": product, "status": "under_investigation"})
            } else {
                json!({"vulnerability": vulnerability, "products": product, "status": "affected", "action_statement": action(finding)})
            }
        })
        .collect();
    for line in &subject.assessment.not_affected {
        let (id, source) = line.split_once(' ').unwrap_or((line, ""));
        let product = format!("pkg:deb/{}/{source}?arch=source&distro={}", subject.distribution.id, subject.distribution.codename);
        statements.push(json!({
            "vulnerability": {"name": id},
            "products": [{"@id": product}],
            "status": "not_affected",
            "impact_statement": "the vendor says that this release is not affected",
        }));
    }
    frame("fother", subject.at, subject.version, &statements)
}

/// A document around statements; `name` stands in its id, which the same statements share.
#[must_use]
pub fn frame(name: &str, at: Timestamp, version: &str, statements: &[Value]) -> Value {
    let digest = Digest::of_file(Value::from(statements).to_string().as_bytes());
    json!({
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": format!("https://openvex.dev/docs/{name}-{}", digest.short()),
        "author": "Fother",
        "timestamp": at,
        "version": 1,
        "tooling": format!("fother {version}"),
        "statements": statements,
    })
}
