//! The server's archives over a really signed one in a directory: what is refused, what is recorded, what stays; runs gpg.

#[path = "../../../fother-feeds/tests/common/mod.rs"]
mod common;

use super::fleet::{policy, trust};
use crate::{Mirrors, engine::Engine};
use common::{Archive, Gpg, SUITE};
use fother_core::{Timestamp, event::Data, event::Event, package::Offer, policy::Policy};
use fother_feeds::packages;
use std::{fs, path::PathBuf, sync::Arc, sync::mpsc::Receiver, time::Duration};

const DAY: Duration = Duration::from_secs(86_400);

struct Mirror {
    gpg: Gpg,
    key: String,
    archive: Archive,
    dir: tempfile::TempDir,
}

impl Mirror {
    fn new() -> Self {
        let (gpg, dir) = (Gpg::new(), tempfile::tempdir().unwrap());
        let key = gpg.key("archive", "ed25519", "sign", "never", None);
        fs::write(dir.path().join("k.gpg"), gpg.export(&key)).unwrap();
        Self { gpg, key, archive: Archive::new(), dir }
    }

    fn policy(&self) -> Policy {
        let mut policy = policy();
        let archive = policy.archive.get_mut("main").unwrap();
        archive.uri = format!("file://{}", self.archive.dir.path().display());
        archive.suite = SUITE.to_owned();
        archive.signed_by = self.dir.path().join("k.gpg").display().to_string();
        policy
    }

    fn open(&self) -> (Arc<Engine>, Receiver<()>) {
        let mirrors = Mirrors::open(&self.dir.path().join("cache")).unwrap();
        Engine::open(&self.dir.path().join("data"), self.policy(), trust(), Box::new(mirrors)).unwrap()
    }

    fn inrelease(&self) -> PathBuf {
        self.archive.suite_dir().join("InRelease")
    }

    /// Signs the archive as of `ago` before now; with `valid`, until `valid` after that.
    fn publish(&self, now: Timestamp, ago: Duration, valid: Option<Duration>) {
        let text = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(i64::try_from(at.ms()).unwrap()).unwrap();
            at.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
        };
        let more = valid.map(|valid| format!("Valid-Until: {}\n", text(now - ago + valid))).unwrap_or_default();
        let release = self.archive.release(&text(now - ago), &more);
        fs::write(self.inrelease(), self.gpg.clearsign(&self.key, &release)).unwrap();
    }
}

fn events(engine: &Engine) -> Vec<Data> {
    let events = engine.store.read(0, 1000).unwrap();
    events.into_iter().map(|(seq, bytes)| Event::parse(seq, &bytes).unwrap().data).collect()
}

/// Updates, expects a refusal that is recorded with `said`, and the good state of before kept but not used.
fn refused(engine: &Engine, said: &str) {
    let before = engine.state().archives["main"].clone();
    let updated = engine.update_archives("uid:0").unwrap();
    assert_eq!((updated.archives.len(), updated.refused.len()), (0, 1));
    assert!(updated.refused[0].why.contains(said), "{}", updated.refused[0].why);
    let Some(Data::ArchiveRefused { archive, why }) = events(engine).pop() else { panic!("no event") };
    assert_eq!((archive.as_str(), &why), ("main", &updated.refused[0].why));
    let after = engine.state().archives["main"].clone();
    assert_eq!((after.inrelease, after.date, after.refused), (before.inrelease, before.date, Some(why)));
    assert!(engine.snapshots().unwrap_err().to_string().contains("not trusted at present"));
    let size = engine.state().size;
    engine.update_archives("uid:0").unwrap();
    assert_eq!(engine.state().size, size, "the same refusal is recorded once");
}

fn good(engine: &Engine) {
    let updated = engine.update_archives("uid:0").unwrap();
    assert_eq!(updated.refused.iter().map(|refused| refused.why.as_str()).collect::<Vec<_>>(), [""; 0]);
    assert_eq!(updated.archives[0].packages, 1);
    assert!(matches!(events(engine).pop(), Some(Data::ArchiveUpdated { .. })));
    assert_eq!(engine.snapshots().unwrap().len(), 1);
}

#[test]
fn tampered_expired_and_replayed_indexes_are_refused_recorded_and_leave_the_old_state() {
    let mirror = Mirror::new();
    let (engine, _woken) = mirror.open();
    let now = engine.clock.now();
    mirror.publish(now, DAY, None);
    good(&engine);

    let packed = mirror.archive.suite_dir().join("main/binary-amd64/Packages.zst");
    fs::write(&mirror.archive.package, b"these are the bytes of a newer package").unwrap();
    mirror.publish(now, DAY / 2, None);
    let bytes = fs::read(&packed).unwrap();
    let mut evil = bytes.clone();
    evil[10] ^= 1;
    fs::write(&packed, evil).unwrap();
    refused(&engine, "does not match the hash in the signed Release");
    fs::write(&packed, &bytes[..20]).unwrap();
    refused(&engine, "has 20 bytes, the signed Release says");
    fs::write(&packed, &bytes).unwrap();
    good(&engine);

    mirror.publish(now, DAY, None);
    refused(&engine, "replayed: the index of");
    mirror.publish(now, DAY / 3, Some(DAY / 4));
    refused(&engine, "the index expired at");
    mirror.publish(now, Duration::from_secs(60), None);
    let signed = fs::read_to_string(mirror.inrelease()).unwrap();
    fs::write(mirror.inrelease(), signed.replace("Origin: Test", "Origin: Tset")).unwrap();
    refused(&engine, "bad signature");
    let stranger = mirror.gpg.key("stranger", "ed25519", "sign", "never", None);
    fs::write(mirror.inrelease(), mirror.gpg.clearsign(&stranger, &mirror.archive.release("Sat, 11 Jul 2026 10:00:00 UTC", ""))).unwrap();
    refused(&engine, "unknown key");
    fs::write(mirror.inrelease(), signed).unwrap();
    good(&engine);
}

#[test]
fn a_tampered_package_is_refused_recorded_and_never_in_the_cache_and_a_lying_host_is_not_the_archives_fault() {
    let mirror = Mirror::new();
    let (engine, _woken) = mirror.open();
    mirror.publish(engine.clock.now(), DAY, None);
    good(&engine);
    let snapshots = engine.snapshots().unwrap();
    let index = fs::read(engine.archives.file(snapshots[0].indexes[0].sha256).unwrap()).unwrap();
    let offer = packages::scan(&index).next().unwrap().candidate().unwrap().offer(&snapshots[0].release, &snapshots[0].source);
    let refusal = |offer: &Offer| engine.package("uid:0", &snapshots, "a", offer).unwrap_err().to_string();

    let lie = Offer { sha256: fother_core::Digest::of_file(b"mine"), ..offer.clone() };
    assert!(refusal(&lie).contains("no signed index of the policy's archives offers a"));
    assert_eq!(engine.state().archives["main"].refused, None);

    let bytes = fs::read(&mirror.archive.package).unwrap();
    fs::write(&mirror.archive.package, [&bytes[..bytes.len() - 1], b"!"].concat()).unwrap();
    let why = refusal(&offer);
    assert!(why.contains("the package a_1_all.deb does not match the hash in the index"), "{why}");
    assert_eq!(engine.archives.file(offer.sha256), None);
    assert!(matches!(events(&engine).pop(), Some(Data::ArchiveRefused { why: said, .. }) if said == why));
    assert!(engine.snapshots().is_err());

    fs::write(&mirror.archive.package, &bytes).unwrap();
    good(&engine);
    let cached = engine.package("uid:0", &snapshots, "a", &offer).unwrap();
    // What was changed in the cache itself is brought anew, not handed on.
    fs::write(&cached, b"these are the bytes of a packagf").unwrap();
    assert_eq!(fs::read(engine.package("uid:0", &snapshots, "a", &offer).unwrap()).unwrap(), bytes);
}
