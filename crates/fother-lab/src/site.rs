//! The packages made for the lab: `lab-site` in one good and seven bad versions, and `lab-worker`. Pure: names, texts, modes.

/// A version of `lab-site`, named for what it does to its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SiteVersion {
    /// 1.0, which the hosts are born with.
    First,
    /// 1.1, which works and closes an invented advisory.
    Good,
    /// 1.2, whose maintainer script fails.
    BrokenScript,
    /// 1.3, after which nginx refuses its configuration.
    BrokenNginx,
    /// 1.4, whose service starts and dies a second later.
    DyingService,
    /// 1.5, which asks about a configuration file that the host changed.
    Conffile,
    /// 1.6, which works until it has served 40 requests of real clients.
    SlowFailure,
    /// 1.7, which tries to break out of its machine.
    Hostile,
}

impl SiteVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 8] = [
        Self::First,
        Self::Good,
        Self::BrokenScript,
        Self::BrokenNginx,
        Self::DyingService,
        Self::Conffile,
        Self::SlowFailure,
        Self::Hostile,
    ];

    /// The package's version.
    #[must_use]
    pub const fn version(self) -> &'static str {
        match self {
            Self::First => "1.0",
            Self::Good => "1.1",
            Self::BrokenScript => "1.2",
            Self::BrokenNginx => "1.3",
            Self::DyingService => "1.4",
            Self::Conffile => "1.5",
            Self::SlowFailure => "1.6",
            Self::Hostile => "1.7",
        }
    }

    /// The name by which a command line knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Good => "good",
            Self::BrokenScript => "broken-script",
            Self::BrokenNginx => "broken-nginx",
            Self::DyingService => "dying-service",
            Self::Conffile => "conffile",
            Self::SlowFailure => "slow-failure",
            Self::Hostile => "hostile",
        }
    }

    /// The version of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|v| v.name() == name)
    }

    const fn change(self) -> &'static str {
        match self {
            Self::First => "First release.",
            Self::Good => {
                "SECURITY UPDATE: a crafted header could make the site read beyond its buffer.\n    \
                 - CVE-2099-0001 (an id invented for the lab)"
            }
            Self::BrokenScript => "Migrate the settings while the package is configured.",
            Self::BrokenNginx => "Tune the proxy in front of the site.",
            Self::DyingService => "Keep a cache on disk.",
            Self::Conffile => "Ship a friendlier greeting and document it.",
            Self::SlowFailure => "Pool the connections to the back end.",
            Self::Hostile => "Fix the installation on machines with unusual devices.",
        }
    }
}

/// One file of a package: path, content, mode.
pub(crate) type File = (&'static str, String, u32);

/// What a package is built from.
pub(crate) struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub control: String,
    pub changelog: String,
    /// Files of the package, and of its control archive below `DEBIAN/`.
    pub files: Vec<File>,
}

/// `lab-site` in one version.
pub(crate) fn site(kind: SiteVersion) -> Package {
    let app = include_str!("../assets/site/app.py").replace("@VERSION@", kind.version()).replace("@FAULT@", kind.name());
    let mut nginx = include_str!("../assets/site/nginx.conf").to_string();
    if kind == SiteVersion::BrokenNginx {
        nginx = nginx.replacen("proxy_connect_timeout 1s;", "proxy_tuning aggressive;", 1);
    }
    let mut conf = include_str!("../assets/site/site.conf").to_string();
    if kind == SiteVersion::Conffile {
        conf = "# What the site says before its name; any one line of text.\ngreeting = good day from\n".into();
    }
    let fault = match kind {
        SiteVersion::BrokenScript => {
            "    echo 'lab-site: cannot migrate the settings: table \"sites\" has no column \"colour\"' >&2\n    exit 1"
        }
        SiteVersion::Hostile => include_str!("../assets/site/hostile.sh"),
        _ => "",
    };
    let postinst = include_str!("../assets/site/postinst").replace("@FAULT@\n", &format!("{fault}\n"));
    Package {
        name: "lab-site",
        version: kind.version(),
        control: control("lab-site", kind.version(), "nginx-light | nginx, ", "web", "small web site of the lab"),
        changelog: changelog("lab-site", SiteVersion::ALL.into_iter().filter(|v| *v <= kind).map(|v| (v.version(), v.change()))),
        files: vec![
            ("usr/lib/lab-site/app.py", app, 0o755),
            ("lib/systemd/system/lab-site.service", include_str!("../assets/site/lab-site.service").into(), 0o644),
            ("usr/lib/tmpfiles.d/lab-site.conf", include_str!("../assets/site/tmpfiles.conf").into(), 0o644),
            ("etc/nginx/sites-available/lab-site", nginx, 0o644),
            ("etc/lab-site/site.conf", conf, 0o644),
            ("DEBIAN/conffiles", "/etc/nginx/sites-available/lab-site\n/etc/lab-site/site.conf\n".into(), 0o644),
            ("DEBIAN/postinst", postinst, 0o755),
            ("DEBIAN/prerm", include_str!("../assets/site/prerm").into(), 0o755),
            ("DEBIAN/postrm", include_str!("../assets/site/postrm").into(), 0o755),
        ],
    }
}

/// `lab-worker` 1.0.
pub(crate) fn worker() -> Package {
    Package {
        name: "lab-worker",
        version: "1.0",
        control: control("lab-worker", "1.0", "", "misc", "job counter of the lab"),
        changelog: changelog("lab-worker", [("1.0", "First release.")].into_iter()),
        files: vec![
            ("usr/lib/lab-worker/worker.py", include_str!("../assets/worker.py").into(), 0o755),
            ("lib/systemd/system/lab-worker.service", include_str!("../assets/lab-worker.service").into(), 0o644),
            ("DEBIAN/postinst", include_str!("../assets/worker.postinst").into(), 0o755),
        ],
    }
}

fn control(name: &str, version: &str, depends: &str, section: &str, what: &str) -> String {
    format!(
        "Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: Fother Lab <lab@fother.invalid>\n\
         Depends: {depends}python3, init-system-helpers (>= 1.54)\nSection: {section}\nPriority: optional\n\
         Description: {what}\n Made for trying out Fother, and of no use elsewhere.\n"
    )
}

/// Newest entry first, a week apart.
fn changelog<'a>(name: &str, entries: impl DoubleEndedIterator<Item = (&'a str, &'a str)>) -> String {
    const DATES: [&str; 8] = [
        "Mon, 03 Jun 2024 09:00:00 +0000",
        "Mon, 10 Jun 2024 09:00:00 +0000",
        "Mon, 17 Jun 2024 09:00:00 +0000",
        "Mon, 24 Jun 2024 09:00:00 +0000",
        "Mon, 01 Jul 2024 09:00:00 +0000",
        "Mon, 08 Jul 2024 09:00:00 +0000",
        "Mon, 15 Jul 2024 09:00:00 +0000",
        "Mon, 22 Jul 2024 09:00:00 +0000",
    ];
    let dated: Vec<_> = entries.zip(DATES).collect();
    let entry = |((version, text), date): &((&str, &str), &str)| {
        let urgency = if text.starts_with("SECURITY") { "high" } else { "medium" };
        format!("{name} ({version}) lab; urgency={urgency}\n\n  * {text}\n\n -- Fother Lab <lab@fother.invalid>  {date}\n")
    };
    dated.iter().rev().map(entry).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(kind: SiteVersion, path: &str) -> String {
        site(kind).files.into_iter().find(|f| f.0 == path).unwrap().1
    }

    #[test]
    fn each_version_carries_its_own_fault_and_only_that() {
        use SiteVersion::*;
        let postinst = |k| file(k, "DEBIAN/postinst");
        let nginx = |k| file(k, "etc/nginx/sites-available/lab-site");
        let conf = |k| file(k, "etc/lab-site/site.conf");
        for kind in SiteVersion::ALL {
            assert_eq!(postinst(kind).contains("exit 1"), kind == BrokenScript, "{kind:?}");
            assert_eq!(postinst(kind).contains("escape.log"), kind == Hostile, "{kind:?}");
            assert_eq!(nginx(kind) == nginx(First), kind != BrokenNginx, "{kind:?}");
            assert_eq!(conf(kind) == conf(First), kind != Conffile, "{kind:?}");
            assert!(!postinst(kind).contains('@'), "{kind:?}");
            assert_eq!(SiteVersion::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn the_changelog_is_newest_first_and_names_the_advisory_from_1_1_on() {
        let log = site(SiteVersion::Good).changelog;
        assert!(log.starts_with("lab-site (1.1) lab; urgency=high\n"), "{log}");
        assert!(log.contains("CVE-2099-0001"));
        assert!(!site(SiteVersion::First).changelog.contains("CVE-"));
    }

    #[test]
    fn control_data_has_the_fields_that_dpkg_demands() {
        let control = site(SiteVersion::Hostile).control;
        for field in ["Package: lab-site\n", "Version: 1.7\n", "Architecture: all\n", "Maintainer: ", "Description: "] {
            assert!(control.contains(field), "{field}");
        }
    }
}
