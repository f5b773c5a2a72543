//! Builds a lab, tells how it stands, reaches into its hosts and takes it down. Touches the lab's own files, namespaces and processes.

use crate::balancer::Balancer;
use crate::config::{self, Config, HostConfig, HostRecord, HostState};
use crate::error::{Error, Result, io};
use crate::paths::{FIRST_HOST, Lab, cache, make_dir};
use crate::process::{Process, wait_until};
use crate::site::SiteVersion;
use crate::traffic::get;
use crate::{Progress, Role, archive, base, cgroup, host, netns, run, sources, supervisor};
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

/// Hosts that one lab may have.
pub const HOSTS_MAX: usize = 32;
/// How long killed processes may take to go.
const KILL_WITHIN: Duration = Duration::from_secs(10);
/// How long one answer of a host may take while waiting for it to be ready.
const PROBE_WITHIN: Duration = Duration::from_millis(500);

/// What to build.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// The lab's name: 1 to 15 of a-z and 0-9.
    pub name: String,
    /// How many hosts: from 3 on, the last is a worker.
    pub hosts: usize,
    /// Another archive than the machine's: `MAIN` or `MAIN,SECURITY`, as addresses.
    pub mirror: Option<String>,
    /// What stands in front of the web hosts.
    pub balancer: Balancer,
    /// The program that understands `lab supervise NAME`, and is seen as /usr/local/bin/fother on the hosts.
    pub binary: PathBuf,
}

/// One host, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct HostStatus {
    /// Its name, `web-1` or `worker-1`.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// `a` or `b`.
    pub zone: String,
    /// Its address in the lab.
    pub address: String,
    /// The pid of its systemd on this machine, while it runs.
    pub pid: Option<u32>,
    /// Where it stands.
    pub state: HostState,
    /// Names the boot, while it runs.
    pub boot_id: Option<String>,
}

/// Builds a lab and boots its hosts; returns once all have been started. [`wait_ready`] waits until they serve.
///
/// # Errors
/// Where the caller is not root, the lab exists, the base cannot be built, or a part cannot be started; what was begun is
/// taken down again.
pub fn up(options: &UpOptions, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let lab = Lab::new(&options.name)?;
    need_root()?;
    if options.hosts == 0 || options.hosts > HOSTS_MAX {
        return Err(Error::Bounds { what: "the number of hosts", min: 1, max: HOSTS_MAX, is: options.hosts });
    }
    if lab.state().exists() {
        return Err(Error::Exists(options.name.clone()));
    }
    let binary = fs::canonicalize(&options.binary).map_err(io("find the program", &options.binary))?;
    let found = sources::find(base::BASE_SUITE, options.mirror.as_deref())?;
    base::check_cache()?;
    let image = base::image(&found, progress)?;
    let config = Config { hosts: hosts(options.hosts, &image), archive: found, binary, balancer: options.balancer };
    progress(Progress::Stage(format!("booting {} hosts", options.hosts)));
    build(&lab, &config).inspect_err(|_| {
        let kept = fs::read(lab.log()).unwrap_or_default();
        let _ = down(&options.name, false);
        tracing::warn!(log = %String::from_utf8_lossy(&kept), "the lab was taken down again");
    })
}

fn hosts(number: usize, image: &base::Image) -> Vec<HostConfig> {
    let workers = usize::from(number >= 3);
    let one = |i: usize| {
        let (role, nth) = if i < number - workers { (Role::Web, i) } else { (Role::Worker, i + workers - number) };
        HostConfig {
            name: format!("{}-{}", role.name(), nth + 1),
            role,
            zone: if nth % 2 == 0 { "a".into() } else { "b".into() },
            address: format!("10.77.0.{}", usize::from(FIRST_HOST) + i),
            lower: image.lower(role),
            other_patcher: i == 0,
        }
    };
    (0..number).map(one).collect()
}

fn build(lab: &Lab, config: &Config) -> Result<()> {
    make_dir(&lab.state())?;
    // What a lab of this name left in the cache belongs to nobody: its state is gone.
    sweep(lab)?;
    make_dir(&lab.data())?;
    config::save(&lab.config(), config)?;
    archive::publish_into(lab, SiteVersion::First)?;
    netns::make_gateway(lab)?;
    for one in &config.hosts {
        netns::make_host(lab, &one.name, &one.address)?;
        host::prepare(lab, one)?;
    }
    supervisor::start(lab, &config.binary)?;
    let booted = |h: &HostConfig| HostRecord::load(lab, &h.name).is_ok_and(|r| r.leader.is_some());
    let hint = format!("see {} and console.log below it", lab.state().display());
    wait_until("the start of all hosts", Duration::from_secs(60), &hint, || config.hosts.iter().all(booted))
}

fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(Error::NotRoot) }
}

/// How each host of the lab stands.
///
/// # Errors
/// Where there is no such lab.
pub fn status(name: &str) -> Result<Vec<HostStatus>> {
    let lab = Lab::new(name)?;
    let config = config::of(&lab)?;
    Ok(config.hosts.iter().map(|h| status_of(&lab, h)).collect())
}

fn status_of(lab: &Lab, host: &HostConfig) -> HostStatus {
    let record = HostRecord::load(lab, &host.name).ok();
    let leader = record.and_then(|r| r.leader).filter(|l| l.alive());
    let state = match record.map(|r| r.state) {
        None => HostState::Starting,
        Some(HostState::Running) if leader.is_none() => HostState::Failed,
        Some(state) => state,
    };
    let boot_id = leader.and_then(|l| fs::read_to_string(format!("/proc/{}/root/proc/sys/kernel/random/boot_id", l.pid)).ok());
    HostStatus {
        name: host.name.clone(),
        role: host.role,
        zone: host.zone.clone(),
        address: host.address.clone(),
        pid: leader.map(|l| l.pid),
        state,
        boot_id: boot_id.map(|b| b.trim().to_string()),
    }
}

fn leader(lab: &Lab, host: &str) -> Result<Process> {
    let no = |why: &str| Error::Host { lab: lab.name.clone(), host: host.into(), why: why.into() };
    let config = config::of(lab)?;
    if !config.hosts.iter().any(|h| h.name == host) {
        return Err(no("does not exist: `fother lab status` lists the hosts"));
    }
    let leader = HostRecord::load(lab, host).ok().and_then(|r| r.leader).filter(|l| l.alive());
    leader.ok_or_else(|| no("is not running: `fother lab start` starts it"))
}

/// The command that runs `argv` on a host as root, in all its namespaces, with a clean environment: for callers that want
/// to wire up its input and output themselves.
///
/// # Errors
/// Where the host does not run.
pub fn command(name: &str, host: &str, argv: &[&str]) -> Result<std::process::Command> {
    let lab = Lab::new(name)?;
    let leader = leader(&lab, host)?;
    let group = cgroup::make(&lab, &format!("{host}/exec"), false)?;
    let mut enter = cgroup::joined(&group, "nsenter");
    enter.args([
        &format!("--target={}", leader.pid),
        "--mount",
        "--uts",
        "--ipc",
        "--net",
        "--pid",
        "--cgroup",
        "--root",
        "--wdns=/root",
        "--",
    ]);
    enter.args(["env", "-i", &format!("PATH={}", run::PATH), "HOME=/root", "LC_ALL=C.UTF-8", "TERM=dumb"]).args(argv);
    Ok(enter)
}

/// Runs `argv` on a host and waits for it, feeding `stdin`.
///
/// # Errors
/// Where the host does not run; that the program itself failed is told by its status.
pub fn exec(name: &str, host: &str, argv: &[&str], stdin: &[u8]) -> Result<Output> {
    run::run_with_input(&mut command(name, host, argv)?, stdin)
}

/// Puts a file on a host: whole or not at all, owned by root.
///
/// # Errors
/// Where the host does not run or cannot store it.
pub fn copy_in(name: &str, host: &str, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    const SCRIPT: &str =
        "umask 077; mkdir -p \"$(dirname \"$1\")\" && cat >\"$1.new\" && chmod \"$2\" \"$1.new\" && mv -T \"$1.new\" \"$1\"";
    let path = path.to_string_lossy();
    let output = exec(name, host, &["sh", "-c", SCRIPT, "sh", &path, &format!("{mode:o}")], bytes)?;
    if output.status.success() {
        return Ok(());
    }
    let why = format!("could not store {path}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::Host { lab: name.into(), host: host.into(), why })
}

/// Starts a host that is off.
///
/// # Errors
/// Where there is no such host or its lab has no supervisor any more.
pub fn start(name: &str, host: &str) -> Result<()> {
    let lab = Lab::new(name)?;
    config::of(&lab)?;
    match HostRecord::load(&lab, host).map(|r| r.state) {
        Ok(HostState::Off | HostState::Failed) => supervisor::ask_to_start(&lab, host),
        Ok(HostState::Starting | HostState::Running) => Ok(()),
        Err(_) => Err(Error::Host { lab: name.into(), host: host.into(), why: "does not exist".into() }),
    }
}

/// Waits until every web host answers 200 at its own address, and through the balancer, and every worker's service is active.
///
/// # Errors
/// Where that does not happen in time.
pub fn wait_ready(name: &str, timeout: Duration) -> Result<()> {
    let lab = Lab::new(name)?;
    let config = config::of(&lab)?;
    let begin = Instant::now();
    for host in &config.hosts {
        let left = timeout.saturating_sub(begin.elapsed());
        let hint = format!("see {}", lab.host_state(&host.name).join("console.log").display());
        wait_until(&format!("{} ready to serve", host.name), left, &hint, || match host.role {
            Role::Web => answers(name, &host.address),
            Role::Worker => exec(name, &host.name, &["systemctl", "is-active", "-q", "lab-worker"], b"").is_ok_and(|o| o.status.success()),
        })?;
    }
    let left = timeout.saturating_sub(begin.elapsed());
    wait_until("the load balancer's first answer", left, &format!("see {}", lab.log().display()), || answers(name, crate::paths::GATEWAY))
}

fn answers(name: &str, address: &str) -> bool {
    let Ok(ip) = address.parse::<IpAddr>() else { return false };
    netns::in_gateway(name, || get(SocketAddr::new(ip, 80), "/", PROBE_WITHIN)).is_ok_and(|a| a.is_ok_and(|a| a.status == 200))
}

/// Ends a lab and leaves nothing behind, also when its supervisor was killed, or the lab is not there at all. With `purge`,
/// the shared cache goes as well, unless another lab uses it.
///
/// # Errors
/// Where a process does not end or something cannot be removed; a second call goes on from there.
pub fn down(name: &str, purge: bool) -> Result<()> {
    let lab = Lab::new(name)?;
    need_root()?;
    // First the supervisor, which would start the rest again.
    if let Some(process) = supervisor::recorded(&lab).filter(|p| p.alive()) {
        process.kill(KILL_WITHIN)?;
    }
    let hosts: Vec<String> = config::of(&lab).map(|c| c.hosts.into_iter().map(|h| h.name).collect()).unwrap_or_default();
    for record in hosts.iter().filter_map(|h| HostRecord::load(&lab, h).ok()) {
        for process in [record.nspawn, record.leader].into_iter().flatten().filter(|p| p.alive()) {
            process.kill(KILL_WITHIN)?;
        }
    }
    cgroup::kill_all(&lab)?;
    for netns in netns::existing(&lab) {
        let left = netns::processes(&netns).into_iter().filter(|pid| *pid != std::process::id());
        for process in left.filter_map(Process::of) {
            process.kill(KILL_WITHIN)?;
        }
        netns::remove(&netns)?;
    }
    hosts.iter().for_each(|h| host::forget(&lab, h));
    sweep(&lab)?;
    remove(&lab.state())?;
    let labs = cache().join("labs");
    if purge && fs::read_dir(&labs).map_or(true, |mut d| d.next().is_none()) {
        remove(&cache())?;
    }
    Ok(())
}

/// Removes mounts and bulky data.
fn sweep(lab: &Lab) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let below = |path: &str| [lab.state(), lab.data()].iter().any(|dir| Path::new(path).starts_with(dir));
    for path in table.lines().rev().filter_map(|l| l.split(' ').nth(4)).filter(|p| below(p)) {
        run::sh("umount", &["--lazy", path])?;
    }
    remove(&lab.data())
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// All labs that exist on this machine.
#[must_use]
pub fn labs() -> Vec<String> {
    let entries = fs::read_dir("/run/fother-lab").into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter(|e| e.path().is_dir()).filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}
