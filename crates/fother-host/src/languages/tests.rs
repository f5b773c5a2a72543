//! Roots with packages of every language, and hostile ones: what is broken is named, the rest is found.

use super::*;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::{FileExt as _, PermissionsExt as _, symlink},
    path::Path,
};

struct Tree {
    keep: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        Self { keep: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) -> &Self {
        let path = self.keep.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
        self
    }

    fn program(&self, path: &str, bytes: &[u8]) -> &Self {
        self.write(path, bytes);
        fs::set_permissions(self.keep.path().join(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn root(&self) -> Root {
        Root::open(self.keep.path()).unwrap()
    }

    fn found(&self) -> Found {
        find(&self.root(), &Owned::of_dpkg(&self.root(), &BTreeMap::new()))
    }

    fn names(&self) -> Vec<String> {
        self.found().components.iter().map(|c| format!("{} {} {}", c.kind, Shown::from(c).name, c.version)).collect()
    }
}

/// A 64-bit little-endian ELF file with these sections behind its header, and one writable segment at 0x1000 that holds the whole file.
fn elf(sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; 64 + 56];
    let (mut names, mut table) = (vec![0], vec![vec![0; 64]]);
    let mut add = |file: &mut Vec<u8>, name: &str, bytes: &[u8]| {
        let mut entry = vec![0; 64];
        entry[..4].copy_from_slice(&u32::try_from(names.len()).unwrap().to_le_bytes());
        names.extend(name.bytes().chain([0]));
        entry[24..32].copy_from_slice(&(file.len() as u64).to_le_bytes());
        entry[32..40].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
        file.extend(bytes);
        table.push(entry);
    };
    for (name, bytes) in sections {
        add(&mut file, name, bytes);
    }
    let at = file.len() as u64;
    add(&mut file, ".shstrtab", b"");
    let last = table.last_mut().unwrap();
    last[24..32].copy_from_slice(&at.to_le_bytes());
    last[32..40].copy_from_slice(&(names.len() as u64).to_le_bytes());
    file.extend(&names);
    let sections_at = file.len() as u64;
    file.extend(table.iter().flatten());
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[40..48].copy_from_slice(&sections_at.to_le_bytes());
    file[54..58].copy_from_slice(&[56, 0, 1, 0]);
    file[58..60].copy_from_slice(&64_u16.to_le_bytes());
    file[60..62].copy_from_slice(&u16::try_from(table.len()).unwrap().to_le_bytes());
    file[62..64].copy_from_slice(&u16::try_from(table.len() - 1).unwrap().to_le_bytes());
    let size = file.len() as u64;
    file[64..72].copy_from_slice(&[1, 0, 0, 0, 6, 0, 0, 0]);
    file[80..88].copy_from_slice(&0x1000_u64.to_le_bytes());
    file[96..104].copy_from_slice(&size.to_le_bytes());
    file
}

const MODULES: &str = "0123456789abcdefmod\tx.test/me\t(devel)\t\ndep\tgolang.org/x/net\tv0.1.0\th1:=\n0123456789abcdef";

fn go_inline() -> Vec<u8> {
    let mut section = golang_header(2);
    for text in ["go1.20.1", MODULES] {
        let len = u8::try_from(text.len() & 0x7f).unwrap();
        section.extend(if text.len() > 127 { vec![len | 0x80, 1] } else { vec![len] });
        section.extend(text.bytes());
    }
    elf(&[(".go.buildinfo", &section)])
}

fn golang_header(flags: u8) -> Vec<u8> {
    let mut section = fother_core::languages::golang::MAGIC.to_vec();
    section.extend([8, flags]);
    section.resize(32, 0);
    section
}

/// The form before Go 1.18: addresses of strings' headers.
fn go_pointers() -> Vec<u8> {
    // File offsets are addresses less 0x1000; the first section starts behind the header.
    let base = 0x1000 + 120_u64;
    let mut section = golang_header(0);
    let texts = base + 64;
    section[16..24].copy_from_slice(&(base + 32).to_le_bytes());
    section[24..32].copy_from_slice(&(base + 48).to_le_bytes());
    for (address, len) in [(texts, 8_u64), (texts + 8, MODULES.len() as u64)] {
        section.extend(address.to_le_bytes());
        section.extend(len.to_le_bytes());
    }
    section.extend(b"go1.16.5");
    section.extend(MODULES.bytes());
    elf(&[(".go.buildinfo", &section)])
}

fn rust_program(json: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(json).unwrap();
    elf(&[(".dep-v0", &packed.finish().unwrap())])
}

/// A zip of stored or deflated members.
fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut central) = (Vec::new(), Vec::new());
    for (name, bytes) in members {
        let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
        packed.write_all(bytes).unwrap();
        let packed = packed.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let mut common = vec![20, 0, 0, 0, 8, 0, 0, 0, 0, 0];
        common.extend(crc.sum().to_le_bytes());
        common.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        common.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        common.extend(u16::try_from(name.len()).unwrap().to_le_bytes());
        common.extend([0, 0]);
        let at = u32::try_from(file.len()).unwrap();
        file.extend(b"PK\x03\x04");
        file.extend(&common);
        file.extend(name.bytes());
        file.extend(packed);
        central.extend(b"PK\x01\x02\x14\0");
        central.extend(&common);
        central.extend([0; 10]);
        central.extend(at.to_le_bytes());
        central.extend(name.bytes());
    }
    let at = u32::try_from(file.len()).unwrap();
    file.extend(&central);
    file.extend(b"PK\x05\x06\0\0\0\0");
    let count = u16::try_from(members.len()).unwrap();
    file.extend([count.to_le_bytes(), count.to_le_bytes()].concat());
    file.extend(u32::try_from(central.len()).unwrap().to_le_bytes());
    file.extend(at.to_le_bytes());
    file.extend([0, 0]);
    file
}

const POM: (&str, &[u8]) = ("META-INF/maven/g/a/pom.properties", b"groupId=g\nartifactId=a\nversion=1.0\n");

#[test]
fn packages_of_every_language_are_found_where_they_are_installed() {
    let tree = Tree::new();
    let inner = zip(&[POM]);
    tree.write("srv/site-packages/Jinja2-2.10.dist-info/METADATA", "Name: Jinja2\nVersion: 2.10\n")
        .write("srv/site-packages/old.egg-info", "Name: old\nVersion: 1\n")
        .write("srv/zipped.egg", zip(&[("EGG-INFO/PKG-INFO", b"Name: zipped\nVersion: 2\n")]))
        .write("srv/node_modules/@s/b/package.json", r#"{"name":"@s/b","version":"2.0.0"}"#)
        .write("srv/node_modules/@s/b/test/package.json", r#"{"name":"fixture","version":"9.9.9"}"#)
        .write(
            "opt/node/include/node/node_version.h",
            "#define NODE_MAJOR_VERSION 18\n#define NODE_MINOR_VERSION 1\n#define NODE_PATCH_VERSION 0\n",
        )
        .write(
            "usr/lib/gems/specifications/rack-2.2.3.gemspec",
            "Gem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"2.2.3\"\nend\n",
        )
        .write("srv/php/vendor/composer/installed.json", r#"{"packages":[{"name":"a/b","version":"v1.0"}]}"#)
        .write("srv/shop.war", zip(&[("WEB-INF/lib/a.jar", &inner)]))
        .program("usr/bin/go", &go_inline())
        .program("usr/bin/older", &go_pointers())
        .program("usr/bin/rust", &rust_program(br#"{"packages":[{"name":"time","version":"0.1.43","source":"crates.io"}]}"#))
        .write("usr/bin/not-executable", go_inline());
    let want = [
        "cargo time 0.1.43",
        "composer a/b 1.0",
        "gem rack 2.2.3",
        "golang golang.org/x/net v0.1.0",
        "golang golang.org/x/net v0.1.0",
        "golang stdlib 1.16.5",
        "golang stdlib 1.20.1",
        "maven g:a 1.0",
        "nodejs node 18.1.0",
        "npm @s/b 2.0.0",
        "pypi Jinja2 2.10",
        "pypi old 1",
        "pypi zipped 2",
    ];
    let found = tree.found();
    assert!(found.unknown.is_empty(), "{:?}", found.unknown);
    assert_eq!(tree.names(), want);
    let place = |name: &str| found.components.iter().find(|c| c.name == name).unwrap().place.as_str();
    assert_eq!((place("b"), place("a")), ("/srv/php/vendor/composer/installed.json", "/srv/shop.war!WEB-INF/lib/a.jar"));
}

#[test]
fn files_of_the_distributions_packages_are_not_assessed_twice() {
    let tree = Tree::new();
    tree.write("usr/lib/python3/dist-packages/idna-3.3.egg-info/PKG-INFO", "Name: idna\nVersion: 3.3\n")
        .write("usr/local/lib/python3/dist-packages/own-1.dist-info/METADATA", "Name: own\nVersion: 1\n")
        .write("usr/lib/python3/dist-packages/third-1.dist-info/METADATA", "Name: third\nVersion: 1\n")
        .program("usr/bin/tool", &go_inline())
        .write("var/lib/dpkg/info/python3-idna.list", "/.\n/lib/python3/dist-packages/idna-3.3.egg-info/PKG-INFO\n/usr/bin/tool\n")
        .write("var/lib/dpkg/info/third:amd64.list", "/usr/lib/python3/dist-packages/third-1.dist-info/METADATA\n");
    symlink("usr/lib", tree.keep.path().join("lib")).unwrap();
    let root = tree.root();
    let foreign = BTreeMap::from([("third".to_owned(), "Somebody".to_owned())]);
    let found = find(&root, &Owned::of_dpkg(&root, &foreign));
    let names: Vec<&str> = found.components.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["own", "third"], "nobody but the ecosystem judges what somebody else's archive brought");
    assert_eq!(found.of_packages, 1);
}

#[test]
fn files_of_rpm_and_apk_belong_to_their_packages_too() {
    let tree = Tree::new();
    tree.write("usr/lib/python3.12/site-packages/idna-3.3.dist-info/METADATA", "Name: idna\nVersion: 3.3\n")
        .write("lib/apk/db/installed", "P:py3-idna\nV:3.3-r0\nF:usr/lib/python3.12/site-packages/idna-3.3.dist-info\nR:METADATA\n");
    let found = find(&tree.root(), &Owned::of_others(&tree.root()));
    assert_eq!((found.components.len(), found.of_packages), (0, 1), "{found:?}");
}

fn named(found: &Found, path: &str) -> bool {
    found.unknown.iter().any(|why| why.starts_with(path))
}

#[test]
fn broken_files_are_named_and_the_rest_is_found() {
    let tree = Tree::new();
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let mut cut = zip(&[POM, ("x", b"y")]);
    cut.truncate(cut.len() - 5);
    let mut damaged = zip(&[POM]);
    damaged[70] ^= 0xff;
    let mut nested = zip(&[POM]);
    for _ in 0..6 {
        nested = zip(&[("a.jar", &nested)]);
    }
    let mut short = go_inline();
    short.truncate(200);
    tree.write("a/node_modules/deep/package.json", deep)
        .write("a/node_modules/odd/package.json", b"{\"name\":\"\xff\xfe\",\"version\":\"1\"}")
        .write("a/x.dist-info/METADATA", b"\xff\xfe\x00")
        .write("a/cut.jar", cut)
        .write("a/damaged.jar", damaged)
        .write("a/nested.jar", nested)
        .write("a/plain.jar", zip(&[("x", b"y")]))
        .program("a/short", &short)
        .program("a/crates", &elf(&[(".dep-v0", b"no zlib")]))
        .program("a/go", &elf(&[(".go.buildinfo", b"\xff Go buildinf:\x08\x02 cut")]))
        .write("z/fine.dist-info/METADATA", "Name: fine\nVersion: 1\n");
    let found = tree.found();
    for path in [
        "/a/node_modules/deep",
        "/a/x.dist-info/METADATA",
        "/a/cut.jar",
        "/a/damaged.jar",
        "/a/nested.jar",
        "/a/plain.jar",
        "/a/short",
        "/a/crates",
        "/a/go",
    ] {
        assert!(named(&found, path), "{path}: {:#?}", found.unknown);
    }
    assert!(found.components.iter().any(|c| c.name == "fine"));
}

#[test]
fn archive_bombs_unpack_to_a_bound_and_no_further() {
    let tree = Tree::new();
    let zeros = vec![b' '; 80 << 20];
    tree.write("bomb.jar", zip(&[("META-INF/MANIFEST.MF", &zeros)]));
    tree.write("text.jar", zip(&[("META-INF/maven/g/a/pom.properties", &zeros[..2 << 20])]));
    let members: Vec<(String, &[u8])> = (0..20).map(|n| (format!("{n}.jar"), &zeros[..50 << 20])).collect();
    let members: Vec<(&str, &[u8])> = members.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    tree.write("many.war", zip(&members));
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(&zeros).unwrap();
    tree.program("program", &elf(&[(".dep-v0", &packed.finish().unwrap())]));
    let found = tree.found();
    for path in ["/bomb.jar", "/text.jar", "/many.war: it unpacks to more", "/program"] {
        assert!(named(&found, path), "{path}: {:#?}", found.unknown);
    }
}

#[test]
fn links_pipes_and_sparse_files_neither_lead_out_nor_hold_up() {
    let outside = Tree::new();
    outside.write("secret.dist-info/METADATA", "Name: secret\nVersion: 1\n");
    let tree = Tree::new();
    tree.write("in/fine.dist-info/METADATA", "Name: fine\nVersion: 1\n");
    let at = |path: &str| tree.keep.path().join(path);
    symlink(outside.keep.path(), at("out")).unwrap();
    symlink("/", at("up")).unwrap();
    symlink("..", at("in/loop")).unwrap();
    symlink("self", at("self")).unwrap();
    fs::create_dir_all(at("in/l.dist-info")).unwrap();
    symlink(outside.keep.path().join("secret.dist-info/METADATA"), at("in/l.dist-info/METADATA")).unwrap();
    let pipe = |path: &str| rustix::fs::mknodat(rustix::fs::CWD, at(path), rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    fs::create_dir_all(at("in/p.dist-info")).unwrap();
    pipe("in/p.dist-info/METADATA");
    pipe("in/pipe.jar");
    fs::create_dir_all(at("in/s.dist-info")).unwrap();
    let sparse = fs::File::create(at("in/s.dist-info/METADATA")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    fs::File::create(at("in/huge.jar")).unwrap().set_len(1 << 40).unwrap();
    // A program that says its table of sections is as large as the file.
    let program = fs::File::create(at("in/huge")).unwrap();
    program.write_all_at(&elf(&[]), 0).unwrap();
    program.write_all_at(&[0xff; 6], 58).unwrap();
    program.set_len(1 << 40).unwrap();
    program.set_permissions(fs::Permissions::from_mode(0o755)).unwrap();
    let found = tree.found();
    assert_eq!(found.components.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["fine"]);
    for path in ["/in/s.dist-info/METADATA", "/in/huge.jar", "/in/huge:"] {
        assert!(named(&found, path), "{path}: {:#?}", found.unknown);
    }
}

#[test]
fn paths_that_are_too_deep_or_no_text_are_walked_or_named() {
    use std::os::unix::ffi::OsStrExt as _;
    let tree = Tree::new();
    tree.write("fine.dist-info/METADATA", "Name: fine\nVersion: 1\n");
    let odd = tree.keep.path().join(std::ffi::OsStr::from_bytes(b"odd\xff\x1b[2J"));
    fs::create_dir_all(odd.join("x.dist-info")).unwrap();
    fs::write(odd.join("x.dist-info/METADATA"), "Name: x\nVersion: 1\n").unwrap();
    let name = "d".repeat(200);
    let mut handle: std::os::fd::OwnedFd = fs::File::open(tree.keep.path()).unwrap().into();
    for _ in 0..30 {
        rustix::fs::mkdirat(&handle, &name, rustix::fs::Mode::RWXU).unwrap();
        handle = rustix::fs::openat(&handle, &name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()).unwrap();
    }
    let found = tree.found();
    assert_eq!(found.components.len(), 2);
    assert!(found.components.iter().all(|c| !c.place.contains('\u{1b}')), "{found:?}");
    assert_eq!(found.unknown.len(), 1, "the one directory that is too deep: {:#?}", found.unknown);
    remove_deep(tree.keep.path(), &name);
}

/// What is deeper than a path may be long is not removed by its path.
fn remove_deep(top: &Path, name: &str) {
    let mut handles: Vec<std::os::fd::OwnedFd> = vec![fs::File::open(top).unwrap().into()];
    while let Ok(inner) = rustix::fs::openat(handles.last().unwrap(), name, rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty()) {
        handles.push(inner);
    }
    handles.pop();
    for handle in handles.iter().rev() {
        rustix::fs::unlinkat(handle, name, rustix::fs::AtFlags::REMOVEDIR).unwrap();
    }
}

#[test]
fn a_source_trees_lock_files_count_and_those_of_what_is_installed_in_it_do_not() {
    let tree = Tree::new();
    let lock = |name: &str| format!(r#"{{"lockfileVersion":3,"packages":{{"node_modules/{name}":{{"version":"1.0.0"}}}}}}"#);
    tree.write("web/package-lock.json", lock("a"))
        .write("web/node_modules/x/package-lock.json", lock("b"))
        .write("api/go.mod", "module m\ngo 1.21\nrequire golang.org/x/net v0.1.0\n")
        .write("broken/Cargo.lock", "[[package");
    let sbom = lock_files(&tree.root()).unwrap();
    let names: Vec<String> = sbom.components.iter().map(|c| format!("{} {}", c.name, c.place)).collect();
    assert_eq!(names, ["golang.org/x/net /api/go.mod", "stdlib /api/go.mod", "a /web/package-lock.json"]);
    assert_eq!((sbom.form.as_str(), sbom.unknown.len()), ("2 lock files", 1));
    assert!(lock_files(&Tree::new().root()).is_err());
}
