//! The admin listener over TLS.

use std::net::TcpListener;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{Server, ServerBuilder};
use actix_service::{
    IntoServiceFactory, Service, ServiceFactory, ServiceFactoryExt as _, fn_service, map_config,
};
use actix_web::body::MessageBody;
use actix_web::dev::{AppConfig, ServiceResponse};
use actix_web::rt::net::TcpStream;

use super::server::CONNECTIONS_MAX;
use crate::listener::Tls;

/// Within this time the head of a request must arrive.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an idle connection is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Serves what `app` makes, until it is stopped.
///
/// # Errors
/// If the listener cannot be used.
pub(super) fn serve<F, I, S, B>(listener: TcpListener, tls: Tls, app: F) -> std::io::Result<Server>
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
    let builder = ServerBuilder::new()
        .workers(1)
        .max_concurrent_connections(CONNECTIONS_MAX)
        .shutdown_timeout(1)
        .disable_signals();
    let builder = builder.listen("admin", listener, move || {
        let tls = tls.clone();
        let http = HttpService::build()
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(PATIENCE)
            .finish(map_config(app(), |()| AppConfig::default()));
        fn_service(move |tcp: TcpStream| {
            let tls = tls.clone();
            async move {
                let peer = tcp.peer_addr().ok();
                match tls.accept(tcp, None).await {
                    Some(stream) => Ok((stream, Protocol::Http1, peer)),
                    None => Err(DispatchError::DisconnectTimeout),
                }
            }
        })
        .and_then(http)
    })?;
    Ok(builder.run())
}
