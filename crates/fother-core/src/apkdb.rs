//! Alpine's list of installed packages, `/lib/apk/db/installed` (apk-package(5), letters and values). Pure; the bytes are hostile.

use crate::{sbom::Component, text::printable, version::apk};

/// Most packages.
pub const PACKAGES_MAX: usize = 100_000;

/// Installed packages, and entries that could not be read, with the reason.
#[must_use]
pub fn parse(text: &str) -> (Vec<Component>, Vec<String>) {
    let (mut packages, mut unknown) = (Vec::new(), Vec::new());
    for stanza in text.split("\n\n").filter(|stanza| !stanza.trim().is_empty()) {
        if packages.len() >= PACKAGES_MAX {
            unknown.push(format!("packages beyond the first {PACKAGES_MAX}"));
            break;
        }
        // Files of the package follow; their letters are others.
        let field = |letter: &str| stanza.lines().find_map(|line| line.strip_prefix(letter)).unwrap_or_default().trim();
        let (name, version, origin) = (field("P:"), field("V:"), field("o:"));
        if name.is_empty() || !apk::is_valid(version) {
            unknown.push(format!("apk package `{}`: its version `{}` is none", printable(name, 80), printable(version, 80)));
            continue;
        }
        let source = if origin.is_empty() { name } else { origin };
        packages.push(Component {
            kind: "apk".into(),
            name: name.into(),
            version: version.into(),
            arch: field("A:").into(),
            source: Some((source.into(), version.into())),
            ..Component::default()
        });
    }
    packages.sort();
    (packages, unknown)
}
