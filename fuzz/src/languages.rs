//! Packages of languages below a root: programs, archives, metadata, each in a root of its own that is walked; and YAML.

use super::{Target, roots::scratch, texts_of};
use fother_core::{languages::golang, yaml};
use fother_host::{
    languages::{Owned, find},
    root::Root,
};
use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _};

pub const ALL: &[Target] = &[
    Target { name: "program", run: |d| walked("bin/tool", d), seeds: programs },
    Target { name: "java-archive", run: |d| walked("a.war", d), seeds: archives },
    Target {
        name: "language-metadata",
        run: metadata,
        seeds: || {
            texts_of(&[
                "\0Name: a\nVersion: 1\n\nx",
                "\u{1}{\"name\":\"@s/a\",\"version\":\"1\"}",
                "\u{2}Gem::Specification.new do |s|\n  s.name = \"a\".freeze\n  s.version = \"1\"\nend\n",
                "\u{3}{\"packages\":[{\"name\":\"a/b\",\"version\":\"v1\"}]}",
                "\u{4}#define NODE_MAJOR_VERSION 1\n#define NODE_MINOR_VERSION 2\n#define NODE_PATCH_VERSION 3\n",
            ])
        },
    },
    Target {
        name: "go-modules",
        run: modules,
        seeds: || texts_of(&["go1.20\u{0}0123456789abcdefmod\tm\tv1.0.0\t\ndep\ta\tv1\n=>\tb\tv2\n0123456789abcdef"]),
    },
    Target { name: "yaml", run: document, seeds: || texts_of(&["a: &x [1, {b: 'c'}]\nd: |\n  e\n", "- *x\n", "---\na: >-\n  b\n..."]) },
];

fn walked(path: &str, data: &[u8]) {
    let (scratch, file) = (scratch(), format!("languages/{path}"));
    let at = scratch.write(&file, data);
    let _ = fs::set_permissions(at, fs::Permissions::from_mode(0o755));
    let root = Root::open(&scratch.path().join("languages")).expect("the root is there");
    let found = find(&root, &Owned::default());
    assert!(found.components.iter().all(|c| !c.name.is_empty() && c.place.starts_with('/')), "{found:?}");
    scratch.remove(&file);
}

fn metadata(data: &[u8]) {
    let places = [
        "a.dist-info/METADATA",
        "node_modules/a/package.json",
        "specifications/a.gemspec",
        "vendor/composer/installed.json",
        "node/node_version.h",
    ];
    if let Some((which, data)) = data.split_first() {
        walked(places[usize::from(*which) % places.len()], data);
    }
}

fn modules(data: &[u8]) {
    let (version, list) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let _ = golang::modules(version, list.get(1..).unwrap_or_default());
    let _ = golang::form(data);
    let _ = golang::inline(data);
}

fn document(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = yaml::parse(text);
    }
}

/// A small 64-bit program with one section of a name.
fn program(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file.extend(bytes);
    let names_at = file.len() as u64;
    let names = [b"\0", name.as_bytes(), b"\0"].concat();
    file.extend(&names);
    let table_at = file.len() as u64;
    let mut entries = [[0_u8; 64]; 3];
    entries[1][0] = 1;
    entries[1][24..32].copy_from_slice(&64_u64.to_le_bytes());
    entries[1][32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    entries[2][24..32].copy_from_slice(&names_at.to_le_bytes());
    entries[2][32..40].copy_from_slice(&(names.len() as u64).to_le_bytes());
    file.extend(entries.concat());
    file[40..48].copy_from_slice(&table_at.to_le_bytes());
    file[58..64].copy_from_slice(&[64, 0, 3, 0, 2, 0]);
    file
}

fn programs() -> Vec<Vec<u8>> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let _ = packed.write_all(br#"{"packages":[{"name":"a","version":"1.0.0","source":"crates.io"}]}"#);
    let header = |flags: u8| [golang::MAGIC, &[8, flags], &[0; 16]].concat();
    let inline = [header(2), b"\x06go1.20\x21".to_vec(), vec![b'x'; 33]].concat();
    vec![program(".dep-v0", &packed.finish().unwrap_or_default()), program(".go.buildinfo", &inline), program(".go.buildinfo", &header(0))]
}

/// A zip with one stored file of coordinates.
fn archives() -> Vec<Vec<u8>> {
    let (name, text) = (b"META-INF/maven/g/a/pom.properties".as_slice(), b"groupId=g\nartifactId=a\nversion=1\n".as_slice());
    let mut crc = flate2::Crc::new();
    crc.update(text);
    let size = u32::try_from(text.len()).unwrap_or(0).to_le_bytes();
    let common = [&[20, 0, 0, 0, 0, 0, 0, 0, 0, 0], crc.sum().to_le_bytes().as_slice(), &size, &size, &[33, 0, 0, 0]].concat();
    let mut file = [b"PK\x03\x04".as_slice(), &common, name, text].concat();
    let at = u32::try_from(file.len()).unwrap_or(0).to_le_bytes();
    let central = [b"PK\x01\x02\x14\0".as_slice(), &common, &[0; 14], name].concat();
    let len = u32::try_from(central.len()).unwrap_or(0).to_le_bytes();
    file.extend(central);
    file.extend([b"PK\x05\x06\0\0\0\0\x01\0\x01\0".as_slice(), &len, &at, &[0, 0]].concat());
    vec![file]
}
