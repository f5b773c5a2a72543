//! The process behind a lab: serves the mirror, keeps the load balancer and every host running. Touches the lab's own things only;
//! runs in a mount namespace of its own, so that its mounts end with it and its hosts.

use crate::balancer;
use crate::config::{self, Config};
use crate::error::{Error, Result, io};
use crate::host;
use crate::mirror::Mirror;
use crate::netns::in_gateway;
use crate::paths::{GATEWAY, Lab, MIRROR_PORT};
use crate::process::Process;
use crate::{Role, cgroup};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Longest line on the control socket, in bytes.
const CONTROL_LINE_BYTES_MAX: u64 = 256;
/// How long the supervisor may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

fn ready_file(lab: &Lab) -> PathBuf {
    lab.state().join("supervisor.json")
}

/// The supervisor of a lab, as it was recorded.
pub(crate) fn recorded(lab: &Lab) -> Option<Process> {
    config::load(&ready_file(lab)).ok()
}

/// Starts `binary lab supervise NAME` and waits until it has all its sockets.
pub(crate) fn start(lab: &Lab, binary: &std::path::Path) -> Result<()> {
    let log = lab.log();
    let out = std::fs::File::create(&log).map_err(io("write", &log))?;
    let err = out.try_clone().map_err(io("write", &log))?;
    let group = cgroup::make(lab, "supervisor", false)?;
    let mut command = cgroup::joined(&group, "setsid");
    command.args(["unshare", "--mount", "--propagation", "private"]).arg(binary).args(["lab", "supervise", &lab.name]);
    let mut child = command.stdout(Stdio::from(out)).stderr(Stdio::from(err)).spawn().map_err(io("start", binary))?;
    await_ready(lab, &mut child)
}

fn await_ready(lab: &Lab, child: &mut Child) -> Result<()> {
    let begin = Instant::now();
    while !ready_file(lab).exists() {
        let ended = child.try_wait().map_err(io("wait for", &lab.log()))?;
        if ended.is_some() || begin.elapsed() > READY_WITHIN {
            let said = std::fs::read_to_string(lab.log()).unwrap_or_default();
            let said = &said[said.len().saturating_sub(1000)..];
            return Err(Error::Other(format!("the lab's supervisor did not come up ({ended:?}): {}", said.trim())));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Runs the lab `name` until it is killed. This is what the hidden `lab supervise` does; `up` starts it.
///
/// # Errors
/// Where the lab has not been prepared by `up`, or a socket cannot be opened.
pub fn supervise(name: &str) -> Result<()> {
    let lab = Lab::new(name)?;
    let config = config::of(&lab)?;
    let mirror = Mirror::new(&lab, &config.archive)?;
    let listener = in_gateway(name, || TcpListener::bind((GATEWAY, MIRROR_PORT)))?
        .map_err(|e| Error::Other(format!("cannot listen on {GATEWAY}:{MIRROR_PORT} in the lab: {e}")))?;
    let control = UnixListener::bind(lab.control()).map_err(io("listen on", &lab.control()))?;
    let me = Process::of(std::process::id()).ok_or_else(|| Error::Other("/proc is not mounted".into()))?;
    std::thread::scope(|scope| {
        scope.spawn(|| mirror.serve(&listener));
        scope.spawn(|| balance(&lab, &config));
        let mut starters = BTreeMap::new();
        for host in &config.hosts {
            let (send, receive) = channel();
            starters.insert(host.name.clone(), send);
            let (lab, config) = (&lab, &config);
            scope.spawn(move || {
                if let Err(e) = host::keep(lab, config, host, &receive) {
                    eprintln!("host {}: {e}", host.name);
                }
            });
        }
        scope.spawn(|| obey(&control, starters));
        config::save(&ready_file(&lab), &me)
    })
}

fn balance(lab: &Lab, config: &Config) {
    let web = config.hosts.iter().filter(|h| h.role == Role::Web);
    let servers: Vec<_> = web.map(|h| (h.name.clone(), h.address.clone())).collect();
    if let Err(e) = balancer::run(lab, config.balancer, &servers) {
        eprintln!("load balancer: {e}");
    }
}

/// Takes `start HOST` from the control socket, which only root can reach.
fn obey(control: &UnixListener, starters: BTreeMap<String, Sender<()>>) {
    for stream in control.incoming().flatten() {
        let mut line = String::new();
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let _ = BufReader::new(&stream).take(CONTROL_LINE_BYTES_MAX).read_line(&mut line);
        let started = line.trim().strip_prefix("start ").and_then(|host| starters.get(host)).is_some_and(|s| s.send(()).is_ok());
        let _ = (&stream).write_all(if started { b"ok\n" } else { b"no such host\n" });
    }
}

/// Asks the supervisor to start a host that is off.
pub(crate) fn ask_to_start(lab: &Lab, host: &str) -> Result<()> {
    let path = lab.control();
    let mut stream = UnixStream::connect(&path).map_err(io("reach the supervisor at", &path))?;
    let mut answer = String::new();
    let asked = stream.set_read_timeout(Some(Duration::from_secs(5))).and_then(|()| writeln!(stream, "start {host}"));
    asked.and_then(|()| stream.take(CONTROL_LINE_BYTES_MAX).read_to_string(&mut answer)).map_err(io("ask the supervisor at", &path))?;
    if answer == "ok\n" { Ok(()) } else { Err(Error::Host { lab: lab.name.clone(), host: host.into(), why: "is not known".into() }) }
}
