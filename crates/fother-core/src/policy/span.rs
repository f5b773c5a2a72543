//! Lengths of time as a team writes them: seconds, or `"15m"`, `"3h"`, `"1h30m"`, `"30d"`. Pure.

use serde::{Deserializer, de};
use std::{fmt, marker::PhantomData};

/// What a written length looks like, for schemas.
pub const PATTERN: &str = "^([0-9]+[smhdw])+$";
/// Longest written length, in bytes.
const BYTES_MAX: usize = 32;

/// Reads a number of seconds or a written length.
///
/// # Errors
/// Neither of both, or more than fits.
pub fn seconds<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(Seconds(PhantomData))
}

/// The same where it may be left out.
///
/// # Errors
/// As [`seconds`].
pub fn maybe<'de, D: Deserializer<'de>, T: TryFrom<u64>>(deserializer: D) -> Result<Option<T>, D::Error> {
    seconds(deserializer).map(Some)
}

struct Seconds<T>(PhantomData<T>);

impl<T: TryFrom<u64>> de::Visitor<'_> for Seconds<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of seconds, or a length such as \"15m\", \"3h\", \"1h30m\" or \"30d\"")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<T, E> {
        T::try_from(value).map_err(|_| E::invalid_value(de::Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<T, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        parse(text).and_then(|value| T::try_from(value).ok()).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Seconds of a written length.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    if text.is_empty() || text.len() > BYTES_MAX {
        return None;
    }
    let (mut rest, mut total) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let unit = match tail.bytes().next()? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        total = number.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(total)?;
        rest = &tail[1..];
    }
    Some(total)
}

/// The shortest writing of a number of seconds.
#[must_use]
pub fn written(mut seconds: u64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, word) in [(86_400, 'd'), (3_600, 'h'), (60, 'm'), (1, 's')] {
        if seconds >= unit {
            out.push_str(&(seconds / unit).to_string());
            out.push(word);
            seconds %= unit;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_and_written() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("3h", 10_800), ("1h30m", 5_400), ("30d", 2_592_000), ("2w", 1_209_600)] {
            assert_eq!(parse(text), Some(seconds));
            assert_eq!(parse(&written(seconds)), Some(seconds));
        }
        for text in ["", "15", "m", "1.5h", "-1h", "3 h", "3H", "99999999999999999999d", "18446744073709551615w"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
