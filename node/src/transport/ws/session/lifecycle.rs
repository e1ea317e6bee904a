//! Who a socket is: a session that is opened or resumed, kept, taken over and let go.

use std::time::Duration;

use conclave_cluster::state::command::Op;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::{query, room, socket};
use futures_util::stream::FuturesOrdered;
use tokio::time::Instant;

use super::super::close::{Code as Close, Reason};
use super::super::operations::Code;
use super::{Session, room_membership};
use crate::access::tier_limits::millis;
use crate::actors::{StateKey, Watch};
use crate::service::room_format::public_name;
use crate::service::{signaling, storage_keys};

/// Who this is.
pub(in crate::transport::ws) struct Identity {
    pub(in crate::transport::ws) key: Key,
    pub(in crate::transport::ws) at: Attachment,
    /// Names the numbering of the client's own messages.
    pub(super) numbering: u64,
    /// How far the client got in its room before it came here.
    pub(in crate::transport::ws) mark: Option<socket::Mark>,
    pub(super) bell: Watch,
}

impl Session {
    pub(super) fn lease_ms(&self) -> u32 {
        millis(self.services.terms.lease)
    }

    async fn attachment(&self) -> Result<Attachment, Code> {
        Ok(self.services.lease.attachment(self.entry.connection()).await?)
    }

    /// Begins a session under a secret id. False: it is in use.
    pub(in crate::transport::ws) async fn open(&mut self, id: &str) -> Result<bool, Code> {
        let (key, at) = (storage_keys::session(id), self.attachment().await?);
        let bell = self.bell(key).await?;
        let subject = self.context.credential.subject;
        let action = socket::Action::Open { subject, at, lease_ms: self.lease_ms() };
        match self.propose(Op::Socket(socket::Op { key, action })).await? {
            Ok(Outcome::Socket(socket::Outcome::Opened)) => {
                self.take_place(key, at, bell).await?;
                Ok(true)
            }
            Err(Refusal::Socket(socket::Refusal::InUse)) => Ok(false),
            Ok(_) | Err(_) => Err(Code::Internal),
        }
    }

    /// Goes on with a session: the room and the mailbox it had. `None`: there is none, or it is not the client's.
    pub(in crate::transport::ws) async fn resume(
        &mut self,
        id: &str,
    ) -> Result<Option<(Option<String>, Option<String>)>, Code> {
        let (key, at) = (storage_keys::session(id), self.attachment().await?);
        let bell = self.bell(key).await?;
        let subject = self.context.credential.subject;
        let action = socket::Action::Resume { subject, at, lease_ms: self.lease_ms() };
        match self.propose(Op::Socket(socket::Op { key, action })).await? {
            Ok(Outcome::Socket(socket::Outcome::Resumed { room, peer })) => {
                self.take_place(key, at, bell).await?;
                Ok(Some((room, peer)))
            }
            Err(Refusal::Socket(socket::Refusal::Unknown)) => Ok(None),
            Ok(_) | Err(_) => Err(Code::Internal),
        }
    }

    async fn bell(&self, key: Key) -> Result<Watch, Code> {
        Ok(self.services.registry.attend(StateKey { domain: Domain::Socket, key }).await?)
    }

    async fn take_place(&mut self, key: Key, at: Attachment, bell: Watch) -> Result<(), Code> {
        // From here on this node's replica knows that the session is here, so that a ring for an older change is not
        // taken for another connection's.
        let view = self.services.cluster.read_linearizable(query::Socket(key)).await?;
        let (numbering, mark) = view.map_or((at.connection, None), |view| (view.numbering, view.mark));
        self.entry.note_session(&public_name(&key));
        self.identity = Some(Identity { key, at, numbering, mark, bell });
        Ok(())
    }

    /// The session's entry changed: perhaps another connection took it over.
    pub(super) async fn looked_up(&mut self, alive: bool) {
        let Some(identity) = &mut self.identity else { return };
        let (key, own) = (identity.key, identity.at.connection);
        if !alive {
            match self.services.registry.attend(StateKey { domain: Domain::Socket, key }).await {
                Ok(bell) => identity.bell = bell,
                Err(_) => return self.end(Reason::from(Close::LATER)),
            }
        }
        let view = self.services.cluster.read_stale(query::Socket(key));
        if view.and_then(|view| view.connection).is_some_and(|connection| connection != own) {
            self.end(Reason::new(Close::REPLACED, "another connection took the session over"));
        }
    }

    /// This node's lease may have lapsed, and with it all that was attached here.
    pub(super) async fn attach_anew(&mut self) {
        let Some(Identity { key, at, .. }) = self.identity else { return };
        let (subject, lease_ms) = (self.context.credential.subject, self.lease_ms());
        let action = socket::Action::Resume { subject, at, lease_ms };
        let mut ops = vec![Op::Socket(socket::Op { key, action })];
        if let Some(held) = &self.peer {
            ops.push(held.claim.take_back());
        }
        if let Some(room) = &self.room {
            let action = room::Action::Join { member: key, at, grace_ms: millis(room_membership::GRACE) };
            ops.push(Op::Room(room::Op { key: room.key, action }));
        }
        for op in ops {
            if !matches!(self.propose(op).await, Ok(Ok(_))) {
                return self.end(Reason::new(Close::LATER, "the node was cut off"));
            }
        }
    }

    /// Whether the credential is still worth something.
    pub(super) fn judge(&mut self) {
        let auth = &self.services.auth;
        if !auth.holds(&self.context.credential, self.services.now_ms()) {
            self.end(Reason::new(Close::POLICY, "the credential is over or revoked"));
        }
    }

    pub(super) fn expiry(&self) -> Option<Instant> {
        if self.over {
            return None;
        }
        let left_ms = self.context.credential.expires_ms?.saturating_sub(self.services.now_ms());
        Some(Instant::now() + Duration::from_millis(left_ms))
    }

    /// Ends the session for good.
    pub(in crate::transport::ws) async fn close(&mut self) -> Result<(), Code> {
        self.leave().await?;
        self.release().await?;
        if let Some(Identity { key, at, .. }) = &self.identity {
            let action = socket::Action::Close { connection: at.connection };
            let _ = self.propose(Op::Socket(socket::Op { key: *key, action })).await?;
            self.identity = None;
        }
        Ok(())
    }

    /// The connection is gone: the leases begin. A node that goes away ends the lease of all its sockets at once.
    ///
    /// A client that closed in good order frees its peer id at once: another page, or the same one after a reload, may
    /// claim it. The session remembers the id and takes it again, unless somebody else has it, if it is resumed after all.
    pub(super) async fn let_go(mut self) {
        self.outbound.abandon();
        let Some(Identity { key, at, .. }) = self.identity.take() else { return };
        let parted = self.entry.has_parted();
        if self.services.is_draining() && !parted {
            return;
        }
        let connection = at.connection;
        let mut ops = Vec::new();
        let mark = self.entry.arrivals().last();
        if let Some((key, mark)) = mark {
            ops.push(Op::Socket(socket::Op { key, action: socket::Action::Mark { connection, mark } }));
        }
        ops.push(Op::Socket(socket::Op { key, action: socket::Action::Detach { connection } }));
        if let Some(held) = self.peer.take() {
            if let Some((code, _)) = held.invite.filter(|_| parted) {
                ops.push(signaling::withdraw(&code, &held.name));
            }
            ops.push(if parted { held.claim.release() } else { held.claim.detach() });
        }
        if let Some(room) = self.room.take() {
            // A client that answered no ping was away for long before this; the others need not wait any longer.
            let action = if self.entry.fell_silent() {
                room::Action::Leave { member: key, connection }
            } else {
                room::Action::Detach { member: key, connection }
            };
            ops.push(Op::Room(room::Op { key: room.key, action }));
        }
        // What is on its way was proposed; nobody waits for its answer.
        self.flights = FuturesOrdered::new();
        let commands: Vec<_> = ops.into_iter().map(|op| self.propose(op)).collect();
        for outcome in futures_util::future::join_all(commands).await {
            if outcome.is_err() {
                tracing::debug!("a socket was let go without the cluster hearing of it");
            }
        }
    }
}
