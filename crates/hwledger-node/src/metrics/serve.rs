//! Readings at `/metrics`, for Prometheus to come and take.
//!
//! Only this machine may ask unless a token guards the door, and only under a name that is ours: a page in a browser must
//! not read it by pointing its own name at this machine.

use std::fmt;
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{LabelledReading, ServeError, exposition};
use crate::locate::Token;

/// Most connections at once; more wait.
const CONNECTIONS_MAX: usize = 64;
const TOKEN_LENGTH_MIN: usize = 16;

/// Where readings are served, and to whom.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// What a request must bear, where it is not this machine alone that can ask.
    pub token: Option<Token>,
    /// Names that requests may ask for this server by, beside its addresses and `localhost`.
    pub host_names: Vec<String>,
}

type Collect = dyn Fn() -> Vec<LabelledReading> + Send + Sync;

struct Door {
    token: Option<[u8; 32]>,
    listen: SocketAddr,
    host_names: Vec<String>,
    collect: Box<Collect>,
}

/// A server that listens and does not answer yet.
pub struct MetricsServer {
    listener: std::net::TcpListener,
    address: SocketAddr,
    token: Option<[u8; 32]>,
    host_names: Vec<String>,
}

impl fmt::Debug for MetricsServer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MetricsServer").field("address", &self.address).finish_non_exhaustive()
    }
}

impl MetricsServer {
    /// Listens, where that is safe.
    pub fn bind(options: ServeOptions) -> Result<Self, ServeError> {
        let ServeOptions { listen, token, host_names } = options;
        if token.is_none() && !listen.ip().is_loopback() {
            return Err(ServeError::NeedsToken(listen));
        }
        if let Some(length) = token.as_ref().map(|token| token.secret().len()).filter(|it| *it < TOKEN_LENGTH_MIN) {
            return Err(ServeError::ShortToken(length));
        }
        let failed = |source| ServeError::Listen { address: listen, source };
        let listener = std::net::TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let token = token.map(|token| Sha256::digest(token.secret()).into());
        Ok(Self { listener, address, token, host_names })
    }

    /// Where it listens, with the port that the system chose if none was named.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever with what `collect` has at each request.
    pub fn run(self, collect: impl Fn() -> Vec<LabelledReading> + Send + Sync + 'static) -> Result<(), ServeError> {
        let door = Arc::new(Door {
            token: self.token,
            listen: self.address,
            host_names: self.host_names,
            collect: Box::new(collect),
        });
        let router = Router::new()
            .route("/metrics", get(metrics))
            .layer(from_fn_with_state(Arc::clone(&door), admit))
            .with_state(door);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Run)?;
        runtime.block_on(async {
            let inner = TcpListener::from_std(self.listener).map_err(ServeError::Run)?;
            let listener = Bounded { inner, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
            axum::serve(listener, router).await.map_err(ServeError::Run)
        })
    }
}

async fn metrics(State(door): State<Arc<Door>>) -> Response {
    let text = exposition(&(door.collect)());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    if !door.knows_host(request.headers()) {
        return (StatusCode::FORBIDDEN, "this server is not asked by that name\n").into_response();
    }
    if !door.opens(request.headers()) {
        return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, "Bearer")], "a token is needed\n")
            .into_response();
    }
    next.run(request).await
}

impl Door {
    /// Whether the `Host` header, of which there is one, names this server.
    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(Ok(host)), None) = (hosts.next().map(|host| host.to_str()), hosts.next()) else { return false };
        let name = host_name(host);
        if let Ok(address) = name.parse::<std::net::IpAddr>() {
            // A name cannot be pointed at an address that is written as one.
            return address.is_loopback() || address == self.listen.ip() || self.listen.ip().is_unspecified();
        }
        name.eq_ignore_ascii_case("localhost") || self.host_names.iter().any(|known| known.eq_ignore_ascii_case(&name))
    }

    /// Whether the request bears the token. Digests are compared whole, however early they differ.
    fn opens(&self, headers: &HeaderMap) -> bool {
        let Some(expected) = &self.token else { return true };
        let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, token)) = bearer.and_then(|text| text.split_once(' ')) else { return false };
        let found = Sha256::digest(token.trim());
        let difference = expected.iter().zip(found).fold(0, |all, (a, b)| black_box(all | (a ^ b)));
        scheme.eq_ignore_ascii_case("bearer") && difference == 0
    }
}

/// The name in a `Host` header, without its port and without the brackets of an IPv6 address.
fn host_name(host: &str) -> String {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().to_string();
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.to_owned();
    }
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => host.to_owned(),
    }
}

/// A listener that takes a connection only when there is room.
struct Bounded {
    inner: TcpListener,
    room: Arc<Semaphore>,
}

struct Connection {
    stream: TcpStream,
    _place: Option<OwnedSemaphorePermit>,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; if it were, connections would only be unbounded.
        let place = Arc::clone(&self.room).acquire_owned().await.ok();
        let (stream, address) = axum::serve::Listener::accept(&mut self.inner).await;
        (Connection { stream, _place: place }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
