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
    let mut reader = match reader::Reader::started().transpose() {
        Ok(reader) => reader,
        Err(failure) => return ended(output::Format::Table, Err(failure)),
    };
    let arguments = match reader.as_mut().and_then(reader::Reader::command).map_or_else(cli::Cli::try_parse, Ok) {
        Ok(arguments) => arguments,
        Err(error) => return unparsed(&error),
    };
    let format = arguments.format.plain();
    // A reader has nothing to tell but its answer, and is to be light.
    if reader.is_none() || std::env::var_os(LOG).is_some() {
        log_to_stderr();
    }
    let result = match reader {
        Some(reader) => reader.run(arguments),
        None => reader::run(arguments),
    };
    ended(format, result)
}

/// Names what is logged.
const LOG: &str = "FOTHER_LOG";

/// What `FOTHER_LOG` names is written (`debug`, `fother_server=trace,info`), otherwise what people should know.
fn log_to_stderr() {
    let writer = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    match std::env::var(LOG).ok().and_then(|wanted| tracing_subscriber::EnvFilter::try_new(wanted).ok()) {
        Some(filter) => writer.with_env_filter(filter).init(),
        None => writer.with_max_level(tracing_subscriber::filter::LevelFilter::INFO).init(),
    }
}

/// Says how the command ended.
fn ended(format: output::Format, result: Result<u8, failure::Failure>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if format == output::Format::Json {
                println!("{:#}", failure.envelope());
            }
            eprintln!("fother: {failure}");
            ExitCode::from(failure.code)
        }
    }
}
