//! The command line: nouns, verbs, examples. No behaviour.

use crate::output::Wanted;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Patch fleets under way, and prove it.
#[derive(Debug, Parser)]
#[command(
    name = "fother",
    version,
    after_help = "Try at once, with nothing set up:\n  fother scan                 what this machine is missing\n  sudo fother rehearse        what upgrading it would do, on a clone, changing nothing\n  sudo fother demo            the whole lifecycle on a disposable fleet\n\nExit codes: 0 fine, 1 policy says no, 2 usage, 3 could not tell, 4 refused, 5 failed."
)]
pub struct Cli {
    /// Table for people, JSON for machines.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub format: Wanted,
    /// Where the server keeps its socket.
    #[arg(long, global = true, env = "FOTHER_RUN_DIR", default_value = "/run/fother")]
    pub run_dir: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Assess this machine, or a root directory: installed, offered, due. Needs no root, no server.
    #[command(
        after_help = "Examples:\n  fother scan\n  fother scan --root /mnt/image --format json\n  fother scan --fail-on security\n  fother scan --format sarif --fail-on kev --baseline accepted.json"
    )]
    Scan(Scan),
    /// Explain a CVE, a package or an update on this machine: every fact, its source, and what follows.
    #[command(after_help = "Examples:\n  fother explain CVE-2024-1086\n  fother explain openssl")]
    Explain(Explain),
    /// Rehearse the upgrade of this machine on a clone of it, undo included. Changes nothing.
    #[command(after_help = "Examples:\n  sudo fother rehearse\n  sudo fother rehearse openssl libssl3")]
    Rehearse(Rehearse),
    /// The control plane: one data directory, nothing else to set up.
    #[command(after_help = "Example:\n  fother serve --data-dir /var/lib/fother/server --policy fother.toml --approvers approvers.toml")]
    Serve(Serve),
    /// The agent on a host.
    #[command(subcommand)]
    Agent(Agent),
    /// Fleet at a glance.
    Status,
    /// Hosts.
    #[command(subcommand)]
    Host(Host),
    /// Archives that updates come from.
    #[command(subcommand)]
    Archive(Archive),
    /// Plans: exact, pinned by digest.
    #[command(subcommand)]
    Plan(Plan),
    /// Changes: a plan, its rehearsal, approvals.
    #[command(subcommand)]
    Change(Change),
    /// Rollouts: canary, waves, gates, rollback.
    #[command(subcommand)]
    Rollout(Rollout),
    /// The log: every decision, verifiable.
    #[command(subcommand)]
    Log(Log),
    /// Vendors' advisories: take them in, keep them fresh.
    #[command(subcommand)]
    Feeds(Feeds),
    /// A disposable fleet of real systemd hosts on this machine.
    #[command(subcommand)]
    Lab(Lab),
    /// The whole lifecycle, once around, on a lab fleet.
    #[command(after_help = "Examples:\n  sudo fother demo\n  sudo fother demo --hosts 5 --keep")]
    Demo(Demo),
    /// Shell completions.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `fother scan`.
#[derive(Debug, clap::Args)]
pub struct Scan {
    /// Root directory to assess.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Folder with advisory feeds (Debian lists, KEV, EPSS).
    #[arg(long, env = "FOTHER_FEEDS")]
    pub feeds: Option<PathBuf>,
    /// Exit 1 if updates of this class are due (`security`, `any`), or findings of this kind are there (the others need a database of advisories).
    #[arg(long, value_parser = ["security", "any", "vulnerable", "fixable", "kev", "critical", "high", "overdue"])]
    pub fail_on: Option<String>,
    /// Database of advisories; the one of `fother feeds` is used if it is there.
    #[arg(long, env = "FOTHER_DB")]
    pub db: Option<PathBuf>,
    /// Days after which any feed is stale, instead of each kind's own.
    #[arg(long)]
    pub feed_max_age: Option<u32>,
    /// Ask the advisories only: not what this host's archives offer, nor what runs. Fastest.
    #[arg(long)]
    pub advisories_only: bool,
    /// Assess an SBOM (CycloneDX or SPDX) or a lock file instead of a root; what it is, is told by its content or its name.
    #[arg(long, conflicts_with_all = ["root", "advisories_only"])]
    pub file: Option<PathBuf>,
    /// An earlier `--format json` output: what stands in it does not count for --fail-on.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// Whether this host is reachable from the internet; deadlines take the stricter branch where it is not said.
    #[arg(long, value_parser = ["yes", "no"])]
    pub exposed: Option<String>,
}

/// `fother explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// CVE, advisory, source or binary package.
    pub what: String,
    /// Root directory.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
    /// Database of advisories.
    #[arg(long, env = "FOTHER_DB")]
    pub db: Option<PathBuf>,
    /// Whether this host is reachable from the internet.
    #[arg(long, value_parser = ["yes", "no"])]
    pub exposed: Option<String>,
}

/// `fother rehearse`.
#[derive(Debug, clap::Args)]
pub struct Rehearse {
    /// Only these packages and what they need.
    pub packages: Vec<String>,
    /// Where the clone's layers go; needs a file system that is no overlay.
    #[arg(long, default_value = "/var/lib/fother/rehearse")]
    pub work: PathBuf,
    /// Do not look for the smallest failing set.
    #[arg(long)]
    pub no_bisect: bool,
}

/// `fother serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Everything the server keeps.
    #[arg(long, env = "FOTHER_DATA_DIR", default_value = "/var/lib/fother/server")]
    pub data_dir: PathBuf,
    /// Verified packages and indexes.
    #[arg(long, default_value = "/var/cache/fother/server")]
    pub cache_dir: PathBuf,
    /// Policy file.
    #[arg(long, default_value = "/etc/fother/fother.toml")]
    pub policy: PathBuf,
    /// Who may author and approve.
    #[arg(long, default_value = "/etc/fother/approvers.toml")]
    pub approvers: PathBuf,
    /// Address for agents; a socket passed by systemd (LISTEN_FDS) wins.
    #[arg(long, default_value = "127.0.0.1:7443")]
    pub agents: std::net::SocketAddr,
    /// Loopback address for the status page.
    #[arg(long, default_value = "127.0.0.1:7480")]
    pub web: std::net::SocketAddr,
    /// Network namespace in which hosts are reached (the lab uses it); the status page stays outside.
    #[arg(long, hide = true)]
    pub netns: Option<String>,
}

/// `fother agent …`.
#[derive(Debug, Subcommand)]
pub enum Agent {
    /// Enrol this host and install the two services.
    #[command(after_help = "Example:\n  sudo fother agent install --server https://patch.example:7443 --token-file token --observe")]
    Install {
        /// Server address.
        #[arg(long)]
        server: String,
        /// File with the one-time token; `-` reads standard input. Never an argument: those are visible to all users.
        #[arg(long)]
        token_file: PathBuf,
        /// Trust file to install as `/etc/fother/trust.toml`.
        #[arg(long)]
        trust: Option<PathBuf>,
        /// Read-only: patching is switched on at this host later.
        #[arg(long)]
        observe: bool,
    },
    /// Run one half of the agent (the services do).
    Run {
        /// `executor` (root) or `network` (unprivileged).
        #[arg(long, value_parser = ["executor", "network"])]
        half: String,
    },
    /// Undo a transaction of this host; works with the server gone.
    Undo {
        /// The transaction; without it, the transactions are listed.
        transaction: Option<String>,
    },
    /// Carry out or recover one transaction.
    #[command(hide = true)]
    Transact {
        /// Request file.
        request: PathBuf,
    },
    /// Undo one transaction.
    #[command(hide = true)]
    PutBack {
        /// Request file.
        request: PathBuf,
    },
    /// Rehearse a cohort on a clone of this host.
    #[command(hide = true)]
    RehearseHere {
        /// Request file.
        request: PathBuf,
    },
    /// Drive the clone from inside.
    #[command(hide = true)]
    RehearseInside {
        /// Exchange directory.
        exchange: PathBuf,
    },
}

/// `fother host …`.
#[derive(Debug, Subcommand)]
pub enum Host {
    /// All hosts.
    Ls,
    /// One host.
    Show {
        /// Id or host name.
        host: String,
    },
    /// A one-time enrolment token, valid for an hour.
    #[command(after_help = "Example:\n  fother host token --label role=web --label zone=a > token")]
    Token {
        /// Labels that the host gets.
        #[arg(long = "label", value_name = "KEY=VALUE")]
        labels: Vec<String>,
    },
    /// Let a host go for good; it stops counting in budgets.
    Retire {
        /// Id or host name.
        host: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// `fother archive …`.
#[derive(Debug, Subcommand)]
pub enum Archive {
    /// Acquire and verify the newest state of each archive.
    Update,
    /// What is known.
    Ls,
}

/// `fother plan …`.
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// Let hosts resolve, group them, name the result.
    #[command(after_help = "Examples:\n  fother plan new web\n  fother plan new web --exclude lab-site")]
    New {
        /// Group of the policy.
        group: String,
        /// Source packages to leave out.
        #[arg(long, value_delimiter = ',')]
        exclude: Vec<String>,
        /// Why they are left out.
        #[arg(long, default_value = "left out by the author")]
        because: String,
    },
    /// Rehearse each cohort on a clone of one of its hosts, and wait.
    Rehearse {
        /// Plan digest or its first digits.
        plan: String,
        /// Do not look for the smallest failing set.
        #[arg(long)]
        no_bisect: bool,
    },
    /// A plan, its cohorts and their rehearsals.
    Show {
        /// Plan digest or its first digits.
        plan: String,
    },
    /// All plans.
    Ls,
}

/// `fother change …`.
#[derive(Debug, Subcommand)]
pub enum Change {
    /// Submit a rehearsed plan.
    Submit {
        /// Plan digest or its first digits.
        plan: String,
        /// The author's SSH key, as for `ssh-keygen -Y sign -f`.
        #[arg(long)]
        key: PathBuf,
        /// Accept a unit that the rehearsal could not exercise.
        #[arg(long)]
        acknowledge: Vec<String>,
    },
    /// Show plan, rehearsal, risk, window and rollback, then sign.
    Approve {
        /// Change id.
        change: String,
        /// The approver's SSH key.
        #[arg(long)]
        key: PathBuf,
        /// Sign without asking.
        #[arg(long)]
        yes: bool,
    },
    /// Say no.
    Reject {
        /// Change id.
        change: String,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// A change as its approvers see it.
    Show {
        /// Change id.
        change: String,
    },
    /// All changes.
    Ls,
}

/// `fother rollout …`.
#[derive(Debug, Subcommand)]
pub enum Rollout {
    /// Start an approved change.
    Start {
        /// Change id.
        change: String,
        /// Stay and watch.
        #[arg(long)]
        watch: bool,
    },
    /// Watch until it ends.
    Watch {
        /// Rollout id; the newest if left out.
        rollout: Option<String>,
    },
    /// Stand still.
    Pause {
        /// Rollout id.
        rollout: String,
    },
    /// Go on.
    Resume {
        /// Rollout id.
        rollout: String,
    },
    /// Stop for good; hosts that are at work finish.
    Abort {
        /// Rollout id.
        rollout: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Undo what it did, host by host.
    Rollback {
        /// Rollout id.
        rollout: String,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}

/// `fother log …`.
#[derive(Debug, Subcommand)]
pub enum Log {
    /// Events, newest last.
    Show {
        /// From this event on; negative counts from the end.
        #[arg(long, default_value_t = -50, allow_hyphen_values = true)]
        from: i64,
    },
    /// Check the whole log of a data directory: tree, stored bytes, checkpoint, fold. Needs no server.
    Verify {
        /// The server's data directory.
        #[arg(long, default_value = "/var/lib/fother/server")]
        data_dir: PathBuf,
    },
}

/// `fother feeds …`.
#[derive(Debug, Subcommand)]
pub enum Feeds {
    /// Fetch the vendors' feeds and compile them.
    #[command(
        after_help = "Examples:\n  fother feeds update\n  fother feeds update debian kev epss\n  fother feeds update --sources sources.toml"
    )]
    Update {
        /// Only sources whose names start so.
        names: Vec<String>,
        /// Another table of sources than the built-in one.
        #[arg(long)]
        sources: Option<PathBuf>,
        /// Where feeds and database are kept; /var/lib/fother/feeds, or the user's own data directory.
        #[arg(long, env = "FOTHER_FEEDS_DIR")]
        dir: Option<PathBuf>,
        /// Print the table of sources and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Take in files that were brought here; what they are is told by their content.
    #[command(after_help = "Examples:\n  fother feeds import /mnt/usb/feeds\n  fother feeds import --kind nuclei cves.txt")]
    Import {
        /// Files and folders.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// What the files are: debian-tracker, debian-list, osv, kev, epss, cve, debian-dates, ubuntu-dates, debian-support-ended,
        /// debian-support-limited, metasploit, nuclei, exploit-db.
        #[arg(long)]
        kind: Option<String>,
        /// Let feeds in that are older or much smaller than those in use.
        #[arg(long)]
        force: bool,
        /// Where feeds and database are kept.
        #[arg(long, env = "FOTHER_FEEDS_DIR")]
        dir: Option<PathBuf>,
    },
    /// Each feed's date, digest and freshness.
    Status {
        /// Where feeds and database are kept.
        #[arg(long, env = "FOTHER_FEEDS_DIR")]
        dir: Option<PathBuf>,
        /// Days after which any feed is stale, instead of each kind's own.
        #[arg(long)]
        max_age: Option<u32>,
        /// Read every byte of the database and compare with its digest.
        #[arg(long)]
        verify: bool,
    },
}

/// `fother lab …`.
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Build and boot a fleet.
    Up {
        /// Number of hosts.
        #[arg(long, default_value_t = 5)]
        hosts: u32,
        /// Archive to build from instead of the machine's own.
        #[arg(long)]
        mirror: Option<String>,
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Hosts of a lab.
    Status {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Run a command on a host.
    Exec {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Host.
        host: String,
        /// Command.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Put a version of `lab-site` into the lab's archive: first, good, or one that is broken in its own way.
    Publish {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Which: its version, such as 1.1.
        version: String,
    },
    /// Leave nothing behind.
    Down {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Remove the cached base, too.
        #[arg(long)]
        purge: bool,
    },
    /// Keep a lab running (started by `lab up`).
    #[command(hide = true)]
    Supervise {
        /// Name of the lab.
        name: String,
    },
}

/// `fother demo`.
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Number of hosts.
    #[arg(long, default_value_t = 5)]
    pub hosts: u32,
    /// Leave the fleet running at the end.
    #[arg(long)]
    pub keep: bool,
    /// Leave out the updates that rehearsal stops.
    #[arg(long)]
    pub quick: bool,
    /// Archive to build from instead of the machine's own.
    #[arg(long)]
    pub mirror: Option<String>,
}
