//! Whether a TLS service on this host shows a certificate that is trusted, fits its name and lasts. Connects to loopback, reads one PEM file.

use super::{LOOPBACK_LIMIT, failed, no_data};
use fother_core::policy::{CheckAnswer, checks::loopback};
use rustls::{ClientConfig, ClientConnection, RootCertStore, crypto::ring};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::{
    fs::File,
    io::Read,
    net::TcpStream,
    sync::Arc,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Certificates that the host trusts, as Debian keeps them.
const HOST_STORE: &str = "/etc/ssl/certs/ca-certificates.crt";
const STORE_BYTES_MAX: u64 = 4 << 20;
/// Rounds of a handshake; an honest one needs a handful.
const ROUNDS_MAX: u32 = 64;
const DAY_S: i64 = 86_400;

pub(super) fn ask(address: &str, server_name: &str, days: u32, ca: Option<&str>) -> CheckAnswer {
    let roots = match trusted(ca.unwrap_or(HOST_STORE)) {
        Ok(roots) => roots,
        Err(why) => return no_data(why),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
    let Some(now) = now else { return no_data("this host's clock is before 1970") };
    match end(address, server_name, roots) {
        Err(why) => failed(format!("{address} as {server_name}: {why}")),
        Ok(end) if end - now < i64::from(days) * DAY_S => {
            failed(format!("the certificate of {address} ends in {} days, fewer than {days}", (end - now).max(0) / DAY_S))
        }
        Ok(_) => CheckAnswer::Fine,
    }
}

fn trusted(path: &str) -> Result<RootCertStore, String> {
    let mut pem = Vec::new();
    let file = File::open(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    file.take(STORE_BYTES_MAX).read_to_end(&mut pem).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).flatten());
    if roots.is_empty() { Err(format!("{path} holds no certificate that can be trusted")) } else { Ok(roots) }
}

/// When the first certificate of the chain that the service shows ends, in seconds since 1970; the chain was verified.
fn end(address: &str, server_name: &str, roots: RootCertStore) -> Result<i64, String> {
    let name = ServerName::try_from(server_name.to_owned()).map_err(|error| error.to_string())?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
    let deadline = Instant::now() + LOOPBACK_LIMIT;
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect_timeout(&loopback(address)?, LOOPBACK_LIMIT).map_err(told)?;
    for _ in 0..ROUNDS_MAX {
        if !connection.is_handshaking() {
            break;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("the handshake took too long".to_owned());
        }
        stream.set_read_timeout(Some(left)).and_then(|()| stream.set_write_timeout(Some(left))).map_err(told)?;
        connection.complete_io(&mut stream).map_err(told)?;
    }
    let shown = connection.peer_certificates().filter(|_| !connection.is_handshaking()).ok_or("the handshake did not end")?;
    let ends = shown.iter().map(|der| {
        let (_, certificate) = x509_parser::parse_x509_certificate(der).map_err(|error| error.to_string())?;
        Ok(certificate.validity().not_after.timestamp())
    });
    let ends: Vec<i64> = ends.collect::<Result<_, String>>()?;
    ends.into_iter().min().ok_or_else(|| "it showed no certificate".to_owned())
}
