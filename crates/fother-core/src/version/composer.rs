//! Versions of PHP packages (Composer, "Versions and constraints": `VersionParser::normalize`, then PHP's `version_compare`).

use super::semver;
use std::cmp::Ordering;

/// Longest version, in bytes.
const BYTES_MAX: usize = 256;
/// Most numbers before the stability.
const NUMBERS_MAX: usize = 4;

/// A version in its normal form.
struct Parts<'a> {
    release: &'a str,
    /// alpha 1, beta 2, RC 3, release 4, patch 5.
    stability: u8,
    numbers: &'a str,
    /// A branch alias (`-dev`) comes before what it becomes.
    is_dev: bool,
}

/// Their order; `None` where one names a branch or is no version.
#[must_use]
pub fn compare(a: &str, b: &str) -> Option<Ordering> {
    let (a, b) = (parts(a)?, parts(b)?);
    let by_stability = || a.stability.cmp(&b.stability).then_with(|| semver::release(a.numbers, b.numbers));
    Some(semver::release(a.release, b.release).then_with(by_stability).then_with(|| b.is_dev.cmp(&a.is_dev)))
}

fn parts(text: &str) -> Option<Parts<'_>> {
    let text = text.trim().split('+').next().filter(|text| text.len() <= BYTES_MAX)?;
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let (text, is_dev) = match text.len().checked_sub(3).and_then(|at| Some((text.get(..at)?, text.get(at..)?))) {
        Some((rest, end)) if end.eq_ignore_ascii_case("dev") => (rest.strip_suffix(['-', '.'])?, true),
        Some(_) | None => (text, false),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (release, rest) = text.split_at(end);
    let release = release.strip_suffix('.').filter(|_| !rest.is_empty()).unwrap_or(release);
    if !is_dotted(release) || release.split('.').count() > NUMBERS_MAX {
        return None;
    }
    let rest = rest.strip_prefix(['-', '.', '_']).unwrap_or(rest);
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let stability = match rest[..end].to_ascii_lowercase().as_str() {
        "alpha" | "a" => 1,
        "beta" | "b" => 2,
        "rc" => 3,
        "" | "stable" => 4,
        "patch" | "pl" | "p" => 5,
        _ => return None,
    };
    let numbers = rest[end..].trim_start_matches(['.', '-']);
    let numbers = if numbers.is_empty() { "0" } else { numbers };
    is_dotted(numbers).then_some(Parts { release, stability, numbers, is_dev })
}

fn is_dotted(text: &str) -> bool {
    text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::compare;
    use std::cmp::Ordering;

    #[test]
    fn stabilities_are_in_composers_order() {
        let chain = [
            "1.0.0-alpha1",
            "1.0.0-alpha2",
            "1.0-beta.2",
            "1.0.0b10",
            "1.0.0-RC1-dev",
            "v1.0.0-RC1",
            "1.0",
            "1.0.0-p1",
            "1.0.1-dev",
            "1.0.1",
            "1.10",
        ];
        for (at, low) in chain.iter().enumerate() {
            for high in &chain[at + 1..] {
                assert_eq!(compare(low, high), Some(Ordering::Less), "{low} {high}");
                assert_eq!(compare(high, low), Some(Ordering::Greater), "{high} {low}");
            }
        }
        assert_eq!(compare("v1.0", "1.0.0.0"), Some(Ordering::Equal));
        for bad in ["dev-master", "", "1.x-dev", "1.0-foo", "1.2.3.4.5", "é", "1.0.0-rc-"] {
            assert!(compare(bad, "1.0").is_none() || bad == "1.0.0-rc-", "{bad}");
        }
    }
}
