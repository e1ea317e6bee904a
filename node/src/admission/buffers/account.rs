//! On whose account bytes are held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Buffers, Pressure, Tally};
use crate::admission::client_identity::Client;
use crate::admission::share::Refused;

/// Where what one client makes the node hold is counted: as its own, and among all. Clones are the same account.
#[derive(Debug, Clone)]
pub struct Account {
    buffers: Buffers,
    client: Option<Client>,
    /// The client's, and that of its site.
    tallies: [Option<Arc<Tally>>; 2],
}

impl Account {
    pub(super) fn new(buffers: Buffers, client: Option<Client>, tallies: [Option<Arc<Tally>>; 2]) -> Self {
        Self { buffers, client, tallies }
    }

    /// All connections' buffers.
    pub fn all(&self) -> &Buffers {
        &self.buffers
    }

    /// Whose it is.
    pub(super) fn client(&self) -> Option<Client> {
        self.client
    }

    /// How scarce room is for this client: the worst of what is left to all, to it, and to its site.
    pub fn pressure(&self) -> Pressure {
        self.own_pressure().max(self.buffers.pressure())
    }

    /// Whether more may be held.
    ///
    /// # Errors
    /// Whose bound is reached.
    pub fn room(&self) -> Result<(), Refused> {
        if self.own_pressure() != Pressure::Low {
            return Err(Refused::Client);
        }
        if self.buffers.pressure() != Pressure::Low { Err(Refused::All) } else { Ok(()) }
    }

    /// Nothing yet, and from then on what is said of it.
    pub fn hold(&self) -> Held {
        Held { account: self.clone(), among_all: AtomicUsize::new(0), own: AtomicUsize::new(0) }
    }

    fn own_pressure(&self) -> Pressure {
        self.tallies.iter().flatten().map(|tally| tally.pressure()).max().unwrap_or(Pressure::Low)
    }
}

/// So many bytes, held on somebody's account until this is dropped.
#[derive(Debug)]
pub struct Held {
    account: Account,
    among_all: AtomicUsize,
    own: AtomicUsize,
}

impl Held {
    /// Whose they are.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// How many there are now.
    pub fn set(&self, bytes: usize) {
        self.set_each(bytes, bytes);
    }

    /// How many there are now that are counted nowhere else, and how many the client's connections wait for, which others'
    /// may wait for as well.
    pub fn set_each(&self, among_all: usize, own: usize) {
        let before = self.among_all.swap(among_all, Ordering::Relaxed);
        self.account.buffers.replace(before, among_all);
        let before = self.own.swap(own, Ordering::Relaxed);
        for tally in self.account.tallies.iter().flatten() {
            tally.replace(before, own);
        }
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.among_all.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
