//! Server-sent events, for clients that cannot open a socket: a room's messages, or a peer's signals.
//!
//! The stream reads the same state as sockets do. Every event's id says where the next stream should go on
//! (`Last-Event-ID`, which browsers send by themselves), on any node. Nothing is buffered ahead: the next batch is
//! read when the last one is written, so that a slow client costs one batch of memory and falls behind in the history.

mod frame;
mod mail;
mod room;
mod stream;

use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::http::{ConnectionType, Method, StatusCode, Version};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;

use crate::access::Scope;
use crate::transport::request::authenticate;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::fields::{PeerId, RoomName};
use crate::transport::request::query::param;
use stream::{Feed, Source};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Nothing longer is an id of ours.
const EVENT_ID_BYTES_MAX: usize = 128;
/// A comment is sent this often, so that a connection that broke unnoticed is found out by both ends.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// A stream of a room's messages or of a peer's signals, in place of a socket
///
/// Server-sent events (HTML standard, section 9.2). The first is `welcome`. `message` carries what a socket would be pushed.
/// `lost` says that messages went before they could be read. `drain` says that the node goes away. A comment comes every 10 s.
/// With `peerId` in place of `room`, `signal` carries what waits in the peer's mailbox, and `replaced` says that somebody else
/// holds it now.
#[utoipa::path(
    get,
    path = "/api/v1/events",
    tag = "access",
    operation_id = "events",
    params(
        ("peerId" = Option<PeerId>, Query, description = "Either this or `room`"),
        ("room" = Option<RoomName>, Query, description = "Either this or `peerId`"),
        ("Last-Event-ID" = Option<String>, Header, max_length = 128,
            description = "The id of the last event of an earlier stream; what came after it is sent first"),
        ("lastEventId" = Option<String>, Query, max_length = 128,
            description = "The same for clients that cannot set headers"),
        ("ticket" = Option<String>, Query, description = "In place of `Authorization`"),
        ("token" = Option<String>, Query, description = "In place of `Authorization`; the least good"),
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 400, description = "`invalid_input`"),
        (status = 409, description = "`peer_in_use`"),
    )
)]
pub(crate) async fn get(ctx: Context) -> Result<HttpResponse, Error> {
    ctx.pay(ctx.tier())?;
    let pass = authenticate::enter(&ctx.shared, &ctx.request)?;
    let credential = authenticate::authenticate(&ctx.shared, &ctx.request).await?;
    if !credential.may(Scope::Socket) {
        return Err(Code::Forbidden.into());
    }
    let caller = ctx.caller_with(&credential);
    // Nothing is claimed for a stream that nobody reads.
    let is_read = ctx.request.method() != Method::HEAD;
    let head = ctx.hold_head()?;
    let resume = last_event_id(&ctx.request)?;
    let lapses = ctx.shared.services.lease.lapses();
    let source = match (param(&ctx.request, "room")?, param(&ctx.request, "peerId")?) {
        (Some(room), None) if RoomName::fits(&room) => {
            if !credential.may_join(&room) {
                return Err(Code::Forbidden.into());
            }
            Source::Room(room::Reader::new(room, caller.namespace(), resume.as_deref()))
        }
        (None, Some(peer)) if PeerId::fits(&peer) => {
            // A mailbox is a mailbox, by whichever way it is read.
            if !credential.may(Scope::Signal) || !credential.may_read(&peer) {
                return Err(Code::Forbidden.into());
            }
            if !is_read {
                return Ok(as_event_stream(ctx.request.version(), unread()));
            }
            let services = ctx.shared.services.clone();
            Source::Mail(
                mail::Reader::claim(services, peer, &credential, caller.clone(), resume.as_deref()).await?,
            )
        }
        _ => return Err(Code::InvalidInput.into()),
    };
    if !is_read {
        return Ok(as_event_stream(ctx.request.version(), unread()));
    }
    let services = ctx.shared.services.clone();
    let feed = Feed::new(services, source, &caller, credential, pass, lapses, ctx.closed()).await?;
    let feed = feed.holding(head);
    let response = HttpResponse::build(StatusCode::OK).streaming(feed.into_stream());
    Ok(as_event_stream(ctx.request.version(), response))
}

/// The answer to `HEAD`: like the stream's, it has no length.
fn unread() -> HttpResponse {
    let nothing = futures_util::stream::empty::<Result<Bytes, std::convert::Infallible>>();
    HttpResponse::build(StatusCode::OK).streaming(nothing)
}

fn as_event_stream(version: Version, mut response: HttpResponse) -> HttpResponse {
    if version < Version::HTTP_11 {
        // Who speaks HTTP/1.0 may not know the chunked coding (RFC 9112, section 6.1): the stream is as long as the connection.
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // Proxies of one kind gather answers unless told otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Where the client's last stream ended: a header, or a parameter for clients that cannot set headers.
fn last_event_id(request: &HttpRequest) -> Result<Option<String>, Error> {
    let id = match request.headers().get(LAST_EVENT_ID) {
        Some(id) => Some(id.to_str().map_err(|_| Code::InvalidInput)?.to_owned()),
        None => param(request, "lastEventId")?,
    };
    match id {
        Some(id) if id.len() > EVENT_ID_BYTES_MAX => Err(Code::InvalidInput.into()),
        id => Ok(id.filter(|id| !id.is_empty())),
    }
}
