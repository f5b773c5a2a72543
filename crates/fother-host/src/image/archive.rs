//! The two forms of images in layers: an OCI layout (image-layout and image-index specifications 1.1) and what `docker save` writes.
//! Every digest on the way from the image's name to a file's bytes is checked.

use super::{
    About, LAYERS_MAX,
    layers::{self, Expected},
    store::Store,
    tree::Tree,
};
use fother_core::{Digest, image::Image, text::printable};
use serde::Deserialize;

/// Largest manifest, index or configuration, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 8 << 20;
/// Deepest nesting of indexes.
const DEPTH_MAX: usize = 4;
/// Most manifests of one layout.
const MANIFESTS_MAX: usize = 1_000;
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// Annotations of an index in which an image's reference stands: containerd's, and the specification's, which may be a tag alone.
const REFERENCES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    digest: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

#[derive(Debug, Default, Deserialize)]
struct Manifest {
    #[serde(default)]
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", printable(&self.os, 40), printable(&self.architecture, 40))?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", printable(&self.variant, 40)) }
    }
}

impl Platform {
    /// Whether it is the one that is asked for; `linux/arm` fits every variant.
    fn fits(&self, wanted: &str) -> bool {
        let own = self.to_string();
        own == wanted || own.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/'))
    }

    fn is_known(&self) -> bool {
        !self.os.is_empty() && self.os != "unknown"
    }
}

/// This machine's platform in the words of images.
fn here() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    };
    format!("linux/{architecture}")
}

fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{name}: {error}"))
}

fn sha256(text: &str) -> Result<Digest, String> {
    let hex = text.strip_prefix("sha256:").ok_or_else(|| format!("its digest `{}` is no SHA-256", printable(text, 100)))?;
    Digest::from_hex(hex).map_err(|error| error.to_string())
}

/// A small part by its digest, which it must have.
fn document(store: &Store, digest: &str) -> Result<Vec<u8>, String> {
    let wanted = sha256(digest)?;
    let name = format!("blobs/sha256/{}", wanted.hex());
    let bytes = store.small(&name, DOCUMENT_BYTES_MAX)?;
    let found = Digest::of_file(&bytes);
    if found == wanted { Ok(bytes) } else { Err(format!("{name} is {found}: it is damaged or was changed")) }
}

/// Reads whichever form it is.
///
/// # Errors
/// Where it is none, damaged, or has several images of which none was chosen.
pub fn read(store: &Store, platform: Option<&str>, tree: &mut Tree) -> Result<About, String> {
    if store.has("index.json") {
        return oci(store, platform, tree);
    }
    if store.has("manifest.json") {
        return saved(store, platform, tree);
    }
    Err("it has neither index.json nor manifest.json; for a root directory use --root".into())
}

/// An image of a layout, with the names that the way to it gives it.
struct Found {
    descriptor: Descriptor,
    manifest: Manifest,
    /// Its own digest and those of the indexes above it.
    digests: Vec<String>,
    references: Vec<String>,
}

/// All images below an index, without attestations and the like.
fn images(store: &Store, index: Vec<Descriptor>, above: &[Descriptor], out: &mut Vec<Found>) -> Result<(), String> {
    let depth = above.len();
    if depth > DEPTH_MAX {
        return Err(format!("its indexes are nested more than {DEPTH_MAX} deep"));
    }
    for descriptor in index {
        if out.len() >= MANIFESTS_MAX {
            return Err(format!("it has more than {MANIFESTS_MAX} manifests"));
        }
        if descriptor.annotations.contains_key(REFERENCE_TYPE) {
            continue;
        }
        let manifest: Manifest = parse("a manifest", &document(store, &descriptor.digest)?)?;
        let mut way = above.to_vec();
        way.push(descriptor.clone());
        if manifest.config.is_none() && !manifest.manifests.is_empty() {
            images(store, manifest.manifests, &way, out)?;
        } else {
            let digests = way.iter().map(|one| printable(&one.digest, 80)).collect();
            let references = way.iter().flat_map(|one| REFERENCES.iter().filter_map(|key| one.annotations.get(*key).cloned())).collect();
            out.push(Found { descriptor, manifest, digests, references });
        }
    }
    Ok(())
}

fn config_of(store: &Store, manifest: &Manifest) -> Result<Config, String> {
    let digest = manifest.config.as_ref().map(|config| config.digest.as_str()).unwrap_or_default();
    parse("its configuration", &document(store, digest)?)
}

/// An image's platform: as the index says, else as its configuration does.
fn platform_of(store: &Store, descriptor: &Descriptor, manifest: &Manifest) -> Result<Platform, String> {
    match descriptor.platform.clone().filter(Platform::is_known) {
        Some(platform) => Ok(platform),
        None => config_of(store, manifest).map(|config| config.platform),
    }
}

fn oci(store: &Store, platform: Option<&str>, tree: &mut Tree) -> Result<About, String> {
    let index: Manifest = parse("index.json", &store.small("index.json", DOCUMENT_BYTES_MAX)?)?;
    let mut all: Vec<Found> = Vec::new();
    images(store, index.manifests, &[], &mut all)?;
    all.sort_by(|a, b| a.descriptor.digest.cmp(&b.descriptor.digest));
    all.dedup_by(|later, first| {
        let same = later.descriptor.digest == first.descriptor.digest;
        if same {
            first.digests.append(&mut later.digests);
            first.references.append(&mut later.references);
        }
        same
    });
    let mut fitting = Vec::new();
    let mut names = Vec::new();
    let wanted = platform.map_or_else(here, str::to_owned);
    for one in &all {
        let own = platform_of(store, &one.descriptor, &one.manifest)?;
        names.push(format!("{own} {}", printable(&one.descriptor.digest, 80)));
        if own.fits(&wanted) {
            fitting.push(one);
        }
    }
    let found = match (fitting.as_slice(), all.as_slice()) {
        ([one], _) => *one,
        // The only one there is, unless another was asked for.
        ([], [one]) if platform.is_none() => one,
        (_, []) => return Err("it holds no image".into()),
        ([], _) => return Err(format!("none of its images is for {wanted}: it holds {}; choose with --platform", names.join(", "))),
        (_, _) => return Err(format!("several of its images are for {wanted}: it holds {}; copy out the one you mean", names.join(", "))),
    };
    let manifest = &found.manifest;
    let config = config_of(store, manifest)?;
    if manifest.layers.len() != config.rootfs.diff_ids.len() || manifest.layers.len() > LAYERS_MAX {
        return Err(format!("its manifest has {} layers, its configuration {}", manifest.layers.len(), config.rootfs.diff_ids.len()));
    }
    let mut left = layers::budget();
    for (number, (layer, plain)) in manifest.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        if layer.media_type.contains("encrypted") {
            return Err(format!("layer {} is encrypted", number + 1));
        }
        let packed = sha256(&layer.digest)?;
        tree.layer = number;
        let blob = store.open(&format!("blobs/sha256/{}", packed.hex()))?;
        layers::apply(tree, blob, Expected { packed: Some(packed), plain: Some(sha256(plain)?), end: false }, &mut left)?;
    }
    let digest = printable(&found.descriptor.digest, 80);
    let id = manifest.config.iter().map(|config| printable(&config.digest, 80));
    let mut image = Image {
        form: "oci-layout".into(),
        manifest: Some(digest.clone()),
        digests: found.digests.iter().cloned().chain(id).collect(),
        digest,
        platform: config.platform.to_string(),
        references: Vec::new(),
    };
    found.references.iter().for_each(|reference| image.refer(reference));
    Ok(About { image, layers: manifest.layers.len(), unknown: Vec::new() })
}

fn saved(store: &Store, platform: Option<&str>, tree: &mut Tree) -> Result<About, String> {
    let bytes = store.small("manifest.json", DOCUMENT_BYTES_MAX)?;
    let all: Vec<Saved> = parse("manifest.json", &bytes)?;
    let [image] = all.as_slice() else {
        let tags: Vec<String> = all.iter().flat_map(|image| image.repo_tags.iter().flatten()).map(|tag| printable(tag, 100)).collect();
        return Err(format!("it holds {} images ({}): save one alone", all.len(), tags.join(", ")));
    };
    let bytes = store.small(&image.config, DOCUMENT_BYTES_MAX)?;
    let id = Digest::of_file(&bytes);
    let name = image.config.rsplit('/').next().unwrap_or_default().trim_end_matches(".json");
    if Digest::from_hex(name).is_ok_and(|named| named != id) {
        return Err(format!("its configuration is {id}, not {} as it says: it is damaged or was changed", printable(name, 80)));
    }
    let config: Config = parse("its configuration", &bytes)?;
    if platform.is_some_and(|wanted| !config.platform.fits(wanted)) {
        return Err(format!("it is for {}", config.platform));
    }
    if image.layers.len() != config.rootfs.diff_ids.len() || image.layers.len() > LAYERS_MAX {
        return Err(format!("its manifest has {} layers, its configuration {}", image.layers.len(), config.rootfs.diff_ids.len()));
    }
    let mut left = layers::budget();
    for (number, (layer, plain)) in image.layers.iter().zip(&config.rootfs.diff_ids).enumerate() {
        tree.layer = number;
        layers::apply(tree, store.open(layer)?, Expected { packed: None, plain: Some(sha256(plain)?), end: false }, &mut left)?;
    }
    let mut about = Image {
        form: "docker-archive".into(),
        digest: id.to_string(),
        digests: [id.to_string()].into(),
        platform: config.platform.to_string(),
        ..Image::default()
    };
    image.repo_tags.iter().flatten().for_each(|tag| about.refer(tag));
    Ok(About { image: about, layers: image.layers.len(), unknown: Vec::new() })
}
