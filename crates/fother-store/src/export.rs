//! The log as plain files in the layout of C2SP tlog-tiles, and the auditor's check of such a directory, with no server or database.
//! Writes and reads the given directory only.
//!
//! ```text
//! checkpoint                    the signed note
//! cosigned/<size>               the notes that hosts cosigned, each host's newest among them
//! tile/<L>/<N>[.p/<W>]          up to 256 hashes of level 8·L
//! tile/entries/<N>[.p/<W>]      up to 256 events, each behind its length in two bytes
//! ```

use crate::{Error, Problem, Store, VerifyReport, cosigned::Cosigned, log::EVENT_BYTES_MAX};
use fother_core::{
    Digest,
    checkpoint::{self, Checkpoint, NOTE_BYTES_MAX, Note, VerifierKey},
    merkle,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

/// Hashes of a tile, events of a bundle.
const WIDTH: u64 = 256;
/// Levels of the tree in one level of tiles.
const HEIGHT: u32 = 8;
const BUNDLE_BYTES_MAX: u64 = WIDTH * (2 + EVENT_BYTES_MAX as u64);
const CHECKPOINT: &str = "checkpoint";
const COSIGNED: &str = "cosigned";
/// Most cosigned notes that an export holds and a check reads.
const COSIGNED_MAX: usize = 10_000;

/// Of the notes over at most `size` events, those that hold some cosigner's newest signature.
fn newest(notes: Vec<(u64, String)>, size: u64) -> BTreeMap<u64, String> {
    let mut of_host: BTreeMap<(String, [u8; 4]), u64> = BTreeMap::new();
    let notes: BTreeMap<u64, String> = notes.into_iter().filter(|(covers, _)| *covers <= size).collect();
    for (covers, text) in &notes {
        let Ok(note) = text.parse::<Note>() else { continue };
        of_host.extend(note.signatures().iter().map(|one| ((one.name.clone(), one.key_hash), *covers)));
    }
    let wanted: BTreeSet<u64> = of_host.into_values().collect();
    notes.into_iter().filter(|(covers, _)| wanted.contains(covers)).rev().take(COSIGNED_MAX).collect()
}

/// The cosigned notes of an export, each under the size that its name says.
fn read_cosigned(dir: &Path) -> Result<Vec<(u64, String)>, Error> {
    let dir = dir.join(COSIGNED);
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::io("read", &dir))?,
    };
    let mut notes = Vec::new();
    for entry in entries.take(COSIGNED_MAX) {
        let entry = entry.map_err(Error::io("read", &dir))?;
        let Some(size) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let note = read(&entry.path(), NOTE_BYTES_MAX as u64)?.unwrap_or_default();
        notes.push((size, String::from_utf8_lossy(&note).into_owned()));
    }
    Ok(notes)
}

impl Store {
    /// Writes the events that the checkpoint covers, their tree and the checkpoint into `out`, a new or empty directory.
    /// The checkpoint is written last: without it the export is incomplete.
    ///
    /// # Errors
    /// Where the checkpoint is not signed by `key`, the log does not have its root, or disk or database fail.
    pub fn export(&self, note: &str, key: &VerifierKey, out: &Path) -> Result<Checkpoint, Error> {
        let signed = checkpoint::open(note, key)?;
        if self.root(signed.size)? != signed.root {
            return Err(Error::Damaged(format!("its first {} events do not have the root that was signed", signed.size)));
        }
        make_folder(out)?;
        if fs::read_dir(out).map_err(Error::io("read", out))?.next().is_some() {
            return Err(Error::io("export into", out)(io::ErrorKind::DirectoryNotEmpty.into()));
        }
        for (number, width) in tiles(signed.size) {
            write_new(&out.join(path("entries", number, width)), &self.bundle(number, width)?)?;
        }
        for level in levels(signed.size) {
            for (number, width) in tiles(signed.size >> (level * HEIGHT)) {
                let start = number * WIDTH;
                let hashes = self.nodes(level * HEIGHT, start, start + width)?;
                write_new(&out.join(path(&level.to_string(), number, width)), &joined(&hashes))?;
            }
        }
        for (size, note) in newest(self.cosigned_checkpoints()?, signed.size) {
            write_new(&out.join(COSIGNED).join(size.to_string()), note.as_bytes())?;
        }
        write_new(&out.join(CHECKPOINT), note.as_bytes())?;
        Ok(signed)
    }

    fn bundle(&self, number: u64, width: u64) -> Result<Vec<u8>, Error> {
        let (mut next, end) = (number * WIDTH, number * WIDTH + width);
        let mut out = Vec::new();
        while next < end {
            let events = self.read(next, (end - next) as usize)?;
            if events.is_empty() {
                return Err(Error::Damaged(format!("event {next} is missing")));
            }
            for (seq, event) in events {
                let bytes = u16::try_from(event.len()).map_err(|_| Error::Damaged(format!("event {seq} is too large")))?;
                out.extend_from_slice(&bytes.to_be_bytes());
                out.extend_from_slice(&event);
                next = seq + 1;
            }
        }
        Ok(out)
    }
}

/// Verifies an exported directory against the checkpoint in it, which must be signed by `key`: every event, every tile.
///
/// # Errors
/// Where the checkpoint is missing or not signed by `key`, or a file cannot be read. What is wrong with the log is in the report.
pub fn verify_export(dir: &Path, key: &VerifierKey) -> Result<VerifyReport, Error> {
    let at = dir.join(CHECKPOINT);
    let note = read(&at, NOTE_BYTES_MAX as u64)?.ok_or_else(|| Error::io("read", &at)(io::ErrorKind::NotFound.into()))?;
    let signed = checkpoint::open(&String::from_utf8_lossy(&note), key)?;
    let mut report = VerifyReport::new(signed.size);
    let mut tree = merkle::Tree::default();
    let mut cosigned = Cosigned::new(read_cosigned(dir)?);
    let mut upper: Vec<(u32, Vec<Digest>)> = levels(signed.size).skip(1).map(|level| (level, Vec::new())).collect();
    for (number, width) in tiles(signed.size) {
        let bundle = read(&dir.join(path("entries", number, width)), BUNDLE_BYTES_MAX)?.unwrap_or_default();
        let tile = read(&dir.join(path("0", number, width)), WIDTH * 32)?.unwrap_or_default();
        if !check_bundle(&bundle, &tile, width, &mut Walk { tree: &mut tree, upper: &mut upper, cosigned: &mut cosigned }, &mut report) {
            return Ok(report);
        }
    }
    for (level, hashes) in upper {
        check_tiles(dir, level, &hashes, &mut report)?;
    }
    report.size = tree.size();
    report.root = tree.root();
    if report.root != signed.root {
        report.add(Problem::Root { size: signed.size, signed: signed.root, found: report.root });
    }
    cosigned.finish(key, &mut report);
    Ok(report)
}

/// What is known after the events read so far.
struct Walk<'a> {
    tree: &'a mut merkle::Tree,
    upper: &'a mut [(u32, Vec<Digest>)],
    cosigned: &'a mut Cosigned,
}

/// Reads one bundle's events into the tree and compares each with its hash in the tile; false where an event is missing, so that nothing after it has a place.
fn check_bundle(mut bundle: &[u8], tile: &[u8], width: u64, walk: &mut Walk<'_>, report: &mut VerifyReport) -> bool {
    let Walk { tree, upper, cosigned } = walk;
    for place in 0..width as usize {
        let seq = tree.size();
        let event = bundle.split_first_chunk::<2>().and_then(|(bytes, rest)| rest.split_at_checked(u16::from_be_bytes(*bytes).into()));
        let Some((event, rest)) = event else {
            report.add(Problem::Missing { seq });
            return false;
        };
        bundle = rest;
        let leaf = merkle::leaf_hash(event);
        if tile.get(place * 32..place * 32 + 32) != Some(&leaf.0[..]) {
            report.add(Problem::Altered { seq });
        }
        tree.append_with(leaf, |level, _, hash| {
            if let Some((_, hashes)) = upper.iter_mut().find(|(tiles, _)| tiles * HEIGHT == level) {
                hashes.push(*hash);
            }
        });
        cosigned.event(seq, event, tree);
    }
    if !bundle.is_empty() || tile.len() as u64 != width * 32 {
        report.add(Problem::Altered { seq: tree.size() - 1 });
    }
    true
}

fn check_tiles(dir: &Path, level: u32, hashes: &[Digest], report: &mut VerifyReport) -> Result<(), Error> {
    for (number, width) in tiles(hashes.len() as u64) {
        let start = (number * WIDTH) as usize;
        let wanted = joined(&hashes[start..start + width as usize]);
        if read(&dir.join(path(&level.to_string(), number, width)), WIDTH * 32)?.as_ref() != Some(&wanted) {
            report.add(Problem::Node { level: level * HEIGHT, index: number * WIDTH });
        }
    }
    Ok(())
}

/// Levels of tiles that a tree of `size` leaves has.
fn levels(size: u64) -> impl Iterator<Item = u32> {
    (0..u64::BITS / HEIGHT).take_while(move |level| size >> (level * HEIGHT) > 0)
}

/// Numbers and widths of the tiles over `count` hashes; the last may be partial.
fn tiles(count: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..count.div_ceil(WIDTH)).map(move |number| (number, WIDTH.min(count - number * WIDTH)))
}

/// Where a tile lies: its number in groups of three digits, all but the last behind an `x`.
fn path(level: &str, number: u64, width: u64) -> String {
    let mut name = format!("{:03}", number % 1_000);
    let mut rest = number / 1_000;
    while rest > 0 {
        name = format!("x{:03}/{name}", rest % 1_000);
        rest /= 1_000;
    }
    let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
    format!("tile/{level}/{name}{partial}")
}

fn joined(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

fn make_folder(folder: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(Error::io("create", folder))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all())).map_err(Error::io("write", path))
}

/// A file's bytes, cut one byte above `max`; nothing where there is no such file.
fn read(path: &Path, max: u64) -> Result<Option<Vec<u8>>, Error> {
    let file = match fs::File::open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        file => file.map_err(Error::io("open", path))?,
    };
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::SigningKey;
    use fother_core::checkpoint::Kind;
    use std::path::PathBuf;

    struct Exported {
        dir: tempfile::TempDir,
        key: VerifierKey,
    }

    /// A log of `size` events and its export.
    fn exported(size: u64) -> Exported {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        let events: Vec<_> = (0..size).map(|seq| format!("{{\"seq\":{seq}}}").into_bytes()).collect();
        for (number, batch) in events.chunks(1_000).enumerate() {
            store.append(batch, number as u64 * 1_000, 0).unwrap();
        }
        let key = SigningKey::from_bytes(&[3; 32]);
        let verifier = VerifierKey::new("test", Kind::Log, key.verifying_key()).unwrap();
        let signed = Checkpoint { origin: "test".to_owned(), size, root: store.root(size).unwrap() };
        let note = signed.sign(&key).unwrap().to_string();
        store.export(&note, &verifier, &dir.path().join("out")).unwrap();
        assert!(store.export(&note, &verifier, &dir.path().join("out")).is_err(), "twice into the same place");
        Exported { dir, key: verifier }
    }

    impl Exported {
        fn file(&self, name: &str) -> PathBuf {
            self.dir.path().join("out").join(name)
        }

        fn verify(&self) -> VerifyReport {
            verify_export(&self.dir.path().join("out"), &self.key).unwrap()
        }
    }

    #[test]
    fn an_export_of_any_size_verifies_offline() {
        for size in [0, 1, 255, 256, 257, 1_300] {
            let exported = exported(size);
            fs::remove_dir_all(exported.dir.path().join("store")).unwrap();
            let report = exported.verify();
            assert!(report.ok() && report.size == size, "{size}: {report:?}");
        }
    }

    #[test]
    fn the_files_lie_where_the_specification_puts_them() {
        let exported = exported(257);
        for name in ["checkpoint", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/1"] {
            assert!(exported.file(name).is_file(), "{name}");
        }
        assert_eq!(path("0", 1_234_067, WIDTH), "tile/0/x001/x234/067");
        let top = fs::read(exported.file("tile/1/000.p/1")).unwrap();
        let hashes: Vec<_> =
            fs::read(exported.file("tile/0/000")).unwrap().chunks(32).map(|hash| Digest(hash.try_into().unwrap())).collect();
        assert_eq!(top, merkle::root(&hashes).0);
    }

    #[test]
    fn each_altered_or_missing_file_is_found() {
        for (name, problem) in [
            // Events of 9 bytes behind 2 bytes of length: byte 94 is in event 8. Hashes of 32 bytes: it is in that of event 2.
            ("tile/entries/000", Problem::Altered { seq: 8 }),
            ("tile/0/000", Problem::Altered { seq: 2 }),
            ("tile/1/000.p/1", Problem::Node { level: 8, index: 0 }),
        ] {
            let exported = exported(300);
            let mut bytes = fs::read(exported.file(name)).unwrap();
            let at = bytes.len().min(95) - 1;
            bytes[at] ^= 1;
            fs::write(exported.file(name), bytes).unwrap();
            let report = exported.verify();
            assert_eq!(report.problems[0], problem, "{name}: {report:?}");
            fs::remove_file(exported.file(name)).unwrap();
            assert!(!exported.verify().ok(), "{name} is missing");
        }
    }

    #[test]
    fn bytes_appended_to_a_bundle_are_found() {
        let exported = exported(300);
        let name = exported.file("tile/entries/001.p/44");
        let mut bytes = fs::read(&name).unwrap();
        bytes.extend_from_slice(b"\0\x01x");
        fs::write(&name, bytes).unwrap();
        assert_eq!(exported.verify().problems, [Problem::Altered { seq: 299 }]);
    }

    #[test]
    fn without_its_checkpoint_an_export_is_no_evidence() {
        let exported = exported(3);
        fs::remove_file(exported.file(CHECKPOINT)).unwrap();
        assert!(matches!(verify_export(&exported.dir.path().join("out"), &exported.key), Err(Error::Io { .. })));
    }
}
