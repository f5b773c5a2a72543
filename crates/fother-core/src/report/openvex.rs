//! OpenVEX 0.2.0: what is affected, what the vendor says is not. Of an image, the packages are parts; else they are the products.

use super::{Subject, action, purl, purls};
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
            let product = products(subject, vec![purl(subject, finding)]);
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
        statements.push(json!({
            "vulnerability": {"name": id},
            "products": products(subject, purls(subject, source)),
            "status": "not_affected",
            "impact_statement": "the vendor says that this release is not affected",
        }));
    }
    frame("fother", subject.at, subject.version, &statements)
}

/// Packages as products, or as the parts of the image that they are in, where its digest is known.
fn products(subject: &Subject<'_>, packages: Vec<String>) -> Value {
    let packages: Vec<Value> = packages.into_iter().map(|purl| json!({"@id": purl})).collect();
    match subject.image.and_then(crate::image::Image::purl) {
        Some(image) => json!([{"@id": image, "subcomponents": packages}]),
        None => json!(packages),
    }
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
