//! `POST /api/v1/tickets`: a credential for one use, for clients that can show it only in a URL.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde_json::json;

use crate::service::tickets::{self, TTL};
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::json;

/// `POST /api/v1/tickets`.
pub(crate) async fn issue(ctx: Context) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let issued = tickets::issue(ctx.services(), ctx.caller(), charge, &ctx.credential()).await;
    let body = json!({ "ticket": ctx.counted(ctx.tier(), issued)?, "ttlSec": TTL.as_secs() });
    Ok(json(StatusCode::CREATED, body.to_string()))
}
