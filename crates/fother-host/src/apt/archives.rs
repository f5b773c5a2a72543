//! What the configured archives offer, from the lists that apt fetched. Reads files of a root only; trusts apt's check of the
//! signatures (the acquisition stage verifies the whole chain again).

use super::pins::Archive;
use crate::root::{self, Root};
use fother_core::{Digest, Timestamp, inventory::Source};
use fother_feeds::{
    compress::UNPACKED_BYTES_MAX,
    lists::{IndexFile, IndexSet},
    packages::{self, Candidate},
    release::Release,
    sources::ConfiguredSource,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    time::Duration,
};

/// Where apt keeps its lists.
pub const LISTS: &str = "/var/lib/apt/lists";
/// Lists that were not refreshed for so long are stale: what they do not offer may exist.
pub const REFRESHED_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);
const INDEX_BYTES_MAX: usize = 512 << 20;
const RELEASE_BYTES_MAX: usize = 16 << 20;

/// One version that one archive offers.
#[derive(Clone, Debug)]
pub struct Offered {
    /// Position in [`Archives::known`].
    pub archive: usize,
    /// The stanza's facts.
    pub candidate: Candidate,
}

/// One index: its archive as pins see it, and where packages come from.
#[derive(Clone, Debug)]
pub struct KnownArchive {
    /// Facts for pins.
    pub archive: Archive,
    /// The configured source.
    pub source: Source,
    /// The Release file; `None` for dpkg's status.
    pub release: Option<Release>,
}

/// All archives of a host with the versions of the packages that were asked for.
#[derive(Debug, Default)]
pub struct Archives {
    /// dpkg's status first, then every index.
    pub known: Vec<KnownArchive>,
    /// By package name.
    pub offered: HashMap<String, Vec<Offered>>,
    /// What could not be read or is stale, by name with the reason.
    pub unknown: Vec<String>,
    /// Names and SHA-256 of the indexes, if it was asked for.
    pub digests: BTreeMap<String, Digest>,
}

/// What to load.
#[derive(Debug)]
pub struct Request<'a> {
    /// Lists directory; `None` is the root's own.
    pub lists: Option<&'a Path>,
    /// Configured sources.
    pub sources: &'a [ConfiguredSource],
    /// Architectures, main first.
    pub architectures: &'a [String],
    /// Names of the wanted packages.
    pub wanted: &'a HashSet<&'a str>,
    /// Also compute the digests of the indexes.
    pub with_digests: bool,
    /// The clock, to tell stale lists.
    pub now: Timestamp,
}

/// Reads the indexes.
///
/// # Errors
/// Where the lists directory cannot be opened.
pub fn load(root: &Root, request: &Request<'_>) -> Result<Archives, root::Error> {
    let lists = match request.lists {
        Some(path) => Root::open(path)?,
        None => root.below(LISTS)?,
    };
    let status = KnownArchive { archive: Archive::status(), source: no_source(), release: None };
    let mut archives = Archives { known: vec![status], ..Archives::default() };
    let mut releases: HashMap<String, Option<Release>> = HashMap::new();
    let mut seen = HashSet::new();
    for arch in request.architectures {
        let set = match IndexSet::load(&lists.handle_path(), request.sources, arch) {
            Ok(set) => set,
            Err(error) => {
                archives.unknown.push(format!("apt lists for {arch}: {error}"));
                continue;
            }
        };
        archives.unknown.extend(set.unknown.iter().map(|why| format!("apt lists: {why}")));
        for file in set.files.iter().filter(|file| seen.insert(file.path.clone())) {
            let Some(configured) = request.sources.get(file.source) else { continue };
            let Some(release) = release_of(&lists, file, &mut releases, &mut archives.unknown) else { continue };
            archives.take(&lists, file, &configured.source, release, request);
        }
    }
    archives.unknown.extend(stale(&lists, releases.values().flatten(), request.now));
    Ok(archives)
}

fn no_source() -> Source {
    Source { uri: String::new(), suite: String::new(), components: Vec::new(), signed_by: None }
}

fn release_of(lists: &Root, file: &IndexFile, cache: &mut HashMap<String, Option<Release>>, unknown: &mut Vec<String>) -> Option<Release> {
    let Some(name) = file.inrelease.as_deref().and_then(file_name) else {
        unknown.push(format!("archive of {}: it has no InRelease", file.index_path));
        return None;
    };
    let read = |name: &str| {
        let text = lists.text(name, RELEASE_BYTES_MAX).map_err(|error| error.to_string())?;
        Release::parse(signed_part(&text)).map_err(|error| error.to_string())
    };
    let entry = cache.entry(name.to_owned()).or_insert_with(|| match read(name) {
        Ok(release) => Some(release),
        Err(why) => {
            unknown.push(format!("archive {name}: {why}"));
            None
        }
    });
    entry.clone()
}

/// The text between the armor's header and the signature; the whole text if it is not armored.
fn signed_part(text: &str) -> &str {
    let text = match text.strip_prefix("-----BEGIN PGP SIGNED MESSAGE-----") {
        Some(rest) => rest.split_once("\n\n").map_or("", |(_, rest)| rest),
        None => text,
    };
    text.split_once("\n-----BEGIN PGP SIGNATURE-----").map_or(text, |(signed, _)| signed)
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn stale<'a>(lists: &Root, releases: impl Iterator<Item = &'a Release>, now: Timestamp) -> Vec<String> {
    let mut unknown = Vec::new();
    let mut newest = lists.modified_s("partial").map_or(Timestamp(0), |seconds| Timestamp(seconds.saturating_mul(1000)));
    for release in releases {
        newest = newest.max(release.date);
        if let Some(until) = release.valid_until.filter(|until| *until < now) {
            unknown.push(format!("archive {} {}: its lists expired at {until}; run apt-get update", release.origin, release.suite));
        }
    }
    if now.since(newest) > REFRESHED_WITHIN {
        unknown.push(format!("apt lists: last refreshed {newest}, more than 7 days ago; run apt-get update"));
    }
    unknown
}

impl Archives {
    fn take(&mut self, lists: &Root, file: &IndexFile, source: &Source, release: Release, request: &Request<'_>) {
        let name = file_name(&file.path).unwrap_or_default();
        let packed = match lists.read(name, INDEX_BYTES_MAX) {
            Ok(packed) => packed,
            Err(error) => return self.unknown.push(format!("apt lists: {error}")),
        };
        let index = match file.compression.unpack(&packed, UNPACKED_BYTES_MAX) {
            Ok(index) => index,
            Err(error) => return self.unknown.push(format!("apt lists: {name} cannot be unpacked: {error}")),
        };
        drop(packed);
        if request.with_digests {
            self.digests.insert(format!("{} {} {}", source.uri, source.suite, file.index_path), Digest::of_file(&index));
        }
        let archive = self.known.len();
        let mut strange = None;
        packages::select(&index, request.wanted, |entry| match entry.candidate() {
            Ok(candidate) => self.offered.entry(candidate.name.clone()).or_default().push(Offered { archive, candidate }),
            Err(error) => strange = Some(error.to_string()),
        });
        self.unknown.extend(strange.map(|why| format!("apt lists: {name}: {why}")));
        self.known.push(KnownArchive { archive: facts(source, &release, file), source: source.clone(), release: Some(release) });
    }

    /// The offered versions of an installed package: same name, and an architecture that can replace it.
    pub fn of<'a>(&'a self, name: &str, arch: &'a str, native: &'a str) -> impl Iterator<Item = &'a Offered> {
        let effective = move |arch: &'a str| if arch == "all" { native } else { arch };
        let all = self.offered.get(name).map(Vec::as_slice).unwrap_or_default();
        all.iter().filter(move |offered| effective(&offered.candidate.arch) == effective(arch))
    }
}

fn facts(source: &Source, release: &Release, file: &IndexFile) -> Archive {
    let site = source.uri.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let site = site.rsplit_once('@').map_or(site, |(_, host)| host);
    Archive {
        suite: release.suite.clone(),
        codename: release.codename.clone(),
        version: release.version.clone(),
        origin: release.origin.clone(),
        label: release.label.clone(),
        component: file.component.clone(),
        arch: file.arch.clone(),
        site: site.split(':').next().unwrap_or_default().to_owned(),
        not_automatic: release.not_automatic,
        but_automatic_upgrades: release.but_automatic_upgrades,
        is_status: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signed_part_is_cut_out() {
        let text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: x\nSuite: y\n-----BEGIN PGP SIGNATURE-----\nOrigin: z\n";
        assert_eq!(signed_part(text), "Origin: x\nSuite: y");
        assert_eq!(signed_part("Origin: x\n"), "Origin: x\n");
    }
}
