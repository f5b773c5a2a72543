//! Each kind of check against the real thing on loopback: it is fine, it fails, and what cannot be told is no data.

use super::*;
use fother_core::policy::{
    Mark,
    checks::{Amount, Body, Compare, Latency, Protocol},
};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

fn name() -> String {
    "it".to_owned()
}

fn ask_one(check: &Check, before: Option<&CheckAnswer>) -> CheckAnswer {
    let before = before.map(|answer| vec![(name(), answer.clone())]);
    ask(std::slice::from_ref(check), before.as_deref(), &Settings::default()).remove(0).1
}

fn first(check: &Check) -> CheckAnswer {
    ask_one(check, None)
}

fn is_failed(answer: &CheckAnswer, with: &str) -> bool {
    matches!(answer, CheckAnswer::Failed { why } if why.contains(with))
}

fn is_no_data(answer: &CheckAnswer, with: &str) -> bool {
    matches!(answer, CheckAnswer::NoData { why } if why.contains(with))
}

/// Serves every connection with one answer, after so many milliseconds.
fn serve(answer: impl Into<Vec<u8>>, delay_ms: Arc<AtomicU64>) -> u16 {
    let (listener, answer) = (TcpListener::bind("127.0.0.1:0").unwrap(), answer.into());
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 2048]);
            let got = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..got]).to_lowercase();
            assert!(request.starts_with("get /health http/1.1\r\n") && request.contains("\r\nhost: "), "{request}");
            thread::sleep(Duration::from_millis(delay_ms.load(Ordering::SeqCst)));
            let _ = stream.write_all(&answer);
        }
    });
    port
}

fn at_once(answer: &str) -> u16 {
    serve(answer, Arc::default())
}

fn http(port: u16, body: Option<Body>, latency: Option<Latency>) -> Check {
    Check::Http { name: name(), url: format!("http://127.0.0.1:{port}/health"), status: 200, body, latency }
}

#[test]
fn http_wants_its_status() {
    assert_eq!(first(&http(at_once("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), None, None)), CheckAnswer::Fine);
    assert!(is_failed(&first(&http(at_once("HTTP/1.0 503 no\r\n\r\n"), None, None)), "answered 503, not 200"));
    assert!(is_failed(
        &first(&http(at_once("HTTP/1.1 302 x\r\nLocation: http://192.0.2.1/\r\nContent-Length: 0\r\n\r\n"), None, None)),
        "302"
    ));
    assert!(is_failed(&first(&http(at_once("SSH-2.0-x\r\n"), None, None)), "did not answer"));
    let Check::Http { status, .. } = http(1, None, None) else { unreachable!() };
    let elsewhere = Check::Http { name: name(), url: "http://192.0.2.1/".to_owned(), status, body: None, latency: None };
    assert!(is_no_data(&first(&elsewhere), "loopback"));
}

#[test]
fn http_wants_its_body_whether_chunked_or_not() {
    let chunked = at_once("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nstatu\r\n7\r\ns: fine\r\n0\r\n\r\n");
    let plain = at_once("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nstatus: fine");
    let body = |contains: Option<&str>, matches: Option<&str>| {
        Some(Body { contains: contains.map(str::to_owned), matches: matches.map(str::to_owned) })
    };
    for port in [chunked, plain] {
        assert_eq!(first(&http(port, body(Some("status: fine"), Some("^status: (fine|good)$")), None)), CheckAnswer::Fine);
        assert!(is_failed(&first(&http(port, body(Some("ready"), None), None)), "does not hold `ready`"));
        assert!(is_failed(&first(&http(port, body(None, Some("^fine")), None)), "does not match"));
    }
    let mut long = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    long.extend(vec![b'x'; http::BODY_BYTES_MAX]);
    long.extend(b"end");
    let long = serve(long, Arc::default());
    assert!(is_failed(&first(&http(long, body(Some("end"), None), None)), "its first 64 KiB"));
}

#[test]
fn http_is_compared_with_how_long_it_took_before() {
    let delay = Arc::new(AtomicU64::new(2));
    let port = serve("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Arc::clone(&delay));
    let check = http(port, None, Some(Latency { percent: 200, floor_ms: 40 }));
    let before = first(&check);
    assert!(matches!(before, CheckAnswer::Noted { mark: Mark::Latency { us } } if us >= 2_000), "{before:?}");
    assert_eq!(ask_one(&check, Some(&before)), CheckAnswer::Fine);
    delay.store(120, Ordering::SeqCst);
    let after = ask_one(&check, Some(&before));
    assert!(is_failed(&after, " instead of "), "{after:?}");
    assert_eq!(ask_one(&check, Some(&failed("it was down"))), CheckAnswer::Fine, "newly broken counts, and this is not");
    assert!(is_no_data(&ask_one(&check, Some(&CheckAnswer::Fine)), "not known"));
}

#[test]
fn slower_needs_both_the_share_and_the_floor() {
    let latency = Latency { percent: 150, floor_ms: 10 };
    assert!(!latency.is_slower(100_000, 150_000) && latency.is_slower(100_000, 150_001));
    assert!(!latency.is_slower(1_000, 11_000) && latency.is_slower(1_000, 11_001), "small times jump");
    assert!(!latency.is_slower(u64::MAX, u64::MAX));
}

#[test]
fn tcp_wants_its_connection_accepted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = Check::Tcp { name: name(), address: listener.local_addr().unwrap().to_string() };
    assert_eq!(first(&check), CheckAnswer::Fine);
    drop(listener);
    assert!(is_failed(&first(&check), "does not accept"));
    assert!(is_no_data(&first(&Check::Tcp { name: name(), address: "192.0.2.1:1".to_owned() }), "loopback"));
}

/// A TLS server whose certificate lasts so many days, and the file of its authority.
fn tls_server(days: i64, dir: &Path) -> (u16, PathBuf) {
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let pem = dir.join("ca.pem");
    fs::write(&pem, authority.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = rcgen::Issuer::new(authority, key);
    let mut leaf = rcgen::CertificateParams::new(vec!["web.test".to_owned()]).unwrap();
    let now = SystemTime::now();
    leaf.not_before = (now - Duration::from_secs(86_400 * 40)).into();
    leaf.not_after = if days < 0 {
        (now - Duration::from_secs(86_400)).into()
    } else {
        (now + Duration::from_secs(86_400 * days as u64 + 3_600)).into()
    };
    let leaf_key = rcgen::KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&leaf_key, &issuer).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], rustls_pki_types::PrivateKeyDer::try_from(leaf_key.serialize_der()).unwrap())
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut connection) = (stream.unwrap(), rustls::ServerConnection::new(Arc::clone(&config)).unwrap());
            while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
        }
    });
    (port, pem)
}

#[test]
fn tls_wants_trust_name_and_days_left() {
    let dir = tempfile::tempdir().unwrap();
    let (port, ca) = tls_server(20, dir.path());
    let check = |server_name: &str, days, ca: Option<&Path>| Check::Tls {
        name: name(),
        address: format!("127.0.0.1:{port}"),
        server_name: server_name.to_owned(),
        days,
        ca: ca.map(|ca| ca.display().to_string()),
    };
    assert_eq!(first(&check("web.test", 14, Some(&ca))), CheckAnswer::Fine);
    assert!(is_failed(&first(&check("web.test", 30, Some(&ca))), "ends in 20 days, fewer than 30"));
    assert!(is_failed(&first(&check("other.test", 1, Some(&ca))), "other.test"));
    let other = tempfile::tempdir().unwrap();
    let (_, stranger) = tls_server(20, other.path());
    assert!(is_failed(&first(&check("web.test", 1, Some(&stranger))), "certificate"));
    assert!(is_no_data(&first(&check("web.test", 1, Some(&dir.path().join("none.pem")))), "cannot be read"));
    let (ended, ca) = tls_server(-1, other.path());
    let Check::Tls { server_name, .. } = check("web.test", 0, None) else { unreachable!() };
    let expired =
        Check::Tls { name: name(), address: format!("127.0.0.1:{ended}"), server_name, days: 0, ca: Some(ca.display().to_string()) };
    assert!(is_failed(&first(&expired), "xpired"), "{:?}", first(&expired));
}

#[test]
fn a_process_runs_or_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().canonicalize().unwrap().join("sleeper");
    fs::copy("/bin/sleep", &program).unwrap();
    let check = |unit: Option<&str>, count| Check::Process {
        name: name(),
        executable: program.display().to_string(),
        unit: unit.map(str::to_owned),
        count,
    };
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may look at every process");
        return;
    }
    assert!(is_failed(&first(&check(None, 1)), "does not run"));
    let mut child = Command::new(&program).arg("60").spawn().unwrap();
    assert_eq!(first(&check(None, 1)), CheckAnswer::Fine);
    assert!(is_failed(&first(&check(None, 2)), "runs 1 times, not 2"));
    assert!(is_failed(&first(&check(Some("other.service"), 1)), "in other.service"));
    fs::remove_file(&program).unwrap();
    assert_eq!(first(&check(None, 1)), CheckAnswer::Fine, "its file was replaced, it runs all the same");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_failed(&first(&check(None, 1)), "does not run"));
}

#[test]
fn a_port_is_listened_on_by_whom_it_should() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root may look at every process");
        return;
    }
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let check = |protocol, port, address: Option<&str>, executable: Option<PathBuf>| Check::Listening {
        name: name(),
        protocol,
        port,
        address: address.map(str::to_owned),
        executable: executable.map(|path| path.display().to_string()),
    };
    let (port, me) = (tcp.local_addr().unwrap().port(), std::env::current_exe().unwrap());
    assert_eq!(first(&check(Protocol::Tcp, port, None, Some(me.clone()))), CheckAnswer::Fine);
    assert_eq!(first(&check(Protocol::Udp, udp.local_addr().unwrap().port(), Some("127.0.0.1"), Some(me))), CheckAnswer::Fine);
    assert!(is_failed(&first(&check(Protocol::Tcp, port, Some("0.0.0.0"), None)), "nothing listens on tcp 0.0.0.0"));
    assert!(is_failed(&first(&check(Protocol::Tcp, port, None, Some("/bin/sleep".into()))), "somebody else does"));
    drop(tcp);
    assert!(is_failed(&first(&check(Protocol::Tcp, port, None, None)), "nothing listens"));
}

#[test]
fn a_disk_and_memory_have_room_or_not() {
    let disk = |path: &str, min_free| first(&Check::Disk { name: name(), path: path.to_owned(), min_free });
    assert_eq!(disk("/proc/self/..", Amount::Bytes(1)), no_data("path: `/proc/self/..` is no absolute path without `..`"));
    assert_eq!(disk("/", Amount::Bytes(1 << 10)), CheckAnswer::Fine);
    assert!(is_failed(&disk("/", Amount::Percent(100)), "free on /, less than 100%"));
    assert!(is_no_data(&disk("/none/there", Amount::Percent(1)), "cannot be looked at"));
    assert!(is_no_data(&disk("/proc", Amount::Percent(1)), "cannot be told"));
    let memory = |min_available| first(&Check::Memory { name: name(), min_available });
    assert_eq!(memory(Amount::Bytes(1 << 10)), CheckAnswer::Fine);
    assert!(is_failed(&memory(Amount::Percent(100)), "of memory available, less than 100%"));
}

#[test]
fn a_log_file_counts_only_lines_that_are_new_also_over_a_rotation() {
    let dir = tempfile::tempdir().unwrap();
    let (path, old) = (dir.path().join("log"), dir.path().join("log.1"));
    let check = |max| Check::Log { name: name(), unit: None, file: Some(path.display().to_string()), pattern: "(?i)error".to_owned(), max };
    assert!(is_no_data(&first(&check(0)), "cannot be read"));
    let add = |text: &str| fs::OpenOptions::new().append(true).create(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    add("an old ERROR\n");
    let before = first(&check(0));
    assert_eq!(ask_one(&check(0), Some(&before)), CheckAnswer::Fine);
    add("fine\nERROR: password=secret\n");
    let after = ask_one(&check(0), Some(&before));
    assert!(is_failed(&after, "1 new lines"), "{after:?}");
    let CheckAnswer::Failed { why } = &after else { unreachable!() };
    assert!(!fother_core::text::outgoing(why).contains("secret"), "what the log says stays on the host");
    assert_eq!(ask_one(&check(1), Some(&before)), CheckAnswer::Fine);
    fs::rename(&path, &old).unwrap();
    add("ERROR again\n");
    assert!(is_failed(&ask_one(&check(1), Some(&before)), "2 new lines"));
    fs::remove_file(&old).unwrap();
    assert!(is_no_data(&ask_one(&check(9), Some(&before)), "was rotated"));
    let here = first(&check(0));
    fs::write(&path, "").unwrap();
    assert!(is_no_data(&ask_one(&check(9), Some(&here)), "became shorter"));
    let empty = first(&check(0));
    add(&"x".repeat(logs::LOG_BYTES_MAX + 1));
    assert!(is_no_data(&ask_one(&check(9), Some(&empty)), "more than 1024 KiB"));
    assert!(is_no_data(
        &first(&Check::Log { name: name(), unit: None, file: Some("/dev/zero".to_owned()), pattern: "x".to_owned(), max: 0 }),
        "no file"
    ));
}

#[test]
fn more_checks_than_there_may_be_are_no_data() {
    let checks = vec![Check::Memory { name: name(), min_available: Amount::Bytes(1) }; CHECKS_MAX + 1];
    let answers = ask(&checks, None, &Settings::default());
    assert!(answers[CHECKS_MAX - 1].1 == CheckAnswer::Fine && is_no_data(&answers[CHECKS_MAX].1, "more than"));
}

#[test]
fn malformed_units_are_not_asked() {
    for unit in ["", "--help", "a b", "x;y"] {
        assert_eq!(unit_is_active(unit), no_data("the unit's name is malformed"));
    }
}

/// A real Prometheus that scrapes itself.
struct Server {
    child: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn prometheus_program() -> Option<PathBuf> {
    let named = std::env::var_os("FOTHER_PROMETHEUS").map(PathBuf::from);
    named.into_iter().chain([PathBuf::from("/usr/bin/prometheus")]).find(|path| path.exists())
}

fn start_prometheus(program: &Path) -> (Server, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "global: {{scrape_interval: 200ms}}\nscrape_configs:\n- {{job_name: self, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n"
    );
    fs::write(dir.path().join("p.yml"), config).unwrap();
    let child = Command::new(program)
        .arg(format!("--config.file={}", dir.path().join("p.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Server { child, _dir: dir }, port)
}

#[test]
fn prometheus_answers_in_time_with_fresh_numbers_or_it_is_no_data() {
    let Some(program) = prometheus_program() else {
        println!("skipped: Debian's prometheus is not installed (or name one in FOTHER_PROMETHEUS)");
        return;
    };
    let (server, port) = start_prometheus(&program);
    let settings = |url: String| Settings {
        prometheus: [("main".to_owned(), Prometheus { url, instance: format!("127.0.0.1:{port}"), ca: None, token_file: None })].into(),
    };
    let ask_in = |query: &str, op, value: &str, series: Option<&str>, max_age_s, settings: &Settings| {
        let check = Check::Prometheus {
            name: name(),
            server: "main".to_owned(),
            query: query.to_owned(),
            op,
            value: value.to_owned(),
            series: series.map(str::to_owned),
            max_age_s,
        };
        ask(std::slice::from_ref(&check), None, settings).remove(0).1
    };
    let here = settings(format!("http://127.0.0.1:{port}"));
    let asked = |query: &str, op, value: &str, series: Option<&str>| ask_in(query, op, value, series, 30, &here);
    const UP: &str = "up{instance=\"$instance\"}";
    let deadline = Instant::now() + Duration::from_secs(30);
    while asked(UP, Compare::Equal, "1", None) != CheckAnswer::Fine && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(asked(UP, Compare::Equal, "1", None), CheckAnswer::Fine);
    assert!(is_failed(&asked(UP, Compare::Less, "0.5", None), "is 1, not < 0.5"));
    assert_eq!(asked("sum(up) / 1", Compare::AtLeast, "1", Some("up")), CheckAnswer::Fine);
    assert!(is_no_data(&asked("sum(up)", Compare::AtLeast, "1", None), "name the `series`"));
    assert!(is_no_data(&asked("up{job=\"none\"}", Compare::Equal, "1", None), "has no samples"));
    assert!(is_no_data(&asked("0 / sum(up - 1)", Compare::Equal, "1", Some("up")), "no number"));
    assert!(is_no_data(&asked("up{", Compare::Equal, "1", Some("up")), "parse error"));
    assert!(is_no_data(&asked("up[5m]", Compare::Equal, "1", Some("up")), "numbers of one moment"));
    assert!(is_no_data(&ask_in(UP, Compare::Equal, "1", None, 30, &Settings::default()), "no [prometheus.main]"));
    // A sample from before: the recorded past is what a scrape that stopped leaves behind.
    assert!(is_no_data(&asked("up{instance=\"$instance\"} offset 1h", Compare::Equal, "1", Some("up")), "has no samples"));
    drop(server);
    assert!(is_no_data(&asked(UP, Compare::Equal, "1", None), "http://127.0.0.1"));
}

/// One who answers as Prometheus does, but with samples of a minute ago, or with too much.
#[test]
fn stale_samples_and_endless_answers_of_prometheus_are_no_data() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut request) = (stream.unwrap(), [0; 2048]);
            let got = stream.read(&mut request).unwrap();
            let request = String::from_utf8_lossy(&request[..got]).into_owned();
            let value = if request.contains("timestamp") { "1000" } else { "1" };
            let body = if request.contains("endless") {
                " ".repeat(2 << 20)
            } else {
                format!(
                    "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{{\"metric\":{{}},\"value\":[1060.5,\"{value}\"]}}]}}}}"
                )
            };
            let _ = stream.write_all(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}").as_bytes());
        }
    });
    let server = Prometheus { url: format!("http://127.0.0.1:{port}"), instance: "x".to_owned(), ca: None, token_file: None };
    let asked =
        |query: &str, max_age_s| server.ask(&prometheus::Question { query, op: Compare::Equal, value: "1", series: None, max_age_s });
    assert_eq!(asked("up", 61), CheckAnswer::Fine);
    assert!(is_no_data(&asked("up", 60), "a sample is 60 s old") || is_no_data(&asked("up", 60), "61 s old"));
    assert!(is_no_data(&asked("endless", 60), "more than 1 MiB"));
}
