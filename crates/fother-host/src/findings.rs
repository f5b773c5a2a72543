//! A host's findings from the advisory database, with what its own archives offer. Reads the root; needs no privileges.

use crate::{
    foreign,
    in_use::outdated,
    inventory::Facts,
    processes::Processes,
    root::Root,
    scan::{Assessed, Error, clock},
};
use fother_core::{
    Timestamp,
    advisory::{Status, reader::Database},
    assess::{
        Class, components,
        host::{self, Assessment, Host, Offer},
    },
    inventory::{Closes, Distribution},
    package::{Installed, UpdateClass},
    sbom::Component,
    version::scheme::Scheme,
    vex::apply::{self, Given},
};
use fother_feeds::database::Blocks;
use std::collections::{BTreeMap, BTreeSet};

/// An advisory database and how it is asked.
#[derive(Debug)]
pub struct Judge<'a> {
    /// The database.
    pub database: &'a Database<Blocks>,
    /// Days after which any feed is stale, instead of each kind's own.
    pub feed_days_max: Option<u32>,
    /// Today.
    pub now: Timestamp,
    /// VEX statements that the user gave, and whose in feeds count.
    pub vex: Given,
}

/// What advisories alone say about a root.
#[derive(Debug)]
pub struct Quick {
    /// Distribution.
    pub distribution: Distribution,
    /// Main architecture.
    pub architecture: String,
    /// The installed packages.
    pub packages: Packages,
    /// Findings.
    pub assessment: Assessment,
}

/// Installed packages, as the root's own database names them.
#[derive(Debug)]
pub enum Packages {
    /// dpkg's.
    Dpkg(Vec<Installed>),
    /// Those of another package manager.
    Other(Vec<Component>),
}

impl Packages {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Dpkg(packages) => packages.len(),
            Self::Other(packages) => packages.len(),
        }
    }

    /// As components, for reports that list them.
    #[must_use]
    pub fn into_components(self, distribution: &Distribution) -> Vec<Component> {
        match self {
            Self::Dpkg(packages) => packages.iter().map(|package| Component::installed(package, distribution)).collect(),
            Self::Other(packages) => packages,
        }
    }
}

impl<'a> Judge<'a> {
    /// Asks now.
    #[must_use]
    pub fn new(database: &'a Database<Blocks>, feed_days_max: Option<u32>) -> Self {
        Self { database, feed_days_max, now: clock(), vex: Given::default() }
    }

    /// Assesses a root by its package database alone: whether a fix is installable here stays open.
    ///
    /// # Errors
    /// Where the root or the database cannot be read.
    pub fn quick(&self, root: &Root) -> Result<Quick, Error> {
        if let Some(foreign) = foreign::read(root) {
            let (distribution, packages) = (foreign.distribution.clone(), foreign.components.clone());
            let system = distribution.clone().unwrap_or_default();
            let items = apply::of_components(&system, &packages, components::label);
            let (distribution, mut assessment) = components::document(self.database, foreign, self.now, self.feed_days_max)
                .map(|(_, assessment)| (distribution.unwrap_or_default(), assessment))?;
            apply::apply(self.database, &self.vex, || items, &mut assessment)?;
            return Ok(Quick { distribution, architecture: String::new(), packages: Packages::Other(packages), assessment });
        }
        let facts = Facts::read_packages(root)?;
        let kernel = kernel(root);
        let mut assessment = self.ask(&facts.0, &facts.1.packages, None, &BTreeMap::new(), kernel.as_deref())?;
        assessment.unknown.extend(facts.1.unknown);
        let architecture = facts.1.architectures.first().cloned().unwrap_or_default();
        Ok(Quick { distribution: facts.0, architecture, packages: Packages::Dpkg(facts.1.packages), assessment })
    }

    /// The assessment of nothing: feeds and database alone.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn nothing(&self) -> Result<Assessment, fother_core::advisory::reader::Error> {
        components::document(self.database, fother_core::sbom::Sbom::default(), self.now, self.feed_days_max).map(|(_, nothing)| nothing)
    }

    /// Adds findings of language packages to an assessment.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn add(
        &self,
        distribution: &Distribution,
        found: &[Component],
        assessment: &mut Assessment,
    ) -> Result<(), fother_core::advisory::reader::Error> {
        components::add(self.database, distribution, found, self.now, self.feed_days_max, assessment)?;
        apply::apply(self.database, &self.vex, || apply::of_components(distribution, found, components::label), assessment)
    }

    /// Assesses a root with what its archives offer, and says which update closes what.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn with_archives(
        &self,
        root: &Root,
        facts: &Facts,
        assessed: &mut Assessed,
    ) -> Result<Assessment, fother_core::advisory::reader::Error> {
        let offers: Vec<Offer> = assessed
            .updates
            .iter()
            .map(|update| Offer {
                name: update.name.clone(),
                arch: update.arch.clone(),
                source: update.source.clone(),
                source_version: update.source_to.as_str().to_owned(),
                kept: update.kept.clone(),
            })
            .collect();
        let kernel = kernel(root);
        // With no index at all, whether something is installable here is not known; it is not "no".
        let looked = assessed.archives.known.len() > 1;
        let offers = looked.then_some(offers.as_slice());
        let found = self.ask(&facts.distribution, &facts.database.packages, offers, &assessed.foreign, kernel.as_deref())?;
        for (name, origin) in &assessed.foreign {
            let why = format!("from the archive of {origin}: the distribution's advisories do not speak of it");
            assessed.not_assessed.push(fother_core::resolution::KeptBack { name: name.clone(), why });
        }
        for update in &mut assessed.updates {
            let mine = found.findings.iter().filter(|finding| finding.packages.contains(&update.name));
            let closed = mine.filter(|finding| {
                let fixed = finding.fixed.as_deref().filter(|_| finding.status == Status::Fixed);
                fixed.is_some_and(|fixed| Scheme::Dpkg.compare(update.source_to.as_str(), fixed).is_some_and(std::cmp::Ordering::is_ge))
            });
            let closed: BTreeSet<(Class, Closes)> = closed
                .map(|f| (f.class, Closes { cve: f.id.clone(), evidence: f.advisories.first().unwrap_or(&f.source).clone() }))
                .collect();
            if closed.iter().any(|(class, _)| *class == Class::Security) {
                update.class = UpdateClass::Security;
            }
            update.closes = closed.into_iter().map(|(_, closes)| closes).collect();
        }
        Ok(found)
    }

    /// Adds what is fixed on the disk but not in memory: findings of versions that some process still runs.
    ///
    /// # Errors
    /// Where the database is damaged.
    pub fn after_restart(
        &self,
        root: &Root,
        facts: &Facts,
        processes: &Processes,
        assessment: &mut Assessment,
    ) -> Result<(), fother_core::advisory::reader::Error> {
        let known: BTreeSet<(String, String)> = assessment.findings.iter().map(|f| (f.id.clone(), f.source.clone())).collect();
        let mut fresh = Vec::new();
        for old in outdated::outdated(root, &facts.database.packages, processes) {
            let who = outdated::who(&old.uses).into_iter().collect::<Vec<_>>().join(", ");
            let was = match outdated::as_it_was(&old) {
                Ok(was) => was,
                Err(why) => {
                    assessment
                        .unknown
                        .push(format!("{}: an older version still runs in {who}; which one is not known: {why}", old.package.name));
                    continue;
                }
            };
            let found = self.ask(&facts.distribution, &[was], None, &BTreeMap::new(), None)?.findings;
            for mut finding in found.into_iter().filter(|f| !known.contains(&(f.id.clone(), f.source.clone()))) {
                finding.in_effect = host::InEffect::AfterRestart;
                finding.installable = host::Installable::Yes { packages: Vec::new() };
                finding.in_use = old.uses.answer;
                finding.in_use_because = format!("{}: {}; restart {who}", old.package.name, old.uses.sentence());
                fresh.push(finding);
            }
            if !assessment.in_use.iter().any(|one| one.package == old.uses.package) {
                assessment.in_use.push(old.uses);
            }
        }
        assessment.findings.extend(fresh);
        assessment.findings.sort_by(|a, b| (&a.id, &a.source, &a.version).cmp(&(&b.id, &b.source, &b.version)));
        assessment.in_use.sort_by(|a, b| a.package.cmp(&b.package));
        Ok(())
    }

    fn ask(
        &self,
        distribution: &Distribution,
        packages: &[Installed],
        offers: Option<&[Offer]>,
        foreign: &BTreeMap<String, String>,
        kernel: Option<&str>,
    ) -> Result<Assessment, fother_core::advisory::reader::Error> {
        let subject = Host { distribution, packages, offers, foreign, kernel, now: self.now, feed_days_max: self.feed_days_max };
        let mut assessment = host::host(self.database, &subject)?;
        apply::apply(self.database, &self.vex, || apply::of_installed(distribution, packages), &mut assessment)?;
        Ok(assessment)
    }
}

/// Release of the running kernel, where it is one of this root's: not for other roots, not in containers.
fn kernel(root: &Root) -> Option<String> {
    let running = root.is_live().then(crate::reboot::Running::here)?;
    (!running.container).then_some(running.kernel)
}
