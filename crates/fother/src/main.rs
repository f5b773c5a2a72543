//! `fother`: scanner, control plane, agent, lab and command line in one program. This file only dispatches.

mod cli;
mod client;
mod cmd;
mod failure;
mod output;

use clap::Parser as _;
use std::process::ExitCode;

/// A reader that closes the pipe early (`fother scan | head`) ends the program quietly, as it ends every other.
fn end_quietly_on_closed_pipes() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(info);
    }));
}

fn main() -> ExitCode {
    end_quietly_on_closed_pipes();
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
