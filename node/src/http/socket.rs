//! `GET /api/v1/socket`: who may have a socket, before it is one.

use actix_web::web::{self, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::entrance;
use super::error::{Code, Error, Extra};
use super::shared::Shared;
use crate::access::Scope;
use crate::service::limits::ROOM_CHARS_MAX;
use crate::socket::echo;
use crate::socket::session::{self, Context};
use crate::socket::upgrade::{self, HandshakeError};

/// Gives every message back as it came: for testing conformance.
pub(super) async fn echo(
    request: HttpRequest,
    payload: Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let admitted = entrance::enter(&shared, &request)?;
    let (response, ends) = upgrade::open(&shared.sockets, &request, payload, admitted, None)?;
    actix_web::rt::spawn(echo::run(ends));
    Ok(response)
}

/// `GET /api/v1/socket`.
pub(super) async fn socket(
    request: HttpRequest,
    payload: Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    // In the order of what it costs: a ticket is used up only by who would get in.
    upgrade::check(&request)?;
    let asked = Asked::of(&request)?;
    let admitted = entrance::enter(&shared, &request)?;
    let credential = entrance::authenticate(&shared, &request).await?;
    if !credential.may(Scope::Socket) || asked.room.as_deref().is_some_and(|room| !credential.may_join(room))
    {
        return Err(Code::Forbidden.into());
    }
    let client = entrance::client(&shared, &request);
    let flow = shared.options.shares.sockets.clone();
    let flow = flow.map(|flow| (flow, entrance::sharer(&shared, &request)));
    let (response, ends) = upgrade::open(&shared.sockets, &request, payload, admitted, flow)?;
    let owner = entrance::owner(&shared, &request, &credential);
    let context = Context { credential, client, owner, room: asked.room, volatile: asked.volatile };
    actix_web::rt::spawn(session::run(ends, shared.services.clone(), shared.sockets.clone(), context));
    Ok(response)
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
                "room" if asked.room.is_none() && (1..=ROOM_CHARS_MAX).contains(&value.chars().count()) => {
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
