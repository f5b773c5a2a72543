//! The clone as a container without devices, network or host sockets, with limits; starts and stops systemd-nspawn.

use super::{Error, RehearseRequest, driver::EXCHANGE, io_at, layers::Layers};
use crate::transact::{systemd_runs, tool};
use fother_core::Digest;
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command},
};

const NSPAWN: &str = "/usr/bin/systemd-nspawn";
/// Where the clone finds the driver, and the packages.
const BINARY: &str = "/run/fother-binary";
pub(super) const DEBS: &str = "/run/fother-debs";
const SYSTEMCTL_S_MAX: u64 = 60;

/// Units that do not run in a clone: they act on the outside, wait for it, or act by the clock.
const MASKED: &[&str] = &[
    "timers.target",
    "cron.service",
    "anacron.service",
    "atd.service",
    "apt-daily.service",
    "apt-daily-upgrade.service",
    "unattended-upgrades.service",
    "packagekit.service",
    "remote-fs.target",
    "remote-fs-pre.target",
    "systemd-networkd-wait-online.service",
    "NetworkManager-wait-online.service",
    "ifupdown-wait-online.service",
    "systemd-timesyncd.service",
    "systemd-firstboot.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "sys-kernel-config.mount",
    "fother-agent.service",
    "fother-agent-net.service",
    "fother-executor.service",
    "fother-server.service",
];

/// Capabilities that nspawn would grant inside the clone's user namespace and that no package script needs.
const DROPPED: &str =
    "CAP_SYS_MODULE,CAP_SYS_TIME,CAP_MKNOD,CAP_SYS_RAWIO,CAP_SYS_PTRACE,CAP_SYS_PACCT,CAP_AUDIT_CONTROL,CAP_LINUX_IMMUTABLE,CAP_WAKE_ALARM";

/// Run as the container's first process before anything of the clone's own.
///
/// In the user namespace that nspawn makes, its read-only mounts of `/proc/sys` and its masks belong to the clone, whose root (host user id 0, the
/// mapping being the identity) may make them writable again and then set `kernel.core_pattern`: a way out. So the clone runs one user and mount
/// namespace deeper: there the kernel locks every mount that it inherits, and refuses new mounts of proc and sysfs (user_namespaces(7),
/// mount_namespaces(7)). The network namespace stays outside, hence the port setting. The mask over `/proc/kmsg` is replaced by one on which
/// services may mount theirs.
const LOCK_DOWN: &str = r#"set -e
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
umount /proc/kmsg || true
mount --bind /dev/null /proc/kmsg
a=/run/.fother-a; b=/run/.fother-b
mkfifo -m 600 $a $b
(read -r x < $a && echo '0 0 65536' > /proc/$$/uid_map && echo '0 0 65536' > /proc/$$/gid_map && echo > $b || kill -KILL $$) &
exec unshare --user --mount --uts --ipc --propagation shared sh -c 'a=/run/.fother-a; b=/run/.fother-b; echo > $a && read -r x < $b; rm -f $a $b; exec "$@"' "$0" "$@"
"#;

/// A running clone. Dropping it ends every process in it.
pub(super) struct Clone {
    how: How,
    pid_file: PathBuf,
    /// Processes could not be limited here.
    pub unlimited: Option<String>,
    /// Its services run.
    pub booted: bool,
}

enum How {
    /// A unit of this host's systemd.
    Unit(String),
    /// A process of ours, with the control groups that were made for it.
    Process(Child, Vec<PathBuf>),
}

/// A name for everything that belongs to one work directory.
fn name(work: &Path) -> String {
    format!("fother-rehearsal-{}", Digest::of_file(work.to_string_lossy().as_bytes()).short())
}

impl Clone {
    /// Starts the clone: booted where it has systemd, else only the driver.
    pub(super) fn start(request: &RehearseRequest, layers: &Layers, exchange: &Path) -> Result<Self, Error> {
        if !Path::new(NSPAWN).exists() {
            return Err(Error::Clone("cannot be started: systemd-nspawn is not installed (Debian package systemd-container)".to_owned()));
        }
        let booted = bootable(&layers.merged);
        let nspawn = arguments(request, layers, exchange, booted)?;
        let (name, pid_file) = (name(&request.work), request.work.join("clone.pid"));
        if systemd_runs() {
            let limits = request.limits;
            let mut run = tool("systemd-run");
            run.args(["--quiet", "--collect", "--service-type=exec"]).arg(format!("--unit={name}"));
            let properties = [
                "Delegate=yes".to_owned(),
                "KillMode=mixed".to_owned(),
                "DevicePolicy=closed".to_owned(),
                "DeviceAllow=char-pts rw".to_owned(),
                "TimeoutStopSec=20s".to_owned(),
                format!("MemoryMax={}", limits.memory_bytes),
                "MemorySwapMax=0".to_owned(),
                format!("CPUQuota={}%", limits.cpu_percent),
                format!("TasksMax={}", limits.tasks),
                format!("RuntimeMaxSec={}", limits.time_s),
                format!("StandardOutput=append:{}", exchange.join("nspawn.log").display()),
                format!("StandardError=append:{}", exchange.join("nspawn.log").display()),
            ];
            run.args(properties.iter().flat_map(|property| ["-p", property])).arg(NSPAWN);
            // The manager of services would put variables of its own in place of `$…` (systemd.service(5), "Command lines").
            run.args(nspawn.iter().map(|argument| argument.replace('$', "$$")));
            crate::transact::output(&mut run, SYSTEMCTL_S_MAX)?;
            return Ok(Self { how: How::Unit(name), pid_file, unlimited: None, booted });
        }
        let (groups, unlimited) = control_groups(&name, request);
        let enter: String = groups.iter().map(|group| format!("echo $$ > '{}/cgroup.procs'; ", group.display())).collect();
        let log = fs::File::create(exchange.join("nspawn.log")).map_err(io_at("nspawn.log"))?;
        let errors = log.try_clone().map_err(io_at("nspawn.log"))?;
        let mut command: Command = tool("/bin/sh");
        command.args(["-c", &format!("{enter}exec \"$@\""), "fother", NSPAWN]).args(nspawn).stdout(log).stderr(errors).process_group(0);
        let child = command.spawn().map_err(io_at(NSPAWN))?;
        fs::write(&pid_file, child.id().to_string()).map_err(io_at("clone.pid"))?;
        Ok(Self { how: How::Process(child, groups), pid_file, unlimited, booted })
    }

    /// Whether it still runs.
    pub(super) fn alive(&mut self) -> bool {
        match &mut self.how {
            How::Unit(name) => {
                let state = crate::transact::lenient(tool("systemctl").args(["is-active", "--", name]), SYSTEMCTL_S_MAX);
                state.is_ok_and(|(_, text, _)| matches!(text.trim(), "active" | "activating" | "deactivating"))
            }
            How::Process(child, _) => matches!(child.try_wait(), Ok(None)),
        }
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        match &mut self.how {
            How::Unit(name) => stop_unit(name),
            How::Process(child, groups) => {
                let _ = child.kill();
                let _ = child.wait();
                groups.iter().for_each(|group| empty(group));
            }
        }
        let _ = fs::remove_file(&self.pid_file);
    }
}

fn stop_unit(name: &str) {
    for arguments in [&["kill", "--signal=KILL", name][..], &["stop", name], &["reset-failed", name]] {
        let _ = crate::transact::lenient(tool("systemctl").args(arguments), SYSTEMCTL_S_MAX);
    }
}

/// Ends the clone of a killed predecessor in the same work directory.
pub(super) fn stop_stale(work: &Path) {
    let name = name(work);
    if systemd_runs() {
        stop_unit(&format!("{name}.service"));
    }
    let pid = fs::read_to_string(work.join("clone.pid")).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(pid) = pid
        && fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(&name))
        && let Some(pid) = Pid::from_raw(pid)
    {
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = fs::remove_file(work.join("clone.pid"));
    for controller in ["pids", "memory", "unified", "."] {
        empty(&Path::new("/sys/fs/cgroup").join(controller).join(&name));
    }
}

/// Kills whatever is left in a control group of ours and removes it.
fn empty(group: &Path) {
    for dir in fs::read_dir(group).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        empty(&dir.path());
    }
    for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|line| line.parse().ok()) {
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    for _ in 0..100 {
        if !group.exists() || fs::remove_dir(group).is_ok() {
            return;
        }
        std::thread::sleep(crate::transact::POLL);
    }
}

/// Where systemd does not run, limits are set in control groups of our own.
fn control_groups(name: &str, request: &RehearseRequest) -> (Vec<PathBuf>, Option<String>) {
    let root = Path::new("/sys/fs/cgroup");
    let (tasks, memory) = (request.limits.tasks.to_string(), request.limits.memory_bytes.to_string());
    let unified = root.join("cgroup.controllers").exists();
    let wanted: [(PathBuf, &str, &str); 2] = if unified {
        [(root.join(name), "pids.max", &tasks), (root.join(name), "memory.max", &memory)]
    } else {
        [(root.join("pids").join(name), "pids.max", &tasks), (root.join("memory").join(name), "memory.limit_in_bytes", &memory)]
    };
    let (mut groups, mut missing) = (Vec::new(), Vec::new());
    for (group, file, limit) in wanted {
        if fs::create_dir_all(&group).and_then(|()| fs::write(group.join(file), limit)).is_ok() {
            if !groups.contains(&group) {
                groups.push(group);
            }
        } else {
            missing.push(file);
        }
    }
    let unlimited =
        (!missing.is_empty()).then(|| format!("the clone ran without these limits, which cannot be set here: {}", missing.join(", ")));
    (groups, unlimited)
}

/// Whether the clone's init is systemd.
fn bootable(merged: &Path) -> bool {
    let init = fs::read_link(merged.join("sbin/init")).or_else(|_| fs::read_link(merged.join("usr/sbin/init")));
    init.is_ok_and(|target| target.ends_with("systemd/systemd")) && merged.join("usr/lib/systemd/systemd").exists()
        || merged.join("lib/systemd/systemd").exists() && merged.join("sbin/init").symlink_metadata().is_ok()
}

fn arguments(request: &RehearseRequest, layers: &Layers, exchange: &Path, booted: bool) -> Result<Vec<String>, Error> {
    let bind =
        |how: &str, from: &Path, to: &str| format!("--bind{how}={}:{to}", from.to_string_lossy().replace('\\', "\\\\").replace(':', "\\:"));
    let name = name(&request.work);
    let mut out: Vec<String> =
        ["--quiet", "--register=no", "--keep-unit", "--private-users=identity", "--private-network", "--link-journal=no"]
            .map(str::to_owned)
            .into();
    out.extend(["--console=pipe", "--resolv-conf=off", "--timezone=off", "--settings=no", "--kill-signal=SIGRTMIN+4"].map(str::to_owned));
    out.extend([format!("--machine={name}"), format!("--hostname={}", hostname()), format!("--drop-capability={DROPPED}")]);
    out.extend([bind("-ro", &request.binary, BINARY), bind("-ro", &request.debs, DEBS), bind("", exchange, EXCHANGE)]);
    for secret in ["/var/lib/fother", "/etc/fother/keys"] {
        if layers.merged.join(&secret[1..]).is_dir() {
            out.push(format!("--tmpfs={secret}:mode=0700"));
        }
    }
    out.extend(["-D".to_owned(), layers.merged.display().to_string()]);
    if booted {
        let unit = request.work.join("driver.service");
        fs::write(&unit, unit_text(request)).map_err(io_at(unit.display().to_string()))?;
        out.insert(0, bind("-ro", &unit, "/run/systemd/system/fother-rehearsal.service"));
        out.extend(["/bin/sh", "-c", LOCK_DOWN, "fother", "/lib/systemd/systemd"].map(str::to_owned));
        out.extend(["systemd.wants=fother-rehearsal.service", "fstab=no", "systemd.show_status=no"].map(str::to_owned));
        out.extend(MASKED.iter().map(|unit| format!("systemd.mask={unit}")));
    } else {
        out.insert(0, "--as-pid2".to_owned());
        out.extend(["/bin/sh", "-c", LOCK_DOWN, "fother", BINARY].map(str::to_owned));
        out.extend(request.driver_args.iter().cloned());
    }
    Ok(out)
}

fn hostname() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = name.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).take(63).collect();
    if name.is_empty() { "clone".to_owned() } else { name }
}

fn unit_text(request: &RehearseRequest) -> String {
    let arguments: String = request
        .driver_args
        .iter()
        .map(|word| format!(" \"{}\"", word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$")))
        .collect();
    format!(
        "[Unit]\nDescription=Driver of a Fother rehearsal\nIgnoreOnIsolate=yes\nFailureAction=poweroff-force\n\n[Service]\nType=exec\nExecStart={BINARY}{arguments}\n\
         StandardOutput=append:{EXCHANGE}/driver.log\nStandardError=append:{EXCHANGE}/driver.log\nOOMScoreAdjust=-500\nTimeoutStopSec=5\n"
    )
}
