//! Whether code of a vulnerable package runs: who has loaded it and where that process listens. Words and judgement; a host brings the facts.

use super::host::{Assessment, HostFinding};
use crate::text::printable;
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, collections::BTreeMap, net::SocketAddr};

/// Most processes that are told for one package; the others are counted.
pub const USES_MAX: usize = 8;
/// Most addresses in one sentence.
const ADDRESSES_MAX: usize = 3;

/// What is known about a package's code in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InUse {
    /// Not looked at: another root, an SBOM, advisories only.
    #[default]
    NotLooked,
    /// No process has loaded it now. That is no promise for the next minute: a program may be started at any time.
    NotLoaded,
    /// Looked at, but it could not be told.
    Unknown,
    /// A process has loaded it, or it is the booted kernel.
    Loaded,
    /// A process has loaded it that listens on an address which other machines can reach.
    Listening,
}

/// One process that has loaded a file of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// Name of the process as it calls itself; hostile, made printable.
    pub process: String,
    /// Its id; the lowest where several of one name and unit do the same.
    pub pid: u32,
    /// How many others of that name and unit do the same.
    pub others: usize,
    /// systemd unit.
    pub unit: Option<String>,
    /// A file of the package that it has mapped as code.
    pub file: String,
    /// What is mapped is no longer what stands there: the old version still runs.
    pub old: bool,
    /// Where it listens: `tcp 0.0.0.0:80`.
    pub listens: Vec<String>,
    /// Where these facts stand: `/proc/812/maps`, `/proc/net/tcp`.
    pub from: Vec<String>,
}

/// What is known about one binary package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageUse {
    /// Binary package.
    pub package: String,
    /// The answer.
    pub answer: InUse,
    /// The most exposed first, at most [`USES_MAX`].
    pub uses: Vec<Use>,
    /// Uses beyond those.
    pub more: usize,
    /// Why nobody is named, for people; empty where somebody is.
    pub why: String,
}

impl Use {
    /// Whether it listens on an address that is not this machine's own loopback.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.listens.iter().any(|address| !is_loopback(address))
    }

    fn sentence(&self) -> String {
        let mut text = format!("loaded by {} (pid {})", printable(&self.process, 64), self.pid);
        if self.old {
            text.push_str(" in a version that was replaced since");
        }
        if !self.listens.is_empty() {
            let mut addresses: Vec<&String> = self.listens.iter().collect();
            addresses.sort_by_key(|address| (is_loopback(address), address.as_str()));
            let shown: Vec<&str> = addresses.iter().take(ADDRESSES_MAX).map(|address| address.as_str()).collect();
            let more = self.listens.len().saturating_sub(ADDRESSES_MAX);
            text.push_str(&format!(", which listens on {}", shown.join(", ")));
            if more > 0 {
                text.push_str(&format!(" and {more} more"));
            }
        }
        text
    }
}

fn is_loopback(address: &str) -> bool {
    let socket = address.split_once(' ').and_then(|(_, socket)| socket.parse::<SocketAddr>().ok());
    // What cannot be read counts as reachable: the stricter branch.
    socket.is_some_and(|socket| socket.ip().to_canonical().is_loopback())
}

impl PackageUse {
    /// From the processes that were seen.
    #[must_use]
    pub fn loaded(package: String, mut uses: Vec<Use>) -> Self {
        uses.sort_by_key(|one| (Reverse(one.is_reachable()), Reverse(!one.listens.is_empty()), !one.old, one.pid));
        let answer = if uses.first().is_some_and(Use::is_reachable) { InUse::Listening } else { InUse::Loaded };
        let more = uses.len().saturating_sub(USES_MAX);
        uses.truncate(USES_MAX);
        Self { package, answer, uses, more, why: String::new() }
    }

    /// Where nobody was seen.
    #[must_use]
    pub fn without(package: String, answer: InUse, why: impl Into<String>) -> Self {
        Self { package, answer, why: why.into(), ..Self::default() }
    }

    /// The same with so many uses at most; the others are counted.
    #[must_use]
    pub fn brief(mut self, uses_max: usize) -> Self {
        self.more += self.uses.iter().skip(uses_max).map(|one| 1 + one.others).sum::<usize>();
        self.uses.truncate(uses_max);
        self
    }

    /// One sentence for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        let Some(first) = self.uses.first() else { return self.why.clone() };
        let others = self.uses.len() - 1 + self.more + self.uses.iter().map(|one| one.others).sum::<usize>();
        match others {
            0 => first.sentence(),
            1 => format!("{}, and by 1 other process", first.sentence()),
            _ => format!("{}, and by {others} other processes", first.sentence()),
        }
    }
}

/// What hosts' facts about one package come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The answer of the most exposed host.
    pub answer: InUse,
    /// Who runs it and where, for people.
    pub because: String,
    /// How many hosts give this answer.
    pub hosts: usize,
}

/// What is told about the packages of several hosts, each with its name.
#[must_use]
pub fn of_hosts<'a>(facts: impl IntoIterator<Item = (&'a str, &'a [PackageUse])>) -> BTreeMap<String, Told> {
    let mut best: BTreeMap<&str, (&str, &PackageUse, usize)> = BTreeMap::new();
    for (host, uses) in facts {
        for one in uses {
            let known = best.entry(one.package.as_str()).or_insert((host, one, 0));
            match one.answer.cmp(&known.1.answer) {
                std::cmp::Ordering::Greater => *known = (host, one, 1),
                std::cmp::Ordering::Equal => known.2 += 1,
                std::cmp::Ordering::Less => {}
            }
        }
    }
    let told = |(package, (host, one, hosts)): (&str, (&str, &PackageUse, usize))| {
        let others = match hosts {
            0 | 1 => String::new(),
            2 => " and 1 other host".to_owned(),
            _ => format!(" and {} other hosts", hosts - 1),
        };
        let because = format!("{package} on {}{others}: {}", printable(host, 64), printable(&one.sentence(), 400));
        (package.to_owned(), Told { answer: one.answer, because, hosts })
    };
    best.into_iter().map(told).collect()
}

/// Puts what hosts told on findings: a finding's answer is that of its most exposed package.
pub fn tell(findings: &mut [HostFinding], told: &BTreeMap<String, Told>) {
    for finding in findings {
        if let Some(most) = finding.packages.iter().filter_map(|package| told.get(package)).max_by_key(|told| told.answer) {
            (finding.in_use, finding.in_use_because) = (most.answer, most.because.clone());
        }
    }
}

/// Puts the facts on the findings: a finding's answer is that of its most exposed package.
pub fn apply(assessment: &mut Assessment, uses: Vec<PackageUse>) {
    let by_name: BTreeMap<&str, &PackageUse> = uses.iter().map(|one| (one.package.as_str(), one)).collect();
    for finding in &mut assessment.findings {
        let mine = finding.packages.iter().filter_map(|name| by_name.get(name.as_str()));
        if let Some(most) = mine.max_by_key(|one| one.answer) {
            finding.in_use = most.answer;
            finding.in_use_because = match most.uses.is_empty() {
                true => most.sentence(),
                false => format!("{}: {}", most.package, most.sentence()),
            };
        }
    }
    assessment.in_use = uses;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(process: &str, pid: u32, listens: &[&str]) -> Use {
        Use {
            process: process.into(),
            pid,
            others: 0,
            unit: None,
            file: "/usr/lib/x.so".into(),
            old: false,
            listens: listens.iter().map(|address| (*address).to_owned()).collect(),
            from: vec![format!("/proc/{pid}/maps")],
        }
    }

    #[test]
    fn who_can_be_reached_is_named_first() {
        let found = PackageUse::loaded(
            "libssl3".into(),
            vec![one("cron", 3, &[]), one("local", 4, &["tcp 127.0.0.1:25"]), one("nginx", 812, &["tcp 127.0.0.1:81", "tcp 0.0.0.0:80"])],
        );
        assert_eq!(found.answer, InUse::Listening);
        assert_eq!(
            found.sentence(),
            "loaded by nginx (pid 812), which listens on tcp 0.0.0.0:80, tcp 127.0.0.1:81, and by 2 other processes"
        );
    }

    #[test]
    fn loopback_alone_is_not_reachable_and_what_cannot_be_read_is() {
        for (address, reachable) in
            [("tcp 127.0.0.1:1", false), ("tcp [::1]:1", false), ("tcp [::ffff:127.0.0.1]:1", false), ("tcp [::]:1", true), ("tcp ?", true)]
        {
            assert_eq!(one("x", 1, &[address]).is_reachable(), reachable, "{address}");
        }
    }

    #[test]
    fn of_several_hosts_the_most_exposed_one_is_named_and_those_like_it_are_counted() {
        let of = |listens: &[&str]| vec![PackageUse::loaded("nginx".into(), vec![one("nginx", 9, listens)])];
        let (open, closed) = (of(&["tcp 0.0.0.0:80"]), of(&["tcp 127.0.0.1:80"]));
        let told = of_hosts([("db", closed.as_slice()), ("web-1", &open), ("web-2", &open)]);
        assert_eq!((told["nginx"].answer, told["nginx"].hosts), (InUse::Listening, 2));
        assert_eq!(told["nginx"].because, "nginx on web-1 and 1 other host: loaded by nginx (pid 9), which listens on tcp 0.0.0.0:80");
    }

    #[test]
    fn a_name_that_would_act_on_the_terminal_cannot() {
        let found = PackageUse::loaded("x".into(), vec![one("\x1b[2Jx\u{202e}", 1, &[])]);
        assert!(!found.sentence().contains(['\x1b', '\u{202e}']), "{}", found.sentence());
    }
}
