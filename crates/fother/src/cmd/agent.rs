//! `fother agent`: the two halves on a host, their installation, and the undo that needs no server.

use crate::{
    cli::Agent,
    failure::{FAILED, FINE, Failure, REFUSED, USAGE},
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
    ipc, rehearse_here,
};
use fother_core::{
    directive::DIRECTIVE_BYTES_MAX,
    policy::{Check, CheckAnswer},
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
            println!("{}", outcome.brief());
            Ok(FINE)
        }
        Agent::Observe { to } => {
            if let Some(to) = &to {
                Failure::need_root("switching this host between observing and patching")?;
                config()?.observe(to == "on")?;
            }
            println!("{}", if config()?.observes() { "observes" } else { "patches" });
            Ok(FINE)
        }
        Agent::Offer { directive } => offer(&directive),
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
