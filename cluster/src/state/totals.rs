//! What the state says of itself as a whole.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::State;
use super::id::{Key, RequestId};
use super::outcome::Refusal;
use super::placement::Plan;
use super::slot::{CellId, Slot};
#[cfg(doc)]
use super::weight::Kind;

impl State {
    /// The clock of the log: the highest stamp applied so far, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.ctx.now_ms
    }

    /// Whether a command was carried out, or can be no more: its node was answered, or has given it up.
    pub(crate) fn is_over(&self, id: &RequestId) -> bool {
        self.replay.is_over(id)
    }

    /// When the next thing may be freed, in milliseconds since the Unix epoch. Until a proposal comes that is
    /// stamped so late, it stays where it is, hidden.
    pub(crate) fn next_expiry_ms(&self) -> Option<u64> {
        self.ctx.expiry_queue.next_ms()
    }

    /// What is stored, as the storage bound counts it: what each thing weighs ([`Kind::bytes`]), and its bytes, a body
    /// once.
    pub fn stored_bytes(&self) -> u64 {
        self.ctx.storage.bytes()
    }

    /// The disk a node id is bound to.
    pub(crate) fn member(&self, node: u64) -> Option<u128> {
        self.node_identities.get(node)
    }

    /// The disk of the lowest node id that is bound to one.
    pub(crate) fn first_disk(&self) -> Option<u128> {
        self.node_identities.first()
    }

    /// Where the nodes of the cluster are, and where its slots should be, as this cell knows it.
    pub(crate) fn placement(&self) -> Plan {
        self.placement.plan(self.node_identities.iter().map(|(node, disk)| (*node, *disk)).collect())
    }

    /// All cells, as this one knows it.
    pub(crate) fn placed_cells(&self) -> BTreeSet<CellId> {
        self.placement.cells().collect()
    }

    /// The cells that hold slots, or may come to, as this cell knows it.
    pub(crate) fn serving_cells(&self) -> Vec<CellId> {
        self.placement.serving_cells().collect()
    }

    /// How often that was changed.
    pub(crate) fn placement_epoch(&self) -> u64 {
        self.placement.epoch()
    }

    /// Whether a node is one of the cluster by the placement.
    pub(crate) fn is_placed(&self, node: u64) -> bool {
        self.placement.has(node)
    }

    /// Whether the placement knows of other nodes than this one.
    pub(crate) fn places_others(&self, node: u64) -> bool {
        self.placement.has_others(node)
    }

    /// The address of a node by the placement.
    pub(crate) fn peer_of(&self, node: u64) -> Option<String> {
        self.placement.peer(node).cloned()
    }

    /// Whether the fronts that the cluster began with were placed.
    pub(crate) fn is_founded(&self) -> bool {
        self.placement.is_founded()
    }

    /// Whether this cell serves a key.
    pub(crate) fn serves(&self, key: &Key) -> bool {
        self.slots.refusal(key).is_none()
    }

    /// Why this cell does not serve a key.
    pub(crate) fn refusal(&self, key: &Key) -> Option<Refusal> {
        self.slots.refusal(key)
    }

    /// Whether slots came or went: a cell but the first serves nothing before.
    pub(crate) fn has_moved_slots(&self) -> bool {
        self.slots.is_moved()
    }

    /// The slots that this cell serves, and their epochs.
    pub(crate) fn open_slots(&self) -> impl Iterator<Item = (Slot, u64)> {
        self.slots.open()
    }

    /// The slots on their way to another cell: the epoch after the move, and where.
    pub(crate) fn sealed_slots(&self) -> Vec<(Slot, u64, CellId)> {
        self.slots.sealed().collect()
    }
}

/// How much there is in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// How much of each.
    pub counts: Counts,
    /// As [`State::stored_bytes`].
    pub stored_bytes: u64,
    /// What remembered answers are on all accounts with: who empties a share may get above it by them.
    pub remembered_bytes: u64,
    /// When the next thing may be freed, in milliseconds since the Unix epoch.
    pub next_expiry_ms: Option<u64>,
}

/// Each kind of thing: its field, the name and the help of its metric, and how many there are.
macro_rules! counts {
    (|$state:ident| $($field:ident $name:literal $help:literal = $count:expr;)*) => {
        /// How much there is of each kind of thing in the state, what is over but not freed yet included.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counts {
            $(#[doc = $help] pub $field: usize,)*
        }

        impl State {
            pub(super) fn counts(&self) -> Counts {
                let $state = self;
                Counts { $($field: $count),* }
            }
        }

        impl Counts {
            /// Each of them, with the name and the help of its metric.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, &'static str, usize)> {
                [$(($name, $help, self.$field)),*].into_iter()
            }
        }
    };
}

counts! { |state|
    transfers "transfers" "Live transfers." = state.transfers.transfers.len();
    chunks "chunks" "Chunks of live transfers." = state.transfers.chunks_len();
    acknowledgements "acknowledgements" "Transfers that were acknowledged, also when they are no more." = state.transfers.acknowledgements.len();
    bodies "bodies" "Different chunk bodies; equal ones are stored once." = state.ctx.blobs.len();
    negotiations "exchanges" "Live WebRTC sessions." = state.negotiations.negotiations.len();
    mailboxes "mailboxes" "Mailboxes with signals in them." = state.mailboxes.heads.len();
    signals "signals" "Signals that wait to be polled." = state.mailboxes.messages_len();
    rendezvous "rendezvous" "Registered invite codes." = state.register.len();
    devices "devices" "Registered devices." = state.devices.len();
    windows "windows" "Open allowance windows." = state.windows.len();
    owners "owners" "Clients, subjects and networks that something is stored for." = state.ctx.storage.accounts().len();
    incarnations "hosts" "Runs of nodes that hold sockets." = state.ctx.incarnations.len();
    sockets "sockets" "Socket sessions, connected or not." = state.sockets.len();
    rooms "rooms" "Rooms with members, a history, or a numbering to keep." = state.rooms.heads.len();
    room_members "room_members" "Members of all rooms." = state.rooms.members.len();
    room_messages "room_messages" "Messages in the histories of all rooms." = state.rooms.history.len();
    claims "claims" "Mailboxes that socket sessions hold." = state.claims.len();
    departures "departures" "Sessions, members and claims that went, whose last connection is remembered." = state.departures.len();
    tickets "tickets" "Unused one-time tickets." = state.tickets.len();
    audit_entries "audit_entries" "Entries of the audit log." = state.audit.lines.len();
    registrations "registrations" "Devices that showed a public key." = state.registrations.len();
    revocations "revocations" "Tokens, subjects and devices that are revoked." = state.revocations.len();
    idempotency_keys "memos" "Answers remembered under an Idempotency-Key." = state.idempotency_keys.len();
    outcomes "outcomes" "Answers remembered for retries inside the cluster." = state.replay.outcomes();
}
