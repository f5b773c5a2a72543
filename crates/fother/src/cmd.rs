//! Commands, a file per noun.

mod agent;
mod archive;
mod backtest;
mod change;
mod demo;
mod diff;
mod explain;
mod feeds;
mod findings;
mod host;
mod lab;
mod lock;
mod log;
mod opened;
mod plan;
mod policy;
mod reconcile;
mod rehearse;
mod rollout;
mod scan;
mod schedule;
mod serve;
mod sign;
#[cfg(feature = "sim")]
mod sim;
mod standing;
mod status;
mod store;
mod vex;
mod window;

use crate::{
    cli::{Cli, Command},
    client::Client,
    failure::{FINE, Failure, USAGE},
    output::{Format, Wanted},
};
use clap::CommandFactory as _;

pub use backtest::beside as catalogues_beside;
pub use feeds::default_dir as default_feeds_dir;

/// What every command gets.
pub struct Context {
    /// How to print.
    pub format: Format,
    /// What was asked for; of importance for findings.
    pub wanted: Wanted,
    /// The server's runtime directory.
    pub run_dir: std::path::PathBuf,
}

impl Context {
    /// A client of the server.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.run_dir)
    }
}

/// Runs one command; the result is the exit code.
pub fn run(cli: Cli) -> Result<u8, Failure> {
    let compares = matches!(cli.command, Command::Diff(_) | Command::Reconcile(_)) && cli.format == Wanted::Csv;
    if cli.format.is_for_findings() && !compares && !matches!(cli.command, Command::Scan(_)) {
        return Err(Failure::new(USAGE, "only `fother scan` has findings to print in this form", "use --format table or json"));
    }
    if cli.format == Wanted::Ics && !matches!(cli.command, Command::Window(_) | Command::Policy(crate::cli::Policy::Simulate { .. })) {
        return Err(Failure::new(
            USAGE,
            "only `fother window` and `fother policy simulate` have appointments to print as iCalendar",
            "use --format table or json",
        ));
    }
    let context = Context { format: cli.format.plain(), wanted: cli.format, run_dir: cli.run_dir };
    match cli.command {
        Command::Scan(arguments) => scan::run(&context, &arguments),
        Command::Explain(arguments) => explain::run(&context, &arguments),
        Command::Backtest(arguments) => backtest::run(&context, &arguments),
        Command::Diff(arguments) => diff::run(&context, &arguments),
        Command::Reconcile(arguments) => reconcile::run(&context, &arguments),
        Command::Rehearse(arguments) => rehearse::run(&context, &arguments),
        Command::Serve(arguments) => serve::run(&context, arguments),
        Command::Agent(verb) => agent::run(&context, verb),
        Command::Status => status::run(&context),
        Command::Host(verb) => host::run(&context, verb),
        Command::Archive(verb) => archive::run(&context, verb),
        Command::Policy(verb) => policy::run(&context, &verb),
        Command::Window(verb) => window::run(&context, &verb),
        Command::Promote { group, sure } => plan::promote(&context, &group, sure),
        Command::Schedule(verb) => schedule::run(&context, &verb),
        Command::Standing(verb) => standing::run(&context, &verb),
        Command::Plan(verb) => plan::run(&context, verb),
        Command::Change(verb) => change::run(&context, verb),
        Command::Rollout(verb) => rollout::run(&context, verb),
        Command::Stop(stop) => rollout::stop_all(&context, &stop),
        Command::Resume(resume) => rollout::resume_all(&context, &resume),
        #[cfg(feature = "sim")]
        Command::Sim(verb) => sim::run(&verb),
        Command::Lock(verb) => lock::run(&context, verb),
        Command::Log(verb) => log::run(&context, &verb),
        Command::Store(verb) => store::run(&context, verb),
        Command::Feeds(verb) => feeds::run(&context, &verb),
        Command::Lab(verb) => lab::run(&context, verb),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fother", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
            Ok(FINE)
        }
    }
}
