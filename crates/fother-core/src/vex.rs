//! Statements on exploitability (VEX) by vendors and others: the words that OpenVEX, CycloneDX and CSAF have in common. Pure.
//!
//! [`openvex`] and [`cyclonedx`] read documents, [`subject`] reads what an SBOM says about itself, [`apply`] weighs statements
//! against findings. What is unclear never silences a finding.

pub mod apply;
pub mod cyclonedx;
pub mod openvex;
pub mod subject;

use crate::purl::Purl;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most statements of one document, counted by product.
pub const STATEMENTS_MAX: usize = 200_000;
/// Most subcomponents of one product.
pub const PARTS_MAX: usize = 2_000;
/// Longest words that are kept, in characters.
pub const WORDS_CHARS_MAX: usize = 300;

/// What a statement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No action is needed.
    NotAffected,
    /// This version contains a fix.
    Fixed,
    /// Not known yet.
    UnderInvestigation,
    /// Action is needed.
    Affected,
}

/// Which versions of a product are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Versions {
    /// All.
    #[default]
    Any,
    /// One.
    One(String),
    /// A range as `vers` writes it.
    Vers(String),
}

/// A product or a part of one, by whatever names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct Product {
    /// Type of its package URL; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// Namespace of its package URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Versions, epoch included.
    pub versions: Versions,
    /// Qualifiers of its package URL that narrow it: `arch`, `distro`, ….
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub qualifiers: BTreeMap<String, String>,
    /// Digests, `sha-256` and the like to lower-case hexadecimal.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hashes: BTreeMap<String, String>,
    /// CycloneDX's link to a component of another document: `urn:cdx:SERIAL/VERSION#REF`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub link: String,
}

/// One statement on one product.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Statement {
    /// The vulnerability and its other names.
    pub ids: Vec<String>,
    /// The product.
    pub product: Product,
    /// Parts of the product that are meant; empty where it is meant as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Product>,
    /// What is said.
    pub status: Status,
    /// Justification, as the form's own word.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub justification: String,
    /// Free words: impact, action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub words: String,
    /// Who says so.
    pub author: String,
    /// The author is the vendor of the product, by the domain of its own address.
    #[serde(default)]
    pub vendor: bool,
    /// The document's id.
    pub document: String,
    /// When it was said, milliseconds since 1970; 0 where that is not known.
    pub at_ms: u64,
}

impl Product {
    /// From a package URL.
    ///
    /// # Errors
    /// Where it is none.
    pub fn of_purl(text: &str) -> Result<Self, String> {
        let purl = Purl::parse(text).map_err(|error| error.to_string())?;
        let epoch = purl.qualifier("epoch").filter(|epoch| *epoch != "0" && epoch.bytes().all(|b| b.is_ascii_digit()));
        let version = purl.version.clone().map(|version| match epoch {
            Some(epoch) if !version.contains(':') => format!("{epoch}:{version}"),
            Some(_) | None => version,
        });
        let mut qualifiers = purl.qualifiers;
        // What says how it was got does not narrow what it is.
        let is_image = purl.kind == "oci";
        qualifiers.retain(|key, _| match key.as_str() {
            "arch" | "distro" | "type" | "classifier" => true,
            // Images of one name are told apart by where they are kept.
            "repository_url" | "tag" => is_image,
            _ => false,
        });
        Ok(Self {
            kind: purl.kind,
            namespace: purl.namespace.unwrap_or_default(),
            name: purl.name,
            versions: version.map_or(Versions::Any, Versions::One),
            qualifiers,
            ..Self::default()
        })
    }

    /// From an id that may be a package URL, a link or a plain name.
    #[must_use]
    pub fn of_id(id: &str) -> Self {
        match Self::of_purl(id) {
            Ok(product) => product,
            Err(_) if id.starts_with("urn:cdx:") => Self { link: id.to_owned(), name: id.to_owned(), ..Self::default() },
            Err(_) => Self { name: id.to_owned(), ..Self::default() },
        }
    }

    /// What statements are looked up by: type, namespace and name; else a link, a digest, or the name.
    #[must_use]
    pub fn key(&self) -> String {
        if !self.kind.is_empty() {
            format!("{}/{}/{}", self.kind, self.namespace, self.name)
        } else if !self.link.is_empty() {
            format!("link:{}", self.link)
        } else if let Some((kind, digest)) = self.hashes.iter().next() {
            format!("hash:{kind}:{digest}")
        } else {
            format!("name:{}", self.name)
        }
    }

    /// For people.
    #[must_use]
    pub fn label(&self) -> String {
        let version = match &self.versions {
            Versions::Any => String::new(),
            Versions::One(version) => format!(" {version}"),
            Versions::Vers(range) => format!(" {range}"),
        };
        format!("{}{version}", self.name)
    }
}

/// Words made one line and cut.
pub(crate) fn words(text: &str) -> String {
    crate::text::printable(&text.split_whitespace().collect::<Vec<_>>().join(" "), WORDS_CHARS_MAX)
}

/// Milliseconds of an RFC 3339 time with any offset and any number of digits; 0 where it is none.
pub(crate) fn at_ms(text: Option<&str>) -> u64 {
    let at = text.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    at.and_then(|at| u64::try_from(at.as_millisecond()).ok()).unwrap_or_default()
}

/// Domains of the vendors whose packages a namespace holds.
const VENDORS: [(&str, &[&str]); 12] = [
    ("rpm/redhat", &["redhat.com"]),
    ("rpm/suse", &["suse.com", "suse.de"]),
    ("rpm/opensuse", &["suse.com", "suse.de", "opensuse.org"]),
    ("rpm/almalinux", &["almalinux.org"]),
    ("rpm/rocky", &["rockylinux.org"]),
    ("rpm/fedora", &["fedoraproject.org", "redhat.com"]),
    ("rpm/amzn", &["amazon.com"]),
    ("deb/debian", &["debian.org"]),
    ("deb/ubuntu", &["canonical.com", "ubuntu.com"]),
    ("apk/alpine", &["alpinelinux.org"]),
    ("apk/wolfi", &["chainguard.dev", "wolfi.dev"]),
    ("apk/chainguard", &["chainguard.dev"]),
];

/// Whether an author is the vendor of a product, by the domain in the author's own address (`https://www.redhat.com`,
/// `Security <security@ubuntu.com>`). It is the author's word: feeds come from the vendors' addresses, files are named by people.
#[must_use]
pub fn is_vendor(author: &str, product: &Product) -> bool {
    let place = format!("{}/{}", product.kind, product.namespace);
    let Some((_, domains)) = VENDORS.iter().find(|(known, _)| *known == place) else { return false };
    let words = author.split([' ', '<', '>', '(', ')', '"', ',']).map(|word| {
        let host = word.split_once("://").map_or(word, |(_, rest)| rest);
        let host = host.split(['/', '?', '#', ':']).next().unwrap_or_default();
        host.rsplit_once('@').map_or(host, |(_, host)| host).to_ascii_lowercase()
    });
    words
        .into_iter()
        .any(|host| domains.iter().any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_the_vendor_only_by_its_own_domain() {
        let product = Product::of_purl("pkg:rpm/redhat/tomcat@9-1.el8?epoch=1&arch=src").unwrap();
        assert_eq!(product.versions, Versions::One("1:9-1.el8".into()));
        for author in ["https://www.redhat.com", "Red Hat <secalert@redhat.com>", "https://security.access.redhat.com/data"] {
            assert!(is_vendor(author, &product), "{author}");
        }
        for author in
            ["Red Hat", "https://redhat.com.evil.test", "https://evilredhat.com", "https://evil.test/redhat.com", "redhat.com@evil.test"]
        {
            assert!(!is_vendor(author, &product), "{author}");
        }
        assert!(!is_vendor("https://www.redhat.com", &Product::of_purl("pkg:maven/org.x/y@1").unwrap()));
    }
}
