//! npm's registry: `package-lock.json` (1 to 3), `yarn.lock` (classic and Berry), `pnpm-lock.yaml` (5, 6, 9).

use super::super::Sbom;
use crate::{languages::node::npm, yaml};
use serde_json::Value;

/// What a version or address looks like that no registry answers for.
fn is_elsewhere(text: &str) -> bool {
    ["git+", "git:", "git@", "github:", "gitlab:", "bitbucket:", "file:", "link:", "portal:", "http:", "https:"]
        .iter()
        .any(|s| text.starts_with(s))
}

/// `packages` of versions 2 and 3, keyed by the path below `node_modules`; else `dependencies` of version 1, in each other.
pub(super) fn package_lock(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let lock: Value = serde_json::from_str(text).map_err(|error| format!("malformed: {error}"))?;
    let Some(packages) = lock["packages"].as_object() else {
        let dependencies =
            lock["dependencies"].as_object().or_else(|| lock["lockfileVersion"].is_u64().then(|| EMPTY.get_or_init(Default::default)));
        return nested(dependencies.ok_or("it has neither `packages` nor `dependencies`")?, sbom);
    };
    for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
        let name = package["name"].as_str().or_else(|| path.rsplit_once("node_modules/").map(|(_, name)| name));
        match (name, package["version"].as_str()) {
            // A workspace's own packages stand outside of node_modules and are linked into it.
            _ if package["link"] == true || !path.contains("node_modules/") => {}
            (Some(name), _) if package["resolved"].as_str().is_some_and(|from| from.starts_with("git")) => sbom.elsewhere(name),
            (Some(name), Some(version)) => sbom.take(name, npm(name, version)),
            _ => sbom.take(path, Err("it has no name or version".into())),
        }
    }
    Ok(())
}

static EMPTY: std::sync::OnceLock<serde_json::Map<String, Value>> = std::sync::OnceLock::new();

/// Version 1; the JSON reader has bounded the depth.
fn nested(dependencies: &serde_json::Map<String, Value>, sbom: &mut Sbom) -> Result<(), String> {
    for (name, package) in dependencies {
        match package["version"].as_str() {
            Some(version) if is_elsewhere(version) => sbom.elsewhere(name),
            // `npm:other@1.0.0` stands under another name.
            Some(version) => match version.strip_prefix("npm:").and_then(|alias| alias.rsplit_once('@')) {
                Some((real, version)) => sbom.take(name, npm(real, version)),
                None => sbom.take(name, npm(name, version)),
            },
            None => sbom.take(name, Err("it has no version".into())),
        }
        if let Some(inner) = package["dependencies"].as_object() {
            nested(inner, sbom)?;
        }
    }
    Ok(())
}

/// `name@range`: the name, and the range without it. A scope's sign is no separator.
fn descriptor(text: &str) -> Option<(&str, &str)> {
    let at = text.get(1..)?.find('@')? + 1;
    Some((&text[..at], &text[at + 1..]))
}

/// Classic files have a form of their own; Berry's are YAML and have `__metadata`.
pub(super) fn yarn(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    if text.lines().any(|line| line.starts_with("__metadata:")) { berry(text, sbom) } else { classic(text, sbom) }
}

fn classic(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    if !text.contains("yarn lockfile v1") && !text.trim().is_empty() && !text.lines().any(|line| line.starts_with("  version ")) {
        return Err("it is no yarn.lock".into());
    }
    let mut head: Option<&str> = None;
    for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if !line.starts_with(' ') {
            if let Some(head) = head {
                sbom.take(head, Err("it has no version".into()));
            }
            head = line.trim_end().strip_suffix(':').map(|keys| keys.split(", ").next().unwrap_or(keys).trim_matches('"'));
        } else if let (Some(key), Some(version)) = (head, line.strip_prefix("  version ")) {
            head = None;
            let version = version.trim().trim_matches('"');
            match descriptor(key) {
                Some((name, range)) if is_elsewhere(range) => sbom.elsewhere(&format!("{name} {version}")),
                Some((name, range)) => {
                    let real = range.strip_prefix("npm:").and_then(descriptor).map_or(name, |(real, _)| real);
                    sbom.take(name, npm(real, version));
                }
                None => sbom.take(key, Err("it names no package".into())),
            }
        }
    }
    Ok(())
}

fn berry(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    for (key, entry) in yaml::parse(text)?.map().iter().filter(|(key, _)| key != "__metadata") {
        // `resolution: "name@npm:1.0.0"` says what was taken.
        match (entry.text("resolution").and_then(descriptor), entry.text("version")) {
            (Some((_, from)), _) if from.starts_with("workspace:") => {}
            (Some((name, from)), Some(version)) if from.starts_with("npm:") || from.starts_with("patch:") => {
                sbom.take(key, npm(name, version))
            }
            (Some((name, _)), Some(_)) => sbom.elsewhere(name),
            _ => sbom.take(key, Err("it has no resolution or version".into())),
        }
    }
    Ok(())
}

/// Keys of `packages`: `/name/1.0.0_peers` (5), `/name@1.0.0(peers)` (6), `name@1.0.0` (9).
pub(super) fn pnpm(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let lock = yaml::parse(text)?;
    let form = lock.text("lockfileVersion").ok_or("it has no lockfileVersion")?;
    let old = match form.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
        Some(5) => true,
        Some(6 | 7 | 9) => false,
        _ => return Err(format!("its version {} is not known", crate::text::printable(form, 20))),
    };
    for (key, entry) in lock.get("packages").map(yaml::Yaml::map).unwrap_or_default() {
        let id = key.strip_prefix('/').unwrap_or(key);
        let id = id.split('(').next().unwrap_or(id);
        let split = if old {
            id.rsplit_once('/').map(|(name, version)| (name, version.split('_').next().unwrap_or(version)))
        } else {
            descriptor(id)
        };
        match (entry.text("name").zip(entry.text("version")), split) {
            // Fetched from an address; it says its own name.
            (Some((name, version)), _) => sbom.elsewhere(&format!("{name} {version}")),
            (None, Some((name, version))) if !is_elsewhere(version) && !is_elsewhere(key) && !name.contains(':') => {
                sbom.take(key, npm(name, version));
            }
            (None, _) => sbom.elsewhere(key),
        }
    }
    Ok(())
}
