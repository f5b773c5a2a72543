//! The command line from feeds to a failing pipeline, on a root directory of its own.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const STATUS: &str = "Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n\n\
    Package: =cmd\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";
const LIST: &str = "[11 Feb 2026] DSA-5002-1 web - security update\n\t{CVE-2026-0002 CVE-2026-0003}\n\t[bookworm] - web 1.0-2\n";
const KEV: &str = r#"{"dateReleased":"2026-02-15T00:00:00Z","vulnerabilities":[{"cveID":"CVE-2026-0003","vulnerabilityName":"t","dateAdded":"2026-02-15","dueDate":"2026-03-01"}]}"#;

struct Bench {
    keep: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { keep: tempfile::tempdir().unwrap() };
        bench.write("root/var/lib/dpkg/status", STATUS);
        bench.write("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
        bench.write("in/DSA.list", LIST);
        let output = bench.run(&["feeds", "import", &bench.path("in"), "--dir", &bench.path("feeds")]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        bench
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

    fn scan(&self, more: &[&str]) -> (i32, String, String) {
        let (root, db) = (self.path("root"), self.path("feeds/advisories.db"));
        let mut arguments = vec!["scan", "--root", &root, "--db", &db, "--feed-max-age", "100000"];
        arguments.extend(more);
        let output = self.run(&arguments);
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

#[test]
fn a_pipeline_fails_on_what_is_new_and_only_on_that() {
    let bench = Bench::new();
    let (_, json, _) = bench.scan(&["--advisories-only", "--format", "json"]);
    let value: Value = serde_json::from_str(&json).unwrap();
    let findings = value["data"]["assessment"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2);
    assert_eq!((findings[0]["id"].as_str(), findings[0]["fixed"].as_str()), (Some("CVE-2026-0002"), Some("1.0-2")));
    assert_eq!(value["feeds"][0]["name"], "debian-list/DSA.list", "every report names its feeds");
    assert!(value["unknown"].as_array().unwrap().iter().any(|why| why.as_str().unwrap().contains("=cmd")), "what cannot be read is named");
    bench.write("accepted.json", &json);
    let accepted = bench.path("accepted.json");

    let (code, _, errors) = bench.scan(&["--advisories-only", "--fail-on", "vulnerable"]);
    assert!(code == 3 && errors.contains("fails: CVE-2026-0002 in web 1.0-1"), "{code} {errors}");
    let (_, _, errors) = bench.scan(&["--advisories-only", "--fail-on", "vulnerable", "--baseline", &accepted]);
    assert!(!errors.contains("fails:"), "{errors}");
    // A newer list closes one more: only that is new.
    bench.write(
        "in/DSA.list",
        &format!("[12 Feb 2026] DSA-5003-1 web - security update\n\t{{CVE-2026-0009}}\n\t[bookworm] - web 1.0-3\n{LIST}"),
    );
    bench.write("in/kev.json", KEV);
    bench.run(&["feeds", "import", &bench.path("in"), "--dir", &bench.path("feeds")]);
    let (_, _, errors) = bench.scan(&["--advisories-only", "--fail-on", "vulnerable", "--baseline", &accepted]);
    assert_eq!(errors.matches("fails:").count(), 1, "{errors}");
    assert!(errors.contains("CVE-2026-0009"));
    let (_, _, errors) = bench.scan(&["--advisories-only", "--fail-on", "kev"]);
    assert!(errors.contains("CVE-2026-0003") && errors.matches("fails:").count() == 1, "{errors}");
    let (code, ..) = bench.scan(&["--advisories-only", "--fail-on", "kev", "--baseline", &bench.path("in/kev.json")]);
    assert_eq!(code, 2, "a baseline that is none is wrong usage, not an empty one");
}

#[test]
fn a_vulnerability_an_advisory_and_a_package_are_explained_to_the_last_fact() {
    let bench = Bench::new();
    bench.write("in/kev.json", KEV);
    bench.run(&["feeds", "import", &bench.path("in"), "--dir", &bench.path("feeds")]);
    let (root, db) = (bench.path("root"), bench.path("feeds/advisories.db"));
    let explain = |what: &str, more: &[&str]| {
        let mut arguments = vec!["explain", what, "--root", &root, "--db", &db, "--exposed", "yes"];
        arguments.extend(more);
        let output = bench.run(&arguments);
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    // Of an update that closes several, the earliest deadline counts.
    let both = "due               2026-02-14 (cisa-bod-26-04, for CVE-2026-0002)";
    for (what, due) in
        [("CVE-2026-0003", "due               2026-02-18 (cisa-bod-26-04, for CVE-2026-0003)"), ("DSA-5002-1", both), ("web", both)]
    {
        let (code, text) = explain(what, &[]);
        assert_eq!(code, 3, "the feeds are old: {text}");
        for fact in [
            "CVE-2026-0003 in web 1.0-1",
            "1.0-1 sorts before 1.0-2",
            "fix published?    1.0-2, 2026-02-11 DSA-5002-1",
            "90.0 %: known to be exploited since 2026-02-15",
            "says who          debian-list/DSA.list",
            "update web 1.0-1 → 1.0-2",
            due,
            "not known, so the stricter branch was taken: automatable, technical impact",
            "could not tell: feed debian-list/DSA.list: its newest entry is of 2026-02-11",
        ] {
            assert!(text.contains(fact), "{what}: `{fact}` is not in\n{text}");
        }
        let (_, json) = explain(what, &["--format", "json"]);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["data"]["queue"]["updates"][0]["source"], "web", "{what}");
    }
    let (_, text) = explain("CVE-2026-0003", &[]);
    assert!(text.contains("exploited since   2026-02-15 (CISA; due 2026-03-01)") && !text.contains("CVE-2026-0002"), "{text}");
    let (_, text) = explain("CVE-2099-0001", &[]);
    assert!(text.contains("no finding on this machine, and no feed knows a vulnerability of this name"), "{text}");
    let output = bench.run(&["explain", "web", "--fleet", "--run-dir", &bench.path("none")]);
    assert_eq!(output.status.code(), Some(5), "no server answers there: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn packages_from_archives_of_others_are_named_with_their_origin_and_not_judged() {
    let bench = Bench::new();
    bench.write("root/etc/apt/sources.list", "deb http://archive.test/debian bookworm main\ndeb http://else.test/apt stable main\n");
    let lists = |archive: &str, origin: &str, suite: &str, packages: &str| {
        let base = format!("root/var/lib/apt/lists/{archive}_dists_{suite}");
        let head = format!("Origin: {origin}\nLabel: {origin}\nSuite: {suite}\nCodename: {suite}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n");
        bench.write(&format!("{base}_InRelease"), &format!("{head}SHA256:\n {} 0 main/x\n", "0".repeat(64)));
        bench.write(&format!("{base}_main_binary-amd64_Packages"), packages);
    };
    let stanza = |version: &str| {
        format!("Package: web\nVersion: {version}\nArchitecture: amd64\nFilename: pool/web.deb\nSize: 1\nSHA256: {}\n\n", "0".repeat(64))
    };
    lists("archive.test_debian", "Debian", "bookworm", &stanza("0.9-1"));
    lists("else.test_apt", "Somebody Else", "stable", &stanza("1.0-1"));
    let (code, json, errors) = bench.scan(&["--format", "json"]);
    let value: Value = serde_json::from_str(&json).unwrap_or_else(|_| panic!("{errors}"));
    let named = value["data"]["not_assessed"].as_array().unwrap();
    let web = named.iter().find(|one| one["name"] == "web").unwrap_or_else(|| panic!("{value}"));
    assert_eq!(web["why"], "from the archive of Somebody Else: the distribution's advisories do not speak of it");
    assert_eq!((value["data"]["assessment"]["findings"].as_array().map(Vec::len), code), (Some(0), 3));
    // The same version in the distribution's own archive is the distribution's.
    lists("archive.test_debian", "Debian", "bookworm", &stanza("1.0-1"));
    let (_, json, _) = bench.scan(&["--format", "json"]);
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["data"]["assessment"]["findings"].as_array().map(Vec::len), Some(2));
}

#[test]
fn every_form_is_well_formed_and_other_commands_refuse_them() {
    let bench = Bench::new();
    for (form, place, count) in [("sarif", "/runs/0/results", 2), ("cyclonedx", "/vulnerabilities", 2), ("openvex", "/statements", 2)] {
        let (_, text, errors) = bench.scan(&["--advisories-only", "--format", form]);
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{form}: {error} {errors}"));
        assert_eq!(value.pointer(place).unwrap().as_array().unwrap().len(), count, "{form}");
    }
    let (_, csv, _) = bench.scan(&["--advisories-only", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 3);
    let (_, table, _) = bench.scan(&["--advisories-only"]);
    assert!(table.contains("vulnerable 2 · fix published 2"), "{table}");
    assert_eq!(bench.run(&["--format", "sarif", "feeds", "status", "--dir", &bench.path("feeds")]).status.code(), Some(2));
    assert_eq!(bench.run(&["scan", "--db", &bench.path("none"), "--root", &bench.path("root")]).status.code(), Some(5));
}

#[test]
fn lock_files_and_sboms_are_scanned_in_place_of_a_root() {
    let bench = Bench::new();
    let sbom = r#"{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"web","purl":"pkg:deb/debian/web@1.0-1?arch=amd64&distro=debian-12"}]}"#;
    bench.write("sbom.json", sbom);
    let (file, db) = (bench.path("sbom.json"), bench.path("feeds/advisories.db"));
    let output = bench.run(&["scan", "--file", &file, "--db", &db, "--format", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["data"]["assessment"]["findings"].as_array().unwrap().len(), 2);
    bench.write("garbage.json", "{");
    let output = bench.run(&["scan", "--file", &bench.path("garbage.json"), "--db", &db]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Two advisories of the Open Source Vulnerability schema.
const OSV: &str = r#"{"id":"PYSEC-2026-1","published":"2026-02-10T00:00:00Z","modified":"2026-02-10T00:00:00Z","aliases":["CVE-2026-0101"],"summary":"x","affected":[{"package":{"ecosystem":"PyPI","name":"jinja2"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"2.10.1"}]}]}]}
{"id":"GHSA-x","published":"2026-02-10T00:00:00Z","modified":"2026-02-10T00:00:00Z","aliases":["CVE-2026-0102"],"summary":"y","affected":[{"package":{"ecosystem":"Maven","name":"g:a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"0"},{"fixed":"1.0.0-rc2"}]}]}]}
"#;

#[test]
fn language_packages_of_a_root_are_judged_and_those_of_the_distribution_only_by_it() {
    let bench = Bench::new();
    bench.write("in/osv.json", OSV);
    bench.run(&["feeds", "import", &bench.path("in"), "--dir", &bench.path("feeds")]);
    bench.write("root/srv/Jinja2-2.10.dist-info/METADATA", "Name: Jinja2\nVersion: 2.10\n");
    bench.write("root/usr/lib/python3/jinja2-2.9.dist-info/METADATA", "Name: jinja2\nVersion: 2.9\n");
    bench.write("root/var/lib/dpkg/info/web.list", "/usr/lib/python3/jinja2-2.9.dist-info/METADATA\n");
    bench.write("root/srv/broken.jar", "no zip");
    let (code, json, errors) = bench.scan(&["--format", "json", "--fail-on", "vulnerable"]);
    let value: Value = serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let findings = value["data"]["assessment"]["findings"].as_array().unwrap();
    let jinja: Vec<_> = findings.iter().filter(|f| f["source"] == "jinja2").collect();
    assert_eq!(jinja.len(), 1, "{jinja:#?}");
    assert_eq!((&jinja[0]["fixed"], &jinja[0]["places"][0]), (&"2.10.1".into(), &"/srv/Jinja2-2.10.dist-info/METADATA".into()));
    assert_eq!(value["data"]["languages"]["of_packages"], 1);
    assert!(
        value["unknown"].as_array().unwrap().iter().any(|why| why.as_str().unwrap().starts_with("/srv/broken.jar")),
        "{}",
        value["unknown"]
    );
    assert_eq!(code, 3, "what is broken gates");
    assert!(errors.contains("fails: CVE-2026-0101 in jinja2 2.10"), "{errors}");
    for switch in ["--packages-only", "--advisories-only"] {
        let (_, json, _) = bench.scan(&["--format", "json", switch]);
        let value: Value = serde_json::from_str(&json).unwrap();
        assert!(value["data"]["languages"].is_null(), "{switch} walks nothing");
    }
}

#[test]
fn a_root_without_a_distribution_and_a_source_tree_are_judged_by_what_is_there() {
    let bench = Bench::new();
    bench.write("in/osv.json", OSV);
    bench.run(&["feeds", "import", &bench.path("in"), "--dir", &bench.path("feeds")]);
    bench.write("bare/app/Jinja2-2.10.dist-info/METADATA", "Name: Jinja2\nVersion: 2.10\n");
    let db = bench.path("feeds/advisories.db");
    let output = bench.run(&["scan", "--root", &bench.path("bare"), "--db", &db, "--format", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["data"]["assessment"]["findings"].as_array().unwrap().len(), 1);
    assert_eq!(output.status.code(), Some(3), "that there is no package database is not passed over");
    bench.write("tree/gradle.lockfile", "g:a:1.0.0-rc1=runtimeClasspath\ng:a:1.0.0=testClasspath\n");
    bench.write("tree/node_modules/x/package-lock.json", "{");
    let output = bench.run(&["scan", "--file", &bench.path("tree"), "--db", &db, "--format", "json"]);
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = value["data"]["assessment"]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "a candidate is older than its release: {findings:#?}");
    assert_eq!(findings[0]["places"][0], "/gradle.lockfile");
    assert_eq!(bench.run(&["scan", "--file", &bench.path("root"), "--db", &db]).status.code(), Some(2), "no lock file in it");
}

/// A statement by somebody who is not the vendor.
fn statement(status: &str) -> String {
    let more = if status == "not_affected" { r#","justification":"vulnerable_code_not_present""# } else { "" };
    format!(
        r#"{{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://team.example/vex/1","author":"Web team","timestamp":"2026-02-20T00:00:00Z","version":1,
        "statements":[{{"vulnerability":{{"name":"CVE-2026-0002"}},"products":[{{"@id":"pkg:deb/debian/web@1.0-1"}}],"status":"{status}"{more}}}]}}"#
    )
}

#[test]
fn a_statement_counts_only_where_its_user_names_it_and_is_shown() {
    let bench = Bench::new();
    bench.write("team.vex.json", &statement("not_affected"));
    let ids = |json: &str| {
        let value: Value = serde_json::from_str(json).unwrap();
        let findings = value["data"]["assessment"]["findings"].as_array().unwrap().clone();
        findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_, json, _) = bench.scan(&["--advisories-only", "--format", "json"]);
    assert_eq!(ids(&json), ["CVE-2026-0002", "CVE-2026-0003"]);
    let file = bench.path("team.vex.json");
    let (_, json, errors) = bench.scan(&["--advisories-only", "--format", "json", "--vex", &file]);
    assert_eq!(ids(&json), ["CVE-2026-0003"], "{errors}");
    assert!(json.contains("Web team") && json.contains("vulnerable_code_not_present"), "who said so, and why, is in the report: {json}");
    bench.write("team.vex.json", &statement("affected"));
    let (_, json, _) = bench.scan(&["--advisories-only", "--format", "json", "--vex", &file]);
    assert_eq!(ids(&json), ["CVE-2026-0002", "CVE-2026-0003"]);
    bench.write("team.vex.json", "{}");
    let (code, _, errors) = bench.scan(&["--advisories-only", "--vex", &file]);
    assert!(code == 2 && errors.contains("team.vex.json"), "{code}: {errors}");
}
