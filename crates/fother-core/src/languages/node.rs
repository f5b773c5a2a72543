//! Installed npm packages: `package.json` of a package's own directory; and Node.js itself by its header file.

use super::component;
use crate::sbom::Component;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
struct Manifest<'a> {
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    version: Option<Cow<'a, str>>,
}

/// Reads a manifest; `None` where it names no package, as the small ones do that only set the type of a directory's modules.
///
/// # Errors
/// Where it is no JSON object, or the name or version is malformed.
pub fn manifest(text: &str) -> Result<Option<Component>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let manifest: Manifest<'_> = serde_json::from_str(text).map_err(|error| format!("malformed JSON: {error}"))?;
    match (manifest.name, manifest.version) {
        (Some(name), Some(version)) => npm(&name, version.trim_start_matches(['v', '='])).map(Some),
        _ => Ok(None),
    }
}

/// An npm package by its whole name: `@scope/name` or `name`.
///
/// # Errors
/// Where a part is malformed.
pub fn npm(name: &str, version: &str) -> Result<Component, String> {
    let (scope, name) = if name.starts_with('@') { name.split_once('/').unwrap_or(("", name)) } else { ("", name) };
    component("npm", scope, name, version)
}

/// Whether a file is the manifest of an installed package: `…/node_modules/name/package.json` or `…/node_modules/@scope/name/package.json`.
/// Others below a package (test data, parts) describe nothing that is installed.
#[must_use]
pub fn is_installed(directory: &str) -> bool {
    let mut parts = directory.rsplit('/');
    let (Some(_), Some(parent)) = (parts.next(), parts.next()) else { return false };
    parent == "node_modules" || (parent.starts_with('@') && parts.next() == Some("node_modules"))
}

/// Node.js by its `node_version.h`.
///
/// # Errors
/// Where a number is missing.
pub fn runtime(text: &str) -> Result<Component, String> {
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix("#define ").and_then(|line| line.strip_prefix(name)));
        line.map(str::trim).filter(|value| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit())).ok_or("it names no version")
    };
    let version = [number("NODE_MAJOR_VERSION ")?, number("NODE_MINOR_VERSION ")?, number("NODE_PATCH_VERSION ")?];
    component("nodejs", "", "node", &version.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_manifests_of_installed_packages_count() {
        assert!(is_installed("/srv/node_modules/left-pad"));
        assert!(is_installed("/srv/node_modules/@babel/core"));
        assert!(!is_installed("/srv/node_modules/resolve/test/data"));
        assert!(!is_installed("/srv"));
    }

    #[test]
    fn scopes_are_namespaces_and_nameless_manifests_no_packages() {
        let found = manifest(r#"{"name":"@babel/core","version":"7.1.0","x":[1]}"#).unwrap().unwrap();
        assert_eq!((found.namespace.as_str(), found.name.as_str(), found.version.as_str()), ("@babel", "core", "7.1.0"));
        assert_eq!(manifest(r#"{"type":"module"}"#).unwrap(), None);
        assert!(manifest("[").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200), "]".repeat(200));
        assert!(manifest(&deep).unwrap_or(None).is_none());
        let header = "#define NODE_MAJOR_VERSION 18\n#define NODE_MINOR_VERSION 1\n#define NODE_PATCH_VERSION 0\n";
        assert_eq!(runtime(header).unwrap().version, "18.1.0");
    }
}
