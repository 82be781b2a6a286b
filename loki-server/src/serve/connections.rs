//! Accepting connections and serving them until the server closes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::{App, Phase};
use crate::auth::ClientName;
use crate::config::HttpConfig;
use crate::serve::StartError;
use crate::serve::half_closed::{HalfClosed, Unanswered};
use crate::tls::{SharedAcceptor, common_name};

/// Connections that the system holds ready for us.
const BACKLOG: u32 = 1024;
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting rests after an error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds the configured address.
pub(super) async fn bind(config: &HttpConfig) -> Result<TcpListener, StartError> {
    let error = |source| StartError::Listen { address: name(config), source };
    if !config.address.is_empty() {
        let host = config.address.trim_matches(['[', ']']);
        return TcpListener::bind((host, config.port)).await.map_err(error);
    }
    let any_v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), config.port);
    let any_v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), config.port);
    match config.network.as_str() {
        "tcp4" => listen(any_v4).map_err(error),
        "tcp6" => listen(any_v6).map_err(error),
        // A machine without IPv6 still has an address.
        _ => listen(any_v6).or_else(|_| listen(any_v4)).map_err(error),
    }
}

/// The address as it is configured.
pub(super) fn name(config: &HttpConfig) -> String {
    format!("{}:{}", config.address, config.port)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv6() { TcpSocket::new_v6()? } else { TcpSocket::new_v4()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves connections until the server closes, and then those that are left to their end.
pub(super) async fn serve(app: App, router: Router, listener: TcpListener, tls: Option<SharedAcceptor>) {
    let graceful = GracefulShutdown::new();
    let server = Arc::new(server(&app));
    let places = places(app.config().http.max_connections);
    let mut phase = app.watch_phase();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, places.as_ref()) => accepted,
            _ = phase.wait_for(|phase| *phase == Phase::Closing) => break,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers go out at once.
        let _ = stream.set_nodelay(true);
        let connection =
            Connection { server: Arc::clone(&server), router: router.clone(), open: Open::new(&app, place) };
        let watcher = graceful.watcher();
        match &tls {
            None => drop(tokio::spawn(connection.serve(stream, ClientName::default(), watcher))),
            Some(tls) => drop(tokio::spawn(connection.handshake(stream, tls.clone(), watcher))),
        }
    }
    drop(listener);
    graceful.shutdown().await;
}

/// A connection that was accepted.
struct Connection {
    server: Arc<auto::Builder<TokioExecutor>>,
    router: Router,
    open: Open,
}

impl Connection {
    async fn handshake(self, stream: TcpStream, tls: SharedAcceptor, watcher: Watcher) {
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.current().accept(stream)).await {
            Ok(Ok(stream)) => {
                let (_, session) = stream.get_ref();
                let certificate = session.peer_certificates().and_then(<[_]>::first);
                let name = certificate.and_then(common_name).map(Arc::from);
                self.serve(stream, ClientName(name), watcher).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn serve<S>(self, stream: S, client: ClientName, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Self { server, router, open } = self;
        let service = TowerToHyperService::new(router);
        let unanswered = Unanswered::default();
        let stream = HalfClosed::new(stream, unanswered.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            let unanswered = unanswered.request();
            let answer = service.call(request);
            async move { answer.await.map(|answer| answer.map(|body| unanswered.answer(body))) }
        });
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(open);
    }
}

fn server(app: &App) -> auto::Builder<TokioExecutor> {
    let http = &app.config().http;
    let mut server = auto::Builder::new(TokioExecutor::new());
    let header_timeout = if http.read_header_timeout.is_zero() { http.read_timeout } else { http.read_header_timeout };
    // The same timer covers the wait for the next request, so the longer of the two is what a client can rely on.
    let header_timeout = header_timeout.max(http.idle_timeout);
    server.http1().timer(TokioTimer::new());
    if !header_timeout.is_zero() {
        server.http1().header_read_timeout(header_timeout);
    }
    server.http2().timer(TokioTimer::new());
    server
}

fn places(max_connections: usize) -> Option<Arc<Semaphore>> {
    (max_connections > 0).then(|| Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))))
}

/// The next connection, once there is a place for it.
async fn accept(
    listener: &TcpListener,
    places: Option<&Arc<Semaphore>>,
) -> std::io::Result<(TcpStream, Option<OwnedSemaphorePermit>)> {
    let place = match places {
        // The semaphore is never closed.
        Some(places) => Arc::clone(places).acquire_owned().await.ok(),
        None => None,
    };
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// Counts a connection while it is open, and keeps its place.
struct Open {
    app: App,
    _place: Option<OwnedSemaphorePermit>,
}

impl Open {
    fn new(app: &App, place: Option<OwnedSemaphorePermit>) -> Self {
        app.metrics().connections.fetch_add(1, Ordering::Relaxed);
        Self { app: app.clone(), _place: place }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.app.metrics().connections.fetch_sub(1, Ordering::Relaxed);
    }
}
