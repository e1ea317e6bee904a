//! The mailbox of a socket: claimed, pushed as signals are committed, acknowledged.

use std::future::Future;

use bytes::Bytes;
use conclave_cluster::state::allowance::Tier;
use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::mailbox::{self, Kind};
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::query::{self, Page};
use conclave_cluster::state::socket;
use tokio::time::Instant;

use super::super::close::{Code as Close, Reason};
use super::super::json;
use super::super::operations::Code;
use super::super::outbound_queue::Frame;
use super::{BATCH_BYTES_MAX, BATCH_MAX, Held, Identity, Session};
use crate::access::tier_limits::millis;
use crate::service::endings::Ending;
use crate::service::peer_claim::{Claim, Location};
use crate::service::storage_keys::Namespace;
use crate::service::{self, Ttl, signaling};

impl Held {
    /// What gives it up: the invite code first, so that it never leads to whoever has the peer id next.
    pub(super) fn given_up(&self, within: Namespace) -> Vec<Op> {
        let code = self.invite.as_ref().map(|(code, _)| signaling::withdraw(within, code, &self.name));
        code.into_iter().chain([self.claim.release()]).collect()
    }
}

impl Session {
    /// Has a peer's signals pushed here. The invite code leads to the peer as long as the socket is here.
    pub(in crate::transport::ws) async fn claim(
        &mut self,
        peer: String,
        invite: Option<String>,
    ) -> Result<(), Code> {
        let credential = &self.context.credential;
        // What is sent over a socket is sent from its peer id.
        if !credential.may_claim(&peer) {
            return Err(Code::Forbidden);
        }
        let seize = !credential.is_anonymous();
        let known = self.peer.as_ref().is_some_and(|held| held.name == peer);
        if !known {
            self.pay(Tier::Socket, 1)?;
            self.hold(&peer, seize, Claim::release).await?;
        }
        if let Some(code) = invite {
            if let Err(error) = self.register(&code, &peer, false).await {
                if !known {
                    self.release().await;
                }
                return Err(error);
            }
            let next = Instant::now() + self.ttl().register / 2;
            let before = self.peer.as_mut().and_then(|held| held.invite.replace((code.clone(), next)));
            if let Some((before, _)) = before.filter(|(before, _)| *before != code) {
                let _ = self
                    .propose(signaling::withdraw(self.context.caller.namespace(), &before, &peer))
                    .await?;
            }
        }
        Ok(())
    }

    /// Goes on with the mailbox that the session had. If that comes to nothing, it stays the session's for its lease.
    pub(in crate::transport::ws) async fn take_mailbox(
        &mut self,
        peer: &str,
        seize: bool,
    ) -> Result<(), Code> {
        self.hold(peer, seize, Claim::detach).await
    }

    /// Claims a mailbox, gives the one before up, and begins to push. If it comes to nothing, the one before stays, and
    /// `end` undoes what the cluster may have done.
    async fn hold(&mut self, peer: &str, seize: bool, end: impl FnOnce(&Claim) -> Op) -> Result<(), Code> {
        let Some(Identity { key: session, at, generation, .. }) = self.identity else {
            return Err(Code::Internal);
        };
        let (mailbox, number) = (self.context.caller.namespace().mailbox(peer), rand::random());
        let own = Attachment { connection: number, ..at };
        let claim =
            Claim { mailbox, session, generation: Some(generation), at: own, lease_ms: self.lease_ms() };
        let bell = self.services.registry.attend(claim.mailbox).await?;
        let unsettled = self.unsettled(own.incarnation, end(&claim))?;
        let taken = claim.take(&self.services, &self.context.caller, seize).await;
        let replaced = matches!(taken, Err(service::Error::Refused(Refusal::Socket(_))));
        match taken.map_err(Code::from) {
            Ok(true) => {}
            Ok(false) => {
                unsettled.settle();
                return Err(Code::PeerInUse);
            }
            Err(Code::NoLeader) => return Err(Code::NoLeader),
            Err(code) => {
                unsettled.settle();
                return Err(if replaced { self.replaced() } else { code });
            }
        }
        let action = socket::Action::Hold { connection: at.connection, peer: Some(peer.to_owned()) };
        self.note(session, action).await?;
        self.release().await;
        unsettled.settle();
        self.entry.note_peer(true);
        self.peer = Some(Held { name: peer.to_owned(), claim, bell, pushed: 0, dirty: true, invite: None });
        Ok(())
    }

    /// Gives the peer id up, if there is one. What the cluster does not hear now it hears later.
    pub(super) async fn release(&mut self) {
        let Some(held) = self.peer.take() else { return };
        self.entry.note_peer(false);
        let ending = Ending::new(held.claim.at.incarnation, held.given_up(self.context.caller.namespace()));
        let _ = self.services.lease.end(ending).await;
    }

    /// Has the session remember something.
    pub(super) async fn note(&mut self, key: Key, action: socket::Action) -> Result<(), Code> {
        let noted = self.propose(Op::Socket(socket::Op { key, action })).await;
        self.heed(noted)
    }

    /// What can only be noted by another connection has another connection.
    pub(super) fn heed(&mut self, noted: Result<Result<Outcome, Refusal>, Code>) -> Result<(), Code> {
        match noted? {
            Ok(_) => Ok(()),
            Err(_) => Err(self.replaced()),
        }
    }

    /// The session is not on this connection any more.
    pub(super) fn replaced(&mut self) -> Code {
        self.end(Reason::new(Close::REPLACED, "another connection took the session over"));
        Code::Internal
    }

    /// Has an invite code lead to the peer. What is renewed is not charged: the client holds it already, and its neighbours'
    /// spending must not take it away.
    pub(super) async fn register(&self, code: &str, peer: &str, renews: bool) -> Result<(), Code> {
        let op =
            signaling::register(self.context.caller.namespace(), code, peer, millis(self.ttl().register));
        let charge = if renews { None } else { self.due(Tier::Create, 1)? };
        self.services.change(&self.context.caller, charge, None, op).await?;
        Ok(())
    }

    fn ttl(&self) -> Ttl {
        self.services.terms.ttl.of(&self.context.caller.tenant)
    }

    pub(super) fn renewal(&self) -> Option<Instant> {
        self.peer.as_ref()?.invite.as_ref().map(|(_, at)| *at).filter(|_| !self.over)
    }

    pub(super) async fn renew_invite(&mut self) {
        let Some(Held { name: peer, invite: Some((code, _)), .. }) = &self.peer else { return };
        if let Err(code) = self.register(code, peer, true).await {
            tracing::debug!(why = code.spec().0, "an invite code was not renewed");
        }
        let next = Instant::now() + self.ttl().register / 2;
        if let Some((_, at)) = self.peer.as_mut().and_then(|held| held.invite.as_mut()) {
            *at = next;
        }
    }

    /// The peer of an invite code.
    pub(in crate::transport::ws) async fn look_up(&self, code: &str) -> Result<String, Code> {
        let found = |peer: Option<String>| peer.ok_or(Code::PeerNotFound);
        self.services
            .look_up(&self.context.caller, signaling::look_up(self.context.caller.namespace(), code), found)
            .await?
    }

    /// Sends a signal from the claimed peer id.
    pub(in crate::transport::ws) fn signal(
        &self,
        to: &str,
        kind: Kind,
        payload: Bytes,
    ) -> Result<impl Future<Output = Result<u64, Code>> + use<>, Code> {
        let from = self.peer.as_ref().map(|held| &held.name).ok_or(Code::NotClaimed)?;
        let op = signaling::signal(
            self.context.caller.namespace(),
            from,
            to,
            kind,
            payload,
            millis(self.ttl().signal),
        );
        let charge = self.due(Tier::Signal, 1)?;
        let (services, caller) = (self.services.clone(), self.context.caller.clone());
        Ok(async move {
            match services.change(&caller, charge, None, op).await? {
                Outcome::Mailbox(mailbox::Outcome::Queued { seq }) => Ok(seq),
                _ => Err(Code::Internal),
            }
        })
    }

    /// Everything up to `seq` arrived.
    pub(in crate::transport::ws) fn acknowledge(
        &self,
        seq: u64,
    ) -> Result<impl Future<Output = Result<(), Code>> + use<>, Code> {
        let claim = self.peer.as_ref().map(|held| held.claim).ok_or(Code::NotClaimed)?;
        self.pay(Tier::Poll, 1)?;
        let (services, caller) = (self.services.clone(), self.context.caller.clone());
        Ok(async move {
            let is_held = claim.acknowledge(&services, &caller, seq).await?;
            if is_held { Ok(()) } else { Err(Code::NotClaimed) }
        })
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

    pub(super) async fn push_mail(&mut self) {
        let Some(held) = &mut self.peer else { return };
        let (claim, after) = (&held.claim, held.pushed);
        let (key, page) =
            (claim.mailbox.key, Page { after, count_max: BATCH_MAX, bytes_max: BATCH_BYTES_MAX });
        let seen = self.services.cluster.read_stale((query::Signals(key, page), query::Holder(key))).await;
        let Ok((signals, holder)) = seen else {
            // When it can be read, the mailbox's bell rings.
            held.dirty = false;
            return;
        };
        let certain = self.services.lease.is_certain(&key, &claim.at);
        // Nothing is pushed before this node knows that the mailbox is pushed here, and nothing once it may not be. When
        // it is again, the mailbox's bell rings.
        if !certain || claim.location(holder) != Location::Here {
            held.dirty = false;
            return;
        }
        held.dirty = signals.len() == BATCH_MAX
            || signals.iter().map(|it| it.payload.len()).sum::<usize>() > BATCH_BYTES_MAX / 2;
        for signal in &signals {
            if !self.outbound.push(Frame::Text(json::signal(signal))) {
                self.over = true;
                return;
            }
            held.pushed = signal.seq;
        }
    }
}
