//! Which keys of one OpenPGP certificate may sign now (RFC 9580 section 10); pure.
//!
//! The `pgp` crate checks mathematics; the policy is here. Where in doubt a key does not count: any revocation revokes, whoever made
//! it and whenever, and self-signatures over weak digests are passed over.

use super::TrustError;
use pgp::{
    composed::{SignedPublicKey, SignedPublicSubKey},
    crypto::hash::HashAlgorithm,
    packet::{PublicKey, Signature, SignatureType, SubpacketData},
    ser::Serialize as _,
    types::{KeyDetails, PublicParams, Tag},
};

/// Shortest RSA modulus that counts, in bits.
const RSA_BITS_MIN: usize = 2048;

/// A key that made a signature: the primary key or one of its subkeys.
pub(super) enum Signer<'a> {
    Primary(&'a SignedPublicKey),
    Subkey(&'a SignedPublicKey, &'a SignedPublicSubKey),
}

impl<'a> Signer<'a> {
    /// The keys of `certificate` that `signature` says it was made by.
    pub fn candidates(certificate: &'a SignedPublicKey, signature: &Signature) -> Vec<Self> {
        let named = |key: &dyn KeyDetails| {
            let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
            signature.issuer_fingerprint().iter().any(|f| **f == fingerprint) || signature.issuer_key_id().iter().any(|i| **i == id)
        };
        let mut found = Vec::new();
        if named(&certificate.primary_key) {
            found.push(Self::Primary(certificate));
        }
        found.extend(certificate.public_subkeys.iter().filter(|s| named(&s.key)).map(|s| Self::Subkey(certificate, s)));
        found
    }

    /// The key's fingerprint in hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        match self {
            Self::Primary(certificate) => certificate.primary_key.fingerprint().to_string(),
            Self::Subkey(_, subkey) => subkey.key.fingerprint().to_string(),
        }
        .to_uppercase()
    }

    /// Checks the signature over `data` by this key; the key itself is judged by [`Signer::fit`].
    pub fn verifies(&self, signature: &Signature, data: &[u8]) -> bool {
        match self {
            Self::Primary(certificate) => signature.verify(&certificate.primary_key, data),
            Self::Subkey(_, subkey) => signature.verify(&subkey.key, data),
        }
        .is_ok()
    }

    /// Whether the key may sign data at `now` (seconds since 1970).
    pub fn fit(&self, now: u64) -> Result<(), TrustError> {
        match self {
            Self::Primary(certificate) => {
                let newest = self.primary(certificate, now)?;
                if flag(newest, pgp::packet::KeyFlags::sign).unwrap_or(true) {
                    Ok(())
                } else {
                    Err(self.unfit("it is not meant for signing"))
                }
            }
            Self::Subkey(certificate, subkey) => {
                self.primary(certificate, now)?;
                self.subkey(&certificate.primary_key, subkey, now)
            }
        }
    }

    /// The primary key's newest self-signature, if the primary key is good.
    fn primary<'b>(&self, certificate: &'b SignedPublicKey, now: u64) -> Result<&'b Signature, TrustError> {
        let key = &certificate.primary_key;
        self.strong(key.public_params())?;
        let is_revocation = |s: &&Signature| s.typ() == Some(SignatureType::KeyRevocation);
        let details = &certificate.details;
        if !details.revocation_signatures.is_empty() || details.direct_signatures.iter().any(|s| is_revocation(&s)) {
            return Err(TrustError::KeyRevoked { key: self.fingerprint() });
        }
        let direct = details.direct_signatures.iter().filter(|s| s.typ() == Some(SignatureType::Key) && s.verify_key(key).is_ok());
        let users = details.users.iter().flat_map(|user| {
            let revoked = user
                .signatures
                .iter()
                .any(|s| s.typ() == Some(SignatureType::CertRevocation) && s.verify_certification(key, Tag::UserId, &user.id).is_ok());
            let own = |s: &&Signature| s.is_certification() && s.verify_certification(key, Tag::UserId, &user.id).is_ok();
            user.signatures.iter().filter(own).filter(move |_| !revoked)
        });
        let newest = newest(direct.chain(users), now).ok_or_else(|| self.unfit("it has no valid self-signature over a strong digest"))?;
        self.not_expired(key, newest, now)?;
        Ok(newest)
    }

    fn subkey(&self, primary: &PublicKey, subkey: &SignedPublicSubKey, now: u64) -> Result<(), TrustError> {
        self.strong(subkey.key.public_params())?;
        if subkey.signatures.iter().any(|s| s.typ() == Some(SignatureType::SubkeyRevocation)) {
            return Err(TrustError::KeyRevoked { key: self.fingerprint() });
        }
        let bindings = subkey.signatures.iter().filter(|s| s.verify_subkey_binding(primary, &subkey.key).is_ok());
        let binding = newest(bindings, now).ok_or_else(|| self.unfit("no valid signature binds it to its primary key"))?;
        if flag(binding, pgp::packet::KeyFlags::sign) != Some(true) {
            return Err(self.unfit("it is not meant for signing"));
        }
        let back = binding.embedded_signature().filter(|s| usable(s, now));
        if back.is_none_or(|s| s.verify_primary_key_binding(&subkey.key, primary).is_err()) {
            return Err(self.unfit("it does not sign its primary key back"));
        }
        self.not_expired(&subkey.key, binding, now)
    }

    fn not_expired(&self, key: &impl KeyDetails, signature: &Signature, now: u64) -> Result<(), TrustError> {
        let created = u64::from(key.created_at().as_secs());
        let lives = signature.key_expiration_time().map_or(0, |d| u64::from(d.as_secs()));
        if created > now {
            return Err(self.unfit("it was made in the future: check this machine's clock"));
        }
        if lives != 0 && created + lives <= now {
            return Err(TrustError::KeyExpired { key: self.fingerprint() });
        }
        Ok(())
    }

    fn strong(&self, params: &PublicParams) -> Result<(), TrustError> {
        match params {
            PublicParams::RSA(_) => {
                // The first two bytes of the first multiprecision integer are the modulus's length in bits (RFC 9580 section 3.2).
                let bytes = params.to_bytes().unwrap_or_default();
                let bits = bytes.first_chunk().map_or(0, |b| usize::from(u16::from_be_bytes(*b)));
                if bits < RSA_BITS_MIN { Err(self.unfit("its RSA modulus is shorter than 2048 bits")) } else { Ok(()) }
            }
            PublicParams::DSA(_) => Err(self.unfit("it is a DSA key, which is too weak")),
            _ => Ok(()),
        }
    }

    fn unfit(&self, why: &'static str) -> TrustError {
        TrustError::KeyUnfit { key: self.fingerprint(), why }
    }
}

/// The newest usable signature.
fn newest<'b>(signatures: impl Iterator<Item = &'b Signature>, now: u64) -> Option<&'b Signature> {
    signatures.filter(|s| usable(s, now)).max_by_key(|s| s.created().map_or(0, |t| t.as_secs()))
}

/// A signature's key flag; `None` where it names no flags at all.
fn flag(signature: &Signature, get: fn(&pgp::packet::KeyFlags) -> bool) -> Option<bool> {
    signature.config()?.hashed_subpackets().find_map(|p| match &p.data {
        SubpacketData::KeyFlags(flags) => Some(get(flags)),
        _ => None,
    })
}

/// Strong digest, made before `now`, not expired, and nothing critical in it that we do not know.
pub(super) fn usable(signature: &Signature, now: u64) -> bool {
    strong_digest(signature) && known(signature) && lifetime(signature, now).is_ok()
}

/// SHA-2 or SHA-3 of at least 256 bits.
pub(super) fn strong_digest(signature: &Signature) -> bool {
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    matches!(signature.hash_alg(), Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512))
}

/// `Err(true)`: from the future; `Err(false)`: expired.
pub(super) fn lifetime(signature: &Signature, now: u64) -> Result<(), bool> {
    let created = signature.created().map_or(u64::MAX, |t| u64::from(t.as_secs()));
    let lives = signature.signature_expiration_time().map_or(0, |d| u64::from(d.as_secs()));
    if created > now.saturating_add(super::SKEW.as_secs()) {
        Err(true)
    } else if lives != 0 && created + lives <= now {
        Err(false)
    } else {
        Ok(())
    }
}

/// No critical subpacket of a kind that this program does not honour (RFC 9580 section 5.2.3.7).
pub(super) fn known(signature: &Signature) -> bool {
    signature.config().is_some_and(|config| {
        config.hashed_subpackets().filter(|p| p.is_critical).all(|p| {
            matches!(
                p.data,
                SubpacketData::SignatureCreationTime(_)
                    | SubpacketData::SignatureExpirationTime(_)
                    | SubpacketData::KeyExpirationTime(_)
                    | SubpacketData::KeyFlags(_)
                    | SubpacketData::IssuerKeyId(_)
                    | SubpacketData::IssuerFingerprint(_)
                    | SubpacketData::EmbeddedSignature(_)
                    | SubpacketData::IsPrimary(_)
                    | SubpacketData::Features(_)
                    | SubpacketData::Revocable(_)
                    | SubpacketData::PreferredSymmetricAlgorithms(_)
                    | SubpacketData::PreferredHashAlgorithms(_)
                    | SubpacketData::PreferredCompressionAlgorithms(_)
                    | SubpacketData::SignersUserID(_)
            )
        })
    })
}
