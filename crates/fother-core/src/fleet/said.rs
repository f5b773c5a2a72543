//! What the database says about one source package, read once and asked for many versions.

use crate::{
    advisory::{
        Bytes, Status,
        format::{Claim, Subject, Text},
        reader::{Database, Error, ReleaseInfo},
    },
    assess::within,
    version::scheme::Scheme,
};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
};

/// One claim with what it speaks of: its vulnerabilities, or the advisory itself where it names none.
#[derive(Debug)]
struct Claimed {
    claim: Claim,
    subjects: std::rc::Rc<[Subject]>,
}

/// All that is said about a package of a release.
#[derive(Debug)]
pub(super) struct Said {
    scheme: Scheme,
    claims: Vec<Claimed>,
    /// Limits of ranges, each once.
    limits: HashMap<Text, String>,
}

/// What is said about one version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Vulnerabilities, or advisories that name none, with the highest fixed version where one is published.
    pub(super) unmet: BTreeMap<Subject, Unmet>,
    /// A limit that the version cannot be compared with.
    pub(super) incomparable: Option<String>,
}

/// One vulnerability of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unmet {
    pub(super) status: Status,
    pub(super) fixed: Text,
}

impl Said {
    /// Reads what is said about a package; only about one subject where `only` names it, with what claims on it are made of ([`Database::naming`]).
    pub(super) fn read<B: Bytes>(
        db: &Database<B>,
        release: &ReleaseInfo,
        name: &str,
        only: Option<(Subject, &[Subject])>,
    ) -> Result<Self, Error> {
        let mut said = Self { scheme: release.scheme, claims: Vec::new(), limits: HashMap::new() };
        let mut known: HashMap<Subject, std::rc::Rc<[Subject]>> = HashMap::new();
        for claim in db.claims(&release.record, name)? {
            if only.is_some_and(|(_, naming)| naming.binary_search(&claim.subject).is_err()) {
                continue;
            }
            let subjects = match known.get(&claim.subject) {
                Some(subjects) => subjects.clone(),
                None => {
                    let vulns = db.vulns_of(claim.subject)?;
                    let subjects: std::rc::Rc<[Subject]> =
                        if vulns.is_empty() { [claim.subject].into() } else { vulns.into_iter().map(Subject::Vuln).collect() };
                    known.insert(claim.subject, subjects.clone());
                    subjects
                }
            };
            let subjects = match only {
                Some((Subject::Vuln(at), _)) => [Subject::Vuln(at)].into(),
                Some((Subject::Advisory(_), _)) | None => subjects,
            };
            for text in [claim.introduced, claim.end].into_iter().filter(|text| *text != Text::default()) {
                if let Entry::Vacant(new) = said.limits.entry(text) {
                    new.insert(db.text(text)?);
                }
            }
            said.claims.push(Claimed { claim, subjects });
        }
        Ok(said)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    pub(super) fn text(&self, text: Text) -> &str {
        self.limits.get(&text).map(String::as_str).unwrap_or_default()
    }

    /// Judges one version by the rules of [`crate::assess::package`], which `tests` compares it with.
    pub(super) fn judge(&self, version: &str) -> Result<Verdict, Error> {
        let orders: HashMap<Text, Option<Ordering>> =
            self.limits.iter().map(|(text, limit)| (*text, self.scheme.compare(version, limit))).collect();
        let mut verdict = Verdict::default();
        let (mut left_out, mut cleared) = (BTreeSet::<Subject>::new(), BTreeMap::<Subject, BTreeSet<u16>>::new());
        let mut feeds: BTreeMap<Subject, BTreeSet<u16>> = BTreeMap::new();
        for Claimed { claim, subjects } in &self.claims {
            match within(self.scheme, claim, &mut |text| Ok(orders.get(&text).copied().flatten()))? {
                Some(false) => {}
                None => {
                    let limits = format!("{} {}", self.text(claim.introduced), self.text(claim.end));
                    verdict.incomparable = Some(limits.trim().to_owned());
                }
                Some(true) if claim.is_gap() => left_out.extend(subjects.iter()),
                Some(true) if claim.status == Status::NotAffected => {
                    subjects.iter().for_each(|subject| _ = cleared.entry(*subject).or_default().insert(claim.feed));
                }
                Some(true) => {
                    for subject in subjects.iter().filter(|subject| !self.is_replaced(claim, **subject)) {
                        feeds.entry(*subject).or_default().insert(claim.feed);
                        self.gather(&mut verdict.unmet, *subject, claim);
                    }
                }
            }
        }
        verdict.unmet.retain(|subject, _| {
            let other = |said: &BTreeSet<u16>| feeds.get(subject).is_none_or(|own| !said.is_subset(own));
            !matches!(subject, Subject::Vuln(_)) || !(left_out.contains(subject) || cleared.get(subject).is_some_and(other))
        });
        Ok(verdict)
    }

    /// Whether a published fix takes the place of what a claim says of a vulnerability.
    fn is_replaced(&self, claim: &Claim, subject: Subject) -> bool {
        let fixed = |free: bool| {
            let counts = |known: &&Claimed| known.claim.status == Status::Fixed && !(free && known.claim.flags & Claim::PAID != 0);
            self.claims.iter().filter(counts).any(|known| known.subjects.contains(&subject))
        };
        matches!(subject, Subject::Vuln(_))
            && (claim.flags & Claim::UNTIL_FIXED != 0 && fixed(false) || claim.flags & Claim::PAID != 0 && fixed(true))
    }

    fn gather(&self, unmet: &mut BTreeMap<Subject, Unmet>, subject: Subject, claim: &Claim) {
        let fixed = if claim.flags & Claim::LAST_AFFECTED == 0 { claim.end } else { Text::default() };
        let found = unmet.entry(subject).or_insert(Unmet { status: claim.status, fixed: Text::default() });
        // A published fix says more than an open status of another feed.
        found.status = if fixed == Text::default() { found.status.min(claim.status) } else { Status::Fixed };
        let higher = || self.scheme.compare(self.text(fixed), self.text(found.fixed)).is_some_and(Ordering::is_gt);
        if fixed != Text::default() && (found.fixed == Text::default() || higher()) {
            found.fixed = fixed;
        }
    }
}
