//! Roots of other distributions: rpm's and apk's package databases, found at their usual places. Reads the root only.

use crate::{
    inventory::read_distribution,
    root::{Error, Root},
};
use fother_core::{apkdb, rpmdb, sbom::Sbom};

/// Where rpm keeps its database, the newest form first.
const RPM: [&str; 7] = [
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/var/lib/rpm/Packages.db",
    "/usr/share/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages",
    "/var/lib/rpm/Packages",
];
const APK: &str = "/lib/apk/db/installed";
const DPKG: [&str; 2] = ["/var/lib/dpkg/status", "/var/lib/dpkg/status.d"];
const APK_BYTES_MAX: usize = 256 << 20;

fn rpm_path(root: &Root) -> Option<&'static str> {
    RPM.into_iter().find(|path| root.exists(path))
}

/// Whether a root's packages are rpm's or apk's. A machine with dpkg may have the tools of others; dpkg counts there.
#[must_use]
pub fn is_there(root: &Root) -> bool {
    !DPKG.iter().any(|path| root.exists(path)) && (rpm_path(root).is_some() || root.exists(APK))
}

/// What is installed; `None` where the root is dpkg's or nobody's. A database that cannot be read is named, not dropped.
#[must_use]
pub fn read(root: &Root) -> Option<Sbom> {
    if !is_there(root) {
        return None;
    }
    let mut sbom = Sbom { form: "root".into(), ..Sbom::default() };
    sbom.distribution = Some(read_distribution(root, &mut sbom.unknown));
    if let Some(path) = rpm_path(root) {
        rpm(root, path, &mut sbom);
    }
    if root.exists(APK) {
        match root.text(APK, APK_BYTES_MAX) {
            Ok(text) => {
                let (packages, unknown) = apkdb::parse(&text);
                sbom.components.extend(packages);
                sbom.unknown.extend(unknown);
            }
            Err(error) => sbom.unknown.push(format!("apk's packages: {error}")),
        }
    }
    Some(sbom)
}

fn rpm(root: &Root, path: &str, sbom: &mut Sbom) {
    let content = root.read(path, rpmdb::DATABASE_BYTES_MAX).map_err(|error: Error| error.to_string());
    match content.and_then(|bytes| rpmdb::parse(&bytes)) {
        Ok(content) => {
            sbom.components.extend(content.packages);
            sbom.unknown.extend(content.unknown);
        }
        Err(why) => sbom.unknown.push(format!("rpm's packages: {path}: {why}")),
    }
    // What was written last may stand in the write-ahead log only.
    let log = format!("{path}-wal");
    if root.read(&log, 0).is_err_and(|error| matches!(error, Error::TooLarge { .. })) {
        sbom.unknown.push(format!("rpm's packages: {log} is not empty: run `rpm -q rpm` on that system once, then look again"));
    }
}

/// Calls `file` with the path of each file that a package of rpm or apk has.
///
/// # Errors
/// Where a database cannot be read.
pub fn files(root: &Root, mut file: impl FnMut(String)) -> Result<(), String> {
    if let Some(path) = rpm_path(root) {
        let bytes = root.read(path, rpmdb::DATABASE_BYTES_MAX).map_err(|error| error.to_string())?;
        rpmdb::files(&bytes, &mut file)?;
    }
    if root.exists(APK) {
        apkdb::files(&root.text(APK, APK_BYTES_MAX).map_err(|error| error.to_string())?).for_each(file);
    }
    Ok(())
}
