//! `fother agent`: the two halves on a host, their installation, and the undo that needs no server.

use crate::{
    cli::Agent,
    failure::{FAILED, FINE, Failure, USAGE},
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
    kept, rehearse_here,
};
use fother_core::{
    policy::{Check, CheckAnswer},
    text::printable,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Runs the command.
pub fn run(verb: Agent) -> Result<u8, Failure> {
    match verb {
        Agent::Install { server, token_file, trust, observe } => {
            Failure::need_root("installing the agent")?;
            let enrol = EnrolOptions { server, token_file, observe };
            let host = install::install(&InstallOptions { enrol, binary: std::env::current_exe()?, trust })?;
            println!("{host}");
            Ok(FINE)
        }
        Agent::Run { half } if half == "executor" => {
            Failure::need_root("the executor")?;
            let config = config()?;
            let host = Arc::new(LiveHost { binary: config.binary.clone() });
            fother_agent::executor::run(&config, host, Arc::new(HostArchives { root: PathBuf::from("/") }))?;
            Ok(FINE)
        }
        Agent::Run { .. } => {
            fother_agent::network::run(&config()?)?;
            Ok(FINE)
        }
        Agent::Undo { transaction: None } => {
            for (txn, step) in fother_agent::undo::list(&config()?)? {
                println!("{txn}  {step:?}");
            }
            Ok(FINE)
        }
        Agent::Undo { transaction: Some(text) } => {
            Failure::need_root("undoing a transaction")?;
            let txn = text.parse().map_err(|error| Failure::new(USAGE, format!("{error}"), "see `fother agent undo`"))?;
            let config = config()?;
            let host = LiveHost { binary: config.binary.clone() };
            let outcome = fother_agent::undo::undo_cli(&config, &host, &SystemClock, txn)?;
            println!("{outcome:?}");
            Ok(FINE)
        }
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

/// Asks one check; an answer that is not there is no data.
fn ask(check: &Check) -> CheckAnswer {
    let answers = fother_host::checks::ask(std::slice::from_ref(check));
    answers.into_iter().next().map_or_else(|| CheckAnswer::NoData { why: "no answer".to_owned() }, |(_, answer)| answer)
}
