//! Who a socket is: a session that is opened or resumed, kept, taken over and let go.

use conclave_cluster::state::command::Op;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::{query, socket};
use futures_util::stream::FuturesOrdered;

use super::super::close::{Code as Close, Reason};
use super::super::operations::Code;
use super::Session;
use crate::access::tier_limits::millis;
use crate::actors::{StateKey, Watch};
use crate::service::endings::Ending;
use crate::service::room_format::public_name;
use crate::service::webhooks::Connected;

/// Who this is.
pub(in crate::transport::ws) struct Identity {
    pub(in crate::transport::ws) key: Key,
    pub(in crate::transport::ws) at: Attachment,
    /// Tells this connection of the session from those before and after it, where the session is not looked at.
    pub(super) generation: Generation,
    /// Names the numbering of the client's own messages.
    pub(super) numbering: u64,
    /// How far the client got in its room before it came here.
    pub(in crate::transport::ws) mark: Option<socket::Mark>,
    pub(super) bell: Watch,
    pub(super) connected: Connected,
}

impl Session {
    pub(super) fn lease_ms(&self) -> u32 {
        millis(self.services.terms.lease)
    }

    async fn attachment(&self, session: &Key) -> Result<Attachment, Code> {
        Ok(self.services.lease.attachment(session, self.entry.connection()).await?)
    }

    /// Begins a session under a secret id. False: it is in use.
    pub(in crate::transport::ws) async fn open(&mut self, id: &str) -> Result<bool, Code> {
        let key = self.context.caller.namespace().session(id);
        let at = self.attachment(&key).await?;
        let bell = self.bell(key).await?;
        let subject = self.context.credential.subject;
        let action = socket::Action::Open { subject, at, lease_ms: self.lease_ms() };
        let close = socket::Action::Close { connection: at.connection };
        match self.begin(key, at, action, close).await? {
            Ok(Outcome::Socket(socket::Outcome::Opened { generation })) => {
                self.take_place(key, at, generation, bell, false).await?;
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
        let key = self.context.caller.namespace().session(id);
        let at = self.attachment(&key).await?;
        let bell = self.bell(key).await?;
        let subject = self.context.credential.subject;
        let action = socket::Action::Resume { subject, at, lease_ms: self.lease_ms(), takes_over: true };
        let detach = socket::Action::Detach { connection: at.connection };
        match self.begin(key, at, action, detach).await? {
            Ok(Outcome::Socket(socket::Outcome::Resumed { generation, room, peer })) => {
                self.take_place(key, at, generation, bell, true).await?;
                self.returns = true;
                Ok(Some((room, peer)))
            }
            Err(Refusal::Socket(socket::Refusal::Unknown)) => Ok(None),
            Ok(_) | Err(_) => Err(Code::Internal),
        }
    }

    /// Opens or resumes a session. `end` undoes it, if it is done and comes to nothing here: before the next one begins, or
    /// with the connection.
    async fn begin(
        &mut self,
        key: Key,
        at: Attachment,
        action: socket::Action,
        end: socket::Action,
    ) -> Result<Result<Outcome, Refusal>, Code> {
        if let Some((_, op)) = &self.stray {
            let _ = self.propose(op.clone()).await?;
        }
        self.stray = Some((at.incarnation, Op::Socket(socket::Op { key, action: end })));
        let begun = self.propose(Op::Socket(socket::Op { key, action })).await;
        // What was refused was not done.
        if !matches!(begun, Ok(Ok(_)) | Err(Code::NoLeader)) {
            self.stray = None;
        }
        begun
    }

    async fn bell(&self, key: Key) -> Result<Watch, Code> {
        Ok(self.services.registry.attend(StateKey { domain: Domain::Socket, key }).await?)
    }

    async fn take_place(
        &mut self,
        key: Key,
        at: Attachment,
        generation: Generation,
        bell: Watch,
        resumed: bool,
    ) -> Result<(), Code> {
        // From here on this node's replica knows that the session is here, so that a ring for an older change is not
        // taken for another connection's.
        let view = self.services.cluster.read_linearizable(query::Socket(key)).await?;
        let (numbering, mark) = view.map_or((at.connection, None), |view| (view.numbering, view.mark));
        self.entry.note_session(&public_name(&key));
        let (caller, subject) = (&self.context.caller, self.context.credential.subject.as_ref());
        let webhooks = &self.services.webhooks;
        let connected = webhooks.connected(caller, subject, &key, at.connection, resumed);
        self.identity = Some(Identity { key, at, generation, numbering, mark, bell, connected });
        self.stray = None;
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
        // What cannot be read now is looked at when it can be: then it rings.
        let Ok(view) = self.services.cluster.read_stale(query::Socket(key)).await else { return };
        match view {
            Some(view) if view.connection.is_some_and(|connection| connection != own) => {
                let _ = self.replaced();
            }
            Some(_) => {}
            // An operator ended it, or it lapsed while this node was cut off.
            None => {
                self.tell_gone(false, false);
                self.end(Reason::new(Close::LATER, "the session is over"));
            }
        }
    }

    /// This node's lease may have lapsed, and with it all that was attached here. What went on elsewhere meanwhile stays
    /// there.
    pub(super) async fn attach_anew(&mut self) {
        let Some(Identity { key, at, .. }) = self.identity.as_ref().filter(|_| !self.over) else { return };
        let (key, mut at) = (*key, *at);
        // The incarnation may be another one.
        let Ok(now) = self.attachment(&key).await else { return self.was_cut_off() };
        at.incarnation = now.incarnation;
        let (subject, lease_ms) = (self.context.credential.subject, self.lease_ms());
        let action = socket::Action::Resume { subject, at, lease_ms, takes_over: false };
        let resumed = self.attach_again(Op::Socket(socket::Op { key, action })).await;
        let Some(Outcome::Socket(socket::Outcome::Resumed { generation, .. })) = resumed else { return };
        if let Some(identity) = &mut self.identity {
            (identity.at, identity.generation) = (at, generation);
        }
        let mut ops = Vec::new();
        if let Some(held) = &mut self.peer {
            held.claim.at.incarnation = now.incarnation;
            held.claim.generation = Some(generation);
            ops.push(held.claim.take_back());
        }
        if let Some(room) = &mut self.room {
            room.membership.at.incarnation = now.incarnation;
            room.membership.generation = generation;
            ops.push(room.membership.join());
        }
        for op in ops {
            if self.attach_again(op).await.is_none() {
                return;
            }
        }
    }

    /// `None`: it is attached here no more, and the client is told.
    async fn attach_again(&mut self, op: Op) -> Option<Outcome> {
        match self.propose(op).await {
            Ok(Ok(outcome)) => return Some(outcome),
            Ok(Err(Refusal::Socket(socket::Refusal::Replaced))) => drop(self.replaced()),
            Ok(Err(_)) | Err(_) => self.was_cut_off(),
        }
        None
    }

    fn was_cut_off(&mut self) {
        self.end(Reason::new(Close::LATER, "the node was cut off"));
    }

    /// Ends the session for good. It is over here, whatever the answer: what the cluster does not hear now it hears later.
    pub(in crate::transport::ws) async fn close(&mut self) -> Result<(), Code> {
        self.tell_gone(false, false);
        let Some(Identity { key, at, .. }) = self.identity.take() else { return Ok(()) };
        let within = self.context.caller.namespace();
        let mut ops = Vec::new();
        if let Some(held) = self.peer.take() {
            self.entry.note_peer(false);
            ops.extend(held.given_up(within));
        }
        if let Some(room) = self.room.take() {
            self.entry.note_room(false);
            ops.push(room.membership.leave());
        }
        let action = socket::Action::Close { connection: at.connection };
        ops.push(Op::Socket(socket::Op { key, action }));
        Ok(self.services.lease.end(Ending::new(at.incarnation, ops)).await?)
    }

    /// Has others told that this socket is gone, from its room first; whether session and membership can be gone on with.
    fn tell_gone(&mut self, session_resumable: bool, room_resumable: bool) {
        if let Some(room) = &mut self.room {
            room.stay.end(room_resumable);
        }
        if let Some(identity) = &mut self.identity {
            identity.connected.end(session_resumable);
        }
    }

    /// The connection is gone: the leases begin. A node that goes away ends the lease of all its sockets at once.
    ///
    /// A client that closed in good order frees its peer id at once: another page, or the same one after a reload, may
    /// claim it. The session remembers the id and takes it again, unless somebody else has it, if it is resumed after all.
    pub(super) async fn let_go(mut self) {
        self.outbound.abandon();
        self.tell_gone(true, !self.entry.fell_silent());
        let stray = self.stray.take();
        let Some(Identity { key, at, .. }) = self.identity.take() else {
            if let Some((incarnation, op)) = stray {
                let _ = self.services.lease.end(Ending::new(incarnation, vec![op])).await;
            }
            return;
        };
        let parted = self.entry.has_parted();
        if self.services.is_draining() && !parted {
            return;
        }
        let (connection, within) = (at.connection, self.context.caller.namespace());
        let mut ops = Vec::new();
        let mark = self.entry.arrivals().last();
        if let Some((key, mark)) = mark {
            ops.push(Op::Socket(socket::Op { key, action: socket::Action::Mark { connection, mark } }));
        }
        ops.push(Op::Socket(socket::Op { key, action: socket::Action::Detach { connection } }));
        if let Some(held) = self.peer.take() {
            match parted {
                true => ops.extend(held.given_up(within)),
                false => ops.push(held.claim.detach()),
            }
        }
        if let Some(room) = self.room.take() {
            // A client that answered no ping was away for long before this; the others need not wait any longer.
            ops.push(match self.entry.fell_silent() {
                true => room.membership.leave(),
                false => room.membership.detach(),
            });
        }
        // What is on its way was proposed; nobody waits for its answer.
        self.flights = FuturesOrdered::new();
        if let Err(error) = self.services.lease.end(Ending::new(at.incarnation, ops)).await {
            tracing::debug!(%error, "a socket was let go, and the cluster hears of it later");
        }
    }
}
