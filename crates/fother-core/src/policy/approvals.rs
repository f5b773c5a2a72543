//! How many people must approve, and who counts: `approvals = 2`, or `{ required = 2, from = ["sre", "security"], emergency = 1 }`. Pure.

use super::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de, ser::SerializeStruct as _};
use std::collections::BTreeSet;

/// Distinct people who must approve a change, its author not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approvals {
    /// How many.
    pub required: u32,
    /// Teams or people whose approvals count; empty: everybody whom the approvers file names.
    pub from: BTreeSet<String>,
    /// How many for an emergency path; as many as always where it is not said.
    pub emergency: Option<u32>,
}

/// People who approve together under one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Team {
    /// Names as in the approvers file.
    pub people: BTreeSet<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Full {
    /// How many.
    required: u32,
    /// Teams or people whose approvals count; everybody's if left out.
    #[serde(default)]
    from: BTreeSet<String>,
    /// How many for an emergency path; as many as always if left out.
    #[serde(default)]
    emergency: Option<u32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
enum Written {
    Count(u32),
    Full(Full),
}

impl Approvals {
    /// So many of everybody.
    #[must_use]
    pub fn of(required: u32) -> Self {
        Self { required, from: BTreeSet::new(), emergency: None }
    }

    /// How many an emergency path needs; never more than an ordinary change, and never none.
    #[must_use]
    pub fn in_emergency(&self) -> u32 {
        self.emergency.unwrap_or(self.required).clamp(1, self.required.max(1))
    }

    /// The people whose approvals count, by name; empty: everybody's.
    #[must_use]
    pub fn people(&self, policy: &Policy) -> BTreeSet<String> {
        let of = |name: &String| policy.team.get(name).map_or_else(|| BTreeSet::from([name.clone()]), |team| team.people.clone());
        self.from.iter().flat_map(of).collect()
    }
}

impl Serialize for Approvals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.from.is_empty() && self.emergency.is_none() {
            return serializer.serialize_u32(self.required);
        }
        let mut out = serializer.serialize_struct("Approvals", 3)?;
        out.serialize_field("required", &self.required)?;
        if !self.from.is_empty() {
            out.serialize_field("from", &self.from)?;
        }
        if let Some(emergency) = self.emergency {
            out.serialize_field("emergency", &emergency)?;
        }
        out.end()
    }
}

impl<'de> Deserialize<'de> for Approvals {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(deserializer).map_err(|_| de::Error::custom("a number, or { required, from, emergency }"))? {
            Written::Count(required) => Self::of(required),
            Written::Full(Full { required, from, emergency }) => Self { required, from, emergency },
        })
    }
}

impl JsonSchema for Approvals {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Approvals".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Written::json_schema(generator)
    }
}
