//! Files of a root: dpkg's status, apt's configuration and pins, process maps, socket tables.

use super::{Target, texts_of};
use fother_host::{
    apt::{conf::Conf, pattern::Pattern, pins::Pins},
    dpkg, inventory, processes,
    root::Root,
    sockets,
};
use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
};

pub const ALL: &[Target] = &[
    Target { name: "dpkg-status", run: status, seeds: || texts_of(&[STATUS]) },
    Target {
        name: "apt-conf",
        run: conf,
        seeds: || texts_of(&["APT { Default-Release \"stable\"; Get::X { \"a\"; }; };\n/* x */ // y\n#clear A;\n"]),
    },
    Target {
        name: "apt-pins",
        run: pins,
        seeds: || {
            texts_of(&[
                "Package: *\nPin: release a=stable, l=x\nPin-Priority: 900\n\nPackage: /a.*b/ src:x\nPin: version 1.*\nPin-Priority: -1\n",
            ])
        },
    },
    Target { name: "pattern", run: pattern, seeds: || texts_of(&["/a(b|c)*$/\nabc", "lib*-dev\nlibx-dev"]) },
    Target { name: "os-release", run: os_release, seeds: || texts_of(&["ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME='bookworm'\n"]) },
    Target { name: "maps", run: maps, seeds: || texts_of(&["7f00-7f01 r-xp 0000 08:01 123   /usr/lib/x.so (deleted)\n"]) },
    Target {
        name: "sockets",
        run: tables,
        seeds: || {
            texts_of(&[
                "  sl  local_address rem_address   st\n   0: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1\n",
            ])
        },
    },
];

const STATUS: &str = "Package: dpkg\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.21.22\nConffiles:\n /etc/cron.daily/dpkg 94bb6c1363245e46256908a5d52ba4fb\n /etc/old 00000000000000000000000000000000 obsolete\n\n\
    Package: libperl5.36\nStatus: hold ok half-configured\nSource: perl (5.36.0-7)\nArchitecture: amd64\nVersion: 5.36.0-7+b1\n\n\
    Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\nPackage: odd\nStatus: install ok installed\nArchitecture: all\nVersion: x y\n";

/// A root in memory where there is such a place; each thread has its own.
pub struct Scratch {
    path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

thread_local! {
    static SCRATCH: &'static Scratch = Box::leak(Box::new(Scratch {
        path: tempfile::Builder::new()
            .prefix("fother-fuzz-")
            .tempdir_in(if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm").to_owned() } else { std::env::temp_dir() })
            .expect("a directory can be made")
            .keep(),
    }));
}

/// This thread's root.
pub fn scratch() -> &'static Scratch {
    SCRATCH.with(|scratch| *scratch)
}

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn write(&self, name: &str, data: &[u8]) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.path)).expect("a directory can be made");
        fs::write(&path, data).expect("a file can be written");
        path
    }

    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path.join(name));
    }

    fn root(&self) -> Root {
        Root::open(&self.path).expect("the root is there")
    }
}

/// What was read prints to a status file that reads the same; what could not be read is named.
fn status(data: &[u8]) {
    const FILE: &str = "var/lib/dpkg/status";
    let scratch = scratch();
    scratch.write(FILE, data);
    let database = dpkg::read(&scratch.root()).expect("the file is there");
    let stanzas = String::from_utf8_lossy(data).split("\n\n").count();
    assert!(database.packages.len() + database.unknown.len() <= stanzas + 1);
    let mut printed = String::new();
    for package in &database.packages {
        let (flag, state) = match package.broken.as_deref() {
            None => ("ok", "installed"),
            Some(state) if ["half-installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"].contains(&state) => {
                ("ok", state)
            }
            Some(flag) => (flag, "installed"),
        };
        printed += &format!(
            "Package: {}\nStatus: {} {flag} {state}\nArchitecture: {}\nVersion: {}\nSource: {} ({})\n\n",
            package.name,
            if package.held { "hold" } else { "install" },
            package.arch,
            package.version,
            package.source,
            package.source_version
        );
    }
    scratch.write(FILE, printed.as_bytes());
    let again = dpkg::read(&scratch.root()).expect("the file is there");
    assert_eq!(again.packages, database.packages, "{printed}");
    assert!(again.unknown.is_empty(), "{:?}", again.unknown);
    scratch.remove(FILE);
}

fn conf(data: &[u8]) {
    const FILE: &str = "etc/apt/apt.conf";
    let scratch = scratch();
    scratch.write(FILE, data);
    let conf = Conf::read(&scratch.root());
    let _ = (conf.get("APT::Default-Release"), conf.is_true("APT::Get::X"));
    scratch.remove(FILE);
}

fn pins(data: &[u8]) {
    let mut pins = Pins::default();
    pins.take("x", &String::from_utf8_lossy(data));
    let archive = fother_host::apt::pins::Archive::default();
    for pin in &pins.pins {
        let _ = pin.criterion.fits(&archive);
        let _ = pin.name.as_ref().map(|name| name.matches("libc6"));
    }
}

fn pattern(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some((pattern, text)) = text.split_once('\n') else { return };
    if let Ok(pattern) = Pattern::parse(pattern) {
        let _ = pattern.matches(text);
    }
}

fn os_release(data: &[u8]) {
    const FILE: &str = "etc/os-release";
    let scratch = scratch();
    scratch.write(FILE, data);
    let found = inventory::distribution(&scratch.root());
    assert!([found.id, found.version, found.codename].iter().all(|word| !word.chars().any(char::is_control)));
    scratch.remove(FILE);
}

fn maps(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    assert!(processes::mapped_code(&text, &mut HashSet::new()).len() <= text.lines().count());
}

fn tables(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for udp in [false, true] {
        assert!(sockets::listening(&text, udp, (32_768, 60_999)).len() <= text.lines().count());
    }
}
