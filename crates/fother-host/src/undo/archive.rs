//! Making, sealing and comparing an undo archive; writes only below the archive's own directory.

use super::{
    CAPTURE_PATHS_MAX, Comparison, Conflict, Report, UndoError, at, at_path,
    restore::load_plan,
    snapshot::{Depth, Kind, NOTHING, Seen, State, look_at},
};
use fother_core::{Digest, canonical};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::{fd::OwnedFd, unix::fs::DirBuilderExt},
    path::Path,
};

pub(super) const MANIFEST: &str = "manifest.json";
pub(super) const DIGEST: &str = "manifest.digest";
pub(super) const SEALED: &str = "sealed.json";
pub(super) const BLOBS: &str = "blobs";
/// Exists once a restoration has ended.
pub(super) const RESTORED: &str = "restored";
/// Largest manifest that is read back, in bytes.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;
pub(super) const FULL: Depth = Depth { content: true, xattrs: true };

/// What was captured.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Captured {
    pub version: u32,
    pub paths: BTreeMap<String, State>,
    /// Names that shared a file: path → first captured path of the same file.
    pub same_file: BTreeMap<String, String>,
    /// Directories that were captured whole.
    pub trees: Vec<String>,
}

/// Keeps the pre-image of every path (and of the directories above it) in `archive`, a new directory that only its owner can enter.
///
/// # Errors
/// Where a path cannot be read or the archive exists; a half-made archive does not count and may be captured again.
pub fn capture(root: &Path, paths: &[String], archive: &Path) -> Result<Report, UndoError> {
    if is_captured(archive) {
        return Err(UndoError::Exists(archive.to_owned()));
    }
    let blobs = archive.join(BLOBS);
    DirBuilder::new().recursive(true).mode(0o700).create(&blobs).map_err(at_path(blobs.display().to_string()))?;
    let fd = at::open_root(root).map_err(at_path(root.display().to_string()))?;
    let (wanted, trees) = expand(&fd, paths)?;
    let mut writer = BlobWriter { dir: &blobs, report: Report::default() };
    let mut captured = Captured { version: 1, paths: BTreeMap::new(), same_file: BTreeMap::new(), trees };
    let mut inodes: HashMap<(u64, u64), String> = HashMap::new();
    let mut parents = Parents::new(&fd);
    for path in wanted {
        let seen = writer.keep(&mut parents, &path).map_err(at_path(path.clone()))?;
        if seen.state.kind == Kind::File && seen.nlink > 1 {
            let first = inodes.entry((seen.dev, seen.ino)).or_insert_with(|| path.clone());
            if *first != path {
                captured.same_file.insert(path.clone(), first.clone());
            }
        }
        captured.paths.insert(path, seen.state);
    }
    writer.report.paths = captured.paths.len() as u64;
    let bytes = canonical::to_vec(&captured).map_err(|error| damaged(archive, error.to_string()))?;
    let finish = || -> io::Result<()> {
        rustix::fs::syncfs(File::open(&blobs)?)?;
        at::write_durably(archive, DIGEST, Digest::of_kind("undo", &bytes).to_string().as_bytes())?;
        at::write_durably(archive, MANIFEST, &bytes)
    };
    finish().map_err(at_path(archive.display().to_string()))?;
    Ok(writer.report)
}

/// Whether `archive` holds a complete capture.
#[must_use]
pub fn is_captured(archive: &Path) -> bool {
    archive.join(MANIFEST).exists()
}

/// Whether `archive` has been restored to the end.
#[must_use]
pub fn is_restored(archive: &Path) -> bool {
    archive.join(RESTORED).exists()
}

/// The digest that names the captured pre-images.
///
/// # Errors
/// Where the archive is not complete or was altered.
pub fn manifest_digest(archive: &Path) -> Result<Digest, UndoError> {
    load(archive)?;
    read(archive, DIGEST)?.trim().parse().map_err(|_| damaged(archive, "its digest cannot be read"))
}

/// Every captured path.
///
/// # Errors
/// Where the archive is not complete or was altered.
pub fn paths(archive: &Path) -> Result<Vec<String>, UndoError> {
    Ok(load(archive)?.paths.into_keys().collect())
}

/// Records what the finished transaction left at every captured path, so that later writes of others are recognised.
///
/// # Errors
/// Where the archive is not complete or a path cannot be read.
pub fn seal(root: &Path, archive: &Path) -> Result<(), UndoError> {
    let captured = load(archive)?;
    let now = present(root, &captured)?;
    let bytes = canonical::to_vec(&now).map_err(|error| damaged(archive, error.to_string()))?;
    at::write_durably(archive, SEALED, &bytes).map_err(at_path(archive.display().to_string()))
}

/// Paths whose present state is not what the transaction left. Times of directories do not count: others may create files in them.
///
/// # Errors
/// Where the archive is not complete, not sealed, or a path cannot be read.
pub fn conflicts(root: &Path, archive: &Path) -> Result<Vec<Conflict>, UndoError> {
    let captured = load(archive)?;
    let sealed = load_sealed(archive)?.ok_or_else(|| damaged(archive, "it was not sealed"))?;
    Ok(conflicts_of(&captured, &sealed, &present(root, &captured)?))
}

/// The paths that the transaction changed at all, as its end was sealed; names that shared a file count together.
pub(super) fn touched(captured: &Captured, sealed: &BTreeMap<String, State>) -> BTreeSet<String> {
    let all = sealed.keys().chain(captured.paths.keys());
    let differs = |path: &&String| captured.paths.get(*path).unwrap_or(&NOTHING) != sealed.get(*path).unwrap_or(&NOTHING);
    let mut out: BTreeSet<String> = all.filter(differs).cloned().collect();
    let whole: BTreeSet<&String> =
        captured.same_file.iter().filter(|(path, first)| out.contains(*path) || out.contains(*first)).map(|(_, first)| first).collect();
    let together: Vec<String> = captured
        .same_file
        .iter()
        .filter(|(_, first)| whole.contains(first))
        .flat_map(|(path, first)| [path.clone(), first.clone()])
        .collect();
    out.extend(together);
    out
}

pub(super) fn conflicts_of(captured: &Captured, sealed: &BTreeMap<String, State>, now: &BTreeMap<String, State>) -> Vec<Conflict> {
    touched(captured, sealed)
        .into_iter()
        .filter_map(|path| {
            let what = sealed.get(&path).unwrap_or(&NOTHING).differences(now.get(&path).unwrap_or(&NOTHING), false);
            (!what.is_empty()).then(|| Conflict { path, what: what.join(", ") })
        })
        .collect()
}

/// In what the present state differs from the captured one, a line per path; empty: everything is exactly as before.
///
/// # Errors
/// As for [`compare`].
pub fn verify(root: &Path, archive: &Path) -> Result<Vec<String>, UndoError> {
    compare(root, archive).map(|comparison| comparison.differences)
}

/// Reads every path that the transaction touched anew, content included, and compares it with its pre-image.
/// Once the archive is sealed, paths that the transaction did not touch do not count: what became of them is the doing of others.
///
/// # Errors
/// Where the archive is not complete or a path cannot be read.
pub fn compare(root: &Path, archive: &Path) -> Result<Comparison, UndoError> {
    let captured = load(archive)?;
    let now = present(root, &captured)?;
    let (mut out, mut paths) = (Vec::new(), 0);
    let (ours, plan) = (load_sealed(archive)?.map(|sealed| touched(&captured, &sealed)), load_plan(archive)?.unwrap_or_default());
    for (path, after) in &now {
        if ours.as_ref().is_some_and(|ours| !ours.contains(path)) {
            continue;
        }
        paths += 1;
        let before = captured.paths.get(path).unwrap_or(&NOTHING);
        let what = before.differences(after, !plan.keep_time.contains_key(path));
        if !what.is_empty() {
            out.push(format!("{path}: {}", what.join(", ")));
        }
    }
    let fd = at::open_root(root).map_err(at_path("/"))?;
    let mut parents = Parents::new(&fd);
    for (path, first) in &captured.same_file {
        if ours.as_ref().is_some_and(|ours| !ours.contains(path)) {
            continue;
        }
        let inode = |seen: Seen| (seen.dev, seen.ino);
        let (a, b) = (parents.look(path, Depth::default()), parents.look(first, Depth::default()));
        if a.map(inode).ok() != b.map(inode).ok() {
            out.push(format!("{path}: no longer the same file as {first}"));
        }
    }
    Ok(Comparison { paths, differences: out })
}

/// The present state of every captured path, and of whatever else is in the captured trees.
pub(super) fn present(root: &Path, captured: &Captured) -> Result<BTreeMap<String, State>, UndoError> {
    let fd = at::open_root(root).map_err(at_path(root.display().to_string()))?;
    let mut all: BTreeSet<String> = captured.paths.keys().cloned().collect();
    for tree in &captured.trees {
        below(&fd, tree, &mut all)?;
    }
    let mut parents = Parents::new(&fd);
    all.into_iter()
        .map(|path| {
            let seen = parents.look(&path, FULL).map_err(at_path(path.clone()))?;
            Ok((path, seen.state))
        })
        .collect()
}

pub(super) fn load(archive: &Path) -> Result<Captured, UndoError> {
    let text = read(archive, MANIFEST)?;
    let digest = read(archive, DIGEST)?;
    if Digest::of_kind("undo", text.as_bytes()).to_string() != digest.trim() {
        return Err(damaged(archive, "its manifest does not match its digest"));
    }
    let captured: Captured = serde_json::from_str(&text).map_err(|error| damaged(archive, error.to_string()))?;
    if captured.version != 1 {
        return Err(damaged(archive, format!("it has format {}, this program reads 1", captured.version)));
    }
    Ok(captured)
}

pub(super) fn load_sealed(archive: &Path) -> Result<Option<BTreeMap<String, State>>, UndoError> {
    if !archive.join(SEALED).exists() {
        return Ok(None);
    }
    serde_json::from_str(&read(archive, SEALED)?).map(Some).map_err(|error| damaged(archive, error.to_string()))
}

pub(super) fn read(archive: &Path, name: &str) -> Result<String, UndoError> {
    use io::Read as _;
    let path = archive.join(name);
    let mut text = String::new();
    File::open(&path)
        .and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| damaged(archive, format!("{name}: {error}")))?;
    Ok(text)
}

pub(super) fn damaged(archive: &Path, why: impl Into<String>) -> UndoError {
    UndoError::Damaged { path: archive.to_owned(), why: why.into() }
}

/// Canonical paths, whole trees spelled out, and every directory above.
fn expand(root: &OwnedFd, paths: &[String]) -> Result<(BTreeSet<String>, Vec<String>), UndoError> {
    let mut canonical = at::Canonical::new(root);
    let (mut out, mut trees) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let (plain, tree) = path.strip_suffix("/**").map_or((path.as_str(), false), |base| (base, true));
        let plain = canonical.path(plain).map_err(at_path(path.clone()))?;
        if tree {
            below(root, &plain, &mut out)?;
            trees.insert(plain.clone());
        }
        let mut up = plain;
        while up != "/" && out.insert(up.clone()) {
            at::split(&up).0.to_owned().clone_into(&mut up);
        }
        if out.len() > CAPTURE_PATHS_MAX {
            return Err(UndoError::TooMany);
        }
    }
    out.insert("/".to_owned());
    for tree in &trees {
        let mut up = at::split(tree).0.to_owned();
        while up != "/" && out.insert(up.clone()) {
            at::split(&up).0.to_owned().clone_into(&mut up);
        }
    }
    Ok((out, trees.into_iter().collect()))
}

/// Everything at and below a directory.
pub(crate) fn below(root: &OwnedFd, tree: &str, out: &mut BTreeSet<String>) -> Result<(), UndoError> {
    let mut todo = vec![tree.to_owned()];
    while let Some(path) = todo.pop() {
        if out.len() > CAPTURE_PATHS_MAX {
            return Err(UndoError::TooMany);
        }
        let names = match at::directory(root, &path) {
            Ok(fd) => crate::manifest::names(&fd).map_err(at_path(path.clone()))?,
            Err(error) if is_no_directory(&error) => Vec::new(),
            Err(error) => return Err(at_path(path)(error)),
        };
        for name in names {
            let name = String::from_utf8(name).map_err(|_| at_path(path.clone())(io::ErrorKind::InvalidFilename.into()))?;
            todo.push(format!("{}/{name}", path.trim_end_matches('/')));
        }
        out.insert(path);
    }
    Ok(())
}

pub(super) fn is_no_directory(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::NOENT, Errno::NOTDIR, Errno::LOOP].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// Open parent directories, the last one kept: paths come sorted.
pub(crate) struct Parents<'a> {
    root: &'a OwnedFd,
    last: Option<(String, Option<OwnedFd>)>,
}

impl<'a> Parents<'a> {
    pub(crate) fn new(root: &'a OwnedFd) -> Self {
        Self { root, last: None }
    }

    /// The state at a path; absent where a directory above is missing.
    pub(crate) fn look(&mut self, path: &str, depth: Depth) -> io::Result<Seen> {
        match self.open(path)? {
            Some(fd) => look_at(&fd, depth, &mut |_| Ok(())),
            None => Ok(Seen::ABSENT),
        }
    }

    /// What stands at the path, as an `O_PATH` descriptor; `None` if nothing does.
    fn open(&mut self, path: &str) -> io::Result<Option<OwnedFd>> {
        let missing = |error: &io::Error| is_no_directory(error);
        if path == "/" {
            return at::directory(self.root, "/").map(Some);
        }
        let (parent, name) = at::split(path);
        if self.last.as_ref().is_none_or(|(known, _)| known != parent) {
            let fd = match at::directory(self.root, parent) {
                Ok(fd) => Some(fd),
                Err(error) if missing(&error) => None,
                Err(error) => return Err(error),
            };
            self.last = Some((parent.to_owned(), fd));
        }
        let Some((_, Some(parent))) = &self.last else { return Ok(None) };
        match rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, rustix::fs::Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            Err(error) if missing(&error.into()) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Writes contents to files named by their hash.
struct BlobWriter<'a> {
    dir: &'a Path,
    report: Report,
}

impl BlobWriter<'_> {
    fn keep(&mut self, parents: &mut Parents<'_>, path: &str) -> io::Result<Seen> {
        let Some(fd) = parents.open(path)? else { return Ok(Seen::ABSENT) };
        let probe = look_at(&fd, Depth::default(), &mut |_| Ok(()))?;
        if probe.state.kind != Kind::File {
            return look_at(&fd, FULL, &mut |_| Ok(()));
        }
        let temporary = self.dir.join(".new");
        let mut file = File::create(&temporary)?;
        let seen = look_at(&fd, FULL, &mut |chunk| file.write_all(chunk))?;
        let name = self.dir.join(seen.state.sha256.map_or_else(String::new, |digest| digest.hex()));
        if !name.exists() {
            self.report.bytes += seen.state.size;
        }
        fs::rename(&temporary, name)?;
        Ok(seen)
    }
}
