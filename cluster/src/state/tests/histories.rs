//! Random commands, and histories of them.

use proptest::prelude::*;

use super::super::allowance::{Charge, Tier};
use super::super::leader_rules::{Group, Owner};
use super::super::registration::{self, Standing};
use super::super::revocation::{self, Revoked};
use super::super::slot::{CellId, SLOTS, Slot};
use super::super::transfer::Encoding;
use super::super::{
    audit, device, disk_binding, incarnation, invite_code, mailbox, mailbox_claim, negotiation, placement,
    room, socket, ticket, transfer,
};
use super::*;

/// One proposal of a history: how long after the one before, and what is asked.
pub(super) type Step = (u64, Vec<Command>);

fn key(domain: Domain) -> impl Strategy<Value = Key> {
    (0_u8..3).prop_map(move |name| Key::derive(domain, &[&[name]]))
}

fn text() -> impl Strategy<Value = String> {
    "[ab]{0,3}"
}

fn ttl() -> impl Strategy<Value = u32> {
    prop_oneof![4 => Just(100_u32), 1 => 0_u32..300]
}

fn total() -> impl Strategy<Value = u16> {
    prop_oneof![6 => Just(3_u16), 2 => 1_u16..4, 1 => Just(70_u16), 1 => prop_oneof![Just(0), Just(2049)]]
}

pub(super) fn transfer_ask() -> impl Strategy<Value = transfer::Op> {
    let encoding = prop_oneof![5 => Just(Encoding::Base64), 1 => Just(Encoding::Text)];
    let put = (0_u16..4, prop::option::weighted(0.8, total()), encoding, text());
    let put = put.prop_map(|(index, total, encoding, text)| {
        let (digest, body) = (digest(&text), body(&text));
        transfer::Action::Put { index, total, digest, encoding, body }
    });
    let action = prop_oneof![
        6 => put,
        4 => Just(transfer::Action::Take),
        1 => total().prop_map(|total| transfer::Action::Open { total }),
        2 => any::<bool>().prop_map(|existing| transfer::Action::Acknowledge { existing }),
        1 => Just(transfer::Action::Discard),
        1 => Just(transfer::Action::Touch),
    ];
    (key(Domain::Transfer), ttl(), action).prop_map(|(key, ttl_ms, action)| transfer::Op {
        key,
        ttl_ms,
        action,
    })
}

pub(super) fn mailbox_ask() -> impl Strategy<Value = mailbox::Op> {
    let push = (text(), text(), ttl()).prop_map(|(from, text, ttl_ms)| mailbox::Action::Push {
        from,
        kind: mailbox::Kind::Offer,
        payload: body(&text),
        ttl_ms,
    });
    let drain = (0_u32..6).prop_map(|bytes_max| mailbox::Action::Drain { bytes_max });
    let action = prop_oneof![3 => push, 1 => drain];
    (key(Domain::Mailbox), action).prop_map(|(key, action)| mailbox::Op { key, action })
}

fn exchange_ask() -> impl Strategy<Value = negotiation::Op> {
    let role = prop_oneof![Just(negotiation::Role::Offer), Just(negotiation::Role::Answer)];
    let action = prop_oneof![
        2 => prop::option::of(key(Domain::Pin)).prop_map(|pin| negotiation::Action::Create { id: 0, pin }),
        2 => (role, text()).prop_map(|(role, text)| negotiation::Action::Put { role, envelope: body(&text) }),
        1 => Just(negotiation::Action::Delete),
    ];
    (0_u8..3, ttl(), action).prop_map(|(name, ttl_ms, mut action)| {
        if let negotiation::Action::Create { id, .. } = &mut action {
            *id = name.into();
        }
        negotiation::Op { key: Key::derive(Domain::Negotiation, &[&[name]]), ttl_ms, action }
    })
}

pub(super) fn charge() -> impl Strategy<Value = Charge> {
    let tier = prop_oneof![Just(Tier::Create), Just(Tier::Poll)];
    (key(Domain::Client), tier, 0_u32..4, 4_u32..9, 50_u32..150)
        .prop_map(|(client, tier, count, limit, window_ms)| Charge { client, tier, count, limit, window_ms })
}

/// As often at a charge as not; a few are paid by tokens, of windows that end at some time in a history.
fn payment() -> impl Strategy<Value = Payment> {
    prop_oneof![
        4 => prop::option::of(charge()).prop_map(Payment::from),
        1 => (0_u64..2000).prop_map(|ms| Payment::Paid { until_ms: MORNING_MS + ms }),
    ]
}

fn attachment() -> impl Strategy<Value = incarnation::Attachment> {
    (incarnation(), 0_u64..3)
        .prop_map(|(incarnation, connection)| incarnation::Attachment { incarnation, connection })
}

fn incarnation() -> impl Strategy<Value = incarnation::Incarnation> {
    (0_u64..2, 0_u64..2).prop_map(|(node, run)| incarnation::Incarnation { node, run })
}

fn host_ask() -> impl Strategy<Value = incarnation::Op> {
    prop_oneof![
        3 => (incarnation(), ttl()).prop_map(|(incarnation, ttl_ms)| incarnation::Op::Renew { incarnation, ttl_ms }),
        1 => incarnation().prop_map(|incarnation| incarnation::Op::Leave { incarnation }),
    ]
}

fn socket_ask() -> impl Strategy<Value = socket::Op> {
    use socket::Action;
    let subject = || prop::option::of(key(Domain::Client));
    let action = prop_oneof![
        3 => (subject(), attachment(), ttl())
            .prop_map(|(subject, at, lease_ms)| Action::Open { subject, at, lease_ms }),
        2 => (subject(), attachment(), ttl(), prop::bool::weighted(0.8)).prop_map(
            |(subject, at, lease_ms, takes_over)| Action::Resume { subject, at, lease_ms, takes_over }
        ),
        1 => (0_u64..3, prop::option::of(text()))
            .prop_map(|(connection, room)| Action::Enter { connection, room }),
        1 => (0_u64..3, prop::option::of(text()))
            .prop_map(|(connection, peer)| Action::Hold { connection, peer }),
        2 => (0_u64..3).prop_map(|connection| Action::Detach { connection }),
        1 => (0_u64..3).prop_map(|connection| Action::Close { connection }),
        1 => (0_u64..3, 0_u64..9, 0_u64..9).prop_map(|(connection, received, more)| Action::Mark {
            connection,
            mark: socket::Mark { epoch: 1, received, sent: received + more, said: more },
        }),
    ];
    (key(Domain::Socket), action).prop_map(|(key, action)| socket::Op { key, action })
}

fn generation() -> impl Strategy<Value = Generation> {
    let after = |number| Generation::after(Some(Generation::first(number)), 0);
    prop_oneof![(0_u64..3).prop_map(Generation::first), (0_u64..3).prop_map(after)]
}

fn room_ask() -> impl Strategy<Value = room::Op> {
    use room::Action;
    let member = || key(Domain::Socket);
    let keep =
        (0_u32..4, 0_u32..8, ttl()).prop_map(|(count, bytes, age_ms)| room::Keep { count, bytes, age_ms });
    let action = prop_oneof![
        6 => (member(), generation(), attachment(), ttl())
            .prop_map(|(member, generation, at, grace_ms)| Action::Join { member, generation, at, grace_ms }),
        1 => (member(), 0_u64..3).prop_map(|(member, connection)| Action::Detach { member, connection }),
        1 => (member(), 0_u64..3).prop_map(|(member, connection)| Action::Leave { member, connection }),
        6 => (member(), prop::option::of(0_u64..4), text(), keep).prop_map(
            |(member, message_id, text, keep)| Action::Publish { member, message_id, data: body(&text), keep }
        ),
    ];
    (key(Domain::Room), action).prop_map(|(key, action)| room::Op { key, action })
}

fn claim_ask() -> impl Strategy<Value = mailbox_claim::Op> {
    use mailbox_claim::Action;
    let session = || key(Domain::Socket);
    let action = prop_oneof![
        3 => (session(), prop::option::of(generation()), attachment(), ttl(), prop::bool::weighted(0.2)).prop_map(
            |(session, generation, at, lease_ms, seize)| Action::Take { session, generation, at, lease_ms, seize }
        ),
        1 => (session(), 0_u64..3).prop_map(|(session, connection)| Action::Detach { session, connection }),
        1 => (session(), 0_u64..3).prop_map(|(session, connection)| Action::Release { session, connection }),
    ];
    (key(Domain::Mailbox), action).prop_map(|(key, action)| mailbox_claim::Op { key, action })
}

fn ticket_ask() -> impl Strategy<Value = ticket::Op> {
    let action = prop_oneof![
        (text(), ttl()).prop_map(|(text, ttl_ms)| ticket::Action::Issue { grant: body(&text), ttl_ms }),
        Just(ticket::Action::Redeem),
    ];
    (key(Domain::Ticket), action).prop_map(|(key, action)| ticket::Op { key, action })
}

/// Nodes come, sit, and go, and slots are allotted.
fn placement() -> impl Strategy<Value = placement::Op> {
    use placement::{Change, Op, Stage};
    let cell = || (1_u16..4).prop_map(CellId::of);
    let slots = prop::collection::vec((0..SLOTS, cell()), 0..9);
    let slots =
        slots.prop_map(|slots| slots.into_iter().map(|(slot, cell)| (Slot::try_from(slot).unwrap(), cell)));
    let seats = prop::collection::vec((0_u64..3, text()), 0..3);
    let change = prop_oneof![
        (cell(), prop::collection::vec(0_u64..3, 0..3))
            .prop_map(|(cell, seats)| Change::Open { cell, seats }),
        (cell(), seats).prop_map(|(cell, seats)| Change::Sit { cell, seats }),
        cell().prop_map(|cell| Change::Enlist { cell, stage: Stage::Active }),
        slots.prop_map(|slots| Change::Allot(slots.collect())),
        cell().prop_map(|cell| Change::Close { cell }),
    ];
    prop_oneof![
        (0_u64..3, text()).prop_map(|(node, peer)| Op::Place { node, peer }),
        (0_u64..3).prop_map(|node| Op::Withdraw { node }),
        (0_u64..6, change).prop_map(|(epoch, change)| Op::Change { epoch, change }),
    ]
}

fn ask() -> impl Strategy<Value = Op> {
    let register = (key(Domain::Rendezvous), text(), ttl(), prop::bool::weighted(0.8)).prop_map(
        |(key, peer, ttl_ms, registers)| {
            let action = if registers {
                invite_code::Action::Register { peer, ttl_ms }
            } else {
                invite_code::Action::Withdraw { peer }
            };
            Op::Rendezvous(invite_code::Op { key, action })
        },
    );
    let device = (key(Domain::Devices), text(), text(), any::<Option<u16>>(), ttl()).prop_map(
        |(key, device_id, onion, port, ttl_ms)| {
            let action = device::Action::Register { device_id, onion, port, ttl_ms };
            Op::Device(device::Op { key, action })
        },
    );
    let acknowledge =
        (key(Domain::Mailbox), key(Domain::Socket), 0_u64..4).prop_map(|(key, session, seq)| {
            Op::Mailbox(mailbox::Op { key, action: mailbox::Action::Acknowledge { session, seq } })
        });
    let member = (0_u64..3, 0_u128..2)
        .prop_map(|(node, storage)| Op::NodeIdentity(disk_binding::Op::Enroll { node, storage }));
    let front = placement().prop_map(Op::Placement);
    prop_oneof![
        1 => front,
        1 => revocation_ask().prop_map(Op::Revocation),
        1 => audit_ask().prop_map(Op::Audit),
        1 => registration_ask().prop_map(Op::Registration),
        6 => transfer_ask().prop_map(Op::Transfer),
        4 => exchange_ask().prop_map(Op::Negotiation),
        4 => mailbox_ask().prop_map(Op::Mailbox),
        2 => register,
        2 => device,
        1 => member,
        2 => host_ask().prop_map(Op::Incarnation),
        3 => socket_ask().prop_map(Op::Socket),
        4 => room_ask().prop_map(Op::Room),
        2 => claim_ask().prop_map(Op::Claim),
        1 => acknowledge,
        1 => ticket_ask().prop_map(Op::Ticket),
        1 => Just(Op::Spend),
        1 => Just(Op::Pay),
        2 => (0_u64..3).prop_map(|node| Op::Lease { node }),
        1 => key(Domain::Client).prop_map(|client| Op::Reset { client }),
    ]
}

fn audit_ask() -> impl Strategy<Value = audit::Op> {
    let action = (text(), 0_u32..2).prop_map(|(text, keep_s)| audit::Action::Append { text, keep_s });
    (key(Domain::Audit), action).prop_map(|(key, action)| audit::Op { key, action })
}

fn registration_ask() -> impl Strategy<Value = registration::Op> {
    use registration::Action;
    let action =
        (text(), text(), text(), 0_u8..6).prop_map(|(subject, device, public_key, what)| match what {
            0 | 1 => Action::Register { subject, device, public_key },
            2 => Action::Decide { subject, device, standing: Standing::Approved },
            3 => Action::Introduce { subject, device, public_key },
            4 => {
                let seen = Digest::of(public_key.as_bytes());
                Action::DecideSeen { subject, device, standing: Standing::Revoked, seen }
            }
            _ => Action::Forget { subject, device },
        });
    (key(Domain::Registrations), action).prop_map(|(key, action)| registration::Op { key, action })
}

fn revocation_ask() -> impl Strategy<Value = revocation::Op> {
    let revoked = prop_oneof![
        text().prop_map(Revoked::Token),
        text().prop_map(Revoked::Subject),
        (text(), text()).prop_map(|(subject, device)| Revoked::Device { subject, device }),
    ];
    let action = (revoked, prop::option::of(0_u32..2)).prop_map(|(revoked, ttl_s)| match ttl_s {
        Some(ttl_s) => revocation::Action::Revoke { revoked, ttl_s },
        None => revocation::Action::Lift { revoked },
    });
    (key(Domain::Revocations), action).prop_map(|(key, action)| revocation::Op { key, action })
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let idempotency_key =
        (key(Domain::IdempotencyKey), ttl()).prop_map(|(key, ttl_ms)| IdempotencyKey { key, ttl_ms });
    (payment(), owner(), prop::option::weighted(0.3, idempotency_key), ask()).prop_map(
        |(payment, owner, idempotency_key, op)| Command {
            id: RequestId { origin: 0, seq: 0 },
            payment,
            owner,
            idempotency_key,
            op,
        },
    )
}

/// Of three clients, two of which are of one network; or nobody.
fn owner() -> impl Strategy<Value = Option<Owner>> {
    let key = |name: &[u8]| Key::derive(Domain::Client, &[name]);
    prop::option::weighted(0.8, (0_u8..3, 0_u8..4)).prop_map(move |owner| {
        let (name, within) = owner?;
        let network = (name < 2).then(|| key(b"network"));
        let (client, tenant, percent) = (key(&[name]), key(&[b't', within]), 40);
        Some(match within {
            0 => Owner { client: key(&[name, within]), group: Some(Group::Tenant { key: tenant, percent }) },
            1 | 2 => Owner {
                client: key(&[name, within]),
                group: Some(Group::Guests { tenant, percent, client, network }),
            },
            _ => Owner { client, group: network.map(Group::Network) },
        })
    })
}

/// A history whose commands are numbered over two origins.
pub(super) fn history(command: impl Strategy<Value = Command>) -> impl Strategy<Value = Vec<Step>> {
    let step = (prop_oneof![4 => 0_u64..60, 1 => 60_u64..250], prop::collection::vec(command, 0..6));
    prop::collection::vec(step, 1..25).prop_map(|mut steps| {
        let commands = steps.iter_mut().flat_map(|(_, commands)| commands);
        for (command, seq) in commands.zip(1..) {
            command.id = RequestId { origin: seq % 2, seq };
        }
        steps
    })
}
