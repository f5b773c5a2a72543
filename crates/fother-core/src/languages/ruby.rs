//! Installed gems: the specification that RubyGems writes as Ruby code below `specifications/`. It is read, never run.

use super::component;
use crate::sbom::Component;

/// Reads `s.name = "rack".freeze` and `s.version = "2.2.3"`.
///
/// # Errors
/// Where one of them does not stand there as a plain text.
pub fn specification(text: &str) -> Result<Component, String> {
    let value = |name: &str| {
        text.lines().find_map(|line| {
            // The variable is `s` where RubyGems wrote it; people use other words.
            let (variable, rest) = line.trim().split_once('.')?;
            let (key, value) = rest.split_once('=')?;
            let plain = variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && key.trim() == name;
            plain.then(|| quoted(value)).flatten()
        })
    };
    component("gem", "", value("name").unwrap_or_default(), value("version").unwrap_or_default())
}

/// The first quoted text: of `"1.2".freeze`, of `Gem::Version.new('1.2')`.
fn quoted(text: &str) -> Option<&str> {
    let at = text.find(['"', '\''])?;
    let quote = text.get(at..=at)?;
    text.get(at + 1..)?.split_once(quote).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::specification;

    #[test]
    fn names_and_versions_are_read_as_text() {
        let text = "# -*- encoding: utf-8 -*-\n# stub: rack 2.2.3 ruby lib\n\nGem::Specification.new do |s|\n  s.name = \"rack\".freeze\n  s.version = \"2.2.3\"\n  s.required_ruby_version = Gem::Requirement.new(\">= 2.3.0\".freeze)\nend\n";
        let found = specification(text).unwrap();
        assert_eq!((found.name.as_str(), found.version.as_str()), ("rack", "2.2.3"));
        assert!(specification("Gem::Specification.new do |s|\n s.name = NAME\n s.version = VERSION\nend").is_err());
    }
}
