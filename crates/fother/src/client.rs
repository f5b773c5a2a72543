//! Talks to the server over its unix socket; who calls is told by socket credentials.

use crate::failure::{FAILED, Failure, REFUSED, USAGE};
use bytes::Bytes;
use fother_core::Digest;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{Method, Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// Longest wait for an answer; long polls are shorter.
const ANSWER_WAIT: Duration = Duration::from_secs(15 * 60);

/// A client of one server.
pub struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// A client of the server whose runtime directory is `run_dir`.
    pub fn new(run_dir: &Path) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { socket: run_dir.join("server.sock"), runtime })
    }

    /// GET with a JSON answer.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let bytes = self.call(Method::GET, path, None)?;
        data(&bytes)
    }

    /// GET with a raw answer.
    pub fn raw(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.call(Method::GET, path, None)
    }

    /// A typed blob, its digest checked here.
    pub fn blob<T: DeserializeOwned>(&self, kind: &str, digest: Digest) -> Result<T, Failure> {
        let bytes = self.raw(&format!("/api/v1/blobs/{}", digest.hex()))?;
        if Digest::of_kind(kind, &bytes) != digest {
            return Err(Failure::new(FAILED, format!("the server gave other bytes for the {kind} {digest}"), "run `fother log verify`"));
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// POST with a JSON answer.
    pub fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let bytes = self.call(Method::POST, path, Some(serde_json::to_vec(body)?))?;
        data(&bytes)
    }

    fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        self.runtime.block_on(async {
            tokio::time::timeout(ANSWER_WAIT, self.exchange(method, path, body))
                .await
                .map_err(|_| Failure::new(FAILED, format!("the server did not answer {path} in time"), "look at its log"))?
        })
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Vec<u8>, Failure> {
        let stream = tokio::net::UnixStream::connect(&self.socket).await.map_err(|error| {
            let what = format!("no server answers at {}: {error}", self.socket.display());
            Failure::new(FAILED, what, "start one with `fother serve`, or name its directory with --run-dir")
        })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "fother-server")
            .header("content-type", "application/json")
            .header("connection", "close")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("the answer to {path} broke off: {error}"))?
            .to_bytes();
        driver.abort();
        if status.is_success() {
            return Ok(bytes.to_vec());
        }
        Err(problem(status.as_u16(), &bytes))
    }
}

/// Takes `data` out of the envelope.
fn data<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    Ok(serde_json::from_value(value.get_mut("data").map(Value::take).unwrap_or_default())?)
}

/// An RFC 9457 problem as a failure.
fn problem(status: u16, bytes: &[u8]) -> Failure {
    let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let what = [text("detail"), text("title"), format!("the server answered {status}")].into_iter().find(|text| !text.is_empty());
    let code = match status {
        400 | 404 => USAGE,
        401..500 => REFUSED,
        _ => FAILED,
    };
    Failure::new(code, what.unwrap_or_default(), text("hint"))
}
