//! The OpenAPI document of the public API. Paths, bodies and answers are the handlers'; what a request needs, and how it may be
//! refused before a handler runs, is what the table of [routes](super::routes) says.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{HttpMethod, RefOr, Required};
use utoipa::{Modify, OpenApi};

use super::routes::ROWS;
use crate::description::{self, Failure, Problem, Reference};
use crate::transport::http::{
    csp_reports, device_registry, edition_and_health, ice, jobs, nodes, relay, tickets, transfers,
    webrtc_sessions,
};
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::fields::{IdempotencyKey, RoomName};
use crate::transport::request::reply::json;
use crate::transport::request::route::{Endpoint, Entry, Kind, Paths, Row};
use crate::transport::sse as events;
use crate::transport::ws::endpoint as socket;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Conclave",
        version = "1",
        description = "Every node answers every request. What to do after a lost reply stands in docs/protocol.md. Every path \
            under `/api/v1/` is also under `/v1/`. Beside what each operation says, `OPTIONS` is answered everywhere, `HEAD` \
            where `GET` is, and any request may be refused with 405 `method_not_allowed`, 410 `gone` (a path past its sunset), \
            426 `tls_required` (where the operator asks for TLS), 431 `headers_too_large` or 500 `internal_error`.",
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((
        url = "http://127.0.0.1:3000",
        description = "A node of `conclave dev --base-port 3000`; 3001 and 3002 are the others"
    )),
    tags(
        (name = "relay", description = "Chunks and signals, as the original server had them"),
        (name = "sessions", description = "One WebRTC offer and its answer"),
        (name = "transfers", description = "Resumable; the same transfers as relay's"),
        (name = "access", description = "What is needed before something else"),
        (name = "devices", description = "Enterprise edition"),
        (name = "server", description = "What the server says of itself"),
    ),
    paths(
        relay::relay,
        jobs::get,
        webrtc_sessions::create,
        webrtc_sessions::resolve,
        webrtc_sessions::delete,
        webrtc_sessions::get_offer,
        webrtc_sessions::put_offer,
        webrtc_sessions::get_answer,
        webrtc_sessions::put_answer,
        transfers::create,
        transfers::get,
        transfers::delete,
        transfers::get_chunk,
        transfers::put_chunk,
        transfers::ack,
        device_registry::register,
        device_registry::list,
        tickets::issue,
        ice::get,
        events::get,
        socket::socket,
        nodes::list,
        edition_and_health::edition,
        edition_and_health::health,
        edition_and_health::livez,
        edition_and_health::readyz,
        csp_reports::sink,
        document,
        page,
    ),
    components(schemas(Failure, Problem, IdempotencyKey, RoomName)),
    security((), ("bearer" = [])),
    modifiers(&Table),
)]
struct Api;

/// The document.
pub fn document_of_api() -> utoipa::openapi::OpenApi {
    Api::openapi()
}

static TEXT: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::from(document_of_api().to_json().expect("a document is JSON")));
static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::of(&document_of_api()));

/// This document
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "server",
    operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn document(_: Context) -> Result<HttpResponse, Error> {
    Ok(json(StatusCode::OK, TEXT.clone()))
}

/// This document as a page
#[utoipa::path(
    get,
    path = "/docs",
    tag = "server",
    operation_id = "reference",
    responses((status = 200, description = "A page without scripts", body = String, content_type = "text/html"))
)]
pub(super) async fn page(_: Context) -> Result<HttpResponse, Error> {
    let page = Bytes::from_static(REFERENCE.page.as_bytes());
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(page));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(&REFERENCE.policy));
    Ok(response)
}

/// Completes the document by the table of routes.
struct Table;

impl Modify for Table {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut document.components {
            let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
            components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        }
        for row in ROWS.iter().filter(|row| matches!(row.paths, Paths::At(_))) {
            let Some(item) = document.paths.paths.get_mut(row.name.template()) else { continue };
            for (method, operation) in description::operations(item) {
                if let Some(endpoint) = row.endpoint(&method_of(&method)) {
                    complete(row, endpoint, operation);
                }
            }
        }
        description::share(document, true);
    }
}

fn method_of(method: &HttpMethod) -> actix_web::http::Method {
    match method {
        HttpMethod::Put => actix_web::http::Method::PUT,
        HttpMethod::Post => actix_web::http::Method::POST,
        HttpMethod::Delete => actix_web::http::Method::DELETE,
        _ => actix_web::http::Method::GET,
    }
}

/// What all operations have that are like this one.
fn complete(row: &Row, endpoint: &Endpoint, operation: &mut Operation) {
    let is_probe = row.kind == Kind::Probe;
    if !matches!(row.kind, Kind::Probe | Kind::Report) {
        let request_id = ParameterBuilder::new()
            .name("X-Request-ID")
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Comes back if it has 1 to 128 letters, digits, dots, underscores and hyphens; else a fresh one does",
            ))
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)));
        operation.parameters.get_or_insert_default().push(request_id.build().into());
    }
    description::success_headers(operation, &["X-Request-ID"]);
    if endpoint.tier.is_some() {
        description::success_headers(operation, &description::CHARGED);
    }
    if !is_probe {
        description::may_fail(operation, 403, "`origin_not_allowed`");
        description::may_fail(operation, 429, "`rate_limit_exceeded`");
        let elsewhere = "`overloaded`, `no_leader`, `shutting_down`";
        description::may_fail(operation, 503, elsewhere);
    }
    if row.entry != Entry::Open {
        description::may_fail(operation, 401, "`unauthorized`");
        description::may_fail(operation, 403, "`forbidden`, `device_not_approved`");
        description::may_fail(operation, 503, "`keys_unavailable`");
    }
    // A path that is spelled as no path may be.
    if !is_probe {
        description::may_fail(operation, 400, "`invalid_input`");
    }
    if row.kind == Kind::Report
        && let Some(RefOr::T(body)) = &mut operation.request_body
    {
        // Whatever a browser says is counted.
        body.required = None;
    }
    if operation.request_body.is_some() {
        description::may_fail(operation, 400, "`invalid_coding`");
        description::may_fail(operation, 408, "`request_timeout`");
        description::may_fail(operation, 413, "`payload_too_large`");
        description::may_fail(operation, 415, "`unsupported_media_type`");
        if takes_json(operation) {
            description::may_fail(operation, 400, "`invalid_json`");
        }
        if row.kind == Kind::Api {
            description::may_fail(operation, 422, "`digest_mismatch`");
        }
    }
    if operation.responses.responses.contains_key("507") {
        description::may_fail(operation, 507, "`storage_full`, `tenant_storage_full`");
    }
}

fn takes_json(operation: &Operation) -> bool {
    matches!(&operation.request_body, Some(RefOr::T(body)) if body.content.contains_key("application/json"))
}

#[cfg(test)]
mod tests;
