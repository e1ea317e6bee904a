//! What the server says about itself.

use std::time::{SystemTime, UNIX_EPOCH};

use actix_http::ContentEncoding;
use actix_http::encoding::Encoder;
use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::header::{HeaderValue, VARY};

use super::answers::{Alive, EditionAnswer, Fine, Health, Ready, Serving};
use crate::transport::request::accept::{self, Coding};
use crate::transport::request::context::Context;
use crate::transport::request::edge_options::Options;
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::reply::ok;

/// What this server can
#[utoipa::path(
    get,
    path = "/api/v1/edition",
    tag = "server",
    operation_id = "edition",
    responses((status = 200, description = "A feature that is not there is absent", body = EditionAnswer))
)]
pub(crate) async fn edition(ctx: Context) -> Result<HttpResponse, Error> {
    // The only answer of the API that is compressed: no other is free of secrets and of what a client wrote, and compressing
    // those together tells one by the other's length.
    let mut response = ok(&edition_body(&ctx.shared.options));
    if ctx.shared.options.compression {
        response.headers_mut().insert(VARY, HeaderValue::from_static("Accept-Encoding"));
        let coding = match accept::coding(ctx.request.headers()) {
            Coding::Plain => return Ok(response),
            Coding::Gzip => ContentEncoding::Gzip,
            Coding::Brotli => ContentEncoding::Brotli,
        };
        response = response.map_body(|head, body| BoxBody::new(Encoder::response(coding, head, body)));
    }
    Ok(response)
}

fn edition_body(options: &Options) -> EditionAnswer {
    let edition = options.edition;
    EditionAnswer {
        edition: edition.as_str(),
        is_enterprise: edition.is_enterprise(),
        version: env!("CARGO_PKG_VERSION"),
        features: edition.features().iter().map(|feature| (*feature, true)).collect(),
        timestamp: timestamp(),
    }
}

/// That the process runs, and for how long
#[utoipa::path(
    get,
    path = "/health",
    tag = "server",
    operation_id = "health",
    responses((status = 200, description = "It does", body = Health))
)]
pub(crate) async fn health(ctx: Context) -> Result<HttpResponse, Error> {
    Ok(ok(&Health {
        status: Fine::Ok,
        edition: ctx.shared.options.edition.as_str(),
        uptime: ctx.shared.started.elapsed().as_millis() as f64 / 1000.0,
        timestamp: timestamp(),
    }))
}

/// That the process turns its event loop
#[utoipa::path(
    get,
    path = "/livez",
    tag = "server",
    operation_id = "livez",
    responses((status = 200, description = "It does", body = Alive))
)]
pub(crate) async fn livez(_: Context) -> Result<HttpResponse, Error> {
    Ok(ok(&Alive { status: Fine::Ok }))
}

/// Whether clients should be sent here
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "server",
    operation_id = "readyz",
    responses(
        (status = 200, description = "They should", body = Ready),
        (status = 503, description = "`no_leader` with the checks that `failed`, `shutting_down`"),
    )
)]
pub(crate) async fn readyz(ctx: Context) -> Result<HttpResponse, Error> {
    if ctx.services().cluster.is_removed() {
        return Err(Error::from(Code::ShuttingDown).with(Extra::Failed(vec!["removed"])));
    }
    if ctx.shared.is_leaving() {
        return Err(Error::from(Code::ShuttingDown).with(Extra::Failed(vec!["draining"])));
    }
    match ctx.services().readiness.ask(&ctx.services().cluster, &ctx.services().auth).await {
        Ok(()) => Ok(ok(&Ready { status: Serving::Ready })),
        Err(checks) => Err(Error::from(Code::NoLeader).with(Extra::Failed(checks))),
    }
}

/// Milliseconds since the Unix epoch.
fn timestamp() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::edition::Edition;

    #[test]
    fn an_edition_lists_what_it_has() {
        let body = to_value(edition_body(&Options::default())).unwrap();
        assert_eq!(body["edition"], "consumer");
        assert_eq!(body["isEnterprise"], false);
        assert_eq!(
            body["features"],
            json!({ "relay": true, "ephemeralChunks": true, "webrtcSignaling": true })
        );
        let options = Options { edition: Edition::Enterprise, ..Options::default() };
        let body = to_value(edition_body(&options)).unwrap();
        assert_eq!(body["isEnterprise"], true);
        assert_eq!(body["features"].as_object().unwrap().len(), 9);
    }
}
