//! A disposable fleet of real systemd hosts on this machine, for demonstrations, rehearsals and tests.
//!
//! [`up`] builds it: a cached base image, a network namespace a host behind a gateway namespace, and a supervisor process that
//! serves the hosts their archives, balances load over them and boots them. [`down`] leaves nothing of it. Needs root; touches
//! `/run/fother-lab`, `/var/cache/fother/lab`, namespaces called `fl-…` and control groups called `fother-lab-…`, nothing else.
//!
//! Each lab has the network 10.77.0.0/24 for itself: the gateway is [`GATEWAY`], the hosts follow from 10.77.0.11 on.

mod archive;
mod balancer;
mod base;
mod cgroup;
mod config;
mod error;
mod fleet;
mod host;
mod mirror;
mod netns;
mod paths;
mod process;
mod run;
mod site;
mod sources;
mod supervisor;
mod traffic;

pub use archive::{SUITE, Spoil, VALID_SECONDS, publish, spoil};
pub use balancer::{Balancer, RUNTIME_PORT};
pub use config::HostState;
pub use error::{Error, Result};
pub use fleet::{HOSTS_MAX, HostStatus, UpOptions, command, copy_in, down, exec, labs, start, status, up, wait_ready};
pub use netns::in_gateway;
pub use paths::{GATEWAY, MIRROR_PORT};
pub use site::SiteVersion;
pub use supervisor::supervise;
pub use traffic::{Counts, Failure, RATE_MAX, Traffic};

use serde::{Deserialize, Serialize};

/// What a host of the lab does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Serves `lab-site` through nginx, behind the load balancer.
    Web,
    /// Runs `lab-worker` and serves nothing.
    Worker,
}

impl Role {
    /// Its name, which is also how its hosts' names begin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Worker => "worker",
        }
    }
}

/// What [`up`] tells while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A new stage begins.
    Stage(String),
    /// A line from within the stage.
    Line(String),
}
