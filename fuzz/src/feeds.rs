//! Vendors' feeds: every reader, what it accepted compiled and opened.

use super::Target;
use fother_core::{
    Digest, Timestamp,
    advisory::{Day, reader::Database},
};
use fother_feeds::{
    compile::Builder,
    vendor::{self, About, Kind, sniff},
};
use std::io::Write as _;

macro_rules! targets {
    ($($kind:ident $name:literal),* $(,)?) => {
        pub const ALL: &[Target] = &[$(Target { name: $name, run: |data| read(Kind::$kind, data), seeds: || seeds(Kind::$kind) }),*];
    };
}

targets!(
    DebianTracker "feed-debian-tracker",
    DebianList "feed-debian-list",
    Osv "feed-osv",
    Kev "feed-kev",
    Epss "feed-epss",
    Cve "feed-cve",
    DebianDates "feed-dates",
    SupportEnded "feed-support",
    Nuclei "feed-exploits",
    Csaf "feed-csaf",
    OpenVex "feed-openvex",
    CyclonedxVex "feed-cyclonedx-vex",
    Updateinfo "feed-updateinfo",
    AlpineSecdb "feed-alpine-secdb",
);

fn zip(name: &str, text: &[u8]) -> Vec<u8> {
    let mut deflated = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    let packed = deflated.write_all(text).and_then(|()| deflated.finish()).unwrap_or_default();
    let mut crc = flate2::Crc::new();
    crc.update(text);
    let le16 = |n: usize| (n as u16).to_le_bytes();
    let le32 = |n: usize| (n as u32).to_le_bytes();
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

pub const TRACKER: &str = r#"{"zlib":{"CVE-2023-0001":{"description":"d","scope":"remote","releases":{"bookworm":{"status":"resolved","repositories":{"bookworm":"1"},"fixed_version":"1:1.2.13-2","urgency":"high"}}},"CVE-2023-0002":{"releases":{"bookworm":{"status":"open","repositories":{},"urgency":"low","nodsa":"x","nodsa_reason":"postponed"}}}}}"#;
const OSV: &str = r#"{"id":"X-1","modified":"2026-02-01T00:00:00Z","aliases":["CVE-2026-0001"],"summary":"s","affected":[{"package":{"ecosystem":"PyPI","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.2"},{"introduced":"2"},{"last_affected":"3"}]}],"versions":["1","2"],"severity":[{"type":"CVSS_V3","score":"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"}]}]}"#;

fn seeds(kind: Kind) -> Vec<Vec<u8>> {
    let text = match kind {
        Kind::DebianTracker => TRACKER,
        Kind::DebianList => {
            "[12 Feb 2025] DSA-5002-1 zlib - security update\n\t{CVE-2023-0001 CVE-2023-0008}\n\t[bookworm] - zlib 1:1.2.13-3\n\t[buster] - nano <not-affected> (x)\n"
        }
        Kind::Osv => return vec![OSV.into(), zip("a.json", OSV.as_bytes())],
        Kind::Kev => {
            let csv = "cveID,vulnerabilityName,dateAdded,dueDate\nCVE-2021-27104,\"a, b\",2021-11-03,2021-11-17\n";
            let json = r#"{"dateReleased":"2026-02-15T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-0004","vulnerabilityName":"t","dateAdded":"2026-02-15","dueDate":"2026-03-01","knownRansomwareCampaignUse":"Known"}]}"#;
            return super::texts_of(&[csv, json]);
        }
        Kind::Epss => "#model_version:v1,score_date:2026-02-18T00:00:00+0000\ncve,epss,percentile\nCVE-2026-0002,0.1,0.9\n",
        Kind::Cve => {
            r#"{"dataType":"CVE_RECORD","cveMetadata":{"cveId":"CVE-2026-0001","state":"PUBLISHED","dateUpdated":"2026-01-01T00:00:00Z"},"containers":{"cna":{"descriptions":[{"value":"d"}],"metrics":[{"cvssV3_1":{"vectorString":"CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:U/C:L/I:N/A:N"}}]},"adp":[{"metrics":[{"other":{"type":"ssvc","content":{"options":[{"Exploitation":"PoC"},{"Automatable":"Yes"}]}}}]}]}}"#
        }
        Kind::DebianDates => {
            "version,codename,series,created,release,eol,eol-lts\n1.1,Buzz,buzz,1993-08-16,1996-06-17,1997-06-05\n12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30\n"
        }
        Kind::SupportEnded => {
            "# List of packages whose security support ends before the distribution EOL\nwpewebkit\t2.38.6-1+deb12u1\t2023-05-09\thttps://x.test/releases/bookworm/x\n"
        }
        Kind::Csaf => {
            r#"{"document":{"category":"csaf_vex","csaf_version":"2.0","publisher":{"category":"vendor","name":"Red Hat","namespace":"https://www.redhat.com"},"tracking":{"id":"CVE-2026-0001","status":"final","current_release_date":"2026-02-01T00:00:00Z"}},"product_tree":{"branches":[{"category":"product_name","name":"EL 9","product":{"product_id":"p","name":"EL 9","product_identification_helper":{"cpe":"cpe:/a:redhat:enterprise_linux:9::appstream"}}},{"category":"product_version","name":"zlib","product":{"product_id":"z","name":"zlib","product_identification_helper":{"purl":"pkg:rpm/redhat/zlib@1.2-3.el9?arch=x86_64"}}}],"relationships":[{"category":"default_component_of","full_product_name":{"product_id":"p:z","name":"zlib of EL 9"},"product_reference":"z","relates_to_product_reference":"p"}]},"vulnerabilities":[{"cve":"CVE-2026-0001","product_status":{"fixed":["p:z"]}}]}"#
        }
        Kind::OpenVex => {
            r#"{"@context":"https://openvex.dev/ns/v0.2.0","@id":"d","author":"A","timestamp":"2026-02-01T00:00:00Z","statements":[{"vulnerability":{"name":"CVE-2026-0001"},"products":[{"@id":"pkg:deb/debian/zlib"}],"status":"fixed"}]}"#
        }
        Kind::CyclonedxVex => {
            r#"{"bomFormat":"CycloneDX","specVersion":"1.5","metadata":{"component":{"bom-ref":"p","name":"zlib","version":"1"}},"vulnerabilities":[{"id":"CVE-2026-0001","analysis":{"state":"not_affected"},"affects":[{"ref":"p","versions":[{"range":"vers:generic/<2"}]}]}]}"#
        }
        Kind::Updateinfo => {
            r#"<?xml version="1.0"?><updates><update type="security" status="final"><id>ALSA-2026:1</id><title>a &amp; b</title><severity>Important</severity><issued date="2026-02-01 00:00:00"/><references><reference type="cve" id="CVE-2026-0001"/></references><pkglist><collection short="x"><module name="m" stream="1"/><package name="zlib" version="1.2" release="3.el9" epoch="0" arch="x86_64"><filename>z.rpm</filename><reboot_suggested>True</reboot_suggested></package></collection></pkglist></update></updates>"#
        }
        Kind::AlpineSecdb => {
            r#"{"distroversion":"v3.20","reponame":"main","packages":[{"pkg":{"name":"zlib","secfixes":{"1.3-r1":["CVE-2026-0001 XSA-1"],"0":["CVE-2026-0002"]}}},{"pkg":{"name":"empty","secfixes":[]}}]}"#
        }
        _ => "CVE-2000-0114\n\"CVE-2001-0537\"\nCVE-\n",
    };
    vec![text.into()]
}

fn about(kind: Kind) -> About {
    About { name: "x".into(), kind, origin: "x.deb12".into(), imported: Timestamp(0), modified: Day(20_000), digest: Digest::of_file(b"") }
}

fn read(kind: Kind, data: &[u8]) {
    let path = super::roots::scratch().write("nuclei", data);
    let _ = sniff::kind(&path);
    let about = about(kind);
    let mut builder = Builder::default();
    let Ok(taken) = vendor::read(&mut builder, &about, &path) else { return };
    let bytes = builder.finish(Timestamp(1)).expect("what was accepted compiles");
    let db = Database::open(bytes.as_slice()).expect("what was compiled opens");
    db.verify().expect("what was compiled is whole");
    assert_eq!(db.feeds().expect("feeds can be read")[0].records, taken.records);
    for (name, _) in db.releases().expect("releases can be read") {
        let release = db.release(&name).expect("it can be read").expect("it is there");
        for package in ["zlib", "a"] {
            fother_core::assess::package(&db, &release, package, "1.0").expect("an answer is there");
        }
    }
}

#[test]
fn every_seed_is_told_by_its_content_and_read() {
    for kind in Kind::ALL {
        // Kinds without a target of their own have another one's seed.
        for seed in seeds(kind).into_iter().filter(|seed| kind == Kind::Nuclei || !seed.starts_with(b"CVE-2000-0114")) {
            let path = super::roots::scratch().write("nuclei", &seed);
            assert_eq!(sniff::kind(&path), Ok(kind), "{}", String::from_utf8_lossy(&seed));
            assert!(vendor::read(&mut Builder::default(), &about(kind), &path).is_ok_and(|taken| taken.records > 0), "{kind:?}");
        }
    }
}
