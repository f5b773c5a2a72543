//! Identities that end, over real mutual TLS: revoked, renewed, copied; and agents of the version before.

use super::{
    door::{Running, start},
    fleet::{Host, ask, client, enrolment},
};
use fother_core::protocol::{CheckIn, Renewed, VERSION_MIN};
use rcgen::KeyPair;

fn tls(server: &Running, certificate: &str, key: &KeyPair) -> std::sync::Arc<rustls::ClientConfig> {
    client(&server.ca(), Some((certificate, key)))
}

/// Status of a check-in under this certificate; 0 where the connection was cut.
fn status(server: &Running, host: &Host, certificate: (&str, &KeyPair), session: Option<&str>) -> u16 {
    let report = CheckIn { session: session.map(str::to_owned), ..host.check_in() };
    let body = serde_json::to_vec(&report).unwrap();
    ask(server.agents, &tls(server, certificate.0, certificate.1), "POST /agent/v1/check-in", &body).map_or(0, |answer| answer.0)
}

fn own(host: &Host) -> (&str, &KeyPair) {
    (&host.enrolled.certificate, &host.key)
}

fn revoke(server: &Running, host: &Host, reason: &str) -> u16 {
    server.api(&format!("POST /api/v1/hosts/{}/revoke", host.id), &format!("{{\"reason\":\"{reason}\"}}")).0
}

#[test]
fn a_revoked_identity_is_refused_at_once_and_after_a_restart_and_counts_as_out() {
    let mut server = start();
    let (stolen, other) = (server.enrol("web1"), server.enrol("web2"));
    assert_eq!((status(&server, &stolen, own(&stolen), None), status(&server, &other, own(&other), None)), (200, 200));
    assert_eq!((revoke(&server, &stolen, " "), revoke(&server, &stolen, "its disk was stolen")), (400, 200));
    assert_eq!(status(&server, &stolen, own(&stolen), None), 403);
    let (_, state) = server.api("GET /api/v1/state", "");
    let host = &state["data"]["hosts"][stolen.id.to_string()];
    assert!(host["revoked"] == "its disk was stolen" && host["lost"] == true && host["retired"] == false, "{host}");
    server = server.restart();
    assert_eq!((status(&server, &stolen, own(&stolen), None), status(&server, &other, own(&other), None)), (403, 200));
    assert_eq!(revoke(&server, &stolen, "again"), 200);
    // The way back is a new enrolment under a new id.
    let again = server.enrol("web1");
    assert!(again.id != stolen.id && status(&server, &again, own(&again), None) == 200);
}

#[test]
fn live_connections_of_a_revoked_identity_end() {
    use std::io::{Read as _, Write as _};
    let server = start();
    let host = server.enrol("web1");
    let stream = std::net::TcpStream::connect(server.agents).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
    let name = rustls_pki_types::ServerName::try_from("fother-server").unwrap();
    let connection = rustls::ClientConnection::new(tls(&server, own(&host).0, own(&host).1), name).unwrap();
    let mut live = rustls::StreamOwned::new(connection, stream);
    let hex = "0".repeat(64);
    write!(live, "GET /agent/v1/blobs/{hex} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = [0; 4096];
    let got = live.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..got]).starts_with("HTTP/1.1 404"), "it is served, and the connection stays open");
    assert_eq!(revoke(&server, &host, "stolen"), 200);
    let mut rest = Vec::new();
    let ended = live.read_to_end(&mut rest);
    // Cut without a word, or closed: in no case it waits until its time is over.
    assert!(
        ended.is_ok() || ended.is_err_and(|error| !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    );
}

#[test]
fn a_renewed_certificate_counts_beside_the_old_one_and_both_end_together() {
    let mut server = start();
    let host = server.enrol("web1");
    let (request, key) = enrolment(&server.token(), "web1");
    let body = format!("{{\"csr\":{}}}", serde_json::to_string(&request.csr).unwrap());
    let (code, _, answer) = ask(server.agents, &tls(&server, own(&host).0, own(&host).1), "POST /agent/v1/renew", body.as_bytes()).unwrap();
    assert_eq!(code, 200, "{}", String::from_utf8_lossy(&answer));
    let new: Renewed = serde_json::from_slice(&answer).unwrap();
    let next = (new.certificate.as_str(), &key);
    assert_eq!((status(&server, &host, next, None), status(&server, &host, own(&host), None)), (200, 200));
    server = server.restart();
    assert_eq!((status(&server, &host, next, None), status(&server, &host, own(&host), None)), (200, 200));
    let nobody = client(&server.ca(), None);
    assert_eq!(ask(server.agents, &nobody, "POST /agent/v1/renew", body.as_bytes()).unwrap().0, 403);
    assert_eq!(revoke(&server, &host, "stolen"), 200);
    assert_eq!((status(&server, &host, next, None), status(&server, &host, own(&host), None)), (403, 403));
}

#[test]
fn a_copied_identity_is_found_and_both_machines_are_shut_out() {
    let server = start();
    let host = server.enrol("web1");
    let (mine, copy) = ("a".repeat(32), "b".repeat(32));
    let seen: Vec<u16> = [&mine, &mine, &copy, &mine, &copy].map(|session| status(&server, &host, own(&host), Some(session))).to_vec();
    assert_eq!(seen, [200, 200, 200, 200, 200], "one late request is no proof");
    // The one that gives it away hears why, or is cut off with all the others.
    assert!([0, 409].contains(&status(&server, &host, own(&host), Some(&mine))));
    assert_eq!((status(&server, &host, own(&host), Some(&mine)), status(&server, &host, own(&host), Some(&copy))), (403, 403));
    let (_, log) = server.api("GET /api/v1/log?from=0&max=100", "");
    let events = log["data"]["events"].as_array().unwrap();
    let revoked = events.iter().find(|event| event["type"] == "host.revoked").unwrap();
    assert!(revoked["actor"] == "server" && revoked["data"]["reason"].as_str().unwrap().contains("two machines"), "{revoked}");
}

#[test]
fn an_agent_of_the_version_before_is_served_and_older_ones_are_not() {
    let server = start();
    let host = server.enrol("web1");
    let check = |version: u32| {
        let mut report = serde_json::to_value(host.check_in()).unwrap();
        report["version"] = version.into();
        assert!(report.get("session").is_none(), "exactly what that version sent");
        let body = serde_json::to_vec(&report).unwrap();
        ask(server.agents, &tls(&server, own(&host).0, own(&host).1), "POST /agent/v1/check-in", &body).unwrap()
    };
    let (code, _, answer) = check(VERSION_MIN);
    let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
    let known = ["acknowledged", "checkpoint", "consistency", "directives", "next_check_in_s", "stopped", "wants_inventory"];
    assert!(code == 200 && answer.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())), "{answer}");
    for version in [0, VERSION_MIN.wrapping_sub(1), VERSION_MIN + 2] {
        assert_eq!(check(version).0, 409, "{version}");
    }
}
