//! `POST /api/relay`: one path, and the body's `action` selects.

mod chunk_base64;
mod chunks;
mod hand_out;
mod response;
mod signals;

pub(crate) use response::answer;

use std::time::Duration;

use actix_web::HttpResponse;
use bytes::Bytes;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::Op;
use serde::Deserialize;

use super::jobs;
use crate::access::Scope;
use crate::actors::StateKey;
use crate::json_field::{Raw, Text};
use crate::transport::request::body;
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error};

/// Everything that any action reads. Other fields are ignored.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(borrow, default)]
    action: Text<'a>,
    #[serde(borrow, default)]
    pin: Text<'a>,
    #[serde(borrow, default)]
    password_hash: Text<'a>,
    #[serde(borrow, default)]
    chunk_index: Raw<'a>,
    #[serde(borrow, default)]
    total_chunks: Raw<'a>,
    #[serde(borrow, default)]
    data: Text<'a>,
    #[serde(borrow, default)]
    invite_code: Text<'a>,
    #[serde(borrow, default)]
    peer_id: Text<'a>,
    #[serde(borrow, default)]
    from: Text<'a>,
    #[serde(borrow, default)]
    to: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    payload: Raw<'a>,
    #[serde(borrow, default)]
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
    fn of(request: &Request<'_>) -> Result<Self, Error> {
        Ok(match request.action.filled().ok_or(Code::MissingAction)? {
            "send" => Self::Send,
            "receive" => Self::Receive,
            "ack" => Self::Ack,
            "ack-status" => Self::AckStatus,
            "register" => Self::Register,
            "lookup" => Self::Lookup,
            "signal" => Self::Signal,
            "poll" => Self::Poll,
            _ => return Err(Code::UnknownAction.into()),
        })
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

/// The handler.
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
        return jobs::begin(ctx, &target, charge, op);
    }
    answer(ctx.change(charge, idempotency_key, op).await, &ctx.shared)
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
