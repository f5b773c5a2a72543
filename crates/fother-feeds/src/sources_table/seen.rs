//! What an earlier update fetched, so that the next one asks only for what changed (RFC 9110, section 13). Touches one file of the feeds' directory.

use crate::{
    compile,
    fetch::Validators,
    intake::{Intake, IntakeError},
};
use fother_core::Digest;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

const FILE: &str = "fetched.json";

/// One address as it was when it was fetched last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// SHA-256 of what came.
    pub digest: Digest,
    /// What its server said it is.
    #[serde(default)]
    pub validators: Validators,
}

/// Answers by address, and the feeds that are kept.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    answers: BTreeMap<String, Answer>,
    /// Origins and digests of the feeds in use: an answer that was refused, or whose feed is gone, is asked for again.
    kept: BTreeSet<(String, Digest)>,
}

fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

impl Seen {
    /// What a feeds' directory knows; a list that cannot be read knows nothing.
    ///
    /// # Errors
    /// Where the list of feeds cannot be read.
    pub fn of(dir: &Path) -> Result<Self, IntakeError> {
        let answers = std::fs::read(path(dir)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let kept = Intake::new(dir).kept()?.into_values().map(|feed| (feed.origin, feed.digest)).collect();
        Ok(Self { answers, kept })
    }

    /// The last answer of an address, while its feed is in use.
    #[must_use]
    pub fn last(&self, url: &str) -> Option<&Answer> {
        self.answers.get(url).filter(|answer| self.kept.contains(&(url.to_owned(), answer.digest)))
    }

    /// Takes answers in and writes the list.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(mut self, new: BTreeMap<String, Answer>, dir: &Path) -> std::io::Result<()> {
        self.answers.extend(new);
        compile::write(&path(dir), &serde_json::to_vec_pretty(&self.answers)?)
    }
}
