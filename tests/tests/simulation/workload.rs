//! What clients do: they wish, read and write down what they get.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use conclave_cluster::state::allowance::{Charge, Tier};
use conclave_cluster::state::body::Body;
use conclave_cluster::state::command::{Ask, Memo};
use conclave_cluster::state::id::{Digest, Domain, Key};
use conclave_cluster::state::outcome::{Answer, Refusal};
use conclave_cluster::state::{State, device, exchange, mailbox, rendezvous, transfer};
use conclave_cluster::{Cluster, Draft, Error};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use tokio::time::{sleep, timeout};

use super::clock::elapsed;
use super::history::{Fate, History, Kind, Sight, TransferSight, Wish, number};
use super::plan::{Double, Plan};

/// Longer than any simulation.
const FOREVER_MS: u32 = 3_600_000 * 24;
/// Transfers in use; the second half of them is acknowledged now and then.
pub(crate) const TRANSFERS: u8 = 6;
/// Chunks of each.
pub(crate) const CHUNKS: u16 = 10;
/// Mailboxes in use.
pub(crate) const MAILBOXES: u8 = 3;
/// The mailbox that is flooded, on some seeds.
pub(crate) const FLOODED: u8 = 9;
/// Registers that are exchanges; those from here on are devices.
pub(crate) const EXCHANGES: u8 = 5;
/// All registers.
pub(crate) const REGISTERS: u8 = 8;
/// Limit and window of each charged client.
pub(crate) const ALLOWANCES: [(u32, u32); 3] = [(3, 700), (8, 1500), (20, 2600)];
/// How often a wish with a memo is asked again by the client itself.
const TRIES: u32 = 3;

/// Whether a transfer may come to be acknowledged and freed.
pub(crate) fn is_acknowledged(transfer: u8) -> bool {
    transfer >= TRANSFERS / 2
}

/// What all clients share.
pub(crate) struct Desk {
    pub(crate) plan: Plan,
    pub(crate) history: RefCell<History>,
    /// Set when nothing new is to be wished.
    pub(crate) closed: Cell<bool>,
    next: Cell<u64>,
    planted: RefCell<Vec<(Kind, u64)>>,
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
            if fate != Fate::Unknown || memo.is_none() {
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
            Double::SpendsAnywhere if draft.charge.is_some() => admitted_here(cluster, draft).await.into(),
            _ => cluster.propose(draft).await.into(),
        }
    }

    /// That the second asking is refused says nothing of the first.
    async fn ask_again(&self, cluster: &Cluster, wish: &Wish, memo: Option<u64>) -> Fate {
        match self.ask(cluster, wish, memo).await {
            Fate::Never => Fate::Unknown,
            fate => fate,
        }
    }

    async fn look(&self, cluster: &Cluster, wish: &Wish) -> Fate {
        if let Wish::ChargeRead { client } = wish {
            let charge = Charge { tier: Tier::Poll, ..charge(*client) };
            return Fate::Saw(Sight::Admitted(cluster.charge_read(charge).is_ok()));
        }
        let seen = match self.plan.double {
            Double::StaleReads => Ok(cluster.glance(|state, now_ms| sight(wish, state, now_ms))),
            _ => cluster.read(|state, now_ms| sight(wish, state, now_ms)).await,
        };
        match seen {
            Ok(seen) => Fate::Saw(seen),
            Err(Error::NoLeader | Error::Overloaded | Error::ShuttingDown) => Fate::Never,
        }
    }

    /// The words of a wish.
    fn draft(&self, wish: &Wish, memo: Option<u64>) -> Draft {
        let memo = memo
            .map(|name| Memo { key: Key::derive(Domain::Memo, &[&name.to_be_bytes()]), ttl_ms: FOREVER_MS });
        let charge = match wish {
            Wish::Charge { client } => Some(charge(*client)),
            _ => None,
        };
        Draft { charge, memo, ask: self.words(wish) }
    }

    fn words(&self, wish: &Wish) -> Ask {
        match (self.plan.double, wish) {
            (Double::HalvesTtls, Wish::Plant { kind, name, ttl_ms }) => plant(*kind, *name, ttl_ms / 2),
            _ => words(wish),
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

/// Lets the node at hand decide what the log should.
async fn admitted_here(cluster: &Cluster, draft: Draft) -> Result<Answer, Error> {
    let charge = draft.charge.expect("only charged wishes come here");
    let admitted = cluster.charge_read(charge);
    let answer = cluster.propose(Draft { charge: None, ..draft }).await?;
    Ok(match admitted {
        Ok(balance) => Answer { balance: Some(balance), ..answer },
        Err(balance) => {
            let outcome = Err(Refusal::Allowance { retry_after_ms: 1 });
            Answer { outcome, balance: Some(balance), ..answer }
        }
    })
}

fn charge(client: u8) -> Charge {
    let (limit, window_ms) = ALLOWANCES[usize::from(client)];
    let client = Key::derive(Domain::Client, &[&[client]]);
    Charge { client, tier: Tier::Create, count: 1, limit, window_ms }
}

/// A key of one of the lasting things.
pub(crate) fn lasting(domain: Domain, number: u8) -> Key {
    Key::derive(domain, &[b"lasting", &[number]])
}

fn short(domain: Domain, name: u64) -> Key {
    Key::derive(domain, &[b"short", &name.to_be_bytes()])
}

fn domain(kind: Kind) -> Domain {
    match kind {
        Kind::Rendezvous => Domain::Rendezvous,
        Kind::Exchange => Domain::Exchange,
        Kind::Device => Domain::Devices,
        Kind::Chunk => Domain::Transfer,
        Kind::Signal => Domain::Mailbox,
    }
}

/// A chunk's bytes: some filling, the index and the variant.
fn chunk(transfer: u8, index: u16, variant: u8) -> Bytes {
    let mut bytes = vec![transfer; 120];
    bytes.extend_from_slice(&index.to_be_bytes());
    bytes.push(variant);
    bytes.into()
}

fn put(bytes: Bytes, index: u16, total: u16) -> transfer::Verb {
    let digest = Digest::of(&bytes);
    let encoding = transfer::Encoding::Text;
    transfer::Verb::Put { index, total: Some(total), digest, encoding, body: Body::new(bytes) }
}

fn signal(value: u64, ttl_ms: u32) -> mailbox::Verb {
    let payload = Body::new(Bytes::copy_from_slice(&value.to_be_bytes()));
    mailbox::Verb::Push { from: "peer".to_owned(), kind: mailbox::Kind::Offer, payload, ttl_ms }
}

fn register(device_id: &str, value: u64, ttl_ms: u32) -> device::Verb {
    let device_id = device_id.to_owned();
    device::Verb::Register { device_id, onion: value.to_string(), port: None, ttl_ms }
}

/// Begins an exchange that a register lives in.
pub(crate) fn found(number: u8) -> Draft {
    let ask = exchange::Ask {
        key: lasting(Domain::Exchange, number),
        ttl_ms: FOREVER_MS,
        verb: exchange::Verb::Create { id: u128::from(number), pin: None },
    };
    Draft { charge: None, memo: None, ask: Ask::Exchange(ask) }
}

fn words(wish: &Wish) -> Ask {
    let about_transfer = |transfer: u8, verb| {
        let key = lasting(Domain::Transfer, transfer);
        Ask::Transfer(transfer::Ask { key, ttl_ms: FOREVER_MS, verb })
    };
    let about_mailbox =
        |mailbox: u8, verb| Ask::Mailbox(mailbox::Ask { key: lasting(Domain::Mailbox, mailbox), verb });
    match *wish {
        Wish::Put { transfer, index, variant } => {
            about_transfer(transfer, put(chunk(transfer, index, variant), index, CHUNKS))
        }
        Wish::Take { transfer } => about_transfer(transfer, transfer::Verb::Take),
        Wish::Acknowledge { transfer, existing } => {
            about_transfer(transfer, transfer::Verb::Acknowledge { existing })
        }
        Wish::Push { mailbox, value } => about_mailbox(mailbox, signal(value, FOREVER_MS)),
        Wish::Drain { mailbox, bytes_max } => about_mailbox(mailbox, mailbox::Verb::Drain { bytes_max }),
        Wish::Write { register: number, value } if number < EXCHANGES => {
            let envelope = Body::new(Bytes::copy_from_slice(&value.to_be_bytes()));
            let verb = exchange::Verb::Put { role: exchange::Role::Offer, envelope };
            let key = lasting(Domain::Exchange, number);
            Ask::Exchange(exchange::Ask { key, ttl_ms: FOREVER_MS, verb })
        }
        Wish::Write { register: number, value } => {
            let key = lasting(Domain::Devices, number);
            Ask::Device(device::Ask { key, verb: register("device", value, FOREVER_MS) })
        }
        Wish::Plant { kind, name, ttl_ms } => plant(kind, name, ttl_ms),
        Wish::Charge { client } => {
            let key = Key::derive(Domain::Rendezvous, &[b"charged", &[client]]);
            let verb = rendezvous::Verb::Register { peer: "peer".to_owned(), ttl_ms: FOREVER_MS };
            Ask::Rendezvous(rendezvous::Ask { key, verb })
        }
        Wish::View { .. } | Wish::Read { .. } | Wish::Probe { .. } | Wish::ChargeRead { .. } => Ask::Spend,
    }
}

fn plant(kind: Kind, name: u64, ttl_ms: u32) -> Ask {
    let key = short(domain(kind), name);
    match kind {
        Kind::Rendezvous => {
            let verb = rendezvous::Verb::Register { peer: "peer".to_owned(), ttl_ms };
            Ask::Rendezvous(rendezvous::Ask { key, verb })
        }
        Kind::Exchange => {
            let verb = exchange::Verb::Create { id: u128::from(name), pin: None };
            Ask::Exchange(exchange::Ask { key, ttl_ms, verb })
        }
        Kind::Device => Ask::Device(device::Ask { key, verb: register("device", name, ttl_ms) }),
        Kind::Chunk => {
            let bytes = Bytes::copy_from_slice(&name.to_be_bytes());
            Ask::Transfer(transfer::Ask { key, ttl_ms, verb: put(bytes, 0, 1) })
        }
        Kind::Signal => Ask::Mailbox(mailbox::Ask { key, verb: signal(name, ttl_ms) }),
    }
}

/// What a reader sees of what a wish is about.
fn sight(wish: &Wish, state: &State, now_ms: u64) -> Sight {
    match *wish {
        Wish::View { transfer } => {
            let view = state.transfer(&lasting(Domain::Transfer, transfer), now_ms);
            Sight::Transfer(view.map(|view| {
                TransferSight {
                    received: view
                        .received
                        .iter()
                        .flat_map(|&(first, last)| first..=last)
                        .fold(0, |bits, index| bits | 1 << index),
                    delivered: view.delivered,
                    acknowledged: view.acknowledged,
                }
            }))
        }
        Wish::Read { register } if register < EXCHANGES => {
            let key = lasting(Domain::Exchange, register);
            Sight::Value(match state.envelope(&key, exchange::Role::Offer, now_ms) {
                exchange::Envelope::Present(body) => Some(number(body.bytes())),
                exchange::Envelope::Missing | exchange::Envelope::Expired => None,
            })
        }
        Wish::Read { register } => {
            let devices = state.devices(&lasting(Domain::Devices, register), now_ms);
            Sight::Value(devices.first().and_then(|device| device.onion.parse().ok()))
        }
        Wish::Probe { kind, name } => {
            let key = short(domain(kind), name);
            Sight::Present(match kind {
                Kind::Rendezvous => state.peer(&key, now_ms).is_some(),
                Kind::Exchange => {
                    state.envelope(&key, exchange::Role::Offer, now_ms) != exchange::Envelope::Expired
                }
                Kind::Device => !state.devices(&key, now_ms).is_empty(),
                Kind::Chunk => state.chunk(&key, 0, now_ms).is_some(),
                Kind::Signal => state.waiting(&key, now_ms) > 0,
            })
        }
        Wish::Put { .. }
        | Wish::Take { .. }
        | Wish::Acknowledge { .. }
        | Wish::Push { .. }
        | Wish::Drain { .. }
        | Wish::Write { .. }
        | Wish::Plant { .. }
        | Wish::Charge { .. }
        | Wish::ChargeRead { .. } => Sight::Present(false),
    }
}
