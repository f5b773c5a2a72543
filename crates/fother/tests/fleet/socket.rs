//! One HTTP request over the server's unix socket, as any program of a user may send it.

use serde_json::Value;
use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

/// Longest wait for one answer.
const ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Sends a request; `data` of the answer's envelope, or all of it where it has none. Any other status than 2xx is an error with the server's words.
pub fn call(socket: &Path, method: &str, path: &str, body: &[u8]) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_WAIT))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: fother-server\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )?;
    stream.write_all(body)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let split = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8_lossy(&answer[..split]).to_lowercase();
    let body = &answer[split + 4..];
    let promised = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    if promised.is_some_and(|promised| promised != body.len()) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !head.starts_with("http/1.1 2") {
        return Err(io::Error::other(format!("{method} {path}: {}", String::from_utf8_lossy(body))));
    }
    let mut value: Value = serde_json::from_slice(body)?;
    Ok(if value.get("data").is_some() { value["data"].take() } else { value })
}
