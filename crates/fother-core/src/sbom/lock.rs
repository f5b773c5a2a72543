//! Lock files of language ecosystems, read into components. Pure; the bytes are hostile.
//!
//! What is not from the public registry, or names no exact version, is listed by name as not assessed.

mod golang;
mod java;
mod npm;
mod php;
mod python;
mod ruby;

use super::{COMPONENTS_MAX, Component, DOCUMENT_BYTES_MAX, Sbom};
use serde::Deserialize;

/// The lock files that are read, by name.
pub const NAMES: [&str; 17] = [
    "Cargo.lock",
    "poetry.lock",
    "uv.lock",
    "pdm.lock",
    "Pipfile.lock",
    "requirements.txt",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "yarn.lock",
    "pnpm-lock.yaml",
    "go.mod",
    "Gemfile.lock",
    "gems.locked",
    "composer.lock",
    "pom.xml",
    "gradle.lockfile",
    "buildscript-gradle.lockfile",
];

/// Whether a file of this name is read.
#[must_use]
pub fn is_known(name: &str) -> bool {
    NAMES.contains(&name)
}

#[derive(Deserialize)]
struct Toml {
    #[serde(default)]
    package: Vec<TomlPackage>,
}

#[derive(Deserialize)]
struct TomlPackage {
    name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    source: Option<toml::Value>,
}

fn component(kind: &str, name: &str, version: &str) -> Component {
    Component { kind: kind.into(), name: name.into(), version: version.into(), ..Component::default() }
}

/// Reads a lock file; `name` is the file's name, which says what it is.
///
/// # Errors
/// Where it is none that is known, or malformed, with the place.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Sbom, String> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(format!("it is larger than {DOCUMENT_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sbom = Sbom { form: name.to_owned(), ..Sbom::default() };
    match name {
        "Cargo.lock" => tables(text, "cargo", &mut sbom)?,
        "poetry.lock" | "uv.lock" | "pdm.lock" => tables(text, "pypi", &mut sbom)?,
        "Pipfile.lock" => python::pipfile(text, &mut sbom)?,
        "requirements.txt" => python::requirements(text, &mut sbom),
        "package-lock.json" | "npm-shrinkwrap.json" => npm::package_lock(text, &mut sbom)?,
        "yarn.lock" => npm::yarn(text, &mut sbom)?,
        "pnpm-lock.yaml" => npm::pnpm(text, &mut sbom)?,
        "go.mod" => golang::modules(text, &mut sbom)?,
        "Gemfile.lock" | "gems.locked" => ruby::gems(text, &mut sbom)?,
        "composer.lock" => php::composer(text, &mut sbom)?,
        "pom.xml" => java::pom(text, &mut sbom)?,
        "gradle.lockfile" | "buildscript-gradle.lockfile" => java::gradle(text, &mut sbom)?,
        _ => return Err(format!("it is no lock file that is known ({})", NAMES.join(", "))),
    }
    if sbom.components.len() > COMPONENTS_MAX {
        return Err(format!("more than {COMPONENTS_MAX} components"));
    }
    sbom.components.sort();
    sbom.components.dedup();
    Ok(sbom)
}

impl Sbom {
    /// Takes a component that was read, or the reason why it cannot be judged, with its name in front.
    fn take(&mut self, name: &str, found: Result<Component, String>) {
        match found {
            Ok(component) => self.components.push(component),
            Err(why) => self.unknown.push(format!("{}: {why}", crate::text::printable(name, 160))),
        }
    }

    /// Names what no registry answers for.
    fn elsewhere(&mut self, name: &str) {
        self.take(name, Err("not from the public registry, so not assessed".into()));
    }
}

/// `[[package]]` tables: Cargo, Poetry, uv, PDM. Packages of the workspace itself do not count, those from elsewhere than a registry are named.
fn tables(text: &str, kind: &str, sbom: &mut Sbom) -> Result<(), String> {
    let lock: Toml = toml::from_str(text).map_err(|error| format!("malformed: {error}"))?;
    for package in &lock.package {
        let foreign = match (&package.source, kind) {
            (None, "cargo") => continue,
            (Some(toml::Value::String(source)), "cargo") => !source.contains("crates.io"),
            (Some(toml::Value::Table(table)), "pypi") if table.contains_key("virtual") || table.contains_key("editable") => continue,
            (Some(toml::Value::Table(table)), "pypi") => table.contains_key("git") || table.contains_key("path"),
            _ => false,
        };
        if foreign {
            sbom.elsewhere(&format!("{} {}", package.name, package.version));
        } else {
            sbom.components.push(component(kind, &package.name, &package.version));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
