//! `fother rollout`: start, watch, steer, undo.

use super::{Context, status::text};
use crate::{
    cli::{Resume, Rollout, Stop},
    client::Client,
    failure::{FINE, Failure, NO, USAGE},
    output::{Format, envelope, table},
    sure::Sure,
};
use fother_core::rollout::{End, Phase};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::IsTerminal as _,
    time::{Duration, Instant},
};

/// Runs the command.
pub fn run(context: &Context, verb: Rollout) -> Result<u8, Failure> {
    let client = context.client()?;
    let steer = |id: &str, verb: &str, go: &dyn Fn() -> Result<bool, Failure>| -> Result<u8, Failure> {
        View::take(&client, id)?;
        if go()? {
            let _: Value = client.post(&format!("/api/v1/rollouts/{id}/{verb}"), &json!({}))?;
        }
        Ok(FINE)
    };
    let mild = |sure: Sure, what: &'static str| move || Ok(sure.go(what));
    match verb {
        Rollout::Start { change, watch: stay, supersede, sure } => {
            super::change::known(&client, &change)?;
            if !sure.go(&format!("start {change}")) {
                return Ok(FINE);
            }
            let id = start_over(&client, &change, supersede)?;
            println!("{id}");
            if stay { watch(context, &client, &id) } else { Ok(FINE) }
        }
        Rollout::Watch { rollout } => {
            let id = match rollout {
                Some(id) => id,
                None => newest(&client)?,
            };
            watch(context, &client, &id)
        }
        Rollout::Pause { rollout, sure } => steer(&rollout, "pause", &mild(sure, "let the rollout stand still")),
        Rollout::Resume { rollout, sure } => steer(&rollout, "resume", &mild(sure, "let the rollout go on")),
        Rollout::Abort { rollout, sure } => {
            steer(&rollout, "abort", &|| sure.ask("stop the rollout for good; hosts that are at work finish"))
        }
        Rollout::Rollback { rollout, watch: stay, sure } => {
            let what = "put back every host that carries the change, as many at a time as the budget allows";
            steer(&rollout, "rollback", &|| sure.ask(what))?;
            if stay && !sure.dry_run { watch(context, &client, &rollout) } else { Ok(FINE) }
        }
        Rollout::Skip { rollout, host, reason, sure } => skip(&client, &rollout, &host, &reason, sure),
        Rollout::Ls => list(context, &client),
        Rollout::Show { rollout } => {
            let id = match rollout {
                Some(id) => id,
                None => newest(&client)?,
            };
            show(context, &client, &id)
        }
    }
}

/// Starts an approved change; the rollout's id.
pub fn start(client: &Client, change: &str) -> Result<String, Failure> {
    start_over(client, change, false)
}

fn start_over(client: &Client, change: &str, supersede: bool) -> Result<String, Failure> {
    let answer: Value = client.post("/api/v1/rollouts", &json!({"change": change, "supersede": supersede}))?;
    Ok(text(&answer["rollout"]))
}

/// `fother stop --all`.
pub fn stop_all(context: &Context, stop: &Stop) -> Result<u8, Failure> {
    if stop.sure.ask("let nothing begin that has not begun, on any host, until `fother resume --all`")? {
        let _: Value = context.client()?.post("/api/v1/stop", &json!({"reason": stop.reason}))?;
        eprintln!("stopped: each host hears of it at its next check-in; `fother resume --all` lets it go on");
    }
    Ok(FINE)
}

/// `fother resume --all`.
pub fn resume_all(context: &Context, resume: &Resume) -> Result<u8, Failure> {
    if resume.sure.go("let transactions begin again") {
        let _: Value = context.client()?.post("/api/v1/resume", &json!({}))?;
    }
    Ok(FINE)
}

fn skip(client: &Client, rollout: &str, host: &str, reason: &str, sure: Sure) -> Result<u8, Failure> {
    View::take(client, rollout)?;
    let (id, _) = super::host::find(client, host)?;
    if sure.go(&format!("leave {host} out of the rollout")) {
        let _: Value = client.post(&format!("/api/v1/rollouts/{rollout}/hosts/{id}/skip"), &json!({"reason": reason}))?;
    }
    Ok(FINE)
}

fn newest(client: &Client) -> Result<String, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    let ids = state["rollouts"].as_object().into_iter().flatten().map(|(id, _)| id.clone());
    ids.max().ok_or_else(|| Failure::new(USAGE, "there is no rollout", "start one: `fother rollout start CHANGE`"))
}

fn list(context: &Context, client: &Client) -> Result<u8, Failure> {
    let state: Value = client.get("/api/v1/state")?;
    if context.format == Format::Json {
        envelope("rollouts", &state["rollouts"], &[])?;
        return Ok(FINE);
    }
    let rows: Vec<Vec<String>> =
        state["rollouts"].as_object().into_iter().flatten().map(|(id, rollout)| super::status::row(id, rollout)).collect();
    table(super::status::ROLLOUT_HEADER, &rows);
    Ok(FINE)
}

fn show(context: &Context, client: &Client, id: &str) -> Result<u8, Failure> {
    let view = View::take(client, id)?;
    if context.format == Format::Json {
        envelope("rollout", &view.rollout, &[])?;
        return Ok(FINE);
    }
    table(super::status::ROLLOUT_HEADER, &[super::status::row(id, &view.rollout)]);
    if let Some(End::Halted { why }) = view.end() {
        println!("halted: {}", fother_core::text::printable(&why, 600));
    }
    println!();
    let name = |number: usize| if number == 0 { "canary".to_owned() } else { format!("wave {number}") };
    let row = |number: usize, (host, phase): &(String, Phase)| vec![name(number), host.clone(), phase.word().to_owned(), note(phase)];
    let rows: Vec<Vec<String>> =
        view.waves.iter().enumerate().flat_map(|(number, wave)| wave.iter().map(move |host| row(number, host))).collect();
    table(&["wave", "host", "state", "note"], &rows);
    Ok(FINE)
}

/// A rollout as the state tells it, with the names of its hosts.
pub struct View {
    /// The rollout.
    pub rollout: Value,
    /// Name and phase of each host, in wave order.
    pub waves: Vec<Vec<(String, Phase)>>,
    /// Events in the log when it was taken.
    pub size: u64,
}

impl View {
    /// Takes a view.
    pub fn take(client: &Client, id: &str) -> Result<Self, Failure> {
        let state: Value = client.get("/api/v1/state")?;
        let rollout = state["rollouts"][id].clone();
        if rollout.is_null() {
            return Err(Failure::new(USAGE, format!("there is no rollout `{id}`"), "see `fother rollout ls`"));
        }
        let mut waves = Vec::new();
        for wave in rollout["setup"]["waves"].as_array().into_iter().flatten() {
            let mut hosts = Vec::new();
            for host in wave.as_array().into_iter().flatten().map(text) {
                let phase: Phase = serde_json::from_value(rollout["hosts"][&host].clone())?;
                hosts.push((text(&state["hosts"][&host]["hostname"]), phase));
            }
            waves.push(hosts);
        }
        Ok(Self { size: state["size"].as_u64().unwrap_or(0), rollout, waves })
    }

    /// How it ended.
    pub fn end(&self) -> Option<End> {
        serde_json::from_value(self.rollout["ended"].clone()).ok()
    }
}

/// Follows a rollout to its end, a line per transition.
pub fn watch(context: &Context, client: &Client, id: &str) -> Result<u8, Failure> {
    let mut shown: BTreeMap<String, String> = BTreeMap::new();
    let (began, mut blocked) = (Instant::now(), BTreeSet::new());
    loop {
        let view = View::take(client, id)?;
        if context.format == Format::Table {
            print_new(&view, &mut shown, began.elapsed());
            print_blocked(&view, &mut blocked);
        }
        if let Some(end) = view.end() {
            if context.format == Format::Json {
                envelope("rollout", &view.rollout, &[])?;
            }
            return Ok(match end {
                End::Completed => {
                    eprintln!("completed");
                    FINE
                }
                End::Halted { why } => {
                    eprintln!("halted: {}", fother_core::text::printable(&why, 600));
                    NO
                }
                End::RolledBack => {
                    eprintln!("rolled back");
                    FINE
                }
                End::Aborted => {
                    eprintln!("aborted");
                    NO
                }
                End::Superseded { by } => {
                    eprintln!("superseded by {by}");
                    NO
                }
            });
        }
        let _: Value = client.get(&format!("/api/v1/wait?size={}&timeout_s=10", view.size))?;
    }
}

fn print_new(view: &View, shown: &mut BTreeMap<String, String>, since: Duration) {
    let clock = format!("{:>2}:{:02}", since.as_secs() / 60, since.as_secs() % 60);
    for (number, wave) in view.waves.iter().enumerate() {
        let name = if number == 0 { "canary".to_owned() } else { format!("wave {number}") };
        for (host, phase) in wave {
            let word = phase.word();
            if word == "waiting" || shown.get(host).is_some_and(|old| old == word) {
                continue;
            }
            shown.insert(host.clone(), word.to_owned());
            println!("{clock} {} {name:<8} {host:<10} {:<12} {}", strip(&view.waves, number), paint(word), note(phase));
        }
    }
}

/// Says once who keeps the rollout from going on, and what to do.
fn print_blocked(view: &View, shown: &mut BTreeSet<String>) {
    let by: BTreeSet<String> = view.rollout["blocked"].as_array().into_iter().flatten().map(text).collect();
    if !by.is_empty() && by != *shown {
        let list = by.iter().cloned().collect::<Vec<_>>().join(", ");
        eprintln!("BLOCKED by {list}: mend or bring back these hosts, let them go with `fother host retire`, or abort the rollout");
    }
    *shown = by;
}

/// A strip with a sign per host: `·` waiting, `>` working, `~` soaking, `#` verified, `<` rolled back, `!` failed.
fn strip(waves: &[Vec<(String, Phase)>], present: usize) -> String {
    let sign = |phase: &Phase| match phase {
        Phase::Waiting => '·',
        Phase::Dispatched { .. } => '>',
        Phase::Applied { .. } => '~',
        Phase::Verified { .. } => '#',
        Phase::RolledBack { .. } | Phase::Undoing { .. } => '<',
        Phase::Replan { .. } | Phase::Refused { .. } | Phase::Skipped { .. } => '-',
        Phase::Failed { .. } => '!',
    };
    let parts: Vec<String> = waves
        .iter()
        .enumerate()
        .map(|(number, wave)| {
            let signs: String = wave.iter().map(|(_, phase)| sign(phase)).collect();
            if number == present { format!("[{signs}]") } else { format!(" {signs} ") }
        })
        .collect();
    parts.concat()
}

fn note(phase: &Phase) -> String {
    let text = match phase {
        Phase::Waiting | Phase::Dispatched { .. } | Phase::Applied { .. } | Phase::Undoing { .. } => String::new(),
        Phase::Verified { remarks, .. } => remarked(remarks),
        Phase::Replan { why } | Phase::Refused { why } | Phase::Skipped { why } | Phase::Failed { why, .. } => why.clone(),
        Phase::RolledBack { why, exact, paths_compared, .. } => {
            let proof = if *exact { "exact" } else { "NOT exact" };
            match paths_compared {
                0 => format!("nothing had been begun: {why}"),
                _ => format!("{proof}, {paths_compared} paths compared: {why}"),
            }
        }
    };
    fother_core::text::printable(&text, 160)
}

/// Remarks of one host; services that all say the same are named together.
fn remarked(remarks: &[String]) -> String {
    const STALE: &str = " still runs replaced files";
    const DUE: &str = "reboot due: ";
    let (stale, rest): (Vec<&String>, Vec<&String>) = remarks.iter().partition(|remark| remark.contains(STALE));
    let unit = |remark: &&String| remark.trim_start_matches(DUE).split('.').next().unwrap_or_default().to_owned();
    let units: BTreeSet<String> = stale.iter().map(unit).collect();
    let due = if stale.iter().any(|remark| remark.starts_with(DUE)) { ": reboot due" } else { "" };
    let together = format!("{} still run replaced files{due}", units.iter().cloned().collect::<Vec<_>>().join(", "));
    let rest = rest.into_iter().map(String::as_str);
    rest.chain((!units.is_empty()).then_some(together.as_str())).collect::<Vec<_>>().join("; ")
}

fn paint(word: &str) -> String {
    if !std::io::stdout().is_terminal() {
        return word.to_owned();
    }
    let colour = match word {
        "verified" => 32,
        "FAILED" | "refused" => 31,
        "rolled back" | "replan" | "undoing" => 33,
        _ => 36,
    };
    format!("\x1b[{colour}m{word:<12}\x1b[0m")
}

#[cfg(test)]
mod tests {
    use super::remarked;

    #[test]
    fn services_that_say_the_same_are_named_together() {
        let remarks =
            ["dbus.service still runs replaced files", "x", "reboot due: dbus.service still runs replaced files and is not restarted"];
        assert_eq!(remarked(&remarks.map(str::to_owned)), "x; dbus still run replaced files: reboot due");
        assert_eq!(remarked(&[]), "");
    }
}
