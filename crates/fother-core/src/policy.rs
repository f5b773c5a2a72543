//! What a team decides once and keeps in files: checks, groups, windows, budgets, rollout strategies, approvals.
//!
//! [`read`] reads the files, [`schema`] describes them to editors. What follows from a policy is decided in [`admission`], [`baseline`] and [`calendar`].

pub mod admission;
pub mod approvals;
pub mod baseline;
pub mod calendar;
pub mod change;
mod check;
pub mod checks;
pub mod emergency;
pub mod fault;
pub mod forecast;
pub mod freeze;
pub mod proposal;
pub mod read;
pub mod schedule;
pub mod schema;
mod shape;
pub mod span;

pub use approvals::{Approvals, Team};
pub use baseline::{Baseline, Exception, Follows};
pub use checks::{Check, CheckAnswer, Mark};
pub use emergency::Emergency;
pub use fault::{Fault, PolicyError};
pub use freeze::Freeze;
pub use read::{Source, read};
pub use schedule::Schedule;

use crate::{Digest, canonical, inventory::Labels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de};
use std::collections::{BTreeMap, BTreeSet};

/// A share of a group: a count or a percentage, written `2` or `"20%"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Share {
    /// So many hosts.
    Count(u32),
    /// So many hundredths of the group, 0 to 100.
    Percent(u8),
}

impl Share {
    /// Hosts out of `total`: a percentage rounds down but is at least 1.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (total * usize::from(percent) / 100).max(1),
        }
    }

    /// Hosts out of `total` that a quorum needs: a percentage rounds up.
    #[must_use]
    pub fn quorum(self, total: usize) -> usize {
        match self {
            Self::Count(count) => count as usize,
            Self::Percent(percent) => (total * usize::from(percent)).div_ceil(100),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Count(count) => serializer.serialize_u32(*count),
            Self::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Count(u32),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Count(count) => Ok(Self::Count(count)),
            Either::Text(text) => text
                .strip_suffix('%')
                .and_then(|number| number.parse().ok())
                .filter(|percent: &u8| *percent <= 100)
                .map(Self::Percent)
                .ok_or_else(|| de::Error::custom(format!("`{text}` is no share: write a count such as 2 or a percentage such as \"20%\""))),
        }
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A count such as 2, or a percentage such as \"20%\".",
            "anyOf": [{ "type": "integer", "minimum": 0, "maximum": u32::MAX }, { "type": "string", "pattern": "^(100|[0-9]{1,2})%$" }]
        })
    }
}

/// Over what a disruption budget is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// The whole group.
    #[default]
    Group,
    /// Each zone of the group by itself.
    Zone,
}

/// How many hosts of a group may be out of service at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Hosts that may be unavailable, of what `per` says.
    pub unavailable: Share,
    /// Hosts of one zone only at any time.
    #[serde(default)]
    pub one_zone_at_a_time: bool,
    /// Over what `unavailable` is counted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub per: Per,
    /// Hosts of the group that must stay healthy, a percentage rounded up. It beats the one host that a percentage always allows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub min_healthy: Option<Share>,
}

impl Budget {
    /// So many of the whole group, without further conditions.
    #[must_use]
    pub fn of(unavailable: Share) -> Self {
        Self { unavailable, one_zone_at_a_time: false, per: Per::Group, min_healthy: None }
    }
}

/// How far a failed gate puts hosts back that were fine themselves; the host that failed is always put back by its own agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GoBack {
    /// None of them.
    #[default]
    Host,
    /// Those of the wave that failed.
    Wave,
    /// All of the rollout.
    Rollout,
}

/// Canary, waves and soak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Strategy {
    /// Hosts in the first wave.
    pub canary: u32,
    /// Cumulative shares of the rest; the last wave always takes everybody who is left.
    pub waves: Vec<Share>,
    /// How long a host must stay healthy after its transaction, in seconds; written `soak = "15m"`, too.
    #[serde(alias = "soak", deserialize_with = "span::seconds")]
    pub soak_s: u32,
    /// After the canary zone after zone, in the order of their names; the shares then count within each zone.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by_zone: bool,
    /// How often a host that was put back exactly is tried again before it counts as failed; never in the canary.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u32,
    /// What a failed gate puts back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_failure: GoBack,
}

impl Strategy {
    /// Canary, waves and soak without anything else.
    #[must_use]
    pub fn of(canary: u32, waves: Vec<Share>, soak_s: u32) -> Self {
        Self { canary, waves, soak_s, by_zone: false, retries: 0, on_failure: GoBack::Host }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What to do with configuration files that both the administrator and the package changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConfigFiles {
    /// Keep the administrator's.
    #[default]
    Keep,
    /// Take the package's.
    Replace,
    /// Change nothing and stop.
    Stop,
}

/// A group of hosts and how it is patched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// CEL expression over the labels that the server assigned.
    pub select: String,
    /// Name of a window, or `always`.
    pub window: String,
    /// Disruption budget.
    pub budget: Budget,
    /// Rollout strategy.
    pub rollout: Strategy,
    /// Names of checks.
    pub checks: Vec<String>,
    /// Distinct people who must approve, the author not among them.
    pub approvals: Approvals,
    /// Name of a baseline: which updates are taken, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// Takes only what another group has run for a while: the same versions, from one environment to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// Groups that go first: no host of this one starts while a change of theirs is due or under way.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub after: BTreeSet<String>,
    /// Groups of which no host may be out of service while one of this group is; it counts whichever side says so.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub never_with: BTreeSet<String>,
    /// Configuration-file conflicts.
    #[serde(default)]
    pub config_files: ConfigFiles,
    /// How long after the start of the rollout an undo is covered by the approval, in seconds. Default 30 days; written `undo = "30d"`, too.
    #[serde(alias = "undo", default = "thirty_days_s", deserialize_with = "span::seconds")]
    pub undo_s: u64,
}

fn thirty_days_s() -> u64 {
    30 * 86_400
}

/// An archive that updates may come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// Base address, no trailing slash.
    pub uri: String,
    /// Suite.
    pub suite: String,
    /// Components.
    pub components: Vec<String>,
    /// Path of the keyring on the server.
    pub signed_by: String,
    /// Oldest acceptable `Date` in days where the archive gives no `Valid-Until`.
    #[serde(default)]
    pub max_age_days: Option<u32>,
}

/// A team's policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Groups by name.
    #[serde(default)]
    pub group: BTreeMap<String, Group>,
    /// Windows by name.
    #[serde(default)]
    pub window: BTreeMap<String, crate::window::Window>,
    /// Checks by name; the name inside each check repeats the key.
    #[serde(default)]
    pub check: BTreeMap<String, Check>,
    /// Archives by name.
    #[serde(default)]
    pub archive: BTreeMap<String, Archive>,
    /// Times in which nothing starts, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub freeze: BTreeMap<String, Freeze>,
    /// Which updates are taken, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub baseline: BTreeMap<String, Baseline>,
    /// Updates that are not taken for now, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exception: BTreeMap<String, Exception>,
    /// Shorter paths, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub emergency: BTreeMap<String, Emergency>,
    /// Teams that approve, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub team: BTreeMap<String, Team>,
    /// When plans draft themselves, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub schedule: BTreeMap<String, Schedule>,
}

impl Policy {
    /// Reads and checks a policy that is one file, `fother.toml`.
    ///
    /// # Errors
    /// As [`read`].
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        read(&[Source { name: "fother.toml", text }])
    }

    /// Name of this policy.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn digest(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("policy", &canonical::to_vec(self)?))
    }

    /// The checks of a group, in its order.
    #[must_use]
    pub fn checks_of(&self, group: &Group) -> Vec<Check> {
        group.checks.iter().filter_map(|name| self.check.get(name).cloned()).collect()
    }
}

/// Whether a CEL selector picks a host with these labels; a label that the host lacks reads as `""`.
///
/// # Errors
/// Where the selector does not compile or does not answer with a boolean.
pub fn selects(selector: &str, labels: &Labels) -> Result<bool, String> {
    if selector.len() > SELECTOR_BYTES_MAX {
        return Err(format!("the selector is longer than {SELECTOR_BYTES_MAX} bytes"));
    }
    if selector == "true" {
        return Ok(true);
    }
    let program = cel::Program::compile(selector).map_err(|error| format!("`{selector}` is no CEL expression: {error}"))?;
    let mut context = cel::Context::default();
    for variable in program.references().variables() {
        let value = labels.get(variable).cloned().unwrap_or_default();
        context.add_variable_from_value(variable, value);
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(answer)) => Ok(answer),
        Ok(other) => Err(format!("`{selector}` answers {other:?}, not true or false")),
        Err(error) => Err(format!("`{selector}` cannot be evaluated: {error}")),
    }
}

/// Longest selector, in bytes.
pub const SELECTOR_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [group.web]
        select = 'role == "web" && env == "prod"'
        window = "always"
        budget = { unavailable = "20%", one_zone_at_a_time = true }
        rollout = { canary = 1, waves = ["50%", "100%"], soak_s = 5 }
        checks = ["http-ok"]
        approvals = 1
        [check.http-ok]
        kind = "http"
        name = "http-ok"
        url = "http://127.0.0.1/healthz"
        status = 200
    "#;

    #[test]
    fn a_policy_is_read_and_selects_by_labels() {
        let policy = Policy::parse(GOOD).unwrap();
        let labels = |role: &str| Labels::from([("role".to_owned(), role.to_owned()), ("env".to_owned(), "prod".to_owned())]);
        let select = &policy.group["web"].select;
        assert_eq!(selects(select, &labels("web")), Ok(true));
        assert_eq!(selects(select, &labels("db")), Ok(false));
        assert_eq!(selects(select, &Labels::new()), Ok(false));
    }

    #[test]
    fn every_error_is_told_at_once() {
        let bad = GOOD.replace("\"always\"", "\"sunday\"").replace("approvals = 1", "approvals = 0").replace("role ==", "role = =");
        assert_eq!(Policy::parse(&bad).unwrap_err().0.len(), 3);
        assert!(Policy::parse(&format!("{GOOD}\nunknown = 1")).is_err());
    }

    #[test]
    fn a_percentage_rounds_down_but_is_at_least_one() {
        assert_eq!(Share::Percent(20).of(9), 1);
        assert_eq!(Share::Percent(20).of(10), 2);
        assert_eq!(Share::Percent(1).of(10), 1);
        assert_eq!(Share::Count(3).of(1), 3);
    }
}
