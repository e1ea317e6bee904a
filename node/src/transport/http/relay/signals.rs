//! Relay's signaling actions: `register`, `lookup`, `signal`, `poll`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use conclave_cluster::state;
use conclave_cluster::state::allowance::Charge;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::limits::PAYLOAD_BYTES_MAX;
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::Outcome;

use super::hand_out::{Seen, Source, hand_out};
use super::{Awaited, Request, change};
use crate::access::tier_limits::millis;
use crate::json_field::is_portable;
use crate::service::signaling;
use crate::service::signaling::{KINDS, kind_name, kind_of};
use crate::transport::request::context::Context;
use crate::transport::request::error::{Code, Error, Extra};
use crate::transport::request::fields::{InviteCode, PeerId};
use crate::transport::request::reply::{json, push_string};
use crate::transport::request::{body, query};

/// Payload bytes of one answer to `poll`; what is left comes with the next one.
const POLL_BYTES_MAX: u32 = 1 << 20;

/// `register`: lets an invite code resolve to a peer.
pub(super) async fn register(
    ctx: &Context,
    charge: Option<Charge>,
    request: &Request<'_>,
) -> Result<HttpResponse, Error> {
    let code = request.invite_code.filled().ok_or(Code::MissingFields)?;
    let peer = request.peer_id.filled().ok_or(Code::MissingFields)?;
    if !InviteCode::fits(code) {
        return Err(Code::InvalidInviteCode.into());
    }
    check_peer(peer)?;
    ctx.require_peer(peer)?;
    let op = signaling::register(ctx.namespace(), code, peer, millis(ctx.ttl().register));
    change(ctx, "register", ctx.namespace().rendezvous(code), &[peer.as_bytes()], charge, op).await
}

/// `lookup`: the peer of an invite code.
pub(super) async fn lookup(ctx: &Context, request: &Request<'_>) -> Result<HttpResponse, Error> {
    let code = request.invite_code.filled().ok_or(Code::MissingInviteCode)?;
    ctx.about(&ctx.namespace().rendezvous(code));
    let peer = ctx
        .look_up(signaling::look_up(ctx.namespace(), code), |peer| peer.ok_or(Code::PeerNotFound))
        .await??;
    let mut body = br#"{"peerId":"#.to_vec();
    push_string(&mut body, &peer);
    body.push(b'}');
    Ok(json(StatusCode::OK, body))
}

/// `signal`: queues a signal for a peer.
pub(super) async fn signal(
    ctx: &Context,
    charge: Option<Charge>,
    request: &Request<'_>,
    text: &Bytes,
) -> Result<HttpResponse, Error> {
    let Signal { from, to, kind, payload } = Signal::of(request)?;
    ctx.require_peer(from)?;
    let payload = body::kept(text, payload.as_bytes());
    let op = signaling::signal(ctx.namespace(), from, to, kind, payload.clone(), millis(ctx.ttl().signal));
    let asked = [from.as_bytes(), kind_name(kind).as_bytes(), &payload];
    change(ctx, "signal", ctx.namespace().mailbox(to), &asked, charge, op).await
}

/// A signal as it was asked for, checked.
#[derive(Debug)]
struct Signal<'a> {
    from: &'a str,
    to: &'a str,
    kind: Kind,
    payload: &'a str,
}

impl<'a> Signal<'a> {
    fn of(request: &'a Request<'a>) -> Result<Self, Error> {
        let from = request.from.filled().ok_or(Code::MissingFields)?;
        let to = request.to.filled().ok_or(Code::MissingFields)?;
        let kind = request.kind.filled().ok_or(Code::MissingFields)?;
        let payload = request.payload.0.ok_or(Code::MissingFields)?.get();
        let kind = kind_of(kind)
            .ok_or_else(|| Error::from(Code::InvalidSignalType).with(Extra::ValidTypes(&KINDS)))?;
        check_peer(from)?;
        check_peer(to)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::from(Code::PayloadTooLarge).with(Extra::Limit(PAYLOAD_BYTES_MAX)));
        }
        if !is_portable(payload) {
            return Err(Code::InvalidInput.into());
        }
        Ok(Self { from, to, kind, payload })
    }
}

/// What `poll` asks for.
pub(super) fn awaited(ctx: &Context, request: &Request<'_>) -> Result<Awaited, Error> {
    let peer = request.peer_id.filled().ok_or(Code::MissingPeerId)?;
    check_peer(peer)?;
    ctx.expect(|credential| credential.may_read(peer))?;
    let wait = query::wait_field(request.wait_ms)?;
    let target = ctx.namespace().mailbox(peer);
    ctx.about(&target);
    Ok(Awaited { target, wait })
}

/// `poll`: hands out what waits for a peer.
pub(super) async fn poll(
    ctx: &mut Context,
    charge: Option<Charge>,
    Awaited { target, wait }: Awaited,
) -> Result<HttpResponse, Error> {
    let action = mailbox::Action::Drain { bytes_max: POLL_BYTES_MAX };
    let source = Source {
        action: "poll",
        target,
        look: state::query::Waiting(target.key),
        seen: |waiting| match waiting {
            0 => Seen::Nothing { body: r#"{"messages":[]}"#, late: false },
            _ => Seen::Takeable,
        },
        take: Op::Mailbox(mailbox::Op { key: target.key, action }),
        is_empty: |outcome| matches!(outcome, Outcome::Mailbox(mailbox::Outcome::Messages(messages)) if messages.is_empty()),
    };
    hand_out(ctx, charge, source, wait).await
}

fn check_peer(peer: &str) -> Result<(), Error> {
    if PeerId::fits(peer) { Ok(()) } else { Err(Code::InvalidInput.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(fields: &str) -> Result<(Kind, String), Code> {
        let body = format!("{{{fields}}}");
        let request: Request<'_> = serde_json::from_str(&body).unwrap();
        Signal::of(&request)
            .map(|signal| (signal.kind, signal.payload.to_owned()))
            .map_err(|error| error.code)
    }

    #[test]
    fn a_signal_keeps_its_payload_as_it_is() {
        let parsed = signal(r#""from":"a","to":"b","type":"ready","payload":{"x": 1e2}"#);
        assert_eq!(parsed, Ok((Kind::Ready, r#"{"x": 1e2}"#.to_owned())));
        let falsy = signal(r#""from":"a","to":"b","type":"bye","payload":false"#);
        assert_eq!(falsy, Ok((Kind::Bye, "false".to_owned())));
    }

    #[test]
    fn all_four_words_of_a_signal_are_required() {
        for fields in [
            r#""to":"b","type":"offer","payload":1"#,
            r#""from":"a","type":"offer","payload":1"#,
            r#""from":"a","to":"b","payload":1"#,
            r#""from":"a","to":"b","type":"offer""#,
            r#""from":"a","to":"b","type":7,"payload":1"#,
            r#""from":["a"],"to":"b","type":"offer","payload":1"#,
        ] {
            assert_eq!(signal(fields), Err(Code::MissingFields), "{fields}");
        }
    }

    #[test]
    fn an_unknown_type_is_told_the_known_ones() {
        let body = r#"{"from":"a","to":"b","type":"video","payload":1}"#;
        let request: Request<'_> = serde_json::from_str(body).unwrap();
        let error = Signal::of(&request).unwrap_err();
        assert_eq!(error.code, Code::InvalidSignalType);
        assert_eq!(error.extra, Extra::ValidTypes(&["offer", "answer", "ice-candidate", "ready", "bye"]));
    }

    #[test]
    fn a_payload_that_strict_readers_cannot_read_is_refused() {
        for payload in [r#""\ud800""#, "1e400", &format!("{}{}", "[".repeat(65), "]".repeat(65))] {
            let sent = signal(&format!(r#""from":"a","to":"b","type":"offer","payload":{payload}"#));
            assert_eq!(sent, Err(Code::InvalidInput), "{payload}");
        }
    }

    #[test]
    fn a_payload_is_bounded() {
        let sized = |len: usize| {
            let payload = "x".repeat(len - 2);
            signal(&format!(r#""from":"a","to":"b","type":"offer","payload":"{payload}""#)).map(|_| ())
        };
        assert_eq!(sized(65_536), Ok(()));
        assert_eq!(sized(65_537), Err(Code::PayloadTooLarge));
    }
}
