//! Standing approvals: people sign once for which hosts, kinds of update and risk plans are carried out whose rehearsal passed, until a day.
//!
//! A host believes no server about it: it verifies the signatures and counts the people against its own trust file, which must permit standing
//! approvals at all; it finds itself in the list; it judges each package by what the archive that it verified says about itself; and it takes
//! only a rehearsal that one of the listed hosts vouches for with the key that people signed. Pure.

use crate::{
    Digest, Timestamp,
    approval::{NoApproval, Refused, SIGNATURES_MAX, Signer, Trust},
    canonical,
    id::HostId,
    package::{Offer, UpdateClass},
    plan::{Cohort, Plan},
    policy::{Check, ConfigFiles},
    rehearsal::{Rehearsal, Verdict},
    resolution::PackageChange,
    window::Interval,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Namespace of an author's signature over a [`Standing`].
pub const AUTHOR_NAMESPACE: &str = "fother-standing-v1";
/// Namespace of an approval of it. SSH signatures bind their namespace, so that an author's never counts as an approval, nor a change's for it.
pub const NAMESPACE: &str = "fother-standing-approval-v1";
/// Longest life, in days.
pub const DAYS_MAX: u32 = 90;
/// Most hosts of one; a larger group takes several.
pub const HOSTS_MAX: usize = 5_000;
/// Most packages of one transaction.
pub const PACKAGES_MAX: u32 = 1_000;
/// Longest time for which an undo is covered, in seconds.
pub const UNDO_S_MAX: u64 = 90 * 86_400;
/// Longest name, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

const DAY: Duration = Duration::from_secs(86_400);

/// `[standing]` in a host's trust file: what standing approvals may cover there. Without it none counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Distinct people needed; never fewer than for a change.
    #[serde(default)]
    pub required: u32,
    /// Kinds of update that it may cover.
    pub classes: BTreeSet<UpdateClass>,
    /// Longest life, in days.
    #[serde(default = "days_max")]
    pub days: u32,
    /// Most packages of one transaction.
    #[serde(default = "packages_max")]
    pub packages: u32,
    /// Whether it may cover what needs a reboot.
    #[serde(default)]
    pub reboot: bool,
}

fn days_max() -> u32 {
    DAYS_MAX
}

fn packages_max() -> u32 {
    PACKAGES_MAX
}

impl Limits {
    /// Whether they can be used, with so many people who have keys.
    ///
    /// # Errors
    /// For people.
    pub fn check(&self, people: usize) -> Result<(), String> {
        if self.classes.is_empty() {
            return Err("`standing.classes` names no class: leave [standing] out to permit none".to_owned());
        }
        if self.days == 0 || self.days > DAYS_MAX {
            return Err(format!("`standing.days` must be 1 to {DAYS_MAX}"));
        }
        if u64::from(self.required) > people as u64 {
            return Err(format!("`standing.required` is {}, but only {people} people have keys", self.required));
        }
        Ok(())
    }
}

/// A standing approval as the log tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stood {
    /// Name for people.
    pub name: String,
    /// The group whose plans it covers.
    pub group: String,
    /// Number of its hosts.
    pub hosts: u32,
    /// The author.
    pub author: String,
    /// The author's signature.
    pub author_signature: String,
    /// When it was submitted.
    pub submitted: Timestamp,
    /// From when on it counts.
    pub from: Timestamp,
    /// Until when it counts.
    pub expires: Timestamp,
    /// Distinct people needed.
    pub needed: u32,
    /// People whose approvals count; everybody's where none is named.
    pub approvers: BTreeSet<String>,
    /// Signatures by person.
    pub approvals: BTreeMap<String, String>,
    /// Why it counts no more.
    pub revoked: Option<String>,
}

/// Where a standing approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Waits for people.
    Open,
    /// Counts, or will once its time has come.
    InForce,
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
}

impl Stood {
    /// Where it is.
    #[must_use]
    pub fn status(&self, now: Timestamp) -> Status {
        if self.revoked.is_some() {
            Status::Revoked
        } else if now >= self.expires {
            Status::Expired
        } else if (self.approvals.len() as u64) >= u64::from(self.needed) {
            Status::InForce
        } else {
            Status::Open
        }
    }
}

/// What people sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standing {
    /// Name for people.
    pub name: String,
    /// Group whose plans it covers.
    pub group: String,
    /// The hosts by name, each with the key that it vouches for rehearsals with (its cosigner's, 64 hexadecimal digits). Hosts that join later need a new one.
    pub hosts: BTreeMap<HostId, String>,
    /// Kinds of update, as [`class_of`] tells them.
    pub classes: BTreeSet<UpdateClass>,
    /// `Origin` fields that packages may come from.
    pub origins: BTreeSet<String>,
    /// Most packages of one transaction.
    pub packages: u32,
    /// Whether a transaction may need a reboot.
    pub reboot: bool,
    /// Units that a rehearsal may leave unexercised, by name, and outages, as `outage:GROUP`.
    pub acknowledged: BTreeSet<String>,
    /// What a host is asked afterwards: these checks, no others and no fewer.
    pub checks: Vec<Check>,
    /// Shortest soak, in seconds.
    pub soak_s: u32,
    /// Configuration-file conflicts.
    pub config_files: ConfigFiles,
    /// When a host may start; empty means at any time until `expires`.
    pub window: Vec<Interval>,
    /// How long after its start an undo is covered, in seconds.
    pub undo_s: u64,
    /// Person who wrote it and therefore may not approve it.
    pub author: String,
    /// Fingerprint of the key that the author signs with, `SHA256:…`; no approval by it counts.
    pub author_key: String,
    /// From when on it counts.
    pub from: Timestamp,
    /// Until when a host may start.
    pub expires: Timestamp,
}

/// Whether an archive is its vendor's security archive, by what it says about itself.
#[must_use]
pub fn is_security(offer: &Offer) -> bool {
    offer.label.ends_with("-Security") || offer.suite.ends_with("-security")
}

/// What kind of update this is, as far as a host can tell by itself: where the version comes from, and whether the upstream version stays.
/// What the plan says (`class`) is a server's word and does not count here.
#[must_use]
pub fn class_of(change: &PackageChange) -> UpdateClass {
    match (&change.offer, &change.from, &change.to) {
        (Some(offer), ..) if is_security(offer) => UpdateClass::Security,
        (_, Some(from), Some(to)) if from.parts().1 == to.parts().1 => UpdateClass::Bugfix,
        _ => UpdateClass::Enhancement,
    }
}

fn word(class: UpdateClass) -> &'static str {
    match class {
        UpdateClass::Security => "security",
        UpdateClass::Bugfix => "bugfix",
        UpdateClass::Enhancement => "enhancement",
    }
}

impl Standing {
    /// The bytes that are signed.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn bytes(&self) -> Result<Vec<u8>, canonical::Error> {
        canonical::to_vec(self)
    }

    /// Its digest, which is its name in the log.
    #[must_use]
    pub fn digest_of(bytes: &[u8]) -> Digest {
        Digest::of_kind("standing", bytes)
    }

    /// Reads signed bytes and checks that they make sense.
    ///
    /// # Errors
    /// [`Refused::Statement`].
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let no = |reason: String| Refused::Statement { reason };
        let parsed: Self = serde_json::from_slice(bytes).map_err(|error| no(error.to_string()))?;
        // What was signed is what is read, to the byte: no list names one thing twice.
        if parsed.bytes().ok().as_deref() != Some(bytes) {
            return Err(no("not in canonical form".to_owned()));
        }
        parsed.check().map_err(no)?;
        Ok(parsed)
    }

    /// Whether it is bounded as every standing approval is.
    ///
    /// # Errors
    /// For people.
    pub fn check(&self) -> Result<(), String> {
        let plain = |name: &str| {
            (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        if !plain(&self.name) {
            return Err(format!("a name has 1 to {NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`"));
        }
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX {
            return Err(format!("it names {} hosts; 1 to {HOSTS_MAX} can be named", self.hosts.len()));
        }
        if self.classes.is_empty() || self.origins.is_empty() || self.checks.is_empty() {
            return Err("classes, origins and checks must each name something".to_owned());
        }
        if self.packages == 0 || self.packages > PACKAGES_MAX {
            return Err(format!("packages: 1 to {PACKAGES_MAX}"));
        }
        if self.expires <= self.from || self.expires > self.from + DAY * DAYS_MAX {
            return Err(format!("it must expire within {DAYS_MAX} days from {}", self.from));
        }
        if self.undo_s > UNDO_S_MAX {
            return Err(format!("an undo can be covered for at most {UNDO_S_MAX} s"));
        }
        Ok(())
    }

    /// Whether it lets a host start at this time.
    ///
    /// # Errors
    /// For people.
    pub fn admits(&self, now: Timestamp) -> Result<(), &'static str> {
        if now < self.from {
            return Err("the standing approval does not count yet");
        }
        if now >= self.expires {
            return Err("the standing approval has expired");
        }
        if !self.window.is_empty() && !self.window.iter().any(|w| w.start <= now && now < w.last_start.min(w.end)) {
            return Err("outside of the window of the standing approval");
        }
        Ok(())
    }

    /// Whether it covers this transaction: only newer versions of packages that are there, of its classes and origins.
    ///
    /// # Errors
    /// Names the first package that it does not cover.
    pub fn allows(&self, changes: &[PackageChange]) -> Result<(), String> {
        if changes.len() as u64 > u64::from(self.packages) {
            return Err(format!("{} packages would change; it covers {}", changes.len(), self.packages));
        }
        for change in changes {
            let name = &change.name;
            match (&change.from, &change.to, &change.offer) {
                (_, None, _) => return Err(format!("{name} would be removed; no standing approval covers that")),
                (None, Some(_), _) => return Err(format!("{name} would be new; no standing approval covers that")),
                (Some(from), Some(to), _) if !to.compare(from).is_gt() => {
                    return Err(format!("{name} would go from {from} to {to}, which is not newer; no standing approval covers that"));
                }
                (Some(_), Some(_), None) => return Err(format!("{name} names no origin")),
                (Some(_), Some(_), Some(offer)) if !self.origins.contains(&offer.origin) => {
                    return Err(format!("{name} comes from `{}`; it covers {:?}", offer.origin, self.origins));
                }
                (Some(_), Some(_), Some(offer)) => {
                    let class = class_of(change);
                    if !self.classes.contains(&class) {
                        let (label, suite) = (&offer.label, &offer.suite);
                        return Err(format!(
                            "{name} is a {} update by its archive ({label} {suite}), which it does not cover",
                            word(class)
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether it covers a cohort of a plan with this rehearsal.
    ///
    /// # Errors
    /// For people.
    pub fn covers(&self, plan: &Plan, cohort: &Cohort, rehearsal: &Rehearsal) -> Result<(), String> {
        let no = |reason: &str| Err(reason.to_owned());
        if plan.group != self.group {
            return Err(format!("the plan is of group {}, it covers group {}", plan.group, self.group));
        }
        if plan.terms.emergency.is_some() {
            return no("no standing approval covers an emergency path");
        }
        self.allows(&cohort.changes)?;
        if cohort.checks != self.checks {
            return no("other checks were signed");
        }
        if cohort.soak_s < self.soak_s {
            return no("a longer soak was signed");
        }
        if cohort.config_files != self.config_files {
            return no("another answer to configuration-file conflicts was signed");
        }
        if rehearsal.changes != cohort.changes {
            return no("the rehearsal is of another transaction");
        }
        if rehearsal.verdict != Verdict::Passes {
            return no("the rehearsal does not pass");
        }
        if let Some(unit) = rehearsal.exercised.iter().find(|unit| !unit.exercised && !self.acknowledged.contains(&unit.unit)) {
            return Err(format!("{} was not exercised by the rehearsal, and it does not accept that by name", unit.unit));
        }
        if let (Some(why), false) = (rehearsal.reboot.first(), self.reboot) {
            return Err(format!("a reboot would be needed ({why}), which it does not cover"));
        }
        let maker = rehearsal.attester(|host| self.hosts.get(&host).cloned())?;
        if cohort.hosts.get(&maker) != Some(&rehearsal.base) {
            return Err(format!("{maker}, which vouches for the rehearsal, is not in the cohort as it was rehearsed"));
        }
        Ok(())
    }
}

impl Trust {
    /// Whose signature under a standing approval this is, if it may count beside its author.
    ///
    /// # Errors
    /// See [`NoApproval`].
    pub fn standing_approver(&self, standing: &Standing, bytes: &[u8], armored: &str) -> Result<Signer, NoApproval> {
        let signer = self.signer(NAMESPACE, bytes, armored).map_err(NoApproval::Signature)?;
        self.beside((&standing.author, &standing.author_key), &signer).map(|()| signer)
    }

    /// Checks that a standing approval's author signed it.
    ///
    /// # Errors
    /// [`Refused::Author`].
    pub fn standing_author(&self, standing: &Standing, bytes: &[u8], armored: &str) -> Result<(), Refused> {
        self.written(AUTHOR_NAMESPACE, (&standing.author, &standing.author_key), bytes, armored)
    }

    /// What a host makes of a standing approval: permitted here at all, within this file's limits, written by its author, approved by enough others,
    /// and for this host.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn stands(&self, bytes: &[u8], author: &str, signatures: &[String], host: HostId) -> Result<(Standing, BTreeSet<String>), Refused> {
        let no = |reason: String| Refused::NotCovered { reason };
        let Some(limits) = &self.standing else {
            return Err(no("this host permits no standing approvals: its trust file has no [standing]".to_owned()));
        };
        let standing = Standing::parse(bytes)?;
        if let Some(class) = standing.classes.difference(&limits.classes).next() {
            return Err(no(format!("this host permits no standing approval of {} updates", word(*class))));
        }
        if standing.expires > standing.from + DAY * limits.days {
            return Err(no(format!("this host permits standing approvals of at most {} days", limits.days)));
        }
        if standing.packages > limits.packages {
            return Err(no(format!("this host permits standing approvals of at most {} packages", limits.packages)));
        }
        if standing.reboot && !limits.reboot {
            return Err(no("this host permits no standing approval of reboots".to_owned()));
        }
        if !standing.hosts.contains_key(&host) {
            return Err(no("this host is not among those of the standing approval".to_owned()));
        }
        self.standing_author(&standing, bytes, author)?;
        let answers = signatures.iter().take(SIGNATURES_MAX).map(|armored| self.standing_approver(&standing, bytes, armored));
        let people = Self::enough(self.required.max(limits.required), answers)?;
        Ok((standing, people))
    }
}
