//! A local archive of exactly the packages of one transaction; writes below the transaction's work directory.

use super::{ApplyError, Transaction, command, io_at};
use fother_core::{Digest, deb822::Stanza, resolution::PackageChange};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const DPKG_DEB_S_MAX: u64 = 60;

/// Where a verified package lies.
pub(super) fn deb(debs: &Path, change: &PackageChange) -> Option<PathBuf> {
    change.offer.as_ref().filter(|_| change.to.is_some()).map(|offer| debs.join(format!("{}.deb", offer.sha256.hex())))
}

/// Makes `work/repo` with its `Packages` and `Release`, and returns its directory.
pub(super) fn build(tx: &Transaction) -> Result<PathBuf, ApplyError> {
    let repo = tx.work.join("repo");
    if repo.exists() {
        fs::remove_dir_all(&repo).map_err(io_at(repo.display().to_string()))?;
    }
    fs::create_dir_all(&repo).map_err(io_at(repo.display().to_string()))?;
    let mut packages = String::new();
    for change in &tx.changes {
        let Some(from) = deb(&tx.debs, change) else { continue };
        let stanza = stanza(change, &from)?;
        let Some((version, offer)) = change.to.as_ref().zip(change.offer.as_ref()) else { continue };
        let name = file_name(change, version.as_str());
        let to = repo.join(&name);
        if fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).map_err(io_at(from.display().to_string()))?;
        }
        let size = fs::metadata(&to).map_err(io_at(to.display().to_string()))?.len();
        let _ = write!(packages, "{}\nFilename: ./{name}\nSize: {size}\nSHA256: {}\n\n", stanza.trim_end(), offer.sha256.hex());
    }
    let release = format!(
        "Origin: fother\nLabel: fother\nDate: Thu, 01 Jan 1970 00:00:00 UTC\nSHA256:\n {} {} Packages\n",
        Digest::of_file(packages.as_bytes()).hex(),
        packages.len()
    );
    fs::write(repo.join("Packages"), packages).map_err(io_at("Packages"))?;
    fs::write(repo.join("Release"), release).map_err(io_at("Release"))?;
    Ok(repo)
}

/// A name without `:` and `%`: versions of apt differ in how often they encode and decode those on the way to a file.
fn file_name(change: &PackageChange, version: &str) -> String {
    format!("{}_{}_{}.deb", change.name, version.replace([':', '%'], "_"), change.arch)
}

/// The package's own control data, which must say what the plan says.
fn stanza(change: &PackageChange, deb: &Path) -> Result<String, ApplyError> {
    let text = command::output(command::tool("dpkg-deb").arg("-f").arg(deb), DPKG_DEB_S_MAX)?;
    let fields = Stanza::parse(&text);
    let wanted =
        [("Package", change.name.as_str()), ("Version", change.to.as_ref().map_or("", |v| v.as_str())), ("Architecture", &change.arch)];
    for (field, value) in wanted {
        if fields.get(field) != Some(value) {
            let found = fields.get(field).unwrap_or("nothing");
            return Err(ApplyError::Request(format!("{} says {field} {found}, the plan says {value}", deb.display())));
        }
    }
    if text.contains("\n\n") {
        return Err(ApplyError::Request(format!("{} holds more than one stanza of control data", deb.display())));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_hold_nothing_that_apt_would_encode_in_its_own_way() {
        let change = PackageChange {
            name: "libcap2".to_owned(),
            arch: "amd64".to_owned(),
            source: "libcap2".to_owned(),
            from: None,
            to: None,
            offer: None,
            class: fother_core::package::UpdateClass::Bugfix,
            closes: Vec::new(),
        };
        assert_eq!(file_name(&change, "1:2.66-4+deb12u3+b1"), "libcap2_1_2.66-4+deb12u3+b1_amd64.deb");
    }
}
