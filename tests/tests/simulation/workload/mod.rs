//! What clients do: they ask, and record what they get. One family of commands a file.

pub(crate) mod allowances;
mod guests;
mod mailboxes;
pub(crate) mod owners;
mod registers;
mod rooms;
mod short_lived;
mod sockets;
mod tickets;
mod transfers;
mod watches;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use conclave_cluster::state::command::{IdempotencyKey, Op};
use conclave_cluster::state::id::{Domain, Key};
use conclave_cluster::state::outcome::Answer;
use conclave_cluster::state::query::Query;
use conclave_cluster::state::transfer;
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
use watches::Watch;

use super::clock::elapsed;
use super::history::{Command, Fate, History, Kind, Sight};
use super::plan::{Double, Plan};

/// Longer than any simulation.
const FOREVER_MS: u32 = 3_600_000 * 24;
/// How often a command with an idempotency key is asked again by the client itself.
const TRIES: u32 = 3;

/// What all clients share.
pub(crate) struct Desk {
    pub(crate) plan: Plan,
    pub(crate) history: RefCell<History>,
    /// Set when nothing new is to be asked.
    pub(crate) closed: Cell<bool>,
    next: Cell<u64>,
    planted: RefCell<Vec<(Kind, u64)>>,
    /// The last offset that anybody heard of in each room.
    heard: RefCell<[u64; ROOMS as usize]>,
    tickets: RefCell<Vec<u64>>,
    watches: RefCell<BTreeMap<u64, Watch>>,
    /// Those who waited for something and saw that it came.
    pub(crate) told: Cell<u64>,
    waiting: Cell<usize>,
}

/// Counts a command as waiting for as long as its client lives.
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
            watches: RefCell::default(),
            told: Cell::new(0),
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

    /// One client, until the clients stop.
    pub(crate) async fn client(self: Rc<Self>, cluster: Cluster, mut rng: SmallRng) {
        while !self.closed.get() {
            sleep(Duration::from_millis(rng.random_range(1..=self.plan.think_ms_max))).await;
            if self.closed.get() {
                return;
            }
            let command = self.choose(&mut rng);
            let idempotency_key = (command.consumes() && rng.random_bool(0.85)).then(|| self.fresh());
            self.carry_out(&cluster, command, idempotency_key).await;
        }
    }

    fn choose(&self, rng: &mut SmallRng) -> Command {
        let transfer = rng.random_range(0..TRANSFERS);
        let mailbox = rng.random_range(0..MAILBOXES);
        let register = rng.random_range(0..REGISTERS);
        match rng.random_range(0..100) {
            0..16 => {
                let variant = u8::from(rng.random_bool(0.1));
                Command::Put { transfer, index: rng.random_range(0..CHUNKS), variant }
            }
            16..25 => Command::Take { transfer },
            25..28 => Command::View { transfer },
            28..30 => {
                let transfer = rng.random_range(TRANSFERS / 2..TRANSFERS);
                Command::Acknowledge { transfer, existing: rng.random_bool(0.7) }
            }
            30..42 => Command::Push { mailbox, value: self.fresh() },
            42..48 => Command::Drain { mailbox, bytes_max: rng.random_range(1..200) },
            48..58 => Command::Write { register, value: self.fresh() },
            58..74 => Command::Read { register },
            74..79 => {
                let kinds = [Kind::Rendezvous, Kind::Negotiation, Kind::Device, Kind::Chunk, Kind::Signal];
                let (kind, name) = (kinds[rng.random_range(0..kinds.len())], self.fresh());
                self.planted.borrow_mut().push((kind, name));
                Command::Plant { kind, name, ttl_ms: rng.random_range(1000..6000) }
            }
            79..88 => {
                let planted = self.planted.borrow();
                match planted.len().checked_sub(1) {
                    Some(last) => {
                        let (kind, name) = planted[last - rng.random_range(0..=last.min(12))];
                        Command::Probe { kind, name }
                    }
                    None => Command::Read { register },
                }
            }
            88..98 => Command::Charge { client: rng.random_range(0..ALLOWANCES.len()) as u8 },
            _ => Command::ChargeRead { client: rng.random_range(0..ALLOWANCES.len()) as u8 },
        }
    }

    /// Makes one command and notes what came of it.
    pub(crate) async fn carry_out(
        &self,
        cluster: &Cluster,
        command: Command,
        idempotency_key: Option<u64>,
    ) -> Fate {
        let _waiting = Waiting::new(&self.waiting);
        let number =
            self.history.borrow_mut().begin(cluster.node_id(), command.clone(), idempotency_key, now());
        let mut fate = self.ask(cluster, &command, idempotency_key).await;
        for _ in 1..TRIES {
            if fate != Fate::Unknown || !(idempotency_key.is_some() || command.has_name()) {
                break;
            }
            fate = self.ask_again(cluster, &command, idempotency_key).await;
        }
        self.history.borrow_mut().end(number, fate.clone(), now());
        fate
    }

    /// Probes all that was planted of late.
    pub(crate) async fn probe_all(&self, cluster: &Cluster) {
        let planted: Vec<(Kind, u64)> = self.planted.borrow().iter().rev().take(20).copied().collect();
        for (kind, name) in planted {
            self.carry_out(cluster, Command::Probe { kind, name }, None).await;
        }
    }

    /// Asks for a command's fate that only its idempotency key knows.
    pub(crate) async fn settle(&self, cluster: &Cluster, number: usize) {
        let event = self.history.borrow().events()[number].clone();
        let fate = self.ask_again(cluster, &event.command, event.idempotency_key).await;
        self.history.borrow_mut().end(number, fate, now());
    }

    async fn ask(&self, cluster: &Cluster, command: &Command, idempotency_key: Option<u64>) -> Fate {
        if command.reads() {
            return self.look(cluster, command).await;
        }
        let draft = self.draft(command, idempotency_key);
        match self.plan.double {
            Double::AsksTwice => impatient(cluster, draft).await.into(),
            Double::TakesTwice if command.consumes() => {
                impatient(cluster, Draft { idempotency_key: None, ..draft }).await.into()
            }
            Double::SpendsAnywhere if draft.charge.is_some() => {
                allowances::admitted_here(cluster, draft).await.into()
            }
            Double::TrustsTickets if let Command::Redeem { ticket } = *command => {
                tickets::redeem_or_trust(cluster, draft, ticket).await.into()
            }
            _ if let Command::Renew { cell, .. } = *command => cluster.propose_in(cell, draft).await.into(),
            _ => cluster.propose(draft).await.into(),
        }
    }

    /// That the second asking is refused says nothing of the first, unless an idempotency key tells.
    async fn ask_again(&self, cluster: &Cluster, command: &Command, idempotency_key: Option<u64>) -> Fate {
        match self.ask(cluster, command, idempotency_key).await {
            Fate::Never => Fate::Unknown,
            Fate::Answered(answer) if idempotency_key.is_none() && answer.outcome.is_err() => Fate::Unknown,
            fate => fate,
        }
    }

    async fn look(&self, cluster: &Cluster, command: &Command) -> Fate {
        if let Command::ChargeRead { client } = command {
            return Fate::Saw(allowances::read(cluster, *client));
        }
        let reader = Reader { cluster, stale: self.plan.double == Double::StaleReads };
        match sight(command, reader).await {
            Ok(seen) => Fate::Saw(seen),
            Err(Error::NoLeader | Error::Overloaded | Error::Behind | Error::ShuttingDown) => Fate::Never,
        }
    }

    /// The words of a command.
    fn draft(&self, command: &Command, idempotency_key: Option<u64>) -> Draft {
        let op = self.words(command);
        // It lies with what it is about, so that both go to another cell together.
        let idempotency_key = idempotency_key.zip(op.key()).map(|(name, about)| IdempotencyKey {
            key: Key::placed(about.slot(), Domain::IdempotencyKey, &[&name.to_be_bytes()]),
            ttl_ms: FOREVER_MS,
        });
        let charge = match command {
            Command::Charge { client } => Some(allowances::charge(*client)),
            _ => None,
        };
        let owner = owners::has_owner(&op).then(|| owners::of(self.fresh()));
        Draft { charge, idempotency_key, owner, ..Draft::of(op) }
    }

    fn words(&self, command: &Command) -> Op {
        match (self.plan.double, command) {
            (_, Command::Charge { client }) => allowances::ask(*client, self.fresh()),
            (Double::HalvesTtls, Command::Plant { kind, name, ttl_ms }) => {
                short_lived::plant(*kind, *name, ttl_ms / 2)
            }
            (Double::StretchesLeases, Command::Renew { incarnation, .. }) => {
                sockets::renew(*incarnation, self.plan.lease_ms * 4)
            }
            (Double::ShortensLeases, Command::Renew { incarnation, .. }) => {
                sockets::renew(*incarnation, self.plan.lease_ms / 4)
            }
            (Double::StretchesGraces, Command::Join { room, session, generation, at }) => {
                rooms::join(*room, *session, *generation, *at, self.plan.grace_ms * 4)
            }
            (Double::ClaimsForAnyone, Command::Claim { peer, session, at, seize, .. }) => {
                sockets::claim(&self.plan, *peer, *session, None, *at, *seize)
            }
            (Double::JoinsAnyTime, Command::Join { room, session, at, .. }) => {
                rooms::join(*room, *session, sockets::latest(), *at, self.plan.grace_ms)
            }
            (Double::NamesNothing, Command::Publish { room, session, value }) => {
                rooms::publish(&self.plan, *room, *session, *value, false)
            }
            _ => words(&self.plan, command),
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

fn words(plan: &Plan, command: &Command) -> Op {
    match *command {
        Command::Put { transfer, index, variant } => transfers::put(transfer, index, variant),
        Command::Take { transfer } => transfers::about(transfer, transfer::Action::Take),
        Command::Acknowledge { transfer, existing } => {
            transfers::about(transfer, transfer::Action::Acknowledge { existing })
        }
        Command::Push { mailbox, value } => mailboxes::push(mailbox, value),
        Command::Drain { mailbox, bytes_max } => mailboxes::drain(mailbox, bytes_max),
        Command::Write { register, value } => registers::write(register, value),
        Command::Plant { kind, name, ttl_ms } => short_lived::plant(kind, name, ttl_ms),
        Command::Charge { client } => allowances::ask(client, 0),
        Command::Renew { incarnation, .. } => sockets::renew(incarnation, plan.lease_ms),
        Command::Attach { session, at, resume } => sockets::attach(plan, session, at, resume),
        Command::Detach { session, connection } => sockets::detach(session, connection),
        Command::Claim { peer, session, generation, at, seize } => {
            sockets::claim(plan, peer, session, Some(generation), at, seize)
        }
        Command::Release { peer, session, connection } => sockets::release(peer, session, connection),
        Command::Join { room, session, generation, at } => {
            rooms::join(room, session, generation, at, plan.grace_ms)
        }
        Command::Leave { room, session, connection } => rooms::leave(room, session, connection),
        Command::Publish { room, session, value } => rooms::publish(plan, room, session, value, true),
        Command::Issue { ticket } => tickets::issue(ticket),
        Command::Redeem { ticket } => tickets::redeem(ticket),
        Command::View { .. }
        | Command::Read { .. }
        | Command::Probe { .. }
        | Command::ChargeRead { .. }
        | Command::Locate { .. }
        | Command::Holder { .. }
        | Command::Hear { .. } => Op::Spend,
    }
}

/// How clients read.
#[derive(Clone, Copy)]
struct Reader<'a> {
    cluster: &'a Cluster,
    stale: bool,
}

impl Reader<'_> {
    async fn read<Q: Query>(self, query: Q) -> Result<Q::Answer, Error> {
        if self.stale {
            self.cluster.read_stale(query).await
        } else {
            self.cluster.read_linearizable(query).await
        }
    }
}

/// What a reader sees of what a command is about.
async fn sight(command: &Command, reader: Reader<'_>) -> Result<Sight, Error> {
    match *command {
        Command::View { transfer } => transfers::view(transfer, reader).await,
        Command::Read { register } => registers::read(register, reader).await,
        Command::Probe { kind, name } => short_lived::probe(kind, name, reader).await,
        Command::Locate { session } => sockets::locate(session, reader).await,
        Command::Holder { peer } => sockets::holder(peer, reader).await,
        Command::Hear { room, after } => rooms::hear(room, after, reader).await,
        Command::Put { .. }
        | Command::Take { .. }
        | Command::Acknowledge { .. }
        | Command::Push { .. }
        | Command::Drain { .. }
        | Command::Write { .. }
        | Command::Plant { .. }
        | Command::Charge { .. }
        | Command::ChargeRead { .. }
        | Command::Renew { .. }
        | Command::Attach { .. }
        | Command::Detach { .. }
        | Command::Claim { .. }
        | Command::Release { .. }
        | Command::Join { .. }
        | Command::Leave { .. }
        | Command::Publish { .. }
        | Command::Issue { .. }
        | Command::Redeem { .. } => Ok(Sight::Present(false)),
    }
}
