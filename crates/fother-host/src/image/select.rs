//! Which files of an image an assessment reads: the one place where they are named. What is not named here does not exist in an image's root.

/// Files by their path, and directories with everything below them (ending in `/`); all without the leading slash.
const PLACES: &[&str] = &[
    "etc/os-release",
    "usr/lib/os-release",
    "etc/hostname",
    "etc/machine-id",
    "etc/apt/",
    "etc/systemd/system/",
    "etc/cron.d/cron-apt",
    "etc/landscape/client.conf",
    "etc/puppetlabs/puppet/puppet.conf",
    "etc/salt/minion",
    "var/lib/PackageKit/prepared-update",
    "var/lib/snapd/state.json",
    "var/lib/apt/lists/",
    "var/lib/apt/extended_states",
    "var/lib/dpkg/status",
    "var/lib/dpkg/status.d/",
    "var/lib/dpkg/arch",
    "var/lib/dpkg/info/",
    "var/lib/rpm/",
    "usr/lib/sysimage/rpm/",
    "usr/share/rpm/",
    "lib/apk/db/installed",
    "lib/modules/",
    "boot/",
];

/// Directories that are often links to others; what is below the second counts as below the first.
const MERGED: [(&str, &str); 5] =
    [("usr/lib/", "lib/"), ("usr/lib64/", "lib64/"), ("usr/bin/", "bin/"), ("usr/sbin/", "sbin/"), ("run/", "var/run/")];

/// Below these, only directories and no files are of interest: their names say which kernels there are.
const NAMES_ONLY: [&str; 2] = ["lib/modules/", "boot/"];

/// Ends of names of packages of language ecosystems.
const LANGUAGE_ENDS: [&str; 11] = [
    ".dist-info/METADATA",
    ".egg-info/PKG-INFO",
    "EGG-INFO/PKG-INFO",
    ".egg-info",
    ".egg",
    "/package.json",
    "/node_version.h",
    "vendor/composer/installed.json",
    ".gemspec",
    ".jar",
    ".war",
];
const MORE_LANGUAGE_ENDS: [&str; 8] =
    [".ear", ".par", ".hpi", ".jpi", ".dist-info/RECORD", ".dist-info/top_level.txt", ".egg-info/SOURCES.txt", "/package-lock.json"];

/// First bytes of programs, whose build information says what is in them.
pub const PROGRAM: &[u8] = b"\x7fELF";

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// With its content.
    Whole,
    /// Its name alone: it is empty in the root.
    Name,
    /// If it is a program.
    IfProgram,
    /// Not at all.
    No,
}

fn at_a_place(path: &str) -> bool {
    PLACES.iter().any(|place| if place.ends_with('/') { path.starts_with(place) } else { path == *place })
}

/// The path as it is named in [`PLACES`].
fn other_name(path: &str) -> Option<String> {
    MERGED.iter().find_map(|(real, alias)| path.strip_prefix(real).map(|rest| format!("{alias}{rest}")))
}

/// What becomes of a regular file at a path without the leading slash.
#[must_use]
pub fn file(path: &str) -> Taken {
    let other = other_name(path);
    let named = |prefix: &&str| path.starts_with(prefix) || other.as_deref().is_some_and(|other| other.starts_with(prefix));
    if NAMES_ONLY.iter().any(named) {
        // Modules are many; the directory of each kernel is enough.
        return if path.ends_with("/modules.builtin") || path.contains("boot/vmlinuz") { Taken::Name } else { Taken::No };
    }
    if at_a_place(path) || other.as_deref().is_some_and(at_a_place) {
        // Lists of files say what belongs to a package; sums and scripts do not.
        return if path.starts_with("var/lib/dpkg/info/") && !path.ends_with(".list") { Taken::No } else { Taken::Whole };
    }
    if LANGUAGE_ENDS.iter().chain(&MORE_LANGUAGE_ENDS).any(|end| path.ends_with(end)) { Taken::Whole } else { Taken::IfProgram }
}

/// Whether a link at the path may lead to something that is read: it is one of the places or stands above one.
#[must_use]
pub fn link(path: &str) -> bool {
    let above = |path: &str| PLACES.iter().any(|place| place.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
    file(path) == Taken::Whole || above(path) || MERGED.iter().any(|(_, alias)| *alias == format!("{path}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_taken_under_both_of_its_names() {
        for path in
            ["var/lib/dpkg/status", "usr/lib/apk/db/installed", "lib/apk/db/installed", "etc/apt/sources.list.d/x.sources", "a/b.jar"]
        {
            assert_eq!(file(path), Taken::Whole, "{path}");
        }
        assert_eq!(file("usr/bin/tool"), Taken::IfProgram);
        assert_eq!(file("var/lib/dpkg/info/a.postinst"), Taken::No);
        assert_eq!(file("usr/lib/modules/6.1.0-18-amd64/kernel/a.ko"), Taken::No);
        assert!(link("lib") && link("etc/os-release") && link("var/lib/dpkg") && !link("etc/mtab"));
    }
}
