//! Serves the hosts of one lab their archives: forwards to the machine's own ones with a cache on disk, and serves the lab's.
//! Listens in the gateway namespace alone, fetches in the machine's own, writes below the cache.

use crate::error::{Error, Result, io};
use crate::paths::{Lab, cache, make_dir};
use crate::sources::Archive;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Connections served at once; one more is closed at once, and apt tries again.
const CONNECTIONS_MAX: usize = 64;
/// Longest request line or header line, in bytes.
const LINE_BYTES_MAX: u64 = 4096;
/// Header lines that are read of one request.
const HEADERS_MAX: usize = 64;
/// Largest file that is forwarded, in bytes.
const FILE_BYTES_MAX: u64 = 512 << 20;
/// When the cache is larger than this at the start of a lab, it is emptied, in bytes.
const CACHE_BYTES_MAX: u64 = 4 << 30;
/// For how long a file that may change is served without asking again.
const FRESH: Duration = Duration::from_secs(60);
/// A silent client is left after this.
const CLIENT_WITHIN: Duration = Duration::from_secs(60);
/// Locks that keep two hosts from fetching one file twice.
const STRIPES: usize = 32;

/// What is served, and from where.
pub(crate) struct Mirror {
    bases: [(&'static str, String); 2],
    lab_archive: PathBuf,
    cache: PathBuf,
    agent: ureq::Agent,
    stripes: [Mutex<()>; STRIPES],
    connections: AtomicUsize,
}

impl Mirror {
    pub fn new(lab: &Lab, archive: &Archive) -> Result<Arc<Self>> {
        let cache = cache().join("mirror");
        make_dir(&cache)?;
        if size_of(&cache) > CACHE_BYTES_MAX {
            fs::remove_dir_all(&cache).map_err(io("empty", &cache))?;
            make_dir(&cache)?;
        }
        Ok(Arc::new(Self {
            bases: [("debian", archive.debian.uri.clone()), ("security", archive.security.uri.clone())],
            lab_archive: lab.archive(),
            cache,
            agent: agent(archive.proxy.as_deref())?,
            stripes: std::array::from_fn(|_| Mutex::new(())),
            connections: AtomicUsize::new(0),
        }))
    }

    /// Accepts for ever. The threads are started by the caller's thread, thus fetch in its network namespace.
    pub fn serve(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS_MAX {
                self.connections.fetch_sub(1, Ordering::SeqCst);
                continue;
            }
            let mirror = Arc::clone(self);
            std::thread::spawn(move || {
                if let Err(e) = mirror.client(&stream) {
                    tracing::debug!("a client of the mirror left: {e}");
                }
                mirror.connections.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }

    /// Answers one request after the other, as apt sends several ahead.
    fn client(&self, stream: &TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(CLIENT_WITHIN))?;
        stream.set_write_timeout(Some(CLIENT_WITHIN))?;
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream);
        while let Some(target) = request(&mut reader)? {
            let found = match target {
                Ok(path) => self.find(&path),
                Err(status) => Err(status),
            };
            let mut out = stream;
            match found {
                Ok(file) => {
                    let length = file.metadata()?.len();
                    write!(out, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nContent-Type: application/octet-stream\r\n\r\n")?;
                    std::io::copy(&mut file.take(length), &mut out)?;
                }
                Err(status) => write!(out, "HTTP/1.1 {status} {}\r\nContent-Length: 0\r\n\r\n", reason(status))?,
            }
        }
        Ok(())
    }

    fn find(&self, target: &str) -> std::result::Result<File, u16> {
        let (base, path) = split(target).ok_or(400_u16)?;
        if base == "lab" {
            return self.of_the_lab(&decoded(path).ok_or(400_u16)?).ok_or(404);
        }
        let (_, uri) = self.bases.iter().find(|(name, _)| *name == base).ok_or(404_u16)?;
        self.forwarded(uri, path)
    }

    fn of_the_lab(&self, path: &str) -> Option<File> {
        let root = fs::canonicalize(self.lab_archive.join("current")).ok()?;
        let file = fs::canonicalize(root.join(path)).ok()?;
        (file.starts_with(&root) && file.is_file()).then(|| File::open(file).ok()).flatten()
    }

    fn forwarded(&self, uri: &str, path: &str) -> std::result::Result<File, u16> {
        let place = self.cache.join(hex_digest(uri)).join(path);
        let stripe = path.bytes().fold(0_usize, |a, b| a.wrapping_mul(31).wrapping_add(usize::from(b))) % STRIPES;
        let _one_at_a_time = self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(file) = File::open(&place)
            && file.metadata().is_ok_and(|m| m.is_file() && (never_changes(path) || fresh(&m)))
        {
            return Ok(file);
        }
        self.fetch(&format!("{uri}/{path}"), &place)
    }

    /// Fetches into a file beside `place`, and puts it there once it has all the bytes that were announced.
    fn fetch(&self, uri: &str, place: &Path) -> std::result::Result<File, u16> {
        let failed = |what: &str| {
            tracing::warn!(uri, "the mirror could not fetch: {what}");
            502_u16
        };
        let mut answer = self.agent.get(uri).call().map_err(|e| failed(&e.to_string()))?;
        match answer.status().as_u16() {
            200 => {}
            404 => return Err(404),
            other => return Err(failed(&format!("status {other}"))),
        }
        let announced: Option<u64> = answer.headers().get("content-length").and_then(|l| l.to_str().ok()?.parse().ok());
        if announced.is_some_and(|a| a > FILE_BYTES_MAX) {
            return Err(failed("too large"));
        }
        let parent = place.parent().ok_or(500_u16)?;
        fs::create_dir_all(parent).map_err(|e| failed(&e.to_string()))?;
        let beside = parent.join(format!(".{}.{:?}.part", std::process::id(), std::thread::current().id()));
        let outcome = File::create(&beside).and_then(|mut file| {
            let copied = std::io::copy(&mut answer.body_mut().with_config().limit(FILE_BYTES_MAX).reader(), &mut file)?;
            match announced {
                Some(length) if length != copied => Err(std::io::Error::other(format!("{copied} bytes came of {length}"))),
                _ => fs::rename(&beside, place),
            }
        });
        if let Err(e) = outcome {
            let _ = fs::remove_file(&beside);
            return Err(failed(&e.to_string()));
        }
        File::open(place).map_err(|_| 500)
    }
}

fn agent(proxy: Option<&str>) -> Result<ureq::Agent> {
    let proxy = proxy.map(ureq::Proxy::new).transpose().map_err(|e| Error::Other(format!("apt's proxy cannot be used: {e}")))?;
    let roots: Vec<_> = fs::read("/etc/ssl/certs/ca-certificates.crt")
        .map(|pem| {
            let certificate = |item| match item {
                Ok(ureq::tls::PemItem::Certificate(c)) => Some(c),
                _ => None,
            };
            ureq::tls::parse_pem(&pem).filter_map(certificate).collect()
        })
        .unwrap_or_default();
    let tls = ureq::tls::TlsConfig::builder()
        .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let config = ureq::Agent::config_builder()
        .proxy(proxy)
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(4)
        .timeout_connect(Some(Duration::from_secs(10)))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .timeout_recv_body(Some(Duration::from_secs(300)))
        .build();
    Ok(config.new_agent())
}

/// One request: none at the end of the connection, or the path of a GET, or the status that answers anything else.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<std::result::Result<String, u16>>> {
    let Some(first) = line(reader)? else { return Ok(None) };
    for _ in 0..HEADERS_MAX {
        match line(reader)? {
            Some(header) if header.is_empty() => {
                let mut words = first.split(' ');
                return Ok(Some(match (words.next(), words.next()) {
                    (Some("GET"), Some(path)) => Ok(path.to_string()),
                    _ => Err(405),
                }));
            }
            Some(_) => {}
            None => break,
        }
    }
    Err(std::io::Error::other("not a request, or one with too many headers"))
}

fn line(reader: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(std::io::Error::other("a line that is too long or cut off"));
    }
    String::from_utf8(bytes).map(|s| Some(s.trim_end_matches('\r').to_string())).map_err(std::io::Error::other)
}

/// Splits `/base/path`, where every part of the path is a plain name.
fn split(target: &str) -> Option<(&str, &str)> {
    let (base, path) = target.strip_prefix('/')?.split_once('/')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+~:-@".contains(c);
    let part = |part: &str| decoded(part).is_some_and(|d| !d.is_empty() && !d.starts_with('.') && d.chars().all(plain));
    path.split('/').all(part).then_some((base, path))
}

/// Resolves `%2b` and the like.
fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

/// Packages and files named by their own hash.
fn never_changes(path: &str) -> bool {
    path.starts_with("pool/") || path.contains("/by-hash/")
}

fn fresh(meta: &fs::Metadata) -> bool {
    meta.modified().is_ok_and(|m| SystemTime::now().duration_since(m).is_ok_and(|age| age < FRESH))
}

fn hex_digest(text: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(text.as_bytes()).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

fn size_of(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|e| e.metadata().map_or(0, |m| if m.is_dir() { size_of(&e.path()) } else { m.len() })).sum()
}

fn reason(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        502 => "Bad Gateway",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_a_base_are_followed() {
        assert_eq!(split("/debian/pool/main/g/g++_1%2b2~3_amd64.deb"), Some(("debian", "pool/main/g/g++_1%2b2~3_amd64.deb")));
        for bad in [
            "/debian",
            "debian/x",
            "http://other/x",
            "/debian/../x",
            "/debian/a/../../x",
            "/debian/%2e%2e/x",
            "/debian/a%2fb",
            "/debian//x",
            "/debian/.hidden",
            "/debian/a%",
            "/debian/a?b",
            "/debian/a%00",
            "/debian/",
            "/debian/a b",
        ] {
            assert_eq!(split(bad), None, "{bad}");
        }
    }

    #[test]
    fn pipelined_requests_are_read_one_by_one_and_only_get_is_served() {
        let mut bytes: &[u8] = b"GET /debian/a HTTP/1.1\r\nHost: x\r\n\r\nPOST /debian/b HTTP/1.1\r\n\r\n";
        assert_eq!(request(&mut bytes).unwrap(), Some(Ok("/debian/a".into())));
        assert_eq!(request(&mut bytes).unwrap(), Some(Err(405)));
        assert_eq!(request(&mut bytes).unwrap(), None);
        let long = [b"GET /".to_vec(), vec![b'a'; 5000], b" HTTP/1.1\r\n\r\n".to_vec()].concat();
        assert!(request(&mut long.as_slice()).is_err());
        assert!(request(&mut b"GET /a HTTP/1.1\r\nHost: x\r\n".as_slice()).is_err());
    }

    #[test]
    fn only_packages_and_files_named_by_hash_are_kept_for_good() {
        assert!(never_changes("pool/main/a.deb"));
        assert!(never_changes("dists/x/main/binary-amd64/by-hash/SHA256/00"));
        assert!(!never_changes("dists/x/InRelease"));
    }
}
