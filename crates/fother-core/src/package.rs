//! Packages as they are installed and as an archive offers them.

use crate::{Digest, version::Version};
use serde::{Deserialize, Serialize};

/// One installed package of a host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Installed {
    /// Binary package name.
    pub name: String,
    /// Architecture (`amd64`, `all`).
    pub arch: String,
    /// Binary version.
    pub version: Version,
    /// Source package name.
    pub source: String,
    /// Source version; differs from `version` for binNMUs and some packages.
    pub source_version: Version,
    /// dpkg state, unless it is plain `installed` (for example `half-configured`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
    /// Held by the administrator (`apt-mark hold`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
}

/// What kind of update a package version is, as the vendor says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UpdateClass {
    /// Comes from the vendor's security archive or names a CVE.
    Security,
    /// A fix without security content.
    Bugfix,
    /// New features or a new upstream version.
    Enhancement,
}

/// One package version that an archive offers, with the place to get it from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Offer {
    /// The archive's `Origin` field, for example `Debian`.
    pub origin: String,
    /// The archive's `Label` field, for example `Debian-Security`.
    pub label: String,
    /// The `Suite` or `Codename` that the host's source names, for example `bookworm-security`.
    pub suite: String,
    /// Base address of the archive, as the host's source names it, without a trailing slash.
    pub uri: String,
    /// Path below the base address (`Filename` field).
    pub filename: String,
    /// Size of the package file in bytes.
    pub size: u64,
    /// SHA-256 of the package file.
    pub sha256: Digest,
}
