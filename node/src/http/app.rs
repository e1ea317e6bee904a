//! The service of the edge: one handler, which the table of [routes](super::routes) stands behind.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::{App, web};

use super::shared::Shared;
use super::{gate, guard};

/// The whole edge: routes and what happens to every request. For `HttpServer::new` as well as for
/// `actix_web::test::init_service` and for a simulation that serves it through `actix_http` alone.
pub fn app(
    shared: web::Data<Shared>,
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
        .app_data(shared.clone())
        .default_service(web::to(gate::answer))
        .wrap_fn(move |request, service| guard::pass(&shared, request, service))
}
