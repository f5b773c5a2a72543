//! Software bills of materials made by others, read into components with their *source* packages. Pure; the bytes are hostile.
//!
//! Advisories of Debian and Ubuntu speak of source packages, and every tool keeps those in another place: Trivy in properties
//! (CycloneDX) and in `sourceInfo` (SPDX), Syft in the package URL's `upstream` qualifier. What is lost here is lost silently later.

mod cyclonedx;
pub mod lock;
mod spdx;

use crate::{inventory::Distribution, package::Installed, purl::Purl, text::printable};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 512 << 20;
/// Most components.
pub const COMPONENTS_MAX: usize = 1_000_000;
/// Deepest nesting of components.
pub const DEPTH_MAX: usize = 64;

/// One component.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Component {
    /// Type of its package URL: `deb`, `cargo`.
    pub kind: String,
    /// Namespace: distribution or group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version, epoch included.
    pub version: String,
    /// Architecture; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// Source package and version, where the document says them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<(String, String)>,
    /// Distribution as the package URL says: `debian-12.11`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub distro: String,
    /// Module and stream that an rpm is of: `nodejs:18`; empty where it is of none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub module: String,
    /// Where it was found below a root or a source tree; empty where that is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub place: String,
}

impl Component {
    /// An installed Debian package as a component.
    #[must_use]
    pub fn installed(package: &Installed, distribution: &Distribution) -> Self {
        Self {
            kind: "deb".into(),
            namespace: distribution.id.clone(),
            name: package.name.clone(),
            version: package.version.as_str().to_owned(),
            arch: package.arch.clone(),
            source: Some((package.source.clone(), package.source_version.as_str().to_owned())),
            distro: format!("{}-{}", distribution.id, distribution.version),
            module: String::new(),
            place: String::new(),
        }
    }

    /// The namespace of its package URL on a system: what it says itself, else the distribution's name (purl-spec, types `deb`, `rpm`, `apk`).
    #[must_use]
    pub fn namespace_in<'a>(&'a self, distribution: &'a Distribution) -> &'a str {
        match (self.namespace.as_str(), distribution.id.as_str()) {
            ("", "rhel") if self.kind == "rpm" => "redhat",
            ("", id) if matches!(self.kind.as_str(), "rpm" | "apk" | "deb") => id,
            (namespace, _) => namespace,
        }
    }

    /// Its package URL on a system: databases of rpm and apk do not say whose packages they are.
    #[must_use]
    pub fn purl_in(&self, distribution: &Distribution) -> String {
        let mut named = Self { namespace: self.namespace_in(distribution).to_owned(), ..self.clone() };
        let of_system = matches!(self.kind.as_str(), "deb" | "rpm" | "apk");
        if named.distro.is_empty() && of_system && !distribution.version.is_empty() {
            named.distro = format!("{}-{}", distribution.id, distribution.version);
        }
        named.purl()
    }

    /// Its package URL, with the source package as Syft writes it; empty where its parts make none.
    #[must_use]
    pub fn purl(&self) -> String {
        let of_system = matches!(self.kind.as_str(), "deb" | "rpm" | "apk");
        let own = (self.name.clone(), self.version.clone());
        let upstream = self.source.as_ref().filter(|source| of_system && **source != own);
        let upstream = upstream.map(|(name, version)| if *version == self.version { name.clone() } else { format!("{name}@{version}") });
        // An rpm's epoch stands beside its version (purl-spec, type `rpm`), a Debian package's in it.
        let (epoch, version) = self.version.split_once(':').filter(|_| self.kind == "rpm").unwrap_or(("", &self.version));
        let qualifiers = [
            ("arch", self.arch.clone()),
            ("distro", self.distro.clone()),
            ("epoch", epoch.to_owned()),
            ("upstream", upstream.unwrap_or_default()),
        ];
        let purl = Purl {
            kind: self.kind.clone(),
            namespace: (!self.namespace.is_empty()).then(|| self.namespace.clone()),
            name: self.name.clone(),
            version: Some(version.to_owned()),
            qualifiers: qualifiers.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            subpath: None,
        };
        purl.normalised().map(|purl| purl.to_string()).unwrap_or_default()
    }
}

/// A document's content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sbom {
    /// Form and version: `CycloneDX 1.6`.
    pub form: String,
    /// Distribution, where it can be told.
    pub distribution: Option<Distribution>,
    /// Components, sorted, each once.
    pub components: Vec<Component>,
    /// Components that could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

/// What a document says about a component besides its package URL.
#[derive(Debug, Default)]
struct Clues<'a> {
    purl: &'a str,
    name: &'a str,
    version: &'a str,
    /// Properties, as `name` and `value`.
    properties: Vec<(&'a str, &'a str)>,
    /// Free text in which the source may stand.
    comments: Vec<&'a str>,
}

/// Reads a document of any known form.
///
/// # Errors
/// Where it is none, or malformed, with the place.
pub fn parse(bytes: &[u8]) -> Result<Sbom, String> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let mut sbom = match bytes.trim_ascii_start().first() {
        Some(b'{') => {
            let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|error| format!("malformed JSON: {error}"))?;
            if value["bomFormat"] == "CycloneDX" {
                cyclonedx::read(&value)?
            } else if value["spdxVersion"].is_string() {
                spdx::read_json(&value)?
            } else {
                return Err("it is JSON, but neither CycloneDX nor SPDX 2".into());
            }
        }
        Some(_) => spdx::read_tags(&String::from_utf8_lossy(bytes))?,
        None => return Err("it is empty".into()),
    };
    sbom.components.sort();
    sbom.components.dedup();
    if sbom.distribution.is_none() {
        sbom.distribution = distribution_of(&sbom.components);
    }
    Ok(sbom)
}

impl Sbom {
    fn add(&mut self, clues: &Clues<'_>) -> Result<(), String> {
        if self.components.len() >= COMPONENTS_MAX {
            return Err(format!("more than {COMPONENTS_MAX} components"));
        }
        let label = || format!("{} {}", printable(clues.name, 80), printable(clues.version, 80));
        // The image that a document is of is what holds the packages, not one of them.
        if clues.purl.starts_with("pkg:oci/") {
            return Ok(());
        }
        if clues.purl.is_empty() {
            self.unknown.push(format!("component {}: it has no package URL", label()));
            return Ok(());
        }
        match Purl::parse(clues.purl) {
            Ok(purl) => self.components.push(component(&purl, clues)),
            Err(error) => self.unknown.push(format!("component {}: {error}", label())),
        }
        Ok(())
    }

    /// The Debian packages as a host would have them, and the components of other kinds; what is no Debian package after all is named.
    #[must_use]
    pub fn split(self) -> (Vec<Installed>, Vec<Component>, Vec<String>) {
        let (mut packages, mut others, mut unknown) = (Vec::new(), Vec::new(), self.unknown);
        for component in self.components {
            if component.kind != "deb" {
                others.push(component);
                continue;
            }
            let (source, source_version) = component.source.clone().unwrap_or_else(|| (component.name.clone(), component.version.clone()));
            match (component.version.parse(), source_version.parse()) {
                (Ok(version), Ok(source_version)) => packages.push(Installed {
                    name: component.name,
                    arch: component.arch,
                    version,
                    source,
                    source_version,
                    broken: None,
                    held: false,
                }),
                (Err(error), _) | (_, Err(error)) => unknown.push(format!("component {}: {error}", printable(&component.name, 80))),
            }
        }
        (packages, others, unknown)
    }
}

fn component(purl: &Purl, clues: &Clues<'_>) -> Component {
    let epoch = purl.qualifier("epoch").filter(|epoch| *epoch != "0" && epoch.bytes().all(|b| b.is_ascii_digit()));
    let with_epoch = |version: &str| match epoch {
        Some(epoch) if !version.contains(':') => format!("{epoch}:{version}"),
        Some(_) | None => version.to_owned(),
    };
    let version = with_epoch(purl.version.as_deref().unwrap_or(clues.version));
    let found = source(purl, clues, &version);
    let (namespace, name) = path(purl);
    Component {
        kind: purl.kind.clone(),
        namespace,
        name,
        source: found,
        version,
        arch: purl.qualifier("arch").unwrap_or_default().to_owned(),
        distro: purl.qualifier("distro").unwrap_or_default().to_owned(),
        module: module(purl, clues),
        place: String::new(),
    }
}

/// Namespace and name. Syft puts what follows the third part of a Go module's path (`/v5`) into the subpath; it belongs to the module.
fn path(purl: &Purl) -> (String, String) {
    let namespace = purl.namespace.clone().unwrap_or_default();
    match &purl.subpath {
        Some(rest) if purl.kind == "golang" => {
            let whole = format!("{namespace}/{}/{rest}", purl.name);
            whole.rsplit_once('/').map(|(before, last)| (before.trim_start_matches('/').to_owned(), last.to_owned())).unwrap_or_default()
        }
        Some(_) | None => (namespace, purl.name.clone()),
    }
}

/// Name and stream of an rpm's module, from wherever the document's maker put its label: `nodejs:18:9030020240113:rhel9`.
fn module(purl: &Purl, clues: &Clues<'_>) -> String {
    let names = ["aquasecurity:trivy:Modularitylabel", "syft:metadata:modularityLabel"];
    let property = || clues.properties.iter().find(|(key, _)| names.contains(key)).map(|(_, value)| *value);
    purl.qualifier("rpmmod").or_else(property).and_then(stream).unwrap_or_default()
}

/// `nodejs:18` of a module's label; `None` where it has no stream.
#[must_use]
pub fn stream(label: &str) -> Option<String> {
    let mut parts = label.splitn(3, ':');
    let (name, stream) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !stream.is_empty() && !label.contains('/')).then(|| format!("{name}:{stream}"))
}

/// The source package, from wherever the document's maker put it.
fn source(purl: &Purl, clues: &Clues<'_>, version: &str) -> Option<(String, String)> {
    let property = |name: &str| clues.properties.iter().find(|(key, _)| *key == name).map(|(_, value)| *value).filter(|v| !v.is_empty());
    // A rebuild of the same source adds `+b1` to the binary's version only (Debian Developer's Reference 5.10.2.1).
    let without_rebuild = || {
        let (base, rebuild) = version.rsplit_once("+b").unwrap_or((version, ""));
        if !rebuild.is_empty() && rebuild.bytes().all(|b| b.is_ascii_digit()) { base.to_owned() } else { version.to_owned() }
    };
    if let Some(name) = property("aquasecurity:trivy:SrcName") {
        let epoch = property("aquasecurity:trivy:SrcEpoch").map(|epoch| format!("{epoch}:")).unwrap_or_default();
        let release = property("aquasecurity:trivy:SrcRelease").map(|release| format!("-{release}")).unwrap_or_default();
        let version = property("aquasecurity:trivy:SrcVersion").map(|version| format!("{epoch}{version}{release}"));
        return Some((name.to_owned(), version.unwrap_or_else(without_rebuild)));
    }
    if let Some(name) = property("syft:metadata:source") {
        let version = property("syft:metadata:sourceVersion").map(str::to_owned);
        return Some((name.to_owned(), version.unwrap_or_else(without_rebuild)));
    }
    if let Some(upstream) = purl.qualifier("upstream").or_else(|| purl.qualifier("source")) {
        // rpm's is a file: `glibc-2.34-60.el9.src.rpm`.
        if let Some((name, rest)) = upstream.strip_suffix(".src.rpm").and_then(|file| {
            let (rest, release) = file.rsplit_once('-')?;
            let (name, version) = rest.rsplit_once('-')?;
            Some((name, format!("{version}-{release}")))
        }) {
            return Some((name.to_owned(), rest));
        }
        let (name, version) = upstream.split_once('@').map_or((upstream, None), |(name, version)| (name, Some(version)));
        return Some((name.to_owned(), version.map_or_else(without_rebuild, str::to_owned)));
    }
    for text in &clues.comments {
        // Trivy's SPDX: `built package from: util-linux 2.38.1-5+deb12u3`.
        if let Some((_, rest)) = text.split_once("built package from: ") {
            let mut words = rest.split_whitespace();
            if let Some(name) = words.next() {
                return Some((name.to_owned(), words.next().map_or_else(without_rebuild, str::to_owned)));
            }
        }
    }
    (purl.kind == "deb").then(|| (purl.name.clone(), without_rebuild()))
}

/// The distribution that most package URLs name: `distro=debian-12.11`, or its codename.
fn distribution_of(components: &[Component]) -> Option<Distribution> {
    let mut votes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for component in components.iter().filter(|c| matches!(c.kind.as_str(), "deb" | "rpm" | "apk") && !c.distro.is_empty()) {
        *votes.entry((component.namespace.as_str(), component.distro.as_str())).or_default() += 1;
    }
    let ((namespace, distro), _) = votes.into_iter().max_by_key(|(_, count)| *count)?;
    let version = distro.strip_prefix(namespace).and_then(|rest| rest.strip_prefix('-'));
    let version = version.or_else(|| distro.split_once('-').map(|(_, version)| version)).unwrap_or(distro);
    Some(distribution(namespace, version))
}

/// A distribution by its id and what a document calls its version.
fn distribution(id: &str, version: &str) -> Distribution {
    let id = match id.to_lowercase().as_str() {
        "alma" => "almalinux".to_owned(),
        other => other.to_owned(),
    };
    let major = version.split('.').next().unwrap_or_default();
    let codename = if id == "debian" {
        // Either a number or the codename itself.
        crate::assess::debian_codename(major).unwrap_or_else(|| if major.bytes().all(|b| b.is_ascii_lowercase()) { major } else { "" })
    } else {
        ""
    };
    Distribution { id, version: version.to_owned(), codename: codename.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PURL: &str = "pkg:deb/debian/bsdutils@2.38.1-5%2Bdeb12u3?arch=amd64&distro=debian-12.11&epoch=1";

    fn only(text: &str) -> Component {
        let sbom = parse(text.as_bytes()).unwrap();
        let [component] = sbom.components.as_slice() else { panic!("{sbom:?}") };
        assert_eq!(sbom.distribution.unwrap().codename, "bookworm");
        component.clone()
    }

    #[test]
    fn a_go_module_is_the_same_whether_its_major_version_stands_in_the_name_or_behind_it() {
        let module = |purl: &str| {
            let text = format!(
                r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{{"type":"library","name":"x","purl":"{purl}"}}]}}"#
            );
            let component = parse(text.as_bytes()).unwrap().components.remove(0);
            format!("{}/{}", component.namespace, component.name)
        };
        let syft = module("pkg:golang/github.com/go-git/go-git@v5.12.0#v5");
        assert_eq!((syft.as_str(), &syft), ("github.com/go-git/go-git/v5", &module("pkg:golang/github.com/go-git/go-git/v5@v5.12.0")));
        assert_eq!(
            module("pkg:golang/go.opentelemetry.io/contrib@v0.49.0#instrumentation/net"),
            "go.opentelemetry.io/contrib/instrumentation/net"
        );
    }

    #[test]
    fn the_source_package_is_found_in_every_maker_s_place() {
        let want = Some(("util-linux".to_owned(), "2.38.1-5+deb12u3".to_owned()));
        let trivy = format!(
            r#"{{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{{"type":"library","name":"bsdutils","version":"x","purl":"{PURL}","properties":[
            {{"name":"aquasecurity:trivy:SrcName","value":"util-linux"}},{{"name":"aquasecurity:trivy:SrcVersion","value":"2.38.1"}},
            {{"name":"aquasecurity:trivy:SrcRelease","value":"5+deb12u3"}}]}}]}}"#
        );
        let component = only(&trivy);
        assert_eq!((component.version.as_str(), &component.source), ("1:2.38.1-5+deb12u3", &want));
        let spdx = format!(
            r#"{{"spdxVersion":"SPDX-2.3","packages":[{{"name":"bsdutils","versionInfo":"x","sourceInfo":"built package from: util-linux 2.38.1-5+deb12u3",
            "externalRefs":[{{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl","referenceLocator":"{PURL}"}}]}}]}}"#
        );
        assert_eq!(only(&spdx).source, want);
        let tags = format!(
            "SPDXVersion: SPDX-2.3\nPackageName: bsdutils\nPackageVersion: x\nPackageSourceInfo: <text>built package from: util-linux 2.38.1-5+deb12u3</text>\nExternalRef: PACKAGE-MANAGER purl {PURL}\n"
        );
        assert_eq!(only(&tags).source, want);
        let syft = format!(
            r#"{{"bomFormat":"CycloneDX","components":[{{"name":"bsdutils","purl":"{PURL}&upstream=util-linux%402.38.1-5%2Bdeb12u3"}}]}}"#
        );
        assert_eq!(only(&syft).source, want);
        let rebuilt = r#"{"bomFormat":"CycloneDX","components":[{"name":"x","purl":"pkg:deb/debian/x@1-2%2Bb3?distro=debian-12"}]}"#;
        assert_eq!(only(rebuilt).source, Some(("x".into(), "1-2".into())));
    }

    #[test]
    fn what_cannot_be_read_is_named_and_garbage_is_refused() {
        let odd = r#"{"bomFormat":"CycloneDX","components":[{"name":"a","version":"1"},{"name":"b","purl":"pkg:x"}]}"#;
        assert_eq!(parse(odd.as_bytes()).unwrap().unknown.len(), 2);
        for bad in ["", "{", "{}", "hello", "[1]", "{\"bomFormat\":\"CycloneDX\"}x"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!("{}{}", "{\"components\":[".repeat(200), "]}".repeat(200));
        assert!(parse(deep.as_bytes()).is_err());
    }
}
