//! `GET /api/v1/socket`: who may have a socket, before it is one.

use actix_web::{HttpRequest, HttpResponse, web};

use super::upgrade::{self, HandshakeError};
use super::{Sockets, echo, session};
use crate::access::Scope;
use crate::transport::request::authenticate;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::fields::RoomName;

/// Gives every message back as it came: for testing conformance.
pub(crate) async fn echo(mut ctx: Context) -> Result<HttpResponse, Error> {
    let payload = ctx.payload()?;
    let (sockets, admitted) = (sockets(&ctx)?, authenticate::enter(&ctx.shared, &ctx.request)?);
    let sharer = authenticate::sharer(&ctx.shared, &ctx.request);
    let account = ctx.shared.options.shares.buffers.account(Some(sharer));
    let (response, ends) = upgrade::open(&sockets, &ctx.request, payload, admitted, None, &account)?;
    actix_web::rt::spawn(echo::run(ends));
    Ok(response)
}

/// A WebSocket (RFC 6455); what goes over it is in docs/protocol.md
///
/// It is also at `/ws`, and at `/` for clients that name no path. The subprotocol `conclave.v1.json` or
/// `conclave.v1.flatbuffers` chooses the encoding; without one the first message does.
#[utoipa::path(
    get,
    path = "/api/v1/socket",
    tag = "access",
    operation_id = "socket",
    params(
        ("room" = Option<RoomName>, Query, description = "The room of a FlatBuffers client"),
        ("volatile" = Option<String>, Query,
            description = "`1`: what a FlatBuffers client says goes past the log, at most once"),
        ("ticket" = Option<String>, Query, description = "In place of `Authorization`"),
        ("token" = Option<String>, Query, description = "In place of `Authorization`; the least good"),
    ),
    responses(
        (status = 101, description = "The socket is open"),
        (status = 400, description = "`invalid_input`"),
        (status = 426, description = "`upgrade_required`: not a WebSocket handshake of version 13"),
    )
)]
pub(crate) async fn socket(mut ctx: Context) -> Result<HttpResponse, Error> {
    // In the order of what it costs: a ticket is used up only by who would get in.
    upgrade::check(&ctx.request)?;
    let asked = Asked::of(&ctx.request)?;
    let payload = ctx.payload()?;
    let (shared, request) = (&ctx.shared, &ctx.request);
    let admitted = authenticate::enter(shared, request)?;
    let credential = authenticate::authenticate(shared, request).await?;
    if !credential.may(Scope::Socket) || asked.room.as_deref().is_some_and(|room| !credential.may_join(room))
    {
        return Err(Code::Forbidden.into());
    }
    let (shares, sharer) = (&shared.options.shares, authenticate::sharer(shared, request));
    let flow = shares.sockets.clone().map(|flow| (flow, sharer));
    let account = shares.buffers.account(Some(sharer));
    let sockets = sockets(&ctx)?;
    let (response, ends) = upgrade::open(&sockets, request, payload, admitted, flow, &account)?;
    let caller = authenticate::caller(shared, request, &credential, None);
    authenticate::note_sign_in(shared, request, &credential);
    let from = authenticate::address(shared, request);
    let origin = authenticate::origin(request).map(|origin| origin.into());
    let Asked { room, volatile } = asked;
    let opened = session::Context { credential, caller, from, origin, room, volatile };
    actix_web::rt::spawn(session::run(ends, shared.services.clone(), Sockets::clone(&sockets), opened));
    Ok(response)
}

fn sockets(ctx: &Context) -> Result<web::Data<Sockets>, Error> {
    ctx.request.app_data::<web::Data<Sockets>>().cloned().ok_or_else(|| Code::Internal.into())
}

/// What the URL asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    room: Option<String>,
    volatile: bool,
}

impl Asked {
    fn of(request: &HttpRequest) -> Result<Self, Error> {
        let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
        let mut asked = Self::default();
        for (name, value) in query.map_err(|_| Code::InvalidInput)?.into_inner() {
            match name.as_str() {
                "room" if asked.room.is_none() && RoomName::fits(&value) => {
                    asked.room = Some(value);
                }
                "room" => return Err(Code::InvalidInput.into()),
                "volatile" => asked.volatile = value == "1",
                _ => {}
            }
        }
        Ok(asked)
    }
}

impl From<HandshakeError> for Error {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::NoUpgrade => Self::from(Code::UpgradeRequired).with(Extra::Upgrade),
            HandshakeError::Malformed => Code::InvalidInput.into(),
        }
    }
}
