//! House rules that a compiler does not check: layers, file sizes, openings, left-overs.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Longest source file, in lines.
const LINES_MAX: usize = 800;
/// Layers from the bottom up; a crate may depend on lower layers only.
const LAYERS: &[&[&str]] = &[
    &["fother-core"],
    &["fother-store", "fother-feeds", "fother-lab", "fother-sim"],
    &["fother-host"],
    &["fother-agent", "fother-server"],
    &["fother"],
];

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn dependencies_point_downwards() {
    let level = |name: &str| LAYERS.iter().position(|layer| layer.contains(&name));
    let mut seen = 0;
    for entry in fs::read_dir(workspace().join("crates")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let mine = level(&name).unwrap_or_else(|| panic!("{name} stands in no layer"));
        let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
        let normal = manifest.split("[dev-dependencies]").next().unwrap();
        for line in normal.lines().filter(|line| line.starts_with("fother-")) {
            let other = line.split(['.', ' ', '=']).next().unwrap();
            assert!(level(other).unwrap() < mine, "{name} may not depend on {other}");
            seen += 1;
        }
    }
    assert!(seen > 8, "only {seen} dependencies were looked at");
}

#[test]
fn files_open_with_a_sentence_and_stay_small() {
    let mut files = Vec::new();
    sources(&workspace().join("crates"), &mut files);
    assert!(files.len() > 50);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("//! "), "{} does not open with a sentence on its subject", file.display());
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines; find its seam", file.display());
    }
}

#[test]
fn nothing_is_left_over() {
    let mut files = Vec::new();
    sources(&workspace().join("crates"), &mut files);
    let words =
        [concat!("todo", "!("), concat!("unimple", "mented!("), concat!("db", "g!("), concat!("FIX", "ME"), concat!("#[ig", "nore]")];
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for word in words {
            assert!(!text.contains(word), "{} contains {word}", file.display());
        }
    }
}
