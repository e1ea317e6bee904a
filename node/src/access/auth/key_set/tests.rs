//! When a set is fetched, and what is in force meanwhile. Time is the tests' own, and nothing is connected to.

use std::sync::Mutex;

use serde_json::json;
use tokio::time::{advance, sleep};

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const STALE_MAX: Duration = Duration::from_secs(24 * 3600);

/// A set whose fetches a test answers.
struct Served {
    set: KeySet,
    answers: Arc<Mutex<Answers>>,
    asked: channel::Sender<u64>,
}

#[derive(Default)]
struct Answers {
    /// `None`: the source is away.
    fresh: Option<Option<Duration>>,
    /// When it was asked.
    asked: Vec<Duration>,
}

impl Served {
    fn new(stale_max: Duration) -> Self {
        let place = "https://issuer.example/keys".parse().unwrap();
        let set = KeySet::new(place, Options { stale_max, ..Options::default() }).unwrap();
        let answers = Arc::new(Mutex::new(Answers { fresh: Some(None), asked: Vec::new() }));
        let (began, kept, shared) = (Instant::now(), set.clone(), answers.clone());
        let asked = channel::Sender::new(0);
        let listening = asked.subscribe();
        tokio::spawn(async move {
            let fetch = move || {
                let mut answers = shared.lock().unwrap();
                answers.asked.push(began.elapsed());
                std::future::ready(match answers.fresh {
                    Some(fresh) => Ok(Fetched { set: one_key(), fresh }),
                    None => {
                        let url = "https://issuer.example/keys".parse().unwrap();
                        Err(Fault::Fetch(url, FetchError::Late))
                    }
                })
            };
            kept.keep(listening, fetch).await;
        });
        Self { set, answers, asked }
    }

    fn answers(&self, fresh: Option<Option<Duration>>) {
        self.answers.lock().unwrap().fresh = fresh;
    }

    /// Lets time pass, and says how often it was asked meanwhile.
    async fn asked_within(&self, time: Duration) -> usize {
        let before = self.count();
        sleep(time).await;
        self.count() - before
    }

    fn count(&self) -> usize {
        self.answers.lock().unwrap().asked.len()
    }

    /// The next fetch has come, without time passing.
    async fn settled(&self) {
        advance(Duration::ZERO).await;
        tokio::task::yield_now().await;
    }
}

fn one_key() -> Set {
    let text = json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": "A".repeat(43)}]});
    Set::parse(text.to_string().as_bytes(), Origin::Network).unwrap()
}

#[tokio::test(start_paused = true)]
async fn before_the_first_set_nothing_can_be_said() {
    let served = Served::new(STALE_MAX);
    served.answers(None);
    assert_eq!(served.set.misses(true), Absent::Unsure);
    assert_eq!(served.set.misses(false), Absent::Unsure, "its only key may have no name");
    sleep(MINUTE).await;
    assert_eq!(served.set.misses(true), Absent::Unsure);
    served.answers(Some(None));
    sleep(AGAIN_MAX).await;
    assert_eq!(served.set.current().unwrap().keys.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_set_is_fetched_again_when_it_is_not_fresh_and_between_a_minute_and_an_hour() {
    for (said, pause) in [
        (None, 600),
        (Some(0), 60),
        (Some(59), 60),
        (Some(61), 61),
        (Some(3_599), 3_599),
        (Some(86_400), 3_600),
        (Some(u64::MAX), 3_600),
    ] {
        let served = Served::new(STALE_MAX);
        served.answers(Some(said.map(Duration::from_secs)));
        let pause = Duration::from_secs(pause);
        sleep(pause - Duration::from_millis(5)).await;
        assert_eq!(served.count(), 1, "{said:?}");
        sleep(Duration::from_millis(10)).await;
        assert_eq!(served.count(), 2, "{said:?}");
    }
    let served = Served::new(Duration::from_secs(10));
    served.answers(Some(Some(Duration::from_secs(3_600))));
    assert_eq!(served.asked_within(Duration::from_millis(20_100)).await, 5, "well before it is too old");
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_has_it_fetched_sooner_once_in_half_a_minute() {
    let served = Served::new(STALE_MAX);
    served.answers(Some(Some(REFRESH_MAX)));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(served.set.misses(true), Absent::Unknown, "it was fetched a second ago");
    assert_eq!(served.asked_within(SOONER_MIN).await, 0);
    assert_eq!(served.set.misses(false), Absent::Unknown, "a token without a kid names no key");
    assert_eq!(served.asked_within(Duration::from_secs(1)).await, 0);
    for _ in 0..3 {
        assert_eq!(served.set.misses(true), Absent::Unsure, "it is being fetched");
    }
    served.settled().await;
    assert_eq!(served.count(), 2);
    assert_eq!(served.set.misses(true), Absent::Unknown);
    // However often it is named.
    let began = Instant::now();
    while began.elapsed() < 10 * MINUTE {
        served.set.misses(true);
        sleep(Duration::from_secs(1)).await;
    }
    assert!((18..=20).contains(&(served.count() - 2)), "{}", served.count());
}

#[tokio::test(start_paused = true)]
async fn the_last_good_set_is_used_while_the_source_is_away_and_then_no_more() {
    let served = Served::new(STALE_MAX);
    sleep(Duration::from_secs(1)).await;
    served.answers(None);
    sleep(STALE_MAX - Duration::from_secs(2)).await;
    assert!(served.set.current().is_some());
    // Whether the source has this key cannot be said.
    assert_eq!(served.set.misses(true), Absent::Unsure);
    sleep(Duration::from_secs(2)).await;
    assert!(served.set.current().is_none());
    served.answers(Some(None));
    sleep(AGAIN_MAX).await;
    assert!(served.set.current().is_some(), "and again once it is back");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_away_is_asked_less_and_less_often() {
    let served = Served::new(STALE_MAX);
    served.answers(None);
    sleep(10 * MINUTE).await;
    let asked = served.answers.lock().unwrap().asked.clone();
    let pauses: Vec<_> = asked.windows(2).map(|two| (two[1] - two[0]).as_secs()).collect();
    assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
}

#[tokio::test(start_paused = true)]
async fn an_operator_may_ask_for_it() {
    let served = Served::new(STALE_MAX);
    sleep(Duration::from_secs(1)).await;
    served.asked.send_modify(|count| *count += 1);
    served.settled().await;
    assert_eq!(served.count(), 2);
}

#[test]
fn the_same_is_said_once() {
    let good = |kid: &str| Said::Good(vec![Some(kid.to_owned())], Vec::new());
    assert_eq!(good("a"), good("a"));
    assert_ne!(good("a"), good("b"));
    assert_ne!(Said::Bad("late".to_owned(), false), Said::Bad("late".to_owned(), true));
}
