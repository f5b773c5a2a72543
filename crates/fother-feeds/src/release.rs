//! Release files: what an archive says about one suite, and the hashes of its indexes (wiki.debian.org/DebianRepository/Format); pure.

use fother_core::{Digest, Timestamp, deb822::Stanza, text::printable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most files that one Release may list.
pub const FILES_MAX: usize = 100_000;

/// One index as the Release file lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256.
    pub sha256: Digest,
}

/// The facts of a Release file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// `Origin`, for example `Debian`; empty if absent.
    pub origin: String,
    /// `Label`; empty if absent.
    pub label: String,
    /// `Suite`; empty if absent.
    pub suite: String,
    /// `Codename`; empty if absent.
    pub codename: String,
    /// `Version`; empty if absent.
    pub version: String,
    /// `Date`: when it was made.
    pub date: Timestamp,
    /// `Valid-Until`: when it stops being valid.
    pub valid_until: Option<Timestamp>,
    /// `Architectures`.
    pub architectures: Vec<String>,
    /// `Components`.
    pub components: Vec<String>,
    /// Whether `all` packages have indexes of their own that must be read too.
    pub separate_all: bool,
    /// `NotAutomatic`: nothing of it is installed unless asked for.
    pub not_automatic: bool,
    /// `ButAutomaticUpgrades`: but what is installed of it is upgraded.
    pub but_automatic_upgrades: bool,
    /// `Acquire-By-Hash`.
    pub by_hash: bool,
    /// The `SHA256` table: path below the suite's directory, and the file.
    pub files: BTreeMap<String, FileEntry>,
}

/// Why a Release file cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReleaseError {
    /// No date: its age could not be judged.
    #[error("it has no Date that can be read ({0:?})")]
    Date(String),
    /// `Valid-Until` is there but cannot be read.
    #[error("its Valid-Until cannot be read ({0:?})")]
    ValidUntil(String),
    /// No SHA-256 table.
    #[error("it has no SHA256 table: weaker digests are not accepted")]
    NoTable,
    /// A line of the table is malformed, or a path stands twice.
    #[error("its SHA256 table has a bad line: {0}")]
    Line(String),
    /// More than [`FILES_MAX`] files.
    #[error("its SHA256 table lists more than {FILES_MAX} files")]
    TooMany,
}

impl Release {
    /// Reads the text of a Release file.
    ///
    /// # Errors
    /// Where a fact that safety rests on is missing or malformed.
    pub fn parse(text: &str) -> Result<Self, ReleaseError> {
        let stanza = Stanza::parse(text);
        let get = |name: &str| stanza.get(name).unwrap_or_default().to_owned();
        let words = |name: &str| stanza.get(name).unwrap_or_default().split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let yes = |name: &str| stanza.get(name).is_some_and(|v| v.eq_ignore_ascii_case("yes"));
        let date = stanza.get("Date").and_then(parse_date).ok_or_else(|| ReleaseError::Date(printable(&get("Date"), 60)))?;
        let valid_until = match stanza.get("Valid-Until") {
            None => None,
            Some(text) => Some(parse_date(text).ok_or_else(|| ReleaseError::ValidUntil(printable(text, 60)))?),
        };
        let architectures = words("Architectures");
        let separate_all =
            architectures.iter().any(|a| a == "all") && !words("No-Support-for-Architecture-all").iter().any(|w| w == "Packages");
        Ok(Self {
            origin: get("Origin"),
            label: get("Label"),
            suite: get("Suite"),
            codename: get("Codename"),
            version: get("Version"),
            date,
            valid_until,
            architectures,
            components: words("Components"),
            separate_all,
            not_automatic: yes("NotAutomatic"),
            but_automatic_upgrades: yes("ButAutomaticUpgrades"),
            by_hash: yes("Acquire-By-Hash"),
            files: table(stanza.get("SHA256").ok_or(ReleaseError::NoTable)?)?,
        })
    }
}

fn table(text: &str) -> Result<BTreeMap<String, FileEntry>, ReleaseError> {
    let mut files = BTreeMap::new();
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let bad = || ReleaseError::Line(printable(line, 120));
        let mut words = line.split_whitespace();
        let (Some(hash), Some(size), Some(path), None) = (words.next(), words.next(), words.next(), words.next()) else {
            return Err(bad());
        };
        let sha256 = Digest::from_hex(&hash.to_ascii_lowercase()).map_err(|_| bad())?;
        let size = size.parse().map_err(|_| bad())?;
        if path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(bad());
        }
        if files.len() == FILES_MAX {
            return Err(ReleaseError::TooMany);
        }
        if files.insert(path.to_owned(), FileEntry { size, sha256 }).is_some_and(|old| old != FileEntry { size, sha256 }) {
            return Err(bad());
        }
    }
    Ok(files)
}

/// Reads a date as Debian's archives write it: RFC 1123 with `UTC`, `GMT`, `Z` or `+0000` (`Sat, 11 Jul 2026 10:12:49 UTC`).
#[must_use]
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let mut words = text.split_ascii_whitespace();
    let weekday = words.next()?;
    if !weekday.ends_with(',') {
        return None;
    }
    let day: i8 = words.next()?.parse().ok()?;
    let month = words.next()?;
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = i8::try_from(MONTHS.iter().position(|m| *m == month)?).ok()? + 1;
    let year: i16 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<i8>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if clock.next().is_some() || !matches!(words.next()?, "UTC" | "GMT" | "Z" | "+0000") || words.next().is_some() {
        return None;
    }
    let civil = jiff::civil::DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    let seconds = civil.duration_since(jiff::civil::DateTime::new(1970, 1, 1, 0, 0, 0, 0).ok()?).as_secs();
    Some(Timestamp(u64::try_from(seconds).ok()?.checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn dates_are_read_as_archives_write_them() {
        let want = "2026-07-11T10:12:49Z".parse().ok();
        assert_eq!(parse_date("Sat, 11 Jul 2026 10:12:49 UTC"), want);
        assert_eq!(parse_date("Sat, 11 Jul 2026 10:12:49 +0000"), want);
        for bad in
            ["", "Sat, 11 Jul 2026 10:12:49", "Sat, 11 Jul 2026 10:12:49 CET", "Sat, 32 Jul 2026 10:12:49 UTC", "11 Jul 2026 10:12:49 UTC"]
        {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_release_is_read() {
        let text = format!(
            "Origin: Debian\nSuite: stable\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:12:49 UTC\nArchitectures: all amd64\n\
             No-Support-for-Architecture-all: Packages\nComponents: main\nSHA256:\n {HASH} 0 main/binary-amd64/Packages\n"
        );
        let release = Release::parse(&text).unwrap();
        assert_eq!((release.codename.as_str(), release.valid_until, release.separate_all), ("bookworm", None, false));
        assert_eq!(release.files["main/binary-amd64/Packages"].size, 0);
    }

    #[test]
    fn a_release_without_what_safety_rests_on_is_refused() {
        let date = "Date: Sat, 11 Jul 2026 10:12:49 UTC\n";
        assert!(matches!(Release::parse(&format!("SHA256:\n {HASH} 0 a\n")), Err(ReleaseError::Date(_))));
        assert_eq!(Release::parse(date), Err(ReleaseError::NoTable));
        assert!(matches!(Release::parse(&format!("{date}Valid-Until: soon\nSHA256:\n {HASH} 0 a\n")), Err(ReleaseError::ValidUntil(_))));
        for line in [
            format!("{HASH} 0 ../a"),
            format!("{HASH} 0 /a"),
            format!("{HASH} x a"),
            "abc 0 a".to_owned(),
            format!("{HASH} 0 a\n {HASH} 1 a"),
        ] {
            assert!(matches!(Release::parse(&format!("{date}SHA256:\n {line}\n")), Err(ReleaseError::Line(_))), "{line}");
        }
    }
}
