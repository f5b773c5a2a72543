//! Enrolment: a one-time token buys a certificate; everything that is believed later is pinned here. Writes only the agent's own files.

use crate::{
    config::{Client, Config, Identity},
    durable::{self, Disk},
    host::{Clock as _, SystemClock},
    tls::{self, TlsError},
    witness,
};
use ed25519_dalek::SigningKey;
use fother_core::{
    id::HostId,
    protocol::{Enrol, Enrolled, Token},
};
use rcgen::{CertificateParams, DnType, KeyPair};
use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::chown,
    path::{Path, PathBuf},
};
use ureq::{Body, http::Response};

/// Largest accepted difference between this clock and the server's, in seconds.
pub const CLOCK_S_MAX: i64 = 60;
/// Largest enrolment answer, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 256 << 10;

/// How to enrol.
#[derive(Clone, Debug)]
pub struct EnrolOptions {
    /// `https://host:port`.
    pub server: String,
    /// File that holds the token; `-` is the standard input. Never an argument.
    pub token_file: PathBuf,
    /// Ask to be read-only.
    pub observe: bool,
}

/// Why a host could not enrol.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The token's file.
    #[error("the token cannot be read from {path}: {source}")]
    TokenFile {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its form.
    #[error("that is no enrolment token: expected 32 characters, a dot and 64 hexadecimal digits, as `fother host token` prints it")]
    TokenForm,
    /// Not known to the server, used, or expired.
    #[error(
        "the server does not take the token ({status}): it is wrong, was used already, or has expired (they live one hour); make a new one. {detail}"
    )]
    TokenRefused {
        /// HTTP status.
        status: u16,
        /// What the server said.
        detail: String,
    },
    /// Clocks.
    #[error(
        "this host's clock says {here}, the server's {server}: they differ by {seconds} s, at most {CLOCK_S_MAX} are accepted; \
         set the clock (timedatectl set-ntp true) and try again"
    )]
    Clock {
        /// This host's time.
        here: String,
        /// The server's.
        server: String,
        /// Server minus host.
        seconds: i64,
    },
    /// Perhaps clocks.
    #[error("the server's certificate is not valid at {now} by this host's clock: is the clock right? ({why})")]
    Validity {
        /// This host's time.
        now: String,
        /// What TLS says.
        why: String,
    },
    /// TLS and reachability.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// HTTP.
    #[error("the server cannot be asked: {0}")]
    Http(ureq::Error),
    /// Another answer.
    #[error("the server's answer to the enrolment is not usable: {0}")]
    Answer(String),
    /// Already.
    #[error("this host is enrolled already ({0}); `fother agent uninstall` first")]
    Already(PathBuf),
    /// Key generation.
    #[error("no key could be made: {0}")]
    Key(#[from] rcgen::Error),
    /// Files.
    #[error("the agent's files cannot be written: {0}")]
    Files(#[from] io::Error),
}

fn read_token(path: &Path) -> Result<Token, EnrolError> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().take(4096).read_to_string(&mut text)
    } else {
        fs::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text))
    };
    read.map_err(|source| EnrolError::TokenFile { path: path.to_owned(), source })?;
    Token::parse(&text).ok_or(EnrolError::TokenForm)
}

/// Enrols this host and writes what the two halves need.
///
/// # Errors
/// See [`EnrolError`]; nothing is written.
pub fn enrol(config: &Config, options: &EnrolOptions) -> Result<HostId, EnrolError> {
    let identity_path = config.data.join(Identity::FILE);
    if identity_path.exists() {
        return Err(EnrolError::Already(identity_path));
    }
    let token = read_token(&options.token_file)?;
    let ca = tls::pinned_ca(&options.server, token.ca)?;
    let hostname = hostname();
    let cosigner = witness::new_key()?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, hostname.clone());
    let csr = params.serialize_request(&key)?.pem()?;
    let enrolled = ask(
        options,
        &ca,
        Enrol { secret: token.secret.clone(), csr, hostname, cosigner: witness::public(&cosigner), observe: options.observe },
    )?;
    if tls::certificate_der(&enrolled.ca)? != ca {
        return Err(EnrolError::Tls(TlsError::OtherCa));
    }
    write(config, options, (&key, &cosigner), enrolled, &identity_path)
}

fn hostname() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    fother_core::text::printable(&name, 64)
}

fn ask(options: &EnrolOptions, ca: &[u8], enrol: Enrol) -> Result<Enrolled, EnrolError> {
    let http = tls::client(&options.server, ca, None)?;
    let body = serde_json::to_vec(&enrol).map_err(|error| EnrolError::Answer(error.to_string()))?;
    // Any answer tells the server's time; the token is not spent before the clocks agree.
    check_clock(&http.get(tls::url("/agent/v1/enrol")).call().map_err(meaning)?)?;
    let sent = http.post(tls::url("/agent/v1/enrol")).header("content-type", "application/json").send(&body[..]);
    let mut answer = sent.map_err(meaning)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().map_err(EnrolError::Http)?;
    match status {
        200 | 201 => serde_json::from_str(&text).map_err(|error| EnrolError::Answer(error.to_string())),
        401 | 403 | 404 | 410 => Err(EnrolError::TokenRefused { status, detail: said(&text) }),
        _ => Err(EnrolError::Answer(format!("{status}: {}", fother_core::text::printable(&text, 300)))),
    }
}

/// What a problem document (RFC 9457) says to people.
fn said(text: &str) -> String {
    let problem: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    fother_core::text::printable(problem["detail"].as_str().unwrap_or_default(), 300)
}

/// A certificate that is not valid now is, more often than not, a wrong clock.
fn meaning(error: ureq::Error) -> EnrolError {
    let why = error.to_string();
    let lower = why.to_lowercase();
    if lower.contains("notvalidyet") || lower.contains("expired") || lower.contains("not valid yet") {
        EnrolError::Validity { now: SystemClock.now().to_string(), why }
    } else {
        EnrolError::Http(error)
    }
}

fn check_clock(answer: &Response<Body>) -> Result<(), EnrolError> {
    let Some(date) = answer.headers().get("date").and_then(|date| date.to_str().ok()) else { return Ok(()) };
    let Ok(server) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date) else { return Ok(()) };
    let here = SystemClock.now();
    let seconds = server.as_second() - i64::try_from(here.ms() / 1000).unwrap_or(i64::MAX);
    if seconds.abs() <= CLOCK_S_MAX {
        return Ok(());
    }
    Err(EnrolError::Clock { here: here.to_string(), server: server.to_string(), seconds })
}

fn write(
    config: &Config,
    options: &EnrolOptions,
    (key, cosigner): (&KeyPair, &SigningKey),
    enrolled: Enrolled,
    identity_path: &Path,
) -> Result<HostId, EnrolError> {
    let disk = Disk::default();
    let identity = Identity { host: enrolled.host, directive_key: enrolled.directive_key, log_key: enrolled.log_key };
    identity.key().map_err(|error| EnrolError::Answer(error.to_string()))?;
    if let Some(parent) = config.data.parent() {
        fs::create_dir_all(parent)?;
    }
    durable::private_dir(&config.data)?;
    durable::private_dir(&config.net)?;
    let own = |path: &Path| chown(path, Some(config.network_uid), Some(config.network_gid));
    let client = Client { server: options.server.clone(), ca: enrolled.ca, certificate: enrolled.certificate };
    let json = |error: serde_json::Error| EnrolError::Answer(error.to_string());
    let (key_path, client_path) = (config.net.join(Client::KEY_FILE), config.net.join(Client::FILE));
    disk.replace(&key_path, key.serialize_pem().as_bytes())?;
    disk.replace(&client_path, &serde_json::to_vec_pretty(&client).map_err(json)?)?;
    durable::private_dir(&config.spool())?;
    for path in [&key_path, &client_path, &config.spool(), &config.net] {
        own(path)?;
    }
    witness::write_key(&config.data, cosigner, &disk)?;
    // Last: with it the host counts as enrolled.
    disk.replace(identity_path, &serde_json::to_vec_pretty(&identity).map_err(json)?)?;
    Ok(identity.host)
}
