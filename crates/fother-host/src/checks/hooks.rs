//! Runs root-owned executables: checks of the host's own, and hooks of the life cycle such as `drain`. Starts processes; ends only its own.

use super::{HOOK_OUTPUT_BYTES_MAX, failed, last_line, no_data};
use crate::command::{self, Program};
use fother_core::{
    policy::{CheckAnswer, checks::hook_name},
    text::printable,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where check hooks stand.
pub const CHECKS_DIRECTORY: &str = "/etc/fother/checks.d";
/// Where life-cycle hooks (such as `drain`) stand.
pub const HOOKS_DIRECTORY: &str = "/etc/fother/hooks.d";
const CHECK_HOOK_LIMIT: Duration = Duration::from_secs(10);
const LIFE_HOOK_LIMIT: Duration = Duration::from_secs(30);
/// How often a life-cycle hook is run that a signal ends.
const LIFE_HOOK_RUNS_MAX: u32 = 3;

/// What became of a life-cycle hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookOutcome {
    /// It ran and exited 0.
    Done,
    /// There is no such hook: nothing to do.
    NotThere,
}

/// Runs `/etc/fother/hooks.d/<name>`, for example `drain` or `undrain`, for at most 30 s.
///
/// # Errors
/// Where it is not safe to run, fails or takes too long.
pub fn run_hook(name: &str) -> Result<HookOutcome, String> {
    run_hook_in(Path::new(HOOKS_DIRECTORY), name)
}

fn run_hook_in(directory: &Path, name: &str) -> Result<HookOutcome, String> {
    let Some(path) = trusted_hook(directory, name)? else { return Ok(HookOutcome::NotThere) };
    let mut last = String::new();
    for _ in 0..LIFE_HOOK_RUNS_MAX {
        match run(&path, LIFE_HOOK_LIMIT) {
            Ok(output) if output.code == Some(0) => return Ok(HookOutcome::Done),
            Ok(output) => {
                last = format!("hook {name} {}:\n{}", ended(&output), last_line(&output));
                // A hook that somebody killed has said nothing about this host.
                if output.code.is_some() {
                    break;
                }
            }
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(last)
}

pub(super) fn hook_answer(directory: &Path, name: &str) -> CheckAnswer {
    let path = match trusted_hook(directory, name) {
        Ok(Some(path)) => path,
        Ok(None) => return no_data(format!("there is no {}/{}", directory.display(), printable(name, 80))),
        Err(why) => return no_data(why),
    };
    match run(&path, CHECK_HOOK_LIMIT) {
        Ok(output) if output.code == Some(0) => CheckAnswer::Fine,
        Ok(output) => failed(format!("it {}:\n{}", ended(&output), last_line(&output))),
        Err(error @ command::Error::Timeout { .. }) => failed(error.to_string()),
        Err(error) => no_data(error.to_string()),
    }
}

fn run(path: &Path, limit: Duration) -> Result<command::Output, command::Error> {
    Program::new(path, limit).output_max(HOOK_OUTPUT_BYTES_MAX).run()
}

fn ended(output: &command::Output) -> String {
    output.code.map_or_else(|| "was ended by a signal".into(), |code| format!("exited {code}"))
}

/// The hook's path if it and its directories belong to root and nobody else can write them; `None` if it is absent.
fn trusted_hook(directory: &Path, name: &str) -> Result<Option<PathBuf>, String> {
    hook_name(name).map_err(|why| format!("{why}: `{}`", printable(name, 80)))?;
    let path = directory.join(name);
    let kind = match fs::symlink_metadata(&path) {
        Ok(kind) => kind,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot look at {}: {error}", path.display())),
    };
    if !kind.is_file() || kind.mode() & 0o100 == 0 {
        return Err(format!("{} is not an executable file", path.display()));
    }
    for part in path.ancestors() {
        let found = fs::symlink_metadata(part).map_err(|error| format!("cannot look at {}: {error}", part.display()))?;
        let sticky = found.is_dir() && found.mode() & 0o1000 != 0;
        if found.uid() != 0 || (found.mode() & 0o022 != 0 && !sticky) || found.is_symlink() {
            return Err(format!("{} must belong to root and not be writable by others; it was not run", part.display()));
        }
    }
    Ok(Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_hook_that_others_can_write_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let hook = directory.path().join("drain");
        fs::write(&hook, "#!/bin/sh\necho bad >&2\nexit 4\n").unwrap();
        fs::set_permissions(&hook, fs::Permissions::from_mode(0o757)).unwrap();
        assert!(run_hook_in(directory.path(), "drain").is_err_and(|why| why.contains("must belong to root")));
        assert!(matches!(hook_answer(directory.path(), "drain"), CheckAnswer::NoData { .. }));
        assert_eq!(run_hook_in(directory.path(), "other"), Ok(HookOutcome::NotThere));
        for name in ["", "../drain", ".drain", "a/b", "-x"] {
            assert!(run_hook_in(directory.path(), name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_hook_that_is_killed_is_run_again_and_one_that_fails_is_not() {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: hooks are trusted only where they belong to root, and this is not root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        let hook = |text: &str| {
            fs::write(directory.join("drain"), format!("#!/bin/sh\necho x >> {}/runs\n{text}\n", directory.display())).unwrap();
            fs::set_permissions(directory.join("drain"), fs::Permissions::from_mode(0o755)).unwrap();
            let _ = fs::remove_file(directory.join("runs"));
            let result = run_hook_in(directory, "drain");
            (result, fs::read_to_string(directory.join("runs")).unwrap().lines().count())
        };
        let once = format!("[ $(wc -l < {}/runs) -gt 1 ] || kill -9 $$", directory.display());
        let results = [hook(&once), hook("kill -9 $$"), hook("exit 4")];
        assert_eq!(results[0], (Ok(HookOutcome::Done), 2));
        assert!(results[1].0.as_ref().is_err_and(|why| why.contains("signal")) && results[1].1 == 3, "{results:?}");
        assert!(results[2].0.is_err() && results[2].1 == 1, "{results:?}");
    }
}
