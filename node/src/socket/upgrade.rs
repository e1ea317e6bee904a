//! From an HTTP request to a socket.

use std::sync::Arc;

use actix_web::http::header::{
    HeaderMap, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use actix_web::http::{Method, Version};
use actix_web::web::{self, Payload};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, WebsocketContext};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::body::Body;
use super::bucket::Throttle;
use super::connection::Connection;
use super::inlet::{Inlet, Message, WAITING_MAX};
use super::quality::Quality;
use super::seats::{Encoding, Seat};
use super::session::{self, Context};
use super::syntax::Reader;
use super::{Sockets, echo};
use crate::access::{Scope, admission};
use crate::admission::client::Client;
use crate::admission::flow::Flow;
use crate::http::entrance;
use crate::http::error::{Code, Extra};
use crate::http::{Error, Shared};
use crate::listener::Hangup;
use crate::service::limits::ROOM_CHARS_MAX;

/// The subprotocol of JSON messages.
pub(super) const JSON: &str = "conclave.v1.json";
/// The subprotocol of FlatBuffers messages.
pub(super) const FLATBUFFERS: &str = "conclave.v1.flatbuffers";

/// What understands the messages of one connection.
pub(super) struct Ends {
    /// What arrives.
    pub(super) messages: mpsc::Receiver<Message>,
    /// Where answers go, and what is known of the connection.
    pub(super) seat: Arc<Seat>,
}

/// Gives every message back as it came: for testing conformance.
pub(crate) async fn echo(
    request: HttpRequest,
    payload: Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    let admitted = entrance::enter(&shared, &request)?;
    let (response, ends) = open(&shared.sockets, &request, payload, admitted, None)?;
    actix_web::rt::spawn(echo::run(ends));
    Ok(response)
}

/// `GET /api/v1/socket`.
pub(crate) async fn socket(
    request: HttpRequest,
    payload: Payload,
    shared: web::Data<Shared>,
) -> Result<HttpResponse, Error> {
    // In the order of what it costs: a ticket is used up only by who would get in.
    check(&request)?;
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
    let (response, ends) = open(&shared.sockets, &request, payload, admitted, flow)?;
    let owner = entrance::owner(&shared, &request, &credential);
    let context = Context { credential, client, owner, room: asked.room, volatile: asked.volatile };
    actix_web::rt::spawn(session::run(ends, shared, context));
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

/// Accepts the connection, if the request is a proper handshake (RFC 6455, section 4.2.1). `flow` is what all sockets of
/// its client share.
pub(super) fn open(
    sockets: &Sockets,
    request: &HttpRequest,
    payload: Payload,
    admitted: admission::Pass,
    flow: Option<(Flow, Client)>,
) -> Result<(HttpResponse, Ends), Error> {
    check(request)?;
    let protocol = protocol(request.headers());
    let options = &sockets.options;
    let hangup = request.extensions().get::<Hangup>().cloned();
    let connection = rand::random();
    let pass = sockets.seats.take(connection, hangup, admitted);
    let seat = pass.seat().clone();
    match protocol {
        Some(JSON) => seat.decide(Encoding::Json),
        Some(_) => seat.decide(Encoding::FlatBuffers),
        None => {}
    }
    let mut response = ws::handshake_with_protocols(request, protocol.as_slice())
        .map_err(|_| Error::from(Code::InvalidInput))?;

    let (sender, messages) = mpsc::channel(WAITING_MAX);
    let throttle = Throttle::new(options.rates, options.syntax.message_bytes_max, Instant::now());
    let reader = Reader::new(options.syntax);
    let inlet = Inlet::new(payload, reader, throttle, flow, sender, seat.metrics().clone());
    let quality = Quality::new(options.ping_interval);
    let actor = Connection::new(seat.clone(), inlet, quality, options.hello_timeout);
    let written = WebsocketContext::create(actor, stream::pending());
    let body = Body::new(written, pass);
    Ok((response.streaming(body), Ends { messages, seat }))
}

/// Whether a request wishes to become a socket, properly or not.
pub(crate) fn wished(headers: &HeaderMap) -> bool {
    headers
        .get_all(UPGRADE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|product| product.trim().eq_ignore_ascii_case("websocket"))
}

fn check(request: &HttpRequest) -> Result<(), Error> {
    let headers = request.headers();
    if *request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !wished(headers)
        || !request.head().upgrade()
        || headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13")
    {
        return Err(Error::from(Code::UpgradeRequired).with(Extra::Upgrade));
    }
    let mut nonce = [0; 18];
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    match key.map(|key| STANDARD.decode_slice(key.as_bytes(), &mut nonce)) {
        Some(Ok(16)) => Ok(()),
        _ => Err(Code::InvalidInput.into()),
    }
}

/// The first protocol of ours that the client names.
fn protocol(headers: &HeaderMap) -> Option<&'static str> {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|name| [JSON, FLATBUFFERS].into_iter().find(|ours| *ours == name.trim()))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn request() -> TestRequest {
        TestRequest::get()
            .insert_header(("connection", "keep-alive, Upgrade"))
            .insert_header(("upgrade", "WebSocket"))
            .insert_header(("sec-websocket-version", "13"))
            .insert_header(("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="))
    }

    fn refused(request: TestRequest) -> Option<Code> {
        check(&request.to_http_request()).err().map(|error| error.code)
    }

    #[test]
    fn a_handshake_is_judged_to_the_letter() {
        assert_eq!(refused(request()), None);
        let upgrade = Some(Code::UpgradeRequired);
        assert_eq!(refused(request().method(Method::POST)), upgrade);
        assert_eq!(refused(request().version(Version::HTTP_10)), upgrade);
        assert_eq!(refused(request().insert_header(("upgrade", "websockets"))), upgrade);
        assert_eq!(refused(request().insert_header(("sec-websocket-version", "8"))), upgrade);
        for key in
            ["", "dGhl", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "!!!!!!!!!!!!!!!!!!!!!!=="]
        {
            let refused = refused(request().insert_header(("sec-websocket-key", key)));
            assert_eq!(refused, Some(Code::InvalidInput), "{key}");
        }
    }

    #[test]
    fn the_first_known_protocol_is_taken() {
        let chosen = |offered: &str| {
            let request = request().insert_header(("sec-websocket-protocol", offered)).to_http_request();
            protocol(request.headers())
        };
        assert_eq!(chosen("chat, conclave.v1.flatbuffers, conclave.v1.json"), Some(FLATBUFFERS));
        assert_eq!(chosen("conclave.v1.json"), Some(JSON));
        assert_eq!(chosen("chat"), None);
    }
}
