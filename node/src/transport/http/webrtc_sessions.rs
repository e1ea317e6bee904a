//! Sessions: one WebRTC offer and its answer. Inside they are called negotiations.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use conclave_cluster::state;
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::limits::ENVELOPE_BYTES_MAX;
use conclave_cluster::state::negotiation::{self, Action, Envelope, Outcome as Negotiated, Resolved, Role};
use conclave_cluster::state::outcome::Outcome;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::answers::{Deleted, EnvelopeStored, Fine, Gone, SessionBegun, SessionFound};
use crate::access::tier_limits::millis;
use crate::actors::StateKey;
use crate::json_field::{Integer, Raw, Text, is_portable};
use crate::service::storage_keys;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::fields::{Ciphertext, EnvelopeVersion, Id, Nonce, SessionPin, WaitMs};
use crate::transport::request::reply::{json, ok};
use crate::transport::request::wait::Patience;
use crate::transport::request::{body, query};

/// What a session begins with.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = BeginSession)]
pub(crate) struct Create<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = Option<SessionPin>)]
    pin: Text<'a>,
}

impl Create<'_> {
    /// The pin, if one is asked for.
    fn pin(&self) -> Result<Option<&str>, Code> {
        match &self.pin {
            Text::Absent => Ok(None),
            Text::String(pin) if pin.is_empty() => Ok(None),
            Text::String(pin) if SessionPin::fits(pin) => Ok(Some(pin)),
            Text::String(_) | Text::Other => Err(Code::InvalidInput),
        }
    }
}

/// Begin a session, under a pin if wished
///
/// A request without a body begins one without a pin.
#[utoipa::path(
    post,
    path = "/api/v1/sessions",
    tag = "sessions",
    operation_id = "createSession",
    request_body(content = Option<Create>),
    responses(
        (status = 200, description = "It lives", body = SessionBegun),
        (status = 400, description = "`invalid_input`"),
        (status = 409, description = "`pin_in_use`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn create(mut ctx: Context) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let body = ctx.json().await?;
    // Existing clients that want no pin may send no body at all.
    let parsed: Create<'_> = if body.is_empty() { Create::default() } else { body::parse(&body)? };
    let pin = parsed.pin()?.map(|pin| ctx.namespace().pin(pin));
    let id = storage_keys::session_id(pin.as_ref());
    let target = ctx.namespace().negotiation(id);
    ctx.about(&target);
    let action = Action::Create { id: id.as_u128(), pin };
    match negotiation(&ctx, target, charge, action).await? {
        Negotiated::Created | Negotiated::Stored | Negotiated::Deleted => {
            let ttl_sec = ctx.ttl().session.as_secs();
            Ok(ok(&SessionBegun { session_id: id, ttl_sec }))
        }
    }
}

/// The session of a pin
#[utoipa::path(
    get,
    path = "/api/v1/sessions/resolve",
    tag = "sessions",
    operation_id = "resolvePin",
    params(("pin" = String, Query, min_length = 1, description = "The pin")),
    responses(
        (status = 200, description = "It lives", body = SessionFound),
        (status = 400, description = "`missing_pin`, `invalid_input`"),
        (status = 404, description = "`pin_not_found`, `session_expired`"),
    )
)]
pub(crate) async fn resolve(ctx: Context) -> Result<HttpResponse, Error> {
    let Some(pin) = query::param(&ctx.request, "pin")?.filter(|pin| !pin.is_empty()) else {
        ctx.pay(ctx.tier())?;
        return Err(Code::MissingPin.into());
    };
    let key = ctx.namespace().pin(&pin);
    let found = ctx.look_up(state::query::Resolve(key), |resolved| match resolved {
        Resolved::Live(id) => Ok(Uuid::from_u128(id)),
        Resolved::Expired => Err(Code::PinExpired),
        Resolved::Unknown => Err(Code::PinNotFound),
    });
    let id = found.await??;
    ctx.about(&ctx.namespace().negotiation(id));
    Ok(ok(&SessionFound { session_id: id }))
}

/// An offer or an answer, sealed. What it has beside these fields is its sender's, and comes back as well.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Envelope)]
pub(crate) struct Sealed<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = EnvelopeVersion, required, inline)]
    version: Raw<'a>,
    /// The one of the path.
    #[serde(borrow, default)]
    #[schema(value_type = String, format = "uuid", required)]
    session_id: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Nonce, required)]
    nonce: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Ciphertext, required)]
    ct: Text<'a>,
}

/// An envelope that is there.
#[derive(ToSchema)]
pub(crate) struct EnvelopeFound<'a> {
    #[allow(dead_code, reason = "it is handed out as it came")]
    envelope: Sealed<'a>,
}

impl Sealed<'_> {
    /// Whether the four fields that every envelope has are in order. What else it has is its sender's.
    fn check(&self, session: Uuid) -> Result<(), Code> {
        let ours = self.session_id.filled().and_then(|id| id.parse().ok()) == Some(session);
        let valid = self.version.integer() == Integer::Is(EnvelopeVersion::IS)
            && ours
            && self.nonce.filled().is_some_and(Nonce::fits)
            && self.ct.filled().is_some_and(Ciphertext::fits);
        if valid { Ok(()) } else { Err(Code::InvalidEnvelope) }
    }
}

/// An envelope as it is kept: letter by letter as it was sent, if every reader can read it.
fn kept(body: Bytes, session: Uuid) -> Result<Bytes, Error> {
    if body.len() > ENVELOPE_BYTES_MAX {
        return Err(Error::from(Code::PayloadTooLarge).with(Extra::Limit(ENVELOPE_BYTES_MAX)));
    }
    body::parse::<Sealed<'_>>(&body)?.check(session)?;
    if !str::from_utf8(&body).is_ok_and(is_portable) {
        return Err(Code::InvalidEnvelope.into());
    }
    Ok(body)
}

/// Store the offer, over an earlier one
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{id}/offer",
    tag = "sessions",
    operation_id = "putOffer",
    params(("id" = inline(Id), Path, description = "The session")),
    request_body(content = Sealed),
    responses(
        (status = 200, description = "It is stored, and the session lives for its whole time again", body = EnvelopeStored),
        (status = 400, description = "`invalid_envelope`"),
        (status = 410, description = "`session_expired`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn put_offer(ctx: Context) -> Result<HttpResponse, Error> {
    put(ctx, Role::Offer).await
}

/// Store the answer, over an earlier one
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{id}/answer",
    tag = "sessions",
    operation_id = "putAnswer",
    params(("id" = inline(Id), Path, description = "The session")),
    request_body(content = Sealed),
    responses(
        (status = 200, description = "It is stored, and the session lives for its whole time again", body = EnvelopeStored),
        (status = 400, description = "`invalid_envelope`"),
        (status = 410, description = "`session_expired`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn put_answer(ctx: Context) -> Result<HttpResponse, Error> {
    put(ctx, Role::Answer).await
}

async fn put(mut ctx: Context, role: Role) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let (session, target) = session(&ctx)?;
    let body = ctx.json().await?;
    let envelope = kept(body, session)?;
    let envelope = Body::new(body::kept(&envelope, &envelope));
    match negotiation(&ctx, target, charge, Action::Put { role, envelope }).await? {
        Negotiated::Created | Negotiated::Stored | Negotiated::Deleted => {
            let ttl_sec = ctx.ttl().session.as_secs();
            Ok(ok(&EnvelopeStored { status: Fine::Ok, ttl_sec }))
        }
    }
}

/// The offer, if it is there
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}/offer",
    tag = "sessions",
    operation_id = "getOffer",
    params(
        ("id" = inline(Id), Path, description = "The session"),
        ("waitMs" = Option<WaitMs>, Query, description = "For how long to wait for it, in milliseconds"),
    ),
    responses(
        (status = 200, description = "It is there", body = EnvelopeFound),
        (status = 400, description = "`invalid_input`"),
        (status = 404, description = "`not_found`: not yet"),
        (status = 410, description = "`session_expired`"),
    )
)]
pub(crate) async fn get_offer(ctx: Context) -> Result<HttpResponse, Error> {
    get(&ctx, Role::Offer).await
}

/// The answer, if it is there
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}/answer",
    tag = "sessions",
    operation_id = "getAnswer",
    params(
        ("id" = inline(Id), Path, description = "The session"),
        ("waitMs" = Option<WaitMs>, Query, description = "For how long to wait for it, in milliseconds"),
    ),
    responses(
        (status = 200, description = "It is there", body = EnvelopeFound),
        (status = 400, description = "`invalid_input`"),
        (status = 404, description = "`not_found`: not yet"),
        (status = 410, description = "`session_expired`"),
    )
)]
pub(crate) async fn get_answer(ctx: Context) -> Result<HttpResponse, Error> {
    get(&ctx, Role::Answer).await
}

async fn get(ctx: &Context, role: Role) -> Result<HttpResponse, Error> {
    ctx.pay(ctx.tier())?;
    let wait: Duration = query::wait(&ctx.request)?;
    let (_, target) = session(ctx)?;
    let mut patience = Patience::new(ctx, target, wait).await?;
    let envelope = state::query::Envelope(target.key, role);
    let mut seen = ctx.look(envelope).await?;
    loop {
        match seen {
            Envelope::Present(envelope) => return Ok(json(StatusCode::OK, envelope_body(envelope.bytes()))),
            Envelope::Expired => return Err(Code::SessionExpired.into()),
            Envelope::Missing => {
                if !patience.another_look().await {
                    return Err(Code::NotFound.into());
                }
            }
        }
        seen = ctx.services().cluster.read_stale(envelope).await?;
    }
}

fn envelope_body(envelope: &[u8]) -> Vec<u8> {
    [br#"{"envelope":"#, envelope, b"}"].concat()
}

/// End a session
#[utoipa::path(
    delete,
    path = "/api/v1/sessions/{id}",
    tag = "sessions",
    operation_id = "deleteSession",
    params(("id" = inline(Id), Path, description = "The session")),
    responses(
        (status = 200, description = "It is gone", body = Deleted),
        (status = 410, description = "`session_expired`: it was gone before"),
    )
)]
pub(crate) async fn delete(ctx: Context) -> Result<HttpResponse, Error> {
    let charge = ctx.admit(ctx.tier())?;
    let (_, target) = session(&ctx)?;
    match negotiation(&ctx, target, charge, Action::Delete).await? {
        Negotiated::Created | Negotiated::Stored | Negotiated::Deleted => {
            Ok(ok(&Deleted { status: Gone::Deleted }))
        }
    }
}

/// The session that the path names. An id that can't be one is answered as one that is gone.
fn session(ctx: &Context) -> Result<(Uuid, StateKey), Error> {
    let id = ctx.parameter("id").parse::<Uuid>().map_err(|_| Code::SessionExpired)?;
    let target = ctx.namespace().negotiation(id);
    ctx.about(&target);
    Ok((id, target))
}

async fn negotiation(
    ctx: &Context,
    target: StateKey,
    charge: Option<Charge>,
    action: Action,
) -> Result<Negotiated, Error> {
    let ttl_ms = millis(ctx.ttl().session);
    let op = Op::Negotiation(negotiation::Op { key: target.key, ttl_ms, action });
    match ctx.change(charge, None, op).await? {
        Outcome::Negotiation(outcome) => Ok(outcome),
        _ => Err(Code::Internal.into()),
    }
}

#[cfg(test)]
mod tests;
