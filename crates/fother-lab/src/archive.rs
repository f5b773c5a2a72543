//! The lab's own signed archive: builds packages, writes the suite `lab` and signs it. Touches the lab's data and the lab's key.

use crate::error::{Error, Result, io};
use crate::paths::{Lab, cache, make_dir};
use crate::run::{command, run, run_with_input, sh};
use crate::site::{self, Package, SiteVersion};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// How long a signed index is valid, in seconds: seven days.
pub const VALID_SECONDS: u64 = 7 * 24 * 3600;
/// The suite's name.
pub const SUITE: &str = "lab";
/// What every file of a package is dated, in seconds since 1970, so that one version is one digest.
const PACKAGE_EPOCH: &str = "1717405200";

/// Puts `kind` into the archive of lab `name`, in the place of every version that is not older, and signs the archive anew.
///
/// # Errors
/// Where the lab does not exist, or a package cannot be built or signed.
pub fn publish(name: &str, kind: SiteVersion) -> Result<()> {
    let lab = Lab::new(name)?;
    if !lab.config().exists() {
        return Err(Error::NoLab(name.into()));
    }
    publish_into(&lab, kind)
}

/// Writes the archive beside the current one and switches over at once, so that no client sees half of it.
pub(crate) fn publish_into(lab: &Lab, kind: SiteVersion) -> Result<()> {
    let home = lab.archive();
    make_dir(&home)?;
    let _lock = lock(&home.join("lock"))?;
    let current = home.join("current");
    let before = fs::read_link(&current).ok();
    let number: u64 = before.as_ref().and_then(|b| b.to_str()?.parse().ok()).unwrap_or(0);
    let next = home.join((number + 1).to_string());
    if next.exists() {
        fs::remove_dir_all(&next).map_err(io("remove", &next))?;
    }
    for old in SiteVersion::ALL.into_iter().filter(|v| *v < kind) {
        let from = current.join(pool_path("lab-site", old.version()));
        if from.exists() {
            let to = next.join(pool_path("lab-site", old.version()));
            fs::create_dir_all(to.parent().unwrap_or(&next)).map_err(io("make", &next))?;
            fs::hard_link(&from, &to).map_err(io("link", &to))?;
        }
    }
    for package in [site::site(kind), site::worker()] {
        build(&package, &next.join(pool_path(package.name, package.version)))?;
    }
    index(&next)?;
    let link = home.join("current.new");
    let _ = fs::remove_file(&link);
    symlink((number + 1).to_string(), &link).map_err(io("link", &link))?;
    fs::rename(&link, &current).map_err(io("switch", &current))?;
    // The one before stays: a client may be in the middle of it.
    if number > 1 {
        let _ = fs::remove_dir_all(home.join((number - 1).to_string()));
    }
    Ok(())
}

fn pool_path(name: &str, version: &str) -> String {
    format!("pool/main/l/{name}/{name}_{version}_all.deb")
}

/// Builds one package into `deb`.
pub(crate) fn build(package: &Package, deb: &Path) -> Result<()> {
    let parent = deb.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(io("make", parent))?;
    let tree = deb.with_extension("tree");
    let _ = fs::remove_dir_all(&tree);
    let doc = format!("usr/share/doc/{}", package.name);
    for dir in ["DEBIAN", &doc] {
        let dir = tree.join(dir);
        fs::create_dir_all(&dir).map_err(io("make", &dir))?;
    }
    let gzip = run_with_input(command("gzip").args(["-9nc"]), package.changelog.as_bytes())?;
    let plain = |mode| fs::Permissions::from_mode(mode);
    let put = |path: &str, bytes: &[u8], mode: u32| -> Result<()> {
        let path = tree.join(path);
        let parent = path.parent().unwrap_or(&tree);
        fs::create_dir_all(parent).map_err(io("make", parent))?;
        fs::write(&path, bytes).map_err(io("write", &path))?;
        fs::set_permissions(&path, plain(mode)).map_err(io("set the mode of", &path))
    };
    put(&format!("{doc}/changelog.Debian.gz"), &gzip.stdout, 0o644)?;
    put("DEBIAN/control", package.control.as_bytes(), 0o644)?;
    for (path, content, mode) in &package.files {
        put(path, content.as_bytes(), *mode)?;
    }
    sh("chmod", &["-R", "go-w,a+rX", &tree.to_string_lossy()])?;
    let mut pack = command("dpkg-deb");
    pack.env("SOURCE_DATE_EPOCH", PACKAGE_EPOCH).args(["--root-owner-group", "-Zxz", "--build"]).arg(&tree).arg(deb);
    run(&mut pack)?;
    fs::remove_dir_all(&tree).map_err(io("remove", &tree))
}

/// Writes `dists/lab` for what lies in `pool`, and signs it.
fn index(root: &Path) -> Result<()> {
    let arch = String::from_utf8_lossy(&sh("dpkg", &["--print-architecture"])?.stdout).trim().to_string();
    let dists = root.join("dists").join(SUITE);
    let binary = dists.join("main").join(format!("binary-{arch}"));
    fs::create_dir_all(&binary).map_err(io("make", &binary))?;
    let packages = run(command("apt-ftparchive").args(["packages", "pool"]).current_dir(root))?.stdout;
    crate::paths::write(&binary.join("Packages"), &packages, 0o644)?;
    let xz = run_with_input(command("xz").args(["-c"]), &packages)?;
    crate::paths::write(&binary.join("Packages.xz"), &xz.stdout, 0o644)?;
    let fields = [
        ("Origin", "Fother-Lab"),
        ("Label", "Fother-Lab"),
        ("Suite", SUITE),
        ("Codename", SUITE),
        ("Components", "main"),
        ("Architectures", arch.as_str()),
    ];
    let mut release = command("apt-ftparchive");
    for (field, value) in fields {
        release.args(["-o", &format!("APT::FTPArchive::Release::{field}={value}")]);
    }
    release.args(["-o", &format!("APT::FTPArchive::Release::ValidTime={VALID_SECONDS}"), "release"]).arg(&dists);
    let release = run(&mut release)?.stdout;
    crate::paths::write(&dists.join("InRelease"), &sign(&release)?, 0o644)
}

fn gnupg() -> PathBuf {
    cache().join("key")
}

/// Makes the lab's key once for this cache, and returns its public half in binary form.
pub(crate) fn public_key() -> Result<Vec<u8>> {
    make_dir(&cache())?;
    let _lock = lock(&cache().join("key.lock"))?;
    let public = cache().join("key.gpg");
    if !public.exists() {
        let _ = fs::remove_dir_all(gnupg());
        make_dir(&gnupg())?;
        gpg(&["--quick-gen-key", "Fother Lab <lab@fother.invalid>", "ed25519", "sign", "never"], b"")?;
        let key = gpg(&["--export"], b"")?;
        crate::paths::write(&public, &key, 0o644)?;
    }
    fs::read(&public).map_err(io("read", &public))
}

/// Signs in the clear, as an InRelease file is.
fn sign(text: &[u8]) -> Result<Vec<u8>> {
    let _lock = lock(&cache().join("key.lock"))?;
    gpg(&["--digest-algo", "SHA256", "--clearsign"], text)
}

fn gpg(args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let mut gpg = command("gpg");
    gpg.env("GNUPGHOME", gnupg()).args(["--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--passphrase", ""]).args(args);
    let output = run_with_input(&mut gpg, input);
    // gpg starts an agent of its own: it must not outlive the call.
    let _ = run(command("gpgconf").env("GNUPGHOME", gnupg()).args(["--kill", "all"]));
    let output = output?;
    if output.status.success() { Ok(output.stdout) } else { Err(crate::run::failed(&gpg, &output.status.to_string(), &output.stderr)) }
}

/// Waits for the lock file and holds it until dropped.
pub(crate) fn lock(path: &Path) -> Result<fs::File> {
    let file = fs::OpenOptions::new().create(true).append(true).open(path).map_err(io("open", path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(|e| io("lock", path)(e.into()))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_the_same_bytes_each_time_it_is_built() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a/x.deb"), dir.path().join("b/x.deb"));
        build(&site::site(SiteVersion::Good), &a).unwrap();
        build(&site::site(SiteVersion::Good), &b).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        let fields = sh("dpkg-deb", &["--field", a.to_str().unwrap(), "Package", "Version"]).unwrap().stdout;
        assert_eq!(String::from_utf8_lossy(&fields), "Package: lab-site\nVersion: 1.1\n");
        let list = sh("dpkg-deb", &["--contents", a.to_str().unwrap()]).unwrap().stdout;
        assert!(String::from_utf8_lossy(&list).contains("-rwxr-xr-x root/root"), "{}", String::from_utf8_lossy(&list));
    }
}
