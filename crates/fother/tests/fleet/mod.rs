//! A fleet of real hosts behind a real server for tests, driven by the command line as a user would; root only, everything below one lab's name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, reason = "tests may panic, and each test file uses its part")]

pub mod processes;
mod socket;

use fother_lab::{GATEWAY, HostStatus, MIRROR_PORT, Role, SiteVersion};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// The program under test, on the server and on every host.
pub const FOTHER: &str = env!("CARGO_BIN_EXE_fother");
/// Longest wait for anything that should be quick.
pub const QUICK_WAIT: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(50);
/// Where agents reach the server, inside the lab's own network.
const AGENTS_PORT: u16 = 7443;
/// The group of the fleet's web hosts.
pub const GROUP: &str = "web";

/// How a fleet is set up.
pub struct Setup<'a> {
    /// The lab's name: letters and digits, one per test.
    pub name: &'a str,
    /// Hosts of the lab; from 3 on, the last is a worker, which is not enrolled.
    pub hosts: u32,
    /// Follow the distribution's archives, too. Without, `lab-site` is all that can change: the smallest honest transaction.
    pub distribution: bool,
    /// Seconds that a host must stay healthy.
    pub soak_s: u32,
    /// Hosts of the group that may be out of service at once.
    pub unavailable: u32,
    /// `haproxy` or `nginx`.
    pub balancer: &'a str,
    /// Checks beside the site and its nginx: names, and what stands below them in the policy.
    pub checks: &'a [(&'a str, &'a str)],
}

impl Setup<'_> {
    /// Three web hosts, `lab-site` only, as fast as the policy allows.
    pub fn quick(name: &str) -> Setup<'_> {
        Setup { name, hosts: 4, distribution: false, soak_s: 1, unavailable: 2, balancer: "haproxy", checks: &[] }
    }
}

/// Everything that runs; ends with the value, also after a panic.
pub struct Fleet {
    /// The lab's name.
    pub name: String,
    /// The web hosts, in the lab's order.
    pub web: Vec<HostStatus>,
    dir: tempfile::TempDir,
    server: Option<Child>,
    page: u16,
}

impl Fleet {
    /// Boots the lab (an earlier one of this name is taken down first), starts the server and enrols every web host.
    pub fn up(setup: &Setup<'_>) -> Self {
        assert!(rustix::process::geteuid().is_root(), "lab tests run as root");
        fother_lab::down(setup.name, false).expect("what an earlier run left can be taken down");
        let dir = tempfile::Builder::new().prefix("fother-fleet.").tempdir().unwrap();
        let mut fleet = Self { name: setup.name.to_owned(), web: Vec::new(), dir, server: None, page: free_port() };
        fleet.cli(&["lab", "up", "--name", setup.name, "--hosts", &setup.hosts.to_string(), "--balancer", setup.balancer]);
        fleet.web = fother_lab::status(setup.name).unwrap().into_iter().filter(|host| host.role == Role::Web).collect();
        fleet.write_keys();
        fs::write(fleet.path("fother.toml"), fleet.policy(setup)).unwrap();
        fleet.start_server();
        fleet.enrol();
        fleet
    }

    /// A path in the fleet's own directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.path("server")
    }

    /// A person's key: `author` or `approver`.
    pub fn key(&self, person: &str) -> String {
        self.path(&format!("{person}.key")).display().to_string()
    }

    fn write_keys(&self) {
        let mut trust = String::from("required = 1\n[limits]\norigins = [\"Debian\", \"Fother-Lab\"]\n");
        for person in ["author", "approver"] {
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", person, "-f", &self.key(person)]).status();
            assert!(made.unwrap().success(), "ssh-keygen makes a key");
            let public = fs::read_to_string(format!("{}.pub", self.key(person))).unwrap();
            trust.push_str(&format!("[[approver]]\nname = \"{person}\"\nkeys = [\"{}\"]\n", public.trim()));
        }
        fs::write(self.path("trust.toml"), trust).unwrap();
        fs::set_permissions(self.path("trust.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn policy(&self, setup: &Setup<'_>) -> String {
        let keyring = self.path("lab.gpg");
        fs::write(&keyring, self.on(&self.web[0].name, &["cat", "/etc/apt/keyrings/fother-lab.gpg"]).stdout).unwrap();
        let debian = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
        let archive = |name: &str, suite: &str, key: &Path, age: u32| {
            format!(
                "[archive.{name}]\nuri = \"http://{GATEWAY}:{MIRROR_PORT}/{name}\"\nsuite = \"{suite}\"\ncomponents = [\"main\"]\n\
                 signed_by = \"{}\"\nmax_age_days = {age}\n",
                key.display()
            )
        };
        let mut policy = format!(
            "[group.{GROUP}]\nselect = 'role == \"web\"'\nwindow = \"always\"\nbudget = {{ unavailable = {} }}\n\
             rollout = {{ canary = 1, waves = [\"100%\"], soak_s = {} }}\nchecks = [\"site\", \"nginx\"{}]\napprovals = 1\n\
             [check.site]\nkind = \"http\"\nname = \"site\"\nurl = \"http://127.0.0.1/\"\nstatus = 200\n\
             [check.nginx]\nkind = \"unit\"\nname = \"nginx\"\nunit = \"nginx.service\"\n",
            setup.unavailable,
            setup.soak_s,
            setup.checks.iter().map(|(name, _)| format!(", \"{name}\"")).collect::<String>()
        );
        for (name, keys) in setup.checks {
            policy.push_str(&format!("[check.{name}]\nname = \"{name}\"\n{keys}\n"));
        }
        policy.push_str(&archive("lab", "lab", &keyring, 7));
        if setup.distribution {
            policy.push_str(&archive("debian", "bookworm", debian, 400));
            policy.push_str(&archive("security", "bookworm-security", debian, 400));
        }
        policy
    }

    /// Starts `fother serve` and waits until it answers.
    pub fn start_server(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.path("server.log")).unwrap();
        let path = |name: &str| self.path(name).display().to_string();
        let child = self
            .command(&["serve", "--data-dir", &path("server"), "--cache-dir", &path("cache"), "--policy", &path("fother.toml")])
            .args(["--approvers", &path("trust.toml"), "--agents", &format!("{GATEWAY}:{AGENTS_PORT}")])
            .args(["--web", &format!("127.0.0.1:{}", self.page), "--netns", &format!("fl-{}-gw", self.name)])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        self.server = Some(child.unwrap());
        self.wait("an answer of the server", QUICK_WAIT, || self.get("/api/v1/status").is_ok());
    }

    /// Kill -9 of the server; false where it does not run.
    pub fn kill_server(&mut self) -> bool {
        let Some(mut child) = self.server.take() else { return false };
        child.kill().unwrap();
        child.wait().unwrap();
        true
    }

    fn enrol(&self) {
        for host in &self.web {
            let labels = [format!("role={}", host.role.name()), format!("zone={}", host.zone)];
            let token = self.cli(&["host", "token", "--label", &labels[0], "--label", &labels[1]]);
            self.copy_in(&host.name, "/run/fother-token", token.as_bytes());
            self.copy_in(&host.name, "/run/fother-trust.toml", &fs::read(self.path("trust.toml")).unwrap());
            let server = format!("https://{GATEWAY}:{AGENTS_PORT}");
            let install = ["/usr/local/bin/fother", "agent", "install", "--server", &server, "--token-file", "/run/fother-token"];
            self.run_on(&host.name, &[&install[..], &["--trust", "/run/fother-trust.toml"]].concat());
        }
        self.wait("every inventory", QUICK_WAIT, || {
            let state = self.state();
            self.web.iter().all(|host| state["hosts"][self.id(&state, &host.name)]["inventory"].is_string())
        });
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(FOTHER);
        command.arg("--run-dir").arg(self.path("run")).args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs `fother …` whatever comes of it.
    pub fn try_cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs `fother …`, which must exit 0; what it printed.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output = self.try_cli(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "`fother {}` ended with {}: {err}{out}", arguments.join(" "), output.status);
        out.trim().to_owned()
    }

    /// Runs `fother --format json …`, which must exit 0; the `data` of its envelope.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.cli(&[&["--format", "json"], arguments].concat());
        let mut envelope: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?} printed no JSON ({error}): {text}"));
        assert!(envelope["schema"].as_str().is_some_and(|schema| schema.starts_with("fother.")), "{text}");
        envelope["data"].take()
    }

    /// GET over the unix socket; `data` of the answer.
    pub fn get(&self, path: &str) -> std::io::Result<Value> {
        socket::call(&self.path("run/server.sock"), "GET", path, b"")
    }

    /// POST over the unix socket; `data` of the answer.
    pub fn post(&self, path: &str, body: &Value) -> std::io::Result<Value> {
        socket::call(&self.path("run/server.sock"), "POST", path, body.to_string().as_bytes())
    }

    /// The state that the server folds from its log.
    pub fn state(&self) -> Value {
        self.get("/api/v1/state").unwrap()
    }

    /// The id of the host of this name.
    pub fn id(&self, state: &Value, name: &str) -> String {
        let hosts = state["hosts"].as_object().unwrap();
        hosts.iter().find(|(_, host)| host["hostname"] == name).unwrap_or_else(|| panic!("{name} is not enrolled")).0.clone()
    }

    /// Runs a program on a host whatever comes of it.
    pub fn on(&self, host: &str, argv: &[&str]) -> Output {
        fother_lab::exec(&self.name, host, argv, b"").unwrap()
    }

    /// Runs a program on a host, which must exit 0; what it printed.
    pub fn run_on(&self, host: &str, argv: &[&str]) -> String {
        let output = self.on(host, argv);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{host}: `{}` ended with {}: {err}{out}", argv.join(" "), output.status);
        out.into_owned()
    }

    /// Puts a file on a host, for root alone.
    pub fn copy_in(&self, host: &str, path: &str, bytes: &[u8]) {
        fother_lab::copy_in(&self.name, host, Path::new(path), bytes, 0o600).unwrap();
    }

    /// The host's root directory as this machine sees it.
    pub fn root(&self, host: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.leader(host)))
    }

    /// The host's process 1 as this machine sees it.
    pub fn leader(&self, host: &str) -> u32 {
        let now = fother_lab::status(&self.name).unwrap();
        now.into_iter().find(|known| known.name == host).and_then(|known| known.pid).unwrap_or_else(|| panic!("{host} does not run"))
    }

    /// Puts a version of `lab-site` into the lab's archive and has the server take it in.
    pub fn publish(&self, version: SiteVersion) {
        self.cli(&["lab", "publish", "--name", &self.name, version.version()]);
        self.cli(&["archive", "update"]);
    }

    /// A rehearsed plan for the group: its digest. The rehearsal must pass.
    pub fn rehearsed_plan(&self) -> String {
        let plan = self.json(&["plan", "new", GROUP])["digest"].as_str().unwrap().to_owned();
        self.cli(&["plan", "rehearse", &plan, "--no-bisect"]);
        plan
    }

    /// Each rehearsal of a plan, as its blob says it.
    pub fn rehearsals(&self, plan: &str) -> Vec<Value> {
        let state = self.state();
        let cohorts = state["plans"][plan]["cohorts"].as_object().unwrap().values();
        let digests = cohorts.filter_map(|cohort| cohort["rehearsal"][0].as_str());
        digests.map(|digest| self.get(&format!("/api/v1/blobs/{}", digest.trim_start_matches("sha256:"))).unwrap()).collect()
    }

    /// Submits a rehearsed plan as its author and approves it as somebody else; the change. What was not exercised is accepted by name.
    pub fn approved(&self, plan: &str) -> String {
        let author = self.key("author");
        let mut submit = vec!["change", "submit", plan, "--key", &author];
        let rehearsals = self.rehearsals(plan);
        let units = rehearsals.iter().flat_map(|rehearsal| rehearsal["exercised"].as_array().unwrap());
        for unit in units.filter(|unit| unit["exercised"] == false) {
            submit.extend(["--acknowledge", unit["unit"].as_str().unwrap()]);
        }
        let change = self.cli(&submit);
        self.cli(&["change", "approve", &change, "--yes", "--key", &self.key("approver")]);
        change
    }

    /// Starts an approved change; the rollout.
    pub fn start(&self, change: &str) -> String {
        self.cli(&["rollout", "start", change])
    }

    /// Has a rollout undone on every host that carries it.
    pub fn roll_back(&self, rollout: &str) {
        self.cli(&["rollout", "rollback", rollout, "--yes"]);
    }

    /// Waits until `done`; fails with what was awaited and the end of the server's log.
    pub fn wait(&self, what: &str, longest: Duration, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + longest;
        while !done() {
            assert!(Instant::now() < until, "{what} did not come within {} s\n{}", longest.as_secs(), self.server_log());
            std::thread::sleep(POLL);
        }
    }

    /// The last lines that the server logged.
    pub fn server_log(&self) -> String {
        const LINES: usize = 30;
        let text = fs::read_to_string(self.path("server.log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// Verifies the log with the command that needs no server; what it says.
    pub fn verify_log(&self) -> Value {
        self.json(&["log", "verify", "--data-dir", &self.data_dir().display().to_string()])
    }

    /// Every event of the log.
    pub fn events(&self) -> Vec<Value> {
        self.json(&["log", "show", "--from", "0"]).as_array().unwrap().clone()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.kill_server();
        if let Err(error) = fother_lab::down(&self.name, false) {
            eprintln!("the lab {} is still there: {error}", self.name);
        }
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An empty request body.
pub fn nothing() -> Value {
    json!({})
}
