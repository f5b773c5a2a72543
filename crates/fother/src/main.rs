//! `fother`: scanner, control plane, agent, lab and command line in one program. This file only dispatches.

mod cli;
mod client;
mod cmd;
mod failure;
mod output;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("FOTHER_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match cmd::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("fother: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
