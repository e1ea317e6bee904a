//! `GET /api/v1/ice`: which STUN and TURN servers a client may use, and with what.

use actix_web::HttpResponse;

use super::answers::{IceServer, IceServers};
use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::ok;

/// STUN and TURN servers, with a credential that lapses by itself
#[utoipa::path(
    get,
    path = "/api/v1/ice",
    tag = "access",
    operation_id = "ice",
    responses((status = 200, description = "Those that the operator configured", body = IceServers))
)]
pub(crate) async fn get(ctx: Context) -> Result<HttpResponse, Error> {
    // A credential is something new: with it somebody else's bandwidth is used. What was given away cannot be charged later.
    ctx.pay_exactly(ctx.tier()).await?;
    let ice = &ctx.shared.options.access.ice;
    let mut ice_servers = Vec::new();
    if !ice.stun().is_empty() {
        ice_servers.push(IceServer { urls: ice.stun().to_vec(), username: None, credential: None });
    }
    if !ice.turn().is_empty()
        && let Some(login) = ice.login(&user(&ctx), ctx.services().now_ms())
    {
        let (username, credential) = (Some(login.username), Some(login.credential));
        ice_servers.push(IceServer { urls: ice.turn().to_vec(), username, credential });
    }
    Ok(ok(&IceServers { ice_servers, ttl: ice.ttl().as_secs() }))
}

/// What a TURN server counts by: the same for one subject, another each time for nobody in particular. It tells the
/// TURN server's operator nothing about who that is.
fn user(ctx: &Context) -> String {
    let named = ctx.credential().subject.and_then(|subject| subject.as_bytes().first_chunk().copied());
    format!("{:016x}", named.map_or_else(rand::random, u64::from_be_bytes))
}
