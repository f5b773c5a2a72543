//! An image's names: its digests and the references it was saved under, and whether a statement (VEX) means it. Pure; what archives say is hostile.

use crate::{
    purl::Purl,
    text::printable,
    vex::{Product, Versions},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Longest reference that is kept, in characters.
const REFERENCE_CHARS_MAX: usize = 300;

/// What an image is called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Image {
    /// `docker-archive`, `oci-layout`, `root-tar` or `raw-disk`.
    pub form: String,
    /// Name by content: the manifest's digest (OCI), the configuration's, which is the image's id (`docker save`), or the file's.
    pub digest: String,
    /// The manifest's digest, which registries know it by; `None` where no manifest is at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Every digest that means it: manifest, the indexes that lead to it, configuration.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub digests: BTreeSet<String>,
    /// References that it was saved under: `ghcr.io/acme/app:1.2`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// `linux/amd64`; empty where it does not say.
    pub platform: String,
}

/// The parts of a reference (github.com/distribution/reference), with Docker's defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reference {
    /// Registry and path: `docker.io/library/debian`.
    repository: String,
    /// The path's last part.
    name: String,
    /// Tag; empty where it has none.
    tag: String,
}

impl Reference {
    fn parse(text: &str) -> Option<Self> {
        let text = text.split('@').next().unwrap_or_default();
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            Some(_) | None => (text, ""),
        };
        let repository = repository(path);
        let name = repository.rsplit('/').next().filter(|name| !name.is_empty())?.to_owned();
        Some(Self { repository, name, tag: tag.to_owned() })
    }
}

/// A repository as it is written in full: `debian` is `docker.io/library/debian`.
fn repository(path: &str) -> String {
    let path = path.trim_start_matches("https://").trim_end_matches('/').to_lowercase();
    let (first, rest) = path.split_once('/').unwrap_or(("", &path));
    let is_registry = first.contains(['.', ':']) || first == "localhost";
    let (registry, rest) = if is_registry { (first, rest) } else { ("docker.io", path.as_str()) };
    let registry = if registry == "index.docker.io" { "docker.io" } else { registry };
    if registry == "docker.io" && !rest.contains('/') { format!("docker.io/library/{rest}") } else { format!("{registry}/{rest}") }
}

impl Image {
    /// Takes a reference that an archive names; what is none, such as a tag alone, is passed over.
    pub fn refer(&mut self, text: &str) {
        let text = printable(text, REFERENCE_CHARS_MAX);
        if text.contains(['/', ':']) && Reference::parse(&text).is_some() && !self.references.contains(&text) {
            self.references.push(text);
        }
    }

    fn parsed(&self) -> impl Iterator<Item = Reference> {
        self.references.iter().filter_map(|text| Reference::parse(text))
    }

    fn arch(&self) -> &str {
        self.platform.split('/').nth(1).unwrap_or_default()
    }

    /// What people call it: its first reference, else its digest.
    #[must_use]
    pub fn name(&self) -> &str {
        self.references.first().unwrap_or(&self.digest)
    }

    /// Names that statements in feeds may stand under.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        self.parsed().map(|reference| reference.name).collect()
    }

    /// Its package URL (purl-spec, type `oci`), by its manifest's digest; `None` where no manifest or no name is known.
    #[must_use]
    pub fn purl(&self) -> Option<String> {
        let (manifest, reference) = (self.manifest.as_ref()?, self.parsed().next()?);
        let qualifiers = [("arch", self.arch()), ("repository_url", &reference.repository), ("tag", &reference.tag)];
        let qualifiers = qualifiers.into_iter().filter(|(_, value)| !value.is_empty());
        let purl = Purl {
            kind: "oci".into(),
            name: reference.name.clone(),
            version: Some(manifest.clone()),
            qualifiers: qualifiers.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..Purl::default()
        };
        purl.normalised().ok().map(|purl| purl.to_string())
    }

    /// It as a product that statements speak of.
    #[must_use]
    pub fn product(&self) -> Product {
        let hash = self.manifest.as_deref().and_then(|digest| digest.strip_prefix("sha256:"));
        Product {
            kind: "oci".into(),
            name: self.parsed().next().map(|reference| reference.name).unwrap_or_default(),
            versions: self.manifest.clone().map_or(Versions::Any, Versions::One),
            hashes: hash.map(|hash| BTreeMap::from([("sha-256".to_owned(), hash.to_owned())])).unwrap_or_default(),
            ..Product::default()
        }
    }

    /// Whether a statement's product is this image. A digest says so alone; a name must fit in everything that the statement gives,
    /// and what is not known here does not fit.
    #[must_use]
    pub fn is(&self, said: &Product) -> bool {
        if said.kind != "oci" {
            return false;
        }
        let given = |key: &str| said.qualifiers.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let digests = said.hashes.get("sha-256").map(|hex| format!("sha256:{hex}"));
        if given("arch").is_some_and(|arch| arch != self.arch()) || digests.is_some_and(|digest| !self.digests.contains(&digest)) {
            return false;
        }
        match &said.versions {
            Versions::One(digest) => self.digests.contains(digest),
            Versions::Any => self.parsed().any(|own| {
                own.name == said.name
                    && given("repository_url").is_none_or(|url| repository(url) == own.repository)
                    && given("tag").is_none_or(|tag| tag == own.tag)
            }),
            Versions::Vers(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

    fn image(reference: &str, manifest: Option<&str>) -> Image {
        let mut image = Image { manifest: manifest.map(str::to_owned), platform: "linux/amd64".into(), ..Image::default() };
        image.digests.extend(image.manifest.clone());
        image.refer(reference);
        image
    }

    #[test]
    fn a_reference_is_read_with_the_defaults_that_docker_has() {
        let read = |text: &str| Reference::parse(text).map(|one| (one.repository, one.name, one.tag)).unwrap();
        let all = |repository: &str, name: &str, tag: &str| (repository.to_owned(), name.to_owned(), tag.to_owned());
        assert_eq!(read("debian:12"), all("docker.io/library/debian", "debian", "12"));
        assert_eq!(read("index.docker.io/library/debian"), all("docker.io/library/debian", "debian", ""));
        assert_eq!(read("localhost:5000/team/app:1.2@sha256:00"), all("localhost:5000/team/app", "app", "1.2"));
        assert_eq!(read("acme/app"), all("docker.io/acme/app", "app", ""));
        assert!(image("latest", None).references.is_empty(), "a tag alone names nothing");
    }

    #[test]
    fn a_digest_names_an_image_and_a_name_only_with_all_that_is_said() {
        let own = image("ghcr.io/acme/app:1.2", Some(MANIFEST));
        let is = |purl: &str| own.is(&Product::of_purl(purl).unwrap());
        assert_eq!(own.purl().unwrap(), format!("pkg:oci/app@{MANIFEST}?arch=amd64&repository_url=ghcr.io%2Facme%2Fapp&tag=1.2"));
        assert!(is(&own.purl().unwrap()));
        assert!(is(&format!("pkg:oci/copy@{MANIFEST}")), "the same bytes under another name");
        assert!(is("pkg:oci/app") && is("pkg:oci/app?tag=1.2") && is("pkg:oci/app?repository_url=ghcr.io/acme/app"));
        for other in [
            "pkg:oci/app?tag=1.3",
            "pkg:oci/app?repository_url=ghcr.io/other/app",
            "pkg:oci/app?arch=arm64",
            "pkg:oci/other",
            "pkg:docker/app",
            "pkg:oci/app@sha256:0000000000000000000000000000000000000000000000000000000000000002",
        ] {
            assert!(!is(other), "{other}");
        }
        let saved = image("app:1", None);
        assert_eq!(saved.purl(), None, "without a manifest there is no digest that a registry knows");
        assert!(!saved.is(&Product::of_purl(&format!("pkg:oci/app@{MANIFEST}")).unwrap()), "which digest it has is not known");
    }
}
