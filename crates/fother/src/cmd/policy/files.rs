//! The files of a policy on disk: `fother.toml`, and `policies/*.toml` beside it. Reads them, and nothing else.

use crate::failure::{Failure, USAGE};
use fother_core::policy::{
    Policy, PolicyError, Source,
    read::{SOURCE_BYTES_MAX, SOURCES_MAX},
};
use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// A policy's files, by the names under which people know them.
#[derive(Debug)]
pub struct Files(Vec<(String, String)>);

impl Files {
    /// Reads them. `at` is the directory, or the file `fother.toml` in it.
    pub fn read(at: &Path) -> Result<Self, Failure> {
        let main = if at.is_dir() { at.join("fother.toml") } else { at.to_owned() };
        let beside = main.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).join("policies");
        let mut paths = Vec::new();
        match std::fs::read_dir(&beside) {
            Ok(entries) => {
                for entry in entries.take(SOURCES_MAX * 4) {
                    let path = entry.map_err(|error| unreadable(&beside, &error))?.path();
                    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
                    if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
                        paths.push(path);
                    }
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&beside, &error)),
        }
        paths.sort();
        if main.exists() || paths.is_empty() {
            paths.insert(0, main.clone());
        }
        let dir = main.parent().map(Path::to_owned).unwrap_or_default();
        paths.iter().map(|path| Ok((shown(&dir, path), text(path)?))).collect::<Result<_, Failure>>().map(Self)
    }

    /// What they say.
    pub fn parse(&self) -> Result<Policy, PolicyError> {
        let sources: Vec<Source<'_>> = self.0.iter().map(|(name, text)| Source { name, text }).collect();
        fother_core::policy::read(&sources)
    }

    /// Their names and texts.
    pub fn texts(self) -> Vec<(String, String)> {
        self.0
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// What the files say; a failure that names every fault.
pub fn policy(at: &Path) -> Result<Policy, Failure> {
    let files = Files::read(at)?;
    files.parse().map_err(|error| Failure::new(USAGE, error.to_string(), "mend it, and see `fother policy check`"))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(USAGE, format!("{} cannot be read: {error}", path.display()), "write one; see the README")
}

/// The name below the directory, for people.
fn shown(dir: &Path, path: &Path) -> String {
    path.strip_prefix(dir).unwrap_or(path).display().to_string()
}

fn text(path: &PathBuf) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(SOURCE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::new(USAGE, format!("{} is not UTF-8 from byte {at} on", path.display()), "save it as UTF-8")
    })
}
