//! The routes, and the service around them.

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::guard::fn_guard;
use actix_web::middleware::{Compress, Condition, from_fn};
use actix_web::web::{self, ServiceConfig};
use actix_web::{App, HttpResponse, Resource};

use super::error::{Code, Error, Extra};
use super::shared::Shared;
use super::{
    devices, events, guard, ice, jobs, nodes, relay, reports, server, sessions, signed, tickets, transfers,
};
use crate::socket::upgrade;

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
        .configure(configure(shared.clone()))
        .wrap(from_fn({
            let shared = shared.clone();
            move |request, next| signed::check(shared.clone(), request, next)
        }))
        .wrap_fn(move |request, service| guard::pass(&shared, request, service))
}

/// The routes alone, without what [`app`] puts around them.
pub fn configure(shared: web::Data<Shared>) -> impl Fn(&mut ServiceConfig) + Clone {
    move |config| {
        config.app_data(shared.clone());
        for prefix in ["/api/v1", "/v1"] {
            config.service(versioned(prefix, shared.options.compression));
        }
        config
            .service(resource("/api/relay", "POST").route(web::post().to(relay::relay)))
            .service(
                probe("/health").route(web::get().to(server::health)).route(web::head().to(server::health)),
            )
            .service(probe("/livez").route(web::get().to(server::livez)).route(web::head().to(server::livez)))
            .service(
                probe("/readyz").route(web::get().to(server::readyz)).route(web::head().to(server::readyz)),
            )
            .service(resource("/ws", "GET").route(web::get().to(upgrade::socket)))
            // Clients that were given nothing but a host upgrade at the root, where the page is for all others.
            .service(
                web::resource("/").guard(fn_guard(upgrade::wished)).route(web::get().to(upgrade::socket)),
            )
            .configure(|config| {
                let echo = shared.sockets.options.echo.as_str();
                if !echo.is_empty() {
                    config.service(resource(echo, "GET").route(web::get().to(upgrade::echo)));
                }
            })
            .default_service(web::to(nothing));
        if shared.options.page {
            super::web::configure(config);
        }
    }
}

fn versioned(prefix: &str, compression: bool) -> actix_web::Scope {
    web::scope(prefix)
        .service(resource("/relay", "POST").route(web::post().to(relay::relay)))
        .service(resource("/sessions", "POST").route(web::post().to(sessions::create)))
        .service(resource("/sessions/resolve", "GET").route(web::get().to(sessions::resolve)))
        .service(
            resource("/sessions/{id}/offer", "GET, POST")
                .route(web::get().to(sessions::get_offer))
                .route(web::post().to(sessions::put_offer)),
        )
        .service(
            resource("/sessions/{id}/answer", "GET, POST")
                .route(web::get().to(sessions::get_answer))
                .route(web::post().to(sessions::put_answer)),
        )
        .service(resource("/sessions/{id}", "DELETE").route(web::delete().to(sessions::delete)))
        .service(resource("/transfers", "POST").route(web::post().to(transfers::create)))
        .service(
            resource("/transfers/{id}/chunks/{n}", "GET, PUT")
                .route(web::get().to(transfers::get_chunk))
                .route(web::put().to(transfers::put_chunk)),
        )
        .service(resource("/transfers/{id}/ack", "POST").route(web::post().to(transfers::ack)))
        .service(
            resource("/transfers/{id}", "GET, DELETE")
                .route(web::get().to(transfers::get))
                .route(web::delete().to(transfers::delete)),
        )
        .service(resource("/devices", "POST").route(web::post().to(devices::register)))
        .service(resource("/devices/{userId}", "GET").route(web::get().to(devices::list)))
        .service(resource("/socket", "GET").route(web::get().to(upgrade::socket)))
        .service(resource("/jobs/{id}", "GET").route(web::get().to(jobs::get)))
        .service(resource("/tickets", "POST").route(web::post().to(tickets::issue)))
        .service(resource("/ice", "GET").route(web::get().to(ice::get)))
        .service(resource("/events", "GET").route(web::get().to(events::get)))
        .service(resource("/csp-reports", "POST").route(web::post().to(reports::sink)))
        .service(probe("/nodes").route(web::get().to(nodes::list)).route(web::head().to(nodes::list)))
        // The only answer of the API that is compressed: no other is free of secrets and of what a client wrote, and
        // compressing those together tells one by the other's length.
        .service(
            probe("/edition")
                .route(web::get().to(server::edition))
                .route(web::head().to(server::edition))
                .wrap(Condition::new(compression, Compress::default())),
        )
}

/// A path; other methods than these are told so.
fn resource(path: &str, allow: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        Err::<HttpResponse, Error>(Error::from(Code::MethodNotAllowed).with(Extra::Allow(allow)))
    }))
}

/// A path that is read only.
pub(super) fn probe(path: &str) -> Resource {
    resource(path, "GET, HEAD")
}

async fn nothing() -> Result<HttpResponse, Error> {
    Err(Code::NotFound.into())
}
