//! Waiting that is in vain while nobody leads.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{Error, changed, limits};
use crate::raft::Lead;

/// Waits for `turn`, but not while nobody leads. Whoever waits since `since` is refused when a wish of that age would be, and
/// after `deadline` in any case.
pub(super) async fn while_led<T>(
    mut lead: watch::Receiver<Option<Lead>>,
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
        let over = (since + limits::PATIENCE.min(deadline)).max(lost + limits::INTERREGNUM);
        if timeout_at(over, changed(&mut lead)).await.is_err() {
            return Err(Error::NoLeader);
        }
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

    /// What became of it, and after how long.
    async fn outcome<T>(
        lead: &watch::Sender<Option<Lead>>,
        since: Instant,
        turn: impl Future<Output = T>,
    ) -> (Result<T, Error>, Duration) {
        let turned = while_led(lead.subscribe(), since, DEADLINE, turn).await;
        (turned, since.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_comes_while_somebody_leads_and_is_not_waited_for_longer_than_a_wish_has() {
        let lead = watch::Sender::new(leader());
        assert_eq!(outcome(&lead, Instant::now(), ready(7)).await, (Ok(7), Duration::ZERO));
        let waited = outcome(&lead, Instant::now(), pending::<u8>()).await;
        assert_eq!(waited, (Err(Error::Overloaded), DEADLINE));
    }

    #[tokio::test(start_paused = true)]
    async fn while_nobody_leads_no_turn_comes_and_the_refusal_does_when_a_wish_gets_it() {
        let lead = watch::Sender::new(None);
        let refused = outcome(&lead, Instant::now(), ready(7)).await;
        assert_eq!(refused, (Err(Error::NoLeader), limits::PATIENCE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_is_lost_and_comes_back_delays_a_turn() {
        let lead = watch::Sender::new(leader());
        let change = async {
            tokio::time::sleep(2 * limits::PATIENCE).await;
            lead.send_replace(None);
            tokio::time::sleep(limits::INTERREGNUM / 2).await;
            lead.send_replace(leader());
        };
        let wait = outcome(
            &lead,
            Instant::now(),
            tokio::time::sleep(2 * limits::PATIENCE + limits::INTERREGNUM / 4),
        );
        let ((turned, after), ()) = tokio::join!(wait, change);
        assert_eq!((turned, after), (Ok(()), 2 * limits::PATIENCE + limits::INTERREGNUM / 2));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waited_for_long_when_the_leader_was_lost_hears_so_soon() {
        let lead = watch::Sender::new(leader());
        let change = async {
            tokio::time::sleep(2 * limits::PATIENCE).await;
            lead.send_replace(None);
        };
        let ((turned, after), ()) = tokio::join!(outcome(&lead, Instant::now(), pending::<()>()), change);
        assert_eq!((turned, after), (Err(Error::NoLeader), 2 * limits::PATIENCE + limits::INTERREGNUM));
    }
}
