//! The mailbox of a socket: claimed, pushed as signals are committed, acknowledged.

use std::future::Future;

use bytes::Bytes;
use conclave_cluster::Draft;
use conclave_cluster::state::allowance::Tier;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::{rendezvous, socket};
use tokio::time::Instant;

use super::super::close::{Code as Close, Reason};
use super::super::frame::Code;
use super::super::json;
use super::super::outbox::Frame;
use super::{BATCH_BYTES_MAX, BATCH_MAX, Held, Identity, Session};
use crate::access::allowance::millis;
use crate::access::guessing::Denied;
use crate::service::claim::{Claim, Location};
use crate::service::{keys, settle, signaling};

impl Session {
    /// Has a peer's signals pushed here. The invite code leads to the peer as long as the socket is here.
    pub(in crate::socket) async fn claim(
        &mut self,
        peer: String,
        invite: Option<String>,
    ) -> Result<(), Code> {
        let credential = &self.context.credential;
        if !credential.may_claim(&peer) {
            return Err(Code::Forbidden);
        }
        let seize = !credential.is_anonymous();
        let known = self.peer.as_ref().is_some_and(|held| held.name == peer);
        if !known {
            self.pay(Tier::Signal, 1)?;
            self.take_mailbox(&peer, seize).await?;
        }
        if let Some(code) = invite {
            if let Err(error) = self.register(&code, &peer, false).await {
                if !known {
                    self.release().await?;
                }
                return Err(error);
            }
            let next = Instant::now() + self.services.terms.ttl.register / 2;
            let before = self.peer.as_mut().and_then(|held| held.invite.replace((code.clone(), next)));
            if let Some((before, _)) = before.filter(|(before, _)| *before != code) {
                let _ = self.wish(signaling::withdraw(&before, &peer)).await?;
            }
        }
        Ok(())
    }

    /// Claims a mailbox, gives the one before up, and begins to push.
    pub(in crate::socket) async fn take_mailbox(&mut self, peer: &str, seize: bool) -> Result<(), Code> {
        let Some(Identity { key: session, at, .. }) = self.identity else { return Err(Code::Internal) };
        let claim = Claim { mailbox: keys::mailbox(peer), session, at, lease_ms: self.lease_ms() };
        let bell = self.services.registry.attend(claim.mailbox).await?;
        if !claim.take(&self.services.cluster, self.owner(), seize).await? {
            return Err(Code::PeerInUse);
        }
        self.release().await?;
        let verb = socket::Verb::Hold { connection: at.connection, peer: Some(peer.to_owned()) };
        self.note(session, verb).await?;
        self.seat.note_peer(true);
        self.peer = Some(Held { name: peer.to_owned(), claim, bell, pushed: 0, dirty: true, invite: None });
        Ok(())
    }

    pub(super) async fn release(&mut self) -> Result<(), Code> {
        let Some(held) = self.peer.take() else { return Ok(()) };
        self.seat.note_peer(false);
        if let Some((code, _)) = held.invite {
            let _ = self.wish(signaling::withdraw(&code, &held.name)).await?;
        }
        let _ = self.wish(held.claim.release()).await?;
        Ok(())
    }

    pub(super) async fn note(&mut self, key: Key, verb: socket::Verb) -> Result<(), Code> {
        match self.wish(Ask::Socket(socket::Ask { key, verb })).await? {
            Ok(_) => Ok(()),
            Err(_) => {
                self.end(Reason::new(Close::REPLACED, "another connection took the session over"));
                Err(Code::Internal)
            }
        }
    }

    /// Has an invite code lead to the peer. What is renewed is not charged: the client holds it already, and its neighbours'
    /// spending must not take it away.
    pub(super) async fn register(&self, code: &str, peer: &str, renews: bool) -> Result<(), Code> {
        let ask = signaling::register(code, peer, millis(self.services.terms.ttl.register));
        let charge = if renews { None } else { self.charge(Tier::Create, 1) };
        let draft = Draft { charge, owner: Some(self.owner()), ..Draft::of(ask) };
        let cluster = &self.services.cluster;
        let answer = self.services.guesses.carry(cluster, draft, async |draft| cluster.propose(draft).await);
        match settle(answer.await?.outcome)? {
            Ok(_) => Ok(()),
            Err(Refusal::Rendezvous(rendezvous::Refusal::InUse)) => Err(Code::InviteCodeInUse),
            Err(_) => Err(Code::Internal),
        }
    }

    pub(super) fn renewal(&self) -> Option<Instant> {
        self.peer.as_ref()?.invite.as_ref().map(|(_, at)| *at).filter(|_| !self.over)
    }

    pub(super) async fn renew_invite(&mut self) {
        let Some(Held { name: peer, invite: Some((code, _)), .. }) = &self.peer else { return };
        if let Err(code) = self.register(code, peer, true).await {
            tracing::debug!(why = code.spec().0, "an invite code was not renewed");
        }
        let next = Instant::now() + self.services.terms.ttl.register / 2;
        if let Some((_, at)) = self.peer.as_mut().and_then(|held| held.invite.as_mut()) {
            *at = next;
        }
    }

    /// The peer of an invite code.
    pub(in crate::socket) async fn look_up(&self, code: &str) -> Result<String, Code> {
        let cluster = &self.services.cluster;
        let look = signaling::look_up(code, Code::PeerNotFound);
        let Some(charge) = self.charge(Tier::Lookup, 1) else { return cluster.read(look).await? };
        match self.services.guesses.look_up(cluster, charge, look).await {
            Ok((found, _)) => found,
            Err(Denied::Spent(_)) => Err(Code::RateLimited),
            Err(Denied::Failed(error)) => Err(error.into()),
        }
    }

    /// Sends a signal from the claimed peer id.
    pub(in crate::socket) fn signal(
        &self,
        to: &str,
        kind: Kind,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<u64, Code>> + use<>, Code> {
        let from = self.peer.as_ref().map(|held| &held.name).ok_or(Code::NotClaimed)?;
        let ask = signaling::signal(from, to, kind, payload, millis(self.services.terms.ttl.signal));
        let charge = self.due(Tier::Signal, 1)?;
        let draft = Draft { charge, owner: Some(self.owner()), ..Draft::of(ask) };
        let cluster = self.services.cluster.clone();
        Ok(async move {
            match settle(cluster.propose(draft).await?.outcome)? {
                Ok(Outcome::Mailbox(mailbox::Outcome::Queued { seq })) => Ok(seq),
                Err(Refusal::Mailbox(mailbox::Refusal::Full)) => Err(Code::MailboxFull),
                Ok(_) | Err(_) => Err(Code::Internal),
            }
        })
    }

    /// Everything up to `seq` arrived.
    pub(in crate::socket) async fn acknowledge(&self, seq: u64) -> Result<(), Code> {
        let held = self.peer.as_ref().ok_or(Code::NotClaimed)?;
        self.pay(Tier::Poll, 1)?;
        let is_held = held.claim.acknowledge(&self.services.cluster, self.owner(), seq).await?;
        if is_held { Ok(()) } else { Err(Code::NotClaimed) }
    }

    /// The mailbox changed.
    pub(super) async fn mail(&mut self, alive: bool) {
        let Some(held) = &mut self.peer else { return };
        held.dirty = true;
        if !alive {
            match self.services.registry.attend(held.claim.mailbox).await {
                Ok(bell) => held.bell = bell,
                Err(_) => self.end(Reason::from(Close::LATER)),
            }
        }
    }

    pub(super) fn push_mail(&mut self) {
        let certain = self.sockets.keeper.is_certain();
        let Some(held) = &mut self.peer else { return };
        let (claim, after) = (&held.claim, held.pushed);
        let (signals, location) = self.services.cluster.glance(|state, now_ms| {
            let signals = state.signals(&claim.mailbox.key, after, BATCH_MAX, BATCH_BYTES_MAX, now_ms);
            (signals, claim.location(state, now_ms))
        });
        // Nothing is pushed before this node knows that the mailbox is pushed here, and nothing once it may not be. When
        // it is again, the mailbox's bell rings.
        if !certain || location != Location::Here {
            held.dirty = false;
            return;
        }
        held.dirty = signals.len() == BATCH_MAX
            || signals.iter().map(|it| it.payload.len()).sum::<usize>() > BATCH_BYTES_MAX / 2;
        for signal in &signals {
            if !self.outbox.push(Frame::Text(json::signal(signal))) {
                self.over = true;
                return;
            }
            held.pushed = signal.seq;
        }
    }
}
