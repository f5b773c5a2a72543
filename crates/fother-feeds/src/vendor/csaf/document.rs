//! The parts of a CSAF document that are used (OASIS CSAF 2.0 and 2.1, sections 3.2.1 to 3.2.3); texts are borrowed from its bytes.

use serde::{Deserialize, Deserializer, de};
use std::{borrow::Cow, fmt, ops::Deref};

/// A text that stays in the document's bytes where it has no escapes, also inside of lists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Str<'a>(Cow<'a, str>);

impl Deref for Str<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Str<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> de::Visitor<'de> for Text {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(Text).map(Str)
    }
}

/// A document.
#[derive(Deserialize)]
pub struct Csaf<'a> {
    #[serde(borrow)]
    pub document: About<'a>,
    #[serde(borrow, default)]
    pub product_tree: Tree<'a>,
    #[serde(borrow, default)]
    pub vulnerabilities: Vec<Vulnerability<'a>>,
}

#[derive(Deserialize)]
pub struct About<'a> {
    #[serde(borrow)]
    pub category: Str<'a>,
    #[serde(borrow)]
    pub csaf_version: Str<'a>,
    #[serde(borrow)]
    pub publisher: Publisher<'a>,
    #[serde(borrow, default)]
    pub title: Str<'a>,
    #[serde(borrow)]
    pub tracking: Tracking<'a>,
    #[serde(borrow)]
    pub aggregate_severity: Option<Severity<'a>>,
}

#[derive(Deserialize)]
pub struct Severity<'a> {
    #[serde(borrow, default)]
    pub text: Str<'a>,
}

#[derive(Deserialize)]
pub struct Publisher<'a> {
    #[serde(borrow, default)]
    pub category: Str<'a>,
    #[serde(borrow)]
    pub name: Str<'a>,
    #[serde(borrow, default)]
    pub namespace: Str<'a>,
}

#[derive(Deserialize)]
pub struct Tracking<'a> {
    #[serde(borrow)]
    pub id: Str<'a>,
    #[serde(borrow, default)]
    pub status: Str<'a>,
    #[serde(borrow)]
    pub current_release_date: Option<Str<'a>>,
    #[serde(borrow)]
    pub initial_release_date: Option<Str<'a>>,
}

#[derive(Default, Deserialize)]
pub struct Tree<'a> {
    #[serde(borrow, default)]
    pub branches: Vec<Branch<'a>>,
    #[serde(borrow, default)]
    pub full_product_names: Vec<Named<'a>>,
    #[serde(borrow, default)]
    pub relationships: Vec<Relationship<'a>>,
    #[serde(borrow, default)]
    pub product_groups: Vec<Group<'a>>,
}

#[derive(Deserialize)]
pub struct Branch<'a> {
    #[serde(borrow)]
    pub category: Str<'a>,
    #[serde(borrow)]
    pub name: Str<'a>,
    #[serde(borrow)]
    pub product: Option<Named<'a>>,
    #[serde(borrow, default)]
    pub branches: Vec<Branch<'a>>,
}

#[derive(Deserialize)]
pub struct Named<'a> {
    #[serde(borrow)]
    pub product_id: Str<'a>,
    #[serde(borrow)]
    pub name: Str<'a>,
    #[serde(borrow, default)]
    pub product_identification_helper: Helper<'a>,
}

#[derive(Default, Deserialize)]
pub struct Helper<'a> {
    #[serde(borrow)]
    pub purl: Option<Str<'a>>,
    /// 2.1 allows several for one product.
    #[serde(borrow, default)]
    pub purls: Vec<Str<'a>>,
    #[serde(borrow)]
    pub cpe: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub hashes: Vec<Hashes<'a>>,
}

#[derive(Deserialize)]
pub struct Hashes<'a> {
    #[serde(borrow, default)]
    pub file_hashes: Vec<FileHash<'a>>,
}

#[derive(Deserialize)]
pub struct FileHash<'a> {
    #[serde(borrow)]
    pub algorithm: Str<'a>,
    #[serde(borrow)]
    pub value: Str<'a>,
}

#[derive(Deserialize)]
pub struct Relationship<'a> {
    #[serde(borrow)]
    pub category: Str<'a>,
    #[serde(borrow)]
    pub full_product_name: Named<'a>,
    #[serde(borrow)]
    pub product_reference: Str<'a>,
    #[serde(borrow)]
    pub relates_to_product_reference: Str<'a>,
}

#[derive(Deserialize)]
pub struct Group<'a> {
    #[serde(borrow)]
    pub group_id: Str<'a>,
    #[serde(borrow, default)]
    pub product_ids: Vec<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Vulnerability<'a> {
    #[serde(borrow)]
    pub cve: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub ids: Vec<Id<'a>>,
    #[serde(borrow)]
    pub title: Option<Str<'a>>,
    #[serde(borrow)]
    pub release_date: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub product_status: ProductStatus<'a>,
    #[serde(borrow, default)]
    pub remediations: Vec<Remediation<'a>>,
    #[serde(borrow, default)]
    pub flags: Vec<Flag<'a>>,
    #[serde(borrow, default)]
    pub threats: Vec<Threat<'a>>,
    #[serde(borrow, default)]
    pub scores: Vec<Content<'a>>,
    /// 2.1's name for scores.
    #[serde(borrow, default)]
    pub metrics: Vec<Metric<'a>>,
}

#[derive(Deserialize)]
pub struct Id<'a> {
    #[serde(borrow)]
    pub text: Str<'a>,
}

/// Lists of product ids (section 3.2.3.9).
#[derive(Default, Deserialize)]
pub struct ProductStatus<'a> {
    #[serde(borrow, default)]
    pub first_affected: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub first_fixed: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub fixed: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub known_affected: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub known_not_affected: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub last_affected: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub recommended: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub under_investigation: Vec<Str<'a>>,
    /// 2.1.
    #[serde(borrow, default)]
    pub unknown: Vec<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Remediation<'a> {
    #[serde(borrow)]
    pub category: Str<'a>,
    #[serde(borrow, default)]
    pub details: Str<'a>,
    #[serde(borrow)]
    pub date: Option<Str<'a>>,
    #[serde(borrow)]
    pub url: Option<Str<'a>>,
    #[serde(borrow, default)]
    pub product_ids: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub group_ids: Vec<Str<'a>>,
    #[serde(borrow)]
    pub restart_required: Option<Restart<'a>>,
}

#[derive(Deserialize)]
pub struct Restart<'a> {
    #[serde(borrow)]
    pub category: Str<'a>,
}

#[derive(Deserialize)]
pub struct Flag<'a> {
    #[serde(borrow)]
    pub label: Str<'a>,
    #[serde(borrow, default)]
    pub product_ids: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub group_ids: Vec<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Threat<'a> {
    #[serde(borrow)]
    pub category: Str<'a>,
    #[serde(borrow, default)]
    pub details: Str<'a>,
    #[serde(borrow, default)]
    pub product_ids: Vec<Str<'a>>,
    #[serde(borrow, default)]
    pub group_ids: Vec<Str<'a>>,
}

#[derive(Deserialize)]
pub struct Metric<'a> {
    #[serde(borrow)]
    pub content: Content<'a>,
}

#[derive(Deserialize)]
pub struct Content<'a> {
    #[serde(borrow)]
    pub cvss_v2: Option<Cvss<'a>>,
    #[serde(borrow)]
    pub cvss_v3: Option<Cvss<'a>>,
    #[serde(borrow)]
    pub cvss_v4: Option<Cvss<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cvss<'a> {
    #[serde(borrow, default)]
    pub vector_string: Str<'a>,
}
