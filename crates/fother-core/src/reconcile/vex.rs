//! Answers as OpenVEX 0.2.0, with products as the foreign scanner names them, so that it stops reporting what is no finding.

use super::{Answer, Answered};
use crate::{purl::Purl, report::openvex};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Silence code that no process has loaded now, too. That is a choice about risk, so it is off unless somebody asks.
    pub silence_not_loaded: bool,
    /// Version of this program.
    pub version: &'a str,
    /// When.
    pub at: crate::Timestamp,
}

/// The document; the same answers have the same id.
#[must_use]
pub fn document(answers: &[Answered], options: &Options<'_>) -> Value {
    let mut statements: BTreeMap<String, Value> = BTreeMap::new();
    for answered in answers {
        let mut statement = statement(answered, options.silence_not_loaded);
        let products = products(answered);
        if products.is_empty() {
            continue;
        }
        // One statement for all products that have the same answer for the same reason.
        let key = statement.to_string();
        if let Some(known) = statements.get_mut(&key).and_then(|known| known["products"].as_array_mut()) {
            known.extend(products);
        } else {
            statement["products"] = Value::Array(products);
            statements.insert(key, statement);
        }
    }
    let statements: Vec<Value> = statements
        .into_values()
        .map(|mut statement| {
            if let Some(products) = statement["products"].as_array_mut() {
                products.sort_by_key(ToString::to_string);
                products.dedup();
            }
            statement
        })
        .collect();
    openvex::frame("fother-reconcile", options.at, options.version, &statements)
}

/// Whether a scanner that reads the document leaves the finding out.
#[must_use]
pub fn silences(answered: &Answered, silence_not_loaded: bool) -> bool {
    match answered.answer {
        Answer::FixedByBackport | Answer::NotAffected | Answer::NotInstalled => true,
        Answer::NotInUse => answered.not_booted || silence_not_loaded,
        Answer::Agree | Answer::Unknown => false,
    }
}

fn statement(answered: &Answered, silence_not_loaded: bool) -> Value {
    let foreign = &answered.foreign;
    let vulnerability = json!({"name": foreign.id, "aliases": foreign.aliases});
    let not_affected = |justification: &str| json!({"vulnerability": vulnerability, "status": "not_affected", "justification": justification, "impact_statement": answered.why});
    match answered.answer {
        Answer::FixedByBackport => json!({"vulnerability": vulnerability, "status": "fixed", "status_notes": answered.why}),
        Answer::NotAffected => not_affected("vulnerable_code_not_present"),
        Answer::NotInstalled => not_affected("component_not_present"),
        Answer::NotInUse if silences(answered, silence_not_loaded) => not_affected("vulnerable_code_not_in_execute_path"),
        Answer::NotInUse | Answer::Agree => {
            json!({"vulnerability": vulnerability, "status": "affected", "action_statement": answered.why})
        }
        Answer::Unknown => json!({"vulnerability": vulnerability, "status": "under_investigation", "status_notes": answered.why}),
    }
}

/// The product by the scanner's own package URL; where the report has none, by those that scanners would write.
fn products(answered: &Answered) -> Vec<Value> {
    let foreign = &answered.foreign;
    if !foreign.purl.is_empty() {
        return vec![json!({"@id": foreign.purl})];
    }
    let kind = if foreign.kind.is_empty() { "deb" } else { foreign.kind.as_str() };
    let namespace = match kind {
        "deb" => Some("debian".to_owned()),
        _ => None,
    };
    let written = |version: &str| {
        let version = (!version.is_empty()).then(|| version.to_owned());
        let purl = Purl { kind: kind.into(), namespace: namespace.clone(), name: foreign.package.clone(), version, ..Purl::default() };
        purl.normalised().ok().map(|purl| json!({"@id": purl.to_string()}))
    };
    // Trivy keeps the epoch out of the version, Grype in it.
    let without_epoch = foreign.version.split_once(':').map(|(_, rest)| rest);
    written(&foreign.version).into_iter().chain(without_epoch.and_then(written)).collect()
}
