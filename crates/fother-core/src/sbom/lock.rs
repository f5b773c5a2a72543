//! Lock files of language ecosystems, read into components. Pure; the bytes are hostile.

use super::{COMPONENTS_MAX, Component, DOCUMENT_BYTES_MAX, Sbom};
use serde::Deserialize;

/// The lock files that are read, by name.
pub const NAMES: [&str; 6] = ["Cargo.lock", "poetry.lock", "uv.lock", "package-lock.json", "requirements.txt", "go.mod"];

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
    let mut sbom = Sbom { form: name.to_owned(), ..Sbom::default() };
    match name {
        "Cargo.lock" => tables(text, "cargo", &mut sbom)?,
        "poetry.lock" | "uv.lock" => tables(text, "pypi", &mut sbom)?,
        "package-lock.json" => npm(text, &mut sbom)?,
        "requirements.txt" => requirements(text, &mut sbom),
        "go.mod" => go(text, &mut sbom),
        _ => return Err(format!("it is no lock file that is known ({})", NAMES.join(", "))),
    }
    if sbom.components.len() > COMPONENTS_MAX {
        return Err(format!("more than {COMPONENTS_MAX} components"));
    }
    sbom.components.sort();
    sbom.components.dedup();
    Ok(sbom)
}

/// `[[package]]` tables: Cargo, Poetry, uv. Packages of the workspace itself and from elsewhere than a registry are named as not assessed.
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
            sbom.unknown.push(format!("{} {}: not from the public registry, so not assessed", package.name, package.version));
        } else {
            sbom.components.push(component(kind, &package.name, &package.version));
        }
    }
    Ok(())
}

/// `packages` of versions 2 and 3, keyed by the path below `node_modules`.
fn npm(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let lock: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("malformed: {error}"))?;
    let packages = lock["packages"].as_object().ok_or("it has no `packages`: version 1 is not read")?;
    for (path, package) in packages.iter().filter(|(path, _)| !path.is_empty()) {
        let name = package["name"].as_str().or_else(|| path.rsplit_once("node_modules/").map(|(_, name)| name));
        match (name, package["version"].as_str()) {
            (Some(name), Some(version)) if package["link"] != true => sbom.components.push(component("npm", name, version)),
            _ if package["link"] == true => {}
            _ => sbom.unknown.push(format!("{path}: it has no name or version")),
        }
    }
    Ok(())
}

/// Pinned requirements (`name==version`); others name no version and are listed as not assessed.
fn requirements(text: &str, sbom: &mut Sbom) {
    for line in text.lines() {
        let line = line.split(" #").next().unwrap_or_default().split(';').next().unwrap_or_default().trim().trim_end_matches('\\').trim();
        if line.is_empty() || line.starts_with(['#', '-']) {
            continue;
        }
        match line.split_once("==") {
            Some((name, version)) if !version.contains(['*', ',']) => {
                let name = name.split('[').next().unwrap_or_default().trim();
                let version = version.split_whitespace().next().unwrap_or_default();
                sbom.components.push(component("pypi", name, version));
            }
            _ => sbom.unknown.push(format!("{}: no exact version, so not assessed", crate::text::printable(line, 80))),
        }
    }
}

/// `require` lines; `replace` is listed as not assessed.
fn go(text: &str, sbom: &mut Sbom) {
    let mut block = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let (verb, rest) = if block.is_empty() { line.split_once(' ').unwrap_or((line, "")) } else { (block.as_str(), line) };
        match (verb, rest.trim()) {
            _ if line == ")" => block.clear(),
            (verb, "(") => block = verb.to_owned(),
            ("require", rest) => {
                if let Some((module, version)) = rest.split_once(' ') {
                    sbom.components.push(component("golang", module, version.trim()));
                }
            }
            ("go" | "toolchain", version) if !version.is_empty() => {
                sbom.components.push(component("golang", "stdlib", version.trim_start_matches("go")));
            }
            ("replace", rest) if !rest.is_empty() => sbom.unknown.push(format!("replace {rest}: not assessed")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, text: &str) -> (Vec<String>, usize) {
        let sbom = parse(name, text.as_bytes()).unwrap();
        (sbom.components.iter().map(|c| format!("{} {} {}", c.kind, c.name, c.version)).collect(), sbom.unknown.len())
    }

    #[test]
    fn every_lock_file_gives_its_packages_and_names_what_it_cannot_judge() {
        let cargo = "version = 4\n[[package]]\nname = \"me\"\nversion = \"0.1.0\"\n[[package]]\nname = \"serde\"\nversion = \"1.0.1\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n[[package]]\nname = \"g\"\nversion = \"1.0.0\"\nsource = \"git+https://x.test/g\"\n";
        assert_eq!(names("Cargo.lock", cargo), (vec!["cargo serde 1.0.1".into()], 1));
        let npm = r#"{"packages":{"":{"name":"me"},"node_modules/a":{"version":"1.0.0"},"node_modules/a/node_modules/@s/b":{"version":"2.0.0"},"node_modules/l":{"link":true}}}"#;
        assert_eq!(names("package-lock.json", npm), (vec!["npm @s/b 2.0.0".into(), "npm a 1.0.0".into()], 0));
        let python = "# x\nDjango[argon2]==4.2.1 ; python_version > \"3\" \\\n    --hash=sha256:0\nrequests>=2\n-r other.txt\n";
        assert_eq!(names("requirements.txt", python), (vec!["pypi Django 4.2.1".into()], 1));
        let go = "module m\n\ngo 1.21.0\n\nrequire (\n\tgolang.org/x/net v0.1.0\n\tx.test/y v1.2.3 // indirect\n)\nrequire z.test/z v0.0.1\nreplace x.test/y => ../y\n";
        assert_eq!(names("go.mod", go).0.len(), 4);
        assert_eq!(names("go.mod", go).1, 1);
        for name in NAMES {
            let _ = parse(name, b"\xff\xfe");
            let _ = parse(name, b"{");
        }
    }
}
