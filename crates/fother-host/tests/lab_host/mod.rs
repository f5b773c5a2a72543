//! Hosts for the lab tests: an overlay over one cached Debian root, entered by chroot or booted; mounts and processes below temporary directories.
#![allow(clippy::unwrap_used, dead_code, reason = "tests may panic, and each test file uses its part")]

use fother_core::{
    Digest,
    package::{Offer, UpdateClass},
    resolution::PackageChange,
};
use fother_host::manifest::{Manifest, Options};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Debian packages of the cached root.
const INCLUDE: &str = "systemd,systemd-sysv,systemd-container,dbus,nginx-light,openssl,ca-certificates,perl-base";
/// Directory inside the host that lies on the real disk.
pub const CASE: &str = "/var/lib/fother";

pub fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The cached root, built once from this machine's own apt sources.
pub fn base() -> PathBuf {
    assert!(rustix::process::geteuid().is_root(), "lab tests run as root");
    let dir = PathBuf::from(std::env::var("FOTHER_TEST_BASE").unwrap_or_else(|_| "/var/cache/fother/test-base".to_owned()));
    let lock = fs::create_dir_all(dir.parent().unwrap()).and_then(|()| fs::File::create(dir.with_extension("lock"))).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    if !dir.exists() {
        let new = dir.with_extension("new");
        let _ = fs::remove_dir_all(&new);
        run("mmdebstrap", &["--variant=minbase", &format!("--include={INCLUDE}"), "bookworm", new.to_str().unwrap()]);
        let _ = fs::remove_file(new.join("usr/sbin/policy-rc.d"));
        fs::rename(&new, &dir).unwrap();
    }
    dir
}

/// One disposable host.
pub struct Host {
    dir: tempfile::TempDir,
}

impl Host {
    pub fn new() -> Self {
        let base = base();
        let host = Self { dir: tempfile::Builder::new().prefix("fother-lab.").tempdir_in("/var/tmp").unwrap() };
        for sub in ["upper", "work", "root", "case/debs", "case/work"] {
            fs::create_dir_all(host.dir.path().join(sub)).unwrap();
        }
        fs::set_permissions(host.dir.path().join("upper"), fs::Permissions::from_mode(0o755)).unwrap();
        let layers = format!("lowerdir={},upperdir={p}/upper,workdir={p}/work", base.display(), p = host.dir.path().display());
        run("mount", &["-t", "overlay", "overlay", "-o", &layers, host.root().to_str().unwrap()]);
        fs::create_dir_all(host.root().join(&CASE[1..])).unwrap();
        fs::copy(std::env::current_exe().unwrap(), host.case().join("binary")).unwrap();
        host
    }
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }
    /// The directory that the host sees as [`CASE`].
    pub fn case(&self) -> PathBuf {
        self.dir.path().join("case")
    }
    /// Everything but the exempt paths.
    pub fn look(&self) -> Manifest {
        Manifest::take(&self.root(), &Options::default()).unwrap()
    }

    /// Runs an ignored test of this binary as root of the host, in a mount namespace of its own. (A chroot would not do: it may not make user namespaces.)
    pub fn command(&self, test: &str) -> Command {
        let script = format!(
            "set -e; mount --make-rprivate /; cd '{root}'; mount -t proc proc proc; mount --rbind /sys sys; mount --rbind /dev dev; test -c dev/null; \
             mount -t tmpfs tmpfs run; mount -t tmpfs tmpfs tmp; mount --bind '{case}' .{CASE}; \
             pivot_root . .; umount -l .; cd /; exec {CASE}/binary --exact {test} --ignored --nocapture",
            root = self.root().display(),
            case = self.case().display()
        );
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script]).stdin(Stdio::null());
        command
    }

    pub fn enter(&self, test: &str) {
        let output = self.command(test).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{test}: {text}");
    }

    /// Boots the host with systemd and runs an ignored test of this binary as a unit, then powers it off.
    pub fn boot(&self, test: &str) {
        let unit = self.dir.path().join("unit");
        let text = format!(
            "[Unit]\nDescription=Lab test\nAfter=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\n\
             ExecStart={CASE}/binary --exact {test} --ignored --nocapture\nExecStopPost=systemctl poweroff --no-block\n\
             StandardOutput=append:{CASE}/log\nStandardError=append:{CASE}/log\n"
        );
        fs::write(&unit, text).unwrap();
        let output = Command::new("systemd-nspawn")
            .args(["-b", "--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no", "--console=pipe"])
            .args(["--resolv-conf=off", "--timezone=off", "--capability=all", "-D"])
            .arg(self.root())
            .arg(format!("--bind={}:{CASE}", self.case().display()))
            .arg(format!("--bind-ro={}:/run/systemd/system/lab.service", unit.display()))
            .args(["systemd.wants=lab.service", "systemd.mask=timers.target"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let log = fs::read_to_string(self.case().join("log")).unwrap_or_default();
        assert!(log.contains("test result: ok"), "{log}\n{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Installs a package into the host before anything is tested.
    pub fn install(&self, package: &Package) {
        let deb = package.build(&self.dir.path().join("installed"));
        fs::copy(&deb, self.root().join("tmp.deb")).unwrap();
        run("chroot", &[self.root().to_str().unwrap(), "dpkg", "-i", "/tmp.deb"]);
        fs::remove_file(self.root().join("tmp.deb")).unwrap();
        // Without devices in the chroot, scripts have written a file there.
        let _ = fs::remove_file(self.root().join("dev/null"));
    }

    /// Makes a package available to the transaction.
    pub fn offer(&self, package: &Package, from: Option<&str>) -> PackageChange {
        let deb = package.build(&self.dir.path().join("built"));
        let bytes = fs::read(deb).unwrap();
        let sha256 = Digest::of_file(&bytes);
        fs::write(self.case().join(format!("debs/{}.deb", sha256.hex())), &bytes).unwrap();
        PackageChange {
            name: package.name.to_owned(),
            arch: "all".to_owned(),
            source: package.name.to_owned(),
            from: from.map(|version| version.parse().unwrap()),
            to: Some(package.version.parse().unwrap()),
            offer: Some(Offer {
                origin: "lab".to_owned(),
                label: "lab".to_owned(),
                suite: "lab".to_owned(),
                uri: "file:/lab".to_owned(),
                filename: "x.deb".to_owned(),
                size: bytes.len() as u64,
                sha256,
            }),
            class: UpdateClass::Bugfix,
            closes: Vec::new(),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.root()).status();
    }
}

/// A package made for a test.
#[derive(Clone, Copy, Default)]
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub depends: &'static str,
    /// Path and content; below `/etc` a configuration file; below `/usr/lib/*/bin` executable.
    pub files: &'static [(&'static str, &'static str)],
    pub postinst: &'static str,
}

impl Package {
    pub fn build(&self, into: &Path) -> PathBuf {
        let dir = into.join(format!("{}_{}", self.name, self.version));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(dir.join("DEBIAN")).unwrap();
        let mut conffiles = String::new();
        for (path, text) in self.files {
            let file = dir.join(&path[1..]);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(if path.contains("/bin/") { 0o755 } else { 0o644 })).unwrap();
            if path.starts_with("/etc/") {
                conffiles.push_str(&format!("{path}\n"));
            }
        }
        let depends = if self.depends.is_empty() { String::new() } else { format!("Depends: {}\n", self.depends) };
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: all\nMaintainer: Lab <lab@example.org>\nSection: misc\nPriority: optional\n{depends}Description: made for a test\n",
            self.name, self.version
        );
        fs::write(dir.join("DEBIAN/control"), control).unwrap();
        fs::write(dir.join("DEBIAN/conffiles"), conffiles).unwrap();
        if !self.postinst.is_empty() {
            fs::write(dir.join("DEBIAN/postinst"), format!("#!/bin/sh\nset -e\n{}\n", self.postinst)).unwrap();
            fs::set_permissions(dir.join("DEBIAN/postinst"), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let deb = into.join(format!("{}_{}.deb", self.name, self.version));
        run("dpkg-deb", &["--root-owner-group", "-b", dir.to_str().unwrap(), deb.to_str().unwrap()]);
        deb
    }
}
