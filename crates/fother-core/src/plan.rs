//! Plans: resolutions grouped into cohorts, named by digest. Pure and deterministic: same state, same digest.

use crate::{
    Digest, canonical,
    directive::IndexPin,
    id::HostId,
    inventory::{Closes, Labels},
    merkle,
    policy::{Budget, Check, ConfigFiles, Group, Policy, Strategy},
    resolution::{PackageChange, Resolution},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Most hosts in one plan. The log names each of them, in as many events as that takes: see [`MEMBERS_MAX`].
pub const HOSTS_MAX: usize = 100_000;
/// Most hosts that one event names, each at worst with a cohort of its own or the longest zone: far below [`crate::event::BYTES_MAX`].
pub const MEMBERS_MAX: usize = 400;

/// Hosts with the same transaction. The blob that an agent gets, with a Merkle proof that its plan holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cohort {
    /// The exact transaction, sorted by name.
    pub changes: Vec<PackageChange>,
    /// Member hosts, each with the base it must still match.
    pub hosts: BTreeMap<HostId, Digest>,
    /// Checks that say whether a member is healthy.
    pub checks: Vec<Check>,
    /// How long a member must stay healthy, in seconds.
    pub soak_s: u32,
    /// Configuration-file conflicts.
    pub config_files: ConfigFiles,
}

impl Cohort {
    /// Name of this cohort.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn digest(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("cohort", &canonical::to_vec(self)?))
    }

    /// The CVEs that the transaction closes.
    #[must_use]
    pub fn cves(&self) -> BTreeSet<&str> {
        self.changes.iter().flat_map(|change| change.closes.iter().map(|closes| closes.cve.as_str())).collect()
    }

    /// Source packages that the transaction changes.
    #[must_use]
    pub fn sources(&self) -> BTreeSet<&str> {
        self.changes.iter().map(|change| change.source.as_str()).collect()
    }
}

/// The Merkle tree over a plan's sorted cohort digests ([`merkle::root`]); typed digests are its leaves as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CohortTree {
    /// Its root.
    pub root: Digest,
    /// Number of cohorts.
    pub size: u64,
}

/// Where a plan holds a cohort, and the Merkle proof of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Number of the cohort in the sorted list, from 0.
    pub index: u64,
    /// Hashes from the leaf's sibling up.
    pub proof: Vec<Digest>,
}

impl CohortTree {
    /// The tree over these cohorts.
    #[must_use]
    pub fn over(cohorts: &BTreeSet<Digest>) -> Self {
        let leaves: Vec<Digest> = cohorts.iter().copied().collect();
        Self { root: merkle::root(&leaves), size: leaves.len() as u64 }
    }

    /// Where the tree over `cohorts` holds `cohort`; nothing where it does not. Whoever asks more than once asks [`Places`].
    #[must_use]
    pub fn place(cohorts: &BTreeSet<Digest>, cohort: &Digest) -> Option<Place> {
        Places::over(cohorts.iter().copied()).place(cohort)
    }

    /// Whether `place` proves that this tree holds `cohort`. The caller has hashed the cohort's bytes under the kind `cohort`,
    /// so that an inner node of the tree never passes for one.
    #[must_use]
    pub fn holds(&self, cohort: &Digest, place: &Place) -> bool {
        merkle::verify(&self.root, cohort, place.index, self.size, &place.proof)
    }
}

/// The tree over a plan's cohorts with all its nodes, to find many places in it: hashed once, each place costs its proof.
#[derive(Clone, Debug)]
pub struct Places {
    cohorts: Vec<Digest>,
    /// Hashes of the perfect subtrees, by level.
    nodes: Vec<Vec<Digest>>,
}

impl Places {
    /// The tree over these cohorts, which come sorted.
    #[must_use]
    pub fn over(cohorts: impl IntoIterator<Item = Digest>) -> Self {
        let (cohorts, mut nodes, mut tree) = (cohorts.into_iter().collect::<Vec<_>>(), Vec::new(), merkle::Tree::default());
        for cohort in &cohorts {
            tree.append_with(*cohort, |level, _, node| {
                let level = level as usize;
                nodes.resize_with(nodes.len().max(level + 1), Vec::new);
                nodes[level].push(*node);
            });
        }
        Self { cohorts, nodes }
    }

    /// Where the tree holds `cohort`; nothing where it does not.
    #[must_use]
    pub fn place(&self, cohort: &Digest) -> Option<Place> {
        let index = self.cohorts.binary_search(cohort).ok()? as u64;
        let node = |level: u32, index: u64| {
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            self.nodes.get(level as usize).and_then(|nodes| nodes.get(index)).copied().ok_or(())
        };
        Some(Place { index, proof: merkle::prove_from(index, self.cohorts.len() as u64, node).ok()? })
    }
}

/// The manifest; its digest is the plan's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Group that is patched.
    pub group: String,
    /// Selector of the group when the plan was made.
    pub select: String,
    /// Policy that the plan was made under.
    pub policy: Digest,
    /// Disruption budget.
    pub budget: Budget,
    /// Rollout strategy.
    pub rollout: Strategy,
    /// Window by name.
    pub window: String,
    /// Distinct approvers needed.
    pub approvals: u32,
    /// Seconds from the rollout's start during which an undo is covered.
    pub undo_s: u64,
    /// Updates left out by source package, with the reason.
    pub excluded: BTreeMap<String, String>,
    /// What the policy says about when and by whom.
    #[serde(default, skip_serializing_if = "Terms::is_default")]
    pub terms: Terms,
    /// The archives' pinned state that the packages come from.
    pub pins: Vec<IndexPin>,
    /// The cohorts, by the root of their tree: a host needs its own cohort and a proof, not the list.
    pub cohorts: CohortTree,
}

/// What the policy says about when and by whom, fixed with the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// The emergency path that it takes, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emergency: Option<String>,
    /// People whose approvals count; everybody's where none is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approvers: BTreeSet<String>,
    /// Version of the time zone database that `openings` come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tzdata: Option<String>,
    /// When hosts may begin within [`OPENINGS_DAYS`] days from its making, in UTC; empty where nothing restricts it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub openings: Vec<crate::window::Interval>,
}

/// Days for which a plan names its openings.
pub const OPENINGS_DAYS: u32 = 90;

impl Terms {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Plan {
    /// Name of this plan.
    ///
    /// # Errors
    /// Where it has no canonical form.
    pub fn digest(&self) -> Result<Digest, canonical::Error> {
        Ok(Digest::of_kind("plan", &canonical::to_vec(self)?))
    }
}

/// One host as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanHost {
    /// Its id.
    pub id: HostId,
    /// Labels that the server assigned.
    pub labels: Arc<Labels>,
    /// What it said it would do; `None` if it has not answered.
    pub resolution: Option<Arc<Resolution>>,
}

/// A finished plan with its cohorts, and who is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The manifest.
    pub plan: Plan,
    /// The cohorts by digest.
    pub cohorts: BTreeMap<Digest, Cohort>,
    /// Hosts of the group that need nothing.
    pub up_to_date: Vec<HostId>,
    /// Hosts of the group that gave no answer: unknown, named, never dropped.
    pub unknown: Vec<HostId>,
}

/// Why no plan could be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such group.
    #[error("there is no group `{0}` in the policy")]
    NoGroup(String),
    /// Selector of the group fails.
    #[error("group `{group}`: {why}")]
    Selector {
        /// Group name.
        group: String,
        /// For people.
        why: String,
    },
    /// More than [`HOSTS_MAX`] hosts.
    #[error("the group has {0} hosts; one plan holds at most {HOSTS_MAX}")]
    TooLarge(usize),
    /// No canonical form.
    #[error(transparent)]
    Canonical(#[from] canonical::Error),
}

/// Makes the plan of one group out of answers against `pins`. `closes` names the CVEs by (package, target version) as read from the signed packages.
///
/// # Errors
/// See [`Error`].
pub fn plan(
    policy: &Policy,
    group_name: &str,
    hosts: &[PlanHost],
    pins: &[IndexPin],
    closes: &BTreeMap<(String, String), Vec<Closes>>,
    excluded: &BTreeMap<String, String>,
) -> Result<Planned, Error> {
    let group = policy.group.get(group_name).ok_or_else(|| Error::NoGroup(group_name.to_owned()))?;
    let mut answers: BTreeMap<&[PackageChange], Vec<(HostId, Digest)>> = BTreeMap::new();
    let mut known: BTreeMap<&Labels, bool> = BTreeMap::new();
    let (mut up_to_date, mut unknown, mut members) = (Vec::new(), Vec::new(), 0);
    for host in hosts {
        let member = match known.get(&*host.labels) {
            Some(member) => *member,
            None => {
                let of = |why| Error::Selector { group: group_name.to_owned(), why };
                *known.entry(&*host.labels).or_insert(crate::policy::selects(&group.select, &host.labels).map_err(of)?)
            }
        };
        if !member {
            continue;
        }
        members += 1;
        match &host.resolution {
            None => unknown.push(host.id),
            Some(resolution) if resolution.changes.is_empty() => up_to_date.push(host.id),
            Some(resolution) => answers.entry(&resolution.changes).or_default().push((host.id, resolution.base)),
        }
    }
    if members > HOSTS_MAX {
        return Err(Error::TooLarge(members));
    }
    up_to_date.sort_unstable();
    unknown.sort_unstable();
    // Answers that differ in what hosts cannot know become one.
    let mut grouped: BTreeMap<Vec<PackageChange>, Vec<(HostId, Digest)>> = BTreeMap::new();
    for (changes, hosts) in answers {
        grouped.entry(with_closes(changes, closes)).or_default().extend(hosts);
    }
    let cohorts = grouped
        .into_iter()
        .map(|(changes, hosts)| {
            let mut cohort = empty_cohort(policy, group, changes);
            cohort.hosts.extend(hosts);
            Ok((cohort.digest()?, cohort))
        })
        .collect::<Result<BTreeMap<_, _>, canonical::Error>>()?;
    let plan = Plan {
        group: group_name.to_owned(),
        select: group.select.clone(),
        policy: policy.digest()?,
        budget: group.budget.clone(),
        rollout: group.rollout.clone(),
        window: group.window.clone(),
        approvals: group.approvals.required,
        undo_s: group.undo_s,
        excluded: excluded.clone(),
        terms: Terms { approvers: group.approvals.people(policy), ..Terms::default() },
        pins: pins.to_vec(),
        cohorts: CohortTree::over(&cohorts.keys().copied().collect()),
    };
    Ok(Planned { plan, cohorts, up_to_date, unknown })
}

impl Planned {
    /// Fixes when hosts may begin, and by which path: `emergency` is one of the policy's, by name.
    ///
    /// # Errors
    /// Where the group may never begin, or there is no such path for it.
    pub fn set_terms(
        &mut self,
        policy: &Policy,
        emergency: Option<&str>,
        now: crate::Timestamp,
    ) -> Result<(), crate::policy::calendar::Error> {
        let openings = crate::policy::calendar::openings(policy, &self.plan.group, emergency, now, OPENINGS_DAYS)?;
        if let (Some(name), Some(group)) = (emergency, policy.group.get(&self.plan.group)) {
            self.plan.approvals = group.approvals.in_emergency();
            let path = policy.emergency.get(name).and_then(|path| path.window.clone());
            self.plan.window = path.unwrap_or_else(|| group.window.clone());
        }
        let terms = &mut self.plan.terms;
        terms.emergency = emergency.map(str::to_owned);
        terms.tzdata = (!openings.is_empty()).then(|| crate::window::tzdb_version().to_owned());
        terms.openings = openings;
        Ok(())
    }
}

fn empty_cohort(policy: &Policy, group: &Group, changes: Vec<PackageChange>) -> Cohort {
    Cohort {
        changes,
        hosts: BTreeMap::new(),
        checks: policy.checks_of(group),
        soak_s: group.rollout.soak_s,
        config_files: group.config_files,
    }
}

fn with_closes(changes: &[PackageChange], closes: &BTreeMap<(String, String), Vec<Closes>>) -> Vec<PackageChange> {
    let mut changes = changes.to_vec();
    for change in &mut changes {
        let Some(to) = &change.to else { continue };
        if let Some(found) = closes.get(&(change.name.clone(), to.as_str().to_owned())) {
            change.closes = found.clone();
            change.closes.sort();
            change.closes.dedup();
            if !found.is_empty() {
                change.class = crate::package::UpdateClass::Security;
            }
        }
    }
    changes.sort();
    changes
}

/// Orders the plan's hosts into waves: the canary first, dissimilar hosts first (each cohort and role early), then cumulative shares of the rest.
#[must_use]
pub fn waves(plan: &Plan, cohorts: &BTreeMap<Digest, Cohort>, labels: &BTreeMap<HostId, Arc<Labels>>) -> Vec<Vec<HostId>> {
    let mut kinds: BTreeMap<(Digest, String), Vec<HostId>> = BTreeMap::new();
    for (digest, cohort) in cohorts {
        for host in cohort.hosts.keys() {
            let role = labels.get(host).and_then(|labels| labels.get("role")).cloned().unwrap_or_default();
            kinds.entry((*digest, role)).or_default().push(*host);
        }
    }
    let total: usize = kinds.values().map(Vec::len).sum();
    let mut queues: Vec<std::vec::IntoIter<HostId>> = kinds.into_values().map(Vec::into_iter).collect();
    let mut order = Vec::with_capacity(total);
    while order.len() < total {
        order.extend(queues.iter_mut().filter_map(Iterator::next));
    }
    let canary = (plan.rollout.canary as usize).min(total);
    let rest = order.split_off(canary);
    let mut waves = vec![order];
    if plan.rollout.by_zone {
        let mut zones: BTreeMap<&str, Vec<HostId>> = BTreeMap::new();
        for host in rest {
            let zone = labels.get(&host).and_then(|labels| labels.get("zone")).map(String::as_str).unwrap_or_default();
            zones.entry(zone).or_default().push(host);
        }
        zones.values().for_each(|zone| waves.extend(shares(zone, &plan.rollout.waves)));
    } else {
        waves.extend(shares(&rest, &plan.rollout.waves));
    }
    waves.retain(|wave| !wave.is_empty());
    waves
}

/// These hosts by cumulative shares; the last takes everybody who is left.
fn shares(hosts: &[HostId], shares: &[crate::policy::Share]) -> Vec<Vec<HostId>> {
    let (mut waves, mut done, all) = (Vec::new(), 0, hosts.len());
    for share in shares {
        let until = share.of(all).clamp(done, all);
        if until > done {
            waves.push(hosts[done..until].to_vec());
            done = until;
        }
    }
    if done < all {
        waves.push(hosts[done..].to_vec());
    }
    waves
}
