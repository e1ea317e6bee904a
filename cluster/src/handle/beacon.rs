//! Beacons: the leader of a cell tells everybody outside of it that it leads, and who and what is where.
//!
//! They have no log of that cell to follow. Every 200 ms they hear from its leader; they are told its table when they do not
//! have it. After 800 ms of silence they take the cell for leaderless, as a member does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::limits::{BEACON_EVERY, BEACON_TIMEOUT};
use super::table::{Peers, Table};
use super::topology::Heard;
use super::{Draft, Inner, bootstrap};
use crate::raft::Lead;
use crate::raft::message::{self, kind};
use crate::state::State;
use crate::state::command::Op;
use crate::state::id::Digest;
use crate::state::placement;
use crate::state::slot::CellId;
use crate::wire::{Frame, Lane, Outgoing};

/// What a leader says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Beacon {
    cell: CellId,
    term: u64,
    /// The clock of the log.
    log_ms: u64,
    /// Names the table.
    version: u64,
    /// The table itself, where the hearer does not have it.
    table: Option<Table>,
}

/// What those who are told said they know. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Beacons(Mutex<BTreeMap<u64, u64>>);

impl Beacons {
    fn known(&self, node: u64) -> Option<u64> {
        self.0.lock().expect("nothing panics while this is held").get(&node).copied()
    }

    fn note(&self, node: u64, version: u64) {
        self.0.lock().expect("nothing panics while this is held").insert(node, version);
    }

    /// Forgets who need not be told any more.
    fn retain(&self, nodes: &Peers) {
        self.0.lock().expect("nothing panics while this is held").retain(|id, _| nodes.contains_key(id));
    }
}

/// Names a table by its contents.
fn version(table: &Table) -> u64 {
    let digest = Digest::of(&message::encode(table));
    let first = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

impl Inner {
    /// Tells everybody outside of this node's cell for as long as it leads that, and places those that the cluster was founded
    /// with. A member that does not lead notes for itself which slots its cell serves.
    pub(super) async fn send_beacons(self: Arc<Self>) {
        let mut tick = interval(BEACON_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lead = self.node.lead();
        let mut under_way = BTreeMap::<u64, tokio::task::JoinHandle<()>>::new();
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = super::changed(&mut lead) => {}
                () = self.moved.notified() => {}
                _ = tick.tick() => {}
            }
            if let Some(own) = self.topology.own_cell() {
                self.node.replica().read(|state| self.routes.learn(own, state.open_slots()));
            }
            let Some(lead) = lead.borrow_and_update().clone().filter(|lead| lead.local) else { continue };
            let cell = self.node.cell().unwrap_or_default();
            if cell == CellId::FIRST {
                self.place_first_fronts().await;
            }
            let table = Table::of(&self.node);
            let mut others = self.topology.everybody();
            // A front that is about to sit hears it as long as it does not.
            others.retain(|id, _| !table.voters.contains(id) && *id != self.options.node_id);
            self.beacons.retain(&others);
            under_way.retain(|_, sending| !sending.is_finished());
            if others.is_empty() {
                continue;
            }
            let (version, table) = (version(&table), Arc::new(table));
            for (id, peer) in others {
                under_way.entry(id).or_insert_with(|| {
                    let beacon = Beacon { cell, term: lead.term, log_ms: 0, version, table: None };
                    tokio::spawn(self.clone().send_beacon(id, peer, beacon, table.clone()))
                });
            }
        }
    }

    async fn send_beacon(self: Arc<Self>, id: u64, peer: String, beacon: Beacon, table: Arc<Table>) {
        let version = beacon.version;
        // The second time with the table, where the hearer has another one.
        for _ in 0..2 {
            let log_ms = self.node.replica().read(State::now_ms);
            let missing = self.beacons.known(id) != Some(version);
            let table = missing.then(|| Table::clone(&table));
            let beacon = message::of(kind::BEACON, &Beacon { log_ms, table, ..beacon.clone() });
            let reply = self.links.call(id, &peer, Lane::Control, beacon, BEACON_TIMEOUT).await;
            let known = reply.ok().and_then(|reply| message::decode::<u64>(&reply.header).ok());
            let Some(known) = known else { return };
            self.beacons.note(id, known);
            if known == version {
                return;
            }
        }
    }

    /// The first leader places the nodes that were configured with the first members and get no seat.
    async fn place_first_fronts(&self) {
        let (seats, fronts) = bootstrap::first_places(&self.options);
        let (_, members) = self.node.members();
        let fronts = self.node.replica().read(|state| {
            let is_new = |id: &u64| !members.contains_key(id) && state.member(*id).is_none();
            let fronts = fronts.into_iter().filter(|(id, _)| is_new(id));
            if state.is_founded() { Vec::new() } else { fronts.collect() }
        });
        if !fronts.is_empty() && members.keys().eq(seats.keys()) {
            // Tried again with the next beacon.
            let found = Op::Placement(placement::Op::Found { fronts });
            let _ = self.propose_in(CellId::FIRST, Draft::of(found)).await;
        }
    }

    /// Whether a node said that it knows what this one, the leader, knows.
    pub(super) fn is_told(&self, node: u64) -> bool {
        self.beacons.known(node) == Some(version(&Table::of(&self.node)))
    }

    /// Takes what a leader says; answers which table of its cell this node has.
    pub(super) fn serve_beacon(&self, from: u64, request: &Frame) -> Outgoing {
        let Ok(Beacon { cell, term, log_ms, version: named, table }) = message::decode(&request.header)
        else {
            return message::bare(kind::FAILED);
        };
        let known = self.topology.heard(cell).map(|heard| heard.table);
        let table = match (table, known) {
            (Some(table), _) => Arc::new(table),
            (None, Some(known)) => known,
            (None, None) => return message::of(kind::BEACON, &0_u64),
        };
        let has = version(&table);
        // A leader that is not in its own table is none.
        if has == named
            && let Some(address) = table.seats.get(&from).cloned()
        {
            let lead = Lead { id: from, address, term, local: false };
            self.routes.learn(cell, table.open_slots());
            self.topology.hear(cell, Heard { lead, at: Instant::now(), log_ms, table });
        }
        message::of(kind::BEACON, &has)
    }
}
