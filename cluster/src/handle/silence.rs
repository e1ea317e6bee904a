//! Waiting until nothing was heard for so long.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

/// This node's timers were so late that it cannot have run all the time.
const LATE: Duration = Duration::from_millis(50);
/// For how long a node that did not run listens before it says that nothing was heard.
const LISTEN: Duration = Duration::from_millis(100);

/// Waits until nothing was heard for so long. While this process did not run, because it was frozen or its machine was busy,
/// it heard nothing either; what has come meanwhile is read first.
pub(super) async fn silence(last_heard: impl Fn() -> Instant, duration: Duration) {
    loop {
        let due = last_heard() + duration;
        sleep_until(due).await;
        if due.elapsed() > LATE {
            sleep(LISTEN).await;
        }
        if last_heard().elapsed() >= duration {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const DURATION: Duration = Duration::from_millis(650);

    #[tokio::test(start_paused = true)]
    async fn silence_lasts_from_what_was_heard_last() {
        let began = Instant::now();
        let heard = Cell::new(began);
        let hearing = async {
            for _ in 0..3 {
                sleep(Duration::from_millis(500)).await;
                heard.set(Instant::now());
            }
        };
        tokio::join!(hearing, silence(|| heard.get(), DURATION));
        assert_eq!(began.elapsed(), Duration::from_millis(1500) + DURATION);
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_did_not_run_reads_first_what_has_come() {
        let heard = Cell::new(Instant::now());
        tokio::time::advance(3 * DURATION).await;
        let woken = Instant::now();
        let hearing = async {
            sleep(LISTEN / 2).await;
            heard.set(Instant::now());
        };
        tokio::join!(hearing, silence(|| heard.get(), DURATION));
        assert_eq!(woken.elapsed(), LISTEN / 2 + DURATION);
    }
}
