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

/// How an archive can be spoilt, as a bad mirror or somebody on the way would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoil {
    /// A package's bytes are other than its index says; the index is in order.
    Package,
    /// The index of packages is other than the signed Release says.
    Index,
    /// In order and signed, but `Valid-Until` is past.
    Expired,
    /// The very first signed state again, older than what was there since.
    Replayed,
}

/// Spoils the archive of lab `name` until the next [`publish`].
///
/// # Errors
/// Where the lab does not exist, or nothing was published yet.
pub fn spoil(name: &str, how: Spoil) -> Result<()> {
    let lab = Lab::new(name)?;
    if !lab.config().exists() {
        return Err(Error::NoLab(name.into()));
    }
    let home = lab.archive();
    let _lock = lock(&home.join("lock"))?;
    let number = generation(&home).ok_or_else(|| Error::Other("nothing was published yet".into()))?;
    let (now, next) = (home.join(number.to_string()), home.join(SPOILT));
    if how == Spoil::Replayed {
        return switch(&home, &FIRST.to_string());
    }
    if next.exists() {
        fs::remove_dir_all(&next).map_err(io("remove", &next))?;
    }
    sh("cp", &["-a", &now.to_string_lossy(), &next.to_string_lossy()])?;
    match how {
        Spoil::Package => {
            for deb in fs::read_dir(next.join(pool_path("lab-site", "")).parent().unwrap_or(&next)).map_err(io("read", &next))?.flatten() {
                flip(&deb.path())?;
            }
        }
        Spoil::Index => {
            let dists = next.join("dists").join(SUITE).join("main");
            for binary in fs::read_dir(&dists).map_err(io("read", &dists))?.flatten() {
                flip(&binary.path().join("Packages"))?;
                flip(&binary.path().join("Packages.xz"))?;
            }
        }
        Spoil::Expired => {
            fs::remove_dir_all(next.join("dists")).map_err(io("remove", &next))?;
            let args = ["-u", "-d", "1 hour ago", "+Valid-Until: %a, %d %b %Y %H:%M:%S UTC"];
            index(&next, Some(String::from_utf8_lossy(&sh("date", &args)?.stdout).trim()))?;
        }
        Spoil::Replayed => {}
    }
    switch(&home, SPOILT)
}

/// Changes the last byte of a file and nothing else.
fn flip(path: &Path) -> Result<()> {
    let mut bytes = fs::read(path).map_err(io("read", path))?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    fs::write(path, bytes).map_err(io("write", path))
}

/// Number of the first state, which stays so that it can be replayed.
const FIRST: u64 = 1;
/// The state that [`spoil`] made; nothing is ever built upon it.
const SPOILT: &str = "spoilt";

/// The newest state that was published, whichever is shown now.
fn generation(home: &Path) -> Option<u64> {
    fs::read_dir(home).ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).max()
}

fn switch(home: &Path, state: &str) -> Result<()> {
    let (link, current) = (home.join("current.new"), home.join("current"));
    let _ = fs::remove_file(&link);
    symlink(state, &link).map_err(io("link", &link))?;
    fs::rename(&link, &current).map_err(io("switch", &current))
}

/// Writes the archive beside the current one and switches over at once, so that no client sees half of it.
pub(crate) fn publish_into(lab: &Lab, kind: SiteVersion) -> Result<()> {
    let home = lab.archive();
    make_dir(&home)?;
    let _lock = lock(&home.join("lock"))?;
    let number = generation(&home).unwrap_or(FIRST - 1);
    let current = home.join(number.to_string());
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
    index(&next, None)?;
    switch(&home, &(number + 1).to_string())?;
    // The one before stays: a client may be in the middle of it.
    if number > FIRST + 1 {
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

/// Writes `dists/lab` for what lies in `pool`, valid for [`VALID_SECONDS`] or with another `Valid-Until`, and signs it.
fn index(root: &Path, valid_until: Option<&str>) -> Result<()> {
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
    let mut release = String::from_utf8_lossy(&run(&mut release)?.stdout).into_owned();
    if let Some(line) = valid_until {
        let lines = release.lines().map(|old| if old.starts_with("Valid-Until:") { line } else { old });
        release = lines.fold(String::new(), |text, line| text + line + "\n");
    }
    crate::paths::write(&dists.join("InRelease"), &sign(release.as_bytes())?, 0o644)
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

    #[test]
    fn a_replay_shows_the_first_state_and_publishing_goes_on_from_the_newest() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        for number in 1..=3 {
            fs::create_dir_all(home.join(number.to_string())).unwrap();
            switch(home, &number.to_string()).unwrap();
        }
        assert_eq!(generation(home), Some(3));
        switch(home, SPOILT).unwrap();
        assert_eq!(generation(home), Some(3), "nothing is built upon a spoilt state");
        switch(home, "1").unwrap();
        assert_eq!(fs::read_link(home.join("current")).unwrap(), Path::new("1"));
        assert_eq!(generation(home), Some(3), "after a replay the newest state counts");
        fs::write(home.join("x"), b"ab").unwrap();
        flip(&home.join("x")).unwrap();
        assert_eq!(fs::read(home.join("x")).unwrap(), b"ac");
    }
}
