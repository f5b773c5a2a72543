//! Bad input to the real program, without root's powers and without a lab: exit code, message, what to do next, and nothing left broken.
#![allow(clippy::unwrap_used, clippy::panic)]

use serde_json::Value;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const FOTHER: &str = env!("CARGO_BIN_EXE_fother");
const UP_WAIT: Duration = Duration::from_secs(60);
/// `nobody`, where the test itself runs as root.
const NOBODY: u32 = 65_534;

const POLICY: &str = "[group.web]\nselect = 'role == \"web\"'\nwindow = \"always\"\nbudget = { unavailable = 1 }\n\
    rollout = { canary = 1, waves = [\"100%\"], soak_s = 1 }\nchecks = [\"nginx\"]\napprovals = 1\n\
    [check.nginx]\nkind = \"unit\"\nname = \"nginx\"\nunit = \"nginx.service\"\n";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program; the exit code must be `code` and its errors must hold every one of `words`.
fn refused(command: &mut Command, code: i32, words: &[&str]) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {errors}");
    for word in words {
        assert!(errors.contains(word), "{command:?} does not say `{word}`: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
    output
}

fn fother(arguments: &[&str]) -> Command {
    let mut command = Command::new(FOTHER);
    command.args(arguments).env_remove("FOTHER_RUN_DIR");
    command
}

/// As a user without privileges. The program may lie where only root can enter, so it is opened first.
fn unprivileged(arguments: &[&str]) -> Command {
    if !rustix::process::geteuid().is_root() {
        return fother(arguments);
    }
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "--"]).arg(FOTHER).args(arguments).current_dir("/");
    command
}

/// A root directory with the given system and dpkg database.
fn root_of(os_release: &str, status: Option<&str>) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc")).unwrap();
    fs::write(root.path().join("etc/os-release"), os_release).unwrap();
    if let Some(status) = status {
        fs::create_dir_all(root.path().join("var/lib/dpkg")).unwrap();
        fs::write(root.path().join("var/lib/dpkg/status"), status).unwrap();
    }
    root
}

#[test]
fn what_needs_root_says_so_and_what_to_do() {
    for arguments in [
        &["rehearse"][..],
        &["demo"],
        &["lab", "up"],
        &["lab", "down"],
        &["lab", "exec", "web-1", "--", "true"],
        &["lab", "publish", "good"],
        &["agent", "install", "--server", "https://127.0.0.1:1", "--token-file", "/nonexistent"],
        &["agent", "uninstall", "--yes"],
        &["agent", "show"],
        &["agent", "undo"],
        &["agent", "undo", "txn_01m8e3vn1bf6q9ecteb984c6et"],
    ] {
        refused(&mut unprivileged(arguments), 4, &["needs root", "hint: run it again with sudo"]);
    }
}

#[test]
fn another_distribution_is_named_and_never_passes() {
    let fedora = root_of("ID=fedora\nVERSION_ID=40\n", None);
    let path = fedora.path().to_str().unwrap();
    refused(&mut fother(&["scan", "--root", path]), 3, &["fedora 40", "cannot be assessed", "supported: Debian"]);
    let ubuntu =
        root_of("ID=ubuntu\nVERSION_ID=\"22.04\"\n", Some("Package: web\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n"));
    let output = fother(&["scan", "--root", ubuntu.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stdout).contains("ubuntu 22.04: not supported"), "{}", text(&output.stdout));
    refused(&mut fother(&["scan", "--root", "/nonexistent"]), 2, &["/nonexistent is not there"]);
}

#[test]
fn what_a_root_reports_cannot_act_on_the_terminal() {
    let status = "Package: web\nStatus: install ok half-\x1b[2Jconfigured\nArchitecture: amd64\nVersion: 1\n";
    let root = root_of("ID=\x1b]0;owned\x07debian\nVERSION_ID=1\u{202e}2\n", Some(status));
    let path = root.path().to_str().unwrap();
    for arguments in [&["scan", "--root", path][..], &["scan", "--root", path, "--format", "json"]] {
        let output = fother(arguments).output().unwrap();
        for stream in [text(&output.stdout), text(&output.stderr)] {
            assert!(!stream.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{stream:?}");
        }
    }
    refused(&mut fother(&["scan", "--root", "/nonexistent\x1b[2J"]), 2, &["/nonexistent\\u{1b}[2J is not there"]);
}

#[test]
fn wrong_usage_is_told_to_people_and_to_machines() {
    refused(&mut fother(&["sacn"]), 2, &["unrecognized subcommand", "scan"]);
    refused(&mut fother(&[]), 2, &["Usage"]);
    for arguments in
        [&["scan", "--format", "json", "--nope"][..], &["--format=json", "sacn"], &["scan", "--root", "/nonexistent", "--format", "json"]]
    {
        let output = refused(&mut fother(arguments), 2, &[]);
        let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(envelope["schema"], "fother.error/1");
        assert_eq!((&envelope["data"], &envelope["errors"][0]["exit_code"]), (&Value::Null, &Value::from(2)), "{envelope}");
        assert!(!envelope["errors"][0]["what"].as_str().unwrap().is_empty());
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    for arguments in [&["scan"][..], &["scan", "--format", "json"], &["completions", "bash"], &["help"], &["--help"]] {
        let mut child = fother(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        // Dropped at once: whatever follows meets a closed pipe.
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = text(&output.stderr);
        assert!(!errors.contains("panicked") && !errors.contains("Broken pipe"), "{arguments:?}: {errors}");
        assert!(matches!(output.status.code(), Some(0 | 3)), "{arguments:?}: {:?}", output.status);
    }
}

#[test]
fn completions_are_there_for_the_usual_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let output = fother(&["completions", shell]).output().unwrap();
        assert!(output.status.success());
        for noun in ["rehearse", "rollout", "archive"] {
            assert!(text(&output.stdout).contains(noun), "{shell} does not complete {noun}");
        }
    }
}

/// A server of its own in a temporary directory.
struct Server {
    dir: tempfile::TempDir,
    child: Child,
}

impl Server {
    fn arguments(dir: &Path) -> Vec<String> {
        let path = |name: &str| dir.join(name).display().to_string();
        let mut out = vec!["--run-dir".to_owned(), path("run"), "serve".to_owned()];
        for (flag, name) in [("data-dir", "data"), ("cache-dir", "cache"), ("policy", "fother.toml"), ("approvers", "trust.toml")] {
            out.extend([format!("--{flag}"), path(name)]);
        }
        out
    }

    /// Policy and approvers in a fresh directory.
    fn files() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
        assert!(made.success());
        let public = fs::read_to_string(key.with_extension("pub")).unwrap();
        fs::write(dir.path().join("fother.toml"), POLICY).unwrap();
        let trust =
            format!("required = 1\n[limits]\norigins = [\"Debian\"]\n[[approver]]\nname = \"ann\"\nkeys = [\"{}\"]\n", public.trim());
        fs::write(dir.path().join("trust.toml"), trust).unwrap();
        dir
    }

    fn serve(dir: &Path) -> Command {
        let mut command = Command::new(FOTHER);
        command.args(Self::arguments(dir)).args(["--agents", "127.0.0.1:0", "--web", "127.0.0.1:0"]).process_group(0);
        command
    }

    fn start() -> Self {
        let dir = Self::files();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Self::serve(dir.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Self { dir, child };
        let until = Instant::now() + UP_WAIT;
        while !server.ask(&["status"]).output().unwrap().status.success() {
            let log = fs::read_to_string(server.dir.path().join("log")).unwrap_or_default();
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended: {log}");
            assert!(Instant::now() < until, "the server does not answer: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn ask(&self, arguments: &[&str]) -> Command {
        let mut command = fother(&["--run-dir", self.dir.path().join("run").to_str().unwrap()]);
        command.args(arguments);
        command
    }

    fn events(&self) -> u64 {
        let output = self.ask(&["--format", "json", "status"]).output().unwrap();
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["data"]["size"].as_u64().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_that_is_not_there_is_named_with_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    refused(&mut fother(&["--run-dir", run.to_str().unwrap(), "status"]), 5, &["no server answers at", "server.sock", "fother serve"]);
}

#[test]
fn a_bad_policy_is_told_with_file_line_and_column_and_nothing_is_made() {
    let dir = Server::files();
    for (bad, words) in [
        (POLICY.replace("soak_s = 1 }", "soak_s = }"), &["fother.toml:5:52:"][..]),
        (POLICY.replace("approvals = 1", "aprovals = 1"), &["fother.toml:7:1:", "aprovals", "did you mean `approvals`?"]),
        (POLICY.replace("\"always\"", "\"sunday\""), &["fother.toml:3:10:", "group.web.window", "sunday"]),
    ] {
        fs::write(dir.path().join("fother.toml"), bad).unwrap();
        refused(&mut Server::serve(dir.path()), 2, words);
    }
    fs::write(dir.path().join("fother.toml"), POLICY).unwrap();
    fs::write(dir.path().join("trust.toml"), "required = 1\n[limits]\norigins = []\n[[approver]]\nname = 7\n").unwrap();
    refused(&mut Server::serve(dir.path()), 2, &["trust.toml", "line 5"]);
    assert!(!dir.path().join("data").exists() && !dir.path().join("run").exists(), "something was made for a policy that cannot be used");
}

#[test]
fn an_occupied_port_and_a_second_server_are_refused() {
    let server = Server::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = std::net::TcpListener::bind(taken).unwrap();
    let other = Server::files();
    for (flag, free) in [("--web", "--agents"), ("--agents", "--web")] {
        let mut command = Command::new(FOTHER);
        command.args(Server::arguments(other.path())).args([flag, &taken.to_string(), free, "127.0.0.1:0"]);
        refused(&mut command, 5, &[&taken.to_string(), "in use", flag]);
    }
    drop(holder);
    let output = Server::serve(server.dir.path()).stdin(Stdio::null()).output().unwrap();
    assert!(matches!(output.status.code(), Some(4 | 5)), "{:?}: {}", output.status, text(&output.stderr));
    assert!(!text(&output.stderr).contains("panicked"));
}

#[test]
fn what_the_server_does_not_know_is_named_with_the_list_to_look_at() {
    let server = Server::start();
    let size = server.events();
    let (change, rollout) = ("change_01m8e3vn1bf6q9ecteb984c6et", "rollout_01m8e3vn1bf6q9ecteb984c6et");
    let digest = format!("sha256:{}", "0".repeat(64));
    let key = server.dir.path().join("key").display().to_string();
    for (arguments, words) in [
        (&["plan", "new", "nope"][..], &["nope", "hint: known: web"][..]),
        (&["plan", "show", "0123"], &["no plan `0123`", "fother plan ls"]),
        (&["plan", "show", &digest], &["no plan", "fother plan ls"]),
        (&["plan", "rehearse", "0123"], &["no plan `0123`"]),
        (&["host", "show", "web-9"], &["no host `web-9`", "fother host ls"]),
        (&["host", "retire", "web-9", "--yes"], &["no host `web-9`"]),
        (&["host", "token", "--label", "role"], &["`role` is no label", "role=web"]),
        (&["archive", "show", "nope"], &["no archive `nope`", "fother archive ls"]),
        (&["change", "show", change], &[change, "fother change ls"]),
        (&["change", "show", "nope\x1b[2J"], &["nope\\u{1b}[2J", "fother change ls"]),
        (&["change", "approve", change, "--key", &key, "--yes"], &[change, "fother change ls"]),
        (&["change", "reject", change, "--reason", "x"], &[change, "fother change ls"]),
        (&["rollout", "start", change], &[change, "fother change ls"]),
        (&["rollout", "start", "nope"], &["nope", "fother change ls"]),
        (&["rollout", "watch"], &["no rollout"]),
        (&["rollout", "show", rollout], &[rollout, "fother rollout ls"]),
        (&["rollout", "pause", rollout], &[rollout, "fother rollout ls"]),
        (&["rollout", "abort", rollout, "--yes"], &[rollout, "fother rollout ls"]),
    ] {
        refused(&mut server.ask(arguments), 2, words);
        let output = refused(server.ask(&["--format", "json"]).args(arguments), 2, words);
        let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!envelope["errors"][0]["hint"].is_null(), "{envelope}");
    }
    assert_eq!(server.events(), size, "a command that was refused left events");
}

#[test]
fn a_dry_run_changes_nothing_and_what_cannot_be_put_right_is_asked_for() {
    let server = Server::start();
    let size = server.events();
    for arguments in [&["host", "token", "--dry-run"][..], &["archive", "update", "--dry-run"], &["plan", "new", "web", "--dry-run"]] {
        let output = server.ask(arguments).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).starts_with("dry run: would "), "{arguments:?}");
    }
    assert_eq!(server.events(), size);
    refused(&mut server.ask(&["host", "token", "--dry-run", "--yes"]), 2, &["cannot be used with"]);
    for noun in ["host", "archive", "plan", "change", "rollout"] {
        assert!(server.ask(&[noun, "ls"]).output().unwrap().status.success(), "{noun} ls");
    }
}

#[test]
fn a_user_whom_the_server_does_not_know_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root to become somebody else");
        return;
    }
    let server = Server::start();
    let mut command = unprivileged(&["--run-dir", server.dir.path().join("run").to_str().unwrap(), "status"]);
    let output = command.output().unwrap();
    assert!(matches!(output.status.code(), Some(4 | 5)), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("server"), "{}", text(&output.stderr));
}
