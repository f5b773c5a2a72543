//! The same root as a directory, as what `docker save` writes, as an OCI layout, as a tar and as a raw disk: the same findings. And hostile ones.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

const STATUS: &str = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\n\n\
    Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n";
const OLD: &str = "Package: gone\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
const RELEASE: &str = "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n";
const LIST: &str = "[11 Feb 2026] DSA-5002-1 web - security update\n\t{CVE-2026-0002 CVE-2026-0003}\n\t[bookworm] - web 1.0-2\n\
    [10 Feb 2026] DSA-5001-1 tool - security update\n\t{CVE-2026-0001}\n\t[bookworm] - tool 2.0-2\n";
const TOOL: &str = "Package: tool\nArchitecture: amd64\nVersion: 2.0-1\n";

struct Bench {
    keep: tempfile::TempDir,
}

/// One member of a layer: its name and what it is.
enum Member<'a> {
    Dir,
    File(&'a str),
    Link(&'a str),
    Hard(&'a str),
}
use Member::{Dir, File, Hard, Link};

fn tar(members: &[(&str, Member<'_>)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, member) in members {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        let (kind, bytes, target) = match member {
            Dir => (tar::EntryType::Directory, "", ""),
            File(text) => (tar::EntryType::Regular, *text, ""),
            Link(target) => (tar::EntryType::Symlink, "", *target),
            Hard(target) => (tar::EntryType::Link, "", *target),
        };
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        // By hand: the library refuses names that lead out.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        tar.append(&header, bytes.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The root in three layers, with everything that layers do: replaced and removed files, links, hard links, an emptied directory.
fn layers() -> Vec<Vec<u8>> {
    vec![
        tar(&[
            ("lib", Link("usr/lib")),
            ("etc/", Dir),
            ("usr/lib/os-release", File(RELEASE)),
            ("etc/os-release", Link("../usr/lib/os-release")),
            ("var/lib/dpkg/status", File(OLD)),
            ("var/lib/dpkg/status.d/", Dir),
            ("var/lib/dpkg/status.d/old", File("Package: old\nArchitecture: amd64\nVersion: 1\n")),
            ("var/lib/apt/lists/partial", File("x")),
            ("srv/large", File("not looked at")),
        ]),
        tar(&[
            ("var/lib/dpkg/status.d/.wh..wh..opq", File("")),
            ("var/lib/dpkg/status.d/tool", File(TOOL)),
            ("var/lib/apt/.wh.lists", File("")),
        ]),
        tar(&[
            ("./var/lib/dpkg/status", File(STATUS)),
            ("./var/lib/dpkg/status-old", Hard("var/lib/dpkg/status")),
            ("./srv/.wh.large", File("")),
        ]),
    ]
}

impl Bench {
    fn new() -> Self {
        let bench = Self { keep: tempfile::tempdir().unwrap() };
        bench.write("root/var/lib/dpkg/status", STATUS.as_bytes());
        bench.write("root/var/lib/dpkg/status.d/tool", TOOL.as_bytes());
        bench.write("root/usr/lib/os-release", RELEASE.as_bytes());
        fs::create_dir_all(bench.path("root/etc")).unwrap();
        std::os::unix::fs::symlink("../usr/lib/os-release", bench.path("root/etc/os-release")).unwrap();
        bench.write("in/DSA.list", LIST.as_bytes());
        let output = bench.run(&["feeds", "import", &bench.text("in"), "--dir", &bench.text("feeds")]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.keep.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fother")).args(arguments).env_remove("FOTHER_DB").env("TMPDIR", self.keep.path()).output().unwrap()
    }

    fn scan(&self, what: &str, path: &str, more: &[&str]) -> (i32, Value, String) {
        let (path, db) = (self.text(path), self.text("feeds/advisories.db"));
        let mut arguments = vec!["scan", what, &path, "--db", &db, "--feed-max-age", "100000", "--format", "json"];
        arguments.extend((what != "--file").then_some("--advisories-only"));
        arguments.extend(more);
        let output = self.run(&arguments);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let left: Vec<_> = fs::read_dir(self.keep.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("fother-image-")), "it cleans up after itself: {left:?}");
        (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default(), errors)
    }

    /// The findings of an image, which must be those of the directory.
    fn same(&self, path: &str, form: &str, more: &[&str]) -> Value {
        let (code, directory, errors) = self.scan("--root", "root", &[]);
        assert_eq!(directory["data"]["assessment"]["findings"].as_array().map(Vec::len), Some(3), "{directory} {errors}");
        let (image_code, image, errors) = self.scan("--image", path, more);
        assert_eq!(image["data"]["assessment"], directory["data"]["assessment"], "{path}: {errors} {image}");
        assert_eq!((image_code, image["data"]["image"]["form"].as_str()), (code, Some(form)), "{errors}");
        image["data"]["image"].clone()
    }

    /// Writes an OCI layout; `change` may spoil it.
    fn oci(&self, dir: &str, change: impl Fn(&str, &mut Vec<u8>)) -> String {
        let blob = |what: &str, bytes: Vec<u8>| {
            let digest = hex(&bytes);
            let mut bytes = bytes;
            change(what, &mut bytes);
            self.write(&format!("{dir}/blobs/sha256/{digest}"), &bytes);
            format!("sha256:{digest}")
        };
        let plain = layers();
        let packed = [gz(&plain[0]), zstd::encode_all(plain[1].as_slice(), 1).unwrap(), plain[2].clone()];
        let diff_ids: Vec<String> = plain.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        let config = blob("config", serde_json::to_vec(&config).unwrap());
        let layers: Vec<Value> =
            packed.into_iter().map(|layer| json!({"mediaType": "x", "digest": blob("layer", layer), "size": 1})).collect();
        let manifest =
            blob("manifest", serde_json::to_vec(&json!({"schemaVersion": 2, "config": {"digest": config}, "layers": layers})).unwrap());
        let attestation = blob("manifest", br#"{"config":{"digest":"sha256:00"},"layers":[]}"#.to_vec());
        let nested = json!({"schemaVersion": 2, "manifests": [
            {"digest": manifest, "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": attestation, "platform": {"os": "unknown", "architecture": "unknown"}, "annotations": {"vnd.docker.reference.type": "attestation-manifest"}},
        ]});
        let nested = blob("index", serde_json::to_vec(&nested).unwrap());
        self.write(
            &format!("{dir}/index.json"),
            &serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [
                {"digest": nested, "annotations": {"io.containerd.image.name": "ghcr.io/acme/app:1.2", "org.opencontainers.image.ref.name": "1.2"}},
            ]}))
            .unwrap(),
        );
        self.write(&format!("{dir}/oci-layout"), b"{\"imageLayoutVersion\":\"1.0.0\"}");
        manifest
    }

    /// What `docker save` writes, as it was before it wrote OCI layouts.
    fn saved(&self) -> (Vec<u8>, String) {
        let plain = layers();
        let diff_ids: Vec<String> = plain.iter().map(|layer| format!("sha256:{}", hex(layer))).collect();
        let config = serde_json::to_vec(&json!({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": diff_ids}})).unwrap();
        let id = hex(&config);
        let manifest =
            json!([{"Config": format!("{id}.json"), "RepoTags": ["app:1"], "Layers": ["a/layer.tar", "b/layer.tar", "c/layer.tar"]}]);
        let mut tar = tar::Builder::new(Vec::new());
        let mut add = |name: &str, bytes: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        };
        add(&format!("{id}.json"), &config);
        add("a/layer.tar", &plain[0]);
        add("d/layer.tar", &plain[1]);
        add("c/layer.tar", &plain[2]);
        add("manifest.json", &serde_json::to_vec(&manifest).unwrap());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        tar.append_link(&mut header, "b/layer.tar", "../d/layer.tar").unwrap();
        (tar.into_inner().unwrap(), format!("sha256:{id}"))
    }
}

#[test]
fn every_form_of_the_same_root_has_the_same_findings() {
    let bench = Bench::new();
    let manifest = bench.oci("oci", |_, _| {});
    let image = bench.same("oci", "oci-layout", &["--platform", "linux/amd64"]);
    assert_eq!((image["digest"].as_str(), image["layers"].as_u64()), (Some(manifest.as_str()), Some(3)));
    let tarred = Command::new("tar").args(["-C", &bench.text("oci"), "-cf", &bench.text("oci.tar"), "."]).status().unwrap();
    assert!(tarred.success());
    assert_eq!(bench.same("oci.tar", "oci-layout", &[])["digest"].as_str(), Some(manifest.as_str()));

    let (saved, id) = bench.saved();
    bench.write("saved.tar", &saved);
    assert_eq!(bench.same("saved.tar", "docker-archive", &[])["digest"].as_str(), Some(id.as_str()));
    bench.write("saved.tar.gz", &gz(&saved));
    assert_eq!(bench.same("saved.tar.gz", "docker-archive", &[])["digest"].as_str(), Some(id.as_str()));

    for (name, option) in [("root.tar", "-cf"), ("root.tar.gz", "-czf"), ("root.tar.xz", "-cJf")] {
        let tarred = Command::new("tar").args(["-C", &bench.text("root"), option, &bench.text(name), "."]).status().unwrap();
        assert!(tarred.success());
        let digest = format!("sha256:{}", hex(&fs::read(bench.path(name)).unwrap()));
        assert_eq!(bench.same(name, "root-tar", &[])["digest"].as_str(), Some(digest.as_str()));
    }
}

/// An OpenVEX statement on the image, on one of its packages where `part` names it.
fn vex(product: &str, part: Option<&str>) -> Vec<u8> {
    let product = match part {
        Some(part) => json!({"@id": product, "subcomponents": [{"@id": part}]}),
        None => json!({"@id": product}),
    };
    let statement = json!({"vulnerability": {"name": "CVE-2026-0002"}, "products": [product],
        "status": "not_affected", "justification": "vulnerable_code_not_in_execute_path"});
    let document = json!({"@context": "https://openvex.dev/ns/v0.2.0", "@id": "d", "author": "a", "timestamp": "2026-02-12T00:00:00Z",
        "version": 1, "statements": [statement]});
    serde_json::to_vec(&document).unwrap()
}

#[test]
fn a_statement_on_an_image_counts_for_that_image_by_digest_or_name_and_for_no_other() {
    let bench = Bench::new();
    let manifest = bench.oci("oci", |_, _| {}).replace(':', "%3A");
    let (saved, _) = bench.saved();
    bench.write("saved.tar", &saved);
    let silenced = |image: &str, product: &str, part: Option<&str>| {
        bench.write("statement.json", &vex(product, part));
        let (_, out, errors) = bench.scan("--image", image, &["--vex", &bench.text("statement.json")]);
        let findings = out["data"]["assessment"]["findings"].as_array().unwrap_or_else(|| panic!("{errors}"));
        !findings.iter().any(|finding| finding["id"] == "CVE-2026-0002")
    };
    let by_digest = format!("pkg:oci/app@{manifest}");
    for product in [&by_digest, "pkg:oci/app?repository_url=ghcr.io/acme/app", "pkg:oci/app?tag=1.2&arch=amd64"] {
        assert!(silenced("oci", product, None), "{product}");
        assert!(silenced("oci", product, Some("pkg:deb/debian/web@1.0-1")), "{product}");
        assert!(!silenced("oci", product, Some("pkg:deb/debian/other")), "a part that it is not: {product}");
    }
    let other = format!("pkg:oci/app@sha256%3A{}", "0".repeat(64));
    for product in [&other, "pkg:oci/app?repository_url=ghcr.io/other/app", "pkg:oci/app?tag=1.3", "pkg:oci/tool"] {
        assert!(!silenced("oci", product, None), "{product}");
    }
    assert!(silenced("saved.tar", "pkg:oci/app?tag=1", None), "what `docker save` names it");
    assert!(!silenced("saved.tar", &by_digest, None), "it does not hold its manifest, so its digest is not known");
}

#[test]
fn every_form_names_the_image_by_its_digest() {
    let bench = Bench::new();
    let manifest = bench.oci("oci", |_, _| {});
    let form = |name: &str| -> Value {
        let (image, db) = (bench.text("oci"), bench.text("feeds/advisories.db"));
        let output = bench.run(&["scan", "--image", &image, "--db", &db, "--advisories-only", "--format", name]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
    };
    let purl = format!("pkg:oci/app@{manifest}?arch=amd64&repository_url=ghcr.io%2Facme%2Fapp&tag=1.2");
    let sarif = form("sarif");
    let image = &sarif["runs"][0]["properties"];
    assert_eq!((&image["imageName"], &image["repoDigests"][0]), (&json!("ghcr.io/acme/app:1.2"), &json!(manifest)));
    let cyclonedx = form("cyclonedx");
    let whole = &cyclonedx["metadata"]["component"];
    assert_eq!((&whole["type"], &whole["version"], &whole["purl"]), (&json!("container"), &json!(manifest), &json!(purl)));
    assert_eq!(whole["components"][0]["name"], "debian");
    let spdx = form("spdx");
    let whole = spdx["packages"].as_array().unwrap().iter().find(|package| package["SPDXID"] == "SPDXRef-Image").unwrap();
    assert_eq!(whole["externalRefs"][0]["referenceLocator"], json!(purl));
    assert_eq!(format!("sha256:{}", whole["checksums"][0]["checksumValue"].as_str().unwrap()), manifest);
    let openvex = form("openvex");
    let product = &openvex["statements"][0]["products"][0];
    assert_eq!(product["@id"], json!(purl));
    assert_eq!(product["subcomponents"][0]["@id"], "pkg:deb/debian/tool@2.0-1?arch=source&distro=bookworm");
    // What is written about an image is read as being about that image, with the same findings.
    for (name, document) in [("spdx", spdx), ("cyclonedx", cyclonedx)] {
        bench.write(name, &serde_json::to_vec(&document).unwrap());
        bench.write("statement.json", &vex(&purl, None));
        let (_, plain, errors) = bench.scan("--file", name, &[]);
        assert_eq!(plain["data"]["assessment"]["findings"].as_array().map(Vec::len), Some(3), "{name}: {errors}");
        let (_, out, errors) = bench.scan("--file", name, &["--vex", &bench.text("statement.json")]);
        assert_eq!(out["data"]["assessment"]["findings"].as_array().map(Vec::len), Some(2), "{name}: {errors}");
    }
}

#[test]
fn lists_of_an_image_are_as_old_as_the_image_says() {
    let bench = Bench::new();
    bench.write("root/etc/apt/sources.list", b"deb http://archive.test/debian bookworm main\n");
    fs::create_dir_all(bench.path("root/var/lib/apt/lists/partial")).unwrap();
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    fs::File::open(bench.path("root/var/lib/apt/lists/partial")).unwrap().set_modified(old).unwrap();
    let tarred = Command::new("tar").args(["-C", &bench.text("root"), "-cf", &bench.text("root.tar"), "."]).status().unwrap();
    assert!(tarred.success());
    let scan = |what: &str, path: &str| {
        let output = bench.run(&["scan", what, &bench.text(path), "--format", "json"]);
        assert_eq!(output.status.code(), Some(3));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["unknown"].clone()
    };
    let directory = scan("--root", "root");
    assert!(directory.to_string().contains("last refreshed 2020-09-13"), "{directory}");
    assert_eq!(scan("--image", "root.tar"), directory);
    let made = Command::new("/sbin/mke2fs").args(["-q", "-t", "ext4", "-d", &bench.text("root"), &bench.text("ext4"), "8M"]).status();
    if made.is_ok_and(|status| status.success()) {
        assert_eq!(scan("--image", "ext4"), directory);
    }
}

/// An ext4 made without root, as a whole disk and as a partition behind a table of each kind.
#[test]
fn a_raw_disk_is_read_without_mounting_it() {
    let bench = Bench::new();
    let ext4 = bench.text("ext4");
    let made = Command::new("/sbin/mke2fs").args(["-q", "-t", "ext4", "-d", &bench.text("root"), &ext4, "8M"]).output();
    let Ok(made) = made else {
        println!("skipped: mke2fs is not installed");
        return;
    };
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    bench.same("ext4", "raw-disk", &[]);
    let system = fs::read(&ext4).unwrap();
    let sectors = (system.len() / 512) as u32;

    let mut mbr = vec![0_u8; 2048 * 512];
    mbr[446 + 4] = 0x83;
    mbr[446 + 8..446 + 12].copy_from_slice(&2048_u32.to_le_bytes());
    mbr[446 + 12..446 + 16].copy_from_slice(&sectors.to_le_bytes());
    mbr[510..512].copy_from_slice(&[0x55, 0xaa]);
    bench.write("mbr", &[mbr, system.clone()].concat());
    bench.same("mbr", "raw-disk", &[]);

    let mut gpt = vec![0_u8; 2048 * 512];
    gpt[446 + 4] = 0xee;
    gpt[446 + 8..446 + 12].copy_from_slice(&1_u32.to_le_bytes());
    gpt[446 + 12..446 + 16].copy_from_slice(&u32::MAX.to_le_bytes());
    gpt[510..512].copy_from_slice(&[0x55, 0xaa]);
    gpt[512..520].copy_from_slice(b"EFI PART");
    gpt[512 + 72..512 + 80].copy_from_slice(&2_u64.to_le_bytes());
    gpt[512 + 80..512 + 84].copy_from_slice(&4_u32.to_le_bytes());
    gpt[512 + 84..512 + 88].copy_from_slice(&128_u32.to_le_bytes());
    for (at, first, last) in [(1024, 40_u64, 100_u64), (1152, 2048, 2047 + u64::from(sectors))] {
        gpt[at..at + 16].fill(7);
        gpt[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
        gpt[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
    }
    let disk = [gpt, system].concat();
    bench.write("gpt", &disk);
    let (code, image, errors) = bench.scan("--image", "gpt", &[]);
    assert_eq!((code, image["data"]["assessment"]["findings"].as_array().map(Vec::len)), (3, Some(3)), "{errors}");
    let named = |image: &Value| {
        image["unknown"].as_array().unwrap().iter().any(|why| why.as_str().unwrap().contains("partition 1 is of an unknown kind"))
    };
    assert!(named(&image), "what was not looked at is named: {image}");

    for cut in [disk.len() / 2, 2048 * 512 + 3000, 600, 512] {
        bench.write("cut", &disk[..cut]);
        let (code, image, errors) = bench.scan("--image", "cut", &[]);
        assert!(code == 3 && image["data"].is_null(), "a disk that is cut to {cut} bytes: {code} {errors} {image}");
    }
}

#[test]
fn an_image_that_is_not_what_its_digests_say_is_refused() {
    let bench = Bench::new();
    for what in ["config", "layer", "manifest", "index"] {
        bench.oci(what, |now, bytes| {
            if now == what {
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
            }
        });
        let (code, image, errors) = bench.scan("--image", what, &[]);
        assert!(code == 3 && image["data"].is_null(), "a changed {what} passes: {code} {errors}");
        assert!(errors.contains("damaged or was changed") || errors.contains("cannot be read as an image"), "{what}: {errors}");
    }
    let (saved, _) = bench.saved();
    for cut in [saved.len() - 2048, saved.len() / 2, 700, 3, 0] {
        bench.write("cut.tar", &saved[..cut]);
        let (code, image, errors) = bench.scan("--image", "cut.tar", &[]);
        assert!(code == 3 && image["data"].is_null(), "an archive that is cut to {cut} bytes passes: {code} {errors} {image}");
    }
    bench.oci("other", |_, _| {});
    let (code, _, errors) = bench.scan("--image", "other", &["--platform", "linux/s390x"]);
    assert!(code == 3 && errors.contains("linux/amd64"), "it says what there is: {errors}");
}

#[test]
fn names_in_an_image_never_leave_it() {
    let bench = Bench::new();
    let outside = bench.text("outside");
    bench.write("outside/status", b"untouched");
    let hostile = [
        ("../../../../outside/escaped", File("x")),
        ("/outside/absolute", File("x")),
        ("etc/os-release", File(RELEASE)),
        ("var/lib/dpkg", Link(outside.as_str())),
        ("var/lib/dpkg/status", File("through the link")),
        ("loop", Link("loop")),
        ("loop/x", File("x")),
        ("etc/hostname", Hard("../../../../etc/passwd")),
        ("etc/machine-id", Link("/etc/passwd")),
    ];
    bench.write("hostile.tar", &tar(&hostile));
    let (code, image, errors) = bench.scan("--image", "hostile.tar", &[]);
    assert!(code == 3, "{code} {errors} {image}");
    assert_eq!(fs::read(bench.path("outside/status")).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(bench.path("outside")).unwrap().count(), 1);
    assert!(!errors.contains("root:x:0"), "nothing of this machine is in it");
}
