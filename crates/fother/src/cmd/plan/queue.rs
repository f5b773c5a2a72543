//! The ranked queue of a plan: what its signed packages' changelogs close, with what advisories know about it.

use crate::{
    client::Client,
    cmd::findings,
    failure::{Failure, REFUSED},
};
use fother_core::{
    Digest,
    advisory::{
        Day,
        reader::{Database, VulnInfo},
    },
    plan::Cohort,
    rank::{self, Queue, Update, offered, rules::Pack},
};
use fother_feeds::database::Blocks;
use fother_host::scan::clock;

/// The queue of a plan's transactions.
pub fn of(client: &Client, plan: Digest, database: Option<&Database<Blocks>>, exposed: Option<&str>) -> Result<Queue, Failure> {
    let mut changes = Vec::new();
    for (cohort, _) in super::rehearsals(client, plan)? {
        changes.extend(client.blob::<Cohort>("cohort", cohort)?.changes);
    }
    let sources = offered::sources(&changes);
    let mut known: std::collections::BTreeMap<&str, VulnInfo> = std::collections::BTreeMap::new();
    if let Some(database) = database {
        for closes in sources.values().flat_map(|update| &update.closes) {
            known.extend(database.vuln_by_id(&closes.cve)?.map(|vuln| (closes.cve.as_str(), vuln)));
        }
    }
    let found = offered::findings(&sources, &|id| known.get(id).cloned());
    let packs = Pack::built_in().map_err(|why| Failure::new(REFUSED, why, ""))?;
    Ok(rank::queue(&found, findings::asset(exposed), &packs, Day::of(clock())))
}

/// One line of a queue, for people.
pub fn line(place: usize, update: &Update) -> String {
    let due = update.deadline.as_ref().map_or_else(
        || "no deadline".to_owned(),
        |deadline| {
            let missing = if deadline.missing.is_empty() { String::new() } else { format!(", missing: {}", deadline.missing.join(", ")) };
            format!("due {} ({}{missing})", deadline.day, deadline.pack)
        },
    );
    let because = update.reasons.first().map_or("", String::as_str);
    format!("{place}. {} → {}: closes {}; {due}; {because}", update.source, update.to.as_deref().unwrap_or("-"), update.closes.len())
}
