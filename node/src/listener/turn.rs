//! Whose answer is next on a connection: the server's, or one that is given in front of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use tokio::time::Instant;

use super::io::Both;

/// The answers of one connection.
pub(super) struct Turn {
    /// How many the server had given when it last had written all it had.
    servers: u64,
    /// When it had given the last of them, and began to count the connection's idle time.
    heard: Instant,
    /// How many were given in front of it.
    ours: u64,
    /// What is still to be written of those, and whether anything is.
    owed: Bytes,
    owes: bool,
}

impl Default for Turn {
    fn default() -> Self {
        Self { servers: 0, heard: Instant::now(), ours: 0, owed: Bytes::new(), owes: false }
    }
}

impl Turn {
    /// The server has written all it had, `answers` of requests among it.
    pub(super) fn flushed(&mut self, answers: u64) {
        if answers > self.servers {
            self.servers = answers;
            self.heard = Instant::now();
        }
    }

    /// Whether a request, by its number, may be answered in front of the server: all before it are answered, and the server
    /// has heard of the connection within `unheard_max`, so that it does not take it for an idle one meanwhile.
    pub(super) fn is_ours(&self, request: u64, unheard_max: Duration) -> bool {
        self.servers + self.ours + 1 == request && self.heard.elapsed() < unheard_max
    }

    /// How many were answered in front of the server.
    pub(super) fn ours(&self) -> u64 {
        self.ours
    }

    /// Answers a request that [is ours](Self::is_ours).
    pub(super) fn answer(&mut self, answer: Vec<u8>) {
        self.ours += 1;
        self.owed = answer.into();
        self.owes = true;
    }

    /// Writes what is owed.
    pub(super) fn poll_owed(
        &mut self,
        mut io: Pin<&mut dyn Both>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.owes {
            if self.owed.is_empty() {
                ready!(io.as_mut().poll_flush(cx))?;
                self.owes = false;
                break;
            }
            match ready!(io.as_mut().poll_write(cx, &self.owed))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.owed.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_is_given_in_front_of_the_server_only_when_none_is_due_from_it() {
        let mut turn = Turn::default();
        assert!(turn.is_ours(1, LONG));
        turn.answer(b"no".to_vec());
        assert!(turn.is_ours(2, LONG));
        assert!(!turn.is_ours(3, LONG), "the second one is the server's");
        turn.flushed(1);
        assert!(turn.is_ours(3, LONG));
    }

    #[test]
    fn a_server_that_has_not_heard_of_the_connection_for_long_hears_of_it() {
        let mut turn = Turn::default();
        assert!(!turn.is_ours(1, Duration::ZERO));
        turn.flushed(0);
        assert!(!turn.is_ours(1, Duration::ZERO));
    }
}
