//! `fother agent`: the two halves on a host, their installation, and the undo that needs no server.

use super::Context;
use crate::{
    cli::Agent,
    failure::{FAILED, FINE, Failure, REFUSED, USAGE},
    output::{Format, envelope, table},
    sure::Sure,
};
use fother_agent::{
    Config,
    archives_host::HostArchives,
    config::NETWORK_USER,
    enrol::EnrolOptions,
    hidden,
    host::SystemClock,
    host_live::LiveHost,
    install::{self, InstallOptions},
    ipc, kept, rehearse_here,
};
use fother_core::{
    directive::DIRECTIVE_BYTES_MAX,
    policy::{Check, CheckAnswer},
    protocol::Outcome,
    text::printable,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Runs the command.
pub fn run(context: &Context, verb: Agent) -> Result<u8, Failure> {
    match verb {
        Agent::Install { server, token_file, trust, observe, sure } => {
            Failure::need_root("installing the agent")?;
            if !sure.go(&format!("enrol this host at {server} and start the agent's two services")) {
                return Ok(FINE);
            }
            let enrol = EnrolOptions { server, token_file, observe };
            let host = install::install(&InstallOptions { enrol, binary: std::env::current_exe()?, trust })?;
            println!("{host}");
            Ok(FINE)
        }
        Agent::Uninstall { sure } => {
            Failure::need_root("removing the agent")?;
            let config = config()?;
            if sure.ask("stop the agent and forget this host's enrolment; journals and undo archives stay")? {
                let kept = install::uninstall(&config)?;
                println!("removed; `fother agent undo` still works with what is below {}", kept.display());
            }
            Ok(FINE)
        }
        Agent::Show => {
            Failure::need_root("reading the agent's identity")?;
            show(context)
        }
        Agent::Run { half } if half == "executor" => {
            Failure::need_root("the executor")?;
            let config = config()?;
            let host = Arc::new(LiveHost { binary: config.binary.clone(), etc: config.etc.clone() });
            fother_agent::executor::run(&config, host, Arc::new(HostArchives { root: PathBuf::from("/") }))?;
            Ok(FINE)
        }
        Agent::Run { .. } => {
            fother_agent::network::run(&config()?)?;
            Ok(FINE)
        }
        Agent::Undo { transaction: None, sure: _ } => {
            Failure::need_root("reading the transactions of this host")?;
            transactions(context)
        }
        Agent::Undo { transaction: Some(text), sure } => undo(&text, sure),
        Agent::Observe { to: Some(to), sure } => {
            Failure::need_root("switching this host between observing and patching")?;
            let config = config()?;
            if sure.go(if to == "on" { "make this host read-only" } else { "let approved changes into this host" }) {
                config.observe(to == "on")?;
            }
            observes(context)
        }
        Agent::Observe { to: None, sure: _ } => observes(context),
        Agent::Offer { directive } => offer(&directive),
        Agent::Log { what } => {
            Failure::need_root("reading what stays on this host")?;
            log(&config()?, what.as_deref())
        }
        Agent::Transact { request } => {
            hidden::transact(&request)?;
            Ok(FINE)
        }
        Agent::PutBack { request } => {
            hidden::put_back(&request)?;
            Ok(FINE)
        }
        Agent::RehearseHere { request } => {
            rehearse_here::run(&request, std::env::current_exe()?, super::rehearse::driver_args())?;
            Ok(FINE)
        }
        Agent::RehearseInside { exchange } => {
            fother_host::rehearse::inside(&exchange, &ask)?;
            Ok(FINE)
        }
    }
}

fn observes(context: &Context) -> Result<u8, Failure> {
    let mode = if config()?.observes() { "observes" } else { "patches" };
    match context.format {
        Format::Json => envelope("agent-mode", &serde_json::json!({"mode": mode}), &[])?,
        Format::Table => println!("{mode}"),
    }
    Ok(FINE)
}

/// What this host is enrolled with.
fn show(context: &Context) -> Result<u8, Failure> {
    let config = config()?;
    let identity = fother_agent::config::Identity::read(&config)?;
    let client = fother_agent::config::Client::read(&config)?;
    let mode = if config.observes() { "observes" } else { "patches" };
    let trusted = config.etc.join("trust.toml").exists();
    if context.format == Format::Json {
        let data = serde_json::json!({"host": identity.host, "server": client.server, "mode": mode, "trust_file": trusted});
        envelope("agent", &data, &[])?;
        return Ok(FINE);
    }
    println!("host       {}", identity.host);
    println!("server     {}", client.server);
    println!("mode       {mode}");
    println!("trust      {}", if trusted { "/etc/fother/trust.toml" } else { "no trust file: no change can be approved for this host" });
    Ok(FINE)
}

fn transactions(context: &Context) -> Result<u8, Failure> {
    let known = fother_agent::undo::list(&config()?)?;
    if context.format == Format::Json {
        let data: Vec<_> = known.iter().map(|(txn, step)| serde_json::json!({"transaction": txn, "step": step})).collect();
        envelope("transactions", &data, &[])?;
        return Ok(FINE);
    }
    let word = |step: &fother_agent::transaction::Step| {
        let step = serde_json::to_value(step).unwrap_or_default();
        let outcome = step["outcome"]["outcome"].as_str().or(step["outcome"]["kind"].as_str()).unwrap_or_default().to_owned();
        [step["step"].as_str().unwrap_or_default().to_owned(), outcome]
    };
    let row = |(txn, step): &(fother_core::id::TransactionId, _)| vec![txn.to_string(), word(step).join(" ")];
    table(&["transaction", "last step"], &known.iter().map(row).collect::<Vec<_>>());
    Ok(FINE)
}

fn undo(text: &str, sure: Sure) -> Result<u8, Failure> {
    Failure::need_root("undoing a transaction")?;
    let txn = text.parse().map_err(|error| Failure::new(USAGE, format!("`{text}`: {error}"), "`fother agent undo` lists them"))?;
    let config = config()?;
    if !fother_agent::undo::list(&config)?.iter().any(|(known, _)| *known == txn) {
        return Err(Failure::new(USAGE, format!("{txn} is no transaction of this host"), "`fother agent undo` lists them"));
    }
    if !sure.go(&format!("put this host back to before {txn}")) {
        return Ok(FINE);
    }
    let host = LiveHost { binary: config.binary.clone(), etc: config.etc.clone() };
    match fother_agent::undo::undo_cli(&config, &host, &SystemClock, txn) {
        Ok(Outcome::RolledBack { paths_compared, differences, .. }) if differences.is_empty() => {
            println!("{txn} is undone: {paths_compared} paths put back and compared, no difference");
            Ok(FINE)
        }
        Ok(Outcome::RolledBack { differences, .. }) => {
            let what = format!("{txn} is undone but for {} paths:\n{}", differences.len(), differences.join("\n"));
            Err(Failure::new(FAILED, what, "look at these paths: somebody else wrote them since"))
        }
        Ok(other) => Err(Failure::new(FAILED, format!("{txn} could not be undone: {}", other.brief()), "run it again: it resumes")),
        Err(error @ fother_agent::undo::UndoError::NotInEffect { .. }) => Err(Failure::new(REFUSED, error.to_string(), "")),
        Err(error) => Err(error.into()),
    }
}

fn offer(path: &Path) -> Result<u8, Failure> {
    let hint = "give the file that the server made";
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| Failure::new(USAGE, format!("{}: {error}", path.display()), hint))?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, DIRECTIVE_BYTES_MAX as u64 * 2), &mut text)?;
    let signed = serde_json::from_str(&text).map_err(|error| Failure::new(USAGE, format!("{}: {error}", path.display()), hint))?;
    match ipc::ask(&config()?.socket(), &ipc::Request::Directive { signed })? {
        ipc::Answer::Done => {
            println!("accepted");
            Ok(FINE)
        }
        ipc::Answer::Refused { why } => Err(Failure::new(REFUSED, format!("refused: {why}"), "nothing was done; the refusal is logged")),
        other => Err(Failure::new(FAILED, format!("the executor answered {other:?}"), "")),
    }
}

/// Lists, or shows one rehearsal or transaction in full.
fn log(config: &Config, what: Option<&str>) -> Result<u8, Failure> {
    let safe = |text: &str| text.lines().map(|line| printable(line, usize::MAX)).collect::<Vec<_>>().join("\n");
    let Some(what) = what else {
        kept::list(config)?.iter().for_each(|digest| println!("{digest}"));
        for (txn, step) in fother_agent::undo::list(config)? {
            println!("{txn}  {}", safe(&format!("{step:?}")));
        }
        eprintln!("everything that the executor did: journalctl -u fother-executor");
        return Ok(FINE);
    };
    if let Ok(digest) = what.parse() {
        super::rehearse::print(&kept::rehearsal(config, &digest)?);
        return Ok(FINE);
    }
    let txn = what.parse().map_err(|error| Failure::new(USAGE, format!("{error}"), "see `fother agent log`"))?;
    println!("{}", safe(&kept::output(config, txn)?));
    Ok(FINE)
}

fn config() -> Result<Config, Failure> {
    let (uid, gid) = install::find_user(NETWORK_USER)
        .ok_or_else(|| Failure::new(FAILED, format!("there is no user {NETWORK_USER}"), "run `fother agent install` first"))?;
    Ok(Config::system(Path::new("/"), uid, gid, std::env::current_exe()?))
}

/// Asks one check in a clone; an answer that is not there is no data.
fn ask(check: &Check, before: Option<&[(String, CheckAnswer)]>) -> CheckAnswer {
    let answers = fother_host::checks::ask(std::slice::from_ref(check), before, &fother_host::checks::Settings::default());
    answers.into_iter().next().map_or_else(|| CheckAnswer::NoData { why: "no answer".to_owned() }, |(_, answer)| answer)
}
