//! Asks a host's health: HTTP, TCP and TLS over loopback, units, processes, sockets, room, logs, hooks, and a Prometheus that root named.

mod hooks;
mod http;
mod logs;
mod prometheus;
mod room;
mod running;
mod tls;

pub use hooks::{CHECKS_DIRECTORY, HOOKS_DIRECTORY, HookOutcome, run_hook};
pub use prometheus::Prometheus;

use crate::command::{self, Program};
use fother_core::{
    policy::{
        Check, CheckAnswer,
        checks::{loopback, unit_name},
    },
    text::quoted,
};
use std::{collections::BTreeMap, net::TcpStream, path::Path, time::Duration};

/// Longest answer of a service on this host.
const LOOPBACK_LIMIT: Duration = Duration::from_secs(2);
const UNIT_LIMIT: Duration = Duration::from_secs(5);
const HOOK_OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Most checks of one host.
pub const CHECKS_MAX: usize = 64;

/// Answers by the names of their checks.
pub type Answers = [(String, CheckAnswer)];

/// What root configured on this host for checks.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Prometheus servers by name.
    pub prometheus: BTreeMap<String, Prometheus>,
}

/// Asks every check in order; afterwards with what they said `before` anything was touched. Beyond [`CHECKS_MAX`] there is no data.
#[must_use]
pub fn ask(checks: &[Check], before: Option<&Answers>, settings: &Settings) -> Vec<(String, CheckAnswer)> {
    let answer = |(at, check): (usize, &Check)| {
        if at >= CHECKS_MAX {
            return no_data(format!("more than {CHECKS_MAX} checks"));
        }
        let first = match before {
            None => Earlier::First,
            Some(answers) => Earlier::Said(answers.iter().find(|(name, _)| name == check.name()).map(|(_, answer)| answer)),
        };
        one(check, first, settings)
    };
    checks.iter().enumerate().map(|(at, check)| (check.name().to_owned(), answer((at, check)))).collect()
}

/// What a check that compares is compared with.
#[derive(Clone, Copy, Debug)]
enum Earlier<'a> {
    /// Nothing: this is the first time.
    First,
    /// What it said then, if it was asked.
    Said(Option<&'a CheckAnswer>),
}

fn one(check: &Check, earlier: Earlier<'_>, settings: &Settings) -> CheckAnswer {
    // The agent's own word: what a policy check would refuse is not asked, whoever signed it.
    if let Some((key, why)) = check.faults().into_iter().next() {
        return no_data(format!("{key}: {why}"));
    }
    match check {
        Check::Http { url, status, body, latency, .. } => http::ask(url, *status, body.as_ref(), *latency, earlier),
        Check::Unit { unit, .. } => unit_is_active(unit),
        Check::Hook { hook, .. } => hooks::hook_answer(Path::new(CHECKS_DIRECTORY), hook),
        Check::Tcp { address, .. } => tcp(address),
        Check::Tls { address, server_name, days, ca, .. } => tls::ask(address, server_name, *days, ca.as_deref()),
        Check::Process { executable, unit, count, .. } => running::process(executable, unit.as_deref(), *count),
        Check::Listening { protocol, port, address, executable, .. } => {
            running::listening(*protocol, *port, address.as_deref(), executable.as_deref())
        }
        Check::Disk { path, min_free, .. } => room::disk(path, *min_free),
        Check::Memory { min_available, .. } => room::memory(*min_available),
        Check::Log { unit: Some(unit), pattern, max, .. } => logs::journal(unit, pattern, *max, earlier),
        Check::Log { file, pattern, max, .. } => logs::file(file.as_deref().unwrap_or_default(), pattern, *max, earlier),
        Check::Prometheus { server, query, op, value, series, max_age_s, .. } => match settings.prometheus.get(server) {
            None => no_data(format!("this host's agent.toml names no [prometheus.{server}]")),
            Some(server) => server.ask(&prometheus::Question { query, op: *op, value, series: series.as_deref(), max_age_s: *max_age_s }),
        },
    }
}

fn no_data(why: impl Into<String>) -> CheckAnswer {
    CheckAnswer::NoData { why: why.into() }
}

fn failed(why: impl Into<String>) -> CheckAnswer {
    CheckAnswer::Failed { why: why.into() }
}

fn tcp(address: &str) -> CheckAnswer {
    match loopback(address) {
        Err(why) => no_data(why),
        Ok(at) => match TcpStream::connect_timeout(&at, LOOPBACK_LIMIT) {
            Ok(_) => CheckAnswer::Fine,
            Err(error) => failed(format!("{address} does not accept a connection: {error}")),
        },
    }
}

/// Whether systemd says that a unit is active.
#[must_use]
pub fn unit_is_active(unit: &str) -> CheckAnswer {
    if let Err(why) = unit_name(unit) {
        return no_data(why);
    }
    match Program::new("systemctl", UNIT_LIMIT).args(["is-active", "--", unit]).output_max(HOOK_OUTPUT_BYTES_MAX).run() {
        Ok(output) => match (output.code, output.stdout.trim()) {
            (Some(0), _) => CheckAnswer::Fine,
            (_, state @ ("inactive" | "failed" | "activating" | "deactivating" | "reloading" | "maintenance")) => {
                failed(format!("{unit} is {state}"))
            }
            _ => no_data(format!("systemctl:\n{}", last_line(&output))),
        },
        Err(error) => no_data(error.to_string()),
    }
}

/// The last line that a program printed, marked as the host's own.
fn last_line(output: &command::Output) -> String {
    let text = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    text.trim().lines().last().map_or_else(|| "it printed nothing".to_owned(), |line| quoted(line, |_| false))
}

#[cfg(test)]
mod tests;
