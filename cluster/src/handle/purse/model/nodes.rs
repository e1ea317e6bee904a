//! What a node does with its purse: as the proposer will, but for one client.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::rngs::SmallRng;

use super::super::{Leased, Purse, Token, TokenRequest};
use super::{Event, HOME, Planted, World, at};
use crate::state::allowance::Payment;
use crate::state::command::{Command, IdempotencyKey, Op};
use crate::state::id::{Domain, Key, RequestId};
use crate::state::mailbox;
use crate::state::outcome::{Answer, Outcome, Refusal};

/// After so long a command is sent again, and so often.
const RETRY_MS: u64 = 40;
const TRIES_MAX: u32 = 6;
/// For so long a gift is waited for.
const GIFT_MS: u64 = 60;
/// So often a request is begun anew.
const TURNS_MAX: u32 = 30;

/// What the client asks for.
#[derive(Debug, Clone)]
pub(super) struct Request {
    cell: usize,
    idempotency_key: Option<IdempotencyKey>,
    /// Its charge was refused at home.
    refused_at_home: bool,
    turns: u32,
}

impl Request {
    pub(super) fn random(rng: &mut SmallRng, cells: usize) -> Self {
        let cell = rng.random_range(0..cells);
        let idempotency_key = rng.random_bool(0.2).then(|| {
            let name = [cell as u8, rng.random_range(0..4)];
            IdempotencyKey { key: Key::derive(Domain::IdempotencyKey, &[&name]), ttl_ms: 300 }
        });
        Self { cell, idempotency_key, refused_at_home: false, turns: 0 }
    }
}

/// What a command is for.
enum Use {
    Request(Request, Option<Token>),
    Lease(TokenRequest),
}

struct Sent {
    cell: usize,
    command: Command,
    of_ms: Option<u64>,
    what: Use,
    tries: u32,
}

pub(super) struct Node {
    number: usize,
    run: u64,
    seq: u64,
    skew_ms: i64,
    pub(super) frozen_until_ms: u64,
    purse: Purse,
    saved: Purse,
    sent: BTreeMap<u64, Sent>,
    /// Requests that wait for a token.
    waiting: Vec<Request>,
    /// The gifts that they wait for, and of which window.
    gifts: BTreeSet<TokenRequest>,
    gifts_of_ms: u64,
    /// Whether one of them was all that was asked for, so that there may be more.
    more: bool,
}

impl Node {
    pub(super) fn new(number: usize, run: u64, skew_ms: i64) -> Self {
        let (purse, saved) = (Purse::new(run), Purse::new(run));
        Self {
            number,
            run,
            seq: 0,
            skew_ms,
            frozen_until_ms: 0,
            purse,
            saved,
            sent: BTreeMap::new(),
            waiting: Vec::new(),
            gifts: BTreeSet::new(),
            gifts_of_ms: 0,
            more: false,
        }
    }

    pub(super) fn tokens(&self, until_ms: u64) -> u32 {
        let window = self.purse.windows.get(&at()).filter(|window| window.until_ms == until_ms);
        window.map_or(0, |window| window.tokens)
    }
}

impl World {
    /// A request, from the beginning.
    pub(super) fn ask(&mut self, node: usize, request: Request) {
        let now_ms = self.clock(self.nodes[node].skew_ms);
        let it = &mut self.nodes[node];
        if let Some(token) = it.purse.take(at(), now_ms) {
            self.carry_out(node, request, token);
        } else if let Some(until_ms) = it.purse.exhausted(at(), now_ms) {
            self.refuse(until_ms);
        } else if request.cell == HOME && !request.refused_at_home {
            let payment = self.charge(1).into();
            let command = self.nodes[node].name(payment, request.idempotency_key, work(request.cell));
            self.dispatch(node, HOME, command, None, Use::Request(request, None));
        } else {
            it.waiting.push(request);
            if it.gifts.is_empty() {
                self.lease(node);
            }
        }
        if self.nodes[node].purse.is_low(at(), now_ms) {
            self.lease(node);
        }
    }

    fn carry_out(&mut self, node: usize, request: Request, token: Token) {
        let of_ms = Some(token.until_ms);
        let payment = match self.planted {
            Planted::NoFence => Payment::Paid { until_ms: u64::MAX },
            _ => token.payment(),
        };
        let cell = request.cell;
        let command = self.nodes[node].name(payment, request.idempotency_key, work(cell));
        self.dispatch(node, cell, command, of_ms, Use::Request(request, Some(token)));
    }

    fn refuse(&mut self, until_ms: u64) {
        let is_open = until_ms > self.now_ms + 2 * self.faults.skew_ms as u64;
        self.tallies.entry(until_ms).or_default().refused += u32::from(is_open);
    }

    fn lease(&mut self, node: usize) {
        let now_ms = self.clock(self.nodes[node].skew_ms);
        let it = &mut self.nodes[node];
        let want = it.purse.want(at(), self.limit);
        // If one is under way, its answer is for all that wait.
        let Some(ask) = it.purse.request_lease(at(), want, now_ms) else { return };
        let op = Op::Lease { node: it.number as u64 };
        let payment = self.charge(want).into();
        let command = self.nodes[node].name(payment, None, op);
        self.dispatch(node, HOME, command, None, Use::Lease(ask));
    }

    fn dispatch(&mut self, node: usize, cell: usize, command: Command, of_ms: Option<u64>, what: Use) {
        let id = command.id;
        let sent = Sent { cell, command: command.clone(), of_ms, what, tries: 1 };
        self.nodes[node].sent.insert(id.seq, sent);
        self.send(Event::Command { cell, from: node, command, of_ms });
        self.after(RETRY_MS, Event::Retry { node, id });
    }

    pub(super) fn retry(&mut self, node: usize, id: RequestId) {
        let it = &mut self.nodes[node];
        let Some(sent) = it.sent.get_mut(&id.seq).filter(|sent| sent.command.id == id) else { return };
        if sent.tries < TRIES_MAX {
            sent.tries += 1;
            let (cell, command, of_ms) = (sent.cell, sent.command.clone(), sent.of_ms);
            self.send(Event::Command { cell, from: node, command, of_ms });
            self.after(RETRY_MS, Event::Retry { node, id });
        } else if let Some(Sent { what: Use::Lease(ask), .. }) = it.sent.remove(&id.seq) {
            // The outcome is unknown: no leader, says the node to those who wait.
            it.purse.give_up(ask);
            it.waiting.clear();
        }
    }

    pub(super) fn answered(&mut self, node: usize, id: RequestId, answer: Answer) {
        let it = &mut self.nodes[node];
        if it.run != id.origin {
            return;
        }
        match it.sent.remove(&id.seq).map(|sent| sent.what) {
            Some(Use::Lease(ask)) => self.leased(node, ask, answer),
            Some(Use::Request(request, token)) => self.done(node, request, token, answer),
            None if self.planted == Planted::CountedTwice => {
                let now_ms = self.clock(self.nodes[node].skew_ms);
                if let Some(ask) = self.nodes[node].purse.request_lease(at(), u32::MAX, now_ms) {
                    self.leased(node, ask, answer);
                }
            }
            None => {}
        }
    }

    /// A request was answered; in the end, or it begins anew.
    fn done(&mut self, node: usize, mut request: Request, token: Option<Token>, answer: Answer) {
        let purse = &mut self.nodes[node].purse;
        match (answer.outcome, token) {
            (Err(Refusal::Lapsed), Some(token)) => purse.expire(token),
            (Err(Refusal::Allowance { .. }), None) => request.refused_at_home = true,
            (_, Some(token)) if answer.replayed => return purse.give_back(token),
            _ => return,
        }
        self.again(node, request);
    }

    fn again(&mut self, node: usize, mut request: Request) {
        request.turns += 1;
        if request.turns < TURNS_MAX {
            let ms = if request.turns > 1 { 5 } else { 0 };
            self.after(ms, Event::Arrives { node, request });
        }
    }

    fn leased(&mut self, node: usize, ask: TokenRequest, answer: Answer) {
        let (Ok(Outcome::Leased { count, holders }), Some(balance)) = (answer.outcome, answer.balance) else {
            return self.nodes[node].purse.give_up(ask);
        };
        let it = &mut self.nodes[node];
        let token = it.purse.credit(ask, Leased { count, balance });
        it.saved = it.purse.clone();
        if token.is_some() || it.waiting.is_empty() || count > 0 {
            return self.came(node, token);
        }
        let others: Vec<u64> = holders.into_iter().filter(|other| *other != it.number as u64).collect();
        let want = it.purse.want_of_each(at(), self.limit, others.len());
        (self.nodes[node].gifts_of_ms, self.nodes[node].more) = (balance.reset_ms, false);
        for other in others {
            let now_ms = self.clock(self.nodes[node].skew_ms);
            let ask = self.nodes[node].purse.request_gift(at(), balance.reset_ms, want, now_ms);
            let Some(ask) = ask else { continue };
            self.nodes[node].gifts.insert(ask);
            let until_ms = balance.reset_ms;
            self.send(Event::Give { node: other as usize, from: node, ask, until_ms, want });
            self.after(GIFT_MS, Event::GiftLate { node, ask });
        }
        self.gathered(node);
    }

    /// A token for one that waits; the others look into the purse again.
    fn came(&mut self, node: usize, token: Option<Token>) {
        let it = &mut self.nodes[node];
        let waiting = std::mem::take(&mut it.waiting);
        let mut waiting = waiting.into_iter();
        if let Some(token) = token {
            match waiting.next() {
                Some(request) => self.carry_out(node, request, token),
                None => self.nodes[node].purse.give_back(token),
            }
        }
        waiting.for_each(|request| self.again(node, request));
    }

    pub(super) fn give(&mut self, node: usize, until_ms: u64, want: u32) -> u32 {
        let purse = &mut self.nodes[node].purse;
        match self.planted {
            Planted::GiftKept => purse.clone().give(at(), until_ms, want),
            _ => purse.give(at(), until_ms, want),
        }
    }

    pub(super) fn gift(&mut self, node: usize, ask: TokenRequest, until_ms: u64, count: u32) {
        let now_ms = self.clock(self.nodes[node].skew_ms);
        let it = &mut self.nodes[node];
        let ask = match self.planted {
            Planted::CountedTwice if ask.run == it.run && !it.purse.open.contains_key(&ask.number) => {
                it.purse.request_gift(at(), until_ms, count, now_ms).expect("there is room")
            }
            _ => ask,
        };
        let wanted = it.purse.open.get(&ask.number).map(|open| open.want);
        let token = it.purse.receive(ask, count);
        it.gifts.remove(&ask);
        it.more |= wanted == Some(count);
        if token.is_some() {
            self.came(node, token);
        }
        self.gathered(node);
    }

    pub(super) fn gift_late(&mut self, node: usize, ask: TokenRequest) {
        let it = &mut self.nodes[node];
        if it.gifts.remove(&ask) {
            self.gathered(node);
        }
    }

    /// If all were asked and none had any, that is the answer, for a while.
    fn gathered(&mut self, node: usize) {
        let now_ms = self.clock(self.nodes[node].skew_ms);
        let it = &mut self.nodes[node];
        if !it.gifts.is_empty() || it.waiting.is_empty() {
            return;
        }
        if it.more {
            return self.came(node, None);
        }
        let until_ms = it.gifts_of_ms;
        it.purse.exhaust(at(), until_ms, now_ms);
        for _ in std::mem::take(&mut it.waiting) {
            self.refuse(until_ms);
        }
    }

    pub(super) fn tick(&mut self, node: usize) {
        let now_ms = self.clock(self.nodes[node].skew_ms);
        let it = &mut self.nodes[node];
        it.purse.forget_closed_windows(now_ms);
    }

    pub(super) fn restart(&mut self, node: usize) {
        let run = self.rng.random();
        let it = &mut self.nodes[node];
        let fresh = Node::new(it.number, run, it.skew_ms);
        let before = std::mem::replace(it, fresh);
        if self.planted == Planted::SurvivesRestart {
            it.purse = before.saved;
        }
    }
}

impl Node {
    fn name(&mut self, payment: Payment, idempotency_key: Option<IdempotencyKey>, op: Op) -> Command {
        self.seq += 1;
        let id = RequestId { origin: self.run, seq: self.seq };
        Command { id, payment, owner: None, idempotency_key, op }
    }
}

/// Something that succeeds in a cell.
fn work(cell: usize) -> Op {
    let key = Key::derive(Domain::Mailbox, &[&[cell as u8]]);
    Op::Mailbox(mailbox::Op { key, action: mailbox::Action::Drain { bytes_max: 1 } })
}
