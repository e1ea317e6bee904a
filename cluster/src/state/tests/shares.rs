//! Shares: what one owner may hold, and what the others still can.

mod foreseen;

use super::super::leader_rules::{Ages, Group, Owner, Share, Shares};
use super::super::outcome::Scope;
use super::super::transfer::{Action, NewChunk};
use super::super::weight::Kind;
use super::super::{Counts, invite_code, mailbox, negotiation, room, socket, ticket};
use super::super::{account, allowance, incarnation};
use super::transfer::{about, put};
use super::*;

const ANN: &str = "ann";
const BOB: &str = "bob";

fn owner(name: &str) -> Owner {
    Owner { client: Key::derive(Domain::Client, &[name.as_bytes()]), group: None }
}

fn share(bytes: u64) -> Share {
    Share { bytes, keys: 3, mailboxes: 3, rooms: 3 }
}

/// A store of 100,000 bytes of which one client may hold a fifth, with a tenth kept for small things.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.storage_bytes_max = 100_000;
    lab.rules.shares = Some(Shares {
        client: share(20_000),
        network: share(30_000),
        reserve_bytes: 10_000,
        reserve_client_bytes: 4_000,
    });
    lab
}

impl Lab {
    fn owned(&mut self, owner: Owner, op: impl Into<Op>) -> Result<Outcome, Refusal> {
        let command = Command { owner: Some(owner), ..self.command(op) };
        self.carry_out(command).outcome
    }

    fn ask_for(&mut self, name: &str, op: impl Into<Op>) -> Result<Outcome, Refusal> {
        self.owned(owner(name), op)
    }

    fn bytes_of(&self, name: &str) -> u64 {
        query::Holding(account::Owned(owner(name).client)).answer(&self.state, self.state.now_ms()).bytes
    }

    /// Lets everything expire.
    fn end(&mut self) {
        while let Some(due_ms) = self.state.next_expiry_ms() {
            self.now_ms = self.now_ms.max(due_ms);
            self.tick();
        }
    }

    /// Puts chunks for `name` until one is refused, and says how.
    fn fill(&mut self, name: &str) -> Refusal {
        for number in 0..2048 {
            let text = format!("{name} {number} {}", "x".repeat(1000));
            if let Err(refusal) = self.ask_for(name, put(name, number, 2048, &text)) {
                return refusal;
            }
        }
        panic!("{name} was never refused");
    }
}

fn push(to: &str) -> mailbox::Op {
    let (from, kind, payload) = ("a".to_owned(), mailbox::Kind::Offer, body("payload"));
    let action = mailbox::Action::Push { from, kind, payload, ttl_ms: 30_000 };
    mailbox::Op { key: Key::derive(Domain::Mailbox, &[to.as_bytes()]), action }
}

fn register(code: &str) -> Op {
    let action = invite_code::Action::Register { peer: "peer".into(), ttl_ms: 30_000 };
    Op::Rendezvous(invite_code::Op { key: Key::derive(Domain::Rendezvous, &[code.as_bytes()]), action })
}

fn issue(text: &str) -> ticket::Op {
    let action = ticket::Action::Issue { grant: body("grant"), ttl_ms: 30_000 };
    ticket::Op { key: Key::derive(Domain::Ticket, &[text.as_bytes()]), action }
}

fn session(name: &str, action: negotiation::Action) -> negotiation::Op {
    negotiation::Op { key: Key::derive(Domain::Negotiation, &[name.as_bytes()]), ttl_ms: 180_000, action }
}

/// What keeps a cluster usable, one of each.
fn small_things(name: &str) -> Vec<Op> {
    let pin = Some(Key::derive(Domain::Pin, &[name.as_bytes()]));
    let offer = negotiation::Action::Put { role: negotiation::Role::Offer, envelope: body("{}") };
    vec![
        session(name, negotiation::Action::Create { id: 1, pin }).into(),
        session(name, offer).into(),
        push(name).into(),
        register(name),
        issue(name).into(),
        about(name, Action::Acknowledge { existing: false }).into(),
    ]
}

#[test]
fn a_client_that_fills_its_share_starves_nobody() {
    let mut lab = lab();
    assert_eq!(lab.fill(ANN), Refusal::ShareFull);
    assert!(lab.bytes_of(ANN) <= 20_000 && lab.bytes_of(ANN) > 18_000, "{}", lab.bytes_of(ANN));
    for op in small_things(BOB) {
        assert!(lab.ask_for(BOB, op.clone()).is_ok(), "{op:?}");
    }
    assert!(lab.ask_for(BOB, put("b", 0, 1, "a chunk")).is_ok());
    assert_eq!(lab.ask_for(ANN, push("p")), Ok(mailbox::Outcome::Queued { seq: MORNING_MS << 10 }.into()),);
}

#[test]
fn a_store_that_many_have_filled_with_chunks_takes_small_things() {
    let mut lab = lab();
    let refusals: Vec<Refusal> = (0..5).map(|number| lab.fill(&format!("client {number}"))).collect();
    assert_eq!(refusals.last(), Some(&Refusal::StorageFull), "{refusals:?}");
    assert!(lab.state.stored_bytes() <= 90_000);
    for op in small_things(BOB) {
        assert!(lab.ask_for(BOB, op.clone()).is_ok(), "{op:?}");
    }
    assert_eq!(lab.ask_for(BOB, put("b", 0, 1, "a chunk")), Err(Refusal::StorageFull));
    // The reserve is shared, too.
    let refused = (0..100).find_map(|number| lab.ask_for(ANN, register(&number.to_string())).err());
    assert_eq!(refused, Some(Refusal::ShareFull));
    assert!(lab.bytes_of(ANN) <= 4_000);
    assert!(lab.ask_for(BOB, register("one more")).is_ok());
}

#[test]
fn one_client_has_its_share_of_remembered_keys_and_no_more() {
    let mut lab = lab();
    let remembered = |lab: &mut Lab, name: &str, key: &str| {
        let op = about(key, Action::Acknowledge { existing: false });
        let command = Command { owner: Some(owner(name)), ..lab.memoed(key, op) };
        lab.carry_out(command).outcome
    };
    for key in ["1", "2", "3"] {
        assert!(remembered(&mut lab, ANN, key).is_ok());
    }
    assert_eq!(remembered(&mut lab, ANN, "4"), Err(Refusal::ShareFull));
    assert_eq!(lab.state.counts().idempotency_keys, 3, "such a refusal is not remembered");
    assert!(remembered(&mut lab, ANN, "3").is_ok(), "a key that is known is answered");
    let chunk = |remembered| NewChunk { index: 0, total: Some(1), bytes: 10, owner: owner(ANN), remembered };
    let refusal =
        |remembered| lab.read(query::ChunkRefusal(Key::derive(Domain::Transfer, &[b"t"]), chunk(remembered)));
    assert_eq!((refusal(true), refusal(false)), (Some(Refusal::ShareFull), None), "a chunk under a new key");
    assert!(lab.ask_for(ANN, about("4", Action::Acknowledge { existing: false })).is_ok(), "without a key");
    assert!(remembered(&mut lab, BOB, "5").is_ok());
    lab.wait(120_000);
    assert!(remembered(&mut lab, ANN, "4").is_ok());
}

#[test]
fn one_client_has_its_share_of_mailboxes_and_rooms() {
    let mut lab = lab();
    for to in ["1", "2", "3"] {
        assert!(lab.ask_for(ANN, push(to)).is_ok());
    }
    assert_eq!(lab.ask_for(ANN, push("4")), Err(Refusal::ShareFull));
    assert!(lab.ask_for(ANN, push("3")).is_ok(), "into one that is there");
    assert!(lab.ask_for(BOB, push("4")).is_ok());
    assert!(lab.ask_for(ANN, push("4")).is_ok(), "it is there by now");

    let incarnation = incarnation::Incarnation { node: 1, run: 1 };
    lab.ask(incarnation::Op::Renew { incarnation, ttl_ms: 10_000 }).unwrap();
    let member = Key::derive(Domain::Socket, &[b"member"]);
    let at = incarnation::Attachment { incarnation, connection: 1 };
    let join = |name: &str| {
        let action = room::Action::Join { member, generation: Generation::first(1), at, grace_ms: 1000 };
        room::Op { key: Key::derive(Domain::Room, &[name.as_bytes()]), action }
    };
    for name in ["1", "2", "3"] {
        assert!(lab.ask_for(ANN, join(name)).is_ok());
    }
    assert_eq!(lab.ask_for(ANN, join("4")), Err(Refusal::ShareFull));
    assert!(lab.ask_for(BOB, join("4")).is_ok());
    assert!(lab.ask_for(BOB, join("3")).is_ok());
    lab.end();
    assert_eq!(lab.state.counts(), Counts::default());
}

#[test]
fn a_network_has_a_wider_share_than_one_client_of_it() {
    let mut lab = lab();
    let network = Key::derive(Domain::Client, &[b"network"]);
    let of = |name: &str| Owner { group: Some(Group::Network(network)), ..owner(name) };
    let mut fill = |name: &str| {
        (0..100).find_map(|number| {
            let text = format!("{name} {number} {}", "x".repeat(1000));
            lab.owned(of(name), put(name, number, 2048, &text)).err()
        })
    };
    assert_eq!(fill("1"), Some(Refusal::ShareFull));
    assert_eq!(fill("2"), Some(Refusal::ShareFull));
    let (one, two) = (lab.bytes_of("1"), lab.bytes_of("2"));
    assert!(one > 18_000 && two > 8_000 && two < 12_000, "{one} and {two}");
    assert_eq!(lab.read(query::Holding(account::Owned(network))).bytes, one + two);
    assert!(lab.ask_for(BOB, put("b", 0, 1, "a chunk")).is_ok(), "of no network");
    lab.end();
    assert_eq!(lab.state.counts(), Counts::default());
}

#[test]
fn who_writes_pays_for_what_it_writes() {
    let mut lab = lab();
    let chunk = Kind::Chunk.bytes() + Kind::Body.bytes() + 4;
    lab.ask_for(ANN, put("t", 0, 2, "four")).unwrap();
    lab.ask_for(BOB, put("t", 1, 2, "four")).unwrap();
    assert_eq!(lab.bytes_of(ANN), Kind::Transfer.bytes() + chunk, "the transfer, and its own chunk");
    assert_eq!(lab.bytes_of(BOB), chunk, "with the whole body, though the store has it once");
    lab.ask_for(BOB, about("t", Action::Discard)).unwrap();
    assert_eq!((lab.bytes_of(ANN), lab.bytes_of(BOB)), (0, 0), "whoever lets it go");

    let id = |action| session("s", action);
    let put_offer =
        |text: &str| negotiation::Action::Put { role: negotiation::Role::Offer, envelope: body(text) };
    lab.ask_for(ANN, id(negotiation::Action::Create { id: 1, pin: None })).unwrap();
    lab.ask_for(ANN, id(put_offer("12345"))).unwrap();
    lab.ask_for(BOB, id(put_offer("123"))).unwrap();
    assert_eq!(lab.bytes_of(ANN), Kind::Negotiation.bytes());
    assert_eq!(lab.bytes_of(BOB), Kind::Envelope.bytes() + 3);
    lab.ask_for(ANN, push("m")).unwrap();
    lab.ask_for(BOB, push("m")).unwrap();
    let signal = Kind::Signal.bytes() + 8;
    assert_eq!(lab.bytes_of(ANN), Kind::Negotiation.bytes() + Kind::Mailbox.bytes() + signal);
    assert_eq!(lab.bytes_of(BOB), Kind::Envelope.bytes() + 3 + signal);
    lab.end();
    assert_eq!(lab.state.counts(), Counts::default());
}

#[test]
fn a_body_that_a_memo_keeps_stays_on_an_account() {
    let mut lab = lab();
    let text = "x".repeat(5000);
    lab.ask_for(ANN, put("t", 0, 1, &text)).unwrap();
    let take = Command { owner: Some(owner(ANN)), ..lab.memoed("mine", about("t", Action::Take)) };
    lab.carry_out(take);
    lab.ask_for(ANN, about("t", Action::Discard)).unwrap();
    assert!(lab.bytes_of(ANN) > 5000, "the store has it still");
    lab.end();
    assert_eq!(lab.state.counts(), Counts::default());
}

#[test]
fn what_relieves_is_heard_above_a_share() {
    let mut lab = lab();
    assert_eq!(lab.fill(ANN), Refusal::ShareFull);
    assert!(lab.ask_for(ANN, about(ANN, Action::Take)).is_ok());
    assert!(lab.ask_for(ANN, about(ANN, Action::Touch)).is_ok());
    assert!(lab.ask_for(ANN, about(ANN, Action::Discard)).is_ok());
    assert_eq!(lab.bytes_of(ANN), 0);
}

#[test]
fn without_shares_one_client_may_take_everything() {
    let mut lab = lab();
    lab.rules.shares = None;
    assert_eq!(lab.fill(ANN), Refusal::StorageFull);
    assert!(lab.bytes_of(ANN) > 98_000);
}

#[test]
fn a_state_above_its_bounds_starts_refuses_writes_and_hears_what_relieves() {
    let mut lab = lab();
    lab.fill(ANN);
    lab.ask_for(BOB, put("b", 0, 1, "b")).unwrap();
    // It is weighed anew: the bounds are lower now than what is there.
    lab.storage_bytes_max = 5_000;
    lab.rules.shares = Some(Shares { client: share(1_000), ..lab.rules.shares.unwrap() });
    lab.state = reread(&lab.state);
    for op in small_things("c") {
        assert!(matches!(lab.ask_for("c", op), Err(Refusal::StorageFull | Refusal::Negotiation(_))));
    }
    assert_eq!(lab.ask_for(ANN, put(ANN, 2000, 2048, "more")), Err(Refusal::ShareFull));
    assert!(lab.ask_for(ANN, about(ANN, Action::Take)).is_ok());
    assert!(lab.ask_for(ANN, about(ANN, Action::Discard)).is_ok());
    assert!(lab.ask_for("c", push("c")).is_ok());
}

#[test]
fn questions_cannot_keep_a_transfer_or_a_session_for_ever() {
    let mut lab = Lab::new();
    lab.rules.ages = Ages { transfer_max_ms: 200_000, exchange_max_ms: 300_000 };
    lab.ask(put("t", 0, 1, "chunk")).unwrap();
    lab.ask(about("u", Action::Acknowledge { existing: false })).unwrap();
    lab.ask(session("s", negotiation::Action::Create { id: 1, pin: None })).unwrap();
    let offer = || negotiation::Action::Put { role: negotiation::Role::Offer, envelope: body("{}") };
    let begun_ms = lab.now_ms;
    let (mut transfer, mut acknowledged, mut negotiation) = (0, 0, 0);
    for _ in 0..40 {
        lab.wait(10_000);
        let age_ms = lab.now_ms - begun_ms;
        lab.ask(about("t", Action::Touch)).unwrap();
        if lab.read(query::Transfer(super::transfer::key("t"))).is_some() {
            transfer = age_ms;
        }
        if lab.read(query::Acknowledged(super::transfer::key("u"))) {
            acknowledged = age_ms;
            lab.ask(about("u", Action::Acknowledge { existing: false })).unwrap();
        }
        if lab.ask(session("s", offer())).is_ok() {
            negotiation = age_ms;
        }
    }
    assert_eq!((transfer, acknowledged, negotiation), (190_000, 190_000, 290_000));
}

#[test]
fn an_invite_code_that_is_renewed_has_no_age() {
    let mut lab = Lab::new();
    lab.rules.ages = Ages { transfer_max_ms: 1, exchange_max_ms: 1 };
    for _ in 0..1000 {
        assert!(lab.ask(register("code")).is_ok());
        lab.wait(20_000);
    }
    assert!(lab.read(query::Peer(Key::derive(Domain::Rendezvous, &[b"code"]))).is_some());
}

#[test]
fn open_windows_take_an_eighth_of_the_store_at_most_and_are_weighed() {
    let mut lab = Lab::new();
    lab.storage_bytes_max = 2048 * 8 * Kind::Window.bytes();
    let charge = |number: u32| allowance::Charge {
        client: Key::derive(Domain::Client, &[&number.to_be_bytes()]),
        tier: allowance::Tier::Create,
        count: 1,
        limit: 5,
        window_ms: 60_000,
    };
    let commands = (0..2048).map(|number| lab.charged(charge(number), Op::Spend)).collect();
    lab.apply(Vec::new(), commands);
    assert_eq!(lab.state.stored_bytes(), 2048 * Kind::Window.bytes());
    let one_more = lab.charged(charge(2048), register("code"));
    let refused = lab.carry_out(one_more).outcome;
    assert!(matches!(refused, Err(Refusal::Allowance { scope: Scope::Cluster, .. })), "{refused:?}");
    lab.end();
    assert_eq!(lab.state.stored_bytes(), 0);
}

#[test]
fn a_session_that_is_opened_anew_is_on_the_account_of_who_opens_it() {
    let mut lab = lab();
    let incarnation = incarnation::Incarnation { node: 1, run: 1 };
    lab.ask(incarnation::Op::Renew { incarnation, ttl_ms: 10_000 }).unwrap();
    let at = incarnation::Attachment { incarnation, connection: 1 };
    let key = Key::derive(Domain::Socket, &[b"session"]);
    let open = || socket::Op { key, action: socket::Action::Open { subject: None, at, lease_ms: 60_000 } };
    lab.ask_for(ANN, open()).unwrap();
    lab.ask_for(ANN, socket::Op { key, action: socket::Action::Detach { connection: 1 } }).unwrap();
    lab.ask_for(BOB, open()).unwrap();
    assert_eq!((lab.bytes_of(ANN), lab.bytes_of(BOB)), (0, Kind::Socket.bytes()));
}

/// Somebody without a credential in an organisation.
fn guest(name: &str, tenant: &str) -> Owner {
    let (client, tenant) = (owner(name).client, Key::derive(Domain::Client, &[b"tenant", tenant.as_bytes()]));
    let within = Key::derive(Domain::Client, &[client.as_bytes(), tenant.as_bytes()]);
    Owner { client: within, group: Some(Group::Guests { tenant, percent: 40, client, network: None }) }
}

#[test]
fn a_guest_has_one_share_in_all_organisations_together() {
    let mut lab = lab();
    let body = "x".repeat(9_000);
    lab.owned(guest(ANN, "acme"), put("one", 0, 1, &body)).expect("half of its share");
    lab.owned(guest(ANN, "other"), put("two", 0, 1, &body)).expect("the other half");
    for owner in [guest(ANN, "third"), guest(ANN, "acme"), owner(ANN)] {
        assert_eq!(lab.owned(owner, put("three", 0, 1, &body)), Err(Refusal::ShareFull));
    }
    lab.owned(guest(BOB, "acme"), put("four", 0, 1, &body)).expect("others have theirs");
    // What is gone is on none of the accounts.
    for name in ["one", "two", "four"] {
        lab.owned(owner(ANN), about(name, Action::Discard)).expect("it is there");
    }
    assert_eq!(lab.state.ctx.storage.accounts().len(), 0);
}

#[test]
fn a_client_has_a_part_of_its_organisation_s_share() {
    let whole = 10 << 30;
    let client = Share { bytes: whole / 5, keys: 10_000, mailboxes: 10_000, rooms: 2_000 };
    let half = client.within(&Share::of(whole, 50), whole);
    assert_eq!(half.bytes, whole / 10);
    assert!(half.keys < client.keys && half.mailboxes < client.mailboxes && half.rooms <= client.rooms);
    assert_eq!(client.within(&Share::of(whole, 100), whole).bytes, client.bytes);
    // A small organisation's clients have enough for one large thing, and none has all of it.
    let small = Share::of(512 << 20, 20);
    let client = Share { bytes: 102 << 20, ..client };
    assert_eq!(client.within(&small, 512 << 20).bytes, small.bytes / 2);
}
