//! The index itself: package version → package sets → hosts, kept up as hosts come, change and go.

use super::{HOST_PACKAGES_MAX, PACKAGES_MAX};
use crate::{
    assess::{installed, release_name},
    id::HostId,
    inventory::Distribution,
    package::Installed,
};
use roaring::RoaringBitmap;
use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

/// Why a host does not fit any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The fleet holds too many distinct package versions.
    #[error("the fleet holds more than {PACKAGES_MAX} distinct package versions")]
    Packages,
    /// One host says that it holds too many packages.
    #[error("the host holds more than {HOST_PACKAGES_MAX} packages")]
    Host,
}

/// Stands between the parts of a key. A hostile part that holds it makes a key of more parts, which is no other package's.
const BETWEEN: char = '\0';

/// A distinct package version of one release.
#[derive(Debug)]
pub(super) struct Package {
    /// Release, binary name and version, source name and version.
    key: Box<str>,
    /// What it is judged as.
    pub(super) judged: u32,
    /// The sets that hold it.
    pub(super) sets: RoaringBitmap,
}

impl Package {
    fn part(&self, number: usize) -> &str {
        self.key.split(BETWEEN).nth(number).unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.part(1)
    }

    pub(super) fn version(&self) -> &str {
        self.part(2)
    }

    pub(super) fn source(&self) -> &str {
        self.part(3)
    }

    pub(super) fn source_version(&self) -> &str {
        self.part(4)
    }
}

/// A source version under which packages are judged.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) release: Arc<str>,
    pub(super) source: Arc<str>,
    pub(super) version: Arc<str>,
    /// Packages that count as it.
    pub(super) packages: RoaringBitmap,
}

/// A distinct set of packages.
#[derive(Debug)]
pub(super) struct Set {
    /// Sorted.
    packages: Arc<[u32]>,
    /// Places of its hosts, sorted: most sets have a few.
    pub(super) hosts: Vec<u32>,
}

/// Records with places that are used again.
#[derive(Debug)]
pub(super) struct Slots<T> {
    records: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { records: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slots<T> {
    fn put(&mut self, record: T) -> u32 {
        if let Some(at) = self.free.pop() {
            self.records[at as usize] = Some(record);
            return at;
        }
        self.records.push(Some(record));
        u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX)
    }

    fn take(&mut self, at: u32) -> Option<T> {
        let record = self.records.get_mut(at as usize)?.take()?;
        self.free.push(at);
        Some(record)
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.records.get(at as usize)?.as_ref()
    }

    fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.records.get_mut(at as usize)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.records).filter_map(|(at, record)| Some((at, record.as_ref()?)))
    }

    /// One more than the highest place.
    pub(super) fn end(&self) -> usize {
        self.records.len()
    }

    fn len(&self) -> usize {
        self.records.len() - self.free.len()
    }
}

/// Releases, their source packages, and the places of each one's judged versions.
type BySource = BTreeMap<Arc<str>, BTreeMap<Arc<str>, BTreeMap<Arc<str>, u32>>>;

/// A fleet's packages and who has them.
#[derive(Debug, Default)]
pub struct Index {
    pub(super) packages: Slots<Package>,
    by_key: HashMap<Box<str>, u32>,
    pub(super) judged: Slots<Judged>,
    pub(super) by_source: BySource,
    pub(super) sets: Slots<Set>,
    by_packages: HashMap<Arc<[u32]>, u32>,
    /// A host's place and its set.
    hosts: HashMap<HostId, (u32, u32)>,
    places: Slots<HostId>,
}

impl Index {
    /// Number of hosts.
    #[must_use]
    pub fn hosts(&self) -> usize {
        self.hosts.len()
    }

    /// Number of distinct package sets.
    #[must_use]
    pub fn sets(&self) -> usize {
        self.sets.len()
    }

    /// Number of distinct package versions.
    #[must_use]
    pub fn packages(&self) -> usize {
        self.packages.len()
    }

    /// Number of distinct source versions, as advisories judge them.
    #[must_use]
    pub fn judged(&self) -> usize {
        self.judged.len()
    }

    /// Takes a host in, or what it holds now instead of what it held.
    ///
    /// # Errors
    /// Where a limit is reached; the host is then in the index no more, so that nothing old is said about it.
    pub fn put(&mut self, host: HostId, distribution: &Distribution, packages: &[Installed]) -> Result<(), Full> {
        let set = self.intern(distribution, packages);
        self.move_to(host, set)
    }

    /// Gives a host the packages of another one; whether that one is known.
    ///
    /// # Errors
    /// Never: a set that is there needs no room.
    pub fn put_like(&mut self, host: HostId, other: HostId) -> Result<bool, Full> {
        let Some((_, set)) = self.hosts.get(&other).copied() else { return Ok(false) };
        self.move_to(host, Ok(set)).map(|()| true)
    }

    fn move_to(&mut self, host: HostId, set: Result<u32, Full>) -> Result<(), Full> {
        let old = self.hosts.get(&host).copied();
        if let (Some((_, old)), Ok(new)) = (old, set)
            && old == new
        {
            return Ok(());
        }
        // The new set is there before the old one goes, so that what both hold is not made twice.
        if let Ok(set) = set {
            let place = self.places.put(host);
            if let Some(set) = self.sets.get_mut(set)
                && let Err(at) = set.hosts.binary_search(&place)
            {
                set.hosts.insert(at, place);
            }
            self.hosts.insert(host, (place, set));
        } else {
            self.hosts.remove(&host);
        }
        if let Some((place, old)) = old {
            self.leave(place, old);
        }
        set.map(|_| ())
    }

    /// Lets a host go; whether it was there.
    pub fn remove(&mut self, host: HostId) -> bool {
        let Some((place, set)) = self.hosts.remove(&host) else { return false };
        self.leave(place, set);
        true
    }

    /// The hosts of some places, in the order of their places.
    pub fn names<'a>(&'a self, places: &'a RoaringBitmap) -> impl Iterator<Item = HostId> + 'a {
        places.iter().filter_map(|place| self.places.get(place).copied())
    }

    /// Places of the hosts that have one of some sets.
    pub(super) fn hosts_of(&self, sets: &RoaringBitmap) -> RoaringBitmap {
        // One bit for each place: uniting thousands of small bitmaps one by one takes a hundred times as long.
        let mut bits = vec![0_u8; self.places.end().div_ceil(8)];
        for set in sets.iter().filter_map(|set| self.sets.get(set)) {
            set.hosts.iter().for_each(|place| bits[*place as usize / 8] |= 1 << (place % 8));
        }
        RoaringBitmap::from_lsb0_bytes(0, &bits)
    }

    /// The sets that hold a package which counts as this.
    pub(super) fn sets_of(&self, judged: &Judged) -> RoaringBitmap {
        let mut sets = RoaringBitmap::new();
        for package in judged.packages.iter().filter_map(|at| self.packages.get(at)) {
            sets |= &package.sets;
        }
        sets
    }

    /// The set of these packages, made where it is new; a set that is made has no host yet.
    fn intern(&mut self, distribution: &Distribution, packages: &[Installed]) -> Result<u32, Full> {
        if packages.len() > HOST_PACKAGES_MAX {
            return Err(Full::Host);
        }
        let release = release_name(distribution).unwrap_or_default();
        let mut places = Vec::with_capacity(packages.len());
        let mut key = String::new();
        for package in packages {
            key.clear();
            let parts = [&release, &package.name, package.version.as_str(), &package.source, package.source_version.as_str()] as [&str; 5];
            for (number, part) in parts.into_iter().enumerate() {
                if number > 0 {
                    key.push(BETWEEN);
                }
                key.push_str(part);
            }
            match self.by_key.get(key.as_str()) {
                Some(at) => places.push(*at),
                None if self.packages.len() >= PACKAGES_MAX => {
                    self.forget(&places);
                    return Err(Full::Packages);
                }
                None => places.push(self.make(&release, &key, package)),
            }
        }
        places.sort_unstable();
        places.dedup();
        let packages: Arc<[u32]> = places.into();
        let at = match self.by_packages.entry(Arc::clone(&packages)) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(new) => *new.insert(self.sets.put(Set { packages: Arc::clone(&packages), hosts: Vec::new() })),
        };
        for package in packages.iter() {
            if let Some(package) = self.packages.get_mut(*package) {
                package.sets.insert(at);
            }
        }
        Ok(at)
    }

    fn make(&mut self, release: &str, key: &str, package: &Installed) -> u32 {
        let judged = self.judge(release, package);
        let at = self.packages.put(Package { key: key.into(), judged, sets: RoaringBitmap::new() });
        self.by_key.insert(key.into(), at);
        if let Some(judged) = self.judged.get_mut(judged) {
            judged.packages.insert(at);
        }
        at
    }

    /// The place of what a package is judged as, made where it is new.
    fn judge(&mut self, release: &str, package: &Installed) -> u32 {
        let is = installed::debian(release, &package.source, package.source_version.as_str());
        if let Some(known) = self.by_source.get(is.release.as_str()).and_then(|all| all.get(is.source.as_str())?.get(is.version.as_str())) {
            return *known;
        }
        let (release, source, version): (Arc<str>, Arc<str>, Arc<str>) = (is.release.into(), is.source.into(), is.version.into());
        let new = Judged {
            release: Arc::clone(&release),
            source: Arc::clone(&source),
            version: Arc::clone(&version),
            packages: RoaringBitmap::new(),
        };
        let at = self.judged.put(new);
        self.by_source.entry(release).or_default().entry(source).or_default().insert(version, at);
        at
    }

    /// Takes a host off its set; a set without hosts goes, and with it what only it held.
    fn leave(&mut self, place: u32, at: u32) {
        self.places.take(place);
        let Some(set) = self.sets.get_mut(at) else { return };
        if let Ok(at) = set.hosts.binary_search(&place) {
            set.hosts.remove(at);
        }
        if !set.hosts.is_empty() {
            return;
        }
        let packages = Arc::clone(&set.packages);
        self.by_packages.remove(&packages);
        self.sets.take(at);
        for package in packages.iter() {
            if let Some(package) = self.packages.get_mut(*package) {
                package.sets.remove(at);
            }
        }
        self.forget(&packages);
    }

    /// Removes those of some packages that no set holds.
    fn forget(&mut self, packages: &[u32]) {
        for at in packages {
            if self.packages.get(*at).is_none_or(|package| !package.sets.is_empty()) {
                continue;
            }
            let Some(package) = self.packages.take(*at) else { continue };
            self.by_key.remove(&package.key);
            let Some(judged) = self.judged.get_mut(package.judged) else { continue };
            judged.packages.remove(*at);
            if !judged.packages.is_empty() {
                continue;
            }
            let Some(judged) = self.judged.take(package.judged) else { continue };
            let Some(sources) = self.by_source.get_mut(&judged.release) else { continue };
            if let Some(versions) = sources.get_mut(&judged.source) {
                versions.remove(&judged.version);
                if versions.is_empty() {
                    sources.remove(&judged.source);
                }
            }
            if sources.is_empty() {
                self.by_source.remove(&judged.release);
            }
        }
    }
}
