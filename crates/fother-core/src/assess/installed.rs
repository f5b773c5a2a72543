//! What an installed Debian package counts as: the source and the release whose advisories judge it.

use super::debian_codename;

/// Under which name, version and release a package is judged.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Judged {
    /// Release in the advisory database.
    pub release: String,
    /// Source package.
    pub source: String,
    /// Source version.
    pub version: String,
    /// Why these are not the installed ones; empty where they are.
    pub because: String,
}

/// Judges a Debian package.
///
/// Two kinds would silently count as safe if they were compared as they are:
/// kernels and boot loaders that are built from a *signed* source (`linux-signed-amd64 6.1.119+1` is `linux 6.1.119-1`), and
/// backports (`1.2-3~bpo12+1` is newer than any fix of its own release; it is the next release's `1.2-3`).
#[must_use]
pub fn debian(release: &str, source: &str, version: &str) -> Judged {
    let mut judged = Judged { release: release.into(), source: source.into(), version: version.into(), because: String::new() };
    if let Some((base, suffix)) = version.rsplit_once("~bpo") {
        let number = suffix.split('+').next().and_then(|number| number.parse::<u32>().ok());
        if let Some(next) = number.and_then(|number| debian_codename(&(number + 1).to_string())) {
            judged.release = format!("debian:{next}");
            judged.because = format!("backport of {next}'s {base}");
            judged.version = base.into();
        }
    }
    if let Some((kernel, _)) = source.split_once("-signed-").filter(|(name, _)| name.starts_with("linux")) {
        if let Some((upstream, revision)) = judged.version.rsplit_once('+') {
            judged.version = format!("{upstream}-{revision}");
        }
        judged.source = kernel.into();
        let signed = format!("signed build of {kernel} {}", judged.version);
        judged.because = if judged.because.is_empty() { signed } else { format!("{signed}, {}", judged.because) };
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_kernels_and_backports_are_judged_as_what_they_are() {
        let kernel = debian("debian:bookworm", "linux-signed-amd64", "6.1.119+1");
        assert_eq!((kernel.source.as_str(), kernel.version.as_str()), ("linux", "6.1.119-1"));
        let backport = debian("debian:bookworm", "linux-signed-amd64", "6.12.9+1~bpo12+1");
        assert_eq!(backport.release, "debian:trixie");
        assert_eq!((backport.source.as_str(), backport.version.as_str()), ("linux", "6.12.9-1"));
        let plain = debian("debian:bookworm", "nano", "7.2-1+deb12u1");
        assert_eq!((plain.version.as_str(), plain.because.as_str()), ("7.2-1+deb12u1", ""));
    }
}
