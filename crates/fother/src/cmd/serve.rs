//! `fother serve`: the control plane with one data directory.

use super::Context;
use crate::{
    cli::Serve,
    failure::{FAILED, FINE, Failure, REFUSED, USAGE},
};
use fother_core::approval::Trust;
use fother_server::ServerOptions;
use std::{
    fs,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
};

/// Where root puts programs that the server may run, such as `notice`.
const HOOKS: &str = "/etc/fother/hooks.d";

/// Runs the command.
pub fn run(context: &Context, arguments: Serve) -> Result<u8, Failure> {
    let read = |path: &Path| {
        fs::read_to_string(path)
            .map_err(|error| Failure::new(USAGE, format!("{} cannot be read: {error}", path.display()), "write one; see the README"))
    };
    let unusable =
        |path: &Path, why: String| Failure::new(USAGE, format!("{} cannot be used: {why}", path.display()), "mend it, then start again");
    let policy = super::policy::files::policy(&arguments.policy)?;
    let approvers = Trust::parse(&read(&arguments.approvers)?).map_err(|error| unusable(&arguments.approvers, error.to_string()))?;
    if !arguments.web.ip().is_loopback() {
        return Err(Failure::new(
            USAGE,
            format!("{} is not a loopback address", arguments.web),
            "the status page is for this machine only",
        ));
    }
    let place = super::store::place(&arguments.at)?;
    fother_server::unserved(&arguments.at.data_dir).map_err(sole)?;
    let bind = |address, flag| {
        let hint = format!("is another server running? Stop it, or choose another address with {flag}");
        TcpListener::bind(address).map_err(|error| Failure::new(FAILED, format!("{address} cannot be used: {error}"), hint))
    };
    let web = bind(arguments.web, "--web")?;
    if let Some(netns) = &arguments.netns {
        enter(netns)?;
    }
    let options = ServerOptions {
        data_dir: arguments.at.data_dir,
        place,
        run_dir: context.run_dir.clone(),
        cache_dir: arguments.cache_dir,
        policy,
        approvers,
        agent_listener: bind(arguments.agents, "--agents")?,
        agent_names: vec![arguments.agents.ip().to_string()],
        advisories: arguments.db.unwrap_or_else(|| super::feeds::default_dir().join("advisories.db")),
        hooks: PathBuf::from(HOOKS),
        web_listener: Some(web),
        lock_listener: arguments.locks.map(|address| bind(address, "--locks")).transpose()?,
    };
    fother_server::run(options, terminated()).map_err(sole)?;
    Ok(FINE)
}

/// Another server on the data directory is a refusal, everything else a failure.
fn sole(error: fother_server::Error) -> Failure {
    match error {
        fother_server::Error::Taken { .. } | fother_server::Error::Lease(_) => {
            Failure::new(REFUSED, error.to_string(), "one data directory has one server")
        }
        other => other.into(),
    }
}

/// Moves this thread, and all that start from it, into a named network namespace.
fn enter(name: &str) -> Result<(), Failure> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    use std::os::fd::AsFd as _;
    let file = File::open(Path::new("/run/netns").join(name))?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Ready when the process is asked to end.
async fn terminated() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
