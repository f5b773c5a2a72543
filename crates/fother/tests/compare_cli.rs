//! `fother diff` and `fother reconcile` as a user runs them, on root directories and reports of the test's own.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::{Value, json};
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const STATUS: &str = "Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n\
    Package: libfix1\nSource: fixed\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.0-1+deb12u3\n\n";
const LIST: &str = "[11 Feb 2026] DSA-5002-1 web - security update\n\t{CVE-2026-0002 CVE-2026-0003}\n\t[bookworm] - web 1.0-2\n\
    [11 Jan 2026] DSA-5001-1 fixed - security update\n\t{CVE-2026-0001}\n\t[bookworm] - fixed 2.0-1+deb12u2\n";

struct Bench {
    keep: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { keep: tempfile::tempdir().unwrap() };
        bench.root("root", STATUS);
        bench.write("in/DSA.list", LIST);
        let output = bench.run(&["feeds", "import", &bench.path("in"), "--dir", &bench.path("feeds")]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        bench
    }

    fn root(&self, name: &str, status: &str) {
        self.write(&format!("{name}/var/lib/dpkg/status"), status);
        self.write(&format!("{name}/etc/os-release"), "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
    }

    fn path(&self, path: &str) -> String {
        self.keep.path().join(path).display().to_string()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.keep.path().join(path);
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_fother")).args(arguments).env_remove("FOTHER_DB").output().unwrap()
    }

    /// Runs with this bench's feeds; the answer is the exit code, standard output and standard error.
    fn ask(&self, arguments: &[&str]) -> (i32, String, String) {
        let db = self.path("feeds/advisories.db");
        let mut all = arguments.to_vec();
        all.extend(["--db", &db, "--feed-max-age", "100000"]);
        let output = self.run(&all);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let mut all = arguments.to_vec();
        all.extend(["--format", "json"]);
        let (code, text, errors) = self.ask(&all);
        (code, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}")))
    }
}

fn found(id: &str, package: &str, version: &str) -> Value {
    let purl = format!("pkg:deb/debian/{package}@{version}?arch=amd64&distro=debian-12");
    json!({"VulnerabilityID": id, "PkgName": package, "InstalledVersion": version, "Severity": "HIGH", "PkgIdentifier": {"PURL": purl}})
}

fn trivy(findings: &[Value]) -> String {
    json!({"SchemaVersion": 2, "ArtifactName": "x", "Results": [{"Target": "x", "Class": "os-pkgs", "Type": "debian", "Vulnerabilities": findings}]})
        .to_string()
}

#[test]
fn every_foreign_finding_is_answered_with_its_evidence() {
    let bench = Bench::new();
    let report = trivy(&[
        found("CVE-2026-0002", "web", "1.0-1"),
        found("CVE-2026-0001", "libfix1", "2.0-1+deb12u3"),
        found("CVE-2026-0001", "absent", "1"),
        found("CVE-2026-0002", "web", "0.9-1"),
        found("CVE-2026-9999", "web", "1.0-1"),
        json!({"VulnerabilityID": "CVE-2026-7", "PkgName": "left-pad", "InstalledVersion": "1.0.0", "PkgIdentifier": {"PURL": "pkg:npm/left-pad@1.0.0"}}),
    ]);
    bench.write("trivy.json", &report);
    let (file, root) = (bench.path("trivy.json"), bench.path("root"));
    let (code, value) = bench.json(&["reconcile", &file, "--root", &root]);
    let answers = value["data"]["answers"].as_array().unwrap();
    let told: Vec<(&str, &str)> = answers.iter().map(|a| (a["answer"].as_str().unwrap(), a["why"].as_str().unwrap())).collect();
    assert_eq!(
        told.iter().map(|(answer, _)| *answer).collect::<Vec<_>>(),
        ["agree", "fixed-by-backport", "not-installed", "agree", "unknown", "unknown"],
        "{told:#?}"
    );
    let fixed = &answers[1];
    assert_eq!((fixed["advisory"].as_str(), fixed["fixed"].as_str()), (Some("DSA-5001-1"), Some("2.0-1+deb12u2")));
    assert_eq!((fixed["published"].as_str(), fixed["status"].as_str()), (Some("2026-01-11"), Some("fixed")));
    assert_eq!(fixed["feed"]["name"], "debian-list/DSA.list");
    assert_eq!(fixed["feed"]["date"], "2026-02-11");
    assert!(told[3].1.starts_with("the report speaks of version 0.9-1, web 1.0-1 is installed"), "{}", told[3].1);
    assert!(told[4].1.contains("only lists of fixes were taken in"), "{}", told[4].1);
    assert!(told[5].1.contains("packages of kind npm were not listed here"), "{}", told[5].1);
    assert_eq!(code, 3, "unknown findings remain");
    let (_, csv, _) = bench.ask(&["reconcile", &file, "--root", &root, "--format", "csv"]);
    assert_eq!(csv.lines().count(), 7);
    let (_, table, _) = bench.ask(&["reconcile", &file, "--root", &root]);
    assert!(table.contains("agree 2 · fixed by backport 1 · not installed 1 · unknown 2"), "{table}");
}

#[test]
fn when_every_finding_has_an_answer_the_exit_code_says_so() {
    let bench = Bench::new();
    bench.write("trivy.json", &trivy(&[found("CVE-2026-0001", "libfix1", "2.0-1+deb12u3")]));
    let (code, _, _) = bench.ask(&["reconcile", &bench.path("trivy.json"), "--root", &bench.path("root")]);
    assert_eq!(code, 0);
}

#[test]
fn the_vex_silences_what_is_no_finding_and_nothing_else() {
    let bench = Bench::new();
    let report = trivy(&[
        found("CVE-2026-0002", "web", "1.0-1"),
        found("CVE-2026-0001", "libfix1", "2.0-1+deb12u3"),
        found("CVE-2026-0001", "absent", "1"),
        found("CVE-2026-9999", "web", "1.0-1"),
    ]);
    bench.write("trivy.json", &report);
    let vex = bench.path("out.vex.json");
    bench.ask(&["reconcile", &bench.path("trivy.json"), "--root", &bench.path("root"), "--write-vex", &vex]);
    let vex: Value = serde_json::from_slice(&fs::read(vex).unwrap()).unwrap();
    let mut told: Vec<(String, String)> = vex["statements"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["status"].as_str().unwrap().to_owned(), s["products"][0]["@id"].as_str().unwrap().to_owned()))
        .collect();
    told.sort();
    let status: Vec<&str> = told.iter().map(|(status, _)| status.as_str()).collect();
    assert_eq!(status, ["affected", "fixed", "not_affected", "under_investigation"]);
    assert_eq!(told[1].1, "pkg:deb/debian/libfix1@2.0-1+deb12u3?arch=amd64&distro=debian-12", "as the scanner itself names it");
}

#[test]
fn csv_and_sarif_give_the_same_answers_as_json() {
    let bench = Bench::new();
    bench.write("a.csv", "CVE,Package,Version,Type\nCVE-2026-0001,libfix1,2.0-1+deb12u3,deb\nCVE-2026-0002,web,1.0-1,deb\n");
    let results: Vec<Value> = [("CVE-2026-0001", "libfix1", "2.0-1+deb12u3"), ("CVE-2026-0002", "web", "1.0-1")]
        .into_iter()
        .map(|(id, package, version)| {
            let text = format!("Package: {package}\nInstalled Version: {version}\nVulnerability {id}\nSeverity: LOW\nFixed Version: ");
            json!({"ruleId": id, "message": {"text": text}})
        })
        .collect();
    let sarif = json!({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": "Trivy", "rules": []}}, "results": results}]});
    bench.write("a.sarif", &sarif.to_string());
    for file in ["a.csv", "a.sarif"] {
        let (code, value) = bench.json(&["reconcile", &bench.path(file), "--root", &bench.path("root")]);
        let answers: Vec<&str> = value["data"]["answers"].as_array().unwrap().iter().map(|a| a["answer"].as_str().unwrap()).collect();
        assert_eq!((code, answers), (0, vec!["fixed-by-backport", "agree"]), "{file}");
    }
    bench.write("bad.csv", "when,what\n1,2\n");
    let (code, _, errors) = bench.ask(&["reconcile", &bench.path("bad.csv"), "--root", &bench.path("root")]);
    assert!(code == 2 && errors.contains("names no column for the vulnerability"), "{code} {errors}");
}

#[test]
fn two_roots_differ_in_packages_and_findings_and_a_pipeline_can_fail_on_what_opened() {
    let bench = Bench::new();
    bench.root("after", &STATUS.replace("Version: 1.0-1", "Version: 1.0-2").replace("2.0-1+deb12u3", "2.0-1+deb12u1"));
    let (a, b) = (bench.path("root"), bench.path("after"));
    let (code, value) = bench.json(&["diff", &a, &b, "--fail-on", "opened"]);
    let diff = &value["data"]["diff"];
    assert_eq!(diff["changed"].as_array().unwrap().len(), 2);
    let ids = |list: &Value| list.as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        (ids(&diff["opened"]), ids(&diff["closed"])),
        (vec!["CVE-2026-0001".into()], vec!["CVE-2026-0002".into(), "CVE-2026-0003".into()])
    );
    assert_eq!(diff["opened"][0]["why"], "fixed changed from 2.0-1+deb12u3 to 2.0-1+deb12u1");
    assert_eq!(diff["closed"][0]["why"], "web changed from 1.0-1 to 1.0-2; the fix came with 1.0-2");
    // The feed knows fixes only, so something always stays open; the reason for failing is said all the same.
    let (_, _, errors) = bench.ask(&["diff", &a, &b, "--fail-on", "opened"]);
    assert!(code == 3 && errors.contains("fails: CVE-2026-0001 in fixed"), "{code} {errors}");
    let (_, csv, _) = bench.ask(&["diff", &a, &b, "--format", "csv"]);
    assert!(csv.contains("changed,package,web,web,amd64,1.0-1,1.0-2,"), "{csv}");
}

#[test]
fn a_saved_scan_and_a_root_compare_and_days_tell_what_was_known_when() {
    let bench = Bench::new();
    let root = bench.path("root");
    let (_, saved, _) = bench.ask(&["scan", "--root", &root, "--advisories-only", "--format", "json"]);
    bench.write("saved.json", &saved);
    let (_, value) = bench.json(&["diff", &bench.path("saved.json"), &root]);
    let diff = &value["data"]["diff"];
    for list in ["added", "removed", "changed", "opened", "closed"] {
        assert_eq!(diff[list].as_array().unwrap().len(), 0, "{list}: {diff}");
    }
    assert_eq!(diff["kept"], 2);
    // Before DSA-5002 nothing was known against web.
    let (_, value) = bench.json(&["diff", &root, "--as-of", "2026-02-10"]);
    let opened = value["data"]["diff"]["opened"].as_array().unwrap();
    assert_eq!(opened.len(), 2);
    assert_eq!(opened[0]["why"], "the vendor did not say so before (DSA-5002-1)");
    let (_, value) = bench.json(&["diff", &root, "--as-of", "2026-02-11"]);
    assert_eq!(value["data"]["diff"]["kept"], 2, "the day of publication counts as known");
    for wrong in
        [vec!["diff", &root], vec!["diff", &root, "--as-of", "yesterday"], vec!["diff", &bench.path("saved.json"), "--as-of", "2026-01-01"]]
    {
        assert_eq!(bench.ask(&wrong).0, 2, "{wrong:?}");
    }
}

#[test]
fn an_sbom_and_an_image_of_a_root_compare_equal_to_the_root() {
    let bench = Bench::new();
    let root = bench.path("root");
    let (_, spdx, _) = bench.ask(&["scan", "--root", &root, "--advisories-only", "--format", "spdx"]);
    bench.write("root.spdx.json", &spdx);
    let tar = Command::new("tar").args(["-C", &root, "-cf", &bench.path("root.tar"), "."]).status().unwrap();
    assert!(tar.success());
    for other in ["root.spdx.json", "root.tar"] {
        let (_, value) = bench.json(&["diff", &root, &bench.path(other)]);
        let diff = &value["data"]["diff"];
        for list in ["added", "removed", "changed", "opened", "closed"] {
            assert_eq!(diff[list].as_array().unwrap().len(), 0, "{other}: {list}: {diff}");
        }
        assert_eq!(diff["kept"], 2, "source packages survive the way through {other}");
    }
    let (_, value) = bench.json(&["diff", &bench.path("root.tar"), &bench.path("root.tar")]);
    assert_eq!(value["data"]["diff"]["kept"], 2, "both sides may be images");
}
