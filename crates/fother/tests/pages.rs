//! The page for newcomers, typed as it is printed: each `console` block of docs/pipeline.md is run, and every line compared.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// A line that holds this matches what begins and ends as it does.
const ANYTHING: &str = "…";

/// A command and the lines that the page shows below it.
type Step = (String, Vec<String>);

/// The steps of all `console` blocks: lines that begin with `$ ` and what stands below each.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match (line, line.strip_prefix("$ ")) {
            ("```console", _) => inside = true,
            ("```", _) => inside = false,
            (_, Some(command)) if inside => steps.push((command.to_owned(), Vec::new())),
            (_, None) if inside => steps.last_mut().unwrap().1.push(line.to_owned()),
            _ => {}
        }
    }
    steps
}

fn fits(expected: &str, found: &str) -> bool {
    match expected.split_once(ANYTHING) {
        Some((start, end)) => found.starts_with(start) && found.ends_with(end),
        None => expected == found,
    }
}

#[test]
fn every_step_of_the_page_for_newcomers_is_as_printed() {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/pipeline.md")).unwrap();
    let steps = steps(&page);
    assert!(steps.len() > 15, "only {} steps", steps.len());
    let dir = tempfile::tempdir().unwrap();
    let bin = Path::new(env!("CARGO_BIN_EXE_fother")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    // One shell for all steps, as a person has it; a mark ends each step's lines.
    let script: String = steps.iter().map(|(command, _)| format!("{command}\necho '--- end'\n")).collect();
    let mut shell = Command::new("bash");
    shell
        .arg("-c")
        .arg(format!("exec 2>&1\n{script}"))
        .current_dir(dir.path())
        .env("PATH", path)
        .env_remove("FOTHER_DB")
        .stdin(Stdio::null());
    let said = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let mut told = said.split("--- end\n");
    for (command, expected) in steps {
        let found: Vec<&str> = told.next().unwrap_or_default().lines().map(str::trim_end).collect();
        let same = expected.len() == found.len() && expected.iter().zip(&found).all(|(expected, found)| fits(expected, found));
        assert!(same, "$ {command}\nthe page says:\n{}\nthe program says:\n{}", expected.join("\n"), found.join("\n"));
    }
}
