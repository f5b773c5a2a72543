//! Holds a TOML value against the policy's schema: unknown and missing keys, wrong kinds of value, unknown words, empty lists; all at once, each with its place. Pure.

use super::fault::nearest;
use serde_json::Value;
use std::ops::Range;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A fault with its place in the text.
pub(super) struct Found {
    pub(super) span: Range<usize>,
    pub(super) key: String,
    pub(super) what: String,
    pub(super) meant: Option<String>,
}

/// The schema with its definitions.
pub(super) struct Shape {
    root: Value,
}

impl Shape {
    pub(super) fn new(root: Value) -> Self {
        Self { root }
    }

    /// Names of the sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.root["properties"].as_object().into_iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Holds one entry of a section against what the section holds.
    pub(super) fn entry(&self, section: &str, value: &Spanned<DeValue<'_>>, key: &str) -> Vec<Found> {
        let mut found = Vec::new();
        self.walk(&self.root["properties"][section]["additionalProperties"], value, key, &mut found);
        found
    }

    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        schema["$ref"].as_str().and_then(|path| path.strip_prefix('#')).and_then(|path| self.root.pointer(path)).unwrap_or(schema)
    }

    fn walk(&self, schema: &Value, value: &Spanned<DeValue<'_>>, key: &str, found: &mut Vec<Found>) {
        let schema = self.resolved(schema);
        let mut say = |what: String, meant: Option<String>| found.push(Found { span: value.span(), key: key.to_owned(), what, meant });
        let choices: Vec<&Value> =
            ["anyOf", "oneOf"].iter().filter_map(|of| schema[of].as_array()).flatten().map(|one| self.resolved(one)).collect();
        let words: Vec<&str> = choices.iter().chain([&schema]).flat_map(|one| words(one)).collect();
        if let (DeValue::String(text), false) = (value.get_ref(), words.is_empty()) {
            if !words.contains(&text.as_ref()) {
                say(format!("`{text}` is none of {}", words.join(", ")), nearest(text, words));
            }
            return;
        }
        let fitting: Vec<&Value> =
            choices.into_iter().chain(schema.get("type").map(|_| schema)).filter(|one| fits(one, value.get_ref())).collect();
        match (value.get_ref(), &fitting[..]) {
            (DeValue::Table(table), [one]) => self.table(one, table, value.span(), key, found),
            (DeValue::Table(table), [_, ..]) => self.variant(&fitting, table, value.span(), key, found),
            (DeValue::Array(items), [one, ..]) => {
                if items.is_empty() {
                    say("an empty list: leave the key out, or name what is meant".to_owned(), None);
                }
                for (number, item) in items.iter().enumerate() {
                    let text = item.get_ref().as_str();
                    if text.is_some() && items.iter().take(number).any(|other| other.get_ref().as_str() == text) {
                        let what = format!("`{}` stands twice", text.unwrap_or_default());
                        found.push(Found { span: item.span(), key: key.to_owned(), what, meant: None });
                    }
                    self.walk(&one["items"], item, &format!("{key}.{number}"), found);
                }
            }
            (_, [_, ..]) => {}
            (got, []) => say(format!("{} is not what belongs here: {}", kind(got), self.wanted(schema)), None),
        }
    }

    /// Which of several tables is meant, by its `kind`.
    fn variant(&self, variants: &[&Value], table: &DeTable<'_>, span: Range<usize>, key: &str, found: &mut Vec<Found>) {
        let kinds = || variants.iter().filter_map(|one| one["properties"]["kind"]["const"].as_str());
        let given = table.get("kind").map(|kind| (kind.span(), kind.get_ref().as_str().unwrap_or_default()));
        let Some((at, given)) = given else {
            let what = format!("`kind` is missing: {}", kinds().collect::<Vec<_>>().join(", "));
            return found.push(Found { span, key: key.to_owned(), what, meant: None });
        };
        match variants.iter().find(|one| one["properties"]["kind"]["const"] == given) {
            Some(one) => self.table(one, table, span, key, found),
            None => found.push(Found {
                span: at,
                key: format!("{key}.kind"),
                what: format!("there is no kind `{given}`; known: {}", kinds().collect::<Vec<_>>().join(", ")),
                meant: nearest(given, kinds()),
            }),
        }
    }

    fn table(&self, schema: &Value, table: &DeTable<'_>, span: Range<usize>, key: &str, found: &mut Vec<Found>) {
        let Some(properties) = schema["properties"].as_object() else {
            // Names of the team's own, each with the same kind of value.
            if table.is_empty() {
                found.push(Found { span, key: key.to_owned(), what: "an empty table: leave the key out".to_owned(), meant: None });
            }
            return table.iter().for_each(|(name, value)| {
                self.walk(&schema["additionalProperties"], value, &format!("{key}.{}", name.get_ref()), found);
            });
        };
        for (name, value) in table {
            let here = format!("{key}.{}", name.get_ref());
            if let Some(property) = properties.get(name.get_ref().as_ref()) {
                self.walk(property, value, &here, found);
            } else {
                let missing: Vec<&str> = properties.keys().map(String::as_str).filter(|known| !table.contains_key(*known)).collect();
                let what = format!("there is no key `{}` here; known: {}", name.get_ref(), missing.join(", "));
                found.push(Found { span: name.span(), key: here, what, meant: nearest(name.get_ref(), missing) });
            }
        }
        for (name, other) in properties.keys().filter_map(|name| Some((name, name.strip_suffix("_s")?))) {
            if let (Some(_), Some(second)) = (table.get(name.as_str()), table.get(other)) {
                let what = format!("`{other}` and `{name}` say the same thing: keep one");
                found.push(Found { span: second.span(), key: format!("{key}.{other}"), what, meant: None });
            }
        }
        for needed in missing(schema, table) {
            found.push(Found { span: span.clone(), key: key.to_owned(), what: format!("{needed} is missing"), meant: None });
        }
    }

    /// What a value may be, for people.
    fn wanted(&self, schema: &Value) -> String {
        if let Some(description) = schema["description"].as_str() {
            return description.to_owned();
        }
        let choices = ["anyOf", "oneOf"].iter().filter_map(|of| schema[of].as_array()).flatten().map(|one| self.resolved(one));
        let mut kinds: Vec<&str> = choices.chain([schema]).filter_map(|one| one["type"].as_str()).map(said).collect();
        kinds.dedup();
        kinds.join(" or ")
    }
}

/// Keys that are needed and not there, as they are written.
fn missing(schema: &Value, table: &DeTable<'_>) -> Vec<String> {
    let plain = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut out: Vec<String> = plain.filter(|key| !table.contains_key(*key)).map(|key| format!("`{key}`")).collect();
    for rule in schema["allOf"].as_array().into_iter().flatten() {
        let either: Vec<&str> = rule["oneOf"].as_array().into_iter().flatten().filter_map(|one| one["required"][0].as_str()).collect();
        if let [seconds, written] = either[..]
            && !table.contains_key(seconds)
            && !table.contains_key(written)
        {
            out.push(format!("`{written}`"));
        }
    }
    out
}

/// The words that a text may be, where it is one of some.
fn words(schema: &Value) -> Vec<&str> {
    let listed = schema["enum"].as_array().into_iter().flatten().filter_map(Value::as_str);
    listed.chain(schema["const"].as_str()).collect()
}

fn fits(schema: &Value, value: &DeValue<'_>) -> bool {
    let Some(wanted) = schema["type"].as_str() else { return false };
    match value {
        DeValue::String(_) | DeValue::Datetime(_) => wanted == "string",
        DeValue::Integer(_) => wanted == "integer" || wanted == "number",
        DeValue::Float(_) => wanted == "number",
        DeValue::Boolean(_) => wanted == "boolean",
        DeValue::Array(_) => wanted == "array",
        DeValue::Table(_) => wanted == "object",
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn said(kind: &str) -> &str {
    match kind {
        "string" => "a text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a table",
        other => other,
    }
}
