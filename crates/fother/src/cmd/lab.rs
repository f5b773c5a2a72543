//! `fother lab`: a disposable fleet.

use super::Context;
use crate::{
    cli::Lab,
    failure::{FAILED, FINE, Failure, USAGE},
    output::{Format, envelope, table},
};
use fother_lab::{Balancer, Progress, SiteVersion, UpOptions};
use std::{
    io::{IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

/// Longest wait for the hosts to serve.
const READY_WAIT: Duration = Duration::from_secs(120);

/// Runs the command.
pub fn run(context: &Context, verb: Lab) -> Result<u8, Failure> {
    match verb {
        Lab::Supervise { name } => {
            fother_lab::supervise(&name)?;
            Ok(FINE)
        }
        Lab::Up { hosts, mirror, balancer, name, sure } => {
            Failure::need_root("the lab boots real hosts and")?;
            if !sure.go(&format!("build the lab `{name}` and boot {hosts} hosts")) {
                return Ok(FINE);
            }
            let balancer = if balancer == "nginx" { Balancer::Nginx } else { Balancer::Haproxy };
            up(&name, hosts, mirror, balancer, &std::env::current_exe()?)?;
            status(context, &name)
        }
        Lab::Ls => {
            let labs = fother_lab::labs();
            match context.format {
                Format::Json => envelope("labs", &labs, &[])?,
                Format::Table => table(&["lab"], &labs.into_iter().map(|name| vec![name]).collect::<Vec<_>>()),
            }
            Ok(FINE)
        }
        Lab::Status { name } => status(context, &name),
        Lab::Exec { name, host, command } => {
            Failure::need_root("running a command on a lab host")?;
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            let status = fother_lab::command(&name, &host, &words)?.status()?;
            Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
        }
        Lab::Publish { name, version, sure } => {
            Failure::need_root("writing into a lab's archive")?;
            let all = SiteVersion::ALL;
            let wanted = all.into_iter().find(|known| known.version() == version || known.name() == version).ok_or_else(|| {
                let known: Vec<String> = all.iter().map(|known| format!("{} ({})", known.version(), known.name())).collect();
                Failure::new(USAGE, format!("there is no lab-site {version}"), format!("one of {}", known.join(", ")))
            })?;
            fother_lab::status(&name)?;
            if sure.go(&format!("publish lab-site {} in the lab `{name}`", wanted.version())) {
                fother_lab::publish(&name, wanted)?;
            }
            Ok(FINE)
        }
        Lab::Down { name, purge, sure } => {
            Failure::need_root("taking a lab down")?;
            if sure.go(&format!("take the lab `{name}` down{}", if purge { ", its cached base too" } else { "" })) {
                fother_lab::down(&name, purge)?;
            }
            Ok(FINE)
        }
    }
}

/// Boots a lab and waits until its hosts serve.
pub fn up(name: &str, hosts: u32, mirror: Option<String>, balancer: Balancer, binary: &Path) -> Result<(), Failure> {
    if fother_lab::labs().iter().any(|known| known == name) {
        eprintln!("an earlier lab `{name}` is taken down first");
        fother_lab::down(name, false)?;
    }
    let options = UpOptions { name: name.to_owned(), hosts: hosts as usize, mirror, balancer, binary: binary.to_owned() };
    let people = std::io::stderr().is_terminal();
    let clear = if people { "\r\x1b[K" } else { "" };
    fother_lab::up(&options, &mut |progress| match progress {
        Progress::Stage(what) => eprintln!("{clear}   {what}"),
        Progress::Line(line) if people => {
            eprint!("{clear}     {}", fother_core::text::printable(line.trim(), 90));
            let _ = std::io::stderr().flush();
        }
        Progress::Line(_) => {}
    })?;
    eprint!("{clear}");
    fother_lab::wait_ready(name, READY_WAIT)?;
    Ok(())
}

fn status(context: &Context, name: &str) -> Result<u8, Failure> {
    let hosts = fother_lab::status(name)?;
    if context.format == Format::Json {
        envelope("lab", &hosts, &[])?;
        return Ok(FINE);
    }
    let rows: Vec<Vec<String>> = hosts
        .iter()
        .map(|host| {
            let pid = host.pid.map(|pid| pid.to_string()).unwrap_or_default();
            vec![host.name.clone(), host.role.name().to_owned(), host.zone.clone(), host.address.clone(), format!("{:?}", host.state), pid]
        })
        .collect();
    table(&["host", "role", "zone", "address", "state", "pid"], &rows);
    Ok(FINE)
}
