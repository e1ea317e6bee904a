//! Beacons: the leader tells the fronts that it leads, and who is where.
//!
//! A front has no log to follow. Every 200 ms it hears from the leader; it is told the table when it does not have it. After
//! 800 ms of silence it takes the cell for leaderless, as a member does.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::limits::{BEACON_EVERY, BEACON_TIMEOUT};
use super::topology::{Heard, Table};
use super::{Draft, Inner, bootstrap};
use crate::raft::Lead;
use crate::raft::disk_traits::Member;
use crate::raft::message::{self, kind};
use crate::state::State;
use crate::state::command::Op;
use crate::state::id::Digest;
use crate::state::placement;
use crate::wire::{Frame, Lane, Outgoing};

/// What a leader says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Beacon {
    term: u64,
    /// The clock of the log.
    log_ms: u64,
    /// Names the table.
    version: u64,
    /// The table itself, where the front does not have it.
    table: Option<Table>,
}

/// What the fronts said they know. A std mutex: nothing awaits while it is held.
#[derive(Default)]
pub(super) struct Beacons(Mutex<BTreeMap<u64, u64>>);

impl Beacons {
    fn known(&self, front: u64) -> Option<u64> {
        self.0.lock().expect("nothing panics while this is held").get(&front).copied()
    }

    fn note(&self, front: u64, version: u64) {
        self.0.lock().expect("nothing panics while this is held").insert(front, version);
    }

    /// Forgets what is no front any more.
    fn retain(&self, fronts: &BTreeMap<u64, Member>) {
        self.0.lock().expect("nothing panics while this is held").retain(|id, _| fronts.contains_key(id));
    }
}

/// Names a table by its contents.
fn version(table: &Table) -> u64 {
    let digest = Digest::of(&message::encode(table));
    let first = digest.as_bytes().first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

impl Inner {
    /// Tells the fronts for as long as this node leads, and places those that the cluster was founded with.
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
                _ = tick.tick() => {}
            }
            let Some(lead) = lead.borrow_and_update().clone().filter(|lead| lead.local) else { continue };
            self.place_first_fronts().await;
            let table = Table::of(&self.node);
            let fronts = table.fronts.clone();
            self.beacons.retain(&fronts);
            under_way.retain(|_, sending| !sending.is_finished());
            if fronts.is_empty() {
                continue;
            }
            let (version, table) = (version(&table), Arc::new(table));
            for (id, member) in fronts.into_iter().filter(|(id, _)| *id != self.options.node_id) {
                under_way.entry(id).or_insert_with(|| {
                    let sending = self.clone().send_beacon(id, member, lead.term, version, table.clone());
                    tokio::spawn(sending)
                });
            }
        }
    }

    async fn send_beacon(
        self: Arc<Self>,
        id: u64,
        member: Member,
        term: u64,
        version: u64,
        table: Arc<Table>,
    ) {
        // The second time with the table, where the front has another one.
        for _ in 0..2 {
            let log_ms = self.node.replica().read(State::now_ms);
            let missing = self.beacons.known(id) != Some(version);
            let table = missing.then(|| Table::clone(&table));
            let beacon = message::of(kind::BEACON, &Beacon { term, log_ms, version, table });
            let reply = self.links.call(id, &member.peer, Lane::Control, beacon, BEACON_TIMEOUT).await;
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
            if state.is_placed() { Vec::new() } else { fronts.map(|(id, at)| (id, at.peer)).collect() }
        });
        if !fronts.is_empty() && members.keys().eq(seats.keys()) {
            // Tried again with the next beacon.
            let found = Op::Placement(placement::Op::Found { fronts });
            let _ = self.proposer.propose(Draft::of(found), None).await;
        }
    }

    /// Whether a front said that it knows what this node, the leader, knows.
    pub(super) fn is_told(&self, front: u64) -> bool {
        self.beacons.known(front) == Some(version(&Table::of(&self.node)))
    }

    /// Takes what a leader says; answers which table this node has.
    pub(super) fn serve_beacon(&self, from: u64, request: &Frame) -> Outgoing {
        let Ok(Beacon { term, log_ms, version: named, table }) = message::decode(&request.header) else {
            return message::bare(kind::FAILED);
        };
        let known = self.topology.heard().map(|heard| heard.table);
        let table = match (table, known) {
            (Some(table), _) => Arc::new(table),
            (None, Some(known)) => known,
            (None, None) => return message::of(kind::BEACON, &0_u64),
        };
        let has = version(&table);
        // A leader that is not in its own table is none.
        if has == named
            && let Some(member) = table.seats.get(&from)
        {
            let lead = Lead { id: from, address: member.peer.clone(), term, local: false };
            self.topology.hear(Heard { lead, at: Instant::now(), log_ms, table });
        }
        message::of(kind::BEACON, &has)
    }
}
