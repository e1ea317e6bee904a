//! From an HTTP request to a socket.

use std::sync::Arc;

use actix_web::http::header::{
    HeaderMap, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use actix_web::http::{Method, Version};
use actix_web::web::Payload;
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};
use actix_web_actors::ws::{self, WebsocketContext};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Sockets;
use super::backlog::MESSAGES_MAX;
use super::bucket::Throttle;
use super::connection::Connection;
use super::connections::{ConnectionEntry, Encoding};
use super::inbound_queue::{InboundQueue, Weighed};
use super::quality::Quality;
use super::rfc6455::Reader;
use super::socket_response_body::Body;
use crate::access::admission;
use crate::admission::buffers::Account;
use crate::admission::client_identity::Client;
use crate::admission::socket_rates::Flow;
use crate::listener::Hangup;

/// The subprotocol of JSON messages.
pub(super) const JSON: &str = "conclave.v1.json";
/// The subprotocol of FlatBuffers messages.
pub(super) const FLATBUFFERS: &str = "conclave.v1.flatbuffers";

/// What understands the messages of one connection.
pub(crate) struct Ends {
    /// What arrives.
    pub(super) messages: mpsc::Receiver<Weighed>,
    /// Where answers go, and what is known of the connection.
    pub(super) entry: Arc<ConnectionEntry>,
}

/// Why a request does not become a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeError {
    /// It does not ask for one, or not in a way that is understood (RFC 6455, section 4.2.1).
    NoUpgrade,
    /// It asks, and something about it is wrong.
    Malformed,
}

/// Accepts the connection, if the request is a proper handshake. `flow` is what all sockets of its client share; what this
/// one holds is on `account`.
pub(crate) fn open(
    sockets: &Sockets,
    request: &HttpRequest,
    payload: Payload,
    admitted: admission::ConnectionPermit,
    flow: Option<(Flow, Client)>,
    account: &Account,
) -> Result<(HttpResponse, Ends), HandshakeError> {
    check(request)?;
    let protocol = protocol(request.headers());
    let options = &sockets.options;
    let hangup = request.extensions().get::<Hangup>().cloned();
    let connection = rand::random();
    let pass = sockets.connections.take(connection, hangup, admitted, account);
    let entry = pass.entry().clone();
    match protocol {
        Some(JSON) => entry.decide(Encoding::Json),
        Some(_) => entry.decide(Encoding::FlatBuffers),
        None => {}
    }
    let mut response = ws::handshake(request).map_err(|_| HandshakeError::Malformed)?;
    // Said here: of several lines of offers (RFC 6455, section 11.3.4) the handshake looks at the first one.
    if let Some(protocol) = protocol {
        response.insert_header((SEC_WEBSOCKET_PROTOCOL, protocol));
    }

    let (sender, messages) = mpsc::channel(MESSAGES_MAX);
    let throttle = Throttle::new(options.rates, options.syntax.message_bytes_max, Instant::now());
    let reader = Reader::new(options.syntax);
    let metrics = entry.metrics().clone();
    let inbound = InboundQueue::new(payload, reader, throttle, flow, sender, account, metrics);
    let quality = Quality::new(options.ping_interval);
    let actor = Connection::new(entry.clone(), inbound, quality, options.hello_timeout);
    let written = WebsocketContext::create(actor, stream::pending());
    let body = Body::new(written, pass);
    Ok((response.streaming(body), Ends { messages, entry }))
}

/// Whether a request asks to become a socket, properly or not.
pub(crate) fn is_requested(headers: &HeaderMap) -> bool {
    headers
        .get_all(UPGRADE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|product| product.trim().eq_ignore_ascii_case("websocket"))
}

/// Whether a request is a proper handshake (RFC 6455, section 4.2.1).
pub(crate) fn check(request: &HttpRequest) -> Result<(), HandshakeError> {
    let headers = request.headers();
    if *request.method() != Method::GET
        || request.version() != Version::HTTP_11
        || !is_requested(headers)
        || !request.head().upgrade()
        || headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13")
    {
        return Err(HandshakeError::NoUpgrade);
    }
    let mut nonce = [0; 18];
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    match key.map(|key| STANDARD.decode_slice(key.as_bytes(), &mut nonce)) {
        Some(Ok(16)) => Ok(()),
        _ => Err(HandshakeError::Malformed),
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

    fn refused(request: TestRequest) -> Option<HandshakeError> {
        check(&request.to_http_request()).err()
    }

    #[test]
    fn a_handshake_is_judged_to_the_letter() {
        assert_eq!(refused(request()), None);
        let upgrade = Some(HandshakeError::NoUpgrade);
        assert_eq!(refused(request().method(Method::POST)), upgrade);
        assert_eq!(refused(request().version(Version::HTTP_10)), upgrade);
        assert_eq!(refused(request().insert_header(("upgrade", "websockets"))), upgrade);
        assert_eq!(refused(request().insert_header(("sec-websocket-version", "8"))), upgrade);
        for key in
            ["", "dGhl", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZSE=", "!!!!!!!!!!!!!!!!!!!!!!=="]
        {
            let refused = refused(request().insert_header(("sec-websocket-key", key)));
            assert_eq!(refused, Some(HandshakeError::Malformed), "{key}");
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
