//! Ruby: Bundler's `Gemfile.lock` (`Bundler::LockfileParser`).

use super::{super::Sbom, component};

/// Gems below `specs:` of the section `GEM`; those of `GIT` are named, those of `PATH` are the project's own.
pub(super) fn gems(text: &str, sbom: &mut Sbom) -> Result<(), String> {
    let (mut section, mut in_specs, mut seen) = ("", false, false);
    for line in text.lines() {
        if !line.starts_with(' ') {
            (section, in_specs) = (line.trim(), false);
            seen |= matches!(section, "GEM" | "GIT" | "PATH");
            continue;
        }
        in_specs |= line == "  specs:";
        // Deeper lines are what a gem needs.
        let Some(gem) = line.strip_prefix("    ").filter(|gem| in_specs && !gem.starts_with(' ')) else { continue };
        let Some((name, version)) = gem.strip_suffix(')').and_then(|gem| gem.split_once(" (")) else {
            sbom.take(gem, Err("it has no version".into()));
            continue;
        };
        match section {
            // Behind the hyphen stands the platform.
            "GEM" => sbom.components.push(component("gem", name, version.split('-').next().unwrap_or(version))),
            "PATH" => {}
            _ => sbom.elsewhere(&format!("{name} {version}")),
        }
    }
    if seen { Ok(()) } else { Err("it is no Gemfile.lock".into()) }
}
