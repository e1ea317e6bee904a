//! The one error of the HTTP edge, and its one shape.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_VERSION,
    UPGRADE, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use conclave_cluster::state::outcome::{Refusal, Scope};
use conclave_cluster::state::{device, invite_code, mailbox, mailbox_claim, negotiation, transfer};

use super::reply::JSON;
use crate::access::admission;
use crate::access::auth::{Unauthorized, Unverified};
use crate::admission::share;
use crate::service;

/// What a client is told that showed no credential, or one that is worth nothing (RFC 6750, section 3). Which of the
/// two, and why, is not said: it would help only somebody who tries.
const CHALLENGE: &str = "Bearer realm=\"conclave\", error=\"invalid_token\"";
/// Media type of a problem document (RFC 9457).
const PROBLEM: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request got no success.
#[derive(Debug)]
pub struct Error {
    pub(crate) code: Code,
    pub(crate) extra: Extra,
    /// Whose bound was met, where it is one: said with 429 and 507.
    pub(crate) scope: Option<Scope>,
}

/// A field that some errors have beside the usual ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Extra {
    None,
    /// The signal types there are.
    ValidTypes(&'static [&'static str]),
    /// The bound that was passed, in bytes.
    Limit(usize),
    /// That the transfer was acknowledged before its chunks went.
    Acknowledged,
    /// Seconds until it makes sense to come back.
    RetryAfter(u64),
    /// The methods that the path has.
    Allow(&'static str),
    /// The checks that failed.
    Failed(Vec<&'static str>),
    /// The protocol that the path speaks.
    Upgrade,
    /// TLS, which the path is not spoken with otherwise.
    Tls,
    /// What would have been accepted: the value of `WWW-Authenticate`.
    Challenge(&'static str),
    /// The codings that a body may have.
    Codings(&'static str),
}

macro_rules! codes {
    ($($variant:ident $status:literal $name:literal $message:literal;)*) => {
        /// What went wrong: a status, a name that programs read, and a sentence that people read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[allow(clippy::enum_variant_names, reason = "the names are the contract's")]
        pub(crate) enum Code { $($variant),* }

        impl Code {
            /// All codes, for whatever keeps one thing per code.
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant),*];

            fn spec(self) -> (u16, &'static str, &'static str) {
                match self { $(Self::$variant => ($status, $name, $message)),* }
            }
        }
    };
}

codes! {
    MissingAction 400 "missing_action" "The request names no action.";
    MissingFields 400 "missing_fields" "A required field is absent or of the wrong type.";
    MissingPinOrPasswordHash 400 "missing_pin_or_passwordHash" "Both pin and passwordHash are required.";
    MissingInviteCode 400 "missing_invite_code" "An invite code is required.";
    MissingPeerId 400 "missing_peer_id" "A peer id is required.";
    MissingPin 400 "missing_pin" "A pin is required.";
    InvalidJson 400 "invalid_json" "The body is not a JSON object.";
    InvalidCoding 400 "invalid_coding" "The body is not coded as its Content-Encoding says.";
    InvalidEnvelope 400 "invalid_envelope" "The envelope is malformed or belongs to another session.";
    InvalidInviteCode 400 "invalid_invite_code" "An invite code is 8 to 16 letters or digits.";
    InviteCodeInUse 400 "invite_code_in_use" "Another peer holds this invite code.";
    InvalidSignalType 400 "invalid_signal_type" "There is no such type of signal.";
    InvalidInput 400 "invalid_input" "A field, header or parameter is malformed or out of range.";
    ConnectionClosed 400 "connection_closed" "The client closed its end of the connection; nothing was handed out.";
    Unauthorized 401 "unauthorized" "A valid credential is required.";
    Forbidden 403 "forbidden" "The credential does not cover this.";
    DeviceNotApproved 403 "device_not_approved" "The device is not registered, not approved yet, or revoked.";
    OriginNotAllowed 403 "origin_not_allowed" "Pages of this origin may not call this server.";
    EnterpriseRequired 403 "enterprise_required" "This is part of the enterprise edition.";
    NotFound 404 "not_found" "Not found.";
    UnknownAction 404 "unknown_action" "There is no such action.";
    PeerNotFound 404 "peer_not_found" "No peer is registered under this invite code.";
    PinNotFound 404 "pin_not_found" "No session is known under this pin.";
    PinExpired 404 "session_expired" "The session of this pin is gone.";
    MethodNotAllowed 405 "method_not_allowed" "This path has no such method.";
    RequestTimeout 408 "request_timeout" "The request took too long to arrive.";
    TooManyDevices 409 "too_many_devices" "This user has as many devices as one may.";
    PinInUse 409 "pin_in_use" "Another live session holds this pin.";
    PeerInUse 409 "peer_in_use" "Somebody else holds this peer id.";
    ChunkConflict 409 "chunk_conflict" "Other bytes are stored at this index.";
    TotalMismatch 409 "total_mismatch" "The transfer was begun with another number of chunks.";
    Gone 410 "gone" "This path is no longer served.";
    SessionExpired 410 "session_expired" "The session is gone.";
    PayloadTooLarge 413 "payload_too_large" "The body is larger than allowed.";
    UnsupportedMediaType 415 "unsupported_media_type" "This path takes JSON, coded with gzip, deflate, br or not at all.";
    DigestMismatch 422 "digest_mismatch" "The body does not match its digest.";
    UpgradeRequired 426 "upgrade_required" "This path speaks WebSocket, version 13.";
    TlsRequired 426 "tls_required" "TLS is required.";
    HeadTooLarge 431 "headers_too_large" "The head of the request is larger than allowed.";
    RateLimitExceeded 429 "rate_limit_exceeded" "Too many requests; come back later.";
    MailboxFull 429 "mailbox_full" "Too many signals wait for this peer.";
    Overloaded 503 "overloaded" "The server is overloaded; try again later.";
    NoLeader 503 "no_leader" "The cluster has no leader at the moment; try again.";
    KeysUnavailable 503 "keys_unavailable" "The keys that credentials are checked with cannot be had at the moment; try again.";
    ShuttingDown 503 "shutting_down" "This node is going away; try again, perhaps elsewhere.";
    StorageFull 507 "storage_full" "The storage quota is exhausted.";
    TenantStorageFull 507 "tenant_storage_full" "The storage quota of the organisation is exhausted.";
    Internal 500 "internal_error" "Something went wrong on our side.";
    InvalidChunk 200 "invalid_chunk" "The chunk is malformed or out of range.";
    DuplicateChunk 200 "duplicate_chunk" "This index holds another chunk, or was delivered.";
    TotalChunksMismatch 200 "totalChunks_mismatch" "The transfer was begun with another number of chunks.";
}

impl Code {
    /// The HTTP status. Three refusals of chunks are successes to HTTP, because existing clients expect it.
    pub(crate) fn status(self) -> StatusCode {
        StatusCode::from_u16(self.spec().0).expect("the table holds valid statuses only")
    }

    /// The name that programs read.
    pub(crate) fn name(self) -> &'static str {
        self.spec().1
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        let extra = match code {
            Code::Overloaded | Code::NoLeader | Code::KeysUnavailable | Code::ShuttingDown => {
                Extra::RetryAfter(1)
            }
            Code::Unauthorized => Extra::Challenge(CHALLENGE),
            Code::TlsRequired => Extra::Tls,
            _ => Extra::None,
        };
        let scope = match code {
            Code::RateLimitExceeded => Some(Scope::Client),
            Code::StorageFull | Code::MailboxFull => Some(Scope::Cluster),
            Code::TenantStorageFull => Some(Scope::Tenant),
            _ => None,
        };
        Self { code, extra, scope }
    }
}

impl From<conclave_cluster::Error> for Error {
    fn from(error: conclave_cluster::Error) -> Self {
        match error {
            conclave_cluster::Error::Overloaded | conclave_cluster::Error::Behind => Code::Overloaded.into(),
            conclave_cluster::Error::NoLeader => Code::NoLeader.into(),
            conclave_cluster::Error::ShuttingDown => Code::ShuttingDown.into(),
        }
    }
}

impl From<Unverified> for Error {
    fn from(error: Unverified) -> Self {
        match error {
            Unverified::Unauthorized(error) | Unverified::Expired(error) | Unverified::Revoked(error) => {
                error.into()
            }
            Unverified::DeviceNotApproved => Code::DeviceNotApproved.into(),
            Unverified::Tenant => Code::Forbidden.into(),
            Unverified::KeysUnavailable => Code::KeysUnavailable.into(),
        }
    }
}

impl From<Unauthorized> for Error {
    fn from(_: Unauthorized) -> Self {
        Code::Unauthorized.into()
    }
}

impl From<share::Refused> for Error {
    fn from(refused: share::Refused) -> Self {
        match refused {
            // When it gives one of them back, only the client knows.
            share::Refused::Client => of_client(5),
            share::Refused::All => Code::Overloaded.into(),
        }
    }
}

impl From<service::Error> for Error {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::Limited { retry_after_ms, scope } => too_many(retry_after_ms).of(scope),
            service::Error::StorageFull => Code::StorageFull.into(),
            // 507 as well; only whose bound it is differs.
            service::Error::ShareFull => Self::from(Code::StorageFull).of(Scope::Client),
            service::Error::TenantShareFull => Code::TenantStorageFull.into(),
            service::Error::Refused(refusal) => refused(&refusal).into(),
            service::Error::Unexpected => Code::Internal.into(),
            service::Error::Cluster(error) => error.into(),
        }
    }
}

/// What each refusal is called; relay has words of its own for those of chunks.
fn refused(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::Transfer(transfer::Refusal::Conflict | transfer::Refusal::Delivered) => Code::ChunkConflict,
        Refusal::Transfer(transfer::Refusal::TotalMismatch) => Code::TotalMismatch,
        Refusal::Transfer(transfer::Refusal::OutOfRange) => Code::InvalidInput,
        Refusal::Transfer(transfer::Refusal::Absent) => Code::NotFound,
        Refusal::Negotiation(negotiation::Refusal::PinInUse) => Code::PinInUse,
        Refusal::Negotiation(negotiation::Refusal::Expired) => Code::SessionExpired,
        Refusal::Mailbox(mailbox::Refusal::Full) => Code::MailboxFull,
        Refusal::Rendezvous(invite_code::Refusal::InUse) => Code::InviteCodeInUse,
        Refusal::Device(device::Refusal::Full) => Code::TooManyDevices,
        Refusal::Claim(mailbox_claim::Refusal::Held) => Code::PeerInUse,
        // Told apart before, or of no command that HTTP makes.
        Refusal::Allowance { .. }
        | Refusal::StorageFull
        | Refusal::ShareFull
        | Refusal::TenantShareFull
        | Refusal::Registration(_)
        | Refusal::Stale
        | Refusal::Moved { .. }
        | Refusal::Unready
        | Refusal::Lapsed
        | Refusal::Handoff(_)
        | Refusal::Revocation(_)
        | Refusal::Placement(_)
        | Refusal::Mailbox(mailbox::Refusal::NotHeld)
        | Refusal::NodeIdentity(_)
        | Refusal::Incarnation(_)
        | Refusal::Socket(_)
        | Refusal::Room(_)
        | Refusal::Ticket(_) => Code::Internal,
    }
}

/// The client's allowance is spent for so long.
pub(crate) fn too_many(retry_after_ms: u64) -> Error {
    Error::from(Code::RateLimitExceeded).with(Extra::RetryAfter(retry_after_ms.div_ceil(1000).max(1)))
}

/// The client's own bound on this node is reached.
pub(crate) fn of_client(retry_after_seconds: u64) -> Error {
    Error::from(Code::RateLimitExceeded).with(Extra::RetryAfter(retry_after_seconds))
}

impl From<admission::Refused> for Error {
    fn from(refused: admission::Refused) -> Self {
        match refused {
            admission::Refused::Client { retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1000).max(1);
                Self::from(Code::RateLimitExceeded)
                    .with(Extra::RetryAfter(u64::try_from(seconds).unwrap_or(u64::MAX)))
            }
            // Those who were turned away together shall not come back together.
            admission::Refused::Full => {
                Self::from(Code::Overloaded).with(Extra::RetryAfter(rand::random_range(1..=5)))
            }
        }
    }
}

impl Error {
    pub(crate) fn with(mut self, extra: Extra) -> Self {
        self.extra = extra;
        self
    }

    /// Says whose bound was met.
    pub(crate) fn of(mut self, scope: Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// The response, under the request's id; a problem document if the client asked for one. `waiting` keeps
    /// `"status": "waiting"` in the body.
    pub(crate) fn render(&self, request_id: &str, problem: bool, waiting: bool) -> HttpResponse {
        let status = self.code.status();
        let problem = problem && status.as_u16() >= 400;
        let mut response = HttpResponse::build(status).body(self.body(request_id, problem, waiting));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, if problem { PROBLEM } else { JSON });
        self.write_headers(headers);
        response
    }

    fn write_headers(&self, headers: &mut HeaderMap) {
        match self.extra {
            Extra::RetryAfter(seconds) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
            Extra::Failed(_) => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Extra::Allow(methods) => {
                headers.insert(ALLOW, HeaderValue::from_static(methods));
            }
            Extra::Upgrade => {
                headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Extra::Tls => {
                headers.insert(UPGRADE, HeaderValue::from_static("TLS/1.3, HTTP/1.1"));
            }
            Extra::Challenge(challenge) => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
            }
            Extra::Codings(codings) => {
                headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
            }
            Extra::None | Extra::ValidTypes(_) | Extra::Limit(_) | Extra::Acknowledged => {}
        }
    }

    /// The body, as a test reads it.
    #[cfg(test)]
    pub(crate) fn text(&self, request_id: &str, problem: bool, waiting: bool) -> String {
        self.body(request_id, problem, waiting)
    }

    /// Nothing in here needs escaping: codes and sentences are ours, and a request id is checked letter by letter.
    fn body(&self, request_id: &str, problem: bool, waiting: bool) -> String {
        let (status, name, message) = self.code.spec();
        let mut body = String::with_capacity(256);
        if problem {
            body.push_str(&format!(
                r#"{{"type":"urn:conclave:error:{name}","title":"{message}","status":{status},"#
            ));
        } else {
            body.push('{');
        }
        if waiting && !problem {
            body.push_str(r#""status":"waiting","#);
        }
        body.push_str(&format!(r#""error":"{name}","message":"{message}","requestId":"{request_id}""#));
        match self.scope {
            Some(Scope::Client) => body.push_str(r#","scope":"client""#),
            Some(Scope::Cluster) => body.push_str(r#","scope":"cluster""#),
            Some(Scope::Tenant) => body.push_str(r#","scope":"tenant""#),
            None => {}
        }
        match self.extra {
            Extra::None
            | Extra::Allow(_)
            | Extra::Challenge(_)
            | Extra::Codings(_)
            | Extra::Upgrade
            | Extra::Tls => {}
            Extra::ValidTypes(types) => {
                body.push_str(&format!(r#","validTypes":["{}"]"#, types.join(r#"",""#)));
            }
            Extra::Limit(bytes) => body.push_str(&format!(r#","limit":{bytes}"#)),
            Extra::Acknowledged => body.push_str(r#","acknowledged":true"#),
            Extra::RetryAfter(seconds) => body.push_str(&format!(r#","retryAfter":{seconds}"#)),
            Extra::Failed(ref checks) => {
                body.push_str(&format!(r#","failed":["{}"]"#, checks.join(r#"",""#)));
            }
        }
        body.push('}');
        body
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.name())
    }
}

/// The guard writes the body, because it knows the request's id; until then only the status matters.
impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        self.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.code.status())
    }
}

#[cfg(test)]
mod tests;
