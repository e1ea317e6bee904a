//! Where browsers report breaches of the content security policy. Reports are counted, not kept: they may hold
//! addresses of pages, which are nobody's business here.

use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};

use super::body;
use super::error::Error;
use super::shared::Shared;

const REPORT_BYTES_MAX: usize = 64 * 1024;

/// `POST /api/v1/csp-reports`.
pub(super) async fn sink(
    request: HttpRequest,
    payload: web::Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    body::read(&request, payload, REPORT_BYTES_MAX).await?;
    shared.metrics.csp_reports.increment(1);
    Ok(HttpResponse::with_body(StatusCode::NO_CONTENT, BoxBody::new(())))
}
