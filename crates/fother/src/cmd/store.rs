//! `fother store`: where the server's memory is, and moving, backing up and restoring it.

use super::Context;
use crate::{
    cli::{At, Store as Verb},
    failure::{FAILED, FINE, Failure, REFUSED, USAGE},
    output::{Format, envelope},
    sure::Sure,
};
use fother_core::{Timestamp, checkpoint::VerifierKey};
use fother_server::Identity;
use fother_store::{DATABASE, Place, Progress, Standing, Store, Transferred, survey, transfer};
use serde_json::json;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(2);

/// Runs the command.
pub fn run(context: &Context, verb: Verb) -> Result<u8, Failure> {
    match verb {
        Verb::Show { at } => show(context, &at),
        Verb::Migrate { at, from_store, from_blobs, from_data_dir, sure } => {
            let from_dir = from_data_dir.unwrap_or_else(|| at.data_dir.clone());
            let from = Place::find(Some(&from_store), Some(from_blobs.as_deref().unwrap_or("below")))?;
            migrate(context, (&from_dir, &from), &at, sure)
        }
        Verb::Backup { dir, at, without_keys, sure } => backup(context, &dir, &at, !without_keys, sure),
        Verb::Restore { dir, at, sure } => restore(context, &dir, &at, sure),
        Verb::Reopen { at, sure } => reopen(&at, sure),
    }
}

/// Where the command line, the environment or a credential say that the store is.
pub fn place(at: &At) -> Result<Place, Failure> {
    Place::find(at.store.as_deref(), at.blobs.as_deref()).map_err(|error| Failure::new(USAGE, error.to_string(), "see --help"))
}

/// Opens an existing store to look at it.
pub fn look(dir: &Path, place: &Place) -> Result<Store, Failure> {
    if !place.is_shared() && !dir.join(DATABASE).exists() {
        let what = format!("{} is no data directory of a server", dir.display());
        return Err(Failure::new(
            USAGE,
            what,
            "give the one that `fother serve` was started with, by --data-dir, and its --store and --blobs",
        ));
    }
    Ok(Store::open_read_only_at(dir, place)?)
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

fn key(dir: &Path) -> Result<VerifierKey, Failure> {
    Ok(Identity::open_existing(dir)?.log_verifier()?)
}

fn show(context: &Context, at: &At) -> Result<u8, Failure> {
    let place = place(at)?;
    let store = look(&at.data_dir, &place)?;
    let about = survey(&store, None)?;
    let (root, standing) = (store.root(about.events)?, standing(&store.standing()?));
    if context.format == Format::Json {
        let data = json!({"place": place.to_string(), "standing": standing, "events": about.events, "root": root,
            "blobs": about.blobs, "blob_bytes": about.bytes});
        envelope("store", &data, &[])?;
    } else {
        println!("{place}: {standing}");
        println!("{} events, root {root}; {} blobs of {}", about.events, about.blobs, size(about.bytes));
    }
    Ok(FINE)
}

fn standing(standing: &Standing) -> String {
    match standing {
        Standing::InUse => "in use".to_owned(),
        Standing::Moved { to, at } => format!("moved to {to} at {at}"),
        Standing::Unfinished => "unfinished: a migration or restore into it has not ended".to_owned(),
        Standing::Backup { at } => format!("a backup of {at}"),
    }
}

fn migrate(context: &Context, (from_dir, from_place): (&Path, &Place), at: &At, sure: Sure) -> Result<u8, Failure> {
    let to_place = place(at)?;
    if to_place.to_string() == from_place.to_string() && at.data_dir == from_dir {
        return Err(Failure::new(
            USAGE,
            format!("the store is already there: {to_place}"),
            "name another place with --store, --blobs or --data-dir",
        ));
    }
    fother_server::unserved(from_dir).map_err(|error| Failure::new(REFUSED, error.to_string(), "stop the server first"))?;
    let key = key(from_dir)?;
    let from = look(from_dir, from_place)?;
    match from.standing()? {
        Standing::InUse => {}
        other => return Err(Failure::new(REFUSED, format!("{from_place} is {}", standing(&other)), "name the store that is in use")),
    }
    let to = if sure.dry_run { None } else { Some(empty_or_unfinished(&at.data_dir, &to_place)?) };
    let plan = survey(&from, to.as_ref())?;
    let what = format!("move {} events and {} blobs ({}) from {from_place} to {to_place}", plan.events, plan.blobs, size(plan.bytes));
    let (true, Some(to)) = (sure.ask(&what)?, to) else { return Ok(FINE) };
    to.mark(&Standing::Unfinished)?;
    Identity::copy(from_dir, &at.data_dir)?;
    let moved = Standing::Moved { to: to_place.to_string(), at: now() };
    drop(from);
    let from = Store::open_standing(from_dir, from_place)?;
    // Whoever still writes to a shared store is refused from here on; a data directory is locked by its server.
    if from_place.is_shared() {
        from.mark(&moved)?;
    }
    let done = verified(transfer(&from, &to, &key, &mut told())?, &to_place)?;
    from.mark(&moved)?;
    to.mark(&Standing::InUse)?;
    print(context, &done, &format!("moved to {to_place}; {from_place} in {} does not start any more", from_dir.display()))
}

/// The target of a transfer: nothing in it, or what was cut off before.
fn empty_or_unfinished(dir: &Path, place: &Place) -> Result<Store, Failure> {
    let to = Store::open_standing(dir, place)?;
    match to.standing()? {
        Standing::Unfinished => Ok(to),
        Standing::InUse if to.size()? == 0 => Ok(to),
        other => {
            let what = format!("{place} holds a store that is {}", standing(&other));
            Err(Failure::new(REFUSED, what, "choose an empty place: nothing is ever overwritten"))
        }
    }
}

fn backup(context: &Context, dir: &Path, at: &At, keys: bool, sure: Sure) -> Result<u8, Failure> {
    let place = place(at)?;
    let key = key(&at.data_dir)?;
    let from = look(&at.data_dir, &place)?;
    let plan = survey(&from, None)?;
    if !sure.go(&format!("copy {} events and {} blobs ({}) to {}", plan.events, plan.blobs, size(plan.bytes), dir.display())) {
        return Ok(FINE);
    }
    let to = Store::open_standing(dir, &Place::default())?;
    match to.standing()? {
        // What is there is a whole backup at every moment of the copy.
        Standing::Backup { .. } | Standing::Unfinished => {}
        Standing::InUse if to.size()? == 0 => to.mark(&Standing::Unfinished)?,
        other => {
            let what = format!("{} holds a store that is {}", dir.display(), standing(&other));
            return Err(Failure::new(REFUSED, what, "choose a new directory, or an earlier backup"));
        }
    }
    let began = now();
    if keys {
        Identity::copy(&at.data_dir, dir)?;
    }
    let done = verified(transfer(&from, &to, &key, &mut told())?, &Place::default())?;
    to.mark(&Standing::Backup { at: began })?;
    print(context, &done, &format!("backed up to {}", dir.display()))
}

fn restore(context: &Context, dir: &Path, at: &At, sure: Sure) -> Result<u8, Failure> {
    let place = place(at)?;
    fother_server::unserved(&at.data_dir).map_err(|error| Failure::new(REFUSED, error.to_string(), "stop the server first"))?;
    let from = look(dir, &Place::default())?;
    match from.standing()? {
        Standing::Backup { .. } => {}
        other => return Err(Failure::new(REFUSED, format!("{} is {}", dir.display(), standing(&other)), "name a finished backup")),
    }
    let keys = if dir.join("keys").exists() { dir } else { &at.data_dir };
    let key = key(keys)?;
    let plan = survey(&from, None)?;
    let what = format!("make a store of {} events and {} blobs at {place}; its server begins a new epoch", plan.events, plan.blobs);
    if !sure.ask(&what)? {
        return Ok(FINE);
    }
    let to = empty_or_unfinished(&at.data_dir, &place)?;
    to.mark(&Standing::Unfinished)?;
    if keys == dir {
        Identity::copy(dir, &at.data_dir)?;
    }
    let done = verified(transfer(&from, &to, &key, &mut told())?, &place)?;
    fother_server::restored(&to)?;
    to.mark(&Standing::InUse)?;
    print(context, &done, "restored; start the server, wait until the hosts have checked in, then `fother resume --all`")
}

fn reopen(at: &At, sure: Sure) -> Result<u8, Failure> {
    let place = place(at)?;
    look(&at.data_dir, &place)?;
    let store = Store::open_standing(&at.data_dir, &place)?;
    let Standing::Moved { to, .. } = store.standing()? else {
        return Err(Failure::new(REFUSED, format!("{place} has not moved: it is {}", standing(&store.standing()?)), ""));
    };
    if sure.ask(&format!("let a server work on {place} again; the store at {to} must never be started any more"))? {
        store.mark(&Standing::InUse)?;
        println!("{place} is in use again");
    }
    Ok(FINE)
}

/// Tells progress on standard error, once in a while.
fn told() -> impl FnMut(Progress) {
    let mut last = Instant::now();
    move |progress| {
        if last.elapsed() >= TELL_EVERY {
            last = Instant::now();
            let Progress { blobs: (blobs, all_blobs), events: (events, all_events), bytes } = progress;
            eprintln!("{blobs} of {all_blobs} blobs ({} written), {events} of {all_events} events", size(bytes));
        }
    }
}

/// Refuses a copy that does not verify: nothing was marked, so the original stays in use.
fn verified(done: Transferred, place: &Place) -> Result<Transferred, Failure> {
    let problems = done.report.as_ref().map(|report| report.problems.iter().take(5).map(ToString::to_string).collect::<Vec<_>>());
    match problems {
        Some(problems) if problems.is_empty() => Ok(done),
        Some(problems) => {
            let what = format!("the copy at {place} does not verify: {}", problems.join("; "));
            Err(Failure::new(FAILED, what, "the original stays in use; look at its own `fother log verify`, then run this again"))
        }
        None => Err(Failure::new(FAILED, "the copy was not verified", "run this again")),
    }
}

fn print(context: &Context, done: &Transferred, what: &str) -> Result<u8, Failure> {
    let Some(report) = &done.report else { return Ok(FINE) };
    if context.format == Format::Json {
        let data = json!({"events": report.size, "root": report.root, "blobs": report.blobs, "blob_bytes": done.bytes});
        envelope("store-transfer", &data, &[])?;
    } else {
        println!("{what}");
        println!("verified: {} events, root {}; {} blobs re-hashed", report.size, report.root, report.blobs);
    }
    Ok(FINE)
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["B", "KiB", "MiB", "GiB"];
    let (mut amount, mut unit) = (bytes, 0);
    while amount >= 10_240 && unit + 1 < UNITS.len() {
        (amount, unit) = (amount / 1_024, unit + 1);
    }
    format!("{amount} {}", UNITS[unit])
}
