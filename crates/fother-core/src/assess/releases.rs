//! Names of releases in the advisory database, from what a host, an SBOM, an OSV ecosystem or a CPE calls them. Pure.
//!
//! Vendors name the same release in many ways (`cpe:/a:redhat:enterprise_linux:9::appstream`, `SUSE:Linux Enterprise Server 15 SP5`);
//! a host has one. What is said under two names and asked under one would be silently lost.

use super::debian_codename;
use crate::{inventory::Distribution, sbom::Component};

/// The name of a distribution's release in the advisory database; `None` where no feed can speak about it.
#[must_use]
pub fn of_distribution(distribution: &Distribution) -> Option<String> {
    let version = distribution.version.as_str();
    let major = version.split('.').next().unwrap_or_default();
    if version.is_empty() && distribution.codename.is_empty() && !matches!(distribution.id.as_str(), "wolfi" | "chainguard") {
        return (distribution.id == "opensuse-tumbleweed").then(|| "openSUSE:Tumbleweed".to_owned());
    }
    Some(match distribution.id.as_str() {
        "debian" if !distribution.codename.is_empty() => format!("debian:{}", distribution.codename),
        "debian" => format!("debian:{}", debian_codename(major)?),
        "ubuntu" => {
            let lts = major.parse::<u32>().is_ok_and(|year| year % 2 == 0) && version.ends_with(".04");
            format!("Ubuntu:{version}{}", if lts { ":LTS" } else { "" })
        }
        "almalinux" => format!("AlmaLinux:{major}"),
        "rocky" => format!("Rocky Linux:{major}"),
        "rhel" | "redhat" => format!("Red Hat:enterprise_linux:{major}"),
        "ol" | "oracle" => format!("Oracle Linux:{major}"),
        "amzn" | "amazon" => format!("Amazon Linux:{major}"),
        "fedora" => format!("Fedora:{major}"),
        "sles" | "sled" | "sles_sap" | "suse" => format!("SUSE:{version}"),
        "sle-micro" | "sl-micro" => format!("SUSE:Micro {version}"),
        "opensuse-leap" => format!("openSUSE:Leap {version}"),
        "opensuse-tumbleweed" => "openSUSE:Tumbleweed".into(),
        "opensuse" => match version.strip_prefix("leap-") {
            Some(version) => format!("openSUSE:Leap {version}"),
            None if version.starts_with("tumbleweed") => "openSUSE:Tumbleweed".into(),
            None => format!("openSUSE:Leap {version}"),
        },
        "wolfi" => "Wolfi".into(),
        "chainguard" => "Chainguard".into(),
        "alpine" if version.contains("_alpha") || version == "edge" => "Alpine:edge".into(),
        "alpine" => {
            format!("Alpine:v{}", version.trim_start_matches('v').splitn(3, '.').take(2).collect::<Vec<_>>().join("."))
        }
        _ => return None,
    })
}

/// The release of one rpm or apk component: the document's, else what its own package URL and version say (`redhat`, `….el9`).
#[must_use]
pub fn of_component(distribution: &Distribution, component: &Component) -> Option<String> {
    if !matches!(component.kind.as_str(), "rpm" | "apk") {
        return None;
    }
    of_distribution(distribution).or_else(|| {
        let id = component.namespace.clone();
        let own = Distribution { id, version: enterprise_major(&component.version)?.to_owned(), codename: String::new() };
        of_distribution(&own).filter(|_| component.kind == "rpm")
    })
}

/// `9` of a version that was built for an Enterprise Linux: `1.2-3.el9_4`, `1-2.module+el8.9.0+1+abc`.
#[must_use]
pub fn enterprise_major(version: &str) -> Option<&str> {
    version.match_indices("el").find_map(|(at, _)| {
        let before = version[..at].chars().next_back();
        let rest = &version[at + 2..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        (matches!(before, Some('.' | '+' | '_')) && (1..=2).contains(&digits)).then(|| &rest[..digits])
    })
}

/// The part of a Red Hat package's release that names the product that it was built for: `rhaos4.12` of OpenShift.
/// `None` for plain builds of Enterprise Linux.
#[must_use]
pub fn product_tag(version: &str) -> Option<String> {
    let release = version.rsplit_once('-').map_or(version, |(_, release)| release);
    let mut parts = release.split('.').peekable();
    while let Some(part) = parts.next() {
        if part.starts_with("rhaos") {
            return Some(match parts.peek().filter(|next| next.bytes().all(|b| b.is_ascii_digit())) {
                Some(minor) => format!("{part}.{minor}"),
                None => part.to_owned(),
            });
        }
        // `el8eap`, `el9sat`; `el8_6` is a plain build of a minor release.
        let mark = part.strip_prefix("el").map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_'));
        if let Some(mark) = mark.filter(|_| part.as_bytes().get(2).is_some_and(u8::is_ascii_digit)) {
            return (!mark.is_empty() && mark.bytes().all(|b| b.is_ascii_alphanumeric())).then(|| part.to_owned());
        }
    }
    None
}

/// The name of a release from an OSV ecosystem's (OSV schema, "Defined Ecosystems"), and what its fixes cost where they are not for all.
#[must_use]
pub fn of_ecosystem(ecosystem: &str) -> (String, Option<&'static str>) {
    let Some((vendor, rest)) = ecosystem.split_once(':') else { return (ecosystem.to_owned(), None) };
    match vendor {
        "Debian" => (debian_codename(rest).map_or_else(|| ecosystem.to_owned(), |codename| format!("debian:{codename}")), None),
        // `Ubuntu:Pro:FIPS-updates:22.04:LTS` is another product's, `Ubuntu:Pro:22.04:LTS` the same release with another archive.
        "Ubuntu" => match rest.strip_prefix("Pro:") {
            Some(version) if version.starts_with(|c: char| c.is_ascii_digit()) => (format!("Ubuntu:{version}"), Some("Ubuntu Pro")),
            Some(_) | None => (ecosystem.to_owned(), None),
        },
        "Red Hat" => (red_hat(rest.split(':')).unwrap_or_else(|| ecosystem.to_owned()), None),
        "SUSE" | "openSUSE" => suse(rest).unwrap_or_else(|| (ecosystem.to_owned(), None)),
        _ => (ecosystem.to_owned(), None),
    }
}

/// `enterprise_linux:9::appstream` without its leading vendor.
fn red_hat<'a>(mut parts: impl Iterator<Item = &'a str>) -> Option<String> {
    let (product, version) = (parts.next().filter(|p| !p.is_empty())?, parts.next().unwrap_or_default());
    if product == "enterprise_linux" {
        return Some(format!("Red Hat:enterprise_linux:{}", version.split('.').next().unwrap_or_default()));
    }
    let edition = parts.find(|part| part.strip_prefix("el").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    Some(format!("Red Hat:{product}:{version}{}", edition.map(|edition| format!("::{edition}")).unwrap_or_default()))
}

/// The release that a SUSE product's name speaks of: `SUSE Linux Enterprise Module for Basesystem 15 SP5` is `SUSE:15.5`.
#[must_use]
pub fn suse(product: &str) -> Option<(String, Option<&'static str>)> {
    if let Some((_, version)) = product.split_once("Leap ") {
        return Some((format!("openSUSE:Leap {}", version.split(' ').next().unwrap_or_default()), None));
    }
    if product.contains("Tumbleweed") {
        return Some(("openSUSE:Tumbleweed".into(), None));
    }
    let (_, rest) = product.split_once("Linux Enterprise ")?;
    let paid = rest.contains("LTSS").then_some("SUSE LTSS");
    if let Some((_, version)) = rest.split_once("Micro ") {
        return Some((format!("SUSE:Micro {}", version.split(' ').next().unwrap_or_default()), paid));
    }
    let words: Vec<&str> = rest.split([' ', '-']).collect();
    let at = words.iter().position(|word| word.len() == 2 && word.bytes().all(|b| b.is_ascii_digit()))?;
    let pack =
        words.get(at + 1).and_then(|word| word.strip_prefix("SP")).filter(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    Some((format!("SUSE:{}{}", words[at], pack.map(|n| format!(".{n}")).unwrap_or_default()), paid))
}

/// The name of a release from a CPE (2.2 or 2.3) of a distribution's vendor; `None` for the CPEs of others.
#[must_use]
pub fn of_cpe(cpe: &str) -> Option<String> {
    let text = cpe.strip_prefix("cpe:/").or_else(|| cpe.strip_prefix("cpe:2.3:"))?;
    let mut parts = text.split(':').skip(1).map(|part| if part == "*" { "" } else { part });
    match parts.next()? {
        "redhat" => red_hat(parts),
        "suse" => {
            let (product, version, pack) = (parts.next()?, parts.next()?, parts.next().unwrap_or_default());
            let pack = pack.strip_prefix("sp").filter(|pack| !pack.is_empty());
            let micro = if product.contains("micro") { "Micro " } else { "" };
            product.starts_with("sl").then(|| format!("SUSE:{micro}{version}{}", pack.map(|n| format!(".{n}")).unwrap_or_default()))
        }
        "opensuse" => match (parts.next()?, parts.next()) {
            ("leap", Some(version)) => Some(format!("openSUSE:Leap {version}")),
            ("tumbleweed", _) => Some("openSUSE:Tumbleweed".into()),
            (_, _) => None,
        },
        _ => None,
    }
}

/// Names under which a package of rpm's or apk's is spoken of: itself, in its module's stream, and its source.
///
/// A modular package is `nodejs:18/nodejs`, what is said of a source `src:nodejs`, both `nodejs:18/src:nodejs`.
#[must_use]
pub fn names(judged: &str, source: &str) -> [String; 2] {
    let module = judged.split_once('/').filter(|(module, _)| module.contains(':')).map(|(module, _)| module);
    [judged.to_owned(), key(module.unwrap_or_default(), true, source)]
}

/// The name of a package in the database, by its module's stream (`nodejs:18`, or empty) and whether the source is meant.
#[must_use]
pub fn key(module: &str, is_source: bool, name: &str) -> String {
    let source = if is_source { "src:" } else { "" };
    if module.is_empty() { format!("{source}{name}") } else { format!("{module}/{source}{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_release_has_one_name_whoever_names_it() {
        let host = |id: &str, version: &str| {
            of_distribution(&Distribution { id: id.into(), version: version.into(), codename: String::new() }).unwrap()
        };
        let red_hat = host("rhel", "9.4");
        for name in [
            "cpe:/a:redhat:enterprise_linux:9::appstream",
            "cpe:/o:redhat:enterprise_linux:9::baseos",
            "cpe:2.3:o:redhat:enterprise_linux:9.4:*:*:*:*:*:*:*",
        ] {
            assert_eq!(of_cpe(name).unwrap(), red_hat, "{name}");
        }
        assert_eq!(of_ecosystem("Red Hat:enterprise_linux:9::crb").0, red_hat);
        assert_eq!(of_cpe("cpe:/a:redhat:openshift:4.12::el8").unwrap(), "Red Hat:openshift:4.12::el8");
        assert_eq!(of_cpe("cpe:/o:redhat:rhel_eus:9.2::baseos").unwrap(), "Red Hat:rhel_eus:9.2");
        let suse = host("sles", "15.5");
        for name in [
            "SUSE:Linux Enterprise Server 15 SP5",
            "SUSE:Linux Enterprise Module for Basesystem 15 SP5",
            "SUSE:SUSE Linux Enterprise Desktop 15 SP5",
        ] {
            assert_eq!(of_ecosystem(name), (suse.clone(), None), "{name}");
        }
        assert_eq!(of_cpe("cpe:/o:suse:sle-module-basesystem:15:sp5").unwrap(), suse);
        assert_eq!(of_ecosystem("SUSE:Linux Enterprise Server 15 SP3-LTSS"), ("SUSE:15.3".into(), Some("SUSE LTSS")));
        assert_eq!(of_ecosystem("openSUSE:Leap 15.5").0, host("opensuse-leap", "15.5"));
        assert_eq!(of_ecosystem("Ubuntu:Pro:22.04:LTS"), (host("ubuntu", "22.04"), Some("Ubuntu Pro")));
        assert_eq!(of_ecosystem("Ubuntu:Pro:FIPS:22.04:LTS"), ("Ubuntu:Pro:FIPS:22.04:LTS".into(), None));
        assert_eq!(host("alpine", "3.22.0_alpha20250108"), "Alpine:edge");
        assert_eq!(host("amzn", "2023"), "Amazon Linux:2023");
    }

    #[test]
    fn a_package_says_for_which_product_it_was_built() {
        assert_eq!(enterprise_major("9.0.87-1.el8_10.1"), Some("8"));
        assert_eq!(enterprise_major("1:18.19.0-1.module+el9.3.0+20801+abc"), Some("9"));
        assert_eq!(enterprise_major("1.2-3.fc40"), None);
        assert_eq!(enterprise_major("kernel-2"), None);
        assert_eq!(product_tag("9.0.87-1.el8_10.1"), None);
        assert_eq!(product_tag("0:1.25.5-16.2.rhaos4.12.gitcb09013.el8").as_deref(), Some("rhaos4.12"));
        assert_eq!(product_tag("3.15.8-1.Final_redhat_00001.1.el8eap").as_deref(), Some("el8eap"));
        assert_eq!(product_tag("18.19.0-1.module+el9.3.0+20801+abc"), None);
        assert_eq!(product_tag("4ae0493b-fd431d51"), None);
    }
}
