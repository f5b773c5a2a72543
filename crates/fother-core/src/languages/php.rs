//! Installed PHP packages: Composer's `vendor/composer/installed.json`, versions 1 (a list) and 2 (`packages`).

use super::component;
use crate::sbom::Component;
use serde_json::Value;

/// A Composer package by its whole name, `vendor/name`.
///
/// # Errors
/// Where a part is malformed.
pub fn composer(name: &str, version: &str) -> Result<Component, String> {
    let (vendor, name) = name.split_once('/').unwrap_or(("", name));
    component("composer", &vendor.to_lowercase(), &name.to_lowercase(), version.trim_start_matches('v'))
}

/// Reads the list; what cannot be read comes back with its reason.
///
/// # Errors
/// Where it is no such list.
pub fn installed(text: &str) -> Result<(Vec<Component>, Vec<String>), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("malformed JSON: {error}"))?;
    let list = value.as_array().or_else(|| value["packages"].as_array()).ok_or("it has no list of packages")?;
    let (mut found, mut unknown) = (Vec::new(), Vec::new());
    for package in list {
        match composer(package["name"].as_str().unwrap_or_default(), package["version"].as_str().unwrap_or_default()) {
            Ok(component) => found.push(component),
            Err(why) => unknown.push(why),
        }
    }
    Ok((found, unknown))
}

#[cfg(test)]
mod tests {
    #[test]
    fn both_forms_are_read() {
        for text in [r#"[{"name":"Symfony/yaml","version":"v5.1.0"}]"#, r#"{"packages":[{"name":"symfony/yaml","version":"5.1.0"}]}"#] {
            let (found, unknown) = super::installed(text).unwrap();
            assert_eq!((found[0].namespace.as_str(), found[0].name.as_str(), found[0].version.as_str()), ("symfony", "yaml", "5.1.0"));
            assert!(unknown.is_empty());
        }
        assert!(super::installed("{}").is_err());
    }
}
