//! Reboot locks for hosts that others patch (FleetLock protocol of Zincati): they obey the same windows, freezes and budgets as Fother's own
//! rollouts, and count in them. A lock is freed by the host that holds it, or by a person; never by a timer. Pure.

use crate::{
    Timestamp,
    event::Data,
    id::HostId,
    inventory::Labels,
    policy::{Group, Policy, admission, calendar},
    predict,
    rollout::{Rollout, budget},
    state::State,
    window::{self, NotNow},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// Longest id of a client, in bytes; Zincati's has 32 hexadecimal digits.
pub const CLIENT_BYTES_MAX: usize = 128;
/// Most clients.
pub const CLIENTS_MAX: usize = 10_000;
/// Days that are looked through for an opening of the window.
const WINDOW_DAYS: u32 = 14;
/// What a client says where its administrator named no group.
pub const DEFAULT_GROUP: &str = "default";

/// A host that others patch and that asks here before it reboots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Client {
    /// What it counts as in budgets.
    pub host: HostId,
    /// For people.
    pub name: String,
    /// Assigned by a person; they decide in which groups it counts.
    pub labels: Labels,
    /// Since when it may reboot and has not said that it is back.
    pub held: Option<Timestamp>,
}

impl Client {
    fn zone(&self) -> &str {
        self.labels.get("zone").map(String::as_str).unwrap_or_default()
    }
}

/// Why a request changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Nobody registered this id.
    Unknown,
    /// The group that it names is not one of those that its labels put it into, or there is none.
    NotInGroup(String),
    /// A person stopped everything.
    Stopped(String),
    /// A freeze, or another group, holds it up.
    HeldUp(String),
    /// The window is closed, or closes too soon.
    Closed(String),
    /// The disruption budget has no room.
    Full(String),
}

impl Denied {
    /// A stable word for programs: `kind` of the protocol's errors.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unknown => "unknown_client",
            Self::NotInGroup(_) => "not_in_group",
            Self::Stopped(_) => "stopped",
            Self::HeldUp(_) => "held_up",
            Self::Closed(_) => "window_closed",
            Self::Full(_) => "budget_full",
        }
    }

    /// Whether asking again later may help: 409 rather than 403.
    #[must_use]
    pub fn is_for_now(&self) -> bool {
        match self {
            Self::Unknown | Self::NotInGroup(_) => false,
            Self::Stopped(_) | Self::HeldUp(_) | Self::Closed(_) | Self::Full(_) => true,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("this id is not registered: `fother lock add`"),
            Self::NotInGroup(why) | Self::HeldUp(why) | Self::Closed(why) | Self::Full(why) => f.write_str(why),
            Self::Stopped(reason) => write!(f, "everything is stopped: {reason}"),
        }
    }
}

/// A person registers a client.
///
/// # Errors
/// For people: a malformed or known id, or too many.
pub fn register(state: &State, client: &str, host: HostId, name: &str, labels: Labels) -> Result<Data, String> {
    let plain =
        |text: &str, max: usize| (1..=max).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !plain(client, CLIENT_BYTES_MAX) || !plain(name, 64) {
        return Err("id and name are letters, digits, `-`, `_` and `.`, at most 128 and 64 of them".to_owned());
    }
    if labels.len() > 32 || !labels.iter().all(|(key, value)| plain(key, 64) && plain(value, 64)) {
        return Err("labels: at most 32, names and values of letters, digits, `-`, `_`, `.`, at most 64 long".to_owned());
    }
    if let Some(known) = state.lock_clients.get(client) {
        return Err(format!("{client} is registered as {}; remove it first", known.name));
    }
    if state.lock_clients.len() >= CLIENTS_MAX {
        return Err(format!("there are {CLIENTS_MAX} clients already"));
    }
    Ok(Data::LockRegistered { client: client.to_owned(), host, name: name.to_owned(), labels })
}

/// `pre-reboot`: the client asks whether it may leave service now. Asking again while it holds the lock changes nothing.
///
/// # Errors
/// Why not.
pub fn pre_reboot(policy: &Policy, state: &State, client: &str, group: &str, now: Timestamp) -> Result<Vec<Data>, Denied> {
    let (known, groups) = groups_of(policy, state, client, group)?;
    if known.held.is_some() {
        return Ok(Vec::new());
    }
    if let Some(reason) = &state.stopped {
        return Err(Denied::Stopped(reason.clone()));
    }
    for (name, group) in &groups {
        admission::frozen(policy, name, None, now).map_err(|held| Denied::HeldUp(held.to_string()))?;
        others_are_quiet(policy, state, name, group)?;
        is_open(policy, name, now)?;
        has_room(state, name, group, known)?;
    }
    Ok(vec![Data::LockTaken { client: client.to_owned() }])
}

/// `steady-state`: the client says that it serves. Without a lock that changes nothing.
///
/// # Errors
/// Where the client is not known.
pub fn steady_state(state: &State, client: &str) -> Result<Vec<Data>, Denied> {
    let known = state.lock_clients.get(client).ok_or(Denied::Unknown)?;
    Ok(known.held.map(|_| Data::LockReleased { client: client.to_owned(), reason: None }).into_iter().collect())
}

/// A person frees a lock, or strikes a client off.
///
/// # Errors
/// For people.
pub fn by_person(state: &State, client: &str, reason: &str, forget: bool) -> Result<Data, String> {
    let known = state.lock_clients.get(client).ok_or_else(|| format!("there is no client {client}; see `fother lock ls`"))?;
    if forget {
        return Ok(Data::LockForgotten { client: client.to_owned(), reason: reason.to_owned() });
    }
    if known.held.is_none() {
        return Err(format!("{} holds no lock", known.name));
    }
    Ok(Data::LockReleased { client: client.to_owned(), reason: Some(reason.to_owned()) })
}

/// Groups of a policy with their names.
type Groups<'a> = Vec<(&'a str, &'a Group)>;

/// The client and every group that its labels put it into; the one that it names must be among them.
fn groups_of<'a>(policy: &'a Policy, state: &'a State, client: &str, group: &str) -> Result<(&'a Client, Groups<'a>), Denied> {
    let known = state.lock_clients.get(client).ok_or(Denied::Unknown)?;
    let mine = |group: &&Group| crate::policy::selects(&group.select, &known.labels).unwrap_or(false);
    let groups: Vec<(&str, &Group)> =
        policy.group.iter().filter(|(_, group)| mine(group)).map(|(name, group)| (name.as_str(), group)).collect();
    if groups.is_empty() {
        return Err(Denied::NotInGroup(format!("the labels of {} put it into no group of the policy", known.name)));
    }
    let named = group == DEFAULT_GROUP || groups.iter().any(|(name, _)| *name == group);
    if named { Ok((known, groups)) } else { Err(Denied::NotInGroup(format!("{} is in no group of that name", known.name))) }
}

fn is_open(policy: &Policy, group: &str, now: Timestamp) -> Result<(), Denied> {
    let openings = calendar::openings(policy, group, None, now, WINDOW_DAYS).map_err(|error| Denied::Closed(error.to_string()))?;
    if openings.is_empty() {
        return Ok(());
    }
    window::fits(&openings, now, predict::REBOOT).map_err(|why| match why {
        NotNow::NextAt(next) => Denied::Closed(format!("the window of {group} opens at {next}")),
        NotNow::Never => Denied::Closed(format!("no window of {group} has room for a reboot in {WINDOW_DAYS} days")),
    })
}

/// Groups that go first have no rollout, and groups that exclude this one no host out of service.
fn others_are_quiet(policy: &Policy, state: &State, name: &str, group: &Group) -> Result<(), Denied> {
    let running = |first: &str| {
        state.active.iter().filter_map(|id| state.rollouts.get(id)).find(|one| one.setup.group == first && one.ended.is_none())
    };
    if let Some(first) = group.after.iter().find_map(|first| running(first)) {
        return Err(Denied::HeldUp(format!("group {} goes first: {} runs", first.setup.group, first.id)));
    }
    let excluded = policy
        .group
        .iter()
        .filter(|(other, theirs)| *other != name && (group.never_with.contains(*other) || theirs.never_with.contains(name)));
    for (other, theirs) in excluded {
        if let Some(host) = out_of(state, &theirs.select).keys().next() {
            return Err(Denied::HeldUp(format!("never together with group {other}: its {host} is out of service")));
        }
    }
    Ok(())
}

fn has_room(state: &State, name: &str, group: &Group, client: &Client) -> Result<(), Denied> {
    let out = out_of(state, &group.select);
    if out.contains_key(&client.host) {
        return Ok(());
    }
    let sizes = state.zone_sizes(&group.select);
    let size = sizes.values().sum::<u32>() as usize;
    let full = |what: &str| {
        let names: Vec<String> = out.keys().take(8).map(|host| state.host_name(host)).collect();
        let holding = if names.is_empty() {
            "nobody is out, but the group is too small".to_owned()
        } else {
            format!("out of service: {}", names.join(", "))
        };
        Err(Denied::Full(format!("the disruption budget of {name} is used up{what}; {holding}")))
    };
    if out.len() >= budget::most(&group.budget, size, usize::from(size > 1)) {
        return full("");
    }
    let mut by_zone: BTreeMap<&str, usize> = BTreeMap::new();
    out.values().for_each(|zone| *by_zone.entry(zone).or_insert(0) += 1);
    let zone_size = sizes.get(client.zone()).copied().unwrap_or(0) as usize;
    if !budget::zone_has_room(&group.budget, client.zone(), zone_size, &by_zone) {
        return full(&format!(" in zone {}", client.zone()));
    }
    Ok(())
}

/// Members of a group that are out of service, with their zones: in rollouts, not heard of, or holding a lock.
fn out_of(state: &State, select: &str) -> BTreeMap<HostId, String> {
    let at_work: BTreeSet<HostId> = state.active.iter().filter_map(|id| state.rollouts.get(id)).flat_map(Rollout::out).collect();
    let mut known: BTreeMap<&Labels, bool> = BTreeMap::new();
    // A selector that fails takes in too many rather than too few.
    let mut member = |labels| *known.entry(labels).or_insert_with(|| crate::policy::selects(select, labels).unwrap_or(true));
    let zone = |labels: &Labels| labels.get("zone").cloned().unwrap_or_default();
    let mut out = BTreeMap::new();
    for id in at_work.iter().chain(&state.lost) {
        if let Some(host) = state.hosts.get(id).filter(|host| !host.retired)
            && member(&host.labels)
        {
            out.insert(*id, zone(&host.labels));
        }
    }
    for client in state.lock_clients.values().filter(|client| client.held.is_some()) {
        if member(&client.labels) {
            out.insert(client.host, zone(&client.labels));
        }
    }
    out
}
