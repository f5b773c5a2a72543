//! `fother policy` as a team uses it, and its schema as an editor does. Needs no root and no server.
//!
//! `FOTHER_PYTHON` names a Python with `jsonschema` (PyPI, `scripts/peers.sh`); where it is absent, its part is skipped with that reason.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/cmd/demo/policy");

fn fother(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fother")).args(arguments).env_remove("FOTHER_RUN_DIR").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The demo's policy in a directory of its own.
fn demo() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("policies")).unwrap();
    for file in ["fother.toml", "policies/archives.toml"] {
        fs::copy(Path::new(DEMO).join(file), dir.path().join(file)).unwrap();
    }
    dir
}

#[test]
fn the_demos_policy_is_fine_as_directory_and_as_file() {
    for at in [DEMO.to_owned(), format!("{DEMO}/fother.toml")] {
        let output = fother(&["policy", "check", &at]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
        let said = text(&output.stdout);
        assert!(said.contains("fother.toml, policies/archives.toml: fine") && said.contains("3 archives, 1 teams"), "{said}");
    }
    let json: Value = serde_json::from_slice(&fother(&["policy", "check", DEMO, "--format", "json"]).stdout).unwrap();
    assert_eq!(
        (&json["schema"], &json["data"]["policy"]["group"]["web"]["rollout"]["soak_s"]),
        (&"fother.policy-check/1".into(), &5.into())
    );
}

#[test]
fn faults_of_all_files_are_told_at_once_with_exit_code_2() {
    let dir = demo();
    fs::write(
        dir.path().join("policies/web.toml"),
        "[group.web]\nselect = 'true'\n[chekc.x]\n[freeze.now]\nreason = \"x\"\nform = 2026-01-01T00:00:00Z\n",
    )
    .unwrap();
    fs::write(dir.path().join("policies/.web.toml.swp"), [0xff]).unwrap();
    let at = dir.path().to_str().unwrap();
    let output = fother(&["policy", "check", at]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for words in [
        "policies/web.toml:1:8: group.web: declared a second time: it stands in fother.toml:3:8 already",
        "policies/web.toml:3:2: chekc: there is no section `chekc`",
        "did you mean `check`?",
        "policies/web.toml:6:1: freeze.now.form: there is no key `form` here",
        "did you mean `from`?",
    ] {
        assert!(said.contains(words), "`{words}` is not in {said}");
    }
    let output = fother(&["policy", "check", at, "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    let of = |key: &str| json["errors"].as_array().unwrap().iter().map(|fault| fault[key].clone()).collect::<Vec<_>>();
    assert!(of("line").contains(&3.into()) && of("meant").contains(&"check".into()), "{json:#}");
}

#[test]
fn a_directory_without_a_policy_and_bytes_that_are_no_text_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().to_str().unwrap();
    let output = fother(&["policy", "check", at]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("fother.toml cannot be read"), "{}", text(&output.stderr));
    fs::write(dir.path().join("fother.toml"), [b'[', 0xff]).unwrap();
    let output = fother(&["policy", "check", at]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("not UTF-8 from byte 1 on"), "{}", text(&output.stderr));
}

/// A policy's files as one JSON value, as an editor's plugin sees them.
fn as_json(files: &[&str]) -> Value {
    let mut whole = toml::Table::new();
    for file in files {
        for (section, entries) in file.parse::<toml::Table>().unwrap() {
            let into = whole.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
            into.as_table_mut().unwrap().extend(entries.as_table().unwrap().clone());
        }
    }
    serde_json::to_value(whole).unwrap()
}

/// What Python's jsonschema says about each policy; nothing where there is none.
fn judged(schema: &str, policies: &[Value]) -> Option<Vec<bool>> {
    let Ok(python) = std::env::var("FOTHER_PYTHON") else {
        eprintln!("skipped: FOTHER_PYTHON names no Python with jsonschema");
        return None;
    };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("schema.json"), schema).unwrap();
    fs::write(dir.path().join("policies.json"), serde_json::to_vec(policies).unwrap()).unwrap();
    let script = "import json,jsonschema\ns=json.load(open('schema.json'))\njsonschema.Draft202012Validator.check_schema(s)\n\
                  v=jsonschema.Draft202012Validator(s)\nprint(json.dumps([v.is_valid(p) for p in json.load(open('policies.json'))]))";
    let output = Command::new(python).args(["-c", script]).current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_schema_takes_the_demos_policy_and_refuses_unknown_keys() {
    let schema = text(&fother(&["policy", "schema"]).stdout);
    let read = |file: &str| fs::read_to_string(Path::new(DEMO).join(file)).unwrap();
    let (main, archives) = (read("fother.toml"), read("policies/archives.toml"));
    let good = as_json(&[&main, &archives]);
    let changed = |from: &str, to: &str| {
        assert!(main.contains(from), "{from}");
        as_json(&[&main.replacen(from, to, 1), &archives])
    };
    let policies = [
        good,
        changed("soak = \"5s\"", "soak_s = 5"),
        changed("approvals = { required = 1, from = [\"operators\"] }", "approvals = 1"),
        changed("window    = \"always\"", "window    = \"always\"\nwidnow = 1"),
        changed("soak = \"5s\"", "soak = \"5s\", soak_s = 5"),
        changed(", soak = \"5s\"", ""),
        changed("\"50%\"", "\"half\""),
        changed("checks    = [\"site\", \"nginx\"]", "checks    = []"),
        changed("kind   = \"http\"", "kind   = \"ftp\""),
        changed("[team.operators]", "[taem.operators]"),
        changed("required = 1", "requires = 1"),
    ];
    let Some(valid) = judged(&schema, &policies) else { return };
    assert_eq!(valid, [true, true, true, false, false, false, false, false, false, false, false]);
}
