//! A peer's signals, for somebody who holds the peer id by this stream.
//!
//! The stream claims the mailbox as a socket does, so that poll, push and stream share one queue. There is no way back
//! on a stream but opening the next one: the id of the last event says what arrived, and that is acknowledged then.
//! Until its time is over, what was not is sent again.

use std::sync::Arc;

use conclave_cluster::Error as Unanswered;
use conclave_cluster::state::mailbox::Message;
use conclave_cluster::state::query::{self, Page};
use serde_json::json;

use super::frame::Frames;
use crate::access::Credential;
use crate::access::tier_limits::millis;
use crate::actors::StateKey;
use crate::service::endings::Ending;
use crate::service::node_lease::LeaseGuard;
use crate::service::peer_claim::{Claim, Location};
use crate::service::{self, Caller, Services, signaling, storage_keys};
use crate::transport::request::error::{Code, Error, Extra};

/// Signals of one write, and their bytes.
const COUNT_MAX: usize = 64;
const BYTES_MAX: usize = 256 * 1024;
/// For how long the peer id stays this client's when its stream broke; sockets' own lease if that is shorter.
const LEASE_MS: u32 = 30_000;
const SECRET_BYTES: usize = 18;
/// Characters of the secret.
const SECRET_CHARS: usize = 24;

/// A mailbox that is sent over a stream.
pub(crate) struct Reader {
    services: Arc<Services>,
    /// On whose account the claim stands.
    caller: Caller,
    peer: String,
    claim: Claim,
    /// What the client shows to go on with the claim, on whatever node: a part of every event's id.
    secret: String,
    /// The last signal that was sent, or said to have arrived.
    sent: u64,
    /// Whether the claim stands, or may.
    held: bool,
    _guest: LeaseGuard,
}

impl Reader {
    /// Claims the mailbox, and forgets what arrived by the stream before.
    ///
    /// # Errors
    /// 409 `peer_in_use` if somebody else holds the peer id.
    pub(crate) async fn claim(
        services: Arc<Services>,
        peer: String,
        credential: &Credential,
        caller: Caller,
        last: Option<&str>,
    ) -> Result<Self, Error> {
        let known = last.and_then(parse);
        let secret =
            known.map_or_else(storage_keys::secret::<SECRET_BYTES>, |(secret, _)| Ok(secret.to_owned()))?;
        let session = storage_keys::stream(&secret);
        let guest = services.lease.guest();
        let at = services.lease.attachment(&session, rand::random()).await?;
        let lease_ms = millis(services.terms.lease).min(LEASE_MS);
        let sent = known.map_or(0, |(_, seq)| seq);
        let claim =
            Claim { mailbox: caller.namespace().mailbox(&peer), session, generation: None, at, lease_ms };
        let mut reader = Self { services, caller, peer, claim, secret, sent, held: true, _guest: guest };
        let taken = claim.take(&reader.services, &reader.caller, !credential.is_anonymous()).await;
        reader.held = matches!(taken, Ok(true) | Err(service::Error::Cluster(Unanswered::NoLeader)));
        if !taken? {
            // If it is held by a stream that ended, so much later it is free at the latest.
            let wait = Extra::RetryAfter(u64::from(LEASE_MS).div_ceil(1000));
            return Err(Error::from(Code::PeerInUse).with(wait));
        }
        if sent > 0 {
            // If it is not heard, the same is sent once more; the client tells by the number.
            let _ = claim.acknowledge(&reader.services, &reader.caller, sent).await?;
        }
        // From here on this node's replica knows that the mailbox is sent from here.
        reader.services.cluster.read_linearizable(query::Reach(reader.claim.mailbox.key)).await?;
        Ok(reader)
    }

    /// This node's lease may have lapsed, and the claim with it. False: somebody else holds the peer id now.
    pub(crate) async fn attach_anew(&mut self) -> bool {
        // The same client may have gone on with another stream meanwhile, which this node has heard of by now.
        let holder = self.services.cluster.read_stale(query::Holder(self.claim.mailbox.key)).await;
        if holder.is_ok_and(|holder| self.claim.location(holder) == Location::Elsewhere) {
            return false;
        }
        // The incarnation may be another one.
        match self.services.lease.attachment(&self.claim.mailbox.key, self.claim.at.connection).await {
            Ok(at) => self.claim.at = at,
            Err(_) => return false,
        }
        matches!(self.claim.take(&self.services, &self.caller, false).await, Ok(true))
    }

    pub(crate) fn target(&self) -> StateKey {
        self.claim.mailbox
    }

    pub(crate) fn welcome(&self, frames: &mut Frames) {
        let data = json!({ "peerId": self.peer });
        frames.event("welcome", Some(&self.id(self.sent)), data.to_string().as_bytes());
    }

    /// Adds what waits and was not sent. False: the mailbox is somebody else's now.
    pub(crate) async fn read(&mut self, frames: &mut Frames) -> Result<bool, Unanswered> {
        let key = self.claim.mailbox.key;
        let page = Page { after: self.sent, count_max: COUNT_MAX, bytes_max: BYTES_MAX };
        let look = (query::Signals(key, page), query::Holder(key));
        let (signals, holder) = self.services.cluster.read_stale(look).await?;
        if !self.services.lease.is_certain(&key, &self.claim.at) {
            // The claim is attached anew before anything is sent.
            return Ok(true);
        }
        match self.claim.location(holder) {
            Location::Here => {}
            // Another stream of the same client, which shows the same secret, or another client.
            Location::Elsewhere => return Ok(false),
            Location::Nowhere => return Ok(true),
        }
        for message in signals {
            frames.event("signal", Some(&self.id(message.seq)), spell(&message).as_bytes());
            self.sent = message.seq;
        }
        Ok(true)
    }

    fn id(&self, seq: u64) -> String {
        format!("{}.{seq}", self.secret)
    }
}

/// However the stream ended, and though it never began: the claim's lease begins.
impl Drop for Reader {
    fn drop(&mut self) {
        // A node that goes away ends the lease of all its streams and sockets at once.
        if self.services.is_draining() || !self.held {
            return;
        }
        let lease = self.services.lease.clone();
        let ending = Ending::new(self.claim.at.incarnation, vec![self.claim.detach()]);
        // Nobody waits for it.
        actix_web::rt::spawn(async move {
            if let Err(error) = lease.end(ending).await {
                tracing::debug!(%error, "a stream was let go, and the cluster hears of it later");
            }
        });
    }
}

/// As a socket would be sent it.
fn spell(message: &Message) -> String {
    let mut body = format!(r#"{{"seq":{},"#, message.seq);
    signaling::push_fields(&mut body, message);
    body.push('}');
    body
}

/// The secret and the number of an event's id.
fn parse(id: &str) -> Option<(&str, u64)> {
    let (secret, seq) = id.rsplit_once('.')?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (secret.len() == SECRET_CHARS && secret.bytes().all(plain)).then_some(())?;
    Some((secret, seq.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_secret_and_a_number() {
        let secret = storage_keys::secret::<SECRET_BYTES>().unwrap();
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
