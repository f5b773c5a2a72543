//! What a lab's supervisor and its commands tell each other through files in the lab's state directory.

use crate::Role;
use crate::balancer::Balancer;
use crate::error::{Error, Result, io};
use crate::paths::{Lab, write};
use crate::process::Process;
use crate::sources::Archive;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Files of state larger than this are not ours, in bytes.
const STATE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub hosts: Vec<HostConfig>,
    pub archive: Archive,
    pub binary: PathBuf,
    #[serde(default)]
    pub balancer: Balancer,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct HostConfig {
    pub name: String,
    pub role: Role,
    pub zone: String,
    pub address: String,
    /// Overlayfs' `lowerdir`.
    pub lower: String,
    /// Whether it is set up as if unattended upgrades were on.
    pub other_patcher: bool,
}

/// Where a host stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Its systemd is not there yet, or on its way into the next boot.
    Starting,
    /// Its systemd runs.
    Running,
    /// It was switched off from inside.
    Off,
    /// It ended by itself in another way.
    Failed,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct HostRecord {
    pub state: HostState,
    pub nspawn: Option<Process>,
    pub leader: Option<Process>,
    pub boots: u32,
}

impl HostRecord {
    pub fn save(&self, lab: &Lab, host: &str) -> Result<()> {
        save(&lab.host_state(host).join("state.json"), self)
    }
    pub fn load(lab: &Lab, host: &str) -> Result<Self> {
        load(&lab.host_state(host).join("state.json"))
    }
}

pub(crate) fn save(path: &Path, value: &impl Serialize) -> Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| Error::Other(format!("cannot write {}: {e}", path.display())))?;
    write(path, &bytes, 0o600)
}

pub(crate) fn load<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    if std::fs::metadata(path).map_err(io("read", path))?.len() > STATE_BYTES_MAX {
        return Err(Error::Other(format!("{} is too large for the state of a lab: `fother lab down` ends it", path.display())));
    }
    let bytes = std::fs::read(path).map_err(io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| Error::Other(format!("{} is not readable ({e}): `fother lab down` ends it", path.display())))
}

/// The configuration of a lab that exists.
pub(crate) fn of(lab: &Lab) -> Result<Config> {
    if !lab.config().exists() {
        return Err(Error::NoLab(lab.name.clone()));
    }
    load(&lab.config())
}
