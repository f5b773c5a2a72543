//! The command line: nouns, verbs, examples of what runs on one machine. No behaviour.

mod compare;
mod feeds;
mod fleet;
mod lock;
mod policy;
mod schedule;
#[cfg(feature = "sim")]
mod sim;
mod store;

pub use compare::{Diff, Reconcile};
pub use feeds::Feeds;
pub use fleet::{Archive, Change, Host, Log, Plan, Resume, Rollout, Stop};
pub use lock::Lock;
pub use policy::{Policy, Window};
pub use schedule::{Schedule, Standing};
#[cfg(feature = "sim")]
pub use sim::Sim;
pub use store::{At, Store};

use crate::{output::Wanted, sure::Sure};
use clap::{Parser, Subcommand};
use serde::{Deserialize, Serialize};
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
        after_help = "Examples:\n  fother scan\n  fother scan --root /mnt/image --format json\n  fother scan --deep\n  fother scan --image app.tar --fail-on critical\n  fother scan --fail-on security\n  fother scan --format sarif --fail-on kev --baseline accepted.json\n  fother scan --budget 2h --reboots 0"
    )]
    Scan(Scan),
    /// Explain a CVE, a package, an update or a host, here or in the fleet: every fact, its source, and what follows.
    #[command(
        after_help = "Examples:\n  fother explain CVE-2024-1086\n  fother explain openssl\n  fother explain CVE-2024-1086 --fleet   # which hosts, which cohorts, by when\n  fother explain web-1 --fleet"
    )]
    Explain(Explain),
    /// Replay history without looking ahead: what the built-in order and other rules would have caught.
    #[command(
        after_help = "Examples:\n  fother backtest --data feeds/backtest/2024-01\n  fother backtest --data feeds/backtest/2024-01 --at 2024-01-13 --months 31 --scored-only --format json"
    )]
    Backtest(Backtest),
    /// Compare two roots, SBOMs, lock files, inventories, saved scans or days: packages, and findings opened and closed.
    #[command(
        after_help = "Examples:\n  fother diff yesterday.json /\n  fother diff /mnt/image-1 /mnt/image-2 --fail-on opened\n  fother diff / --as-of 2026-06-01   # what became known since that day\n  fother diff / --as-of 2026-01-01 --as-of 2026-06-01 --format csv"
    )]
    Diff(Diff),
    /// Answer the report of the scanner that you have, finding by finding: Trivy or Grype JSON, SARIF, CSV.
    #[command(
        after_help = "Examples:\n  trivy rootfs --format json / | fother reconcile -\n  fother reconcile trivy.json --write-vex fother.vex.json && trivy rootfs --vex fother.vex.json /\n  fother reconcile findings.csv --file sbom.json --format json\n\nCSV: the first line names columns; needed are one for the vulnerability (id, cve, vulnerability id, …) and one for the\npackage (package, name, component, …); used if there: version, fixed, severity, purl, type. Comma, semicolon or tab.\n\nExit codes: 0 every finding has an answer, 3 some are unknown."
    )]
    Reconcile(Reconcile),
    /// Rehearse the upgrade of this machine on a clone of it, undo included. Changes nothing.
    #[command(
        after_help = "Examples:\n  sudo fother rehearse\n  sudo fother rehearse openssl libssl3\n  sudo fother rehearse --format json --no-bisect"
    )]
    Rehearse(Rehearse),
    /// The control plane: one data directory, nothing else to set up. Several of them share PostgreSQL and a place for blobs.
    #[command(
        after_help = "Examples:\n  fother serve --data-dir /var/lib/fother/server --policy fother.toml --approvers approvers.toml\n  fother serve --store @/etc/fother/store --blobs 's3://bucket/fother?region=eu-central-1'   # /etc/fother/store: postgres://fother:…@db.example/fother\n  fother serve --store 'postgres://fother@/fother?host=/run/postgresql'\n\nHow to run several replicas, and what to back up: docs/operations.md"
    )]
    Serve(Serve),
    /// The agent on a host.
    #[command(
        subcommand,
        after_help = "Examples:\n  sudo fother agent install --server https://patch.example:7443 --token-file token\n  sudo fother agent show"
    )]
    Agent(Agent),
    /// Fleet at a glance.
    #[command(after_help = "Example:\n  fother status --format json")]
    Status,
    /// Hosts.
    #[command(subcommand, after_help = "Examples:\n  fother host ls\n  fother host show web-1")]
    Host(Host),
    /// Archives that updates come from.
    #[command(subcommand, after_help = "Examples:\n  fother archive update\n  fother archive ls")]
    Archive(Archive),
    /// The policy: files that a team keeps and reviews.
    #[command(subcommand, after_help = "Examples:\n  fother policy check\n  fother policy diff\n  fother policy apply --dry-run")]
    Policy(Policy),
    /// Maintenance windows: when they open.
    #[command(subcommand, after_help = "Examples:\n  fother window show sunday-night --next 10\n  fother window ls")]
    Window(Window),
    /// Schedules: plans that draft themselves, and when they are rolled out.
    #[command(
        subcommand,
        after_help = "Examples:\n  fother schedule ls\n  fother schedule defer web-weekly --by 2d --reason 'a launch' --key ~/.ssh/id_ed25519"
    )]
    Schedule(Schedule),
    /// Standing approvals: signed once, they cover what schedules draft and rehearse.
    #[command(
        subcommand,
        after_help = "Examples:\n  fother standing draft web --name web-security --class security --packages 20 --days 60 --key author.key > draft.json\n  fother standing submit draft.json --key author.key\n  fother standing ls"
    )]
    Standing(Standing),
    /// Plans: exact, pinned by digest.
    #[command(subcommand, after_help = "Examples:\n  fother plan new web\n  fother plan show 1f0c")]
    Plan(Plan),
    /// Plan for a group exactly what the group that it follows has run long enough: the same versions.
    #[command(
        after_help = "Example:\n  fother promote prod\n\nThe policy says which group it follows: follows = { group = \"staging\", soak = \"7d\" }"
    )]
    Promote {
        /// Group of the policy.
        group: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Changes: a plan, its rehearsal, approvals.
    #[command(subcommand, after_help = "Examples:\n  fother change ls\n  fother change submit 1f0c --key ~/.ssh/id_ed25519")]
    Change(Change),
    /// Rollouts: canary, waves, gates, rollback.
    #[command(subcommand, after_help = "Examples:\n  fother rollout ls\n  fother rollout watch")]
    Rollout(Rollout),
    /// Let nothing begin that has not begun, anywhere, from each host's next check-in on.
    #[command(after_help = "Example:\n  fother stop --all --reason 'the balancer is down'\n\nIt holds until `fother resume --all`.")]
    Stop(Stop),
    /// Let transactions begin again after `fother stop`.
    #[command(after_help = "Example:\n  fother resume --all")]
    Resume(Resume),
    /// Reboot locks for hosts that others patch (FleetLock protocol): same windows, same budgets.
    #[command(subcommand, after_help = "Examples:\n  fother lock ls\n  fother lock release core-1 --reason 'its disk is gone'")]
    Lock(Lock),
    /// The log: every decision, verifiable.
    #[command(subcommand, after_help = "Examples:\n  fother log show\n  sudo fother log verify")]
    Log(Log),
    /// The server's store: where it is; move it, back it up, restore it.
    #[command(subcommand, after_help = "Examples:\n  sudo fother store show\n  sudo fother store backup /mnt/backup/fother")]
    Store(Store),
    /// Vendors' advisories: take them in, keep them fresh.
    #[command(subcommand, after_help = "Examples:\n  fother feeds update\n  fother feeds status")]
    Feeds(Feeds),
    /// A disposable fleet of real systemd hosts on this machine.
    #[command(subcommand, after_help = "Examples:\n  sudo fother lab up --hosts 3\n  sudo fother lab down")]
    Lab(Lab),
    /// The whole lifecycle, once around, on a lab fleet.
    #[command(after_help = "Examples:\n  sudo fother demo\n  sudo fother demo --hosts 5 --keep")]
    Demo(Demo),
    /// Simulated fleets and faults, for developers.
    #[cfg(feature = "sim")]
    #[command(subcommand, after_help = "Examples:\n  fother sim run --seeds 1000\n  fother sim replay --seed 62")]
    Sim(Sim),
    /// Shell completions: bash, zsh, fish and others.
    #[command(
        after_help = "Examples:\n  fother completions bash > /etc/bash_completion.d/fother\n  fother completions zsh > _fother\n  fother completions fish > ~/.config/fish/completions/fother.fish"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `fother scan`.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
pub struct Scan {
    /// Root directory to assess.
    #[arg(long, default_value = "/")]
    pub root: PathBuf,
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
    /// Walk the whole of this machine for packages of Python, Node, Ruby, PHP, Go, Rust and Java, too. Roots named by --root always are.
    #[arg(long, conflicts_with_all = ["advisories_only", "packages_only"])]
    pub deep: bool,
    /// Look at the distribution's packages only: no walk for packages of languages.
    #[arg(long)]
    pub packages_only: bool,
    /// Assess an SBOM (CycloneDX or SPDX), a lock file or a source tree's lock files instead of a root; what it is, is told by its content or its name.
    #[arg(long, conflicts_with_all = ["root", "advisories_only", "deep"])]
    pub file: Option<PathBuf>,
    /// Assess an image instead of a root: what `docker save` writes, an OCI layout (directory or tar), a root as a tar, a raw disk with ext4.
    #[arg(long, conflicts_with_all = ["root", "file"])]
    pub image: Option<PathBuf>,
    /// Which of an image's platforms, for example linux/arm64; this machine's unless it is said.
    #[arg(long, requires = "image")]
    pub platform: Option<String>,
    /// A VEX document (OpenVEX, CycloneDX or CSAF) whose statements count, whoever its author is; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub vex: Vec<PathBuf>,
    /// An author of VEX taken in as a feed whose statements count as the vendor's do, by name or address; may be repeated.
    #[arg(long, value_name = "NAME", env = "FOTHER_VEX_AUTHORS", value_delimiter = ';')]
    pub vex_author: Vec<String>,
    /// The package URL of what is assessed, such as an image's, where VEX speaks of it as a whole.
    #[arg(long, value_name = "PURL")]
    pub vex_product: Option<String>,
    /// An earlier `--format json` output: what stands in it does not count for --fail-on.
    #[arg(long)]
    pub baseline: Option<PathBuf>,
    /// Whether this host is reachable from the internet; deadlines take the stricter branch where it is not said.
    #[arg(long, value_parser = ["yes", "no"])]
    pub exposed: Option<String>,
    /// Choose what removes most risk in this time: 2h, 90m, or several windows, 2h,1h.
    #[arg(long)]
    pub budget: Option<fother_core::rank::budget::Windows>,
    /// How many reboots the budget has.
    #[arg(long, requires = "budget", default_value_t = 0)]
    pub reboots: usize,
}

/// `fother explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// CVE, advisory, source or binary package; with --fleet also a host by name or id.
    pub what: String,
    /// Ask the server about the whole fleet instead of this machine.
    #[arg(long, conflicts_with_all = ["root", "db"])]
    pub fleet: bool,
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

/// `fother backtest`.
#[derive(Debug, clap::Args)]
pub struct Backtest {
    /// Directory with `cvss-bt.csv`, `epss.csv` and CISA's catalogue of one day.
    #[arg(long)]
    pub data: PathBuf,
    /// The day that is replayed; the newest day of any fact in the directory if left out.
    #[arg(long)]
    pub at: Option<String>,
    /// How many months afterwards count.
    #[arg(long, default_value_t = 12)]
    pub months: u32,
    /// Shares of all vulnerabilities that can be fixed, in percent.
    #[arg(long, value_delimiter = ',', default_value = "1,2,5,10")]
    pub effort: Vec<f64>,
    /// A later catalogue of known exploited vulnerabilities, CISA's JSON or CSV; one in `kev` beside the directory is found.
    #[arg(long)]
    pub kev: Option<PathBuf>,
    /// Order only what had an EPSS score on the day.
    #[arg(long)]
    pub scored_only: bool,
    /// Leave out exploit lists that may be of a later day than the one replayed.
    #[arg(long)]
    pub strict: bool,
    /// Show so many from the front of the built-in order.
    #[arg(long, default_value_t = 0)]
    pub top: usize,
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
    /// How long to wait for another package manager, in seconds.
    #[arg(long, default_value_t = 30)]
    pub lock_wait: u64,
}

/// `fother serve`.
#[derive(Debug, clap::Args)]
pub struct Serve {
    /// Where its keys and its store are.
    #[command(flatten)]
    pub at: At,
    /// Verified packages and indexes.
    #[arg(long, default_value = "/var/cache/fother/server")]
    pub cache_dir: PathBuf,
    /// Policy: its directory, or `fother.toml` in it; `policies/*.toml` beside it belong to it.
    #[arg(long, default_value = "/etc/fother/fother.toml")]
    pub policy: PathBuf,
    /// Who may author and approve.
    #[arg(long, default_value = "/etc/fother/approvers.toml")]
    pub approvers: PathBuf,
    /// Database of advisories that questions to the fleet are answered from; the one of `fother feeds` unless it is named.
    #[arg(long, env = "FOTHER_DB")]
    pub db: Option<PathBuf>,
    /// Address for agents; a socket passed by systemd (LISTEN_FDS) wins.
    #[arg(long, default_value = "127.0.0.1:7443")]
    pub agents: std::net::SocketAddr,
    /// Loopback address for the status page.
    #[arg(long, default_value = "127.0.0.1:7480")]
    pub web: std::net::SocketAddr,
    /// Address for reboot locks (FleetLock protocol), for example `0.0.0.0:7444`: TLS with this server's certificate, plain HTTP on loopback.
    #[arg(long)]
    pub locks: Option<std::net::SocketAddr>,
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
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Remove the services and the enrolment; journals and undo archives stay.
    #[command(after_help = "Example:\n  sudo fother agent uninstall --yes")]
    Uninstall {
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// What this host is enrolled with, and its transactions.
    #[command(after_help = "Example:\n  sudo fother agent show")]
    Show,
    /// Run one half of the agent (the services do).
    #[command(after_help = "Example:\n  fother agent run --half network")]
    Run {
        /// `executor` (root) or `network` (unprivileged).
        #[arg(long, value_parser = ["executor", "network"])]
        half: String,
    },
    /// Undo a transaction of this host; works with the server gone.
    #[command(after_help = "Examples:\n  sudo fother agent undo\n  sudo fother agent undo txn_01m8e3vn1bf6q9ecteb984c6et --dry-run")]
    Undo {
        /// The transaction; without it, the transactions are listed.
        transaction: Option<String>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Whether this host only observes; `on` makes it read-only, `off` lets approved changes in. Only root of this host can say so.
    #[command(after_help = "Examples:\n  fother agent observe\n  sudo fother agent observe off")]
    Observe {
        /// `on` or `off`; without it, what is so now.
        #[arg(value_parser = ["on", "off"])]
        to: Option<String>,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Hand a signed directive to this host's executor as the network half would, which verifies it all the same.
    #[command(after_help = "Example, for a host without a network:\n  sudo fother agent offer directive.json")]
    Offer {
        /// File with the signed directive as the server gave it.
        directive: PathBuf,
    },
    /// What stays on this host: rehearsals in full and the output of transactions, for root.
    #[command(after_help = "Examples:\n  sudo fother agent log\n  sudo fother agent log txn_01m8e3vn1bf6q9ecteb984c6et")]
    Log {
        /// A rehearsal's digest or a transaction; without it, all are listed.
        what: Option<String>,
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

/// `fother lab …`.
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Build and boot a fleet.
    #[command(
        after_help = "Examples:\n  sudo fother lab up --hosts 3\n  sudo fother lab up --mirror http://mirror.example/debian --name other"
    )]
    Up {
        /// Number of hosts.
        #[arg(long, default_value_t = 5)]
        hosts: u32,
        /// Archive to build from instead of the machine's own.
        #[arg(long)]
        mirror: Option<String>,
        /// What stands in front of the web hosts.
        #[arg(long, default_value = "haproxy", value_parser = ["haproxy", "nginx"])]
        balancer: String,
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// All labs on this machine.
    #[command(after_help = "Example:\n  fother lab ls")]
    Ls,
    /// Hosts of a lab.
    #[command(
        visible_alias = "show",
        after_help = "Examples:\n  sudo fother lab status\n  sudo fother lab status --name other --format json"
    )]
    Status {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
    },
    /// Run a command on a host; the exit code is its own.
    #[command(after_help = "Example:\n  sudo fother lab exec web-1 -- systemctl --failed")]
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
    #[command(after_help = "Examples:\n  sudo fother lab publish good\n  sudo fother lab publish 1.1")]
    Publish {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Which: its version, such as 1.1, or its name.
        version: String,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
    },
    /// Take a lab down and leave nothing behind.
    #[command(after_help = "Examples:\n  sudo fother lab down\n  sudo fother lab down --name other --purge")]
    Down {
        /// Name of the lab.
        #[arg(long, default_value = "lab")]
        name: String,
        /// Remove the cached base, too.
        #[arg(long)]
        purge: bool,
        /// Whether to do it.
        #[command(flatten)]
        sure: Sure,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn visit(command: &clap::Command, path: &str, each: &mut dyn FnMut(&clap::Command, &str)) {
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            each(sub, &path);
            visit(sub, &path, each);
        }
    }

    #[test]
    fn every_command_has_a_purpose_and_examples_that_parse() {
        let mut seen = 0;
        visit(&Cli::command(), "fother", &mut |command, path| {
            assert!(command.get_about().is_some_and(|about| !about.to_string().contains('\n')), "{path} says no purpose in one line");
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> =
                help.lines().filter_map(|line| line.trim().trim_start_matches("sudo ").strip_prefix("fother ")).collect();
            assert!(!examples.is_empty(), "{path} --help shows no example");
            for example in examples {
                let words = [" > ", " && ", " # "].iter().fold(example, |words, end| words.split(end).next().unwrap_or_default());
                // What stands between quotes is one word.
                let quoted = words.split('\'').enumerate();
                let words = quoted.flat_map(|(at, part)| if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() });
                let words: Vec<&str> = std::iter::once("fother").chain(words).collect();
                assert!(Cli::try_parse_from(&words).is_ok(), "the example of {path} does not parse: {example}");
                assert!(format!("fother {example}").starts_with(path), "the example of {path} is of another command: {example}");
                seen += 1;
            }
        });
        assert!(seen > 40, "only {seen} examples were looked at");
    }

    #[test]
    fn what_can_be_listed_can_be_shown() {
        let command = Cli::command();
        for noun in ["host", "archive", "plan", "change", "rollout", "lab"] {
            let verbs: Vec<String> = command
                .find_subcommand(noun)
                .into_iter()
                .flat_map(clap::Command::get_subcommands)
                .flat_map(|verb| verb.get_name_and_visible_aliases())
                .map(str::to_owned)
                .collect();
            assert!(["ls", "show"].iter().all(|verb| verbs.iter().any(|known| known == verb)), "{noun}: {verbs:?}");
        }
    }
}
