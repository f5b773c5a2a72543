//! Go: `go.mod` (Go modules reference, "go.mod files"): what is required, what replaces it.

use super::{super::Sbom, component};
use std::collections::BTreeMap;

/// Since this minor version, `go.mod` lists the modules that others need, too (Go 1.17, "module graph pruning").
const WHOLE_SINCE: u32 = 17;

/// `require`, with `replace` applied; an `exclude` only keeps a version from being chosen.
pub(super) fn modules(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let (mut required, mut replaced, mut language) = (Vec::new(), BTreeMap::new(), None);
    let mut block = String::new();
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let (verb, rest) =
            if block.is_empty() { line.split_once(char::is_whitespace).unwrap_or((line, "")) } else { (block.as_str(), line) };
        match (verb, rest.trim()) {
            _ if line == ")" => block.clear(),
            (verb, "(") => block = verb.to_owned(),
            ("require", rest) => {
                required.extend(rest.split_once(char::is_whitespace).map(|(module, version)| (unquoted(module), version.trim())))
            }
            ("go", version) => {
                language = Some(version);
                sbom.components.push(component("golang", "stdlib", version));
            }
            ("toolchain", version) => sbom.components.push(component("golang", "stdlib", version.trim_start_matches("go"))),
            ("replace", rest) if !rest.is_empty() => {
                let (from, to) = rest.split_once("=>").ok_or_else(|| format!("`{}` is malformed", crate::text::printable(line, 80)))?;
                let (from, to): (Vec<&str>, Vec<&str>) = (from.split_whitespace().collect(), to.split_whitespace().collect());
                replaced.insert((unquoted(from.first().unwrap_or(&"")), from.get(1).copied()), to);
            }
            _ => {}
        }
    }
    if required.is_empty() && language.is_none() && !text.lines().any(|line| line.trim_start().starts_with("module")) {
        return Err("it is no go.mod".into());
    }
    for (module, version) in required {
        match replaced.get(&(module, Some(version))).or_else(|| replaced.get(&(module, None))).map(Vec::as_slice) {
            None => sbom.components.push(component("golang", module, version)),
            Some([other, version]) => sbom.components.push(component("golang", unquoted(other), version)),
            Some(_) => sbom.take(module, Err("a directory stands in its place, so it is not assessed".into())),
        }
    }
    let minor = language.and_then(|version| version.strip_prefix("1.")).and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    if language.is_none() || minor.is_some_and(|minor| minor < WHOLE_SINCE) {
        sbom.take("go.mod", Err("written for a Go before 1.17, so what its modules need stands only in theirs".into()));
    }
    Ok(())
}

fn unquoted(text: &str) -> &str {
    text.trim_matches(['"', '`'])
}
