//! A host's findings in the forms that other tools read: SARIF, CycloneDX, OpenVEX, CSV. Pure.

pub mod csv;
pub mod cyclonedx;
pub mod openvex;
pub mod sarif;

use crate::{
    advisory::Status,
    assess::host::{Assessment, HostFinding, Installable},
    cvss::Severity,
    inventory::Distribution,
};

/// What every form needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Distribution of the host.
    pub distribution: &'a Distribution,
    /// The findings.
    pub assessment: &'a Assessment,
    /// Version of this program.
    pub version: &'a str,
    /// When.
    pub at: crate::Timestamp,
}

/// The package URL of a finding's source package.
#[must_use]
pub fn purl(distribution: &Distribution, finding: &HostFinding) -> String {
    let purl = crate::purl::Purl {
        kind: "deb".into(),
        namespace: Some(distribution.id.clone()),
        name: finding.source.clone(),
        version: Some(finding.version.clone()),
        qualifiers: [("arch".to_owned(), "source".to_owned()), ("distro".to_owned(), distribution.codename.clone())].into(),
        subpath: None,
    };
    purl.normalised().map(|purl| purl.to_string()).unwrap_or_default()
}

/// One sentence on what to do about a finding.
#[must_use]
pub fn action(finding: &HostFinding) -> String {
    let to = finding.fixed.as_deref().unwrap_or_default();
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
