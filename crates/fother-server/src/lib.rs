//! The control plane: one process around the pure core. Owns its data directory, the agent port, a unix socket and a loopback status page.
//!
//! [`run`] opens the store, folds the log ([`State`](fother_core::state::State)), and serves until it is told to stop. Nothing becomes true
//! before it is in the log; nothing is sent to a host before it is in the log.

mod agents;
mod api;
mod archives;
mod baselines;
mod clock;
mod commands;
mod engine;
mod epoch;
mod error;
mod explain;
mod fleet;
mod fleetlock;
mod forecasts;
mod heard;
mod hook;
mod identities;
mod identity;
mod orders;
mod page;
mod policies;
mod problem;
mod ranking;
mod reconcile;
mod replica;
mod schedules;
mod serve;
mod sole;
mod standings;
#[cfg(test)]
mod tests;
mod witnesses;

pub use archives::{Archives, Mirrors, PackageError, RefusedArchive, Updated, UpdatedArchive};
pub use commands::{Asked, Draft, Made, Submit};
pub use epoch::restored;
pub use error::Error;
pub use forecasts::{Simulate, Simulated};
pub use fother_core::dispatch::JUMP_MAX;
pub use identity::{Identity, LOG_ORIGIN, SERVER_NAME};
pub use orders::{DIRECTIVE_LIFE, LOST_AFTER};
pub use policies::{Became, InForce, Proposed, Wanted};
pub use schedules::Scheduled;
pub use sole::unserved;
pub use standings::StandingView;

use engine::Engine;
use fother_core::{approval::Trust, policy::Policy};
use fother_store::Place;
use std::{
    future::Future,
    net::TcpListener,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

/// Most connections that wait to be accepted at a door; the kernel may allow fewer.
const WAITING_MAX: i32 = 4_096;

/// Name of the socket below the run directory.
pub const SOCKET: &str = "server.sock";

/// How a server is set up.
pub struct ServerOptions {
    /// Keys, and the store unless it lies elsewhere; made with mode 0700.
    pub data_dir: PathBuf,
    /// Where log and blobs lie.
    pub place: Place,
    /// Where the socket [`SOCKET`] is made.
    pub run_dir: PathBuf,
    /// Archive files, by hash.
    pub cache_dir: PathBuf,
    /// The policy: in force from the first start on; at later starts what tightens the one in force.
    pub policy: Policy,
    /// Who may author and approve; hosts decide by their own file all the same.
    pub approvers: Trust,
    /// Bound by the caller, or passed on by systemd.
    pub agent_listener: TcpListener,
    /// Names and addresses that agents know the server by, besides [`SERVER_NAME`].
    pub agent_names: Vec<String>,
    /// The advisory database that questions to the fleet are answered from; need not be there yet.
    pub advisories: PathBuf,
    /// Directory of root-owned hooks, such as `notice`; need not be there.
    pub hooks: PathBuf,
    /// The status page; loopback only.
    pub web_listener: Option<TcpListener>,
    /// Reboot locks for hosts that others patch: TLS with this server's own certificate, but plain HTTP on a loopback address.
    pub lock_listener: Option<TcpListener>,
}

/// Serves until `shutdown` is ready.
///
/// # Errors
/// Where the store or the keys cannot be used, or a door cannot be opened.
pub fn run(options: ServerOptions, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let archives = Box::new(Mirrors::open(&options.cache_dir)?);
    run_with(options, archives, shutdown)
}

/// As [`run`], with other archives than the network's.
///
/// # Errors
/// As [`run`].
pub fn run_with(options: ServerOptions, archives: Box<dyn Archives>, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    if let Some(web) = &options.web_listener {
        let address = web.local_addr().map_err(Error::io("read the address of", Path::new("the status page")))?;
        if !address.ip().is_loopback() {
            return Err(Error::Input(format!("the status page would be open to others on {address}; give it a loopback address")));
        }
    }
    let (engine, woken) = Engine::open_at(&options.data_dir, &options.place, options.policy, options.approvers, archives)?;
    engine.fleet.advisories_at(&options.advisories);
    let stop = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(Error::io("start", Path::new("the runtime")))?;
    let reconciler = {
        let (engine, stop) = (Arc::clone(&engine), Arc::clone(&stop));
        std::thread::spawn(move || reconcile::run(&engine, &woken, &stop))
    };
    let follower = engine.store.is_shared().then(|| {
        let (engine, stop) = (Arc::clone(&engine), Arc::clone(&stop));
        std::thread::spawn(move || replica::follow(&engine, &stop))
    });
    let scheduler = {
        let (engine, stop, hooks) = (Arc::clone(&engine), Arc::clone(&stop), options.hooks);
        std::thread::spawn(move || schedules::run(&engine, &hooks, &stop))
    };
    let served = runtime.block_on(async {
        let tls = serve::tls(&engine, &options.agent_names)?;
        let agents = listener(options.agent_listener)?;
        let socket = socket(&options.run_dir)?;
        tokio::spawn(serve::agents(Arc::clone(&engine), agents, tls));
        tokio::spawn(serve::people(Arc::clone(&engine), socket));
        tokio::spawn(keep_fleet(Arc::clone(&engine)));
        if let Some(web) = options.web_listener {
            tokio::spawn(serve::web(Arc::clone(&engine), listener(web)?));
        }
        if let Some(locks) = options.lock_listener {
            let address = locks.local_addr().map_err(Error::io("read the address of", Path::new("the door for reboot locks")))?;
            let tls = if address.ip().is_loopback() { None } else { Some(serve::tls_without_clients(&engine, &options.agent_names)?) };
            tokio::spawn(serve::locks(Arc::clone(&engine), listener(locks)?, tls));
        }
        tracing::info!(events = engine.state().size, "the server is up");
        tokio::select! {
            () = shutdown => Ok(()),
            () = engine.fenced() => Err(sole::taken(engine.store.dir())),
        }
    });
    stop.store(true, Ordering::Relaxed);
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    let _ = reconciler.join();
    let _ = follower.map(std::thread::JoinHandle::join);
    engine.give_all_up();
    let _ = scheduler.join();
    let _ = std::fs::remove_file(options.run_dir.join(SOCKET));
    served
}

/// Keeps the fleet's index at the state, so that a question finds it ready.
async fn keep_fleet(engine: Arc<Engine>) {
    let mut size = engine.watch_size();
    loop {
        size.mark_unchanged();
        let at_work = Arc::clone(&engine);
        match tokio::task::spawn_blocking(move || at_work.fleet.sync(&at_work)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the fleet's index is behind; it is tried again with the next event"),
            Err(_) => return,
        }
        if size.changed().await.is_err() {
            return;
        }
    }
}

fn listener(listener: TcpListener) -> Result<tokio::net::TcpListener, Error> {
    let name = Path::new("a listener");
    // A whole fleet may come back at once: what is not accepted yet waits in line instead of trying again.
    rustix::net::listen(&listener, WAITING_MAX).map_err(|error| Error::io("set up", name)(error.into()))?;
    listener.set_nonblocking(true).map_err(Error::io("set up", name))?;
    tokio::net::TcpListener::from_std(listener).map_err(Error::io("use", name))
}

/// Makes the socket with mode 0660; a dead one is replaced, a live one is not.
fn socket(run_dir: &Path) -> Result<tokio::net::UnixListener, Error> {
    let path = run_dir.join(SOCKET);
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(Error::io("create", run_dir))?;
    if std::os::unix::net::UnixStream::connect(&path).is_ok() {
        return Err(Error::Input(format!("another server answers at {}; stop it first", path.display())));
    }
    if path.exists() {
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    let listener = tokio::net::UnixListener::bind(&path).map_err(Error::io("listen at", &path))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).map_err(Error::io("protect", &path))?;
    Ok(listener)
}
