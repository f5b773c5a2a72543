//! Approvals: SSH signatures by people over exactly what will happen, counted on the host against a root-owned file.

use crate::{
    Digest, Timestamp, canonical,
    id::{ChangeId, HostId},
    mutant,
    mutant::Mutant,
    window::Interval,
};
use serde::{Deserialize, Serialize};
use ssh_key::{PublicKey, SshSig};
use std::collections::{BTreeMap, BTreeSet};

/// Namespace of the signatures (`ssh-keygen -Y sign -n fother-approval-v1`).
pub const NAMESPACE: &str = "fother-approval-v1";
/// Namespace of an author's signature over the same statement. SSH signatures bind their namespace, so that an author's never counts as an approval.
pub const AUTHOR_NAMESPACE: &str = "fother-change-v1";
/// Most signatures that are looked at.
pub const SIGNATURES_MAX: usize = 64;
/// Largest signature, armored, in bytes.
pub const SIGNATURE_BYTES_MAX: usize = 16 << 10;

/// What an approval covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Carry out the plan, and undo it until the deadline.
    Apply,
}

/// What people sign. Its canonical bytes are computed by the command line from the blobs themselves, never taken from the server on trust.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// What is allowed.
    pub action: Action,
    /// The change.
    pub change: ChangeId,
    /// The plan.
    pub plan: Digest,
    /// The rehearsal of each cohort.
    pub rehearsals: BTreeMap<Digest, Digest>,
    /// Units that no rehearsal could exercise and that the approver accepts by name.
    pub acknowledged: BTreeSet<String>,
    /// The policy.
    pub policy: Digest,
    /// The hosts, sorted.
    pub hosts: BTreeSet<HostId>,
    /// When a host may start; empty means at any time until `expires`.
    pub window: Vec<Interval>,
    /// Person who wrote the change and therefore may not approve it.
    pub author: String,
    /// Fingerprint of the key that the author signs this statement with, `SHA256:…`; no approval by it counts.
    pub author_key: String,
    /// Until when an undo is covered.
    pub undo_until: Timestamp,
    /// Until when a host may start.
    pub expires: Timestamp,
}

impl Statement {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, canonical::Error> {
        canonical::to_vec(self)
    }
}

/// A person and the keys that speak for them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Person {
    /// Opaque name; distinct names are distinct people.
    pub name: String,
    /// OpenSSH public keys.
    pub keys: Vec<String>,
}

/// Limits that a host keeps whatever is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// `Origin` fields that packages may come from.
    pub origins: BTreeSet<String>,
    /// Whether a plan may remove packages.
    #[serde(default)]
    pub removals: bool,
    /// Whether a plan may downgrade packages.
    #[serde(default)]
    pub downgrades: bool,
}

/// Whose signature it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Name in the trust file.
    pub person: String,
    /// Fingerprint of the key, `SHA256:…`.
    pub key: String,
}

/// Why a signature is no approval.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoApproval {
    /// Not a fitting signature of an approver.
    #[error("{0}")]
    Signature(String),
    /// By the author, under whatever name or key.
    #[error("{0} is the author")]
    Author(String),
}

/// Fingerprint of an OpenSSH public key, `SHA256:…`.
///
/// # Errors
/// For people: unreadable.
pub fn fingerprint(openssh: &str) -> Result<String, String> {
    let key = PublicKey::from_openssh(openssh).map_err(|error| format!("the public key cannot be read: {error}"))?;
    Ok(key.fingerprint(ssh_key::HashAlg::Sha256).to_string())
}

/// `/etc/fother/trust.toml`: who may approve, how many it takes, and the host's own limits. Root-owned; no server can write it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Distinct people needed.
    pub required: u32,
    /// The people who may approve, and write changes.
    #[serde(rename = "approver")]
    pub approvers: Vec<Person>,
    /// People who may only write changes. A change by somebody who is in neither list is refused: nobody could tell whether its author approved it, too.
    #[serde(default, rename = "author")]
    pub authors: Vec<Person>,
    /// The host's limits.
    pub limits: Limits,
    /// What standing approvals may cover here; without it none counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<crate::standing::Limits>,
}

/// Why an approval does not count or does not suffice.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum Refused {
    /// The trust file cannot be used.
    #[error("the trust file is unusable: {reason}")]
    Trust {
        /// For people.
        reason: String,
    },
    /// The statement is not canonical or malformed.
    #[error("the statement cannot be read: {reason}")]
    Statement {
        /// For people.
        reason: String,
    },
    /// The author's own signature does not count.
    #[error("the author's signature does not count: {reason}")]
    Author {
        /// For people.
        reason: String,
    },
    /// Not enough distinct people.
    #[error("{have} of {need} approvals{}{}", list(" from", counted, ", "), list("; not counted:", ignored, "; "))]
    TooFew {
        /// People counted.
        have: u32,
        /// People needed.
        need: u32,
        /// Their names.
        counted: Vec<String>,
        /// Why the other signatures did not count.
        ignored: Vec<String>,
    },
    /// Does not cover this plan, host or time.
    #[error("the approval does not cover this: {reason}")]
    NotCovered {
        /// For people.
        reason: String,
    },
}

/// ` intro a, b`; nothing where there is nothing.
fn list(intro: &str, items: &[String], separator: &str) -> String {
    if items.is_empty() { String::new() } else { format!("{intro} {}", items.join(separator)) }
}

impl Trust {
    /// Reads a trust file.
    ///
    /// # Errors
    /// Unknown keys, unreadable keys, one key for two people, `required` of zero or above the number of people.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let bad = |reason: String| Refused::Trust { reason };
        let trust: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        if trust.required == 0 {
            return Err(bad("`required` must be at least 1".to_owned()));
        }
        trust.owners()?;
        let people: BTreeSet<&str> =
            trust.approvers.iter().filter(|person| !person.keys.is_empty()).map(|person| person.name.as_str()).collect();
        if (people.len() as u64) < u64::from(trust.required) {
            return Err(bad(format!("`required` is {}, but only {} people have keys", trust.required, people.len())));
        }
        if let Some(standing) = &trust.standing {
            standing.check(people.len()).map_err(bad)?;
        }
        Ok(trust)
    }

    fn owners(&self) -> Result<BTreeMap<String, String>, Refused> {
        let mut owners = BTreeMap::new();
        for person in self.approvers.iter().chain(&self.authors) {
            for key in &person.keys {
                let key = PublicKey::from_openssh(key)
                    .map_err(|error| Refused::Trust { reason: format!("a key of {} cannot be read: {error}", person.name) })?;
                let print = key.fingerprint(ssh_key::HashAlg::Sha256).to_string();
                if let Some(other) = owners.insert(print, person.name.clone())
                    && other != person.name
                {
                    return Err(Refused::Trust { reason: format!("{other} and {} share a key", person.name) });
                }
            }
        }
        Ok(owners)
    }

    /// Who has the key with this fingerprint.
    ///
    /// # Errors
    /// For people: nobody.
    pub fn owner(&self, key: &str) -> Result<String, String> {
        let owners = self.owners().map_err(|error| error.to_string())?;
        owners.get(key).cloned().ok_or_else(|| format!("key {key} belongs to nobody in the trust file"))
    }

    /// Who made this signature over these bytes.
    ///
    /// # Errors
    /// For people: unreadable, unknown key, does not fit.
    pub fn signer(&self, namespace: &str, bytes: &[u8], armored: &str) -> Result<Signer, String> {
        if armored.len() > SIGNATURE_BYTES_MAX {
            return Err("a signature is too large".to_owned());
        }
        let signature = SshSig::from_pem(armored).map_err(|error| format!("a signature cannot be read: {error}"))?;
        let key = PublicKey::from(signature.public_key().clone());
        let print = key.fingerprint(ssh_key::HashAlg::Sha256).to_string();
        let person = self.owner(&print)?;
        key.verify(namespace, bytes, &signature).map_err(|_| format!("the signature of {person} does not fit this statement"))?;
        Ok(Signer { person, key: print })
    }

    /// Who made this approval, if it may count beside `author`.
    ///
    /// # Errors
    /// For people: not a fitting signature of an approver, or of the author by name or key.
    pub fn approver(&self, statement: &Statement, bytes: &[u8], armored: &str) -> Result<Signer, NoApproval> {
        let signer = self.signer(NAMESPACE, bytes, armored).map_err(NoApproval::Signature)?;
        self.counts(statement, &signer).map(|()| signer)
    }

    /// Whether an approval by somebody whose signature fits may count beside this author.
    ///
    /// # Errors
    /// See [`NoApproval`].
    pub fn beside(&self, (author, author_key): (&str, &str), signer: &Signer) -> Result<(), NoApproval> {
        if (signer.person == author || signer.key == author_key) && !mutant::is(Mutant::AuthorApproves) {
            return Err(NoApproval::Author(signer.person.clone()));
        }
        if !self.approvers.iter().any(|person| person.name == signer.person) {
            return Err(NoApproval::Signature(format!("{} may write changes but not approve them", signer.person)));
        }
        Ok(())
    }

    /// Whether an approval by somebody whose signature fits may count: never the author's, by name or key, and only an approver's.
    ///
    /// # Errors
    /// See [`NoApproval`].
    pub fn counts(&self, statement: &Statement, signer: &Signer) -> Result<(), NoApproval> {
        self.beside((&statement.author, &statement.author_key), signer)
    }

    /// Checks that the statement's author signed it, with the key that it names, under the name that this file gives to that key.
    ///
    /// # Errors
    /// [`Refused::Author`].
    pub fn authored(&self, statement: &Statement, bytes: &[u8], armored: &str) -> Result<(), Refused> {
        self.written(AUTHOR_NAMESPACE, (&statement.author, &statement.author_key), bytes, armored)
    }

    /// Checks that this author signed these bytes in `namespace`, with the key that is named, under the name that this file gives to that key.
    ///
    /// # Errors
    /// [`Refused::Author`].
    pub fn written(&self, namespace: &str, (author, author_key): (&str, &str), bytes: &[u8], armored: &str) -> Result<(), Refused> {
        let no = |reason: String| Refused::Author { reason };
        let signer = self.signer(namespace, bytes, armored).map_err(no)?;
        if signer.key != author_key || signer.person != author {
            return Err(no(format!("{} signed with {}, the statement names {author} and {author_key}", signer.person, signer.key)));
        }
        Ok(())
    }

    /// The distinct people who approve `statement`, if they suffice and its author signed it. `statement` are the signed bytes.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn approved(&self, statement: &[u8], author: &str, signatures: &[String]) -> Result<(Statement, BTreeSet<String>), Refused> {
        let parsed: Statement = serde_json::from_slice(statement).map_err(|error| Refused::Statement { reason: error.to_string() })?;
        if !canonical::is_canonical(statement) {
            return Err(Refused::Statement { reason: "not in canonical form".to_owned() });
        }
        self.authored(&parsed, statement, author)?;
        let answers = signatures.iter().take(SIGNATURES_MAX).map(|armored| self.approver(&parsed, statement, armored));
        let counted = self.suffice(answers)?;
        Ok((parsed, counted))
    }

    /// Counts distinct people: enough of them, or not.
    ///
    /// # Errors
    /// [`Refused::TooFew`].
    pub fn suffice(&self, answers: impl Iterator<Item = Result<Signer, NoApproval>>) -> Result<BTreeSet<String>, Refused> {
        Self::enough(self.required, answers)
    }

    /// The same where it takes another number of people.
    ///
    /// # Errors
    /// [`Refused::TooFew`].
    pub fn enough(need: u32, answers: impl Iterator<Item = Result<Signer, NoApproval>>) -> Result<BTreeSet<String>, Refused> {
        let (mut counted, mut ignored) = (BTreeSet::new(), Vec::new());
        for answer in answers {
            match answer {
                Ok(signer) => {
                    counted.insert(signer.person);
                }
                Err(why) => ignored.push(why.to_string()),
            }
        }
        let enough = (counted.len() as u64) >= u64::from(need) || mutant::is(Mutant::HostIgnoresApprovals);
        if !enough {
            let have = u32::try_from(counted.len()).unwrap_or(u32::MAX);
            return Err(Refused::TooFew { have, need, counted: counted.into_iter().collect(), ignored });
        }
        Ok(counted)
    }

    /// Whether the host's own limits allow these changes.
    ///
    /// # Errors
    /// Names the package that is not allowed.
    pub fn allows(&self, changes: &[crate::resolution::PackageChange]) -> Result<(), Refused> {
        let no = |reason: String| Err(Refused::NotCovered { reason });
        for change in changes {
            match (&change.from, &change.to, &change.offer) {
                (_, None, _) if !self.limits.removals => {
                    return no(format!("{} would be removed; this host forbids removals", change.name));
                }
                (Some(from), Some(to), _) if to.compare(from).is_lt() && !self.limits.downgrades => {
                    return no(format!("{} would go back to {to}; this host forbids downgrades", change.name));
                }
                (_, Some(_), None) => return no(format!("{} names no origin", change.name)),
                (_, Some(_), Some(offer)) if !self.limits.origins.contains(&offer.origin) => {
                    return no(format!("{} comes from `{}`; this host allows {:?}", change.name, offer.origin, self.limits.origins));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Statement {
    /// Whether the statement covers this plan, cohort, rehearsal and host now.
    ///
    /// # Errors
    /// Says what is not covered.
    pub fn covers(&self, plan: Digest, cohort: Digest, rehearsal: Digest, host: HostId, now: Timestamp) -> Result<(), Refused> {
        let no = |reason: &str| Err(Refused::NotCovered { reason: reason.to_owned() });
        if mutant::is(Mutant::OtherStatementCounts) {
            return self.admits(now).map_err(|reason| Refused::NotCovered { reason: reason.to_owned() });
        }
        if self.plan != plan {
            return no("another plan was approved");
        }
        if self.rehearsals.get(&cohort) != Some(&rehearsal) {
            return no("another rehearsal of this cohort was approved");
        }
        if !self.hosts.contains(&host) {
            return no("this host is not among the approved ones");
        }
        self.admits(now).map_err(|reason| Refused::NotCovered { reason: reason.to_owned() })
    }

    /// Whether the statement lets a host start at this time.
    ///
    /// # Errors
    /// For people.
    pub fn admits(&self, now: Timestamp) -> Result<(), &'static str> {
        if mutant::is(Mutant::HostIgnoresWindow) {
            return Ok(());
        }
        if now >= self.expires {
            return Err("the approval has expired");
        }
        if !self.window.is_empty() && !self.window.iter().any(|w| w.start <= now && now < w.last_start.min(w.end)) {
            return Err("outside of the approved window");
        }
        Ok(())
    }
}
