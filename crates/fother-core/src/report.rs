//! A host's findings in the forms that other tools read: SARIF, CycloneDX, SPDX, OpenVEX, CSV, HTML. Pure.

pub mod csv;
pub mod cyclonedx;
pub mod html;
pub mod openvex;
pub mod sarif;
pub mod spdx;

use crate::{
    advisory::Status,
    assess::{
        components::label,
        host::{Assessment, HostFinding, InEffect, Installable},
    },
    cvss::Severity,
    image::Image,
    inventory::Distribution,
    rank::Queue,
    sbom::Component,
};

/// What every form needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Distribution of the host.
    pub distribution: &'a Distribution,
    /// The image that it all is of, where it is one.
    pub image: Option<&'a Image>,
    /// Everything that is installed.
    pub packages: &'a [Component],
    /// The findings.
    pub assessment: &'a Assessment,
    /// The ranked queue.
    pub queue: &'a Queue,
    /// Version of this program.
    pub version: &'a str,
    /// When.
    pub at: crate::Timestamp,
}

/// The package URL of a finding's package: for Debian and Ubuntu the source package, for others what is installed.
#[must_use]
pub fn purl(subject: &Subject<'_>, finding: &HostFinding) -> String {
    let fits = |component: &&Component| component.version == finding.version && finding.packages.contains(&label(component));
    let other = subject.packages.iter().filter(|component| component.kind != "deb").find(fits);
    if let Some(component) = other {
        return component.purl_in(subject.distribution);
    }
    of_source(subject.distribution, &finding.source, Some(&finding.version))
}

/// Package URLs of what the vendor says is not affected: a source package of Debian's, for others what is installed under that name.
#[must_use]
pub fn purls(subject: &Subject<'_>, name: &str) -> Vec<String> {
    let others = subject.packages.iter().filter(|component| component.kind != "deb");
    let fits = |component: &&Component| label(component) == name || component.source.as_ref().is_some_and(|(source, _)| source == name);
    let found: std::collections::BTreeSet<String> = others.filter(fits).map(|component| component.purl_in(subject.distribution)).collect();
    if found.is_empty() { vec![of_source(subject.distribution, name, None)] } else { found.into_iter().collect() }
}

/// A Debian source package; without a distribution, a package of a kind that is not known.
fn of_source(distribution: &Distribution, name: &str, version: Option<&str>) -> String {
    let mut purl = crate::purl::Purl {
        kind: "deb".into(),
        namespace: Some(distribution.id.clone()),
        name: name.to_owned(),
        version: version.map(str::to_owned),
        qualifiers: [("arch".to_owned(), "source".to_owned()), ("distro".to_owned(), distribution.codename.clone())].into(),
        subpath: None,
    };
    // Findings of language packages whose component is not at hand name neither distribution nor architecture.
    if distribution.id.is_empty() {
        (purl.kind, purl.namespace) = ("generic".into(), None);
        purl.qualifiers.clear();
    }
    purl.normalised().map(|purl| purl.to_string()).unwrap_or_default()
}

/// The page on an advisory or vulnerability.
#[must_use]
pub fn page(id: &str) -> String {
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ':' | '.')).collect();
    match id.split('-').next().unwrap_or_default() {
        "DSA" | "DLA" | "TEMP" => format!("https://security-tracker.debian.org/tracker/{id}"),
        "RUSTSEC" => format!("https://rustsec.org/advisories/{id}"),
        "CVE" => format!("https://www.cve.org/CVERecord?id={id}"),
        _ => format!("https://osv.dev/vulnerability/{id}"),
    }
}

/// One sentence on what to do about a finding.
#[must_use]
pub fn action(finding: &HostFinding) -> String {
    let to = finding.fixed.as_deref().unwrap_or_default();
    if finding.in_effect == InEffect::AfterRestart {
        return format!("the fix is installed but does not run yet: {}", finding.in_use_because);
    }
    match &finding.installable {
        Installable::Yes { packages } => format!("update {} to {to} or newer", packages.join(" ")),
        Installable::Kept { why } => format!("version {to} is offered but kept back: {why}"),
        Installable::No { .. } => format!("version {to} is published, but no configured archive offers it: check the sources"),
        Installable::Unknown => format!("update to {to} or newer; whether an archive of this host offers it was not looked at"),
        Installable::NotPublished => match finding.status {
            Status::Ignored => "the vendor will not fix it: mitigate or remove the package".to_owned(),
            Status::EndOfLife => "the package's support has ended: move to a supported version or remove it".to_owned(),
            Status::Undetermined => "the vendor has not found out yet whether it is affected".to_owned(),
            Status::Fixed | Status::Open | Status::NoAdvisory | Status::Postponed | Status::NotAffected => {
                "no fix is published yet".to_owned()
            }
        },
    }
}

/// `critical` … `none`, or `unknown`.
#[must_use]
pub fn severity(finding: &HostFinding) -> &'static str {
    match finding.cvss.map(|score| score.severity()) {
        None => "unknown",
        Some(Severity::None) => "none",
        Some(Severity::Low) => "low",
        Some(Severity::Medium) => "medium",
        Some(Severity::High) => "high",
        Some(Severity::Critical) => "critical",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(kind: &str, name: &str, version: &str, source: &str) -> Component {
        let source = Some((source.to_owned(), version.to_owned()));
        Component { kind: kind.into(), name: name.into(), version: version.into(), arch: "x86_64".into(), source, ..Component::default() }
    }

    #[test]
    fn packages_are_named_as_their_own_distribution_names_them() {
        let own = |id: &str, version: &str, component: &Component| {
            component.purl_in(&Distribution { id: id.into(), version: version.into(), codename: String::new() })
        };
        let bind = component("rpm", "bind-libs", "32:9.16-1.el9", "bind");
        let red_hat = own("rhel", "9.4", &bind);
        assert_eq!(red_hat, "pkg:rpm/redhat/bind-libs@9.16-1.el9?arch=x86_64&distro=rhel-9.4&epoch=32&upstream=bind");
        assert!(own("almalinux", "9.5", &bind).starts_with("pkg:rpm/almalinux/bind-libs@9.16-1.el9?"));
        assert!(
            own("alpine", "3.20.1", &component("apk", "busybox", "1.36.1-r29", "busybox"))
                .starts_with("pkg:apk/alpine/busybox@1.36.1-r29?")
        );
        assert!(own("ubuntu", "24.04", &component("deb", "zlib1g", "1:1.3-1", "zlib")).starts_with("pkg:deb/ubuntu/zlib1g@1:1.3-1?"));
        assert_eq!(
            own("debian", "12", &component("cargo", "libc", "1.0", "libc")),
            "pkg:cargo/libc@1.0?arch=x86_64",
            "no package of the system"
        );
        // What is written is read as it was.
        let read = crate::vex::Product::of_purl(&red_hat).unwrap();
        assert_eq!(read.versions, crate::vex::Versions::One("32:9.16-1.el9".into()));
    }

    #[test]
    fn what_is_not_affected_is_stated_of_the_packages_that_are_installed() {
        let distribution = Distribution { id: "rocky".into(), version: "9.4".into(), codename: String::new() };
        let packages = [component("rpm", "bind-libs", "9.16-1", "bind"), component("rpm", "bind", "9.16-1", "bind")];
        let (assessment, queue) = (Assessment::default(), Queue::default());
        let subject = Subject {
            distribution: &distribution,
            image: None,
            packages: &packages,
            assessment: &assessment,
            queue: &queue,
            version: "0",
            at: crate::Timestamp(0),
        };
        let named = purls(&subject, "bind");
        assert_eq!(named.len(), 2, "a source stands for all that was built from it: {named:?}");
        assert!(named.iter().all(|purl| purl.starts_with("pkg:rpm/rocky/bind")), "{named:?}");
        let debian = Distribution { id: "debian".into(), version: "12".into(), codename: "bookworm".into() };
        let subject = Subject { distribution: &debian, packages: &[], ..subject };
        assert_eq!(purls(&subject, "bind9"), ["pkg:deb/debian/bind9?arch=source&distro=bookworm"]);
    }
}
