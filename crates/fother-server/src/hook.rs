//! Root-owned programs of the server's own machine that carry word elsewhere: fixed arguments, JSON on standard input, bounded time. Touches processes.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest run.
pub(crate) const HOOK_WAIT: Duration = Duration::from_secs(10);
/// How often its end is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// The hook of this name, where there is one.
pub(crate) fn find(hooks: &Path, name: &str) -> Option<PathBuf> {
    Some(hooks.join(name)).filter(|path| path.symlink_metadata().is_ok())
}

/// Runs a hook with `told` on its standard input and no arguments. It must be a plain file that only root, or the server's own user, can write,
/// in a directory of the same kind.
///
/// # Errors
/// For people: not to be trusted, not started, not ended in time, or ended with another status than 0.
pub(crate) fn run(path: &Path, told: &serde_json::Value) -> Result<(), String> {
    for one in path.parent().into_iter().chain([path]) {
        let meta = fs::symlink_metadata(one).map_err(|error| format!("{}: {error}", one.display()))?;
        let own = rustix::process::geteuid().as_raw();
        if meta.is_symlink() || (meta.uid() != 0 && meta.uid() != own) || meta.mode() & 0o022 != 0 {
            return Err(format!("{} must be owned by root and writable by nobody else, and no link", one.display()));
        }
    }
    let text = told.to_string();
    let mut child = Command::new(path)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{} cannot be run: {error}", path.display()))?;
    // Whoever does not read is not waited for: the pipe is written beside the clock.
    let input = child.stdin.take();
    std::thread::spawn(move || input.map(|mut input| input.write_all(text.as_bytes())));
    let until = Instant::now() + HOOK_WAIT;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{} ended with {status}", path.display())),
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{} did not end within {} s", path.display(), HOOK_WAIT.as_secs()));
            }
            Err(error) => return Err(format!("{} cannot be waited for: {error}", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn hook(dir: &Path, text: &str, mode: u32) -> PathBuf {
        let path = dir.join("notice");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_hook_gets_json_and_its_failure_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(find(dir.path(), "notice"), None);
        let to = dir.path().join("told");
        let path = hook(dir.path(), &format!("#!/bin/sh\ncat > {}\n", to.display()), 0o755);
        assert_eq!(find(dir.path(), "notice"), Some(path.clone()));
        run(&path, &serde_json::json!({"opens": "soon"})).unwrap();
        assert_eq!(fs::read_to_string(to).unwrap(), "{\"opens\":\"soon\"}");
        let path = hook(dir.path(), "#!/bin/sh\nexit 3\n", 0o755);
        assert!(run(&path, &serde_json::json!({})).unwrap_err().contains("exit status: 3"));
    }

    #[test]
    fn a_hook_that_others_can_write_is_not_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = hook(dir.path(), "#!/bin/sh\nexit 0\n", 0o777);
        assert!(run(&path, &serde_json::json!({})).unwrap_err().contains("writable by nobody else"));
    }
}
