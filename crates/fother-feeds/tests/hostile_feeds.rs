//! Readers of feeds on files that are none or cost much: they are refused. (What `fuzz/src/feeds.rs` mutates is not repeated here.)
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{Digest, Timestamp, advisory::Day};
use fother_feeds::{
    compile::Builder,
    vendor::{self, About, Kind, sniff},
};
use std::{fs, io::Write as _, path::Path};

fn read(kind: Kind, path: &Path) -> Result<u32, String> {
    let about = About {
        name: "x".into(),
        kind,
        origin: "x.deb12".into(),
        imported: Timestamp(0),
        modified: Day(20_000),
        digest: Digest::of_file(b""),
    };
    vendor::read(&mut Builder::default(), &about, path).map(|taken| taken.records)
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
