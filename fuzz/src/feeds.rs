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
            "version,codename,series,created,release,eol,eol-lts\n12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30\n"
        }
        Kind::SupportEnded => "# List of packages\nwpewebkit\t2.38.6-1+deb12u1\t2023-05-09\thttps://x.test/releases/bookworm/x\n",
        _ => "CVE-2000-0114\n\"CVE-2001-0537\"\nCVE-\n",
    };
    vec![text.into()]
}

fn read(kind: Kind, data: &[u8]) {
    let path = super::roots::scratch().write("nuclei", data);
    let _ = sniff::kind(&path);
    let about = About {
        name: "x".into(),
        kind,
        origin: "x.deb12".into(),
        imported: Timestamp(0),
        modified: Day(20_000),
        digest: Digest::of_file(b""),
    };
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
