use super::*;

const BAD: Event = Event::RefusedCredential(Fault::Token);
const IN: Event = Event::SignIn(Proof::Token);

fn sample(from: &str) -> Option<Sample> {
    Some(Sample { from: Some(from.to_owned()), about: None })
}

fn counts(summaries: &[Summary]) -> Vec<(&'static str, u64)> {
    summaries.iter().map(|summary| (summary.event, summary.count)).collect()
}

#[test]
fn the_first_is_told_at_once_and_the_rest_once_a_minute() {
    let (mut tally, now) = (Tally::default(), Instant::now());
    tally.note(BAD, 1, sample("192.0.2.1"), 5);
    assert_eq!(counts(&tally.due(1, MINUTE, now)), [("refused_credentials", 1)]);
    for _ in 0..1_000 {
        tally.note(BAD, 1, sample("192.0.2.2"), 7);
    }
    tally.note(IN, 1, sample("192.0.2.3"), 8);
    assert_eq!(counts(&tally.due(1, MINUTE, now)), [("sign_ins", 1)], "one kind does not keep another out");
    assert!(tally.due(1, MINUTE, now + MINUTE / 2).is_empty());
    let later = tally.due(1, MINUTE, now + MINUTE);
    assert_eq!(counts(&later), [("refused_credentials", 1_000)]);
    assert_eq!((later[0].since_ms, later[0].first.len()), (7, 1), "the same is told once");
    assert!(tally.is_empty());
}

#[test]
fn a_node_writes_a_bounded_number_of_entries_whatever_happens() {
    let (mut tally, now) = (Tally::default(), Instant::now());
    let reasons: Vec<&'static str> = wire::refusals().map(|(reason, _)| reason).collect();
    assert!(reasons.len() > ENTRIES_PER_MINUTE_MAX);
    let all = || reasons.iter().map(|reason| Event::RefusedPeer(reason));
    all().for_each(|event| tally.note(event, 1, None, 0));
    assert_eq!(tally.due(1, MINUTE, now).len(), ENTRIES_PER_MINUTE_MAX);
    all().for_each(|event| tally.note(event, 1, None, 0));
    assert!(tally.due(1, MINUTE, now + MINUTE / 2).is_empty());
    // Those that were not told come first.
    let told = tally.due(1, MINUTE, now + MINUTE);
    assert_eq!(told.len(), ENTRIES_PER_MINUTE_MAX);
    let waited = told.iter().take(reasons.len() - ENTRIES_PER_MINUTE_MAX);
    assert!(waited.into_iter().all(|summary| summary.count == 2));
}

#[test]
fn the_fuller_the_log_the_less_is_written_and_nothing_into_a_full_one() {
    let rests = [0, ENTRIES_MAX / 2, ENTRIES_MAX * 3 / 4, ENTRIES_MAX - 1, ENTRIES_MAX].map(rest);
    let hour = Some(60 * MINUTE);
    assert_eq!(rests, [Some(MINUTE), Some(10 * MINUTE), hour, hour, None]);
}

#[test]
fn peers_are_told_by_how_many_more_there_are() {
    let (mut tally, now) = (Tally::default(), Instant::now());
    tally.note_peers([("secret", 0), ("garbage", 2)].into_iter(), 1);
    tally.note_peers([("secret", 3), ("garbage", 2)].into_iter(), 2);
    let told = tally.due(1, MINUTE, now);
    let told: Vec<_> = told.iter().map(|summary| (summary.kind, summary.count)).collect();
    assert_eq!(told, [(Some("garbage"), 2), (Some("secret"), 3)]);
}

#[test]
fn switched_off_it_tells_what_a_backend_said_alone() {
    let events = SecurityEvents::new(false);
    events.note(BAD, None, None, 0);
    assert!(events.lock().is_empty());
    events.note(Event::Publish, None, Some("ab".to_owned()), 0);
    assert!(!events.lock().is_empty());
}

#[test]
fn an_entry_with_all_that_it_can_have_fits() {
    let (mut tally, now) = (Tally::default(), Instant::now());
    for n in 0..9 {
        let from = Some(format!("2001:db8:1111:2222:3333:4444:5555:{n:04}"));
        let about = Some(digest(&Key::from_bytes([n; 32])));
        tally.note(
            Event::RefusedCredential(Fault::Device),
            u64::MAX / 16,
            Some(Sample { from, about }),
            u64::MAX,
        );
    }
    let told = tally.due(u64::MAX, MINUTE, now);
    assert_eq!(told[0].first.len(), SAMPLES_MAX);
    let text = serde_json::to_string(&told[0]).unwrap();
    assert!(text.len() <= conclave_cluster::state::limits::NAME_BYTES_MAX, "{}", text.len());
}
