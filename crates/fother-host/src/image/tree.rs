//! The files of an image as its layers leave them: later layers replace and remove what earlier ones brought (OCI image specification,
//! "Applying changesets"). Names and links live in memory; the bytes of kept files lie in one directory under numbers.

use super::{ENTRIES_MAX, KEPT_BYTES_MAX, UNKNOWN_MAX, select};
use fother_core::text::printable;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
};

/// Longest path, in bytes.
const PATH_BYTES_MAX: usize = 4096;
/// Longest part of a path, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// Deepest path.
const DEPTH_MAX: usize = 128;
/// Most links on the way to one path (path_resolution(7)).
const LINKS_MAX: usize = 40;
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Directory,
    /// Its bytes lie under this number; `None`: it is empty.
    File(Option<u64>),
    Link(String),
    /// A device, pipe or socket: it takes a name and is never written.
    Other,
}

#[derive(Debug)]
struct Entry {
    node: Node,
    layer: usize,
}

/// What a layer says stands at a path.
pub enum Thing<'a> {
    /// A directory.
    Directory,
    /// A regular file with its bytes.
    File(&'a mut dyn Read),
    /// A symbolic link and where it points.
    Symlink(String),
    /// Another name of a file that was named before.
    Hardlink(String),
    /// A device, pipe or socket.
    Other,
}

/// The files so far.
#[derive(Debug)]
pub struct Tree {
    nodes: BTreeMap<String, Entry>,
    kept: PathBuf,
    count: u64,
    bytes: u64,
    entries: u64,
    /// Number of the layer that is being applied.
    pub layer: usize,
    /// What could not be taken, by name with the reason.
    pub unknown: Vec<String>,
}

/// The parts of a path; `None` where it leads out or is none.
fn parts(path: &str) -> Option<Vec<&str>> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let fine = |part: &&str| *part != ".." && part.len() <= NAME_BYTES_MAX && !part.contains('\0');
    (path.len() <= PATH_BYTES_MAX && parts.len() <= DEPTH_MAX && parts.iter().all(fine)).then_some(parts)
}

impl Tree {
    /// An empty one that keeps bytes in a directory, which it makes.
    pub fn new(kept: &Path) -> Result<Self, String> {
        fs::create_dir(kept).map_err(|error| format!("{}: {error}", kept.display()))?;
        let kept = kept.to_owned();
        Ok(Self { nodes: BTreeMap::new(), kept, count: 0, bytes: 0, entries: 0, layer: 0, unknown: Vec::new() })
    }

    fn say(&mut self, path: &str, why: &str) {
        if self.unknown.len() < UNKNOWN_MAX {
            self.unknown.push(format!("image: {}: {why}", printable(path, 200)));
        }
    }

    /// Applies one entry of the layer. Names that lead out of the image are left out and named.
    ///
    /// # Errors
    /// Where a bound is exceeded or the bytes cannot be read or kept.
    pub fn apply(&mut self, path: &str, thing: Thing<'_>) -> Result<(), String> {
        self.entries += 1;
        if self.entries > ENTRIES_MAX {
            return Err(format!("it has more than {ENTRIES_MAX} files"));
        }
        let Some(all) = parts(path) else {
            self.say(path, "its name leads out of the image or is too long");
            return Ok(());
        };
        let Some((name, above)) = all.split_last() else { return Ok(()) };
        let Some(above) = self.resolved(&above.join("/")) else {
            self.say(path, "its links form a loop or lead out of the image");
            return Ok(());
        };
        let join = |name: &str| if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") };
        if *name == OPAQUE {
            self.remove_below(&above, Some(self.layer));
            return Ok(());
        }
        if let Some(name) = name.strip_prefix(WHITEOUT) {
            let gone = join(name);
            self.remove_below(&gone, Some(self.layer));
            if self.nodes.get(&gone).is_some_and(|entry| entry.layer < self.layer) {
                self.nodes.remove(&gone);
            }
            return Ok(());
        }
        self.put(join(name), thing)
    }

    fn put(&mut self, path: String, thing: Thing<'_>) -> Result<(), String> {
        // What stands above it is a directory from now on, whatever an earlier layer had there.
        for (at, _) in path.match_indices('/') {
            if self.nodes.get(&path[..at]).is_some_and(|entry| entry.node != Node::Directory) {
                self.nodes.remove(&path[..at]);
            }
        }
        if matches!(thing, Thing::Other) && select::file(&path) == select::Taken::Whole {
            self.say(&path, "it is no regular file");
        }
        let node = match thing {
            Thing::Directory => Some(Node::Directory),
            Thing::Other => Some(Node::Other),
            Thing::Symlink(target) => Some(Node::Link(target)),
            Thing::File(bytes) => self.take(&path, bytes)?.map(Node::File),
            Thing::Hardlink(target) => self.hard_link(&path, &target),
        };
        if node != Some(Node::Directory) {
            self.remove_below(&path, None);
        }
        let layer = self.layer;
        match node {
            // A directory that is there stays, with what is in it.
            Some(Node::Directory) if matches!(self.nodes.get(&path), Some(Entry { node: Node::Directory, .. })) => {}
            Some(node) => drop(self.nodes.insert(path, Entry { node, layer })),
            None => drop(self.nodes.remove(&path)),
        }
        Ok(())
    }

    fn hard_link(&mut self, path: &str, target: &str) -> Option<Node> {
        let there = parts(target).and_then(|all| {
            let (name, above) = all.split_last()?;
            let above = self.resolved(&above.join("/"))?;
            self.nodes.get(&if above.is_empty() { (*name).to_owned() } else { format!("{above}/{name}") })
        });
        let found = there.map(|entry| entry.node.clone()).filter(|node| *node != Node::Directory);
        if found.is_none() && select::file(path) == select::Taken::Whole {
            self.say(path, &format!("it is another name of {}, which was not kept", printable(target, 200)));
        }
        found
    }

    /// The bytes of a file, where they are wanted: `Some(None)` where its name is enough.
    fn take(&mut self, path: &str, bytes: &mut dyn Read) -> Result<Option<Option<u64>>, String> {
        let failed = |error: io::Error| format!("{}: {error}", printable(path, 200));
        let mut head = [0; select::PROGRAM.len()];
        let head: &[u8] = match select::file(path) {
            select::Taken::No => return Ok(None),
            select::Taken::Name => return Ok(Some(None)),
            select::Taken::Whole => &[],
            select::Taken::IfProgram => {
                let read = fill(bytes, &mut head).map_err(failed)?;
                if &head[..read] != select::PROGRAM {
                    return Ok(None);
                }
                &head[..read]
            }
        };
        self.count += 1;
        let mut out = fs::File::create_new(self.kept.join(self.count.to_string())).map_err(failed)?;
        let left = KEPT_BYTES_MAX.saturating_sub(self.bytes);
        self.bytes += io::copy(&mut head.chain(bytes).take(left.saturating_add(1)), &mut out).map_err(failed)?;
        if self.bytes > KEPT_BYTES_MAX {
            return Err(format!("what is to be looked at has more than {KEPT_BYTES_MAX} bytes"));
        }
        Ok(Some(Some(self.count)))
    }

    /// Removes everything below a path; with a layer, only what earlier layers brought.
    fn remove_below(&mut self, path: &str, before: Option<usize>) {
        let (from, to) = (format!("{path}/"), format!("{path}0"));
        let gone = |entry: &Entry| before.is_none_or(|layer| entry.layer < layer);
        // All of the image where the path is the root itself; `0` is the character behind the slash.
        let keys: Vec<String> = if path.is_empty() {
            self.nodes.iter().filter(|(_, entry)| gone(entry)).map(|(key, _)| key.clone()).collect()
        } else {
            self.nodes.range(from..to).filter(|(_, entry)| gone(entry)).map(|(key, _)| key.clone()).collect()
        };
        for key in keys {
            self.nodes.remove(&key);
        }
    }

    /// A directory's path with all links in it followed inside of the image.
    fn resolved(&self, path: &str) -> Option<String> {
        let mut left: Vec<String> = path.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned).collect();
        let (mut done, mut links): (Vec<String>, usize) = (Vec::new(), 0);
        while let Some(part) = left.pop() {
            match part.as_str() {
                "." => continue,
                ".." => {
                    done.pop();
                    continue;
                }
                _ => done.push(part),
            }
            if done.len() > DEPTH_MAX || left.len() > PATH_BYTES_MAX {
                return None;
            }
            if let Some(Entry { node: Node::Link(target), .. }) = self.nodes.get(&done.join("/")) {
                links += 1;
                if links > LINKS_MAX {
                    return None;
                }
                done.pop();
                if target.starts_with('/') {
                    done.clear();
                }
                left.extend(target.split('/').rev().filter(|part| !part.is_empty()).map(str::to_owned));
            }
        }
        let path = done.join("/");
        parts(&path).is_some().then_some(path)
    }

    /// Where a link that is read leads to something that was not kept, because nothing is read under its own name.
    fn lost(&self) -> Vec<String> {
        let lost = |(path, entry): (&String, &Entry)| {
            let Node::Link(_) = &entry.node else { return None };
            if !select::link(path) {
                return None;
            }
            let target = self.resolved(path)?;
            let there = self.nodes.contains_key(&target) || self.nodes.range(format!("{target}/")..format!("{target}0")).next().is_some();
            let seen = select::link(&target) || target.is_empty();
            (!seen && !there)
                .then(|| format!("image: {}: it leads to {}, which is not looked at", printable(path, 200), printable(&target, 200)))
        };
        self.nodes.iter().filter_map(lost).take(UNKNOWN_MAX).collect()
    }

    /// Writes what is left into a directory, which it makes.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&mut self, root: &Path) -> Result<(), String> {
        let failed = |path: &Path, error: io::Error| format!("{}: {error}", path.display());
        fs::create_dir(root).map_err(|error| failed(root, error))?;
        for (name, entry) in &self.nodes {
            let path = root.join(OsStr::from_bytes(name.as_bytes()));
            let parent = path.parent().unwrap_or(root);
            match &entry.node {
                Node::Directory if select::file(&format!("{name}/modules.builtin")) == select::Taken::Name || select::link(name) => {
                    fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
                }
                Node::Directory | Node::Other => {}
                Node::File(number) => {
                    fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
                    let put = match number {
                        Some(number) => fs::hard_link(self.kept.join(number.to_string()), &path),
                        None => fs::File::create_new(&path).map(drop),
                    };
                    put.map_err(|error| failed(&path, error))?;
                }
                Node::Link(target) if select::link(name) => {
                    fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
                    symlink(target, &path).map_err(|error| failed(&path, error))?;
                }
                Node::Link(_) => {}
            }
        }
        let lost = self.lost();
        self.unknown.extend(lost);
        Ok(())
    }
}

/// Reads until the buffer is full or the end is there.
fn fill(bytes: &mut dyn Read, out: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < out.len() {
        match bytes.read(&mut out[at..])? {
            0 => break,
            read => at += read,
        }
    }
    Ok(at)
}
