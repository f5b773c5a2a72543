//! The next certificate, before the present one ends: a new key, a request under the old certificate, and one file that names both. Writes the
//! network half's own files.

use crate::{
    config::{Client, Config},
    durable::Disk,
    network::NetworkError,
    tls,
};
use fother_core::{
    Timestamp,
    protocol::{Renew, Renewed},
};
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use std::{fs, io};
use ureq::Agent;

/// A certificate is renewed in the last third of its life.
const LAST_PART: u64 = 3;
/// Largest answer, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// Whether this certificate (PEM) is in the last third of its life, or cannot be read.
#[must_use]
pub fn is_due(pem: &str, now: Timestamp) -> bool {
    let Ok(der) = tls::certificate_der(pem) else { return true };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(&der) else { return true };
    let second = |time: i64| u64::try_from(time).unwrap_or_default();
    let validity = certificate.validity();
    let (from, to) = (second(validity.not_before.timestamp()), second(validity.not_after.timestamp()));
    now.ms() / 1_000 >= to.saturating_sub(to.saturating_sub(from) / LAST_PART)
}

fn bad(error: impl ToString) -> NetworkError {
    NetworkError::Malformed(error.to_string())
}

/// Asks for the next certificate and keeps it; what was there stays until the new one is whole on the disk.
///
/// # Errors
/// Where the server gives none, or it cannot be kept: the old one goes on.
pub fn renew(config: &Config, http: &Agent, disk: &Disk) -> Result<(), NetworkError> {
    let client = Client::read(config)?;
    let key = KeyPair::generate().map_err(bad)?;
    let csr =
        CertificateParams::new(Vec::new()).and_then(|params| params.serialize_request(&key)).and_then(|csr| csr.pem()).map_err(bad)?;
    let body = serde_json::to_vec(&Renew { csr }).map_err(bad)?;
    let answer = http.post(tls::url("/agent/v1/renew")).header("content-type", "application/json").send(&body[..])?;
    let text = crate::network::fine("renew", answer)?.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
    let Renewed { certificate } = serde_json::from_slice(&text).map_err(bad)?;
    let der = tls::certificate_der(&certificate)?;
    // A certificate for another key would shut this host out.
    if !fits(&der, &key) {
        return Err(bad("the certificate is not for the key that was asked for"));
    }
    // Three steps; `finish` completes what a crash interrupts between the last two. The names are those that an older agent knows.
    disk.replace(&config.net.join(Client::NEXT_KEY_FILE), key.serialize_pem().as_bytes())?;
    let next = Client { certificate, ..client };
    disk.replace(&config.net.join(Client::FILE), &serde_json::to_vec_pretty(&next).map_err(bad)?)?;
    finish(config, &next.certificate)
}

fn fits(certificate: &[u8], key: &KeyPair) -> bool {
    x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| parsed.public_key().raw == key.subject_public_key_info())
}

/// Puts the key of a renewal in place if it belongs to the certificate; else it came to nothing and goes.
///
/// # Errors
/// Where files cannot be read or renamed.
pub fn finish(config: &Config, certificate: &str) -> Result<(), NetworkError> {
    let next = config.net.join(Client::NEXT_KEY_FILE);
    let pem = match fs::read_to_string(&next) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let der = tls::certificate_der(certificate)?;
    if KeyPair::from_pem(&pem).is_ok_and(|key| fits(&der, &key)) {
        fs::rename(&next, config.net.join(Client::KEY_FILE))?;
    } else {
        fs::remove_file(&next)?;
    }
    Ok(())
}
