//! The JSON schema of a policy file, generated from the types: for editors, and for [`super::read`]. Pure.

use super::{Policy, span};
use serde_json::{Map, Value, json};

/// Where the schema says that it is.
pub const ID: &str = "urn:fother:schema:policy/1";

/// The schema of `fother.toml` and `policies/*.toml`, JSON Schema 2020-12.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Policy).to_value();
    tidy(&mut schema);
    schema["$id"] = json!(ID);
    schema["title"] = json!("Fother policy");
    schema
}

/// TOML has no null; a list that names nothing, or one thing twice, is a mistake; a length may be written in words.
fn tidy(value: &mut Value) {
    if let Value::Object(object) = value {
        without_null(object);
        if object.get("type") == Some(&json!("array")) {
            object.insert("minItems".to_owned(), json!(1));
            object.insert("uniqueItems".to_owned(), json!(true));
        }
        lengths(object);
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(tidy),
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|one| one != "null");
        if let [only] = &types[..] {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(any)) = object.get_mut("anyOf") {
        any.retain(|one| one != &json!({ "type": "null" }));
        if let [Value::Object(only)] = &any[..] {
            let only = only.clone();
            object.remove("anyOf");
            object.extend(only);
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
}

/// Beside each `x_s`, in seconds, stands `x`, written; one of both where it is needed.
fn lengths(object: &mut Map<String, Value>) {
    let Some(Value::Object(properties)) = object.get_mut("properties") else { return };
    let seconds: Vec<String> = properties.keys().filter(|key| key.ends_with("_s")).cloned().collect();
    for key in &seconds {
        let description = properties[key].get("description").cloned().unwrap_or_default();
        properties
            .insert(key[..key.len() - 2].to_owned(), json!({ "type": "string", "pattern": span::PATTERN, "description": description }));
    }
    let required = |object: &mut Map<String, Value>, key: &str| match object.get_mut("required") {
        Some(Value::Array(required)) => {
            let before = required.len();
            required.retain(|one| one != key);
            before != required.len()
        }
        _ => false,
    };
    let mut rules = Vec::new();
    for key in seconds {
        let (short, both) = (key[..key.len() - 2].to_owned(), json!({ "required": [&key, &key[..key.len() - 2]] }));
        rules.push(if required(object, &key) {
            json!({ "oneOf": [{ "required": [key] }, { "required": [short] }] })
        } else {
            json!({ "not": both })
        });
    }
    if !rules.is_empty() {
        object.insert("allOf".to_owned(), Value::Array(rules));
    }
}
