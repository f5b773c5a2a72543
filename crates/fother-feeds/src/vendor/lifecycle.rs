//! Dates and limits of support: distro-info-data's CSV files and debian-security-support's lists.

use super::input;
use crate::compile::{Builder, Taken};
use fother_core::{advisory::Day, version::scheme::Scheme};
use std::{io::Read as _, path::Path};

/// Largest file, in bytes.
const BYTES_MAX: u64 = 16 << 20;

fn text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    input::open(path)?.take(BYTES_MAX).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Rows of a CSV text (RFC 4180, without line breaks in quotes).
pub(crate) fn csv(text: &str) -> impl Iterator<Item = Vec<String>> + '_ {
    text.lines().filter(|line| !line.is_empty()).map(|line| {
        let (mut row, mut field, mut quoted) = (Vec::new(), String::new(), false);
        let mut chars = line.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '"' if quoted && chars.peek() == Some(&'"') => {
                    chars.next();
                    field.push('"');
                }
                '"' => quoted = !quoted,
                ',' if !quoted => row.push(std::mem::take(&mut field)),
                c => field.push(c),
            }
        }
        row.push(field);
        row
    })
}

/// Reads a distribution's release and end dates.
///
/// # Errors
/// Where it is damaged or lacks a column.
pub fn dates(builder: &mut Builder, path: &Path, distribution: &str) -> Result<Taken, String> {
    let text = text(path)?;
    let mut rows = csv(&text);
    let header = rows.next().ok_or("it is empty")?;
    let column = |name: &str| header.iter().position(|field| field == name);
    let (series, release, eol) = (column("series"), column("release"), column("eol"));
    let (Some(series), Some(release), Some(eol)) = (series, release, eol) else { return Err("it lacks series, release or eol".into()) };
    let (lts, elts) = (column("eol-lts").or_else(|| column("eol-server")), column("eol-elts").or_else(|| column("eol-esm")));
    let version = column("version");
    let mut taken = Taken::default();
    for row in rows {
        let day = |at: Option<usize>| at.and_then(|at| row.get(at)).and_then(|field| Day::parse(field)).unwrap_or_default();
        let Some(series) = row.get(series).filter(|series| !series.is_empty()) else {
            taken.skipped += 1;
            continue;
        };
        taken.one(None);
        // Ubuntu's advisories count by version, Debian's by codename.
        let name = match version.and_then(|at| row.get(at)) {
            Some(version) if distribution == "ubuntu" => ubuntu(version),
            Some(_) | None => format!("{distribution}:{series}"),
        };
        let at = builder.release(&name, Scheme::Dpkg)?;
        builder.lifecycle(at, day(Some(release)), day(Some(eol)), day(lts), day(elts));
    }
    Ok(taken)
}

/// `22.04 LTS` as OSV names it: `Ubuntu:22.04:LTS`.
fn ubuntu(version: &str) -> String {
    format!("Ubuntu:{}", version.replace(" LTS", ":LTS"))
}

/// Reads the list of packages whose support has ended, or is limited.
///
/// # Errors
/// Where it is damaged, or its release cannot be told.
pub fn support(builder: &mut Builder, path: &Path, origin: &str, ended: bool) -> Result<Taken, String> {
    let text = text(path)?;
    let mut taken = Taken::default();
    let release = release(&text, origin)?;
    let release = builder.release(&format!("debian:{release}"), Scheme::Dpkg)?;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (package, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        if !ended {
            builder.support(release, package, Day::default(), "", rest.trim())?;
            taken.one(None);
            continue;
        }
        let mut words = rest.split_whitespace();
        let (Some(version), Some(day)) = (words.next(), words.next().and_then(Day::parse)) else {
            taken.skipped += 1;
            continue;
        };
        builder.support(release, package, day, version, &words.collect::<Vec<_>>().join(" "))?;
        taken.one(None);
    }
    Ok(taken)
}

/// Which release a list speaks about: its name ends in `.deb12`, or its links lead to that release's notes.
fn release(text: &str, origin: &str) -> Result<String, String> {
    let of_name = origin.rsplit_once(".deb").and_then(|(_, version)| fother_core::assess::debian_codename(version));
    let of_links = || text.split_once("/releases/").and_then(|(_, rest)| rest.split('/').next());
    let of_version = || {
        // `0.6.10-1+deb12u1`: the newest of these says for which release the list was made.
        let versions = text.match_indices("+deb").filter_map(|(at, _)| text.get(at + 4..at + 6)?.parse::<u32>().ok());
        versions.max().and_then(|version| fother_core::assess::debian_codename(&version.to_string()))
    };
    let found = of_name.or_else(of_links).or_else(of_version);
    found.map(str::to_owned).ok_or_else(|| "which release it speaks about cannot be told; name the file `….deb12`".into())
}
