//! Which version apt would install: its policy, applied to what archives offer and what is installed. Pure.

use super::{
    pattern::Pattern,
    pins::{Archive, Criterion, NEVER, Pin, Pins},
};
use fother_core::version::Version;

const PRIORITY_DEFAULT: i32 = 500;
const PRIORITY_TARGET: i32 = 990;
const PRIORITY_INSTALLED: i32 = 100;
const PRIORITY_NOT_AUTOMATIC: i32 = 1;
const PRIORITY_DOWNGRADES: i32 = 1000;

/// One version of a package, and where it is known from.
#[derive(Clone, Debug)]
pub struct Known {
    /// Version.
    pub version: Version,
    /// Source package.
    pub source: String,
    /// Indexes that hold it, as positions in the policy's archives.
    pub archives: Vec<usize>,
    /// It is what is installed.
    pub installed: bool,
}

/// Archives with their priorities, and the pins.
#[derive(Clone, Debug)]
pub struct Policy {
    priorities: Vec<i32>,
    archives: Vec<Archive>,
    specific: Vec<Pin>,
    native: String,
}

impl Policy {
    /// Ranks the archives. `default_release` is `APT::Default-Release`; `native` is dpkg's main architecture.
    ///
    /// # Errors
    /// Where the default release cannot be read.
    pub fn new(archives: Vec<Archive>, pins: Pins, default_release: Option<&str>, native: &str) -> Result<Self, String> {
        let (mut specific, mut general) = (Vec::new(), Vec::new());
        if let Some(release) = default_release.filter(|release| !release.is_empty()) {
            general.push((Criterion::release(release)?, PRIORITY_TARGET));
        }
        for pin in pins.pins {
            if pin.name.is_some() { specific.push(pin) } else { general.push((pin.criterion, pin.priority)) }
        }
        let rank = |archive: &Archive| match general.iter().find(|(criterion, _)| criterion.fits(archive)) {
            Some((_, priority)) => *priority,
            None if archive.is_status || archive.but_automatic_upgrades => PRIORITY_INSTALLED,
            None if archive.not_automatic => PRIORITY_NOT_AUTOMATIC,
            None => PRIORITY_DEFAULT,
        };
        let priorities = archives.iter().map(rank).collect();
        Ok(Self { priorities, archives, specific, native: native.to_owned() })
    }

    /// The archives, in the order that [`Known::archives`] counts.
    #[must_use]
    pub fn archives(&self) -> &[Archive] {
        &self.archives
    }

    /// Priority of one version of a package.
    #[must_use]
    pub fn priority(&self, name: &str, arch: &str, known: &Known) -> i32 {
        let of_archive = |at: &usize| {
            let status = self.archives.get(*at).is_some_and(|archive| archive.is_status);
            if status && !known.installed { -1 } else { self.priorities.get(*at).copied().unwrap_or(NEVER) }
        };
        let pinned = self.specific.iter().find(|pin| self.names(pin, name, arch, known) && self.asks_for(pin, known));
        match pinned {
            Some(pin) if known.archives.iter().any(|at| of_archive(at) != NEVER) => pin.priority,
            _ => known.archives.iter().map(of_archive).max().unwrap_or(NEVER),
        }
    }

    fn names(&self, pin: &Pin, name: &str, arch: &str, known: &Known) -> bool {
        let name = if pin.is_source { known.source.as_str() } else { name };
        let here = match pin.arch.as_deref() {
            Some("any") => true,
            Some("native") | None => arch == self.native || arch == "all",
            Some(wanted) => wanted == arch || (arch == "all" && wanted == self.native),
        };
        here && pin.name.as_ref().is_some_and(|pattern: &Pattern| pattern.matches(name))
    }

    fn asks_for(&self, pin: &Pin, known: &Known) -> bool {
        match &pin.criterion {
            Criterion::Version(pattern) => pattern.matches(known.version.as_str()),
            other => known.archives.iter().filter_map(|at| self.archives.get(*at)).any(|archive| other.fits(archive)),
        }
    }

    /// The version that apt would install, as a position in `versions`. Versions need no order.
    #[must_use]
    pub fn candidate(&self, name: &str, arch: &str, versions: &[Known]) -> Option<usize> {
        let installed = versions.iter().find(|known| known.installed);
        let mut order: Vec<usize> = (0..versions.len()).collect();
        order.sort_by(|a, b| versions[*b].version.compare(&versions[*a].version));
        let mut best: Option<(i32, usize)> = None;
        for at in order {
            let known = &versions[at];
            let priority = self.priority(name, arch, known);
            let older = installed.is_some_and(|installed| known.version.compare(&installed.version).is_lt());
            if priority <= 0 || best.is_some_and(|(best, _)| priority <= best) || (older && priority < PRIORITY_DOWNGRADES) {
                continue;
            }
            best = Some((priority, at));
        }
        best.map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archives() -> Vec<Archive> {
        let archive = |suite: &str, not_automatic, but| Archive {
            suite: suite.into(),
            codename: suite.into(),
            site: "archive.test".into(),
            not_automatic,
            but_automatic_upgrades: but,
            ..Archive::default()
        };
        vec![Archive::status(), archive("stable", false, false), archive("experimental", true, false), archive("backports", true, true)]
    }

    fn chosen(pins: &str, release: Option<&str>, versions: &[(&str, &[usize])]) -> Option<String> {
        let mut read = Pins::default();
        read.take("p", pins);
        assert!(read.unknown.is_empty(), "{:?}", read.unknown);
        let policy = Policy::new(archives(), read, release, "amd64").unwrap();
        let known: Vec<Known> = versions
            .iter()
            .map(|(version, archives)| Known {
                version: version.parse().unwrap(),
                source: "src".into(),
                archives: archives.to_vec(),
                installed: archives.contains(&0),
            })
            .collect();
        policy.candidate("pkg", "amd64", &known).map(|at| known[at].version.as_str().to_owned())
    }

    #[test]
    fn experimental_never_comes_by_itself_and_backports_only_follow_backports() {
        assert_eq!(chosen("", None, &[("1", &[0]), ("2", &[1]), ("4", &[2]), ("3", &[3])]).as_deref(), Some("2"));
        assert_eq!(chosen("", None, &[("1", &[0]), ("4", &[2])]).as_deref(), Some("1"));
        assert_eq!(chosen("", None, &[("2.5", &[0]), ("2", &[1]), ("3", &[3])]).as_deref(), Some("3"));
        assert_eq!(chosen("", Some("experimental"), &[("1", &[0]), ("2", &[1]), ("4", &[2])]).as_deref(), Some("4"));
    }

    #[test]
    fn downgrades_need_a_priority_of_a_thousand() {
        let versions: &[(&str, &[usize])] = &[("2", &[0]), ("1", &[1])];
        assert_eq!(chosen("", None, versions).as_deref(), Some("2"));
        assert_eq!(chosen("Package: pkg\nPin: version 1\nPin-Priority: 999\n", None, versions).as_deref(), Some("2"));
        assert_eq!(chosen("Package: src:src\nPin: release a=stable\nPin-Priority: 1000\n", None, versions).as_deref(), Some("1"));
    }

    #[test]
    fn negative_and_never_pins_exclude_and_the_first_that_fits_wins() {
        let versions: &[(&str, &[usize])] = &[("1", &[0]), ("2", &[1])];
        assert_eq!(chosen("Package: p*\nPin: release n=stable\nPin-Priority: -1\n", None, versions).as_deref(), Some("1"));
        assert_eq!(chosen("Package: *\nPin: origin archive.test\nPin-Priority: never\n", None, versions).as_deref(), Some("1"));
        let two = "Package: pkg\nPin: version 2\nPin-Priority: 600\n\nPackage: pkg\nPin: version 2*\nPin-Priority: -1\n";
        assert_eq!(chosen(two, None, versions).as_deref(), Some("2"));
        assert_eq!(chosen("", None, &[]), None);
    }
}
