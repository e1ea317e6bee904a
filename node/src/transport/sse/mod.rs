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

use crate::access::Scope;
use crate::json_field::chars;
use crate::service::name_lengths::{PEER_CHARS_MAX, ROOM_CHARS_MAX};
use crate::transport::request::authenticate;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::query::param;
use stream::{Feed, Source};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Nothing longer is an id of ours.
const EVENT_ID_BYTES_MAX: usize = 128;
/// A comment is sent this often, so that a connection that broke unnoticed is found out by both ends.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// `GET /api/v1/events?room=` or `?peerId=`.
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
        (Some(room), None) if (1..=ROOM_CHARS_MAX).contains(&chars(&room)) => {
            if !credential.may_join(&room) {
                return Err(Code::Forbidden.into());
            }
            Source::Room(room::Reader::new(room, caller.namespace(), resume.as_deref()))
        }
        (None, Some(peer)) if (1..=PEER_CHARS_MAX).contains(&chars(&peer)) => {
            // A mailbox is a mailbox, by whichever way it is read.
            if !credential.may(Scope::Signal) || !credential.may_claim(&peer) {
                return Err(Code::Forbidden.into());
            }
            if !is_read {
                return Ok(as_event_stream(HttpResponse::new(StatusCode::OK)));
            }
            let services = ctx.shared.services.clone();
            Source::Mail(mail::Reader::claim(services, peer, &credential, caller, resume.as_deref()).await?)
        }
        _ => return Err(Code::InvalidInput.into()),
    };
    if !is_read {
        return Ok(as_event_stream(HttpResponse::new(StatusCode::OK)));
    }
    let feed = Feed::new(ctx.shared.services.clone(), source, credential, pass, lapses, ctx.closed()).await?;
    let feed = feed.holding(head);
    let mut response = HttpResponse::build(StatusCode::OK).streaming(feed.into_stream());
    if ctx.request.version() < Version::HTTP_11 {
        // Who speaks HTTP/1.0 may not know the chunked coding (RFC 9112, section 6.1): the stream is as long as the connection.
        let head = response.head_mut();
        head.no_chunking(true);
        head.set_connection_type(ConnectionType::Close);
    }
    Ok(as_event_stream(response))
}

fn as_event_stream(mut response: HttpResponse) -> HttpResponse {
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
