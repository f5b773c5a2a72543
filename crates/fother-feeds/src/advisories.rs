//! Simple readers of advisories: the Debian tracker's lists, CISA's KEV catalogue, FIRST's EPSS scores; reads files.

use crate::{
    changelog::cves,
    compress::{Compression, UNPACKED_BYTES_MAX},
};
use fother_core::{text::printable, version::Version};
use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Largest feed file, packed, in bytes.
pub const FEED_BYTES_MAX: u64 = 64 << 20;

/// One advisory's fix of one source package in one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// For example `DSA-5865-1`.
    pub advisory: String,
    /// `YYYY-MM-DD`.
    pub date: String,
    /// First source version that is fixed.
    pub fixed: Version,
    /// CVE ids; may be empty.
    pub cves: Arc<[String]>,
}

/// One entry of the catalogue of known exploited vulnerabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exploited {
    /// `YYYY-MM-DD`.
    pub added: String,
    /// `YYYY-MM-DD`.
    pub due: String,
}

/// What the feeds say.
#[derive(Clone, Debug, Default)]
pub struct Advisories {
    /// By release codename, then source package.
    fixes: HashMap<String, HashMap<String, Vec<Fix>>>,
    /// Known exploited CVEs.
    kev: BTreeMap<String, Exploited>,
    /// Probability of exploitation in 30 days, in millionths, by packed CVE id, sorted.
    epss: Vec<(u64, u32)>,
    /// Files that were read.
    pub feeds: Vec<String>,
    /// What could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

impl Advisories {
    /// Fixes of a source package in a release.
    #[must_use]
    pub fn fixes(&self, codename: &str, source: &str) -> &[Fix] {
        self.fixes.get(codename).and_then(|r| r.get(source)).map_or(&[], Vec::as_slice)
    }

    /// Fixes that an installed source version lacks.
    pub fn missing<'a>(&'a self, codename: &str, source: &str, installed: &'a Version) -> impl Iterator<Item = &'a Fix> + use<'a> {
        self.fixes(codename, source).iter().filter(|fix| installed.compare(&fix.fixed).is_lt())
    }

    /// Whether a CVE is known to be exploited.
    #[must_use]
    pub fn exploited(&self, cve: &str) -> Option<&Exploited> {
        self.kev.get(cve)
    }

    /// Probability that a CVE is exploited in the next 30 days, in millionths.
    #[must_use]
    pub fn epss_millionths(&self, cve: &str) -> Option<u32> {
        let key = packed(cve)?;
        self.epss.binary_search_by_key(&key, |(id, _)| *id).ok().map(|at| self.epss[at].1)
    }

    /// Takes in what another set holds of the kinds that this one lacks.
    fn merge(&mut self, other: Self) {
        if self.fixes.is_empty() {
            self.fixes = other.fixes;
        }
        if self.epss.is_empty() {
            self.epss = other.epss;
        }
        self.kev.extend(other.kev);
        self.feeds.extend(other.feeds);
        self.unknown.extend(other.unknown);
    }

    /// Adds the text of a tracker list (`DSA/list` or `DLA/list`); lines that are not understood are passed over, as the tracker's format grows.
    pub fn add_tracker_list(&mut self, text: &str) {
        let mut head: Option<(String, String)> = None;
        let mut ids: Arc<[String]> = Arc::from([]);
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix('[') {
                ids = Arc::from([]);
                head = rest.split_once("] ").and_then(|(date, rest)| Some((iso_date(date)?, rest.split(' ').next()?.to_owned())));
            } else if let Some(list) = line.trim().strip_prefix('{') {
                ids = cves(list).collect();
            } else if let (Some((date, advisory)), Some((codename, source, fixed))) = (&head, fixed_line(line)) {
                let fix = Fix { advisory: advisory.clone(), date: date.clone(), fixed, cves: Arc::clone(&ids) };
                let fixes = self.fixes.entry(codename.to_owned()).or_default().entry(source.to_owned()).or_default();
                if !fixes.contains(&fix) {
                    fixes.push(fix);
                }
            }
        }
    }

    /// Adds the KEV catalogue (JSON).
    ///
    /// # Errors
    /// Where it is not one.
    pub fn add_kev(&mut self, json: &[u8]) -> Result<(), String> {
        #[derive(serde::Deserialize)]
        struct Catalogue {
            vulnerabilities: Vec<Entry>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Entry {
            #[serde(rename = "cveID")]
            cve_id: String,
            date_added: String,
            #[serde(default)]
            due_date: String,
        }
        let catalogue: Catalogue = serde_json::from_slice(json).map_err(|error| format!("not a KEV catalogue: {error}"))?;
        self.kev.extend(catalogue.vulnerabilities.into_iter().map(|e| (e.cve_id, Exploited { added: e.date_added, due: e.due_date })));
        Ok(())
    }

    /// Adds EPSS scores (CSV with the columns `cve,epss,percentile`, comment lines before them).
    ///
    /// # Errors
    /// Where it holds no score.
    pub fn add_epss(&mut self, csv: &str) -> Result<(), String> {
        let score = |line: &str| {
            let (cve, rest) = line.split_once(',')?;
            Some((packed(cve)?, millionths(rest.split(',').next()?)?))
        };
        let before = self.epss.len();
        self.epss.extend(csv.lines().filter_map(score));
        if self.epss.len() == before {
            return Err("no EPSS scores in it".to_owned());
        }
        if !self.epss.is_sorted() {
            self.epss.sort_unstable();
        }
        self.epss.dedup_by_key(|(id, _)| *id);
        Ok(())
    }
}

/// Reads a directory with `debian/`, `kev/` and `epss/` as in the shared feeds: every tracker list, the newest catalogue and scores by name.
/// What cannot be read is in [`Advisories::unknown`].
///
/// # Errors
/// Where the directory itself cannot be read.
pub fn load_dir(dir: &Path) -> io::Result<Advisories> {
    fs::read_dir(dir)?;
    let mut all = Advisories::default();
    let lists = names(&dir.join("debian"), |n| (n.starts_with("DSA") || n.starts_with("DLA")) && n.contains("list"));
    let kev = names(&dir.join("kev"), |n| n.contains("known_exploited") && n.contains(".json") && !n.contains("schema"));
    let epss = names(&dir.join("epss"), |n| n.contains("epss_scores") && n.contains(".csv"));
    // The scores are by far the most: they are unpacked beside the rest.
    std::thread::scope(|scope| {
        let scores = scope.spawn(|| read_kind("EPSS scores", newest(epss), dir));
        all.merge(read_kind("tracker list", lists, dir));
        all.merge(read_kind("KEV catalogue", newest(kev), dir));
        match scores.join() {
            Ok(scores) => all.merge(scores),
            Err(_) => all.unknown.push("the EPSS scores could not be read: internal error".to_owned()),
        }
    });
    Ok(all)
}

fn newest(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    paths.into_iter().next_back().into_iter().collect()
}

/// Reads the files of one kind.
fn read_kind(what: &str, paths: Vec<PathBuf>, dir: &Path) -> Advisories {
    let mut all = Advisories::default();
    if paths.is_empty() {
        all.unknown.push(format!("no {what} in {}", dir.display()));
    }
    for path in paths {
        let result = unpacked(&path).and_then(|bytes| match what {
            "KEV catalogue" => all.add_kev(&bytes),
            "EPSS scores" => all.add_epss(&String::from_utf8_lossy(&bytes)),
            _ => {
                all.add_tracker_list(&String::from_utf8_lossy(&bytes));
                Ok(())
            }
        });
        match result {
            Ok(()) => all.feeds.push(path.display().to_string()),
            Err(why) => all.unknown.push(format!("{}: {}", path.display(), printable(&why, 200))),
        }
    }
    all
}

fn names(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> =
        entries.map(|e| e.path()).filter(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(&wanted)).collect();
    paths.sort();
    paths
}

fn unpacked(path: &Path) -> Result<Vec<u8>, String> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    // A date in the name (`DSA.list.2025-02-13`) is no ending of a packed form.
    let compression = Compression::of_name(name).ok_or_else(|| "packed in an unknown way".to_owned())?;
    if fs::metadata(path).map_err(|e| e.to_string())?.len() > FEED_BYTES_MAX {
        return Err(format!("larger than {FEED_BYTES_MAX} bytes"));
    }
    let packed = fs::read(path).map_err(|e| e.to_string())?;
    compression.unpack(&packed, UNPACKED_BYTES_MAX).map_err(|e| e.to_string())
}

/// `[bookworm] - source version`, perhaps with a remark behind.
fn fixed_line(line: &str) -> Option<(&str, &str, Version)> {
    let (codename, rest) = line.trim_start().strip_prefix('[')?.split_once("] - ")?;
    let mut words = rest.split_whitespace();
    let source = words.next()?;
    Some((codename, source, words.next()?.parse().ok()?))
}

/// `12 Feb 2025` as `2025-02-12`.
fn iso_date(text: &str) -> Option<String> {
    let mut words = text.split_whitespace();
    let day: u8 = words.next()?.parse().ok()?;
    let month = words.next()?.get(..3)?;
    let at = "JanFebMarAprMayJunJulAugSepOctNovDec".find(month).filter(|at| at % 3 == 0)?;
    let year: u16 = words.next()?.parse().ok()?;
    Some(format!("{year:04}-{:02}-{day:02}", at / 3 + 1))
}

/// A CVE id as one number: its year and its number.
fn packed(cve: &str) -> Option<u64> {
    let (year, number) = cve.strip_prefix("CVE-")?.split_once('-')?;
    let (year, number): (u16, u32) = (year.parse().ok()?, number.parse().ok()?);
    Some(u64::from(year) << 32 | u64::from(number))
}

/// A decimal fraction from 0 to 1 in millionths; further digits are cut off.
fn millionths(text: &str) -> Option<u32> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracker_lists_say_which_version_fixes_what() {
        let mut all = Advisories::default();
        all.add_tracker_list(
            "[12 Feb 2025] DSA-2-1 s - security update\n\t{CVE-2025-0001 CVE-2025-0002}\n\t[bookworm] - s 1.2-1\n\t[trixie] - s 2.0-1 (x)\n\
             [1 Jan 2024] DSA-1-1 s - no ids\n\t[bookworm] - s 1.1-1\n\tNOTE: x\n\t[bookworm] - s <not-affected>\n",
        );
        let installed = "1.1-1".parse().unwrap();
        let missing: Vec<_> = all.missing("bookworm", "s", &installed).collect();
        let [fix] = missing.as_slice() else { panic!("{missing:?}") };
        assert_eq!((fix.advisory.as_str(), fix.date.as_str(), fix.cves.len()), ("DSA-2-1", "2025-02-12", 2));
        assert_eq!(all.fixes("bookworm", "s").len(), 2);
        assert_eq!(all.fixes("bookworm", "s")[1].cves.len(), 0);
        assert!(all.fixes("bullseye", "s").is_empty());
    }

    #[test]
    fn scores_and_catalogues_are_read_and_garbage_is_not() {
        let mut all = Advisories::default();
        all.add_epss("#model\ncve,epss,percentile\nCVE-2025-0002,0.5,1\nCVE-2025-10001,0.00001,0\nCVE-2025-3,7,0\n").unwrap();
        assert_eq!(all.epss_millionths("CVE-2025-10001"), Some(10));
        assert_eq!(all.epss_millionths("CVE-2025-0002"), Some(500_000));
        assert_eq!(all.epss_millionths("CVE-2025-3"), None);
        assert!(all.add_epss("x").is_err());
        all.add_kev(br#"{"vulnerabilities":[{"cveID":"CVE-2025-0002","dateAdded":"2025-01-01","dueDate":"2025-01-22"}]}"#).unwrap();
        assert_eq!(all.exploited("CVE-2025-0002").map(|e| e.due.as_str()), Some("2025-01-22"));
        assert_eq!(all.exploited("CVE-2025-0001"), None);
        assert!(all.add_kev(b"{}").is_err());
    }
}
