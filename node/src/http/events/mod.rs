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

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};

use super::call::Call;
use super::entrance;
use super::error::{Code, Error};
use super::query::param;
use super::shared::Shared;
use crate::access::Scope;
use crate::field::chars;
use crate::service::limits::{PEER_CHARS_MAX, ROOM_CHARS_MAX};
use stream::{Feed, Source};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Nothing longer is an id of ours.
const EVENT_ID_BYTES_MAX: usize = 128;
/// A comment is sent this often, so that a connection that broke unnoticed is found out by both ends.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// `GET /api/v1/events?room=` or `?peerId=`.
pub(super) async fn get(request: HttpRequest, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    let mut call = Call::new(&shared, &request);
    let result = open(&mut call, shared.clone()).await;
    call.finish(result)
}

async fn open(call: &mut Call<'_>, shared: web::Data<Shared>) -> Result<HttpResponse, Error> {
    call.pay(call.tier())?;
    let pass = entrance::enter(call.shared, call.request)?;
    let credential = entrance::authenticate(call.shared, call.request).await?;
    if !credential.may(Scope::Socket) {
        return Err(Code::Forbidden.into());
    }
    let resume = last_event_id(call.request)?;
    let source = match (param(call.request, "room")?, param(call.request, "peerId")?) {
        (Some(room), None) if (1..=ROOM_CHARS_MAX).contains(&chars(&room)) => {
            if !credential.may_join(&room) {
                return Err(Code::Forbidden.into());
            }
            Source::Room(room::Reader::new(room, resume.as_deref()))
        }
        (None, Some(peer)) if (1..=PEER_CHARS_MAX).contains(&chars(&peer)) => {
            // A mailbox is a mailbox, by whichever way it is read.
            if !credential.may(Scope::Signal) || !credential.may_claim(&peer) {
                return Err(Code::Forbidden.into());
            }
            let owner = call.owner();
            let reader =
                mail::Reader::claim(shared.clone(), peer, &credential, owner, resume.as_deref()).await?;
            Source::Mail(reader)
        }
        _ => return Err(Code::InvalidInput.into()),
    };
    let feed = Feed::new(shared, source, credential, pass, call.closed()).await?;
    let mut response = HttpResponse::build(StatusCode::OK).streaming(feed.into_stream());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    // Proxies of one kind gather answers unless told otherwise.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
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
