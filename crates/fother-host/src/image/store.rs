//! Where an image's parts lie: a directory, or a tar that is read by position. Reads only; links stay inside.

use crate::root::Root;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read},
    os::unix::fs::FileExt as _,
    path::Path,
};

/// Most members of an archive of layers.
const MEMBERS_MAX: usize = 65_536;
/// Most links from one member to the next.
const LINKS_MAX: usize = 8;

#[derive(Debug)]
enum Member {
    At { offset: u64, size: u64 },
    Link(String),
}

#[derive(Debug)]
enum Kind {
    Directory(Root),
    Archive { file: File, members: HashMap<String, Member> },
}

/// An image's parts by name.
#[derive(Debug)]
pub struct Store(Kind);

/// A part of a file.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(out.len());
        let read = self.file.read_at(&mut out[..most], self.at)?;
        if read == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short"));
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Store {
    /// A directory.
    pub fn directory(path: &Path) -> Result<Self, String> {
        Root::open(path).map(|root| Self(Kind::Directory(root))).map_err(|error| error.to_string())
    }

    /// A tar that is not packed.
    pub fn archive(file: File) -> Result<Self, String> {
        let failed = |error: io::Error| error.to_string();
        let mut members = HashMap::new();
        let reader = file.try_clone().map_err(failed)?;
        for entry in tar::Archive::new(reader).entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if members.len() >= MEMBERS_MAX {
                return Err(format!("it has more than {MEMBERS_MAX} members"));
            }
            let name = clean(&String::from_utf8_lossy(&entry.path_bytes()));
            let kind = entry.header().entry_type();
            if kind.is_file() {
                members.insert(name, Member::At { offset: entry.raw_file_position(), size: entry.size() });
            } else if kind.is_symlink() || kind.is_hard_link() {
                let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned()).unwrap_or_default();
                let above = name.rsplit_once('/').map_or("", |(above, _)| above);
                let target = if kind.is_symlink() && !target.starts_with('/') { format!("{above}/{target}") } else { target };
                members.insert(name, Member::Link(clean(&target)));
            }
        }
        Ok(Self(Kind::Archive { file, members }))
    }

    /// Whether it has what an image's archive has.
    pub fn is_image(&self) -> bool {
        self.has("manifest.json") || self.has("index.json")
    }

    /// Whether a part is there.
    pub fn has(&self, name: &str) -> bool {
        match &self.0 {
            Kind::Directory(root) => root.exists(name),
            Kind::Archive { members, .. } => members.contains_key(name),
        }
    }

    /// A part's bytes.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn open(&self, name: &str) -> Result<Box<dyn Read + '_>, String> {
        match &self.0 {
            Kind::Directory(root) => root.file(name).map(|file| Box::new(file) as Box<dyn Read>).map_err(|error| error.to_string()),
            Kind::Archive { file, members } => {
                let mut name = name;
                for _ in 0..LINKS_MAX {
                    match members.get(name).ok_or_else(|| format!("{name} is missing"))? {
                        Member::At { offset, size } => {
                            return Ok(Box::new(Slice { file, at: *offset, end: offset.saturating_add(*size) }));
                        }
                        Member::Link(target) => name = target,
                    }
                }
                Err(format!("{name}: its links form a loop"))
            }
        }
    }

    /// A small part as a whole.
    ///
    /// # Errors
    /// Where it is not there or larger than `bytes_max`.
    pub fn small(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        self.open(name)?.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
        if bytes.len() as u64 > bytes_max { Err(format!("{name} is larger than {bytes_max} bytes")) } else { Ok(bytes) }
    }
}

/// A member's name without `.`, `..` and empty parts.
fn clean(name: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}
