//! Leaving a real haproxy and a real nginx under load, and returning, on loopback. Skipped with a reason where they are not installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use fother_host::traffic::{Balancer, Direction, direct};
use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Longest wait for a program to answer.
const START_WAIT: Duration = Duration::from_secs(20);

struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str], port: u16) -> Option<Program> {
    let path = ["/usr/sbin", "/usr/bin"].map(|dir| Path::new(dir).join(program)).into_iter().find(|path| path.exists());
    let Some(path) = path else {
        println!("skipped: {program} is not installed");
        return None;
    };
    let child = Command::new(path).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (running, begun) = (Program(child), Instant::now());
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(begun.elapsed() < START_WAIT, "{program} did not come up");
        thread::yield_now();
    }
    Some(running)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A service that takes 20 ms for an answer, counts them, and answers 503 at once while `out` is there.
fn service(out: &Path) -> (u16, Arc<AtomicU64>) {
    let (listener, served, out) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicU64::new(0)), out.to_owned());
    let (port, counter) = (listener.local_addr().unwrap().port(), Arc::clone(&served));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, out, counter) = (stream.unwrap(), out.clone(), Arc::clone(&counter));
            thread::spawn(move || {
                let mut request = [0; 1024];
                if !stream.read(&mut request).is_ok_and(|got| got > 0) {
                    return;
                }
                let status = if out.exists() { "503 Out" } else { "200 OK" };
                if status.starts_with("200") {
                    thread::sleep(Duration::from_millis(20));
                    counter.fetch_add(1, Ordering::SeqCst);
                }
                let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                // The client closes first: its side waits, not this one.
                let _ = stream.read(&mut request);
            });
        }
    });
    (port, served)
}

/// Asks without a pause until it is stopped; good answers and bad ones.
fn load(port: u16, stop: Arc<AtomicBool>) -> thread::JoinHandle<(u64, Vec<String>)> {
    thread::spawn(move || {
        let (mut good, mut bad) = (0, Vec::new());
        while !stop.load(Ordering::SeqCst) {
            let ask = || -> std::io::Result<String> {
                let mut stream = TcpStream::connect(("127.0.0.1", port))?;
                stream.set_read_timeout(Some(Duration::from_secs(5)))?;
                stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
                let mut text = String::new();
                stream.read_to_string(&mut text)?;
                Ok(text)
            };
            match ask() {
                Ok(text) if text.starts_with("HTTP/1.1 200") => good += 1,
                Ok(text) => bad.push(text.lines().next().unwrap_or("nothing").to_owned()),
                Err(error) => bad.push(error.to_string()),
            }
        }
        (good, bad)
    })
}

/// Leaves and returns three times under load: while out, the host is asked nothing, and no request fails.
fn leaves_and_returns(balancer: &Balancer, port: u16, served: &AtomicU64) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4).map(|_| load(port, Arc::clone(&stop))).collect();
    for _ in 0..3 {
        let before = served.load(Ordering::SeqCst);
        let begun = Instant::now();
        while served.load(Ordering::SeqCst) == before {
            assert!(begun.elapsed() < START_WAIT, "no request came in");
            thread::sleep(Duration::from_millis(5));
        }
        direct(std::slice::from_ref(balancer), Direction::Out).unwrap();
        let out = served.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(300));
        assert_eq!(served.load(Ordering::SeqCst), out, "nobody is served while out");
        direct(std::slice::from_ref(balancer), Direction::In).unwrap();
    }
    stop.store(true, Ordering::SeqCst);
    let results: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let good: u64 = results.iter().map(|(good, _)| good).sum();
    let bad: Vec<&String> = results.iter().flat_map(|(_, bad)| bad).collect();
    println!("{good} requests, {} failed, over three drains", bad.len());
    assert!(bad.is_empty() && good > 50, "{good} good; {bad:?}");
}

#[test]
fn haproxy_drains_over_its_runtime_api_and_is_seen_to_have_done_it() {
    let dir = tempfile::tempdir().unwrap();
    let never = dir.path().join("never");
    let (port, tcp, socket) = (free_port(), free_port(), dir.path().join("api.sock"));
    let ((first, served), (second, _)) = (service(&never), service(&never));
    let config = format!(
        "global\n  stats socket {} level admin\n  stats socket ipv4@127.0.0.1:{tcp} level admin\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend hosts\nbackend hosts\n  server web-1 127.0.0.1:{first}\n  server web-2 127.0.0.1:{second}\n",
        socket.display()
    );
    fs::write(dir.path().join("cfg"), config).unwrap();
    let Some(_running) = start("haproxy", &["-db", "-q", "-f", dir.path().join("cfg").to_str().unwrap()], port) else { return };
    let balancer = |address: String, server: &str, wait_s| Balancer::Haproxy {
        address,
        backend: "hosts".to_owned(),
        server: server.to_owned(),
        wait_s,
    };
    for address in [socket.display().to_string(), format!("127.0.0.1:{tcp}")] {
        leaves_and_returns(&balancer(address, "web-1", 10), port, &served);
    }
    let over_socket = |server: &str, wait_s| balancer(socket.display().to_string(), server, wait_s);
    let error = direct(&[over_socket("web-9", 1)], Direction::Out).unwrap_err();
    assert!(error.contains("hosts/web-9") && error.contains("No such server"), "{error}");
    let error = direct(&[balancer(format!("127.0.0.1:{}", free_port()), "web-1", 1)], Direction::Out).unwrap_err();
    assert!(error.contains("does not answer"), "{error}");
}

#[test]
fn haproxy_that_still_has_a_session_at_the_end_of_the_wait_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let (port, socket) = (free_port(), dir.path().join("api.sock"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = format!(
        "global\n  stats socket {} level admin\ndefaults\n  mode tcp\n  timeout connect 1s\n  timeout client 30s\n  timeout server 30s\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend hosts\nbackend hosts\n  server web-1 127.0.0.1:{}\n",
        socket.display(),
        silent.local_addr().unwrap().port()
    );
    fs::write(dir.path().join("cfg"), config).unwrap();
    let Some(_running) = start("haproxy", &["-db", "-q", "-f", dir.path().join("cfg").to_str().unwrap()], port) else { return };
    let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let held = silent.accept().unwrap();
    let balancer =
        Balancer::Haproxy { address: socket.display().to_string(), backend: "hosts".to_owned(), server: "web-1".to_owned(), wait_s: 1 };
    let error = direct(std::slice::from_ref(&balancer), Direction::Out).unwrap_err();
    assert!(error.contains("after 1 s it is DRAIN") && error.contains("sessions"), "{error}");
    drop((client, held));
}

#[test]
fn nginx_goes_elsewhere_while_the_state_file_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (out, never) = (dir.path().join("out"), dir.path().join("never"));
    let port = free_port();
    let ((first, served), (second, _)) = (service(&out), service(&never));
    let temporary: String =
        ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|one| format!("{one}_temp_path {}/tmp; ", dir.path().display())).concat();
    let config = format!(
        "daemon off; master_process off; pid {0}/pid; error_log {0}/log; events {{}}\nhttp {{ access_log off; {temporary}\n\
         upstream hosts {{ server 127.0.0.1:{first} max_fails=1 fail_timeout=1s; server 127.0.0.1:{second}; }}\n\
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://hosts; proxy_next_upstream error timeout http_503; }} }} }}\n",
        dir.path().display()
    );
    fs::write(dir.path().join("cfg"), config).unwrap();
    let Some(_running) = start("nginx", &["-c", dir.path().join("cfg").to_str().unwrap()], port) else { return };
    let balancer = Balancer::StateFile { path: out.display().to_string(), ports: vec![first], settle_ms: 100, wait_s: 10 };
    leaves_and_returns(&balancer, port, &served);
}
