//! Questions that a healthy host answers well, what they answer, and what is wrong with a question. Data only. Pure.
//!
//! A check is asked before anything is touched and again afterwards; two kinds compare the answers with each other (latency, lines of a log).

mod valid;

pub use valid::{decimal, hook_name, loopback, loopback_url, unit_name};

use super::span;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};

/// Stands in a query for the host's own `instance`.
pub const INSTANCE: &str = "$instance";

/// One question. What to run as a hook, and where a Prometheus is, stands in root-owned files on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Check {
    /// An HTTP GET to a loopback address answers with this status and, where given, this body, and not much slower than before.
    Http {
        /// Name for people.
        name: String,
        /// `http://127.0.0.1[:port]/path`; other hosts are refused by the agent.
        url: String,
        /// Wanted status, for example 200.
        status: u16,
        /// What the body must hold.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Body>,
        /// How much slower than before the change it may answer.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency: Option<Latency>,
    },
    /// A systemd unit is active.
    Unit {
        /// Name for people.
        name: String,
        /// Unit name.
        unit: String,
    },
    /// The root-owned executable `/etc/fother/checks.d/<hook>` exits 0.
    Hook {
        /// Name for people.
        name: String,
        /// File name, no slash.
        hook: String,
    },
    /// A TCP connection to a loopback address is accepted.
    Tcp {
        /// Name for people.
        name: String,
        /// `127.0.0.1:5432` or `[::1]:5432`.
        address: String,
    },
    /// A TLS service on a loopback address shows a certificate that is trusted, fits the name, and lasts.
    Tls {
        /// Name for people.
        name: String,
        /// `127.0.0.1:443`.
        address: String,
        /// Name that the certificate must carry.
        server_name: String,
        /// Least days until it ends.
        days: u32,
        /// PEM file of trusted certificates on the host; the host's own store if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ca: Option<String>,
    },
    /// An executable runs.
    Process {
        /// Name for people.
        name: String,
        /// Absolute path of the executable, for example `/usr/sbin/nginx`.
        executable: String,
        /// Unit that it must run in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// Least processes; 1 if left out.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        count: u32,
    },
    /// Something listens on a port of the host.
    Listening {
        /// Name for people.
        name: String,
        /// `tcp` or `udp`.
        protocol: Protocol,
        /// Port, 1 to 65535.
        port: u16,
        /// Exactly this address, for example `0.0.0.0`; any if left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// Absolute path of the executable that must own it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        executable: Option<String>,
    },
    /// A file system has room.
    Disk {
        /// Name for people.
        name: String,
        /// Absolute path on it.
        path: String,
        /// Least room, for those who are not root: `"10%"` or `"2GiB"`.
        min_free: Amount,
    },
    /// Memory is available.
    Memory {
        /// Name for people.
        name: String,
        /// Least of what the kernel says is available: `"10%"` or `"512MiB"`.
        min_available: Amount,
    },
    /// Since the change began, no more than so many lines match a pattern.
    Log {
        /// Name for people.
        name: String,
        /// The journal of this unit; either this or `file`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// This file, absolute; either this or `unit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<String>,
        /// Regular expression, held against each new line.
        pattern: String,
        /// Most new lines that may match; 0 if left out.
        #[serde(default, skip_serializing_if = "is_zero")]
        max: u32,
    },
    /// A Prometheus that the host names in its own root-owned `agent.toml` answers an instant query, and every value compares well.
    Prometheus {
        /// Name for people.
        name: String,
        /// Its name in `agent.toml`: `[prometheus.NAME]`.
        server: String,
        /// PromQL; `$instance` stands for the host's own instance.
        query: String,
        /// How each value must compare.
        op: Compare,
        /// With what: a decimal number as a text, for example `"0.05"`.
        value: String,
        /// A selector whose newest sample counts as the age of the answer; needed where `query` is more than a selector.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        series: Option<String>,
        /// Oldest sample, in seconds; written `max_age = "1m"`, too. A group's soak is at least as long.
        #[serde(alias = "max_age", deserialize_with = "span::seconds")]
        max_age_s: u32,
    },
}

/// What the body of an HTTP answer must hold; at least one of both. 64 KiB are looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Body {
    /// This text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// This regular expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
}

/// How much slower than before an answer may come: it is too slow where it exceeds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Per cent of the time before, for example 200: twice.
    pub percent: u32,
    /// Milliseconds beyond the time before that never count.
    pub floor_ms: u32,
}

impl Latency {
    /// Whether `now` is too slow beside `before`, both in microseconds.
    #[must_use]
    pub fn is_slower(self, before_us: u64, now_us: u64) -> bool {
        let share = before_us.saturating_mul(self.percent.into()) / 100;
        let floor = before_us.saturating_add(u64::from(self.floor_ms).saturating_mul(1_000));
        now_us > share && now_us > floor
    }
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// How a value must compare with the wanted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Compare {
    /// Less.
    #[serde(rename = "<")]
    Less,
    /// Less or equal.
    #[serde(rename = "<=")]
    AtMost,
    /// Greater.
    #[serde(rename = ">")]
    More,
    /// Greater or equal.
    #[serde(rename = ">=")]
    AtLeast,
    /// Equal.
    #[serde(rename = "==")]
    Equal,
    /// Not equal.
    #[serde(rename = "!=")]
    Other,
}

impl Compare {
    /// Whether `value` compares so with `wanted`; what is no number never does.
    #[must_use]
    pub fn holds(self, value: f64, wanted: f64) -> bool {
        if value.is_nan() || wanted.is_nan() {
            return false;
        }
        match self {
            Self::Less => value < wanted,
            Self::AtMost => value <= wanted,
            Self::More => value > wanted,
            Self::AtLeast => value >= wanted,
            Self::Equal => value == wanted,
            Self::Other => value != wanted,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::AtMost => "<=",
            Self::More => ">",
            Self::AtLeast => ">=",
            Self::Equal => "==",
            Self::Other => "!=",
        }
    }
}

/// An amount of room: a share, or bytes; written `"10%"`, `"2GiB"`, `"500MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Amount {
    /// Hundredths of the whole, 1 to 100.
    Percent(u8),
    /// Bytes.
    Bytes(u64),
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl Amount {
    /// Bytes out of `total`.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Self::Percent(percent) => u64::try_from(u128::from(total) * u128::from(percent) / 100).unwrap_or(u64::MAX),
            Self::Bytes(bytes) => bytes,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = |number: &str| number.bytes().all(|b| b.is_ascii_digit()).then(|| number.parse::<u64>().ok()).flatten();
        if let Some(number) = text.strip_suffix('%') {
            return digits(number)
                .and_then(|percent| u8::try_from(percent).ok())
                .filter(|percent| (1..=100).contains(percent))
                .map(Self::Percent);
        }
        let (number, unit) = UNITS.iter().find_map(|(word, unit)| Some((text.strip_suffix(word)?, *unit)))?;
        digits(number)?.checked_mul(unit).filter(|bytes| *bytes > 0 && *bytes < 1 << 53).map(Self::Bytes)
    }
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Bytes(bytes) => {
                let (word, unit) = UNITS.iter().find(|(_, unit)| bytes % unit == 0).unwrap_or(&("KiB", 1 << 10));
                write!(f, "{}{word}", bytes / unit)
            }
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let wrong =
            || de::Error::custom(format!("`{text}` is no amount: write a share such as \"10%\" or bytes such as \"2GiB\" or \"500MiB\""));
        Self::parse(&text).ok_or_else(wrong)
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A share such as \"10%\", or bytes such as \"2GiB\" or \"500MiB\".",
            "type": "string", "pattern": "^((100|[1-9][0-9]?)%|[1-9][0-9]*(KiB|MiB|GiB))$"
        })
    }
}

fn one() -> u32 {
    1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_one(count: &u32) -> bool {
    *count == 1
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What a check said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum CheckAnswer {
    /// As wanted.
    Fine,
    /// As wanted, with what later answers are compared with.
    Noted {
        /// That.
        mark: Mark,
    },
    /// Not as wanted.
    Failed {
        /// For people.
        why: String,
    },
    /// Could not be asked: gates like a failure.
    NoData {
        /// For people.
        why: String,
    },
}

/// What a later answer is compared with.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Mark {
    /// So long an answer took.
    Latency {
        /// Microseconds.
        us: u64,
    },
    /// The journal ended here.
    Journal {
        /// systemd's cursor.
        cursor: String,
    },
    /// A file ended here.
    File {
        /// Which file stood at the path.
        inode: u64,
        /// Its length, in bytes.
        bytes: u64,
    },
}

/// What a clone can be asked of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InClone {
    /// The part that it can answer.
    pub asked: Option<Check>,
    /// Why not all of it, for people: that part is unknown.
    pub not: Option<&'static str>,
}

impl Check {
    /// The name for people.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Http { name, .. }
            | Self::Unit { name, .. }
            | Self::Hook { name, .. }
            | Self::Tcp { name, .. }
            | Self::Tls { name, .. }
            | Self::Process { name, .. }
            | Self::Listening { name, .. }
            | Self::Disk { name, .. }
            | Self::Memory { name, .. }
            | Self::Log { name, .. }
            | Self::Prometheus { name, .. } => name,
        }
    }

    /// What a clone of a host can answer, and what stays unknown.
    #[must_use]
    pub fn in_clone(&self) -> InClone {
        let all = || InClone { asked: Some(self.clone()), not: None };
        let none = |why| InClone { asked: None, not: Some(why) };
        match self {
            Self::Http { latency: None, .. } => all(),
            Self::Http { name, url, status, body, latency: Some(_) } => InClone {
                asked: Some(Self::Http { name: name.clone(), url: url.clone(), status: *status, body: body.clone(), latency: None }),
                not: Some("how fast a clone answers says nothing about the host; its status and body were asked"),
            },
            Self::Disk { .. } => none("a clone writes to a file system of its own"),
            Self::Memory { .. } => none("a clone shares the host's memory with the host"),
            Self::Prometheus { .. } => none("Prometheus watches the host, not its clone"),
            Self::Unit { .. }
            | Self::Hook { .. }
            | Self::Tcp { .. }
            | Self::Tls { .. }
            | Self::Process { .. }
            | Self::Listening { .. }
            | Self::Log { .. } => all(),
        }
    }
}
