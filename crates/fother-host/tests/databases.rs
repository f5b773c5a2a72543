//! Real package databases of other systems, whole and mutated.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{apkdb, rpmdb, sbom};
use fother_host::{dpkg, root::Root};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

fn shared(path: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join("vectors").join(path);
    if !dir.exists() {
        println!("skipped: {} is absent (set FOTHER_SHARED)", dir.display());
        return None;
    }
    Some(dir)
}

fn unpacked(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(path).unwrap()).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Runs `read` on mutations of a sample: bytes changed, pieces cut; it must come back, with whatever answer.
fn mutate(sample: &[u8], cases: u32, read: impl Fn(&[u8])) {
    let len = sample.len();
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) });
    let strategy = (prop::collection::vec((0..len, any::<u8>()), 0..24), 0..len, any::<bool>());
    runner
        .run(&strategy, |(changes, cut, is_cut)| {
            let mut bytes = sample.to_vec();
            for (at, value) in changes {
                bytes[at] = value;
            }
            read(if is_cut { &bytes[..cut] } else { &bytes });
            Ok(())
        })
        .unwrap();
    // The places where a header's numbers stand are hit on purpose.
    for at in 0..len.min(128) {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = sample.to_vec();
            bytes[at] = value;
            read(&bytes);
        }
    }
}

#[test]
fn rpm_databases_of_every_form_are_read_whole() {
    let Some(dir) = shared("rpmdb") else { return };
    for (name, count, known) in [
        ("cbl-mariner-2.0.rpmdb.sqlite.gz", 129, ("bash", "5.1.8-1.cm2", "x86_64", "bash")),
        ("sle15-bci.Packages.db.ndb.gz", 35, ("bash", "4.4-19.6.1", "x86_64", "bash")),
        ("libuuid.Packages.bdb.gz", 1, ("libuuid", "2.32.1-42.el8_8", "x86_64", "util-linux")),
    ] {
        let bytes = unpacked(&dir.join(name));
        let content = rpmdb::parse(&bytes).unwrap_or_else(|why| panic!("{name}: {why}"));
        let package = content.packages.iter().find(|p| p.name == known.0);
        println!("{name}: {} packages, {:?}", content.packages.len(), package);
        assert!(content.unknown.is_empty(), "{name}: {:?}", content.unknown);
        assert_eq!(content.packages.len(), count, "{name}");
        let package = package.unwrap();
        assert_eq!(
            (package.version.as_str(), package.arch.as_str(), package.source.as_ref().unwrap().0.as_str()),
            (known.1, known.2, known.3)
        );
        mutate(&bytes, 60, |bytes| {
            let _ = rpmdb::parse(bytes);
        });
        for len in [0, 8, 60, 100, bytes.len() / 2] {
            assert!(rpmdb::parse(&bytes[..len]).is_err(), "{name} cut at {len} is no shorter list");
        }
    }
}

#[test]
fn apk_s_list_is_read_and_its_broken_entry_named() {
    let Some(path) = shared("dpkgdb/trivy_apk") else { return };
    let text = fs::read_to_string(path).unwrap();
    let (packages, unknown) = apkdb::parse(&text);
    let total = text.lines().filter(|line| line.starts_with("P:")).count();
    assert_eq!(packages.len() + unknown.len(), total);
    assert!(unknown.iter().any(|why| why.contains("invalidPackageWithoutAVersion")), "{unknown:?}");
    let musl = packages.iter().find(|p| p.name == "musl").unwrap();
    assert_eq!((musl.version.as_str(), musl.arch.as_str()), ("1.1.14-r10", "x86_64"));
    mutate(text.as_bytes(), 200, |bytes| {
        let _ = apkdb::parse(&String::from_utf8_lossy(bytes));
    });
}

/// The files of a txtar archive: `-- name --` lines, each followed by its file.
fn txtar(text: &str) -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        if let Some(name) = line.trim_end().strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            files.push((name.to_owned(), String::new()));
        } else if let Some((_, file)) = files.last_mut() {
            file.push_str(line);
        }
    }
    files
}

#[test]
fn dpkg_fixtures_of_another_scanner_are_read() {
    let Some(dir) = shared("dpkgdb") else { return };
    let mut read = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "txtar") {
            continue;
        }
        let keep = tempfile::tempdir().unwrap();
        for (name, text) in txtar(&fs::read_to_string(&path).unwrap()) {
            let to = keep.path().join(name);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, text).unwrap();
        }
        let outcome = dpkg::read(&Root::open(keep.path()).unwrap());
        let said = outcome.as_ref().map(|db| (db.packages.len(), db.unknown.clone()));
        println!("{}: {said:?}", path.display());
        if let Ok(database) = outcome {
            assert!(database.packages.len() + database.unknown.len() > 0);
            read += 1;
        }
    }
    assert!(read >= 4, "{read}");
}

#[test]
fn hostile_documents_never_panic() {
    let Some(dir) = shared("sbom") else { return };
    let whole = unpacked(&dir.join("trivy.cdx.json.gz"));
    // The start of a real one, closed again, so that most mutations still parse.
    let text = String::from_utf8_lossy(&whole);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let few: Vec<_> = value["components"].as_array().unwrap().iter().take(12).cloned().collect();
    let small = serde_json::to_vec(&serde_json::json!({"bomFormat": "CycloneDX", "specVersion": "1.6", "components": few})).unwrap();
    mutate(&small, 400, |bytes| {
        let _ = sbom::parse(bytes).map(sbom::Sbom::split);
    });
    for name in sbom::lock::NAMES {
        mutate(b"[[package]]\nname = \"a\"\nversion = \"1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\nrequire (\n a.b v1\n)\n", 100, |bytes| {
            let _ = sbom::lock::parse(name, bytes);
        });
    }
}
