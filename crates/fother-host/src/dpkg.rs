//! What dpkg says is installed: `/var/lib/dpkg/status` and `status.d` of a root, read without dpkg (dpkg(1), deb-control(5)).

use crate::root::{self, Root};
use fother_core::{
    deb822::{Stanza, stanzas},
    package::Installed,
    text::printable,
    version::Version,
};

/// Largest status file that is read, in bytes.
pub const STATUS_BYTES_MAX: usize = 128 << 20;
/// Most packages that are taken from one root.
pub const PACKAGES_MAX: usize = 100_000;
const STATUS: &str = "/var/lib/dpkg/status";
const STATUS_PARTS: &str = "/var/lib/dpkg/status.d";
const STATUS_PART_BYTES_MAX: usize = 4 << 20;
const ARCH: &str = "/var/lib/dpkg/arch";

/// dpkg's database as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database {
    /// Installed or half-installed packages, sorted.
    pub packages: Vec<Installed>,
    /// dpkg's main architecture and the foreign ones, main first; empty if it cannot be told.
    pub architectures: Vec<String>,
    /// Entries that could not be read, by name with the reason.
    pub unknown: Vec<String>,
}

/// Reads dpkg's database below a root.
///
/// # Errors
/// Where there is none, or it cannot be read.
pub fn read(root: &Root) -> Result<Database, root::Error> {
    let mut database = Database::default();
    let main = root.text_if_there(STATUS, STATUS_BYTES_MAX)?;
    let parts = root.names(STATUS_PARTS)?;
    if main.is_none() && parts.is_empty() {
        return Err(root.read(STATUS, 0).err().unwrap_or(root::Error::Absent { path: STATUS.into() }));
    }
    database.take(main.as_deref().unwrap_or_default(), false);
    for name in parts.iter().filter(|name| !name.ends_with(".md5sums")) {
        match root.text(&format!("{STATUS_PARTS}/{name}"), STATUS_PART_BYTES_MAX) {
            Ok(text) => database.take(&text, true),
            Err(error) => database.unknown.push(format!("package database part {}: {error}", printable(name, 80))),
        }
    }
    database.packages.sort();
    database.packages.dedup();
    database.architectures = architectures(root, &database.packages);
    Ok(database)
}

fn architectures(root: &Root, packages: &[Installed]) -> Vec<String> {
    let main = packages.iter().find(|p| p.name == "dpkg").or_else(|| packages.iter().find(|p| p.arch != "all")).map(|p| p.arch.clone());
    let listed = root.text_if_there(ARCH, STATUS_PART_BYTES_MAX).ok().flatten().unwrap_or_default();
    let foreign = listed.lines().map(str::trim).filter(|line| !line.is_empty() && Some(*line) != main.as_deref()).map(str::to_owned);
    let foreign: Vec<String> = foreign.collect();
    main.into_iter().chain(foreign).collect()
}

impl Database {
    fn take(&mut self, text: &str, always_installed: bool) {
        for stanza in stanzas(text).map(Stanza::parse) {
            if self.packages.len() >= PACKAGES_MAX {
                self.unknown.push(format!("packages beyond the first {PACKAGES_MAX}"));
                return;
            }
            match installed(&stanza, always_installed) {
                Ok(None) => {}
                Ok(Some(package)) => self.packages.push(package),
                Err(why) => {
                    let name = printable(stanza.get("Package").unwrap_or_default(), 80);
                    self.unknown.push(format!("package {name}: {why}"));
                }
            }
        }
    }
}

/// `None` where the package is not there (also `config-files`: only its configuration is left).
fn installed(stanza: &Stanza<'_>, always_installed: bool) -> Result<Option<Installed>, String> {
    let status = match stanza.get("Status") {
        Some(status) => status,
        None if always_installed => "install ok installed",
        None => return Err("it has no Status".into()),
    };
    let mut words = status.split_whitespace();
    let (want, flag, state) = (words.next().unwrap_or_default(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let broken = match state {
        "not-installed" | "config-files" => return Ok(None),
        "installed" if flag == "ok" => None,
        "installed" => Some(printable(flag, 40)),
        "half-installed" | "unpacked" | "half-configured" | "triggers-awaited" | "triggers-pending" => Some(state.to_owned()),
        _ => return Err(format!("its state `{}` is not known", printable(state, 40))),
    };
    let name = stanza.get("Package").filter(|name| is_name(name)).ok_or("its name is malformed")?;
    let version: Version = stanza.get("Version").unwrap_or_default().parse().map_err(|error| format!("{error}"))?;
    let arch = stanza.get("Architecture").filter(|arch| is_name(arch)).ok_or("it has no architecture")?;
    let (source, source_version) = source(name, &version, stanza.get("Source"))?;
    Ok(Some(Installed { name: name.into(), arch: arch.into(), version, source, source_version, broken, held: want == "hold" }))
}

/// Source name and version from a `Source: name (version)` field; without one they are the binary's.
///
/// # Errors
/// Where the field is malformed.
pub fn source(name: &str, version: &Version, field: Option<&str>) -> Result<(String, Version), String> {
    let Some(field) = field else { return Ok((name.to_owned(), version.clone())) };
    let (source, own) = match field.split_once('(') {
        Some((source, rest)) => {
            let own = rest.trim_end().strip_suffix(')').ok_or("its Source field is malformed")?;
            (source.trim(), own.trim().parse().map_err(|error| format!("{error}"))?)
        }
        None => (field.trim(), version.clone()),
    };
    if !is_name(source) {
        return Err("its Source field is malformed".into());
    }
    Ok((source.to_owned(), own))
}

/// A name that dpkg would accept (Debian Policy section 5.6.7), capitals allowed as dpkg does.
#[must_use]
pub fn is_name(text: &str) -> bool {
    (1..=256).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn root_with(status: &str) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("var/lib/dpkg")).unwrap();
        std::fs::write(directory.path().join("var/lib/dpkg/status"), status).unwrap();
        let root = Root::open(directory.path()).unwrap();
        (directory, root)
    }

    const STATUS_TEXT: &str = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\nConffiles:\n /etc/cron.daily/dpkg 94bb6c1363245e46256908a5d52ba4fb\n /etc/old 00000000000000000000000000000000 obsolete\n\n\
        Package: libperl5.36\nStatus: hold ok half-configured\nSource: perl (5.36.0-7)\nArchitecture: amd64\nVersion: 5.36.0-7+b1\n\n\
        Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n\
        Package: odd\nStatus: install ok installed\nArchitecture: all\nVersion: x y\n";

    #[test]
    fn installed_half_installed_and_held_packages_are_told_apart() {
        let (_keep, root) = root_with(STATUS_TEXT);
        let database = read(&root).unwrap();
        let names: Vec<_> = database.packages.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["dpkg", "libperl5.36"]);
        let perl = &database.packages[1];
        assert_eq!((perl.source.as_str(), perl.source_version.as_str()), ("perl", "5.36.0-7"));
        assert_eq!((perl.broken.as_deref(), perl.held), (Some("half-configured"), true));
        assert_eq!(database.unknown.len(), 1, "the unreadable one is named: {:?}", database.unknown);
        assert!(database.unknown[0].contains("odd"));
        assert_eq!(database.architectures, ["amd64"]);
    }

    #[test]
    fn a_root_without_a_database_is_an_error_not_an_empty_host() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(&Root::open(directory.path()).unwrap()).unwrap_err().is_absent());
    }

    #[test]
    fn distroless_parts_count_as_installed() {
        let (keep, root) = root_with("");
        let parts = keep.path().join("var/lib/dpkg/status.d");
        std::fs::create_dir(&parts).unwrap();
        std::fs::write(parts.join("libc6"), "Package: libc6\nSource: glibc\nArchitecture: amd64\nVersion: 2.36-9\n").unwrap();
        std::fs::write(parts.join("libc6.md5sums"), "x\n").unwrap();
        assert_eq!(read(&root).unwrap().packages[0].source, "glibc");
    }

    #[test]
    fn this_machine_reads_as_dpkg_query_says() {
        let format = "${Package} ${Architecture} ${Version} ${source:Package} ${source:Version} ${db:Status-Want} ${db:Status-Status}\n";
        let output = std::process::Command::new("dpkg-query").args(["-W", "-f", format]).output().unwrap();
        let mut wanted: Vec<String> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .filter(|line| !line.ends_with(" config-files") && !line.ends_with(" not-installed"))
            .map(|line| line.rsplitn(3, ' ').last().unwrap().to_owned())
            .collect();
        wanted.sort();
        let database = read(&Root::live().unwrap()).unwrap();
        let mut got: Vec<String> = database
            .packages
            .iter()
            .map(|p| format!("{} {} {} {} {}", p.name, p.arch, p.version.as_str(), p.source, p.source_version.as_str()))
            .collect();
        got.sort();
        assert_eq!(got, wanted);
        assert!(database.unknown.is_empty(), "{:?}", database.unknown);
    }
}
