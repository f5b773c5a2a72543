//! `fother`: scanner, control plane, agent, lab and command line in one program. This file only dispatches.

mod cli;
mod client;
mod cmd;
mod failure;
mod output;
mod reader;
mod sure;

use clap::Parser as _;
use std::process::ExitCode;

/// A reader that closes the pipe early (`fother scan | head`) ends the program quietly, as it ends every other.
fn end_quietly_on_closed_pipes() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(info);
    }));
}

/// Says what is wrong with the command line, to people or to machines; help and version are no errors.
fn unparsed(error: &clap::Error) -> ExitCode {
    let code = u8::try_from(error.exit_code()).unwrap_or(failure::USAGE);
    let words: Vec<String> = std::env::args().collect();
    let json = words.iter().any(|word| word == "--format=json") || words.windows(2).any(|pair| pair == ["--format", "json"]);
    if code != failure::FINE && json {
        let failure = failure::Failure::new(code, error.render().to_string(), "see --help");
        println!("{:#}", failure.envelope());
    }
    // Nothing can be told to anybody who has closed the pipe.
    let _ = error.print();
    ExitCode::from(code)
}

fn main() -> ExitCode {
    end_quietly_on_closed_pipes();
    let arguments = match cli::Cli::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return unparsed(&error),
    };
    let format = arguments.format;
    let filter = tracing_subscriber::EnvFilter::try_from_env("FOTHER_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
    match reader::run(arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if format.plain() == output::Format::Json {
                println!("{:#}", failure.envelope());
            }
            eprintln!("fother: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
