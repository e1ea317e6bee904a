//! The OpenAPI document of the admin listener, made of what its handlers read and answer.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, ContentType};
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{
    allowances, audit, backend, devices, inventory, log_level, membership, observation, revocations, tenants,
};
use crate::description::{self, Failure, Reference};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Conclave, the admin listener",
        version = "1",
        description = "Metrics, health, members of the cluster, and who may do what. Each node answers for the whole cluster, \
            except where an operation says otherwise. It is a listener of its own (`admin.listen`), on loopback unless told \
            otherwise. On loopback, `Host` must be `localhost` or an address of loopback; a request with `Origin` is refused, \
            except from the node's own console. The console's files are not described here.",
        license(name = "MIT", identifier = "MIT"),
    ),
    servers((url = "http://127.0.0.1:9400", description = "A node with the default configuration")),
    tags(
        (name = "observe", description = "Metrics and health are served at `telemetry.listen` as well"),
        (name = "cluster", description = "Who belongs to it"),
        (name = "access", description = "Who may do what, and who did"),
        (name = "inventory", description = "What is stored; never what is in it"),
        (name = "backend", description = "What an operator's own servers do: say something to clients, and see what one has left"),
    ),
    paths(
        observation::metrics,
        observation::live,
        observation::ready,
        observation::sockets,
        observation::status,
        document,
        page,
        log_level::tell,
        log_level::set,
        membership::add,
        membership::remove,
        membership::promote,
        membership::drain,
        membership::lead,
        audit::tell,
        revocations::list,
        revocations::revoke,
        revocations::lift,
        devices::list,
        devices::approve,
        devices::revoke,
        devices::forget,
        inventory::list,
        inventory::end_many,
        inventory::end,
        tenants::list,
        allowances::show,
        allowances::reset,
        backend::publish,
        backend::signal,
    ),
    components(schemas(Failure)),
    // On loopback, nothing needs to be shown unless `admin.require_token` is on.
    security((), ("token" = [])),
    modifiers(&Common),
)]
struct Listener;

/// The document.
pub fn document_of_listener() -> utoipa::openapi::OpenApi {
    Listener::openapi()
}

static TEXT: LazyLock<String> =
    LazyLock::new(|| document_of_listener().to_json().expect("a document is JSON"));
static REFERENCE: LazyLock<Reference> = LazyLock::new(|| Reference::of(&document_of_listener()));

/// This document
#[utoipa::path(
    get,
    path = "/admin/v1/openapi.json",
    tag = "observe",
    operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type(ContentType::json()).body(TEXT.as_str())
}

/// This document as a page
#[utoipa::path(
    get,
    path = "/docs",
    tag = "observe",
    operation_id = "reference",
    responses((status = 200, description = "A page without scripts", body = String, content_type = "text/html"))
)]
pub(super) async fn page() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(ContentType::html())
        .insert_header((CONTENT_SECURITY_POLICY, REFERENCE.policy.as_str()))
        .body(REFERENCE.page.as_str())
}

/// What all operations have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut document.components {
            let token = HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .description(Some("What stands in `admin.token_file`"))
                .build();
            components.add_security_scheme("token", SecurityScheme::Http(token));
        }
        for (path, item) in &mut document.paths.paths {
            for (_, operation) in description::operations(item) {
                complete(path, operation);
            }
        }
        description::share(document, false);
    }
}

fn complete(path: &str, operation: &mut Operation) {
    let is_probe = ["/livez", "/readyz"].contains(&path);
    let is_there_at_once = is_probe || ["/metrics", "/docs", "/admin/v1/openapi.json"].contains(&path);
    description::may_fail(operation, 403, "`forbidden`");
    description::may_fail(operation, 421, "`misdirected_request`");
    if is_probe {
        operation.security = Some(vec![SecurityRequirement::default()]);
    } else {
        description::may_fail(operation, 401, "`unauthorized`");
        description::may_fail(operation, 429, "`rate_limit_exceeded`");
    }
    if !is_there_at_once {
        description::may_fail(operation, 503, "`starting`, `no_leader`, `overloaded`, `shutting_down`");
    }
    if operation.request_body.is_some() {
        description::may_fail(operation, 400, "`invalid_json`");
        description::may_fail(operation, 408, "`request_timeout`");
        description::may_fail(operation, 413, "`payload_too_large`");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_sound() {
        description::assert_sound(&document_of_listener());
    }

    #[test]
    fn the_copy_in_the_guides_is_the_document() {
        let copy = include_str!("../../../docs/admin-openapi.json");
        let made = document_of_listener().to_pretty_json().unwrap();
        assert!(copy.trim_end() == made, "conclave openapi --admin > docs/admin-openapi.json");
    }

    #[test]
    fn the_page_of_reference_names_every_path() {
        let page = include_str!("../config/reference.md");
        for path in document_of_listener().paths.paths.keys() {
            let last = path.rsplit('/').next().unwrap_or_default();
            assert!(page.contains(path.as_str()) || page.contains(&format!("`/{last}`")), "{path}");
        }
    }
}
