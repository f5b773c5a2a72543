//! Finds the archive, its keys and any proxy in the machine's own apt configuration. Reads below /etc/apt and asks apt-config.

use crate::error::{Error, Result, io};
use crate::run::sh;
use fother_core::deb822::{Stanza, stanzas};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Sources files larger than this are not read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One place that a suite comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Source {
    /// Base address without a slash at its end.
    pub uri: String,
    /// The suite's name.
    pub suite: String,
    /// The keyring that its index has to be signed by, where the source names one.
    pub signed_by: Option<PathBuf>,
}

/// What the lab takes from the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Archive {
    pub debian: Source,
    pub security: Source,
    pub proxy: Option<String>,
}

/// Reads the machine's configuration; `mirror` replaces the address of the first, or of both when written `MAIN,SECURITY`.
pub(crate) fn find(suite: &str, mirror: Option<&str>) -> Result<Archive> {
    let all = machine_sources()?;
    let (main, security) = match mirror.map(|m| m.split_once(',').map_or((m, None), |(a, b)| (a, Some(b)))) {
        Some((main, security)) => (Some(main), security),
        None => (None, None),
    };
    let debian = choose(&all, suite, main)?;
    let security = choose(&all, &format!("{suite}-security"), security)?;
    Ok(Archive { debian, security, proxy: proxy() })
}

fn choose(all: &[Source], suite: &str, address: Option<&str>) -> Result<Source> {
    let found = all.iter().find(|s| s.suite == suite).cloned();
    match address {
        None => found.ok_or_else(|| Error::NoSource(suite.into())),
        Some(uri) if is_http(uri) => {
            let signed_by = found.and_then(|s| s.signed_by);
            Ok(Source { uri: uri.trim_end_matches('/').into(), suite: suite.into(), signed_by })
        }
        Some(uri) => Err(Error::Other(format!("--mirror {uri:?} is not an http:// or https:// address"))),
    }
}

fn is_http(uri: &str) -> bool {
    (uri.starts_with("http://") || uri.starts_with("https://")) && !uri.bytes().any(|b| b.is_ascii_whitespace() || b.is_ascii_control())
}

fn machine_sources() -> Result<Vec<Source>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    let dir = Path::new("/etc/apt/sources.list.d");
    if dir.exists() {
        let mut below: Vec<PathBuf> = std::fs::read_dir(dir).map_err(io("read", dir))?.map_while(|e| e.ok().map(|e| e.path())).collect();
        below.sort();
        files.extend(below);
    }
    let mut all = Vec::new();
    for file in files.iter().filter(|f| f.exists()) {
        if std::fs::metadata(file).map_err(io("read", file))?.len() > FILE_BYTES_MAX {
            continue;
        }
        let text = std::fs::read_to_string(file).map_err(io("read", file))?;
        match file.extension().and_then(|e| e.to_str()) {
            Some("list") => all.extend(one_line(&text)),
            Some("sources") => all.extend(deb822(&text)),
            _ => {}
        }
    }
    Ok(all)
}

/// The style of sources.list(5) with a line a source.
fn one_line(text: &str) -> Vec<Source> {
    text.lines().filter_map(|line| one_source(line.split('#').next().unwrap_or_default())).collect()
}

fn one_source(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb")?;
    let rest = rest.strip_prefix(|c: char| c.is_whitespace())?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(bracket) => bracket.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace();
    let (uri, suite) = (words.next()?, words.next()?);
    let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by=")).filter(|p| p.starts_with('/'));
    let uri = uri.trim_end_matches('/');
    is_http(uri).then(|| Source { uri: uri.into(), suite: suite.into(), signed_by: signed_by.map(PathBuf::from) })
}

/// The style with stanzas.
fn deb822(text: &str) -> Vec<Source> {
    let bare: String = text.lines().filter(|l| !l.starts_with('#')).flat_map(|l| [l, "\n"]).collect();
    let mut all = Vec::new();
    for stanza in stanzas(&bare).map(Stanza::parse) {
        let words = |name: &str| stanza.get(name).unwrap_or_default().split_whitespace().map(str::to_string).collect::<Vec<_>>();
        if !words("Types").iter().any(|t| t == "deb") || stanza.get("Enabled").is_some_and(|e| e.trim() == "no") {
            continue;
        }
        let signed_by = stanza.get("Signed-By").map(str::trim).filter(|p| p.starts_with('/') && !p.contains('\n')).map(PathBuf::from);
        for uri in words("URIs").iter().map(|u| u.trim_end_matches('/')).filter(|u| is_http(u)) {
            for suite in words("Suites") {
                all.push(Source { uri: uri.into(), suite, signed_by: signed_by.clone() });
            }
        }
    }
    all
}

/// The proxy that apt uses for HTTP.
fn proxy() -> Option<String> {
    let output = sh("apt-config", &["shell", "proxy", "Acquire::http::Proxy"]).ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let value = text.trim().strip_prefix("proxy=")?.trim_matches('\'').to_string();
    (is_http(&value)).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suite: &str, key: Option<&str>) -> Source {
        Source { uri: uri.into(), suite: suite.into(), signed_by: key.map(PathBuf::from) }
    }

    #[test]
    fn both_styles_of_sources_are_read() {
        let lines = "# deb http://no.example/ x main\ndeb [arch=amd64 signed-by=/k.gpg] http://a.example/debian/ s-security main\n\
                     deb http://a.example/debian s main # why\ndeb-src http://a.example/debian s main\ndeb cdrom:x s main\n";
        assert_eq!(
            one_line(lines),
            [source("http://a.example/debian", "s-security", Some("/k.gpg")), source("http://a.example/debian", "s", None)]
        );
        let stanza = "Types: deb\n# was http://old.example\nURIs: http://a.example/debian/\nSuites: s s-updates\nSigned-By: /k.gpg\n\n\
                      Types: deb\nEnabled: no\nURIs: http://b.example\nSuites: s\n\nTypes: deb-src\nURIs: http://c.example\nSuites: s\n";
        assert_eq!(
            deb822(stanza),
            [source("http://a.example/debian", "s", Some("/k.gpg")), source("http://a.example/debian", "s-updates", Some("/k.gpg"))]
        );
    }

    #[test]
    fn a_mirror_replaces_the_address_and_keeps_the_key() {
        let all = [source("http://a.example", "s", Some("/k.gpg"))];
        assert_eq!(choose(&all, "s", Some("https://m.example/d/")).unwrap(), source("https://m.example/d", "s", Some("/k.gpg")));
        assert_eq!(choose(&all, "s", None).unwrap(), all[0]);
        assert!(matches!(choose(&all, "t", None), Err(Error::NoSource(_))));
        assert!(choose(&all, "s", Some("file:///etc")).is_err());
    }
}
