//! apt's configured archives (sources.list(5)) and their keyrings; reads files below a root directory.

mod parse;

use crate::{
    root::{self, Root},
    trust::{KEYRING_BYTES_MAX, Keyring, KeyringError},
};
use fother_core::inventory::Source;
use std::{
    io,
    path::{Path, PathBuf},
};

/// Largest sources file that is read, in bytes.
pub const SOURCES_BYTES_MAX: usize = 1 << 20;
/// Most configured archives that are read.
pub const SOURCES_MAX: usize = 1000;

/// One configured archive and suite, with what the inventory does not carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredSource {
    /// What the inventory carries.
    pub source: Source,
    /// Architectures that it is limited to; empty: the host's own.
    pub architectures: Vec<String>,
    /// `Signed-By`: absolute paths and fingerprints; empty: apt's default keyrings.
    pub signed_by: Vec<String>,
    /// A key that stands in the sources file itself.
    pub inline_key: Option<Vec<u8>>,
    /// `Trusted: yes`: apt would not check signatures. This program checks them all the same.
    pub trusted: bool,
    /// The file that configures it, for messages.
    pub file: String,
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// In the order in which apt reads them.
    pub configured: Vec<ConfiguredSource>,
    /// What could not be read or is not handled, by name with the reason.
    pub unknown: Vec<String>,
}

/// Reads `/etc/apt/sources.list` and `/etc/apt/sources.list.d` below `root`.
///
/// # Errors
/// Where the root directory itself cannot be opened; everything else is listed in [`Sources::unknown`].
pub fn read(root: &Path) -> io::Result<Sources> {
    let root = Root::open(root)?;
    let mut files = vec!["/etc/apt/sources.list".to_owned()];
    let mut found = Sources::default();
    match root.names("/etc/apt/sources.list.d") {
        Ok(names) => files.extend(names.into_iter().filter(|n| is_sources_name(n)).map(|n| format!("/etc/apt/sources.list.d/{n}"))),
        Err(error) => found.unknown.push(format!("/etc/apt/sources.list.d cannot be read: {error}")),
    }
    for file in files {
        match root.read(&file, SOURCES_BYTES_MAX) {
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) if file.ends_with(".sources") => parse::deb822(&text, &file, &mut found),
                Ok(text) => parse::one_line(&text, &file, &mut found),
                Err(_) => found.unknown.push(format!("{file} is not UTF-8")),
            },
            Err(error) if error.is_absent() => {}
            Err(error) => found.unknown.push(format!("{file} cannot be read: {error}")),
        }
        if found.configured.len() > SOURCES_MAX {
            found.configured.truncate(SOURCES_MAX);
            found.unknown.push(format!("more than {SOURCES_MAX} sources are configured: the rest is not read"));
            break;
        }
    }
    Ok(found)
}

/// apt reads only such names (sources.list(5)).
fn is_sources_name(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    plain && !name.starts_with('.') && (name.ends_with(".list") || name.ends_with(".sources"))
}

/// The keys that `source`'s signatures are checked against, read below `root`: its inline key, else the files and fingerprints of its
/// `Signed-By`, else apt's default keyrings.
///
/// # Errors
/// Where a keyring that is named cannot be read, or nothing is left: the source then cannot be verified.
pub fn keyring_for(root: &Path, source: &ConfiguredSource) -> Result<Keyring, KeyringError> {
    let open = |error: root::Error| KeyringError::Read { path: root.to_owned(), error: error.into() };
    let root_dir = Root::open(root).map_err(open)?;
    let read = |path: &str| -> Result<Keyring, KeyringError> {
        let bytes = root_dir
            .read(path, KEYRING_BYTES_MAX)
            .map_err(|error| KeyringError::Read { path: PathBuf::from(path), error: error.into() })?;
        Keyring::from_bytes(&bytes).map_err(|_| KeyringError::Empty { what: path.to_owned() })
    };
    let mut keyring = Keyring::default();
    if let Some(key) = &source.inline_key {
        keyring = Keyring::from_bytes(key).map_err(|_| KeyringError::Empty { what: format!("the Signed-By of {}", source.file) })?;
    }
    let (paths, fingerprints): (Vec<_>, Vec<_>) = source.signed_by.iter().cloned().partition(|s| s.starts_with('/'));
    for path in &paths {
        keyring.extend(read(path)?);
    }
    if source.inline_key.is_none() && paths.is_empty() {
        for path in default_keyrings(&root_dir) {
            match read(&path) {
                Ok(found) => keyring.extend(found),
                Err(error) => tracing::debug!(%error, "a default keyring is passed over"),
            }
        }
    }
    if !fingerprints.is_empty() {
        keyring = keyring.restricted_to(&fingerprints);
    }
    if keyring.is_empty() { Err(KeyringError::Empty { what: format!("the keyring of {}", source.file) }) } else { Ok(keyring) }
}

/// apt's default keyrings (apt-secure(8)).
fn default_keyrings(root: &Root) -> Vec<String> {
    let mut paths = vec!["/etc/apt/trusted.gpg".to_owned()];
    let names = root.names("/etc/apt/trusted.gpg.d").unwrap_or_default();
    paths.extend(names.into_iter().filter(|n| n.ends_with(".gpg") || n.ends_with(".asc")).map(|n| format!("/etc/apt/trusted.gpg.d/{n}")));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_below_the_root_and_what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let parts = dir.path().join("etc/apt/sources.list.d");
        std::fs::create_dir_all(&parts).unwrap();
        std::fs::write(dir.path().join("etc/apt/sources.list"), "deb http://a.example/debian x main\n").unwrap();
        std::fs::write(parts.join("b.sources"), "Types: deb\nURIs: http://b.example/debian/\nSuites: y\nComponents: main\n").unwrap();
        std::fs::write(parts.join("c.list.disabled"), "deb http://c.example/debian z main\n").unwrap();
        std::fs::write(parts.join("d.list"), b"\xff").unwrap();
        let found = read(dir.path()).unwrap();
        let uris: Vec<_> = found.configured.iter().map(|c| c.source.uri.as_str()).collect();
        assert_eq!(uris, ["http://a.example/debian", "http://b.example/debian"]);
        assert_eq!(found.unknown, ["/etc/apt/sources.list.d/d.list is not UTF-8"]);
    }

    #[test]
    fn a_source_without_any_key_cannot_be_verified() {
        let dir = tempfile::tempdir().unwrap();
        let mut found = Sources::default();
        parse::one_line("deb [signed-by=/k.gpg] http://a.example/ x main\ndeb http://a.example/ x main\n", "f", &mut found);
        assert!(matches!(keyring_for(dir.path(), &found.configured[0]), Err(KeyringError::Read { .. })));
        assert!(matches!(keyring_for(dir.path(), &found.configured[1]), Err(KeyringError::Empty { .. })));
    }
}
