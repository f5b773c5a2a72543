//! Getting bytes from an archive over HTTP, HTTPS or from a `file:` address; touches the network and the file system.
//!
//! What comes in is not trusted: every caller checks it against a signed index. HTTP proxies are used by CONNECT.

pub mod config;

use config::AptConfig;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek as _, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig},
};

/// How often one address is tried where the connection fails or the server answers 5xx.
pub const TRIES_MAX: u32 = 3;
/// Wait before the second try, doubled before each further one.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest time that one file may take.
const TRANSFER_TIME_MAX: Duration = Duration::from_secs(30 * 60);
/// The status of an answer that says that nothing changed.
const NOT_MODIFIED: u16 = 304;
/// The system's certificate authorities (Debian package ca-certificates).
const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Why an address gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// No answer, or a broken one, after [`TRIES_MAX`] tries.
    #[error("mirror down: {url}: {why}; check the network and the proxy, or choose another mirror in apt's sources")]
    MirrorDown {
        /// Address.
        url: String,
        /// Cause.
        why: String,
    },
    /// 404 or no such file.
    #[error("{url} does not exist: check the suite and the components in apt's sources")]
    NotFound {
        /// Address.
        url: String,
    },
    /// Another answer than success.
    #[error("{url} answered with status {status}: check the source's address and its access rights")]
    Status {
        /// Address.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// More bytes than were asked for.
    #[error("{url} is larger than the {bytes_max} bytes that were expected: refused")]
    TooLarge {
        /// Address.
        url: String,
        /// The limit.
        bytes_max: u64,
    },
    /// A scheme that is not handled.
    #[error("{url}: only http, https and file addresses are fetched")]
    Unsupported {
        /// Address.
        url: String,
    },
    /// The local file could not be written.
    #[error("what came from {url} cannot be written: {error}; check the free space")]
    Write {
        /// Address.
        url: String,
        /// Cause.
        error: io::Error,
    },
}

impl FetchError {
    fn again(&self) -> bool {
        matches!(self, Self::MirrorDown { .. }) || matches!(self, Self::Status { status, .. } if *status >= 500)
    }
}

/// What an answer says it is, to ask later whether that changed (RFC 9110, section 8.8).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validators {
    /// `ETag`; empty where there was none.
    #[serde(default)]
    pub etag: String,
    /// `Last-Modified`; empty where there was none.
    #[serde(default)]
    pub modified: String,
}

/// Something that gets bytes by address.
pub trait Fetch {
    /// As [`Fetch::get_to`], with what the answer is; `None`, and nothing in `file`, where it still is what `known` says.
    ///
    /// # Errors
    /// As for [`Fetch::get_to`].
    fn get_newer(&self, url: &str, known: &Validators, file: &mut File, bytes_max: u64) -> Result<Option<Validators>, FetchError> {
        let _ = known;
        self.get_to(url, file, bytes_max).map(|_| Some(Validators::default()))
    }

    /// Writes the address's bytes into `file`, from its start, replacing what it holds; returns their number.
    ///
    /// # Errors
    /// Where there are none, or more than `bytes_max`.
    fn get_to(&self, url: &str, file: &mut File, bytes_max: u64) -> Result<u64, FetchError>;

    /// The address's bytes.
    ///
    /// # Errors
    /// As for [`Fetch::get_to`].
    fn get(&self, url: &str, bytes_max: u64) -> Result<Vec<u8>, FetchError>;
}

impl Validators {
    /// As the headers of a request that asks for what is newer; an ETag says more than a time.
    fn questions(&self) -> Option<(&'static str, &str)> {
        let questions = [("if-none-match", self.etag.as_str()), ("if-modified-since", self.modified.as_str())];
        questions.into_iter().find(|(_, value)| !value.is_empty())
    }
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
struct Ask<'a> {
    url: &'a str,
    bytes_max: u64,
}

/// Takes what comes; it is called again where a transfer breaks off.
type Sink<'a> = dyn FnMut(&mut dyn Read) -> io::Result<u64> + 'a;

/// The real network, as the machine's apt configuration says to use it.
#[derive(Debug)]
pub struct HttpFetch {
    config: AptConfig,
    agents: Mutex<HashMap<(bool, Option<String>), Agent>>,
}

impl HttpFetch {
    /// With explicit settings.
    #[must_use]
    pub fn new(config: AptConfig) -> Self {
        Self { config, agents: Mutex::default() }
    }

    /// With the machine's apt configuration (`apt-config dump`).
    ///
    /// # Errors
    /// Where apt-config cannot be run.
    pub fn from_machine() -> io::Result<Self> {
        Ok(Self::new(AptConfig::of_machine()?))
    }

    fn agent(&self, https: bool, proxy: Option<String>) -> Result<Agent, String> {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&(https, proxy.clone())) {
            return Ok(agent.clone());
        }
        let mut builder = Agent::config_builder()
            .timeout_connect(Some(self.config.timeout))
            .timeout_per_read(Some(self.config.timeout))
            .timeout_global(Some(TRANSFER_TIME_MAX))
            .accept_encoding("identity")
            .user_agent(concat!("fother/", env!("CARGO_PKG_VERSION")))
            .proxy(match &proxy {
                None => None,
                Some(proxy) => Some(ureq::Proxy::new(proxy).map_err(|error| format!("apt's proxy setting cannot be used: {error}"))?),
            });
        if https {
            let tls = TlsConfig::builder()
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .root_certs(RootCerts::new_with_certs(&authorities()?));
            builder = builder.tls_config(tls.build());
        }
        let agent: Agent = builder.build().new_agent();
        agents.insert((https, proxy), agent.clone());
        Ok(agent)
    }

    /// One try; `sink` starts anew. With `validators`, only what is newer, and they become the answer's.
    fn once(&self, ask: &Ask<'_>, validators: &mut Option<Validators>, sink: &mut Sink<'_>) -> Result<u64, FetchError> {
        let Ask { url, bytes_max } = *ask;
        let down = |why: String| FetchError::MirrorDown { url: url.to_owned(), why };
        let got = if let Some(path) = url.strip_prefix("file:").or_else(|| url.strip_prefix("copy:")) {
            let path = path.strip_prefix("//").unwrap_or(path);
            let file = File::open(path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => FetchError::NotFound { url: url.to_owned() },
                _ => down(error.to_string()),
            })?;
            copy(&mut file.take(bytes_max.saturating_add(1)), url, sink)?
        } else if url.starts_with("http://") || url.starts_with("https://") {
            let agent = self.agent(url.starts_with("https:"), self.config.proxy_for(url)).map_err(down)?;
            let mut request = agent.get(url);
            for (name, value) in validators.iter().flat_map(Validators::questions) {
                request = request.header(name, value);
            }
            let response = request.call().map_err(|error| match error {
                ureq::Error::StatusCode(404 | 410) => FetchError::NotFound { url: url.to_owned() },
                ureq::Error::StatusCode(status) => FetchError::Status { url: url.to_owned(), status },
                other => FetchError::MirrorDown { url: url.to_owned(), why: other.to_string() },
            })?;
            if validators.is_some() {
                if response.status() == NOT_MODIFIED {
                    *validators = None;
                    return Ok(0);
                }
                let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
                *validators = Some(Validators { etag: header("etag"), modified: header("last-modified") });
            }
            copy(&mut response.into_body().into_reader().take(bytes_max.saturating_add(1)), url, sink)?
        } else {
            return Err(FetchError::Unsupported { url: url.to_owned() });
        };
        if got > bytes_max { Err(FetchError::TooLarge { url: url.to_owned(), bytes_max }) } else { Ok(got) }
    }

    fn retried(&self, ask: &Ask<'_>, validators: &mut Option<Validators>, sink: &mut Sink<'_>) -> Result<u64, FetchError> {
        let known = validators.clone();
        let mut tries = 1;
        loop {
            validators.clone_from(&known);
            match self.once(ask, validators, sink) {
                Err(error) if error.again() && tries < TRIES_MAX => {
                    tracing::info!(url = ask.url, tries, %error, "fetching is tried again");
                    std::thread::sleep(PAUSE * 2_u32.pow(tries - 1));
                    tries += 1;
                }
                result => return result,
            }
        }
    }
}

/// Reads all of `from` into `sink` and tells errors of reading from errors of writing.
fn copy(from: &mut dyn Read, url: &str, sink: &mut dyn FnMut(&mut dyn Read) -> io::Result<u64>) -> Result<u64, FetchError> {
    let mut watched = Watched { inner: from, failed: false };
    sink(&mut watched).map_err(|error| match watched.failed {
        true => FetchError::MirrorDown { url: url.to_owned(), why: format!("the transfer broke off: {error}") },
        false => FetchError::Write { url: url.to_owned(), error },
    })
}

struct Watched<'a> {
    inner: &'a mut dyn Read,
    failed: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let result = self.inner.read(buffer);
        self.failed |= result.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::Interrupted);
        result
    }
}

fn authorities() -> Result<Vec<Certificate<'static>>, String> {
    let pem = std::fs::read(CA_BUNDLE).map_err(|error| format!("{CA_BUNDLE} cannot be read: {error}; install ca-certificates"))?;
    let certificates = ureq::tls::parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        _ => None,
    });
    Ok(certificates.collect())
}

/// Writes what comes into a file, from its start.
fn fill(file: &mut File, from: &mut dyn Read) -> io::Result<u64> {
    file.rewind()?;
    file.set_len(0)?;
    let copied = io::copy(from, file)?;
    file.flush()?;
    Ok(copied)
}

impl Fetch for HttpFetch {
    fn get_newer(&self, url: &str, known: &Validators, file: &mut File, bytes_max: u64) -> Result<Option<Validators>, FetchError> {
        let mut validators = Some(known.clone());
        self.retried(&Ask { url, bytes_max }, &mut validators, &mut |from| fill(file, from))?;
        Ok(validators)
    }

    fn get_to(&self, url: &str, file: &mut File, bytes_max: u64) -> Result<u64, FetchError> {
        self.retried(&Ask { url, bytes_max }, &mut None, &mut |from| fill(file, from))
    }

    fn get(&self, url: &str, bytes_max: u64) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::new();
        self.retried(&Ask { url, bytes_max }, &mut None, &mut |from| {
            bytes.clear();
            from.read_to_end(&mut bytes).map(|n| n as u64)
        })?;
        Ok(bytes)
    }
}
