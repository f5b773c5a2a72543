//! Signatures judged by `trust` and by gpgv side by side; runs gpg and gpgv in a private home.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod common;

use common::{Gpg, gpgv};
use fother_core::Timestamp;
use fother_feeds::trust::{Keyring, TrustError, verify_clearsigned};
use std::{fs, time::SystemTime};

const TEXT: &str = "Origin: x\n- dashed\n-----BEGIN\n\ntrailing\n";

fn now() -> Timestamp {
    Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().try_into().unwrap())
}

/// Our answer, after checking that gpgv agrees on whether it is good, and on the text.
fn both(gpg: &Gpg, keys: &[u8], signed: &[u8]) -> Result<String, TrustError> {
    let (keyring, file) = (gpg.dir.path().join("k.gpg"), gpg.dir.path().join("f"));
    fs::write(&keyring, keys).unwrap();
    fs::write(&file, signed).unwrap();
    let ours = verify_clearsigned(signed, &Keyring::from_bytes(keys).unwrap(), now());
    assert_eq!(ours.as_ref().ok(), gpgv(&keyring, &file).as_ref(), "gpgv disagrees: {ours:?}");
    ours
}

#[test]
fn good_signatures_of_every_kind_of_key_pass_and_the_text_is_exactly_what_was_signed() {
    let gpg = Gpg::new();
    for (name, algo) in [("rsa", "rsa2048"), ("ed", "ed25519"), ("p256", "nistp256")] {
        let key = gpg.key(name, algo, "sign", "never", None);
        assert_eq!(both(&gpg, &gpg.export(&key), &gpg.clearsign(&key, TEXT)).as_deref(), Ok(TEXT), "{algo}");
    }
}

#[test]
fn a_signing_subkey_passes_and_an_armored_keyring_is_read() {
    let gpg = Gpg::new();
    let key = gpg.key("a", "ed25519", "cert", "never", None);
    gpg.run(&["--quick-add-key", &key, "ed25519", "sign", "never"], b"");
    let signed = gpg.clearsign(&key, TEXT);
    assert_eq!(both(&gpg, &gpg.export(&key), &signed).as_deref(), Ok(TEXT));
    let armored = gpg.run(&["--armor", "--export", &key], b"");
    assert_eq!(verify_clearsigned(&signed, &Keyring::from_bytes(&armored).unwrap(), now()).as_deref(), Ok(TEXT));
}

#[test]
fn a_subkey_that_was_grafted_onto_another_certificate_does_not_count() {
    let gpg = Gpg::new();
    let (victim, thief) = (gpg.key("v", "ed25519", "sign", "never", None), gpg.key("t", "ed25519", "cert", "never", None));
    gpg.run(&["--quick-add-key", &thief, "ed25519", "sign", "never"], b"");
    // The victim's key and user id, followed by the thief's subkey with its binding to the thief.
    let mut mixed = gpg.export(&victim);
    let of_thief = gpg.export(&thief);
    let at = of_thief.windows(2).rposition(|w| w[0] == 0xb8 && w[1] == 0x33).unwrap();
    mixed.extend_from_slice(&of_thief[at..]);
    let signed = gpg.clearsign(&thief, TEXT);
    let result = verify_clearsigned(&signed, &Keyring::from_bytes(&mixed).unwrap(), now());
    assert!(matches!(result, Err(TrustError::KeyUnfit { why: "no valid signature binds it to its primary key", .. })), "{result:?}");
}

#[test]
fn changed_text_unknown_keys_and_cut_files_are_refused() {
    let gpg = Gpg::new();
    let (key, other) = (gpg.key("a", "ed25519", "sign", "never", None), gpg.key("b", "ed25519", "sign", "never", None));
    let signed = gpg.clearsign(&key, TEXT);
    let changed = String::from_utf8(signed.clone()).unwrap().replace("Origin: x", "Origin: y");
    assert!(matches!(both(&gpg, &gpg.export(&key), changed.as_bytes()), Err(TrustError::BadSignature { .. })));
    assert!(matches!(both(&gpg, &gpg.export(&other), &signed), Err(TrustError::UnknownKey { keys }) if keys == key));
    assert!(matches!(both(&gpg, &gpg.export(&key), TEXT.as_bytes()), Err(TrustError::NotSigned)));
    for cut in [40, signed.len() / 2, signed.len() - 30] {
        assert!(verify_clearsigned(&signed[..cut], &Keyring::from_bytes(&gpg.export(&key)).unwrap(), now()).is_err());
    }
}

#[test]
fn of_several_signers_one_known_good_one_is_enough_but_a_bad_one_spoils_the_file() {
    let gpg = Gpg::new();
    let (a, b) = (gpg.key("a", "ed25519", "sign", "never", None), gpg.key("b", "rsa2048", "sign", "never", None));
    let signed = gpg.run(&["-u", &a, "-u", &b, "--clearsign"], TEXT.as_bytes());
    let keyring = |bytes: &[u8]| Keyring::from_bytes(bytes).unwrap();
    for known in [&a, &b] {
        assert_eq!(verify_clearsigned(&signed, &keyring(&gpg.export(known)), now()).as_deref(), Ok(TEXT));
    }
    let both_keys = [gpg.export(&a), gpg.export(&b)].concat();
    assert_eq!(both(&gpg, &both_keys, &signed).as_deref(), Ok(TEXT));
}

#[test]
fn weak_digests_are_refused() {
    let gpg = Gpg::new();
    let key = gpg.key("a", "rsa2048", "sign", "never", None);
    let keyring = Keyring::from_bytes(&gpg.export(&key)).unwrap();
    for digest in ["SHA1", "MD5", "RIPEMD160"] {
        let options = ["--allow-weak-digest-algos", "--digest-algo", digest, "-u", &key, "--clearsign"];
        let signed = gpg.run(&options, TEXT.as_bytes());
        let result = verify_clearsigned(&signed, &keyring, now());
        assert!(matches!(result, Err(TrustError::WeakDigest { .. })), "{digest}: {result:?}");
    }
}

#[test]
fn expired_and_revoked_keys_expired_signatures_and_those_of_the_future_are_refused() {
    let gpg = Gpg::new();
    let old = gpg.key("old", "ed25519", "sign", "30d", Some("20240101T000000"));
    let signed = gpg.run(&["--faked-system-time", "20240102T000000!", "-u", &old, "--clearsign"], TEXT.as_bytes());
    let keyring = Keyring::from_bytes(&gpg.export(&old)).unwrap();
    assert!(matches!(verify_clearsigned(&signed, &keyring, now()), Err(TrustError::KeyExpired { key }) if key == old));
    let then = |text: &str| text.parse::<Timestamp>().unwrap();
    assert_eq!(verify_clearsigned(&signed, &keyring, then("2024-01-15T00:00:00Z")).as_deref(), Ok(TEXT));
    let early = verify_clearsigned(&signed, &keyring, then("2024-01-01T12:00:00Z"));
    assert!(matches!(early, Err(TrustError::FromTheFuture { .. })), "{early:?}");

    let key = gpg.key("a", "ed25519", "sign", "never", Some("20240101T000000"));
    let clock = ["--faked-system-time", "20240102T000000!", "--default-sig-expire", "1d", "-u", &key, "--clearsign"];
    let short = gpg.run(&clock, TEXT.as_bytes());
    let keyring = Keyring::from_bytes(&gpg.export(&key)).unwrap();
    assert!(matches!(verify_clearsigned(&short, &keyring, now()), Err(TrustError::SignatureExpired { .. })));

    let signed = gpg.clearsign(&key, TEXT);
    let certificate = fs::read_to_string(gpg.dir.path().join(format!("openpgp-revocs.d/{key}.rev"))).unwrap();
    gpg.run(&["--import"], certificate.replace(":-----BEGIN", "-----BEGIN").as_bytes());
    assert!(matches!(verify_clearsigned(&signed, &keyring, now()).as_deref(), Ok(TEXT)), "before the keyring knows");
    let keyring = Keyring::from_bytes(&gpg.export(&key)).unwrap();
    assert!(matches!(verify_clearsigned(&signed, &keyring, now()), Err(TrustError::KeyRevoked { .. })));
}

#[test]
fn short_rsa_keys_do_not_count() {
    let gpg = Gpg::new();
    let key = gpg.key("a", "rsa1024", "sign", "never", None);
    let result = verify_clearsigned(&gpg.clearsign(&key, TEXT), &Keyring::from_bytes(&gpg.export(&key)).unwrap(), now());
    assert!(matches!(result, Err(TrustError::KeyUnfit { why: "its RSA modulus is shorter than 2048 bits", .. })), "{result:?}");
}

#[test]
fn a_keyring_can_be_restricted_to_fingerprints() {
    let gpg = Gpg::new();
    let (a, b) = (gpg.key("a", "ed25519", "sign", "never", None), gpg.key("b", "ed25519", "sign", "never", None));
    let keyring = Keyring::from_bytes(&[gpg.export(&a), gpg.export(&b)].concat()).unwrap();
    assert_eq!(keyring.clone().restricted_to(&[format!("{b}!")]).fingerprints(), [b]);
    assert!(keyring.restricted_to(&["00".to_owned()]).is_empty());
}
