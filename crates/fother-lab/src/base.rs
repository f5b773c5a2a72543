//! The base image that all hosts share, and a thin layer a role over it. Touches the lab's cache; kept by the digest of its recipe.

use crate::archive::{build, lock, public_key};
use crate::error::{Error, Result, io};
use crate::paths::{GATEWAY, MIRROR_PORT, cache, make_dir, write};
use crate::run::{command, run, run_lines};
use crate::site::{self, SiteVersion};
use crate::sources::{Archive, Source};
use crate::{Progress, Role};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// The suite that hosts are built from; what its security suite has newer is what makes them outdated.
pub(crate) const BASE_SUITE: &str = "bookworm";
/// Raised whenever the steps below change what comes out.
const RECIPE: &str = "fother-lab base 3";
const PACKAGES: &str = "systemd,systemd-sysv,systemd-container,dbus,nginx-light,openssl,perl,python3,libexpat1,ca-certificates,curl,\
                        iproute2,procps,acl,attr,libcap2-bin,cron,zstd,xz-utils,gpgv,init-system-helpers,kmod,less";
/// Where Debian's own keyring package puts its keys.
const DEBIAN_KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The layers of a finished image, lowest first.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    root: PathBuf,
}

impl Image {
    /// The value of overlayfs' `lowerdir` for a role: highest layer first.
    pub fn lower(&self, role: Role) -> String {
        format!("{}:{}", self.layer(role).display(), self.root.join("base").display())
    }
    fn layer(&self, role: Role) -> PathBuf {
        self.root.join(role.name())
    }
}

/// Returns the image of this recipe, building it where the cache has none.
pub(crate) fn image(archive: &Archive, progress: &mut dyn FnMut(Progress)) -> Result<Image> {
    let key = public_key()?;
    let keyring = archive.debian.signed_by.clone().unwrap_or_else(|| DEBIAN_KEYRING.into());
    let keys = fs::read(&keyring).map_err(io("read the archive's keys", &keyring))?;
    let home = cache().join("base");
    make_dir(&home)?;
    let root = home.join(digest(archive, &key, &keys));
    let _lock = lock(&home.join("lock"))?;
    if root.exists() {
        return Ok(Image { root });
    }
    remove_unfinished(&home)?;
    progress(Progress::Stage("building the base image (kept for the next time)".into()));
    let unfinished = Image { root: home.join("unfinished") };
    make_dir(&unfinished.root)?;
    bootstrap(&unfinished.root.join("base"), archive, &keyring, progress)?;
    configure(&unfinished.root.join("base"), archive, &key, &keys)?;
    for role in [Role::Web, Role::Worker] {
        progress(Progress::Line(format!("layer for role {}", role.name())));
        role_layer(&unfinished, role)?;
    }
    fs::rename(&unfinished.root, &root).map_err(io("put in place", &root))?;
    // Only now: an archive that cannot be reached must not cost the image that is there.
    sweep(&home, &root);
    Ok(Image { root })
}

fn digest(archive: &Archive, key: &[u8], keys: &[u8]) -> String {
    let mut hash = Sha256::new();
    let assets: String = [site::site(SiteVersion::First), site::worker()]
        .iter()
        .flat_map(|p| p.files.iter().map(|f| format!("{}\n{}\n{:o}\n", f.0, f.1, f.2)))
        .collect();
    let hooks = [include_str!("../assets/host/drain"), include_str!("../assets/host/undrain")].concat();
    for part in [RECIPE, PACKAGES, BASE_SUITE, &archive.debian.uri, &archive.security.uri, &assets, &hooks] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(key);
    hash.update(keys);
    hash.finalize().iter().take(16).map(|b| format!("{b:02x}")).collect()
}

fn remove_unfinished(home: &Path) -> Result<()> {
    let unfinished = home.join("unfinished");
    match fs::remove_dir_all(&unfinished) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io("remove", &unfinished)(e)),
        _ => Ok(()),
    }
}

/// Removes images that another recipe made and no lab uses.
fn sweep(home: &Path, new: &Path) {
    let in_use = fs::read_dir(cache().join("labs")).is_ok_and(|mut d| d.next().is_some());
    let entries = fs::read_dir(home).into_iter().flatten().flatten().map(|entry| entry.path());
    for other in entries.filter(|path| path.is_dir() && path != new && !in_use) {
        let _ = fs::remove_dir_all(other);
    }
}

fn bootstrap(target: &Path, archive: &Archive, keyring: &Path, progress: &mut dyn FnMut(Progress)) -> Result<()> {
    let mut make = command("mmdebstrap");
    make.env("TMPDIR", "/var/tmp").args(["--mode=root", "--variant=minbase", "--format=directory"]);
    make.arg(format!("--include={PACKAGES}")).arg(format!("--keyring={}", keyring.display()));
    if let Some(proxy) = &archive.proxy {
        make.arg(format!("--aptopt=Acquire::http::Proxy \"{proxy}\""));
    }
    make.arg(BASE_SUITE).arg(target).arg(&archive.debian.uri);
    run_lines(&mut make, &mut |line| progress(Progress::Line(line.into())))
}

fn source_text(name: &str, suite: &str, keyring: &str) -> String {
    format!("Types: deb\nURIs: http://{GATEWAY}:{MIRROR_PORT}/{name}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n")
}

fn configure(root: &Path, archive: &Archive, key: &[u8], keys: &[u8]) -> Result<()> {
    let put = |path: &str, text: &str, mode: u32| write(&root.join(path), text.as_bytes(), mode);
    for stale in ["etc/apt/sources.list", "etc/apt/apt.conf.d/99mmdebstrap", "etc/machine-id", "etc/resolv.conf"] {
        let _ = fs::remove_file(root.join(stale));
    }
    let mut keyring = DEBIAN_KEYRING.to_string();
    if fs::read(root.join(keyring.trim_start_matches('/'))).ok().as_deref() != Some(keys) {
        keyring = "/etc/apt/keyrings/lab-upstream.gpg".into();
        write(&root.join(keyring.trim_start_matches('/')), keys, 0o644)?;
    }
    write(&root.join("etc/apt/keyrings/fother-lab.gpg"), key, 0o644)?;
    let security: &Source = &archive.security;
    put("etc/apt/sources.list.d/debian.sources", &source_text("debian", &archive.debian.suite, &keyring), 0o644)?;
    put("etc/apt/sources.list.d/security.sources", &source_text("security", &security.suite, &keyring), 0o644)?;
    put("etc/apt/sources.list.d/lab.sources", &source_text("lab", "lab", "/etc/apt/keyrings/fother-lab.gpg"), 0o644)?;
    put("etc/apt/apt.conf.d/90lab", "Acquire::Languages \"none\";\n", 0o644)?;
    put("etc/machine-id", "", 0o444)?;
    for unit in ["apt-daily.timer", "apt-daily-upgrade.timer", "systemd-resolved.service", "console-getty.service", "getty.target"] {
        let link = root.join("etc/systemd/system").join(unit);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink("/dev/null", &link).map_err(io("mask", &link))?;
    }
    for dir in ["var/lib/fother", "etc/fother"] {
        fs::create_dir_all(root.join(dir)).map_err(io("make", root))?;
    }
    put("usr/local/bin/fother", "", 0o755)
}

/// Builds what a role adds, as a layer over the base.
fn role_layer(image: &Image, role: Role) -> Result<()> {
    let layer = image.layer(role);
    let (work, merged) = (image.root.join("work"), image.root.join("merged"));
    for dir in [&layer, &work, &merged] {
        fs::create_dir_all(dir).map_err(io("make", dir))?;
    }
    let package = match role {
        Role::Web => site::site(SiteVersion::First),
        Role::Worker => site::worker(),
    };
    let deb = image.root.join("package.deb");
    build(&package, &deb)?;
    let remove_nginx = "dpkg --purge nginx-light nginx nginx-common $(dpkg-query -W -f '${Package} ' 'libnginx-mod-*' 2>/dev/null)";
    let settle = match role {
        Role::Web => "printf 'greeting = hello from the lab,\\n' >>/etc/lab-site/site.conf",
        Role::Worker => remove_nginx,
    };
    // A mount namespace of its own: whatever happens, no mount stays behind.
    let script = format!(
        "set -e\nmount -t overlay overlay -o lowerdir=\"$1/base\",upperdir=\"$2\",workdir=\"$1/work\" \"$1/merged\"\n\
         cp \"$1/package.deb\" \"$1/merged/var/tmp/package.deb\"\n\
         chroot \"$1/merged\" sh -ec 'export PATH={path} DEBIAN_FRONTEND=noninteractive; dpkg -i /var/tmp/package.deb; rm /var/tmp/package.deb; {settle}'\n",
        path = crate::run::PATH,
        settle = settle.replace('\'', "'\\''"),
    );
    let mut enter = command("unshare");
    enter.args(["--mount", "--propagation", "private", "sh", "-c", &script, "sh"]).arg(&image.root).arg(&layer);
    run(&mut enter)?;
    if role == Role::Web {
        for (name, text) in [("drain", include_str!("../assets/host/drain")), ("undrain", include_str!("../assets/host/undrain"))] {
            write(&layer.join("etc/fother/hooks.d").join(name), text.as_bytes(), 0o755)?;
        }
    }
    for scratch in [&work, &merged] {
        fs::remove_dir_all(scratch).map_err(io("remove", scratch))?;
    }
    fs::remove_file(&deb).map_err(io("remove", &deb))
}

/// Makes sure that a directory can carry an overlay's upper layer.
pub(crate) fn check_cache() -> Result<()> {
    make_dir(&cache())?;
    let stat = rustix::fs::statfs(cache()).map_err(|e| io("look at", &cache())(e.into()))?;
    let free = stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(0));
    const NEEDED_BYTES: u64 = 2 << 30;
    if free < NEEDED_BYTES {
        return Err(Error::Other(format!(
            "{} has {} MiB free and the lab needs {} MiB: make room there",
            cache().display(),
            free >> 20,
            NEEDED_BYTES >> 20
        )));
    }
    Ok(())
}
