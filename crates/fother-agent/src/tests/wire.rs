//! Enrolment and check-ins over real TLS with a small server of the test's own.

use super::harness::{Bench, txn};
use crate::{
    config::{Client, Identity},
    enrol::{EnrolError, EnrolOptions, enrol},
    executor::Executor,
    network::{Network, back_off},
    tls::TlsError,
};
use fother_core::{
    Digest,
    directive::SignedDirective,
    protocol::{CheckIn, CheckInAnswer, Enrol, Enrolled, Outcome, Renew, Renewed, Token, VERSION, VERSION_MIN},
};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
    time::Duration,
};

struct Shared {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
    identity: Identity,
    secret: String,
    directives: Vec<SignedDirective>,
    served: BTreeMap<Digest, Vec<u8>>,
    put: Vec<String>,
    outcomes: Vec<Outcome>,
    date: String,
    cut_once: bool,
    /// It is of the version before.
    old: bool,
    check_ins: Vec<CheckIn>,
}

struct Server {
    address: String,
    token: Token,
    shared: Arc<Mutex<Shared>>,
}

fn serve(bench: &Bench) -> Server {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf_key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["fother-server".to_owned()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
    let token = Token { secret: "a".repeat(32), ca: Digest::of_file(ca.der()) };
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated().build().unwrap();
    let chain: Vec<CertificateDer<'static>> = vec![leaf.der().clone(), ca.der().clone()];
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap())
        .unwrap();
    let shared = Arc::new(Mutex::new(Shared {
        issuer,
        ca_pem: ca.pem(),
        identity: Identity::read(&bench.config).unwrap(),
        secret: token.secret.clone(),
        directives: Vec::new(),
        served: BTreeMap::new(),
        put: Vec::new(),
        outcomes: Vec::new(),
        date: String::new(),
        cut_once: false,
        old: false,
        check_ins: Vec::new(),
    }));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    let (config, theirs) = (Arc::new(config), Arc::clone(&shared));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (config, shared) = (Arc::clone(&config), Arc::clone(&theirs));
            std::thread::spawn(move || one(stream.unwrap(), config, &shared));
        }
    });
    Server { address, token, shared }
}

fn one(stream: TcpStream, config: Arc<ServerConfig>, shared: &Mutex<Shared>) {
    let mut tls = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
    let (mut line, mut length, mut range) = (String::new(), 0, 0);
    if tls.read_line(&mut line).is_err() {
        return;
    }
    loop {
        let mut header = String::new();
        if tls.read_line(&mut header).unwrap_or(0) <= 2 {
            break;
        }
        let header = header.to_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if let Some(value) = header.strip_prefix("range: bytes=") {
            range = value.trim().trim_end_matches('-').parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    tls.read_exact(&mut body).unwrap();
    let known = tls.get_ref().conn.peer_certificates().is_some();
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut shared = shared.lock().unwrap();
    let (status, answer) = reply(&mut shared, &method, &path, &body, known);
    let from = range.min(answer.len());
    let status = if from > 0 { 206 } else { status };
    let cut = path.starts_with("/agent/v1/files/") && std::mem::take(&mut shared.cut_once);
    let date = if shared.date.is_empty() { String::new() } else { format!("date: {}\r\n", shared.date) };
    let head = format!("HTTP/1.1 {status} x\r\n{date}content-length: {}\r\nconnection: close\r\n\r\n", answer.len() - from);
    let out = tls.get_mut();
    let _ = out.write_all(head.as_bytes());
    let until = if cut { from + 2 } else { answer.len() };
    let _ = out.write_all(&answer[from..until]);
    let _ = out.flush();
    out.conn.send_close_notify();
    let _ = out.flush();
}

fn reply(shared: &mut Shared, method: &str, path: &str, body: &[u8], known: bool) -> (u16, Vec<u8>) {
    if path == "/agent/v1/enrol" && method == "GET" {
        return (405, Vec::new());
    }
    if path == "/agent/v1/enrol" {
        let enrol: Enrol = serde_json::from_slice(body).unwrap();
        if enrol.secret != shared.secret {
            return (403, b"no such token".to_vec());
        }
        let certificate = CertificateSigningRequestParams::from_pem(&enrol.csr).unwrap().signed_by(&shared.issuer).unwrap().pem();
        let Identity { host, directive_key, log_key } = shared.identity.clone();
        return (200, serde_json::to_vec(&Enrolled { host, certificate, ca: shared.ca_pem.clone(), directive_key, log_key }).unwrap());
    }
    if !known {
        return (401, Vec::new());
    }
    if path == "/agent/v1/renew" {
        let renew: Renew = serde_json::from_slice(body).unwrap();
        let certificate = CertificateSigningRequestParams::from_pem(&renew.csr).unwrap().signed_by(&shared.issuer).unwrap().pem();
        return (200, serde_json::to_vec(&Renewed { certificate }).unwrap());
    }
    if path == "/agent/v1/check-in" {
        let check_in: CheckIn = serde_json::from_slice(body).unwrap();
        if shared.old && (check_in.version != VERSION_MIN || check_in.session.is_some()) {
            return (422, b"unknown field".to_vec());
        }
        shared.check_ins.push(check_in.clone());
        let acknowledged = shared.check_ins.iter().flat_map(|before| &before.reports).map(|report| report.number).max().unwrap_or(0);
        shared.outcomes.extend(check_in.reports.into_iter().map(|report| report.outcome));
        let directives = std::mem::take(&mut shared.directives);
        let wants_inventory = shared.put.is_empty();
        let answer = CheckInAnswer {
            acknowledged,
            directives,
            next_check_in_s: 7,
            wants_inventory,
            checkpoint: None,
            consistency: Vec::new(),
            stopped: false,
            epoch: None,
        };
        return (200, serde_json::to_vec(&answer).unwrap());
    }
    if method == "PUT" {
        shared.put.push(path.to_owned());
        return (204, Vec::new());
    }
    let digest = Digest::from_hex(path.rsplit('/').next().unwrap()).unwrap();
    shared.served.get(&digest).map_or((404, Vec::new()), |bytes| (200, bytes.clone()))
}

fn options(bench: &Bench, server: &Server, token: &str) -> EnrolOptions {
    let token_file = bench.dir.path().join("token");
    fs::write(&token_file, token).unwrap();
    EnrolOptions { server: server.address.clone(), token_file, observe: false }
}

fn fresh() -> (Bench, Server) {
    let bench = Bench::new();
    let server = serve(&bench);
    fs::remove_file(bench.config.data.join(Identity::FILE)).unwrap();
    (bench, server)
}

#[test]
fn a_host_enrols_and_carries_out_an_order_over_mutual_tls_also_where_a_transfer_is_cut() {
    let (mut bench, server) = fresh();
    enrol(&bench.config, &options(&bench, &server, &server.token.text())).unwrap();
    let key = bench.config.net.join(Client::KEY_FILE);
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);

    let parts = bench.good();
    let order = bench.apply_order(&parts, txn(1));
    let signed = bench.signed(order);
    {
        let mut shared = server.shared.lock().unwrap();
        shared.directives.push(signed);
        shared.served = bench.served.clone();
        shared.cut_once = true;
    }
    let executor = Arc::new(bench.executor());
    let listener = executor.listen().unwrap();
    let serving: Arc<Executor> = Arc::clone(&executor);
    std::thread::spawn(move || listener.incoming().for_each(|stream| drop(serving.serve(stream.unwrap()))));
    let network = Network::open(&bench.config).unwrap();
    assert_eq!(network.once().unwrap(), Duration::from_secs(1), "files came, so the next check-in is soon");
    assert!(executor.step().unwrap());
    network.once().unwrap();
    let shared = server.shared.lock().unwrap();
    assert!(matches!(shared.outcomes.last(), Some(Outcome::Verified { .. })), "{:?}", shared.outcomes);
    assert!(shared.put.iter().any(|path| path.starts_with("/agent/v1/blobs/inventory/")), "{:?}", shared.put);
    drop(shared);
    assert!(Bench::reports(&executor).is_empty());
    assert_eq!(network.once().unwrap(), Duration::from_secs(7));
    assert_eq!(fs::read_dir(bench.config.spool()).unwrap().count(), 0);
}

#[test]
fn wrong_tokens_other_servers_wrong_clocks_and_second_enrolments_each_have_their_words() {
    let (bench, server) = fresh();
    let try_with = |token: &str| enrol(&bench.config, &options(&bench, &server, token)).unwrap_err();
    assert!(matches!(try_with("nonsense"), EnrolError::TokenForm));
    let other_ca = Token { ca: Digest::of_file(b"other"), ..server.token.clone() };
    assert!(matches!(try_with(&other_ca.text()), EnrolError::Tls(TlsError::OtherCa)));
    let wrong = Token { secret: "b".repeat(32), ..server.token.clone() };
    assert!(matches!(try_with(&wrong.text()), EnrolError::TokenRefused { status: 403, .. }));
    server.shared.lock().unwrap().date = "Sat, 11 Jul 2020 10:12:49 GMT".to_owned();
    assert!(matches!(try_with(&server.token.text()), EnrolError::Clock { seconds, .. } if seconds < 0));
    server.shared.lock().unwrap().date.clear();
    assert!(!bench.config.data.join(Identity::FILE).exists());
    enrol(&bench.config, &options(&bench, &server, &server.token.text())).unwrap();
    assert!(matches!(try_with(&server.token.text()), EnrolError::Already(_)));
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let (bench, server) = fresh();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = EnrolOptions { server: format!("https://{free}"), ..options(&bench, &server, &server.token.text()) };
    assert!(matches!(enrol(&bench.config, &nobody), Err(EnrolError::Tls(TlsError::Unreachable(..)))));
    let plain = EnrolOptions { server: "http://127.0.0.1:1".to_owned(), ..nobody };
    assert!(matches!(enrol(&bench.config, &plain), Err(EnrolError::Tls(TlsError::Address(_)))));
}

#[test]
fn waits_after_errors_double_up_to_a_minute_less_some_jitter() {
    assert_eq!(back_off(1, 0), Duration::from_secs(1));
    assert_eq!(back_off(3, 0), Duration::from_secs(4));
    assert_eq!(back_off(99, 0), Duration::from_secs(60));
    assert!(back_off(99, 255) > Duration::from_secs(45));
}

/// An enrolled host whose executor answers, and its network half.
fn in_touch(bench: &Bench, server: &Server) -> Network {
    enrol(&bench.config, &options(bench, server, &server.token.text())).unwrap();
    let executor = Arc::new(bench.executor());
    let listener = executor.listen().unwrap();
    std::thread::spawn(move || listener.incoming().for_each(|stream| drop(executor.serve(stream.unwrap()))));
    Network::open(&bench.config).unwrap()
}

#[test]
fn an_agent_works_with_a_server_of_the_version_before_and_shows_new_ones_its_session() {
    let (bench, server) = fresh();
    let network = in_touch(&bench, &server);
    network.once().unwrap();
    server.shared.lock().unwrap().old = true;
    network.once().unwrap();
    network.once().unwrap();
    let another = Network::open(&bench.config).unwrap();
    server.shared.lock().unwrap().old = false;
    another.once().unwrap();
    let seen: Vec<(u32, Option<String>)> =
        server.shared.lock().unwrap().check_ins.iter().map(|check_in| (check_in.version, check_in.session.clone())).collect();
    let [(VERSION, Some(first)), (VERSION_MIN, None), (VERSION_MIN, None), (VERSION, Some(second))] = &seen[..] else { panic!("{seen:?}") };
    assert!(first != second && fother_core::identity::is_session(first), "each run has a name of its own");
}

#[test]
fn a_renewed_certificate_and_its_key_are_in_place_together_wherever_it_is_killed() {
    let (bench, server) = fresh();
    let network = in_touch(&bench, &server);
    assert!(network.renewed().unwrap().is_none(), "it is not due");
    let key = bench.config.net.join(Client::KEY_FILE);
    let next = bench.config.net.join(Client::NEXT_KEY_FILE);
    let (old_key, old_client) = (fs::read(&key).unwrap(), Client::read(&bench.config).unwrap());
    network.renew_now().unwrap();
    let (new_key, new_client) = (fs::read(&key).unwrap(), Client::read(&bench.config).unwrap());
    assert!(old_key != new_key && old_client.certificate != new_client.certificate && !next.exists());
    Network::open(&bench.config).unwrap().once().unwrap();
    // Killed before the last step: the certificate is new, the key stands beside.
    fs::write(&key, &old_key).unwrap();
    fs::write(&next, &new_key).unwrap();
    Network::open(&bench.config).unwrap().once().unwrap();
    assert_eq!((fs::read(&key).unwrap(), next.exists()), (new_key.clone(), false));
    // Killed before the certificate was kept: the key of the request goes.
    fs::write(&next, &old_key).unwrap();
    Network::open(&bench.config).unwrap().once().unwrap();
    assert_eq!((fs::read(&key).unwrap(), next.exists()), (new_key, false));
}

#[test]
fn a_certificate_is_renewed_in_the_last_third_of_its_life() {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2026, 12, 31);
    let pem = params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem();
    let due = |time: &str| crate::renewal::is_due(&pem, time.parse().unwrap());
    assert!(!due("2026-01-02T00:00:00Z") && !due("2026-08-30T00:00:00Z"));
    assert!(due("2026-09-02T00:00:00Z") && due("2027-06-01T00:00:00Z"));
    assert!(crate::renewal::is_due("no certificate", "2026-01-02T00:00:00Z".parse().unwrap()));
}
