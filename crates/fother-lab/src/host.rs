//! One host: its overlay over the base and its systemd in a container. Runs in the supervisor's own mount namespace.

use crate::cgroup;
use crate::config::{Config, HostConfig, HostRecord, HostState};
use crate::error::{Error, Result, io};
use crate::paths::{Lab, NETNS, write};
use crate::process::{Process, init_below};
use crate::run::{run, sh};
use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// What nspawn answers when the system inside asked for a reboot.
const REBOOT: i32 = 133;
/// How long systemd may take to appear.
const INIT_WITHIN: Duration = Duration::from_secs(30);
/// A host that fails on its own is started again this many times.
const RESTARTS_MAX: u32 = 3;

/// Lays out the host's own directories and identity. Called once, before its first boot.
pub(crate) fn prepare(lab: &Lab, host: &HostConfig) -> Result<()> {
    let home = lab.host_data(&host.name);
    for (dir, mode) in [("upper", 0o755), ("work", 0o700), ("data", 0o755)] {
        let dir = home.join(dir);
        fs::DirBuilder::new().recursive(true).mode(mode).create(&dir).map_err(io("make", &dir))?;
        fs::set_permissions(&dir, fs::Permissions::from_mode(mode)).map_err(io("set the mode of", &dir))?;
    }
    crate::paths::make_dir(&lab.host_state(&host.name).join("root"))?;
    let upper = home.join("upper");
    let uuid = fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(io("read", Path::new("/proc/sys/kernel/random/uuid")))?;
    write(&upper.join("etc/machine-id"), format!("{}\n", uuid.trim().replace('-', "")).as_bytes(), 0o444)?;
    write(&upper.join("etc/hostname"), format!("{}\n", host.name).as_bytes(), 0o644)?;
    write(&upper.join("etc/hosts"), format!("127.0.0.1 localhost\n{} {}\n", host.address, host.name).as_bytes(), 0o644)?;
    if host.other_patcher {
        let text = "APT::Periodic::Update-Package-Lists \"1\";\nAPT::Periodic::Unattended-Upgrade \"1\";\n";
        write(&upper.join("etc/apt/apt.conf.d/20auto-upgrades"), text.as_bytes(), 0o644)?;
        // Enabled as on a host that patches itself, yet due at a time when no lab is up: a host under test must not move by itself.
        let units = upper.join("etc/systemd/system");
        let timer = "[Unit]\nDescription=Daily apt upgrade\n\n[Timer]\nOnCalendar=2099-01-01\n\n[Install]\nWantedBy=timers.target\n";
        write(&units.join("apt-daily-upgrade.timer"), timer.as_bytes(), 0o644)?;
        let wants = units.join("timers.target.wants");
        fs::create_dir_all(&wants).map_err(io("make", &wants))?;
        let link = wants.join("apt-daily-upgrade.timer");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink("/etc/systemd/system/apt-daily-upgrade.timer", &link).map_err(io("link", &link))?;
    }
    Ok(())
}

/// Boots the host, again after each reboot, until the supervisor ends; a host that was switched off waits for `start`.
pub(crate) fn keep(lab: &Lab, config: &Config, host: &HostConfig, start: &Receiver<()>) -> Result<()> {
    let root = mount(lab, host)?;
    let mut failures = 0;
    let mut boots = 0;
    loop {
        boots += 1;
        let began = Instant::now();
        let code = boot(lab, config, host, &root, boots)?;
        cgroup::sweep(lab, &host.name);
        let record = |state| HostRecord { state, nspawn: None, leader: None, boots }.save(lab, &host.name);
        match code {
            Some(REBOOT) => {
                failures = 0;
                record(HostState::Starting)?;
                continue;
            }
            Some(0) => record(HostState::Off)?,
            _ if failures < RESTARTS_MAX && began.elapsed() > INIT_WITHIN => {
                failures += 1;
                continue;
            }
            _ => {
                tracing::warn!(host = host.name, ?code, "the host failed");
                record(HostState::Failed)?;
            }
        }
        if start.recv().is_err() {
            return Ok(());
        }
    }
}

fn mount(lab: &Lab, host: &HostConfig) -> Result<PathBuf> {
    let (home, root) = (lab.host_data(&host.name), lab.host_state(&host.name).join("root"));
    let options = format!("lowerdir={},upperdir={},workdir={}", host.lower, home.join("upper").display(), home.join("work").display());
    sh("mount", &["-t", "overlay", "overlay", "-o", &options, &root.to_string_lossy()])?;
    Ok(root)
}

/// One boot: returns nspawn's exit code.
fn boot(lab: &Lab, config: &Config, host: &HostConfig, root: &Path, boots: u32) -> Result<Option<i32>> {
    forget(lab, &host.name);
    let mut child = spawn(lab, config, host, root)?;
    let nspawn = Process::of(child.id());
    HostRecord { state: HostState::Starting, nspawn, leader: None, boots }.save(lab, &host.name)?;
    let begin = Instant::now();
    let leader = loop {
        if let Some(status) = child.try_wait().map_err(io("wait for", root))? {
            return Ok(status.code());
        }
        if let Some(leader) = init_below(child.id()) {
            break Process::of(leader);
        }
        if begin.elapsed() > INIT_WITHIN {
            let _ = child.kill();
            break None;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    HostRecord { state: HostState::Running, nspawn, leader, boots }.save(lab, &host.name)?;
    Ok(child.wait().map_err(io("wait for", root))?.code())
}

fn spawn(lab: &Lab, config: &Config, host: &HostConfig, root: &Path) -> Result<Child> {
    let log = lab.host_state(&host.name).join("console.log");
    let console = fs::File::create(&log).map_err(io("write", &log))?;
    let second = console.try_clone().map_err(io("write", &log))?;
    let group = cgroup::make(lab, &host.name, true)?;
    let mut nspawn = cgroup::joined(&group, "systemd-nspawn");
    // The hosts see version 2 of control groups also where the machine itself still mixes both, as their systemd expects.
    nspawn.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
    nspawn.args(["--boot", "--quiet", "--register=no", "--keep-unit", "--console=pipe", "--capability=all", "--link-journal=no"]);
    nspawn.args(["--resolv-conf=off", "--timezone=off", "--settings=no"]);
    nspawn.arg(format!("--machine={}", lab.netns(&host.name))).arg(format!("--hostname={}", host.name));
    nspawn.arg(format!("--network-namespace-path={}", Path::new(NETNS).join(lab.netns(&host.name)).display()));
    nspawn.arg(format!("--bind={}:/var/lib/fother", lab.host_data(&host.name).join("data").display()));
    nspawn.arg(format!("--bind-ro={}:/usr/local/bin/fother", config.binary.display()));
    nspawn.arg("--directory").arg(root);
    nspawn.stdout(Stdio::from(console)).stderr(Stdio::from(second));
    nspawn.spawn().map_err(|e| Error::Other(format!("systemd-nspawn could not be started: {e}; is systemd-container installed?")))
}

/// Removes what nspawn leaves behind below /run where that is no tmpfs.
pub(crate) fn forget(lab: &Lab, host: &str) {
    let left = Path::new("/run/systemd/nspawn/propagate").join(lab.netns(host));
    if left.exists() {
        let _ = run(crate::run::command("umount").arg("--lazy").arg("--quiet").arg(&left));
        let _ = fs::remove_dir(&left);
    }
}
