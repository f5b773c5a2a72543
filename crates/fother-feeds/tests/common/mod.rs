//! A private GnuPG home with keys of its own, and a small archive signed with them; runs gpg and gpgv.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A GnuPG home below a temporary directory; its agent is ended when it is dropped.
pub struct Gpg {
    pub dir: tempfile::TempDir,
}

impl Gpg {
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("g").tempdir().unwrap();
        Self { dir }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.dir.path());
        command.args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]);
        command.env("LC_ALL", "C").env_remove("GNUPGHOME");
        command
    }

    /// Runs gpg; panics with its messages where it fails.
    pub fn run(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = feed(self.command().args(arguments), input);
        assert!(output.status.success(), "gpg {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }

    /// Makes a key of kind `algo` for `usage`, made now or at `at` (`20240101T000000`), and returns its fingerprint.
    pub fn key(&self, name: &str, algo: &str, usage: &str, expires: &str, at: Option<&str>) -> String {
        let clock = at.map(|at| format!("{at}!")).unwrap_or_default();
        let mut arguments = vec!["--status-fd", "1"];
        if at.is_some() {
            arguments.extend(["--faked-system-time", &clock]);
        }
        arguments.extend(["--quick-gen-key", name, algo, usage, expires]);
        let out = String::from_utf8(self.run(&arguments, b"")).unwrap();
        out.lines().find_map(|l| l.strip_prefix("[GNUPG:] KEY_CREATED P ")).unwrap().to_owned()
    }

    pub fn export(&self, key: &str) -> Vec<u8> {
        self.run(&["--export", key], b"")
    }

    pub fn clearsign(&self, key: &str, text: &str) -> Vec<u8> {
        self.run(&["-u", key, "--clearsign"], text.as_bytes())
    }
}

impl Gpg {
    /// An armored signature to stand beside a file.
    pub fn detach(&self, key: &str, bytes: &[u8]) -> Vec<u8> {
        self.run(&["-u", key, "--armor", "--detach-sign"], bytes)
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf").arg("--homedir").arg(self.dir.path()).args(["--kill", "all"]).status();
    }
}

fn feed(command: &mut Command, input: &[u8]) -> Output {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// What `gpgv` says: the signed text, or that it does not accept the file.
pub fn gpgv(keyring: &Path, signed: &Path) -> Option<String> {
    let command = Command::new("gpgv").arg("--keyring").arg(keyring).args(["--output", "-"]).arg(signed).output().unwrap();
    command.status.success().then(|| String::from_utf8(command.stdout).unwrap())
}

/// The lower-case hexadecimal SHA-256 of a file.
pub fn sha256(bytes: &[u8]) -> String {
    fother_core::Digest::of_file(bytes).hex()
}

/// A small signed archive in a directory.
pub struct Archive {
    pub dir: tempfile::TempDir,
    pub package: PathBuf,
}

pub const SUITE: &str = "testing-suite";

impl Archive {
    /// One package, its indexes, and an InRelease of `date` (as Debian writes it), not yet signed.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let package = dir.path().join("pool/a_1_all.deb");
        fs::create_dir_all(package.parent().unwrap()).unwrap();
        fs::create_dir_all(dir.path().join("dists").join(SUITE).join("main/binary-amd64")).unwrap();
        fs::write(&package, b"these are the bytes of a package").unwrap();
        Self { dir, package }
    }

    pub fn suite_dir(&self) -> PathBuf {
        self.dir.path().join("dists").join(SUITE)
    }

    /// Writes the indexes and returns the text of the Release.
    pub fn release(&self, date: &str, more: &str) -> String {
        let bytes = fs::read(&self.package).unwrap();
        let index = format!(
            "Package: a\nVersion: 1\nArchitecture: all\nFilename: pool/a_1_all.deb\nSize: {}\nSHA256: {}\nDescription: x\n\n",
            bytes.len(),
            sha256(&bytes)
        );
        let packed = zstd::encode_all(index.as_bytes(), 3).unwrap();
        let binary = self.suite_dir().join("main/binary-amd64");
        fs::write(binary.join("Packages.zst"), &packed).unwrap();
        fs::write(binary.join("Packages"), &index).unwrap();
        format!(
            "Origin: Test\nLabel: Test\nSuite: {SUITE}\nCodename: code\nDate: {date}\n{more}Architectures: amd64\nComponents: main\nSHA256:\n \
             {} {} main/binary-amd64/Packages\n {} {} main/binary-amd64/Packages.zst\n",
            sha256(index.as_bytes()),
            index.len(),
            sha256(&packed),
            packed.len()
        )
    }
}
