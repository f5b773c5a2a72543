//! Which services run here, where they listen, and which of them still map files that were replaced. Asks systemd about what `processes` saw.

use crate::{
    command::Program,
    outside::{self, Question},
    processes::{self, Code, Processes},
};
use fother_core::{inventory::Service, text::printable};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

/// Most files and addresses that are reported for one unit.
pub const FACTS_PER_UNIT_MAX: usize = 256;
const SYSTEMCTL_LIMIT: Duration = Duration::from_secs(5);

/// Services of this machine and what could not be looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// Sorted by unit.
    pub services: Vec<Service>,
    /// By name with the reason.
    pub unknown: Vec<String>,
}

#[derive(Default)]
struct Found {
    state: String,
    listens: BTreeSet<String>,
    stale_files: BTreeSet<String>,
}

/// Looks at every process of this machine.
#[must_use]
pub fn collect() -> Services {
    of(&processes::look())
}

/// The services among processes that were looked at.
#[must_use]
pub fn of(processes: &Processes) -> Services {
    let mut units: BTreeMap<String, Found> = BTreeMap::new();
    let mut unknown = processes.unknown.clone();
    match outside::ask(Question::Units).unwrap_or_else(|| Ok(unit_states())).and_then(|states| states) {
        Ok(states) => units.extend(states.into_iter().map(|(unit, state)| (unit, Found { state, ..Found::default() }))),
        Err(why) => unknown.push(format!("states of units: {why}")),
    }
    let mut closed = BTreeSet::new();
    for process in processes.list.iter().filter(|process| !process.contained) {
        let Some(unit) = &process.unit else { continue };
        let found = units.entry(unit.clone()).or_default();
        match &process.code {
            Code::Files(files) => {
                found.stale_files.extend(files.iter().filter(|file| file.deleted).map(|file| printable(&file.path, 512)));
            }
            Code::Closed(_) => _ = closed.insert(unit),
        }
        let own = process.listens.iter().filter(|listens| listens.table.starts_with(processes::OWN_TABLES));
        found.listens.extend(own.map(|listens| listens.address.clone()));
    }
    unknown.extend(closed.into_iter().map(|unit| format!("files mapped by {unit}: not readable by this user")));
    unknown.extend(
        processes
            .unowned
            .iter()
            .take(FACTS_PER_UNIT_MAX)
            .map(|address| format!("who listens on {address}: its process cannot be looked at by this user")),
    );
    Services { services: finish(units), unknown }
}

fn finish(units: BTreeMap<String, Found>) -> Vec<Service> {
    let keep = |(unit, found): (String, Found)| {
        let state = if found.state.is_empty() { "active".to_owned() } else { found.state };
        let facts = |set: BTreeSet<String>| set.into_iter().take(FACTS_PER_UNIT_MAX).collect();
        Service { unit, state, listens: facts(found.listens), stale_files: facts(found.stale_files) }
    };
    units.into_iter().map(keep).collect()
}

/// Units that run or failed, with their state; an error where systemd does not run.
pub(crate) fn unit_states() -> Result<BTreeMap<String, String>, String> {
    if !Path::new("/run/systemd/system").is_dir() {
        return Err("systemd does not run here".into());
    }
    let args = ["list-units", "--type=service", "--all", "--plain", "--no-legend", "--no-pager"];
    let output = Program::new("systemctl", SYSTEMCTL_LIMIT).args(args).run().map_err(|error| error.to_string())?;
    if output.code != Some(0) {
        return Err(format!("systemctl: {}", printable(output.stderr.trim(), 200)));
    }
    Ok(parse_units(&output.stdout))
}

fn parse_units(table: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut fields = line.split_whitespace();
        let (unit, _load, active) = (fields.next()?, fields.next()?, fields.next()?);
        (active != "inactive").then(|| (printable(unit, 256), printable(active, 40)))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inactive_units_are_not_services_of_this_host() {
        let table = "nginx.service loaded active running Web\ncron.service loaded inactive dead Cron\nx.service loaded failed failed X y\n";
        let units = parse_units(table);
        assert_eq!(
            units.into_iter().collect::<Vec<_>>(),
            [("nginx.service".into(), "active".into()), ("x.service".into(), "failed".into())]
        );
    }
}
