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

/// The OpenSSH public key of the key at `key`: the file itself, the one beside it, or what `ssh-keygen -y` computes.
pub fn public(key: &Path) -> Result<String, Failure> {
    let beside = key.with_file_name(format!("{}.pub", key.file_name().unwrap_or_default().to_string_lossy()));
    let file = if key.extension().is_some_and(|extension| extension == "pub") { key } else { &beside };
    if let Ok(text) = std::fs::read_to_string(file) {
        return Ok(text.trim().to_owned());
    }
    let output = Command::new("ssh-keygen")
        .args(["-y", "-f"])
        .arg(key)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::new(FAILED, format!("ssh-keygen cannot be run: {error}"), "install the package openssh-client"))?;
    if !output.status.success() {
        return Err(Failure::new(FAILED, format!("there is no public key for {}", key.display()), "check that the key exists"));
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
