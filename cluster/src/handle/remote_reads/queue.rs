//! Reads of a front that wait for their host.

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::Error;
use super::super::limits::ASK_FRAMES_MAX;
use crate::state::query::Reply;
use crate::state::query::codec::{Look, QUESTIONS_MAX};

/// A read that waits for its answer.
pub(super) struct Waiting {
    pub(super) since: Instant,
    pub(super) look: Look,
    pub(super) reply: oneshot::Sender<Result<Vec<Reply>, Error>>,
}

/// Reads that wait to be asked, in the order in which they came.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) linearizable: Vec<Waiting>,
    pub(super) stale: Vec<Waiting>,
}

impl Queue {
    pub(super) fn of(&mut self, linearizably: bool) -> &mut Vec<Waiting> {
        if linearizably { &mut self.linearizable } else { &mut self.stale }
    }

    pub(super) fn len(&self) -> usize {
        self.linearizable.len() + self.stale.len()
    }

    /// What goes with the next frame, if one is worth it while so many are under way.
    pub(super) fn batch(&mut self, under_way: usize) -> Option<(bool, Vec<Waiting>)> {
        // Whoever waits longest goes first.
        let since = |waiting: &[Waiting]| waiting.first().map(|waiting| waiting.since);
        let linearizably = match (since(&self.linearizable), since(&self.stale)) {
            (Some(linearizable), Some(stale)) => linearizable <= stale,
            (linearizable, _) => linearizable.is_some(),
        };
        let waiting = self.of(linearizably);
        let worth = under_way < FRAMES_FREE || waiting.len() >= FRAME_WORTH;
        if waiting.is_empty() || !worth || under_way >= ASK_FRAMES_MAX {
            return None;
        }
        let count = waiting.len().min(QUESTIONS_MAX);
        Some((linearizably, waiting.drain(..count).collect()))
    }

    /// Puts back what was asked and not answered.
    pub(super) fn put_back(&mut self, linearizably: bool, unanswered: Vec<Waiting>) {
        self.of(linearizably).splice(..0, unanswered);
    }
}

/// Frames under way however few reads they carry.
const FRAMES_FREE: usize = 2;
/// Reads that are worth a further frame.
const FRAME_WORTH: usize = 32;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn waiting(count: usize) -> Vec<Waiting> {
        let waiting =
            || Waiting { since: Instant::now(), look: Look(Vec::new()), reply: oneshot::channel().0 };
        std::iter::repeat_with(waiting).take(count).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn few_reads_go_at_once_and_many_go_together() {
        let mut queue = Queue { linearizable: Vec::new(), stale: waiting(1) };
        assert!(queue.batch(FRAMES_FREE).is_none(), "one is worth no third frame");
        assert_eq!(queue.batch(0).map(|(_, batch)| batch.len()), Some(1));
        queue.stale = waiting(QUESTIONS_MAX + FRAME_WORTH);
        assert_eq!(queue.batch(FRAMES_FREE).map(|(_, batch)| batch.len()), Some(QUESTIONS_MAX));
        assert!(queue.batch(ASK_FRAMES_MAX).is_none());
        assert_eq!(queue.batch(FRAMES_FREE).map(|(_, batch)| batch.len()), Some(FRAME_WORTH));
        assert!(queue.batch(0).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_answered_goes_before_what_came_later() {
        let mut queue = Queue { linearizable: Vec::new(), stale: waiting(1) };
        let since = Instant::now();
        tokio::time::advance(Duration::from_secs(1)).await;
        let later = Queue { linearizable: Vec::new(), stale: waiting(1) };
        let (linearizably, asked) = queue.batch(0).expect("one waits");
        queue.stale = later.stale;
        queue.put_back(linearizably, asked);
        assert_eq!(
            queue.stale.iter().map(|waiting| waiting.since == since).collect::<Vec<_>>(),
            [true, false]
        );
    }
}
