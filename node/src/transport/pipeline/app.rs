//! The service of the edge: one handler, which the table of [routes](super::routes) stands behind.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, web};

use super::middleware::DefaultHeaders;
use super::router::Router;
use super::{entry_checks, middleware};
use crate::listener::LoadShedder;
use crate::transport::http::web as web_files;
use crate::transport::request::AppState;
use crate::transport::ws::Sockets;

/// What requests pass, for all workers of one node. Give it to every [`app`].
pub struct Pipeline {
    pub(super) state: web::Data<AppState>,
    sockets: web::Data<Sockets>,
    pub(super) router: Router,
    pub(super) default_headers: DefaultHeaders,
}

impl Pipeline {
    /// The pipeline to these transports.
    pub fn new(state: web::Data<AppState>, sockets: Sockets) -> Self {
        let options = &state.options;
        let default_headers = DefaultHeaders::new(options);
        if options.page && options.compression {
            web_files::pack();
        }
        Self {
            router: Router::new(&sockets.options.echo, options.page),
            default_headers,
            sockets: web::Data::new(sockets),
            state,
        }
    }
}

impl LoadShedder for Pipeline {
    fn is_overloaded(&self) -> bool {
        self.state.bodies.is_overloaded()
    }
}

/// The whole edge: routes and what happens to every request. For `HttpServer::new` as well as for
/// `actix_web::test::init_service` and for a simulation that serves it through `actix_http` alone.
pub fn app(
    pipeline: Arc<Pipeline>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(pipeline.state.clone())
        .app_data(pipeline.sockets.clone())
        .default_service(web::to(entry_checks::answer))
        .wrap_fn(move |request, service| middleware::pass(&pipeline, request, service))
}
