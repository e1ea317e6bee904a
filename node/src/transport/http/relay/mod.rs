//! `POST /api/relay`: one path, and the body's `action` selects.

mod chunk_base64;
mod chunks;
#[allow(dead_code, reason = "answers are written by hand, and tests read them as these types")]
mod description;
mod hand_out;
mod response;
mod signals;

pub(crate) use description::{Acknowledged, RelayAnswer, RelayRequest};
pub(crate) use response::answer;

use std::time::Duration;

use actix_web::HttpResponse;
use bytes::Bytes;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::Op;
use serde::Deserialize;
use utoipa::ToSchema;

use super::answers::Pending;
use super::jobs;
use crate::access::Scope;
use crate::actors::StateKey;
use crate::json_field::{Raw, Text};
use crate::transport::request::body;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};
use crate::transport::request::fields::{
    ChunkIndex, Data, IdempotencyKey, InviteCode, PasswordHash, PeerId, TotalChunks, TransferPin, WaitMs,
};
use description::{Payload, SignalType};

/// Everything that any action reads. Other fields are ignored.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    #[schema(value_type = String)]
    action: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = TransferPin)]
    pin: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = PasswordHash)]
    password_hash: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = ChunkIndex)]
    chunk_index: Raw<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = TotalChunks)]
    total_chunks: Raw<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Data)]
    data: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = InviteCode)]
    invite_code: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = PeerId)]
    peer_id: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = PeerId)]
    from: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = PeerId)]
    to: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    #[schema(value_type = SignalType)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Payload)]
    payload: Raw<'a>,
    #[serde(borrow, default)]
    #[schema(value_type = Option<WaitMs>)]
    wait_ms: Raw<'a>,
}

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Send,
    Receive,
    Ack,
    AckStatus,
    Register,
    Lookup,
    Signal,
    Poll,
}

impl Action {
    const ALL: &[Self] = &[
        Self::Send,
        Self::Receive,
        Self::Ack,
        Self::AckStatus,
        Self::Register,
        Self::Lookup,
        Self::Signal,
        Self::Poll,
    ];

    fn of(request: &Request<'_>) -> Result<Self, Error> {
        let asked = request.action.filled().ok_or(Code::MissingAction)?;
        let action = Self::ALL.iter().find(|action| action.name() == asked);
        Ok(action.copied().ok_or(Code::UnknownAction)?)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Receive => "receive",
            Self::Ack => "ack",
            Self::AckStatus => "ack-status",
            Self::Register => "register",
            Self::Lookup => "lookup",
            Self::Signal => "signal",
            Self::Poll => "poll",
        }
    }

    /// What its request is called in the OpenAPI document.
    fn schema_name(self) -> String {
        format!("{self:?}")
    }

    /// The fields that it must have, and those that it may have.
    fn fields(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Send => (&["pin", "passwordHash", "chunkIndex", "totalChunks", "data"], &[]),
            Self::Receive => (&["pin", "passwordHash"], &["waitMs"]),
            Self::Ack | Self::AckStatus => (&["pin", "passwordHash"], &[]),
            Self::Register => (&["inviteCode", "peerId"], &[]),
            Self::Lookup => (&["inviteCode"], &[]),
            Self::Signal => (&["from", "to", "type", "payload"], &[]),
            Self::Poll => (&["peerId"], &["waitMs"]),
        }
    }

    fn tier(self) -> Tier {
        match self {
            Self::Send => Tier::Chunk,
            Self::Register => Tier::Create,
            Self::Lookup => Tier::Lookup,
            Self::Signal => Tier::Signal,
            Self::Receive | Self::Ack | Self::AckStatus | Self::Poll => Tier::Poll,
        }
    }

    fn scope(self) -> Scope {
        match self {
            Self::Send | Self::Receive | Self::Ack | Self::AckStatus => Scope::Relay,
            Self::Register | Self::Lookup | Self::Signal | Self::Poll => Scope::Signal,
        }
    }

    fn is_about_chunks(self) -> bool {
        match self {
            Self::Send | Self::Receive | Self::Ack | Self::AckStatus => true,
            Self::Register | Self::Lookup | Self::Signal | Self::Poll => false,
        }
    }
}

/// What `receive` and `poll` wait for, and for how long.
struct Awaited {
    target: StateKey,
    wait: Duration,
}

/// The body's `action` selects
///
/// It is also at `/api/v1/relay`.
#[utoipa::path(
    post,
    path = "/api/relay",
    tag = "relay",
    operation_id = "relay",
    params(
        ("Idempotency-Key" = Option<IdempotencyKey>, Header,
            description = "The same request under the same key gets the first outcome again, for two minutes, on any node"),
        ("Prefer" = Option<String>, Header, example = "respond-async",
            description = "`respond-async` answers 202 before the outcome; for send, ack, register and signal without an \
                           Idempotency-Key"),
    ),
    request_body(content = RelayRequest, examples(
        ("send" = (value = json!({
            "action": "send", "pin": "2468", "passwordHash": "demo", "chunkIndex": 0, "totalChunks": 1, "data": "aGVsbG8="
        }))),
        ("receive" = (value = json!({ "action": "receive", "pin": "2468", "passwordHash": "demo", "waitMs": 5000 }))),
        ("register" = (value = json!({ "action": "register", "inviteCode": "aB3dE6gH", "peerId": "alice" }))),
        ("signal" = (value = json!({
            "action": "signal", "from": "bob", "to": "alice", "type": "offer", "payload": { "sdp": "v=0" }
        }))),
    )),
    responses(
        (status = 200, description = "Done, or one of the refusals of `send` that existing clients expect as a success",
            body = RelayAnswer),
        (status = 202, description = "Accepted; ask the job for its outcome", body = Pending, headers(
            ("Location" = String, description = "Where the outcome will be"),
            ("Retry-After" = u64, description = "Seconds"),
        )),
        (status = 400, description = "`missing_action`, `missing_fields`, `missing_pin_or_passwordHash`, `missing_invite_code`, \
            `missing_peer_id`, `invalid_invite_code`, `invalid_signal_type`, `invalid_input`, `invite_code_in_use`, \
            `connection_closed`"),
        (status = 404, description = "`unknown_action`, `peer_not_found`"),
        (status = 429, description = "`mailbox_full`"),
        (status = 507, description = ""),
    )
)]
pub(crate) async fn relay(mut ctx: Context) -> Result<HttpResponse, Error> {
    let body = ctx.json().await?;
    let request: Request<'_> = body::parse(&body)?;
    let action = match Action::of(&request) {
        Ok(action) => action,
        Err(error) => {
            ctx.pay(Tier::Poll)?;
            return Err(error);
        }
    };
    ctx.arrival.note_action(action.is_about_chunks());
    ctx.require(action.scope())?;
    let charge = ctx.admit(action.tier())?;
    let ctx = &mut ctx;
    match action {
        Action::Send => {
            let sent = chunks::sent(ctx, &request, &body)?;
            // Its text is not needed any more, and is longer than what it spells. So it is where somebody waits.
            drop(request);
            drop(body);
            chunks::send(ctx, charge, sent).await
        }
        Action::Receive => {
            let awaited = chunks::awaited(ctx, &request)?;
            drop(request);
            drop(body);
            chunks::receive(ctx, charge, awaited).await
        }
        Action::Ack => chunks::ack(ctx, charge, &request).await,
        Action::AckStatus => chunks::ack_status(ctx, &request).await,
        Action::Register => signals::register(ctx, charge, &request).await,
        Action::Lookup => signals::lookup(ctx, &request).await,
        Action::Signal => signals::signal(ctx, charge, &request, &body).await,
        Action::Poll => {
            let awaited = signals::awaited(ctx, &request)?;
            drop(request);
            drop(body);
            signals::poll(ctx, charge, awaited).await
        }
    }
}

/// Has a change carried out and answers with its outcome, or with a job if the client prefers that. With an
/// `Idempotency-Key` it waits in any case: a retry under the same key must find the outcome itself. `asked` is what of the
/// change is not said by its target.
async fn change(
    ctx: &Context,
    action: &str,
    target: StateKey,
    asked: &[&[u8]],
    charge: Option<Charge>,
    op: Op,
) -> Result<HttpResponse, Error> {
    ctx.about(&target);
    let idempotency_key = ctx.idempotency_key(action, &target, asked)?;
    if idempotency_key.is_none() && ctx.prefers_async() {
        return jobs::begin(ctx, &target, charge, op).await;
    }
    answer(ctx.change(charge, idempotency_key, op).await, ctx)
}

/// A string of the body as bytes, to be stored.
fn bytes_of(body: &Bytes, text: &Text<'_>) -> Bytes {
    match text {
        Text::String(std::borrow::Cow::Borrowed(text)) => body::kept(body, text.as_bytes()),
        Text::String(std::borrow::Cow::Owned(text)) => Bytes::copy_from_slice(text.as_bytes()),
        Text::Absent | Text::Other => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(body: &str) -> Result<Action, Code> {
        let request: Request<'_> = serde_json::from_str(body).unwrap();
        Action::of(&request).map_err(|error| error.code)
    }

    #[test]
    fn the_action_selects() {
        assert_eq!(action(r#"{"action":"ack-status"}"#), Ok(Action::AckStatus));
        assert_eq!(action(r#"{"action":"\u0073end"}"#), Ok(Action::Send));
        for missing in ["{}", r#"{"action":null}"#, r#"{"action":""}"#, r#"{"action":1}"#, r#"{"action":{}}"#]
        {
            assert_eq!(action(missing), Err(Code::MissingAction), "{missing}");
        }
        for unknown in [r#"{"action":"Send"}"#, r#"{"action":"delete"}"#] {
            assert_eq!(action(unknown), Err(Code::UnknownAction), "{unknown}");
        }
    }

    #[test]
    fn a_long_string_without_escapes_is_not_copied() {
        let text = "x".repeat(40_000);
        let body = Bytes::from(format!(r#"{{"data":"{text}","pin":"\u0061"}}"#));
        let request: Request<'_> = body::parse(&body).unwrap();
        let data = bytes_of(&body, &request.data);
        assert_eq!(data, text);
        assert_eq!(data.as_ptr(), body[9..].as_ptr());
        assert_eq!(bytes_of(&body, &request.pin), "a");
    }
}
