//! Installs the two services on a systemd host, or removes them; runs as root and says what it writes.

use crate::{
    config::{Config, Identity, NETWORK_USER},
    enrol::{EnrolError, EnrolOptions, enrol},
};
use fother_core::{approval::Trust, id::HostId};
use std::{
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

const EXECUTOR_UNIT: &str = "etc/systemd/system/fother-executor.service";
const AGENT_UNIT: &str = "etc/systemd/system/fother-agent.service";

/// How to install.
#[derive(Clone, Debug)]
pub struct InstallOptions {
    /// Enrolment.
    pub enrol: EnrolOptions,
    /// The installed program, for the units.
    pub binary: PathBuf,
    /// A trust file given here and now by root; without it no change is ever approved on this host.
    pub trust: Option<PathBuf>,
}

/// Why installing failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// Not root.
    #[error("installing the agent needs root: run it with sudo")]
    NotRoot,
    /// Enrolment.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
    /// Trust file.
    #[error("the trust file {path} is not usable: {why}")]
    Trust {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A program.
    #[error("`{command}` failed: {why}")]
    Command {
        /// Which.
        command: String,
        /// Its last words.
        why: String,
    },
    /// Files.
    #[error("{path} cannot be written: {source}")]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn run(program: &str, args: &[&str]) -> Result<(), InstallError> {
    let command = format!("{program} {}", args.join(" "));
    let output = Command::new(program).args(args).output();
    let output = output.map_err(|error| InstallError::Command { command: command.clone(), why: error.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    Err(InstallError::Command { command, why: fother_core::text::printable(String::from_utf8_lossy(&output.stderr).trim(), 500) })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), InstallError> {
    let file = |source| InstallError::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(file)?;
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, text).map_err(file)?;
    fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).map_err(file)?;
    fs::rename(&temporary, path).map_err(file)
}

/// The network half's user and group, made if missing.
///
/// # Errors
/// Where useradd fails.
pub fn network_user() -> Result<(u32, u32), InstallError> {
    if let Some(found) = find_user(NETWORK_USER) {
        return Ok(found);
    }
    run(
        "useradd",
        &["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", NETWORK_USER],
    )?;
    find_user(NETWORK_USER)
        .ok_or_else(|| InstallError::Command { command: "useradd".to_owned(), why: "the user is still missing".to_owned() })
}

/// User and group id of a local user (passwd(5)).
#[must_use]
pub fn find_user(name: &str) -> Option<(u32, u32)> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let fields: Vec<&str> = text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields.first() == Some(&name))?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// The executor's unit. It installs packages, so it has root; rehearsals need cgroups of their own below it. However often it ends,
/// it is started again: a host that gave up would be lost in the middle of a change.
#[must_use]
pub fn executor_unit(binary: &Path) -> String {
    format!(
        "[Unit]\nDescription=Fother executor: verifies and carries out approved updates\nDocumentation=man:fother(1)\n\
         StartLimitIntervalSec=0\n\n[Service]\n\
         ExecStart={} agent run --half executor\nRestart=always\nRestartSec=2\nDelegate=yes\nKillMode=process\nRuntimeDirectory=fother\n\
         RuntimeDirectoryMode=0755\nRuntimeDirectoryPreserve=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        binary.display()
    )
}

/// The network half's unit: no privileges, one writable directory.
#[must_use]
pub fn agent_unit(binary: &Path) -> String {
    format!(
        "[Unit]\nDescription=Fother agent: talks to the server\nDocumentation=man:fother(1)\nWants=network-online.target\n\
         After=network-online.target fother-executor.service\nStartLimitIntervalSec=0\n\n[Service]\nUser={NETWORK_USER}\nGroup={NETWORK_USER}\n\
         ExecStart={} agent run --half network\nRestart=always\nRestartSec=2\nNoNewPrivileges=yes\nCapabilityBoundingSet=\nAmbientCapabilities=\n\
         ProtectSystem=strict\nReadWritePaths=/var/lib/fother/agent-net\nProtectHome=yes\nPrivateTmp=yes\nPrivateDevices=yes\n\
         ProtectKernelTunables=yes\nProtectKernelModules=yes\nProtectKernelLogs=yes\nProtectControlGroups=yes\nProtectClock=yes\n\
         ProtectHostname=yes\nProtectProc=invisible\nRestrictNamespaces=yes\nRestrictRealtime=yes\nRestrictSUIDSGID=yes\nLockPersonality=yes\n\
         MemoryDenyWriteExecute=yes\nRestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\nSystemCallFilter=@system-service\n\
         SystemCallFilter=~@privileged @resources\nSystemCallArchitectures=native\nUMask=0077\nMemoryMax=256M\nTasksMax=64\n\n\
         [Install]\nWantedBy=multi-user.target\n",
        binary.display()
    )
}

/// A trust file that can be used, before anything is written.
fn read_trust(path: &Path) -> Result<String, InstallError> {
    let bad = |why: String| InstallError::Trust { path: path.to_owned(), why };
    let text = fs::read_to_string(path).map_err(|error| bad(error.to_string()))?;
    Trust::parse(&text).map_err(|error| bad(error.to_string()))?;
    Ok(text)
}

/// Enrols this host, makes the user, writes the units, starts them.
///
/// # Errors
/// See [`InstallError`].
pub fn install(options: &InstallOptions) -> Result<HostId, InstallError> {
    if !rustix::process::geteuid().is_root() {
        return Err(InstallError::NotRoot);
    }
    let identity = Path::new("/var/lib/fother/agent").join(Identity::FILE);
    if identity.exists() {
        return Err(EnrolError::Already(identity).into());
    }
    let trust = options.trust.as_deref().map(read_trust).transpose()?;
    let new_user = find_user(NETWORK_USER).is_none();
    let (uid, gid) = network_user()?;
    let config = Config::system(Path::new("/"), uid, gid, options.binary.clone());
    let host = enrol(&config, &options.enrol).inspect_err(|_| {
        // A host that could not enrol is left as it was.
        if new_user {
            let _ = run("userdel", &[NETWORK_USER]);
        }
    })?;
    let file = |path: &Path, source| InstallError::File { path: path.to_owned(), source };
    fs::set_permissions("/var/lib/fother", fs::Permissions::from_mode(0o755)).map_err(|error| file(Path::new("/var/lib/fother"), error))?;
    if let Some(trust) = trust {
        write(&config.etc.join("trust.toml"), &trust, 0o600)?;
    }
    let switches = config.etc.join("agent.toml");
    if options.enrol.observe || !switches.exists() {
        config.observe(options.enrol.observe).map_err(|source| file(&switches, source))?;
    }
    write(&Path::new("/").join(EXECUTOR_UNIT), &executor_unit(&options.binary), 0o644)?;
    write(&Path::new("/").join(AGENT_UNIT), &agent_unit(&options.binary), 0o644)?;
    run("systemctl", &["daemon-reload"])?;
    run("systemctl", &["enable", "--now", "fother-executor.service", "fother-agent.service"])?;
    Ok(host)
}

/// Stops and removes the services and the enrolment. Journals and undo archives stay, so that `undo` still works; says where.
///
/// # Errors
/// See [`InstallError`].
pub fn uninstall(config: &Config) -> Result<PathBuf, InstallError> {
    if !rustix::process::geteuid().is_root() {
        return Err(InstallError::NotRoot);
    }
    run("systemctl", &["disable", "--now", "fother-agent.service", "fother-executor.service"])?;
    let units = [Path::new("/").join(EXECUTOR_UNIT), Path::new("/").join(AGENT_UNIT)];
    let identity = [config.data.join(Identity::FILE), config.data.join("state.json")];
    for path in units.iter().chain(&identity) {
        match fs::remove_file(path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(InstallError::File { path: path.clone(), source }),
            _ => {}
        }
    }
    match fs::symlink_metadata(&config.net) {
        Ok(meta) if meta.is_dir() && meta.uid() == config.network_uid => {
            fs::remove_dir_all(&config.net).map_err(|source| InstallError::File { path: config.net.clone(), source })?;
        }
        _ => {}
    }
    run("systemctl", &["daemon-reload"])?;
    Ok(config.transactions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_halves_are_started_again_however_often_they_end() {
        for unit in [executor_unit(Path::new("/usr/bin/fother")), agent_unit(Path::new("/usr/bin/fother"))] {
            let (head, service) = unit.split_once("[Service]").unwrap();
            assert!(head.lines().any(|line| line == "StartLimitIntervalSec=0"), "{unit}");
            assert!(service.lines().any(|line| line == "Restart=always"), "{unit}");
        }
    }
}
