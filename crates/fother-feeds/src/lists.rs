//! apt's own copies of indexes in `/var/lib/apt/lists`: their names and their contents; reads the file system.

use crate::{
    compress::{Compression, UNPACKED_BYTES_MAX},
    sources::ConfiguredSource,
};
use fother_core::inventory::Source;
use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

/// One Packages index that apt has fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexFile {
    /// Place of its source in the list that was given to [`IndexSet::load`].
    pub source: usize,
    /// Component; empty for flat archives.
    pub component: String,
    /// Architecture of the index (`amd64`, `all`).
    pub arch: String,
    /// The name under which the Release lists it, unpacked: `main/binary-amd64/Packages`.
    pub index_path: String,
    /// The file.
    pub path: PathBuf,
    /// How the file is packed.
    pub compression: Compression,
    /// The signed Release beside it.
    pub inrelease: Option<PathBuf>,
}

impl IndexFile {
    /// Reads and unpacks it.
    ///
    /// # Errors
    /// Where it cannot be read, is damaged, or unpacks to more than [`UNPACKED_BYTES_MAX`].
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let packed = std::fs::read(&self.path)?;
        if self.compression == Compression::Plain { Ok(packed) } else { self.compression.unpack(&packed, UNPACKED_BYTES_MAX) }
    }
}

/// The indexes of a host's sources, as apt left them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexSet {
    /// In the order of the sources and their components.
    pub files: Vec<IndexFile>,
    /// Sources whose indexes are absent or cannot be read, by name with the reason.
    pub unknown: Vec<String>,
}

impl IndexSet {
    /// Finds the index files of `sources` for `arch` (and `all`) in `lists_dir`.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn load(lists_dir: &Path, sources: &[ConfiguredSource], arch: &str) -> io::Result<Self> {
        let mut names = HashSet::new();
        for entry in std::fs::read_dir(lists_dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.insert(name);
            }
        }
        let mut set = Self::default();
        for (place, configured) in sources.iter().enumerate() {
            let source = &configured.source;
            if !configured.architectures.is_empty() && !configured.architectures.iter().any(|a| a == arch) {
                continue;
            }
            let inrelease = Some(file_name(&inrelease_uri(source))).filter(|n| names.contains(n)).map(|n| lists_dir.join(n));
            for (component, index_arch, index_path) in index_paths(source, arch) {
                let base = file_name(&format!("{}{index_path}", suite_uri(source)));
                let found = Compression::ALL.into_iter().rev().find(|c| names.contains(&format!("{base}{}", c.ending())));
                match found {
                    Some(compression) => set.files.push(IndexFile {
                        source: place,
                        component,
                        arch: index_arch,
                        index_path,
                        path: lists_dir.join(format!("{base}{}", compression.ending())),
                        compression,
                        inrelease: inrelease.clone(),
                    }),
                    None if index_arch == "all" => {}
                    None => set.unknown.push(format!("no index of {} {} {component}: run apt-get update", source.uri, source.suite)),
                }
            }
        }
        Ok(set)
    }
}

/// The indexes that a source may have: component, architecture, path below the suite's directory.
#[must_use]
pub fn index_paths(source: &Source, arch: &str) -> Vec<(String, String, String)> {
    if source.suite.ends_with('/') {
        return vec![(String::new(), arch.to_owned(), "Packages".to_owned())];
    }
    let one = |component: &String, arch: &str| (component.clone(), arch.to_owned(), format!("{component}/binary-{arch}/Packages"));
    source.components.iter().flat_map(|c| [one(c, arch), one(c, "all")]).collect()
}

/// Address of a suite's directory, with a trailing slash.
#[must_use]
pub fn suite_uri(source: &Source) -> String {
    match source.suite.as_str() {
        "/" => format!("{}/", source.uri),
        flat if flat.ends_with('/') => format!("{}/{}", source.uri, flat.trim_start_matches('/')),
        suite => format!("{}/dists/{suite}/", source.uri),
    }
}

/// Address of a source's InRelease.
#[must_use]
pub fn inrelease_uri(source: &Source) -> String {
    format!("{}InRelease", suite_uri(source))
}

/// apt's file name for an address: without scheme and credentials, some bytes as `%xx`, slashes as underscores.
#[must_use]
pub fn file_name(uri: &str) -> String {
    let rest = match uri.split_once(':') {
        Some((scheme, rest)) if !scheme.contains('/') => rest.strip_prefix("//").unwrap_or(rest),
        _ => uri,
    };
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let mut name = String::with_capacity(rest.len());
    for byte in host.bytes().chain(path.bytes()) {
        match byte {
            b'/' => name.push('_'),
            b if b <= b' ' || b >= 0x7f || b"\\|{}[]<>\"^~_=!@#$%&*".contains(&b) => name.push_str(&format!("%{b:02x}")),
            b => name.push(char::from(b)),
        }
    }
    name
}

/// The address, without its scheme, that a file name of apt's stands for; `None` where it is not one.
#[must_use]
pub fn uri_of_file_name(name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'_' => bytes.push(b'/'),
            b'%' => {
                let (hex, tail) = tail.split_at_checked(2)?;
                bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
                rest = tail;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_apts_and_lead_back() {
        for (uri, name) in [
            ("http://h.example/debian/dists/x/InRelease", "h.example_debian_dists_x_InRelease"),
            ("https://user:pw@h.example:8080/a_b/~c", "h.example:8080_a%5fb_%7ec"),
            ("file:/srv/repo/./Packages", "_srv_repo_._Packages"),
        ] {
            assert_eq!(file_name(uri), name);
            let back = uri_of_file_name(name).unwrap();
            assert!(uri.replace("user:pw@", "").ends_with(&back), "{back}");
        }
        assert_eq!(uri_of_file_name("a%5"), None);
        assert_eq!(uri_of_file_name("a%zz"), None);
    }

    #[test]
    fn indexes_are_found_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let source = |uri: &str| ConfiguredSource {
            source: Source { uri: uri.to_owned(), suite: "x".to_owned(), components: vec!["main".to_owned()], signed_by: None },
            architectures: vec![],
            signed_by: vec![],
            inline_key: None,
            trusted: false,
            file: "f".to_owned(),
        };
        std::fs::write(dir.path().join("a.example_dists_x_InRelease"), "").unwrap();
        std::fs::write(dir.path().join("a.example_dists_x_main_binary-amd64_Packages.gz"), "").unwrap();
        let set = IndexSet::load(dir.path(), &[source("http://a.example"), source("http://b.example")], "amd64").unwrap();
        assert_eq!(set.files.len(), 1);
        assert_eq!((set.files[0].compression, set.files[0].index_path.as_str()), (Compression::Gzip, "main/binary-amd64/Packages"));
        assert!(set.files[0].inrelease.is_some());
        assert_eq!(set.unknown, ["no index of http://b.example x main: run apt-get update"]);
    }
}
