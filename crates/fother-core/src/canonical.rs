//! Canonical JSON: keys sorted by bytes, no white space, UTF-8 unescaped, no floats, integers below 2^53.
//!
//! Everything that is hashed or signed goes through here, so that the same value always has the same bytes.

use serde::Serialize;
use serde_json::Value;

mod write;

/// Largest integer that canonical JSON carries (2^53 − 1, RFC 8259 section 6).
pub const INTEGER_MAX: u64 = (1 << 53) - 1;

/// Deepest nesting that is accepted; deeper input is an error, not a stack overflow.
pub const DEPTH_MAX: usize = 64;

/// Why a value has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The value does not serialise to JSON at all.
    #[error("the value cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A number is fractional, negative beyond −(2^53−1) or above 2^53−1.
    #[error("the number {0} has no canonical form: whole numbers below 2^53 only")]
    Number(String),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("the value is nested more than {DEPTH_MAX} levels deep")]
    Depth,
}

/// The canonical bytes of `value`.
///
/// # Errors
/// Where the value holds a float, too large an integer, or is nested too deeply.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let mut out = Vec::with_capacity(256);
    value.serialize(write::Writer { out: &mut out, depth: 0 })?;
    Ok(out)
}

/// Whether `bytes` are exactly the canonical form of the value that they hold.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).ok().and_then(|value| to_vec(&value).ok()).is_some_and(|again| again == bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn keys_are_sorted_by_bytes_and_nothing_is_spaced() {
        let bytes = to_vec(&json!({"b": 1, "a": [true, null, "ü\n"], "B": {}})).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), "{\"B\":{},\"a\":[true,null,\"ü\\n\"],\"b\":1}");
    }

    #[test]
    fn floats_and_large_integers_are_refused() {
        assert!(to_vec(&json!(1.5)).is_err());
        assert!(to_vec(&json!(INTEGER_MAX)).is_ok());
        assert!(to_vec(&json!(INTEGER_MAX + 1)).is_err());
    }

    #[test]
    fn other_spellings_of_the_same_value_are_not_canonical() {
        assert!(is_canonical(b"{\"a\":1}"));
        assert!(!is_canonical(b"{\"a\": 1}"));
        assert!(!is_canonical(b"{\"a\":1,\"a\":1}"));
    }

    /// The same by way of a tree of values: slow, and plain to see.
    fn plainly(value: &Value, depth: usize) -> Result<String, ()> {
        if depth > DEPTH_MAX {
            return Err(());
        }
        let all = |items: Vec<Result<String, ()>>| items.into_iter().collect::<Result<Vec<_>, _>>().map(|items| items.join(","));
        Ok(match value {
            Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
            Value::Number(n) => {
                let whole = n.as_u64().map(|n| n <= INTEGER_MAX).or_else(|| n.as_i64().map(|n| n.unsigned_abs() <= INTEGER_MAX));
                if whole == Some(true) { n.to_string() } else { return Err(()) }
            }
            Value::Array(items) => format!("[{}]", all(items.iter().map(|item| plainly(item, depth + 1)).collect())?),
            Value::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                keys.sort();
                let member = |key: &String| plainly(&map[key], depth + 1).map(|value| format!("{}:{value}", Value::from(key.as_str())));
                format!("{{{}}}", all(keys.into_iter().map(member).collect())?)
            }
        })
    }

    /// Every form that serde knows, with keys out of order.
    #[derive(Serialize)]
    struct All {
        z: Unit,
        b: Vec<Kinds>,
        a: BTreeMap<u8, Option<char>>,
        #[serde(flatten)]
        rest: HashMap<String, i64>,
        m: (u8, i8, bool),
        bytes: Bytes,
    }

    #[derive(Serialize)]
    struct Unit;

    #[derive(Serialize)]
    enum Kinds {
        Plain,
        New(u32),
        Tuple(u8, String),
        Fields { y: u8, x: Option<u8> },
    }

    struct Bytes;

    impl Serialize for Bytes {
        fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_bytes(b"ab")
        }
    }

    #[test]
    fn every_form_is_written_as_by_way_of_a_tree() {
        let all = All {
            z: Unit,
            b: vec![Kinds::Plain, Kinds::New(7), Kinds::Tuple(1, "\u{1}\"é".to_owned()), Kinds::Fields { y: 1, x: None }],
            a: BTreeMap::from([(10, Some('x')), (9, None)]),
            rest: HashMap::from([("n".to_owned(), -5), ("\u{7f}".to_owned(), 1), ("B\"".to_owned(), 2), ("é".to_owned(), 3)]),
            m: (1, -1, true),
            bytes: Bytes,
        };
        let plain = plainly(&serde_json::to_value(&all).unwrap(), 0).unwrap();
        assert_eq!(String::from_utf8(to_vec(&all).unwrap()).unwrap(), plain);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (0..=INTEGER_MAX).prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_value_is_written_as_by_way_of_a_tree(value in value()) {
            let bytes = to_vec(&value).map(|bytes| String::from_utf8(bytes).unwrap());
            prop_assert_eq!(bytes.ok(), plainly(&value, 0).ok());
        }
    }

    #[test]
    fn what_is_nested_too_deeply_is_refused_and_no_deeper() {
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, at| if at % 2 == 0 { json!([inner]) } else { json!({ "a": inner }) });
        assert!(to_vec(&nested(DEPTH_MAX)).is_ok());
        assert!(matches!(to_vec(&nested(DEPTH_MAX + 1)), Err(Error::Depth)));
    }
}
