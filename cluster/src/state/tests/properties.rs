//! What holds in random histories.

use proptest::prelude::*;

use super::super::leader_rules::{Ages, Share, Shares};
use super::super::transfer;
use super::super::weight::Kind;
use super::histories::{Step, command, history};
use super::*;

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

/// A chunk as it would be asked about before it is put.
fn new_chunk(command: &Command) -> Option<(Key, transfer::NewChunk)> {
    let (Op::Transfer(op), Some(owner)) = (&command.op, command.owner) else { return None };
    let transfer::Action::Put { index, total, body, .. } = &op.action else { return None };
    let bytes = u32::try_from(body.len()).ok()?;
    Some((
        op.key,
        transfer::NewChunk {
            index: *index,
            total: *total,
            bytes,
            owner,
            remembered: command.idempotency_key.is_some(),
        },
    ))
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
        let members = state.node_identities.iter().count();
        while let Some(stamp_ms) = state.next_expiry_ms() {
            state.apply(Proposal { stamp_ms, ..Proposal::default() });
        }
        prop_assert_eq!(state.stored_bytes(), 0);
        prop_assert_eq!(state.counts(), super::super::Counts::default());
        prop_assert_eq!(state.node_identities.iter().count(), members);
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
    fn a_chunk_that_is_said_to_have_no_room_is_refused_for_that(steps in history(command())) {
        let mut state = State::default();
        for mut proposal in proposals(steps) {
            for command in std::mem::take(&mut proposal.commands) {
                let alone = Command { payment: Payment::Free, ..command };
                let remembered = alone.idempotency_key.map(|key| key.key);
                let foreseen = new_chunk(&alone).and_then(|(key, chunk)| {
                    let query = query::UnlessRemembered(remembered, query::ChunkRefusal(key, chunk));
                    query.answer(&state, proposal.stamp_ms).unwrap_or_default()
                });
                let (answers, _) = state.apply(Proposal { commands: vec![alone], ..proposal.clone() });
                if foreseen.is_some() {
                    let refusal = answers[0].outcome.as_ref().err();
                    let is_of_room = |refusal: &Refusal| {
                        matches!(refusal, Refusal::StorageFull | Refusal::ShareFull | Refusal::TenantShareFull)
                    };
                    prop_assert!(refusal.is_some_and(is_of_room), "{foreseen:?}: {answers:?}");
                }
            }
        }
    }

    #[test]
    fn storage_stays_within_its_bound_but_for_what_relieves(steps in history(command())) {
        let mut state = State::default();
        for mut proposal in proposals(steps) {
            proposal.commands.retain(|command| !command.op.allowed_when_full());
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
