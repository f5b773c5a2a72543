//! FIRST's scores of one day: comment lines, `cve,epss,percentile`, then a line for each CVE.

use super::input;
use crate::compile::{Builder, Taken};
use fother_core::advisory::{Day, cve_key, format::Epss};
use std::path::Path;

/// Reads it.
///
/// # Errors
/// Where it is damaged or has no header.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut taken = Taken::default();
    let mut day = None;
    let mut headed = false;
    input::lines(path, |line| {
        let line = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8")?;
        if line.starts_with('#') {
            // `#model_version:v2023.03.01,score_date:2024-01-13T00:00:00+0000`; other writers put the day anywhere.
            day = day.or_else(|| line.char_indices().find_map(|(at, _)| line.get(at..at + 10).and_then(Day::parse)));
        } else if !headed {
            headed = line.starts_with("cve,epss");
            if !headed {
                return Err("it has no header `cve,epss,percentile`".into());
            }
        } else if let Some(score) = score(line) {
            taken.one(None);
            builder.score(score);
        } else if !line.is_empty() {
            taken.skipped += 1;
        }
        Ok(())
    })?;
    taken.newest = day.unwrap_or_default();
    Ok(taken)
}

pub(crate) fn score(line: &str) -> Option<Epss> {
    let (cve, rest) = line.split_once(',')?;
    Some(Epss { key: cve_key(cve)?, millionths: millionths(rest.split(',').next()?)? })
}

/// A decimal fraction from 0 to 1 in millionths; further digits are cut off.
pub(crate) fn millionths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = fraction.bytes().chain(std::iter::repeat(b'0')).take(6);
    let value = digits.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    match whole {
        "0" => Some(value),
        "1" if value == 0 => Some(1_000_000),
        _ => None,
    }
}
