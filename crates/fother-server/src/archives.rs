//! The archives of the policy: their verified snapshots, the cached files, and what updates close. Touches the cache and, through feeds, the network.

use crate::{
    Error,
    engine::{Closed, Engine, lock},
    error::refuse,
};
use fother_core::{Digest, Timestamp, directive::IndexPin, event::Data, inventory::Source, package::Offer, policy, version::Version};
use fother_feeds::{
    acquire,
    archive::{self, ArchiveError, Snapshot},
    cache::Cache,
    changelog,
    fetch::{Fetch, HttpFetch},
    packages,
    trust::Keyring,
};
use serde::Serialize;
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Why a package is not had.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A host names what no signed index offers: the host's fault, not the archive's.
    #[error("{0}")]
    NotOffered(String),
    /// The archive gives other bytes than its signed index says.
    #[error("{0}")]
    Refused(String),
    /// It could not be reached, or the cache could not be used.
    #[error("{0}")]
    Unavailable(String),
}

impl From<ArchiveError> for PackageError {
    fn from(error: ArchiveError) -> Self {
        if error.refused().is_some() { Self::Refused(error.to_string()) } else { Self::Unavailable(error.to_string()) }
    }
}

/// Where the server's archives come from; a trait so that a test can stand in for mirrors.
pub trait Archives: Send + Sync {
    /// Brings the newest verified state of an archive into the cache, never one older than `newest_seen`.
    ///
    /// # Errors
    /// For people: refused, with the reason, or unreachable.
    fn update(&self, archive: &policy::Archive, newest_seen: Option<Timestamp>, now: Timestamp) -> Result<Snapshot, String>;

    /// Number of packages that a snapshot offers.
    fn count(&self, snapshot: &Snapshot) -> u64;

    /// Brings a package into the cache, if one of these snapshots really offers it.
    ///
    /// # Errors
    /// See [`PackageError`].
    fn package(&self, snapshots: &[Snapshot], name: &str, offer: &Offer) -> Result<PathBuf, PackageError>;

    /// A cached file.
    fn file(&self, sha256: Digest) -> Option<PathBuf>;
}

/// The real ones: mirrors over the network, with the machine's proxy.
pub struct Mirrors {
    fetch: HttpFetch,
    cache: Cache,
    arch: &'static str,
}

impl Mirrors {
    /// Opens the cache below `cache_dir`.
    ///
    /// # Errors
    /// Where the cache or the machine's apt configuration cannot be read.
    pub fn open(cache_dir: &Path) -> Result<Self, Error> {
        let fetch = HttpFetch::from_machine().map_err(Error::io("read the configuration of", Path::new("apt")))?;
        let cache = Cache::open(cache_dir).map_err(|error| Error::Input(error.to_string()))?;
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Ok(Self { fetch, cache, arch })
    }
}

impl Archives for Mirrors {
    fn update(&self, archive: &policy::Archive, newest_seen: Option<Timestamp>, now: Timestamp) -> Result<Snapshot, String> {
        let source = Source {
            uri: archive.uri.clone(),
            suite: archive.suite.clone(),
            components: archive.components.clone(),
            signed_by: Some(archive.signed_by.clone()),
        };
        let keyring = Keyring::from_files(&[PathBuf::from(&archive.signed_by)]).map_err(|error| error.to_string())?;
        let max_age = archive.max_age_days.map(|days| Duration::from_secs(u64::from(days) * 86_400));
        let policy = acquire::Policy { suite: archive.suite.clone(), max_age, newest_seen };
        archive::update(&source, self.arch, &self.fetch as &dyn Fetch, &keyring, &self.cache, &policy, now)
            .map_err(|error| error.to_string())
    }

    fn count(&self, snapshot: &Snapshot) -> u64 {
        let indexes = snapshot.indexes.iter().filter_map(|index| self.cache.read(index.sha256).ok());
        indexes.map(|index| packages::scan(&index).count() as u64).sum()
    }

    fn package(&self, snapshots: &[Snapshot], name: &str, offer: &Offer) -> Result<PathBuf, PackageError> {
        let wanted = HashSet::from([name]);
        let mut offered = false;
        for snapshot in snapshots.iter().filter(|snapshot| snapshot.source.uri == offer.uri && snapshot.source.suite == offer.suite) {
            for index in &snapshot.indexes {
                let bytes = self.cache.read(index.sha256).map_err(ArchiveError::from)?;
                packages::select(&bytes, &wanted, |entry| {
                    offered |= entry.candidate().is_ok_and(|candidate| candidate.offer(&snapshot.release, &snapshot.source) == *offer);
                });
            }
        }
        if !offered {
            return Err(PackageError::NotOffered(format!("no signed index of the policy's archives offers {name} as the host names it")));
        }
        Ok(archive::fetch_package(offer, &self.fetch, &self.cache)?)
    }

    fn file(&self, sha256: Digest) -> Option<PathBuf> {
        self.cache.get(sha256)
    }
}

/// Packages and versions of which the server remembers what they close.
const CLOSES_MAX: usize = 20_000;

/// What an update of all archives brought.
#[derive(Debug, Default, Serialize)]
pub struct Updated {
    /// Those that are fine.
    pub archives: Vec<UpdatedArchive>,
    /// Those that were refused or could not be reached.
    pub refused: Vec<RefusedArchive>,
}

/// A good archive.
#[derive(Debug, Serialize)]
pub struct UpdatedArchive {
    /// Name in the policy.
    pub name: String,
    /// Suite.
    pub suite: String,
    /// `Date` of the Release.
    pub date: Timestamp,
    /// Packages that it offers.
    pub packages: u64,
}

/// A refused archive.
#[derive(Debug, Serialize)]
pub struct RefusedArchive {
    /// Name in the policy.
    pub name: String,
    /// Why.
    pub why: String,
}

fn key(name: &str) -> String {
    format!("archive/{name}")
}

impl Engine {
    /// Brings every archive of the policy up to date; each on its own, a refusal of one does not stop the others.
    pub(crate) fn update_archives(&self, actor: &str) -> Result<Updated, Error> {
        let mut updated = Updated::default();
        for (name, archive) in &self.policy().archive {
            let known = self.state().archives.get(name).cloned();
            match self.archives.update(archive, known.as_ref().and_then(|known| known.date), self.clock.now()) {
                Ok(snapshot) => {
                    let text = serde_json::to_vec(&snapshot).map_err(|error| Error::Input(error.to_string()))?;
                    self.store.put(&key(name), &text)?;
                    let (inrelease, date) = (snapshot.inrelease, snapshot.release.date);
                    let same = known.is_some_and(|known| known.inrelease == Some(inrelease) && known.refused.is_none());
                    let event = Data::ArchiveUpdated { archive: name.clone(), inrelease, date };
                    self.commit(actor, |_, _| Ok(if same { Vec::new() } else { vec![event.clone()] }))?;
                    let packages = self.archives.count(&snapshot);
                    updated.archives.push(UpdatedArchive { name: name.clone(), suite: archive.suite.clone(), date, packages });
                }
                Err(why) => {
                    let why = self.refuse_archive(actor, name, &why)?;
                    updated.refused.push(RefusedArchive { name: name.clone(), why });
                }
            }
        }
        Ok(updated)
    }

    /// Records once why an archive is not used from now on, until an update of it succeeds; its last good state stays. The reason as recorded.
    fn refuse_archive(&self, actor: &str, name: &str, why: &str) -> Result<String, Error> {
        let why = fother_core::text::printable(why, 1000);
        tracing::warn!(archive = name, why, "an archive is not used");
        self.commit(actor, |state, _| {
            let same = state.archives.get(name).is_some_and(|known| known.refused.as_ref() == Some(&why));
            Ok(if same { Vec::new() } else { vec![Data::ArchiveRefused { archive: name.to_owned(), why: why.clone() }] })
        })?;
        Ok(why)
    }

    /// Brings a package into the cache; an archive that gives other bytes than it signed is not used any longer.
    pub(crate) fn package(&self, actor: &str, snapshots: &[Snapshot], name: &str, offer: &Offer) -> Result<PathBuf, Error> {
        let error = match self.archives.package(snapshots, name, offer) {
            Ok(path) => return Ok(path),
            Err(error) => error,
        };
        if let PackageError::Refused(why) = &error {
            let policy = self.policy();
            let theirs = |archive: &&String| {
                policy.archive.get(*archive).is_some_and(|archive| archive.uri == offer.uri && archive.suite == offer.suite)
            };
            for archive in policy.archive.keys().filter(theirs) {
                self.refuse_archive(actor, archive, why)?;
            }
        }
        refuse("package-refused", error.to_string(), "update the archives, resolve again, then plan")
    }

    /// The snapshots that directives pin now; all archives of the policy must have one, and be trusted at present.
    pub(crate) fn snapshots(&self) -> Result<Vec<Snapshot>, Error> {
        let state = self.state();
        let mut all = Vec::new();
        for name in self.policy().archive.keys() {
            let hint = "run `fother archive update`, and see its reasons";
            if let Some(why) = state.archives.get(name).and_then(|archive| archive.refused.as_ref()) {
                return refuse("archive-refused", format!("the archive {name} is not trusted at present: {why}"), hint);
            }
            let Some(bytes) = self.store.get(&key(name))? else {
                return refuse("archive-missing", format!("the archive {name} was never acquired"), hint);
            };
            all.push(serde_json::from_slice(&bytes).map_err(|error| Error::Damaged(format!("the snapshot of {name}: {error}")))?);
        }
        Ok(all)
    }

    /// What a cached package closes for those who have `from`; nothing where its changelog cannot be read, which is logged.
    /// Read once per package and version: a changelog lies at the end of what must be unpacked to reach it.
    pub(crate) fn closes(&self, package: &Path, (name, sha256): (&str, Digest), from: &Version) -> Closed {
        let key = (sha256, from.as_str().to_owned());
        if let Some(known) = lock(&self.closes).get(&key) {
            return known.clone();
        }
        let facts = fs::File::open(package)
            .map_err(|error| error.to_string())
            .and_then(|file| changelog::closes(file, name, Some(from)).map_err(|error| error.to_string()));
        match facts {
            Ok(facts) => {
                let day = |text: &str| format!("{text}T00:00:00Z").parse::<Timestamp>().ok();
                // Each is dated by the oldest entry that names it: naming it again publishes nothing.
                let fixes = facts.closes.iter().filter_map(|one| day(one.evidence.rsplit_once(" of ")?.1)).max();
                let published = fixes.or_else(|| day(facts.published.as_deref()?));
                let closed = Closed { closes: facts.closes, published };
                let mut known = lock(&self.closes);
                if known.len() >= CLOSES_MAX {
                    known.clear();
                }
                known.insert(key, closed.clone());
                closed
            }
            Err(why) => {
                tracing::info!(why, "what this update closes is unknown");
                Closed::default()
            }
        }
    }
}

/// What directives carry of snapshots.
pub(crate) fn pins(snapshots: &[Snapshot]) -> Vec<IndexPin> {
    let pin = |snapshot: &Snapshot| IndexPin {
        uri: snapshot.source.uri.clone(),
        suite: snapshot.source.suite.clone(),
        inrelease: snapshot.inrelease,
        indexes: snapshot.indexes.iter().map(|index| (index.path.clone(), index.sha256)).collect(),
    };
    snapshots.iter().map(pin).collect()
}
