//! Archives of packages: Release, InRelease and keyrings, Packages, sources, changelogs in package files, packed streams.

use super::{Target, texts_of};
use fother_core::Timestamp;
use fother_feeds::{
    acquire, changelog,
    compress::Compression,
    fetch::config::AptConfig,
    lists, packages,
    release::Release,
    sources, sources_table,
    trust::{self, Keyring},
};
use std::{collections::HashSet, io::Write as _};

pub const ALL: &[Target] = &[
    Target { name: "release", run: release, seeds: || texts_of(&[RELEASE]) },
    Target { name: "inrelease", run: inrelease, seeds: inrelease_seeds },
    Target { name: "detached", run: detached, seeds: || texts_of(&[SIGNATURE]) },
    Target { name: "keyring", run: keyring, seeds: keyring_seeds },
    Target { name: "packages", run: index, seeds: || texts_of(&[INDEX]) },
    Target { name: "sources", run: archives, seeds: sources_seeds },
    Target { name: "changelog", run: changes, seeds: changelog_seeds },
    Target { name: "deb", run: deb, seeds: deb_seeds },
    Target { name: "compress", run: unpack, seeds: packed_seeds },
    Target { name: "feeds-table", run: table, seeds: || texts_of(&[sources_table::BUILT_IN]) },
    Target {
        name: "apt-config",
        run: config,
        seeds: || texts_of(&["Acquire::http::Proxy \"http://x\";\nAcquire::https::Timeout \"5\";\n"]),
    },
];

const RELEASE: &str = "Origin: Debian\nLabel: Debian-Security\nSuite: stable-security\nCodename: bookworm-security\nDate: Sat, 01 Feb 2025 10:00:00 UTC\n\
    Valid-Until: Sat, 08 Feb 2025 10:00:00 UTC\nArchitectures: all amd64\nComponents: main contrib\nAcquire-By-Hash: yes\nSHA256:\n \
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/binary-amd64/Packages\n";
const INDEX: &str = "Package: a\nVersion: 1-1\nArchitecture: amd64\nSource: s (2-1)\nFilename: pool/a_1.deb\nSize: 7\nPhased-Update-Percentage: 20\n\
    SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\nDescription: x\n Package: no\n\n\nPackage: b\nVersion: 1\n";

fn release(data: &[u8]) {
    let Ok(release) = Release::parse(&String::from_utf8_lossy(data)) else { return };
    assert!(release.files.len() <= fother_feeds::release::FILES_MAX);
    for path in release.files.keys() {
        assert!(acquire::check_index(&release, path, &[0; 3]).is_err(), "three zeros pass for {path:?}");
    }
}

fn inrelease_seeds() -> Vec<Vec<u8>> {
    let text = format!(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{RELEASE}- -x\n-----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQQAAAAAAAAAAAAAAAAAAAAAAAAAAAUCZZIAAAAKCRAAAAAAAAAA\n=AAAA\n-----END PGP SIGNATURE-----\n"
    );
    texts_of(&[&text])
}

/// Nothing that is made up here is signed by a key that is not there.
fn inrelease(data: &[u8]) {
    let keyring = Keyring::default();
    assert!(trust::verify_clearsigned(data, &keyring, Timestamp(1_790_000_000_000)).is_err());
}

const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----\n\niHUEARYKAB0WIQQAAAAAAAAAAAAAAAAAAAAAAAAAAAUCZZIAAAAKCRAAAAAAAAAA\n=AAAA\n-----END PGP SIGNATURE-----\n";

/// The same for a signature that stands beside its file.
fn detached(data: &[u8]) {
    let keyring = Keyring::default();
    assert!(trust::verify_detached(b"document", data, &keyring, Timestamp(1_790_000_000_000)).is_err());
}

fn keyring_seeds() -> Vec<Vec<u8>> {
    // A version 4 Ed25519 key and a user id, as bare packets.
    let mut key = vec![0x98, 0x33, 4, 0x65, 0x92, 0, 0, 22, 9, 0x2b, 6, 1, 4, 1, 0xda, 0x47, 0x0f, 1, 1, 7, 0x40];
    key.extend([7; 32]);
    key.extend(b"\xb4\x03a@b");
    let armored = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmDMEZZIAABYJKwYBBAHaRw8BAQdABwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH\n=AAAA\n-----END PGP PUBLIC KEY BLOCK-----\n";
    vec![key, armored.as_bytes().to_vec()]
}

fn keyring(data: &[u8]) {
    let Ok(keyring) = Keyring::from_bytes(data) else { return };
    assert_eq!(keyring.is_empty(), keyring.fingerprints().is_empty());
    let text = inrelease_seeds().remove(0);
    assert!(trust::verify_clearsigned(&text, &keyring, Timestamp(1_790_000_000_000)).is_err(), "a signature of zeros was accepted");
}

fn index(data: &[u8]) {
    let names: HashSet<&str> = packages::scan(data).map(|entry| entry.name).collect();
    let (mut all, mut end) = (0, 0);
    for entry in packages::scan(data) {
        assert_eq!(&data[entry.range()], entry.stanza);
        assert!(entry.start >= end, "two stanzas overlap");
        end = entry.range().end;
        all += 1;
        if let Ok(candidate) = entry.candidate() {
            assert_eq!(candidate.name, entry.name);
            assert!(!candidate.filename.split('/').any(|part| part == ".."), "{:?} leads elsewhere", candidate.filename);
        }
    }
    let mut selected = 0;
    packages::select(data, &names, |_| selected += 1);
    assert_eq!(selected, all);
}

fn sources_seeds() -> Vec<Vec<u8>> {
    texts_of(&[
        "\0deb [arch=amd64,i386 signed-by=/usr/share/keyrings/x.gpg] http://archive.test/debian bookworm main contrib # x\ndeb-src http://x/ y z\n",
        "\u{1}Types: deb deb-src\nURIs: http://a.test/ https://b.test\nSuites: bookworm ./\nComponents: main\nArchitectures: amd64\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n x\n",
    ])
}

fn archives(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let name = if which % 2 == 0 { "etc/apt/sources.list" } else { "etc/apt/sources.list.d/x.sources" };
    let root = super::roots::scratch();
    root.write(name, data);
    let found = sources::read(root.path()).expect("the root is there");
    assert!(found.configured.len() <= sources::SOURCES_MAX);
    for configured in &found.configured {
        let uri = lists::inrelease_uri(&configured.source);
        let name = lists::file_name(&uri);
        assert!(!name.contains('/'), "{uri:?} is kept as {name:?}, which leads elsewhere");
        let _ = (lists::uri_of_file_name(&name), lists::index_paths(&configured.source, "amd64"));
    }
    root.remove(name);
}

const CHANGELOG: &str = "a (1.2-3) bookworm-security; urgency=high\n\n  * Fix CVE-2026-0001, CVE-2026-12345.\n\n -- A <a@b>  Sat, 01 Feb 2025 10:00:00 +0000\n\na (1.2-2) bookworm; urgency=low\n\n  * x\n";

fn changelog_seeds() -> Vec<Vec<u8>> {
    texts_of(&[CHANGELOG])
}

fn changes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let all = changelog::facts(&text, None);
    assert!(all.complete);
    let Ok(from) = "1.2-2".parse() else { return };
    let some = changelog::facts(&text, Some(&from));
    assert!(some.entries.len() <= all.entries.len());
    assert!(some.entries.iter().all(|(version, _)| version.compare(&from).is_gt()));
    assert!(changelog::cves(&text).all(|cve| cve.starts_with("CVE-") && text.to_ascii_uppercase().contains(&cve)));
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gz.write_all(bytes).and_then(|()| gz.finish()).unwrap_or_default()
}

fn deb_seeds() -> Vec<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let changelog = packed(CHANGELOG.as_bytes());
    let mut header = tar::Header::new_gnu();
    header.set_size(changelog.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, "./usr/share/doc/a/changelog.Debian.gz", changelog.as_slice()).expect("memory is writable");
    let data = packed(&tar.into_inner().expect("memory is writable"));
    let mut deb = b"!<arch>\n".to_vec();
    for (name, bytes) in [("debian-binary", b"2.0\n".as_slice()), ("data.tar.gz", &data)] {
        deb.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, bytes.len()).as_bytes());
        deb.extend(bytes);
        if bytes.len() % 2 == 1 {
            deb.push(b'\n');
        }
    }
    vec![deb]
}

fn deb(data: &[u8]) {
    if let Ok(facts) = changelog::closes(data, "a", None) {
        assert!(facts.complete);
    }
}

fn packed_seeds() -> Vec<Vec<u8>> {
    vec![[&[1], packed(b"hello hello hello").as_slice()].concat(), vec![4, b'x']]
}

fn unpack(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    let kind = Compression::ALL[usize::from(*which) % Compression::ALL.len()];
    if let Ok(bytes) = kind.unpack(data, 1 << 20) {
        assert!(bytes.len() <= 1 << 20);
        if !bytes.is_empty() {
            assert!(kind.unpack(data, bytes.len() as u64 - 1).is_err(), "{kind:?}: the bound does not hold");
        }
    }
}

fn table(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(sources) = sources_table::parse(text) {
        assert!(sources.len() <= sources_table::SOURCES_MAX);
    }
}

fn config(data: &[u8]) {
    let _ = AptConfig::parse(&String::from_utf8_lossy(data));
}
