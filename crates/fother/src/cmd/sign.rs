//! SSH signatures by `ssh-keygen -Y sign`, so that agents, hardware keys and passphrases work as everywhere.

use crate::failure::{FAILED, Failure};
use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

/// Signs `bytes` in `namespace` with the key at `key`; the armored signature.
pub fn sign(key: &Path, namespace: &str, bytes: &[u8]) -> Result<String, Failure> {
    let mut child = Command::new("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", namespace, "-f"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| Failure::new(FAILED, format!("ssh-keygen cannot be run: {error}"), "install the package openssh-client"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(bytes)?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(Failure::new(
            FAILED,
            format!("ssh-keygen could not sign with {}", key.display()),
            "check that the key exists and that its agent runs",
        ));
    }
    Ok(String::from_utf8(output.stdout)?)
}
