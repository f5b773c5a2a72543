//! Python: `requirements.txt` (pip, "Requirements File Format") and `Pipfile.lock`.

use super::{super::Sbom, component};

/// Pinned requirements (`name==version`); others name no version and are listed as not assessed, as are other files that it names.
pub(super) fn requirements(text: &str, sbom: &mut Sbom) {
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        let is_hash = line.starts_with("--hash") || line.starts_with('#') || line.is_empty();
        if is_hash {
            continue;
        }
        if let Some(file) = ["-r", "-c", "-e", "--requirement", "--constraint", "--editable"].iter().find_map(|o| line.strip_prefix(o)) {
            sbom.take(line, Err(format!("`{}` was not read", crate::text::printable(file.trim(), 80))));
            continue;
        }
        if line.starts_with('-') {
            continue;
        }
        let line =
            line.split(" --hash").next().unwrap_or_default().split(';').next().unwrap_or_default().trim().trim_end_matches('\\').trim();
        match line.split_once("==") {
            Some((name, version)) if !version.contains(['*', ',']) => {
                let name = name.split('[').next().unwrap_or_default().trim();
                let version = version.trim_start_matches('=').split_whitespace().next().unwrap_or_default();
                sbom.components.push(component("pypi", name, version));
            }
            _ => sbom.take(line, Err("no exact version, so not assessed".into())),
        }
    }
}

/// `default` and `develop`, each a table from name to `{"version": "==1.2"}`.
pub(super) fn pipfile(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let lock: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("malformed: {error}"))?;
    if !lock["_meta"].is_object() {
        return Err("it has no `_meta`".into());
    }
    for (name, package) in ["default", "develop"].iter().filter_map(|part| lock[*part].as_object()).flatten() {
        match package["version"].as_str().and_then(|version| version.strip_prefix("==")) {
            Some(version) => sbom.components.push(component("pypi", name, version)),
            None => sbom.elsewhere(name),
        }
    }
    Ok(())
}
