//! What is wrong with a check: each key held against what can be asked. Pure.

use super::{Body, Check, Latency};
use crate::pattern::Pattern;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Longest PromQL query, in bytes.
pub const QUERY_BYTES_MAX: usize = 2048;
/// Longest path, text or name inside of a check, in bytes.
pub const TEXT_BYTES_MAX: usize = 1024;

impl Check {
    /// What is wrong with the question: key and words.
    #[must_use]
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut out = Vec::new();
        let mut say = |key, result: Result<(), String>| out.extend(result.err().map(|why| (key, why)));
        match self {
            Self::Http { url, status, body, latency, .. } => {
                say("url", loopback_url(url).map(drop).map_err(str::to_owned));
                say("status", need((100..=599).contains(status), "a status of HTTP is 100 to 599"));
                if let Some(Body { contains, matches }) = body {
                    say("body", need(contains.is_some() || matches.is_some(), "say `contains` or `matches`"));
                    say("body", contains.as_deref().map_or(Ok(()), text));
                    say("body", matches.as_deref().map_or(Ok(()), |pattern| Pattern::parse(pattern).map(drop)));
                }
                if let Some(Latency { percent, .. }) = latency {
                    say(
                        "latency",
                        need((101..=100_000).contains(percent), "`percent` is of the time before: more than 100, for example 200"),
                    );
                }
            }
            Self::Unit { unit, .. } => say("unit", unit_name(unit)),
            Self::Hook { hook, .. } => say("hook", hook_name(hook)),
            Self::Tcp { address, .. } => say("address", loopback(address).map(drop).map_err(str::to_owned)),
            Self::Tls { address, server_name, days, ca, .. } => {
                say("address", loopback(address).map(drop).map_err(str::to_owned));
                say("server_name", dns_name(server_name));
                say("days", need(*days <= 3_650, "at most 3650"));
                say("ca", ca.as_deref().map_or(Ok(()), absolute));
            }
            Self::Process { executable, unit, count, .. } => {
                say("executable", absolute(executable));
                say("unit", unit.as_deref().map_or(Ok(()), unit_name));
                say("count", need(*count > 0, "zero processes would always be there"));
            }
            Self::Listening { port, address, executable, .. } => {
                say("port", need(*port > 0, "1 to 65535"));
                say("address", address.as_deref().map_or(Ok(()), |text| need(text.parse::<IpAddr>().is_ok(), "no IP address")));
                say("executable", executable.as_deref().map_or(Ok(()), absolute));
            }
            Self::Disk { path, .. } => say("path", absolute(path)),
            Self::Memory { .. } => {}
            Self::Log { unit, file, pattern, .. } => {
                say("unit", need(unit.is_some() != file.is_some(), "name either a `unit` or a `file`"));
                say("unit", unit.as_deref().map_or(Ok(()), unit_name));
                say("file", file.as_deref().map_or(Ok(()), absolute));
                say("pattern", Pattern::parse(pattern).map(drop));
            }
            Self::Prometheus { server, query, value, series, max_age_s, .. } => {
                say("server", plain_name(server));
                say("query", promql(query));
                say("value", decimal(value).map(drop).ok_or_else(|| format!("`{value}` is no decimal number such as \"0.05\"")));
                say("series", series.as_deref().map_or(Ok(()), |series| promql(series).and_then(|()| selector(series))));
                if series.is_none() {
                    let what = "is more than a selector, so the age of its samples cannot be told: name the `series` that it is made of";
                    say("query", selector(query).map_err(|_| what.to_owned()));
                }
                say("max_age_s", need((1..=86_400).contains(max_age_s), "1 second to 1 day"));
            }
        }
        out
    }
}

fn need(fine: bool, what: &str) -> Result<(), String> {
    if fine { Ok(()) } else { Err(what.to_owned()) }
}

fn text(text: &str) -> Result<(), String> {
    need(!text.is_empty() && text.len() <= TEXT_BYTES_MAX, &format!("1 to {TEXT_BYTES_MAX} bytes"))
}

/// An absolute path without `..` and without control characters.
fn absolute(path: &str) -> Result<(), String> {
    text(path)?;
    let plain = !path.chars().any(char::is_control) && !path.split('/').any(|part| part == ".." || part == ".");
    need(path.starts_with('/') && plain, &format!("`{path}` is no absolute path without `..`"))
}

/// A systemd unit's name (systemd.unit(5)).
///
/// # Errors
/// For people.
pub fn unit_name(unit: &str) -> Result<(), String> {
    let plain = unit.bytes().all(|b| b.is_ascii_alphanumeric() || b"@._:-\\".contains(&b));
    need(!unit.is_empty() && unit.len() <= 255 && !unit.starts_with('-') && plain, "the unit's name is malformed")
}

/// A hook's file name.
///
/// # Errors
/// For people.
pub fn hook_name(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    need(!name.is_empty() && name.len() <= 128 && !name.starts_with(['.', '-']) && plain, "the hook's name is malformed")
}

fn plain_name(name: &str) -> Result<(), String> {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    need(!name.is_empty() && name.len() <= 64 && plain, "a name has 1 to 64 letters, digits, `-` or `_`")
}

fn dns_name(name: &str) -> Result<(), String> {
    let label = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let fine = name.len() <= 253 && (name.split('.').all(label) || name.parse::<IpAddr>().is_ok());
    need(fine, &format!("`{name}` is no name of a server"))
}

fn promql(query: &str) -> Result<(), String> {
    let fine = !query.trim().is_empty() && query.len() <= QUERY_BYTES_MAX && !query.chars().any(|c| c.is_control() && c != '\n');
    need(fine, &format!("1 to {QUERY_BYTES_MAX} bytes of PromQL"))
}

/// `name{label="value"}`, `name` or `{label="value"}` and nothing more: only of these does `timestamp()` tell the sample's own time.
fn selector(query: &str) -> Result<(), String> {
    let wrong = || Err("no plain selector such as `up{job=\"web\"}`".to_owned());
    let query = query.trim();
    let (name, labels) = match query.split_once('{') {
        None => (query, None),
        Some((name, rest)) => match rest.strip_suffix('}') {
            Some(labels) => (name.trim(), Some(labels)),
            None => return wrong(),
        },
    };
    let plain =
        name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':') && !name.starts_with(|c: char| c.is_ascii_digit());
    let inside = labels.is_none_or(|labels| !outside_of_quotes(labels).contains(['{', '}', '(', ')', '[', ']']));
    let something = !name.is_empty() || labels.is_some_and(|labels| !labels.trim().is_empty());
    if plain && inside && something { Ok(()) } else { wrong() }
}

/// What of PromQL's label matchers stands outside of quotes.
fn outside_of_quotes(text: &str) -> String {
    let (mut out, mut quote, mut escaped) = (String::new(), None, false);
    for c in text.chars() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(q) if c == '\\' && q != '`' => escaped = true,
            Some(q) if c == q => quote = None,
            Some(_) => {}
            None if ['"', '\'', '`'].contains(&c) => quote = Some(c),
            None => out.push(c),
        }
    }
    out
}

/// A finite decimal number.
#[must_use]
pub fn decimal(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.len() <= 32 && text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

/// `127.0.0.1:80`, `[::1]:80` or `localhost:80`.
///
/// # Errors
/// Where it is malformed or not this host.
pub fn loopback(address: &str) -> Result<SocketAddr, &'static str> {
    let address = match address.strip_prefix("localhost:") {
        Some(port) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().map_err(|_| "the port is malformed")?),
        None => address.parse().map_err(|_| "the address is malformed: write 127.0.0.1:PORT or [::1]:PORT")?,
    };
    let fine = address.ip().is_loopback() && address.port() > 0;
    if fine { Ok(address) } else { Err("only loopback addresses are asked") }
}

/// `http://127.0.0.1[:port]/path` as address, `Host` value and path.
///
/// # Errors
/// Everything else.
pub fn loopback_url(url: &str) -> Result<(SocketAddr, &str, &str), &'static str> {
    let rest = url.strip_prefix("http://").ok_or("only http:// to a loopback address is asked")?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let plain = |text: &str| text.len() <= TEXT_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    if !plain(authority) || !plain(path) || authority.contains('@') {
        return Err("the address has signs that are not allowed");
    }
    let has_port = authority.starts_with("localhost:") || authority.parse::<SocketAddr>().is_ok();
    let address = if has_port { loopback(authority) } else { loopback(&format!("{authority}:80")) };
    Ok((address?, authority, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_asked() {
        for url in [
            "http://192.0.2.1/",
            "https://127.0.0.1/",
            "http://127.0.0.1@192.0.2.1/",
            "http://127.0.0.1/a\r\nX: y",
            "http://[2001:db8::1]/",
            "http://localhost.test/",
            "http://127.0.0.1:0/",
        ] {
            assert!(loopback_url(url).is_err(), "{url}");
        }
        for (url, port) in [("http://[::1]", 80), ("http://localhost", 80), ("http://localhost:81/x", 81), ("http://127.0.0.9:82", 82)] {
            assert_eq!(loopback_url(url).unwrap().0.port(), port, "{url}");
        }
    }

    #[test]
    fn only_of_a_plain_selector_the_age_is_known() {
        for fine in ["up", "up{job=\"web\"}", "{__name__=\"up\"}", "job:errors:rate5m{path=~\"/a({}|b)\"}"] {
            assert_eq!(selector(fine), Ok(()), "{fine}");
        }
        for not in ["rate(up[5m])", "up > 1", "up + up", "1", "", "{}", "up{a=\"b\"} or up{a=\"c\"}", "up[5m]"] {
            assert!(selector(not).is_err(), "{not}");
        }
    }

    #[test]
    fn decimals_are_finite() {
        assert_eq!((decimal("0.05"), decimal("-1e3")), (Some(0.05), Some(-1000.0)));
        for bad in ["", "NaN", "inf", "1e999", "0x10", "1 ", "a"] {
            assert_eq!(decimal(bad), None, "{bad}");
        }
    }
}
