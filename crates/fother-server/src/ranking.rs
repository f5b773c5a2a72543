//! A plan's updates as a ranked queue: what their signed packages' changelogs close, what advisories know about it, by when, and who runs
//! the code. Derived from blobs and the advisory database; changes nothing.

use crate::{Error, engine::Engine, error::refuse, fleet::damaged};
use fother_core::{
    Digest,
    advisory::{
        Day,
        reader::{self, FeedInfo, VulnInfo},
    },
    assess::in_use::{self, PackageUse, Told},
    id::HostId,
    plan::Cohort,
    rank::{
        self, Asset, Queue, offered,
        rules::Pack,
        select::{Selected, Wish, select},
    },
    resolution::Resolution,
    state::State,
};
use serde::Serialize;
use std::collections::BTreeMap;

/// Most hosts that are named in one line on what is not known.
const NAMED_MAX: usize = 10;

/// A plan's updates, the most urgent first.
#[derive(Debug, Serialize)]
pub(crate) struct Ranked {
    /// The queue.
    pub queue: Queue,
    /// What of it was asked for, and what a plan with that alone leaves out.
    pub selected: Option<Selected>,
    /// Feeds that it rests on.
    pub feeds: Vec<FeedInfo>,
    /// What could not be told, for people.
    pub unknown: Vec<String>,
}

/// The rule packs that this program brings.
pub(crate) fn packs() -> Result<Vec<Pack>, Error> {
    Pack::built_in().map_err(Error::Damaged)
}

impl Engine {
    /// Who runs the code of packages that hosts would change, by what each said when it resolved; hosts that said nothing are named.
    pub(crate) fn in_use(&self, state: &State, hosts: &[HostId]) -> Result<(BTreeMap<String, Told>, Vec<String>), Error> {
        let (mut facts, mut silent): (Vec<(&str, Vec<PackageUse>)>, Vec<&str>) = (Vec::new(), Vec::new());
        for host in hosts.iter().filter_map(|id| state.hosts.get(id)) {
            let fits = host.resolution.filter(|(_, base)| host.base == Some(*base));
            let said = fits.map(|(digest, _)| self.get::<Resolution>(digest)).transpose()?.map(|resolution| resolution.in_use);
            match said.filter(|uses| !uses.is_empty()) {
                Some(uses) => facts.push((&host.hostname, uses)),
                None => silent.push(&host.hostname),
            }
        }
        let told = in_use::of_hosts(facts.iter().map(|(host, uses)| (*host, uses.as_slice())));
        let mut unknown = Vec::new();
        if !silent.is_empty() {
            let named: Vec<String> = silent.iter().take(NAMED_MAX).map(|name| fother_core::text::printable(name, 64)).collect();
            let more = if silent.len() > NAMED_MAX { format!(" and {} more", silent.len() - NAMED_MAX) } else { String::new() };
            unknown.push(format!("who runs the code on {}{more}: not told with the last resolution", named.join(", ")));
        }
        Ok((told, unknown))
    }

    /// The queue of a plan, and what of it is asked for.
    pub(crate) fn ranked(&self, plan: Digest, asset: Asset, wish: Option<Wish>) -> Result<Ranked, Error> {
        let state = self.state();
        let Some(known) = state.plans.get(&plan) else {
            return refuse("unknown-plan", format!("there is no plan {plan}"), "see `fother plan ls`");
        };
        let mut changes = Vec::new();
        let mut hosts = Vec::new();
        for (cohort, about) in &known.cohorts {
            changes.extend(self.get::<Cohort>(*cohort)?.changes);
            hosts.extend(about.hosts.iter().copied());
        }
        let sources = offered::sources(&changes);
        let (mut feeds, mut unknown, mut vulns) = (Vec::new(), Vec::new(), BTreeMap::<String, VulnInfo>::new());
        let today = Day::of(self.clock.now());
        match self.fleet.advisories() {
            Ok(database) => {
                for closes in sources.values().flat_map(|update| &update.closes) {
                    let known = database.vuln_by_id(&closes.cve).map_err(damaged)?;
                    vulns.extend(known.map(|vuln| (closes.cve.clone(), vuln)));
                }
                feeds = database.feeds().map_err(damaged)?;
                unknown.extend(reader::stale(&feeds, today, None));
            }
            // Changelogs of signed packages say what is closed; scores are missing, which takes the stricter branch.
            Err(error) => unknown.push(format!("scores and exploits: {error}")),
        }
        let mut findings = offered::findings(&sources, &|id| vulns.get(id).cloned());
        let (told, silent) = self.in_use(&state, &hosts)?;
        in_use::tell(&mut findings, &told);
        unknown.extend(silent);
        let queue = rank::queue(&findings, asset, &packs()?, today);
        let selected = wish.map(|wish| select(&queue, wish));
        Ok(Ranked { queue, selected, feeds, unknown })
    }
}
