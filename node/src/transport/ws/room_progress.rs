//! How far a client of the FlatBuffers schema got in its room. It cannot say so itself: what it names when it reconnects
//! is the number of its own last message.
//!
//! A WebSocket's frames arrive in their order, so that a pong says that everything before its ping has arrived. A heartbeat
//! that comes by itself says nothing.

use conclave_cluster::state::id::Key;
use conclave_cluster::state::socket::Mark;

/// What is known of one connection. Offsets only grow: a connection is in one room as long as it lives.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    session: Option<Key>,
    epoch: u64,
    written: u64,
    received: u64,
    said: u64,
    /// What the cluster knows.
    recorded: u64,
    comes_back: bool,
    /// The client was told that something is lost, and it is not known that anything after that arrived.
    lost: bool,
}

impl Arrivals {
    /// The session had a connection before this one.
    pub(super) fn resume(&mut self) {
        self.comes_back = true;
    }

    /// Whether it had. Then how far it gets is found out soon: this connection may be as short as the one before.
    pub(super) fn comes_back(&self) -> bool {
        self.comes_back
    }

    /// The session is in a room, and is told what comes after `offset`. Its own last message was number `said`. `lost`: it
    /// lacks something before that which is in the history no more.
    pub(super) fn begin(&mut self, session: Key, epoch: u64, offset: u64, said: u64, lost: bool) -> Mark {
        self.session = Some(session);
        self.epoch = epoch;
        self.written = self.written.max(offset);
        self.received = self.received.max(offset);
        self.said = said;
        self.recorded = offset;
        self.lost = lost;
        let mark = Mark { epoch, received: offset, sent: u64::MAX, said };
        if lost { after_loss(mark) } else { mark }
    }

    /// The message at `offset` was written. True if it is the first of which it is not known that it arrived.
    pub(super) fn wrote(&mut self, offset: u64) -> bool {
        let first = self.written <= self.received;
        self.written = self.written.max(offset);
        first && self.written > self.received
    }

    /// The message at `offset` is the client's own, which it is not told: it lacks it no more than what was before it.
    pub(super) fn passed(&mut self, offset: u64) {
        let complete = !self.is_waiting();
        self.written = self.written.max(offset);
        if complete {
            self.received = self.written;
            self.lost = false;
        }
    }

    /// The last offset that was written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Everything up to `offset` arrived.
    pub(super) fn arrived(&mut self, offset: u64) {
        self.lost &= offset <= self.received;
        self.received = self.received.max(offset);
    }

    /// Whether something was written of which it is not known that it arrived.
    pub(super) fn is_waiting(&self) -> bool {
        self.written > self.received
    }

    /// The client gave a message of its own this number.
    pub(super) fn said(&mut self, number: u64) {
        self.said = self.said.max(number);
    }

    /// What the cluster should know by now and does not. The connection goes on, and more may be sent at any time.
    pub(super) fn due(&mut self) -> Option<(Key, Mark)> {
        if self.received <= self.recorded {
            return None;
        }
        self.recorded = self.received;
        let (session, mark) = self.last()?;
        Some((session, Mark { sent: u64::MAX, ..mark }))
    }

    /// How far it got, now that nothing more is sent.
    pub(super) fn last(&self) -> Option<(Key, Mark)> {
        let &Self { epoch, received, said, lost, .. } = self;
        let mark = Mark { epoch, received, sent: self.written.max(received), said };
        Some((self.session?, if lost { after_loss(mark) } else { mark }))
    }
}

/// The mark of a client that was told that something is lost, before it is known that anything after that arrived: less
/// was sent than arrived. There are clients that take the word for the end of the connection and come back at once, which
/// must not hear it again and again.
fn after_loss(mark: Mark) -> Mark {
    Mark { sent: mark.received.saturating_sub(1), ..mark }
}

/// Whether a client knows already that it lacks something before its mark.
pub(super) fn knows_of_loss(mark: &Mark) -> bool {
    mark.sent < mark.received
}

/// After which offset a client goes on that says `last`, in a room whose last offset is `room_last`.
///
/// Clients differ in what they say: the offset that arrived last, or the number of their own last message. It is taken for
/// the first where it lies between what is known to have arrived and what was sent, and cannot be the second. Rather is
/// something told twice than not at all. `spoke`: the client has said something in the room that the mark may not know of.
pub(super) fn resume_after(mark: &Mark, last: u64, room_last: u64, spoke: bool) -> u64 {
    let was_sent = (mark.received..=mark.sent.min(room_last)).contains(&last);
    // Its last messages may not have arrived here, and while the connection lived its counter went on.
    let is_its_own = match mark.said {
        0 => spoke && mark.sent == u64::MAX,
        said => last >= said,
    };
    if was_sent && !is_its_own { last } else { mark.received }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_believed_where_it_cannot_be_its_own_counter() {
        let mark = |sent, said| Mark { epoch: 1, received: 10, sent, said };
        for (said, last, expected) in [
            (0, 15, 15),
            (0, 10, 10),
            (0, 20, 20),
            (0, 9, 10),
            (0, 21, 10),
            (5, 15, 10),
            (15, 15, 10),
            (40, 15, 15),
            (40, 41, 10),
            (0, u64::MAX, 10),
        ] {
            // The connection ended in good order, and everything it knew is written down.
            assert_eq!(resume_after(&mark(20, said), last, 30, true), expected, "{said} {last}");
            // It did not: what was sent is not known, and cannot be more than there is.
            assert_eq!(resume_after(&mark(u64::MAX, said), last, 20, false), expected, "{said} {last}");
        }
        assert_eq!(resume_after(&mark(u64::MAX, 0), 15, 20, true), 10, "its counter is not known either");
        assert_eq!(resume_after(&mark(u64::MAX, 40), 15, 20, true), 15);
    }

    #[test]
    fn what_arrived_is_known_once_a_later_ping_is_answered() {
        let session = Key::from_bytes([1; 32]);
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.last(), None);
        assert!(arrivals.wrote(4), "the first that may be lost");
        arrivals.begin(session, 9, 3, 0, false);
        assert!(!arrivals.wrote(5) && arrivals.is_waiting());
        let pinged = arrivals.written();
        arrivals.wrote(7);
        assert_eq!(arrivals.due(), None);
        arrivals.arrived(pinged);
        arrivals.said(2);
        let mark = Mark { epoch: 9, received: 5, sent: u64::MAX, said: 2 };
        assert_eq!(arrivals.due(), Some((session, mark)));
        assert_eq!(arrivals.due(), None);
        assert_eq!(arrivals.last(), Some((session, Mark { sent: 7, ..mark })));
        arrivals.arrived(7);
        assert!(!arrivals.is_waiting() && arrivals.wrote(8));
    }

    #[test]
    fn a_loss_is_told_once_until_something_after_it_arrives() {
        let session = Key::from_bytes([1; 32]);
        let mut arrivals = Arrivals::default();
        assert!(knows_of_loss(&arrivals.begin(session, 9, 40, 7, true)));
        let last = |arrivals: &Arrivals| arrivals.last().expect("it is in a room").1;
        arrivals.wrote(41);
        assert!(knows_of_loss(&last(&arrivals)));
        assert_eq!(resume_after(&last(&arrivals), 41, 50, false), 40, "from there on, whatever it says");
        arrivals.arrived(41);
        assert_eq!(last(&arrivals), Mark { epoch: 9, received: 41, sent: 41, said: 7 });
        assert!(!knows_of_loss(&arrivals.begin(session, 9, 40, 7, false)));
    }

    #[test]
    fn what_one_said_oneself_is_not_missed() {
        let mut arrivals = Arrivals::default();
        arrivals.begin(Key::from_bytes([1; 32]), 9, 3, 0, false);
        let received = |arrivals: &Arrivals| arrivals.last().map(|(_, mark)| mark.received);
        (4..2000).for_each(|offset| arrivals.passed(offset));
        assert_eq!(received(&arrivals), Some(1999));
        arrivals.wrote(2000);
        arrivals.passed(2001);
        assert_eq!(received(&arrivals), Some(1999), "what was told before it may be lost");
        arrivals.arrived(arrivals.written());
        assert_eq!(received(&arrivals), Some(2001));
    }
}
