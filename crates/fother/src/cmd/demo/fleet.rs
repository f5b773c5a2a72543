//! The demo's surroundings: lab, server process, keys, policy; and their end.

use super::summary::Summary;
use crate::{
    cli::Demo,
    client::Client,
    failure::{FAILED, Failure},
};
use fother_lab::{GATEWAY, HostStatus, MIRROR_PORT, Role, Traffic};
use serde_json::Value;
use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// Name of the demo's lab.
pub const LAB: &str = "demo";
/// Port for agents.
const AGENTS_PORT: u16 = 7443;
/// Requests a second.
const RATE: u32 = 50;
/// Longest wait for anything that should be quick.
pub const QUICK_WAIT: Duration = Duration::from_secs(90);

/// Everything that runs.
pub struct Fleet {
    /// Hosts at the start.
    pub hosts: Vec<HostStatus>,
    /// Where keys, policy and the server's data lie.
    pub dir: PathBuf,
    /// Measured figures.
    pub summary: Summary,
    /// Requests all the while.
    pub traffic: Option<Traffic>,
    server: Option<Child>,
    up: bool,
    page: u16,
    binary: PathBuf,
}

impl Fleet {
    /// Boots the lab and makes keys and policy.
    pub fn up(arguments: &Demo) -> Result<Self, Failure> {
        let binary = std::env::current_exe()?;
        let mut summary = Summary::new();
        if Command::new("ssh-keygen").arg("-?").stderr(Stdio::null()).status().is_err() {
            return Err(Failure::new(FAILED, "ssh-keygen is missing", "install the package openssh-client"));
        }
        summary.stage("Lab: real Debian hosts, really outdated");
        super::super::lab::up(LAB, arguments.hosts, arguments.mirror.clone(), fother_lab::Balancer::Haproxy, &binary)?;
        let hosts = fother_lab::status(LAB)?;
        let dir = PathBuf::from("/var/lib/fother/demo");
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&dir)?;
        fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let page = free_port()?;
        let fleet = Self { hosts, dir, summary, traffic: None, server: None, up: true, page, binary };
        fleet.write_keys()?;
        fleet.write_policy()?;
        Ok(fleet)
    }

    fn write_keys(&self) -> Result<(), Failure> {
        let mut trust = String::from("required = 1\n[limits]\norigins = [\"Debian\", \"Fother-Lab\"]\n");
        for person in ["author", "approver"] {
            let key = self.key(person);
            let status = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", person, "-f"]).arg(&key).status()?;
            if !status.success() {
                return Err(Failure::new(FAILED, "ssh-keygen could not make a key", "install the package openssh-client"));
            }
            let public = fs::read_to_string(self.dir.join(format!("{person}.key.pub")))?;
            trust.push_str(&format!("[[approver]]\nname = \"{person}\"\nkeys = [\"{}\"]\n", public.trim()));
        }
        fs::write(self.trust(), trust)?;
        fs::set_permissions(self.trust(), std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        Ok(())
    }

    fn write_policy(&self) -> Result<(), Failure> {
        let keyring = self.dir.join("lab.gpg");
        let host = self.hosts.first().map(|host| host.name.clone()).unwrap_or_default();
        fs::write(&keyring, fother_lab::exec(LAB, &host, &["cat", "/etc/apt/keyrings/fother-lab.gpg"], &[])?.stdout)?;
        let archives = include_str!("policy/policies/archives.toml")
            .replace("@MIRROR@", &format!("{GATEWAY}:{MIRROR_PORT}"))
            .replace("@KEYRING@", &keyring.display().to_string());
        fs::create_dir_all(self.dir.join("policies"))?;
        fs::write(self.dir.join("fother.toml"), include_str!("policy/fother.toml"))?;
        fs::write(self.dir.join("policies/archives.toml"), archives)?;
        Ok(())
    }

    /// A person's key.
    pub fn key(&self, person: &str) -> PathBuf {
        self.dir.join(format!("{person}.key"))
    }

    /// The trust file: approvers for the server, and copied to each host by whoever installs the agent there.
    pub fn trust(&self) -> PathBuf {
        self.dir.join("trust.toml")
    }

    /// The server's runtime directory.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The server's data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("server")
    }

    /// Address that agents use.
    pub fn server_url() -> String {
        format!("https://{GATEWAY}:{AGENTS_PORT}")
    }

    /// Port of the status page.
    pub const fn page_port(&self) -> u16 {
        self.page
    }

    /// Address of the status page.
    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.page)
    }

    /// A client of the server.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.run_dir())
    }

    /// Starts `fother serve` and waits until it answers.
    pub fn start_server(&mut self) -> Result<(), Failure> {
        let log = fs::File::options().create(true).append(true).open(self.dir.join("server.log"))?;
        let child = Command::new(&self.binary)
            .arg("--run-dir")
            .arg(self.run_dir())
            .arg("serve")
            .arg("--data-dir")
            .arg(self.data_dir())
            .arg("--cache-dir")
            .arg(self.dir.join("cache"))
            .arg("--db")
            .arg(self.dir.join("feeds/advisories.db"))
            .arg("--policy")
            .arg(self.dir.join("fother.toml"))
            .arg("--approvers")
            .arg(self.trust())
            .args(["--agents", &format!("{GATEWAY}:{AGENTS_PORT}"), "--web", &format!("127.0.0.1:{}", self.page)])
            .args(["--netns", &format!("fl-{LAB}-gw")])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.server = Some(child);
        let client = self.client()?;
        wait("the server", QUICK_WAIT, || Ok(client.get::<Value>("/api/v1/status").is_ok()))
    }

    /// Kills the server without warning.
    pub fn kill_server(&mut self) -> Result<(), Failure> {
        if let Some(mut child) = self.server.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Starts the traffic.
    pub fn start_traffic(&mut self) -> Result<(), Failure> {
        self.traffic = Some(Traffic::start(LAB, RATE)?);
        Ok(())
    }

    /// Requests so far: fine and failed.
    pub fn requests(&self) -> (u64, u64) {
        self.traffic.as_ref().map_or((0, 0), |traffic| {
            let counts = traffic.snapshot();
            (counts.ok, counts.failed)
        })
    }

    /// The host that is first in every rollout here.
    pub fn canary(&self) -> String {
        self.web().into_iter().next().unwrap_or_default()
    }

    /// After a failure: each host's journal goes beside the server's log before the fleet is taken down.
    pub fn keep_logs(&self) {
        for host in &self.hosts {
            let journal = ["journalctl", "--no-pager", "-u", "fother-executor", "-u", "fother-agent", "-u", "fother-*"];
            if let Ok(text) = self.exec(&host.name, &journal) {
                let _ = fs::write(self.dir.join(format!("{}.log", host.name)), text);
            }
        }
        eprintln!("logs of server and hosts: {}/*.log", self.dir.display());
    }

    /// Hosts of the role `web`.
    pub fn web(&self) -> Vec<String> {
        self.hosts.iter().filter(|host| host.role == Role::Web).map(|host| host.name.clone()).collect()
    }

    /// Runs a command on a host.
    pub fn exec(&self, host: &str, command: &[&str]) -> Result<String, Failure> {
        let output = fother_lab::exec(LAB, host, command, &[])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        let tail: Vec<&str> = error.lines().rev().take(6).collect();
        Err(Failure::new(
            FAILED,
            format!("`{}` on {host} failed: {}", command.join(" "), tail.into_iter().rev().collect::<Vec<_>>().join(" | ")),
            "",
        ))
    }

    /// Leaves everything running.
    pub fn keep(mut self) {
        println!("\nThe fleet keeps running. Status page: {}", self.page());
        println!("Look around:  fother --run-dir {} status", self.run_dir().display());
        println!(
            "Leave:        fother lab down --name {LAB}   (and end the server, process {})",
            self.server.as_ref().map_or(0, Child::id)
        );
        if let Some(traffic) = self.traffic.take() {
            let _ = traffic.stop();
        }
        self.server = None;
        self.up = false;
    }

    /// Ends everything.
    pub fn down(&mut self) -> Result<(), Failure> {
        if let Some(traffic) = self.traffic.take() {
            let _ = traffic.stop();
        }
        self.kill_server()?;
        self.up = false;
        fother_lab::down(LAB, false)?;
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if self.up {
            let _ = self.down();
        }
    }
}

/// Waits until `done` says so, looking ten times a second.
pub fn wait(what: &str, longest: Duration, mut done: impl FnMut() -> Result<bool, Failure>) -> Result<(), Failure> {
    let until = Instant::now() + longest;
    while !done()? {
        if Instant::now() > until {
            return Err(Failure::new(
                FAILED,
                format!("{what} did not come within {} s", longest.as_secs()),
                "look at the logs of server and hosts, which are named below",
            ));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn free_port() -> Result<u16, Failure> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
