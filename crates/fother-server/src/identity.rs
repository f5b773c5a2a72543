//! The server's keys: its own CA, TLS key, directive key, log key, each a file of its own. Touches `data_dir/keys`; draws randomness.

use crate::Error;
use ed25519_dalek::SigningKey;
use fother_core::{
    Digest, Timestamp,
    checkpoint::{Kind, VerifierKey},
    id::HostId,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use std::{
    fs,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

/// Name that the server's certificate always carries; agents ask for it.
pub const SERVER_NAME: &str = "fother-server";
/// Name of the log, and of its key.
pub const LOG_ORIGIN: &str = "fother-server/log";
/// Life of host and server certificates.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Life of the CA.
const CA_LIFE: Duration = Duration::from_secs(20 * 365 * 86_400);
/// A certificate is valid from a little before now, for clocks that are late.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Largest certificate request, in bytes.
const CSR_BYTES_MAX: usize = 16 << 10;

/// Every file below `data_dir/keys`.
const KEY_FILES: [&str; 5] = ["ca.crt", "ca.key", "tls.key", "directive.key", "log.key"];

/// `length` random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Identity(format!("no randomness: {error}")))?;
    Ok(bytes)
}

/// All that the server signs with.
pub struct Identity {
    ca_pem: String,
    ca_der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    tls_key: KeyPair,
    directive: SigningKey,
    log: SigningKey,
}

impl Identity {
    /// Reads the keys below `data_dir/keys`; makes all of them, or none, at the first start.
    ///
    /// # Errors
    /// Where a file is missing or unreadable: nothing is ever made anew beside what is there.
    pub fn open(data_dir: &Path, now: Timestamp) -> Result<Self, Error> {
        let dir = data_dir.join("keys");
        if !dir.exists() {
            create(data_dir, &dir, now)?;
        }
        let read = |name: &str| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(Error::io("read", &path))
        };
        let ca_pem = read("ca.crt")?;
        let ca_der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(bad)?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, KeyPair::from_pem(&read("ca.key")?).map_err(bad)?).map_err(bad)?;
        let tls_key = KeyPair::from_pem(&read("tls.key")?).map_err(bad)?;
        Ok(Self { ca_pem, ca_der, issuer, tls_key, directive: signing(&read("directive.key")?)?, log: signing(&read("log.key")?)? })
    }

    /// Reads the keys below `data_dir/keys`, which must be there.
    ///
    /// # Errors
    /// Where they are not, or a file is missing or unreadable.
    pub fn open_existing(data_dir: &Path) -> Result<Self, Error> {
        let dir = data_dir.join("keys");
        fs::metadata(&dir).map_err(Error::io("read", &dir))?;
        Self::open(data_dir, Timestamp(0))
    }

    /// Copies the keys of one data directory into another, all of them or none; nothing is done where the same are there.
    ///
    /// # Errors
    /// Where there are none, other ones are there already, or the file system refuses.
    pub fn copy(from_data_dir: &Path, to_data_dir: &Path) -> Result<(), Error> {
        let (from, to) = (from_data_dir.join("keys"), to_data_dir.join("keys"));
        let mut keys = Vec::new();
        for name in KEY_FILES {
            let path = from.join(name);
            keys.push((name, fs::read_to_string(&path).map_err(Error::io("read", &path))?));
        }
        if !to.exists() {
            return write(to_data_dir, &to, &keys);
        }
        let same = keys.iter().all(|(name, text)| fs::read_to_string(to.join(name)).is_ok_and(|there| there == *text));
        if same { Ok(()) } else { Err(Error::Identity(format!("{} holds other keys than {}", to.display(), from.display()))) }
    }

    /// The CA certificate, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The CA certificate, DER.
    #[must_use]
    pub fn ca_der(&self) -> &CertificateDer<'static> {
        &self.ca_der
    }

    /// What tokens carry: SHA-256 of the CA certificate.
    #[must_use]
    pub fn ca_fingerprint(&self) -> Digest {
        Digest::of_file(&self.ca_der)
    }

    /// Key that directives are signed with.
    #[must_use]
    pub fn directive(&self) -> &SigningKey {
        &self.directive
    }

    /// Key that checkpoints are signed with.
    #[must_use]
    pub fn log(&self) -> &SigningKey {
        &self.log
    }

    /// The log key in verifier form.
    ///
    /// # Errors
    /// Never in practice: the name is fixed.
    pub fn log_verifier(&self) -> Result<VerifierKey, Error> {
        Ok(VerifierKey::new(LOG_ORIGIN, Kind::Log, self.log.verifying_key())?)
    }

    /// A fresh certificate chain for the agent port with these names, and its key.
    ///
    /// # Errors
    /// Where a name cannot stand in a certificate.
    pub fn server_chain(&self, names: &[String], now: Timestamp) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
        let mut all = vec![SERVER_NAME.to_owned()];
        all.extend(names.iter().filter(|name| *name != SERVER_NAME).cloned());
        let mut params = params(SERVER_NAME, CERTIFICATE_LIFE, now, all)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&self.tls_key, &self.issuer).map_err(bad)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.tls_key.serialize_der()));
        Ok((vec![certificate.der().clone(), self.ca_der.clone()], key))
    }

    /// A certificate for the public key of a request; nothing else of the request is taken over. PEM and digest.
    ///
    /// # Errors
    /// Where the request is malformed or not signed by its own key.
    pub fn certify(&self, csr: &str, host: HostId, now: Timestamp) -> Result<(String, Digest), Error> {
        let refused = || Error::Input("the certificate request is malformed, too large, or not signed by its own key".to_owned());
        if csr.len() > CSR_BYTES_MAX {
            return Err(refused());
        }
        let request = CertificateSigningRequestParams::from_pem(csr).map_err(|_| refused())?;
        let mut params = params(&host.to_string(), CERTIFICATE_LIFE, now, Vec::new())?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&request.public_key, &self.issuer).map_err(bad)?;
        Ok((certificate.pem(), Digest::of_file(certificate.der())))
    }
}

fn bad(error: impl std::fmt::Display) -> Error {
    Error::Identity(error.to_string())
}

fn params(name: &str, life: Duration, now: Timestamp, names: Vec<String>) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::new(names).map_err(bad)?;
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs((now - BACKDATED).ms() / 1000);
    params.not_after = epoch + Duration::from_secs((now + life).ms() / 1000);
    // A serial is positive and at most 20 bytes (RFC 5280 section 4.1.2.2).
    let mut serial: [u8; 16] = random()?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn signing(text: &str) -> Result<SigningKey, Error> {
    let digest = Digest::from_hex(text.trim()).map_err(|_| Error::Identity("a signing key is no 64 hexadecimal digits".to_owned()))?;
    Ok(SigningKey::from_bytes(&digest.0))
}

fn create(data_dir: &Path, dir: &Path, now: Timestamp) -> Result<(), Error> {
    let ca_key = KeyPair::generate().map_err(bad)?;
    let mut ca = params("Fother CA", CA_LIFE, now, Vec::new())?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let certificate = ca.self_signed(&ca_key).map_err(bad)?;
    let hex = |bytes: [u8; 32]| Digest(bytes).hex();
    let texts =
        [certificate.pem(), ca_key.serialize_pem(), KeyPair::generate().map_err(bad)?.serialize_pem(), hex(random()?), hex(random()?)];
    write(data_dir, dir, &KEY_FILES.into_iter().zip(texts).collect::<Vec<_>>())
}

/// Writes the keys into `dir` below `data_dir`, all of them or none.
fn write(data_dir: &Path, dir: &Path, keys: &[(&str, String)]) -> Result<(), Error> {
    let fresh = data_dir.join("keys.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh).map_err(Error::io("remove", &fresh))?;
    }
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&fresh).map_err(Error::io("create", &fresh))?;
    for (name, text) in keys {
        let path = fresh.join(name);
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all())).map_err(Error::io("write", &path))?;
    }
    let sync = |path: &Path| fs::File::open(path).and_then(|file| file.sync_all()).map_err(Error::io("sync", path));
    sync(&fresh)?;
    fs::rename(&fresh, dir).map_err(Error::io("name", dir))?;
    sync(data_dir)
}
