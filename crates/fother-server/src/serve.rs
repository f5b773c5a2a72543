//! The doors: mutual TLS for agents, a unix socket for people, loopback HTTP for the status page; bounds on each. Touches the network.

use crate::{
    Error,
    agents::{self, Peer},
    api::{self, Caller},
    engine::Engine,
    fleetlock, page,
};
use axum::{Extension, Router, body::Bytes};
use fother_core::Digest;
use hyper::body::Frame;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;

/// Most connections of agents: a whole fleet that comes back within a minute, over slow lines.
pub const AGENTS_MAX: usize = 2_048;
/// Most connections at each other door.
pub const CONNECTIONS_MAX: usize = 256;
/// Longest TLS handshake, and longest wait for a request's head.
pub const HEAD_WAIT: Duration = Duration::from_secs(20);
/// Longest life of a connection; slow readers end here.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(900);
/// Bytes of a request's head and of one read of its body.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// TLS for agents: our certificate, and theirs from our CA, which only enrolment may go without.
pub(crate) fn tls(engine: &Engine, names: &[String]) -> Result<TlsAcceptor, Error> {
    let bad = |error: &dyn std::fmt::Display| Error::Identity(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(engine.identity.ca_der().clone()).map_err(|error| bad(&error))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).allow_unauthenticated();
    let (chain, key) = engine.identity.server_chain(names, engine.clock.now())?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| bad(&error))?
        .with_client_cert_verifier(verifier.build().map_err(|error| bad(&error))?)
        .with_single_cert(chain, key)
        .map_err(|error| bad(&error))?;
    // What a connection may be resumed with is held by the agent, sealed for this process: nothing of it is kept here. Whom a
    // certificate belongs to, and whether they left, is asked of the state at each request all the same.
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|error| bad(&error))?;
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// TLS for reboot locks: our certificate; the clients of that protocol have none.
pub(crate) fn tls_without_clients(engine: &Engine, names: &[String]) -> Result<TlsAcceptor, Error> {
    let bad = |error: rustls::Error| Error::Identity(error.to_string());
    let (chain, key) = engine.identity.server_chain(names, engine.clock.now())?;
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(bad)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(bad)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Serves reboot locks.
pub(crate) async fn locks(engine: Arc<Engine>, listener: TcpListener, tls: Option<TlsAcceptor>) {
    let (router, places) = (fleetlock::router(engine), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let (tls, router) = (tls.clone(), router.clone());
        tokio::spawn(async move {
            let _place = place;
            match tls {
                None => connection(stream, router).await,
                Some(tls) => {
                    let Ok(Ok(stream)) = timeout(HEAD_WAIT, tls.accept(stream)).await else { return };
                    connection(stream, router).await;
                }
            }
        });
    }
}

/// Serves agents.
pub(crate) async fn agents(engine: Arc<Engine>, listener: TcpListener, tls: TlsAcceptor) {
    let revoked = engine.revoked.clone();
    let (router, places) = (agents::router(engine), Arc::new(Semaphore::new(AGENTS_MAX)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let (tls, router, mut revoked) = (tls.clone(), router.clone(), revoked.subscribe());
        tokio::spawn(async move {
            let _place = place;
            let Ok(Ok(stream)) = timeout(HEAD_WAIT, tls.accept(stream)).await else { return };
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
            let peer = Peer(shown.map(|certificate| Digest::of_file(certificate)));
            let is_cut = |cut: &BTreeSet<Digest>| peer.0.is_some_and(|certificate| cut.contains(&certificate));
            tokio::select! {
                () = connection(stream, router.layer(Extension(peer))) => {}
                () = cut(&mut revoked, is_cut) => {}
            }
        });
    }
}

/// Ready once a certificate of this connection is revoked. One that was revoked before it came is refused in words, request by request.
async fn cut(revoked: &mut watch::Receiver<BTreeSet<Digest>>, is_cut: impl Fn(&BTreeSet<Digest>) -> bool) {
    while revoked.changed().await.is_ok() {
        if is_cut(&revoked.borrow_and_update()) {
            return;
        }
    }
    std::future::pending().await
}

/// Serves people over the unix socket; only root and the server's own user come in.
pub(crate) async fn people(engine: Arc<Engine>, listener: UnixListener) {
    let (router, places) = (api::router(engine), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    let own = rustix::process::getuid().as_raw();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let uid = stream.peer_cred().ok().map(|peer| peer.uid());
        let caller = Caller(uid.filter(|uid| *uid == 0 || *uid == own));
        let router = router.clone();
        tokio::spawn(async move {
            let _place = place;
            connection(stream, router.layer(Extension(caller))).await;
        });
    }
}

/// Serves the status page on loopback.
pub(crate) async fn web(engine: Arc<Engine>, listener: TcpListener) {
    let (router, places) = (page::router(engine), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Some((stream, _)) = accepted(listener.accept().await).await else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            let _place = place;
            connection(stream, router).await;
        });
    }
}

async fn accepted<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            tracing::warn!(%error, "a connection was not accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, router: Router) {
    let serving = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Ok(Err(error)) = timeout(CONNECTION_LIFE, serving).await {
        tracing::debug!(%error, "a connection ended");
    }
}

/// A file as a response, read piece by piece.
pub(crate) struct FileBody(File);

impl FileBody {
    pub(crate) fn new(file: File) -> Self {
        Self(file)
    }
}

impl hyper::body::Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut piece = vec![0; BUFFER_BYTES];
        Poll::Ready(match self.0.read(&mut piece) {
            Ok(0) => None,
            Ok(length) => {
                piece.truncate(length);
                Some(Ok(Frame::data(Bytes::from(piece))))
            }
            Err(error) => Some(Err(error)),
        })
    }
}
