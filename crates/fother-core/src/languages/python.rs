//! Installed Python distributions: `METADATA` of dist-info, `PKG-INFO` of egg-info (Core metadata specifications, PEP 566).

use super::component;
use crate::sbom::Component;

/// Reads the headers; the description after the first empty line does not count.
///
/// # Errors
/// Where there is no name or version.
pub fn metadata(text: &str) -> Result<Component, String> {
    let headers = || text.lines().take_while(|line| !line.trim().is_empty());
    let field = |name: &str| {
        let value = |line: &&str| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name));
        headers().find(value).and_then(|line| line.get(name.len()..)).map(str::trim).unwrap_or_default()
    };
    component("pypi", "", field("name:"), field("version:"))
}

#[cfg(test)]
mod tests {
    use super::metadata;

    #[test]
    fn headers_count_and_the_description_does_not() {
        let found = metadata("Metadata-Version: 2.1\nName: Jinja2\nVersion: 2.4.1\n\nName: other\n").unwrap();
        assert_eq!((found.kind.as_str(), found.name.as_str(), found.version.as_str()), ("pypi", "Jinja2", "2.4.1"));
        assert!(metadata("Metadata-Version: 2.1\nName: x\n\nVersion: 1\n").is_err());
        assert!(metadata("Name: x\ty\nVersion: 1\n").is_err());
        assert!(metadata("é").is_err());
    }
}
