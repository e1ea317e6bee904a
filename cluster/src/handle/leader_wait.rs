//! Waiting for a turn, and for somebody who leads.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::quorum::Quorum;
use super::{Error, changed, limits};
use crate::raft::Lead;

/// Waits for `turn`, but not while nobody leads. Whoever waits since `since` is refused when a command of that age would be, and
/// after `deadline` in any case.
pub(super) async fn wait_unless_leaderless<T>(
    mut lead: watch::Receiver<Option<Lead>>,
    quorum: &Quorum,
    since: Instant,
    deadline: Duration,
    turn: impl Future<Output = T>,
) -> Result<T, Error> {
    let mut turn = pin!(turn);
    let mut leaderless = None;
    loop {
        let led = lead.borrow_and_update().is_some();
        leaderless = (!led).then(|| leaderless.unwrap_or_else(Instant::now));
        let Some(lost) = leaderless else {
            tokio::select! {
                biased;
                () = changed(&mut lead) => continue,
                turned = &mut turn => return Ok(turned),
                () = sleep_until(since + deadline) => return Err(Error::Overloaded),
            }
        };
        if since.elapsed() >= limits::leaderless_timeout(Some(lost), quorum.is_heard(), deadline) {
            return Err(Error::NoLeader);
        }
        // Wakes early when there is a leader.
        let _ = timeout(limits::RETRY_EVERY, changed(&mut lead)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(5);

    fn leader() -> Option<Lead> {
        Some(Lead { id: 1, address: "a:1".into(), term: 1, local: true })
    }

    fn quorum(heard: bool) -> Quorum {
        let quorum = Quorum::new();
        quorum.set(heard);
        quorum
    }

    /// What became of it, and after how long.
    async fn outcome<T>(
        lead: &watch::Sender<Option<Lead>>,
        heard: bool,
        since: Instant,
        turn: impl Future<Output = T>,
    ) -> (Result<T, Error>, Duration) {
        let turned = wait_unless_leaderless(lead.subscribe(), &quorum(heard), since, DEADLINE, turn).await;
        (turned, since.elapsed())
    }

    /// Looked at every few milliseconds.
    fn about(took: Duration, expected: Duration) -> bool {
        (expected..=expected + 2 * limits::RETRY_EVERY).contains(&took)
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_while_somebody_leads_and_is_not_waited_for_longer_than_a_wish_has() {
        let lead = watch::Sender::new(leader());
        assert_eq!(outcome(&lead, true, Instant::now(), ready(7)).await, (Ok(7), Duration::ZERO));
        let waited = outcome(&lead, true, Instant::now(), pending::<u8>()).await;
        assert_eq!(waited, (Err(Error::Overloaded), DEADLINE));
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_leads_no_turn_comes_and_the_refusal_does_when_a_wish_gets_it() {
        let lead = watch::Sender::new(None);
        for (heard, expected) in [(false, limits::LEADERLESS_TIMEOUT), (true, DEADLINE)] {
            let (refused, took) = outcome(&lead, heard, Instant::now(), ready(7)).await;
            assert_eq!(refused, Err(Error::NoLeader));
            assert!(about(took, expected), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_lost_and_comes_back_delays_a_turn() {
        let lead = watch::Sender::new(leader());
        // Far longer than a node that hears nobody would wait.
        let (led, lost) =
            (2 * limits::LEADERLESS_TIMEOUT, limits::LEADERLESS_TIMEOUT + limits::LEADERLESS_TIMEOUT / 2);
        let change = async {
            tokio::time::sleep(led).await;
            lead.send_replace(None);
            tokio::time::sleep(lost).await;
            lead.send_replace(leader());
        };
        let turn = tokio::time::sleep(led + lost / 4);
        let ((turned, after), ()) = tokio::join!(outcome(&lead, true, Instant::now(), turn), change);
        assert_eq!(turned, Ok(()));
        assert!(about(after, led + lost), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waited_for_long_when_the_node_was_cut_off_hears_so_soon() {
        let lead = watch::Sender::new(leader());
        let change = async {
            tokio::time::sleep(2 * limits::LEADERLESS_TIMEOUT).await;
            lead.send_replace(None);
        };
        let waiting = outcome(&lead, false, Instant::now(), pending::<()>());
        let ((turned, after), ()) = tokio::join!(waiting, change);
        assert_eq!(turned, Err(Error::NoLeader));
        assert!(about(after, 2 * limits::LEADERLESS_TIMEOUT + limits::LEADERLESS_GRACE), "{after:?}");
    }
}
