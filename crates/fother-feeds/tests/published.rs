//! How vendors and package managers bring feeds: packed by bzip2, in the caches of dnf and zypper, with hashes and signatures beside them.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::{Gpg, sha256};
use fother_core::Timestamp;
use fother_feeds::{
    database,
    intake::{self, Intake, Outcome},
    trust::Keyring,
};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap())
}

/// A folder with feeds, and the directory that they are taken into.
struct Bench {
    keep: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { keep: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.keep.path().join("in").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn intake(&self) -> Intake {
        Intake::new(&self.keep.path().join("feeds"))
    }

    fn take(&self, intake: &Intake) -> Result<Outcome, String> {
        intake.take(intake::offered(&self.keep.path().join("in"), None), now(), false).map_err(|error| error.to_string())
    }

    fn feeds(&self) -> Vec<String> {
        let database = database::open(&self.intake().database()).unwrap();
        database.feeds().unwrap().into_iter().map(|feed| feed.name).collect()
    }
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut out = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

/// A VEX document of SUSE's form about one package.
fn csaf(id: &str) -> Vec<u8> {
    let text = r#"{"document":{"category":"csaf_vex","csaf_version":"2.0","publisher":{"category":"vendor","name":"SUSE Product Security Team",
        "namespace":"https://www.suse.com/"},"title":"t","tracking":{"current_release_date":"2026-02-01T00:00:00Z","id":"ID","initial_release_date":"2026-01-01T00:00:00Z",
        "status":"final","version":"1","revision_history":[]}},
        "product_tree":{"branches":[{"category":"product_name","name":"SLES","product":{"product_id":"SLES","name":"SUSE Linux Enterprise Server 15 SP5",
        "product_identification_helper":{"cpe":"cpe:/o:suse:sles:15:sp5"}}},{"category":"product_version","name":"bind","product":{"product_id":"bind","name":"bind",
        "product_identification_helper":{"purl":"pkg:rpm/suse/bind@9.16-1?arch=x86_64"}}}],"relationships":[{"category":"default_component_of",
        "full_product_name":{"product_id":"SLES:bind","name":"bind of SLES"},"product_reference":"bind","relates_to_product_reference":"SLES"}]},
        "vulnerabilities":[{"cve":"ID","product_status":{"recommended":["SLES:bind"]}}]}"#;
    text.replace("ID", id).into_bytes()
}

fn updateinfo(id: &str) -> Vec<u8> {
    let release = if id.starts_with("ALSA") { "1.el9_5.2" } else { "150500.3.2" };
    format!(
        r#"<?xml version="1.0"?><updates><update from="x" status="final" type="security" version="1"><id>{id}</id><title>t</title>
        <issued date="2026-02-01"/><references><reference id="CVE-2026-0001" type="cve"/></references><pkglist><collection short="almalinux-9"><name>almalinux-9</name>
        <package name="bind" version="9.16" release="{release}" epoch="0" arch="x86_64" src="bind-9.16-{release}.src.rpm"><filename>f</filename></package>
        </collection></pkglist></update></updates>"#
    )
    .into_bytes()
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[test]
fn what_is_packed_by_bzip2_is_read_and_a_damaged_one_is_named() {
    let bench = Bench::new();
    let archive = bzip2(&tar(&[("cve-2026-0001.json", &csaf("CVE-2026-0001")), ("cve-2026-0002.json", &csaf("CVE-2026-0002"))]));
    bench.write("csaf-vex.tar.bz2", &archive);
    bench.write("repo/repodata/ab-updateinfo.xml.bz2", &bzip2(&updateinfo("SUSE-SLE-Module-Basesystem-15-SP5-2026-1")));
    let outcome = bench.take(&bench.intake()).unwrap();
    assert!(outcome.refused.is_empty() && outcome.passed_over.is_empty(), "{outcome:?}");
    assert_eq!(bench.feeds(), ["csaf/csaf-vex", "updateinfo/repo"]);
    bench.write("csaf-vex.tar.bz2", &archive[..archive.len() / 2]);
    let outcome = bench.take(&bench.intake()).unwrap();
    assert_eq!(outcome.refused.len() + outcome.passed_over.len(), 1, "{outcome:?}");
    assert_eq!(bench.feeds(), ["csaf/csaf-vex", "updateinfo/repo"], "the last good one stays");
}

#[test]
fn the_caches_of_dnf_and_zypper_are_feeds_as_they_lie_there() {
    let bench = Bench::new();
    let gz = |bytes: &[u8]| {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(bytes).unwrap();
        out.finish().unwrap()
    };
    let primary = br#"<?xml version="1.0"?><metadata packages="0"></metadata>"#;
    for (folder, id) in [("var/cache/dnf/appstream-3cd0a1b2c3d4e5f6", "ALSA-2026:1"), ("var/cache/zypp/raw/repo-update", "SUSE-2026-1")] {
        bench.write(&format!("{folder}/repodata/repomd.xml"), br#"<repomd xmlns="x"><revision>1</revision></repomd>"#);
        bench.write(&format!("{folder}/repodata/12-primary.xml.gz"), &gz(primary));
        bench.write(&format!("{folder}/repodata/34-updateinfo.xml.gz"), &gz(&updateinfo(id)));
    }
    bench.write("var/cache/dnf/appstream.solv", b"SOLV\0\0\0\x09");
    bench.write("var/cache/dnf/expired_repos.json", b"[]");
    let outcome = bench.take(&bench.intake()).unwrap();
    assert!(outcome.refused.is_empty(), "{outcome:?}");
    assert_eq!(bench.feeds(), ["updateinfo/appstream-3cd0a1b2c3d4e5f6", "updateinfo/repo-update"]);
    assert!(outcome.passed_over.iter().any(|line| line.contains("repository's index")), "what is no feed is named: {outcome:?}");
}

#[test]
fn a_file_that_is_not_what_the_hash_beside_it_says_is_refused_and_the_last_good_one_stays() {
    let bench = Bench::new();
    let folder = |name: &str| format!("2026/{name}");
    for name in ["cve-2026-0001.json", "cve-2026-0002.json"] {
        let bytes = csaf(&name.trim_end_matches(".json").to_uppercase());
        bench.write(&folder(name), &bytes);
        bench.write(&folder(&format!("{name}.sha256")), format!("{}  {name}\n", sha256(&bytes)).as_bytes());
    }
    let outcome = bench.take(&bench.intake()).unwrap();
    assert!(outcome.refused.is_empty() && outcome.passed_over.is_empty(), "hashes are no feeds of their own: {outcome:?}");
    let good = fs::read(bench.intake().database()).unwrap();
    for (text, why) in [(format!("{}  x", "0".repeat(64)), "it is not what the .sha256 beside it says"), ("<html>".into(), "holds no hash")]
    {
        bench.write(&folder("cve-2026-0002.json.sha256"), text.as_bytes());
        let outcome = bench.take(&bench.intake()).unwrap();
        assert!(outcome.refused.len() == 1 && outcome.refused[0].contains(why), "{outcome:?}");
        assert_eq!(database_of(&bench.intake().database()), database_of_bytes(&bench, &good), "the folder's last good state stays");
    }
    fs::remove_file(bench.path(&folder("cve-2026-0002.json.sha256"))).unwrap();
    bench.write(&folder("cve-2026-0002.json.sha512"), "0".repeat(128).as_bytes());
    assert!(bench.take(&bench.intake()).unwrap().refused[0].contains(".sha512"));
}

/// What a database says, without the time at which it was built.
fn database_of(path: &Path) -> Vec<(String, u32)> {
    database::open(path).unwrap().feeds().unwrap().into_iter().map(|feed| (feed.sha256, feed.records)).collect()
}

fn database_of_bytes(bench: &Bench, bytes: &[u8]) -> Vec<(String, u32)> {
    let path = bench.keep.path().join("good.db");
    fs::write(&path, bytes).unwrap();
    database_of(&path)
}

#[test]
fn with_a_keyring_every_csaf_file_must_be_signed_by_it() {
    let bench = Bench::new();
    let gpg = Gpg::new();
    let (vendor, other) = (gpg.key("vendor", "ed25519", "sign", "never", None), gpg.key("other", "ed25519", "sign", "never", None));
    let keyring = || Keyring::from_bytes(&gpg.export(&vendor)).unwrap();
    let bytes = csaf("CVE-2026-0001");
    bench.write("a.json", &bytes);
    let intake = || bench.intake().trusting(keyring());
    assert!(bench.take(&intake()).unwrap_err().contains("no signature"));
    bench.write("a.json.asc", &gpg.detach(&other, &bytes));
    assert!(bench.take(&intake()).unwrap_err().contains("none of its signers is trusted"));
    bench.write("a.json.asc", &gpg.detach(&vendor, b"something else"));
    assert!(bench.take(&intake()).unwrap_err().contains("does not match"));
    bench.write("a.json.asc", &gpg.detach(&vendor, &bytes));
    // Feeds of other kinds have no signatures, and need none.
    bench.write("repo/repodata/ab-updateinfo.xml", &updateinfo("ALSA-2026:1"));
    let outcome = bench.take(&intake()).unwrap();
    assert!(outcome.refused.is_empty(), "{outcome:?}");
    assert_eq!(bench.feeds(), ["csaf/a", "updateinfo/repo"]);
}
