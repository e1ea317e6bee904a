//! `POST /api/v1/tickets`: a credential for one use, for clients that can show it only in a URL.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;

use super::answers::Ticket;
use crate::service::tickets::{self, TTL};
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::answer;

/// A credential for one use within half a minute
///
/// For clients that can show a credential only in a URL, such as a browser that opens a socket. The ticket is worth what the
/// credential of this request is worth, once, on any node.
#[utoipa::path(
    post,
    path = "/api/v1/tickets",
    tag = "access",
    operation_id = "issueTicket",
    responses(
        (status = 201, description = "It can be used", body = Ticket),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn issue(ctx: Context) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let issued = tickets::issue(ctx.services(), ctx.caller(), charge, &ctx.credential()).await;
    let ticket = Ticket { ticket: ctx.counted(ctx.tier(), issued)?, ttl_sec: TTL.as_secs() };
    Ok(answer(StatusCode::CREATED, &ticket))
}
