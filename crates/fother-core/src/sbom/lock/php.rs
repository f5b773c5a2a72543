//! PHP: `composer.lock`.

use super::super::Sbom;
use crate::languages::php;
use serde_json::Value;

/// `packages` and `packages-dev`; branches (`dev-main`) have no version that could be compared.
pub(super) fn composer(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let lock: Value = serde_json::from_str(text).map_err(|error| format!("malformed: {error}"))?;
    let lists: Vec<&Vec<Value>> = [&lock["packages"], &lock["packages-dev"]].into_iter().filter_map(Value::as_array).collect();
    if lists.is_empty() {
        return Err("it has no list of packages".into());
    }
    for package in lists.into_iter().flatten() {
        let (name, version) = (package["name"].as_str().unwrap_or_default(), package["version"].as_str().unwrap_or_default());
        if version.starts_with("dev-") || version.ends_with("-dev") {
            sbom.take(name, Err(format!("`{}` is a branch, so not assessed", crate::text::printable(version, 60))));
        } else {
            sbom.take(name, php::composer(name, version));
        }
    }
    Ok(())
}
