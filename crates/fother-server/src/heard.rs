//! When hosts were heard of, and how much they ask: known in memory, written down now and then, never an event. Touches the store in one place.

use crate::{Error, engine::Engine, engine::lock};
use fother_core::{Timestamp, id::HostId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

/// Most check-ins and blobs of one host per minute.
pub const HOST_REQUESTS_MAX: u32 = 600;
/// Most blob bytes of one host per minute.
pub const HOST_BYTES_MAX: u64 = 128 << 20;
/// How long what was heard may be in memory only. A server that starts waits for every host anew, so that nothing hangs on it.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Hosts that are written down at once.
const SAVED_MAX: usize = 10_000;

/// What one host asked lately.
#[derive(Clone, Copy, Debug, Default)]
struct Host {
    at: Timestamp,
    /// From when on its silence counts.
    since: Timestamp,
    /// Check-ins and blob bytes of this minute.
    minute: u64,
    requests: u32,
    bytes: u64,
}

/// All hosts that were heard of, also in the order of time: whoever looks for silent ones looks at those only.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    hosts: HashMap<HostId, Host>,
    /// Those of which silence would be news, the one that is silent longest first.
    order: BTreeSet<(Timestamp, HostId)>,
    unsaved: BTreeSet<HostId>,
    saved: Timestamp,
}

impl Heard {
    /// What earlier servers wrote down, as a start.
    pub(crate) fn begin(&mut self, saved: impl Iterator<Item = (HostId, Timestamp)>) {
        self.hosts.extend(saved.map(|(host, at)| (host, Host { at, ..Host::default() })));
    }

    /// Silence of these counts from `at` on, however long ago they were heard of.
    pub(crate) fn await_all(&mut self, hosts: impl Iterator<Item = HostId>, at: Timestamp) {
        for host in hosts {
            let known = self.hosts.entry(host).or_default();
            self.order.remove(&(known.since, host));
            known.since = known.since.max(at);
            self.order.insert((known.since, host));
        }
    }

    /// A host is heard of.
    pub(crate) fn note(&mut self, host: HostId, at: Timestamp) {
        let known = self.hosts.entry(host).or_default();
        self.order.remove(&(known.since, host));
        known.at = known.at.max(at);
        known.since = known.at;
        self.order.insert((known.since, host));
        self.unsaved.insert(host);
    }

    /// Other replicas have heard of these.
    pub(crate) fn learn(&mut self, heard: impl Iterator<Item = (HostId, Timestamp)>) {
        for (host, at) in heard {
            let known = self.hosts.entry(host).or_default();
            if at > known.since {
                let waited = self.order.remove(&(known.since, host));
                (known.at, known.since) = (known.at.max(at), at);
                if waited {
                    self.order.insert((at, host));
                }
            }
        }
    }

    /// When each host was heard of last.
    pub(crate) fn times(&self) -> BTreeMap<HostId, Timestamp> {
        self.hosts.iter().map(|(host, heard)| (*host, heard.at)).collect()
    }

    /// When any host was heard of last.
    pub(crate) fn newest(&self) -> Option<Timestamp> {
        self.hosts.values().map(|heard| heard.at).max()
    }

    /// Hosts that were not heard of for `after`, with the time from which their silence counts. Those that `is_gone` is true of are looked at once.
    pub(crate) fn silent(&mut self, now: Timestamp, after: Duration, is_gone: impl Fn(&HostId) -> bool) -> Vec<(HostId, Timestamp)> {
        let late: Vec<_> = self.order.iter().take_while(|(at, _)| now.since(*at) > after).copied().collect();
        let (gone, late): (Vec<_>, Vec<_>) = late.into_iter().partition(|(_, host)| is_gone(host));
        for waited in &gone {
            self.order.remove(waited);
        }
        late.into_iter().map(|(at, host)| (host, at)).collect()
    }

    /// Counts a host's request of `bytes`; false where it asks too much in this minute.
    pub(crate) fn allow(&mut self, host: HostId, bytes: u64, now: Timestamp) -> bool {
        let minute = now.ms() / 60_000;
        let host = self.hosts.entry(host).or_default();
        if host.minute != minute {
            (host.minute, host.requests, host.bytes) = (minute, 0, 0);
        }
        host.requests = host.requests.saturating_add(1);
        host.bytes = host.bytes.saturating_add(bytes);
        host.requests <= HOST_REQUESTS_MAX && host.bytes <= HOST_BYTES_MAX
    }

    /// What is to be written down now, if anything.
    fn due(&mut self, now: Timestamp) -> Vec<(String, Timestamp)> {
        if now.since(self.saved) < SAVE_EVERY {
            return Vec::new();
        }
        self.saved = now;
        let some: Vec<HostId> = self.unsaved.iter().take(SAVED_MAX).copied().collect();
        for host in &some {
            self.unsaved.remove(host);
        }
        some.into_iter().filter_map(|host| Some((host.to_string(), self.hosts.get(&host)?.at))).collect()
    }
}

impl Engine {
    /// Writes down who was heard of since, once in a while.
    pub(crate) fn save_heard(&self) -> Result<(), Error> {
        let due = lock(&self.heard).due(self.clock.now());
        if due.is_empty() { Ok(()) } else { Ok(self.store.seen(&due)?) }
    }

    /// Counts a host's request of `bytes`; false where it asks too much in this minute.
    pub(crate) fn allow(&self, host: HostId, bytes: u64) -> bool {
        lock(&self.heard).allow(host, bytes, self.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u64) -> HostId {
        HostId::new(n, [0; 10])
    }

    fn at(s: u64) -> Timestamp {
        Timestamp(s * 1_000)
    }

    #[test]
    fn silence_counts_from_the_last_word_or_the_servers_start_and_the_gone_are_forgotten() {
        let mut heard = Heard::default();
        heard.begin([(host(1), at(1)), (host(2), at(2))].into_iter());
        heard.await_all([host(1), host(2), host(3)].into_iter(), at(100));
        let minute = Duration::from_secs(60);
        assert_eq!(heard.silent(at(150), minute, |_| false), []);
        heard.note(host(2), at(155));
        let silent = heard.silent(at(161), minute, |gone| *gone == host(3));
        assert_eq!(silent, [(host(1), at(100))]);
        assert_eq!(heard.silent(at(161), minute, |_| false), [(host(1), at(100))], "said again until it is true");
        assert_eq!(heard.silent(at(300), minute, |_| false).len(), 2);
    }

    #[test]
    fn what_was_heard_is_written_down_in_turn() {
        let mut heard = Heard::default();
        heard.note(host(1), at(10));
        assert_eq!(heard.due(at(10)), [(host(1).to_string(), at(10))]);
        heard.note(host(1), at(12));
        assert_eq!((heard.due(at(12)).len(), heard.due(at(16)).len(), heard.due(at(30)).len()), (0, 1, 0));
    }

    #[test]
    fn a_host_may_ask_so_much_a_minute() {
        let mut heard = Heard::default();
        let asks = (0..=HOST_REQUESTS_MAX).map(|_| heard.allow(host(1), 0, at(0))).collect::<Vec<_>>();
        assert_eq!(asks.iter().filter(|fine| !**fine).count(), 1);
        assert!(heard.allow(host(2), HOST_BYTES_MAX, at(0)) && !heard.allow(host(2), 1, at(1)) && heard.allow(host(2), 1, at(60)));
    }
}
