//! TLS as the agent speaks it: one CA, one server name, ring; and the first look at a server whose CA's fingerprint is known.

use fother_core::Digest;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    sync::{Arc, Mutex},
    time::Duration,
};
use ureq::{
    Agent,
    tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig, TlsProvider},
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

/// The name in every server certificate.
pub const SERVER_NAME: &str = "fother-server";
/// Longest wait for one request.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Longest wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a server address or a file for TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not `https://host:port`.
    #[error("`{0}` is no server address: write https://host:port")]
    Address(String),
    /// A certificate or key.
    #[error("a certificate or key cannot be read: {0}")]
    Pem(String),
    /// Not there.
    #[error("the server {0} cannot be reached: {1}; is it running, and is the address right?")]
    Unreachable(String, io::Error),
    /// Another server.
    #[error("the server's CA is not the one that the token names: another server answers at this address, or the token is for another one")]
    OtherCa,
}

/// `host:port` of `https://host:port`.
///
/// # Errors
/// [`TlsError::Address`].
pub fn host_port(server: &str) -> Result<String, TlsError> {
    let bad = || TlsError::Address(server.to_owned());
    let rest = server.strip_prefix("https://").ok_or_else(bad)?.trim_end_matches('/');
    let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
    let fine = !host.is_empty() && !rest.contains(['/', '@', '?', '#']) && port.parse::<u16>().is_ok();
    if fine { Ok(rest.to_owned()) } else { Err(bad()) }
}

fn addresses(host_port: &str) -> Result<Vec<SocketAddr>, TlsError> {
    let unreachable = |error| TlsError::Unreachable(host_port.to_owned(), error);
    Ok(host_port.to_socket_addrs().map_err(unreachable)?.collect())
}

#[derive(Debug)]
struct Fixed(String);

impl Resolver for Fixed {
    fn resolve(&self, _: &ureq::http::Uri, _: &ureq::config::Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut all = self.empty();
        for address in self.0.to_socket_addrs()?.take(8) {
            all.push(address);
        }
        if all.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(all) }
    }
}

/// The first PEM certificate's bytes.
///
/// # Errors
/// Where there is none.
pub fn certificate_der(pem: &str) -> Result<Vec<u8>, TlsError> {
    Certificate::from_pem(pem.as_bytes()).map(|certificate| certificate.der().to_vec()).map_err(|error| TlsError::Pem(error.to_string()))
}

/// An HTTP client that believes only `ca`, talks only to `server`, and shows `identity` (certificate and key, PEM) if there is one.
/// Addresses are `https://fother-server/…`; see [`url`].
///
/// # Errors
/// See [`TlsError`].
pub fn client(server: &str, ca_der: &[u8], identity: Option<(&str, &str)>) -> Result<Agent, TlsError> {
    let pem = |error: ureq::Error| TlsError::Pem(error.to_string());
    let cert = match identity {
        None => None,
        Some((certificate, key)) => {
            let chain = [Certificate::from_pem(certificate.as_bytes()).map_err(pem)?];
            Some(ClientCert::new_with_certs(&chain, PrivateKey::from_pem(key.as_bytes()).map_err(pem)?))
        }
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&[Certificate::from_der(ca_der).to_owned()]))
        .client_cert(cert)
        .unversioned_rustls_crypto_provider(Arc::new(ring::default_provider()))
        .build();
    let config = Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .timeout_global(Some(REQUEST_TIMEOUT))
        .build();
    Ok(Agent::with_parts(config, DefaultConnector::new(), Fixed(host_port(server)?)))
}

/// The address of `path` for [`client`].
#[must_use]
pub fn url(path: &str) -> String {
    format!("https://{SERVER_NAME}{path}")
}

#[derive(Debug)]
struct Look {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Vec<Vec<u8>>>,
}

impl ServerCertVerifier for Look {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let mut seen = self.seen.lock().map_err(|_| rustls::Error::General("poisoned".to_owned()))?;
        *seen = chain.iter().chain([leaf]).map(|certificate| certificate.as_ref().to_vec()).collect();
        Err(rustls::Error::General("only looking".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only looking".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("only looking".to_owned()))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The CA certificate (DER) with this fingerprint as `server` shows it. The connection is broken off before anything is said;
/// who speaks for the CA is proven by the next one, which believes only it.
///
/// # Errors
/// [`TlsError::Unreachable`], [`TlsError::OtherCa`].
pub fn pinned_ca(server: &str, fingerprint: Digest) -> Result<Vec<u8>, TlsError> {
    let place = host_port(server)?;
    let provider = Arc::new(ring::default_provider());
    let look = Arc::new(Look { provider: Arc::clone(&provider), seen: Mutex::new(Vec::new()) });
    let verifier: Arc<dyn ServerCertVerifier> = Arc::clone(&look) as _;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Pem(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    let unreachable = |error| TlsError::Unreachable(place.clone(), error);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in addresses(&place)? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(mut socket) => {
                socket.set_read_timeout(Some(CONNECT_TIMEOUT)).map_err(unreachable)?;
                let name = ServerName::try_from(SERVER_NAME).map_err(|error| TlsError::Pem(error.to_string()))?;
                let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|error| TlsError::Pem(error.to_string()))?;
                let ended = Stream::new(&mut tls, &mut socket).flush().and_then(|()| tls.complete_io(&mut socket).map(drop));
                let seen = look.seen.lock().map(|seen| seen.clone()).unwrap_or_default();
                if seen.is_empty() {
                    return Err(unreachable(ended.err().unwrap_or_else(|| io::Error::other("it shows no certificate"))));
                }
                return seen.into_iter().find(|der| Digest::of_file(der) == fingerprint).ok_or(TlsError::OtherCa);
            }
            Err(error) => last = error,
        }
    }
    Err(unreachable(last))
}
