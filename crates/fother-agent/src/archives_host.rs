//! [`Archives`] with this host's own sources and keyrings, as apt is configured; reads them below a root directory.

use crate::{
    archives::{Archives, Newest},
    durable,
    spool::Store,
    verify::{INDEX_BYTES_MAX, INRELEASE_BYTES_MAX},
};
use fother_core::{Timestamp, directive::IndexPin, resolution::PackageChange};
use fother_feeds::{
    acquire::{Policy, check_index, check_package, check_release},
    lists, packages,
    release::Release,
    sources::{self, ConfiguredSource},
};
use std::{
    collections::{HashSet, hash_map::RandomState},
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// The archives that the host itself is configured to use.
#[derive(Clone, Debug)]
pub struct HostArchives {
    /// `/` on a host.
    pub root: PathBuf,
}

struct Verified {
    source: ConfiguredSource,
    release: Release,
    indexes: Vec<Vec<u8>>,
}

impl HostArchives {
    /// The pins of archives that this host itself is configured to use; the others count for nothing here.
    fn ours<'a>(&self, pins: &'a [IndexPin]) -> Result<Vec<(&'a IndexPin, ConfiguredSource)>, String> {
        let configured = sources::read(&self.root).map_err(|error| format!("this host's sources cannot be read: {error}"))?.configured;
        let of = |pin: &IndexPin| configured.iter().find(|known| known.source.uri == pin.uri && known.source.suite == pin.suite).cloned();
        let ours: Vec<_> = pins.iter().filter_map(|pin| Some((pin, of(pin)?))).collect();
        let twice = ours
            .iter()
            .enumerate()
            .find(|(at, (pin, _))| ours[..*at].iter().any(|(known, _)| (&known.uri, &known.suite) == (&pin.uri, &pin.suite)));
        if let Some((_, (pin, _))) = twice {
            return Err(format!("{} {} is pinned twice: two states of one archive are not mixed", pin.uri, pin.suite));
        }
        if ours.is_empty() {
            return Err("none of the pinned archives is one that this host is configured to use".to_owned());
        }
        Ok(ours)
    }

    fn verify_pin(
        &self,
        pin: &IndexPin,
        source: ConfiguredSource,
        store: &Store,
        newest: &mut Newest,
        now: Timestamp,
    ) -> Result<Verified, String> {
        let place = format!("{} {}", pin.uri, pin.suite);
        let refused = |why: String| format!("{place}: {why}");
        let keyring = sources::keyring_for(&self.root, &source).map_err(|error| refused(error.to_string()))?;
        let bytes = read(store, &pin.inrelease, INRELEASE_BYTES_MAX)?;
        let policy = Policy { suite: pin.suite.clone(), max_age: None, newest_seen: newest.get(&place).copied() };
        let release = check_release(&policy, &bytes, &keyring, now).map_err(|error| refused(error.to_string()))?;
        let mut indexes = Vec::new();
        for (path, digest) in &pin.indexes {
            let bytes = read(store, digest, INDEX_BYTES_MAX)?;
            check_index(&release, path, &bytes).map_err(|error| refused(error.to_string()))?;
            indexes.push(bytes);
        }
        newest.insert(place, release.date);
        Ok(Verified { source, release, indexes })
    }
}

fn read(store: &Store, digest: &fother_core::Digest, bytes_max: u64) -> Result<Vec<u8>, String> {
    durable::read_bounded(&store.path(digest), bytes_max).map_err(|error| format!("{digest} cannot be read: {error}"))
}

/// Of the changes that install something, those that no verified index offers exactly as they are named; one pass over each index.
fn not_offered<'a>(verified: &[Verified], changes: &'a [PackageChange]) -> Vec<&'a PackageChange> {
    let mut missing: Vec<&PackageChange> = changes.iter().filter(|change| change.offer.is_some()).collect();
    let wanted: HashSet<&str, RandomState> = missing.iter().map(|change| change.name.as_str()).collect();
    for (from, index) in verified.iter().flat_map(|from| from.indexes.iter().map(move |index| (from, index))) {
        packages::select(index, &wanted, |entry| {
            let Ok(candidate) = entry.candidate() else { return };
            let offer = candidate.offer(&from.release, &from.source.source);
            missing.retain(|change| {
                let same = candidate.name == change.name && Some(&candidate.version) == change.to.as_ref();
                !(same && candidate.arch == change.arch && candidate.source == change.source && change.offer.as_ref() == Some(&offer))
            });
        });
    }
    missing
}

impl Archives for HostArchives {
    fn verify(
        &self,
        pins: &[IndexPin],
        changes: &[PackageChange],
        store: &Store,
        newest: &mut Newest,
        now: Timestamp,
    ) -> Result<(), String> {
        let ours = self.ours(pins)?;
        let verified =
            ours.into_iter().map(|(pin, source)| self.verify_pin(pin, source, store, newest, now)).collect::<Result<Vec<_>, _>>()?;
        let named = |change: &PackageChange| format!("{} {}", change.name, change.to.as_ref().map_or("", |to| to.as_str()));
        if let Some(change) = not_offered(&verified, changes).first() {
            return Err(format!("{} is not offered by the verified archives as the plan names it", named(change)));
        }
        for change in changes {
            let Some(offer) = &change.offer else { continue };
            let name = named(change);
            let file = File::open(store.path(&offer.sha256)).map_err(|error| format!("{name} cannot be read: {error}"))?;
            let checked = check_package(&offer.filename, offer.size, offer.sha256, file).map_err(|error| format!("{name}: {error}"))?;
            checked.map_err(|refused| refused.to_string())?;
        }
        Ok(())
    }

    fn lists(&self, pins: &[IndexPin], store: &Store, into: &Path) -> Result<(), String> {
        let write = |name: String, bytes: &[u8]| {
            let path = into.join(name);
            let file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&path);
            file.and_then(|mut file| file.write_all(bytes)).map_err(|error| format!("{} cannot be written: {error}", path.display()))
        };
        fs::create_dir_all(into.join("partial")).map_err(|error| error.to_string())?;
        for (pin, configured) in self.ours(pins)? {
            let source = configured.source;
            write(lists::file_name(&lists::inrelease_uri(&source)), &read(store, &pin.inrelease, INRELEASE_BYTES_MAX)?)?;
            for (path, digest) in &pin.indexes {
                write(lists::file_name(&format!("{}{path}", lists::suite_uri(&source))), &read(store, digest, INDEX_BYTES_MAX)?)?;
            }
        }
        Ok(())
    }
}
