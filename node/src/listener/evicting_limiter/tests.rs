use super::*;

const BOUNDS: Bounds = Bounds { all: 6, client: 3, site: 4 };

fn limiter() -> EvictingLimiter {
    EvictingLimiter::new("tested", BOUNDS)
}

fn enter(limiter: &EvictingLimiter, address: &str) -> Result<EvictablePermit, Refused> {
    // Each comes long after the one before.
    let now = Instant::now() + GRACE * u32::try_from(limiter.lock().turn()).unwrap();
    limiter.try_enter(address.parse().unwrap(), now).map_err(|full| match full {
        Full::Refused(why) => why,
        Full::Later(rest) => panic!("{rest:?}"),
    })
}

/// Whether it is somebody else's now.
fn is_lost(permit: &EvictablePermit) -> bool {
    !permit.limiter.lock().holders.contains_key(&permit.number)
}

fn lost(of: &[EvictablePermit]) -> Vec<bool> {
    of.iter().map(is_lost).collect()
}

#[test]
fn of_one_client_the_connection_that_was_waited_for_longest_makes_room() {
    let limiter = limiter();
    let other = enter(&limiter, "192.0.2.2").unwrap();
    let held = [(); 3].map(|()| enter(&limiter, "192.0.2.1").unwrap());
    // The first one asked something meanwhile, and was answered.
    held[0].stand(Standing::Answers);
    held[0].stand(Standing::Rests);
    // Saying again that it waits makes none younger.
    held[1].stand(Standing::Rests);
    let _newcomer = enter(&limiter, "192.0.2.1").unwrap();
    assert_eq!(lost(&held), [false, true, false]);
    assert!(!is_lost(&other), "what another client has is its own");
}

#[test]
fn whoever_is_being_answered_makes_room_last_and_whoever_changes_something_not_at_all() {
    let limiter = limiter();
    let held = [(); 3].map(|()| enter(&limiter, "192.0.2.1").unwrap());
    held.iter().for_each(|permit| permit.stand(Standing::Answers));
    held[0].claim().changes(true);
    // A body that comes slowly, or an answer that is not taken, is no being answered.
    held[2].stand(Standing::Waits);
    let second = enter(&limiter, "192.0.2.1").unwrap();
    assert_eq!(lost(&held), [false, false, true]);
    second.claim().changes(true);
    second.stand(Standing::Answers);
    let third = enter(&limiter, "192.0.2.1").unwrap();
    assert_eq!(lost(&held), [false, true, true]);
    third.claim().changes(true);
    third.stand(Standing::Answers);
    assert_eq!(enter(&limiter, "192.0.2.1").unwrap_err(), Refused::Client);
    held[0].stand(Standing::Rests);
    assert!(enter(&limiter, "192.0.2.1").is_ok() && is_lost(&held[0]));
}

#[test]
fn where_all_are_taken_whoever_has_the_most_makes_room() {
    let limiter = limiter();
    let single = enter(&limiter, "192.0.2.1").unwrap();
    let greedy = [(); 3].map(|()| enter(&limiter, "192.0.2.2").unwrap());
    let pair = [(); 2].map(|()| enter(&limiter, "192.0.2.3").unwrap());
    let _newcomer = enter(&limiter, "192.0.2.4").unwrap();
    assert_eq!(lost(&greedy), [true, false, false]);
    assert!(!is_lost(&single) && lost(&pair) == [false, false]);
}

#[test]
fn whoever_has_shown_who_it_is_does_not_make_room_while_it_is_served() {
    let limiter = limiter();
    let known = [(); 3].map(|()| enter(&limiter, "192.0.2.1").unwrap());
    known.iter().for_each(|permit| permit.claim().is_known());
    known[0].stand(Standing::Waits);
    known[1].stand(Standing::Answers);
    // Strangers make room for one another.
    let strangers: Vec<_> =
        (0..9).map(|last| enter(&limiter, &format!("198.51.100.{last}")).unwrap()).collect();
    assert_eq!(lost(&known), [false; 3]);
    assert_eq!(lost(&strangers).iter().filter(|lost| **lost).count(), 6);
    // Of the same client a connection that rests makes room, and no other.
    let newcomer = enter(&limiter, "192.0.2.1").unwrap();
    assert_eq!(lost(&known), [false, false, true]);
    newcomer.claim().is_known();
    newcomer.stand(Standing::Answers);
    assert_eq!(enter(&limiter, "192.0.2.1").unwrap_err(), Refused::Client);
}

#[test]
fn a_site_has_less_than_all() {
    let limiter = limiter();
    let near: Vec<_> =
        (0..5).map(|network| enter(&limiter, &format!("2001:db8:0:{network}::1")).unwrap()).collect();
    assert_eq!(lost(&near), [true, false, false, false, false]);
    assert!(enter(&limiter, "2001:db8:1::1").is_ok());
    drop(near);
    assert!(limiter.lock().holders.is_empty(), "a permit that is left is free");
}

#[tokio::test]
async fn whoever_makes_room_is_told() {
    let limiter = limiter();
    let held = [(); 3].map(|()| enter(&limiter, "192.0.2.1").unwrap());
    let _newcomer = enter(&limiter, "192.0.2.1").unwrap();
    held[0].hangup().asked().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_comes_waits_for_what_is_being_answered_and_not_for_ever() {
    let limiter = limiter();
    let mut held = Vec::from([(); 3].map(|()| enter(&limiter, "192.0.2.1").unwrap()));
    for permit in &held {
        permit.claim().changes(true);
        permit.stand(Standing::Answers);
    }
    let came = || limiter.enter("192.0.2.1".parse().unwrap());
    let began = tokio::time::Instant::now();
    assert_eq!(came().await.unwrap_err(), Refused::Client);
    assert_eq!(began.elapsed(), PATIENCE);
    let (newcomer, ()) = tokio::join!(came(), async {
        tokio::time::sleep(PATIENCE / 2).await;
        held.pop();
    });
    assert!(newcomer.is_ok() && began.elapsed() < PATIENCE * 2);
}
