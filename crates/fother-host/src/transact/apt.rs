//! apt-get with nothing but our own archive, no preferences, no hooks of the host's, and no questions; runs apt and dpkg on `/`.

use super::{ApplyError, ConffilePolicy, Progress, Public, TRANSACTION_S_MAX, Transaction, command, io_at};
use fother_core::text::{printable, quoted};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Seek, SeekFrom},
    os::{fd::AsRawFd, unix::process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

const UPDATE_S_MAX: u64 = 120;
/// Longest status line that is looked at, in bytes.
const STATUS_LINE_BYTES_MAX: usize = 2_048;
/// Marks every process of a transaction in its environment.
pub(super) const MARK: &str = "FOTHER_TRANSACTION";

/// apt-get, set up for one transaction.
pub(super) struct Apt<'a> {
    tx: &'a Transaction,
    config: PathBuf,
    id: &'a str,
}

/// One line of a simulation or of the plan: `install name arch from to`, `remove name`.
type Acts = BTreeSet<String>;

impl<'a> Apt<'a> {
    /// Writes the configuration and reads the local archive.
    pub(super) fn prepare(tx: &'a Transaction, repo: &Path, id: &'a str) -> Result<Self, ApplyError> {
        for dir in ["lists/partial", "archives/partial", "empty.d"] {
            fs::create_dir_all(tx.work.join(dir)).map_err(io_at(dir))?;
        }
        let sources = tx.work.join("sources.list");
        fs::write(&sources, format!("deb [trusted=yes] file:{} ./\n", repo.display())).map_err(io_at("sources.list"))?;
        let config = tx.work.join("apt.conf");
        fs::write(&config, config_text(tx, &sources)).map_err(io_at("apt.conf"))?;
        let apt = Self { tx, config, id };
        command::output(apt.command(&["update"]).arg("-qq"), UPDATE_S_MAX)?;
        Ok(apt)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command::tool("/bin/sh");
        command.args(["-c", "umask 022; exec \"$@\"", "fother", "apt-get"]).args(arguments);
        let conffiles = if self.tx.conffiles == ConffilePolicy::Replace { "UCF_FORCE_CONFFNEW" } else { "UCF_FORCE_CONFFOLD" };
        let variables = [
            ("APT_CONFIG", self.config.to_str().unwrap_or_default()),
            ("DEBIAN_FRONTEND", "noninteractive"),
            ("DEBCONF_NONINTERACTIVE_SEEN", "true"),
            ("APT_LISTCHANGES_FRONTEND", "none"),
            ("NEEDRESTART_SUSPEND", "1"),
            ("TERM", "dumb"),
            (MARK, self.id),
            (conffiles, "1"),
        ];
        command.envs(variables);
        command
    }

    /// What apt would do must be what the plan says, to the letter.
    pub(super) fn check(&self) -> Result<(), ApplyError> {
        let text = command::output(&mut self.command(&["-s", "dist-upgrade"]), UPDATE_S_MAX)?;
        let (would, plan) = (simulated(&text), planned(self.tx));
        let mut differs: Vec<String> = would.difference(&plan).map(|act| format!("apt would {act}")).collect();
        differs.extend(plan.difference(&would).map(|act| format!("the plan says {act}, apt would not")));
        if differs.is_empty() { Ok(()) } else { Err(ApplyError::Differs(differs)) }
    }

    /// Installs. On failure: the package that apt named, and the last lines of output.
    pub(super) fn upgrade(&self, progress: &mut dyn FnMut(Progress)) -> Result<(), (Option<String>, String)> {
        let log = self.tx.work.join("apt.log");
        let tail = |error: ApplyError| (None, error.to_string());
        let (writer, mut status) = self.status_file().map_err(tail)?;
        let descriptor = format!("APT::Status-Fd={}", writer.as_raw_fd());
        let output = File::create(&log).map_err(|error| (None, error.to_string()))?;
        let errors = output.try_clone().map_err(|error| (None, error.to_string()))?;
        let mut run = self.command(&["-y", "-o", &descriptor, "dist-upgrade"]);
        let mut child = run.stdout(output).stderr(errors).process_group(0).spawn().map_err(|error| (None, error.to_string()))?;
        drop(writer);
        let mut failed = None;
        let mut each = || read_status(&mut status, &mut failed, progress);
        let ended = command::wait(&mut child, Duration::from_secs(TRANSACTION_S_MAX), &mut each).map_err(tail)?;
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(_) => Err((failed, self.said(&log))),
            None => Err((failed, format!("stopped after {TRANSACTION_S_MAX} s\n{}", self.said(&log)))),
        }
    }

    /// The last lines of the package manager and of the packages' scripts, marked by whether they may leave the host.
    fn said(&self, log: &Path) -> String {
        let public = Public::of(self.tx);
        quoted(&command::tail(log), |line| public.knows(line))
    }

    /// A file that apt appends its progress to, and its reader; a pipe would stay open in daemons that scripts start.
    fn status_file(&self) -> Result<(File, BufReader<File>), ApplyError> {
        let path = self.tx.work.join("apt.status");
        let fail = |error: std::io::Error| ApplyError::Io { what: path.display().to_string(), source: error };
        let writer = OpenOptions::new().append(true).create(true).open(&path).map_err(fail)?;
        writer.set_len(0).map_err(fail)?;
        rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).map_err(|error| fail(error.into()))?;
        Ok((writer, BufReader::new(File::open(&path).map_err(fail)?)))
    }
}

fn config_text(tx: &Transaction, sources: &Path) -> String {
    let work = tx.work.display();
    let keep = if tx.conffiles == ConffilePolicy::Replace { "--force-confnew" } else { "--force-confold" };
    format!(
        r#"Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "{work}/empty.d";
Dir::Etc::SourceList "{}";
Dir::Etc::SourceParts "{work}/empty.d";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "{work}/empty.d";
Dir::State::Lists "{work}/lists";
Dir::Cache::Archives "{work}/archives";
Dir::Cache::PkgCache "";
Dir::Cache::SrcPkgCache "";
APT::Sandbox::User "root";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Get::AutomaticRemove "false";
APT::Get::Show-Versions "false";
APT::Color "0";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::Retries "0";
DPkg::Lock::Timeout "{}";
Dpkg::Use-Pty "0";
DPkg::Options {{ "--force-confdef"; "{keep}"; }};
"#,
        sources.display(),
        tx.lock_wait_s
    )
}

/// `Inst name [old] (new archive [arch])` and `Remv name [old]` of `apt-get -s`.
fn simulated(text: &str) -> Acts {
    let bare = |name: &str| name.split(':').next().unwrap_or_default().to_owned();
    let act = |line: &str| {
        let (verb, rest) = line.split_once(' ')?;
        let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match verb {
            "Inst" => {
                let (old, new) = rest.split_once('(')?;
                let old = old.trim().trim_start_matches('[').trim_end_matches(']');
                let to = new.split(' ').next()?;
                let arch = new.split_once('[')?.1.split(']').next()?;
                Some(format!("install {} {arch} {} {to}", bare(name), if old.is_empty() { "-" } else { old }))
            }
            "Remv" | "Purg" => Some(format!("remove {}", bare(name))),
            _ => None,
        }
    };
    text.lines().filter_map(act).collect()
}

fn planned(tx: &Transaction) -> Acts {
    let act = |change: &fother_core::resolution::PackageChange| match &change.to {
        Some(to) => format!("install {} {} {} {to}", change.name, change.arch, change.from.as_ref().map_or("-", |from| from.as_str())),
        None => format!("remove {}", change.name),
    };
    tx.changes.iter().map(act).collect()
}

/// Reads what is new of `pmstatus:package:percent:text` and `pmerror:package:percent:text`.
fn read_status(status: &mut BufReader<File>, failed: &mut Option<String>, progress: &mut dyn FnMut(Progress)) {
    let mut line = Vec::new();
    loop {
        line.clear();
        let Ok(count) = status.read_until(b'\n', &mut line) else { return };
        if line.last() != Some(&b'\n') {
            // Half a line: come back for it.
            let _ = status.seek(SeekFrom::Current(-i64::try_from(count).unwrap_or_default()));
            return;
        }
        let text = String::from_utf8_lossy(&line[..line.len().min(STATUS_LINE_BYTES_MAX)]);
        let mut fields = text.trim_end().splitn(4, ':');
        let (Some(kind), Some(package), Some(percent), Some(what)) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        match kind {
            "pmerror" if failed.is_none() => *failed = Some(printable(bare_name(package), 100)),
            "pmstatus" => {
                let percent = percent.split('.').next().and_then(|whole| whole.parse().ok()).unwrap_or(0_u8).min(100);
                progress(Progress::new("install", percent, printable(what, 200)));
            }
            _ => {}
        }
    }
}

/// The package that apt means: it says a name, or the path of a file.
fn bare_name(package: &str) -> &str {
    let file = package.rsplit('/').next().unwrap_or(package);
    if file.ends_with(".deb") { file.split('_').next().unwrap_or(file) } else { file }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulations_are_read_as_acts() {
        let text = "Reading package lists...\nInst openssl [3.0.15-1] (3.0.17-1 fother [amd64]) []\nInst new (1:2 fother [all])\nRemv old:i386 [1.0]\nConf openssl (3.0.17-1 fother [amd64])\n";
        let wanted = ["install new all - 1:2", "install openssl amd64 3.0.15-1 3.0.17-1", "remove old"];
        assert_eq!(simulated(text), wanted.map(str::to_owned).into());
    }

    #[test]
    fn progress_and_the_failing_package_are_read_and_half_a_line_waits() {
        use std::io::Write;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("status");
        let mut writer = File::create(&path).unwrap();
        let mut reader = BufReader::new(File::open(&path).unwrap());
        let (mut failed, mut seen) = (None, Vec::new());
        write!(writer, "pmstatus:nginx:41.66:Unpacking nginx (amd64)\npmsta").unwrap();
        read_status(&mut reader, &mut failed, &mut |progress| seen.push(progress.percent));
        write!(writer, "tus:nginx:55.0:x\npmerror:/var/cache/lab-site_1.1_all.deb:60:script: failed\n").unwrap();
        read_status(&mut reader, &mut failed, &mut |progress| seen.push(progress.percent));
        assert_eq!((seen, failed.as_deref()), (vec![41, 55], Some("lab-site")));
    }
}
