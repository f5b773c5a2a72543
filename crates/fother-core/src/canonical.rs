//! Canonical JSON: keys sorted by bytes, no white space, UTF-8 unescaped, no floats, integers below 2^53.
//!
//! Everything that is hashed or signed goes through here, so that the same value always has the same bytes.

use serde::Serialize;
use serde_json::Value;

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
    let tree = serde_json::to_value(value)?;
    let mut out = Vec::with_capacity(256);
    write(&tree, 0, &mut out)?;
    Ok(out)
}

/// Whether `bytes` are exactly the canonical form of the value that they hold.
#[must_use]
pub fn is_canonical(bytes: &[u8]) -> bool {
    serde_json::from_slice::<Value>(bytes).ok().and_then(|value| to_vec(&value).ok()).is_some_and(|again| again == bytes)
}

fn write(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    if depth > DEPTH_MAX {
        return Err(Error::Depth);
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let fits = number.as_u64().map(|n| n <= INTEGER_MAX).or_else(|| number.as_i64().map(|n| n.unsigned_abs() <= INTEGER_MAX));
            if fits != Some(true) {
                return Err(Error::Number(number.to_string()));
            }
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::String(text) => serde_json::to_writer(&mut *out, text)?,
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push(b'{');
            for (index, key) in keys.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write(&map[key.as_str()], depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
