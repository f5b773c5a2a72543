//! Which lines of a package manager's output are public: those that a package's own scripts hold, and dpkg's about the packages; reads packages.

use super::{
    Transaction,
    dpkg::{Part, each_file},
    repo,
};
use std::{collections::BTreeSet, io::Read};

/// Largest script that is read, in bytes.
const SCRIPT_BYTES_MAX: u64 = 1 << 20;
/// Longest number that stands for itself, in digits: exit codes and counts.
const NUMBER_DIGITS_MAX: usize = 5;
/// Signs around a word that do not belong to it.
const AROUND: [char; 8] = ['(', ')', ':', ';', ',', '[', ']', '\''];

/// What dpkg and apt say about packages; `%` stands for a package, a version or a number.
const KNOWN: &[&str] = &[
    "reading package lists...",
    "building dependency tree...",
    "reading state information...",
    "calculating upgrade...",
    "the following packages will be upgraded:",
    "the following new packages will be installed:",
    "% upgraded, % newly installed, % to remove and % not upgraded.",
    "unpacking % (%) over (%) ...",
    "unpacking % (%) ...",
    "setting up % (%) ...",
    "processing triggers for % (%) ...",
    "dpkg: error processing package % (--configure):",
    "dpkg: error processing package % (--unpack):",
    "dpkg: error processing package % (--install):",
    "dpkg: dependency problems prevent configuration of %:",
    "dependency problems - leaving unconfigured",
    "installed % package post-installation script subprocess returned error exit status %",
    "new % package pre-installation script subprocess returned error exit status %",
    "old % package pre-removal script subprocess returned error exit status %",
    "new % package pre-removal script subprocess returned error exit status %",
    "old % package post-removal script subprocess returned error exit status %",
    "installed % package post-installation script subprocess was killed by signal (killed)",
    "errors were encountered while processing:",
    "e: sub-process /usr/bin/dpkg returned an error code (%)",
];

/// What is public about one transaction.
pub(crate) struct Public {
    scripts: String,
    words: BTreeSet<String>,
}

impl Public {
    /// Reads the scripts of the transaction's packages; what cannot be read is not public.
    pub(crate) fn of(tx: &Transaction) -> Self {
        let (mut scripts, mut words) = (String::new(), BTreeSet::new());
        for change in &tx.changes {
            words.extend([change.name.clone(), format!("{}:{}", change.name, change.arch)]);
            words.extend([&change.from, &change.to].into_iter().flatten().map(|version| version.as_str().to_owned()));
            let Some(deb) = repo::deb(&tx.debs, change) else { continue };
            let read = each_file(&deb, Part::Control, |_, entry| {
                entry.take(SCRIPT_BYTES_MAX).read_to_string(&mut scripts).map(|_| true).or(Ok(true))
            });
            if let Err(error) = read {
                tracing::debug!(%error, "scripts that cannot be read are not public");
            }
        }
        Self { scripts, words }
    }

    /// Whether a line may leave the host.
    pub(crate) fn knows(&self, line: &str) -> bool {
        let line = line.trim();
        self.scripts.contains(line) || {
            let general = line.split_whitespace().map(|word| self.general(word)).collect::<Vec<_>>().join(" ").to_lowercase();
            KNOWN.contains(&general.as_str()) || general.split(' ').all(|word| word == "%")
        }
    }

    /// A word with `%` in place of a package, a version or a short number.
    fn general(&self, word: &str) -> String {
        let core = word.trim_matches(AROUND);
        let number = !core.is_empty() && core.len() <= NUMBER_DIGITS_MAX && core.bytes().all(|b| b.is_ascii_digit());
        if number || self.words.contains(core) { word.replacen(core, "%", 1) } else { word.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dpkg_says_and_what_scripts_hold_is_public_and_nothing_else() {
        let words = ["lab-site", "1.1", "1.2"].map(str::to_owned).into();
        let public = Public { scripts: "echo 'lab-site: cannot migrate' >&2\n".to_owned(), words };
        for line in [
            "Unpacking lab-site (1.2) over (1.1) ...",
            "Setting up lab-site (1.2) ...",
            "lab-site: cannot migrate",
            "dpkg: error processing package lab-site (--configure):",
            " installed lab-site package post-installation script subprocess returned error exit status 1",
            "Errors were encountered while processing:",
            " lab-site",
            "E: Sub-process /usr/bin/dpkg returned an error code (1)",
        ] {
            assert!(public.knows(line), "{line}");
        }
        for line in [
            "key = hunter2",
            "Setting up hunter2 (1.2) ...",
            "lab-site: cannot migrate hunter2",
            "123456",
            "Unpacking lab-site (hunter2) ...",
        ] {
            assert!(!public.knows(line), "{line}");
        }
    }
}
