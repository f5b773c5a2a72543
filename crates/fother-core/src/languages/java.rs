//! Java archives: Maven's coordinates in `META-INF/maven/…/pom.properties`, and what the name and manifest say where there are none.

use super::component;
use crate::sbom::Component;

/// Reads `groupId`, `artifactId` and `version`.
///
/// # Errors
/// Where one is missing.
pub fn properties(text: &str) -> Result<Component, String> {
    let value = |name: &str| {
        let found = text.lines().filter_map(|line| line.split_once('=')).find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim()).unwrap_or_default()
    };
    let (group, artifact, version) = (value("groupId"), value("artifactId"), value("version"));
    if group.is_empty() {
        return Err("it names no groupId".into());
    }
    component("maven", group, artifact, version)
}

/// What a manifest and a file name say, for people: `commons-io 2.11.0`. Neither names the group that advisories need.
#[must_use]
pub fn description(file: &str, manifest: &str) -> String {
    let value = |name: &str| {
        let found = manifest.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    };
    let stem = file.rsplit('/').next().unwrap_or(file);
    let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
    let by_name =
        stem.match_indices('-').find(|(at, _)| stem[at + 1..].starts_with(|c: char| c.is_ascii_digit())).map(|(at, _)| stem.split_at(at));
    let name = value("Bundle-SymbolicName").or(value("Implementation-Title")).or(by_name.map(|(name, _)| name)).unwrap_or(stem);
    let version = value("Implementation-Version").or(value("Bundle-Version")).or(by_name.map(|(_, version)| &version[1..]));
    let name = name.split(';').next().unwrap_or(name);
    crate::text::printable(&format!("{name} {}", version.unwrap_or("of an unknown version")), 120)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_whole_or_refused() {
        let found = properties("#Generated\ngroupId=org.apache\nartifactId=log4j\nversion=2.14.1\r\n").unwrap();
        assert_eq!((found.namespace.as_str(), found.name.as_str(), found.version.as_str()), ("org.apache", "log4j", "2.14.1"));
        assert!(properties("artifactId=x\nversion=1").is_err());
        assert!(properties("groupId=g\nartifactId=x\nversion=${v w}").is_err());
    }

    #[test]
    fn archives_without_coordinates_are_described() {
        assert_eq!(description("/opt/commons-io-2.11.0.jar", ""), "commons-io 2.11.0");
        assert_eq!(description("x.jar", "Bundle-SymbolicName: org.x;singleton:=true\nBundle-Version: 1.0\n"), "org.x 1.0");
        assert_eq!(description("x.jar", ""), "x of an unknown version");
    }
}
