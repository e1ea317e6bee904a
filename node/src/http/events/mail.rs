//! A peer's signals, for somebody who holds the peer id by this stream.
//!
//! The stream claims the mailbox as a socket does, so that poll, push and stream share one queue. There is no way back
//! on a stream but opening the next one: the id of the last event says what arrived, and that is acknowledged then.
//! Until its time is over, what was not is sent again.

use actix_web::web;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use conclave_cluster::Draft;
use conclave_cluster::state::State;
use conclave_cluster::state::claim;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::host::Attachment;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::mailbox::{self, Message};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::rules::Owner;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;

use super::super::error::{Code, Error, Extra};
use super::super::reply::push_string;
use super::super::shared::Shared;
use super::frame::Frames;
use crate::access::Credential;
use crate::access::allowance::millis;
use crate::actors::Place;
use crate::service::signaling::kind_name;
use crate::service::{keys, settle};
use crate::socket::host::Guest;

/// Signals of one write, and their bytes.
const COUNT_MAX: usize = 64;
const BYTES_MAX: usize = 256 * 1024;
/// For how long the peer id stays this client's when its stream broke; sockets' own lease if that is shorter.
const LEASE_MS: u32 = 30_000;
const SECRET_BYTES: usize = 18;
/// Characters of the secret.
const SECRET_CHARS: usize = 24;

/// A mailbox that is sent over a stream.
pub(super) struct Reader {
    shared: web::Data<Shared>,
    /// On whose account the claim stands.
    owner: Owner,
    peer: String,
    place: Place,
    /// What the client shows to go on with the claim, on whatever node: a part of every event's id.
    secret: String,
    session: Key,
    at: Attachment,
    lease_ms: u32,
    /// The last signal that was sent, or said to have arrived.
    sent: u64,
    _guest: Guest,
}

impl Reader {
    /// Claims the mailbox, and forgets what arrived by the stream before.
    ///
    /// # Errors
    /// 409 `peer_in_use` if somebody else holds the peer id.
    pub(super) async fn claim(
        shared: web::Data<Shared>,
        peer: String,
        credential: &Credential,
        owner: Owner,
        last: Option<&str>,
    ) -> Result<Self, Error> {
        let place = keys::mailbox(&peer);
        let known = last.and_then(parse);
        let secret = known.map_or_else(fresh, |(secret, _)| Ok(secret.to_owned()))?;
        let session = keys::stream(&secret);
        let guest = shared.sockets.keeper().guest();
        let at = shared.sockets.keeper().attachment(rand::random()).await?;
        let lease_ms = millis(shared.sockets.options.lease).min(LEASE_MS);
        let sent = known.map_or(0, |(_, seq)| seq);
        let reader = Self { shared, owner, peer, place, secret, session, at, lease_ms, sent, _guest: guest };
        match reader.take(!credential.is_anonymous()).await? {
            Ok(_) => {}
            // If it is held by a stream that ended, so much later it is free at the latest.
            Err(Refusal::Claim(claim::Refusal::Held)) => {
                let wait = Extra::RetryAfter(u64::from(LEASE_MS).div_ceil(1000));
                return Err(Error::from(Code::PeerInUse).with(wait));
            }
            Err(_) => return Err(Code::Internal.into()),
        }
        if sent > 0 {
            let verb = mailbox::Verb::Acknowledge { session, seq: sent };
            let ask = Ask::Mailbox(mailbox::Ask { key: place.key, verb });
            // If it is not heard, the same is sent once more; the client tells by the number.
            let _ = reader.shared.cluster.propose(Draft::of(ask)).await?;
        }
        // From here on this node's replica knows that the mailbox is sent from here.
        reader.shared.cluster.read(|_, _| ()).await?;
        Ok(reader)
    }

    async fn take(&self, seize: bool) -> Result<Result<Outcome, Refusal>, Error> {
        let verb = claim::Verb::Take { session: self.session, at: self.at, lease_ms: self.lease_ms, seize };
        let ask = Ask::Claim(claim::Ask { key: self.place.key, verb });
        let draft = Draft { owner: Some(self.owner), ..Draft::of(ask) };
        Ok(settle(self.shared.cluster.propose(draft).await?.outcome)?)
    }

    /// This node's lease may have lapsed, and the claim with it. False: somebody else holds the peer id now.
    pub(super) async fn attach_anew(&self) -> bool {
        matches!(self.take(false).await, Ok(Ok(_)))
    }

    pub(super) fn place(&self) -> Place {
        self.place
    }

    pub(super) fn welcome(&self, frames: &mut Frames) {
        let data = json!({ "peerId": self.peer });
        frames.event("welcome", Some(&self.id(self.sent)), data.to_string().as_bytes());
    }

    /// Adds what waits and was not sent. False: the mailbox is somebody else's now.
    pub(super) fn read(&mut self, state: &State, now_ms: u64, frames: &mut Frames) -> bool {
        if !self.shared.sockets.keeper().is_certain() {
            // The claim is attached anew before anything is sent.
            return true;
        }
        match state.holder(&self.place.key, now_ms) {
            Some((session, Some(at))) if session == self.session && at == self.at => {}
            // Another stream of the same client, which shows the same secret, or another client.
            Some((session, at)) if session != self.session || at.is_some() => return false,
            // This node's lease lapsed: nothing is sent before the claim is attached anew.
            Some(_) | None => return true,
        }
        for message in state.signals(&self.place.key, self.sent, COUNT_MAX, BYTES_MAX, now_ms) {
            frames.event("signal", Some(&self.id(message.seq)), &spell(&message));
            self.sent = message.seq;
        }
        true
    }

    fn id(&self, seq: u64) -> String {
        format!("{}.{seq}", self.secret)
    }
}

/// However the stream ended, and though it never began: the claim's lease begins.
impl Drop for Reader {
    fn drop(&mut self) {
        // A node that goes away ends the lease of all its streams and sockets at once.
        if self.shared.is_draining() {
            return;
        }
        let verb = claim::Verb::Detach { session: self.session, connection: self.at.connection };
        let ask = Ask::Claim(claim::Ask { key: self.place.key, verb });
        let cluster = self.shared.cluster.clone();
        // Nobody waits for it.
        actix_web::rt::spawn(async move {
            if cluster.propose(Draft::of(ask)).await.is_err() {
                tracing::debug!("a stream was let go without the cluster hearing of it");
            }
        });
    }
}

/// As a socket would be sent it.
fn spell(message: &Message) -> Vec<u8> {
    let mut body = format!(r#"{{"seq":{},"from":"#, message.seq).into_bytes();
    push_string(&mut body, &message.from);
    body.extend(format!(r#","type":"{}","payload":"#, kind_name(message.kind)).bytes());
    body.extend_from_slice(message.payload.bytes());
    body.push(b'}');
    body
}

/// The secret and the number of an event's id.
fn parse(id: &str) -> Option<(&str, u64)> {
    let (secret, seq) = id.rsplit_once('.')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (secret.len() == SECRET_CHARS && secret.bytes().all(plain)).then_some(())?;
    Some((secret, seq.parse().ok()?))
}

fn fresh() -> Result<String, Error> {
    let mut bytes = [0; SECRET_BYTES];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Code::Internal)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_secret_and_a_number() {
        let secret = fresh().unwrap();
        assert_eq!(secret.len(), SECRET_CHARS);
        assert_eq!(parse(&format!("{secret}.17")), Some((secret.as_str(), 17)));
        for other in [
            "",
            "17",
            "7:3",
            "short.17",
            &format!("{secret}."),
            &format!("{secret}.x"),
            &format!("{secret}!.1"),
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
