//! One pass over a Packages index, fast and without copies; pure.

use fother_core::{
    Digest,
    deb822::Stanza,
    package::Offer,
    version::{ParseError, Version},
};
use memchr::memmem;
use std::{collections::HashSet, hash::BuildHasher, ops::Range, sync::LazyLock};

static BLANK_LINE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\n\n"));

/// One stanza of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Package name.
    pub name: &'a str,
    /// The stanza's raw text, up to and without the blank line.
    pub stanza: &'a [u8],
    /// Where the stanza starts in the index, in bytes.
    pub start: usize,
}

/// A stanza that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EntryError {
    /// Not UTF-8.
    #[error("package {0}: its stanza is not UTF-8")]
    NotUtf8(String),
    /// A field is absent or malformed.
    #[error("package {0}: its {1} is missing or malformed")]
    Field(String, &'static str),
    /// A version is malformed.
    #[error("package {0}: {1}")]
    Version(String, ParseError),
}

/// What an archive says about one package version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Binary package name.
    pub name: String,
    /// Version.
    pub version: Version,
    /// Architecture.
    pub arch: String,
    /// Source package name.
    pub source: String,
    /// Source version.
    pub source_version: Version,
    /// Path below the archive's base address: relative, without `..`.
    pub filename: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// SHA-256 of the package file.
    pub sha256: Digest,
    /// `Phased-Update-Percentage`: how much of the fleet should have it yet, 0 to 100.
    pub phased_percent: Option<u8>,
}

impl<'a> Entry<'a> {
    /// Where the stanza stands in the index, in bytes.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.stanza.len()
    }

    /// The value of a one-line field, by its exact spelling; empty where it is not UTF-8.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'a str> {
        field(self.stanza, name)
    }

    /// `Version`; empty if absent.
    #[must_use]
    pub fn version(&self) -> &'a str {
        self.field("Version").unwrap_or_default()
    }

    /// `Architecture`; empty if absent.
    #[must_use]
    pub fn arch(&self) -> &'a str {
        self.field("Architecture").unwrap_or_default()
    }

    /// Reads the stanza's fields.
    ///
    /// # Errors
    /// Where it is not UTF-8, or a field that is needed to verify the package is missing.
    pub fn candidate(&self) -> Result<Candidate, EntryError> {
        let name = self.name.to_owned();
        let text = std::str::from_utf8(self.stanza).map_err(|_| EntryError::NotUtf8(name.clone()))?;
        let stanza = Stanza::parse(text);
        let get = |field: &'static str| stanza.get(field).filter(|v| !v.is_empty()).ok_or_else(|| EntryError::Field(name.clone(), field));
        let parse = |text: &str| text.parse::<Version>().map_err(|error| EntryError::Version(name.clone(), error));
        let version = parse(get("Version")?)?;
        let (source, source_version) = match stanza.get("Source") {
            None => (name.clone(), version.clone()),
            Some(text) => match text.split_once('(') {
                None => (text.to_owned(), version.clone()),
                Some((source, own)) => (source.trim().to_owned(), parse(own.trim_end_matches(')').trim())?),
            },
        };
        let filename = get("Filename")?.trim_start_matches("./").to_owned();
        let strange = |part: &str| part.is_empty() || part == ".." || part.bytes().any(|b| b.is_ascii_control() || b == b'\\');
        if filename.split('/').any(strange) || filename.contains(":/") {
            return Err(EntryError::Field(name, "Filename"));
        }
        let phased = stanza.get("Phased-Update-Percentage").map(|v| v.parse::<u8>().ok().filter(|p| *p <= 100));
        Ok(Candidate {
            version,
            arch: get("Architecture")?.to_owned(),
            source,
            source_version,
            filename,
            size: get("Size")?.parse().map_err(|_| EntryError::Field(name.clone(), "Size"))?,
            sha256: Digest::from_hex(get("SHA256")?).map_err(|_| EntryError::Field(name.clone(), "SHA256"))?,
            phased_percent: match phased {
                Some(None) => return Err(EntryError::Field(name, "Phased-Update-Percentage")),
                Some(percent) => percent,
                None => None,
            },
            name,
        })
    }
}

impl Candidate {
    /// The offer that a transaction names, for an archive with these facts.
    #[must_use]
    pub fn offer(&self, release: &crate::release::Release, source: &fother_core::inventory::Source) -> Offer {
        Offer {
            origin: release.origin.clone(),
            label: release.label.clone(),
            suite: source.suite.clone(),
            uri: source.uri.clone(),
            filename: self.filename.clone(),
            size: self.size,
            sha256: self.sha256,
        }
    }
}

/// The value of a field at the start of a line.
fn field<'a>(stanza: &'a [u8], name: &str) -> Option<&'a str> {
    let mut rest = stanza;
    loop {
        if let Some(value) = rest.strip_prefix(name.as_bytes()).and_then(|r| r.strip_prefix(b":")) {
            let end = memchr::memchr(b'\n', value).unwrap_or(value.len());
            return Some(std::str::from_utf8(&value[..end]).unwrap_or_default().trim());
        }
        rest = &rest[memchr::memchr(b'\n', rest)? + 1..];
    }
}

/// All stanzas of an index that name a package; stanzas without a readable `Package` field are passed over, as apt does.
pub fn scan(index: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            while index.get(at) == Some(&b'\n') {
                at += 1;
            }
            let rest = index.get(at..).filter(|r| !r.is_empty())?;
            let start = at;
            let end = BLANK_LINE.find(rest).map_or(rest.len(), |end| end + 1);
            at += end;
            let stanza = &rest[..end];
            if let Some(name) = field(stanza, "Package").filter(|name| !name.is_empty()) {
                return Some(Entry { name, stanza, start });
            }
        }
    })
}

/// Calls `f` for every stanza whose package is wanted, in the order of the index.
pub fn select<'a, S: BuildHasher>(index: &'a [u8], wanted: &HashSet<&str, S>, mut f: impl FnMut(Entry<'a>)) {
    for entry in scan(index).filter(|entry| wanted.contains(entry.name)) {
        f(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &[u8] = b"Package: a\nVersion: 1-1\nArchitecture: amd64\nSource: s (2-1)\nFilename: pool/a_1.deb\nSize: 7\n\
        SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nDescription: x\n Package: no\n\n\nVersion: 1\nPackage: b\n\nX: y\n\nPackage: c";

    #[test]
    fn every_stanza_with_a_name_is_found_once() {
        let names: Vec<_> = scan(INDEX).map(|e| e.name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        for entry in scan(INDEX) {
            assert_eq!(&INDEX[entry.range()], entry.stanza);
        }
        assert_eq!(scan(b"\n\n").count(), 0);
    }

    #[test]
    fn wanted_stanzas_are_read() {
        let mut found = Vec::new();
        select(INDEX, &HashSet::from(["a", "x"]), |entry| found.push(entry.candidate().unwrap()));
        let [a] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((a.source.as_str(), a.source_version.as_str(), a.version.as_str(), a.size), ("s", "2-1", "1-1", 7));
        assert_eq!(a.filename, "pool/a_1.deb");
    }

    #[test]
    fn a_file_name_that_leaves_the_archive_is_refused() {
        for bad in ["../x", "a/../x", "/etc/x", "http://x/y", "a//b"] {
            let index = String::from_utf8_lossy(INDEX).replace("pool/a_1.deb", bad);
            let entry = scan(index.as_bytes()).next().unwrap();
            assert_eq!(entry.candidate(), Err(EntryError::Field("a".to_owned(), "Filename")), "{bad}");
        }
    }
}
