//! A peer id that one connection holds: its mailbox is pushed there, and polled by nobody else.
//!
//! A socket session and an event stream hold it alike, so that push, stream and poll share one queue.

use conclave_cluster::state::command::Op;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::incarnation::Attachment;
use conclave_cluster::state::mailbox;
use conclave_cluster::state::mailbox_claim;
use conclave_cluster::state::outcome::{Outcome, Refusal};
#[cfg(doc)]
use conclave_cluster::state::query::Holder;

use super::{Caller, Error, Services};
use crate::actors::StateKey;

/// Who holds which mailbox, and where.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The mailbox.
    pub mailbox: StateKey,
    /// The session that holds it, which may go on elsewhere.
    pub session: Key,
    /// That of the socket's connection, by which later ones of the session are told from it; `None`: an event stream.
    pub generation: Option<Generation>,
    /// The connection that it is pushed to now. Its number is the claim's own, so that what ends this claim, whenever the
    /// cluster hears it, ends no later one.
    pub at: Attachment,
    /// Milliseconds for which it stays the session's after the connection is lost.
    pub lease_ms: u32,
}

/// Where a mailbox is pushed, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Location {
    /// To this connection.
    Here,
    /// To nobody: this node's lease lapsed, and the claim with it. It is taken again before anything is pushed.
    Nowhere,
    /// To another connection of the session, or to somebody else.
    Elsewhere,
}

impl Claim {
    /// Takes the mailbox; false if another session holds it, unless `seize` takes it away.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn take(&self, services: &Services, caller: &Caller, seize: bool) -> Result<bool, Error> {
        match services.change(caller, None, None, self.taking(seize)).await {
            Ok(Outcome::Claim(mailbox_claim::Outcome::Taken)) => Ok(true),
            Err(Error::Refused(Refusal::Claim(mailbox_claim::Refusal::Held))) => Ok(false),
            Ok(_) => Err(Error::Unexpected),
            Err(error) => Err(error),
        }
    }

    /// Takes it again where the node's lease lapsed, unless somebody else has it by now.
    pub fn take_back(&self) -> Op {
        self.taking(false)
    }

    /// Gives the mailbox up at once. Nothing if another connection holds it.
    pub fn release(&self) -> Op {
        self.ask(mailbox_claim::Action::Release { session: self.session, connection: self.at.connection })
    }

    /// Begins the lease, since the connection is lost. Nothing if another connection holds the mailbox.
    pub fn detach(&self) -> Op {
        self.ask(mailbox_claim::Action::Detach { session: self.session, connection: self.at.connection })
    }

    /// Removes the signals up to `seq`, which arrived; false if another session holds the mailbox now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn acknowledge(&self, services: &Services, caller: &Caller, seq: u64) -> Result<bool, Error> {
        let action = mailbox::Action::Acknowledge { session: self.session, seq };
        let op = Op::Mailbox(mailbox::Op { key: self.mailbox.key, action });
        match services.change(caller, None, None, op).await {
            Ok(Outcome::Mailbox(mailbox::Outcome::Acknowledged { .. })) => Ok(true),
            Err(Error::Refused(Refusal::Mailbox(mailbox::Refusal::NotHeld))) => Ok(false),
            Ok(_) => Err(Error::Unexpected),
            Err(error) => Err(error),
        }
    }

    /// Where the mailbox is pushed, if this is its [`Holder`].
    pub fn location(&self, holder: Option<(Key, Option<Attachment>)>) -> Location {
        match holder {
            Some((session, Some(at))) if session == self.session && at == self.at => Location::Here,
            Some((session, at)) if session != self.session || at.is_some() => Location::Elsewhere,
            Some(_) | None => Location::Nowhere,
        }
    }

    fn taking(&self, seize: bool) -> Op {
        let &Self { session, generation, at, lease_ms, .. } = self;
        self.ask(mailbox_claim::Action::Take { session, generation, at, lease_ms, seize })
    }

    fn ask(&self, action: mailbox_claim::Action) -> Op {
        Op::Claim(mailbox_claim::Op { key: self.mailbox.key, action })
    }
}
