//! The log as one tar file for an auditor, and its check with nothing but that file and the log's public key.

use crate::failure::{FAILED, Failure, USAGE};
use fother_core::{
    Timestamp,
    checkpoint::{Checkpoint, VerifierKey},
};
use fother_server::Identity;
use fother_store::{Place, Store, VerifyReport};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Component, Path},
};

/// Most files in an export.
const FILES_MAX: usize = 10_000_000;
/// Largest single file in an export, in bytes: a bundle of 256 events.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// Writes the log of `data_dir`, wherever it lies, to the tar file `out`, also beside a running server.
pub(super) fn write(data_dir: &Path, place: &Place, out: &Path) -> Result<Checkpoint, Failure> {
    let key = Identity::open(data_dir, Timestamp(0))?.log_verifier()?;
    let store = Store::open_read_only_at(data_dir, place)?;
    let Some((_, note)) = store.latest_checkpoint()? else {
        return Err(Failure::new(FAILED, "there is no checkpoint to export", "start the server once"));
    };
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(out);
    let file =
        new.map_err(|error| Failure::new(FAILED, format!("{} cannot be made: {error}", out.display()), "name a file that does not exist"))?;
    let written = pack(&store, &note, &key, file);
    if written.is_err() {
        let _ = fs::remove_file(out);
    }
    written
}

fn pack(store: &Store, note: &str, key: &VerifierKey, file: File) -> Result<Checkpoint, Failure> {
    let dir = tempfile::tempdir()?;
    let signed = store.export(note, key, dir.path())?;
    let mut tar = tar::Builder::new(file);
    tar.mode(tar::HeaderMode::Deterministic);
    tar.append_dir_all(".", dir.path())?;
    tar.into_inner()?.sync_all()?;
    Ok(signed)
}

/// Verifies the tar file `file` against `key`, a verifier key or the name of a file that holds one.
pub(super) fn check(file: &Path, key: &str) -> Result<VerifyReport, Failure> {
    let text = if Path::new(key).is_file() { fs::read_to_string(key)? } else { key.to_owned() };
    let key: VerifierKey = text
        .trim()
        .parse()
        .map_err(|error| Failure::new(USAGE, format!("--key: {error}"), "take it from `fother log key` on the server, or from a host"))?;
    let dir = tempfile::tempdir()?;
    let opened = File::open(file)
        .map_err(|error| Failure::new(USAGE, format!("{} cannot be read: {error}", file.display()), "name an exported file"))?;
    unpack(opened, dir.path())?;
    Ok(fother_store::verify_export(dir.path(), &key)?)
}

/// Unpacks plain files with plain names only.
fn unpack(file: File, dir: &Path) -> Result<(), Failure> {
    let odd = |what: &str| Failure::new(FAILED, format!("the file is no export of a log: {what}"), "ask for it again");
    let mut tar = tar::Archive::new(file);
    for (number, entry) in tar.entries()?.enumerate() {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if kind.is_dir() {
            continue;
        }
        if number >= FILES_MAX || entry.size() > FILE_BYTES_MAX {
            return Err(odd("too many or too large files"));
        }
        if !kind.is_file() || !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(odd("links, or names that lead elsewhere"));
        }
        let to = dir.join(&path);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        std::io::copy(&mut entry, &mut OpenOptions::new().write(true).create_new(true).open(&to)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fother_core::event::{Data, Event, VERSION};
    use std::path::PathBuf;

    /// A data directory with a log of `count` events and its signed checkpoint.
    fn server(count: u64) -> (tempfile::TempDir, PathBuf, String) {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("server");
        let store = Store::open(&data).unwrap();
        let identity = Identity::open(&data, Timestamp(1_700_000_000_000)).unwrap();
        let event = |seq| Event { v: VERSION, seq, at: Timestamp(1), actor: "server".to_owned(), data: started() };
        let events: Vec<Vec<u8>> = (0..count).map(|seq| event(seq).bytes().unwrap()).collect();
        store.append(&events, 0, 0).unwrap();
        let signed = Checkpoint { origin: fother_server::LOG_ORIGIN.to_owned(), size: count, root: store.root(count).unwrap() };
        store.put_checkpoint(count, &signed.sign(identity.log()).unwrap().to_string()).unwrap();
        let key = identity.log_verifier().unwrap().to_string();
        (dir, data, key)
    }

    fn started() -> Data {
        Data::ServerStarted { version: "0".to_owned(), policy: fother_core::Digest([0; 32]) }
    }

    #[test]
    fn an_export_verifies_with_the_file_and_the_key_alone() {
        let (dir, data, key) = server(600);
        let file = dir.path().join("audit.tar");
        assert_eq!(write(&data, &Place::default(), &file).unwrap().size, 600);
        assert!(write(&data, &Place::default(), &file).is_err(), "never overwritten");
        fs::remove_dir_all(&data).unwrap();
        let report = check(&file, &key).unwrap();
        assert!(report.ok() && report.size == 600, "{report:?}");
        let other = server(1).2;
        assert!(check(&file, &other).is_err());
    }

    #[test]
    fn a_changed_byte_of_an_event_and_names_that_climb_are_found() {
        let (dir, data, key) = server(3);
        let file = dir.path().join("audit.tar");
        write(&data, &Place::default(), &file).unwrap();
        let mut bytes = fs::read(&file).unwrap();
        let at = bytes.windows(16).position(|part| part == b"\"server.started\"").unwrap();
        bytes[at + 1] ^= 1;
        fs::write(&file, bytes).unwrap();
        assert!(!check(&file, &key).unwrap().ok());
        let evil = dir.path().join("evil.tar");
        let mut tar = tar::Builder::new(File::create(&evil).unwrap());
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..11].copy_from_slice(b"../outside\0");
        header.set_size(1);
        header.set_mode(0o600);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        tar.append(&header, &b"x"[..]).unwrap();
        tar.finish().unwrap();
        assert!(check(&evil, &key).is_err());
        assert!(!dir.path().join("outside").exists());
    }
}
