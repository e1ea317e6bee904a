//! When a client of the FlatBuffers schema is sent a heartbeat.
//!
//! There are clients that answer each heartbeat with one. Two parties that both do never stop, so that this one answers at
//! most one a second, and takes the first that comes within that time for an answer, which is not answered. There are
//! clients that give up after twice the time between two of their own without one, be it a second and a half or a minute,
//! and some of them send only one of their own, or have theirs stand behind much else that is read slowly: they hear some
//! unasked. Others give up where they have heard none by the time they send their first: they hear one soon after the session
//! begins, or goes on. What is sent unasked is sent by the clock, and starts nothing.

use std::time::Duration;

use tokio::time::Instant;

use super::super::quality::Interval;

/// Between two heartbeats to one client.
const EVERY: Duration = Duration::from_secs(1);
/// After so long in its session a client hears the first, if it has sent none: no shipped one sends its first sooner than twice
/// that.
const FIRST: Duration = Duration::from_millis(300);

/// Heartbeats of one connection.
#[derive(Debug, Default)]
pub(super) struct Heartbeats {
    /// When it hears the first, if it has sent none until then.
    first: Option<Instant>,
    /// When one was last sent to the client.
    sent: Option<Instant>,
    /// That was the first, unasked: no other follows before the client has sent one of its own.
    unasked: bool,
    /// The client has answered that one.
    answered: bool,
    /// The client has sent one of its own after that, which is answered as soon as it may.
    owed: bool,
    /// The client goes on sending some of its own.
    steady: bool,
}

impl Heartbeats {
    /// The client is in its session.
    pub(super) fn begin(&mut self, now: Instant) {
        self.first = self.sent.is_none().then(|| now + FIRST);
    }

    /// The client sent one. True: it is answered now.
    pub(super) fn heard(&mut self, now: Instant) -> bool {
        self.first = None;
        let Some(sent) = self.sent else { return true };
        if now.duration_since(sent) >= EVERY {
            self.steady |= !self.unasked;
            return true;
        }
        let own = self.answered;
        self.answered = true;
        self.owed |= own;
        self.steady |= own;
        false
    }

    /// One is sent to the client.
    pub(super) fn sent(&mut self, now: Instant) {
        (self.sent, self.answered, self.owed) = (Some(now), false, false);
        self.unasked = self.first.take().is_some();
    }

    /// When the next one is sent, unless one is answered before.
    pub(super) fn due(&self, pings: Interval) -> Option<Instant> {
        let Some(sent) = self.sent else { return self.first };
        let after = match (self.owed, self.unasked, self.steady) {
            (true, _, _) => EVERY,
            (false, true, _) => return None,
            (false, false, false) => pings.min.max(EVERY),
            (false, false, true) => pings.patience().max(EVERY),
        };
        Some(sent + after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PINGS: Interval = Interval { min: Duration::from_secs(5), max: Duration::from_secs(25) };

    /// What a client is sent within a minute, in milliseconds. It answers each heartbeat, if it does, after 20 ms, and sends
    /// its own every so many.
    fn minute(own_every_ms: Option<u64>, answers: bool) -> Vec<u64> {
        let start = Instant::now();
        let mut heartbeats = Heartbeats::default();
        let (mut told, mut answer) = (Vec::new(), None);
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            let own = own_every_ms.map_or(ms == 0, |every| ms % every == 0);
            let due = heartbeats.due(PINGS).is_some_and(|due| due <= now);
            let heard = u32::from(own) + u32::from(answer == Some(ms));
            if (0..heard).fold(due, |sends, _| sends | heartbeats.heard(now)) {
                heartbeats.sent(now);
                told.push(ms);
                answer = answers.then_some(ms + 20);
            }
        }
        told
    }

    /// The same of one that is in its session from the start, and sends its first only when its time has come.
    fn minute_in_session(own_every_ms: u64, answers: bool) -> Vec<u64> {
        let start = Instant::now();
        let mut heartbeats = Heartbeats::default();
        heartbeats.begin(start);
        let (mut told, mut answer) = (Vec::new(), None);
        for ms in 1..60_000 {
            let now = start + Duration::from_millis(ms);
            let due = heartbeats.due(PINGS).is_some_and(|due| due <= now);
            let heard = u32::from(ms % own_every_ms == 0) + u32::from(answer == Some(ms));
            if (0..heard).fold(due, |sends, _| sends | heartbeats.heard(now)) {
                heartbeats.sent(now);
                told.push(ms);
                answer = answers.then_some(ms + 20);
            }
        }
        told
    }

    #[test]
    fn whoever_waits_for_the_first_before_it_sends_its_own_hears_one() {
        for own in [600, 999, 1000, 1001, 1300, 1500, 3000, 30_000] {
            for answers in [true, false] {
                let told = minute_in_session(own, answers);
                assert_eq!(told[0], 300, "before its own first, at {own}");
                assert!(longest_pause(&told[..told.len() - 1]) <= 2 * own, "{own} {answers}: {told:?}");
                assert!(told.windows(2).all(|two| two[1] - two[0] >= 1000), "{own} {answers}: {told:?}");
            }
        }
        assert_eq!(minute_in_session(100_000, true), [300], "and whoever sends none hears no other");
    }

    fn longest_pause(told: &[u64]) -> u64 {
        told.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(60_000)
    }

    #[test]
    fn who_sends_some_hears_some_within_twice_its_own_interval() {
        for own in [600, 800, 999, 1000, 1001, 1500, 3000, 15_000, 30_000] {
            let pause = longest_pause(&minute(Some(own), true));
            assert!(pause < 2 * own && pause <= own.max(1000) + 20, "{own}: {pause}");
        }
    }

    #[test]
    fn no_two_come_within_a_second_and_answers_are_not_answered() {
        for own in [Some(1), Some(300), Some(1000), Some(3000), None] {
            for answers in [true, false] {
                let told = minute(own, answers);
                assert!(told.windows(2).all(|two| two[1] - two[0] >= 1000), "{own:?} {answers}");
            }
        }
        assert_eq!(minute(Some(30_000), true), [0, 5000, 10_000, 15_000, 20_000, 25_000, 30_000]);
    }

    #[test]
    fn who_sends_only_one_hears_some_unasked() {
        assert_eq!(minute(None, true), (0..60_000).step_by(5000).collect::<Vec<_>>());
        let mut heartbeats = Heartbeats::default();
        assert_eq!(heartbeats.due(PINGS), None, "who is in no session hears none");
        assert!(heartbeats.heard(Instant::now()));
    }
}
