//! Where browsers report breaches of the content security policy. Reports are counted, not kept: they may hold
//! addresses of pages, which are nobody's business here.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;

use crate::transport::request::authenticate;
use crate::transport::request::body;
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;

const REPORT_BYTES_MAX: usize = 64 * 1024;

/// Where browsers report breaches of the content security policy
#[utoipa::path(
    post,
    path = "/api/v1/csp-reports",
    tag = "server",
    operation_id = "reportBreach",
    request_body(description = "Counted, and not kept", content((serde_json::Value = "application/reports+json"), (serde_json::Value = "application/csp-report"))),
    responses((status = 204, description = "It is counted"))
)]
pub(crate) async fn sink(mut ctx: Context) -> Result<HttpResponse, Error> {
    let payload = ctx.payload()?;
    let client = authenticate::sharer(&ctx.shared, &ctx.request);
    body::read(&ctx.request, client, payload, REPORT_BYTES_MAX).await?;
    ctx.shared.metrics.csp_reports.increment(1);
    Ok(HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(())))
}
