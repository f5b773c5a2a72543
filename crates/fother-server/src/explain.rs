//! The whole derivation for the fleet: a vulnerability, an advisory, a package, an update or a host. Derived from the index, inventories,
//! plans and the advisory database; changes nothing.

use crate::{Error, engine::Engine, fleet::damaged, ranking::packs};
use fother_core::{
    Digest,
    advisory::{
        Day, Status,
        reader::{Database, VulnInfo},
    },
    assess::{
        host::{self, Assessment, HostFinding},
        in_use,
    },
    decide::Refusal,
    id::HostId,
    inventory::Inventory,
    package::Installed,
    plan::Cohort,
    rank::{self, Asset, offered},
    state::{Host, PlanState, State},
    text::printable,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Most groups of hosts that are derived one by one; the others are counted.
const GROUPS_MAX: usize = 20;
/// Most plans that are looked through for cohorts, the newest first.
const PLANS_MAX: usize = 5;
/// Most hosts that are named for one group; the others are counted.
const NAMED_MAX: usize = 5;
/// Most hosts of a group whose facts on use are read.
const LOOKED_MAX: usize = 200;

type Advisories = Database<Box<[u8]>>;

/// What is explained, and by what.
struct Asked<'a> {
    engine: &'a Engine,
    state: &'a State,
    database: Option<&'a Advisories>,
    what: &'a str,
    asset: Asset,
    today: Day,
}

/// Hosts with one version of one package.
#[derive(Default)]
struct Group {
    release: String,
    package: String,
    version: String,
    status: Value,
    fixed: Value,
    hosts: Vec<HostId>,
    /// Its source package.
    source: String,
    /// What is known without asking the advisories.
    findings: Vec<HostFinding>,
}

/// Explains a name: of a host, else of what the index and the advisories know.
///
/// # Errors
/// Where nobody knows it, or a blob or the database is damaged.
pub(crate) fn explain(engine: &Engine, what: &str, asset: Asset) -> Result<Value, Error> {
    let state = engine.state();
    let (database, mut unknown) = match engine.fleet.advisories() {
        Ok(database) => (Some(database), Vec::new()),
        Err(error) => (None, vec![error.to_string()]),
    };
    let today = Day::of(engine.clock.now());
    let asked = Asked { engine, state: &state, database: database.as_deref(), what, asset, today };
    let feeds = asked.database.map(Database::feeds).transpose().map_err(damaged)?.unwrap_or_default();
    let named = |(id, host): &(&HostId, &Host)| !host.retired && (host.hostname == what || id.to_string() == what);
    let mut out = match state.hosts.iter().find(named) {
        Some((id, host)) => asked.host(*id, host, &mut unknown)?,
        None => asked.subject(&mut unknown)?,
    };
    unknown.sort();
    unknown.dedup();
    out["what"] = json!(what);
    out["unknown"] = json!(unknown);
    out["feeds"] = json!(feeds);
    Ok(out)
}

impl Asked<'_> {
    /// One host: its queue, who runs what, and the cohorts that it is in.
    fn host(&self, id: HostId, host: &Host, unknown: &mut Vec<String>) -> Result<Value, Error> {
        let (mut queue, mut distribution, mut findings) = (Value::Null, Value::Null, 0);
        match host.inventory.map(|digest| self.engine.get::<Inventory>(digest)).transpose()? {
            None => unknown.push(format!("{}: it has sent no inventory yet", printable(&host.hostname, 80))),
            Some(inventory) => {
                let mut assessment = self.assess(&inventory, &inventory.packages)?;
                unknown.extend(std::mem::take(&mut assessment.unknown));
                let (told, silent) = self.engine.in_use(self.state, &[id])?;
                unknown.extend(silent);
                in_use::tell(&mut assessment.findings, &told);
                findings = assessment.findings.len();
                queue = json!(rank::queue(&assessment.findings, self.asset, &packs()?, self.today));
                distribution = json!(inventory.distribution);
            }
        }
        let cohorts = self.cohorts(&[id], None)?;
        let told = json!({"id": id, "hostname": host.hostname, "labels": *host.labels, "observe": host.observe, "lost": host.lost,
            "packages": host.packages, "distribution": distribution, "findings": findings});
        Ok(json!({"kind": "host", "host": told, "queue": queue, "cohorts": cohorts}))
    }

    /// A vulnerability, an advisory or a package: group by group, each with what a host of it derives.
    fn subject(&self, unknown: &mut Vec<String>) -> Result<Value, Error> {
        let offered = self.offered()?;
        let answer = match self.engine.fleet.affected(self.engine, self.what) {
            // No feed speaks of it yet, but a signed package does.
            Err(Error::Input(why) | Error::Refused(Refusal { what: why, .. })) if !offered.is_empty() => {
                unknown.push(why);
                Value::Null
            }
            answer => answer?,
        };
        unknown.extend(answer["unknown"].as_array().into_iter().flatten().filter_map(|why| why.as_str().map(str::to_owned)));
        let mut groups: Vec<Group> = Vec::new();
        for mut group in answer["found"].as_array().into_iter().flatten().map(Group::read) {
            self.name_source(&mut group)?;
            // Binary packages of one source stand for it once.
            let same = |known: &&mut Group| (&known.source, &known.release, &known.hosts) == (&group.source, &group.release, &group.hosts);
            match groups.iter_mut().find(same) {
                Some(known) if !known.package.split(' ').any(|name| name == group.package) => {
                    known.package = format!("{} {}", known.package, group.package)
                }
                Some(_) => {}
                None => groups.push(group),
            }
        }
        let known: BTreeSet<String> = groups.iter().map(|group| group.source.clone()).collect();
        groups.extend(offered.into_iter().filter(|group| !known.contains(&group.source)));
        groups.sort_by_key(|group| std::cmp::Reverse(group.hosts.len()));
        let vuln = self.database.map(|database| database.vuln_by_id(self.what)).transpose().map_err(damaged)?.flatten();
        let told: Vec<Value> = groups.iter().take(GROUPS_MAX).map(|group| self.group(group, unknown)).collect::<Result<_, _>>()?;
        let kind = if vuln.is_some() { "vulnerability" } else { "package" };
        let hosts: BTreeSet<&HostId> = groups.iter().flat_map(|group| &group.hosts).collect();
        let more = groups.len().saturating_sub(GROUPS_MAX);
        Ok(json!({"kind": kind, "vulnerability": vuln.as_ref().map(facts), "hosts": hosts.len(), "groups": told, "more": more}))
    }

    /// The inventory of one of a group's hosts; all have the same versions of what the group is about.
    fn inventory(&self, group: &Group) -> Result<Option<Inventory>, Error> {
        let digest = group.hosts.first().and_then(|host| self.state.hosts.get(host)?.inventory);
        digest.map(|digest| self.engine.get(digest)).transpose()
    }

    fn name_source(&self, group: &mut Group) -> Result<(), Error> {
        let inventory = self.inventory(group)?;
        let of_it = |package: &&Installed| package.source == group.package || package.name == group.package;
        let source = inventory.iter().flat_map(|inventory| &inventory.packages).find(of_it).map(|package| package.source.clone());
        group.source = source.unwrap_or_else(|| group.package.clone());
        Ok(())
    }

    /// Hosts for which a plan still holds an update that closes this by its signed package's changelog.
    fn offered(&self) -> Result<Vec<Group>, Error> {
        let mut out: Vec<Group> = Vec::new();
        for (plan, _) in self.plans() {
            for cohort in self.state.plans.get(plan).into_iter().flat_map(|about| about.cohorts.keys()) {
                let cohort: Cohort = self.engine.get(*cohort)?;
                // A host that moved is not what the cohort was resolved for any more.
                let still = |(host, base): &(&HostId, &Digest)| self.state.hosts.get(*host).is_some_and(|host| host.base == Some(**base));
                let hosts: Vec<HostId> = cohort.hosts.iter().filter(still).map(|(host, _)| *host).collect();
                let sources = offered::sources(&cohort.changes);
                for (source, update) in sources.iter().filter(|_| !hosts.is_empty()) {
                    if !update.closes.iter().any(|closes| closes.cve == self.what) || out.iter().any(|known| known.source == *source) {
                        continue;
                    }
                    let vuln = self.database.map(|database| database.vuln_by_id(self.what)).transpose().map_err(damaged)?.flatten();
                    let one = BTreeMap::from([(source.clone(), update.clone())]);
                    let mut findings = offered::findings(&one, &|id| vuln.clone().filter(|_| id == self.what));
                    findings.retain(|finding| finding.id == self.what);
                    out.push(Group {
                        package: source.clone(),
                        source: source.clone(),
                        version: update.from.clone(),
                        status: json!(Status::Fixed),
                        fixed: json!(update.to),
                        hosts: hosts.clone(),
                        findings,
                        ..Group::default()
                    });
                }
            }
        }
        Ok(out)
    }

    /// The newest plans, the last one first.
    fn plans(&self) -> Vec<(&Digest, &PlanState)> {
        let mut plans: Vec<_> = self.state.plans.iter().collect();
        plans.sort_by_key(|(_, plan)| std::cmp::Reverse(plan.created));
        plans.truncate(PLANS_MAX);
        plans
    }

    /// What a host of the group derives; all its hosts have that version.
    fn group(&self, group: &Group, unknown: &mut Vec<String>) -> Result<Value, Error> {
        let (mut findings, source) = (group.findings.clone(), group.source.clone());
        if let Some(inventory) = self.inventory(group)?.filter(|_| findings.is_empty()) {
            let packages: Vec<Installed> = inventory.packages.iter().filter(|package| package.source == source).cloned().collect();
            let assessment = self.assess(&inventory, &packages)?;
            unknown.extend(assessment.unknown);
            findings = assessment.findings;
        }
        let speaks = |finding: &HostFinding| finding.id == self.what || finding.advisories.iter().any(|id| id == self.what);
        if findings.iter().any(speaks) {
            findings.retain(speaks);
        }
        let (told, _) = self.engine.in_use(self.state, &group.hosts[..group.hosts.len().min(LOOKED_MAX)])?;
        in_use::tell(&mut findings, &told);
        let queue = rank::queue(&findings, self.asset, &packs()?, self.today);
        let name = |id: &HostId| self.state.hosts.get(id).map_or_else(|| id.to_string(), |host| printable(&host.hostname, 80));
        let chances: BTreeMap<&str, Value> = findings
            .iter()
            .map(|finding| {
                let chance = rank::chance(finding, self.today);
                let lines: Vec<Value> =
                    chance.lines.iter().map(|line| json!({"points": line.points, "what": line.what, "missing": line.missing})).collect();
                let risk = rank::risk(finding, self.today);
                (finding.id.as_str(), json!({"millionths": chance.millionths, "why": chance.why, "lines": lines, "risk_millionths": risk}))
            })
            .collect();
        Ok(json!({
            "release": Some(&group.release).filter(|release| !release.is_empty()), "package": group.package, "source": source, "version": group.version,
            "status": group.status, "fixed": group.fixed,
            "hosts": group.hosts.len(), "named": group.hosts.iter().take(NAMED_MAX).map(name).collect::<Vec<_>>(),
            "findings": findings, "chances": chances, "updates": queue.updates,
            "cohorts": self.cohorts(&group.hosts, Some(&source))?,
        }))
    }

    /// Assesses packages of an inventory. What its archives offer is not known here.
    fn assess(&self, inventory: &Inventory, packages: &[Installed]) -> Result<Assessment, Error> {
        let Some(database) = self.database else { return Ok(Assessment::default()) };
        let subject = host::Host {
            distribution: &inventory.distribution,
            packages,
            offers: None,
            foreign: &BTreeMap::new(),
            kernel: Some(inventory.kernel.as_str()).filter(|kernel| !kernel.is_empty()),
            now: self.engine.clock.now(),
            feed_days_max: None,
        };
        host::host(database, &subject).map_err(damaged)
    }

    /// Cohorts of the newest plans that hold any of these hosts; of a source, only those that change it.
    fn cohorts(&self, hosts: &[HostId], source: Option<&str>) -> Result<Vec<Value>, Error> {
        let wanted: BTreeSet<&HostId> = hosts.iter().collect();
        let mut out = Vec::new();
        for (plan, about) in self.plans() {
            let left_out = source.and_then(|source| about.excluded.get(source));
            for (cohort, members) in &about.cohorts {
                let count = members.hosts.iter().filter(|host| wanted.contains(host)).count();
                if count == 0 {
                    continue;
                }
                let changes = self.engine.get::<Cohort>(*cohort)?.changes;
                let mine: Vec<_> = changes.iter().filter(|change| source.is_none_or(|source| change.source == source)).collect();
                if source.is_some() && mine.is_empty() && left_out.is_none() {
                    continue;
                }
                let closes = |change: &&fother_core::resolution::PackageChange| change.closes.iter().any(|closes| closes.cve == self.what);
                out.push(json!({
                    "plan": plan, "group": about.group, "created": about.created, "cohort": cohort, "hosts": count,
                    "packages": mine.len(), "to": source.and(mine.first()).and_then(|change| change.to.as_ref()),
                    "closes": mine.iter().any(closes), "left_out": left_out, "verdict": members.rehearsal.map(|(_, verdict)| verdict),
                }));
            }
        }
        Ok(out)
    }
}

impl Group {
    fn read(found: &Value) -> Self {
        let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        let hosts = found["hosts"].as_array().into_iter().flatten().filter_map(|id| id.as_str()?.parse().ok());
        Self {
            release: text("release"),
            package: text("package"),
            version: text("version"),
            status: found["status"].clone(),
            fixed: found["fixed"].clone(),
            hosts: hosts.collect(),
            ..Self::default()
        }
    }
}

/// What is known about a vulnerability wherever it is.
fn facts(vuln: &VulnInfo) -> Value {
    json!({"id": vuln.id, "title": vuln.title, "published": vuln.published, "cvss": vuln.cvss, "vector": vuln.vector,
        "epss_millionths": vuln.epss, "kev_added": vuln.kev_added, "kev_due": vuln.kev_due, "exploits": vuln.exploits.names(), "ssvc": vuln.ssvc})
}
