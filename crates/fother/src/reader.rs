//! Commands that read foreign bytes run in a process of their own, in a sandbox. This file starts it, answers what it asks about the running
//! machine, and starts it again without the file that it did not survive, so that the rest is still reported.

use crate::{
    cli::{Cli, Command, Feeds, Scan},
    cmd::{catalogues_beside, default_feeds_dir},
    failure::{FAILED, Failure, UNKNOWN},
    output::Wanted,
};
use fother_core::text::printable;
use fother_feeds::{intake::published, reading};
use fother_host::{
    outside,
    sandbox::{self, Allowed},
};
use rustix::fs::{MemfdFlags, memfd_create};
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{net::UnixStream, process::ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::OnceLock,
};

/// Most files that are left out before the whole is given up.
const LEFT_OUT_MAX: usize = 16;
/// How the reader is told that it is one.
const VARIABLE: &str = "FOTHER_READER";
/// A process of this program that panicked ends with this code, which is none of its own.
const PANICKED: i32 = 101;

/// What the reader is started with.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// Descriptor in which it tells what it reads.
    place: i32,
    /// Descriptor of the standard input that the command was started with; its own is where it asks.
    input: Option<i32>,
    /// Files that it leaves out.
    left_out: Vec<String>,
    /// An empty directory for it alone, removed afterwards.
    work: Option<PathBuf>,
    /// The command as it was parsed, so that this is not done twice where time counts most. Others are parsed again, and so are paths that are
    /// not UTF-8.
    scan: Option<Parsed>,
}

/// A parsed `fother scan`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Parsed {
    scan: Scan,
    format: Wanted,
}

/// What a reader is started for.
#[derive(Debug)]
pub struct Started {
    /// The command's words.
    pub arguments: Vec<std::ffi::OsString>,
    /// The same as it was parsed.
    pub scan: Option<Parsed>,
}

/// This process as a reader.
pub struct Reader {
    order: Order,
}

impl Reader {
    /// The order that this process was started with; `None` in one that a person started.
    pub fn started() -> Option<Result<Self, Failure>> {
        let order = std::env::var(VARIABLE).ok()?;
        Some(serde_json::from_str(&order).map(|order| Self { order }).map_err(|error| not_ours(&error.to_string())))
    }

    /// The command, where it came with the order.
    pub fn command(&mut self) -> Option<Cli> {
        let parsed = self.order.scan.take()?;
        Some(Cli { format: parsed.format, run_dir: PathBuf::new(), command: Command::Scan(parsed.scan) })
    }

    /// Enters the sandbox, and runs the command in it.
    pub fn run(self, cli: Cli) -> Result<u8, Failure> {
        let allowed = allowed(&cli.command).ok_or_else(|| not_ours("its command reads nothing foreign"))?;
        enter(self.order, allowed)?;
        crate::cmd::run(cli)
    }
}

fn not_ours(why: &str) -> Failure {
    Failure::new(FAILED, format!("{VARIABLE}: {why}"), "unset it: only this program sets it, for itself")
}

static WORK: OnceLock<PathBuf> = OnceLock::new();

/// The directory in which the reader puts an image's files.
pub fn work() -> Result<PathBuf, Failure> {
    WORK.get().cloned().ok_or_else(|| Failure::new(FAILED, "there is no directory for the image's files", ""))
}

/// Where such directories are made: `TMPDIR`, else the place for large files that are of short use.
fn works() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

/// What a command that reads foreign bytes may touch; `None` for all others.
pub fn allowed(command: &Command) -> Option<Allowed> {
    let database = |given: Option<&Path>| given.map_or_else(default_feeds_dir, Path::to_owned);
    match command {
        Command::Scan(Scan { root, db, file, image, baseline, vex, .. }) => {
            let input = file.as_ref().or(image.as_ref()).unwrap_or(root).clone();
            let read =
                [Some(input), Some(database(db.as_deref())), baseline.clone()].into_iter().flatten().chain(vex.iter().cloned()).collect();
            Some(Allowed { read, write: Vec::new() })
        }
        Command::Diff(diff) => {
            let sides = [Some(diff.a.clone()), diff.b.clone(), Some(database(diff.db.as_deref()))];
            Some(Allowed { read: sides.into_iter().flatten().collect(), write: Vec::new() })
        }
        Command::Reconcile(reconcile) => {
            let report = (reconcile.report != Path::new("-")).then(|| reconcile.report.clone());
            let subject = reconcile.file.as_ref().unwrap_or(&reconcile.root).clone();
            let read = [report, Some(subject), Some(database(reconcile.db.as_deref()))].into_iter().flatten().collect();
            let beside =
                |file: &PathBuf| file.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or_else(|| ".".into(), Path::to_owned);
            Some(Allowed { read, write: reconcile.write_vex.iter().map(beside).collect() })
        }
        Command::Backtest(backtest) => {
            let kev = backtest.kev.clone().or_else(|| catalogues_beside(&backtest.data));
            Some(Allowed { read: kev.into_iter().chain([backtest.data.clone()]).collect(), write: Vec::new() })
        }
        // The server reads for it.
        Command::Explain(explain) if explain.fleet => None,
        Command::Explain(explain) => Some(Allowed { read: vec![explain.root.clone(), database(explain.db.as_deref())], write: Vec::new() }),
        Command::Feeds(Feeds::Import { paths, offered, dir, keyring, .. }) => {
            let fetched = offered.as_deref().and_then(Path::parent).map(Path::to_owned);
            let beside = paths.iter().flat_map(|path| published::ENDINGS.map(|ending| published::beside(path, ending)));
            let beside = beside.filter(|path| path.is_file());
            Some(Allowed {
                read: paths.iter().cloned().chain(beside).chain(fetched).chain(keyring.clone()).collect(),
                write: vec![dir.clone().unwrap_or_else(default_feeds_dir)],
            })
        }
        Command::Feeds(Feeds::Status { dir, .. }) => {
            Some(Allowed { read: vec![dir.clone().unwrap_or_else(default_feeds_dir)], write: Vec::new() })
        }
        // What it fetches is read by the import that it starts.
        Command::Feeds(Feeds::Update { .. })
        | Command::Rehearse(_)
        | Command::Serve(_)
        | Command::Agent(_)
        | Command::Status
        | Command::Host(_)
        | Command::Archive(_)
        | Command::Policy(_)
        | Command::Window(_)
        | Command::Schedule(_)
        | Command::Standing(_)
        | Command::Promote { .. }
        | Command::Plan(_)
        | Command::Change(_)
        | Command::Rollout(_)
        | Command::Stop(_)
        | Command::Resume(_)
        | Command::Lock(_)
        | Command::Log(_)
        | Command::Store(_)
        | Command::Lab(_)
        | Command::Demo(_)
        | Command::Completions { .. } => None,
        #[cfg(feature = "sim")]
        Command::Sim(_) => None,
    }
}

/// Runs a command: in the sandbox where it reads foreign bytes, else here.
pub fn run(cli: Cli) -> Result<u8, Failure> {
    let Some(allowed) = allowed(&cli.command) else { return crate::cmd::run(cli) };
    let has_work = matches!(&cli.command, Command::Scan(Scan { image: Some(_), .. }) | Command::Diff(_) | Command::Reconcile(_));
    let arguments = std::env::args_os().skip(1).collect();
    let scan = match cli.command {
        Command::Scan(scan) => Some(Parsed { scan, format: cli.format }),
        _ => None,
    };
    supervise(&allowed.write, has_work, &Started { arguments, scan })
}

/// Becomes the reader.
fn enter(order: Order, mut allowed: Allowed) -> Result<(), Failure> {
    let failed = |why: String| not_ours(&why);
    let place = std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{}", order.place));
    reading::watch(place.map_err(|error| failed(error.to_string()))?, order.left_out);
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(|error| failed(error.to_string()))?;
    outside::ask_at(File::from(socket));
    let input = order.input.map(|number| File::open(format!("/proc/self/fd/{number}")));
    rustix::stdio::dup2_stdin(input.transpose().ok().flatten().map_or_else(|| File::open("/dev/null"), Ok)?)?;
    allowed.write.extend(order.work.clone());
    order.work.map(|work| WORK.set(work));
    let missing = sandbox::enter(&allowed).map_err(|error| Failure::new(FAILED, error.to_string(), ""))?;
    for what in missing {
        eprintln!("fother: foreign data is read with less protection here: {what}");
    }
    Ok(())
}

/// Starts the reader with these arguments until it ends by itself; `write` are directories that it needs, `has_work` gives it one of its own.
pub fn supervise(write: &[PathBuf], has_work: bool, started: &Started) -> Result<u8, Failure> {
    for dir in write {
        std::fs::create_dir_all(dir).map_err(|error| Failure::new(FAILED, format!("{}: {error}", dir.display()), "name another --dir"))?;
    }
    let mut left_out: Vec<String> = Vec::new();
    loop {
        let place = File::from(memfd_create("fother-reading", MemfdFlags::empty())?);
        let status = once(&place, &left_out, has_work, started)?;
        if let Some(code) = status.code().filter(|code| *code != PANICKED) {
            return Ok(u8::try_from(code).unwrap_or(FAILED));
        }
        let why = ending(status);
        let Some(path) = reading::last(&place).filter(|path| !left_out.contains(path) && left_out.len() < LEFT_OUT_MAX) else {
            let what = format!("the reader of foreign data was ended by {why}: nothing is reported");
            return Err(Failure::new(UNKNOWN, what, "report this as a fault of fother, with the input if you can"));
        };
        eprintln!("fother: {} ended its reader ({why}); it is left out", printable(&path, 300));
        left_out.push(path);
    }
}

fn once(place: &File, left_out: &[String], has_work: bool, started: &Started) -> Result<ExitStatus, Failure> {
    let work = has_work.then(|| tempfile::Builder::new().prefix("fother-image-").tempdir_in(works())).transpose()?;
    let own = work.as_ref().map(|work| work.path().to_owned());
    let input = rustix::io::dup(rustix::stdio::stdin()).ok();
    let mut order = Order {
        place: place.as_raw_fd(),
        input: input.as_ref().map(OwnedFd::as_raw_fd),
        left_out: left_out.to_vec(),
        work: own,
        scan: started.scan.clone(),
    };
    let order = serde_json::to_string(&order).or_else(|_| {
        order.scan = None;
        serde_json::to_string(&order)
    })?;
    let (ours, theirs) = UnixStream::pair()?;
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(&started.arguments).env(VARIABLE, order).stdin(Stdio::from(OwnedFd::from(theirs)));
    let spawned = command.spawn();
    // The command keeps the other end open as long as it lives.
    drop(command);
    let mut child = spawned.map_err(|error| Failure::new(FAILED, format!("the reader cannot be started: {error}"), "mount /proc"))?;
    // A reader that asks for what it may not, or breaks off, ends; how is its status' to say.
    let _ = outside::answer(ours);
    Ok(child.wait()?)
}

fn ending(status: ExitStatus) -> String {
    match status.signal().map(rustix::process::Signal::from_named_raw) {
        None => "a fault of its own".into(),
        Some(Some(rustix::process::Signal::XCPU | rustix::process::Signal::KILL)) => "the system: too much time or memory".into(),
        Some(_) => format!("signal {}", status.signal().unwrap_or_default()),
    }
}
