//! A peer id that one connection holds: its mailbox is pushed there, and polled by nobody else.
//!
//! A socket session and an event stream hold it alike, so that push, stream and poll share one queue.

use conclave_cluster::state::State;
use conclave_cluster::state::claim;
use conclave_cluster::state::command::Ask;
use conclave_cluster::state::host::Attachment;
use conclave_cluster::state::id::Key;
use conclave_cluster::state::mailbox;
use conclave_cluster::state::outcome::{Outcome, Refusal};
use conclave_cluster::state::rules::Owner;
use conclave_cluster::{Cluster, Draft};

use super::{Error, settle};
use crate::actors::Place;

/// Who holds which mailbox, and where.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// The mailbox.
    pub mailbox: Place,
    /// The session that holds it, which may go on elsewhere.
    pub session: Key,
    /// The connection that it is pushed to now.
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
    pub async fn take(&self, cluster: &Cluster, owner: Owner, seize: bool) -> Result<bool, Error> {
        match propose(cluster, owner, self.taking(seize)).await? {
            Ok(Outcome::Claim(claim::Outcome::Taken)) => Ok(true),
            Err(Refusal::Claim(claim::Refusal::Held)) => Ok(false),
            Ok(_) | Err(_) => Err(Error::Unexpected),
        }
    }

    /// Takes it again where the node's lease lapsed, unless somebody else has it by now.
    pub fn take_back(&self) -> Ask {
        self.taking(false)
    }

    /// Gives the mailbox up at once. Nothing if another connection holds it.
    pub fn release(&self) -> Ask {
        self.ask(claim::Verb::Release { session: self.session, connection: self.at.connection })
    }

    /// Begins the lease, since the connection is lost. Nothing if another connection holds the mailbox.
    pub fn detach(&self) -> Ask {
        self.ask(claim::Verb::Detach { session: self.session, connection: self.at.connection })
    }

    /// Removes the signals up to `seq`, which arrived; false if another session holds the mailbox now.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn acknowledge(&self, cluster: &Cluster, owner: Owner, seq: u64) -> Result<bool, Error> {
        let verb = mailbox::Verb::Acknowledge { session: self.session, seq };
        let ask = Ask::Mailbox(mailbox::Ask { key: self.mailbox.key, verb });
        match propose(cluster, owner, ask).await? {
            Ok(Outcome::Mailbox(mailbox::Outcome::Acknowledged { .. })) => Ok(true),
            Err(Refusal::Mailbox(mailbox::Refusal::NotHeld)) => Ok(false),
            Ok(_) | Err(_) => Err(Error::Unexpected),
        }
    }

    /// Where the mailbox is pushed.
    pub fn location(&self, state: &State, now_ms: u64) -> Location {
        match state.holder(&self.mailbox.key, now_ms) {
            Some((session, Some(at))) if session == self.session && at == self.at => Location::Here,
            Some((session, at)) if session != self.session || at.is_some() => Location::Elsewhere,
            Some(_) | None => Location::Nowhere,
        }
    }

    fn taking(&self, seize: bool) -> Ask {
        let &Self { session, at, lease_ms, .. } = self;
        self.ask(claim::Verb::Take { session, at, lease_ms, seize })
    }

    fn ask(&self, verb: claim::Verb) -> Ask {
        Ask::Claim(claim::Ask { key: self.mailbox.key, verb })
    }
}

async fn propose(cluster: &Cluster, owner: Owner, ask: Ask) -> Result<Result<Outcome, Refusal>, Error> {
    let draft = Draft { owner: Some(owner), ..Draft::of(ask) };
    settle(cluster.propose(draft).await?.outcome)
}
