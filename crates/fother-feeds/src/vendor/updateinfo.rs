//! An rpm repository's `updateinfo.xml`, as AlmaLinux, Rocky, Red Hat, Oracle, Amazon, SUSE and Fedora write it; read piece by piece.

use super::{
    input,
    xml::{self, Handler, Tag},
};
use crate::compile::{Builder, Statement, Taken};
use fother_core::{
    advisory::{
        Day, Urgency, cve_key,
        format::{Release, Subject},
    },
    assess::releases,
    version::scheme::Scheme,
};
use std::{collections::BTreeSet, path::Path};

/// Most packages of one update.
const PACKAGES_MAX: usize = 200_000;
/// Most references of one update.
const REFERENCES_MAX: usize = 50_000;
/// Most updates.
const UPDATES_MAX: u32 = 2_000_000;

/// One update.
#[derive(Default)]
struct Update {
    kind: String,
    status: String,
    id: String,
    title: String,
    severity: String,
    issued: Option<Day>,
    updated: Option<Day>,
    reboot: bool,
    cves: BTreeSet<String>,
    references: usize,
    packages: Vec<Package>,
    /// Of the collection that is read now.
    module: String,
    collection: String,
}

struct Package {
    name: String,
    version: String,
    arch: String,
    module: String,
    collection: String,
}

/// Reads it.
///
/// # Errors
/// Where it is malformed or cut short, or most of its updates are for no release that is known.
pub fn read(builder: &mut Builder, path: &Path) -> Result<Taken, String> {
    let mut updates = Updates { builder, taken: Taken::default(), update: None };
    xml::read(input::open(path)?, &mut updates)?;
    Ok(updates.taken)
}

struct Updates<'b> {
    builder: &'b mut Builder,
    taken: Taken,
    update: Option<Update>,
}

fn day(text: &str) -> Option<Day> {
    // Some write seconds since 1970.
    let seconds = || text.parse::<u64>().ok().and_then(|seconds| u32::try_from(seconds / 86_400).ok()).map(Day);
    Day::parse(text).or_else(seconds)
}

impl Handler for Updates<'_> {
    fn open(&mut self, path: &[String], name: &str, tag: &Tag<'_>) -> Result<(), String> {
        if path.is_empty() && name != "updates" {
            return Err(format!("not an updateinfo: it starts with `{}`", fother_core::text::printable(name, 40)));
        }
        if path.len() == 1 && name == "update" {
            self.update = Some(Update { kind: tag.attribute("type")?, status: tag.attribute("status")?, ..Update::default() });
            return Ok(());
        }
        let Some(update) = &mut self.update else { return Ok(()) };
        match name {
            "issued" => update.issued = day(&tag.attribute("date")?),
            "updated" => update.updated = day(&tag.attribute("date")?),
            "reference" => {
                update.references += 1;
                if update.references > REFERENCES_MAX {
                    return Err(format!("more than {REFERENCES_MAX} references of one update"));
                }
                // Some call it by the id, some only by its title.
                let id = [tag.attribute("id")?, tag.attribute("title")?].into_iter().find(|id| cve_key(id).is_some());
                update.cves.extend(id);
            }
            "collection" => (update.module, update.collection) = (String::new(), tag.attribute("short")?),
            "module" => {
                let (name, stream) = (tag.attribute("name")?, tag.attribute("stream")?);
                if name.is_empty() || stream.is_empty() {
                    return Err("a module without a name or a stream".into());
                }
                update.module = format!("{name}:{stream}");
            }
            "package" => {
                let package = update.package(tag)?;
                update.packages.push(package);
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, path: &[String], name: &str, text: &str) -> Result<(), String> {
        let Some(update) = &mut self.update else { return Ok(()) };
        let parent = path.last().map(String::as_str).unwrap_or_default();
        match (parent, name) {
            ("update", "id") => text.clone_into(&mut update.id),
            ("update", "title") => text.clone_into(&mut update.title),
            ("update", "severity") => text.clone_into(&mut update.severity),
            ("collection", "name") => {
                update.collection.push(' ');
                update.collection.push_str(text);
            }
            (_, "reboot_suggested") => update.reboot |= !matches!(text, "0" | "false" | "False"),
            ("updates", "update") => {
                if let Some(update) = self.update.take() {
                    self.add(&update)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Update {
    fn package(&self, tag: &Tag<'_>) -> Result<Package, String> {
        if self.packages.len() >= PACKAGES_MAX {
            return Err(format!("more than {PACKAGES_MAX} packages of one update"));
        }
        let (name, version, release) = (tag.attribute("name")?, tag.attribute("version")?, tag.attribute("release")?);
        if name.is_empty() || version.is_empty() {
            return Err(format!("{}: a package without a name or a version", fother_core::text::printable(&self.id, 60)));
        }
        let epoch = tag.attribute("epoch")?;
        let epoch = if epoch.is_empty() || epoch == "0" { String::new() } else { format!("{epoch}:") };
        let version = if release.is_empty() { format!("{epoch}{version}") } else { format!("{epoch}{version}-{release}") };
        Ok(Package { name, version, arch: tag.attribute("arch")?, module: self.module.clone(), collection: self.collection.clone() })
    }

    /// 0 security, 1 bugfix, 2 enhancement, 3 notice, 4 new package: as the vendor says.
    fn class(&self) -> u8 {
        match self.kind.as_str() {
            "security" => 0,
            "enhancement" | "feature" | "optional" => 2,
            "newpackage" => 4,
            "bugfix" | "recommended" => 1,
            // What the vendor does not name may be anything; with a CVE it is no bugfix.
            _ if !self.cves.is_empty() => 0,
            _ => 3,
        }
    }
}

/// The release of a package: whose id the update has, and for which release the package was built.
fn release(id: &str, package: &Package) -> Option<(String, Option<&'static str>)> {
    let tag = |mark: &str| {
        let at = package.version.rfind(mark)? + mark.len();
        let digits = package.version[at..].bytes().take_while(u8::is_ascii_digit).count();
        (digits > 0).then(|| package.version[at..at + digits].to_owned())
    };
    let enterprise = |vendor: &str| releases::enterprise_major(&package.version).map(|major| (format!("{vendor}:{major}"), None));
    match id.split(['-', ':']).next().unwrap_or_default() {
        "ALSA" | "ALBA" | "ALEA" => enterprise("AlmaLinux"),
        "RLSA" | "RLBA" | "RLEA" => enterprise("Rocky Linux"),
        "RHSA" | "RHBA" | "RHEA" => enterprise("Red Hat:enterprise_linux"),
        "ELSA" | "ELBA" | "ELEA" => enterprise("Oracle Linux"),
        "FEDORA" if id.contains("EPEL") => enterprise("EPEL"),
        "FEDORA" => tag(".fc").map(|version| (format!("Fedora:{version}"), None)),
        vendor if vendor.starts_with("ALAS") => tag(".amzn").map(|version| (format!("Amazon Linux:{version}"), None)),
        "SUSE" | "openSUSE" => suse(id, package),
        _ => None,
    }
}

/// SUSE says it in the collection's name, in the id, or only in the package's release (`150500.…`, `lp156.…`).
fn suse(id: &str, package: &Package) -> Option<(String, Option<&'static str>)> {
    let spelled = |text: &str| text.replace("SLE-", "SUSE Linux Enterprise ").replace(['-', '_'], " ");
    let leap = |text: &str| {
        let (_, rest) = text.split_once("SLE-15.").or_else(|| text.split_once("Leap-15.")).or_else(|| text.split_once("Leap 15."))?;
        let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (!minor.is_empty()).then(|| (format!("openSUSE:Leap 15.{minor}"), None))
    };
    if id.starts_with("openSUSE")
        && let Some(found) = leap(id).or_else(|| leap(&package.collection))
    {
        return Some(found);
    }
    let named =
        [package.collection.as_str(), id].into_iter().find_map(|text| releases::suse(text).or_else(|| releases::suse(&spelled(text))));
    let release = package.version.rsplit_once('-').map(|(_, release)| release).unwrap_or_default();
    let first = release.split('.').next().unwrap_or_default();
    let built = || match first.strip_prefix("lp15") {
        Some(minor) => minor.get(..1).map(|minor| (format!("openSUSE:Leap 15.{minor}"), None)),
        None if first.len() == 6 && first.starts_with("150") => first.get(3..4).map(|pack| (format!("SUSE:15.{pack}"), None)),
        None => None,
    };
    named.or_else(built)
}

impl Updates<'_> {
    fn add(&mut self, update: &Update) -> Result<(), String> {
        if self.taken.records >= UPDATES_MAX {
            return Err(format!("more than {UPDATES_MAX} updates"));
        }
        if update.id.is_empty() {
            return Err("an update without an id".into());
        }
        let issued = update.issued.or(update.updated);
        // A retracted update fixes nothing.
        if update.status == "retracted" {
            self.taken.one(update.updated.max(issued));
            return Ok(());
        }
        let advisory = self.builder.advisory(&update.id, issued, update.class(), &update.title)?;
        let mut known = update.packages.is_empty();
        let mut seen = BTreeSet::new();
        for package in update.packages.iter().filter(|package| !matches!(package.arch.as_str(), "src" | "nosrc")) {
            let Some((name, paid)) = release(&update.id, package) else { continue };
            known = true;
            let release = self.builder.release(&name, Scheme::Rpm)?;
            self.builder.covers(release, Release::KNOWS_FIXED);
            let key = releases::key(&package.module, false, &package.name);
            if seen.insert((release, key.clone(), package.version.as_str())) {
                let at = self.builder.package(release, &key)?;
                let note = paid.map(|what| format!("fix needs {what}")).unwrap_or_default();
                let flags = if paid.is_some() { fother_core::advisory::format::Claim::PAID } else { 0 };
                let fixed = Statement { flags, note: &note, ..Statement::fixed(&package.version) };
                self.builder.claim(at, Subject::Advisory(advisory), &fixed)?;
            }
        }
        if known {
            self.taken.one(update.updated.max(issued));
        } else {
            self.taken.skipped += 1;
        }
        self.builder.urgent(advisory, Urgency::of_word(&update.severity), update.reboot);
        for cve in &update.cves {
            let vuln = self.builder.vuln(cve)?;
            self.builder.closes(advisory, vuln);
        }
        Ok(())
    }
}
