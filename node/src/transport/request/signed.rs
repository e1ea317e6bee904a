//! Requests that are signed: looked at before their handler, each nonce once in the whole cluster.

use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use actix_web::{HttpMessage as _, HttpRequest};
use conclave_cluster::state::id::Digest;

use super::app_state::AppState;
use super::authenticate;
use super::digest;
use super::error::{Code, Error};
use crate::access::Credential;
use crate::access::bearer::{self, Shown};
use crate::access::signature::{self, Message, SKEW_SECONDS};
use crate::service::security_events::Fault;
use crate::service::tickets;

/// For how long a nonce is remembered: as long as a request with it could be in time, and a batch more.
const NONCE_MS: u32 = (2 * SKEW_SECONDS as u32 + 10) * 1000;

/// What the body of a signed request must come to; among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Promised(pub(crate) Digest);

/// Whether a request is to be judged by its signature.
pub(crate) fn concerns(shared: &AppState, request: &HttpRequest) -> bool {
    shared.services.auth.takes_signatures() && signature::is_there(request.headers())
}

/// The credential of a signed request, whose nonce is used up by this. That it is refused is noted.
pub(crate) async fn judge(shared: &AppState, request: &HttpRequest) -> Result<Credential, Error> {
    let judged = judge_unnoted(shared, request).await;
    if judged.as_ref().is_err_and(|error| error.code == Code::Unauthorized) {
        authenticate::note_refused(shared, request, Fault::Signature);
    }
    judged
}

async fn judge_unnoted(shared: &AppState, request: &HttpRequest) -> Result<Credential, Error> {
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
        scheme: if authenticate::is_secure(shared, request) { "https" } else { "http" },
        authority: authenticate::authority(request).unwrap_or_default(),
        path: target.path(),
        query: target.query(),
        headers,
        has_body: has_length || headers.contains_key(TRANSFER_ENCODING),
        host_matters: auth.tenants().have_hosts(),
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
    let (subject, services) = (credential.subject, &shared.services);
    match tickets::use_nonce(services, subject, signed.key, signed.nonce, NONCE_MS).await? {
        true => Ok(credential),
        false => Err(Code::Unauthorized.into()),
    }
}
