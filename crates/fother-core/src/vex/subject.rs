//! What a document says that it is about: its serial number, its product, and the names of its components. Pure; the bytes are hostile.

use super::{Product, cyclonedx};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What is assessed, as far as statements can name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// The product as a whole, where it is known.
    pub product: Option<Product>,
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
    // With one package described, it is the product.
    let [id] = spdx.document_describes.as_slice() else { return Subject::default() };
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
