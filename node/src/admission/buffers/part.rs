//! What one connection holds.

use std::cell::RefCell;

use super::{Account, Buffers, Held, Pressure};
use crate::admission::client_identity::Client;
use crate::admission::share::Refused;

/// What one connection holds. It is given back when this is dropped.
#[derive(Debug)]
pub struct Part {
    waiting: Held,
    /// On the account of the client that the request is from: behind a proxy, connections are nobody's own.
    body: RefCell<Held>,
}

impl Part {
    pub(super) fn new(account: Account) -> Self {
        Self { waiting: account.hold(), body: RefCell::new(account.hold()) }
    }

    /// All connections' buffers.
    pub fn all(&self) -> &Buffers {
        self.waiting.account().all()
    }

    /// How scarce room is for the connection's client.
    pub fn pressure(&self) -> Pressure {
        self.waiting.account().pressure()
    }

    /// What waits on the connection now: requests for their turn, answers for the client.
    pub fn set_waiting(&self, bytes: usize) {
        self.waiting.set(bytes);
    }

    /// How much of the body of a client's present request is held.
    ///
    /// # Errors
    /// If there is no room for more of it.
    pub fn set_body(&self, client: Client, bytes: usize) -> Result<(), Refused> {
        let mut body = self.body.borrow_mut();
        if body.account().client() != Some(client) {
            *body = self.all().account(Some(client)).hold();
        }
        if bytes > body.bytes() {
            body.account().room()?;
        }
        body.set(bytes);
        Ok(())
    }

    /// Nothing of a body is held any more.
    pub fn clear_body(&self) {
        self.body.borrow().set(0);
    }
}
