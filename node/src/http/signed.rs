//! Requests that are signed: looked at before their handler, each nonce once in the whole cluster.

use actix_web::http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use actix_web::{HttpMessage as _, HttpRequest};
use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::id::{Digest, Key};
use conclave_cluster::state::outcome::Refusal;
use conclave_cluster::state::rules::Owner;
use conclave_cluster::state::ticket::{self, Verb};

use super::digest;
use super::entrance;
use super::error::{Code, Error};
use super::shared::Shared;
use crate::access::Credential;
use crate::access::bearer::{self, Shown};
use crate::access::signature::{self, Message, SKEW_SECONDS};
use crate::service::{keys, settle};

/// For how long a nonce is remembered: as long as a request with it could be in time, and a batch more.
const NONCE_MS: u32 = (2 * SKEW_SECONDS as u32 + 10) * 1000;

/// What the body of a signed request must come to; among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Promised(pub(super) Digest);

/// Whether a request is to be judged by its signature.
pub(super) fn concerns(shared: &Shared, request: &HttpRequest) -> bool {
    shared.services.auth.takes_signatures() && signature::is_there(request.headers())
}

/// The credential of a signed request, whose nonce is used up by this.
pub(super) async fn judge(shared: &Shared, request: &HttpRequest) -> Result<Credential, Error> {
    let auth = &shared.services.auth;
    // Two credentials at once are unclear.
    if bearer::header(request.headers()) != Shown::Nothing {
        return Err(Code::Unauthorized.into());
    }
    let headers = request.headers();
    let has_length = headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0");
    let target = request.uri();
    let message = Message {
        method: request.method(),
        scheme: if entrance::is_secure(shared, request) { "https" } else { "http" },
        authority: headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default(),
        path: target.path(),
        query: target.query(),
        headers,
        has_body: has_length || headers.contains_key(TRANSFER_ENCODING),
    };
    let signed = signature::read(headers)?;
    let credential = auth.signed(&signed, &message, shared.services.now_ms())?;
    // A signature that covers no body is for a request that has none, whatever its head says of one.
    let promised = if signed.covers_body() {
        digest::promised(headers)?.ok_or(Code::Unauthorized)?
    } else {
        Digest::of(&[])
    };
    request.extensions_mut().insert(Promised(promised));
    remember(shared, credential.subject, signed.key, signed.nonce).await?;
    Ok(credential)
}

/// Uses a nonce up. Nodes that are shown the same one at once propose it twice, and the log orders them.
async fn remember(shared: &Shared, subject: Option<Key>, key: &str, nonce: &str) -> Result<(), Error> {
    let place = keys::nonce(key, nonce);
    let verb = Verb::Issue { grant: Body::new(Bytes::new()), ttl_ms: NONCE_MS };
    let ask = Ask::Ticket(ticket::Ask { key: place.key, verb });
    let owner = subject.map(|client| Owner { client, network: None });
    let answer = shared.services.registry.carry(place, Draft { owner, ..Draft::of(ask) }).await?;
    match settle(answer.outcome)? {
        Ok(_) => Ok(()),
        Err(Refusal::Ticket(ticket::Refusal::InUse)) => Err(Code::Unauthorized.into()),
        Err(_) => Err(Code::Internal.into()),
    }
}
