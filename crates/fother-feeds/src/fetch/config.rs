//! The part of apt's configuration that says how to reach archives (apt.conf(5)); runs `apt-config`.

use std::{collections::BTreeMap, io, process::Command, time::Duration};

/// Time without a byte after which a connection counts as dead, where apt's configuration says nothing.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest timeout that is taken from the configuration.
const TIMEOUT_MAX: Duration = Duration::from_secs(600);

/// Proxies and timeout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AptConfig {
    /// Proxy by `http`, `https`, or `http::<host>`; `DIRECT` means none.
    pub proxies: BTreeMap<String, String>,
    /// Time without a byte after which a connection counts as dead.
    pub timeout: Duration,
}

impl Default for AptConfig {
    fn default() -> Self {
        Self { proxies: BTreeMap::new(), timeout: TIMEOUT }
    }
}

impl AptConfig {
    /// What `apt-config dump` says; where it names no proxy, `http_proxy` and `https_proxy`, as apt does.
    ///
    /// # Errors
    /// Where apt-config cannot be run.
    pub fn of_machine() -> io::Result<Self> {
        let output = Command::new("apt-config").arg("dump").env("LC_ALL", "C").output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("apt-config failed: {}", String::from_utf8_lossy(&output.stderr).trim())));
        }
        let mut config = Self::parse(&String::from_utf8_lossy(&output.stdout));
        for scheme in ["http", "https"] {
            if let Ok(proxy) = std::env::var(format!("{scheme}_proxy")) {
                config.proxies.entry(scheme.to_owned()).or_insert(proxy);
            }
        }
        Ok(config)
    }

    /// Reads the output of `apt-config dump`.
    #[must_use]
    pub fn parse(dump: &str) -> Self {
        let mut config = Self::default();
        for line in dump.lines() {
            let Some((name, value)) = line.trim_end_matches(';').split_once(' ') else { continue };
            let value = value.trim_matches('"');
            let lower = name.to_ascii_lowercase();
            for scheme in ["http", "https"] {
                let Some(rest) = lower.strip_prefix(&format!("acquire::{scheme}::")) else { continue };
                match rest.split_once("::") {
                    None if rest == "proxy" && !value.is_empty() => drop(config.proxies.insert(scheme.to_owned(), value.to_owned())),
                    Some(("proxy", host)) if !value.is_empty() => {
                        drop(config.proxies.insert(format!("{scheme}::{host}"), value.to_owned()))
                    }
                    None if rest == "timeout" => {
                        let seconds = value.parse().map_or(TIMEOUT, Duration::from_secs);
                        config.timeout = seconds.clamp(Duration::from_secs(1), TIMEOUT_MAX);
                    }
                    _ => {}
                }
            }
        }
        config
    }

    /// The proxy for an address: the one for its host, else for its scheme; https falls back to http's. `None`: direct.
    #[must_use]
    pub fn proxy_for(&self, url: &str) -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split(['/', ':']).next()?.to_ascii_lowercase();
        let keys = [format!("{scheme}::{host}"), format!("http::{host}"), scheme.to_owned(), "http".to_owned()];
        let proxy = keys.iter().find_map(|key| self.proxies.get(key))?;
        if proxy == "DIRECT" || proxy == "false" { None } else { Some(proxy.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_taken_by_host_then_by_scheme() {
        let config = AptConfig::parse(
            "Acquire \"\";\nAcquire::http \"\";\nAcquire::http::Proxy \"http://p:1\";\nAcquire::http::Proxy::in.example \"DIRECT\";\n\
             Acquire::https::Proxy::s.example \"http://q:2\";\nAcquire::http::Timeout \"7\";\n",
        );
        assert_eq!(config.timeout, Duration::from_secs(7));
        let proxy = |url| config.proxy_for(url);
        assert_eq!(proxy("http://a.example/x").as_deref(), Some("http://p:1"));
        assert_eq!(proxy("https://a.example/x").as_deref(), Some("http://p:1"));
        assert_eq!(proxy("https://s.example:8443/x").as_deref(), Some("http://q:2"));
        assert_eq!(proxy("http://IN.example/x"), None);
        assert_eq!(AptConfig::default().proxy_for("http://a.example/"), None);
    }
}
