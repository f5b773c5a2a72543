//! Who runs what, on real processes that the test starts: loaded, listening, replaced under its feet, not to be looked at, hostile.
#![allow(clippy::unwrap_used, clippy::panic)]

use fother_core::{
    assess::{
        host::InEffect,
        in_use::{InUse, PackageUse},
    },
    package::Installed,
    version::Version,
};
use fother_host::{in_use, processes, reboot::Running, root::Root};
use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const SECRET: &str = "hunter2-planted";
const AS_NOBODY: &str = "FOTHER_TEST_AS_NOBODY";

/// A root with one package whose only file is a copy of `sleep`; not below /tmp, which holds no installed code.
struct Bench {
    keep: tempfile::TempDir,
    program: PathBuf,
    child: Option<Child>,
}

impl Bench {
    fn new(name: &str) -> Self {
        let keep = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let program = keep.path().join(name);
        fs::copy("/bin/sleep", &program).unwrap();
        let info = keep.path().join("root/var/lib/dpkg/info");
        fs::create_dir_all(&info).unwrap();
        fs::write(info.join("web.list"), format!("/.\n{}\n", program.display())).unwrap();
        Self { keep, program, child: None }
    }

    /// Starts the program; it has the listener, as a service that systemd hands a socket to.
    fn start(&mut self, listener: Option<TcpListener>) -> u32 {
        let stdin = listener.map_or_else(Stdio::null, |listener| Stdio::from(OwnedFd::from(listener)));
        let mut command = Command::new(&self.program);
        command.arg0(SECRET).arg("600").env("PLANTED", SECRET).stdin(stdin);
        let child = command.spawn().unwrap();
        let pid = child.id();
        self.child = Some(child);
        // It runs its own code once it maps it; until then it is still a copy of this test.
        let maps = format!("/proc/{pid}/maps");
        while !fs::read_to_string(&maps).unwrap().contains(self.program.file_name().unwrap().to_str().unwrap().get(..1).unwrap())
            || fs::read_link(format!("/proc/{pid}/exe")).unwrap() != self.program
        {
            std::thread::yield_now();
        }
        pid
    }

    fn ask(&self) -> PackageUse {
        let root = Root::open(&self.keep.path().join("root")).unwrap();
        let version: Version = "1".parse().unwrap();
        let package = Installed {
            name: "web".into(),
            arch: "amd64".into(),
            version: version.clone(),
            source: "web".into(),
            source_version: version,
            broken: None,
            held: false,
        };
        let answers = in_use::answer(&root, &[package], &BTreeSet::from(["web"]), &processes::look(), &Running::here());
        let [one] = answers.as_slice() else { panic!("{answers:?}") };
        one.clone()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_process_that_listens_is_named_with_its_address_and_the_files_that_say_so() {
    let mut bench = Bench::new("websrv");
    assert!(bench.ask().uses.is_empty(), "nothing runs yet");
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let pid = bench.start(Some(listener));
    let found = bench.ask();
    assert_eq!(found.answer, InUse::Listening);
    let [used] = found.uses.as_slice() else { panic!("{found:?}") };
    assert_eq!((used.pid, used.process.as_str(), used.old), (pid, "websrv", false));
    assert_eq!(used.from, [format!("/proc/{pid}/maps"), "/proc/net/tcp".to_owned()]);
    assert_eq!(found.sentence(), format!("loaded by websrv (pid {pid}), which listens on tcp 0.0.0.0:{port}"));
    assert!(!serde_json::to_string(&found).unwrap().contains(SECRET), "command lines and environments do not enter");
}

#[test]
fn an_address_of_this_machine_alone_does_not_count_as_reachable() {
    let mut bench = Bench::new("local");
    bench.start(Some(TcpListener::bind("127.0.0.1:0").unwrap()));
    let found = bench.ask();
    assert_eq!(found.answer, InUse::Loaded);
    assert!(found.sentence().contains("which listens on tcp 127.0.0.1:"), "{}", found.sentence());
}

#[test]
fn what_was_replaced_under_a_running_process_is_told_as_old() {
    let mut bench = Bench::new("service");
    bench.start(None);
    // As dpkg does it: the new file is written beside the old one and takes its name.
    let beside = bench.program.with_extension("dpkg-new");
    fs::copy("/bin/sleep", &beside).unwrap();
    fs::rename(&beside, &bench.program).unwrap();
    let found = bench.ask();
    assert!(found.uses[0].old, "{found:?}");
    assert!(found.sentence().contains("in a version that was replaced since"), "{}", found.sentence());
}

#[test]
fn a_fix_that_is_installed_but_not_running_stays_a_finding_until_the_restart() {
    let mut bench = Bench::new("daemon");
    bench.start(None);
    let write = |path: &str, text: &str| {
        let path = bench.keep.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("root/var/lib/dpkg/status", "Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-2\n\n");
    write("root/etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n");
    write("root/var/log/dpkg.log", "2099-01-01 10:00:00 upgrade web:amd64 1.0-1 1.0-2\n");
    write("in/DSA.list", "[11 Feb 2026] DSA-5002-1 web - security update\n\t{CVE-2026-0002}\n\t[bookworm] - web 1.0-2\n");
    let intake = fother_feeds::intake::Intake::new(&bench.keep.path().join("feeds"));
    let offered = fother_feeds::intake::offered(&bench.keep.path().join("in"), None);
    intake.take(offered, fother_host::scan::clock(), false).unwrap();
    let database = fother_feeds::database::open(&intake.database()).unwrap();
    let root = Root::open(&bench.keep.path().join("root")).unwrap();
    let judge = fother_host::findings::Judge::new(&database, None);
    let facts = fother_host::inventory::Facts::read(&root).unwrap();
    let look = || {
        let mut assessment = judge.quick(&root).unwrap().assessment;
        judge.after_restart(&root, &facts, &processes::look(), &mut assessment).unwrap();
        assessment.findings
    };
    assert_eq!(look().len(), 0, "on the disk it is fixed, and what runs was not replaced yet");
    let beside = bench.program.with_extension("dpkg-new");
    fs::copy("/bin/sleep", &beside).unwrap();
    fs::rename(&beside, &bench.program).unwrap();
    let found = look();
    let [one] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((one.id.as_str(), one.version.as_str(), one.in_effect), ("CVE-2026-0002", "1.0-1", InEffect::AfterRestart));
    assert!(one.in_use_because.contains("restart daemon (pid ") || one.in_use_because.contains(".s"), "{}", one.in_use_because);
    // The restart.
    bench.child.as_mut().unwrap().kill().unwrap();
    bench.child.take().unwrap().wait().unwrap();
    bench.start(None);
    assert_eq!(look().len(), 0);
}

#[test]
fn a_name_that_looks_like_the_kernels_tables_or_a_terminal_s_orders_changes_nothing() {
    let mut bench = Bench::new("x) S 1\u{1b}[2J\n");
    let pid = bench.start(None);
    let all = processes::look();
    let process = all.list.iter().find(|process| process.pid == pid).unwrap();
    assert!(!process.name.contains(['\u{1b}', '\n']), "{:?}", process.name);
    // Neither its file's line end nor the name can add a line to dpkg's list or to the maps.
    assert!(bench.ask().uses.iter().all(|used| !used.file.contains(['\u{1b}', '\n'])));
}

#[test]
fn a_process_that_may_not_be_looked_at_leaves_the_answer_open() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: only root can start a process that this user may not look at");
    }
    let mut bench = Bench::new("hidden");
    bench.start(None);
    // The same question, asked by a user who may not read the maps of root's processes.
    let copy = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir_in("/var/tmp").unwrap();
    let own = copy.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &own).unwrap();
    let list = copy.path().join("root/var/lib/dpkg/info");
    fs::create_dir_all(&list).unwrap();
    fs::write(list.join("web.list"), format!("{}\n/usr/bin/sleep\n", bench.program.display())).unwrap();
    fs::create_dir_all(copy.path().join("root/usr/bin")).unwrap();
    fs::copy("/bin/sleep", copy.path().join("root/usr/bin/sleep")).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&own)
        .args(["--exact", "asked_as_nobody", "--nocapture"])
        .env(AS_NOBODY, copy.path().join("root"))
        .output();
    match output {
        Err(error) => println!("skipped: setpriv: {error}"),
        Ok(output) => {
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success() && text.contains("may not be looked at"), "{text}");
        }
    }
}

/// The part of the test above that runs as an unprivileged user; by itself it has nothing to do.
#[test]
fn asked_as_nobody() {
    let Some(root) = std::env::var_os(AS_NOBODY) else { return };
    let version: Version = "1".parse().unwrap();
    let (name, arch) = ("web".to_owned(), "amd64".to_owned());
    let package =
        Installed { name, arch, version: version.clone(), source: "web".into(), source_version: version, broken: None, held: false };
    let root = Root::open(Path::new(&root)).unwrap();
    let answers = in_use::answer(&root, &[package], &BTreeSet::from(["web"]), &processes::look(), &Running::here());
    assert_eq!((answers[0].answer, answers[0].uses.len()), (InUse::Unknown, 0), "{answers:?}");
    println!("{}", answers[0].sentence());
    assert!(answers[0].why.contains("may not be looked at by this user"));
}
