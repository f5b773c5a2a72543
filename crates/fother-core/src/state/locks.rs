//! Clients of reboot locks in the fold: members of their groups like hosts, and out of service while they hold a lock.

use super::{State, is_member, zone, zone_sizes};
use crate::{
    Timestamp,
    event::Data,
    id::HostId,
    reboot_lock::Client,
    rollout::{Out, Why},
};
use std::collections::BTreeMap;

impl State {
    pub(super) fn fold_lock(&mut self, data: &Data, at: Timestamp) {
        match data {
            Data::LockRegistered { client, host, name, labels } => {
                let new = Client { host: *host, name: name.clone(), labels: labels.clone(), held: None };
                self.lock_clients.insert(client.clone(), new);
                self.member(*host, true);
            }
            Data::LockTaken { client } => self.hold(client, Some(at)),
            Data::LockReleased { client, .. } => self.hold(client, None),
            Data::LockForgotten { client, .. } => {
                if let Some(host) = self.lock_clients.get(client).map(|known| known.host) {
                    self.unblock(host);
                    self.member(host, false);
                }
                self.lock_clients.remove(client);
            }
            _ => {}
        }
    }

    fn hold(&mut self, client: &str, held: Option<Timestamp>) {
        if let Some(known) = self.lock_clients.get_mut(client) {
            known.held = held;
            let host = known.host;
            self.unblock(host);
        }
    }

    /// Puts clients that hold a lock and belong to a group beside its hosts that are out of service.
    pub(super) fn locked_out(&self, select: &str, out: &mut BTreeMap<HostId, Out>) {
        let holding = self.lock_clients.values().filter(|client| client.held.is_some());
        for client in holding.filter(|client| is_member(select, &client.labels)) {
            out.insert(client.host, Out { zone: zone(&client.labels).to_owned(), why: Why::Working });
        }
    }

    /// Members of a group by zone, without those that left.
    #[must_use]
    pub fn zone_sizes(&self, select: &str) -> BTreeMap<String, u32> {
        zone_sizes(&self.hosts, &self.lock_clients, select)
    }

    /// What people call a host or a client of reboot locks.
    #[must_use]
    pub fn host_name(&self, id: &HostId) -> String {
        let client = || self.lock_clients.values().find(|client| client.host == *id).map(|client| client.name.clone());
        self.hosts.get(id).map(|host| host.hostname.clone()).or_else(client).unwrap_or_else(|| id.to_string())
    }
}
