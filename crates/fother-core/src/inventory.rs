//! What one host is and holds: the first stage of every update's way.

use crate::{Digest, Timestamp, canonical, package::Installed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest inventory that a server accepts, in bytes.
pub const INVENTORY_BYTES_MAX: usize = 8 << 20;

/// The distribution of a host (os-release(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Distribution {
    /// `ID`, for example `debian`.
    pub id: String,
    /// `VERSION_ID`, for example `12`; empty for rolling suites.
    pub version: String,
    /// `VERSION_CODENAME`, for example `bookworm`.
    pub codename: String,
}

/// One archive that the host's package manager is configured to use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// Base address without a trailing slash; credentials are never carried.
    pub uri: String,
    /// Suite, or a path that ends in `/` for flat archives.
    pub suite: String,
    /// Components; empty for flat archives.
    pub components: Vec<String>,
    /// Path of the keyring that `Signed-By` names; `None` means apt's default keyrings.
    pub signed_by: Option<String>,
}

/// A systemd service unit and what is known about what it runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Service {
    /// Unit name, for example `nginx.service`.
    pub unit: String,
    /// `active`, `failed`, `inactive`, ….
    pub state: String,
    /// Addresses that its processes listen on, for example `tcp 0.0.0.0:80`.
    pub listens: Vec<String>,
    /// Files that its processes map and that are deleted or replaced: it must be restarted.
    pub stale_files: Vec<String>,
}

/// Whether the machine must be rebooted so that what runs is what is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Reboot {
    /// What runs is what is installed.
    No,
    /// Needed, with the reasons.
    Needed {
        /// For people, one sentence each.
        reasons: Vec<String>,
    },
    /// Could not be told, with the reasons.
    Unknown {
        /// For people, one sentence each.
        reasons: Vec<String>,
    },
}

/// Everything that a host reports about itself. Hostile until checked; carries no file contents, environments or journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Host name as the host tells it.
    pub hostname: String,
    /// Distribution.
    pub distribution: Distribution,
    /// dpkg's main architecture.
    pub architecture: String,
    /// Release of the running kernel.
    pub kernel: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Installed packages, sorted.
    pub packages: Vec<Installed>,
    /// Configured archives.
    pub sources: Vec<Source>,
    /// Services that run or failed, sorted.
    pub services: Vec<Service>,
    /// Reboot answer.
    pub reboot: Reboot,
    /// Other programs that patch this host, for example `unattended-upgrades (enabled)`.
    pub other_patchers: Vec<String>,
    /// What could not be read, by name, with the reason.
    pub unknown: Vec<String>,
}

impl Inventory {
    /// Name of this inventory.
    ///
    /// # Errors
    /// Never for an inventory that came through [`Inventory::parse`].
    pub fn digest(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("inventory", &canonical::to_vec(self)?))
    }

    /// What a transaction starts from: packages, holds, sources. A host whose base moved must replan.
    ///
    /// # Errors
    /// As for [`Inventory::digest`].
    pub fn base(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("base", &canonical::to_vec(&(&self.distribution, &self.architecture, &self.packages, &self.sources))?))
    }

    /// Reads a reported inventory.
    ///
    /// # Errors
    /// Where it is too large or malformed.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > INVENTORY_BYTES_MAX {
            return Err(format!("the inventory is larger than {INVENTORY_BYTES_MAX} bytes"));
        }
        serde_json::from_slice(bytes).map_err(|error| format!("the inventory cannot be read: {error}"))
    }
}

/// One CVE that an update closes, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Closes {
    /// For example `CVE-2026-12345`.
    pub cve: String,
    /// Where it stands: `changelog 3.0.17-1` or `DSA-1234-1`.
    pub evidence: String,
}

/// A label set that the server assigned; reported facts never become labels.
pub type Labels = BTreeMap<String, String>;

/// When a host was last heard of; an observation, not an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// The server's clock at the last check-in.
    pub at: Timestamp,
}
