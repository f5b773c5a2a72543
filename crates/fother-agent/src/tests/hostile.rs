//! A network half that is somebody else's: it sends whatever it likes and causes neither act nor write outside of the executor's store.

use super::harness::{Bench, DEB, txn};
use crate::{
    executor::Executor,
    ipc::{self, Answer, Request},
};
use fother_core::{Digest, directive::SignedDirective, protocol::Outcome};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
};

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(files(&path));
        }
        found.insert(path);
    }
    found
}

fn waiting(bench: &mut Bench) -> Executor {
    let parts = bench.good();
    let order = bench.apply_order(&parts, txn(1));
    let signed = bench.signed(order);
    let executor = bench.executor();
    assert!(matches!(executor.answer(&Request::Directive { signed }), Answer::Done));
    executor
}

#[test]
fn bytes_that_were_not_asked_for_and_names_that_climb_are_refused() {
    let mut bench = Bench::new();
    let executor = waiting(&mut bench);
    let before = files(bench.dir.path());
    let stranger = Digest::of_file(b"stranger");
    fs::write(bench.config.spool().join(stranger.hex()), b"stranger").unwrap();
    assert!(matches!(executor.answer(&Request::Delivered { digest: stranger }), Answer::Refused { .. }));
    fs::remove_file(bench.config.spool().join(stranger.hex())).unwrap();
    for name in ["../../../../etc/shadow", "sha256:../../x", "sha256:", "/etc/shadow"] {
        let text = format!(r#"{{"ask":"delivered","digest":"{name}"}}"#);
        assert!(serde_json::from_str::<Request>(&text).is_err(), "{name}");
    }
    for text in [r#"{"ask":"shell","command":"id"}"#, r#"{"ask":"acknowledge","number":1,"extra":1}"#, "[]", "null"] {
        assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
    }
    assert_eq!(files(bench.dir.path()), before);
}

#[test]
fn links_directories_pipes_and_a_linked_spool_are_not_followed() {
    let mut bench = Bench::new();
    let executor = waiting(&mut bench);
    let digest = *bench.served.keys().find(|digest| bench.served[digest] != DEB).unwrap();
    let name = bench.config.spool().join(digest.hex());
    let secret = bench.dir.path().join("secret");
    fs::write(&secret, &bench.served[&digest]).unwrap();
    let deliver = || executor.answer(&Request::Delivered { digest });

    symlink(&secret, &name).unwrap();
    assert!(matches!(deliver(), Answer::Refused { .. }));
    fs::remove_file(&name).unwrap();
    fs::create_dir(&name).unwrap();
    assert!(matches!(deliver(), Answer::Refused { .. }));
    fs::remove_dir(&name).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &name, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(deliver(), Answer::Refused { .. }));
    fs::remove_file(&name).unwrap();

    let elsewhere = bench.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::rename(&secret, elsewhere.join(digest.hex())).unwrap();
    fs::remove_dir_all(bench.config.spool()).unwrap();
    symlink(&elsewhere, bench.config.spool()).unwrap();
    assert!(matches!(deliver(), Answer::Refused { .. }));
    assert!(!executor.store.has(&digest));
}

#[test]
fn what_is_swapped_after_delivery_changes_nothing() {
    let mut bench = Bench::new();
    let executor = waiting(&mut bench);
    assert!(bench.deliver(&executor).is_empty());
    for entry in fs::read_dir(bench.config.spool()).unwrap() {
        fs::write(entry.unwrap().path(), b"evil").unwrap();
    }
    while executor.step().unwrap() {}
    assert!(matches!(bench.outcomes(&executor).last(), Some(Outcome::Verified { .. })));
    let deb = bench.config.transactions().join(txn(1).to_string()).join("debs").join(format!("{}.deb", Digest::of_file(DEB).hex()));
    assert_eq!(fs::read(deb).unwrap(), DEB);
}

#[test]
fn larger_files_than_named_are_refused_and_not_kept() {
    let mut bench = Bench::new();
    let executor = waiting(&mut bench);
    bench.served.insert(Digest::of_file(DEB), vec![0; DEB.len() + 1]);
    assert!(bench.deliver(&executor).iter().any(|why| why.contains("is larger")));
    assert!(files(&bench.config.data).iter().all(|path| path.extension().is_none_or(|extension| extension != "part")));
}

#[test]
fn forged_directives_flood_neither_queue_nor_reports() {
    let bench = Bench::new();
    let executor = bench.executor();
    for number in 0..500 {
        let signed = SignedDirective { directive: format!("{{\"forged\":{number}}}"), signature: "AAAA".to_owned() };
        assert!(matches!(executor.answer(&Request::Directive { signed }), Answer::Refused { .. }));
    }
    assert!(!executor.step().unwrap());
    assert!(Bench::reports(&executor).iter().all(|report| report.directive.is_none()));
    assert!(crate::executor::lock(&executor.keeper).get().reports.len() <= crate::executor::REFUSED_MAX);
    assert!(bench.acts().is_empty());
}

#[test]
fn huge_torn_and_senseless_frames_are_answered_with_a_refusal_or_dropped() {
    let bench = Bench::new();
    let executor = Arc::new(bench.executor());
    let say = |bytes: &[u8]| {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(bytes).unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        let result = executor.serve(theirs);
        (result.is_err(), ipc::receive::<Answer>(&mut ours, 1 << 20))
    };
    let framed = |text: &str| [&u32::try_from(text.len()).unwrap().to_be_bytes()[..], text.as_bytes()].concat();
    for bad in [u32::MAX.to_be_bytes().to_vec(), framed("{")[..4].to_vec(), framed("rm -rf /"), vec![0, 0]] {
        let (failed, answer) = say(&bad);
        assert!(failed);
        assert!(matches!(answer, Ok(Answer::Refused { .. })), "{answer:?}");
    }
    let (failed, answer) = say(&framed(r#"{"ask":"status"}"#));
    assert!(!failed && matches!(answer, Ok(Answer::Status(_))), "{answer:?}");
}

#[test]
fn another_user_is_not_answered() {
    let mut bench = Bench::new();
    bench.config.network_uid = 54_321;
    let executor = bench.executor();
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ipc::send(&mut ours, &Request::Status).unwrap();
    let root = rustix::process::geteuid().is_root();
    assert_eq!(executor.serve(theirs).is_ok(), root);
}
