//! Every reader of feeds on mutations of a sample: it gives an answer or an error, never a panic, and what it accepted compiles.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    Digest, Timestamp,
    advisory::{Day, reader::Database},
};
use fother_feeds::{
    compile::Builder,
    vendor::{self, About, Kind, sniff},
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{fs, io::Write as _, path::Path};

const CASES: u32 = 150;

fn zip(name: &str, text: &[u8]) -> Vec<u8> {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    deflated.write_all(text).unwrap();
    let packed = deflated.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(text);
    let le16 = |n: usize| u16::try_from(n).unwrap().to_le_bytes();
    let le32 = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut middle = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
    middle.extend(crc.sum().to_le_bytes());
    middle.extend([le32(packed.len()), le32(text.len())].concat());
    middle.extend([le16(name.len()), le16(0)].concat());
    let mut out = b"PK\x03\x04".to_vec();
    out.extend(&middle);
    out.extend(name.as_bytes());
    out.extend(&packed);
    let directory = out.len();
    out.extend(b"PK\x01\x02\x14\x00");
    out.extend(&middle);
    out.extend([0; 14]);
    out.extend(name.as_bytes());
    let bytes = out.len() - directory;
    out.extend(b"PK\x05\x06\0\0\0\0\x01\0\x01\0");
    out.extend([le32(bytes), le32(directory)].concat());
    out.extend([0, 0]);
    out
}

const OSV: &str = r#"{"id":"X-1","modified":"2026-02-01T00:00:00Z","aliases":["CVE-2026-0001"],"summary":"s","affected":[{"package":{"ecosystem":"PyPI","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.2"},{"introduced":"2"},{"last_affected":"3"}]}],"versions":["1","2"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"}]}]}"#;

fn samples() -> Vec<(Kind, Vec<u8>)> {
    let tracker = r#"{"zlib":{"CVE-2023-0001":{"description":"d","scope":"remote","releases":{"bookworm":{"status":"resolved","repositories":{},"fixed_version":"1:1.2.13-2","urgency":"high"}}}}}"#;
    let list = "[12 Feb 2025] DSA-5002-1 zlib - security update\n\t{CVE-2023-0001 CVE-2023-0008}\n\t[bookworm] - zlib 1:1.2.13-3\n";
    let kev = r#"{"dateReleased":"2026-02-15T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-0004","vulnerabilityName":"t","dateAdded":"2026-02-15","dueDate":"2026-03-01"}]}"#;
    let kev_csv = "cveID,vulnerabilityName,dateAdded,dueDate\nCVE-2021-27104,\"a, b\",2021-11-03,2021-11-17\n";
    let epss = "#model_version:v1,score_date:2026-02-18T00:00:00+0000\ncve,epss,percentile\nCVE-2026-0002,0.1,0.9\n";
    let cve = r#"{"dataType":"CVE_RECORD","cveMetadata":{"cveId":"CVE-2026-0001","state":"PUBLISHED","dateUpdated":"2026-01-01T00:00:00Z"},"containers":{"cna":{"descriptions":[{"value":"d"}],"metrics":[{"cvssV3_1":{"vectorString":"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"}}]},"adp":[{"metrics":[{"other":{"type":"ssvc","content":{"options":[{"Exploitation":"PoC"},{"Automatable":"Yes"}]}}}]}]}}"#;
    let dates = "version,codename,series,created,release,eol,eol-lts\n1.1,Buzz,buzz,1993-08-16,1996-06-17,1997-06-05\n12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30\n";
    let ended = "# List of packages whose security support ends before the distribution EOL\nwpewebkit\t2.38.6-1+deb12u1\t2023-05-09\thttps://x.test/releases/bookworm/x\n";
    let csaf = r#"{"document":{"category":"csaf_vex","csaf_version":"2.0","publisher":{"category":"vendor","name":"Red Hat","namespace":"https://www.redhat.com"},"tracking":{"id":"CVE-2026-0001","status":"final","current_release_date":"2026-02-01T00:00:00Z"}},"product_tree":{"branches":[{"category":"product_name","name":"EL 9","product":{"product_id":"p","name":"EL 9","product_identification_helper":{"cpe":"cpe:/a:redhat:enterprise_linux:9::appstream"}}},{"category":"product_version","name":"zlib","product":{"product_id":"z","name":"zlib","product_identification_helper":{"purl":"pkg:rpm/redhat/zlib@1.2-3.el9?arch=x86_64"}}}],"relationships":[{"category":"default_component_of","full_product_name":{"product_id":"p:z","name":"zlib of EL 9"},"product_reference":"z","relates_to_product_reference":"p"}]},"vulnerabilities":[{"cve":"CVE-2026-0001","product_status":{"fixed":["p:z"]}}]}"#;
    let openvex = r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"d","author":"A","timestamp":"2026-02-01T00:00:00Z","statements":[{"vulnerability":{"name":"CVE-2026-0001"},"products":[{"@id":"pkg:deb/debian/zlib"}],"status":"fixed"}]}"#;
    let cdx = r#"{"bomFormat":"CycloneDX","specVersion":"1.5","metadata":{"component":{"bom-ref":"p","name":"zlib","version":"1"}},"vulnerabilities":[{"id":"CVE-2026-0001","analysis":{"state":"not_affected"},"affects":[{"ref":"p","versions":[{"range":"vers:generic/<2"}]}]}]}"#;
    let updateinfo = r#"<?xml version="1.0"?><updates><update type="security" status="final"><id>ALSA-2026:1</id><title>a &amp; b</title><severity>Important</severity><issued date="2026-02-01 00:00:00"/><references><reference type="cve" id="CVE-2026-0001"/></references><pkglist><collection short="x"><module name="m" stream="1"/><package name="zlib" version="1.2" release="3.el9" epoch="0" arch="x86_64"><filename>z.rpm</filename><reboot_suggested>True</reboot_suggested></package></collection></pkglist></update></updates>"#;
    let secdb = r#"{"distroversion":"v3.20","reponame":"main","packages":[{"pkg":{"name":"zlib","secfixes":{"1.3-r1":["CVE-2026-0001 XSA-1"],"0":["CVE-2026-0002"]}}},{"pkg":{"name":"empty","secfixes":[]}}]}"#;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(epss.as_bytes()).unwrap();
    vec![
        (Kind::DebianTracker, tracker.into()),
        (Kind::DebianList, list.into()),
        (Kind::Kev, kev.into()),
        (Kind::Kev, kev_csv.into()),
        (Kind::Epss, epss.into()),
        (Kind::Epss, gz.finish().unwrap()),
        (Kind::Cve, cve.into()),
        (Kind::DebianDates, dates.into()),
        (Kind::SupportEnded, ended.into()),
        (Kind::Osv, OSV.into()),
        (Kind::Osv, zip("a.json", OSV.as_bytes())),
        (Kind::Csaf, csaf.into()),
        (Kind::OpenVex, openvex.into()),
        (Kind::CyclonedxVex, cdx.into()),
        (Kind::Updateinfo, updateinfo.into()),
        (Kind::AlpineSecdb, secdb.into()),
        (Kind::Nuclei, b"CVE-2000-0114\n\"CVE-2001-0537\"\nCVE-\n".to_vec()),
    ]
}

/// Reads, and if it was accepted, compiles and opens.
fn read(kind: Kind, path: &Path) -> Result<u32, String> {
    let about = About {
        name: "x".into(),
        kind,
        origin: "x.deb12".into(),
        imported: Timestamp(0),
        modified: Day(20_000),
        digest: Digest::of_file(b""),
    };
    let mut builder = Builder::default();
    let taken = vendor::read(&mut builder, &about, path)?;
    let bytes = builder.finish(Timestamp(1)).unwrap();
    let db = Database::open(bytes.as_slice()).unwrap();
    db.verify().unwrap();
    for (name, _) in db.releases().unwrap() {
        let release = db.release(&name).unwrap().unwrap();
        fother_core::assess::package(&db, &release, "zlib", "1.0").unwrap();
    }
    Ok(taken.records)
}

#[test]
fn every_sample_is_what_it_is_and_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (kind, sample) in samples() {
        let path = dir.path().join("nuclei");
        fs::write(&path, &sample).unwrap();
        assert!(read(kind, &path).unwrap() > 0, "{kind:?}");
        assert_eq!(sniff::kind(&path), Ok(kind), "{}", String::from_utf8_lossy(&sample));
    }
}

#[test]
fn mutated_feeds_give_an_answer_or_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("feed");
    let mut accepted = 0;
    for (kind, sample) in samples() {
        let len = sample.len();
        let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) });
        let strategy = (prop::collection::vec((0..len, any::<u8>()), 0..6), 1..=len, any::<bool>());
        let fine = std::cell::Cell::new(0);
        runner
            .run(&strategy, |(changes, cut, is_cut)| {
                let mut bytes = sample.clone();
                for (at, value) in changes {
                    bytes[at] = value;
                }
                fs::write(&path, if is_cut { &bytes[..cut] } else { &bytes }).unwrap();
                let _ = sniff::kind(&path);
                fine.set(fine.get() + u32::from(read(kind, &path).is_ok()));
                Ok(())
            })
            .unwrap();
        accepted += fine.get();
    }
    println!("{accepted} mutations were accepted");
    assert!(accepted > 0);
}

#[test]
fn pipes_folders_bombs_and_deep_documents_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    assert!(sniff::kind(&pipe).unwrap_err().contains("no file"));
    assert!(read(Kind::Kev, dir.path()).is_err());
    let deep = dir.path().join("deep.json");
    fs::write(&deep, "[".repeat(100_000)).unwrap();
    assert!(sniff::kind(&deep).is_err() && read(Kind::Osv, &deep).is_err() && read(Kind::DebianTracker, &deep).is_err());
    // One line of 40 MiB, packed into 40 KiB.
    let bomb = dir.path().join("bomb.gz");
    let mut gz = flate2::write::GzEncoder::new(fs::File::create(&bomb).unwrap(), flate2::Compression::best());
    gz.write_all(&vec![b'x'; 40 << 20]).unwrap();
    gz.finish().unwrap();
    assert!(read(Kind::DebianList, &bomb).unwrap_err().contains("longer than"));
    assert!(read(Kind::Osv, &bomb).is_err());
}
