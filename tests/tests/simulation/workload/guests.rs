//! Those who come over sockets, and the incarnations they come to.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::Cluster;
use conclave_cluster::state::generation::Generation;
use conclave_cluster::state::incarnation::{Attachment, Incarnation};
use conclave_cluster::state::outcome::Refusal;
use conclave_cluster::state::slot::CellId;
use conclave_cluster::state::socket;
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Desk;
use super::rooms::ROOMS;
use super::sockets::{PEERS, SESSIONS};
use crate::simulation::history::{Command, Fate, Sight};

/// Guests of each node.
pub(crate) const GUESTS: u64 = 2;
/// Connections of one guest; the oldest is forgotten, as by a client that goes without a word.
const SEATS_MAX: usize = 3;
/// Tickets that are tried, the latest: so that two nodes are asked for one at once.
const TICKETS_TRIED: usize = 3;
/// How often it is looked whether there is a new cell.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A connection, as its guest knows it. That another took its session over it hears when it asks for something.
#[derive(Debug, Clone)]
struct Seat {
    session: u8,
    generation: Generation,
    at: Attachment,
    room: Option<u8>,
    peer: Option<u8>,
}

impl Desk {
    /// Keeps a run of a node alive as an incarnation, in each cell by itself, until the clients stop.
    pub(crate) async fn keep_host(self: Rc<Self>, cluster: Cluster, incarnation: Incarnation) {
        let mut kept = BTreeSet::new();
        while !self.closed.get() {
            for cell in cluster.cells().into_iter().filter(|cell| kept.insert(*cell)) {
                spawn_local(self.clone().keep_in(cluster.clone(), incarnation, cell));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    async fn keep_in(self: Rc<Self>, cluster: Cluster, incarnation: Incarnation, cell: CellId) {
        let period = Duration::from_millis(u64::from(self.plan.lease_ms) / 4);
        while !self.closed.get() {
            // A cell that is gone does not answer.
            if cluster.cells().contains(&cell) {
                self.carry_out(&cluster, Command::Renew { incarnation, cell }, None).await;
            }
            sleep(period).await;
        }
    }

    /// One guest, until the clients stop.
    pub(crate) async fn guest(self: Rc<Self>, cluster: Cluster, incarnation: Incarnation, mut rng: SmallRng) {
        let mut seats: Vec<Seat> = Vec::new();
        while !self.closed.get() {
            sleep(Duration::from_millis(rng.random_range(1..=self.plan.think_ms_max))).await;
            if self.closed.get() {
                return;
            }
            let command = self.choose_as_guest(incarnation, &seats, &mut rng);
            let fate = self.carry_out(&cluster, command.clone(), None).await;
            self.remember(&command, &fate, &mut seats);
        }
    }

    fn choose_as_guest(&self, incarnation: Incarnation, seats: &[Seat], rng: &mut SmallRng) -> Command {
        let (session, room) = (rng.random_range(0..SESSIONS), rng.random_range(0..ROOMS));
        let peer = rng.random_range(0..PEERS);
        let chance = rng.random_range(0..100);
        match chance {
            0..14 => {
                let back = rng.random_range(0..8);
                let heard = self.heard.borrow()[usize::from(room)];
                let after = if rng.random_bool(0.7) { heard.saturating_sub(back) } else { 0 };
                return Command::Hear { room, after };
            }
            14..24 => return Command::Locate { session },
            24..30 => return Command::Holder { peer },
            30..40 => {
                let mut tickets = self.tickets.borrow_mut();
                let latest = tickets.len().saturating_sub(TICKETS_TRIED)..tickets.len();
                if chance >= 34 && !latest.is_empty() {
                    return Command::Redeem { ticket: tickets[rng.random_range(latest)] };
                }
                let ticket = self.fresh();
                tickets.push(ticket);
                return Command::Issue { ticket };
            }
            _ => {}
        }
        let attach = |resume| {
            let at = Attachment { incarnation, connection: self.fresh() };
            Command::Attach { session, at, resume }
        };
        if seats.is_empty() || chance < 48 {
            return attach(rng.random_bool(0.7));
        }
        let Seat { session, generation, at, room: entered, peer: held } =
            seats[rng.random_range(0..seats.len())];
        let connection = at.connection;
        match (chance, entered, held) {
            (48..58, ..) | (58..84, None, _) => Command::Join { room, session, generation, at },
            (58..60, Some(room), _) => Command::Leave { room, session, connection },
            (60..84, Some(room), _) => Command::Publish { room, session, value: self.fresh() },
            (84..87, ..) => Command::Detach { session, connection },
            (87..89, _, Some(peer)) => Command::Release { peer, session, connection },
            _ => Command::Claim { peer, session, generation, at, seize: rng.random_bool(0.3) },
        }
    }

    /// What a guest learns from an answer.
    fn remember(&self, command: &Command, fate: &Fate, seats: &mut Vec<Seat>) {
        if let (Command::Hear { room, .. }, Fate::Saw(Sight::Room(Some(sight)))) = (command, fate) {
            self.heard.borrow_mut()[usize::from(*room)] = sight.last;
        }
        let Fate::Answered(answer) = fate else { return };
        let done = answer.outcome.is_ok();
        if let (
            Command::Join { at, .. } | Command::Claim { at, .. },
            Err(Refusal::Socket(socket::Refusal::Replaced)),
        ) = (command, &answer.outcome)
        {
            return seats.retain(|seat| seat.at.connection != at.connection);
        }
        let seat_of = |seats: &mut Vec<Seat>, connection: u64, change: &dyn Fn(&mut Seat)| {
            seats.iter_mut().filter(|seat| seat.at.connection == connection).for_each(change);
        };
        match *command {
            Command::Attach { session, at, .. } if let Some(generation) = fate.generation() => {
                seats.retain(|seat| seat.session != session);
                if seats.len() == SEATS_MAX {
                    seats.remove(0);
                }
                seats.push(Seat { session, generation, at, room: None, peer: None });
            }
            Command::Detach { connection, .. } => seats.retain(|seat| seat.at.connection != connection),
            Command::Join { room, at, .. } if done => {
                seat_of(seats, at.connection, &|seat| seat.room = Some(room));
            }
            Command::Leave { connection, .. } => seat_of(seats, connection, &|seat| seat.room = None),
            // Its member is gone.
            Command::Publish { session, .. } if !done => {
                seats.iter_mut().filter(|seat| seat.session == session).for_each(|seat| seat.room = None);
            }
            Command::Claim { peer, at, .. } if done => {
                seat_of(seats, at.connection, &|seat| seat.peer = Some(peer));
            }
            Command::Release { connection, .. } => seat_of(seats, connection, &|seat| seat.peer = None),
            _ => {}
        }
    }
}
