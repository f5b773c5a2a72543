//! A locally signed archive, good and tampered with, served from the disk and over loopback HTTP; runs gpg and apt-get.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Archive, Gpg, SUITE};
use fother_core::{Digest, inventory::Source, package::Offer};
use fother_feeds::{
    acquire::Policy,
    archive::{ArchiveError, Snapshot, fetch_package, materialise, update},
    cache::Cache,
    fetch::{Fetch as _, FetchError, HttpFetch, Validators, config::AptConfig},
    packages,
    trust::Keyring,
};
use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

const FRESH: &str = "Sat, 11 Jul 2026 10:00:00 UTC";
const NOW: &str = "2026-07-12T00:00:00Z";

struct Lab {
    gpg: Gpg,
    key: String,
    archive: Archive,
    cache: Cache,
    _cache_dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let gpg = Gpg::new();
        let key = gpg.key("archive", "ed25519", "sign", "never", Some("20260101T000000"));
        let dir = tempfile::tempdir().unwrap();
        let lab = Self { gpg, key, archive: Archive::new(), cache: Cache::open(dir.path()).unwrap(), _cache_dir: dir };
        lab.publish(FRESH, "");
        lab
    }

    /// Writes and signs an InRelease at the time of [`FRESH`].
    fn publish(&self, date: &str, more: &str) {
        let text = self.archive.release(date, more);
        let signed = self.gpg.run(&["--faked-system-time", "20260711T100000!", "-u", &self.key, "--clearsign"], text.as_bytes());
        fs::write(self.inrelease(), signed).unwrap();
    }

    fn inrelease(&self) -> std::path::PathBuf {
        self.archive.suite_dir().join("InRelease")
    }

    fn source(&self) -> Source {
        let uri = format!("file:{}", self.archive.dir.path().display());
        Source { uri, suite: SUITE.to_owned(), components: vec!["main".to_owned()], signed_by: None }
    }

    fn keyring(&self) -> Keyring {
        Keyring::from_bytes(&self.gpg.export(&self.key)).unwrap()
    }

    fn policy(&self) -> Policy {
        Policy { suite: SUITE.to_owned(), max_age: None, newest_seen: None }
    }

    fn update_with(&self, source: &Source, keyring: &Keyring, policy: &Policy) -> Result<Snapshot, ArchiveError> {
        update(source, "amd64", &fetch(), keyring, &self.cache, policy, NOW.parse().unwrap())
    }

    fn update(&self) -> Result<Snapshot, ArchiveError> {
        self.update_with(&self.source(), &self.keyring(), &self.policy())
    }

    /// The code and the message of the refusal that an update ends in.
    fn refusal(&self) -> (&'static str, String) {
        let error = self.update().unwrap_err();
        (error.refused().unwrap_or_else(|| panic!("{error}")).code(), error.to_string())
    }

    fn offer(&self, snapshot: &Snapshot) -> Offer {
        let index = self.cache.read(snapshot.indexes[0].sha256).unwrap();
        packages::scan(&index).next().unwrap().candidate().unwrap().offer(&snapshot.release, &snapshot.source)
    }
}

fn fetch() -> HttpFetch {
    HttpFetch::new(AptConfig::default())
}

#[test]
fn a_good_archive_passes_and_its_package_reaches_the_cache() {
    let lab = Lab::new();
    let snapshot = lab.update().unwrap();
    assert_eq!((snapshot.release.origin.as_str(), snapshot.indexes.len()), ("Test", 1));
    assert_eq!(snapshot.indexes[0].sha256, Digest::of_file(&fs::read(lab.archive.suite_dir().join("main/binary-amd64/Packages")).unwrap()));
    let path = fetch_package(&lab.offer(&snapshot), &fetch(), &lab.cache).unwrap();
    assert_eq!(fs::read(path).unwrap(), fs::read(&lab.archive.package).unwrap());
    assert_eq!(lab.update().unwrap(), snapshot, "a second update finds the same");
}

#[test]
fn a_tampered_package_is_refused_and_not_kept() {
    let lab = Lab::new();
    let offer = lab.offer(&lab.update().unwrap());
    let good = fs::read(&lab.archive.package).unwrap();
    let mut evil = good.clone();
    evil[0] ^= 1;
    for (bytes, code) in [(&evil[..], "package-hash"), (&good[1..], "package-size"), (&[&good[..], b"x"].concat()[..], "package-size")] {
        fs::write(&lab.archive.package, bytes).unwrap();
        let error = fetch_package(&offer, &fetch(), &lab.cache).unwrap_err();
        assert_eq!(error.refused().unwrap().code(), code);
        assert!(error.to_string().contains("a_1_all.deb"), "{error}");
        assert_eq!(lab.cache.get(offer.sha256), None);
    }
}

#[test]
fn a_tampered_index_is_refused() {
    let lab = Lab::new();
    let packed = lab.archive.suite_dir().join("main/binary-amd64/Packages.zst");
    let good = fs::read(&packed).unwrap();
    let mut evil = good.clone();
    evil[10] ^= 1;
    fs::write(&packed, &evil).unwrap();
    assert_eq!(lab.refusal().0, "index-hash");
    fs::write(&packed, &good[..20]).unwrap();
    assert_eq!(lab.refusal().0, "index-size");
    fs::write(&packed, [&good[..], b"x"].concat()).unwrap();
    assert_eq!(lab.refusal().0, "index-size");
    fs::remove_file(&packed).unwrap();
    assert!(matches!(lab.update(), Err(ArchiveError::Fetch(FetchError::NotFound { .. }))));
}

#[test]
fn an_expired_or_replayed_index_or_one_from_the_future_is_refused() {
    let lab = Lab::new();
    lab.publish(FRESH, "Valid-Until: Sat, 11 Jul 2026 12:00:00 UTC\n");
    let (code, message) = lab.refusal();
    assert_eq!(code, "expired");
    assert!(message.contains("expired at 2026-07-11T12:00:00.000Z"), "{message}");
    lab.publish("Sun, 12 Jul 2026 00:05:01 UTC", "");
    assert_eq!(lab.refusal().0, "from-the-future");
    lab.publish(FRESH, "");
    let policy = Policy { newest_seen: Some("2026-07-11T11:00:00Z".parse().unwrap()), ..lab.policy() };
    let error = lab.update_with(&lab.source(), &lab.keyring(), &policy).unwrap_err();
    assert_eq!(error.refused().unwrap().code(), "replayed");
    assert!(error.to_string().contains("older than the one of 2026-07-11T11:00:00.000Z"), "{error}");
}

#[test]
fn a_foreign_key_a_changed_text_no_signature_and_another_suite_are_each_refused() {
    let lab = Lab::new();
    let stranger = lab.gpg.key("stranger", "ed25519", "sign", "never", Some("20260101T000000"));
    let foreign = Keyring::from_bytes(&lab.gpg.export(&stranger)).unwrap();
    let error = lab.update_with(&lab.source(), &foreign, &lab.policy()).unwrap_err();
    assert_eq!(error.refused().unwrap().code(), "unknown-key");
    let signed = fs::read_to_string(lab.inrelease()).unwrap();
    fs::write(lab.inrelease(), signed.replace("Origin: Test", "Origin: Evil")).unwrap();
    assert_eq!(lab.refusal().0, "bad-signature");
    fs::write(lab.inrelease(), lab.archive.release(FRESH, "")).unwrap();
    assert_eq!(lab.refusal().0, "not-signed");
    fs::write(lab.inrelease(), &signed[..signed.len() - 40]).unwrap();
    assert_eq!(lab.refusal().0, "signature");
    fs::write(lab.inrelease(), signed).unwrap();
    let other = Policy { suite: "stable".to_owned(), ..lab.policy() };
    let error = lab.update_with(&lab.source(), &lab.keyring(), &other).unwrap_err();
    assert_eq!(error.refused().unwrap().code(), "wrong-suite");
}

#[test]
fn apt_itself_takes_the_materialised_lists() {
    let lab = Lab::new();
    let snapshot = lab.update().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let lists = dir.path().join("lists");
    materialise(&snapshot, &lab.cache, &lists).unwrap();
    let key = dir.path().join("k.gpg");
    fs::write(&key, lab.gpg.export(&lab.key)).unwrap();
    let list = format!("deb [signed-by={} arch=amd64] {} {SUITE} main\n", key.display(), snapshot.source.uri);
    fs::write(dir.path().join("sources.list"), list).unwrap();
    let options = |name: &str, path: &Path| format!("{name}={}", path.display());
    let output = Command::new("apt-cache")
        .args(["-o", &options("Dir::State::lists", &lists), "-o", &options("Dir::Etc::sourcelist", &dir.path().join("sources.list"))])
        .args(["-o", "Dir::Etc::sourceparts=/dev/null", "-o", &options("Dir::Cache", dir.path()), "-o", "APT::Architecture=amd64"])
        .args(["madison", "a"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("1 | file:") && text.contains(SUITE), "{text} {}", String::from_utf8_lossy(&output.stderr));
    assert!(materialise(&snapshot, &lab.cache, &lists).is_err(), "an existing list is never written over");
}

/// A loopback server that answers each connection with the next of `answers` (the last one again and again) and keeps the heads of requests.
fn serve(answers: Vec<Vec<u8>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = BufReader::new(stream.try_clone().unwrap());
            let head: Vec<_> = request.lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
            let at = {
                let mut seen = seen.lock().unwrap();
                seen.push(head.join("\n").to_lowercase());
                seen.len() - 1
            };
            let _ = stream.write_all(&answers[at.min(answers.len() - 1)]);
        }
    });
    (address, heads)
}

fn answer(status: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[test]
fn http_is_tried_again_on_server_errors_and_broken_transfers_but_not_for_ever() {
    let (url, heads) = serve(vec![answer("503 Busy", 0, b""), answer("200 OK", 5, b"he"), answer("200 OK", 5, b"hello")]);
    assert_eq!(fetch().get(&url, 5).unwrap(), b"hello");
    assert_eq!(heads.lock().unwrap().len(), 3);
    let (url, heads) = serve(vec![answer("200 OK", 5, b"he")]);
    let mut file = tempfile::tempfile().unwrap();
    let error = fetch().get_to(&url, &mut file, 5).unwrap_err();
    assert!(matches!(error, FetchError::MirrorDown { .. }), "{error}");
    assert_eq!(heads.lock().unwrap().len(), 3);
}

#[test]
fn what_did_not_change_is_not_fetched_again() {
    let first = b"HTTP/1.1 200 OK\r\nETag: \"a1\"\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let same = b"HTTP/1.1 304 Not Modified\r\nETag: \"a1\"\r\nConnection: close\r\n\r\n";
    let (url, heads) = serve(vec![first.to_vec(), answer("503 Busy", 0, b""), same.to_vec(), answer("200 OK", 3, b"new")]);
    let mut file = tempfile::tempfile().unwrap();
    let known = fetch().get_newer(&url, &Validators::default(), &mut file, 5).unwrap().unwrap();
    assert_eq!((known.etag.as_str(), known.modified.as_str()), ("\"a1\"", "Thu, 01 Jan 2026 00:00:00 GMT"));
    assert_eq!(fetch().get_newer(&url, &known, &mut file, 5).unwrap(), None, "also after an error of the server");
    assert_eq!(fetch().get_newer(&url, &known, &mut file, 5).unwrap(), Some(Validators::default()));
    let heads = heads.lock().unwrap();
    assert!(!heads[0].contains("if-none-match") && heads[1..].iter().all(|head| head.contains("if-none-match: \"a1\"")), "{heads:?}");
}

#[test]
fn what_is_missing_too_large_or_unreachable_has_its_own_error() {
    let (url, heads) = serve(vec![answer("404 Not Found", 0, b"")]);
    assert!(matches!(fetch().get(&url, 5), Err(FetchError::NotFound { .. })));
    assert_eq!(heads.lock().unwrap().len(), 1);
    let (url, _) = serve(vec![answer("200 OK", 6, b"hello!")]);
    assert!(matches!(fetch().get(&url, 5), Err(FetchError::TooLarge { bytes_max: 5, .. })));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = fetch().get(&format!("http://{closed}/x"), 5).unwrap_err().to_string();
    assert!(error.starts_with("mirror down: http://127.0.0.1:") && error.contains("choose another mirror"), "{error}");
    assert!(matches!(fetch().get("ftp://x/", 5), Err(FetchError::Unsupported { .. })));
}
