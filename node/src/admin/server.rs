//! The admin listener's routes.

use std::net::TcpListener;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CROSS_ORIGIN_OPENER_POLICY, CROSS_ORIGIN_RESOURCE_POLICY,
    HeaderName, HeaderValue, PERMISSIONS_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use actix_web::http::{ConnectionType, Method};
use actix_web::middleware::{Next, from_fn};
use actix_web::{App, HttpResponse, web};

use conclave_cluster::Cluster;
use serde::de::DeserializeOwned;

use super::error::Error;
use super::gate::{Caller, Gate};
use super::state::AdminState;
use super::unread::Unread;
use super::{
    allowances, audit, backend, body, connections, console, description, devices, inventory, log_level,
    membership, observation, page, revocations, tenants,
};
use crate::listener::{self, BodyGate, Claim, Tls};
use crate::service::Services;
use crate::service::security_events::Event;

/// A server that answers on `listener` to callers that `gate` admits, until it is stopped; over TLS, if that is configured.
pub fn listen(
    listener: TcpListener,
    state: AdminState,
    gate: Gate,
    tls: Option<Tls>,
) -> std::io::Result<Server> {
    start(listener, state, Some(gate), connections::options("admin", tls), |app| {
        console::serve(app);
        observing(app);
        controlling(app);
    })
}

/// A server for metrics and health alone: it controls nothing.
pub fn observe(listener: TcpListener, state: AdminState) -> std::io::Result<Server> {
    start(listener, state, None, connections::options("telemetry", None), observing)
}

fn start(
    listener: TcpListener,
    state: AdminState,
    gate: Option<Gate>,
    options: listener::Options,
    routes: impl Fn(&mut web::ServiceConfig) + Copy + Send + 'static,
) -> std::io::Result<Server> {
    let reach = page::Reach::of(&listener)?;
    let app = move || {
        App::new()
            .app_data(web::Data::new(state.clone()))
            .app_data(reach)
            .app_data(gate.clone())
            .app_data(body::bound())
            .wrap(from_fn(guard))
            .configure(routes)
    };
    listener::serve(options, listener, app)
}

fn observing(app: &mut web::ServiceConfig) {
    app.service(web::resource("/metrics").get(observation::metrics).default_service(only("GET")))
        .service(web::resource("/livez").get(observation::live).default_service(only("GET")))
        .service(web::resource("/readyz").get(observation::ready).default_service(only("GET")))
        .default_service(web::to(async || Err::<HttpResponse, _>(Error::NotFound)));
}

fn controlling(app: &mut web::ServiceConfig) {
    app.service(web::resource("/cluster/status").get(observation::status).default_service(only("GET")))
        .service(
            web::resource("/admin/v1/openapi.json").get(description::document).default_service(only("GET")),
        )
        .service(web::resource("/docs").get(description::page).default_service(only("GET")))
        .service(web::resource("/admin/v1/audit").get(audit::tell).default_service(only("GET")))
        .service(
            web::resource("/admin/v1/revocations")
                .get(revocations::list)
                .post(revocations::revoke)
                .default_service(only("GET, POST")),
        )
        .service(
            web::resource("/admin/v1/revocations/lift").post(revocations::lift).default_service(only("POST")),
        )
        .service(web::resource("/admin/v1/devices").get(devices::list).default_service(only("GET")))
        .service(
            web::resource("/admin/v1/devices/approve").post(devices::approve).default_service(only("POST")),
        )
        .service(
            web::resource("/admin/v1/devices/revoke").post(devices::revoke).default_service(only("POST")),
        )
        .service(
            web::resource("/admin/v1/devices/forget").post(devices::forget).default_service(only("POST")),
        )
        .service(
            web::resource("/admin/v1/log-level")
                .get(log_level::tell)
                .post(log_level::set)
                .default_service(only("GET, POST")),
        )
        .service(web::resource("/admin/v1/tenants").get(tenants::list).default_service(only("GET")))
        .service(web::resource("/admin/v1/allowances").get(allowances::show).default_service(only("GET")))
        .service(
            web::resource("/admin/v1/allowances/reset").post(allowances::reset).default_service(only("POST")),
        )
        .service(
            web::resource("/admin/v1/publish")
                .app_data(body::content_bound())
                .post(backend::publish)
                .default_service(only("POST")),
        )
        .service(
            web::resource("/admin/v1/signal")
                .app_data(body::content_bound())
                .post(backend::signal)
                .default_service(only("POST")),
        )
        .service(
            web::resource("/admin/v1/{kind}")
                .get(inventory::list)
                .delete(inventory::end_many)
                .default_service(only("GET, DELETE")),
        )
        .service(
            web::resource("/admin/v1/{kind}/{id}").delete(inventory::end).default_service(only("DELETE")),
        )
        .service(web::resource("/sockets").get(observation::sockets).default_service(only("GET")))
        .service(web::resource("/cluster/members").post(membership::add).default_service(only("POST")))
        .service(
            web::resource("/cluster/members/{id}").delete(membership::remove).default_service(only("DELETE")),
        )
        .service(
            web::resource("/cluster/members/{id}/promote")
                .post(membership::promote)
                .default_service(only("POST")),
        )
        .service(
            web::resource("/cluster/members/{id}/drain")
                .post(membership::drain)
                .default_service(only("POST")),
        )
        .service(web::resource("/cluster/leader").post(membership::lead).default_service(only("POST")));
}

pub(super) fn only(allow: &'static str) -> actix_web::Route {
    web::to(move || async move { Err::<HttpResponse, _>(Error::Method(allow)) })
}

/// Headers of every answer that does not set them itself, refusals too. The console is the only thing a browser should render.
fn headers() -> [(HeaderName, &'static str); 8] {
    [
        (CACHE_CONTROL, "no-store"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (CROSS_ORIGIN_OPENER_POLICY, "same-origin"),
        (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
        (PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()"),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
    ]
}

const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Refuses other pages and callers without the token, and adds the headers to every answer. To whoever has shown nothing an
/// answer is the last one of its connection: probes and scrapers come again.
async fn guard(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let gate = request.app_data::<Option<Gate>>().and_then(Option::as_ref);
    let caller = gate.map_or(Caller::Stranger, |gate| gate.caller(&request));
    let body_gate = request.conn_data::<BodyGate>().cloned();
    let unread = body_gate.as_ref().and_then(BodyGate::refusal).map(Unread);
    let is_last = unread.is_some() || caller == Caller::Stranger;
    let refusal = match unread {
        Some(_) => None,
        None => page::refusal(&request).or_else(|| gate?.admit(&request).err()),
    };
    if let Some(claim) = request.conn_data::<Claim>() {
        if caller == Caller::Known {
            claim.is_known();
        }
        claim.changes(unread.is_none() && refusal.is_none() && request.method() != Method::GET);
    }
    if let Some(Error::Unauthorized) = refusal {
        let services = request.app_data::<web::Data<AdminState>>().and_then(|state| state.services());
        let from = request.peer_addr().map(|peer| peer.ip());
        services.into_iter().for_each(|services| services.note(Event::RefusedAdminCall, from, None));
    }
    let mut response = match (unread, refusal) {
        (Some(unread), _) => request.error_response(unread),
        (None, Some(refusal)) => request.error_response(refusal),
        (None, None) => next.call(request).await?.map_into_boxed_body(),
    };
    if let Some(body_gate) = body_gate {
        // Nobody wants the body any more, but it stands before the next request.
        body_gate.over();
    }
    if is_last {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    for (name, value) in headers() {
        if !response.headers().contains_key(&name) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    Ok(response)
}

pub(super) fn cluster(state: &AdminState) -> Result<&Cluster, Error> {
    state.cluster().ok_or(Error::Starting)
}

pub(super) fn services(state: &AdminState) -> Result<&Services, Error> {
    state.services().ok_or(Error::Starting)
}

pub(super) fn parse<T: DeserializeOwned>(body: &[u8], asked: &'static str) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|_| Error::Json(asked))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::http::StatusCode;
    use actix_web::http::header::{ALLOW, HOST, ORIGIN};
    use actix_web::test::{TestRequest, call_service, init_service, read_body};

    use super::super::api_types::Failure;
    use super::*;
    use crate::telemetry::metrics::{About, Metrics};

    async fn ask(request: TestRequest) -> (StatusCode, Vec<u8>) {
        ask_of(request, |app| {
            observing(app);
            controlling(app);
        })
        .await
    }

    async fn ask_of(
        request: TestRequest,
        routes: impl FnOnce(&mut web::ServiceConfig),
    ) -> (StatusCode, Vec<u8>) {
        let about = About { id: 1, name: "one".to_owned(), edition: "consumer" };
        let state = AdminState::new(Metrics::detached().unwrap(), about);
        let app = App::new().app_data(web::Data::new(state)).wrap(from_fn(guard)).configure(routes);
        let app = init_service(app).await;
        let response = call_service(&app, request.to_request()).await;
        for (name, value) in headers() {
            assert_eq!(response.headers().get(&name).unwrap(), value, "{name}");
        }
        (response.status(), read_body(response).await.to_vec())
    }

    /// What is said of a method that no path takes.
    async fn refused_method(path: &str) -> (StatusCode, String) {
        let app = App::new().configure(observing).configure(controlling);
        let request = TestRequest::patch().uri(path).to_request();
        let response = call_service(&init_service(app).await, request).await;
        let allow = response.headers().get(ALLOW).map(|allow| allow.to_str().unwrap().to_owned());
        (response.status(), allow.unwrap_or_default())
    }

    fn failure(body: &[u8]) -> Failure {
        serde_json::from_slice(body).unwrap()
    }

    #[actix_web::test]
    async fn a_node_that_starts_lives_but_is_not_ready() {
        assert_eq!(ask(TestRequest::get().uri("/livez")).await.0, StatusCode::OK);
        let (status, body) = ask(TestRequest::get().uri("/readyz")).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failure(&body).checks, ["starting"]);
        let (status, body) = ask(TestRequest::get().uri("/cluster/status")).await;
        assert_eq!((status, failure(&body).error.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "starting"));
    }

    #[actix_web::test]
    async fn every_path_and_its_methods_are_in_the_openapi_document_and_no_other() {
        let mut document = description::document_of_listener();
        let routed: BTreeSet<&str> = include_str!("server.rs")
            .split("web::resource(\"")
            .skip(1)
            .filter_map(|rest| rest.split_once('"').map(|(path, _)| path))
            .filter(|path| path.starts_with('/'))
            .collect();
        assert_eq!(routed, document.paths.paths.keys().map(String::as_str).collect());
        for (path, item) in &mut document.paths.paths {
            let operations = crate::description::operations(item);
            let mut methods: Vec<_> =
                operations.map(|(method, _)| crate::description::name(&method)).collect();
            let (status, allow) = refused_method(&path.replace(['{', '}'], "")).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
            let mut allowed: Vec<&str> = allow.split(", ").collect();
            allowed.sort_unstable();
            methods.sort_unstable();
            assert_eq!(allowed, methods, "{path}");
        }
    }

    #[actix_web::test]
    async fn metrics_are_served_as_text() {
        let (status, body) = ask(TestRequest::get().uri("/metrics")).await;
        assert_eq!(status, StatusCode::OK);
        assert!(String::from_utf8(body).unwrap().contains("conclave_build_info"));
    }

    #[actix_web::test]
    async fn who_observes_controls_nothing() {
        for path in ["/metrics", "/livez"] {
            assert_eq!(ask_of(TestRequest::get().uri(path), observing).await.0, StatusCode::OK, "{path}");
        }
        let unready = ask_of(TestRequest::get().uri("/readyz"), observing).await.0;
        assert_eq!(unready, StatusCode::SERVICE_UNAVAILABLE);
        for request in [
            TestRequest::get().uri("/cluster/status"),
            TestRequest::get().uri("/sockets"),
            TestRequest::post().uri("/cluster/leader"),
            TestRequest::delete().uri("/cluster/members/1"),
        ] {
            assert_eq!(ask_of(request, observing).await.0, StatusCode::NOT_FOUND);
        }
    }

    #[actix_web::test]
    async fn errors_have_the_one_format() {
        let (status, body) = ask(TestRequest::get().uri("/nothing")).await;
        assert_eq!((status, failure(&body).error.as_str()), (StatusCode::NOT_FOUND, "not_found"));
        let (status, body) = ask(TestRequest::get().uri("/cluster/members")).await;
        assert_eq!(
            (status, failure(&body).error.as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
        );
        let (status, body) = ask(TestRequest::post().uri("/cluster/members").set_payload("{\"id\":1}")).await;
        assert_eq!((status, failure(&body).error.as_str()), (StatusCode::BAD_REQUEST, "invalid_json"));
        assert!(!failure(&body).request_id.is_empty());
    }

    #[actix_web::test]
    async fn pages_are_refused() {
        let page = TestRequest::post().uri("/cluster/leader").insert_header((ORIGIN, "http://evil.example"));
        assert_eq!(ask(page).await.0, StatusCode::FORBIDDEN);
    }

    #[actix_web::test]
    async fn on_loopback_only_names_of_loopback_are_answered_to() {
        for path in ["/metrics", "/livez"] {
            let with = |host: &'static str| TestRequest::get().uri(path).insert_header((HOST, host));
            assert_eq!(ask(with("evil.test")).await.0, StatusCode::MISDIRECTED_REQUEST);
            for own in ["127.0.0.1:9464", "localhost", "[::1]:1"] {
                assert_eq!(ask(with(own)).await.0, StatusCode::OK, "{own}");
            }
        }
    }
}
