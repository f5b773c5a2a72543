//! What was recorded about vulnerabilities around a day, read for back-tests from a directory; touches the file system only.
//!
//! The directory holds `cvss-bt.csv`, one or more `epss*.csv` (FIRST's form), `known_exploited_vulnerabilities*` (CISA's CSV or JSON)
//! and, where the first lacks their columns, `metasploit*`, `nuclei*` and `exploitdb*`; each may be packed.

use crate::vendor::{epss, input, lifecycle};
use fother_core::{
    advisory::{Day, cve_key, cve_text},
    cvss::Score,
    rank::backtest::{Entry, History, Listed},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Most vulnerabilities.
const ENTRIES_MAX: usize = 2_000_000;
/// Most files of the directory that are looked at.
const FILES_MAX: usize = 10_000;
/// Largest catalogue, in bytes.
const CATALOGUE_BYTES_MAX: u64 = 64 << 20;

#[derive(Deserialize)]
struct Catalogue {
    vulnerabilities: Vec<Exploited>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exploited {
    #[serde(rename = "cveID")]
    cve_id: String,
    date_added: String,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Recorded {
    /// All of it.
    pub history: History,
    /// The newest day of any fact in the directory: nothing in it is of later.
    pub newest: Day,
    /// What is not there, for people.
    pub missing: Vec<String>,
}

/// Reads a directory, and later catalogues of known exploited vulnerabilities beside it.
///
/// # Errors
/// Where a file is damaged, with its name, or there is no `cvss-bt.csv`.
pub fn read(dir: &Path, catalogues: &[PathBuf]) -> Result<Recorded, String> {
    let mut out = Recorded::default();
    let names = names(dir)?;
    let starting = |start: &str| names.iter().filter(|name| name.starts_with(start)).map(|name| dir.join(name)).collect::<Vec<_>>();
    let named = |path: &Path, why: String| format!("{}: {why}", path.display());
    let [main] = &starting("cvss-bt.csv")[..] else {
        return Err(format!("{}: it needs one cvss-bt.csv (or .gz)", dir.display()));
    };
    let columns = scores_and_lists(&mut out.history, main).map_err(|why| named(main, why))?;
    out.newest = out.history.lists_of;
    for path in starting("epss") {
        let day = scores(&mut out.history, &path).map_err(|why| named(&path, why))?;
        out.newest = out.newest.max(day);
    }
    for path in starting("known_exploited_vulnerabilities") {
        let newest = catalogue(&mut out.history, &path).map_err(|why| named(&path, why))?;
        out.newest = out.newest.max(newest);
    }
    type Set = fn(&mut Listed);
    let lists: [(&str, Set); 3] =
        [("metasploit", |l| l.metasploit = true), ("nuclei", |l| l.nuclei = true), ("exploitdb", |l| l.exploit_db = true)];
    for (name, set) in lists {
        if columns.iter().any(|column| column == name) {
            continue;
        }
        let files = starting(name);
        if files.is_empty() {
            out.missing.push(format!("no column and no list `{name}`: it counts for nothing"));
        }
        for path in files {
            list(&mut out.history, &path, set).map_err(|why| named(&path, why))?;
        }
    }
    for name in ["cisa_kev", "vulncheck_kev", "poc_github", "base_vector"] {
        if !columns.iter().any(|column| column == name) {
            out.missing.push(format!("no column `{name}`: it counts as not known"));
        }
    }
    for path in catalogues {
        catalogue(&mut out.history, path).map_err(|why| named(path, why))?;
    }
    Ok(out)
}

fn names(dir: &Path) -> Result<Vec<String>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)?.take(FILES_MAX) {
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn entry<'a>(history: &'a mut History, id: &str) -> Result<Option<&'a mut Entry>, String> {
    let Some(key) = cve_key(id) else { return Ok(None) };
    if history.entries.len() >= ENTRIES_MAX {
        return Err(format!("more than {ENTRIES_MAX} vulnerabilities"));
    }
    Ok(Some(history.entries.entry(cve_text(key)).or_default()))
}

/// Base scores, the lists' columns and the scores of that day; the day is that of the newest vulnerability in it. Returns its columns.
fn scores_and_lists(history: &mut History, path: &Path) -> Result<Vec<String>, String> {
    let mut columns: Vec<String> = Vec::new();
    let mut scored: BTreeMap<String, u32> = BTreeMap::new();
    input::lines(path, |line| {
        let line = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8")?;
        let Some(row) = lifecycle::csv(line).next() else { return Ok(()) };
        if columns.is_empty() {
            columns = row;
            return if columns.iter().any(|name| name == "cve") { Ok(()) } else { Err("its header has no column `cve`".into()) };
        }
        let field = |name: &str| columns.iter().position(|column| column == name).and_then(|at| row.get(at)).map_or("", String::as_str);
        let is = |name: &str| field(name).eq_ignore_ascii_case("true");
        let published = Day::parse(field("published_date")).unwrap_or_default();
        history.lists_of = history.lists_of.max(published);
        let Some(known) = entry(history, field("cve"))? else { return Ok(()) };
        known.published = published;
        known.score = tenths(field("base_score"));
        field("base_vector").clone_into(&mut known.vector);
        known.listed = Listed {
            kev: is("cisa_kev"),
            exploited: is("vulncheck_kev"),
            metasploit: is("metasploit"),
            nuclei: is("nuclei"),
            exploit_db: is("exploitdb"),
            public_exploit: is("poc_github"),
        };
        if let Some(score) = epss::millionths(field("epss")) {
            scored.insert(field("cve").to_owned(), score);
        }
        Ok(())
    })?;
    let day = history.lists_of;
    if !day.is_known() {
        return Err("no row has a `published_date`, so it has no day".into());
    }
    for (id, score) in scored {
        if let Some(known) = entry(history, &id)? {
            known.epss.insert(day, score);
        }
    }
    Ok(columns)
}

/// `9.8` as 98.
fn tenths(text: &str) -> Option<Score> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let tenths = whole.parse::<u8>().ok()?.checked_mul(10)?.checked_add(fraction.get(..1)?.parse().ok()?)?;
    (tenths <= 100).then_some(Score(tenths))
}

/// FIRST's scores of one day, for the vulnerabilities that are known; returns the day.
fn scores(history: &mut History, path: &Path) -> Result<Day, String> {
    let mut day = Day::default();
    input::lines(path, |line| {
        let line = std::str::from_utf8(line).map_err(|_| "a line is not UTF-8")?;
        if line.starts_with('#') {
            day = line.char_indices().find_map(|(at, _)| line.get(at..at + 10).and_then(Day::parse)).unwrap_or(day);
        } else if let Some(score) = epss::score(line) {
            if !day.is_known() {
                return Err("it does not say of which day it is (`#…,score_date:…`)".into());
            }
            if let Some(known) = history.entries.get_mut(&cve_text(score.key)) {
                known.epss.insert(day, score.millionths);
            }
        }
        Ok(())
    })?;
    Ok(day)
}

/// CISA's catalogue, for the vulnerabilities that are known; the earliest day counts. Returns its newest day.
fn catalogue(history: &mut History, path: &Path) -> Result<Day, String> {
    let mut text = Vec::new();
    input::open(path)?.take(CATALOGUE_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let text = String::from_utf8(text).map_err(|_| "it is not UTF-8")?;
    let rows: Vec<(String, String)> = if text.trim_start().starts_with('{') {
        let read: Catalogue = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        read.vulnerabilities.into_iter().map(|row| (row.cve_id, row.date_added)).collect()
    } else {
        let mut rows = lifecycle::csv(&text);
        let header = rows.next().ok_or("it is empty")?;
        let column = |name: &str| header.iter().position(|field| field == name).ok_or_else(|| format!("it has no column {name}"));
        let (id, added) = (column("cveID")?, column("dateAdded")?);
        rows.filter_map(|row| Some((row.get(id)?.clone(), row.get(added)?.clone()))).collect()
    };
    let mut newest = Day::default();
    for (id, added) in rows {
        let Some(added) = Day::parse(&added) else { continue };
        newest = newest.max(added);
        if let Some(known) = history.entries.get_mut(&id) {
            known.kev_added = Some(known.kev_added.map_or(added, |before| before.min(added)));
        }
    }
    history.kev_until = history.kev_until.max(newest);
    Ok(newest)
}

fn list(history: &mut History, path: &Path, set: fn(&mut Listed)) -> Result<(), String> {
    input::lines(path, |line| {
        for at in memchr::memmem::find_iter(line, b"CVE-") {
            let len = line[at + 4..].iter().take_while(|b| b.is_ascii_digit() || **b == b'-').count();
            let id = std::str::from_utf8(&line[at..at + 4 + len]).unwrap_or_default();
            if let Some(known) = history.entries.get_mut(id) {
                set(&mut known.listed);
            }
        }
        Ok(())
    })
}
