//! Vendors' advisory feeds in the vendors' own formats, each read into a [`Builder`]; reads files, trusts none of them.

pub mod cve;
pub mod epss;
pub mod exploits;
pub mod input;
pub mod kev;
pub mod lifecycle;
pub mod list;
pub mod nodejs;
pub mod osv;
pub mod requirement;
pub mod rubysec;
pub mod sniff;
pub mod tracker;
pub mod zip;

use crate::compile::{Builder, Taken};
use fother_core::{
    Digest, Timestamp,
    advisory::{Day, Exploits},
};
use std::path::Path;

/// What a feed is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The Debian security tracker's JSON: every source package, every CVE, every release.
    DebianTracker,
    /// The tracker's `DSA/list` or `DLA/list`.
    DebianList,
    /// Records of the Open Source Vulnerability schema.
    Osv,
    /// CISA's catalogue of known exploited vulnerabilities.
    Kev,
    /// FIRST's scores of one day.
    Epss,
    /// CVE records, version 5, with CISA's container.
    Cve,
    /// distro-info-data: release and end dates of Debian.
    DebianDates,
    /// distro-info-data: release and end dates of Ubuntu.
    UbuntuDates,
    /// debian-security-support: packages whose support has ended.
    SupportEnded,
    /// debian-security-support: packages whose support is limited.
    SupportLimited,
    /// CVEs with a Metasploit module.
    Metasploit,
    /// CVEs with a Nuclei template.
    Nuclei,
    /// CVEs with an entry in Exploit-DB.
    ExploitDb,
    /// The Ruby Advisory Database.
    Rubysec,
    /// Vulnerabilities of Node.js itself.
    NodejsCore,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 15] = [
        Self::DebianTracker,
        Self::DebianList,
        Self::Osv,
        Self::Kev,
        Self::Epss,
        Self::Cve,
        Self::DebianDates,
        Self::UbuntuDates,
        Self::SupportEnded,
        Self::SupportLimited,
        Self::Metasploit,
        Self::Nuclei,
        Self::ExploitDb,
        Self::Rubysec,
        Self::NodejsCore,
    ];

    /// Its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DebianTracker => "debian-tracker",
            Self::DebianList => "debian-list",
            Self::Osv => "osv",
            Self::Kev => "kev",
            Self::Epss => "epss",
            Self::Cve => "cve",
            Self::DebianDates => "debian-dates",
            Self::UbuntuDates => "ubuntu-dates",
            Self::SupportEnded => "debian-support-ended",
            Self::SupportLimited => "debian-support-limited",
            Self::Metasploit => "metasploit",
            Self::Nuclei => "nuclei",
            Self::ExploitDb => "exploit-db",
            Self::Rubysec => "rubysec",
            Self::NodejsCore => "nodejs-core",
        }
    }

    /// By its name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// There is one feed of this kind; a newer file takes an older one's place, whatever its name.
    #[must_use]
    pub fn is_single(self) -> bool {
        match self {
            Self::DebianTracker
            | Self::Kev
            | Self::Epss
            | Self::DebianDates
            | Self::UbuntuDates
            | Self::SupportLimited
            | Self::Metasploit
            | Self::Nuclei
            | Self::ExploitDb
            | Self::Rubysec
            | Self::NodejsCore => true,
            Self::DebianList | Self::Osv | Self::Cve | Self::SupportEnded => false,
        }
    }

    /// After how many days without a newer entry it is stale.
    #[must_use]
    pub fn fresh_days(self) -> u32 {
        match self {
            Self::DebianTracker | Self::DebianList | Self::Epss => 7,
            Self::Osv | Self::Kev | Self::Rubysec => 14,
            // Enrichment and dates: their absence is visible in each answer.
            // Node.js publishes a few times a year.
            Self::NodejsCore => 180,
            Self::Cve => 60,
            Self::DebianDates | Self::UbuntuDates | Self::SupportEnded | Self::SupportLimited => 400,
            Self::Metasploit | Self::Nuclei | Self::ExploitDb => 60,
        }
    }
}

/// What is known about a feed from outside of it.
#[derive(Clone, Debug)]
pub struct About {
    /// Its name: kind, or kind and file.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it came from.
    pub origin: String,
    /// When it was taken in.
    pub imported: Timestamp,
    /// Day on which its file was last written, for feeds that carry no date.
    pub modified: Day,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// Reads one feed.
///
/// # Errors
/// Where it is damaged, cut short, of another kind, or holds nothing; the builder then holds a part of it and is of no more use.
pub fn read(builder: &mut Builder, about: &About, path: &Path) -> Result<Taken, String> {
    builder.begin_feed()?;
    let taken = match about.kind {
        Kind::DebianTracker => tracker::read(builder, path),
        Kind::DebianList => list::read(builder, path),
        Kind::Osv => osv::read(builder, path),
        Kind::Kev => kev::read(builder, path),
        Kind::Epss => epss::read(builder, path),
        Kind::Cve => cve::read(builder, path),
        Kind::DebianDates => lifecycle::dates(builder, path, "debian"),
        Kind::UbuntuDates => lifecycle::dates(builder, path, "ubuntu"),
        Kind::SupportEnded => lifecycle::support(builder, path, &about.origin, true),
        Kind::SupportLimited => lifecycle::support(builder, path, &about.origin, false),
        Kind::Metasploit => exploits::read(builder, path, Exploits::METASPLOIT),
        Kind::Nuclei => exploits::read(builder, path, Exploits::NUCLEI),
        Kind::ExploitDb => exploits::read(builder, path, Exploits::EXPLOIT_DB),
        Kind::Rubysec => rubysec::read(builder, path),
        Kind::NodejsCore => nodejs::read(builder, path, about.modified),
    }?;
    // A release in which no package's support has ended yet has an empty list.
    if taken.records == 0 && about.kind != Kind::SupportEnded {
        return Err(format!("no {} records in it", about.kind.name()));
    }
    // A format that has moved on must not pass for a feed with little in it.
    if taken.skipped > taken.records / 10 {
        return Err(format!("{} of {} records were not understood", taken.skipped, taken.records.saturating_add(taken.skipped)));
    }
    builder.end_feed(about, taken);
    Ok(taken)
}
