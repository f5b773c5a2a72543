//! What a document says that it is about: its serial number, its product, and the names of its components. Pure; the bytes are hostile.

use super::{Product, cyclonedx};
use crate::image::Image;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// What is assessed, as far as statements can name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The product as a whole, where it is known.
    pub product: Option<Product>,
    /// The image, where one is assessed.
    pub image: Option<Image>,
    /// `urn:cdx:SERIAL/VERSION`, where the document has a serial number.
    pub serial: String,
    /// The product's name in the document.
    pub reference: String,
    /// Names of components in the document, to their keys and versions.
    pub components: BTreeMap<String, Product>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spdx {
    #[serde(default)]
    document_describes: Vec<String>,
    #[serde(default)]
    packages: Vec<Package>,
    #[serde(default)]
    relationships: Vec<Relationship>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Relationship {
    #[serde(default)]
    spdx_element_id: String,
    #[serde(default)]
    relationship_type: String,
    #[serde(default)]
    related_spdx_element: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Package {
    #[serde(rename = "SPDXID", default)]
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    external_refs: Vec<External>,
    #[serde(default)]
    checksums: Vec<Checksum>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct External {
    #[serde(default)]
    reference_type: String,
    #[serde(default)]
    reference_locator: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Checksum {
    #[serde(default)]
    algorithm: String,
    #[serde(default)]
    checksum_value: String,
}

/// Reads it from an SBOM; a document of another form is about nothing that can be named.
#[must_use]
pub fn of_document(bytes: &[u8]) -> Subject {
    if let Ok(document) = cyclonedx::read(bytes) {
        return of_cyclonedx(&document);
    }
    let Ok(spdx) = serde_json::from_slice::<Spdx>(bytes) else { return Subject::default() };
    // Either form says it (SPDX 2.3, section 11.1).
    let described = |one: &&Relationship| one.relationship_type == "DESCRIBES" && one.spdx_element_id == "SPDXRef-DOCUMENT";
    let described = spdx.relationships.iter().filter(described).map(|one| one.related_spdx_element.as_str());
    let all: BTreeSet<&str> = spdx.document_describes.iter().map(String::as_str).chain(described).collect();
    // With one package described, it is the product.
    let (Some(id), 1) = (all.first(), all.len()) else { return Subject::default() };
    let product = spdx.packages.iter().find(|package| package.id == *id).map(|package| {
        let purl = package.external_refs.iter().find(|external| external.reference_type == "purl");
        let mut product = purl.and_then(|external| Product::of_purl(&external.reference_locator).ok()).unwrap_or_default();
        if product.name.is_empty() {
            product.name.clone_from(&package.name);
        }
        // `SHA256` here, `sha-256` elsewhere.
        let hash = |sum: &Checksum| (sum.algorithm.to_lowercase().replacen("sha", "sha-", 1), sum.checksum_value.to_lowercase());
        product.hashes = package.checksums.iter().map(hash).collect();
        product
    });
    Subject { product, ..Subject::default() }
}

fn of_cyclonedx(document: &cyclonedx::Document) -> Subject {
    let serial = document.serial_number.trim_start_matches("urn:uuid:");
    let root = document.metadata.as_ref().and_then(|metadata| metadata.component.as_ref());
    let mut out = Subject {
        product: root.map(cyclonedx::Component::product),
        image: None,
        serial: if serial.is_empty() { String::new() } else { format!("urn:cdx:{serial}/{}", document.version.unwrap_or(1)) },
        reference: root.map(|root| root.bom_ref.clone()).unwrap_or_default(),
        components: BTreeMap::new(),
    };
    let mut count = 0;
    // Past the limit the rest has no name; statements on it then do not apply.
    let _ = cyclonedx::walk(&document.components, &mut count, &mut |component| {
        if !component.bom_ref.is_empty() {
            out.components.insert(component.bom_ref.clone(), component.product());
        }
    });
    out
}

impl Subject {
    /// An image.
    #[must_use]
    pub fn of_image(image: Image) -> Self {
        Self { image: Some(image), ..Self::default() }
    }

    /// Whether there is a whole that statements can speak of.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.product.is_some() || self.image.is_some()
    }

    /// What a link names here: the product itself (`None` inside), a component, or nothing.
    #[must_use]
    pub fn named(&self, link: &str) -> Option<Option<&Product>> {
        let (serial, reference) = link.split_once('#')?;
        if self.serial.is_empty() || serial != self.serial {
            return None;
        }
        if reference == self.reference { Some(None) } else { self.components.get(reference).map(Some) }
    }
}
