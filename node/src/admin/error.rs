//! Refusals of the admin API, in the node's one error format.

use std::ops::RangeInclusive;

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use conclave_cluster::MembershipError;
use conclave_cluster::state::outcome::Refusal;
use conclave_cluster::state::{mailbox, registration, revocation, room};
use uuid::Uuid;

use super::api_types::Failure;
use crate::access::tenant;
use crate::service;

/// Characters of a token's id, of a subject and of a device.
const NAME_CHARS: RangeInclusive<usize> = 1..=256;

/// Why an admin request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("There is nothing at this address.")]
    NotFound,
    #[error("This address does not answer to this method.")]
    Method(&'static str),
    #[error("The body is not the JSON that belongs here: {0}.")]
    Json(&'static str),
    #[error("The query is wrong: this call takes {0}.")]
    Query(String),
    #[error(
        "A body has at most {} bytes; one with content for others at most {}, and its content at most 65,536.",
        super::body::BYTES_MAX,
        super::body::CONTENT_BYTES_MAX
    )]
    TooLarge,
    #[error("There is none of this id, or no connection holds it.")]
    Unknown,
    #[error("This device is not registered.")]
    UnknownDevice,
    #[error("The device shows another key than the one that was seen: look at it again.")]
    DeviceChanged,
    #[error("The input is not right: {0}.")]
    Input(&'static str),
    #[error("The level is not right: {0}.")]
    LogLevel(String),
    #[error(
        "As much is revoked as may be (10,000): lift what is over, or revoke subjects in place of their tokens."
    )]
    Full,
    #[error("The room has as many members as it may.")]
    RoomFull,
    #[error("Too many signals wait for this peer.")]
    MailboxFull,
    #[error("The cluster stores as much as it may.")]
    StorageFull,
    #[error("Too much waits on this node.")]
    Overloaded,
    #[error("The node is going away.")]
    ShuttingDown,
    #[error(
        "A cell that was asked has no leader at the moment: `conclave cluster status` shows which one. Whether it was done is \
         not known."
    )]
    NoLeader,
    #[error("The cluster answered what it never should.")]
    Internal,
    #[error("Pages may not call the admin API.")]
    Page,
    #[error(
        "The admin listener asks for its token: `Authorization: Bearer`, with what stands in admin.token_file."
    )]
    Unauthorized,
    #[error("This address asks too often.")]
    TooFast(u64),
    #[error("A listener on loopback answers to `localhost` and addresses of loopback alone.")]
    Host,
    #[error("The node is starting.")]
    Starting,
    #[error("The node is not ready.")]
    Unready(Vec<&'static str>),
    #[error("There is no other voter to lead.")]
    NoSuccessor,
    #[error("{}", sentence(.0))]
    Cluster(#[from] MembershipError),
}

fn sentence(error: &MembershipError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// Refuses names that cannot exist: of an organisation, and of tokens, subjects and devices.
pub(super) fn check_names(tenant: Option<&str>, names: &[Option<&str>]) -> Result<(), Error> {
    if tenant.is_some_and(|tenant| !tenant::is_name(tenant)) {
        return Err(Error::Input("an organisation's name has lowercase letters, digits and hyphens"));
    }
    let is_name = |name: &str| NAME_CHARS.contains(&name.chars().count()) && !name.contains(char::is_control);
    if !names.iter().flatten().all(|name| is_name(name)) {
        return Err(Error::Input("each name has 1 to 256 characters, none of them a control character"));
    }
    Ok(())
}

impl Error {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Method(_) => "method_not_allowed",
            Self::Json(_) => "invalid_json",
            Self::Query(_) => "invalid_query",
            Self::Input(_) | Self::LogLevel(_) => "invalid_input",
            Self::TooLarge => "payload_too_large",
            Self::Unknown => "unknown_id",
            Self::UnknownDevice => "unknown_device",
            Self::DeviceChanged => "device_changed",
            Self::Full => "revocations_full",
            Self::RoomFull => "room_full",
            Self::MailboxFull => "mailbox_full",
            Self::StorageFull => "storage_full",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting_down",
            Self::Internal => "internal",
            Self::Page => "forbidden",
            Self::Unauthorized => "unauthorized",
            Self::TooFast(_) => "rate_limit_exceeded",
            Self::Host => "misdirected_request",
            Self::Starting => "starting",
            Self::Unready(_) => "not_ready",
            Self::NoSuccessor => "no_successor",
            Self::NoLeader | Self::Cluster(MembershipError::NoLeader) => "no_leader",
            Self::Cluster(MembershipError::UnknownNode(_)) => "unknown_node",
            Self::Cluster(MembershipError::Busy) => "busy",
            Self::Cluster(MembershipError::Refused(_)) => "refused",
            Self::Cluster(MembershipError::Late(_)) => "not_yet",
        }
    }
}

impl From<service::Error> for Error {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::Refused(refusal) => refusal.into(),
            service::Error::StorageFull => Self::StorageFull,
            service::Error::Cluster(conclave_cluster::Error::Overloaded) => Self::Overloaded,
            service::Error::Cluster(conclave_cluster::Error::ShuttingDown) => Self::ShuttingDown,
            service::Error::Cluster(conclave_cluster::Error::NoLeader | conclave_cluster::Error::Behind) => {
                Self::NoLeader
            }
            // An operator's calls are on nobody's allowance and on nobody's share.
            service::Error::Limited { .. }
            | service::Error::ShareFull
            | service::Error::TenantShareFull
            | service::Error::Unexpected => Self::Internal,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Revocation(revocation::Refusal::Full) => Self::Full,
            Refusal::Registration(registration::Refusal::Unknown) => Self::UnknownDevice,
            Refusal::Registration(registration::Refusal::OtherKey) => Self::DeviceChanged,
            Refusal::Room(room::Refusal::Full) => Self::RoomFull,
            Refusal::Mailbox(mailbox::Refusal::Full) => Self::MailboxFull,
            // Of what no call of this API asks for, or told apart before it comes here.
            Refusal::Registration(registration::Refusal::Full)
            | Refusal::Room(room::Refusal::NotAMember)
            | Refusal::Mailbox(mailbox::Refusal::NotHeld)
            | Refusal::Allowance { .. }
            | Refusal::StorageFull
            | Refusal::ShareFull
            | Refusal::TenantShareFull
            | Refusal::Stale
            | Refusal::Moved { .. }
            | Refusal::Unready
            | Refusal::Lapsed
            | Refusal::Transfer(_)
            | Refusal::Negotiation(_)
            | Refusal::Rendezvous(_)
            | Refusal::Device(_)
            | Refusal::NodeIdentity(_)
            | Refusal::Incarnation(_)
            | Refusal::Socket(_)
            | Refusal::Claim(_)
            | Refusal::Ticket(_)
            | Refusal::Handoff(_)
            | Refusal::Placement(_) => Self::Internal,
        }
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NotFound
            | Self::Unknown
            | Self::UnknownDevice
            | Self::Cluster(MembershipError::UnknownNode(_)) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Json(_) | Self::Query(_) | Self::Input(_) | Self::LogLevel(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Page => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::TooFast(_) | Self::MailboxFull => StatusCode::TOO_MANY_REQUESTS,
            Self::StorageFull => StatusCode::INSUFFICIENT_STORAGE,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Starting
            | Self::Unready(_)
            | Self::Overloaded
            | Self::ShuttingDown
            | Self::NoLeader
            | Self::Cluster(MembershipError::NoLeader) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cluster(MembershipError::Late(_)) => StatusCode::GATEWAY_TIMEOUT,
            Self::NoSuccessor
            | Self::DeviceChanged
            | Self::Full
            | Self::RoomFull
            | Self::Cluster(MembershipError::Busy | MembershipError::Refused(_)) => StatusCode::CONFLICT,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let request_id = Uuid::now_v7().to_string();
        let mut response = HttpResponse::build(self.status_code());
        response.insert_header(("X-Request-ID", request_id.as_str()));
        if let Self::Method(allow) = self {
            response.insert_header(("Allow", *allow));
        }
        match self {
            // RFC 6750, section 3.
            Self::Unauthorized => drop(response.insert_header((WWW_AUTHENTICATE, "Bearer"))),
            Self::TooFast(seconds) => drop(response.insert_header((RETRY_AFTER, seconds.to_string()))),
            _ if self.status_code() == StatusCode::SERVICE_UNAVAILABLE => {
                response.insert_header((RETRY_AFTER, "1"));
            }
            _ => {}
        }
        let checks = match self {
            Self::Unready(checks) => checks.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        };
        let (error, message) = (self.code().to_owned(), self.to_string());
        response.json(Failure { error, message, request_id, checks })
    }
}
