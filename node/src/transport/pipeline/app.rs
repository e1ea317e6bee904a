//! The service of the edge: one handler, which the table of [routes](super::routes) stands behind.

use std::cell::OnceCell;
use std::future::ready;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, web};
use futures_util::future::Either;

use super::middleware::DefaultHeaders;
use super::not_ready::NotReady;
use super::router::Router;
use super::{entry_checks, middleware};
use crate::listener::LoadShedder;
use crate::transport::http::web as web_files;
use crate::transport::request::{AppState, Options};
use crate::transport::ws::Sockets;

/// What requests pass, for all workers of one node.
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

/// What answers on the public port: at first that the node is not ready, and the pipeline once it serves. It is one server
/// all the time, so no connection is lost between the two.
pub struct Edge {
    not_ready: NotReady,
    pipeline: OnceLock<Arc<Pipeline>>,
}

impl Edge {
    /// One that waits. `why` is the check that `/readyz` names as failing meanwhile.
    pub fn new(options: &Options, why: &'static str) -> Self {
        Self { not_ready: NotReady::new(options, why), pipeline: OnceLock::new() }
    }

    /// From now on requests pass the pipeline. The first call counts.
    pub fn open(&self, pipeline: Pipeline) {
        self.pipeline.get_or_init(|| Arc::new(pipeline));
    }
}

impl LoadShedder for Edge {
    fn is_overloaded(&self) -> bool {
        self.pipeline.get().is_some_and(|pipeline| pipeline.state.bodies.is_overloaded())
    }
}

/// The whole edge: routes and what happens to every request, for `HttpServer::new` as well as for
/// `actix_web::test::init_service`.
pub fn app(
    edge: Arc<Edge>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    // Of this thread: handlers find in it what they work with.
    let data = OnceCell::new();
    App::new().default_service(web::to(entry_checks::answer)).wrap_fn(move |mut request, service| {
        let Some(pipeline) = edge.pipeline.get() else {
            let response = edge.not_ready.answer(request.request());
            return Either::Left(ready(Ok(request.into_response(response))));
        };
        request.add_data_container(Rc::clone(data.get_or_init(|| {
            let mut data = Extensions::new();
            data.insert(pipeline.state.clone());
            data.insert(pipeline.sockets.clone());
            Rc::new(data)
        })));
        Either::Right(middleware::pass(pipeline, request, service))
    })
}
