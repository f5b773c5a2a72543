//! Which processes have loaded code of the packages that have findings: `processes` joined with dpkg's lists of files. Reads the root.
//!
//! The lists are read for packages with findings only, so that a scan stays as fast as it is.

pub mod outdated;

use crate::{
    processes::{Code, Mapped, Process, Processes},
    reboot::Running,
    root::Root,
};
use fother_core::{
    assess::in_use::{InUse, PackageUse, Use},
    package::Installed,
    text::printable,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Largest list of one package's files, in bytes.
const LIST_BYTES_MAX: usize = 16 << 20;
/// Most files of a package whose first bytes are looked at to tell whether it holds native code.
const HEADS_MAX: usize = 2_000;
const INFO: &str = "/var/lib/dpkg/info";
const ELF: [u8; 4] = *b"\x7fELF";
const KERNEL: &str = "linux-image-";
const PATH_CHARS_MAX: usize = 512;

/// Directories that a merged system keeps below `/usr`; dpkg's lists may still name them without.
const MERGED: [&str; 6] = ["/bin/", "/sbin/", "/lib/", "/lib64/", "/lib32/", "/libx32/"];

/// A path as both the kernel and dpkg would write it.
#[must_use]
pub fn merged(path: &str) -> String {
    // dpkg unpacks beside the file first; a program started in between has that name mapped.
    let path = path.strip_suffix(".dpkg-new").or_else(|| path.strip_suffix(".dpkg-tmp")).unwrap_or(path);
    if MERGED.iter().any(|start| path.starts_with(start)) { format!("/usr{path}") } else { path.to_owned() }
}

/// The files of one package, as dpkg lists them; an error where the list cannot be read.
fn files(root: &Root, package: &Installed) -> Result<String, String> {
    // Only packages that may be installed for several architectures carry theirs in the name.
    let several = format!("{INFO}/{}:{}.list", package.name, package.arch);
    let only = format!("{INFO}/{}.list", package.name);
    match root.text_if_there(&several, LIST_BYTES_MAX) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => root.text(&only, LIST_BYTES_MAX).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// A process's name, its unit, and whether what it maps is no longer there.
type Who<'a> = (&'a str, Option<&'a str>, bool);

/// The processes that share this root, by the files that they map.
struct Index<'a> {
    by_path: HashMap<String, Vec<(&'a Process, &'a Mapped)>>,
    looked_at: usize,
    closed: usize,
}

impl<'a> Index<'a> {
    fn new(processes: &'a Processes) -> Self {
        let mut out = Self { by_path: HashMap::new(), looked_at: 0, closed: 0 };
        for process in processes.list.iter().filter(|process| !process.contained && !process.other_root) {
            match &process.code {
                Code::Files(files) => {
                    out.looked_at += 1;
                    for file in files {
                        out.by_path.entry(merged(&file.path)).or_default().push((process, file));
                    }
                }
                Code::Closed(_) => out.closed += 1,
            }
        }
        out
    }

    fn answer(&self, root: &Root, package: &Installed) -> PackageUse {
        let name = package.name.clone();
        let list = match files(root, package) {
            Ok(list) => list,
            Err(why) => return PackageUse::without(name, InUse::Unknown, format!("its files are not known: {why}")),
        };
        // By name and unit, and apart where one still runs the old version.
        let mut uses: BTreeMap<Who<'_>, (Use, BTreeSet<u32>)> = BTreeMap::new();
        for path in list.lines() {
            for (process, file) in self.by_path.get(&merged(path)).into_iter().flatten() {
                let key = (process.name.as_str(), process.unit.as_deref(), file.deleted);
                let (first, pids) = uses.entry(key).or_insert_with(|| (of(process, file), BTreeSet::new()));
                pids.insert(process.pid);
                first.others = pids.len() - 1;
                if first.listens.is_empty() && !process.listens.is_empty() {
                    *first = Use { others: first.others, ..of(process, file) };
                }
            }
        }
        if !uses.is_empty() {
            return PackageUse::loaded(name, uses.into_values().map(|(one, _)| one).collect());
        }
        if !has_native_code(root, &list) {
            let why = "it has no native code: whether a program reads it cannot be told from what processes map";
            return PackageUse::without(name, InUse::Unknown, why);
        }
        let (seen, all) = (self.looked_at, self.looked_at + self.closed);
        if self.closed > 0 {
            let why = format!("none of {seen} processes has loaded it; {} of {all} may not be looked at by this user", self.closed);
            return PackageUse::without(name, InUse::Unknown, why);
        }
        PackageUse::without(name, InUse::NotLoaded, format!("none of {seen} processes has loaded it (/proc/*/maps)"))
    }
}

fn of(process: &Process, file: &Mapped) -> Use {
    let mut from = vec![format!("/proc/{}/maps", process.pid)];
    let tables: BTreeSet<&str> = process.listens.iter().map(|listens| listens.table.as_str()).collect();
    from.extend(tables.into_iter().map(str::to_owned));
    Use {
        process: process.name.clone(),
        pid: process.pid,
        others: 0,
        unit: process.unit.clone(),
        file: printable(&file.path, PATH_CHARS_MAX),
        old: file.deleted,
        listens: process.listens.iter().map(|listens| listens.address.clone()).collect(),
        from,
    }
}

/// Whether a package brings programs or libraries that the kernel maps; the first one found is enough.
fn has_native_code(root: &Root, list: &str) -> bool {
    let likely = |path: &&str| {
        let (dir, name) = path.rsplit_once('/').unwrap_or_default();
        let name_fits = name.contains(".so") || !name.contains('.');
        name_fits && ["bin", "lib", "games"].iter().any(|part| dir.contains(part)) && !dir.contains("/share/")
    };
    let is_elf = |path: &str| {
        let mut head = [0; 4];
        root.file(path).is_ok_and(|mut file| std::io::Read::read_exact(&mut file, &mut head).is_ok()) && head == ELF
    };
    list.lines().filter(likely).take(HEADS_MAX).any(|path| is_elf(path) || is_elf(&merged(path)))
}

/// A kernel is in use if it is booted.
fn kernel(name: &str, running: &Running) -> PackageUse {
    const FROM: &str = "/proc/sys/kernel/osrelease";
    let (release, package) = (printable(&running.kernel, 128), name.to_owned());
    if running.container {
        return PackageUse::without(package, InUse::Unknown, "this is a container: the kernel that runs is its host's");
    }
    let image = name.trim_start_matches(KERNEL).trim_end_matches("-unsigned");
    if !image.starts_with(|c: char| c.is_ascii_digit()) {
        return PackageUse::without(package, InUse::Unknown, "it holds no kernel, it brings one");
    }
    if image == running.kernel {
        return PackageUse::without(package, InUse::Loaded, format!("it is the booted kernel ({FROM})"));
    }
    PackageUse::without(package, InUse::NotLoaded, format!("the booted kernel is {release} ({FROM})"))
}

/// Answers for the named packages of the live root.
#[must_use]
pub fn answer(root: &Root, installed: &[Installed], wanted: &BTreeSet<&str>, processes: &Processes, running: &Running) -> Vec<PackageUse> {
    let index = Index::new(processes);
    let mut out: BTreeMap<&str, PackageUse> = BTreeMap::new();
    for package in installed.iter().filter(|package| wanted.contains(package.name.as_str())) {
        let found = if package.name.starts_with(KERNEL) { kernel(&package.name, running) } else { index.answer(root, package) };
        // The same package for a second architecture: the more exposed one counts.
        let known = out.entry(package.name.as_str()).or_insert_with(|| found.clone());
        if found.answer > known.answer {
            *known = found;
        }
    }
    out.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dpkg::tests::root_with;
    use std::fs;

    fn package(name: &str) -> Installed {
        let version: fother_core::version::Version = "1".parse().unwrap();
        Installed {
            name: name.into(),
            arch: "amd64".into(),
            version: version.clone(),
            source: name.into(),
            source_version: version,
            broken: None,
            held: false,
        }
    }

    fn process(pid: u32, name: &str, files: &[(&str, bool)]) -> Process {
        let file = |(path, deleted): &(&str, bool)| Mapped { path: (*path).into(), inode: 1, deleted: *deleted };
        let code = Code::Files(files.iter().map(file).collect());
        Process { pid, name: name.into(), unit: None, contained: false, other_root: false, code, listens: Vec::new() }
    }

    fn running(kernel: &str, container: bool) -> Running {
        Running { kernel: kernel.into(), build: String::new(), container, asked_for: false }
    }

    fn ask(lists: &[(&str, &str)], list: Vec<Process>) -> Vec<PackageUse> {
        let (keep, root) = root_with("");
        let info = keep.path().join("var/lib/dpkg/info");
        fs::create_dir_all(&info).unwrap();
        for (name, text) in lists {
            fs::write(info.join(name), text).unwrap();
        }
        for (path, bytes) in [("usr/lib/libold.so.1", &b"\x7fELF.."[..]), ("usr/bin/script", b"#!/bin/sh")] {
            let path = keep.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        let packages: Vec<Installed> = ["libold", "script", "none"].map(package).into();
        let wanted = packages.iter().map(|package| package.name.as_str()).collect();
        answer(&root, &packages, &wanted, &Processes { list, ..Processes::default() }, &running("6.1.0-9-amd64", false))
    }

    const LISTS: [(&str, &str); 2] =
        [("libold:amd64.list", "/.\n/lib\n/lib/libold.so.1\n"), ("script.list", "/usr/bin/script\n/usr/share/doc/script/x\n")];

    #[test]
    fn a_library_is_found_under_both_of_its_paths_and_old_mappings_stand_apart() {
        let list = vec![
            process(7, "new", &[("/usr/lib/libold.so.1", false)]),
            process(8, "old", &[("/usr/lib/libold.so.1", true)]),
            process(9, "old", &[("/lib/libold.so.1.dpkg-new", true)]),
        ];
        let found = ask(&LISTS, list);
        let libold = found.iter().find(|one| one.package == "libold").unwrap();
        let told: Vec<_> = libold.uses.iter().map(|one| (one.process.as_str(), one.pid, one.others, one.old)).collect();
        assert_eq!((libold.answer, told), (InUse::Loaded, vec![("old", 8, 1, true), ("new", 7, 0, false)]));
        assert_eq!(libold.uses[0].from, ["/proc/8/maps"]);
    }

    #[test]
    fn what_cannot_be_told_is_not_called_unused() {
        let mut closed = process(3, "x", &[]);
        closed.code = Code::Closed("/proc/3/maps: denied".into());
        let answers = |list| ask(&LISTS, list).into_iter().map(|one| (one.package.clone(), one.answer)).collect::<Vec<_>>();
        let name = |name: &str, answer| (name.to_owned(), answer);
        let seen = answers(vec![process(2, "y", &[])]);
        assert_eq!(seen, [name("libold", InUse::NotLoaded), name("none", InUse::Unknown), name("script", InUse::Unknown)]);
        assert_eq!(answers(vec![closed])[0], name("libold", InUse::Unknown), "a process that may not be looked at may be the one");
    }

    #[test]
    fn containers_of_this_machine_run_files_of_their_own() {
        let file = [("/usr/lib/libold.so.1", false)];
        let contained = Process { contained: true, ..process(4, "inside", &file) };
        let other = Process { other_root: true, ..process(5, "chroot", &file) };
        assert_eq!(ask(&LISTS, vec![contained, other])[0].answer, InUse::NotLoaded);
    }

    #[test]
    fn a_kernel_is_in_use_if_it_is_booted() {
        let answer = |name, container| kernel(name, &running("6.1.0-9-amd64", container)).answer;
        assert_eq!(answer("linux-image-6.1.0-9-amd64", false), InUse::Loaded);
        assert_eq!(answer("linux-image-6.1.0-9-amd64-unsigned", false), InUse::Loaded);
        assert_eq!(answer("linux-image-6.1.0-8-amd64", false), InUse::NotLoaded);
        assert_eq!(answer("linux-image-amd64", false), InUse::Unknown);
        assert_eq!(answer("linux-image-6.1.0-9-amd64", true), InUse::Unknown);
    }
}
