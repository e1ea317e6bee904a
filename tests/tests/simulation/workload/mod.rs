//! What clients do: they wish, read and write down what they get. One family of wishes a file.

mod allowances;
mod guests;
mod mailboxes;
pub(crate) mod owners;
mod registers;
mod rooms;
mod short_lived;
mod sockets;
mod tickets;
mod transfers;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::state::command::{Ask, Memo};
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::state::{State, transfer};
use conclave_cluster::{Cluster, Draft, Error};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::time::{sleep, timeout};

pub(crate) use allowances::ALLOWANCES;
pub(crate) use guests::GUESTS;
pub(crate) use mailboxes::{FLOODED, MAILBOXES};
pub(crate) use registers::{EXCHANGES, REGISTERS, found};
pub(crate) use rooms::{ROOMS, keep};
pub(crate) use sockets::{PEERS, SESSIONS};
pub(crate) use transfers::{CHUNKS, TRANSFERS, is_acknowledged};

use super::clock::elapsed;
use super::history::{Fate, History, Kind, Sight, Wish};
use super::plan::{Double, Plan};

/// Longer than any simulation.
const FOREVER_MS: u32 = 3_600_000 * 24;
/// How often a wish with a memo is asked again by the client itself.
const TRIES: u32 = 3;

/// What all clients share.
pub(crate) struct Desk {
    pub(crate) plan: Plan,
    pub(crate) history: RefCell<History>,
    /// Set when nothing new is to be wished.
    pub(crate) closed: Cell<bool>,
    next: Cell<u64>,
    planted: RefCell<Vec<(Kind, u64)>>,
    /// The last offset that anybody heard of in each room.
    heard: RefCell<[u64; ROOMS as usize]>,
    tickets: RefCell<Vec<u64>>,
    waiting: Cell<usize>,
}

/// Counts a wish as waiting for as long as its client lives.
struct Waiting<'a>(&'a Cell<usize>);

impl<'a> Waiting<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Microseconds of virtual time.
pub(crate) fn now() -> u64 {
    elapsed().as_micros() as u64
}

impl Desk {
    pub(crate) fn new(plan: Plan) -> Rc<Self> {
        Rc::new(Self {
            plan,
            history: RefCell::default(),
            closed: Cell::new(false),
            next: Cell::new(1),
            planted: RefCell::default(),
            heard: RefCell::default(),
            tickets: RefCell::default(),
            waiting: Cell::new(0),
        })
    }

    /// Whether some client on a machine that is up still waits for an answer.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.get() > 0
    }

    /// A number that was not used before.
    pub(crate) fn fresh(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// One client, until nothing new is to be wished.
    pub(crate) async fn client(self: Rc<Self>, cluster: Cluster, mut rng: SmallRng) {
        while !self.closed.get() {
            sleep(Duration::from_millis(rng.random_range(1..=self.plan.think_ms_max))).await;
            if self.closed.get() {
                return;
            }
            let wish = self.choose(&mut rng);
            let memo = (wish.consumes() && rng.random_bool(0.85)).then(|| self.fresh());
            self.carry_out(&cluster, wish, memo).await;
        }
    }

    fn choose(&self, rng: &mut SmallRng) -> Wish {
        let transfer = rng.random_range(0..TRANSFERS);
        let mailbox = rng.random_range(0..MAILBOXES);
        let register = rng.random_range(0..REGISTERS);
        match rng.random_range(0..100) {
            0..16 => {
                let variant = u8::from(rng.random_bool(0.1));
                Wish::Put { transfer, index: rng.random_range(0..CHUNKS), variant }
            }
            16..25 => Wish::Take { transfer },
            25..28 => Wish::View { transfer },
            28..30 => {
                let transfer = rng.random_range(TRANSFERS / 2..TRANSFERS);
                Wish::Acknowledge { transfer, existing: rng.random_bool(0.7) }
            }
            30..42 => Wish::Push { mailbox, value: self.fresh() },
            42..48 => Wish::Drain { mailbox, bytes_max: rng.random_range(1..200) },
            48..58 => Wish::Write { register, value: self.fresh() },
            58..74 => Wish::Read { register },
            74..79 => {
                let kinds = [Kind::Rendezvous, Kind::Exchange, Kind::Device, Kind::Chunk, Kind::Signal];
                let (kind, name) = (kinds[rng.random_range(0..kinds.len())], self.fresh());
                self.planted.borrow_mut().push((kind, name));
                Wish::Plant { kind, name, ttl_ms: rng.random_range(1000..6000) }
            }
            79..88 => {
                let planted = self.planted.borrow();
                match planted.len().checked_sub(1) {
                    Some(last) => {
                        let (kind, name) = planted[last - rng.random_range(0..=last.min(12))];
                        Wish::Probe { kind, name }
                    }
                    None => Wish::Read { register },
                }
            }
            88..98 => Wish::Charge { client: rng.random_range(0..ALLOWANCES.len()) as u8 },
            _ => Wish::ChargeRead { client: rng.random_range(0..ALLOWANCES.len()) as u8 },
        }
    }

    /// Makes one wish and notes what came of it.
    pub(crate) async fn carry_out(&self, cluster: &Cluster, wish: Wish, memo: Option<u64>) -> Fate {
        let _waiting = Waiting::new(&self.waiting);
        let number = self.history.borrow_mut().begin(cluster.node_id(), wish.clone(), memo, now());
        let mut fate = self.ask(cluster, &wish, memo).await;
        for _ in 1..TRIES {
            if fate != Fate::Unknown || !(memo.is_some() || wish.has_name()) {
                break;
            }
            fate = self.ask_again(cluster, &wish, memo).await;
        }
        self.history.borrow_mut().end(number, fate.clone(), now());
        fate
    }

    /// Probes all that was planted of late.
    pub(crate) async fn probe_all(&self, cluster: &Cluster) {
        let planted: Vec<(Kind, u64)> = self.planted.borrow().iter().rev().take(20).copied().collect();
        for (kind, name) in planted {
            self.carry_out(cluster, Wish::Probe { kind, name }, None).await;
        }
    }

    /// Asks for a wish's fate that only its memo knows.
    pub(crate) async fn settle(&self, cluster: &Cluster, number: usize) {
        let event = self.history.borrow().events()[number].clone();
        let fate = self.ask_again(cluster, &event.wish, event.memo).await;
        self.history.borrow_mut().end(number, fate, now());
    }

    async fn ask(&self, cluster: &Cluster, wish: &Wish, memo: Option<u64>) -> Fate {
        if wish.reads() {
            return self.look(cluster, wish).await;
        }
        let draft = self.draft(wish, memo);
        match self.plan.double {
            Double::AsksTwice => impatient(cluster, draft).await.into(),
            Double::TakesTwice if wish.consumes() => {
                impatient(cluster, Draft { memo: None, ..draft }).await.into()
            }
            Double::SpendsAnywhere if draft.charge.is_some() => {
                allowances::admitted_here(cluster, draft).await.into()
            }
            Double::TrustsTickets if let Wish::Redeem { ticket } = *wish => {
                tickets::redeem_or_trust(cluster, draft, ticket).await.into()
            }
            _ => cluster.propose(draft).await.into(),
        }
    }

    /// That the second asking is refused says nothing of the first, unless a memo tells.
    async fn ask_again(&self, cluster: &Cluster, wish: &Wish, memo: Option<u64>) -> Fate {
        match self.ask(cluster, wish, memo).await {
            Fate::Never => Fate::Unknown,
            Fate::Answered(answer) if memo.is_none() && answer.outcome.is_err() => Fate::Unknown,
            fate => fate,
        }
    }

    async fn look(&self, cluster: &Cluster, wish: &Wish) -> Fate {
        if let Wish::ChargeRead { client } = wish {
            return Fate::Saw(allowances::read(cluster, *client));
        }
        let seen = match self.plan.double {
            Double::StaleReads => Ok(cluster.glance(|state, now_ms| sight(wish, state, now_ms))),
            _ => cluster.read(|state, now_ms| sight(wish, state, now_ms)).await,
        };
        match seen {
            Ok(seen) => Fate::Saw(seen),
            Err(Error::NoLeader | Error::Overloaded | Error::Behind | Error::ShuttingDown) => Fate::Never,
        }
    }

    /// The words of a wish.
    fn draft(&self, wish: &Wish, memo: Option<u64>) -> Draft {
        let memo = memo
            .map(|name| Memo { key: Key::derive(Domain::Memo, &[&name.to_be_bytes()]), ttl_ms: FOREVER_MS });
        let charge = match wish {
            Wish::Charge { client } => Some(allowances::charge(*client)),
            _ => None,
        };
        let ask = self.words(wish);
        let owner = owners::has_owner(&ask).then(|| owners::of(self.fresh()));
        Draft { charge, memo, owner, ..Draft::of(ask) }
    }

    fn words(&self, wish: &Wish) -> Ask {
        match (self.plan.double, wish) {
            (Double::HalvesTtls, Wish::Plant { kind, name, ttl_ms }) => {
                short_lived::plant(*kind, *name, ttl_ms / 2)
            }
            (Double::StretchesLeases, Wish::Renew { host }) => sockets::renew(*host, self.plan.lease_ms * 4),
            (Double::ShortensLeases, Wish::Renew { host }) => sockets::renew(*host, self.plan.lease_ms / 4),
            (Double::StretchesGraces, Wish::Join { room, session, at }) => {
                rooms::join(*room, *session, *at, self.plan.grace_ms * 4)
            }
            (Double::NamesNothing, Wish::Publish { room, session, value }) => {
                rooms::publish(&self.plan, *room, *session, *value, false)
            }
            _ => words(&self.plan, wish),
        }
    }
}

/// Asks again, as if for the first time, what takes long.
async fn impatient(cluster: &Cluster, draft: Draft) -> Result<Answer, Error> {
    match timeout(Duration::from_millis(40), cluster.propose(draft.clone())).await {
        Ok(answer) => answer,
        Err(_) => cluster.propose(draft).await,
    }
}

/// A key of one of the lasting things.
pub(crate) fn lasting(domain: Domain, number: u8) -> Key {
    Key::derive(domain, &[b"lasting", &[number]])
}

fn words(plan: &Plan, wish: &Wish) -> Ask {
    match *wish {
        Wish::Put { transfer, index, variant } => transfers::put(transfer, index, variant),
        Wish::Take { transfer } => transfers::about(transfer, transfer::Verb::Take),
        Wish::Acknowledge { transfer, existing } => {
            transfers::about(transfer, transfer::Verb::Acknowledge { existing })
        }
        Wish::Push { mailbox, value } => mailboxes::push(mailbox, value),
        Wish::Drain { mailbox, bytes_max } => mailboxes::drain(mailbox, bytes_max),
        Wish::Write { register, value } => registers::write(register, value),
        Wish::Plant { kind, name, ttl_ms } => short_lived::plant(kind, name, ttl_ms),
        Wish::Charge { client } => allowances::ask(client),
        Wish::Renew { host } => sockets::renew(host, plan.lease_ms),
        Wish::Attach { session, at, resume } => sockets::attach(plan, session, at, resume),
        Wish::Detach { session, connection } => sockets::detach(session, connection),
        Wish::Claim { peer, session, at, seize } => sockets::claim(plan, peer, session, at, seize),
        Wish::Release { peer, session, connection } => sockets::release(peer, session, connection),
        Wish::Join { room, session, at } => rooms::join(room, session, at, plan.grace_ms),
        Wish::Leave { room, session, connection } => rooms::leave(room, session, connection),
        Wish::Publish { room, session, value } => rooms::publish(plan, room, session, value, true),
        Wish::Issue { ticket } => tickets::issue(ticket),
        Wish::Redeem { ticket } => tickets::redeem(ticket),
        Wish::View { .. }
        | Wish::Read { .. }
        | Wish::Probe { .. }
        | Wish::ChargeRead { .. }
        | Wish::Locate { .. }
        | Wish::Holder { .. }
        | Wish::Hear { .. } => Ask::Spend,
    }
}

/// What a reader sees of what a wish is about.
fn sight(wish: &Wish, state: &State, now_ms: u64) -> Sight {
    match *wish {
        Wish::View { transfer } => transfers::view(transfer, state, now_ms),
        Wish::Read { register } => registers::read(register, state, now_ms),
        Wish::Probe { kind, name } => short_lived::probe(kind, name, state, now_ms),
        Wish::Locate { session } => sockets::locate(session, state, now_ms),
        Wish::Holder { peer } => sockets::holder(peer, state, now_ms),
        Wish::Hear { room, after } => rooms::hear(room, after, state, now_ms),
        Wish::Put { .. }
        | Wish::Take { .. }
        | Wish::Acknowledge { .. }
        | Wish::Push { .. }
        | Wish::Drain { .. }
        | Wish::Write { .. }
        | Wish::Plant { .. }
        | Wish::Charge { .. }
        | Wish::ChargeRead { .. }
        | Wish::Renew { .. }
        | Wish::Attach { .. }
        | Wish::Detach { .. }
        | Wish::Claim { .. }
        | Wish::Release { .. }
        | Wish::Join { .. }
        | Wish::Leave { .. }
        | Wish::Publish { .. }
        | Wish::Issue { .. }
        | Wish::Redeem { .. } => Sight::Present(false),
    }
}
