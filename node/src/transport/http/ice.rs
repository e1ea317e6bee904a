//! `GET /api/v1/ice`: which STUN and TURN servers a client may use, and with what.

use actix_web::HttpResponse;
use serde_json::{Value, json};

use crate::transport::request::context::Context;
use crate::transport::request::error::Error;
use crate::transport::request::reply::ok;

/// `GET /api/v1/ice`. Without any server configured the list is empty.
pub(crate) async fn get(ctx: Context) -> Result<HttpResponse, Error> {
    // A credential is something new: with it somebody else's bandwidth is used. What was given away cannot be charged later.
    ctx.pay_exactly(ctx.tier()).await?;
    let ice = &ctx.shared.options.access.ice;
    let mut servers: Vec<Value> = Vec::new();
    if !ice.stun().is_empty() {
        servers.push(json!({ "urls": ice.stun() }));
    }
    if !ice.turn().is_empty()
        && let Some(login) = ice.login(&user(&ctx), ctx.services().now_ms())
    {
        servers.push(json!({
            "urls": ice.turn(), "username": login.username, "credential": login.credential,
        }));
    }
    Ok(ok(&json!({ "iceServers": servers, "ttl": ice.ttl().as_secs() })))
}

/// What a TURN server counts by: the same for one subject, another each time for nobody in particular. It tells the
/// TURN server's operator nothing about who that is.
fn user(ctx: &Context) -> String {
    let named = ctx.credential().subject.and_then(|subject| subject.as_bytes().first_chunk().copied());
    format!("{:016x}", named.map_or_else(rand::random, u64::from_be_bytes))
}
