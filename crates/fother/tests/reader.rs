//! The process that reads foreign bytes: what it does not survive is named, the rest is reported, and nobody else stands in for it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::cast_possible_truncation)]

use std::{fs, process::Command};

const NDB: &str = "usr/lib/sysimage/rpm/Packages.db";
/// Address space that the program gets here, in KiB: a small machine.
const SMALL_KIB: u32 = 700_000;

/// An rpm database whose slots all name the same blob of 60 MiB of nothing: small on the disk, 2 GiB when it is read.
fn bomb() -> (Vec<u8>, u64) {
    let mut bytes = b"RpmP".to_vec();
    for number in [0_u32, 0, 1, 3, 0, 0, 0] {
        bytes.extend(number.to_le_bytes());
    }
    while bytes.len() < 4096 {
        bytes.extend(b"Slot");
        for number in [1_u32, 4096 / 16, 8] {
            bytes.extend(number.to_le_bytes());
        }
    }
    bytes.extend(b"BlbS");
    for number in [1_u32, 0, 60 << 20] {
        bytes.extend(number.to_le_bytes());
    }
    let len = bytes.len() as u64 + (60 << 20);
    (bytes, len)
}

#[test]
fn a_file_that_ends_its_reader_is_named_and_the_rest_is_reported() {
    let keep = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = keep.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    let list = "[11 Feb 2026] DSA-5002-1 web - security update\n\t{CVE-2026-0002}\n\t[bookworm] - web 1.0-2\n";
    write("in/DSA.list", list.as_bytes());
    write("root/etc/os-release", b"ID=alpine\nVERSION_ID=3.19.1\n");
    write("root/lib/apk/db/installed", b"P:musl\nV:1.2.4-r2\nA:x86_64\no:musl\n\n");
    let path = |path: &str| keep.path().join(path).display().to_string();
    let fother = env!("CARGO_BIN_EXE_fother");
    let imported = Command::new(fother).args(["feeds", "import", &path("in"), "--dir", &path("feeds")]).status().unwrap();
    assert!(imported.success());
    let scan = || {
        let line = format!(
            "ulimit -v {SMALL_KIB}; exec {fother} scan --root {} --db {}/advisories.db --advisories-only --feed-max-age 99999",
            path("root"),
            path("feeds")
        );
        let output = Command::new("sh").args(["-c", &line]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (_, alone, _) = scan();
    assert!(alone.contains("1 packages"), "{alone}");

    let (bytes, len) = bomb();
    write(&format!("root/{NDB}"), &bytes);
    fs::OpenOptions::new().write(true).open(keep.path().join("root").join(NDB)).unwrap().set_len(len).unwrap();
    let (code, out, errors) = scan();
    assert_eq!(code, Some(3), "{out} {errors}");
    assert!(errors.contains(NDB) && errors.contains("ended its reader"), "{errors}");
    assert!(out.contains("1 packages"), "apk's packages are reported all the same: {out}");
    assert!(out.contains("could not tell: rpm's packages") && out.contains(NDB), "{out}");
}

#[test]
fn a_made_up_order_to_the_reader_is_refused() {
    for order in ["", "x", "{\"place\":9999,\"left_out\":[],\"work\":null}"] {
        let output = Command::new(env!("CARGO_BIN_EXE_fother")).args(["scan"]).env("FOTHER_READER", order).output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
