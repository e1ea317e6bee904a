//! Random histories.

use proptest::prelude::*;

use super::super::allowance::{Charge, Tier};
use super::super::rules::{Ages, Owner, Share, Shares};
use super::super::transfer::Encoding;
use super::super::weight::Kind;
use super::super::{
    claim, device, exchange, host, mailbox, member, rendezvous, room, socket, ticket, transfer,
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

pub(super) fn transfer_ask() -> impl Strategy<Value = transfer::Ask> {
    let encoding = prop_oneof![5 => Just(Encoding::Base64), 1 => Just(Encoding::Text)];
    let put = (0_u16..4, prop::option::weighted(0.8, total()), encoding, text());
    let put = put.prop_map(|(index, total, encoding, text)| {
        let (digest, body) = (digest(&text), body(&text));
        transfer::Verb::Put { index, total, digest, encoding, body }
    });
    let verb = prop_oneof![
        6 => put,
        4 => Just(transfer::Verb::Take),
        1 => total().prop_map(|total| transfer::Verb::Open { total }),
        2 => any::<bool>().prop_map(|existing| transfer::Verb::Acknowledge { existing }),
        1 => Just(transfer::Verb::Discard),
        1 => Just(transfer::Verb::Touch),
    ];
    (key(Domain::Transfer), ttl(), verb).prop_map(|(key, ttl_ms, verb)| transfer::Ask { key, ttl_ms, verb })
}

pub(super) fn mailbox_ask() -> impl Strategy<Value = mailbox::Ask> {
    let push = (text(), text(), ttl()).prop_map(|(from, text, ttl_ms)| mailbox::Verb::Push {
        from,
        kind: mailbox::Kind::Offer,
        payload: body(&text),
        ttl_ms,
    });
    let drain = (0_u32..6).prop_map(|bytes_max| mailbox::Verb::Drain { bytes_max });
    let verb = prop_oneof![3 => push, 1 => drain];
    (key(Domain::Mailbox), verb).prop_map(|(key, verb)| mailbox::Ask { key, verb })
}

fn exchange_ask() -> impl Strategy<Value = exchange::Ask> {
    let role = prop_oneof![Just(exchange::Role::Offer), Just(exchange::Role::Answer)];
    let verb = prop_oneof![
        2 => prop::option::of(key(Domain::Pin)).prop_map(|pin| exchange::Verb::Create { id: 0, pin }),
        2 => (role, text()).prop_map(|(role, text)| exchange::Verb::Put { role, envelope: body(&text) }),
        1 => Just(exchange::Verb::Delete),
    ];
    (0_u8..3, ttl(), verb).prop_map(|(name, ttl_ms, mut verb)| {
        if let exchange::Verb::Create { id, .. } = &mut verb {
            *id = name.into();
        }
        exchange::Ask { key: Key::derive(Domain::Exchange, &[&[name]]), ttl_ms, verb }
    })
}

pub(super) fn charge() -> impl Strategy<Value = Charge> {
    let tier = prop_oneof![Just(Tier::Create), Just(Tier::Poll)];
    (key(Domain::Client), tier, 0_u32..4, 4_u32..9, 50_u32..150)
        .prop_map(|(client, tier, count, limit, window_ms)| Charge { client, tier, count, limit, window_ms })
}

fn attachment() -> impl Strategy<Value = host::Attachment> {
    (host(), 0_u64..3).prop_map(|(host, connection)| host::Attachment { host, connection })
}

fn host() -> impl Strategy<Value = host::Host> {
    (0_u64..2, 0_u64..2).prop_map(|(node, run)| host::Host { node, run })
}

fn host_ask() -> impl Strategy<Value = host::Ask> {
    prop_oneof![
        3 => (host(), ttl()).prop_map(|(host, ttl_ms)| host::Ask::Renew { host, ttl_ms }),
        1 => host().prop_map(|host| host::Ask::Leave { host }),
    ]
}

fn socket_ask() -> impl Strategy<Value = socket::Ask> {
    use socket::Verb;
    let subject = || prop::option::of(key(Domain::Client));
    let verb = prop_oneof![
        3 => (subject(), attachment(), ttl())
            .prop_map(|(subject, at, lease_ms)| Verb::Open { subject, at, lease_ms }),
        2 => (subject(), attachment(), ttl())
            .prop_map(|(subject, at, lease_ms)| Verb::Resume { subject, at, lease_ms }),
        1 => (0_u64..3, prop::option::of(text()))
            .prop_map(|(connection, room)| Verb::Enter { connection, room }),
        1 => (0_u64..3, prop::option::of(text()))
            .prop_map(|(connection, peer)| Verb::Hold { connection, peer }),
        2 => (0_u64..3).prop_map(|connection| Verb::Detach { connection }),
        1 => (0_u64..3).prop_map(|connection| Verb::Close { connection }),
        1 => (0_u64..3, 0_u64..9, 0_u64..9).prop_map(|(connection, received, more)| Verb::Mark {
            connection,
            mark: socket::Mark { epoch: 1, received, sent: received + more, said: more },
        }),
    ];
    (key(Domain::Socket), verb).prop_map(|(key, verb)| socket::Ask { key, verb })
}

fn room_ask() -> impl Strategy<Value = room::Ask> {
    use room::Verb;
    let member = || key(Domain::Socket);
    let keep =
        (0_u32..4, 0_u32..8, ttl()).prop_map(|(count, bytes, age_ms)| room::Keep { count, bytes, age_ms });
    let verb = prop_oneof![
        3 => (member(), attachment(), ttl())
            .prop_map(|(member, at, grace_ms)| Verb::Join { member, at, grace_ms }),
        1 => (member(), 0_u64..3).prop_map(|(member, connection)| Verb::Detach { member, connection }),
        1 => (member(), 0_u64..3).prop_map(|(member, connection)| Verb::Leave { member, connection }),
        6 => (member(), prop::option::of(0_u64..4), text(), keep).prop_map(
            |(member, message_id, text, keep)| Verb::Publish { member, message_id, data: body(&text), keep }
        ),
    ];
    (key(Domain::Room), verb).prop_map(|(key, verb)| room::Ask { key, verb })
}

fn claim_ask() -> impl Strategy<Value = claim::Ask> {
    use claim::Verb;
    let session = || key(Domain::Socket);
    let verb = prop_oneof![
        3 => (session(), attachment(), ttl(), prop::bool::weighted(0.2)).prop_map(
            |(session, at, lease_ms, seize)| Verb::Take { session, at, lease_ms, seize }
        ),
        1 => (session(), 0_u64..3).prop_map(|(session, connection)| Verb::Detach { session, connection }),
        1 => (session(), 0_u64..3).prop_map(|(session, connection)| Verb::Release { session, connection }),
    ];
    (key(Domain::Mailbox), verb).prop_map(|(key, verb)| claim::Ask { key, verb })
}

fn ticket_ask() -> impl Strategy<Value = ticket::Ask> {
    let verb = prop_oneof![
        (text(), ttl()).prop_map(|(text, ttl_ms)| ticket::Verb::Issue { grant: body(&text), ttl_ms }),
        Just(ticket::Verb::Redeem),
    ];
    (key(Domain::Ticket), verb).prop_map(|(key, verb)| ticket::Ask { key, verb })
}

fn ask() -> impl Strategy<Value = Ask> {
    let register = (key(Domain::Rendezvous), text(), ttl(), prop::bool::weighted(0.8)).prop_map(
        |(key, peer, ttl_ms, registers)| {
            let verb = if registers {
                rendezvous::Verb::Register { peer, ttl_ms }
            } else {
                rendezvous::Verb::Withdraw { peer }
            };
            Ask::Rendezvous(rendezvous::Ask { key, verb })
        },
    );
    let device = (key(Domain::Devices), text(), text(), any::<Option<u16>>(), ttl()).prop_map(
        |(key, device_id, onion, port, ttl_ms)| {
            let verb = device::Verb::Register { device_id, onion, port, ttl_ms };
            Ask::Device(device::Ask { key, verb })
        },
    );
    let acknowledge =
        (key(Domain::Mailbox), key(Domain::Socket), 0_u64..4).prop_map(|(key, session, seq)| {
            Ask::Mailbox(mailbox::Ask { key, verb: mailbox::Verb::Acknowledge { session, seq } })
        });
    let member =
        (0_u64..3, 0_u128..2).prop_map(|(node, storage)| Ask::Member(member::Ask::Enroll { node, storage }));
    prop_oneof![
        6 => transfer_ask().prop_map(Ask::Transfer),
        4 => exchange_ask().prop_map(Ask::Exchange),
        4 => mailbox_ask().prop_map(Ask::Mailbox),
        2 => register,
        2 => device,
        1 => member,
        2 => host_ask().prop_map(Ask::Host),
        3 => socket_ask().prop_map(Ask::Socket),
        4 => room_ask().prop_map(Ask::Room),
        2 => claim_ask().prop_map(Ask::Claim),
        1 => acknowledge,
        1 => ticket_ask().prop_map(Ask::Ticket),
        1 => Just(Ask::Spend),
        1 => Just(Ask::Pay),
    ]
}

pub(super) fn command() -> impl Strategy<Value = Command> {
    let memo = (key(Domain::Memo), ttl()).prop_map(|(key, ttl_ms)| Memo { key, ttl_ms });
    (prop::option::of(charge()), owner(), prop::option::weighted(0.3, memo), ask()).prop_map(
        |(charge, owner, memo, ask)| Command {
            id: RequestId { origin: 0, seq: 0 },
            charge,
            owner,
            memo,
            ask,
        },
    )
}

/// Of three clients, two of which are of one network; or nobody.
fn owner() -> impl Strategy<Value = Option<Owner>> {
    prop::option::weighted(0.8, 0_u8..3).prop_map(|name| {
        name.map(|name| Owner {
            client: Key::derive(Domain::Client, &[&[name]]),
            network: (name < 2).then(|| Key::derive(Domain::Client, &[b"network"])),
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

/// Bounds that random histories do meet.
const STORAGE_BYTES_MAX: u64 = 5000;

fn rules() -> Rules {
    let share = |bytes| Share { bytes, keys: 2, mailboxes: 1, rooms: 1 };
    Rules {
        storage_bytes_max: STORAGE_BYTES_MAX,
        shares: Some(Shares {
            client: share(2500),
            network: share(3500),
            reserve_bytes: 1000,
            reserve_client_bytes: 600,
        }),
        ages: Ages { transfer_max_ms: 400, exchange_max_ms: 500 },
    }
}

fn proposals(steps: Vec<Step>) -> Vec<Proposal> {
    let mut stamp_ms = MORNING_MS;
    let proposal = |(dt, commands): Step| {
        stamp_ms += dt;
        let floor = commands.first().map_or(0, |first| first.id.seq.saturating_sub(20));
        let floors = vec![(0, floor), (1, floor)];
        Proposal { stamp_ms, rules: rules(), floors, commands, ..Proposal::default() }
    };
    steps.into_iter().map(proposal).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn replicas_agree_and_one_that_came_by_snapshot_goes_on_alike(
        steps in history(command()),
        cut in any::<prop::sample::Index>(),
    ) {
        let proposals = proposals(steps);
        let cut = cut.index(proposals.len());
        let mut one = State::default();
        let mut two = State::default();
        for (place, proposal) in proposals.into_iter().enumerate() {
            if place == cut {
                two = reread(&two);
            }
            // A view that somebody reads meanwhile changes nothing.
            let view = one.clone();
            let before = view.fingerprint();
            prop_assert_eq!(one.apply(proposal.clone()), two.apply(proposal));
            prop_assert_eq!(one.fingerprint(), two.fingerprint());
            prop_assert_eq!(one.next_expiry_ms(), two.next_expiry_ms());
            prop_assert_eq!(one.counts(), two.counts());
            prop_assert_eq!(view.fingerprint(), before);
        }
    }

    #[test]
    fn the_books_are_right_and_all_is_freed_in_the_end(steps in history(command())) {
        let mut state = State::default();
        for proposal in proposals(steps) {
            state.apply(proposal);
            audit(&state);
        }
        let members = state.members.iter().count();
        while let Some(stamp_ms) = state.next_expiry_ms() {
            state.apply(Proposal { stamp_ms, ..Proposal::default() });
        }
        prop_assert_eq!(state.stored_bytes(), 0);
        prop_assert_eq!(state.counts(), super::super::Counts::default());
        prop_assert_eq!(state.members.iter().count(), members);
    }

    #[test]
    fn any_number_of_retries_is_once(
        steps in history(command()),
        retries in prop::collection::vec((any::<prop::sample::Index>(), 1_usize..4), 0..20),
    ) {
        let mut once = State::default();
        let mut often = State::default();
        let mut seen: Vec<(Command, Answer)> = Vec::new();
        let mut floor = 0;
        for proposal in proposals(steps) {
            let Proposal { version, stamp_ms, rules, floors, commands } = proposal.clone();
            floor = floor.max(floors[0].1);
            let (answers, effects) = once.apply(proposal);
            // Each command twice in its own proposal, and some of all earlier ones behind it.
            let doubled = commands.iter().flat_map(|command| [command.clone(), command.clone()]);
            let mut doubled: Vec<Command> = doubled.collect();
            let mut expected: Vec<Answer> = answers.iter().flat_map(|it| [it.clone(), it.clone()]).collect();
            seen.extend(commands.into_iter().zip(answers));
            for (which, times) in retries.iter().filter(|_| !seen.is_empty()) {
                let (command, answer) = which.get(&seen);
                for _ in 0..*times {
                    let stale = command.id.seq < floor;
                    doubled.push(command.clone());
                    expected.push(if stale { Answer::refused(Refusal::Stale) } else { answer.clone() });
                }
            }
            let retried = Proposal { version, stamp_ms, rules, floors, commands: doubled };
            prop_assert_eq!(often.apply(retried), (expected, effects));
            prop_assert_eq!(often.fingerprint(), once.fingerprint());
        }
    }

    #[test]
    fn storage_stays_within_its_bound_but_for_what_relieves(steps in history(command())) {
        let mut state = State::default();
        for mut proposal in proposals(steps) {
            proposal.commands.retain(|command| !command.ask.relieves());
            state.apply(proposal);
            let windows = state.counts().windows as u64 * Kind::Window.bytes();
            prop_assert!(state.stored_bytes() <= STORAGE_BYTES_MAX + windows);
        }
    }

    #[test]
    fn nothing_that_can_be_decoded_panics(stamps in prop::collection::vec(any::<u64>(), 1..4), steps in history(command())) {
        let mut state = State::default();
        for (mut proposal, stamp) in proposals(steps).into_iter().zip(stamps.into_iter().chain([u64::MAX, 0])) {
            proposal.stamp_ms = stamp;
            state.apply(proposal);
            audit(&state);
        }
    }
}
