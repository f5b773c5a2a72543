//! A small command line for trying out the lab by hand and for its tests; the product's own is `fother lab`.

use fother_lab::{Progress, SiteVersion, Traffic, UpOptions};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    // The supervisor is started the way the product starts it.
    let args = args.strip_prefix(&["lab"]).unwrap_or(&args);
    match work(args) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("fother-lab: {e}");
            ExitCode::from(5)
        }
    }
}

fn work(args: &[&str]) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match args {
        ["supervise", name] => fother_lab::supervise(name)?,
        ["up", name, hosts] => {
            let binary = std::env::current_exe()?;
            let options =
                UpOptions { name: (*name).into(), hosts: hosts.parse()?, mirror: None, balancer: fother_lab::Balancer::Haproxy, binary };
            fother_lab::up(&options, &mut |p| match p {
                Progress::Stage(text) => eprintln!("== {text}"),
                Progress::Line(text) => eprintln!("   {text}"),
            })?;
            fother_lab::wait_ready(name, Duration::from_secs(30))?;
        }
        ["down", name] => fother_lab::down(name, false)?,
        ["purge", name] => fother_lab::down(name, true)?,
        ["start", name, host] => fother_lab::start(name, host)?,
        ["status", name] => {
            for host in fother_lab::status(name)? {
                println!("{host:?}");
            }
        }
        ["publish", name, kind] => fother_lab::publish(name, SiteVersion::named(kind).ok_or("no such version")?)?,
        ["traffic", name, rate, seconds] => {
            let traffic = Traffic::start(name, rate.parse()?)?;
            std::thread::sleep(Duration::from_secs(seconds.parse()?));
            println!("{:#?}", traffic.stop());
        }
        ["exec", name, host, argv @ ..] if !argv.is_empty() => {
            let output = fother_lab::exec(name, host, argv, b"")?;
            std::io::stdout().write_all(&output.stdout)?;
            std::io::stderr().write_all(&output.stderr)?;
            return Ok(ExitCode::from(u8::try_from(output.status.code().unwrap_or(255)).unwrap_or(255)));
        }
        _ => {
            return Err(
                "use: up NAME HOSTS | status NAME | exec NAME HOST ARGV… | publish NAME KIND | traffic NAME RATE SECONDS | down NAME"
                    .into(),
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
