//! What an update closes, read from the changelog inside the vendor's package (deb(5), deb-changelog(5)); touches only the reader it is given.

use crate::compress::Compression;
use fother_core::{inventory::Closes, package::UpdateClass, text::printable, version::Version};
use std::{
    cmp::Ordering,
    collections::BTreeSet,
    io::{self, Read},
    path::Path,
};

/// Largest `data.tar`, unpacked, that is searched, in bytes.
pub const DATA_BYTES_MAX: u64 = 4 << 30;
/// Largest changelog, unpacked, in bytes.
pub const CHANGELOG_BYTES_MAX: u64 = 32 << 20;
/// Most members of a package that are looked at.
const MEMBERS_MAX: usize = 500_000;

/// What the changelog says about the step from one version to this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangelogFacts {
    /// Versions and suites of the entries that are newer than `from`, newest first.
    pub entries: Vec<(Version, String)>,
    /// CVEs that they name, each with the oldest entry that names it, sorted.
    pub closes: Vec<Closes>,
    /// Day of the newest entry that does more than build the package again, where its trailer says it.
    pub published: Option<String>,
    /// Security if they name CVEs or went to a security suite, else bugfix.
    pub class: UpdateClass,
    /// Whether the changelog reaches back to `from`; if not, there may be more (Debian cuts old entries off).
    pub complete: bool,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum ChangelogError {
    /// Not a package.
    #[error("package {package}: it is not a Debian package that can be read: {why}")]
    Damaged {
        /// Package name.
        package: String,
        /// Cause.
        why: String,
    },
    /// Its documentation is a link into another package's.
    #[error("package {package}: its changelog is in another package: {target}")]
    Elsewhere {
        /// Package name.
        package: String,
        /// Where the link leads.
        target: String,
    },
    /// It carries no changelog.
    #[error("package {package}: it carries no changelog")]
    Absent {
        /// Package name.
        package: String,
    },
}

/// Reads the changelog inside a package file. `from` is the installed *source* version; `None` reads every entry.
///
/// # Errors
/// Where there is no changelog that can be read: what the update closes is then unknown.
pub fn closes(deb: impl Read, package: &str, from: Option<&Version>) -> Result<ChangelogFacts, ChangelogError> {
    let damaged = |why: String| ChangelogError::Damaged { package: package.to_owned(), why };
    let mut members = ar::Archive::new(deb);
    while let Some(member) = members.next_entry() {
        let member = member.map_err(|error| damaged(error.to_string()))?;
        let name = String::from_utf8_lossy(member.header().identifier()).trim_end_matches('/').to_owned();
        if !name.starts_with("data.tar") {
            continue;
        }
        let compression = Compression::of_name(&name).filter(|c| *c != Compression::Plain || name == "data.tar");
        let compression = compression.ok_or_else(|| damaged(format!("{} is packed in an unknown way", printable(&name, 40))))?;
        let data = compression.reader(member).map_err(|error| damaged(error.to_string()))?;
        let text = find(data.take(DATA_BYTES_MAX), package)?;
        return Ok(facts(&text, from));
    }
    Err(damaged("it has no data.tar".to_owned()))
}

/// The text of the changelog in a package's data.
fn find(data: impl Read, package: &str) -> Result<String, ChangelogError> {
    let damaged = |error: io::Error| ChangelogError::Damaged { package: package.to_owned(), why: error.to_string() };
    let doc = Path::new("usr/share/doc").join(package);
    let mut native = None;
    for entry in tar::Archive::new(data).entries().map_err(damaged)?.take(MEMBERS_MAX) {
        let entry = entry.map_err(damaged)?;
        let path = entry.path().map_err(damaged)?.into_owned();
        let path = path.strip_prefix(".").unwrap_or(&path);
        if !path.starts_with(&doc) {
            continue;
        }
        let link = entry.header().entry_type().is_symlink() || entry.header().entry_type().is_hard_link();
        let name = path.strip_prefix(&doc).ok().and_then(Path::to_str).unwrap_or_default();
        if link && matches!(name, "" | "changelog.Debian.gz" | "changelog.gz") {
            let target = entry.link_name().map_err(damaged)?.map(|t| t.display().to_string()).unwrap_or_default();
            return Err(ChangelogError::Elsewhere { package: package.to_owned(), target: printable(&target, 200) });
        }
        if !link && matches!(name, "changelog.Debian.gz" | "changelog.gz" | "changelog.Debian" | "changelog") {
            let debian = name.starts_with("changelog.Debian");
            let compression = Compression::of_name(if name.ends_with(".gz") { "x.gz" } else { "x" }).unwrap_or(Compression::Plain);
            let mut bytes = Vec::new();
            compression.reader(entry).and_then(|r| r.take(CHANGELOG_BYTES_MAX).read_to_end(&mut bytes)).map_err(damaged)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if debian {
                return Ok(text);
            }
            native = Some(text);
        }
    }
    // A native package's own changelog; upstream's has no Debian headers and then yields no entry.
    native
        .filter(|text| text.lines().any(|line| header(line).is_some()))
        .ok_or_else(|| ChangelogError::Absent { package: package.to_owned() })
}

/// Reads the entries newer than `from`.
#[must_use]
pub fn facts(text: &str, from: Option<&Version>) -> ChangelogFacts {
    let mut entries: Vec<(Version, String)> = Vec::new();
    let mut closes: BTreeSet<Closes> = BTreeSet::new();
    let mut complete = from.is_none();
    let (mut open, mut published, mut only_builds) = (false, None, true);
    for line in text.lines() {
        if let Some((version, suite)) = header(line) {
            if from.is_some_and(|from| version.compare(from) != Ordering::Greater) {
                complete = true;
                break;
            }
            entries.push((version, suite.to_owned()));
            (open, only_builds) = (true, true);
        } else if let Some(trailer) = line.strip_prefix(" -- ") {
            open = false;
            if let (Some(day), Some((version, _))) = (day(trailer), entries.last()) {
                dated(&mut closes, version, &day);
                if !only_builds && published.is_none() {
                    published = Some(day);
                }
            }
        } else if let Some((version, _)) = entries.last().filter(|_| open) {
            only_builds &= line.trim().is_empty() || line.to_ascii_lowercase().contains("rebuild");
            for cve in cves(line) {
                closes.retain(|c| c.cve != cve);
                closes.insert(Closes { cve, evidence: format!("changelog {version}") });
            }
        }
    }
    let security = !closes.is_empty() || entries.iter().any(|(_, suite)| suite.contains("-security"));
    let class = if security { UpdateClass::Security } else { UpdateClass::Bugfix };
    ChangelogFacts { entries, closes: closes.into_iter().collect(), published, class, complete }
}

/// The day of an entry's trailer: `Name <mail>  Tue, 11 Nov 2025 20:14:00 +0100`.
fn day(trailer: &str) -> Option<String> {
    let date = trailer.rsplit_once("  ")?.1;
    let at = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(date.trim()).ok()?;
    Some(at.strftime("%Y-%m-%d").to_string())
}

/// Says of which day the entry is that names these.
fn dated(closes: &mut BTreeSet<Closes>, version: &Version, day: &str) {
    let evidence = format!("changelog {version}");
    let (mine, rest): (Vec<_>, Vec<_>) = std::mem::take(closes).into_iter().partition(|one| one.evidence == evidence);
    closes.extend(rest);
    closes.extend(mine.into_iter().map(|one| Closes { evidence: format!("{evidence} of {day}"), ..one }));
}

/// `name (version) suites; urgency=…`
fn header(line: &str) -> Option<(Version, &str)> {
    if line.starts_with([' ', '\t']) {
        return None;
    }
    let (name, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    let (suites, _) = rest.split_once(';')?;
    let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    if plain { Some((version.parse().ok()?, suites.trim())) } else { None }
}

/// The CVE ids in a text, upper case, in order of appearance.
pub fn cves(text: &str) -> impl Iterator<Item = String> + '_ {
    let upper = text.to_ascii_uppercase();
    let mut at = 0;
    std::iter::from_fn(move || {
        while let Some(found) = upper.get(at..)?.find("CVE-") {
            let start = at + found;
            let rest = &upper.as_bytes()[start + 4..];
            at = start + 4;
            let year = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let number = rest.get(year + 1..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
            if year == 4 && rest.get(4) == Some(&b'-') && (4..=19).contains(&number) {
                at = start + 9 + number;
                return upper.get(start..at).map(str::to_owned);
            }
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a (1-3) bookworm-security; urgency=high\n\n  * Fix CVE-2026-0001, cve-2026-12345 (CVE-2026-1)\n\n -- M <m@example>  Mon\n\n\
        a (1-2) bookworm; urgency=low\n\n  * Closes CVE-2026-0002 and CVE-2026-0001.\n\n -- M <m@example>  Mon CVE-2026-9999\n\n\
        a (1-1) bookworm; urgency=low\n\n  * CVE-2025-0001\n\n -- M <m@example>  Mon\n";

    #[test]
    fn only_entries_newer_than_the_installed_version_count() {
        let facts = facts(TEXT, Some(&"1-1".parse().unwrap()));
        let closes: Vec<_> = facts.closes.iter().map(|c| (c.cve.as_str(), c.evidence.as_str())).collect();
        assert_eq!(closes, [("CVE-2026-0001", "changelog 1-2"), ("CVE-2026-0002", "changelog 1-2"), ("CVE-2026-12345", "changelog 1-3")]);
        assert_eq!((facts.entries.len(), facts.class, facts.complete), (2, UpdateClass::Security, true));
    }

    #[test]
    fn a_changelog_that_was_cut_off_before_the_installed_version_is_not_complete() {
        let facts = facts(TEXT, Some(&"0.9-1".parse().unwrap()));
        assert_eq!((facts.entries.len(), facts.complete), (3, false));
    }

    #[test]
    fn the_day_of_an_entry_is_told_with_what_it_closes() {
        let text =
            "a (1-3) bookworm-security; urgency=high\n\n  * Fix CVE-2026-0001.\n\n -- M <m@example>  Tue, 11 Nov 2025 20:14:00 +0100\n";
        assert_eq!(facts(text, None).closes[0].evidence, "changelog 1-3 of 2025-11-11");
        assert_eq!(facts(text, None).published.as_deref(), Some("2025-11-11"));
        let built = format!(
            "a (1-4) b; urgency=low\n\n  * No-change rebuild against libb2.\n\n -- M <m@example>  Tue, 03 Feb 2026 10:00:00 +0000\n\n{text}"
        );
        assert_eq!(facts(&built, None).published.as_deref(), Some("2025-11-11"), "building it again publishes nothing");
        let odd = text.replace("Tue, 11 Nov", "Xyz, 99 Nov");
        assert_eq!(facts(&odd, None).closes[0].evidence, "changelog 1-3");
    }

    #[test]
    fn an_update_without_security_content_is_a_bugfix() {
        let facts = facts("a (2) bookworm; urgency=low\n\n  * x\n\n -- M  Mon\n", None);
        assert_eq!((facts.closes.len(), facts.class), (0, UpdateClass::Bugfix));
    }

    fn deb(members: &[(&str, &[u8], Option<&str>)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes, link) in members {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o644);
            match link {
                Some(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    header.set_size(0);
                    tar.append_link(&mut header, path, target).unwrap();
                }
                None => {
                    header.set_size(bytes.len() as u64);
                    tar.append_data(&mut header, path, *bytes).unwrap();
                }
            }
        }
        let data = zstd::encode_all(tar.into_inner().unwrap().as_slice(), 1).unwrap();
        let mut out = ar::Builder::new(Vec::new());
        out.append(&ar::Header::new(b"debian-binary".to_vec(), 4), &b"2.0\n"[..]).unwrap();
        out.append(&ar::Header::new(b"data.tar.zst".to_vec(), data.len() as u64), data.as_slice()).unwrap();
        out.into_inner().unwrap()
    }

    #[test]
    fn the_changelog_is_found_in_a_package_and_a_link_elsewhere_is_said() {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::Write::write_all(&mut gz, TEXT.as_bytes()).unwrap();
        let gz = gz.finish().unwrap();
        let good = deb(&[("./usr/share/doc/b/changelog.Debian.gz", b"x", None), ("./usr/share/doc/a/changelog.Debian.gz", &gz, None)]);
        assert_eq!(closes(good.as_slice(), "a", None).unwrap().closes.len(), 4);
        let link = deb(&[("./usr/share/doc/a", b"", Some("libb"))]);
        assert!(matches!(closes(link.as_slice(), "a", None), Err(ChangelogError::Elsewhere { target, .. }) if target == "libb"));
        assert!(matches!(closes(deb(&[]).as_slice(), "a", None), Err(ChangelogError::Absent { .. })));
        assert!(matches!(closes(&good[..good.len() / 2], "a", None), Err(ChangelogError::Damaged { .. } | ChangelogError::Absent { .. })));
        assert!(matches!(closes(&b"no package"[..], "a", None), Err(ChangelogError::Damaged { .. })));
    }
}
