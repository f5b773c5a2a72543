//! Where the agent's files lie and what was pinned at enrolment; reads files only.

use crate::durable;
use ed25519_dalek::VerifyingKey;
use fother_core::id::HostId;
use fother_host::{checks::Prometheus, traffic::Balancer};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

/// Name of the network half's system user.
pub const NETWORK_USER: &str = "fother-agent";

/// Directories and the network half's identity.
#[derive(Clone, Debug)]
pub struct Config {
    /// The executor's own directory, 0700 root: state, verified files, journals, undo archives.
    pub data: PathBuf,
    /// The network half's directory, 0700, owned by it: key, certificate, spool.
    pub net: PathBuf,
    /// Sockets.
    pub run: PathBuf,
    /// `trust.toml`, `agent.toml`, hooks.
    pub etc: PathBuf,
    /// User id of the network half: besides root the only one that may talk to the executor.
    pub network_uid: u32,
    /// Its group.
    pub network_gid: u32,
    /// Who must own the trust file: root.
    pub owner_uid: u32,
    /// This very program, for transient units.
    pub binary: PathBuf,
}

/// Why the agent's own files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Reading failed.
    #[error("{path} cannot be read: {source}; enrol this host with `fother agent install`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not what enrolment wrote.
    #[error("{path} is damaged: {why}; enrol this host again")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl Config {
    /// The installed layout below `root` (`/` on a host).
    #[must_use]
    pub fn system(root: &Path, network_uid: u32, network_gid: u32, binary: PathBuf) -> Self {
        Self {
            data: root.join("var/lib/fother/agent"),
            net: root.join("var/lib/fother/agent-net"),
            run: root.join("run/fother"),
            etc: root.join("etc/fother"),
            network_uid,
            network_gid,
            owner_uid: 0,
            binary,
        }
    }

    /// The executor's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.run.join("executor.sock")
    }

    /// Where the network half puts fetched bytes.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.net.join("spool")
    }

    /// Where the transactions' journals lie.
    #[must_use]
    pub fn transactions(&self) -> PathBuf {
        self.data.join("txn")
    }

    /// Makes this host read-only, or lets approved changes in; effective at once, told to the server at the next check-in.
    /// Everything else in `agent.toml` stays.
    ///
    /// # Errors
    /// Where `agent.toml` cannot be written.
    pub fn observe(&self, on: bool) -> io::Result<()> {
        let path = self.etc.join("agent.toml");
        let old = match std::fs::read_to_string(&path) {
            Ok(text) if toml::from_str::<Settings>(&text).is_ok() => text,
            _ => format!("{OBSERVE_SAYS}observe = false\n{REPAIR_SAYS}repair = {}\n", self.repairs()),
        };
        std::fs::create_dir_all(&self.etc)?;
        durable::Disk::default().replace(&path, with_observe(&old, on).as_bytes())?;
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
    }

    /// Whether this host only observes: `observe = true` in `agent.toml`. Anything unreadable counts as yes.
    #[must_use]
    pub fn observes(&self) -> bool {
        match std::fs::read_to_string(self.etc.join("agent.toml")) {
            Ok(text) => toml::from_str::<Settings>(&text).map_or(true, |settings| settings.observe),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Whether what somebody else left unfinished may be repaired here: `repair = true` in `agent.toml`. Anything unreadable counts as no.
    #[must_use]
    pub fn repairs(&self) -> bool {
        let text = std::fs::read_to_string(self.etc.join("agent.toml")).unwrap_or_default();
        !self.observes() && toml::from_str::<Settings>(&text).is_ok_and(|settings| settings.repair)
    }
}

/// `/etc/fother/agent.toml`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Read-only: neither rehearsals nor changes.
    #[serde(default)]
    pub observe: bool,
    /// Finish what somebody left half-configured.
    #[serde(default)]
    pub repair: bool,
    /// Prometheus servers that checks may ask, by name.
    #[serde(default)]
    pub prometheus: BTreeMap<String, Prometheus>,
    /// Load balancers that this host leaves before it is changed, and returns to afterwards.
    #[serde(default)]
    pub traffic: Vec<Balancer>,
}

const OBSERVE_SAYS: &str = "# true: neither rehearsals nor changes on this host.\n";
const REPAIR_SAYS: &str = "# true: what somebody left half-configured is finished (`dpkg --configure -a`) before updates are looked for.\n";

/// The text with `observe` set; it stands before the first table.
fn with_observe(text: &str, on: bool) -> String {
    let (mut out, mut done, mut tables) = (String::new(), false, false);
    for line in text.lines() {
        let line_is = |key: &str| line.trim_start().strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='));
        tables |= line.trim_start().starts_with('[');
        if !tables && line_is("observe") {
            out.push_str(&format!("observe = {on}\n"));
            done = true;
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    if done { out } else { format!("{OBSERVE_SAYS}observe = {on}\n{out}") }
}

/// What root configured for checks in the `agent.toml` of `etc`; nothing where it cannot be read.
#[must_use]
pub fn checks(etc: &Path) -> fother_host::checks::Settings {
    let text = std::fs::read_to_string(etc.join("agent.toml")).unwrap_or_default();
    let prometheus = toml::from_str::<Settings>(&text).map(|settings| settings.prometheus).unwrap_or_default();
    fother_host::checks::Settings { prometheus }
}

/// What enrolment pinned, root-owned, for the executor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// This host.
    pub host: HostId,
    /// Directive key, 64 hexadecimal digits.
    pub directive_key: String,
    /// Log key in C2SP verifier form.
    pub log_key: String,
}

impl Identity {
    /// File name below [`Config::data`].
    pub const FILE: &'static str = "identity.json";

    /// Reads it.
    ///
    /// # Errors
    /// Where the host is not enrolled or the file is damaged.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        read_json(&config.data.join(Self::FILE))
    }

    /// The directive key.
    ///
    /// # Errors
    /// Where it is no Ed25519 key.
    pub fn key(&self) -> Result<VerifyingKey, ConfigError> {
        let damaged = |why: &str| ConfigError::Damaged { path: PathBuf::from(Self::FILE), why: why.to_owned() };
        let bytes =
            fother_core::Digest::from_hex(&self.directive_key).map_err(|_| damaged("the directive key is not 64 hexadecimal digits"))?;
        VerifyingKey::from_bytes(&bytes.0).map_err(|_| damaged("the directive key is no Ed25519 key"))
    }
}

/// What the network half needs; lies in its own directory.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `https://address:port`.
    pub server: String,
    /// The only CA that is believed, PEM.
    pub ca: String,
    /// This host's certificate, PEM.
    pub certificate: String,
}

impl Client {
    /// File name below [`Config::net`].
    pub const FILE: &'static str = "client.json";
    /// The private key beside it, PEM, 0600.
    pub const KEY_FILE: &'static str = "key.pem";
    /// The key of a renewal that was not finished.
    pub const NEXT_KEY_FILE: &'static str = "key-next.pem";

    /// Reads it.
    ///
    /// # Errors
    /// Where the host is not enrolled or the file is damaged.
    pub fn read(config: &Config) -> Result<Self, ConfigError> {
        read_json(&config.net.join(Self::FILE))
    }
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T, ConfigError> {
    let bytes = durable::read_bounded(path, 1 << 20).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|error| ConfigError::Damaged { path: path.to_owned(), why: error.to_string() })
}

/// The load balancers in the `agent.toml` of `etc`.
///
/// # Errors
/// Where it is there and cannot be read, or one of them is malformed: then this host must not be touched.
pub fn balancers(etc: &Path) -> Result<Vec<Balancer>, String> {
    let path = etc.join("agent.toml");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(format!("{} cannot be read: {error}", path.display())),
    };
    let settings: Settings = toml::from_str(&text).map_err(|error| format!("{}: {}", path.display(), error.message()))?;
    for balancer in &settings.traffic {
        balancer.check().map_err(|why| format!("{}: traffic: {why}", path.display()))?;
    }
    Ok(settings.traffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switching_observe_leaves_everything_else_as_root_wrote_it() {
        let text = "# ours\nrepair = true\n[prometheus.main]\nurl = \"http://192.0.2.1:9090\"\ninstance = \"web-1:9100\"\n";
        let on = with_observe(text, true);
        let settings: Settings = toml::from_str(&on).unwrap();
        assert!(settings.observe && settings.repair && settings.prometheus["main"].instance == "web-1:9100", "{on}");
        assert!(on.contains("# ours"));
        let off = with_observe(&on, false);
        assert!(!toml::from_str::<Settings>(&off).unwrap().observe);
        assert_eq!(off.matches("observe =").count(), 1, "{off}");
    }

    #[test]
    fn balancers_are_read_and_what_is_malformed_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            std::fs::write(dir.path().join("agent.toml"), text).unwrap();
            balancers(dir.path())
        };
        assert_eq!(balancers(&dir.path().join("none")), Ok(Vec::new()));
        let haproxy = "[[traffic]]\nkind = \"haproxy\"\naddress = \"192.0.2.1:9999\"\nbackend = \"hosts\"\nserver = \"web-1\"\n";
        let file = "[[traffic]]\nkind = \"state-file\"\npath = \"/run/fother/out\"\nports = [80]\nsettle_ms = 1000\nwait_s = 5\n";
        assert_eq!(read(&format!("repair = true\n{haproxy}{file}")).map(|list| list.len()), Ok(2));
        for bad in [
            haproxy.replace("hosts", "a b"),
            file.replace("wait_s = 5", "wait_s = 0"),
            file.replace("ports", "port"),
            "[[traffic".to_owned(),
        ] {
            assert!(read(&bad).is_err_and(|why| why.contains("agent.toml")), "{bad}");
        }
    }
}
