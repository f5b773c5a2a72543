//! Work that must outlive the executor: this program again, as a hidden subcommand, in a transient systemd unit of its own.

use crate::{
    durable::{self, Disk},
    host::HostError,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

/// How often a unit's state is asked for.
pub const POLL: Duration = Duration::from_millis(200);
/// Largest result, in bytes.
pub const RESULT_BYTES_MAX: u64 = 64 << 20;
/// How often one unit is launched before a person is asked.
pub const LAUNCHES_MAX: u32 = 20;

/// One run of this program: `<binary> agent <verb> <request file>`, which writes `result` beside it.
#[derive(Clone, Debug)]
pub struct UnitRun {
    /// This program.
    pub binary: PathBuf,
    /// Unit name without `.service`.
    pub unit: String,
    /// Hidden subcommand: `transact`, `put-back`, `rehearse-here`.
    pub verb: &'static str,
    /// The request file.
    pub request: PathBuf,
    /// The result file.
    pub result: PathBuf,
    /// Further unit properties.
    pub properties: &'static [&'static str],
}

/// What a result file holds where a subcommand failed or answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Told<T> {
    /// The answer.
    Done {
        /// It.
        answer: T,
    },
    /// Why there is none.
    Failed {
        /// For people.
        why: String,
    },
}

impl UnitRun {
    /// Whether the unit runs. Where systemd cannot be asked, an error: never "no".
    ///
    /// # Errors
    /// Where systemctl cannot be run.
    pub fn is_active(&self) -> Result<bool, HostError> {
        let output =
            Command::new("systemctl").args(["show", "--property=ActiveState", "--value", "--", &format!("{}.service", self.unit)]).output();
        let output = output.map_err(|error| HostError(format!("systemctl cannot be run: {error}")))?;
        if !output.status.success() {
            return Err(HostError(format!("systemd does not say whether {} runs", self.unit)));
        }
        let state = String::from_utf8_lossy(&output.stdout);
        Ok(!matches!(state.trim(), "inactive" | "failed"))
    }

    /// The result, if there is one.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn result<T: DeserializeOwned>(&self) -> Result<Option<T>, HostError> {
        match durable::read_bounded(&self.result, RESULT_BYTES_MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(HostError(format!("{} cannot be read: {error}", self.result.display()))),
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|error| HostError(format!("{} is damaged: {error}", self.result.display()))),
        }
    }

    fn count_launch(&self) -> Result<(), HostError> {
        let path = self.request.with_extension("launches");
        let count = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u32>().ok()).unwrap_or(0) + 1;
        if count > LAUNCHES_MAX {
            return Err(HostError(format!("{} ended {LAUNCHES_MAX} times without a result; see `journalctl -u {}`", self.unit, self.unit)));
        }
        Disk::default().replace(&path, count.to_string().as_bytes()).map_err(|error| HostError(error.to_string()))
    }

    /// Launches the unit and returns at once.
    ///
    /// # Errors
    /// Where systemd refuses, or it was launched [`LAUNCHES_MAX`] times.
    pub fn launch(&self) -> Result<(), HostError> {
        self.count_launch()?;
        let mut command = Command::new("systemd-run");
        command.args(["--quiet", "--collect", "--no-ask-password", "--property=KillMode=mixed"]).arg(format!("--unit={}", self.unit));
        command.args(self.properties.iter().map(|property| format!("--property={property}")));
        command.arg("--").arg(&self.binary).args(["agent", self.verb]).arg(&self.request);
        let output = command.output().map_err(|error| HostError(format!("systemd-run cannot be run: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let why = fother_core::text::printable(String::from_utf8_lossy(&output.stderr).trim(), 500);
        Err(HostError(format!("{} could not be started: {why}", self.unit)))
    }

    /// Launches the unit, or joins the one that runs, and waits for its result.
    ///
    /// # Errors
    /// Where it gives none within `limit`.
    pub fn finish<T: DeserializeOwned>(&self, limit: Duration) -> Result<T, HostError> {
        if !self.is_active()? {
            let _ = fs::remove_file(&self.result);
            self.launch()?;
        }
        let until = Instant::now() + limit;
        while self.is_active()? {
            if Instant::now() >= until {
                return Err(HostError(format!("{} gave no result within {} s", self.unit, limit.as_secs())));
            }
            std::thread::sleep(POLL);
        }
        let told = self.result::<Told<T>>()?;
        // A finished run starts the count again.
        let _ = fs::remove_file(self.request.with_extension("launches"));
        match told {
            Some(Told::Done { answer }) => Ok(answer),
            Some(Told::Failed { why }) => Err(HostError(why)),
            None => Err(HostError(format!("{} ended without a result; see `journalctl -u {}`", self.unit, self.unit))),
        }
    }

    /// As [`UnitRun::finish`] for work that resumes where it was killed: a unit that ended without a result is launched again.
    ///
    /// # Errors
    /// Where it gives none within `limit`, or ended [`LAUNCHES_MAX`] times without one.
    pub fn finish_resuming<T: DeserializeOwned>(&self, limit: Duration) -> Result<T, HostError> {
        for _ in 0..LAUNCHES_MAX {
            match self.finish(limit) {
                Err(error) if !self.is_active()? && !self.result.exists() => tracing::warn!(%error, "resuming"),
                other => return other,
            }
        }
        Err(HostError(format!("{} ended {LAUNCHES_MAX} times without a result; see `journalctl -u {}`", self.unit, self.unit)))
    }

    /// Stops a unit that an earlier executor left behind.
    ///
    /// # Errors
    /// Where systemd cannot be asked.
    pub fn stop(&self) -> Result<(), HostError> {
        if self.is_active()? {
            let _ = Command::new("systemctl").args(["stop", "--", &format!("{}.service", self.unit)]).output();
        }
        let _ = fs::remove_file(self.request.with_extension("launches"));
        Ok(())
    }
}
