//! What vendors say about one package and one vulnerability, whether the installed version is affected or not. Pure.
//!
//! [`super::package`] lists what is wrong; this answers the opposite question: on whose word is it *not*?

use super::within;
use crate::{
    advisory::{
        Bytes, Day, Status,
        format::{Claim, Subject, Text},
        reader::{Database, Error, ReleaseInfo},
    },
    version::scheme::Scheme,
};
use std::collections::BTreeMap;

/// One vendor's word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What is said.
    pub status: Status,
    /// Whether the version lies in the affected range; `None` where versions cannot be compared.
    pub affected: Option<bool>,
    /// First version that is not affected any more, where one is named.
    pub fixed: Option<String>,
    /// The advisory, where there is one.
    pub advisory: Option<String>,
    /// Its publication.
    pub date: Day,
    /// Position of the feed that says it.
    pub feed: u16,
    /// The vendor's remark.
    pub note: String,
}

/// All that is said about one package of a release, by the ids of vulnerabilities and advisories.
#[derive(Debug, Default)]
pub struct Said {
    by_id: BTreeMap<String, Vec<Claim>>,
    scheme: Option<Scheme>,
}

impl Said {
    /// Reads what is said about a package.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn about<B: Bytes>(db: &Database<B>, release: &ReleaseInfo, package: &str) -> Result<Self, Error> {
        let mut by_id: BTreeMap<String, Vec<Claim>> = BTreeMap::new();
        for claim in db.claims(&release.record, package)? {
            if let Subject::Advisory(at) = claim.subject {
                by_id.entry(db.advisory(at)?.id).or_default().push(claim);
            }
            for vuln in db.vulns_of(claim.subject)? {
                by_id.entry(db.vuln(vuln)?.id).or_default().push(claim);
            }
        }
        Ok(Self { by_id, scheme: Some(release.scheme) })
    }

    /// Whether anything at all is said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What is said about a vulnerability that goes by any of these ids, for one version.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn of<B: Bytes>(&self, db: &Database<B>, version: &str, ids: &[&str]) -> Result<Vec<Evidence>, Error> {
        let Some(scheme) = self.scheme else { return Ok(Vec::new()) };
        let mut claims: Vec<&Claim> = ids.iter().filter_map(|id| self.by_id.get(*id)).flatten().collect();
        claims.sort();
        claims.dedup();
        claims.into_iter().map(|claim| evidence(db, scheme, claim, version)).collect()
    }
}

fn evidence<B: Bytes>(db: &Database<B>, scheme: Scheme, claim: &Claim, version: &str) -> Result<Evidence, Error> {
    let mut order = |text: Text| Ok(scheme.compare(version, &db.text(text)?));
    let ends = claim.end != Text::default() && claim.flags & Claim::LAST_AFFECTED == 0;
    let advisory = match claim.subject {
        Subject::Advisory(at) => Some(db.advisory(at)?),
        Subject::Vuln(_) => None,
    };
    Ok(Evidence {
        status: claim.status,
        affected: within(scheme, claim, &mut order)?,
        fixed: ends.then(|| db.text(claim.end)).transpose()?,
        date: advisory.as_ref().map(|advisory| advisory.date).unwrap_or_default(),
        advisory: advisory.map(|advisory| advisory.id),
        feed: claim.feed,
        note: db.text(claim.note)?,
    })
}
