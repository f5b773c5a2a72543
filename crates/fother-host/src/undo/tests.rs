//! Unit tests of the undo archive, in directories of their own; they need no root.

use super::*;
use crate::manifest::{Manifest, Options, Strictness};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::Path,
};

fn look(root: &Path) -> Manifest {
    Manifest::take(root, &Options { skip_exempt: false, ..Options::default() }).unwrap()
}

struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        for sub in ["usr/lib", "etc/app", "var/lib/dpkg/info"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        symlink("usr/lib", root.join("lib")).unwrap();
        fs::write(root.join("usr/lib/one"), "one").unwrap();
        fs::hard_link(root.join("usr/lib/one"), root.join("usr/lib/one-again")).unwrap();
        fs::write(root.join("etc/app/conf"), "old").unwrap();
        fs::set_permissions(root.join("etc/app/conf"), fs::Permissions::from_mode(0o4640)).unwrap();
        symlink("conf", root.join("etc/app/link")).unwrap();
        fs::write(root.join("var/lib/dpkg/info/a.list"), "a").unwrap();
        Self { dir }
    }
    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
    fn archive(&self) -> PathBuf {
        self.dir.path().join("archive")
    }
    fn capture(&self) {
        let paths = ["/lib/one", "/lib/one-again", "/etc/app/conf", "/etc/app/link", "/usr/lib/new/deep", "/var/lib/dpkg/**"];
        capture(&self.root(), &paths.map(str::to_owned), &self.archive()).unwrap();
    }
    fn upgrade(&self) {
        let root = self.root();
        fs::remove_file(root.join("usr/lib/one")).unwrap();
        fs::write(root.join("usr/lib/one"), "two").unwrap();
        fs::create_dir_all(root.join("usr/lib/new")).unwrap();
        fs::write(root.join("usr/lib/new/deep"), "x").unwrap();
        fs::write(root.join("etc/app/conf"), "new").unwrap();
        fs::set_permissions(root.join("etc/app/conf"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::remove_file(root.join("etc/app/link")).unwrap();
        fs::create_dir(root.join("etc/app/link")).unwrap();
        fs::remove_dir(root.join("etc/app/link")).unwrap();
        fs::remove_file(root.join("var/lib/dpkg/info/a.list")).unwrap();
        fs::create_dir(root.join("var/lib/dpkg/tmp.ci")).unwrap();
        fs::write(root.join("var/lib/dpkg/tmp.ci/control"), "y").unwrap();
    }
}

#[test]
fn everything_is_back_exactly_and_a_second_run_does_nothing() {
    let bench = Bench::new();
    let before = look(&bench.root());
    bench.capture();
    bench.upgrade();
    seal(&bench.root(), &bench.archive()).unwrap();
    assert_ne!(verify(&bench.root(), &bench.archive()).unwrap(), Vec::<String>::new());
    restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap();
    assert_eq!(before.diff(&look(&bench.root()), Strictness::Tree), []);
    assert_eq!(before.digest().unwrap(), look(&bench.root()).digest().unwrap());
    assert_eq!(verify(&bench.root(), &bench.archive()).unwrap(), Vec::<String>::new());
    let (one, again) = (bench.root().join("usr/lib/one"), bench.root().join("usr/lib/one-again"));
    assert_eq!(fs::metadata(one).unwrap().ino(), fs::metadata(again).unwrap().ino());
    assert!(restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap().already);
}

#[test]
fn what_was_left_alone_is_still_named_when_a_killed_undo_is_run_again() {
    let bench = Bench::new();
    bench.capture();
    bench.upgrade();
    seal(&bench.root(), &bench.archive()).unwrap();
    fs::write(bench.root().join("etc/app/conf"), "mine").unwrap();
    let first = restore(&bench.root(), &bench.archive(), OnConflict::Leave).unwrap();
    assert_eq!((first.already, &first.left[..]), (false, &["/etc/app/conf".to_owned()][..]));
    let again = restore(&bench.root(), &bench.archive(), OnConflict::Leave).unwrap();
    assert_eq!((again.already, again.left), (true, first.left));
}

#[test]
fn what_others_wrote_since_is_refused_then_left_or_overwritten_as_told() {
    for choice in [OnConflict::Leave, OnConflict::Overwrite] {
        let bench = Bench::new();
        let before = look(&bench.root());
        bench.capture();
        bench.upgrade();
        seal(&bench.root(), &bench.archive()).unwrap();
        fs::write(bench.root().join("etc/app/conf"), "mine").unwrap();
        let upgraded = look(&bench.root());
        let refused = restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap_err();
        assert!(matches!(&refused, UndoError::Conflicts(list) if list.len() == 1 && list[0].path == "/etc/app/conf"), "{refused}");
        assert_eq!(upgraded.diff(&look(&bench.root()), Strictness::Written), []);
        let report = restore(&bench.root(), &bench.archive(), choice).unwrap();
        let now = fs::read_to_string(bench.root().join("etc/app/conf")).unwrap();
        if choice == OnConflict::Leave {
            assert_eq!((report.left, now.as_str()), (vec!["/etc/app/conf".to_owned()], "mine"));
        } else {
            assert_eq!(now, "old");
            assert_eq!(before.diff(&look(&bench.root()), Strictness::Tree), []);
        }
    }
}

#[test]
fn pre_images_are_never_captured_twice_and_an_altered_archive_is_refused() {
    let bench = Bench::new();
    bench.capture();
    assert!(matches!(capture(&bench.root(), &[], &bench.archive()), Err(UndoError::Exists(_))));
    bench.upgrade();
    let manifest = bench.archive().join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap().replace("\"mode\":2464", "\"mode\":2559");
    fs::write(&manifest, text).unwrap();
    assert!(matches!(restore(&bench.root(), &bench.archive(), OnConflict::Refuse), Err(UndoError::Damaged { .. })));
}

#[test]
fn content_that_does_not_match_its_hash_is_not_put_back() {
    let bench = Bench::new();
    bench.capture();
    bench.upgrade();
    let blob = bench.archive().join("blobs").join(fother_core::Digest::of_file(b"old").hex());
    fs::write(&blob, "evil").unwrap();
    let error = restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap_err();
    assert!(matches!(&error, UndoError::Incomplete(list) if list.len() == 1 && list[0].starts_with("/etc/app/conf")), "{error}");
    assert_eq!(fs::read_to_string(bench.root().join("etc/app/conf")).unwrap(), "new");
    fs::write(&blob, "old").unwrap();
    restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap();
    assert_eq!(verify(&bench.root(), &bench.archive()).unwrap(), Vec::<String>::new());
}

#[test]
fn what_is_counted_as_compared_was_read_anew_whoever_put_it_back() {
    let bench = Bench::new();
    bench.capture();
    bench.upgrade();
    let before = compare(&bench.root(), &bench.archive()).unwrap();
    assert!(before.paths > 0 && !before.differences.is_empty());
    restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap();
    let first = compare(&bench.root(), &bench.archive()).unwrap();
    let again = restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap();
    assert_eq!((again.restored, again.removed), (0, 0), "a resumed restoration has nothing left to do");
    let second = compare(&bench.root(), &bench.archive()).unwrap();
    assert_eq!(first, second);
    let captured = paths(&bench.archive()).unwrap().len() as u64;
    assert!(second.differences.is_empty() && second.paths >= captured, "{} of {captured}", second.paths);
    fs::write(bench.root().join("etc/app/conf"), "old").unwrap();
    let differs = compare(&bench.root(), &bench.archive()).unwrap();
    assert_eq!(differs.differences.len(), 1, "its time: {:?}", differs.differences);
}

#[test]
fn what_the_transaction_did_not_touch_is_neither_a_conflict_nor_put_back() {
    let bench = Bench::new();
    bench.capture();
    fs::write(bench.root().join("etc/app/conf"), "new").unwrap();
    seal(&bench.root(), &bench.archive()).unwrap();
    let time = |path: &str| fs::metadata(bench.root().join(path)).unwrap().modified().unwrap();
    let in_place = time("etc/app");
    fs::write(bench.root().join("usr/lib/one"), "somebody else's").unwrap();
    fs::write(bench.root().join("var/lib/dpkg/info/later.list"), "later").unwrap();
    assert_eq!(conflicts(&bench.root(), &bench.archive()).unwrap(), []);
    restore(&bench.root(), &bench.archive(), OnConflict::Refuse).unwrap();
    assert_eq!(fs::read_to_string(bench.root().join("etc/app/conf")).unwrap(), "old");
    assert_eq!(fs::read_to_string(bench.root().join("usr/lib/one-again")).unwrap(), "somebody else's");
    assert_eq!(time("etc/app"), in_place, "a directory that the transaction did not touch keeps its time");
    assert!(bench.root().join("var/lib/dpkg/info/later.list").exists());
    assert_eq!(verify(&bench.root(), &bench.archive()).unwrap(), Vec::<String>::new());
}
