//! The doors as others see them: TLS, certificates, blobs, the socket, the page.

use super::fleet::{Host, ask, canned, client, enrolment, exchange, inventory, labels, policy, trust};
use crate::{SOCKET, ServerOptions, run_with};
use fother_core::{
    canonical,
    protocol::{CheckInAnswer, Enrolled},
};
use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    thread::JoinHandle,
    time::{Duration, Instant},
};

pub(super) struct Running {
    pub(super) agents: SocketAddr,
    web: SocketAddr,
    pub(super) locks: SocketAddr,
    dir: tempfile::TempDir,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), crate::Error>>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| matches!(ended, Ok(Ok(())))) || std::thread::panicking());
    }
}

pub(super) fn options(dir: &Path) -> ServerOptions {
    let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
    ServerOptions {
        data_dir: dir.join("data"),
        place: fother_store::Place::default(),
        run_dir: dir.join("run"),
        cache_dir: dir.join("cache"),
        policy: policy(),
        approvers: trust(),
        agent_listener: bind(),
        agent_names: vec!["127.0.0.1".to_owned()],
        advisories: dir.join("advisories.db"),
        hooks: dir.join("hooks.d"),
        web_listener: Some(bind()),
        lock_listener: Some(bind()),
    }
}

pub(super) fn start() -> Running {
    start_in(tempfile::tempdir().unwrap())
}

fn start_in(dir: tempfile::TempDir) -> Running {
    let options = options(dir.path());
    let agents = options.agent_listener.local_addr().unwrap();
    let web = options.web_listener.as_ref().unwrap().local_addr().unwrap();
    let locks = options.lock_listener.as_ref().unwrap().local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let archives = canned(dir.path());
    let thread = std::thread::spawn(move || run_with(options, archives, async { drop(stopped.await) }));
    let running = Running { agents, web, locks, dir, stop: Some(stop), thread: Some(thread) };
    let began = Instant::now();
    while UnixStream::connect(running.dir.path().join("run").join(SOCKET)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "the server did not come up");
        std::thread::yield_now();
    }
    running
}

impl Running {
    /// The server ends, and another one starts on its data.
    pub(super) fn restart(mut self) -> Running {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        start_in(dir)
    }

    pub(super) fn api(&self, line: &str, body: &str) -> (u16, serde_json::Value) {
        let mut stream = UnixStream::connect(self.dir.path().join("run").join(SOCKET)).unwrap();
        let (status, _, body) = exchange(&mut stream, "localhost", line, body.as_bytes()).unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    pub(super) fn token(&self) -> String {
        let body = serde_json::json!({ "labels": labels() }).to_string();
        let (status, answer) = self.api("POST /api/v1/tokens", &body);
        assert_eq!(status, 200, "{answer}");
        answer["data"]["token"].as_str().unwrap().to_owned()
    }

    pub(super) fn ca(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("data/keys/ca.crt")).unwrap()
    }

    pub(super) fn enrol(&self, name: &str) -> Host {
        let (enrol, key) = enrolment(&self.token(), name);
        let body = serde_json::to_vec(&enrol).unwrap();
        let (status, head, body) = ask(self.agents, &client(&self.ca(), None), "POST /agent/v1/enrol", &body).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        assert!(head.to_ascii_lowercase().contains("\r\ndate: "));
        Host::new(serde_json::from_slice::<Enrolled>(&body).unwrap(), key, name)
    }
}

#[test]
fn everything_but_enrolment_needs_a_certificate_of_an_enrolled_host() {
    let server = start();
    let host = server.enrol("web1");
    let own = client(&server.ca(), Some((&host.enrolled.certificate, &host.key)));
    let body = serde_json::to_vec(&host.check_in()).unwrap();
    let (status, _, answer) = ask(server.agents, &own, "POST /agent/v1/check-in", &body).unwrap();
    let answer: CheckInAnswer = serde_json::from_slice(&answer).unwrap();
    assert_eq!((status, answer.wants_inventory), (200, true));
    let nobody = client(&server.ca(), None);
    let hex = "0".repeat(64);
    for line in [
        "POST /agent/v1/check-in".to_owned(),
        format!("GET /agent/v1/blobs/{hex}"),
        format!("GET /agent/v1/files/{hex}"),
        format!("PUT /agent/v1/blobs/inventory/{hex}"),
    ] {
        assert_eq!(ask(server.agents, &nobody, &line, &body).unwrap().0, 403, "{line}");
    }
    let (status, _) = server.api(&format!("POST /api/v1/hosts/{}/retire", host.id), "{}");
    assert_eq!(status, 200);
    assert_eq!(ask(server.agents, &own, "POST /agent/v1/check-in", &body).unwrap().0, 403);
}

#[test]
fn a_certificate_of_another_ca_is_refused() {
    let (server, other) = (start(), start());
    let foreign = other.enrol("web1");
    let body = serde_json::to_vec(&foreign.check_in()).unwrap();
    let tls = client(&server.ca(), Some((&foreign.enrolled.certificate, &foreign.key)));
    assert!(ask(server.agents, &tls, "POST /agent/v1/check-in", &body).is_err());
    let wrong_server = client(&other.ca(), None);
    assert!(ask(server.agents, &wrong_server, "POST /agent/v1/check-in", &body).is_err());
}

#[test]
fn blobs_are_taken_under_their_own_digest_kind_and_form_only() {
    let server = start();
    let host = server.enrol("web1");
    let own = client(&server.ca(), Some((&host.enrolled.certificate, &host.key)));
    let good = canonical::to_vec(&host.inventory).unwrap();
    let hex = host.inventory.digest().unwrap().hex();
    let put = |kind: &str, bytes: &[u8]| ask(server.agents, &own, &format!("PUT /agent/v1/blobs/{kind}/{hex}"), bytes).unwrap().0;
    let other = canonical::to_vec(&inventory("other")).unwrap();
    assert_eq!((put("inventory", &other), put("inventory", b"{}"), put("plan", &good)), (400, 400, 403));
    let spaced = [&b" "[..], &good].concat();
    assert_eq!((put("inventory", &spaced), put("inventory", &good)), (400, 204));
    let read = |line: &str| ask(server.agents, &own, line, b"").unwrap();
    assert_eq!(read(&format!("GET /agent/v1/blobs/{hex}")).0, 404, "inventories are not for other hosts");
    let package = fother_core::Digest::of_file(b"package").hex();
    let (status, _, bytes) = read(&format!("GET /agent/v1/files/{package}"));
    assert_eq!((status, &bytes[..]), (200, &b"package"[..]));
    // A header of our own goes in through the request line.
    let rest = |range: &str| read(&format!("GET /agent/v1/files/{package} HTTP/1.1\r\nRange: {range}\r\nX-Rest:"));
    let (status, head, bytes) = rest("bytes=3-");
    assert_eq!((status, &bytes[..]), (206, &b"kage"[..]));
    assert!(head.to_ascii_lowercase().contains("content-range: bytes 3-6/7"), "{head}");
    let (status, head, bytes) = rest("bytes=7-");
    assert_eq!((status, bytes.len()), (416, 0));
    assert!(head.to_ascii_lowercase().contains("content-range: bytes */7"), "{head}");
    for whole in ["bytes=-3", "bytes=0-1,3-4", "lines=1-", "bytes=x-"] {
        assert_eq!(rest(whole).2, b"package", "{whole}");
    }
    let (status, _, _) =
        ask(server.agents, &own, "POST /agent/v1/check-in", &vec![b'x'; 2 << 20]).unwrap_or((413, String::new(), Vec::new()));
    assert_eq!(status, 413);
}

#[test]
fn the_socket_answers_in_problems_and_the_page_to_localhost_only() {
    let server = start();
    server.enrol("<script>alert(1)</script>");
    let (status, problem) = server.api("POST /api/v1/rollouts", r#"{"change":"change_00000000000000000000000000"}"#);
    assert_eq!((status, problem["code"].as_str()), (404, Some("unknown-change")));
    let (_, status) = server.api("GET /api/v1/status", "");
    assert_eq!(status["data"]["hosts"]["total"], 1);
    let (_, waited) = server.api("GET /api/v1/wait?size=0&timeout_s=30", "");
    assert!(waited["data"]["size"].as_u64().unwrap() >= 3);
    let (_, log) = server.api("GET /api/v1/log?from=0&max=2", "");
    assert_eq!(log["data"]["events"][0]["type"], "server.started");
    let page = |host: &str| exchange(&mut TcpStream::connect(server.web).unwrap(), host, "GET /", b"").unwrap();
    let (status, head, body) = page("localhost:9");
    let body = String::from_utf8(body).unwrap();
    assert!(status == 200 && head.contains("default-src 'none'") && body.contains("&lt;script&gt;") && !body.contains("<script"));
    assert_eq!(page("evil.invalid").0, 421);
    let changing = exchange(&mut TcpStream::connect(server.web).unwrap(), "localhost", "POST /api/v1/tokens", b"{}").unwrap();
    assert_eq!(changing.0, 404);
}

#[test]
fn a_second_server_on_one_data_directory_is_refused_and_named_the_first() {
    let server = start();
    let again = crate::engine::Engine::open(&server.dir.path().join("data"), policy(), trust(), canned(server.dir.path()));
    let Err(error @ crate::Error::Taken { .. }) = again.map(drop) else { panic!() };
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    server.token();
}

#[test]
fn a_server_whose_log_was_taken_over_ends_and_says_by_whom() {
    let mut server = start();
    let data = server.dir.path().join("data");
    // As on a file system whose locks do not reach the other machine.
    std::fs::remove_file(data.join(crate::sole::LOCK)).unwrap();
    let _other = crate::engine::Engine::open(&data, policy(), trust(), canned(server.dir.path())).unwrap();
    // Whether it still answers before it ends does not matter.
    let mut stream = UnixStream::connect(server.dir.path().join("run").join(SOCKET)).unwrap();
    let _ = exchange(&mut stream, "localhost", "POST /api/v1/tokens", br#"{"labels":{}}"#);
    let ended = server.thread.take().unwrap().join().unwrap();
    assert!(matches!(ended, Err(crate::Error::Taken { .. })), "{ended:?}");
}
