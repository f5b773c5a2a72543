//! Feeds taken in, kept, and compiled: a directory with the last good copy of each, a list of them, and the database. Touches that directory.
//!
//! A feed that is damaged, cut short, older or much smaller than the last good one never takes its place.

mod bundle;
mod names;
pub mod published;

use crate::{
    compile::{self, Builder, Pending, Sealed, Taken},
    trust::Keyring,
    vendor::{self, About, Kind, sniff},
};
use fother_core::{Digest, Timestamp, advisory::Day, text::printable};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Most files that one import looks at.
pub const FILES_MAX: usize = 10_000;
/// Deepest folder that is looked into.
pub const DEPTH_MAX: usize = 8;
const LIST: &str = "feeds.json";
const DATABASE: &str = "advisories.db";
const COPIES: &str = "files";

/// A feed as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Name of its kind.
    pub kind: String,
    /// Where it came from.
    pub origin: String,
    /// SHA-256 of its bytes: the name of its copy.
    pub digest: Digest,
    /// When it was taken in.
    pub imported: Timestamp,
    /// Day on which its file was last written, days since 1970.
    pub modified: u32,
    /// The newest date inside it, days since 1970; 0 where it has none.
    pub date: u32,
    /// Records taken from it.
    pub records: u32,
}

/// A file on offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The file.
    pub path: PathBuf,
    /// Where it came from, for people: a path or an address.
    pub origin: String,
    /// What it is, if its giver knows.
    pub kind: Option<Kind>,
}

/// What came of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Feeds that are new or changed, by name.
    pub taken: Vec<String>,
    /// Feeds that were refused, with the reason; the last good one of each, if any, stays.
    pub refused: Vec<String>,
    /// Files that are no feed, with the reason.
    pub passed_over: Vec<String>,
    /// Digest of the new database.
    pub database: Option<Digest>,
    /// Bytes of the new database.
    pub bytes: u64,
}

/// Why nothing could be taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The directory cannot be used.
    #[error("feeds directory {path}: {error}; check its owner and the free space")]
    Directory {
        /// Path.
        path: String,
        /// Cause.
        error: io::Error,
    },
    /// Nothing was on offer or everything was refused.
    #[error("no feed could be taken in: {0}")]
    Nothing(String),
    /// The database could not be built.
    #[error("the advisory database could not be built: {0}")]
    Compile(String),
}

/// The directory.
#[derive(Debug)]
pub struct Intake {
    dir: PathBuf,
    keyring: Option<Keyring>,
}

impl Intake {
    /// Names a directory; it is made when something is taken in.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), keyring: None }
    }

    /// The same where CSAF files must be signed by one of these keys.
    #[must_use]
    pub fn trusting(self, keyring: Keyring) -> Self {
        Self { keyring: Some(keyring), ..self }
    }

    /// The database's file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.join(DATABASE)
    }

    fn failed(&self, error: io::Error) -> IntakeError {
        IntakeError::Directory { path: self.dir.display().to_string(), error }
    }

    /// The feeds that are kept, by name.
    ///
    /// # Errors
    /// Where the list cannot be read.
    pub fn kept(&self) -> Result<BTreeMap<String, Kept>, IntakeError> {
        match fs::read(self.dir.join(LIST)) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| self.failed(io::Error::other(error))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn copy_of(&self, digest: &Digest) -> PathBuf {
        self.dir.join(COPIES).join(digest.hex())
    }

    /// Takes files in and builds the database anew from them and from what is kept. `force` lets older and smaller feeds in.
    ///
    /// # Errors
    /// Where nothing is left to build from, or the directory cannot be used.
    pub fn take(&self, offered: Vec<Offered>, now: Timestamp, force: bool) -> Result<Outcome, IntakeError> {
        fs::create_dir_all(self.dir.join(COPIES)).map_err(|error| self.failed(error))?;
        // One import at a time; the lock goes with the file handle.
        let lock = fs::File::create(self.dir.join("lock")).map_err(|error| self.failed(error))?;
        lock.lock().map_err(|error| self.failed(error))?;
        let kept = self.kept()?;
        let mut outcome = Outcome::default();
        let candidates = self.candidates(offered, now, &mut outcome)?;
        let mut plan: BTreeMap<String, Kept> = kept.clone();
        for (name, candidate) in candidates {
            if kept.get(&name).is_none_or(|old| old.digest != candidate.digest) {
                plan.insert(name, candidate);
            }
        }
        let (database, sealed) = loop {
            if plan.is_empty() {
                let why = outcome.refused.first().or(outcome.passed_over.first()).cloned();
                return Err(IntakeError::Nothing(why.unwrap_or_else(|| "nothing was offered".into())));
            }
            match self.compile(&mut plan, &kept, now, force)? {
                Ok(built) => break built,
                Err((name, why)) => {
                    let good = kept.get(&name).filter(|good| plan.get(&name).is_some_and(|bad| bad.digest != good.digest));
                    let left = if good.is_some() { "the last good one stays" } else { "there is no earlier one" };
                    let origin = plan.get(&name).map(|bad| bad.origin.clone()).unwrap_or_default();
                    outcome.refused.push(format!("{name} ({origin}): {}; {left}", printable(&why, 300)));
                    match good {
                        Some(good) => plan.insert(name, good.clone()),
                        None => plan.remove(&name),
                    };
                }
            }
        };
        outcome.taken = plan.iter().filter(|(name, feed)| kept.get(*name) != Some(feed)).map(|(name, _)| name.clone()).collect();
        database.place(&self.database()).map_err(|error| self.failed(error))?;
        let list = serde_json::to_vec_pretty(&plan).map_err(|error| self.failed(io::Error::other(error)))?;
        compile::write(&self.dir.join(LIST), &list).map_err(|error| self.failed(error))?;
        self.sweep(&plan);
        outcome.bytes = sealed.bytes;
        outcome.database = Some(Digest(sealed.digest));
        Ok(outcome)
    }

    /// Copies each file, tells its kind, and gives it a name; of several for one name the one with the newest date wins.
    fn candidates(&self, offered: Vec<Offered>, now: Timestamp, outcome: &mut Outcome) -> Result<Vec<(String, Kept)>, IntakeError> {
        let mut named: BTreeMap<String, Vec<Kept>> = BTreeMap::new();
        let judge = |path: &Path, kind| published::judge(path, kind, self.keyring.as_ref(), now);
        let bundles = bundle::bundled(offered, &self.dir.join(COPIES), &judge).map_err(|error| self.failed(error))?;
        outcome.refused.extend(bundles.refused);
        for offer in bundles.offered {
            let kind = match offer.kind.map_or_else(|| sniff::kind(&offer.path), Ok) {
                Ok(kind) => kind,
                Err(why) => {
                    outcome.passed_over.push(format!("{}: {}", offer.origin, printable(&why, 200)));
                    continue;
                }
            };
            let (digest, modified) = match self.copy(&offer.path)? {
                Ok(copied) => copied,
                Err(why) => {
                    outcome.refused.push(format!("{}: {why}", offer.origin));
                    continue;
                }
            };
            let name = names::feed(kind, &offer.origin);
            let feed = Kept { kind: kind.name().into(), origin: offer.origin, digest, imported: now, modified, date: 0, records: 0 };
            named.entry(name).or_default().push(feed);
        }
        let mut out = Vec::new();
        for (name, mut feeds) in named {
            feeds.dedup_by_key(|feed| feed.digest);
            if feeds.len() > 1 {
                // Which is newest is inside of them.
                for feed in &mut feeds {
                    let mut scratch = Builder::default();
                    let taken = self.about(&name, feed).map(|about| vendor::read(&mut scratch, &about, &self.copy_of(&feed.digest)));
                    feed.date = taken.and_then(Result::ok).map_or(0, |taken| taken.newest.0);
                }
                feeds.sort_by_key(|feed| feed.date);
            }
            let best = feeds.pop();
            outcome.passed_over.extend(feeds.iter().map(|feed| format!("{}: a newer one for {name} is there", feed.origin)));
            out.extend(best.map(|best| (name, best)));
        }
        Ok(out)
    }

    /// Copies a file under the name of its digest.
    fn copy(&self, path: &Path) -> Result<Result<(Digest, u32), String>, IntakeError> {
        let copies = self.dir.join(COPIES);
        let mut out = tempfile::NamedTempFile::new_in(&copies).map_err(|error| self.failed(error))?;
        let mut file = match fs::File::open(path) {
            Ok(file) => file,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let (mut hash, mut block, mut total) = (Sha256::new(), vec![0; 64 << 10], 0_u64);
        loop {
            let read = match file.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) => return Ok(Err(error.to_string())),
            };
            total += read as u64;
            if total > vendor::input::PACKED_BYTES_MAX {
                return Ok(Err(format!("it is larger than {} bytes", vendor::input::PACKED_BYTES_MAX)));
            }
            hash.update(&block[..read]);
            out.write_all(&block[..read]).map_err(|error| self.failed(error))?;
        }
        let digest = Digest(hash.finalize().into());
        let target = self.copy_of(&digest);
        if !target.exists() {
            out.persist(&target).map_err(|error| self.failed(error.error))?;
        }
        let modified = file.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
        Ok(Ok((digest, modified.map_or(0, |since| u32::try_from(since.as_secs() / 86_400).unwrap_or(0)))))
    }

    fn about(&self, name: &str, feed: &Kept) -> Option<About> {
        Some(About {
            name: name.to_owned(),
            kind: Kind::of_name(&feed.kind)?,
            origin: feed.origin.clone(),
            imported: feed.imported,
            modified: Day(feed.modified),
            digest: feed.digest,
        })
    }

    /// Builds the database; the inner error names the feed that must go.
    fn compile(
        &self,
        plan: &mut BTreeMap<String, Kept>,
        kept: &BTreeMap<String, Kept>,
        now: Timestamp,
        force: bool,
    ) -> Result<Compiled, IntakeError> {
        let mut builder = Builder::default();
        for (name, feed) in plan.iter_mut() {
            let bad = |why: String| Ok(Err((name.clone(), why)));
            let Some(about) = self.about(name, feed) else { return bad(format!("its kind {} is not known", feed.kind)) };
            let taken = match vendor::read(&mut builder, &about, &self.copy_of(&feed.digest)) {
                Ok(taken) => taken,
                Err(why) => return bad(why),
            };
            let old = kept.get(name).filter(|old| old.digest != feed.digest && !force);
            if let Some(why) = old.and_then(|old| regression(old, taken)) {
                return bad(why);
            }
            (feed.date, feed.records) = (taken.newest.0, taken.records);
        }
        let mut database = Pending::beside(&self.database()).map_err(|error| self.failed(error))?;
        let sealed = builder.finish_into(now, database.file()).map_err(IntakeError::Compile)?;
        Ok(Ok((database, sealed)))
    }

    /// Removes copies that no feed uses; what cannot be removed is tried again next time.
    fn sweep(&self, plan: &BTreeMap<String, Kept>) {
        let used: BTreeSet<String> = plan.values().map(|feed| feed.digest.hex()).collect();
        for entry in fs::read_dir(self.dir.join(COPIES)).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_none_or(|name| !used.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

/// A database that waits to be published, or the feed that must go and why.
type Compiled = Result<(Pending, Sealed), (String, String)>;

/// Why a feed may not follow the one that is kept.
fn regression(old: &Kept, new: Taken) -> Option<String> {
    if new.newest.is_known() && new.newest.0 < old.date {
        return Some(format!("its newest entry is of {}, older than that of the one in use, {}", new.newest, Day(old.date)));
    }
    if new.records < old.records / 2 {
        return Some(format!(
            "it has {} records where the one in use has {}: is it cut short? (--force takes it)",
            new.records, old.records
        ));
    }
    None
}

/// The files that a path offers: itself, or what a folder holds, sorted; links are not followed.
#[must_use]
pub fn offered(path: &Path, kind: Option<Kind>) -> Vec<Offered> {
    let mut out = Vec::new();
    collect(path, kind, 0, &mut out);
    out.sort_by(|a: &Offered, b| a.path.cmp(&b.path));
    out
}

fn collect(path: &Path, kind: Option<Kind>, depth: usize, out: &mut Vec<Offered>) {
    if out.len() >= FILES_MAX || depth > DEPTH_MAX {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_file()) {
                collect(&entry.path(), kind, depth + 1, out);
            }
        }
    } else if !published::is_one(path) {
        out.push(Offered { path: path.to_owned(), origin: path.display().to_string(), kind });
    }
}
