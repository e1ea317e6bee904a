//! Relay's signaling actions: `register`, `lookup`, `signal`, `poll`.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use bytes::Bytes;
use conclave_cluster::state::State;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::command::{Ask, Memo};
use conclave_cluster::state::id::Key;
use conclave_cluster::state::limits::PAYLOAD_BYTES_MAX;
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::{Answer, Outcome};

use super::super::call::Call;
use super::super::error::{Code, Error, Extra};
use super::super::query;
use super::super::reply::{fixed, json, push_string};
use super::super::wait::Patience;
use super::{Request, answer, change};
use crate::access::allowance::millis;
use crate::field::{chars, is_portable};
use crate::service::limits::PEER_CHARS_MAX;
use crate::service::signaling::{KINDS, kind_of};
use crate::service::{keys, signaling};

/// Payload bytes of one answer to `poll`; what is left comes with the next one.
const POLL_BYTES_MAX: u32 = 1 << 20;

/// `register`: lets an invite code resolve to a peer.
pub(super) async fn register(
    call: &mut Call<'_>,
    charge: Option<Charge>,
    request: &Request<'_>,
) -> Result<HttpResponse, Error> {
    let code = request.invite_code.filled().ok_or(Code::MissingFields)?;
    let peer = request.peer_id.filled().ok_or(Code::MissingFields)?;
    if !keys::is_invite_code(code) {
        return Err(Code::InvalidInviteCode.into());
    }
    check_peer(peer)?;
    call.require_peer(peer)?;
    let ask = signaling::register(code, peer, millis(call.shared.services.terms.ttl.register));
    change(call, "register", keys::rendezvous(code), charge, ask).await
}

/// `lookup`: the peer of an invite code.
pub(super) async fn lookup(call: &mut Call<'_>, request: &Request<'_>) -> Result<HttpResponse, Error> {
    let code = request.invite_code.filled().ok_or(Code::MissingInviteCode)?;
    call.about(&keys::rendezvous(code));
    let peer = call.look_up(signaling::look_up(code, Code::PeerNotFound)).await??;
    let mut body = br#"{"peerId":"#.to_vec();
    push_string(&mut body, &peer);
    body.push(b'}');
    Ok(json(StatusCode::OK, body))
}

/// `signal`: queues a signal for a peer.
pub(super) async fn signal(
    call: &mut Call<'_>,
    charge: Option<Charge>,
    request: &Request<'_>,
    body: &Bytes,
) -> Result<HttpResponse, Error> {
    let Signal { from, to, kind, payload } = Signal::of(request)?;
    call.require_peer(from)?;
    let payload = body.slice_ref(payload.as_bytes());
    let ask = signaling::signal(from, to, kind, payload, millis(call.shared.services.terms.ttl.signal));
    change(call, "signal", keys::mailbox(to), charge, ask).await
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

/// `poll`: hands out what waits for a peer.
pub(super) async fn poll(
    call: &mut Call<'_>,
    mut charge: Option<Charge>,
    request: &Request<'_>,
) -> Result<HttpResponse, Error> {
    let peer = request.peer_id.filled().ok_or(Code::MissingPeerId)?;
    check_peer(peer)?;
    call.require_peer(peer)?;
    let wait = query::wait_field(request.wait_ms)?;
    let place = keys::mailbox(peer);
    call.about(&place);
    let memo = call.memo("poll", &place)?;
    let look = |state: &State, now_ms: u64| Seen::of(state, &place.key, memo.as_ref(), now_ms);

    call.wait_idly();
    let mut patience = Patience::new(call, place, wait).await?;
    let mut seen = call.shared.services.cluster.glance(look);
    if seen != Seen::Waiting {
        call.pay(Tier::Poll)?;
        charge = None;
        seen = call.look(look).await?;
    }
    loop {
        match seen {
            Seen::Waiting => {
                let verb = mailbox::Verb::Drain { bytes_max: POLL_BYTES_MAX };
                let ask = Ask::Mailbox(mailbox::Ask { key: place.key, verb });
                let outcome = call.take(place, charge.take(), memo, ask).await?;
                let empty = matches!(
                    &outcome,
                    Ok(Outcome::Mailbox(mailbox::Outcome::Messages(messages))) if messages.is_empty()
                );
                if !empty || memo.is_some() || !patience.another_look().await {
                    return answer(outcome, call.shared);
                }
            }
            Seen::Remembered(remembered) => {
                let outcome = call.settle(None, remembered)?;
                return answer(outcome, call.shared);
            }
            Seen::Empty => {
                if !patience.another_look().await {
                    return Ok(fixed(r#"{"messages":[]}"#));
                }
            }
        }
        seen = call.shared.services.cluster.glance(look);
    }
}

/// What a peer finds in its mailbox.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    /// Signals.
    Waiting,
    /// The answer that was given under the same `Idempotency-Key`.
    Remembered(Answer),
    /// Nothing.
    Empty,
}

impl Seen {
    fn of(state: &State, key: &Key, memo: Option<&Memo>, now_ms: u64) -> Self {
        if let Some(remembered) = memo.and_then(|memo| state.memo(&memo.key, now_ms)) {
            return Self::Remembered(remembered);
        }
        if state.waiting(key, now_ms) > 0 { Self::Waiting } else { Self::Empty }
    }
}

fn check_peer(peer: &str) -> Result<(), Error> {
    if chars(peer) <= PEER_CHARS_MAX { Ok(()) } else { Err(Code::InvalidInput.into()) }
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
