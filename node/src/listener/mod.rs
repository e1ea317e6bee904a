//! Between clients' connections and the HTTP server: TLS, the PROXY protocol, and the framing of requests.
//!
//! Start with `proxy_protocol`. Then `tls` (handshakes), `connection_permit` (in `connection_gate` each client's share of
//! many, in `evicting_limiter` where there are few), `stream` (one connection), `request_framing` (where requests begin and
//! end), `body_gate` (holds large bodies back until they are wanted), `refused_head` (what the server sees in place of a head
//! that is refused), `last_word` (answers before that), `client_gone` (notices that
//! the client has gone), and `upgrade` (takes connections back for sockets). `browser_ports`
//! are those that no browser opens.
//! [`serve`] puts all of it in front of the server.

mod body_gate;
pub(crate) mod browser_ports;
mod client_gone;
mod connection_gate;
mod connection_permit;
mod deadline;
mod evicting_limiter;
mod force_close;
mod last_word;
mod metrics;
mod pace;
mod proxy_protocol;
mod refused_head;
mod request_framing;
mod seldom;
mod stream;
mod tcp_or_tls;
pub mod tls;
mod upgrade;

use std::fmt;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, apply_fn_factory, fn_service,
    map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, Extensions, ServiceResponse};
use actix_web::rt::net::TcpStream;
use futures_util::FutureExt as _;
use futures_util::future::Either;
use tokio_rustls::server::TlsStream;

pub(crate) use body_gate::{BodyGate, LARGE};
pub(crate) use client_gone::Closed;
pub use connection_permit::Places;
pub(crate) use deadline::BODY_ARRIVAL_MAX;
pub(crate) use evicting_limiter::Claim;
pub(crate) use force_close::Hangup;
pub(crate) use refused_head::Refusal;
pub use stream::Stream;
pub use tls::Tls;

use connection_permit::{Entrance, Permit};
use evicting_limiter::EvictablePermit;
use proxy_protocol::{Announced, Prefaces};
use upgrade::Upgrades;

use crate::access::Network;
use crate::access::client_certificate::Certificate;
use crate::admission::buffers::Buffers;

/// For how long a client may take to close after it was told.
const PARTING: Duration = Duration::from_secs(1);
/// A client that acknowledges nothing, or lets nothing be sent, for so long is gone (RFC 5482).
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// What the system keeps of a connection's bytes that are not under way yet (tcp(7), `TCP_NOTSENT_LOWAT`).
#[cfg(target_os = "linux")]
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// How a listener is served.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whose it is, for the log.
    pub listener: &'static str,
    /// Threads.
    pub workers: usize,
    /// Connections of one thread.
    pub connections_max: usize,
    /// For how long an idle connection stays.
    pub keep_alive: Duration,
    /// How long a head may take to arrive.
    pub patience: Duration,
    /// For how many seconds connections may linger when the server stops.
    pub shutdown_seconds: u64,
    /// TLS, unless it is spoken in front of this node.
    pub tls: Option<Tls>,
    /// Which large bodies are refused unread.
    pub shedder: Arc<dyn LoadShedder>,
    /// How connections are shared out among clients.
    pub places: Places,
    /// What they make this node hold.
    pub buffers: Buffers,
    /// Proxies that say with each connection for whom it is, by the PROXY protocol.
    pub proxy_protocol: Vec<Network>,
}

/// What is asked before each large body.
pub trait LoadShedder: Send + Sync {
    /// Whether there is more to do already than one more should wait for.
    fn is_overloaded(&self) -> bool;
}

impl fmt::Debug for dyn LoadShedder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LoadShedder {{ is_overloaded: {} }}", self.is_overloaded())
    }
}

/// How one connection is treated.
#[derive(Clone)]
struct ConnectionOptions {
    /// How long a head may take to arrive.
    patience: Duration,
    shedder: Arc<dyn LoadShedder>,
    buffers: Buffers,
}

/// That a client's connection is under TLS, here or at a proxy that says so; among the connection's data.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secured;

/// Serves what `app` makes, once a thread. It runs when it is polled.
///
/// # Errors
/// If the listener cannot be used.
pub fn serve<F, I, S, B>(options: Options, listener: TcpListener, app: F) -> std::io::Result<Server>
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<B>> + 'static,
    S::Error: Into<Response<actix_http::body::BoxBody>> + 'static,
    S::InitError: std::fmt::Debug,
    <S::Service as Service<Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let entrance = Entrance::new(options.listener, options.places.clone());
    let prefaces = Arc::new(Prefaces::new(options.proxy_protocol.clone()));
    let builder = ServerBuilder::new()
        .workers(options.workers)
        .max_concurrent_connections(options.connections_max)
        .shutdown_timeout(options.shutdown_seconds)
        .disable_signals();
    let stopping = builder.graceful_shutdown_signal();
    let builder = builder.listen(options.listener, listener, move || {
        let tls = options.tls.clone();
        let stopping = stopping.clone();
        let http = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(options.keep_alive)
            // Heads are timed where they are held back.
            .client_request_timeout(Duration::ZERO)
            .client_disconnect_timeout(PARTING)
            .on_connect_ext(|stream: &Stream, data: &mut Extensions| connected(stream, data))
            .upgrade(Upgrades(map_config(app(), |()| AppConfig::default())))
            .finish(apply_fn_factory(map_config(app(), |()| AppConfig::default()), answer));
        let (entrance, prefaces) = (entrance.clone(), prefaces.clone());
        let options = ConnectionOptions {
            patience: options.patience,
            shedder: options.shedder.clone(),
            buffers: options.buffers.clone(),
        };
        fn_service(move |mut tcp: TcpStream| {
            let (tls, options, entrance, prefaces) =
                (tls.clone(), options.clone(), entrance.clone(), prefaces.clone());
            async move {
                let peer = tcp.peer_addr().ok();
                let announced = match peer.filter(|peer| prefaces.are_sent_by(*peer)) {
                    None => Announced { client: peer, secured: false },
                    Some(proxy) => {
                        match prefaces.read(&mut tcp, proxy, options.patience, tls.is_none()).await {
                            Some(announced) => announced,
                            None => return Err(DispatchError::DisconnectTimeout),
                        }
                    }
                };
                // What a proxy asks for itself, nobody's part is charged with.
                let Ok(permit) = entrance.enter(announced.client.map(|client| client.ip())).await else {
                    if tls.is_none() {
                        connection_gate::refuse(&tcp);
                    }
                    return Err(DispatchError::DisconnectTimeout);
                };
                prepare(&tcp);
                let mut stream = match tls {
                    None => Stream::plain(tcp, options, permit),
                    Some(tls) => match shake(&tls, tcp, permit.as_ref()).await {
                        Some(stream) => Stream::tls(stream, options, permit),
                        None => return Err(DispatchError::DisconnectTimeout),
                    },
                };
                stream.secured |= announced.secured;
                Ok((stream, Protocol::Http1, announced.client.or(peer)))
            }
        })
        .and_then(apply_fn_factory(http, seated))
    })?;
    Ok(builder.run())
}

/// The handshake, unless its permit becomes somebody else's.
async fn shake(tls: &Tls, tcp: TcpStream, permit: Option<&Permit>) -> Option<TlsStream<TcpStream>> {
    let shaken = tls.accept(tcp, permit.map(Permit::client));
    match permit.and_then(Permit::hangup) {
        None => shaken.await,
        Some(hangup) => tokio::select! {
            stream = shaken => stream,
            () = hangup.asked() => None,
        },
    }
}

/// A connection that was let in, and where it comes from.
type Connection = (Stream, Protocol, Option<SocketAddr>);

/// Serves a connection until it is over, or its permit is somebody else's.
fn seated<S>(connection: Connection, service: &S) -> impl Future<Output = Result<(), DispatchError>> + use<S>
where
    S: Service<Connection, Response = (), Error = DispatchError>,
{
    let hangup = connection.0.evictable().map(|permit| permit.hangup().clone());
    let served = service.call(connection);
    match hangup {
        None => Either::Left(served),
        Some(hangup) => Either::Right(Box::pin(async move {
            tokio::select! {
                ended = served => ended,
                () = hangup.asked() => Ok(()),
            }
        })),
    }
}

/// Takes note of when the server begins to answer a request, and when it has. It does so in the order in which they came, one
/// at a time.
fn answer<S: Service<Request>>(
    request: Request,
    service: &S,
) -> impl Future<Output = Result<S::Response, S::Error>> + use<S> {
    let gate = request.conn_data::<BodyGate>().cloned();
    if let Some(gate) = &gate {
        gate.begin();
    }
    service.call(request).inspect(move |_| {
        if let Some(gate) = gate {
            gate.answer();
        }
    })
}

/// Sets what the system is to do with a connection. Without the first, a small frame behind another waits for the
/// client's acknowledgement of that, up to 40 ms (RFC 9293, section 3.7.4); without the second the system has a longer
/// patience of its own; without the third the system takes megabytes that the client may never read, and shows nothing of
/// what it did read for minutes.
fn prepare(tcp: &TcpStream) {
    let _ = tcp.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(tcp, SILENCE_MAX.as_millis() as u32);
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
}

/// What a connection's requests may know of it.
fn connected(stream: &Stream, data: &mut Extensions) {
    data.insert(stream.gate().clone());
    data.insert(stream.closed().clone());
    if stream.secured {
        data.insert(Secured);
    }
    let claim = stream.evictable().map(EvictablePermit::claim);
    if let Some(session) = stream.session() {
        let chain = session.peer_certificates();
        if let Some(claim) = claim.as_ref().filter(|_| chain.is_some()) {
            claim.is_known();
        }
        if let Some(certificate) = chain.and_then(|chain| chain.first()).and_then(Certificate::of) {
            data.insert(certificate);
        }
    }
    if let Some(claim) = claim {
        data.insert(claim);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[actix_web::test]
    async fn small_frames_are_not_held_back_and_the_silent_are_let_go() {
        let listener =
            tokio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        assert!(!tcp.nodelay().unwrap());
        prepare(&tcp);
        assert!(tcp.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&tcp).unwrap(), 20_000);
    }
}
