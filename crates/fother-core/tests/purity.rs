//! The core and the simulator over it stay free of I/O, clocks, randomness and async.

use std::{fs, path::Path};

const FORBIDDEN: &[&str] = &[
    "std::fs",
    "std::net",
    "std::process",
    "std::env",
    "std::io",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "Zoned::now",
    "getrandom",
    "rand::",
    "async fn",
    ".await",
    "tokio",
    "println!",
    "eprintln!",
    "unsafe {",
    "unsafe fn",
    "unsafe impl",
];

#[test]
fn no_source_file_touches_the_world() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut open = vec![crates.join("fother-core/src"), crates.join("fother-sim/src")];
    let mut files = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let code = line.split("//").next().unwrap();
            for word in FORBIDDEN {
                assert!(!code.contains(word), "{}:{}: the core may not use `{word}`", path.display(), number + 1);
            }
        }
        files += 1;
    }
    assert!(files > 10, "the test looked at {files} files only");
}
