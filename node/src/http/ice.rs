//! `GET /api/v1/ice`: which STUN and TURN servers a client may use, and with what.

use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Value, json};

use super::call::Call;
use super::error::Error;
use super::reply::ok;
use super::shared::Shared;

/// `GET /api/v1/ice`. Without any server configured the list is empty.
pub(super) async fn get(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = servers(&mut call).await;
    call.finish(result)
}

async fn servers(call: &mut Call<'_>) -> Result<HttpResponse, Error> {
    // A credential is something new: with it somebody else's bandwidth is used. What was given away cannot be charged later.
    call.pay_exactly(call.tier()).await?;
    let ice = &call.shared.options.access.ice;
    let mut servers: Vec<Value> = Vec::new();
    if !ice.stun().is_empty() {
        servers.push(json!({ "urls": ice.stun() }));
    }
    if !ice.turn().is_empty()
        && let Some(login) = ice.login(&user(call), call.shared.services.now_ms())
    {
        servers.push(json!({
            "urls": ice.turn(), "username": login.username, "credential": login.credential,
        }));
    }
    Ok(ok(&json!({ "iceServers": servers, "ttl": ice.ttl().as_secs() })))
}

/// What a TURN server counts by: the same for one subject, another each time for nobody in particular. It tells the
/// TURN server's operator nothing about who that is.
fn user(call: &Call<'_>) -> String {
    let named = call.credential().subject.and_then(|subject| subject.as_bytes().first_chunk().copied());
    format!("{:016x}", named.map_or_else(rand::random, u64::from_be_bytes))
}
