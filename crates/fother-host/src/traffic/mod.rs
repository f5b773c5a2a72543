//! Takes this host out of its load balancers and puts it back, as root declared it in `agent.toml`; talks to those balancers, or writes one file.
//!
//! The host does it itself, within its journalled transaction: nothing is touched before its sessions are gone, whoever dies meanwhile, and
//! no server learns a balancer's address. A drain is an act of availability: what it can be abused for is denial.

mod haproxy;
mod state_file;

use serde::{Deserialize, Serialize};
use std::{thread, time::Duration};

/// Most balancers of one host.
pub const BALANCERS_MAX: usize = 8;
/// Longest wait for sessions to end, or for the balancer to use the host again, in seconds.
pub const WAIT_S_MAX: u32 = 600;
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// One `[[traffic]]` of the root-owned `agent.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Balancer {
    /// HAProxy, through its runtime API.
    Haproxy {
        /// `192.0.2.1:9999`, or the path of a unix socket; `level admin`.
        address: String,
        /// Name of the backend.
        backend: String,
        /// Name of this host in it.
        server: String,
        /// Longest wait for sessions to end, and for the host to be used again, in seconds.
        #[serde(default = "wait_s")]
        wait_s: u32,
    },
    /// A file that is there while this host is out: this host's own service answers 503 then, and the balancer goes elsewhere.
    StateFile {
        /// Absolute path; its directory is there.
        path: String,
        /// Ports of this host on which no connection may be left.
        ports: Vec<u16>,
        /// How long a balancer takes to notice, in milliseconds.
        settle_ms: u32,
        /// Longest wait for connections to end, in seconds.
        #[serde(default = "wait_s")]
        wait_s: u32,
    },
}

fn wait_s() -> u32 {
    30
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out of service: comes back when nobody uses the host any more.
    Out,
    /// Into service: comes back when the balancer uses the host again.
    In,
}

impl Balancer {
    /// What is wrong with the declaration.
    ///
    /// # Errors
    /// For people.
    pub fn check(&self) -> Result<(), String> {
        let (wait_s, fault) = match self {
            Self::Haproxy { backend, server, wait_s, .. } => (*wait_s, haproxy::fault(backend, server)),
            Self::StateFile { path, ports, wait_s, .. } => (*wait_s, state_file::fault(path, ports)),
        };
        let fault = fault.or((wait_s == 0 || wait_s > WAIT_S_MAX).then(|| format!("wait_s is 1 to {WAIT_S_MAX}")));
        fault.map_or(Ok(()), Err)
    }

    fn direct(&self, direction: Direction) -> Result<(), String> {
        self.check()?;
        match self {
            Self::Haproxy { address, backend, server, wait_s } => haproxy::Server { address, backend, server }.direct(direction, *wait_s),
            Self::StateFile { path, ports, settle_ms, wait_s } => state_file::direct(path, ports, *settle_ms, *wait_s, direction),
        }
    }
}

/// Directs every balancer, the first first; doing it again changes nothing.
///
/// # Errors
/// The first that does not do it, for people; the others are not asked on the way out, but all on the way in.
pub fn direct(balancers: &[Balancer], direction: Direction) -> Result<(), String> {
    if balancers.len() > BALANCERS_MAX {
        return Err(format!("more than {BALANCERS_MAX} [[traffic]] in agent.toml"));
    }
    match direction {
        Direction::Out => balancers.iter().try_for_each(|balancer| balancer.direct(direction)),
        Direction::In => {
            let results: Vec<_> = balancers.iter().map(|balancer| balancer.direct(direction)).collect();
            results.into_iter().collect()
        }
    }
}

/// Looks until `done` says yes; `Ok(false)` once `wait_s` is over.
fn until(wait_s: u32, mut done: impl FnMut() -> Result<bool, String>) -> Result<bool, String> {
    let deadline = std::time::Instant::now() + Duration::from_secs(wait_s.into());
    loop {
        if done()? {
            return Ok(true);
        }
        if std::time::Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(POLL);
    }
}
