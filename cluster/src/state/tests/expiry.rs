use super::super::limits::{EXPIRED_PER_PROPOSAL_MAX, TRANSFER_CHUNKS_MAX};
use super::super::transfer::{self, Action};
use super::transfer::{about, key, put};
use super::*;

#[test]
fn readers_do_not_see_what_is_over_though_it_was_not_freed() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    lab.wait(59_999);
    assert!(lab.read(query::Transfer(key("t"))).is_some());
    assert!(lab.read(query::Chunk(key("t"), 0)).is_some());
    lab.wait(1);
    assert_eq!(lab.read(query::Transfer(key("t"))), None);
    assert_eq!(lab.read(query::Chunk(key("t"), 0)), None);
    assert_eq!(lab.state.counts().transfers, 1);
    lab.tick();
    assert_eq!((lab.state.counts().transfers, lab.state.stored_bytes()), (0, 0));
}

#[test]
fn the_clock_of_the_log_never_goes_back() {
    let mut lab = Lab::new();
    lab.tick();
    lab.now_ms -= 3_600_000;
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    assert_eq!(lab.state.now_ms(), MORNING_MS);
    assert_eq!(
        query::Transfer(key("t")).answer(&lab.state, MORNING_MS).unwrap().expires_ms,
        MORNING_MS + 60_000
    );
}

#[test]
fn touching_does_not_move_the_agenda_until_the_old_instant_comes() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    let first_ms = lab.state.next_expiry_ms();
    lab.wait(1000);
    lab.ask(about("t", Action::Touch)).unwrap();
    assert_eq!(lab.state.next_expiry_ms(), first_ms);
    lab.now_ms = first_ms.unwrap();
    lab.tick();
    assert!(lab.read(query::Transfer(key("t"))).is_some());
}

#[test]
fn a_shorter_life_is_kept_too() {
    let mut lab = Lab::new();
    lab.ask(put("t", 0, 1, "zero")).unwrap();
    lab.ask(transfer::Op { key: key("t"), ttl_ms: 5, action: Action::Touch }).unwrap();
    assert_eq!(lab.state.next_expiry_ms(), Some(lab.now_ms + 5));
    lab.wait(5);
    lab.tick();
    assert_eq!(lab.state.counts().transfers, 0);
}

#[test]
fn more_than_a_proposal_may_free_is_freed_by_the_next_and_hidden_meanwhile() {
    let mut lab = Lab::new();
    let extra = 10;
    let opens = (0..EXPIRED_PER_PROPOSAL_MAX + extra)
        .map(|n| lab.command(about(&n.to_string(), Action::Open { total: 2 })))
        .collect();
    lab.apply(Vec::new(), opens);
    lab.wait(60_000);
    // Whichever transfers wait for the next proposal: none of them is there any more.
    let puts = (0..EXPIRED_PER_PROPOSAL_MAX + extra)
        .map(|n| lab.command(about(&n.to_string(), Action::Take)))
        .collect();
    let answers = lab.apply(Vec::new(), puts);
    assert!(answers.iter().all(|answer| answer.outcome == Ok(transfer::Outcome::Absent.into())));
    lab.tick();
    assert_eq!(lab.state.counts().transfers, 0);
}

#[test]
fn chunks_count_as_things_freed() {
    let mut lab = Lab::new();
    for name in ["a", "b", "c", "d"] {
        let puts = (0..TRANSFER_CHUNKS_MAX).map(|n| lab.command(put(name, n, TRANSFER_CHUNKS_MAX, "x")));
        let puts = puts.collect();
        lab.apply(Vec::new(), puts);
    }
    lab.wait(60_000);
    lab.tick();
    assert_eq!(lab.state.counts().transfers, 2);
    assert_eq!(lab.ask(put("d", 0, 1, "y")), Ok(transfer::Outcome::Stored.into()));
    lab.tick();
    assert_eq!((lab.state.counts().transfers, lab.state.counts().chunks), (1, 1));
}
