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

/// Paths of the packages' files, relative to the root: directories stand in `F:` lines, their files in the `R:` lines behind.
pub fn files(text: &str) -> impl Iterator<Item = String> {
    let mut directory = "";
    text.lines().filter_map(move |line| {
        if let Some(name) = line.strip_prefix("F:") {
            directory = name;
        }
        line.strip_prefix("R:").map(|name| if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_stand_behind_their_directories() {
        let text = "P:x\nV:1-r0\nF:usr/lib\nR:a\nZ:Q1\nR:b\nF:\nR:c\n";
        assert_eq!(super::files(text).collect::<Vec<_>>(), ["usr/lib/a", "usr/lib/b", "c"]);
    }
}
