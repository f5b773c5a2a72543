//! `fother feeds`: advisories taken in, compiled, kept fresh.

use super::Context;
use crate::{
    cli::Feeds,
    failure::{FAILED, FINE, Failure, UNKNOWN, USAGE},
    output::{Format, envelope, table},
};
use fother_core::advisory::{
    Day,
    reader::{self, FeedInfo},
};
use fother_feeds::{
    database,
    fetch::HttpFetch,
    intake::{self, Intake, Offered, Outcome},
    sources_table::{self, seen::Seen},
    trust::Keyring,
    vendor::Kind,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Where feeds and database are kept unless the command line says otherwise.
pub fn default_dir() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return "/var/lib/fother/feeds".into();
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
    std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or_else(home).unwrap_or_default().join("fother/feeds")
}

/// Runs the command.
pub fn run(context: &Context, verb: &Feeds) -> Result<u8, Failure> {
    match verb {
        Feeds::Update { names, sources, dir, dry_run } => update(context, names, sources.as_deref(), dir.as_deref(), *dry_run),
        Feeds::Import { offered: Some(list), force, dir, .. } => {
            let outcome = intake_of(dir.as_deref()).take(fetched(list)?, fother_host::scan::clock(), *force)?;
            report(context, &outcome)
        }
        Feeds::Import { paths, kind, force, dir, keyring, offered: None } => {
            let kind = kind.as_deref().map(|name| Kind::of_name(name).ok_or_else(|| no_kind(name))).transpose()?;
            let mut offered = Vec::new();
            for path in paths {
                if !path.exists() {
                    return Err(Failure::new(USAGE, format!("{} does not exist", path.display()), "name files or folders with feeds"));
                }
                offered.extend(intake::offered(path, kind));
            }
            let mut intake = intake_of(dir.as_deref());
            if let Some(keyring) = keyring {
                let read = Keyring::from_files(std::slice::from_ref(keyring));
                intake = intake.trusting(read.map_err(|error| Failure::new(USAGE, error.to_string(), "name the vendor's public key"))?);
            }
            let outcome = intake.take(offered, fother_host::scan::clock(), *force)?;
            report(context, &outcome)
        }
        Feeds::Status { dir, max_age, verify } => status(context, dir.as_deref(), *max_age, *verify),
    }
}

fn no_kind(name: &str) -> Failure {
    let names = Kind::ALL.map(Kind::name).join(", ");
    Failure::new(USAGE, format!("there is no kind of feed `{name}`"), format!("one of {names}"))
}

fn intake_of(dir: Option<&Path>) -> Intake {
    Intake::new(&dir.map_or_else(default_dir, Path::to_owned))
}

fn update(context: &Context, names: &[String], sources: Option<&Path>, dir: Option<&Path>, dry_run: bool) -> Result<u8, Failure> {
    let text = sources.map(std::fs::read_to_string).transpose()?;
    let table_of = sources_table::parse(text.as_deref().unwrap_or(sources_table::BUILT_IN)).map_err(|why| Failure::new(USAGE, why, ""))?;
    let wanted: Vec<_> = table_of.into_iter().filter(|s| names.is_empty() || names.iter().any(|name| s.name.starts_with(name))).collect();
    if wanted.is_empty() {
        return Err(Failure::new(USAGE, "no source has such a name", "fother feeds update --dry-run lists them"));
    }
    if dry_run {
        let rows: Vec<Vec<String>> = wanted.iter().map(|s| vec![s.name.clone(), s.kind.name().into(), s.url.clone()]).collect();
        table(&["name", "kind", "address"], &rows);
        return Ok(FINE);
    }
    let work = tempfile::tempdir()?;
    let fetch = HttpFetch::from_machine()?;
    let dir = dir.map_or_else(default_dir, Path::to_owned);
    let seen = Seen::of(&dir)?;
    let sources_table::Fetched { offered, unchanged, failed, answers } = sources_table::fetch(&fetch, &wanted, work.path(), &seen);
    for why in &failed {
        eprintln!("fother: {why}; what was taken in before stays");
    }
    for name in &unchanged {
        eprintln!("fother: {name}: as it was");
    }
    if offered.is_empty() && unchanged.is_empty() {
        return Err(Failure::new(FAILED, "no feed could be fetched", "bring files here and use `fother feeds import`"));
    }
    if offered.is_empty() {
        return Ok(if failed.is_empty() { FINE } else { FAILED });
    }
    let list = work.path().join("offered.json");
    std::fs::write(&list, serde_json::to_vec(&offered.iter().map(Fetched::of).collect::<Vec<_>>())?)?;
    // What came from the network is read where there is none.
    let format = if context.format == Format::Json { "json" } else { "table" };
    let words = ["--format", format, "feeds", "import", "--dir"].map(std::ffi::OsString::from);
    let words = words.into_iter().chain([dir.clone().into(), "--offered".into(), list.into()]).collect::<Vec<_>>();
    let started = crate::reader::Started { arguments: words, scan: None };
    let code = crate::reader::supervise(std::slice::from_ref(&dir), false, &started)?;
    // What was refused is not in use, and is asked for again.
    seen.write(answers, &dir)?;
    Ok(if failed.is_empty() { code } else { code.max(FAILED) })
}

/// A fetched file as the import is told of it.
#[derive(Serialize, Deserialize)]
struct Fetched {
    path: PathBuf,
    origin: String,
    kind: Option<String>,
}

impl Fetched {
    fn of(offered: &Offered) -> Self {
        Self { path: offered.path.clone(), origin: offered.origin.clone(), kind: offered.kind.map(|kind| kind.name().into()) }
    }
}

fn fetched(list: &Path) -> Result<Vec<Offered>, Failure> {
    let all: Vec<Fetched> = serde_json::from_slice(&std::fs::read(list)?)?;
    let offered = |one: Fetched| Offered { path: one.path, origin: one.origin, kind: one.kind.as_deref().and_then(Kind::of_name) };
    Ok(all.into_iter().map(offered).collect())
}

fn report(context: &Context, outcome: &Outcome) -> Result<u8, Failure> {
    match context.format {
        Format::Json => envelope("feeds-import", outcome, &outcome.refused)?,
        Format::Table => {
            outcome.taken.iter().for_each(|name| println!("taken in     {name}"));
            outcome.passed_over.iter().for_each(|why| println!("passed over  {why}"));
            outcome.refused.iter().for_each(|why| println!("REFUSED      {why}"));
            let digest = outcome.database.map(|digest| digest.short()).unwrap_or_default();
            println!("database     {digest}, {} KiB", outcome.bytes >> 10);
        }
    }
    Ok(if outcome.refused.is_empty() { FINE } else { FAILED })
}

fn status(context: &Context, dir: Option<&Path>, max_age: Option<u32>, verify: bool) -> Result<u8, Failure> {
    let db = database::open(&intake_of(dir).database())?;
    if verify {
        db.verify()?;
    }
    let feeds = db.feeds()?;
    let today = Day::of(fother_host::scan::clock());
    let stale = reader::stale(&feeds, today, max_age);
    match context.format {
        Format::Json => envelope("feeds", &json!({"built": db.created(), "digest": db.digest(), "feeds": feeds}), &stale)?,
        Format::Table => {
            let row = |feed: &FeedInfo| {
                let state = if feed.stale(today, max_age).is_some() { "STALE" } else { "fresh" };
                let digest = feed.sha256.get(..12).unwrap_or_default().to_owned();
                vec![feed.name.clone(), feed.date.to_string(), state.into(), feed.records.to_string(), digest, feed.origin.clone()]
            };
            table(&["feed", "newest entry", "state", "records", "sha256", "from"], &feeds.iter().map(row).collect::<Vec<_>>());
            println!("\ndatabase {} of {}{}", db.digest().short(), db.created(), if verify { ", every byte verified" } else { "" });
            stale.iter().for_each(|why| println!("stale: {why}"));
        }
    }
    Ok(if stale.is_empty() { FINE } else { UNKNOWN })
}
