//! A real server on a data directory: started, asked whether it answers, measured, ended.

use crate::Failure;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) const POLICY: &str = r#"
[group.web]
select = 'role == "web"'
window = "always"
budget = { unavailable = "20%" }
rollout = { canary = 1, waves = ["100%"], soak_s = 60 }
checks = ["up"]
approvals = 1
[check.up]
kind = "unit"
name = "up"
unit = "nginx.service"
"#;

/// A key that nobody has.
const APPROVERS: &str = r#"required = 1
[[approver]]
name = "anna"
keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIQmZUVfYQ2IrWanGMnBKrw6a1WlcRnGWwj2D90DIP7C"]
[limits]
origins = ["Debian"]
"#;

/// Longest start.
const START_WAIT: Duration = Duration::from_secs(300);
/// Processor time is counted in hundredths of a second.
const TICKS_PER_S: f64 = 100.0;

pub(crate) struct Server {
    child: Child,
    pub(crate) agents: SocketAddr,
    /// From the start of the process to its first answer.
    pub(crate) start: Duration,
}

impl Server {
    pub(crate) fn start(fother: &Path, dir: &Path) -> Result<Self, Failure> {
        fs::write(dir.join("fother.toml"), POLICY)?;
        fs::write(dir.join("approvers.toml"), APPROVERS)?;
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let (agents, web) = (free()?, free()?);
        let path = |name: &str| -> PathBuf { dir.join(name) };
        let began = Instant::now();
        let child = Command::new(fother)
            .arg("--run-dir")
            .arg(path("run"))
            .arg("serve")
            .args(["--agents", &agents.to_string(), "--web", &web.to_string()])
            .args(
                [
                    ("--data-dir", "data"),
                    ("--cache-dir", "cache"),
                    ("--policy", "fother.toml"),
                    ("--approvers", "approvers.toml"),
                    ("--db", "none.db"),
                ]
                .iter()
                .flat_map(|(flag, name)| [PathBuf::from(flag), path(name)]),
            )
            .stdin(Stdio::null())
            .stderr(fs::File::create(path("server.log"))?)
            .spawn()?;
        let mut server = Self { child, agents, start: Duration::ZERO };
        while !answers(&path("run/server.sock")) {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("the server ended ({status}): {}", fs::read_to_string(path("server.log"))?).into());
            }
            if began.elapsed() > START_WAIT {
                return Err("the server does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        server.start = began.elapsed();
        Ok(server)
    }

    /// Processor time so far, in seconds.
    pub(crate) fn processor_s(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let ticks = |n: usize| fields.get(n).and_then(|field| field.parse::<f64>().ok()).ok_or("no processor time");
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
    }

    /// Memory in MiB: `VmRSS` now or `VmHWM`, the most so far.
    pub(crate) fn memory_mib(&self, field: &str) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).ok_or("no memory")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
    }

    /// Ends it at once, as a failing machine does.
    pub(crate) fn kill(mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(socket: &Path) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
