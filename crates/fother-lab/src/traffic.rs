//! Requests through the load balancer at a steady rate, counted one by one. Opens sockets in the lab's gateway namespace only.

use crate::error::{Error, Result};
use crate::netns::in_gateway;
use crate::paths::GATEWAY;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Requests a second that may be asked for at most.
pub const RATE_MAX: u32 = 500;
/// A request that takes longer has failed.
const REQUEST_WITHIN: Duration = Duration::from_secs(2);
/// Failures that are kept with time and reason; more are only counted.
const FAILURES_KEPT: usize = 100;
/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What has been counted so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests answered 200 within the time limit.
    pub ok: u64,
    /// All others.
    pub failed: u64,
    /// Good answers by host.
    pub by_host: BTreeMap<String, u64>,
    /// Failed ones by the host that gave the answer, where one did.
    pub failed_by_host: BTreeMap<String, u64>,
    /// The first hundred failures.
    pub failures: Vec<Failure>,
}

/// One failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When it was over.
    pub at: SystemTime,
    /// What was wrong with it.
    pub reason: String,
}

/// A running generator; dropping it stops it.
#[derive(Debug)]
pub struct Traffic {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    next: AtomicU64,
    begin: Instant,
    interval: Duration,
    counts: Mutex<Counts>,
}

impl Traffic {
    /// Starts sending `rate` requests a second to the load balancer of lab `name`.
    ///
    /// # Errors
    /// Where the lab does not exist or the rate is outside of 1 to [`RATE_MAX`].
    pub fn start(name: &str, rate: u32) -> Result<Self> {
        if rate == 0 || rate > RATE_MAX {
            return Err(Error::Bounds { what: "the rate of requests", min: 1, max: RATE_MAX as usize, is: rate as usize });
        }
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            begin: Instant::now(),
            interval: Duration::from_secs(1) / rate,
            counts: Mutex::default(),
        });
        // Enough to keep the rate while a tenth of the requests hangs.
        let workers = (rate / 4).clamp(4, 64);
        let threads = in_gateway(name, || {
            (0..workers)
                .map(|_| {
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || shared.work())
                })
                .collect()
        })?;
        Ok(Self { shared, threads })
    }

    /// What has been counted up to now.
    #[must_use]
    pub fn snapshot(&self) -> Counts {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the requests on their way and returns the final figures.
    #[must_use]
    pub fn stop(mut self) -> Counts {
        self.end();
        self.snapshot()
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    /// Takes the next slot of the common schedule, waits for its time, sends. A slot that is long past is not made up for.
    fn work(&self) {
        while !self.stop.load(Ordering::SeqCst) {
            let slot = self.next.fetch_add(1, Ordering::SeqCst);
            let due = self.interval.saturating_mul(u32::try_from(slot).unwrap_or(u32::MAX));
            let now = self.begin.elapsed();
            if let Some(wait) = due.checked_sub(now) {
                std::thread::sleep(wait);
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
            } else if now - due > REQUEST_WITHIN {
                continue;
            }
            let answer = get(SocketAddr::new(GATEWAY_IP, 80), "/", REQUEST_WITHIN);
            self.count(answer);
        }
    }

    fn count(&self, answer: std::result::Result<Answer, String>) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let reason = match answer {
            Ok(Answer { status: 200, host, .. }) => {
                counts.ok += 1;
                *counts.by_host.entry(host.unwrap_or_else(|| "?".into())).or_default() += 1;
                return;
            }
            Ok(Answer { status, host, .. }) => {
                let by = host.unwrap_or_else(|| "the balancer".into());
                let reason = format!("status {status} from {by}");
                *counts.failed_by_host.entry(by).or_default() += 1;
                reason
            }
            Err(reason) => reason,
        };
        counts.failed += 1;
        if counts.failures.len() < FAILURES_KEPT {
            counts.failures.push(Failure { at: SystemTime::now(), reason });
        }
    }
}

const GATEWAY_IP: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 1));

/// An answer over HTTP, as far as the lab needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub status: u16,
    /// The host that answered, by its own header.
    pub host: Option<String>,
    pub body: String,
}

/// One GET on a connection of its own, in the namespace of the calling thread.
pub(crate) fn get(to: SocketAddr, path: &str, within: Duration) -> std::result::Result<Answer, String> {
    debug_assert!(GATEWAY_IP.to_string() == GATEWAY);
    let until = Instant::now() + within;
    let left = || until.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()).ok_or_else(|| "no answer in time".to_string());
    let mut stream = TcpStream::connect_timeout(&to, left()?).map_err(|e| format!("cannot connect: {e}"))?;
    let mut step = || -> std::io::Result<Vec<u8>> {
        let left = || left().map_err(std::io::Error::other);
        stream.set_write_timeout(Some(left()?))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        let mut buffer = [0; 4096];
        loop {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut buffer)? {
                0 => return Ok(bytes),
                n => bytes.extend_from_slice(&buffer[..n]),
            }
            if bytes.len() as u64 > ANSWER_BYTES_MAX {
                return Err(std::io::Error::other("the answer is too large"));
            }
        }
    };
    let bytes = step().map_err(|e| format!("broken off: {e}"))?;
    parse(&bytes).ok_or_else(|| if bytes.is_empty() { "closed without an answer".into() } else { "not a whole answer".into() })
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let header = |name: &str| {
        head.lines().filter_map(|l| l.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_string())
    };
    if header("content-length").is_some_and(|l| l.parse() != Ok(body.len())) {
        return None;
    }
    Some(Answer { status, host: header("x-lab-host"), body: body.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_off_is_no_answer() {
        let whole = b"HTTP/1.1 200 OK\r\nX-Lab-Host: web-1\r\nContent-Length: 2\r\n\r\nok";
        assert_eq!(parse(whole), Some(Answer { status: 200, host: Some("web-1".into()), body: "ok".into() }));
        assert_eq!(parse(&whole[..whole.len() - 1]), None);
        assert_eq!(parse(b"HTTP/1.1 200"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_rate_without_bounds_is_refused() {
        assert!(matches!(Traffic::start("lab", 0), Err(Error::Bounds { .. })));
        assert!(matches!(Traffic::start("lab", RATE_MAX + 1), Err(Error::Bounds { .. })));
    }
}
